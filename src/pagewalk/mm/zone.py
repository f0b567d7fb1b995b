"""Zones: the ranges of RAM that the buddy allocator deals in.

Mirrors: include/linux/mmzone.h (6.18)
Differs: one migrate type; the per-CPU page lists keep a fixed ``high`` and ``batch``.
"""

from typing import Final, final

from mypy_extensions import i64

from pagewalk.mm.page import MemMap, Page, PG_buddy

MAX_PAGE_ORDER: Final = 10
NR_PAGE_ORDERS: Final = 11
PAGE_ALLOC_COSTLY_ORDER: Final = 3  # the per-CPU lists hold orders 0 to 3

ZONE_DMA: Final = 0
ZONE_DMA32: Final = 1
ZONE_NORMAL: Final = 2
ZONE_NAMES: Final = ("DMA", "DMA32", "Normal", "Movable", "Device")
MAX_NR_ZONES: Final = 5  # Movable and Device exist and are empty


@final
class FreeArea:
    """The free blocks of one order: a doubly linked list through Page.lru_prev and lru_next."""

    def __init__(self, mem_map: MemMap) -> None:
        self.mem_map = mem_map
        self.head: i64 = -1
        self.tail: i64 = -1
        self.nr_free: i64 = 0

    def add(self, page: Page) -> None:
        """Puts a block at the head: it is the next to be taken."""
        page.lru_prev = -1
        page.lru_next = self.head
        if self.head >= 0:
            self.mem_map.page(self.head).lru_prev = page.pfn
        else:
            self.tail = page.pfn
        self.head = page.pfn
        self.nr_free += 1

    def add_tail(self, page: Page) -> None:
        """Puts a block at the tail: it is the last to be taken."""
        page.lru_next = -1
        page.lru_prev = self.tail
        if self.tail >= 0:
            self.mem_map.page(self.tail).lru_next = page.pfn
        else:
            self.head = page.pfn
        self.tail = page.pfn
        self.nr_free += 1

    def delete(self, page: Page) -> None:
        """Takes a block off the list."""
        if page.lru_prev >= 0:
            self.mem_map.page(page.lru_prev).lru_next = page.lru_next
        else:
            self.head = page.lru_next
        if page.lru_next >= 0:
            self.mem_map.page(page.lru_next).lru_prev = page.lru_prev
        else:
            self.tail = page.lru_prev
        page.lru_prev = -1
        page.lru_next = -1
        self.nr_free -= 1


@final
class PerCpuPages:
    """One CPU's free blocks of a zone, by order 0 to 3. The end of a list is the hot end.

    count  pages on all lists
    high   pages above which a batch goes back to the buddy lists
    batch  pages moved at a time
    """

    def __init__(self) -> None:
        self.count: i64 = 0
        self.high: i64 = 0
        self.batch: i64 = 1
        self.lists: list[list[Page]] = [[] for _ in range(PAGE_ALLOC_COSTLY_ORDER + 1)]


@final
class Zone:
    """One zone of the node. All sizes in pages.

    node_id          the node that it belongs to
    zone_start_pfn, spanned_pages  its range, holes included
    present_pages    frames that exist in it
    managed_pages    frames that the buddy allocator was given
    free_pages       free frames on the buddy lists, deferred ones included; per-CPU lists are not counted (as Linux)
    free_area        by order
    deferred         (start, end) ranges of free frames that are not on a list yet, highest first: they enter the lists,
                     a section at a time, when those run dry (Linux: deferred struct page initialisation)
    watermark_*      min, low, high, promo
    lowmem_reserve   pages kept from allocations that could use a higher zone, by that zone's index
    """

    def __init__(self, name: str, index: int, start_pfn: int, end_pfn: int, mem_map: MemMap) -> None:
        self.name = name
        self.index = index
        self.node_id: i64 = 0
        self.zone_start_pfn = start_pfn
        self.spanned_pages = end_pfn - start_pfn
        self.present_pages = 0
        self.managed_pages = 0
        self.mem_map = mem_map
        self.free_pages: i64 = 0
        self.free_area = [FreeArea(mem_map) for _ in range(NR_PAGE_ORDERS)]
        self.deferred: list[tuple[int, int]] = []
        self.pcp = PerCpuPages()
        self.watermark_min = 0
        self.watermark_low = 0
        self.watermark_high = 0
        self.watermark_promo = 0
        self.lowmem_reserve: list[int] = [0] * MAX_NR_ZONES
        self.numa_hit: i64 = 0

    def __repr__(self) -> str:
        return f"<Zone {self.name}: {self.free_pages} of {self.managed_pages} pages free>"

    @property
    def end_pfn(self) -> int:
        """First frame behind the zone."""
        return self.zone_start_pfn + self.spanned_pages

    def nr_free(self, order: int) -> int:
        """Free blocks of an order, deferred ones included."""
        count = int(self.free_area[order].nr_free)
        for start, end in self.deferred:
            count += deferred_blocks(start, end)[order]
        return count

    def free_blocks(self) -> list[tuple[int, int]]:
        """(pfn, order) of every block on the buddy lists, for checks and reports."""
        blocks = []
        for order in range(NR_PAGE_ORDERS):
            pfn = self.free_area[order].head
            while pfn >= 0:
                page = self.mem_map.page(pfn)
                assert page.flags & PG_buddy and page.order == order
                blocks.append((int(pfn), order))
                pfn = page.lru_next
        return blocks


def largest_order(pfn: int, end: int) -> int:
    """The order of the largest aligned block that starts at ``pfn`` and ends at or before ``end``."""
    order = MAX_PAGE_ORDER
    while pfn & ((1 << order) - 1) or pfn + (1 << order) > end:
        order -= 1
    return order


def deferred_blocks(start: int, end: int) -> list[int]:
    """How many blocks of each order a free range makes."""
    counts = [0] * NR_PAGE_ORDERS
    block = 1 << MAX_PAGE_ORDER
    while start < end:
        if start % block == 0 and end - start >= block:
            whole = (end - start) // block
            counts[MAX_PAGE_ORDER] += whole
            start += whole * block
        else:
            order = largest_order(start, end)
            counts[order] += 1
            start += 1 << order
    return counts
