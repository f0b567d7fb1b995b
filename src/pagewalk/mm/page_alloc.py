"""The page allocator: which zone serves a request, and what happens when none may.

Entry points: ``Node.alloc_pages``, ``free_pages``, ``put_page``. A request tries the zones of its node's zonelist, the
highest allowed zone of the nearest node first, as long as they stay above their low mark; then wakes kswapd and goes
down to min; then reclaims; in the end asks for a victim. One that cannot be served answers None and leaves everything
as it was; ``Node.last_failure`` remembers it for the message.

Mirrors: mm/page_alloc.c (6.18)
Differs: no compaction; a request that fails is told to nobody's console.
"""

from typing import Final, final

from mypy_extensions import i64

from pagewalk.mm.buddy import (
    free_one_page,
    reserve_highatomic_pageblock,
    rmqueue_buddy,
    rmqueue_smallest,
    unreserve_highatomic_pageblock,
)
from pagewalk.mm.gfp import (
    ALLOC_CPUSET,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
    ALLOC_WMARK_HIGH,
    ALLOC_WMARK_LOW,
    GFP_ACCOUNT,
    GFP_DIRECT_RECLAIM,
    GFP_HARDWALL,
    GFP_KSWAPD_RECLAIM,
    GFP_MEMALLOC,
    GFP_MOVABLE,
    GFP_NOMEMALLOC,
    GFP_NORETRY,
    GFP_RETRY_MAYFAIL,
    GFP_THISNODE,
    GFP_ZERO,
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    gfp_to_alloc_flags,
)
from pagewalk.mm.lruvec import ReclaimPolicy
from pagewalk.mm.memcg_seam import MemcgSeam
from pagewalk.mm.page import MemMap, Page, PG_head, PG_lru, PG_mlocked, PG_pcp
from pagewalk.mm.pcp import free_pcppages_bulk, refill, trim
from pagewalk.mm.ram import Ram
from pagewalk.mm.reclaim_seam import ReclaimSeam
from pagewalk.mm.vmstat import VmStat
from pagewalk.mm.watermark_ok import zone_watermark_fast, zone_watermark_ok
from pagewalk.mm.zone import PAGE_ALLOC_COSTLY_ORDER, Zone

MAX_RECLAIM_RETRIES: Final = 16


@final
class Node:
    """struct pglist_data: the zones of one memory node, and how to allocate as its CPUs do.

    node_id        its number
    zones          its own, by index, those without frames too
    zonelist       zones with frames, its own first, then of ever more distant nodes; of each node the highest first
    zonelist_here  the same without other nodes (GFP_THISNODE)
    nodes          all nodes of the machine
    lruvec         the pages that reclaim can take, and how it chooses: those of the root's group
    lruvecs        the same for each memory cgroup by its ident, ``lruvec`` first
    one_lruvec     the machine has no other lists: one node, and no group but the root
    gfp_zone       highest zone index by the low four bits of gfp flags
    nodemask       nodes that the request in the slow path may use, for the OOM killer; -1: all; cpuset: those that the
                   cpuset of the task lets it use
    memcg          whom pages of programs and requests with GFP_ACCOUNT are charged to (mm/memcg_seam.py)
    last_failure   the request that could last not be served, for the message; "" when none failed
    reserve_allocs requests that were entitled to go below the mark that others stop at, and were served
    reclaim        whom the slow path asks for memory (mm/reclaim_seam.py), the same object in all nodes
    """

    def __init__(
        self, node_id: int, zones: list[Zone], mem_map: MemMap, ram: Ram, vmstat: VmStat, gfp_zone: list[int]
    ) -> None:
        self.node_id: i64 = node_id
        self.zones = zones
        self.zonelist: list[Zone] = []
        self.zonelist_here: list[Zone] = [zone for zone in reversed(zones) if zone.managed_pages]
        self.nodes: list[Node] = []
        self.by_pfn: list[Zone] = []
        self.interleaved = False
        self.gfp_zone = gfp_zone
        self.group_by_mobility = True
        self.mem_map = mem_map
        self.ram = ram
        self.vmstat = vmstat
        self.lruvec: ReclaimPolicy = ReclaimPolicy(mem_map)
        self.lruvecs: list[ReclaimPolicy] = [self.lruvec]
        self.one_lruvec = True
        self.last_failure = ""
        self.reserve_allocs = 0
        self.reclaim = ReclaimSeam()
        self.memcg = MemcgSeam()
        self.nodemask: i64 = -1
        self.cpuset: i64 = -1

    def __repr__(self) -> str:
        return f"<Node {self.node_id}: {sum([zone.managed_pages for zone in self.zones])} pages>"

    def alloc_pages(self, gfp: i64, order: i64) -> Page | None:
        """2**order contiguous, aligned frames (up to the zones' largest block) with a reference count of 1, or None."""
        if self.memcg.enabled:
            if gfp & (GFP_MOVABLE | GFP_ACCOUNT):
                return self.alloc_pages_charged(gfp, order, -1)
            if self.memcg.cpusets:
                return self.alloc_pages_of_nodes(gfp, order, -1)
        highest: i64 = self.gfp_zone[gfp & 15]
        zonelist = self.zonelist_here if gfp & GFP_THISNODE else self.zonelist
        page = self.get_page_from_freelist(zonelist, gfp, order, highest, ALLOC_WMARK_LOW)
        if page is not None:
            return page
        return self.alloc_pages_slowpath(zonelist, gfp, order, highest)

    def alloc_pages_charged(self, gfp: i64, order: i64, nodemask: i64) -> Page | None:
        """``alloc_pages_of_nodes`` for a memory cgroup, which has to afford it."""
        ident = self.memcg.try_charge(gfp, order)
        if ident < 0:
            return None
        page = self.alloc_pages_of_nodes(gfp, order, nodemask)
        if page is not None:
            page.memcg = ident
        elif ident > 0:
            self.memcg.uncharge(ident, 1 << order)
        return page

    def alloc_page(self, gfp: i64) -> Page | None:
        """One frame, or None."""
        return self.alloc_pages(gfp, 0)

    def alloc_pages_nodemask(self, gfp: i64, order: i64, nodemask: i64) -> Page | None:
        """As ``alloc_pages``, but from the nodes of ``nodemask`` alone (bit n: node n)."""
        if self.memcg.enabled and gfp & (GFP_MOVABLE | GFP_ACCOUNT):
            return self.alloc_pages_charged(gfp, order, nodemask)
        return self.alloc_pages_of_nodes(gfp, order, nodemask)

    def alloc_pages_of_nodes(self, gfp: i64, order: i64, nodemask: i64) -> Page | None:
        """``alloc_pages_nodemask`` that nobody pays for. The cpuset of the task binds what it asks for itself
        (GFP_HARDWALL); the kernel's own requests may leave it when its nodes are short, urgent ones too."""
        highest: i64 = self.gfp_zone[gfp & 15]
        here = self.zonelist_here if gfp & GFP_THISNODE else self.zonelist
        mems: i64 = self.memcg.mems_allowed() if self.memcg.cpusets else -1
        zonelist = [zone for zone in here if (nodemask & mems) >> zone.node_id & 1]
        page = self.get_page_from_freelist(zonelist, gfp, order, highest, ALLOC_WMARK_LOW)
        if page is not None:
            return page
        if mems != -1 and (not gfp & GFP_HARDWALL or not gfp_to_alloc_flags(gfp, order) & ALLOC_CPUSET):
            mems = -1
            zonelist = [zone for zone in here if nodemask >> zone.node_id & 1]
        self.nodemask = nodemask
        self.cpuset = mems
        page = self.alloc_pages_slowpath(zonelist, gfp, order, highest)
        self.nodemask = -1
        self.cpuset = -1
        return page

    def get_page_from_freelist(
        self, zonelist: list[Zone], gfp: i64, order: i64, highest: i64, alloc_flags: i64
    ) -> Page | None:
        """The first zone that stays above the mark serves the request."""
        migratetype: i64 = (gfp >> 3) & 3
        if not self.group_by_mobility:
            migratetype = 0
        alloc_flags |= gfp & GFP_KSWAPD_RECLAIM
        preferred: Zone | None = None
        for zone in zonelist:
            if zone.index > highest:
                continue
            if preferred is None:
                preferred = zone
                if zone.no_fragment:
                    alloc_flags |= ALLOC_NOFRAGMENT
            elif alloc_flags & ALLOC_NOFRAGMENT and zone.node_id != preferred.node_id:
                alloc_flags &= ~ALLOC_NOFRAGMENT  # mixing types is better than another node
                return self.get_page_mixed(zonelist, gfp, order, highest, alloc_flags)
            if not zone_watermark_fast(zone, order, highest, alloc_flags):
                continue
            page = self.rmqueue(zone, order, migratetype, alloc_flags)
            if page is not None:
                self.vmstat.pgalloc[zone.index] += 1 << order
                if zone.node_id == preferred.node_id:
                    zone.numa_hit += 1
                else:
                    zone.numa_miss += 1
                    preferred.numa_foreign += 1
                if zone.node_id != self.node_id:
                    zone.numa_other += 1
                self._prep_new_page(page, gfp, order)
                if alloc_flags & ALLOC_HIGHATOMIC:
                    reserve_highatomic_pageblock(zone, page, order)
                return page
        if alloc_flags & ALLOC_NOFRAGMENT:
            return self.get_page_mixed(zonelist, gfp, order, highest, alloc_flags & ~ALLOC_NOFRAGMENT)
        return None

    def get_page_mixed(self, zonelist: list[Zone], gfp: i64, order: i64, highest: i64, alloc_flags: i64) -> Page | None:
        """As ``get_page_from_freelist``, where types may mix."""
        marked = [zone for zone in zonelist if zone.no_fragment]
        for zone in marked:
            zone.no_fragment = False
        page = self.get_page_from_freelist(zonelist, gfp, order, highest, alloc_flags)
        for zone in marked:
            zone.no_fragment = True
        return page

    def rmqueue(self, zone: Zone, order: i64, migratetype: i64, alloc_flags: i64) -> Page | None:
        """Takes a block off the per-CPU list, or off the buddy lists."""
        if order <= PAGE_ALLOC_COSTLY_ORDER and not alloc_flags & ALLOC_HIGHATOMIC:
            hot = zone.pcp.lists[order * MIGRATE_PCPTYPES + migratetype]
            if not hot and not refill(zone, order, migratetype, alloc_flags):
                return None
            zone.pcp.count -= 1 << order
            return hot.pop()
        page = rmqueue_smallest(zone, order, MIGRATE_HIGHATOMIC) if alloc_flags & ALLOC_HIGHATOMIC else None
        if page is None:
            page = rmqueue_buddy(zone, order, migratetype, alloc_flags)
        if page is None and alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK):
            page = rmqueue_smallest(zone, order, MIGRATE_HIGHATOMIC)
        return page

    def alloc_pages_slowpath(self, zonelist: list[Zone], gfp: i64, order: i64, highest: i64) -> Page | None:
        """Every zone is below its low mark: wakes kswapd, goes down to min, frees memory directly, and has somebody
        killed in the end, again and again as long as there is progress."""
        reclaim = self.reclaim
        alloc_flags = gfp_to_alloc_flags(gfp, order)
        costly = order > PAGE_ALLOC_COSTLY_ORDER
        rounds = 0
        first = True
        while True:
            if alloc_flags & ALLOC_KSWAPD:
                self.wake_all_kswapds(zonelist, gfp, order, highest)
            if first:
                first = False
                page = self.get_page_from_freelist(zonelist, gfp, order, highest, alloc_flags)
                if page is not None:
                    self.reserve_allocs += 1 if alloc_flags & ALLOC_RESERVES else 0
                    return page
            reserve: i64 = ALLOC_NO_WATERMARKS if gfp & GFP_MEMALLOC else reclaim.memalloc(gfp)
            if gfp & GFP_NOMEMALLOC:
                reserve = 0
            flags = reserve | (alloc_flags & ALLOC_KSWAPD) if reserve else alloc_flags
            page = self.get_page_from_freelist(self.zonelist if reserve else zonelist, gfp, order, highest, flags)
            if page is not None:
                self.reserve_allocs += 1 if reserve or flags & ALLOC_RESERVES else 0
                return page
            if not gfp & GFP_DIRECT_RECLAIM or reserve & ALLOC_NO_WATERMARKS:
                break
            progress: i64 = reclaim.try_to_free_pages(self, gfp, order)
            page = self.after_reclaim(zonelist, gfp, order, highest, flags)
            if page is not None:
                return page
            if gfp & GFP_NORETRY or (costly and not gfp & GFP_RETRY_MAYFAIL):
                break
            rounds = 0 if progress > 0 and not costly else rounds + 1
            if rounds <= MAX_RECLAIM_RETRIES:
                if self.should_reclaim_retry(zonelist, order, highest, flags):
                    continue
            elif self.unreserve_highatomic(zonelist, gfp, force=True):
                continue
            page = self.get_page_from_freelist(zonelist, gfp, order, highest, ALLOC_WMARK_HIGH | ALLOC_CPUSET)
            if page is not None:
                return page
            if costly or gfp & (GFP_RETRY_MAYFAIL | GFP_THISNODE):
                break
            if not reclaim.out_of_memory(self, gfp, order) or reserve & ALLOC_OOM:
                break
            rounds = 0
        self.last_failure = f"{self.ram.page_size << order >> 10} KiB (order {order}) of {self._free_summary()}"
        return None

    def wake_all_kswapds(self, zonelist: list[Zone], gfp: i64, order: i64, highest: i64) -> None:
        """Tells kswapd of each zone that the request may use."""
        for zone in zonelist:
            if zone.index <= highest:
                self.reclaim.wake_kswapd(zone, gfp, order, highest)

    def after_reclaim(self, zonelist: list[Zone], gfp: i64, order: i64, highest: i64, alloc_flags: i64) -> Page | None:
        """Tries again; where that fails, what waits on per-CPU lists or is reserved for urgent requests is given up."""
        page = self.get_page_from_freelist(zonelist, gfp, order, highest, alloc_flags)
        if page is not None:
            return page
        self.unreserve_highatomic(zonelist, gfp, force=False)
        self.drain_all_pages()
        return self.get_page_from_freelist(zonelist, gfp, order, highest, alloc_flags)

    def should_reclaim_retry(self, zonelist: list[Zone], order: i64, highest: i64, alloc_flags: i64) -> bool:
        """Whether a zone would be above its min mark if all that it can reclaim were free."""
        for zone in zonelist:
            if zone.index <= highest:
                available: i64 = zone.free_pages + self.reclaim.reclaimable_pages(zone)
                if zone_watermark_ok(zone, order, zone.watermark_min, highest, alloc_flags, available):
                    return True
        return False

    def unreserve_highatomic(self, zonelist: list[Zone], gfp: i64, *, force: bool) -> bool:
        """Gives one reserved page block back, from the first zone that has one to spare."""
        for zone in zonelist:
            if zone.nr_reserved_highatomic and unreserve_highatomic_pageblock(zone, (gfp >> 3) & 3, force):
                return True
        return False

    def free_pages(self, page: Page, order: i64) -> None:
        """Gives 2**order frames back; nothing refers to them any more (refcount and mapcount 0)."""
        assert page.refcount == 0 and page.mapcount == 0, f"freeing pfn {page.pfn} in use"
        if page.flags & (PG_lru | PG_mlocked):
            self._page_cache_release(page)
        if page.memcg:
            self.memcg.uncharge(page.memcg, 1 << order)
            page.memcg = 0
        page.flags = 0
        page.mapping = None
        zone = self.zone_of(page.pfn)
        self.vmstat.pgfree += 1 << order
        if order > PAGE_ALLOC_COSTLY_ORDER:
            free_one_page(zone, page, order)
            return
        migratetype = self.mem_map.block_type(page.pfn)
        if migratetype >= MIGRATE_PCPTYPES:
            migratetype = MIGRATE_MOVABLE
        pcp = zone.pcp
        page.flags = PG_pcp
        page.order = order
        pcp.lists[order * MIGRATE_PCPTYPES + migratetype].append(page)
        pcp.count += 1 << order
        pcp.alloc_factor >>= 1
        pcp.free_count += 1 << order
        if pcp.count >= pcp.high or zone.reclaim_active:
            trim(zone)

    def _page_cache_release(self, page: Page) -> None:
        """A page that was user space's goes."""
        if page.flags & PG_lru:
            self.folio_lruvec(page).remove(page)
        if page.flags & PG_mlocked:
            self.vmstat.nr_mlock -= 1
            self.vmstat.unevictable_pgs_cleared += 1

    def put_page(self, page: Page) -> None:
        """Drops a reference; the last one frees the page (and the block that it heads)."""
        page.refcount -= 1
        if page.refcount == 0:
            self.free_pages(page, page.order)

    def folio_lruvec(self, page: Page) -> ReclaimPolicy:
        """The lists that a page belongs on: those of its node and of the group that it is charged to."""
        if self.one_lruvec:
            return self.lruvec
        if len(self.nodes) == 1:
            return self.lruvecs[page.memcg]
        return self.nodes[self.zone_of(page.pfn).node_id].lruvecs[page.memcg]

    def page_state(self, lru: int) -> int:
        """Pages of one list of all groups on the node (node_page_state)."""
        return int(self.lruvec.page_state(lru))

    def zone_of(self, pfn: i64) -> Zone:
        """The zone that a frame lies in (page_zone)."""
        if self.interleaved:
            for zone in self.by_pfn:
                if zone.holds(pfn):
                    return zone
        for zone in self.by_pfn:
            if pfn >= zone.zone_start_pfn:
                return zone
        return self.zones[0]

    def drain_all_pages(self) -> None:
        """Returns the per-CPU lists to the buddy lists."""
        for zone in self.by_pfn:
            free_pcppages_bulk(zone, zone.pcp.count)

    def nr_free_pages(self) -> int:
        """Free frames of all zones of all nodes, as MemFree counts them."""
        return sum([int(zone.free_pages) for zone in self.by_pfn])

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
