"""Reclaim: kswapd, direct reclaim, and what asks for pages back on purpose.

Each node has a kswapd, which is woken when a zone falls below its low mark and runs until the node is above its high
marks again; a task that finds no page above the min mark reclaims 32 pages itself, from the nodes of its zonelist, the
nearest first. Both lower the priority from 12 until they have enough: at
priority p a pass looks at 1 page in 2**p.

Sources: Documentation/admin-guide/sysctl/vm.rst; Documentation/admin-guide/mm/concepts.rst.

Mirrors: mm/vmscan.c (6.18)
Differs: kswapd runs to its end when it is woken, on the CPU that wakes it; nobody is throttled; slab caches are not
    shrunk; no compaction.
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.filemap import filemap_fsync
from pagewalk.mm.gfp import ALLOC_NO_WATERMARKS
from pagewalk.mm.lru_names import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
)
from pagewalk.mm.lruvec import ReclaimPolicy
from pagewalk.mm.memcg_reclaim import group_evictable, shrink_node_memcgs
from pagewalk.mm.page import Page, PG_lru, PG_reclaim
from pagewalk.mm.reclaim_seam import DEFAULT_SWAPPINESS, ReclaimSeam
from pagewalk.mm.scan_control import ScanControl
from pagewalk.mm.swap import folio_rotate_reclaimable
from pagewalk.mm.watermark_ok import unusable_free

if TYPE_CHECKING:
    from pagewalk.mm.memcontrol import MemCgroup
    from pagewalk.mm.page_alloc import Node
    from pagewalk.mm.system import System
    from pagewalk.mm.zone import Zone

DEF_PRIORITY: Final = 12
SWAP_CLUSTER_MAX: Final = 32
MAX_RECLAIM_RETRIES: Final = 16


@final
class KswapdState:
    """What a node's kswapd remembers: runs in a row that freed nothing. After 16 it gives up, until direct reclaim
    frees something."""

    def __init__(self) -> None:
        self.failures = 0


class Reclaim(ReclaimSeam):
    """The machine's reclaim, as the allocator asks for it.

    running  somebody reclaims: what he allocates may go below every mark, and wakes nobody
    kswapd   of each node
    """

    def __init__(self, system: "System") -> None:
        super().__init__()
        self.system = system
        self.running = False
        self.kswapd = [KswapdState() for _ in system.nodes]

    def memalloc(self, gfp: i64) -> i64:
        """Reclaim itself may use the last page (PF_MEMALLOC)."""
        return ALLOC_NO_WATERMARKS if self.running else super().memalloc(gfp)

    def wake_kswapd(self, zone: "Zone", gfp: i64, order: i64, highest_zoneidx: i64) -> None:
        """wakeup_kswapd: it runs, unless the node is balanced or hopeless."""
        state = self.kswapd[zone.node_id]
        if self.running or zone.managed_pages == 0 or state.failures >= MAX_RECLAIM_RETRIES:
            return
        node = self.node_of(zone)
        if pgdat_balanced(node, highest_zoneidx):
            zone.watermark_boost = 0  # there is room for whole blocks
            return
        self.running = True
        try:
            balance_pgdat(self.system, node, state, highest_zoneidx)
        finally:
            self.running = False
            for each in node.zones:
                each.watermark_boost = 0
        self.killer.reclaiming()

    def node_of(self, zone: "Zone") -> "Node":
        """The node that a zone belongs to."""
        return self.system.nodes[int(zone.node_id)]

    def try_to_free_pages(self, node: "Node", gfp: i64, order: i64) -> i64:
        """Direct reclaim: 32 pages; how many it were."""
        if self.running:
            return 0
        self.running = True
        try:
            sc = ScanControl(self.system, node, SWAP_CLUSTER_MAX)
            sc.set_reclaim_idx(node.gfp_zone[gfp & 15])
            self.system.vmstat.allocstall[int(sc.reclaim_idx)] += 1
            nodes = nodes_of(self.system, node, node.nodemask & node.cpuset)
            freed = do_try_to_free_pages(sc, nodes)
            if freed:
                for each in nodes:
                    self.kswapd[each.node_id].failures = 0
            self.system.memstall(self.system.config.reclaim_us * 1000)
        finally:
            self.running = False
        self.killer.reclaiming()
        return freed

    def hopeless(self, node: "Node") -> bool:
        """See ``ReclaimSeam.hopeless``."""
        return self.kswapd[node.node_id].failures >= MAX_RECLAIM_RETRIES

    def out_of_memory(self, node: "Node", gfp: i64, order: i64) -> bool:
        """Reclaim's own requests kill nobody."""
        return not self.running and super().out_of_memory(node, gfp, order)

    def try_to_free_mem_cgroup_pages(self, group: "MemCgroup", nr_pages: i64, swappiness: int) -> i64:
        """Pages of a memory cgroup and of those below it: direct reclaim over their lists."""
        if self.running:
            return 0
        if group_evictable(self.system, group) == 0:
            return -1
        self.running = True
        try:
            sc = ScanControl(self.system, self.system.node, max(nr_pages, SWAP_CLUSTER_MAX))
            sc.cgroup = group.parent is not None
            sc.group = group
            if swappiness != DEFAULT_SWAPPINESS:
                sc.proactive = True
                if swappiness >= 0:
                    sc.swappiness = swappiness
            return do_try_to_free_pages(sc, nodes_of(self.system, self.system.node, -1))
        finally:
            self.running = False

    def reclaiming(self) -> bool:
        """See ``ReclaimSeam.reclaiming``."""
        return self.running

    def reclaimable_pages(self, zone: "Zone") -> i64:
        """zone_reclaimable_pages: pages of the zone on lists that could give some."""
        node = self.node_of(zone)
        lists = [LRU_INACTIVE_FILE, LRU_ACTIVE_FILE]
        if self.system.swap.nr_swap_pages > 0:
            lists += [LRU_INACTIVE_ANON, LRU_ACTIVE_ANON]
        count: i64 = 0
        for lru in lists:
            if len(node.zonelist_here) == 1:
                count += node.page_state(lru)
                continue
            for lruvec in node.lruvecs:
                count += lru_pages_of_zone(node, lruvec, lru, zone)
        return count


def lru_pages_of_zone(node: "Node", lruvec: ReclaimPolicy, lru: int, zone: "Zone") -> i64:
    """Pages of one list in one of the node's zones; of the third and lower ones of four they are counted one by one."""
    below: i64 = lruvec.nr_below(lru)
    if zone is node.zonelist_here[0]:
        return lruvec.nr(lru) - below
    lowest: i64 = lruvec.nr_lowest(lru)
    if zone is node.zonelist_here[1]:
        return below - lowest
    if lowest == 0 or len(node.zonelist_here) == 3:
        return lowest
    count: i64 = 0
    for page in lruvec.all_pages(lru):
        if node.zone_of(page.pfn) is zone:
            count += 1
    return count


def nodes_of(system: "System", node: "Node", nodemask: i64) -> "list[Node]":
    """The nodes of ``nodemask`` in the order of a node's zonelist, those without memory left out."""
    found: list[Node] = []
    for zone in node.zonelist:
        each = system.nodes[zone.node_id]
        if nodemask >> zone.node_id & 1 and each not in found:
            found.append(each)
    return found


def shrink_node(sc: ScanControl) -> None:
    """One pass over a node at the priority of ``sc``: over the lists of the root's group, or of ``sc.group``, and those
    of the groups below it."""
    node = sc.node
    sc.nr_unqueued_dirty = 0
    target = node.lruvec if sc.group is None else node.lruvecs[sc.group.ident]
    sc.target = target
    scanned: i64 = sc.nr_scanned
    sc.set_memcg(sc.system.memcg.groups[target.memcg])
    target.prepare(sc)
    if node.one_lruvec:
        target.shrink(sc)
        sc.shrink_slab()
    else:
        shrink_node_memcgs(sc, target)
    sc.end_batch()
    sc.end_batch()
    if sc.nr_unqueued_dirty and sc.nr_unqueued_dirty >= sc.nr_scanned - scanned - sc.nr_reclaimed:
        wakeup_flusher_threads(sc.system)


def do_try_to_free_pages(sc: ScanControl, nodes: "list[Node]") -> i64:
    """Passes over the nodes at falling priority until enough is reclaimed; where nothing was, once more: over every
    group to its share (what the last pass had to write is clean now), then active pages included where they were
    spared, then groups below their memory.low. How many pages were reclaimed."""
    while True:
        priority = DEF_PRIORITY
        while priority >= 0:
            sc.priority = priority
            for node in nodes:
                sc.set_node(node)
                shrink_node(sc)
            if sc.nr_reclaimed >= sc.nr_to_reclaim:
                break
            priority -= 1
        for node in nodes:
            snapshot_refaults(node.lruvec if sc.group is None else node.lruvecs[sc.group.ident])
        if sc.nr_reclaimed:
            return sc.nr_reclaimed
        if not sc.full_walk:
            sc.full_walk = True
        elif sc.skipped_deactivate:
            sc.force_deactivate = True
            sc.skipped_deactivate = False
        elif sc.low_skipped:
            sc.force_deactivate = False
            sc.low_reclaim = True
            sc.low_skipped = False
        else:
            return 0


def snapshot_refaults(lruvec: ReclaimPolicy) -> None:
    """What was activated up to now counts as settled: only later refaults ask for deactivation."""
    lruvec.refaults[0] = lruvec.activated_state(0)
    lruvec.refaults[1] = lruvec.activated_state(1)


def pgdat_balanced(node: "Node", highest_zoneidx: i64) -> bool:
    """Whether one of the node's zones up to that index is above its high mark, its reserve for the request added."""
    for zone in node.zones:
        if zone.index <= highest_zoneidx and zone.managed_pages:
            mark: i64 = zone.watermark_high + zone.lowmem_reserve[highest_zoneidx]
            if zone.free_pages - unusable_free(zone) > mark:
                return True
    return False


def balance_pgdat(system: "System", node: "Node", state: KswapdState, highest_zoneidx: i64) -> None:
    """kswapd's work: passes until the node is balanced, at a lower priority where one has not looked at enough."""
    system.vmstat.pageoutrun += 1
    sc = ScanControl(system, node, SWAP_CLUSTER_MAX)
    sc.kswapd = True
    sc.full_walk = True
    sc.set_reclaim_idx(highest_zoneidx)
    wanted: i64 = 0
    for zone in node.zones:
        if zone.index <= highest_zoneidx and zone.managed_pages:
            wanted += max(zone.watermark_high, SWAP_CLUSTER_MAX)
            zone.reclaim_active = True
    priority = DEF_PRIORITY
    total: i64 = 0
    while priority >= 1:
        if pgdat_balanced(node, highest_zoneidx):
            break
        sc.priority = priority
        sc.nr_reclaimed = 0
        sc.nr_scanned = 0
        sc.nr_to_reclaim = wanted
        for lruvec in node.lruvecs:
            sc.set_memcg(system.memcg.groups[lruvec.memcg])
            lruvec.age(sc)
        shrink_node(sc)
        total += sc.nr_reclaimed
        if sc.nr_scanned < wanted or sc.nr_reclaimed == 0:
            priority -= 1
    for zone in node.zones:
        zone.reclaim_active = False
    snapshot_refaults(node.lruvec)
    if total == 0 and not pgdat_balanced(node, highest_zoneidx):
        state.failures += 1
    elif total:
        state.failures = 0


def wakeup_flusher_threads(system: "System") -> None:
    """Writes what is dirty to the files; pages that reclaim waits for are the next to go."""
    for mapping in list(system.dirty_spaces.values()):
        filemap_fsync(system, mapping)
        end_writeback(system, mapping)


def end_writeback(system: "System", mapping: AddressSpace) -> None:
    """folio_end_writeback: clean pages that are to be reclaimed go to the end of their list."""
    for page in list(mapping.i_pages.values()):
        if page.flags & PG_reclaim and page.index not in mapping.dirty:
            page.flags &= ~PG_reclaim
            folio_rotate_reclaimable(system, page)


def reclaim_pages(system: "System", pages: list[Page]) -> i64:
    """Lets go of these pages at once, used or not (MADV_PAGEOUT, /proc/PID/reclaim of vendors' kernels); how many."""
    node = system.node
    sc = ScanControl(system, node, len(pages))
    sc.ignore_references = True
    sc.waits_for_io = True
    sc.may_swap = system.swap.nr_swap_pages > 0
    taken: list[Page] = []
    for page in pages:
        if page.flags & PG_lru:
            node.folio_lruvec(page).remove(page)
            taken.append(page)
    reclaim = node.reclaim
    entered = isinstance(reclaim, Reclaim) and not reclaim.running
    if isinstance(reclaim, Reclaim):
        reclaim.running = True
    try:
        for page in sc.shrink_folio_list(taken):
            node.folio_lruvec(page).add(page)
    finally:
        if entered and isinstance(reclaim, Reclaim):
            reclaim.running = False
    return sc.nr_reclaimed


def try_to_free_memory(system: "System", nr_pages: i64, swappiness: int = -1) -> i64:
    """Proactive reclaim of ``nr_pages`` pages of the whole machine (as a write to memory.reclaim of the root group);
    how many it were."""
    sc = ScanControl(system, system.node, nr_pages)
    sc.proactive = True
    if swappiness >= 0:
        sc.swappiness = swappiness
    return do_try_to_free_pages(sc, nodes_of(system, system.node, -1))
