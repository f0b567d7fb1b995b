"""The machine's figures as the OOM report has them.

Mirrors: mm/show_mem.c (show_free_areas) (6.18)
Differs: one node's counters; what the model does not count is 0.
"""

from typing import TYPE_CHECKING

from pagewalk.mm.oom_report import HugePages, MemInfo, NodeState, ZoneState
from pagewalk.mm.show_mem import node_stats, zone_stats
from pagewalk.mm.zone import NR_PAGE_ORDERS
from pagewalk.mm.zoneinfo import free_of_type

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


def mem_info(system: "System") -> MemInfo:
    """All nodes and zones now."""
    info = MemInfo()
    node = NodeState(0)
    stats = node_stats(system)
    for name, counter in _NODE.items():
        node.kb[name] = stats.get(counter, 0) * 4
    for name, counter in _NODE_PAGES.items():
        node.pages[name] = stats.get(counter, 0)
    node.kb["kernel_stack"] = stats.get("nr_kernel_stack", 0)
    info.nodes.append(node)
    for zone in system.zones:
        if zone.present_pages:
            info.zones.append(zone_state(system, zone))
    info.huge = [HugePages(0, 1 << 20), HugePages(0, 2 << 10)]
    info.swapcache_pages = stats.get("nr_swapcached", 0)
    return info


def zone_state(system: "System", zone: "Zone") -> ZoneState:
    """One zone."""
    state = ZoneState(int(zone.node_id), zone.name)
    stats = zone_stats(system, zone)
    for name, counter in _ZONE.items():
        state.kb[name] = stats.get(counter, 0) * 4
    marks = zone.marks()
    state.kb["free"] = int(zone.free_pages) * 4
    state.kb["min"] = marks[0] * 4
    state.kb["low"] = marks[1] * 4
    state.kb["high"] = marks[2] * 4
    state.kb["present"] = zone.present_pages * 4
    state.kb["managed"] = zone.managed_pages * 4
    state.kb["free_pcp"] = int(zone.pcp.count) * 4
    state.kb["local_pcp"] = int(zone.pcp.count) * 4
    state.lowmem_reserve = list(zone.lowmem_reserve)
    for order in range(NR_PAGE_ORDERS):
        state.nr_free.append(zone.nr_free(order))
        kinds = [letter for kind, letter in enumerate("UMEHI") if free_of_type(zone, order, kind)]
        state.types.append("".join(kinds))
    return state
