"""What a group's memory is: memory.stat, read off the frames that are charged to it.

Sources: Documentation/admin-guide/cgroup-v2.rst, memory.stat.

Mirrors: mm/memcontrol.c (memory_stat_format) (6.18)
Differs: counted anew at each reading; events of reclaim are not kept for each group and are 0.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.mm.lru_names import LRU_NAMES
from pagewalk.mm.lruvec import folio_lru_list
from pagewalk.mm.memcontrol import MemCgroup
from pagewalk.mm.page import Page, PG_anon, PG_dirty, PG_lru, PG_swapbacked, PG_swapcache, PG_table, PG_writeback

if TYPE_CHECKING:
    from pagewalk.mm.system import System

# Sizes in bytes, in Linux's order; then events.
STAT_SIZES: Final = (
    "anon", "file", "kernel", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "sock", "vmalloc", "shmem",
    "zswap", "zswapped", "file_mapped", "file_dirty", "file_writeback", "swapcached", "anon_thp", "file_thp",
    "shmem_thp", "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable", "slab_reclaimable",
    "slab_unreclaimable", "slab",
)  # fmt: skip
STAT_EVENTS: Final = (
    "workingset_refault_anon", "workingset_refault_file", "workingset_activate_anon", "workingset_activate_file",
    "workingset_restore_anon", "workingset_restore_file", "workingset_nodereclaim", "pgdemote_kswapd",
    "pgdemote_direct", "pgdemote_khugepaged", "pgdemote_proactive", "pgscan", "pgsteal", "pgscan_kswapd",
    "pgscan_direct", "pgscan_khugepaged", "pgscan_proactive", "pgsteal_kswapd", "pgsteal_direct",
    "pgsteal_khugepaged", "pgsteal_proactive", "pgfault", "pgmajfault", "pgrefill", "pgactivate", "pgdeactivate",
    "pglazyfree", "pglazyfreed", "swpin_zero", "swpout_zero", "zswpin", "zswpout", "zswpwb", "thp_fault_alloc",
    "thp_collapse_alloc", "thp_swpout", "thp_swpout_fallback", "numa_pages_migrated", "numa_pte_updates",
    "numa_hint_faults",
)  # fmt: skip


def charged_pages(system: "System", group: MemCgroup) -> list[Page]:
    """Frames that are charged to the group, to those below it, and to those that were removed from below it."""
    idents = {other.ident for other in system.memcg.groups if group.contains(other)}
    found: list[Page] = []
    for section in system.mem_map.sections:
        if section is not None:
            for page in section:
                if page is not None and page.refcount > 0 and page.memcg != 0 and int(page.memcg) in idents:
                    found.append(page)
    return found


def memory_stat(system: "System", group: MemCgroup, faults: tuple[int, int]) -> dict[str, int]:
    """memory.stat by name; ``faults``: (all, major) of the tasks that the group has now."""
    stat = dict.fromkeys(STAT_SIZES + STAT_EVENTS, 0)
    page_size = int(system.page_size)
    for page in charged_pages(system, group):
        for name in page_kinds(page):
            stat[name] += page_size << int(page.order) if not page.flags & PG_lru else page_size
    stat["kernel"] = stat["pagetables"]
    stat["pgfault"] = faults[0] + sum([other.pgfault for other in group.subtree()])
    stat["pgmajfault"] = faults[1] + sum([other.pgmajfault for other in group.subtree()])
    return stat


def page_kinds(page: Page) -> list[str]:
    """What a charged page counts as."""
    flags = page.flags
    if flags & PG_table:
        return ["pagetables"]
    kinds: list[str] = []
    if flags & PG_anon:
        kinds.append("anon")
    elif page.mapping is not None:
        kinds.append("file")
        if flags & PG_swapbacked:
            kinds.append("shmem")
        if page.mapcount > 0:
            kinds.append("file_mapped")
        if flags & PG_dirty:
            kinds.append("file_dirty")
        if flags & PG_writeback:
            kinds.append("file_writeback")
    if flags & PG_swapcache:
        kinds.append("swapcached")
    if flags & PG_lru:
        kinds.append(LRU_NAMES[folio_lru_list(page)])
    return kinds


def memory_stat_text(stat: dict[str, int]) -> str:
    """memory.stat, a line each."""
    return "".join([f"{name} {value}\n" for name, value in stat.items()])
