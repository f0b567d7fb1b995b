"""Invariants of the lists of reclaim."""

from pagewalk.check.census import Census, require
from pagewalk.mm.lru_names import LRU_NAMES, LRU_UNEVICTABLE, NR_LRU_LISTS
from pagewalk.mm.lruvec import ReclaimPolicy, folio_lru_list
from pagewalk.mm.mglru import Mglru
from pagewalk.mm.page import Page, PG_active, PG_lru, PG_mlocked, PG_swapcache, PG_unevictable
from pagewalk.mm.vma import VM_LOCKED, VM_SPECIAL

__all__ = ["a_page_is_on_one_list", "locked_pages_are_unevictable", "lru_lists_are_well_linked"]


def lru_lists_are_well_linked(census: Census) -> None:
    """A page of a list of reclaim knows its place there, and the list is as long as nr_pages says."""
    for node in census.system.nodes:
        for lruvec in node.lruvecs:
            lists_of_are_well_linked(lruvec)


def lists_of_are_well_linked(lruvec: ReclaimPolicy) -> None:
    """The same of one node's and group's."""
    lists = list(lruvec.lists)
    if isinstance(lruvec, Mglru):
        lists = [lruvec.lists[LRU_UNEVICTABLE], *lruvec.gens[0], *lruvec.gens[1]]
        lruvec_sizes = [len(lruvec.all_pages(lru)) for lru in range(LRU_UNEVICTABLE)]
        told = [int(lruvec.nr(lru)) for lru in range(LRU_UNEVICTABLE)]
        require(told == lruvec_sizes, "generations are counted by age", f"{told}, found {lruvec_sizes}")
    for which in lists:
        count = 0
        for at, each in enumerate(which.row):
            if each is not None:
                count += 1
                if each.lru_at - which.base != at or at < which.first:
                    require(False, "a page knows its place on its list", f"{which} at pfn {each.pfn}")
        oldest = which.last()
        require(oldest is not None or count == 0, "a list begins with its oldest page", f"{which}: found {count}")
        wasted = len(which.row) - count
        require(wasted <= 3 * count + 200, "a list has few empty places", f"{which}: {wasted}")
        below = len([page for page in which.pages() if page.pfn < which.bound])
        require(which.nr_below == below, "nr_below counts the lower zones", f"{which}: {which.nr_below}, found {below}")
        lowest = len([page for page in which.pages() if page.pfn < which.lowest_bound])
        require(which.nr_lowest == lowest, "nr_lowest counts the lowest zones", f"{which}: found {lowest}")
        require(which.nr_pages == count, "nr_pages counts the list", f"{which}: found {count}")


def a_page_is_on_one_list(census: Census) -> None:
    """Every page of user space, and no other, is on the one list that its flags name, of its node and group."""
    found: dict[int, list[int]] = {}
    node = census.system.node
    for lruvec in [each for other in census.system.nodes for each in other.lruvecs]:
        for number in range(NR_LRU_LISTS):
            for page in lruvec.all_pages(number):
                found.setdefault(int(page.pfn), []).append(number)
                if page.refcount <= 0:
                    require(False, "a free page is on no list", f"{LRU_NAMES[number]}: {_show(page)}")
                if node.folio_lruvec(page) is not lruvec:
                    whose = f"node {lruvec.node_id}, group {lruvec.memcg}"
                    require(False, "a page is on the lists of its node and group", f"{whose}: {_show(page)}")
    wanted = {int(page.pfn) for space in census.spaces for page in space.i_pages.values()}
    wanted |= {pfn for pfn in census.mappers if census.system.page(pfn).flags & PG_lru}
    for page in census.pages:
        if page.flags & (PG_lru | PG_swapcache):
            wanted.add(int(page.pfn))
    for pfn in wanted | found.keys():
        page = census.system.page(pfn)
        lists = found.get(pfn, [])
        expected = folio_lru_list(page)
        if isinstance(node.lruvec, Mglru) and expected != LRU_UNEVICTABLE:  # young or old is not told by a flag
            lists = [lru & ~1 for lru in lists]
        if lists != [expected]:
            require(False, "a page is on the list of its flags", f"{lists}: {_show(page)}")
        if not page.flags & PG_lru:
            require(False, "PG_lru marks pages on lists", _show(page))


def locked_pages_are_unevictable(census: Census) -> None:
    """A page that a locked mapping maps is PG_mlocked, and no other; it is unevictable; nr_mlock counts them."""
    locked = set()
    for pfn, leaves in census.mappers.items():
        if any(leaf.vma and leaf.vma.vm_flags & (VM_LOCKED | VM_SPECIAL) == VM_LOCKED for leaf in leaves):
            locked.add(pfn)
    for page in census.pages:
        marked = bool(page.flags & PG_mlocked)
        if marked != (int(page.pfn) in locked):
            require(False, "PG_mlocked marks locked pages", _show(page))
        if marked and page.flags & (PG_unevictable | PG_active) != PG_unevictable:
            require(False, "a locked page is unevictable", _show(page))
    told = int(census.system.vmstat.nr_mlock)
    require(told == len(locked), "nr_mlock counts locked pages", f"{told}, found {len(locked)}")


def _show(page: Page) -> str:
    return f"pfn {page.pfn} refcount {page.refcount} mapcount {page.mapcount} flags {' '.join(page.flag_names())}"
