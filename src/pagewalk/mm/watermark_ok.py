"""Whether a zone may serve a request: how low its free pages may go, and who may go lower.

Mirrors: mm/page_alloc.c (zone_watermark_fast, __zone_watermark_ok, __zone_watermark_unusable_free) (6.18, 6.1)
Differs: no CMA pages to leave out.
"""

from mypy_extensions import i64

from pagewalk.mm.gfp import (
    ALLOC_HIGHATOMIC,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
    ALLOC_WMARK_MASK,
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
)
from pagewalk.mm.zone import Zone


def zone_watermark_fast(zone: Zone, order: i64, highest: i64, alloc_flags: i64) -> bool:
    """Whether the zone stays above the mark that ``alloc_flags`` name; the common case is decided in one comparison."""
    if alloc_flags & ALLOC_NO_WATERMARKS:
        return True
    mark = wmark_pages(zone, alloc_flags & ALLOC_WMARK_MASK)
    if order == 0:
        usable: i64 = zone.free_pages
        if zone.nr_reserved_highatomic and not alloc_flags & ALLOC_RESERVES:
            usable -= unusable_free(zone)
        if usable > mark + zone.lowmem_reserve[highest]:
            return True
    if zone_watermark_ok(zone, order, mark, highest, alloc_flags, zone.free_pages):
        return True
    if order == 0 and alloc_flags & ALLOC_MIN_RESERVE and zone.watermark_boost and not alloc_flags & ALLOC_WMARK_MASK:
        return zone_watermark_ok(zone, order, zone.watermark_min, highest, alloc_flags, zone.free_pages)
    return False


def unusable_free(zone: Zone) -> i64:
    """Free pages that do not count for requests that are not urgent: those of page blocks reserved for urgent ones.
    6.1 does not know how many of a block are free, and takes all of it off."""
    return zone.nr_reserved_highatomic if zone.linux_6_1 else zone.nr_free_highatomic


def wmark_pages(zone: Zone, which: i64) -> i64:
    """A mark with the boost: ALLOC_WMARK_MIN, LOW or HIGH."""
    mark: i64 = zone.watermark_low
    if which == 0:
        mark = zone.watermark_min
    elif which == 2:
        mark = zone.watermark_high
    return mark + zone.watermark_boost


def zone_watermark_ok(zone: Zone, order: i64, mark: i64, highest: i64, alloc_flags: i64, free_pages: i64) -> bool:
    """Whether, with ``free_pages`` free, the zone would stay above ``mark`` and what it keeps from requests that may
    use zones up to ``highest``, and has a block of the order.

    Entitled to less: GFP_HIGH requests to half of the mark, those that cannot wait to three quarters of what is left,
    victims of the OOM killer to half. Page blocks reserved for such requests do not count for others.
    """
    least = mark
    free = free_pages - (1 << order) + 1
    if not alloc_flags & ALLOC_RESERVES:
        free -= unusable_free(zone)
    else:
        if alloc_flags & ALLOC_MIN_RESERVE:
            least -= least // 2
            if alloc_flags & ALLOC_NON_BLOCK:
                least -= least // 4
        if alloc_flags & ALLOC_OOM:
            least -= least // 2
    if free <= least + zone.lowmem_reserve[highest]:
        return False
    if order == 0:
        return True
    size: i64 = order
    while size <= zone.max_order:
        lists = zone.free_area[size].lists
        kind: i64 = 0
        while kind < MIGRATE_PCPTYPES:
            if lists[kind].head >= 0:
                return True
            kind += 1
        if alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM) and lists[MIGRATE_HIGHATOMIC].head >= 0:
            return True
        size += 1
    for start, end in zone.deferred:  # noqa: SIM110
        if (((start + (1 << order) - 1) >> order) << order) + (1 << order) <= end:
            return True
    return False
