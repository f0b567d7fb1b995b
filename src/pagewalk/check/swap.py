"""Invariants of swap: slots, their counts, the swap cache, and the entries that refer to them."""

from pagewalk.check.census import Census, require
from pagewalk.mm.page import PG_swapbacked, PG_swapcache
from pagewalk.mm.swap_area import SwapArea
from pagewalk.mm.swapfile import SWP_OFFSET_BITS

__all__ = [
    "address_spaces_with_swap_entries_are_known",
    "exclusive_swap_entries_are_alone",
    "slots_are_accounted",
    "swap_cache_and_pages_agree",
    "swap_counts_equal_the_references",
]


def swap_counts_equal_the_references(census: Census) -> None:
    """A slot's count equals the page-table entries and objects of shared memory that refer to it; a slot is used where
    something refers to it or a page is cached for it, and no other."""
    swap = census.system.swap
    found: dict[int, int] = {}
    for leaf in census.all_leaves():
        if leaf.is_swap:
            found[leaf.swap_entry] = found.get(leaf.swap_entry, 0) + 1
    for space in census.spaces:
        for entry in space.swapped.values():
            found[entry] = found.get(entry, 0) + 1
        both = space.swapped.keys() & space.i_pages.keys()
        require(not both, "a page of shared memory is in memory or in swap", f"indices {sorted(both)}")
    for area in swap.areas:
        if area is None:
            continue
        for offset in range(1, area.max):
            entry = area.kind << SWP_OFFSET_BITS | offset
            told = int(area.count(offset))
            there = found.pop(entry, 0)
            used = there > 0 or entry in swap.cache
            if told != there:
                require(False, "a slot's count equals its references", f"{area} slot {offset}: {told}, {there}")
            if bool(area.used[offset]) != used:
                require(False, "a slot is used or free", f"{area} slot {offset}: {used}")
    require(not found, "an entry refers to an area", f"entries {sorted(found)[:5]}")


def slots_are_accounted(census: Census) -> None:
    """inuse_pages equals the used slots of an area, cluster_count those of each cluster, nr_swap_pages the free
    ones."""
    swap = census.system.swap
    free = 0
    total = 0
    for area in swap.areas:
        if area is None:
            continue
        used = sum(area.used) - 1
        require(area.inuse_pages == used, "inuse_pages is a recount", f"{area}: found {used}")
        require(sum(area.cluster_count) == used + 1, "clusters count their slots", f"{area}: {used + 1}")
        contents_are_accounted(area)
        total += area.pages
        free += 0 if area.swapoff else area.pages - used
    require(swap.nr_swap_pages == free, "nr_swap_pages is a recount", f"{swap.nr_swap_pages}, found {free}")
    require(swap.total_swap_pages == total, "total_swap_pages is a recount", f"{swap.total_swap_pages}, found {total}")


def contents_are_accounted(area: SwapArea) -> None:
    """What is stored is a used slot's, and every page of the host is one slot's or free."""
    contents = area.contents
    stored = {slot: place for slot, place in enumerate(contents.slots.tolist()[::2]) if place > 0}
    unused = [slot for slot in stored if not area.used[slot]]
    require(not unused, "what is stored is a used slot's", f"{area}: slots {unused[:5]}")
    places = sorted([*stored.values(), *contents.holes])
    whole = list(range(1, int(contents.nr_places) + 1))
    require(places == whole, "a page of the host is one slot's or free", f"{area}: {places[:9]} of {len(whole)}")


def swap_cache_and_pages_agree(census: Census) -> None:
    """A page of the swap cache knows its slot, and every page marked PG_swapcache is there."""
    swap = census.system.swap
    for entry, page in swap.cache.items():
        marked = page.flags & (PG_swapcache | PG_swapbacked) == PG_swapcache | PG_swapbacked
        require(page.swap == entry and marked, "the swap cache knows its pages", f"pfn {page.pfn} {page.flag_names()}")
    marked_pages = sum(1 for page in census.pages if page.flags & PG_swapcache)
    require(marked_pages == len(swap.cache), "PG_swapcache marks cached pages", f"{marked_pages}, {len(swap.cache)}")
    told = census.system.vmstat.nr_swapcached
    require(told == len(swap.cache), "nr_swapcached is a recount", f"{told}, found {len(swap.cache)}")
    bare = [
        slot
        for area in swap.areas
        if area is not None
        for slot, uses in enumerate(area.map)
        if uses and area.kind << SWP_OFFSET_BITS | slot not in swap.cache and not area.contents.slots[slot * 2 + 1]
    ]
    require(not bare, "a slot whose page is gone has a shadow", f"slots {bare[:5]}")


def exclusive_swap_entries_are_alone(census: Census) -> None:
    """A swap entry that remembers that its page was one mapping's alone is the only one of its slot."""
    fmt = census.system.format
    for leaf in census.all_leaves():
        if leaf.is_swap and fmt.pte_swp_exclusive(leaf.pte):
            count = census.system.swap.swap_count(leaf.swap_entry)
            require(count == 1, "an exclusive swap entry is alone", f"{leaf}: {count} entries")


def address_spaces_with_swap_entries_are_known(census: Census) -> None:
    """swapoff finds every address space that has swap entries, and every object of shared memory in swap."""
    system = census.system
    for leaf in census.all_leaves():
        if leaf.is_swap:
            require(leaf.mm.ident in system.mmlist, "an address space with swap entries is known", repr(leaf))
    for space in census.spaces:
        require(not space.swapped or id(space) in system.shmem_swaplist, "an object in swap is known", repr(space))
