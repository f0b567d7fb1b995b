"""zswap: a cache of compressed pages in RAM, in front of every swap area.

A page that goes to swap is compressed and kept in a pool of frames under its slot; nothing is written to the device. It
comes back from there, and leaves the pool as it does. Where the pool is full the pages that have been in it longest are
written to their device, until it is below the acceptance mark; meanwhile pages go past it. A page just stored is passed
over once before it is written.

How well pages compress is configured (``Config.zswap_ratio``), as for zram. Pages of zeros do not come here: swap keeps
a mark for them.

Sources: Documentation/admin-guide/mm/zswap.rst; Documentation/admin-guide/cgroup-v2.rst (memory.zswap.*).

Mirrors: mm/zswap.c (6.18; mm/zswap_6_1.py is that of 6.1)
Differs: contents lie where the device's do, so that writing them out moves nothing; the work of shrinking is done at
    once by who finds the pool full.
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.memcg_kmem import charge_bytes, uncharge_bytes
from pagewalk.mm.memcg_names import PSWPOUT, ZSWPIN, ZSWPOUT, ZSWPWB
from pagewalk.mm.page import Page, PG_dirty
from pagewalk.mm.zpool import DensePool, Zpool
from pagewalk.mm.zram import zram_hold

if TYPE_CHECKING:
    from pagewalk.mm.mem_cgroup import MemCgroup
    from pagewalk.mm.system import System

MAX_RECLAIM_RETRIES: Final = 16
SHRINK_BATCH: Final = 128
SEEKS: Final = 2

# What became of an entry that was to be written out.
WRITTEN: Final = 0
ROTATED: Final = 1
IN_SWAPCACHE: Final = 2
NO_ROOM: Final = 3


@final
class ZswapEntry:
    """struct zswap_entry.

    length      bytes that it takes, the page's size where it could not be compressed
    memcg       ident of the memory cgroup that it is charged to
    referenced  it has not been passed over yet
    """

    def __init__(self, length: i64, memcg: i64) -> None:
        self.length = length
        self.memcg = memcg
        self.referenced = True


class Zswap:
    """A machine's.

    enabled, compressor, max_pool_percent, accept_threshold_percent, shrinker_enabled  /sys/module/zswap/parameters
    ratio          how many pages fit into a frame
    entries        what is in the pool, by swap entry
    lru            swap entries by memory cgroup, the one stored first at the front
    pool           the frames that they lie in; header: bytes there before each
    reached_full   nothing is taken before the pool has fallen below the acceptance mark
    next_group     the memory cgroup behind which writing out goes on
    disk_swapins   pages of each group that came back from a device: the shrinker spares as many
    deferred       what the shrinker has still to look at, by group
    pool_limit_hit, reject_reclaim_fail, reject_alloc_fail, written_back_pages  /sys/kernel/debug/zswap
    """

    def __init__(self, system: "System") -> None:
        config = system.config
        self.system = system
        self.enabled: bool = config.zswap
        self.compressor: str = config.zswap_compressor
        self.max_pool_percent: int = config.zswap_max_pool_percent
        self.accept_threshold_percent: int = config.zswap_accept_threshold_percent
        self.shrinker_enabled: bool = config.zswap_shrinker
        self.ratio = float(config.zswap_ratio)
        self.entries: dict[int, ZswapEntry] = {}
        self.lru: dict[int, dict[int, None]] = {}
        self.pool: Zpool = DensePool(system)
        self.header: i64 = 0
        self.reached_full = False
        self.next_group = -1
        self.disk_swapins: dict[int, int] = {}
        self.deferred: dict[int, int] = {}
        self.pool_limit_hit = 0
        self.reject_reclaim_fail = 0
        self.reject_alloc_fail = 0
        self.written_back_pages = 0

    def active(self) -> bool:
        """Whether a page that is written has to be shown to it: it takes pages, or may have what the slot held."""
        return self.enabled or len(self.entries) > 0

    # Limits.

    def max_pages(self) -> int:
        """Frames that the pool may have."""
        return int(self.system.totalram_pages) * self.max_pool_percent // 100

    def accept_pages(self) -> int:
        """Frames below which a pool that was full takes pages again."""
        return self.max_pages() * self.accept_threshold_percent // 100

    def check_limits(self) -> bool:
        """Whether the pool is full."""
        pages = int(self.pool.nr_pages)
        if pages >= self.max_pages():
            self.pool_limit_hit += 1
            self.reached_full = True
        elif self.reached_full and pages <= self.accept_pages():
            self.reached_full = False
        return self.reached_full

    def may_store(self, group: "MemCgroup") -> bool:
        """obj_cgroup_may_zswap: whether memory.zswap.max of the group and of those above it lets a page more in."""
        at: MemCgroup | None = group
        while at is not None and at.parent is not None:
            if at.zswap_bytes >> self.system.page_shift >= at.zswap_max:
                return False
            at = at.parent
        return True

    # Storing and loading.

    def store(self, page: Page) -> bool:
        """zswap_store: takes the contents of a page of the swap cache; False where they have to go to the device. What
        the slot held before is gone in any case."""
        entry = page.swap
        self.invalidate(entry)
        if not self.enabled:
            return False
        group = self.system.memcg.groups[page.memcg]
        stored = False
        if self.may_store(group) or self.shrink_group(group) == WRITTEN:
            stored = not self.check_limits() and self.keep(entry, group)
        if not stored and self.reached_full:
            self.shrink_pool()
        return stored

    def keep(self, entry: i64, group: "MemCgroup") -> bool:
        """zswap_store_page: the entry is in the pool; False where there is no frame for it, or it may not be kept as it
        is."""
        page_size = int(self.system.page_size)
        length: i64 = min(max(int(page_size / self.ratio), 1), page_size)
        if length == page_size and not writeback_enabled(group):
            return False
        got = self.pool.malloc(entry, length + self.header)
        if got < 0:
            self.refused(got)
            return False
        self.add_entry(entry, length, group)
        return True

    def refused(self, reason: int) -> None:
        """The pool has not taken a page, for a negative errno."""
        self.reject_alloc_fail += 1

    def add_entry(self, entry: i64, length: i64, group: "MemCgroup") -> None:
        """A page has been stored; ``length`` 0: without the pool."""
        self.entries[entry] = ZswapEntry(length, group.ident)
        self.lru.setdefault(online_group(group).ident, {})[entry] = None
        self.account(group, length, 1)
        self.system.vmstat.zswpout += 1
        group.vm_events[ZSWPOUT] += 1

    def load(self, page: Page) -> bool:
        """zswap_load: whether the slot of a page that is being read is in the pool; it is there no more then, and the
        page is dirty."""
        found = self.entries.get(page.swap)
        if found is None:
            return False
        self.system.vmstat.zswpin += 1
        self.system.memcg.groups[found.memcg].vm_events[ZSWPIN] += 1
        page.flags |= PG_dirty
        self.invalidate(page.swap)
        return True

    def invalidate(self, entry: i64) -> None:
        """The slot's contents are wanted no more."""
        found = self.entries.pop(entry, None)
        if found is None:
            return
        group = self.system.memcg.groups[found.memcg]
        del self.lru[online_group(group).ident][entry]
        self.account(group, -found.length, -1)
        if found.length:
            self.pool.free(entry, found.length + self.header)

    def account(self, group: "MemCgroup", length: i64, count: i64) -> None:
        """The group, and those above it, have so many bytes and pages more in the pool."""
        at: MemCgroup | None = group
        while at is not None:
            at.zswap_bytes += length
            at.zswapped += count
            at = at.parent
        if group.parent is None:
            return
        if count > 0:
            charge_bytes(self.system.memcg, group, length)
        else:
            uncharge_bytes(self.system.memcg, group, -length)

    # Writing out.

    def shrink_pool(self) -> None:
        """shrink_worker: one entry of each memory cgroup in turn, until the pool is below the acceptance mark, or 16
        could not be written."""
        failures = 0
        attempts = 0
        while True:
            group = self.next_online_group()
            if group is None:
                if attempts == 0:
                    failures += 1
                    if failures == MAX_RECLAIM_RETRIES:
                        return
                attempts = 0
            else:
                outcome = self.shrink_group(group)
                if outcome >= 0:
                    attempts += 1
                    if outcome != WRITTEN:
                        failures += 1
                        if failures == MAX_RECLAIM_RETRIES:
                            return
            if self.pool.nr_pages <= self.accept_pages():
                return

    def next_online_group(self) -> "MemCgroup | None":
        """The memory cgroup behind the one before, None at the end of a round."""
        groups = self.system.memcg.root.subtree()
        at = 0
        for number, group in enumerate(groups):
            if group.ident == self.next_group:
                at = number + 1
        if at >= len(groups):
            self.next_group = -1
            return None
        self.next_group = groups[at].ident
        return groups[at]

    def shrink_group(self, group: "MemCgroup") -> int:
        """shrink_memcg: the oldest entry of a group is written, or passed over; -1 where there is none that may be."""
        waiting = self.lru.get(group.ident)
        if not waiting or not writeback_enabled(group):
            return -1
        return self.write_oldest(waiting)

    def write_oldest(self, waiting: dict[int, None]) -> int:
        """shrink_memcg_cb: WRITTEN, ROTATED, IN_SWAPCACHE or NO_ROOM (on a compressed device)."""
        entry = next(iter(waiting))
        found = self.entries[entry]
        del waiting[entry]
        waiting[entry] = None
        if found.referenced:
            found.referenced = False
            return ROTATED
        outcome = self.writeback_entry(entry, found)
        if outcome != WRITTEN:
            self.reject_reclaim_fail += 1
        return outcome

    def writeback_entry(self, entry: i64, found: ZswapEntry) -> int:
        """zswap_writeback_entry: WRITTEN, IN_SWAPCACHE or NO_ROOM."""
        if self.system.swap.slot(entry).page is not None:
            return IN_SWAPCACHE
        area = self.system.swap.area_of(entry)
        if area.ratio and not zram_hold(self.system, area, entry & ((1 << 50) - 1)):
            return NO_ROOM
        self.written_back_pages += 1
        vmstat = self.system.vmstat
        vmstat.zswpwb += 1
        vmstat.pswpout += 1
        vmstat.pgpgout += int(self.system.page_size) >> 10
        group = self.system.memcg.groups[found.memcg]
        group.vm_events[ZSWPWB] += 1
        self.system.memcg.groups[self.system.memcg.swap_owner.get(entry, 0)].vm_events[PSWPOUT] += 1
        self.invalidate(entry)
        return WRITTEN

    # The shrinker, which gives frames back when memory is short.

    def swapin_from_disk(self, ident: i64) -> None:
        """zswap_folio_swapin: a page of a group had to be read from the device: too much was written out."""
        if self.shrinker_enabled:
            self.disk_swapins[ident] = self.disk_swapins.get(ident, 0) + 1

    def shrink_slab(self, group: "MemCgroup", priority: int) -> None:
        """do_shrink_slab of a group: writes out what it should give at a priority, in batches of 128."""
        waiting = self.lru.get(group.ident)
        if not waiting or not self.shrinker_enabled or not writeback_enabled(group):
            return
        freeable = self.count_freeable(group, len(waiting))
        if freeable == 0:
            return
        wanted = min(self.deferred.get(group.ident, 0) + (freeable >> priority) * 4 // SEEKS, 2 * freeable)
        while wanted >= SHRINK_BATCH or wanted >= freeable:
            scan = min(SHRINK_BATCH, wanted)
            wanted -= scan
            for _ in range(min(scan, len(waiting))):
                if self.write_oldest(waiting) == IN_SWAPCACHE:
                    wanted = 0
                    break
            if not waiting or wanted <= 0:
                break
        self.deferred[group.ident] = max(wanted, 0)

    def count_freeable(self, group: "MemCgroup", waiting: int) -> int:
        """zswap_shrinker_count: entries less those that came back from the device, weighed by how well they are
        compressed."""
        stored = int(group.zswapped)
        backing = int(group.zswap_bytes >> self.system.page_shift)
        if group.parent is None:
            backing = int(self.pool.nr_pages)
        spared = self.disk_swapins.get(group.ident, 0)
        self.disk_swapins[group.ident] = max(spared - waiting, 0)
        freeable = max(waiting - spared, 0)
        return freeable * backing // stored if stored else 0

    def reparent(self, ident: int, parent: int) -> None:
        """A memory cgroup was removed: the one above it writes its entries out."""
        moved = self.lru.pop(ident, None)
        self.disk_swapins.pop(ident, None)
        self.deferred.pop(ident, None)
        if moved:
            self.lru.setdefault(parent, {}).update(moved)


def writeback_enabled(group: "MemCgroup") -> bool:
    """mem_cgroup_zswap_writeback_enabled: neither the group nor one above it keeps its swap from the device."""
    at: MemCgroup | None = group
    while at is not None:
        if not at.zswap_writeback:
            return False
        at = at.parent
    return True


def online_group(group: "MemCgroup") -> "MemCgroup":
    """The group, or the nearest above it that has not been removed."""
    while not group.online and group.parent is not None:
        group = group.parent
    return group
