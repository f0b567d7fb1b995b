"""The machine's counters: events since boot and pages by use.

Mirrors: mm/vmstat.c, include/linux/vm_event_item.h (6.18)
Differs: exact at any time (no per-CPU deltas); only events that the model produces are kept.
"""

from typing import final

from mypy_extensions import i64


@final
class VmStat:
    """Events (pgfault, ...) only grow; nr_* are pages in use now.

    nr_anon_mapped   anonymous pages mapped into user page tables
    nr_file_pages    pages in the page cache, shared memory included
    nr_file_mapped   page-cache pages mapped into user page tables
    nr_shmem         page-cache pages of tmpfs and shared memory
    nr_dirty         page-cache pages that differ from their file
    nr_page_table_pages  frames that hold page tables
    nr_mlock         pages held by mlock
    nr_vmalloc_pages pages that vmalloc gave out
    """

    def __init__(self) -> None:
        self.nr_anon_mapped: i64 = 0
        self.nr_file_pages: i64 = 0
        self.nr_file_mapped: i64 = 0
        self.nr_shmem: i64 = 0
        self.nr_dirty: i64 = 0
        self.nr_page_table_pages: i64 = 0
        self.nr_mlock: i64 = 0
        self.nr_vmalloc_pages: i64 = 0
        self.nr_dirtied: i64 = 0
        self.nr_written: i64 = 0
        self.pgfault: i64 = 0
        self.pgmajfault: i64 = 0
        self.pgfree: i64 = 0
        self.pgalloc: list[int] = [0] * 6  # by zone index
        self.pgpgin: i64 = 0  # KiB read from files
        self.pgpgout: i64 = 0
        self.pgreuse: i64 = 0
        self.unevictable_pgs_culled: i64 = 0
        self.unevictable_pgs_scanned: i64 = 0
        self.unevictable_pgs_mlocked: i64 = 0
        self.unevictable_pgs_munlocked: i64 = 0
        self.unevictable_pgs_rescued: i64 = 0
        self.unevictable_pgs_cleared: i64 = 0
        self.drop_pagecache: i64 = 0
        self.pgmigrate_success: i64 = 0
        self.pgmigrate_fail: i64 = 0
        self.oom_kill: i64 = 0
        # Reclaim.
        self.pgactivate: i64 = 0
        self.pgdeactivate: i64 = 0
        self.pgrefill: i64 = 0
        self.pgrotated: i64 = 0
        self.pglazyfree: i64 = 0
        self.pglazyfreed: i64 = 0
        self.pgscan_kswapd: i64 = 0
        self.pgscan_direct: i64 = 0
        self.pgscan_proactive: i64 = 0
        self.pgscan_anon: i64 = 0
        self.pgscan_file: i64 = 0
        self.pgsteal_kswapd: i64 = 0
        self.pgsteal_direct: i64 = 0
        self.pgsteal_proactive: i64 = 0
        self.pgsteal_anon: i64 = 0
        self.pgsteal_file: i64 = 0
        self.allocstall: list[int] = [0] * 5  # by index of the zone
        self.pageoutrun: i64 = 0
        self.kswapd_low_wmark_hit_quickly: i64 = 0
        self.kswapd_high_wmark_hit_quickly: i64 = 0
        self.nr_vmscan_write: i64 = 0
        self.nr_vmscan_immediate_reclaim: i64 = 0
        self.drop_slab: i64 = 0
        self.workingset_refault: list[int] = [0, 0]  # anon, file
        self.workingset_activate: list[int] = [0, 0]
        self.workingset_restore: list[int] = [0, 0]
        # Swap.
        self.pswpin: i64 = 0
        self.pswpout: i64 = 0
        self.swpin_zero: i64 = 0
        self.swpout_zero: i64 = 0
        self.zswpin: i64 = 0
        self.zswpout: i64 = 0
        self.zswpwb: i64 = 0
        self.swap_ra: i64 = 0
        self.swap_ra_hit: i64 = 0
        self.nr_swapcached: i64 = 0
