"""Counters as Linux prints them: /proc/vmstat, zoneinfo and buddyinfo, from the model's own state.

Mirrors: mm/vmstat.c (6.18)
Differs: what the model does not have yet (huge pages) prints as 0; what is written to files and swap is counted for the
    machine, and told of node 0.
"""

from typing import Final

from pagewalk.arch.zone_limits import KIND_NAMES, ZONE_KINDS
from pagewalk.mm.lru_names import LRU_ACTIVE_FILE, LRU_INACTIVE_FILE, LRU_NAMES
from pagewalk.mm.node_stat import key_of, lru_of_zones, pages_of_node, workingset_of
from pagewalk.mm.system import System
from pagewalk.mm.vmstat import VmStat
from pagewalk.mm.zone import NR_PAGE_ORDERS, Zone
from pagewalk.mm.zoneinfo import NUMA_STATS, ZONE_STATS, buddyinfo_of, numa_stats, pagetypeinfo_of, zone_text

NODE_STATS: Final = """
    nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable nr_slab_reclaimable
    nr_slab_unreclaimable nr_isolated_anon nr_isolated_file workingset_nodes workingset_refault_anon
    workingset_refault_file workingset_activate_anon workingset_activate_file workingset_restore_anon
    workingset_restore_file workingset_nodereclaim nr_anon_pages nr_mapped nr_file_pages nr_dirty nr_writeback
    nr_shmem nr_shmem_hugepages nr_shmem_pmdmapped nr_file_hugepages nr_file_pmdmapped
    nr_anon_transparent_hugepages nr_vmscan_write nr_vmscan_immediate_reclaim nr_dirtied nr_written
    nr_throttled_written nr_kernel_misc_reclaimable nr_foll_pin_acquired nr_foll_pin_released nr_kernel_stack
    nr_page_table_pages nr_sec_page_table_pages nr_iommu_pages nr_swapcached pgpromote_success
    pgpromote_candidate pgpromote_candidate_nrl pgdemote_kswapd pgdemote_direct pgdemote_khugepaged
    pgdemote_proactive nr_hugetlb nr_balloon_pages nr_kernel_file_pages
""".split()

EVENTS: Final = """
    nr_dirty_threshold nr_dirty_background_threshold nr_memmap_pages nr_memmap_boot_pages pgpgin pgpgout pswpin
    pswpout pgalloc_dma pgalloc_dma32 pgalloc_normal pgalloc_movable pgalloc_device allocstall_dma
    allocstall_dma32 allocstall_normal allocstall_movable allocstall_device pgskip_dma pgskip_dma32
    pgskip_normal pgskip_movable pgskip_device pgfree pgactivate pgdeactivate pglazyfree pgfault pgmajfault
    pglazyfreed pgrefill pgreuse pgsteal_kswapd pgsteal_direct pgsteal_khugepaged pgsteal_proactive
    pgscan_kswapd pgscan_direct pgscan_khugepaged pgscan_proactive pgscan_direct_throttle pgscan_anon
    pgscan_file pgsteal_anon pgsteal_file zone_reclaim_success zone_reclaim_failed pginodesteal slabs_scanned
    kswapd_inodesteal kswapd_low_wmark_hit_quickly kswapd_high_wmark_hit_quickly pageoutrun pgrotated
    drop_pagecache drop_slab oom_kill numa_pte_updates numa_huge_pte_updates numa_hint_faults
    numa_hint_faults_local numa_pages_migrated pgmigrate_success pgmigrate_fail thp_migration_success
    thp_migration_fail thp_migration_split compact_migrate_scanned compact_free_scanned compact_isolated
    compact_stall compact_fail compact_success compact_daemon_wake compact_daemon_migrate_scanned
    compact_daemon_free_scanned htlb_buddy_alloc_success htlb_buddy_alloc_fail unevictable_pgs_culled
    unevictable_pgs_scanned unevictable_pgs_rescued unevictable_pgs_mlocked unevictable_pgs_munlocked
    unevictable_pgs_cleared unevictable_pgs_stranded thp_fault_alloc thp_fault_fallback
    thp_fault_fallback_charge thp_collapse_alloc thp_collapse_alloc_failed thp_file_alloc thp_file_fallback
    thp_file_fallback_charge thp_file_mapped thp_split_page thp_split_page_failed thp_deferred_split_page
    thp_underused_split_page thp_split_pmd thp_scan_exceed_none_pte thp_scan_exceed_swap_pte
    thp_scan_exceed_share_pte thp_split_pud thp_zero_page_alloc thp_zero_page_alloc_failed thp_swpout
    thp_swpout_fallback balloon_inflate balloon_deflate balloon_migrate swap_ra swap_ra_hit swpin_zero
    swpout_zero ksm_swpin_copy cow_ksm zswpin zswpout zswpwb direct_map_level2_splits direct_map_level3_splits
    direct_map_level2_collapses direct_map_level3_collapses nr_unstable
""".split()


def all_zone_stats(system: System) -> dict[tuple[int, int], dict[str, int]]:
    """Counters of each zone, by (node, index)."""
    found = {key_of(zone): zone_stats(zone) for zone in system.zones}
    for key, stats in lru_of_zones(system).items():
        found[key] |= stats
    return found


def zone_stats(zone: Zone) -> dict[str, int]:
    """Counters of one zone that it keeps itself."""
    blocks = range(int(zone.pageblock_order), NR_PAGE_ORDERS)
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
    kinds = ZONE_KINDS[system.config.arch]
    return {
        "nr_dirty_threshold": dirtyable * 20 // 100,
        "nr_dirty_background_threshold": dirtyable * 10 // 100,
        "nr_memmap_boot_pages": memmap,
        "pgpgin": int(vmstat.pgpgin),
        "pgpgout": int(vmstat.pgpgout),
        **{f"pgalloc_{KIND_NAMES[kind].lower()}": vmstat.pgalloc[index] for index, kind in enumerate(kinds)},
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
        "allocstall_dma": vmstat.allocstall[0],
        "allocstall_dma32": vmstat.allocstall[1],
        "allocstall_normal": vmstat.allocstall[2],
        "allocstall_movable": vmstat.allocstall[3],
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
    lines = [f"{name} {zones.get(name, 0)}\n" for name in ZONE_STATS + NUMA_STATS]
    lines += [f"{name} {node.get(name, 0)}\n" for name in NODE_STATS]
    lines += [f"{name} {events.get(name, 0)}\n" for name in EVENTS]
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
    return pagetypeinfo_of(system.zones)


def zoneinfo_text(system: System) -> str:
    """/proc/zoneinfo: every zone of every node, the node's own counters with its first zone that has memory."""
    parts = []
    told: set[int] = set()
    stats_of = all_zone_stats(system)
    for zone in system.zones:
        nid = int(zone.node_id)
        parts.append(f"Node {nid}, zone {zone.name:>8}")
        if zone.present_pages and nid not in told:
            told.add(nid)
            node = node_stats(system, nid)
            parts.append("\n  per-node stats")
            parts += [f"\n      {stat:<12} {node.get(stat, 0)}" for stat in NODE_STATS]
        parts.append(zone_text(zone, stats_of[key_of(zone)], system.config.cpus, int(system.page_shift)))
    return "".join(parts)


def file_lru_pages(system: System) -> int:
    """Pages on the lists of file pages."""
    return system.page_state(LRU_INACTIVE_FILE) + system.page_state(LRU_ACTIVE_FILE)


def kernel_stack_kb(system: System) -> int:
    """What the tasks' kernel stacks take."""
    return system.stacks.kbytes()
