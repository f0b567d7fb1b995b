"""What a machine is made of: sizes, sysctls and switches, with Linux's names and defaults.

Sources: Documentation/admin-guide/sysctl/vm.rst and kernel.rst; getrlimit(2).
"""

import re
from dataclasses import dataclass, field

from pagewalk.errors import ConfigError, NotModelled

__all__ = ["Config", "parse_size"]

_UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
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

    ram                       system RAM, at least 16 MiB, at most 64 TiB
    arch                      "x86_64"
    levels                    page-table levels: 4 (47-bit user space) or 5 (56-bit)
    aslr                      randomize_va_space 2 (True) or 0 (False, as ``setarch -R``)
    seed                      of every random choice that the machine makes
    cpus                      modelled CPUs, 1 to 64, executed in turn
    pcid                      TLB entries are tagged, and live on when another address space is loaded
    skip_sleep                when all tasks sleep for a time, the clock jumps there instead of waiting
    linux                     the release that is modelled where releases differ
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
    lowmem_reserve_ratio      vm.lowmem_reserve_ratio for DMA, DMA32, NORMAL
    rlimits                   overrides by name without RLIMIT_, e.g. {"STACK": (8 << 20, -1)}; -1 = unlimited
    """

    ram: int | str = "4G"
    arch: str = "x86_64"
    levels: int = 4
    aslr: bool = True
    seed: int = 0
    cpus: int = 1
    pcid: bool = True
    skip_sleep: bool = False
    linux: str = "6.18"
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
    lowmem_reserve_ratio: tuple[int, int, int] = (256, 256, 32)
    rlimits: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ram = parse_size(self.ram, "ram")
        if not 16 << 20 <= self.ram <= 64 << 40:
            raise ConfigError(f"ram: expected 16M to 64T, got {self.ram} bytes")
        if self.ram % 4096:
            raise ConfigError(f"ram: expected a multiple of 4096 bytes, got {self.ram}")
        if self.arch != "x86_64":
            raise NotModelled(f"arch {self.arch!r} (x86_64 is what there is)")
        if self.levels not in (4, 5):
            raise ConfigError(f"levels: expected 4 or 5, got {self.levels!r}")
        if not 1 <= self.cpus <= 64:
            raise ConfigError(f"cpus: expected 1 to 64, got {self.cpus!r}")
        if self.overcommit_memory not in (0, 1, 2):
            raise ConfigError(f"overcommit_memory: expected 0, 1 or 2, got {self.overcommit_memory!r}")
        if self.linux != "6.18":
            raise NotModelled(f"linux {self.linux!r} (6.18 is what there is)")
