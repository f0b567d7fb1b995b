"""Invariants of physical memory: who owns a frame, and what the free lists say."""

from itertools import product

from pagewalk.check.census import Census, require
from pagewalk.mm.file import AddressSpace
from pagewalk.mm.gfp import MIGRATE_NAMES, MIGRATE_PCPTYPES, MIGRATE_TYPES
from pagewalk.mm.page import Page, PG_anon, PG_buddy, PG_pcp, PG_reserved, PG_slab, PG_special, PG_swapcache, PG_table
from pagewalk.mm.zone import Zone

__all__ = [
    "each_frame_has_one_owner",
    "free_counts_equal_a_recount",
    "free_lists_are_well_linked",
    "no_two_free_buddies_are_unmerged",
    "references_equal_the_users_of_a_frame",
]


def each_frame_has_one_owner(census: Census) -> None:
    """Each frame has one owner: a buddy list, a per-CPU list, deferred memory, a page table, the page cache, anonymous
    memory, or the kernel; and its flags name that owner."""
    owners = _owners(census)
    system = census.system
    for page in census.pages:
        zone = system.node.zone_of(page.pfn)
        found = owners.get(int(page.pfn), [])
        if not found and any(start <= page.pfn < end for start, end in zone.deferred):
            found = ["deferred"]
        if not found and not _is_managed(zone, page):
            continue
        if len(found) != 1:
            require(False, "each frame has one owner", f"pfn {page.pfn} has {found or 'none'}: {_show(page)}")
        owner = found[0]
        free = owner in ("buddy", "pcp", "deferred")
        if free == (page.refcount == 0) and not free and bool(page.flags & PG_table) == (owner == "table"):
            continue  # nothing to tell, and the messages take time
        require(free == (page.refcount == 0), "a free frame has no references", f"{owner} {_show(page)}")
        if free:
            require(page.mapcount == 0 and page.mapping is None, "a free frame is nobody's", f"{owner} {_show(page)}")
        require(bool(page.flags & PG_table) == (owner == "table"), "PG_table marks the page tables", _show(page))


def _owners(census: Census) -> dict[int, list[str]]:
    owners: dict[int, list[str]] = {}

    def own(pfn: int, owner: str) -> None:
        owners.setdefault(pfn, []).append(owner)

    for zone in census.system.zones:
        for pfn, order in zone.free_blocks():
            for frame in range(pfn, pfn + (1 << order)):
                own(frame, "buddy")
        for which, hot in enumerate(zone.pcp.lists):
            order = which // MIGRATE_PCPTYPES
            for page in hot:
                if not page.flags & PG_pcp or page.order != order:
                    require(False, "PG_pcp marks per-CPU pages", _show(page))
                for frame in range(int(page.pfn), int(page.pfn) + (1 << order)):
                    own(frame, "pcp")
    for tables in census.tables.values():
        for table in tables:
            own(table.pfn, "table")
    for space in census.spaces:
        for index, page in space.i_pages.items():
            if page.mapping is not space or page.index != index:
                require(False, "the page cache knows its pages", _show(page))
            own(int(page.pfn), "cache")
    for pfn in census.mappers:
        page = census.system.page(pfn)
        if page.flags & PG_anon:
            own(pfn, "anon")
    for page in census.system.swap.cached_pages():
        if not page.mapcount:
            own(int(page.pfn), "swap cache")
    for page in census.pages:
        if page.flags & (PG_reserved | PG_special | PG_slab):
            own(int(page.pfn), "kernel")
    for head, order in census.held:
        for frame in range(int(head.pfn), int(head.pfn) + (1 << order)):
            own(frame, "held" if frame == head.pfn else "held tail")
    return {pfn: found for pfn, found in owners.items() if found != ["held tail"]}


def _is_managed(zone: Zone, page: Page) -> bool:
    """The frame is or was in the allocator's hands: tails of held blocks and frames of larger blocks are not."""
    return page.refcount != 0 or bool(page.flags & (PG_buddy | PG_pcp | PG_table))


def _show(page: Page) -> str:
    kind = "AddressSpace" if isinstance(page.mapping, AddressSpace) else type(page.mapping).__name__
    return (
        f"pfn {page.pfn} refcount {page.refcount} mapcount {page.mapcount} index {page.index:#x} mapping {kind}"
        f" flags {' '.join(page.flag_names())}"
    )


def no_two_free_buddies_are_unmerged(census: Census) -> None:
    """No two free buddies of the same order wait side by side: they would be one block of the next order."""
    for zone in census.system.zones:
        blocks = set(zone.free_blocks())
        for pfn, order in blocks:
            require(pfn % (1 << order) == 0, "a free block is aligned to its size", f"pfn {pfn} order {order}")
            if order < zone.max_order:
                buddy = pfn ^ (1 << order)
                require(
                    (buddy, order) not in blocks, "no two free buddies unmerged", f"{pfn} and {buddy}, order {order}"
                )


def free_lists_are_well_linked(census: Census) -> None:
    """A free list reads the same forwards and backwards, and is as long as nr_free says."""
    mem_map = census.system.mem_map
    for zone in census.system.zones:
        for order, migratetype in product(range(len(zone.free_area)), range(MIGRATE_TYPES)):
            area = zone.free_area[order].lists[migratetype]
            where = f"node {zone.node_id} zone {zone.name} order {order} {MIGRATE_NAMES[migratetype]}"
            pfn, before, count = area.head, -1, 0
            while pfn >= 0:
                page = mem_map.page(pfn)
                require(page.lru_prev == before, "a free list is well linked", f"{where} at pfn {pfn}")
                found = mem_map.block_type(pfn)
                require(
                    found == migratetype, "a free block is on the list of its page block's type", f"{where}: {found}"
                )
                require(zone.holds(pfn), "a free block is on the list of its zone", f"{where}: pfn {pfn}")
                before, pfn, count = pfn, page.lru_next, count + 1
            require(area.tail == before, "a free list is well linked", f"{where}: tail {area.tail}, last {before}")
            require(area.nr_free == count, "nr_free counts the list", f"{where}: {area.nr_free}, found {count}")


def free_counts_equal_a_recount(census: Census) -> None:
    """free_pages and the per-CPU counts equal a recount, and with the frames in use make up managed_pages."""
    used: dict[Zone, int] = {}
    for page in census.pages:
        if page.refcount:
            zone = census.system.node.zone_of(page.pfn)
            used[zone] = used.get(zone, 0) + (1 << page.order)
    for zone in census.system.zones:
        listed = sum(1 << order for _, order in zone.free_blocks())
        deferred = sum(end - start for start, end in zone.deferred)
        free = listed + deferred
        require(zone.free_pages == free, "free_pages equals a recount", f"{zone.name}: {zone.free_pages}, found {free}")
        waiting = sum(len(pages) << which // MIGRATE_PCPTYPES for which, pages in enumerate(zone.pcp.lists))
        require(zone.pcp.count == waiting, "pcp.count equals a recount", f"{zone.name}: {zone.pcp.count}, {waiting}")
        busy = used.get(zone, 0)
        total = free + waiting + busy
        require(
            zone.managed_pages == total,
            "every managed frame is free or in use",
            f"{zone.name}: {zone.managed_pages} managed; {free} free, {waiting} per-CPU, {busy} used",
        )


def references_equal_the_users_of_a_frame(census: Census) -> None:
    """refcount = mappings + page cache + swap cache + page table + kernel's own + held; mapcount = entries that map
    the frame."""
    tables = {table.pfn for tables in census.tables.values() for table in tables}
    held = {int(page.pfn) for page, _ in census.held}
    for page in census.pages:
        pfn = int(page.pfn)
        mapped = len(census.mappers.get(pfn, []))
        if page.mapcount != mapped:
            require(False, "mapcount equals the entries that map the frame", f"{mapped}: {_show(page)}")
        cached = int(isinstance(page.mapping, AddressSpace))
        own = bool(page.flags & (PG_reserved | PG_special | PG_slab))
        cached += bool(page.flags & PG_swapcache)
        expected = mapped + cached + (pfn in tables) + own + (pfn in held)
        if page.refcount != expected:
            require(False, "refcount equals the users", f"expected {expected}: {_show(page)}")
