"""Which pages lie on which node and in which zone: counted when somebody wants to read it.

The counters of mm/vmstat.py are the machine's. Where it has several zones or nodes, what of them is where is read off
the lists of reclaim and the frames.

Mirrors: mm/vmstat.c (zone_page_state, node_page_state) (6.18)
Differs: counted at each reading, so that counting costs nothing while programs run.
"""

from typing import TYPE_CHECKING

from pagewalk.mm.lru_names import LRU_NAMES, NR_LRU_LISTS
from pagewalk.mm.page import PG_anon, PG_mlocked, PG_swapbacked, PG_swapcache, PG_table

if TYPE_CHECKING:
    from pagewalk.mm.page_alloc import Node
    from pagewalk.mm.system import System
    from pagewalk.mm.zone import Zone


def lru_of_zones(system: "System") -> dict[tuple[int, int], dict[str, int]]:
    """nr_zone_* of the lists, nr_zone_write_pending and nr_mlock by (node, index) of each zone with memory."""
    found: dict[tuple[int, int], dict[str, int]] = {}
    for zone in system.zones:
        if zone.managed_pages:
            names = [*[f"nr_zone_{name}" for name in LRU_NAMES], "nr_zone_write_pending", "nr_mlock"]
            found[int(zone.node_id), int(zone.index)] = dict.fromkeys(names, 0)
    if len(found) == 1:
        stats = next(iter(found.values()))
        for lru in range(NR_LRU_LISTS):
            stats[f"nr_zone_{LRU_NAMES[lru]}"] = system.page_state(lru)
        stats["nr_zone_write_pending"] = int(system.vmstat.nr_dirty)
        stats["nr_mlock"] = int(system.vmstat.nr_mlock)
        return found
    for node in system.nodes:
        for lruvec in node.lruvecs:
            for lru in range(NR_LRU_LISTS):
                name = f"nr_zone_{LRU_NAMES[lru]}"
                for page in lruvec.all_pages(lru):
                    stats = found[key_of(node.zone_of(page.pfn))]
                    stats[name] += 1
                    if page.flags & PG_mlocked:
                        stats["nr_mlock"] += 1
    for mapping in system.dirty_spaces.values():
        for index in mapping.dirty:
            page = mapping.i_pages[index]
            found[key_of(system.node.zone_of(page.pfn))]["nr_zone_write_pending"] += 1
    return found


def key_of(zone: "Zone") -> tuple[int, int]:
    """A zone's place in ``lru_of_zones``."""
    return int(zone.node_id), int(zone.index)


def pages_of_node(system: "System", node: "Node") -> dict[str, int]:
    """Pages by use on a node, by their names in zoneinfo; the lists of reclaim are not among them."""
    vmstat = system.vmstat
    if len(system.nodes) == 1:
        return {
            "nr_anon_pages": int(vmstat.nr_anon_mapped),
            "nr_mapped": int(vmstat.nr_file_mapped),
            "nr_file_pages": int(vmstat.nr_file_pages),
            "nr_dirty": int(vmstat.nr_dirty),
            "nr_shmem": int(vmstat.nr_shmem),
            "nr_swapcached": int(vmstat.nr_swapcached),
            "nr_page_table_pages": int(vmstat.nr_page_table_pages),
            "nr_slab_reclaimable": system.slab.nr_reclaimable(),
            "nr_slab_unreclaimable": system.slab.nr_pages() - system.slab.nr_reclaimable(),
        }
    names = ["nr_anon_pages", "nr_mapped", "nr_file_pages", "nr_dirty", "nr_shmem", "nr_swapcached"]
    found = dict.fromkeys([*names, "nr_page_table_pages", "nr_slab_reclaimable", "nr_slab_unreclaimable"], 0)
    for lruvec in node.lruvecs:
        for lru in range(NR_LRU_LISTS):
            for page in lruvec.all_pages(lru):
                if page.flags & PG_swapcache:
                    found["nr_swapcached"] += 1
                    found["nr_file_pages"] += 1
                if page.flags & PG_anon:
                    found["nr_anon_pages"] += page.mapcount > 0
                elif page.mapping is not None:
                    found["nr_file_pages"] += not page.flags & PG_swapcache
                    found["nr_mapped"] += page.mapcount > 0
                    found["nr_shmem"] += page.flags & PG_swapbacked != 0
    for mapping in system.dirty_spaces.values():
        for index in mapping.dirty:
            if node.zone_of(mapping.i_pages[index].pfn).node_id == node.node_id:
                found["nr_dirty"] += 1
    for section in system.mem_map.sections:
        for each in section or ():
            if each is not None and each.flags & PG_table and node.zone_of(each.pfn).node_id == node.node_id:
                found["nr_page_table_pages"] += 1
    for cache in system.slab.all():
        for head in cache.slabs:
            if node.zone_of(head.pfn).node_id == node.node_id:
                found["nr_slab_reclaimable" if cache.reclaimable else "nr_slab_unreclaimable"] += 1 << cache.order
    return found


def workingset_of(system: "System", node: "Node") -> dict[str, int]:
    """What came back to a node's lists."""
    found: dict[str, int] = {}
    for kind, name in enumerate(("anon", "file")):
        found[f"workingset_refault_{name}"] = sum([each.refaulted_pages[kind] for each in node.lruvecs])
        found[f"workingset_activate_{name}"] = sum([each.activated[kind] for each in node.lruvecs])
        found[f"workingset_restore_{name}"] = sum([each.restored[kind] for each in node.lruvecs])
    return found
