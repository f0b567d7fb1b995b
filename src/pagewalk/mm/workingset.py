"""Refaults: whether a page that comes back had been taken away too early.

A page that goes leaves a shadow: the age of its lists at that moment, and which lists those are. When it comes back,
the age has grown by the pages that went or were activated meanwhile, its refault distance. Where the active pages that
could have made room for it are as many or more, it becomes active at once.

Mirrors: mm/workingset.c (6.18)
Differs: shadows are kept as long as the file or the slot is; ages do not wrap.
"""

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.mm.lru_names import LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE
from pagewalk.mm.page import Page, PG_active, PG_swapbacked, PG_workingset

if TYPE_CHECKING:
    from pagewalk.mm.lruvec import ReclaimPolicy
    from pagewalk.mm.scan_control import ScanControl
    from pagewalk.mm.system import System

# A shadow: what the policy remembers, above the memory cgroup and the node whose lists it is.
_NODE_BITS: Final = 10
_OWNER_BITS: Final = 26


def pack_shadow(sc: "ScanControl", page: Page) -> i64:
    """workingset_eviction: the shadow of a page that goes in a run of reclaim."""
    own = sc.node.folio_lruvec(page)
    target = sc.target
    lruvec = own.evictor(sc.system.nodes[own.node_id].lruvec if target is None else target)
    return lruvec.evicted(page) << _OWNER_BITS | lruvec.memcg << _NODE_BITS | lruvec.node_id


def page_refaulted(system: "System", page: Page, shadow: i64) -> None:
    """A page that left ``shadow`` (``pack_shadow``) is back, and about to enter a list."""
    lruvec = system.node.lruvec
    if not system.node.one_lruvec:
        owner = shadow & (1 << _OWNER_BITS) - 1
        lruvec = system.nodes[owner & (1 << _NODE_BITS) - 1].lruvecs[owner >> _NODE_BITS]
    lruvec.refaulted(system, page, shadow >> _OWNER_BITS)


def workingset_test_recent(system: "System", lruvec: "ReclaimPolicy", shadow: i64, file: bool) -> bool:
    """Whether the page would still be in memory, had the active pages of the lists that it left not been."""
    distance: i64 = lruvec.nonresident_age - (shadow >> 1)
    size: i64 = lruvec.page_state(LRU_ACTIVE_FILE)
    if not file:
        size += lruvec.page_state(LRU_INACTIVE_FILE)
    if system.memcg.get_nr_swap_pages(lruvec.memcg) > 0:
        size += lruvec.page_state(LRU_ACTIVE_ANON)
        if file:
            size += lruvec.page_state(LRU_INACTIVE_ANON)
    return distance <= size


def workingset_refault(system: "System", evicted: "ReclaimPolicy", page: Page, shadow: i64) -> None:
    """A page that left ``shadow`` on the lists ``evicted`` (``ReclaimPolicy.evicted``) is back."""
    file = page.flags & PG_swapbacked == 0
    kind = 1 if file else 0
    vmstat = system.vmstat
    lruvec = system.node.folio_lruvec(page)
    vmstat.workingset_refault[kind] += 1
    lruvec.refaulted_pages[kind] += 1
    if not workingset_test_recent(system, evicted, shadow, file):
        return
    page.flags |= PG_active
    lruvec.age_nonresident()
    lruvec.activated[kind] += 1
    vmstat.workingset_activate[kind] += 1
    if file:
        system.memstall(system.swap_latency_ns)
    if shadow & 1:
        page.flags |= PG_workingset
        lruvec.note_cost(file, 1, 0)  # it has to be read again
        lruvec.restored[kind] += 1
        vmstat.workingset_restore[kind] += 1
