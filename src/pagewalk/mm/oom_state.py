"""The machine's figures as the OOM report has them.

Mirrors: mm/show_mem.c (show_free_areas) (6.18)
Differs: what the model does not count is 0.
"""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from pagewalk.mm.gfp import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
)
from pagewalk.mm.hugetlb import huge_sizes_kb
from pagewalk.mm.node_stat import key_of
from pagewalk.mm.oom_report import NODE_FIELDS, HugePages, MemInfo, NodeState, ZoneState
from pagewalk.mm.show_mem import all_zone_stats, node_stats

if TYPE_CHECKING:
    from pagewalk.mm.system import System
    from pagewalk.mm.zone import Zone

_NODE: dict[str, str] = {
    "active_anon": "nr_active_anon", "inactive_anon": "nr_inactive_anon", "active_file": "nr_active_file",
    "inactive_file": "nr_inactive_file", "unevictable": "nr_unevictable", "isolated(anon)": "nr_isolated_anon",
    "isolated(file)": "nr_isolated_file", "mapped": "nr_mapped", "dirty": "nr_dirty", "writeback": "nr_writeback",
    "shmem": "nr_shmem", "pagetables": "nr_page_table_pages",
}  # fmt: skip
_NODE_PAGES: dict[str, str] = {
    "slab_reclaimable": "nr_slab_reclaimable", "slab_unreclaimable": "nr_slab_unreclaimable",
    "kernel_misc_reclaimable": "nr_kernel_misc_reclaimable", "pagecache": "nr_file_pages",
}  # fmt: skip
_ZONE: dict[str, str] = {
    "active_anon": "nr_zone_active_anon", "inactive_anon": "nr_zone_inactive_anon",
    "active_file": "nr_zone_active_file", "inactive_file": "nr_zone_inactive_file",
    "unevictable": "nr_zone_unevictable", "writepending": "nr_zone_write_pending", "mlocked": "nr_mlock",
}  # fmt: skip

_LETTERS: tuple[tuple[str, int], ...] = (
    ("U", MIGRATE_UNMOVABLE), ("M", MIGRATE_MOVABLE), ("E", MIGRATE_RECLAIMABLE), ("H", MIGRATE_HIGHATOMIC),
    ("I", MIGRATE_ISOLATE),
)  # fmt: skip


def mem_info(system: "System", gfp_mask: i64 = 0, nodes: int = -1) -> MemInfo:
    """All nodes and zones now. Lines are only for the zones that ``gfp_mask`` may use, of the nodes of the mask
    ``nodes`` (SHOW_MEM_FILTER_NODES), -1 for all."""
    info = MemInfo()
    most = system.node.gfp_zone[int(gfp_mask) & 15]
    info.numa = system.config.arch in ("x86_64", "arm64", "riscv64")  # as distributions configure them
    kb = int(system.page_size) >> 10
    for node in system.nodes:
        state = NodeState(int(node.node_id))
        stats = node_stats(system, int(node.node_id))
        for name in NODE_FIELDS:
            state.kb[name] = 0
        state.all_unreclaimable = node.reclaim.hopeless(node)
        for name, counter in _NODE.items():
            state.kb[name] = stats.get(counter, 0) * kb
        for name, counter in _NODE_PAGES.items():
            state.pages[name] = stats.get(counter, 0)
        state.kb["kernel_stack"] = stats.get("nr_kernel_stack", 0)
        info.nodes.append(state)
    zones = all_zone_stats(system)
    for zone in system.zones:
        if zone.present_pages:
            found = zone_state(zone, zones[key_of(zone)], kb)
            found.shown = bool(nodes >> found.nid & 1) and zone.index <= most
            info.zones.append(found)
    for state in info.nodes:
        state.shown = any(zone.shown for zone in info.zones if zone.nid == state.nid)
        if not nodes >> state.nid & 1:
            continue
        info.huge += [HugePages(state.nid, size_kb) for size_kb in huge_sizes_kb(system.config)]
    info.swapcache_pages = int(system.vmstat.nr_swapcached)
    info.free_swap_kb = int(system.swap.nr_swap_pages) * kb
    info.total_swap_kb = int(system.swap.total_swap_pages) * kb
    return info


def zone_state(zone: "Zone", stats: dict[str, int], kb: int) -> ZoneState:
    """One zone; ``kb``: of a page."""
    state = ZoneState(int(zone.node_id), zone.name)
    state.page_kb = kb
    for name, counter in _ZONE.items():
        state.kb[name] = stats.get(counter, 0) * kb
    boost = int(zone.watermark_boost)
    pages = {
        "free": int(zone.free_pages), "boost": boost, "min": zone.watermark_min + boost,
        "low": int(zone.watermark_low) + boost, "high": zone.watermark_high + boost,
        "reserved_highatomic": zone.nr_reserved_highatomic, "free_highatomic": int(zone.nr_free_highatomic),
        "present": zone.present_pages, "managed": zone.managed_pages, "free_pcp": int(zone.pcp.count),
        "local_pcp": int(zone.pcp.count),
    }  # fmt: skip
    for name, count in pages.items():
        state.kb[name] = count * kb
    state.lowmem_reserve = [int(reserve) for reserve in zone.lowmem_reserve]
    for order in range(len(zone.free_area)):
        state.nr_free.append(zone.nr_free(order))
        letters = ""
        for letter, which in _LETTERS:
            if zone.free_area[order].lists[which].nr_free:
                letters += letter
        state.types.append(letters or "M")  # frames that no list has seen yet are movable
    return state
