"""Reads a report's facts, and an explanation's, out of the model; changes nothing there.

What the process calls its mappings comes from its own /proc/PID/maps, so the report and the program agree.
"""

from typing import TYPE_CHECKING

import numpy as np

from pagewalk.mm.mm_types import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES
from pagewalk.view.report import Mapping, Report, Rss, Zone, resident_cells

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.system import System
    from pagewalk.mm.vma import Vma

__all__ = ["collect_machine", "collect_mm", "resident_pages"]


def resident_pages(mm: "MmStruct", vma: "Vma") -> list[int]:
    """Page numbers within ``vma``, ascending, that a page-table entry maps to an accounted frame (as smaps' Rss)."""
    fmt = mm.system.format
    words = np.frombuffer(mm.system.ram.words, dtype=np.int64 if fmt.entry_shift == 3 else np.uint32)
    entries_each = 1 << int(fmt.table_shift)
    found: list[int] = []

    def visit(table_pfn: int, level: int, base: int) -> None:
        """Follows the entries of one table, which maps addresses from ``base`` on, as far as they touch the VMA."""
        shift = fmt.levels[level].shift
        first = max(0, (vma.vm_start - base) >> shift)
        last = min(entries_each, ((vma.vm_end - 1 - base) >> shift) + 1)
        entries = words[table_pfn * entries_each + first : table_pfn * entries_each + last].astype(np.int64)
        here = (entries & fmt.present.mask) == fmt.present.value
        if level + 1 < len(fmt.levels):
            for index in np.flatnonzero(here).tolist():
                pfn = (int(entries[index]) & fmt.pfn_mask) >> int(fmt.pfn_shift)
                visit(pfn, level + 1, base + ((first + index) << shift))
            return
        here |= (entries & fmt.protnone.mask) == fmt.protnone.value
        here &= (entries & fmt.special.mask) != fmt.special.value
        start = (base - vma.vm_start >> int(fmt.page_shift)) + first
        found.extend((np.flatnonzero(here) + start).tolist())

    if mm.pgd_pfn >= 0:
        visit(int(mm.pgd_pfn), 0, 0)
    return found


def resident_of(mm: "MmStruct") -> Rss:
    """What is resident of an address space."""
    mm.update_hiwater()
    page_size = int(mm.system.page_size)
    return Rss(
        anon=mm.rss_stat[MM_ANONPAGES] * page_size,
        file=mm.rss_stat[MM_FILEPAGES] * page_size,
        shmem=mm.rss_stat[MM_SHMEMPAGES] * page_size,
        peak=int(mm.hiwater_rss) * page_size,
    )


def collect_mm(report: Report, mm: "MmStruct", maps: str) -> None:
    """What an address space looks like now; ``maps`` is its /proc/PID/maps."""
    report.maps = maps
    report.task_size = int(mm.task_size)
    page_size = report.page_size = int(mm.system.page_size)
    report.mappings = []
    for vma, line in zip(mm.vmas, maps.splitlines(), strict=False):
        words = line.split(None, 5)
        there = resident_pages(mm, vma)
        report.mappings.append(
            Mapping(
                start=int(vma.vm_start),
                end=int(vma.vm_end),
                rights=words[1],
                name=words[5] if len(words) > 5 else "",
                resident=len(there) * page_size,
                faults=int(vma.nr_faults),
                cells=resident_cells(int(vma.nr_pages()), there),
            )
        )
    report.rss = resident_of(mm)
    report.virtual = int(mm.total_vm) * page_size
    report.virtual_peak = int(mm.hiwater_vm) * page_size
    report.tables = {level.name: int(n) for level, n in zip(mm.system.format.levels, mm.nr_tables, strict=True)}
    report.vm_pte = mm.pgtables_bytes()
    report.faults = {name: int(number) for name, number in mm.faults.as_dict().items()}
    report.faults_by_mapping = _by_mapping(report, mm)


def _by_mapping(report: Report, mm: "MmStruct") -> dict[str, int]:
    """Faults by the mapping's name; what was unmapped before the end is under its name too."""
    counts = {name or "anonymous": int(number) for name, number in mm.mapping_faults.items()}
    for mapping in report.mappings:
        if mapping.faults:
            name = mapping.name or "anonymous"
            counts[name] = counts.get(name, 0) + mapping.faults
    return counts


def collect_machine(report: Report, system: "System") -> None:
    """What the machine's frames are used for now, and what the machine is."""
    config = system.config
    report.machine = {
        "ram": int(config.ram),
        "linux": config.linux,
        "arch": config.arch,
        "levels": config.levels,
        "aslr": config.aslr,
        "seed": config.seed,
    }
    report.zones = [Zone(zone.name, zone.managed_pages, int(zone.free_pages + zone.pcp.count)) for zone in system.zones]
    report.page_cache_pages = int(system.vmstat.nr_file_pages - system.vmstat.nr_swapcached)
    swap = system.swap
    if swap.total_swap_pages:
        report.swap = {
            "total": int(swap.total_swap_pages) << int(system.page_shift),
            "used": int(swap.total_swap_pages - swap.nr_swap_pages) << int(system.page_shift),
            "swapped_out": int(system.vmstat.pswpout),
            "swapped_in": int(system.vmstat.pswpin),
        }
