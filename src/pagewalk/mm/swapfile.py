"""The machine's swap: areas by priority, slots and their counts, and the swap cache.

A swap entry is a number: the area in the high bits, the slot in the low 50. A page that has a slot is in the swap cache
as long as it is in memory: whoever looks for the slot finds the page there. A slot is free when no page table refers to
it and no page is cached for it.

Mirrors: mm/swapfile.c, mm/swap_state.c (the cache itself) (6.18)
Differs: areas of the same priority take turns with every cluster; no discard of freed slots; no hibernation; the
    slots of cached pages are taken back from any cluster, not from full ones alone.
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.arch.format import PageFormat
from pagewalk.mm.page import Page, PG_dirty, PG_readahead, PG_swapcache
from pagewalk.mm.page_alloc import Node
from pagewalk.mm.swap_area import SwapArea
from pagewalk.mm.swap_slot import SLOT_MASK, SWAPFILE_CLUSTER_SHIFT, SwapCluster, SwapSlot
from pagewalk.mm.vmstat import VmStat

if TYPE_CHECKING:
    from pagewalk.mm.zswap import Zswap

SWP_OFFSET_BITS: Final = 50
SWP_OFFSET_MASK: Final = (1 << SWP_OFFSET_BITS) - 1
MAX_SWAPFILES: Final = 23  # 32 types, less those of markers, migration and device memory


def swp_entry(kind: i64, offset: i64) -> i64:
    """The entry of a slot."""
    return (kind << SWP_OFFSET_BITS) | offset


def swp_type(entry: i64) -> i64:
    """The area of an entry."""
    return entry >> SWP_OFFSET_BITS


def swp_offset(entry: i64) -> i64:
    """The slot of an entry."""
    return entry & SWP_OFFSET_MASK


def swp_entry_to_pte(fmt: PageFormat, entry: i64) -> i64:
    """What a page table holds for a swap entry."""
    return fmt.swp_pte(entry >> SWP_OFFSET_BITS, entry & SWP_OFFSET_MASK)


def pte_to_swp_entry(fmt: PageFormat, pte: i64) -> i64:
    """The swap entry that a page table holds; ``pte`` is one (``fmt.is_swap_pte``) and no guard."""
    return (fmt.pte_swp_type(pte) << SWP_OFFSET_BITS) | fmt.pte_swp_offset(pte)


@final
class Swap:
    """All areas.

    areas             by type; None where one was taken away
    active            those that give out slots, the highest priority first
    total_swap_pages  slots of all areas
    nr_swap_pages     free ones (a freed slot whose page is still cached is not free)
    nr_cached         pages in the swap cache, which holds a reference on each (``SwapSlot.page``)
    current           the area whose current cluster is being filled
    least_priority    of the next area that asks for none
    zswap             the cache of compressed pages in front of all areas
    writeback         pages on their way to a disk, in that order; writeback_before: those of the batch before
    hits, prev_offset, last_ra_pages  what read-ahead by slots remembers
    """

    def __init__(self, node: Node, vmstat: VmStat) -> None:
        self.node = node
        self.vmstat = vmstat
        self.areas: list[SwapArea | None] = []
        self.active: list[SwapArea] = []
        self.total_swap_pages: i64 = 0
        self.nr_swap_pages: i64 = 0
        self.nr_cached: i64 = 0
        self.current: SwapArea | None = None
        self.least_priority = -1
        self.nr_rotational = 0
        self.writeback: list[Page] = []
        self.writeback_before: list[Page] = []
        self.hits: i64 = 0
        self.prev_offset: i64 = 0
        self.last_ra_pages: i64 = 0
        self.zswap: Zswap | None = None

    def area_of(self, entry: i64) -> SwapArea:
        """The area of an entry that is in use."""
        area = self.areas[entry >> SWP_OFFSET_BITS]
        assert area is not None
        return area

    def slot(self, entry: i64) -> SwapSlot:
        """The slot of an entry that is, or was, in use."""
        return self.cluster(entry).slots[entry & SLOT_MASK]

    def cluster(self, entry: i64) -> SwapCluster:
        """The cluster that the slot is in."""
        area = self.areas[entry >> SWP_OFFSET_BITS]
        assert area is not None
        cluster = area.clusters[(entry & SWP_OFFSET_MASK) >> SWAPFILE_CLUSTER_SHIFT]
        assert cluster is not None, f"swap entry {entry:#x} was never used"
        return cluster

    def cached_pages(self) -> list[Page]:
        """The swap cache; for reports and checks."""
        return [page for area in self.areas if area is not None for page in area.cached_pages()]

    def add_area(self, area: SwapArea) -> None:
        """The area gives out slots from now on; its ``kind`` is the place where it is put."""
        while len(self.areas) <= area.kind:
            self.areas.append(None)
        self.areas[area.kind] = area
        self.total_swap_pages += area.pages
        self.nr_rotational += 1 if area.rotational else 0
        self.enable(area)

    def enable(self, area: SwapArea) -> None:
        """Puts the area among the active ones, behind those of its priority."""
        area.swapoff = False
        self.nr_swap_pages += area.pages - area.inuse_pages
        at = 0
        while at < len(self.active) and self.active[at].prio >= area.prio:
            at += 1
        self.active.insert(at, area)

    def disable(self, area: SwapArea) -> None:
        """No slot of the area is given out any more."""
        area.swapoff = True
        self.nr_swap_pages -= area.pages - area.inuse_pages
        self.active.remove(area)

    def remove_area(self, area: SwapArea) -> None:
        """The area is empty and goes."""
        self.areas[area.kind] = None
        if self.current is area:
            self.current = None
        self.total_swap_pages -= area.pages
        self.nr_rotational -= 1 if area.rotational else 0
        area.close()

    def free_kind(self) -> int:
        """The number of the next area; -1 where there are as many as there may be."""
        for kind in range(MAX_SWAPFILES):
            if kind >= len(self.areas) or self.areas[kind] is None:
                return kind
        return -1

    def vm_swap_full(self) -> bool:
        """More than half is used: slots of pages in memory are given up early."""
        return self.nr_swap_pages * 2 < self.total_swap_pages

    # Slots.

    def alloc_entry(self) -> i64:
        """A slot for a page, of the area with the highest priority that has one; -1 where none has."""
        if self.nr_swap_pages <= 0:
            return -1
        area = self.current
        offset: i64 = -1
        if area is not None and not area.swapoff and area.current >= 0:
            offset = area.scan_cluster()
        if offset < 0:
            for area in list(self.active):
                self.requeue(area)
                offset = area.alloc_slot()
                if offset >= 0:
                    self.current = area
                    break
        if area is None or offset < 0:
            return -1
        self.nr_swap_pages -= 1
        return swp_entry(area.kind, offset)

    def requeue(self, area: SwapArea) -> None:
        """The area is asked for a cluster: others of its priority are next."""
        at = self.active.index(area)
        del self.active[at]
        while at < len(self.active) and self.active[at].prio == area.prio:
            at += 1
        self.active.insert(at, area)

    def free_entry(self, entry: i64) -> None:
        """Nothing refers to the slot any more."""
        area = self.area_of(entry)
        area.free_slot(entry & SWP_OFFSET_MASK)
        if self.zswap is not None and self.zswap.entries:
            self.zswap.invalidate(entry)
        if self.node.memcg.enabled:
            self.node.memcg.uncharge_swap(entry)
        if not area.swapoff:
            self.nr_swap_pages += 1

    def swap_count(self, entry: i64) -> i64:
        """How many page-table entries (and objects of shared memory) refer to the slot."""
        return self.slot(entry).count

    def is_used(self, entry: i64) -> bool:
        """Whether anything refers to the slot."""
        kind = entry >> SWP_OFFSET_BITS
        area = self.areas[kind] if kind < len(self.areas) else None
        offset: i64 = entry & SWP_OFFSET_MASK
        if area is None or offset >= area.max or area.clusters[offset >> SWAPFILE_CLUSTER_SHIFT] is None:
            return False
        return area.slot(offset).count != 0

    def swap_duplicate(self, entry: i64) -> None:
        """One more refers to the slot."""
        self.slot(entry).count += 1

    def swap_free(self, entry: i64) -> None:
        """One less refers to the slot; a cached page keeps it."""
        slot = self.slot(entry)
        slot.drop_use()
        if slot.count == 0 and slot.page is None:
            self.free_entry(entry)

    def free_swap_and_cache(self, entry: i64) -> None:
        """One less refers to the slot (zap); where it was the last, a page that is cached for nothing goes too."""
        page = self.slot(entry).page
        self.swap_free(entry)
        if page is not None and page.mapcount == 0 and self.folio_free_swap(page):
            self.node.put_page(page)

    # The cache.

    def add_to_swap_cache(self, page: Page, entry: i64) -> None:
        """The page is the contents of the slot."""
        page.refcount += 1
        page.flags |= PG_swapcache
        page.swap = entry
        cluster = self.cluster(entry)
        cluster.cached += 1
        cluster.slots[entry & SLOT_MASK].page = page
        self.nr_cached += 1
        self.vmstat.nr_swapcached += 1
        self.vmstat.nr_file_pages += 1

    def delete_from_swap_cache(self, page: Page) -> None:
        """The page leaves the cache; the slot is free where nothing else refers to it. The cache's reference is the
        caller's to drop."""
        entry = page.swap
        slot = self.remove_from_cache(page)
        if slot.count == 0:
            self.free_entry(entry)

    def remove_from_cache(self, page: Page) -> SwapSlot:
        """``delete_from_swap_cache`` where the caller sees to the slot, which is the answer."""
        cluster = self.cluster(page.swap)
        cluster.cached -= 1
        slot = cluster.slots[page.swap & SLOT_MASK]
        slot.page = None
        self.nr_cached -= 1
        page.flags &= ~(PG_swapcache | PG_readahead)
        page.swap = 0
        self.vmstat.nr_swapcached -= 1
        self.vmstat.nr_file_pages -= 1
        return slot

    def folio_free_swap(self, page: Page) -> bool:
        """A page in memory gives its slot up where no page table needs that; True where it did, and the cache's
        reference is the caller's to drop."""
        if not page.flags & PG_swapcache:
            return False
        entry = page.swap
        if self.swap_count(entry) != 0:
            return False
        self.remove_from_cache(page)
        self.free_entry(entry)
        page.flags |= PG_dirty
        return True

    def try_to_free_swap(self, page: Page) -> bool:
        """As ``folio_free_swap``, the reference dropped: for a page that somebody else holds."""
        if not self.folio_free_swap(page):
            return False
        page.refcount -= 1
        return True

    def folio_alloc_swap(self, page: Page) -> bool:
        """Gives the page a slot and puts it into the cache; False where there is no slot. When slots run out, those of
        cached pages that nothing else needs are taken back first."""
        entry = self.alloc_entry()
        if entry < 0 and self.reclaim_cached_slots() > 0:
            entry = self.alloc_entry()
        if entry < 0:
            if page.memcg:
                self.node.memcg.try_charge_swap(page.memcg, entry)
            return False
        if page.memcg and not self.node.memcg.try_charge_swap(page.memcg, entry):
            self.free_entry(entry)
            return False
        self.add_to_swap_cache(page, entry)
        return True

    def reclaim_cached_slots(self) -> int:
        """swap_reclaim_full_clusters: takes slots back from pages in memory that no page table refers to by the slot,
        cluster by cluster until it has 32. The next time it begins with the clusters behind."""
        freed = 0
        for area in self.areas:
            if area is None or self.nr_cached == 0:
                continue
            for _ in range(len(area.clusters)):
                cluster = area.clusters[area.reclaim_at]
                area.reclaim_at = (area.reclaim_at + 1) % len(area.clusters)
                if cluster is None or cluster.cached == 0:
                    continue
                for page in cluster.cached_pages():
                    if page.refcount > 1 and self.try_to_free_swap(page):
                        freed += 1
                if freed >= 32:
                    return freed
        return freed
