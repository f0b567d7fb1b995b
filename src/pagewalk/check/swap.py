"""Invariants of swap: slots, their counts, the swap cache, and the entries that refer to them."""

from pagewalk.check.census import Census, require
from pagewalk.mm.page import PG_swapbacked, PG_swapcache
from pagewalk.mm.swap_area import SwapArea
from pagewalk.mm.swap_slot import SWAPFILE_CLUSTER, SwapCluster, SwapSlot
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
        given_out = set(area.used_slots())
        for offset, slot in known_slots(area):
            entry = area.kind << SWP_OFFSET_BITS | offset
            told = int(slot.count)
            there = found.pop(entry, 0)
            used = there > 0 or slot.page is not None
            if told != there:
                require(False, "a slot's count equals its references", f"{area} slot {offset}: {told}, {there}")
            if (offset in given_out) != used:
                require(False, "a slot is used or free", f"{area} slot {offset}: {used}")
    require(not found, "an entry refers to an area", f"entries {sorted(found)[:5]}")


def known_slots(area: SwapArea) -> list[tuple[int, SwapSlot]]:
    """The slots that were ever in use, with their numbers, the header's not among them."""
    found = []
    for number, cluster in enumerate(area.clusters):
        if cluster is not None:
            found += [(number * SWAPFILE_CLUSTER + at, slot) for at, slot in enumerate(cluster.slots)]
    return found[1:]


def slots_are_accounted(census: Census) -> None:
    """inuse_pages equals the used slots of an area, ``count`` those of each cluster, nr_swap_pages the free ones; a
    cluster knows how many of its pages are cached, and whether it has room."""
    swap = census.system.swap
    free = 0
    total = 0
    for area in swap.areas:
        if area is None:
            continue
        used = len(area.used_slots())
        require(area.inuse_pages == used, "inuse_pages is a recount", f"{area}: found {used}")
        for number, cluster in enumerate(area.clusters):
            cluster_is_accounted(area, number, cluster)
        contents_are_accounted(area)
        total += area.pages
        free += 0 if area.swapoff else area.pages - used
    require(swap.nr_swap_pages == free, "nr_swap_pages is a recount", f"{swap.nr_swap_pages}, found {free}")
    require(swap.total_swap_pages == total, "total_swap_pages is a recount", f"{swap.total_swap_pages}, found {total}")


def cluster_is_accounted(area: SwapArea, number: int, cluster: SwapCluster | None) -> None:
    """One cluster: its counts, and the list that it is on."""
    count = 0
    if cluster is not None:
        where = f"{area} cluster {number}"
        count = sum([slot.used for slot in cluster.slots])
        require(cluster.count == count, "clusters count their slots", f"{where}: {cluster.count}, found {count}")
        cached = len(cluster.cached_pages())
        require(cluster.cached == cached, "clusters count their cached pages", f"{where}: found {cached}")
    lists = [number == area.current, number in area.free_clusters, number in area.nonfull_clusters]
    full = cluster is not None and count == cluster.nr
    require(sum(lists) == 1 or (full and not any(lists)), "a cluster has its place", f"{area} {number}: {lists}")
    require(not lists[1] or count == 0, "a free cluster has no used slot", f"{area} {number}: {count}")


def contents_are_accounted(area: SwapArea) -> None:
    """What is stored is a used slot's, and every page of the host is one slot's or free."""
    contents = area.contents
    stored = {offset: int(slot.place) for offset, slot in known_slots(area) if slot.place > 0}
    given_out = set(area.used_slots())
    unused = [slot for slot in stored if slot not in given_out]
    require(not unused, "what is stored is a used slot's", f"{area}: slots {unused[:5]}")
    places = sorted([*stored.values(), *contents.holes])
    whole = list(range(1, int(contents.nr_places) + 1))
    require(places == whole, "a page of the host is one slot's or free", f"{area}: {places[:9]} of {len(whole)}")


def swap_cache_and_pages_agree(census: Census) -> None:
    """A page of the swap cache knows its slot, and every page marked PG_swapcache is there."""
    swap = census.system.swap
    count = 0
    bare = []
    for area in swap.areas:
        if area is None:
            continue
        for offset, slot in known_slots(area):
            page = slot.page
            if page is None:
                if slot.count and not slot.shadow:
                    bare.append(offset)
                continue
            count += 1
            entry = area.kind << SWP_OFFSET_BITS | offset
            marked = page.flags & (PG_swapcache | PG_swapbacked) == PG_swapcache | PG_swapbacked
            known = page.swap == entry and marked
            require(known, "the swap cache knows its pages", f"pfn {page.pfn} {page.flag_names()}")
    require(not bare, "a slot whose page is gone has a shadow", f"slots {bare[:5]}")
    marked_pages = sum(1 for page in census.pages if page.flags & PG_swapcache)
    require(marked_pages == count, "PG_swapcache marks cached pages", f"{marked_pages}, {count}")
    told = int(census.system.vmstat.nr_swapcached)
    require(told == count, "nr_swapcached is a recount", f"{told}, found {count}")
    require(swap.nr_cached == count, "nr_cached is a recount", f"{swap.nr_cached}, found {count}")


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
