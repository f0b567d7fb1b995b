"""struct scan_control: one run of reclaim, what it may do and what it has done.

Mirrors: mm/vmscan.c (struct scan_control) (6.18)
Differs: it also counts, so that a policy need not.
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.memcg_names import (
    PGSCAN_DIRECT,
    PGSCAN_KSWAPD,
    PGSCAN_PROACTIVE,
    PGSTEAL_DIRECT,
    PGSTEAL_KSWAPD,
    PGSTEAL_PROACTIVE,
)
from pagewalk.mm.page import Page, PG_swapbacked, PG_unevictable
from pagewalk.mm.page_io import end_writeback
from pagewalk.mm.rmap import RmapHit
from pagewalk.mm.shrink_folio_list import shrink_folio_list

if TYPE_CHECKING:
    from pagewalk.mm.lruvec import ReclaimPolicy
    from pagewalk.mm.mem_cgroup import MemCgroup
    from pagewalk.mm.page_alloc import Node
    from pagewalk.mm.system import System

SWAP_CLUSTER_MAX: Final = 32


@final
class ScanControl:
    """One run.

    node            whose pages, of the node that is looked at now
    target          the lists there of the group that has to give, the root's where the machine has; None before a pass
    group           that group, None where the machine has to give
    memcg           the group whose lists are looked at; online: it has not been removed
    emin, elow      its protection, in pages (mm/memcg_protection.py); ``size``: what it uses
    low_reclaim     groups below their memory.low are not spared; low_skipped: some were
    nr_to_reclaim   pages wanted
    priority        12 looks at 1/4096 of the lists, 0 at all of them
    kswapd, proactive  who runs: kswapd, or somebody who asks for it (memory.reclaim); else a task that needs a page
    cgroup          a memory cgroup has to give
    full_walk       a pass asks every group below, even where it has enough before (kswapd does so, too)
    may_swap        anonymous pages may go: ``allow_swap``, and there is swap space left for the lists' group
    ignore_references  a program has said that the pages may go, used or not
    swappiness      0 to 200: how ready anonymous pages are to go, against file pages
    reclaim_idx     the highest zone that is of use to the request; ``all_zones`` where that is all of them
    waits_for_io    a page that a disk has to write is freed in the same pass; else one that looks at it again frees it
    nr_reclaimed, nr_scanned  so far
    hit             where the page that is looked at is mapped (mm/rmap.py)
    nr_pageout      pages that the last list had to be written for
    anon_cost, file_cost  of the target's lists when the pass began
    may_deactivate, force_deactivate, skipped_deactivate, cache_trim_mode, file_is_tiny  the classic policy's notes
    nr_unqueued_dirty  dirty file pages met that nobody is writing
    """

    def __init__(self, system: "System", node: "Node", nr_to_reclaim: i64) -> None:
        self.system = system
        self.node = node
        self.target: ReclaimPolicy | None = None
        self.group: MemCgroup | None = None
        self.full_walk = False
        self.memcg: MemCgroup = system.memcg.root
        self.online = True
        self.emin: i64 = 0
        self.elow: i64 = 0
        self.size: i64 = 0
        self.low_reclaim = False
        self.low_skipped = False
        self.anon_cost: i64 = 0
        self.file_cost: i64 = 0
        self.nr_to_reclaim: i64 = nr_to_reclaim
        self.priority = 12
        self.kswapd = False
        self.proactive = False
        self.cgroup = False
        self.allow_swap = True
        self.may_swap = True
        self.ignore_references = False
        self.waits_for_io = False
        self.swappiness: int = system.config.swappiness
        self.reclaim_idx: i64 = len(node.zones) - 1
        self.all_zones = True
        self.nr_reclaimed: i64 = 0
        self.nr_scanned: i64 = 0
        self.nr_pageout: i64 = 0
        self.nr_unqueued_dirty: i64 = 0
        self.may_deactivate = 0
        self.force_deactivate = False
        self.skipped_deactivate = False
        self.hit = RmapHit()
        self.cache_trim_mode = False
        self.file_is_tiny = False

    def set_reclaim_idx(self, highest_zoneidx: i64) -> None:
        """Zones up to that index are of use."""
        self.reclaim_idx = highest_zoneidx
        self.set_node(self.node)

    def set_node(self, node: "Node") -> None:
        """The run goes on with another node."""
        self.node = node
        self.all_zones = not node.zonelist_here or self.reclaim_idx >= node.zonelist_here[0].index

    def may_swap_of(self, lruvec: "ReclaimPolicy") -> bool:
        """Whether anonymous pages of these lists may go (can_reclaim_anon_pages)."""
        return self.allow_swap and self.system.memcg.get_nr_swap_pages(lruvec.memcg) > 0

    def set_memcg(self, memcg: "MemCgroup") -> None:
        """The lists of this group are about to be looked at. Against reclaim for its own sake nothing is protected."""
        self.memcg = memcg
        self.online = memcg.online
        protected = memcg is not self.group and memcg.parent is not None
        self.emin = memcg.emin if protected else 0
        self.elow = memcg.elow if protected else 0
        self.size = memcg.usage
        self.may_swap = self.allow_swap and self.system.memcg.get_nr_swap_pages(memcg.ident) > 0

    def unprotected(self, size: int) -> int:
        """How much of a list may be looked at: the less, the more of the group is protected."""
        if self.emin == 0 and self.elow == 0:
            return size
        protection: i64 = self.emin
        if not self.low_reclaim and self.elow > self.emin:
            protection = self.elow
            self.low_skipped = True
        usage = int(max(self.size, protection))
        return max(size - size * int(protection) // (usage + 1), SWAP_CLUSTER_MAX)

    def shrink_slab(self) -> None:
        """What else can give frames back for the group that is looked at: zswap's shrinker."""
        if self.system.zswap.shrinker_enabled:
            self.system.zswap.shrink_slab(self.memcg, self.priority)

    def count_event(self, which: int, count: int) -> None:
        """An event of memory.stat of the group that is looked at."""
        self.memcg.vm_events[which] += count

    def shrink_folio_list(self, pages: list[Page]) -> list[Page]:
        """Lets go of pages that are on no list; those that have to stay, with the flags that say where."""
        return shrink_folio_list(self, pages, self.ignore_references)

    def end_batch(self) -> None:
        """Pages have been looked at, and are back on the lists: time has passed for the device."""
        swap = self.system.swap
        if swap.writeback or swap.writeback_before:
            end_writeback(self.system)

    def evict(self, pages: list[Page]) -> list[Page]:
        """As ``shrink_folio_list``, and counts what was looked at and freed: what a policy's ``shrink`` needs."""
        anon: i64 = sum([page.flags & PG_swapbacked != 0 for page in pages])
        self.count_scan(anon, False)
        self.count_scan(len(pages) - anon, True)
        before: i64 = self.nr_reclaimed
        self.waits_for_io = True
        kept = self.shrink_folio_list(pages)
        kept_anon: i64 = sum([page.flags & PG_swapbacked != 0 for page in kept])
        freed_anon: i64 = min(max(anon - kept_anon, 0), self.nr_reclaimed - before)
        self.count_steal(freed_anon, False)
        self.count_steal(self.nr_reclaimed - before - freed_anon, True)
        return kept

    def may_go(self, page: Page) -> bool:
        """Whether it is worth trying: not locked, in a zone that is of use, and not in need of swap where there is
        none."""
        if page.flags & PG_unevictable or (page.flags & PG_swapbacked and not self.may_swap):
            return False
        return self.all_zones or self.zone_fits(page)

    def zone_fits(self, page: Page) -> bool:
        """The page lies in a zone that is of use."""
        zone = self.node.zone_of(page.pfn)
        return zone.index <= self.reclaim_idx and zone.node_id == self.node.node_id

    def lru_size(self, lruvec: "ReclaimPolicy", lru: int) -> int:
        """Pages of a list in zones that are of use (lruvec_lru_size)."""
        if self.all_zones:
            return int(lruvec.nr(lru))
        below = int(lruvec.nr_below(lru))
        populated = self.node.zonelist_here
        if below == 0 or self.reclaim_idx >= populated[1].index:
            return below
        lowest = int(lruvec.nr_lowest(lru))
        if lowest == 0 or self.reclaim_idx >= populated[2].index:
            return lowest
        count = 0
        for page in lruvec.all_pages(lru):
            if self.zone_fits(page):
                count += 1
        return count

    def nr_free(self) -> i64:
        """Free pages of the node."""
        return sum([int(zone.free_pages) for zone in self.node.zones])

    def total_high_wmark(self) -> i64:
        """The high marks of the node's zones, added up."""
        total: i64 = 0
        for zone in self.node.zones:
            if zone.managed_pages:
                total += zone.watermark_high
        return total

    def count_scan(self, nr_pages: i64, file: bool) -> None:
        """Pages were looked at."""
        vmstat = self.system.vmstat
        self.nr_scanned += nr_pages
        if self.kswapd:
            vmstat.pgscan_kswapd += nr_pages
            self.count_event(PGSCAN_KSWAPD, int(nr_pages))
        elif self.proactive:
            vmstat.pgscan_proactive += 0 if self.cgroup else nr_pages
            self.count_event(PGSCAN_PROACTIVE, int(nr_pages))
        else:
            vmstat.pgscan_direct += 0 if self.cgroup else nr_pages
            self.count_event(PGSCAN_DIRECT, int(nr_pages))
        if file:
            vmstat.pgscan_file += nr_pages
        else:
            vmstat.pgscan_anon += nr_pages

    def count_steal(self, nr_pages: i64, file: bool) -> None:
        """Pages of those were freed."""
        vmstat = self.system.vmstat
        if self.kswapd:
            vmstat.pgsteal_kswapd += nr_pages
            self.count_event(PGSTEAL_KSWAPD, int(nr_pages))
        elif self.proactive:
            vmstat.pgsteal_proactive += 0 if self.cgroup else nr_pages
            self.count_event(PGSTEAL_PROACTIVE, int(nr_pages))
        else:
            vmstat.pgsteal_direct += 0 if self.cgroup else nr_pages
            self.count_event(PGSTEAL_DIRECT, int(nr_pages))
        if file:
            vmstat.pgsteal_file += nr_pages
        else:
            vmstat.pgsteal_anon += nr_pages
