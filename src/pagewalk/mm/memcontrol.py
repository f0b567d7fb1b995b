"""Memory cgroups: groups of tasks, what they use, and how much that may be.

A group's usage is all that its tasks, and those of the groups below it, were first to touch, and what the kernel needs
for them. A charge that would exceed ``max`` of a group or of one above it makes that group give pages back; where that
is not enough, one of its tasks dies.

Sources: Documentation/admin-guide/cgroup-v2.rst, "Memory".

Mirrors: mm/memcontrol.c (try_charge_memcg, uncharge_batch, mem_cgroup_oom, __mem_cgroup_try_charge_swap),
mm/page_counter.c (6.18)
Differs: nobody is told of events by fanotify; nothing is charged for sockets.
"""

import errno
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.gfp import GFP_DIRECT_RECLAIM, GFP_HIGH, GFP_KERNEL, GFP_NORETRY, GFP_RETRY_MAYFAIL
from pagewalk.mm.mem_cgroup import PAGE_COUNTER_MAX, MemCgroup
from pagewalk.mm.memcg_high import handle_over_high
from pagewalk.mm.memcg_kmem import charge_object, charge_stack, uncharge_object, uncharge_stack
from pagewalk.mm.memcg_names import (
    EVENT_NAMES,
    MEMCG_MAX,
    MEMCG_OOM,
    MEMCG_OOM_GROUP_KILL,
    MEMCG_OOM_KILL,
    MEMCG_SWAP_FAIL,
    MEMCG_SWAP_MAX,
    NR_STAT_EVENTS,
)
from pagewalk.mm.memcg_seam import MemcgSeam
from pagewalk.mm.memcg_stock import MEMCG_CHARGE_BATCH, MemcgStock
from pagewalk.mm.page_alloc import MAX_RECLAIM_RETRIES
from pagewalk.mm.reclaim_seam import DEFAULT_SWAPPINESS
from pagewalk.mm.zone import PAGE_ALLOC_COSTLY_ORDER
from pagewalk.mm.zswap import online_group

if TYPE_CHECKING:
    from pagewalk.mm.system import System

__all__ = [
    "EVENT_NAMES",
    "MEMCG_OOM_GROUP_KILL",
    "MEMCG_OOM_KILL",
    "MEM_CGROUP_ID_MAX",
    "PAGE_COUNTER_MAX",
    "MemCgroup",
    "MemCgroupTree",
]  # fmt: skip

MEM_CGROUP_ID_MAX: Final = 65535


@final
class MemCgroupTree(MemcgSeam):
    """All groups of a machine. ``system.memcg`` is it.

    root    the group of who is in none
    swap_owner  by swap entry the ident of the group that has the slot
    groups  by ident, removed ones included as long as something is charged to them; None where a number is free
    stock   what each CPU has charged in advance
    unbound pages move for the kernel: nobody's cpuset counts
    active  the group that is charged in place of the running task's, -1: none (set_active_memcg)
    recursive_protection  the mount option memory_recursiveprot
    """

    def __init__(self, system: "System") -> None:
        super().__init__()
        self.system = system
        self.root = MemCgroup(0, "", None)
        self.groups: list[MemCgroup] = [self.root]
        self.free_idents: list[int] = []
        self.swap_owner: dict[int, int] = {}
        self.stock: list[MemcgStock] = [MemcgStock(self.groups) for _ in range(system.config.cpus)]
        self.recursive_protection = False
        self.active: i64 = -1
        self.unbound = False

    # The tree.

    def create(self, parent: MemCgroup, name: str) -> MemCgroup | None:
        """A new group below ``parent``, which has none of that name; None where there are as many as there may be."""
        if len(self.groups) > MEM_CGROUP_ID_MAX and not self.free_idents:
            return None
        if self.free_idents:
            group = MemCgroup(self.free_idents.pop(), name, parent)
            self.groups[group.ident] = group
        else:
            group = MemCgroup(len(self.groups), name, parent)
            self.groups.append(group)
        self.system.add_lruvecs(group.ident, parent.ident)
        parent.children[name] = group
        self.enabled = True
        return group

    def remove(self, group: MemCgroup) -> None:
        """Takes a group without tasks and without children away; it goes when nothing is charged to it any more."""
        parent = group.parent
        assert parent is not None and not group.children
        group.online = False
        group.min = 0
        group.low = 0
        group.high = PAGE_COUNTER_MAX
        group.cpus = group.mems = 0
        self.cpusets = any(each.mems for each in self.all_groups())
        self.drain_all_stock(group)
        del parent.children[group.name]
        parent.dying.append(group)
        self.system.zswap.reparent(group.ident, online_group(parent).ident)
        self.release(group)

    def release(self, group: MemCgroup) -> None:
        """Frees a removed group where nothing is left of it; what it has counted goes on in its parent."""
        if group.online or group.usage or group.swap_usage or group.zswap_bytes or group.dying:
            return
        parent = group.parent
        assert parent is not None
        self.drain_all_stock(group)
        for which in range(NR_STAT_EVENTS):
            parent.vm_events[which] += group.vm_events[which]
        parent.dying.remove(group)
        self.system.remove_lruvecs(group.ident, parent.ident)
        self.groups[group.ident] = self.root  # nobody has this number; a stale one finds a group that is there
        self.free_idents.append(group.ident)
        if not parent.online:
            self.release(parent)

    def find(self, path: str) -> MemCgroup | None:
        """The group with this path, None where there is none."""
        at = self.root
        for name in path.split("/"):
            if name:
                child = at.children.get(name)
                if child is None:
                    return None
                at = child
        return at

    def all_groups(self) -> list[MemCgroup]:
        """Every group, removed ones with charges too, from the top down."""
        return self.root.subtree_with_dying()

    def charged_group(self, ident: i64) -> MemCgroup:
        """The group that memory of tasks of group ``ident`` counts for: the nearest with a controller."""
        group = self.groups[ident]
        while not group.has_controller():
            assert group.parent is not None
            group = group.parent
        return group

    def mems_allowed(self) -> i64:
        """See ``MemcgSeam.mems_allowed``."""
        return -1 if self.unbound else self.system.current.mems_allowed

    # Charging.

    def try_charge(self, gfp: i64, order: i64) -> i64:
        """See ``MemcgSeam.try_charge``."""
        ident: i64 = self.system.current.memcg if self.active < 0 else self.active
        if ident == 0:
            return 0
        nr_pages: i64 = 1 << order
        stock = self.stock[self.system.current.cpu]
        if stock.ident == ident and stock.pages >= nr_pages:
            stock.pages -= nr_pages
            return ident
        group = self.charged_group(ident)
        if group.parent is None:
            return 0
        return group.ident if self.charge(group, nr_pages, gfp) else -1

    def charge(self, group: MemCgroup, nr_pages: i64, gfp: i64) -> bool:
        """try_charge_memcg: charges ``nr_pages`` to the group and those above it, 64 at once where that goes; False
        where a limit forbids it and nothing helps."""
        stock = self.stock[self.system.current.cpu]
        if stock.consume(group.ident, nr_pages):
            return True
        batch: i64 = max(nr_pages, MEMCG_CHARGE_BATCH)
        if group.over_limit(batch) is not None:
            if group.over_limit(nr_pages) is not None:
                if not self.make_room(group, nr_pages, gfp):
                    return False
                if stock.consume(group.ident, nr_pages):  # what a victim gave back
                    return True
            batch = nr_pages
        group.add(batch)
        if batch > nr_pages:
            stock.refill(group.ident, batch - nr_pages)
        self.note_high(group, batch, gfp)
        return True

    def make_room(self, group: MemCgroup, nr_pages: i64, gfp: i64) -> bool:
        """Pages of whoever is at its limit are reclaimed, its tasks are killed; True where the charge may be made."""
        retries = MAX_RECLAIM_RETRIES
        reclaim = self.system.node.reclaim
        killer = reclaim.killer
        drained = False
        while True:
            over = group.over_limit(nr_pages)
            if over is None or self.stock[self.system.current.cpu].holds(group.ident, nr_pages):
                return True
            over.failcnt += 1
            if killer.may_exceed() or reclaim.reclaiming() or gfp & GFP_HIGH:
                over.event(MEMCG_MAX)
                return True
            if gfp and not gfp & GFP_DIRECT_RECLAIM:
                return False
            over.event(MEMCG_MAX)
            if killer.must_fail():
                return False
            self.memstall(self.system.config.reclaim_us * 1000)
            freed = self.reclaim(over, nr_pages, DEFAULT_SWAPPINESS)
            if over.usage + nr_pages <= over.max:
                continue
            if not drained:
                drained = True
                self.drain_all_stock(over)
                continue
            if gfp & GFP_NORETRY:
                return False
            if freed > 0 and nr_pages <= 1 << PAGE_ALLOC_COSTLY_ORDER:
                continue
            if freed < 0 and retries:  # nothing could go, however often it is tried
                over.event(MEMCG_MAX, retries)
                over.failcnt += retries
                retries = 0
            if retries:
                retries -= 1
                continue
            if gfp & GFP_RETRY_MAYFAIL:
                return False
            over.event(MEMCG_OOM)
            if not killer.memcg_out_of_memory(over, gfp, int(max(nr_pages, 1) - 1).bit_length()):
                kb = int(self.system.page_size) >> 10  # of a page
                self.system.node.last_failure = f"the cgroup {over.path()}, whose limit is {over.max * kb} KiB"
                return False
            retries = MAX_RECLAIM_RETRIES

    def note_high(self, group: MemCgroup, nr_pages: i64, gfp: i64) -> None:
        """Above a ``high``: the task gives pages back on its way to the program, or at once where it has charged
        many."""
        at: MemCgroup | None = group
        while at is not None:
            if at.usage > at.high or at.swap_usage > at.swap_high:
                current = self.system.current
                current.memcg_over_high += nr_pages
                many = current.memcg_over_high > MEMCG_CHARGE_BATCH and gfp & GFP_DIRECT_RECLAIM != 0
                if many and not self.system.node.reclaim.reclaiming():
                    self.handle_over_high()
                return
            at = at.parent

    def handle_over_high(self) -> None:
        """The running task pays for having taken its group above ``high``."""
        current = self.system.current
        nr_pages: i64 = current.memcg_over_high
        current.memcg_over_high = 0
        if nr_pages == 0 or current.memcg == 0:
            return
        group = self.charged_group(current.memcg)
        wait_ns = handle_over_high(self, group, nr_pages)
        if wait_ns:
            group.throttled_ns += wait_ns
            self.memstall(wait_ns)
            self.system.node.reclaim.killer.throttle(wait_ns)

    def uncharge(self, ident: i64, nr_pages: i64) -> None:
        """See ``MemcgSeam.uncharge``."""
        group = self.groups[ident]
        group.sub(nr_pages)
        if not group.online:
            self.release(group)

    def drain_all_stock(self, within: MemCgroup) -> None:
        """Gives back what CPUs have charged in advance for a group and those below it."""
        for stock in self.stock:
            stock.drain(within)

    def settle(self) -> None:
        """The running task is about to go on with its program: what its group has too much of is given back."""
        current = self.system.current
        if current.memcg_over_max:
            current.memcg_over_max = False
            self.make_room(self.charged_group(current.memcg), 0, GFP_KERNEL)
        if current.memcg_over_high:
            self.handle_over_high()

    # The kernel's own memory.

    def kmem_group(self) -> i64:
        """See ``MemcgSeam.kmem_group``."""
        ident: i64 = self.system.current.memcg
        return self.charged_group(ident).ident if ident else 0

    def charge_object(self, ident: i64, size: i64) -> None:
        """See ``MemcgSeam.charge_object``."""
        charge_object(self, self.groups[ident], size)

    def uncharge_object(self, ident: i64, size: i64) -> None:
        """See ``MemcgSeam.uncharge_object``."""
        uncharge_object(self, self.groups[ident], size)

    def charge_stack(self, ident: i64) -> bool:
        """A task of the group (0: the root's) is about to be made; False where it may not."""
        return ident == 0 or charge_stack(self, self.groups[ident])

    def uncharge_stack(self, ident: i64) -> None:
        """The task has ended."""
        if ident:
            uncharge_stack(self, self.groups[ident])

    # Swap.

    def get_nr_swap_pages(self, ident: i64) -> i64:
        """See ``MemcgSeam.get_nr_swap_pages``."""
        free: i64 = self.system.swap.nr_swap_pages
        at: MemCgroup | None = self.groups[ident] if ident else None
        while at is not None:
            left: i64 = at.swap_max - at.swap_usage
            if left < free:
                free = left
            at = at.parent
        return free

    def try_charge_swap(self, ident: i64, entry: i64) -> bool:
        """See ``MemcgSeam.try_charge_swap``."""
        group = self.groups[ident]
        if entry < 0:
            group.event(MEMCG_SWAP_FAIL)
            return True
        at: MemCgroup | None = group
        while at is not None:
            if at.swap_usage + 1 > at.swap_max:
                at.swap_failcnt += 1
                group.event(MEMCG_SWAP_MAX)
                group.event(MEMCG_SWAP_FAIL)
                return False
            at = at.parent
        at = group
        while at is not None:
            at.swap_usage += 1
            if at.swap_usage > at.swap_watermark:
                at.swap_watermark = at.swap_usage
            at = at.parent
        self.swap_owner[entry] = int(ident)
        return True

    def uncharge_swap(self, entry: i64) -> None:
        """See ``MemcgSeam.uncharge_swap``."""
        ident = self.swap_owner.pop(entry, 0)
        if ident == 0:
            return
        group = self.groups[ident]
        at: MemCgroup | None = group
        while at is not None:
            at.swap_usage -= 1
            at = at.parent
        if not group.online:
            self.release(group)

    def reclaim(self, group: MemCgroup, nr_pages: i64, swappiness: int) -> i64:
        """See ``ReclaimSeam.try_to_free_mem_cgroup_pages``."""
        return self.system.node.reclaim.try_to_free_mem_cgroup_pages(group, nr_pages, swappiness)

    def memstall(self, ns: i64) -> None:
        """The running task has lost ``ns`` nanoseconds for want of memory: machine and groups count it (PSI)."""
        self.system.memstall(ns)

    # Changing limits.

    def set_max(self, group: MemCgroup, pages: i64) -> None:
        """memory.max: what is above the new limit is reclaimed, and tasks are killed where that does not do."""
        group.max = pages
        if group.usage > pages:
            self.drain_all_stock(group)
        retries = MAX_RECLAIM_RETRIES
        killer = self.system.node.reclaim.killer
        while group.usage > group.max:
            if retries:
                freed = self.reclaim(group, group.usage - group.max, DEFAULT_SWAPPINESS)
                if freed < 0:
                    retries = 0
                elif freed == 0:
                    retries -= 1
                continue
            group.event(MEMCG_OOM)
            if not killer.memcg_out_of_memory(group, 0, 0):
                return

    def set_high(self, group: MemCgroup, pages: i64) -> None:
        """memory.high: what is above it is reclaimed, as far as possible."""
        group.high = pages
        if group.usage > pages:
            self.drain_all_stock(group)
        retries = MAX_RECLAIM_RETRIES
        while group.usage > group.high:
            freed = self.reclaim(group, group.usage - group.high, DEFAULT_SWAPPINESS)
            if freed < 0 or (freed == 0 and retries == 0):
                return
            if freed == 0:
                retries -= 1

    def proactive_reclaim(self, group: MemCgroup, pages: i64, swappiness: int) -> int:
        """memory.reclaim: takes ``pages`` in four ever smaller parts; -EAGAIN where there are not so many.
        ``swappiness``: -1 for vm.swappiness."""
        done: i64 = 0
        retries = MAX_RECLAIM_RETRIES
        while done < pages:
            freed = self.reclaim(group, (pages - done) // 4, swappiness)
            if freed < 0 or (freed == 0 and retries == 0):
                return -errno.EAGAIN
            if freed == 0:
                retries -= 1
            done += freed
        return 0
