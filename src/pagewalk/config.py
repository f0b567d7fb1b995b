"""What a machine is made of: sizes, sysctls and switches, with Linux's names and defaults.

Sources: Documentation/admin-guide/sysctl/vm.rst and kernel.rst; getrlimit(2).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pagewalk.errors import ConfigError, NotModelled

__all__ = ["RELEASES", "RLIMIT_NAMES", "Config", "parse_size"]

_UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
# In the order of their numbers (RLIMIT_*).
RLIMIT_NAMES: Final = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
    "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip

RELEASES: Final = ("6.18", "6.12", "6.1")  # of Linux

_INT_MAX = (1 << 31) - 1
COMPRESSORS = ("lzo", "lzo-rle", "lz4", "lz4hc", "zstd", "deflate", "842")  # of zswap
_RANGES = {
    "overcommit_memory": (0, 2),
    "overcommit_ratio": (0, _INT_MAX),
    "overcommit_kbytes": (0, 1 << 54),
    "max_map_count": (0, _INT_MAX),
    "mmap_min_addr": (0, 1 << 46),
    "lsm_mmap_min_addr": (0, 1 << 46),
    "stack_guard_gap": (0, 1 << 32),
    "fault_around_bytes": (4096, 2 << 20),
    "read_ahead_kb": (0, _INT_MAX),
    "max_sectors_kb": (4, _INT_MAX),
    "min_free_kbytes": (-1, _INT_MAX),
    "watermark_scale_factor": (1, 3000),
    "swappiness": (0, 200),
    "swap_latency_us": (0, 10_000_000),
    "reclaim_us": (0, 10_000_000),
    "page_cluster": (0, 31),
    "zswap_max_pool_percent": (0, 100),
    "zswap_accept_threshold_percent": (0, 100),
    "panic_on_oom": (0, 2),
    "oom_kill_allocating_task": (0, 1),
    "oom_dump_tasks": (0, 1),
    "watermark_boost_factor": (0, _INT_MAX),
    "percpu_pagelist_high_fraction": (0, _INT_MAX),
    "zone_dma_bits": (24, 52),
    "slab_min_objects": (0, 32767),
    "slab_min_order": (0, 10),
    "slab_max_order": (0, 10),
}
_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([BKMGTP]?)(?:I?B)?", re.IGNORECASE)


def parse_size(size: int | str, what: str = "size") -> int:
    """Bytes of ``size``: an int, or text such as ``"64M"``, ``"1.5G"``, ``"4 KiB"`` (powers of 1024).

    Raises ConfigError, naming ``what``, where it is neither, negative, or not a whole number of bytes.
    """
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise ConfigError(f"{what}: expected bytes or text like '64M', got {size!r}")
    if isinstance(size, int):
        if size < 0:
            raise ConfigError(f"{what}: expected a size of 0 or more, got {size}")
        return size
    match = _SIZE.fullmatch(size.strip())
    if match is None:
        raise ConfigError(f"{what}: expected bytes or text like '64M', got {size!r}")
    exact = float(match[1]) * _UNITS[match[2].upper()]
    whole = int(match[1]) * _UNITS[match[2].upper()] if match[1].isdigit() else int(exact)
    if "." in match[1] and exact != whole:
        raise ConfigError(f"{what}: expected a whole number of bytes, got {size!r}")
    return whole


@dataclass
class Config:
    """One machine. Sizes are bytes or text (``"4G"``); sysctl fields carry Linux's names.

    ram                       system RAM, at least 4 MiB, at most 64 TiB; by itself 4 GiB, on x86_32 the 3 GiB that
                              it reaches
    arch                      "x86_64", "x86_32" (two levels), "x86_pae", "arm64", "riscv64", "riscv32" (Sv32); programs
                              run on x86_64, Python drives processes on all
    levels                    page-table levels: 4 (47-bit user space) or 5 (56-bit); riscv64: 3 (Sv39), 4 or 5 too
    granule                   page size of arm64: "4K", "16K" or "64K"
    va_bits                   bits of address of arm64: 36 to 48, or 52
    vmsplit                   32-bit x86: where the kernel's half begins: "3G" (CONFIG_VMSPLIT_3G), "2G/2G", "3G_OPT"
                              and the like, or an address
    kaslr                     x86_64: the kernel's areas lie at random places (CONFIG_RANDOMIZE_BASE and _MEMORY)
    aslr                      randomize_va_space 2 (True) or 0 (False, as ``setarch -R``)
    seed                      of every random choice that the machine makes
    cpus                      modelled CPUs, 1 to 64, executed in turn
    pcid                      TLB entries are tagged, and live on when another address space is loaded
    skip_sleep                when all tasks sleep for a time, the clock jumps there instead of waiting
    linux                     the release, where they differ: "6.18", "6.12" or "6.1" (docs/releases.md)
    thp                       transparent huge pages: "always", "madvise" or "never"
    warm                      host files count as already in the page cache (as they are on a
                              machine in use); False: the first touch reads them, a major fault
    overcommit_memory         vm.overcommit_memory: 0 heuristic, 1 always, 2 strict
    overcommit_ratio          vm.overcommit_ratio, percent
    overcommit_kbytes         vm.overcommit_kbytes, 0 = use the ratio
    max_map_count             vm.max_map_count
    mmap_min_addr             vm.mmap_min_addr
    lsm_mmap_min_addr         the kernel's CONFIG_LSM_MMAP_MIN_ADDR (0 without security modules): no hint and no free
                              area lies below the larger of the two; MAP_FIXED obeys vm.mmap_min_addr alone
    legacy_va_layout          vm.legacy_va_layout
    stack_guard_gap           pages kept free below a stack (boot parameter of that name)
    fault_around_bytes        debugfs fault_around_bytes
    read_ahead_kb             of the block device that holds the host's files
    max_sectors_kb            of that device: its largest request
    min_free_kbytes           vm.min_free_kbytes; -1 = computed as at boot
    watermark_scale_factor    vm.watermark_scale_factor
    pku                       x86_64: the CPU has memory protection keys (the flags pku and ospke; with them XSAVE)
    swap                      swap areas: "256M", or several with priorities, "64M:5,1G"; 0 = none
    zram                      size of a compressed swap device in RAM, /dev/zram0, which is filled first; 0 = none
    zram_ratio                how many pages fit into a frame there
    zswap                     pages on their way to swap are kept compressed in RAM as long as there is room (zswap)
    zswap_ratio               how many pages fit into a frame there
    zswap_max_pool_percent, zswap_accept_threshold_percent, zswap_shrinker, zswap_compressor
                              parameters of the module: part of RAM that the pool may take, of that the part below
                              which a full pool takes pages again, pages are written out when memory is short, a name
    swap_rotational           they are on rotating disks: read-ahead goes by slots, not by addresses
    swap_latency_us           microseconds that a task waits for a page from swap or a refaulted page of a file (PSI)
    reclaim_us                microseconds that a task spends in direct reclaim each time (PSI)
    reclaim_policy            "lru" (the classic one), "mglru", or a subclass of mm.lruvec.ReclaimPolicy
    swappiness                vm.swappiness: 0 spares anonymous memory, 200 the page cache
    page_cluster              vm.page-cluster: swap-in reads up to 2**page_cluster pages at once
    lmk                       Android's low memory killer: "driver" (in the kernel, with
                              /sys/module/lowmemorykiller/parameters), "lmkd" (the daemon, by PSI), or "" for none
    panic_on_oom              vm.panic_on_oom: 0 kills, 1 gives up unless a cgroup or nodes ran out, 2 always gives up:
                              the run ends with OutOfMemory
    oom_kill_allocating_task  vm.oom_kill_allocating_task: kills who asks, not the largest
    oom_dump_tasks            vm.oom_dump_tasks: the report has the table of tasks
    lowmem_reserve_ratio      vm.lowmem_reserve_ratio for DMA, DMA32, NORMAL, and where they are to have one HIGHMEM,
                              MOVABLE, DEVICE
    watermark_boost_factor    vm.watermark_boost_factor, in 1/10000
    percpu_pagelist_high_fraction  vm.percpu_pagelist_high_fraction, 0 = the low mark decides
    memory_map                where RAM is: (start, end) or (start, end, node) in bytes, end exclusive; () = as usual
                              for the architecture and ``ram``, which is not looked at where there is a map
    nodes                     memory of each NUMA node, in ascending order of address, 0 for one that has CPUs alone;
                              () = one node
    cpu_nodes                 the node of each CPU; () = in equal, contiguous parts
    distances                 a row for each node, of distances to all; () = 10 and 20
    kernelcore, movablecore   boot parameters: how much is not, or is, ZONE_MOVABLE: a size or "25%"
    zone_dma_bits             arm64: bits of physical address that devices reach (30 on a Raspberry Pi 4)
    vmalloc                   32-bit x86, boot parameter: what lowmem leaves for vmalloc, beside a guard hole of 8 MiB;
                              "" = 128 MiB with the hole
    highmem                   32-bit x86, boot parameter: how much high memory there is: at most that where RAM is
                              larger than lowmem, else that much is taken from lowmem; "" = as RAM has it
    slab_min_objects, slab_min_order, slab_max_order
                              boot parameters: objects and frames (log2) of a slab; 0 objects = the CPUs decide
    memory_model              "sparse" or "flat": SPARSEMEM's sections, or one array of struct page
    rlimits                   overrides by name without RLIMIT_, e.g. {"STACK": (8 << 20, -1)}; -1 = unlimited
    """

    ram: int | str = ""
    arch: str = "x86_64"
    levels: int = 4
    granule: int | str = "4K"
    va_bits: int = 48
    vmsplit: str = "3G"
    kaslr: bool = False
    aslr: bool = True
    seed: int = 0
    cpus: int = 1
    pcid: bool = True
    skip_sleep: bool = False
    linux: str = "6.18"
    thp: str = "madvise"
    warm: bool = True
    overcommit_memory: int = 0
    overcommit_ratio: int = 50
    overcommit_kbytes: int = 0
    max_map_count: int = 65530
    mmap_min_addr: int = 4096
    lsm_mmap_min_addr: int = 65536
    legacy_va_layout: bool = False
    stack_guard_gap: int = 256
    fault_around_bytes: int = 65536
    read_ahead_kb: int = 128
    max_sectors_kb: int = 4096
    min_free_kbytes: int = -1
    watermark_scale_factor: int = 10
    pku: bool = False
    swap: int | str = "0"
    swap_rotational: bool = False
    zram: int | str = "0"
    zram_ratio: float = 3.0
    zswap: bool = False
    zswap_ratio: float = 3.0
    zswap_max_pool_percent: int = 20
    zswap_accept_threshold_percent: int = 90
    zswap_shrinker: bool = False
    zswap_compressor: str = "lzo"
    swap_latency_us: int = 100
    reclaim_us: int = 50
    reclaim_policy: Any = "lru"
    swappiness: int = 60
    page_cluster: int = 3
    lowmem_reserve_ratio: tuple[int, ...] = (256, 256, 32)
    lmk: str = ""
    panic_on_oom: int = 0
    oom_kill_allocating_task: int = 0
    oom_dump_tasks: int = 1
    watermark_boost_factor: int = 15000
    percpu_pagelist_high_fraction: int = 0
    memory_map: Sequence[Sequence[int]] = ()
    nodes: Sequence[int | str] = ()
    cpu_nodes: Sequence[int] = ()
    distances: Sequence[Sequence[int]] = ()
    kernelcore: str = ""
    movablecore: str = ""
    zone_dma_bits: int = 32
    vmalloc: int | str = ""
    highmem: int | str = ""
    slab_min_objects: int = 0
    slab_min_order: int = 0
    slab_max_order: int = 3
    memory_model: str = "sparse"
    rlimits: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_memory()
        if not 4 << 20 <= int(self.ram) <= 64 << 40:
            raise ConfigError(f"ram: expected 4M to 64T, got {self.ram} bytes")
        self._check_arch()
        if self.ram % int(self.granule):
            raise ConfigError(f"ram: expected a multiple of {self.granule} bytes, got {self.ram}")
        for name in ("zram_ratio", "zswap_ratio"):
            ratio = getattr(self, name)
            if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 1 <= ratio <= 1000:
                raise ConfigError(f"{name}: expected 1 to 1000, got {ratio!r}")
        if self.zswap_compressor not in COMPRESSORS:
            known = ", ".join(COMPRESSORS)
            raise ConfigError(f"zswap_compressor: expected one of {known}, got {self.zswap_compressor!r}")
        if self.reclaim_policy not in ("lru", "mglru") and not callable(self.reclaim_policy):
            raise ConfigError(f"reclaim_policy: expected lru, mglru or a ReclaimPolicy, got {self.reclaim_policy!r}")
        if not 1 <= self.cpus <= 64:
            raise ConfigError(f"cpus: expected 1 to 64, got {self.cpus!r}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{name}: expected {low} to {high}, got {value!r}")
        if 0 < self.percpu_pagelist_high_fraction < 8:
            raise ConfigError(
                f"percpu_pagelist_high_fraction: expected 0, or 8 and more, got {self.percpu_pagelist_high_fraction}"
            )
        if self.fault_around_bytes & (self.fault_around_bytes - 1):
            raise ConfigError(f"fault_around_bytes: expected a power of two, got {self.fault_around_bytes}")
        if self.lmk not in ("", "driver", "lmkd"):
            raise ConfigError(f"lmk: expected driver, lmkd or nothing, got {self.lmk!r}")
        for name, (soft, hard) in self.rlimits.items():
            if name not in RLIMIT_NAMES:
                raise ConfigError(f"rlimits: expected one of {', '.join(RLIMIT_NAMES)}, got {name!r}")
            if min(soft, hard) < -1 or (hard >= 0 and (soft < 0 or soft > hard)):
                raise ConfigError(f"rlimits: expected a soft limit of {name} up to the hard one, got {soft} and {hard}")
        if not 3 <= len(self.lowmem_reserve_ratio) <= 6 or min(self.lowmem_reserve_ratio) < 0:
            raise ConfigError(f"lowmem_reserve_ratio: expected three to six numbers, got {self.lowmem_reserve_ratio!r}")
        if self.linux not in RELEASES:
            raise NotModelled(f"linux {self.linux!r} ({', '.join(RELEASES[:-1])} and {RELEASES[-1]} are what there is)")

    def _check_memory(self) -> None:
        """The memory map, the nodes and what is asked of them fit together; ``ram`` becomes their sum."""
        from pagewalk.memory import check_cpu_nodes, check_distances, check_map, check_nodes

        self.ram = parse_size(("3G" if self.arch == "x86_32" else "4G") if self.ram == "" else self.ram, "ram")
        page = parse_size(self.granule, "granule") or 4096
        self.vmalloc = 0 if self.vmalloc == "" else parse_size(self.vmalloc, "vmalloc")
        self.highmem = -1 if self.highmem in ("", -1) else parse_size(self.highmem, "highmem")
        self.memory_map = check_map(self.memory_map)
        self.nodes = check_nodes(self.nodes, self.memory_map)
        if self.memory_map:
            self.ram = sum([(end // page + -start // page) * page for start, end, _ in self.memory_map])
        elif self.nodes:
            self.ram = sum([int(size) for size in self.nodes])
        self.distances = check_distances(self.distances, self.nr_nodes)
        self.cpu_nodes = check_cpu_nodes(self.cpu_nodes, self.cpus, self.nr_nodes)
        for name in ("kernelcore", "movablecore"):
            text = str(getattr(self, name))
            if re.fullmatch(r"[0-9]{1,3}%", text):
                if int(text[:-1]) > 100:
                    raise ConfigError(f"{name}: expected at most 100%, got {text}")
            elif text:
                parse_size(text, name)
            setattr(self, name, text)
        if self.thp not in ("always", "madvise", "never"):
            raise ConfigError(f"thp: expected always, madvise or never, got {self.thp!r}")
        if self.memory_model not in ("sparse", "flat"):
            raise ConfigError(f"memory_model: expected sparse or flat, got {self.memory_model!r}")
        if self.vmalloc and (not 8 << 20 <= self.vmalloc <= 512 << 20 or self.vmalloc % 4096):
            raise ConfigError(f"vmalloc: expected 8M to 512M in pages of 4096 bytes, got {self.vmalloc} bytes")

    @property
    def nr_nodes(self) -> int:
        """How many nodes there are."""
        if self.memory_map:
            return max([int(row[2]) for row in self.memory_map]) + 1 if not self.nodes else len(self.nodes)
        return max(len(self.nodes), 1)

    def _check_arch(self) -> None:
        """The architecture has what is asked of it, and the rooms can carry it."""
        from pagewalk.arch import select

        self.granule = parse_size(self.granule, "granule")
        try:
            select.page_format(self.arch, self.levels, self.granule, self.va_bits)
            select.layout(self.arch, self.levels, self.granule, self.va_bits, self.vmsplit)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if self.pku and self.arch != "x86_64":
            raise ConfigError(f"pku: expected x86_64, which has protection keys, got {self.arch}")
        if self.arch == "riscv32" and int(self.ram) > 15 << 30:
            raise ConfigError(f"ram: Sv32 reaches 16G, of which 1G is no RAM here: at most 15G, got {self.ram} bytes")
        if self.arch == "x86_32" and not self.memory_map and int(self.ram) > 3 << 30:
            raise ConfigError(f"ram: x86_32 without PAE reaches 3G, got {self.ram} bytes (x86_pae reaches more)")
        if self.arch == "x86_32" and any(end > 4 << 30 for _, end, _ in self.memory_map):
            end = max([end for _, end, _ in self.memory_map])
            raise ConfigError(f"memory_map: x86_32 without PAE reaches 4G, got {end:#x} (x86_pae reaches more)")
