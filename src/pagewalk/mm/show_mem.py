"""Counters as Linux prints them: /proc/vmstat, zoneinfo and buddyinfo, from the model's own state.

Mirrors: mm/vmstat.c (6.18)
Differs: what the model does not have yet (huge pages) prints as 0; what is written to files and swap is counted for the
    machine, and told of node 0.
"""

from pagewalk.arch.zone_limits import zone_kinds
from pagewalk.mm.lru_names import LRU_ACTIVE_FILE, LRU_INACTIVE_FILE, LRU_NAMES
from pagewalk.mm.node_stat import key_of, lru_of_zones, pages_of_node, workingset_of
from pagewalk.mm.system import System
from pagewalk.mm.vmstat import VmStat
from pagewalk.mm.vmstat_names import EVENTS, NODE_STATS, NUMA_STATS, ZONE_STATS, event_suffix, of_release
from pagewalk.mm.zone import Zone
from pagewalk.mm.zoneinfo import buddyinfo_of, numa_stats, pagetypeinfo_of, sections_of, zone_text


def all_zone_stats(system: System) -> dict[tuple[int, int], dict[str, int]]:
    """Counters of each zone, by (node, index)."""
    found = {key_of(zone): zone_stats(zone) for zone in system.zones}
    for key, stats in lru_of_zones(system).items():
        found[key] |= stats
    return found


def zone_stats(zone: Zone) -> dict[str, int]:
    """Counters of one zone that it keeps itself."""
    blocks = range(int(zone.pageblock_order), len(zone.free_area))
    return {
        "nr_free_pages": int(zone.free_pages),
        "nr_free_pages_blocks": sum([zone.nr_free(order) << order for order in blocks]),
        **numa_stats(zone),
    }


def node_stats(system: System, nid: int) -> dict[str, int]:
    """Counters of one node; tasks' stacks and what is written to files and swap are node 0's."""
    node = system.nodes[nid]
    stats = {f"nr_{name}": node.page_state(lru) for lru, name in enumerate(LRU_NAMES)}
    stats |= pages_of_node(system, node) | workingset_of(system, node)
    if nid:
        return stats
    vmstat = system.vmstat
    return stats | {
        "nr_dirtied": int(vmstat.nr_dirtied),
        "nr_written": int(vmstat.nr_written),
        "nr_kernel_stack": kernel_stack_kb(system),
        "nr_vmscan_write": int(vmstat.nr_vmscan_write),
        "nr_vmscan_immediate_reclaim": int(vmstat.nr_vmscan_immediate_reclaim),
    }


def event_stats(system: System) -> dict[str, int]:
    """Events since boot, and the node's dirty limits."""
    vmstat = system.vmstat
    dirtyable = system.node.nr_free_pages() + file_lru_pages(system)
    memmap = system.mem_map.max_pfn * 64 >> int(system.page_shift)
    kinds = zone_kinds(system.config.arch, system.config.linux)
    return {
        "nr_dirty_threshold": dirtyable * 20 // 100,
        "nr_dirty_background_threshold": dirtyable * 10 // 100,
        "nr_memmap_boot_pages": memmap,
        "pgpgin": int(vmstat.pgpgin),
        "pgpgout": int(vmstat.pgpgout),
        **{f"pgalloc_{event_suffix(kind)}": vmstat.pgalloc[index] for index, kind in enumerate(kinds)},
        **{f"allocstall_{event_suffix(kind)}": vmstat.allocstall[index] for index, kind in enumerate(kinds)},
        "pgfree": int(vmstat.pgfree),
        "pgfault": int(vmstat.pgfault),
        "pgmajfault": int(vmstat.pgmajfault),
        "pgreuse": int(vmstat.pgreuse),
        "pgmigrate_success": int(vmstat.pgmigrate_success),
        "pgmigrate_fail": int(vmstat.pgmigrate_fail),
        "oom_kill": int(vmstat.oom_kill),
        "unevictable_pgs_culled": int(vmstat.unevictable_pgs_culled),
        "unevictable_pgs_scanned": int(vmstat.unevictable_pgs_scanned),
        "unevictable_pgs_mlocked": int(vmstat.unevictable_pgs_mlocked),
        "unevictable_pgs_munlocked": int(vmstat.unevictable_pgs_munlocked),
        "unevictable_pgs_rescued": int(vmstat.unevictable_pgs_rescued),
        "unevictable_pgs_cleared": int(vmstat.unevictable_pgs_cleared),
    } | reclaim_events(vmstat)


def reclaim_events(vmstat: VmStat) -> dict[str, int]:
    """What reclaim and swap have done since boot."""
    return {
        "pswpin": int(vmstat.pswpin),
        "pswpout": int(vmstat.pswpout),
        "swpin_zero": int(vmstat.swpin_zero),
        "swpout_zero": int(vmstat.swpout_zero),
        "zswpin": int(vmstat.zswpin),
        "zswpout": int(vmstat.zswpout),
        "zswpwb": int(vmstat.zswpwb),
        "swap_ra": int(vmstat.swap_ra),
        "swap_ra_hit": int(vmstat.swap_ra_hit),
        "pgactivate": int(vmstat.pgactivate),
        "pgdeactivate": int(vmstat.pgdeactivate),
        "pgrefill": int(vmstat.pgrefill),
        "pgrotated": int(vmstat.pgrotated),
        "pglazyfree": int(vmstat.pglazyfree),
        "pglazyfreed": int(vmstat.pglazyfreed),
        "pgscan_kswapd": int(vmstat.pgscan_kswapd),
        "pgscan_direct": int(vmstat.pgscan_direct),
        "pgscan_proactive": int(vmstat.pgscan_proactive),
        "pgscan_anon": int(vmstat.pgscan_anon),
        "pgscan_file": int(vmstat.pgscan_file),
        "pgsteal_kswapd": int(vmstat.pgsteal_kswapd),
        "pgsteal_direct": int(vmstat.pgsteal_direct),
        "pgsteal_proactive": int(vmstat.pgsteal_proactive),
        "pgsteal_anon": int(vmstat.pgsteal_anon),
        "pgsteal_file": int(vmstat.pgsteal_file),
        "pageoutrun": int(vmstat.pageoutrun),
        "kswapd_low_wmark_hit_quickly": int(vmstat.kswapd_low_wmark_hit_quickly),
        "kswapd_high_wmark_hit_quickly": int(vmstat.kswapd_high_wmark_hit_quickly),
        "drop_pagecache": int(vmstat.drop_pagecache),
        "drop_slab": int(vmstat.drop_slab),
    }


def vmstat_text(system: System) -> str:
    """/proc/vmstat."""
    zones = added_up([zone_stats(zone) for zone in system.zones])
    for lru, name in enumerate(LRU_NAMES):
        zones[f"nr_zone_{name}"] = system.page_state(lru)
    zones["nr_zone_write_pending"] = int(system.vmstat.nr_dirty)
    zones["nr_mlock"] = int(system.vmstat.nr_mlock)
    node = added_up([node_stats(system, nid) for nid in range(len(system.nodes))])
    events = event_stats(system)
    linux, arch = system.config.linux, system.config.arch
    lines = [f"{name} {zones.get(name, 0)}\n" for name in of_release(ZONE_STATS + NUMA_STATS, linux, arch)]
    lines += [f"{name} {node.get(name, 0)}\n" for name in of_release(NODE_STATS, linux, arch)]
    lines += [f"{name} {events.get(name, 0)}\n" for name in of_release(EVENTS, linux, arch)]
    return "".join(lines)


def added_up(counters: list[dict[str, int]]) -> dict[str, int]:
    """Counters of zones or nodes, added up by name."""
    total: dict[str, int] = {}
    for stats in counters:
        for name, value in stats.items():
            total[name] = total.get(name, 0) + value
    return total


def buddyinfo_text(system: System) -> str:
    """/proc/buddyinfo."""
    return buddyinfo_of(system.zones)


def pagetypeinfo_text(system: System) -> str:
    """/proc/pagetypeinfo."""
    return pagetypeinfo_of(system.zones, sections_of(system.config, system.ranges()))


def zoneinfo_text(system: System) -> str:
    """/proc/zoneinfo: every zone of every node, the node's own counters with its first zone that has memory."""
    parts = []
    told: set[int] = set()
    stats_of = all_zone_stats(system)
    linux, arch = system.config.linux, system.config.arch
    for zone in system.zones:
        nid = int(zone.node_id)
        parts.append(f"Node {nid}, zone {zone.name:>8}")
        if zone.present_pages and nid not in told:
            told.add(nid)
            node = node_stats(system, nid)
            parts.append("\n  per-node stats")
            parts += [f"\n      {stat:<12} {node.get(stat, 0)}" for stat in of_release(NODE_STATS, linux, arch)]
        parts.append(zone_text(zone, stats_of[key_of(zone)], system.config.cpus, int(system.page_shift), linux, arch))
    return "".join(parts)


def file_lru_pages(system: System) -> int:
    """Pages on the lists of file pages."""
    return system.page_state(LRU_INACTIVE_FILE) + system.page_state(LRU_ACTIVE_FILE)


def kernel_stack_kb(system: System) -> int:
    """What the tasks' kernel stacks take."""
    return system.stacks.kbytes()
