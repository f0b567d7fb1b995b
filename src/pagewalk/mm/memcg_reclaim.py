"""Reclaim within a memory cgroup: the pages that are charged to it, and to the groups below it, and nobody else's.

Mirrors: mm/vmscan.c (try_to_free_mem_cgroup_pages) (6.18)
Differs: all groups' pages stand on one set of lists: a group's are taken off for the run, in their order, and put back
    at the young end; so a run takes a 64th of the group rather than 32 pages.
"""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from pagewalk.mm.lru import ClassicLru
from pagewalk.mm.lru_names import NR_LRU_LISTS
from pagewalk.mm.lruvec import ReclaimPolicy
from pagewalk.mm.page import Page
from pagewalk.mm.scan_control import ScanControl

if TYPE_CHECKING:
    from pagewalk.mm.memcontrol import MemCgroup
    from pagewalk.mm.system import System


def group_scan_control(system: "System", group: "MemCgroup", nr_pages: i64) -> ScanControl:
    """A run that wants ``nr_pages`` of a group; it may swap as far as the group may."""
    wanted: i64 = max(nr_pages, max(32, group.usage >> 6))
    sc = ScanControl(system, system.node, wanted)
    sc.cgroup = True
    sc.allow_swap = may_swap(group)
    return sc


def may_swap(group: "MemCgroup") -> bool:
    """Whether the group and those above it may have more in swap."""
    at: MemCgroup | None = group
    while at is not None:
        if at.swap_usage >= at.swap_max:
            return False
        at = at.parent
    return True


def take_group(system: "System", group: "MemCgroup") -> ReclaimPolicy:
    """Lists with the group's pages alone, which stand on the node's no more."""
    full = system.node.lruvec
    mine = ClassicLru(system.mem_map)
    copy_clock(full, mine)
    idents = {other.ident for other in system.memcg.groups if group.contains(other)}
    for lru in range(NR_LRU_LISTS):
        move_pages(full, mine, lru, idents)
    return mine


def give_back(system: "System", mine: ReclaimPolicy, full: ReclaimPolicy) -> None:
    """The pages stand on the node's lists again."""
    copy_clock(mine, full)
    for lru in range(NR_LRU_LISTS):
        move_pages(mine, full, lru, None)


def move_pages(source: ReclaimPolicy, target: ReclaimPolicy, lru: int, idents: set[int] | None) -> None:
    """Moves a list's pages, those of the groups in ``idents`` or all, in their order."""
    chosen: list[Page] = []
    for page in source.all_pages(lru):
        if idents is None or int(page.memcg) in idents:
            chosen.append(page)
    chosen.reverse()  # the oldest is added first
    for page in chosen:
        source.remove(page)
        target.add(page)


def copy_clock(source: ReclaimPolicy, target: ReclaimPolicy) -> None:
    """What refaults are measured by goes on from where it was."""
    target.nonresident_age = source.nonresident_age
    target.refaults = list(source.refaults)
    target.activated = list(source.activated)
    target.anon_cost = source.anon_cost
    target.file_cost = source.file_cost
