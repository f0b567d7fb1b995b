"""The buddy allocator, with per-CPU lists in front of it.

Entry points: ``alloc_pages``, ``free_pages``, ``put_page``. An allocation that cannot be served answers None and leaves
everything as it was; ``Node.last_failure`` remembers the request for the message.

Mirrors: mm/page_alloc.c (6.18)
Differs: one migrate type and no page blocks; watermarks are computed but not yet enforced (``zone_watermark_ok`` is the
    place); no reclaim behind a failed request; per-CPU lists do not tune ``high`` at run time.
"""

from typing import Final, final

from mypy_extensions import i64

from pagewalk.mm.lruvec import ReclaimPolicy
from pagewalk.mm.page import SECTION_PAGES, MemMap, Page, PG_buddy, PG_head, PG_lru, PG_mlocked, PG_pcp
from pagewalk.mm.ram import Ram
from pagewalk.mm.reclaim_seam import ReclaimSeam
from pagewalk.mm.vmstat import VmStat
from pagewalk.mm.zone import (
    MAX_PAGE_ORDER,
    PAGE_ALLOC_COSTLY_ORDER,
    FreeArea,
    PerCpuPages,
    Zone,
    largest_order,
)

# gfp flags: which zone at the highest, and what to do with the page.
GFP_DMA: Final = 0x01
GFP_DMA32: Final = 0x04
GFP_ZERO: Final = 0x100
GFP_KERNEL: Final = 0x000
GFP_USER: Final = 0x000
GFP_HIGHUSER_MOVABLE: Final = 0x08

# alloc_flags: how far below the marks a request may go (mm/internal.h).
ALLOC_WMARK_MIN: Final = 0x00
ALLOC_WMARK_LOW: Final = 0x01
ALLOC_WMARK_HIGH: Final = 0x02
ALLOC_NO_WATERMARKS: Final = 0x04
ALLOC_OOM: Final = 0x08
MAX_RECLAIM_RETRIES: Final = 16


@final
class Node:
    """struct pglist_data: the zones of one memory node, and how to allocate from them.

    zones          by index (DMA, DMA32, NORMAL); a zone without frames has managed_pages 0
    zonelist       zones with frames, the preferred (highest) first
    lruvec         the pages that reclaim can take, and how it chooses
    last_failure   the request that could last not be served, for the message; "" when none failed
    reclaim        whom the slow path asks for memory (mm/reclaim_seam.py)
    """

    def __init__(self, zones: list[Zone], mem_map: MemMap, ram: Ram, vmstat: VmStat) -> None:
        self.zones = zones
        self.zonelist = [zone for zone in reversed(zones) if zone.managed_pages]
        self.mem_map = mem_map
        self.ram = ram
        self.vmstat = vmstat
        self.lruvec: ReclaimPolicy = ReclaimPolicy(mem_map)
        self.last_failure = ""
        self.reclaim = ReclaimSeam()

    def alloc_pages(self, gfp: i64, order: i64) -> Page | None:
        """2**order physically contiguous, aligned frames (order 0 to 10) with a reference count of 1, or None."""
        highest: i64 = 0 if gfp & GFP_DMA else 1 if gfp & GFP_DMA32 else 2
        page = self.get_page_from_freelist(gfp, order, highest)
        if page is not None:
            return page
        return self.alloc_pages_slowpath(gfp, order, highest)

    def get_page_from_freelist(self, gfp: i64, order: i64, highest: i64) -> Page | None:
        """The first zone that may serve the request does."""
        for zone in self.zonelist:
            if zone.index > highest or not zone_watermark_ok(zone, order, highest):
                continue
            page = rmqueue(zone, order)
            if page is not None:
                self.vmstat.pgalloc[zone.index] += 1 << order
                zone.numa_hit += 1
                self._prep_new_page(page, gfp, order)
                return page
        return None

    def alloc_pages_slowpath(self, gfp: i64, order: i64, highest: i64) -> Page | None:
        """Every zone is below its mark: wakes kswapd, frees memory directly, and kills in the end, retrying in between
        as long as there is progress."""
        reclaim = self.reclaim
        rounds = 0
        while True:
            for zone in self.zonelist:
                if zone.index <= highest:
                    reclaim.wake_kswapd(zone, gfp, order, highest)
            progress: i64 = reclaim.try_to_free_pages(self, gfp, order)
            page = self.get_page_from_freelist(gfp, order, highest)
            if page is not None:
                return page
            rounds = 0 if progress > 0 and order <= PAGE_ALLOC_COSTLY_ORDER else rounds + 1
            if rounds < MAX_RECLAIM_RETRIES and progress > 0:
                continue
            if order > PAGE_ALLOC_COSTLY_ORDER or not reclaim.out_of_memory(self, gfp, order):
                self.last_failure = f"{self.ram.page_size << order >> 10} KiB (order {order}) of {self._free_summary()}"
                return None
            rounds = 0

    def alloc_page(self, gfp: i64) -> Page | None:
        """One frame, or None."""
        return self.alloc_pages(gfp, 0)

    def free_pages(self, page: Page, order: i64) -> None:
        """Gives 2**order frames back; nothing refers to them any more (refcount and mapcount 0)."""
        assert page.refcount == 0 and page.mapcount == 0, f"freeing pfn {page.pfn} in use"
        if page.flags & (PG_lru | PG_mlocked):
            self._page_cache_release(page)
        page.flags = 0
        page.mapping = None
        zone = self.zone_of(page.pfn)
        self.vmstat.pgfree += 1 << order
        if order > PAGE_ALLOC_COSTLY_ORDER:
            free_one_page(zone, page, order)
            return
        pcp = zone.pcp
        page.flags = PG_pcp
        page.order = order
        pcp.lists[order].append(page)
        pcp.count += 1 << order
        if pcp.count > pcp.high:
            free_pcppages_bulk(zone, pcp.batch)

    def _page_cache_release(self, page: Page) -> None:
        """A page that was user space's goes."""
        if page.flags & PG_lru:
            self.lruvec.remove(page)
        if page.flags & PG_mlocked:
            self.vmstat.nr_mlock -= 1
            self.vmstat.unevictable_pgs_cleared += 1

    def put_page(self, page: Page) -> None:
        """Drops a reference; the last one frees the page (and the block that it heads)."""
        page.refcount -= 1
        if page.refcount == 0:
            self.free_pages(page, page.order)

    def zone_of(self, pfn: i64) -> Zone:
        """The zone that a frame lies in (page_zone)."""
        for zone in self.zonelist:
            if pfn >= zone.zone_start_pfn:
                return zone
        return self.zones[0]

    def drain_all_pages(self) -> None:
        """Returns the per-CPU lists to the buddy lists."""
        for zone in self.zonelist:
            free_pcppages_bulk(zone, zone.pcp.count)

    def nr_free_pages(self) -> int:
        """Free frames of all zones, as MemFree counts them."""
        return sum(zone.free_pages for zone in self.zones)

    def _prep_new_page(self, page: Page, gfp: i64, order: i64) -> None:
        page.flags = PG_head if order else 0
        page.refcount = 1
        page.mapcount = 0
        page.order = order
        page.mapping = None
        if order == 0:
            self._prep_frame(page, gfp)
            return
        tail: i64 = 0
        while tail < 1 << order:
            self._prep_frame(self.mem_map.page(page.pfn + tail), gfp)
            tail += 1

    def _prep_frame(self, page: Page, gfp: i64) -> None:
        """The frame gets a new owner: zeroed where it asks for that (a pristine frame is zero), its old code
        forgotten."""
        if page.pristine:
            page.pristine = False
            return
        self.ram.frame_changed(page.pfn)
        if gfp & GFP_ZERO:
            self.ram.clear_page(page.pfn)

    def _free_summary(self) -> str:
        zones = ", ".join(f"{zone.name} {zone.free_pages * self.ram.page_size >> 10} KiB" for zone in self.zonelist)
        return f"the zones {zones} free"


def zone_watermark_ok(zone: Zone, order: i64, highest_zoneidx: i64) -> bool:
    """Whether the zone may serve the request: its free pages stay above the mark and above what it keeps for others.

    Until reclaim exists the mark is 0 and no reserve is kept: the last page can be used.
    """
    return zone.free_pages + zone.pcp.count >= 1 << order


def rmqueue(zone: Zone, order: i64) -> Page | None:
    """Takes a block off the per-CPU list, or off the buddy lists."""
    if order > PAGE_ALLOC_COSTLY_ORDER:
        page = rmqueue_buddy(zone, order)
        if page is None and zone.pcp.count:
            free_pcppages_bulk(zone, zone.pcp.count)
            page = rmqueue_buddy(zone, order)
        return page
    pcp = zone.pcp
    hot = pcp.lists[order]
    if not hot and not rmqueue_bulk(zone, pcp, order):
        free_pcppages_bulk(zone, pcp.count)  # pages of other orders may be waiting there: let them merge
        if not rmqueue_bulk(zone, pcp, order):
            return None
    page = hot.pop()
    pcp.count -= 1 << order
    return page


def rmqueue_bulk(zone: Zone, pcp: PerCpuPages, order: i64) -> bool:
    """Refills a per-CPU list with a batch; False where the zone has nothing of that order."""
    batch: i64 = pcp.batch >> order
    if batch < 1:
        batch = 1
    taken: list[Page] = []
    while len(taken) < batch:
        page = rmqueue_buddy(zone, order)
        if page is None:
            break
        page.flags = PG_pcp
        page.order = order
        taken.append(page)
    taken.reverse()  # the first taken is the first to be given out
    pcp.lists[order].extend(taken)
    pcp.count += len(taken) << order
    return len(taken) > 0


def rmqueue_buddy(zone: Zone, order: i64) -> Page | None:
    """The smallest block that is large enough, split down to ``order`` (__rmqueue_smallest, expand)."""
    while True:
        current: i64 = order
        while current <= MAX_PAGE_ORDER:
            area = zone.free_area[current]
            if area.head >= 0:
                page = zone.mem_map.page(area.head)
                area.delete(page)
                page.flags = 0
                zone.free_pages -= 1 << order
                expand(zone, page, order, current)
                return page
            current += 1
        if not deferred_grow_zone(zone):
            return None


def expand(zone: Zone, page: Page, low: i64, high: i64) -> None:
    """Puts the upper halves of a block of order ``high`` back until order ``low`` is left."""
    while high > low:
        high -= 1
        buddy = zone.mem_map.page(page.pfn + (1 << high))
        buddy.flags = PG_buddy
        buddy.order = high
        zone.free_area[high].add(buddy)


def free_one_page(zone: Zone, page: Page, order: i64) -> None:
    """Puts a block on the buddy lists and merges it with its buddy as long as that is free (__free_one_page)."""
    zone.free_pages += 1 << order
    pfn: i64 = page.pfn
    mem_map = zone.mem_map
    while order < MAX_PAGE_ORDER:
        buddy = mem_map.lookup(pfn ^ (1 << order))
        if buddy is None or not buddy.flags & PG_buddy or buddy.order != order:
            break
        zone.free_area[order].delete(buddy)
        buddy.flags = 0
        pfn &= ~(1 << order)
        order += 1
    merged = mem_map.page(pfn)
    merged.flags = PG_buddy
    merged.order = order
    area: FreeArea = zone.free_area[order]
    if buddy_merge_likely(zone, pfn, order):
        area.add_tail(merged)
    else:
        area.add(merged)


def buddy_merge_likely(zone: Zone, pfn: i64, order: i64) -> bool:
    """Whether the next larger block would be whole but for this one's buddy: then the block waits at the tail."""
    if order >= MAX_PAGE_ORDER - 1:
        return False
    parent: i64 = pfn & ~(1 << order)
    uncle = zone.mem_map.lookup(parent ^ (1 << (order + 1)))
    return uncle is not None and uncle.flags & PG_buddy != 0 and uncle.order == order + 1


def free_pcppages_bulk(zone: Zone, count: i64) -> None:
    """Gives ``count`` pages of the per-CPU lists back to the buddy lists, the coldest first."""
    pcp = zone.pcp
    left: i64 = min(count, pcp.count)
    order: i64 = 0
    while left > 0:
        cold = pcp.lists[order]
        nr: i64 = min(len(cold), (left + (1 << order) - 1) >> order)
        for page in cold[:nr]:
            page.flags = 0
            free_one_page(zone, page, order)
        del cold[:nr]
        pcp.count -= nr << order
        left -= nr << order
        order += 1
        if order > PAGE_ALLOC_COSTLY_ORDER:
            break


def deferred_grow_zone(zone: Zone) -> bool:
    """Puts the next section of deferred frames on the buddy lists; False where none is left."""
    if not zone.deferred:
        return False
    start, end = zone.deferred.pop()
    stop = min(end, (start // SECTION_PAGES + 1) * SECTION_PAGES)
    if stop < end:
        zone.deferred.append((stop, end))
    while start < stop:
        order = largest_order(start, stop)
        page = zone.mem_map.page(start)
        page.flags = PG_buddy
        page.order = order
        zone.free_area[order].add_tail(page)
        start += 1 << order
    return True
