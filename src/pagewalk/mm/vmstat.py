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
    """

    def __init__(self) -> None:
        self.nr_anon_mapped: i64 = 0
        self.nr_file_pages: i64 = 0
        self.nr_file_mapped: i64 = 0
        self.nr_shmem: i64 = 0
        self.nr_dirty: i64 = 0
        self.nr_page_table_pages: i64 = 0
        self.nr_mlock: i64 = 0
        self.nr_dirtied: i64 = 0
        self.nr_written: i64 = 0
        self.pgfault: i64 = 0
        self.pgmajfault: i64 = 0
        self.pgfree: i64 = 0
        self.pgalloc: list[int] = [0, 0, 0]
        self.pgpgin: i64 = 0  # KiB read from files
        self.pgpgout: i64 = 0
        self.pgreuse: i64 = 0
        self.unevictable_pgs_mlocked: i64 = 0
        self.unevictable_pgs_munlocked: i64 = 0
        self.drop_pagecache: i64 = 0
