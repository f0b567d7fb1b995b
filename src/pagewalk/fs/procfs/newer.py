"""Files of /proc/sys, /sys and cgroups that came after the oldest release that is modelled.

Names as kernels 6.1.176, 6.12.107 and 6.18.15 list them.

Mirrors: kernel/sysctl.c, mm/huge_memory.c, mm/ksm.c, mm/mempolicy.c, mm/memcontrol.c (6.18, 6.12, 6.1)
Differs: nothing.
"""

from typing import Final

from pagewalk.fs.procfs.tree import Tree

# By path below /proc/sys, /sys or in a cgroup's directory; a directory stands for all below it.
NEWER_THAN_6_12: Final = frozenset(
    """
    vm/defrag_mode vm/vfs_cache_pressure_denom vm/shrink_inodes_with_pagecache kernel/hung_task_detect_count
    kernel/panic_sys_info kernel/core_modes fs/fanotify/watchdog_timeout fs/dentry-negative
    """.split()
)
NEWER_THAN_6_1: Final = NEWER_THAN_6_12 | frozenset(
    """
    vm/memfd_noexec kernel/core_file_note_size_limit kernel/core_sort_vma kernel/io_uring_disabled
    kernel/io_uring_group kernel/mm/transparent_hugepage/shrink_underused kernel/mm/mempolicy kernel/mm/ksm/smart_scan
    kernel/mm/ksm/pages_scanned kernel/mm/ksm/pages_skipped kernel/mm/ksm/ksm_zero_pages kernel/mm/ksm/general_profit
    memory.zswap.writeback memory.swap.peak
    """.split()
)
_NONE: Final[frozenset[str]] = frozenset()


def newer_than(linux: str) -> frozenset[str]:
    """Paths that a release does not have."""
    return {"6.1": NEWER_THAN_6_1, "6.12": NEWER_THAN_6_12}.get(linux, _NONE)


def as_of(tree: Tree, linux: str) -> Tree:
    """The tree without what came after a release."""
    for path in newer_than(linux):
        tree.remove(path)
    return tree
