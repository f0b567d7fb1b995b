"""The names in /proc/vmstat and zoneinfo, in the order in which each release prints them.

Mirrors: mm/vmstat.c (vmstat_text) (6.18, 6.12, 6.1)
Differs: as kernels of distributions are configured, without what has no page of its own in the model (contiguous
    memory areas, unaccepted memory).
"""

from typing import Final

from pagewalk.arch.zone_limits import HIGHMEM, KIND_NAMES, zone_kinds

ZONE_STATS: Final = """
    nr_free_pages nr_free_pages_blocks nr_zone_inactive_anon nr_zone_active_anon nr_zone_inactive_file
    nr_zone_active_file nr_zone_unevictable nr_zone_write_pending nr_mlock nr_zspages nr_free_cma
""".split()

NUMA_STATS: Final = """
    numa_hit numa_miss numa_foreign numa_interleave numa_local numa_other
""".split()

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

# What older releases do not have, and what they have besides: name, and the one that it stands behind.
NEWER_THAN_6_12: Final = frozenset(
    """
    nr_free_pages_blocks pgpromote_candidate_nrl pgdemote_proactive nr_hugetlb nr_balloon_pages nr_kernel_file_pages
    pgsteal_proactive pgscan_proactive direct_map_level2_collapses direct_map_level3_collapses
    """.split()
)
NEWER_THAN_6_1: Final = NEWER_THAN_6_12 | frozenset(
    """
    nr_iommu_pages pgdemote_khugepaged nr_memmap_pages nr_memmap_boot_pages pgsteal_khugepaged pgscan_khugepaged
    zone_reclaim_success thp_underused_split_page swpin_zero swpout_zero zswpwb
    """.split()
)
NOT_IN_6_18: Final = {"nr_bounce": "nr_mlock", "nr_writeback_temp": "nr_writeback"}
EVENTS_IN_6_1: Final = {"pgdemote_kswapd": "pgsteal_direct", "pgdemote_direct": "pgdemote_kswapd"}


# What kernels are configured without: transparent huge pages of 1 GiB, a direct map that is split, nodes.
_X86_64_ALONE: Final = frozenset({"thp_split_pud"})
_X86_ALONE: Final = frozenset([name for name in EVENTS if name.startswith("direct_map_")])
_NUMA_ALONE: Final = frozenset(
    [*NUMA_STATS, "zone_reclaim_success", "zone_reclaim_failed"]
    + [name for name in EVENTS if name.startswith("numa_")]
    + [name for name in NODE_STATS if name.startswith("pgpromote_")]
)
_32_BIT_X86: Final = _X86_64_ALONE | _NUMA_ALONE
_OTHERS: Final = _X86_64_ALONE | _X86_ALONE
_NOT_CONFIGURED: Final = {
    "x86_64": frozenset(), "x86_32": _32_BIT_X86, "x86_pae": _32_BIT_X86, "riscv32": _OTHERS | _NUMA_ALONE,
}  # fmt: skip
_BY_ZONE: Final = ("pgalloc_", "allocstall_", "pgskip_")
_SUFFIXES: Final = ("dma", "dma32", "normal", "movable", "device")


def of_release(names: list[str], linux: str, arch: str = "x86_64") -> list[str]:
    """Those of ``names`` that a release prints on an architecture, in its order."""
    missing: frozenset[str] = _NOT_CONFIGURED.get(arch, _OTHERS)
    return [name for name in by_zone(as_printed(names, linux), linux, arch) if name not in missing]


def by_zone(names: list[str], linux: str, arch: str) -> list[str]:
    """Counters of a zone each, for the zones that the architecture has."""
    kinds = [event_suffix(kind) for kind in zone_kinds(arch, linux)]
    found: list[str] = []
    for name in names:
        prefix = next((each for each in _BY_ZONE if name.startswith(each)), "")
        if not prefix or name.removeprefix(prefix) not in _SUFFIXES:
            found.append(name)
        elif name == f"{prefix}dma":
            found += [f"{prefix}{kind}" for kind in kinds]
    return found


def event_suffix(kind: int) -> str:
    """A kind of zone in the names of counters: "dma32", "high"."""
    return "high" if kind == HIGHMEM else KIND_NAMES[kind].lower()


def as_printed(names: list[str], linux: str) -> list[str]:
    """Those of ``names`` that a release has, in its order."""
    if linux == "6.18":
        return names
    old = linux == "6.1"
    events = names[0] == EVENTS[0]
    newer = NEWER_THAN_6_1 if old else NEWER_THAN_6_12
    found = [name for name in names if name not in newer and (not old or events or name not in EVENTS_IN_6_1)]
    if events and not old:
        return found
    for name, before in (EVENTS_IN_6_1 if events else NOT_IN_6_18).items():
        if before in found:
            found.insert(found.index(before) + 1, name)
    return found
