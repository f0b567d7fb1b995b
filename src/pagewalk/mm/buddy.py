"""The free lists of a zone: blocks are split, merged, and moved between migrate types.

A page block (2 MiB) has a migrate type, and free pages of a block are on lists of that type, so that pages that can be
moved and pages that cannot do not mix. A request whose type has nothing claims a whole block of another type where that
is worth it, and takes a single page of it where not.

Mirrors: mm/page_alloc.c (__rmqueue, try_to_claim_block, __free_one_page, reserve_highatomic_pageblock) (6.18, 6.1)
Differs: no CMA and no isolation; pages that could be moved are recognised by having a mapping.
"""

from typing import Final

from mypy_extensions import i64

from pagewalk.mm.gfp import (
    ALLOC_KSWAPD,
    ALLOC_NOFRAGMENT,
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
)
from pagewalk.mm.page import SECTION_PAGES, Page, PG_buddy
from pagewalk.mm.zone import Zone, largest_order

# Where a type looks when it has nothing itself.
FALLBACKS: Final = (
    (MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE),
    (MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE),
    (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE),
)


def rmqueue_buddy(zone: Zone, order: i64, migratetype: i64, alloc_flags: i64) -> Page | None:
    """A block of 2**order frames off the buddy lists, None where there is none (__rmqueue)."""
    while True:
        page = rmqueue_smallest(zone, order, migratetype)
        if page is not None or migratetype >= MIGRATE_PCPTYPES:
            return page
        if migratetype != MIGRATE_MOVABLE or not zone.deferred:
            page = rmqueue_claim(zone, order, migratetype, alloc_flags)
            if page is not None:
                return page
        if not deferred_grow_zone(zone):
            break
    return None if alloc_flags & ALLOC_NOFRAGMENT else rmqueue_steal(zone, order, migratetype)


def rmqueue_smallest(zone: Zone, order: i64, migratetype: i64) -> Page | None:
    """The smallest block of a type that is large enough, split down to ``order``."""
    current: i64 = order
    while current <= zone.max_order:
        free_list = zone.free_area[current].lists[migratetype]
        if free_list.head >= 0:
            page = zone.mem_map.page(free_list.head)
            take_block(zone, page, current, order, migratetype)
            return page
        current += 1
    return None


def take_block(zone: Zone, page: Page, high: i64, low: i64, migratetype: i64) -> None:
    """Takes a block of order ``high`` off its list, keeps the first 2**low frames, and puts the rest back."""
    zone.free_area[high].lists[migratetype].delete(page)
    page.flags = 0
    zone.free_pages -= 1 << low
    if migratetype == MIGRATE_HIGHATOMIC:
        zone.nr_free_highatomic -= 1 << low
    expand(zone, page, low, high, migratetype)


def expand(zone: Zone, page: Page, low: i64, high: i64, migratetype: i64) -> None:
    """Puts the upper halves of a block of order ``high`` back until order ``low`` is left."""
    while high > low:
        high -= 1
        buddy = zone.mem_map.page(page.pfn + (1 << high))
        buddy.flags = PG_buddy
        buddy.order = high
        zone.free_area[high].lists[migratetype].add(buddy)


def rmqueue_claim(zone: Zone, order: i64, migratetype: i64, alloc_flags: i64) -> Page | None:
    """Takes the largest block of another type, and its page block with it."""
    least: i64 = order
    if order < zone.pageblock_order and alloc_flags & ALLOC_NOFRAGMENT:
        least = zone.pageblock_order
    current: i64 = zone.max_order
    while current >= least:
        if not should_claim(zone, current, migratetype):
            break
        fallback = find_fallback(zone, current, migratetype)
        if fallback >= 0:
            page = zone.mem_map.page(zone.free_area[current].lists[fallback].head)
            claimed = try_to_claim_block(zone, page, current, order, migratetype, fallback, alloc_flags)
            if claimed is not None:
                return claimed
        current -= 1
    return None


def rmqueue_steal(zone: Zone, order: i64, migratetype: i64) -> Page | None:
    """Takes a page out of the smallest block of another type, whose page block stays as it is."""
    current: i64 = order
    while current <= zone.max_order:
        fallback = find_fallback(zone, current, migratetype)
        if fallback >= 0:
            page = zone.mem_map.page(zone.free_area[current].lists[fallback].head)
            take_block(zone, page, current, order, fallback)
            return page
        current += 1
    return None


def should_claim(zone: Zone, order: i64, migratetype: i64) -> bool:
    """Whether a free block of ``order`` is worth its page block: movable pages may lie among others for a while (they
    can move), so they take no blocks for a few pages."""
    return order >= zone.pageblock_order // 2 or migratetype != MIGRATE_MOVABLE


def find_fallback(zone: Zone, order: i64, migratetype: i64) -> i64:
    """The type whose list of that order serves another type's request, -1 where all are empty."""
    lists = zone.free_area[order].lists
    first, second = FALLBACKS[migratetype]
    return first if lists[first].head >= 0 else second if lists[second].head >= 0 else -1


def try_to_claim_block(
    zone: Zone, page: Page, current: i64, order: i64, start_type: i64, block_type: i64, alloc_flags: i64
) -> Page | None:
    """Makes the page block of a free block ``start_type`` where enough of it is free or of a kind, and answers a block
    out of it; None where it is not worth it."""
    mem_map = zone.mem_map
    block: i64 = 1 << zone.pageblock_order
    if current >= zone.pageblock_order:
        at: i64 = page.pfn
        while at < page.pfn + (1 << current):
            mem_map.set_block_type(at, start_type)
            at += block
        zone.free_area[current].lists[block_type].delete(page)
        page.flags = 0
        zone.free_pages -= 1 << order
        expand(zone, page, order, current, start_type)
        return page
    if boost_watermark(zone) and alloc_flags & ALLOC_KSWAPD:
        zone.boosted = True
    start: i64 = page.pfn & -block
    if start < zone.zone_start_pfn or start + block > zone.zone_start_pfn + zone.spanned_pages:
        return None
    free: i64 = 0
    movable: i64 = 0
    at = start
    while at < start + block:
        other = mem_map.lookup(at)
        if other is None or (other.flags == 0 and other.refcount == 0):
            at += 1
        elif other.flags & PG_buddy:
            free += 1 << other.order
            at += 1 << other.order
        else:
            if other.mapping is not None:
                movable += 1
            at += 1
    alike = movable if start_type == MIGRATE_MOVABLE else block - free - movable if block_type == MIGRATE_MOVABLE else 0
    if free + alike < block >> 1:
        return None
    move_freepages(zone, start, block_type, start_type)
    mem_map.set_block_type(start, start_type)
    return rmqueue_smallest(zone, order, start_type)


def move_freepages(zone: Zone, start: i64, old_type: i64, new_type: i64) -> i64:
    """Moves the free blocks of the page block at ``start`` from one type's lists to another's; how many pages."""
    moved: i64 = 0
    at: i64 = start
    while at < start + (1 << zone.pageblock_order):
        page = zone.mem_map.lookup(at)
        if page is None or not page.flags & PG_buddy:
            at += 1
            continue
        zone.free_area[page.order].lists[old_type].delete(page)
        zone.free_area[page.order].lists[new_type].add(page)
        moved += 1 << page.order
        at += 1 << page.order
    if old_type == MIGRATE_HIGHATOMIC:
        zone.nr_free_highatomic -= moved
    if new_type == MIGRATE_HIGHATOMIC:
        zone.nr_free_highatomic += moved
    return moved


def boost_watermark(zone: Zone) -> bool:
    """Types begin to mix: raises the zone's marks by a page block, so that kswapd makes room for whole blocks.

    The boost grows to watermark_boost_factor / 10000 of the high mark; a zone of less than four page blocks has none.
    """
    block = 1 << int(zone.pageblock_order)
    if not zone.watermark_boost_factor or block * 4 > zone.managed_pages:
        return False
    most = zone.watermark_high * zone.watermark_boost_factor // 10000
    if not most:
        return False
    zone.watermark_boost = min(int(zone.watermark_boost) + block, max(block, most))
    return True


def reserve_highatomic_pageblock(zone: Zone, page: Page, order: i64) -> None:
    """An urgent request of several frames was served: its page block is kept for others like it, up to 1 % of the
    zone, and none where that is less than a block. 6.1 adds a block to the 1 %, however small the zone is."""
    block: i64 = 1 << zone.pageblock_order
    share: i64 = zone.managed_pages // 100
    if share < block and not zone.linux_6_1:
        return
    most: i64 = share + block if zone.linux_6_1 else (share + block - 1) // block * block
    old = zone.mem_map.block_type(page.pfn)
    if zone.nr_reserved_highatomic >= most or old >= MIGRATE_PCPTYPES:
        return
    start: i64 = page.pfn & -block
    if start < zone.zone_start_pfn or start + block > zone.zone_start_pfn + zone.spanned_pages:
        return
    move_freepages(zone, start, old, MIGRATE_HIGHATOMIC)
    zone.mem_map.set_block_type(start, MIGRATE_HIGHATOMIC)
    zone.nr_reserved_highatomic += block


def unreserve_highatomic_pageblock(zone: Zone, migratetype: i64, force: bool) -> bool:
    """Memory is short: gives a reserved page block to ``migratetype``; the last one only with ``force``. True where
    that freed pages."""
    block: i64 = 1 << zone.pageblock_order
    if not force and zone.nr_reserved_highatomic <= block:
        return False
    for area in zone.free_area:
        head = area.lists[MIGRATE_HIGHATOMIC].head
        if head >= 0:
            start: i64 = head & -block
            zone.nr_reserved_highatomic -= min(block, zone.nr_reserved_highatomic)
            zone.mem_map.set_block_type(start, migratetype)
            return move_freepages(zone, start, MIGRATE_HIGHATOMIC, migratetype) > 0
    return False


def free_one_page(zone: Zone, page: Page, order: i64) -> None:
    """Puts a block on the buddy lists and merges it with its buddy as long as that is free (__free_one_page)."""
    zone.free_pages += 1 << order
    pfn: i64 = page.pfn
    mem_map = zone.mem_map
    migratetype = mem_map.block_type(pfn)
    if migratetype == MIGRATE_HIGHATOMIC:
        zone.nr_free_highatomic += 1 << order
    while order < zone.max_order:
        buddy = mem_map.lookup(pfn ^ (1 << order))
        if buddy is None or not buddy.flags & PG_buddy or buddy.order != order or not zone.holds(buddy.pfn):
            break
        other = migratetype
        if order >= zone.pageblock_order:
            other = mem_map.block_type(buddy.pfn)
            if other != migratetype:
                if other >= MIGRATE_PCPTYPES or migratetype >= MIGRATE_PCPTYPES:
                    break
                mem_map.set_block_type(buddy.pfn, migratetype)
        zone.free_area[order].lists[other].delete(buddy)
        buddy.flags = 0
        pfn &= ~(1 << order)
        order += 1
    merged = mem_map.page(pfn)
    merged.flags = PG_buddy
    merged.order = order
    if buddy_merge_likely(zone, pfn, order):
        zone.free_area[order].lists[migratetype].add_tail(merged)
    else:
        zone.free_area[order].lists[migratetype].add(merged)


def buddy_merge_likely(zone: Zone, pfn: i64, order: i64) -> bool:
    """Whether the next larger block would be whole but for this one's buddy: then the block waits at the tail."""
    if order >= zone.max_order - 1:
        return False
    parent: i64 = pfn & ~(1 << order)
    uncle = zone.mem_map.lookup(parent ^ (1 << (order + 1)))
    return uncle is not None and uncle.flags & PG_buddy != 0 and uncle.order == order + 1


def deferred_grow_zone(zone: Zone) -> bool:
    """Puts the next section of deferred frames on the buddy lists; False where none is left."""
    if not zone.deferred:
        return False
    start, end = zone.deferred.pop()
    stop = min(end, (start // SECTION_PAGES + 1) * SECTION_PAGES)
    if stop < end:
        zone.deferred.append((stop, end))
    while start < stop:
        order = largest_order(start, stop, int(zone.max_order))
        page = zone.mem_map.page(start)
        page.flags = PG_buddy
        page.order = order
        zone.free_area[order].lists[zone.mem_map.block_type(start)].add_tail(page)
        start += 1 << order
    return True
