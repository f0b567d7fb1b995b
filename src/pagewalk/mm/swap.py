"""Moving pages between the lists of reclaim: accessed, activated, locked, unwanted.

Mirrors: mm/swap.c, mm/mlock.c (mlock_folio, munlock_folio), mm/memcontrol.c (mem_cgroup_swap_full) (6.18)
Differs: at once, not in batches of each CPU; whether another mapping keeps a page locked is read off the reverse map.
"""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.memcg_names import PGACTIVATE
from pagewalk.mm.page import (
    Page,
    PG_active,
    PG_anon,
    PG_lru,
    PG_mlocked,
    PG_referenced,
    PG_swapbacked,
    PG_swapcache,
    PG_unevictable,
)

if TYPE_CHECKING:
    from pagewalk.mm.system import System


def folio_mark_accessed(system: "System", page: Page) -> None:
    """The kernel has accessed the page for a program."""
    before = page.flags
    system.node.folio_lruvec(page).accessed(page)
    if page.flags & ~before & PG_active and before & PG_lru:
        system.vmstat.pgactivate += 1
        system.memcg.groups[page.memcg].vm_events[PGACTIVATE] += 1


def folio_set_flags(system: "System", page: Page, flags: i64) -> None:
    """Gives a page other flags, and the list that they put it on."""
    if not page.flags & PG_lru:
        page.flags = flags
        return
    lruvec = system.node.folio_lruvec(page)
    lruvec.remove(page)
    page.flags = flags & ~PG_lru
    lruvec.add(page)


def folio_deactivate(system: "System", page: Page) -> None:
    """MADV_COLD: an active page becomes an inactive one that nobody has used."""
    if page.flags & PG_active and not page.flags & PG_unevictable:
        folio_set_flags(system, page, page.flags & ~(PG_active | PG_referenced))
        system.vmstat.pgdeactivate += 1


def folio_mark_lazyfree(system: "System", page: Page) -> None:
    """MADV_FREE: the page's contents may be dropped; it waits among the inactive file pages."""
    if page.flags & PG_anon and page.flags & PG_swapbacked and not page.flags & (PG_swapcache | PG_unevictable):
        folio_set_flags(system, page, page.flags & ~(PG_active | PG_referenced | PG_swapbacked))
        system.vmstat.pglazyfree += 1


def mem_cgroup_swap_full(system: "System", page: Page) -> bool:
    """Half of the swap space that there is, or that the page's memory cgroup may have, is used: slots of pages in
    memory are given up early."""
    if system.swap.vm_swap_full():
        return True
    return page.memcg != 0 and system.memcg.groups[page.memcg].swap_full()


def folio_rotate_reclaimable(system: "System", page: Page) -> None:
    """Its write-back is done: it is the next to be looked at (the tail of its inactive list)."""
    if page.flags & PG_lru and not page.flags & PG_unevictable:
        lruvec = system.node.folio_lruvec(page)
        lruvec.remove(page)
        page.flags &= ~PG_active
        lruvec.add(page)
        lruvec.rotate(page)
        system.vmstat.pgrotated += 1


def mlock_folio(system: "System", page: Page) -> None:
    """A locked mapping maps the page: it cannot be taken away."""
    if page.flags & PG_mlocked:
        return
    system.vmstat.nr_mlock += 1
    system.vmstat.unevictable_pgs_mlocked += 1
    folio_set_flags(system, page, (page.flags | PG_mlocked | PG_unevictable) & ~PG_active)


def munlock_folio(system: "System", page: Page, still_locked: bool) -> None:
    """A locked mapping of the page goes, or is unlocked; ``still_locked``: another one keeps it."""
    if still_locked or not page.flags & PG_mlocked:
        return
    system.vmstat.nr_mlock -= 1
    system.vmstat.unevictable_pgs_munlocked += 1
    if mapping_unevictable(page):
        page.flags &= ~PG_mlocked
        return
    if page.flags & PG_unevictable:
        system.vmstat.unevictable_pgs_rescued += 1
    folio_set_flags(system, page, page.flags & ~(PG_mlocked | PG_unevictable))


def mapping_unevictable(page: Page) -> bool:
    """The page is one of a locked segment of shared memory (SHM_LOCK)."""
    mapping = page.mapping
    return isinstance(mapping, AddressSpace) and mapping.unevictable


def check_move_unevictable_folio(system: "System", page: Page) -> None:
    """Its segment is locked no more: the page returns to the lists that can give it, unless a mapping has it locked."""
    system.vmstat.unevictable_pgs_scanned += 1
    if page.flags & PG_unevictable and not page.flags & PG_mlocked:
        folio_set_flags(system, page, page.flags & ~PG_unevictable)
        system.vmstat.unevictable_pgs_rescued += 1
