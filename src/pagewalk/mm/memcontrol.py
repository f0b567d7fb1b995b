"""Memory cgroups: groups of tasks, what they use, and how much that may be.

A group's usage is all that its tasks, and those of the groups below it, were first to touch. A charge that would exceed
``max`` of a group or of one above it makes that group give pages back; where that is not enough, one of its tasks dies.

Sources: Documentation/admin-guide/cgroup-v2.rst, "Memory".

Mirrors: mm/memcontrol.c (try_charge_memcg, uncharge, mem_cgroup_oom), mm/page_counter.c (6.18)
Differs: charges are exact (Linux takes 64 pages ahead on each CPU); who exceeds ``high`` reclaims at once and is not
    throttled; a group that is removed keeps its charges under its parent's name.
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.memcg_seam import MemcgSeam
from pagewalk.mm.page_alloc import MAX_RECLAIM_RETRIES

if TYPE_CHECKING:
    from pagewalk.mm.system import System

PAGE_COUNTER_MAX: Final = 0x7FFF_FFFF_FFFF_F  # LONG_MAX / PAGE_SIZE: "max"

MEMCG_LOW: Final = 0
MEMCG_HIGH: Final = 1
MEMCG_MAX: Final = 2
MEMCG_OOM: Final = 3
MEMCG_OOM_KILL: Final = 4
MEMCG_OOM_GROUP_KILL: Final = 5
EVENT_NAMES: Final = ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")


@final
class MemCgroup:
    """One group; sizes in pages, PAGE_COUNTER_MAX is "max".

    ident           its number, 0 for the root; pages and tasks name their group by it
    usage           charged here and below; watermark: the highest there was (memory.peak)
    max, high       limits; low, min: what reclaim from outside leaves alone
    swap_usage, swap_max, swap_high, swap_watermark   the same of swap
    failcnt, swap_failcnt  charges that were refused at first
    oom_group       a kill takes all of the group (memory.oom.group)
    events          counts by MEMCG_*, of this group and those below; events_local: of its own limit
    subtree_control the groups below have a memory controller of their own
    online          False once it was removed
    pgfault, pgmajfault  faults of tasks that have ended here
    """

    def __init__(self, ident: int, name: str, parent: "MemCgroup | None") -> None:
        self.ident = ident
        self.name = name
        self.parent = parent
        self.children: dict[str, MemCgroup] = {}
        self.usage: i64 = 0
        self.watermark: i64 = 0
        self.max: i64 = PAGE_COUNTER_MAX
        self.high: i64 = PAGE_COUNTER_MAX
        self.low: i64 = 0
        self.min: i64 = 0
        self.swap_usage: i64 = 0
        self.swap_watermark: i64 = 0
        self.swap_max: i64 = PAGE_COUNTER_MAX
        self.swap_high: i64 = PAGE_COUNTER_MAX
        self.failcnt = 0
        self.swap_failcnt = 0
        self.oom_group = False
        self.events = [0] * len(EVENT_NAMES)
        self.events_local = [0] * len(EVENT_NAMES)
        self.subtree_control = parent is None
        self.online = True
        self.pgfault = 0
        self.pgmajfault = 0

    def __repr__(self) -> str:
        return f"<MemCgroup {self.path()}: {self.usage} pages>"

    def path(self) -> str:
        """Its path within the hierarchy, "/" for the root."""
        if self.parent is None:
            return "/"
        above = self.parent.path()
        return f"{above}{self.name}" if above == "/" else f"{above}/{self.name}"

    def has_controller(self) -> bool:
        """Whether memory is counted for this group, rather than for the one above."""
        return self.parent is None or (self.parent.subtree_control and self.parent.has_controller())

    def subtree(self) -> "list[MemCgroup]":
        """The group and all below it."""
        found = [self]
        for child in self.children.values():
            found += child.subtree()
        return found

    def contains(self, other: "MemCgroup") -> bool:
        """Whether ``other`` is this group or below it."""
        at: MemCgroup | None = other
        while at is not None:
            if at is self:
                return True
            at = at.parent
        return False

    def event(self, which: int, count: int = 1) -> None:
        """memcg_memory_event: counts here and above."""
        self.events_local[which] += count
        at: MemCgroup | None = self
        while at is not None:
            at.events[which] += count
            at = at.parent

    def margin(self) -> i64:
        """Pages that may still be charged to it (mem_cgroup_margin)."""
        return self.max - self.usage if self.usage < self.max else 0

    def get_max(self, total_swap_pages: i64) -> i64:
        """mem_cgroup_get_max: memory and swap that it may have."""
        swap: i64 = min(self.swap_max, total_swap_pages)
        return self.max + swap


@final
class MemCgroupTree(MemcgSeam):
    """All groups of a machine. ``system.memcg`` is it.

    root    the group of who is in none
    swap_owner  by swap entry the ident of the group that has the slot
    groups  by ident, removed ones included: pages may still be charged to them
    """

    def __init__(self, system: "System") -> None:
        super().__init__()
        self.system = system
        self.root = MemCgroup(0, "", None)
        self.groups: list[MemCgroup] = [self.root]
        self.swap_owner: dict[int, int] = {}

    # The tree.

    def create(self, parent: MemCgroup, name: str) -> MemCgroup:
        """A new group below ``parent``, which has none of that name."""
        group = MemCgroup(len(self.groups), name, parent)
        self.groups.append(group)
        self.system.add_lruvecs(parent.ident)
        parent.children[name] = group
        self.enabled = True
        return group

    def remove(self, group: MemCgroup) -> None:
        """Takes a group without tasks and without children away; what it is still charged stays its parent's."""
        assert group.parent is not None and not group.children
        group.online = False
        del group.parent.children[group.name]

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

    def charged_group(self, ident: i64) -> MemCgroup:
        """The group that memory of tasks of group ``ident`` counts for: the nearest with a controller."""
        group = self.groups[ident]
        while not group.has_controller():
            assert group.parent is not None
            group = group.parent
        return group

    # Charging.

    def try_charge(self, gfp: i64, order: i64) -> i64:
        """See ``MemcgSeam.try_charge``."""
        ident: i64 = self.system.current.memcg
        if ident == 0:
            return 0
        group = self.charged_group(ident)
        if group.parent is None or not self.charge(group, 1 << order, gfp, order):
            return 0 if group.parent is None else -1
        return group.ident

    def charge(self, group: MemCgroup, nr_pages: i64, gfp: i64, order: i64) -> bool:
        """Charges ``nr_pages`` to the group and those above it; False where a limit forbids it and nothing helps."""
        retries = MAX_RECLAIM_RETRIES
        killer = self.system.node.reclaim.killer
        while True:
            over = self.over_limit(group, nr_pages)
            if over is None or killer.may_exceed():
                self.add(group, nr_pages)
                self.check_high(group, gfp)
                return True
            over.failcnt += 1
            over.event(MEMCG_MAX)
            if killer.must_fail():
                return False
            freed = self.reclaim(over, nr_pages, gfp)
            if over.margin() >= nr_pages or freed > 0:
                continue
            retries -= 1
            if freed < 0:
                over.event(MEMCG_MAX, retries)
                over.failcnt += retries
            elif retries > 0:
                continue
            over.event(MEMCG_OOM)
            if not killer.memcg_out_of_memory(over, gfp, order):
                kb = int(self.system.page_size) >> 10  # of a page
                self.system.node.last_failure = f"the cgroup {over.path()}, whose limit is {over.max * kb} KiB"
                return False
            retries = MAX_RECLAIM_RETRIES

    def over_limit(self, group: MemCgroup, nr_pages: i64) -> MemCgroup | None:
        """The first group from ``group`` upwards that may not have so many pages more."""
        at: MemCgroup | None = group
        while at is not None:
            if at.usage + nr_pages > at.max:
                return at
            at = at.parent
        return None

    def add(self, group: MemCgroup, nr_pages: i64) -> None:
        """page_counter_charge: counts upwards; the peaks follow."""
        at: MemCgroup | None = group
        while at is not None:
            at.usage += nr_pages
            if at.usage > at.watermark:
                at.watermark = at.usage
            at = at.parent

    def uncharge(self, ident: i64, nr_pages: i64) -> None:
        """See ``MemcgSeam.uncharge``."""
        at: MemCgroup | None = self.groups[ident]
        while at is not None:
            at.usage -= nr_pages
            at = at.parent

    def try_charge_swap(self, ident: i64, entry: i64) -> bool:
        """See ``MemcgSeam.try_charge_swap``."""
        group = self.groups[ident]
        at: MemCgroup | None = group
        while at is not None:
            if at.swap_usage + 1 > at.swap_max:
                at.swap_failcnt += 1
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
        at: MemCgroup | None = self.groups[ident] if ident else None
        while at is not None:
            at.swap_usage -= 1
            at = at.parent

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

    def check_high(self, group: MemCgroup, gfp: i64) -> None:
        """Groups above their ``high`` give the excess back, as far as they can."""
        at: MemCgroup | None = group
        while at is not None:
            if at.usage > at.high and at.parent is not None:
                at.event(MEMCG_HIGH)
                self.reclaim(at, at.usage - at.high, gfp)
            at = at.parent

    def reclaim(self, group: MemCgroup, nr_pages: i64, gfp: i64) -> i64:
        """try_to_free_mem_cgroup_pages: pages of the group and of those below it that were given back; -1 where none
        could be."""
        return self.system.node.reclaim.try_to_free_mem_cgroup_pages(group, nr_pages, gfp)

    # Changing limits.

    def set_max(self, group: MemCgroup, pages: i64) -> None:
        """memory.max: what is above the new limit is reclaimed, and tasks are killed where that does not do."""
        group.max = pages
        retries = MAX_RECLAIM_RETRIES
        killer = self.system.node.reclaim.killer
        while group.usage > group.max:
            freed = self.reclaim(group, group.usage - group.max, 0)
            if freed > 0:
                continue
            retries -= 1
            if retries > 0 and freed == 0:
                continue
            group.event(MEMCG_OOM)
            if not killer.memcg_out_of_memory(group, 0, 0):
                return

    def set_high(self, group: MemCgroup, pages: i64) -> None:
        """memory.high: what is above it is reclaimed, as far as possible."""
        group.high = pages
        retries = MAX_RECLAIM_RETRIES
        while group.usage > group.high and retries > 0:
            freed = self.reclaim(group, group.usage - group.high, 0)
            if freed < 0:
                return
            if freed == 0:
                retries -= 1
