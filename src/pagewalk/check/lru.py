"""Invariants of the lists of reclaim."""

from pagewalk.check.census import Census, require
from pagewalk.mm.lruvec import LRU_NAMES, folio_lru_list
from pagewalk.mm.page import Page, PG_active, PG_lru, PG_mlocked, PG_swapcache, PG_unevictable
from pagewalk.mm.vma import VM_LOCKED, VM_SPECIAL

__all__ = ["a_page_is_on_one_list", "locked_pages_are_unevictable", "lru_lists_are_well_linked"]


def lru_lists_are_well_linked(census: Census) -> None:
    """A list of reclaim reads the same forwards and backwards, and is as long as nr_pages says."""
    for which in census.system.node.lruvec.lists:
        before, count = -1, 0
        for page in which.pages():
            require(page.lru_prev == before, "a list is well linked", f"{which} at pfn {page.pfn}")
            before, count = int(page.pfn), count + 1
        require(which.tail == before, "a list is well linked", f"{which}: tail {which.tail}, last {before}")
        require(which.nr_pages == count, "nr_pages counts the list", f"{which}: found {count}")


def a_page_is_on_one_list(census: Census) -> None:
    """Every page of user space, and no other, is on the one list that its flags name."""
    found: dict[int, list[int]] = {}
    for number, which in enumerate(census.system.node.lruvec.lists):
        for page in which.pages():
            found.setdefault(int(page.pfn), []).append(number)
            require(page.refcount > 0, "a free page is on no list", f"{LRU_NAMES[number]}: {_show(page)}")
    wanted = {int(page.pfn) for space in census.spaces for page in space.i_pages.values()}
    wanted |= {pfn for pfn in census.mappers if census.system.page(pfn).flags & PG_lru}
    for page in census.pages:
        if page.flags & (PG_lru | PG_swapcache):
            wanted.add(int(page.pfn))
    for pfn in wanted | found.keys():
        page = census.system.page(pfn)
        lists = found.get(pfn, [])
        require(lists == [folio_lru_list(page)], "a page is on the list of its flags", f"{lists}: {_show(page)}")
        require(bool(page.flags & PG_lru), "PG_lru marks pages on lists", _show(page))


def locked_pages_are_unevictable(census: Census) -> None:
    """A page that a locked mapping maps is PG_mlocked, and no other; it is unevictable; nr_mlock counts them."""
    locked = set()
    for pfn, leaves in census.mappers.items():
        if any(leaf.vma and leaf.vma.vm_flags & (VM_LOCKED | VM_SPECIAL) == VM_LOCKED for leaf in leaves):
            locked.add(pfn)
    for page in census.pages:
        marked = bool(page.flags & PG_mlocked)
        require(marked == (int(page.pfn) in locked), "PG_mlocked marks locked pages", _show(page))
        unevictable = not marked or page.flags & (PG_unevictable | PG_active) == PG_unevictable
        require(unevictable, "a locked page is unevictable", _show(page))
    told = int(census.system.vmstat.nr_mlock)
    require(told == len(locked), "nr_mlock counts locked pages", f"{told}, found {len(locked)}")


def _show(page: Page) -> str:
    return f"pfn {page.pfn} refcount {page.refcount} mapcount {page.mapcount} flags {' '.join(page.flag_names())}"
