"""Zones: the ranges of RAM that the buddy allocator deals in.

Mirrors: include/linux/mmzone.h (6.18)
Differs: no CMA; a zone has one CPU's lists (its machine's CPUs take turns).
"""

from typing import Final, final

from mypy_extensions import i64

from pagewalk.arch.zone_limits import KIND_NAMES
from pagewalk.mm.gfp import MIGRATE_PCPTYPES, MIGRATE_TYPES
from pagewalk.mm.page import MemMap, Page, PG_buddy

PAGE_ALLOC_COSTLY_ORDER: Final = 3  # the per-CPU lists hold orders 0 to 3


@final
class FreeList:
    """Free blocks of one order and migrate type: a doubly linked list through Page.lru_prev and lru_next."""

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
class FreeArea:
    """The free blocks of one order: a list for each migrate type."""

    def __init__(self, mem_map: MemMap) -> None:
        self.lists = [FreeList(mem_map) for _ in range(MIGRATE_TYPES)]

    def nr_free(self) -> int:
        """Blocks of all types."""
        return sum([int(each.nr_free) for each in self.lists])


@final
class PerCpuPages:
    """One CPU's free blocks of a zone, by order 0 to 3 and migrate type. The end of a list is the hot end.

    count         pages on all lists
    high          pages above which some go back to the buddy lists: between high_min and high_max, it follows the load
    batch         pages moved at a time, to begin with
    alloc_factor  log2 of how many batches the next refill takes: allocations without frees in between raise it
    free_count    pages freed in a row
    lists         by order * MIGRATE_PCPTYPES + migrate type
    """

    def __init__(self) -> None:
        self.count: i64 = 0
        self.high: i64 = 0
        self.high_min: i64 = 0
        self.high_max: i64 = 0
        self.batch: i64 = 1
        self.alloc_factor: i64 = 0
        self.free_count: i64 = 0
        self.lists: list[list[Page]] = [[] for _ in range((PAGE_ALLOC_COSTLY_ORDER + 1) * MIGRATE_PCPTYPES)]


@final
class Zone:
    """One zone of a node. All sizes in pages.

    kind             what it is (arch.zone_limits.DMA ... DEVICE); ``name`` is that in words
    index            its place among the zones of its node, lowest memory first (enum zone_type)
    node_id          the node that it belongs to
    is_highmem       the kernel has no addresses for it (HIGHMEM, and MOVABLE where that is cut from HIGHMEM)
    zone_start_pfn, spanned_pages  its range, holes included
    pieces           the ranges that are its own where another zone lies in between (interleaved nodes), else None
    present_pages    frames that exist in it
    managed_pages    frames that the buddy allocator was given
    free_pages       free frames on the buddy lists, deferred ones included; per-CPU lists are not counted (as Linux)
    free_area        by order
    deferred         (start, end) ranges of free frames that are not on a list yet, highest first: they enter the lists,
                     a section at a time, when those run dry (Linux: deferred struct page initialisation)
    watermark_*      min, low, high, promo, without the boost, which is what fragmentation has added to each for a time;
                     ``boosted``: kswapd is to be told of it
    below_high       few pages are free: the per-CPU lists do not grow
    reclaim_active   kswapd works on the zone: what is freed does not stay on the per-CPU lists
    no_fragment      requests that begin at this zone rather go to the next than mix migrate types
    lowmem_reserve   pages kept from allocations that could use a higher zone, by that zone's index
    max_reserve      the largest of those
    nr_reserved_highatomic  frames of page blocks that are kept for urgent requests; nr_free_highatomic: free ones
    linux_6_1        the rules of that release for such blocks
    node_cpus        CPUs of its node, 0 where it has none
    numa_*           where requests were served: see Documentation/admin-guide/numastat.rst
    """

    def __init__(self, kind: int, index: int, start_pfn: int, end_pfn: int, mem_map: MemMap, node_id: int = 0) -> None:
        self.kind = kind
        self.name = KIND_NAMES[kind]
        self.index: i64 = index
        self.node_id: i64 = node_id
        self.is_highmem = False
        self.zone_start_pfn = start_pfn
        self.spanned_pages = end_pfn - start_pfn
        self.pieces: list[tuple[int, int]] | None = None
        self.present_pages = 0
        self.managed_pages = 0
        self.mem_map = mem_map
        self.pageblock_order = mem_map.block_order
        self.max_order: i64 = mem_map.max_order
        self.free_pages: i64 = 0
        self.free_area = [FreeArea(mem_map) for _ in range(int(mem_map.max_order) + 1)]
        self.deferred: list[tuple[int, int]] = []
        self.pcp = PerCpuPages()
        self.watermark_min = 0
        self.watermark_low: i64 = 0
        self.watermark_high = 0
        self.watermark_promo = 0
        self.watermark_boost: i64 = 0
        self.watermark_boost_factor = 15000
        self.boosted = False
        self.below_high = False
        self.reclaim_active = False
        self.no_fragment = False
        self.lowmem_reserve: list[int] = []
        self.max_reserve = 0
        self.nr_reserved_highatomic: i64 = 0
        self.nr_free_highatomic: i64 = 0
        self.linux_6_1 = False
        self.node_cpus = 0
        self.numa_hit: i64 = 0
        self.numa_miss: i64 = 0
        self.numa_foreign: i64 = 0
        self.numa_interleave: i64 = 0
        self.numa_other: i64 = 0

    def __repr__(self) -> str:
        return f"<Zone {self.name} of node {self.node_id}: {self.free_pages} of {self.managed_pages} pages free>"

    @property
    def end_pfn(self) -> int:
        """First frame behind the zone."""
        return self.zone_start_pfn + self.spanned_pages

    def holds(self, pfn: i64) -> bool:
        """Whether a frame is the zone's: its range alone says so unless nodes are interleaved."""
        if pfn < self.zone_start_pfn or pfn >= self.zone_start_pfn + self.spanned_pages:
            return False
        if self.pieces is not None:
            for start, end in self.pieces:  # noqa: SIM110
                if start <= pfn < end:
                    return True
            return False
        return True

    def marks(self) -> list[int]:
        """min, low, high, promo as they are in force: with the boost."""
        boost = int(self.watermark_boost)
        found = [self.watermark_min, int(self.watermark_low), self.watermark_high, self.watermark_promo]
        return [mark + boost for mark in found]

    def nr_free(self, order: int) -> int:
        """Free blocks of an order, deferred ones included."""
        return self.free_area[order].nr_free() + self.nr_deferred(order)

    def nr_deferred(self, order: int) -> int:
        """Free blocks of an order that are on no list yet (they are MOVABLE)."""
        return sum([deferred_blocks(start, end, int(self.max_order))[order] for start, end in self.deferred])

    def free_blocks(self) -> list[tuple[int, int]]:
        """(pfn, order) of every block on the buddy lists, for checks and reports."""
        blocks = []
        for order in range(len(self.free_area)):
            for free_list in self.free_area[order].lists:
                pfn = free_list.head
                while pfn >= 0:
                    page = self.mem_map.page(pfn)
                    assert page.flags & PG_buddy and page.order == order
                    blocks.append((int(pfn), order))
                    pfn = page.lru_next
        return blocks


def largest_order(pfn: int, end: int, max_order: int) -> int:
    """The order of the largest aligned block that starts at ``pfn`` and ends at or before ``end``."""
    order = max_order
    while pfn & ((1 << order) - 1) or pfn + (1 << order) > end:
        order -= 1
    return order


def deferred_blocks(start: int, end: int, max_order: int) -> list[int]:
    """How many blocks of each order a free range makes."""
    counts = [0] * (max_order + 1)
    block = 1 << max_order
    while start < end:
        if start % block == 0 and end - start >= block:
            whole = (end - start) // block
            counts[max_order] += whole
            start += whole * block
        else:
            order = largest_order(start, end, max_order)
            counts[order] += 1
            start += 1 << order
    return counts
