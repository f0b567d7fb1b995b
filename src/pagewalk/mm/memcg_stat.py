"""What a group's memory is: memory.stat, read off the frames that are charged to it, and the events counted for it.

Sources: Documentation/admin-guide/cgroup-v2.rst, memory.stat.

Mirrors: mm/memcontrol.c (memory_stat_format) (6.18)
Differs: sizes are counted anew at each reading; nothing is charged for per-CPU memory, sockets and vmalloc.
"""

from typing import TYPE_CHECKING

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.lru_names import LRU_NAMES
from pagewalk.mm.lruvec import folio_lru_list
from pagewalk.mm.mem_cgroup import MemCgroup
from pagewalk.mm.memcg_names import (
    PGFAULT,
    PGMAJFAULT,
    PGSCAN_DIRECT,
    PGSCAN_KSWAPD,
    PGSCAN_PROACTIVE,
    PGSTEAL_DIRECT,
    PGSTEAL_KSWAPD,
    PGSTEAL_PROACTIVE,
    STAT_EVENTS,
    STAT_SIZES,
    numa_stat_names,
    stat_names,
)
from pagewalk.mm.page import Page, PG_anon, PG_lru, PG_slab, PG_swapbacked, PG_swapcache, PG_table, PG_writeback

if TYPE_CHECKING:
    from pagewalk.mm.lruvec import ReclaimPolicy
    from pagewalk.mm.system import System


def charged_pages(system: "System", group: MemCgroup) -> list[Page]:
    """Frames that are charged to the group, to those below it, and to those that were removed from below it; for the
    root all of programs, files and page tables."""
    idents = {other.ident for other in group.subtree_with_dying()}
    found: list[Page] = []
    for section in system.mem_map.sections:
        if section is not None:
            for page in section:
                if page is not None and page.refcount > 0 and int(page.memcg) in idents and is_user(page):
                    found.append(page)
    return found


def is_user(page: Page) -> bool:
    """Whether a page is charged, to the root too: it is a program's, a file's or a page table."""
    return page.memcg != 0 or page.flags & (PG_lru | PG_table) != 0


def memory_stat(system: "System", group: MemCgroup, faults: tuple[int, int]) -> dict[str, int]:
    """memory.stat by name; ``faults``: (all, major) of the tasks that the group has now."""
    stat = dict.fromkeys(STAT_SIZES + STAT_EVENTS, 0)
    page_size = int(system.page_size)
    for page in charged_pages(system, group):
        for name in page_kinds(page):
            stat[name] += page_size << int(page.order) if not page.flags & PG_lru else page_size
    below = group.subtree_with_dying()
    stat["kernel_stack"] = sum([int(other.stack_pages) for other in below]) * page_size
    stat["slab_unreclaimable"] = stat["slab"] = sum([int(other.slab_bytes) for other in below])
    paid = sum([int(other.kmem_paid) for other in below]) * page_size
    stat["zswap"] = int(group.zswap_bytes)
    stat["zswapped"] = int(group.zswapped) * page_size
    stat["kernel"] = stat["pagetables"] + stat["kernel_stack"] + paid  # which has zswap's bytes
    if group.parent is None:
        root_kernel(system, stat)
    for node in system.nodes:
        add_workingset(stat, [node.lruvecs[other.ident] for other in below])
    for which, name in enumerate(STAT_EVENTS):
        stat[name] += sum([other.vm_events[which] for other in below])
    stat[STAT_EVENTS[PGFAULT]] += faults[0]
    stat[STAT_EVENTS[PGMAJFAULT]] += faults[1]
    stat["pgscan"] = sum([stat[STAT_EVENTS[at]] for at in (PGSCAN_KSWAPD, PGSCAN_DIRECT, PGSCAN_PROACTIVE)])
    stat["pgsteal"] = sum([stat[STAT_EVENTS[at]] for at in (PGSTEAL_KSWAPD, PGSTEAL_DIRECT, PGSTEAL_PROACTIVE)])
    return stat


def root_kernel(system: "System", stat: dict[str, int]) -> None:
    """The root's kernel memory is the machine's."""
    stat["kernel_stack"] = system.stacks.kbytes() << 10
    slab = system.slab.nr_pages() * int(system.page_size)
    stat["slab"] = slab
    stat["slab_reclaimable"] = system.slab.nr_reclaimable() * int(system.page_size)
    stat["slab_unreclaimable"] = slab - stat["slab_reclaimable"]
    stat["kernel"] = stat["pagetables"] + stat["kernel_stack"] + slab + stat["zswap"]


def numa_stat_text(system: "System", group: MemCgroup) -> str:
    """memory.numa_stat: a line for each kind, a figure for each node. Kernel stacks and objects are node 0's."""
    nodes = [dict.fromkeys(numa_stat_names(system.config.linux), 0) for _ in system.nodes]
    page_size = int(system.page_size)
    for page in charged_pages(system, group):
        stat = nodes[int(system.node.zone_of(page.pfn).node_id)]
        for name in page_kinds(page):
            stat[name] += page_size << int(page.order) if not page.flags & PG_lru else page_size
    below = group.subtree_with_dying()
    nodes[0]["kernel_stack"] = sum([int(other.stack_pages) for other in below]) * page_size
    nodes[0]["slab_unreclaimable"] = sum([int(other.slab_bytes) for other in below])
    if group.parent is None:
        nodes[0]["kernel_stack"] = system.stacks.kbytes() << 10
        nodes[0]["slab_reclaimable"] = system.slab.nr_reclaimable() * page_size
        nodes[0]["slab_unreclaimable"] = system.slab.nr_pages() * page_size - nodes[0]["slab_reclaimable"]
    for node, stat in zip(system.nodes, nodes, strict=True):
        add_workingset(stat, [node.lruvecs[other.ident] for other in below])
    lines = []
    for name in numa_stat_names(system.config.linux):
        counts = " ".join([f"N{nid}={stat[name]}" for nid, stat in enumerate(nodes)])
        lines.append(f"{name} {counts}\n")
    return "".join(lines)


def add_workingset(stat: dict[str, int], lruvecs: "list[ReclaimPolicy]") -> None:
    """What refaults these lists have seen."""
    for lruvec in lruvecs:
        for kind, suffix in enumerate(("anon", "file")):
            stat[f"workingset_refault_{suffix}"] += lruvec.refaulted_pages[kind]
            stat[f"workingset_activate_{suffix}"] += lruvec.activated[kind]
            stat[f"workingset_restore_{suffix}"] += lruvec.restored[kind]


def page_kinds(page: Page) -> list[str]:
    """What a charged page counts as."""
    flags = page.flags
    if flags & PG_table:
        return ["pagetables"]
    if flags & PG_slab:
        return []
    kinds: list[str] = []
    if flags & PG_anon and page.mapcount > 0:
        kinds.append("anon")
    elif page.mapping is not None and not flags & PG_anon:
        kinds.append("file")
        if flags & PG_swapbacked:
            kinds.append("shmem")
        if page.mapcount > 0:
            kinds.append("file_mapped")
        if is_dirty(page):
            kinds.append("file_dirty")
        if flags & PG_writeback:
            kinds.append("file_writeback")
    if flags & PG_swapcache:
        kinds += ["swapcached", "file"]
    if flags & PG_lru:
        kinds.append(LRU_NAMES[folio_lru_list(page)])
    return kinds


def is_dirty(page: Page) -> bool:
    """A page of a file that differs from what is stored; shared memory has no store."""
    mapping = page.mapping
    return isinstance(mapping, AddressSpace) and page.index in mapping.dirty


def memory_stat_text(stat: dict[str, int], linux: str = "6.18") -> str:
    """memory.stat, a line each, as a release has them."""
    return "".join([f"{name} {stat[name]}\n" for name in stat_names(linux)])
