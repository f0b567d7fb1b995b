"""/proc/meminfo, from the model's own state.

Sources: Documentation/filesystems/proc.rst, "meminfo".

Mirrors: fs/proc/meminfo.c, mm/show_mem.c (si_mem_available), arch/x86/mm/pat/set_memory.c (arch_report_meminfo) (6.18)
Differs: what the model does not have (huge pages, zswap, balloons, buffers) prints as 0; Percpu is what a kernel of two
    CPUs had at boot, for each CPU; the direct map is not split by what set_memory_x() and its like do.
"""

from typing import Final

from pagewalk.arch.zone_limits import MAX_DMA32_PFN, lowmem_pfns, vmalloc_total
from pagewalk.mm.hugetlb import default_shift
from pagewalk.mm.lru_names import NR_LRU_LISTS
from pagewalk.mm.show_mem import file_lru_pages, kernel_stack_kb
from pagewalk.mm.system import System
from pagewalk.mm.util import vm_commit_limit

PERCPU_KB: Final = 428  # the static area of 6.18's x86-64 kernel, and what is reserved for modules and at boot


def mem_available(system: System) -> int:
    """MemAvailable in pages: free pages above the reserves, and half or more of the page cache and of slabs whose
    objects can go."""
    zones = system.zones
    wmark_low = sum(int(zone.watermark_low) for zone in zones)
    reserves = sum(min(max(zone.lowmem_reserve) + zone.watermark_high, zone.managed_pages) for zone in zones)
    cache = file_lru_pages(system)
    slab = system.slab.nr_reclaimable()
    available = system.node.nr_free_pages() - reserves + cache - min(cache // 2, wmark_low)
    return max(available + slab - min(slab // 2, wmark_low), 0)


def meminfo_text(system: System) -> str:
    """/proc/meminfo."""
    vmstat = system.vmstat
    kb = int(system.page_size) >> 10  # of a page
    reclaimable = system.slab.nr_reclaimable() * kb
    inactive_anon, active_anon, inactive_file, active_file, unevictable = [
        system.page_state(lru) * kb for lru in range(NR_LRU_LISTS)
    ]
    rows: list[tuple[str, int]] = [
        ("MemTotal", system.totalram_pages * kb),
        ("MemFree", system.node.nr_free_pages() * kb),
        ("MemAvailable", mem_available(system) * kb),
        ("Buffers", 0),
        ("Cached", int(vmstat.nr_file_pages - vmstat.nr_swapcached) * kb),
        ("SwapCached", int(vmstat.nr_swapcached) * kb),
        ("Active", active_anon + active_file),
        ("Inactive", inactive_anon + inactive_file),
        ("Active(anon)", active_anon),
        ("Inactive(anon)", inactive_anon),
        ("Active(file)", active_file),
        ("Inactive(file)", inactive_file),
        ("Unevictable", unevictable),
        ("Mlocked", int(vmstat.nr_mlock) * kb),
        *highmem_rows(system, kb),
        ("SwapTotal", int(system.swap.total_swap_pages) * kb),
        ("SwapFree", int(system.swap.nr_swap_pages) * kb),
        ("Zswap", int(system.zswap.pool.nr_pages) * kb),
        ("Zswapped", len(system.zswap.entries) * kb),
        ("Dirty", int(vmstat.nr_dirty) * kb),
        ("Writeback", 0),
        ("AnonPages", int(vmstat.nr_anon_mapped) * kb),
        ("Mapped", int(vmstat.nr_file_mapped) * kb),
        ("Shmem", int(vmstat.nr_shmem) * kb),
        ("KReclaimable", reclaimable),
        ("Slab", system.slab.nr_pages() * kb),
        ("SReclaimable", reclaimable),
        ("SUnreclaim", system.slab.nr_pages() * kb - reclaimable),
        ("KernelStack", kernel_stack_kb(system)),
        ("PageTables", int(vmstat.nr_page_table_pages) * kb),
        ("SecPageTables", 0),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", vm_commit_limit(system) * kb),
        ("Committed_AS", int(system.vm_committed_as) * kb),
        ("VmallocTotal", vmalloc_total_kb(system)),
        ("VmallocUsed", (int(system.vmstat.nr_vmalloc_pages) + len(system.stacks.frames)) * kb),
        ("VmallocChunk", 0),
        ("Percpu", PERCPU_KB * system.config.cpus),
        ("AnonHugePages", 0),
        ("ShmemHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FileHugePages", 0),
        ("FilePmdMapped", 0),
    ]
    if system.config.linux == "6.18":
        rows.append(("Balloon", 0))
    lines = [f"{name + ':':<15} {value:8d} kB\n" for name, value in rows]
    lines += [
        f"{name + ':':<16}{0:8d}\n"
        for name in ("HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp")
    ]
    tail = [("Hugepagesize", 1 << default_shift(system.config) - 10), ("Hugetlb", 0)]
    tail += direct_map_rows(system)
    lines += [f"{name + ':':<15} {value:8d} kB\n" for name, value in tail]
    return "".join(lines)


def vmalloc_total_kb(system: System) -> int:
    """VmallocTotal."""
    config = system.config
    return vmalloc_total(config, system.mem_map.max_pfn, config.linux)


def highmem_rows(system: System, kb: int) -> list[tuple[str, int]]:
    """The lines of a kernel with high memory (CONFIG_HIGHMEM), whether the machine has some or not."""
    if system.config.arch not in ("x86_32", "x86_pae"):
        return []
    high = [zone for zone in system.zones if zone.is_highmem]
    total = sum([zone.managed_pages for zone in high])
    free = sum([int(zone.free_pages) for zone in high])
    return [
        ("HighTotal", total * kb),
        ("HighFree", free * kb),
        ("LowTotal", (system.totalram_pages - total) * kb),
        ("LowFree", (system.node.nr_free_pages() - free) * kb),
    ]


def direct_map_rows(system: System) -> list[tuple[str, int]]:
    """How x86 maps its low memory: in pages as large as fit."""
    config = system.config
    if not config.arch.startswith("x86"):
        return []
    ranges = system.ranges()
    if config.arch != "x86_64":
        top = lowmem_pfns(config, ranges[-1][1])[0]
        low = sum([max(min(end, top) - start, 0) for start, end in ranges])
        large = 512 if config.arch == "x86_pae" else 1024
        return [("DirectMap4k", low % large * 4), (f"DirectMap{large >> 8}M", low // large * large * 4)]
    end = system.mem_map.max_pfn
    gigabytes = 0 if end <= MAX_DMA32_PFN else (end - MAX_DMA32_PFN) >> 18 << 18
    rest = sum([stop - start for start, stop in ranges]) - gigabytes
    return [("DirectMap4k", rest % 512 * 4), ("DirectMap2M", rest // 512 * 2048), ("DirectMap1G", gigabytes * 4)]
