"""``pagewalk zones``: a machine's zones as figures, as /proc/zoneinfo, and as JSON."""

from typing import Any

from pagewalk.arch.zone_limits import HIGHMEM, zone_kinds
from pagewalk.mm.memblock import page_shift_of
from pagewalk.mm.zone import Zone
from pagewalk.mm.zone_figures import ZoneFigures
from pagewalk.mm.zoneinfo import blocks_by_type, zone_text

__all__ = ["as_dict", "figures_text", "zoneinfo_of", "zones_as_dicts"]


def as_dict(figures: ZoneFigures) -> dict[str, Any]:
    """Everything, in the shape that recorded machines have."""
    config = figures.config
    kinds = zone_kinds(config.arch, figures.release)
    ratio = (*config.lowmem_reserve_ratio, 0, 0, 0)
    page_kb = 1 << page_shift_of(config) - 10
    meminfo = {
        "MemTotal": figures.total_pages * page_kb,
        "CommitLimit": figures.total_pages * config.overcommit_ratio // 100 * page_kb,
    }
    if HIGHMEM in kinds:
        high_kb = figures.high_pages * page_kb
        meminfo |= {"HighTotal": high_kb, "LowTotal": meminfo["MemTotal"] - high_kb}
    if figures.vmalloc_kbytes:
        meminfo["VmallocTotal"] = figures.vmalloc_kbytes
    nodes = range(len(figures.distances))
    return {
        "arch": config.arch,
        "linux": figures.release,
        "sysctl": {
            "min_free_kbytes": figures.min_free_kbytes,
            "lowmem_reserve_ratio": [ratio[kind] for kind in kinds],
            "watermark_scale_factor": config.watermark_scale_factor,
            "watermark_boost_factor": config.watermark_boost_factor,
            "percpu_pagelist_high_fraction": config.percpu_pagelist_high_fraction,
        },
        "zones": zones_as_dicts(figures),
        "meminfo_kb": meminfo,
        "distances": [list(row) for row in figures.distances],
        "zonelists": [[list(place) for place in figures.zonelist(nid)] for nid in nodes],
    }


def zones_as_dicts(figures: ZoneFigures) -> list[dict[str, Any]]:
    """The zones. ``pageset_high`` is the least that the lists may hold (6.1: what they may hold)."""
    zones: list[dict[str, Any]] = []
    for zone, threshold in zip(figures.zones, figures.stat_thresholds, strict=True):
        low, mid, high, promo = zone.marks()
        row: dict[str, Any] = {"node": int(zone.node_id), "zone": zone.name, "boost": int(zone.watermark_boost)}
        row |= {"min": low, "low": mid, "high": high, "promo": promo}
        row |= {"spanned": zone.spanned_pages, "present": zone.present_pages, "managed": zone.managed_pages}
        row["protection"] = list(zone.lowmem_reserve)
        if zone.present_pages:
            row |= pagesets_as_dict(zone, figures.release)
            row |= {"vm_stats_threshold": threshold, "start_pfn": zone.zone_start_pfn}
            row["pageblocks"] = sum(blocks_by_type(zone, figures.sections))
        zones.append(row)
    return zones


def pagesets_as_dict(zone: Zone, release: str) -> dict[str, int]:
    """Of the zone's per-CPU lists."""
    pcp = zone.pcp
    row = {"pageset_high": int(pcp.high_min), "pageset_batch": int(pcp.batch)}
    if release != "6.1":
        row |= {"pageset_high_min": int(pcp.high_min), "pageset_high_max": int(pcp.high_max)}
    return row


def zoneinfo_of(figures: ZoneFigures) -> str:
    """/proc/zoneinfo right after boot, without the nodes' counters."""
    parts = []
    for zone in figures.zones:
        parts.append(
            f"Node {zone.node_id}, zone {zone.name:>8}"
            + zone_text(
                zone, {}, figures.config.cpus, page_shift_of(figures.config), figures.release, figures.config.arch
            )
        )
    return "".join(parts)


def figures_text(figures: ZoneFigures) -> str:
    """A table for people, in pages."""
    names = "node zone start_pfn spanned present managed min low high promo protection"
    rows: list[tuple[str, ...]] = [tuple(names.split())]
    for zone in figures.zones:
        if not zone.spanned_pages:
            continue
        sizes = [zone.zone_start_pfn, zone.spanned_pages, zone.present_pages, zone.managed_pages, *zone.marks()]
        protection = " ".join(str(pages) for pages in zone.lowmem_reserve)
        rows.append((str(zone.node_id), zone.name, *[str(each) for each in sizes], protection))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if i in (1, 10) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.append(f"vm.min_free_kbytes = {figures.min_free_kbytes}")
    page_kb = 1 << page_shift_of(figures.config) - 10
    total, high = figures.total_pages * page_kb, figures.high_pages * page_kb
    lines.append(f"MemTotal {total} kB, of which lowmem {total - high} kB, high {high} kB")
    for nid, distances in enumerate(figures.distances):
        order = ", ".join(f"{node}:{name}" for node, name in figures.zonelist(nid))
        lines.append(f"node {nid}: distances {' '.join(str(each) for each in distances)}; zonelist {order}")
    return "\n".join(lines) + "\n"
