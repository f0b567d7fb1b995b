"""Refaults: whether a page that comes back had been taken away too early.

A page that goes leaves a shadow: the age of its lists at that moment. When it comes back, the age has grown by the
pages that went or were activated meanwhile, its refault distance. Where the active pages that could have made room for
it are as many or more, it becomes active at once.

Mirrors: mm/workingset.c (6.18)
Differs: shadows are kept as long as the file or the slot is; ages do not wrap.
"""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from pagewalk.mm.lru_names import LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE
from pagewalk.mm.page import Page, PG_active, PG_swapbacked, PG_workingset

if TYPE_CHECKING:
    from pagewalk.mm.lruvec import ReclaimPolicy
    from pagewalk.mm.system import System


def workingset_test_recent(system: "System", lruvec: "ReclaimPolicy", shadow: i64, file: bool) -> bool:
    """Whether the page would still be in memory, had the active pages not been."""
    distance: i64 = lruvec.nonresident_age - (shadow >> 1)
    size: i64 = lruvec.nr(LRU_ACTIVE_FILE)
    if not file:
        size += lruvec.nr(LRU_INACTIVE_FILE)
    if system.swap.nr_swap_pages > 0:
        size += lruvec.nr(LRU_ACTIVE_ANON)
        if file:
            size += lruvec.nr(LRU_INACTIVE_ANON)
    return distance <= size


def workingset_refault(system: "System", lruvec: "ReclaimPolicy", page: Page, shadow: i64) -> None:
    """A page that has left ``shadow`` (``ReclaimPolicy.evicted``) is back, and about to enter a list."""
    file = page.flags & PG_swapbacked == 0
    kind = 1 if file else 0
    vmstat = system.vmstat
    vmstat.workingset_refault[kind] += 1
    if not workingset_test_recent(system, lruvec, shadow, file):
        return
    page.flags |= PG_active
    lruvec.nonresident_age += 1
    lruvec.activated[kind] += 1
    vmstat.workingset_activate[kind] += 1
    if file:
        system.psi.memstall(system.config.swap_latency_us * 1000)
    if shadow & 1:
        page.flags |= PG_workingset
        lruvec.note_cost(file, 0, 1)
        vmstat.workingset_restore[kind] += 1
