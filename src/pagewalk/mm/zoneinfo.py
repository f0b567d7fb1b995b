"""Zones as Linux prints them: /proc/zoneinfo, buddyinfo and pagetypeinfo.

Mirrors: mm/vmstat.c (zoneinfo_show_print, frag_show_print, pagetypeinfo_show) (6.18, 6.1)
Differs: every CPU of a zone shows the same lists: the model's CPUs take turns and share them.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.mm.gfp import MIGRATE_MOVABLE, MIGRATE_NAMES, MIGRATE_TYPES
from pagewalk.mm.memblock import PfnRange, page_shift_of
from pagewalk.mm.vmstat_names import NUMA_STATS, ZONE_STATS, of_release
from pagewalk.mm.zone import Zone

if TYPE_CHECKING:
    from pagewalk.config import Config

_SUBSECTION_SHIFT: Final = 21


def numa_stats(zone: Zone) -> dict[str, int]:
    """numastat's counters of one zone."""
    hit, miss, other = int(zone.numa_hit), int(zone.numa_miss), int(zone.numa_other)
    return {
        "numa_hit": hit,
        "numa_miss": miss,
        "numa_foreign": int(zone.numa_foreign),
        "numa_interleave": int(zone.numa_interleave),
        "numa_local": hit + miss - other,
        "numa_other": other,
    }


def buddyinfo_of(zones: list[Zone]) -> str:
    """/proc/buddyinfo: free blocks by order, for each zone with memory."""
    lines = []
    for zone in zones:
        if zone.present_pages:
            counts = "".join([f"{zone.nr_free(order):6d} " for order in range(len(zone.free_area))])
            lines.append(f"Node {zone.node_id}, zone {zone.name:>8} {counts}\n")
    return "".join(lines)


def zone_text(
    zone: Zone, stats: dict[str, int], cpus: int, page_shift: int = 12, linux: str = "6.18", arch: str = "x86_64"
) -> str:
    """One zone's part of zoneinfo, from "pages free" on; ``stats`` are its counters by name."""
    old = linux == "6.1"
    names = ("min", "low", "high") if old else ("min", "low", "high", "promo")
    rows = [("boost", int(zone.watermark_boost)), *zip(names, zone.marks()[: len(names)], strict=True)]
    rows += [("spanned", zone.spanned_pages), ("present", zone.present_pages), ("managed", zone.managed_pages)]
    text = f"\n  pages free     {zone.free_pages}"
    text += "".join([f"\n        {name:<8} {value}" for name, value in [*rows, ("cma", 0)]])
    protection = ", ".join([str(pages) for pages in zone.lowmem_reserve])
    text += f"\n        protection: ({protection})"
    if not zone.present_pages:
        return text + "\n"
    text += "".join(
        [f"\n      {stat:<12} {stats.get(stat, 0)}" for stat in of_release(ZONE_STATS + NUMA_STATS, linux, arch)]
    )
    text += "\n  pagesets"
    pcp = zone.pcp
    for cpu in range(cpus):
        if linux != "6.18":
            text += (
                f"\n    cpu: {cpu}\n              count: {pcp.count}\n              high:  {pcp.high}"
                f"\n              batch: {pcp.batch}\n  vm stats threshold: {stat_threshold(zone, cpus, page_shift)}"
            )
            continue
        text += (
            f"\n    cpu: {cpu}\n              count:    {pcp.count}\n              high:     {pcp.high}"
            f"\n              batch:    {pcp.batch}\n              high_min: {pcp.high_min}"
            f"\n              high_max: {pcp.high_max}"
            f"\n  vm stats threshold: {stat_threshold(zone, cpus, page_shift)}"
        )
    return text + f"\n  node_unreclaimable:  0\n  start_pfn:           {zone.zone_start_pfn}\n"


def stat_threshold(zone: Zone, cpus: int, page_shift: int) -> int:
    """How far a CPU's counters may drift (calculate_normal_threshold)."""
    return min(125, 2 * cpus.bit_length() * (1 + (zone.managed_pages >> 27 - page_shift).bit_length()))


def sections_of(config: "Config", ranges: list[PfnRange]) -> list[PfnRange] | None:
    """The frames of ``ranges``, a machine's RAM, that have a struct page; None: all to the end of it (FLATMEM, which
    distributions configure for 32-bit x86)."""
    if config.memory_model == "flat" or config.arch in ("x86_32", "x86_pae"):
        return None
    return with_struct_page(ranges, page_shift_of(config))


def pagetypeinfo_of(zones: list[Zone], sections: list[PfnRange] | None) -> str:
    """/proc/pagetypeinfo: free blocks, and page blocks, by migrate type, node by node. ``sections``: frames that have a
    struct page (``sections_of``), None where all have (FLATMEM)."""
    populated = [zone for zone in zones if zone.present_pages]
    out = ""
    for nid in sorted({int(zone.node_id) for zone in populated}):
        out += pagetypeinfo_of_node([zone for zone in populated if zone.node_id == nid], sections)
    return out


def pagetypeinfo_of_node(zones: list[Zone], sections: list[PfnRange] | None) -> str:
    """Of the zones of one node."""
    order = int(zones[0].pageblock_order)
    out = f"Page block order: {order}\nPages per block:  {1 << order}\n\n"
    out += f"{'Free pages count per migrate type at order':<43} "
    out += "".join([f"{order:6d} " for order in range(len(zones[0].free_area))]) + "\n"
    for zone in zones:
        for kind, name in enumerate(MIGRATE_NAMES):
            cells = "".join([f"{free_of_type(zone, order, kind):6d} " for order in range(len(zone.free_area))])
            out += f"Node {zone.node_id:4d}, zone {zone.name:>8}, type {name:>12} {cells}\n"
    out += f"\n{'Number of blocks type':<23}" + "".join([f"{name:>12} " for name in MIGRATE_NAMES]) + "\n"
    for zone in zones:
        cells = "".join([f"{count:12d} " for count in blocks_by_type(zone, sections)])
        out += f"Node {zone.node_id}, zone {zone.name:>8} {cells}\n"
    return out


def free_of_type(zone: Zone, order: int, migratetype: int) -> int:
    """Free blocks of an order and type; deferred ones are movable."""
    deferred = zone.nr_deferred(order) if migratetype == MIGRATE_MOVABLE else 0
    return int(zone.free_area[order].lists[migratetype].nr_free) + deferred


def with_struct_page(ranges: list[PfnRange], page_shift: int) -> list[PfnRange]:
    """Frames that have a struct page with SPARSEMEM: those of RAM, out to subsections of 2 MiB."""
    unit = 1 << _SUBSECTION_SHIFT - page_shift
    found: list[PfnRange] = []
    for start, end in ranges:
        first, behind = start // unit * unit, (end + unit - 1) // unit * unit
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], behind)
        else:
            found.append((first, behind))
    return found


def blocks_by_type(zone: Zone, sections: list[PfnRange] | None) -> list[int]:
    """Page blocks of each type. The kernel takes steps of a block from the zone's first frame on, aligned or not, and
    counts those that lead to a struct page of the zone's."""
    counts = [0] * MIGRATE_TYPES
    mem_map = zone.mem_map
    block = 1 << int(mem_map.block_order)
    first = zone.zone_start_pfn
    for start, end in sections if sections is not None else [(first, zone.end_pfn)]:
        pfn = first + max(start - first + block - 1, 0) // block * block
        stop = min(end, zone.end_pfn)
        while pfn < stop:
            section_end = min((pfn >> 15) + 1 << 15, stop)
            behind = pfn + (section_end - pfn + block - 1) // block * block
            if mem_map.block_types[pfn >> 15] is mem_map.all_movable and zone.pieces is None:
                counts[MIGRATE_MOVABLE] += (behind - pfn) // block
            else:
                for at in range(pfn, behind, block):
                    if zone.holds(at):
                        counts[int(mem_map.block_type(at))] += 1
            pfn = behind
    return counts
