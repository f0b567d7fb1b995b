"""The lines of a memory cgroup's files, in Linux's order, and the numbers of the events that are counted for it.

Sources: Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files".

Mirrors: mm/memcontrol.c (memory_stats, memcg_vm_event_stat), include/linux/memcontrol.h (memcg_memory_event) (6.18)
Differs: nothing.
"""

from typing import Final

# memory.events, then memory.swap.events.
MEMCG_LOW: Final = 0
MEMCG_HIGH: Final = 1
MEMCG_MAX: Final = 2
MEMCG_OOM: Final = 3
MEMCG_OOM_KILL: Final = 4
MEMCG_OOM_GROUP_KILL: Final = 5
MEMCG_SWAP_HIGH: Final = 6
MEMCG_SWAP_MAX: Final = 7
MEMCG_SWAP_FAIL: Final = 8
MEMCG_NR_MEMORY_EVENTS: Final = 9
EVENT_NAMES: Final = ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")
SWAP_EVENT_NAMES: Final = ("high", "max", "fail")

# memory.stat: sizes in bytes.
STAT_SIZES: Final = (
    "anon", "file", "kernel", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "sock", "vmalloc", "shmem",
    "zswap", "zswapped", "file_mapped", "file_dirty", "file_writeback", "swapcached", "anon_thp", "file_thp",
    "shmem_thp", "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable", "slab_reclaimable",
    "slab_unreclaimable", "slab",
)  # fmt: skip
# Then events; the numbers below are places in this row.
STAT_EVENTS: Final = (
    "workingset_refault_anon", "workingset_refault_file", "workingset_activate_anon", "workingset_activate_file",
    "workingset_restore_anon", "workingset_restore_file", "workingset_nodereclaim", "pgdemote_kswapd",
    "pgdemote_direct", "pgdemote_khugepaged", "pgdemote_proactive", "pgpromote_success", "pgscan", "pgsteal",
    "pswpin", "pswpout", "pgscan_kswapd", "pgscan_direct", "pgscan_khugepaged", "pgscan_proactive", "pgsteal_kswapd",
    "pgsteal_direct", "pgsteal_khugepaged", "pgsteal_proactive", "pgfault", "pgmajfault", "pgrefill", "pgactivate",
    "pgdeactivate", "pglazyfree", "pglazyfreed", "swpin_zero", "swpout_zero", "zswpin", "zswpout", "zswpwb",
    "thp_fault_alloc", "thp_collapse_alloc", "thp_swpout", "thp_swpout_fallback", "numa_pages_migrated",
    "numa_pte_updates", "numa_hint_faults",
)  # fmt: skip
PSWPIN: Final = 14
PSWPOUT: Final = 15
PGSCAN_KSWAPD: Final = 16
PGSCAN_DIRECT: Final = 17
PGSCAN_PROACTIVE: Final = 19
PGSTEAL_KSWAPD: Final = 20
PGSTEAL_DIRECT: Final = 21
PGSTEAL_PROACTIVE: Final = 23
PGFAULT: Final = 24
PGMAJFAULT: Final = 25
PGREFILL: Final = 26
PGACTIVATE: Final = 27
PGDEACTIVATE: Final = 28
PGLAZYFREE: Final = 29
PGLAZYFREED: Final = 30
SWPIN_ZERO: Final = 31
SWPOUT_ZERO: Final = 32
ZSWPIN: Final = 33
ZSWPOUT: Final = 34
ZSWPWB: Final = 35
NR_STAT_EVENTS: Final = 43

# What older releases do not print.
NEWER_THAN_6_12: Final = frozenset({"pgdemote_proactive", "pswpin", "pswpout", "pgscan_proactive", "pgsteal_proactive"})
NEWER_THAN_6_1: Final = NEWER_THAN_6_12 | frozenset(
    """
    pgdemote_kswapd pgdemote_direct pgdemote_khugepaged pgpromote_success pgscan_khugepaged pgsteal_khugepaged
    swpin_zero swpout_zero zswpwb thp_swpout thp_swpout_fallback numa_pages_migrated numa_pte_updates numa_hint_faults
    """.split()
)
# memory.numa_stat: what of memory.stat is counted for each node, and "hugetlb" between the two.
_NOT_OF_NODES: Final = ("kernel", "percpu", "sock", "vmalloc", "zswap", "zswapped", "slab")
NUMA_SIZES: Final = tuple([name for name in STAT_SIZES if name not in _NOT_OF_NODES])
NUMA_EVENTS: Final = tuple(
    [name for name in STAT_EVENTS if name.startswith(("workingset_", "pgdemote_", "pgpromote_"))]
)


def numa_stat_names(linux: str) -> list[str]:
    """The lines of memory.numa_stat, as a release prints them."""
    newer = {"6.1": NEWER_THAN_6_1, "6.12": NEWER_THAN_6_12}.get(linux, frozenset())
    between = ("hugetlb",) if linux == "6.18" else ()
    return [name for name in NUMA_SIZES + between + NUMA_EVENTS if name not in newer]


def stat_names(linux: str) -> list[str]:
    """The lines of memory.stat, as a release prints them."""
    newer = {"6.1": NEWER_THAN_6_1, "6.12": NEWER_THAN_6_12}.get(linux, frozenset())
    return [name for name in STAT_SIZES + STAT_EVENTS if name not in newer]
