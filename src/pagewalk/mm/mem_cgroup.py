"""struct mem_cgroup: one group of the tree, what it uses and what it may.

Mirrors: include/linux/memcontrol.h (struct mem_cgroup), include/linux/page_counter.h (6.18)
Differs: the counters of memory, swap and zswap stand side by side.
"""

from typing import Final, final

from mypy_extensions import i64

from pagewalk.mm.memcg_names import MEMCG_NR_MEMORY_EVENTS, NR_STAT_EVENTS
from pagewalk.mm.psi import Psi

PAGE_COUNTER_MAX: Final = 0x7FFF_FFFF_FFFF_F  # LONG_MAX / PAGE_SIZE: "max"


@final
class MemCgroup:
    """One group; sizes in pages, PAGE_COUNTER_MAX is "max".

    ident           its number, 0 for the root; pages and tasks name their group by it
    usage           charged here and below, what CPUs hold in advance included; watermark: the highest there was
    max, high       limits; low, min: what reclaim from outside leaves alone; elow, emin: how much of that is granted
    swap_usage, swap_max, swap_high, swap_watermark   the same of swap
    zswap_bytes, zswap_max   compressed pages, in bytes, here and below; their limit in pages
    zswap_writeback  what is compressed may go on to the device (memory.zswap.writeback)
    kmem_bytes      the kernel's objects and stacks charged here; kmem_paid: pages that were charged for them
    slab_bytes, stack_pages  of that, objects and kernel stacks
    failcnt, swap_failcnt  charges that were refused at first
    oom_group       a kill takes all of the group (memory.oom.group)
    events          counts by MEMCG_*, of this group and those below; events_local: of its own limit
    vm_events       of memory.stat, of this group alone
    subtree_control the groups below have a memory controller of their own; subtree_cpuset: a cpuset
    cpus, mems      what cpuset.cpus and cpuset.mems ask for, as masks; 0: nothing (mm/cpuset.py)
    online          False once it was removed; dying: removed groups below that still have charges
    throttled_ns    how long its tasks were made to wait for being above ``high``
    psi             time that its tasks, and those below, have lost for want of memory
    """

    def __init__(self, ident: int, name: str, parent: "MemCgroup | None") -> None:
        self.ident = ident
        self.name = name
        self.parent = parent
        self.children: dict[str, MemCgroup] = {}
        self.dying: list[MemCgroup] = []
        self.usage: i64 = 0
        self.watermark: i64 = 0
        self.max: i64 = PAGE_COUNTER_MAX
        self.high: i64 = PAGE_COUNTER_MAX
        self.low: i64 = 0
        self.min: i64 = 0
        self.elow: i64 = 0
        self.emin: i64 = 0
        self.swap_usage: i64 = 0
        self.swap_watermark: i64 = 0
        self.swap_max: i64 = PAGE_COUNTER_MAX
        self.swap_high: i64 = PAGE_COUNTER_MAX
        self.zswap_bytes: i64 = 0
        self.zswapped: i64 = 0
        self.zswap_max: i64 = PAGE_COUNTER_MAX
        self.zswap_writeback = True
        self.kmem_bytes: i64 = 0
        self.kmem_paid: i64 = 0
        self.slab_bytes: i64 = 0
        self.stack_pages: i64 = 0
        self.failcnt = 0
        self.swap_failcnt = 0
        self.oom_group = False
        self.events = [0] * MEMCG_NR_MEMORY_EVENTS
        self.events_local = [0] * MEMCG_NR_MEMORY_EVENTS
        self.vm_events = [0] * NR_STAT_EVENTS
        self.subtree_control = parent is None
        self.subtree_cpuset = False
        self.cpus = 0
        self.mems = 0
        self.online = True
        self.throttled_ns: i64 = 0
        self.psi = Psi()

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

    def has_cpuset(self) -> bool:
        """Whether it has a cpuset of its own, rather than that of the group above."""
        return self.parent is None or (self.parent.subtree_cpuset and self.parent.has_cpuset())

    def subtree(self) -> "list[MemCgroup]":
        """The group and all below it, from the top down."""
        found = [self]
        for child in self.children.values():
            found += child.subtree()
        return found

    def subtree_with_dying(self) -> "list[MemCgroup]":
        """As ``subtree``, with groups that were removed and still have charges."""
        found = [self]
        for child in self.children.values():
            found += child.subtree_with_dying()
        for child in self.dying:
            found += child.subtree_with_dying()
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

    def swap_full(self) -> bool:
        """It, or a group above it, uses half of the swap that it may have or more."""
        at = self
        while at.parent is not None:
            if at.swap_usage * 2 >= min(at.swap_max, at.swap_high):
                return True
            at = at.parent
        return False

    def add(self, nr_pages: i64) -> None:
        """page_counter_charge: counts here and above, whatever the limits; the peaks follow."""
        at: MemCgroup | None = self
        while at is not None:
            at.usage += nr_pages
            if at.usage > at.watermark:
                at.watermark = at.usage
            at = at.parent

    def sub(self, nr_pages: i64) -> None:
        """page_counter_uncharge."""
        at: MemCgroup | None = self
        while at is not None:
            at.usage -= nr_pages
            at = at.parent

    def over_limit(self, nr_pages: i64) -> "MemCgroup | None":
        """The first group from this one upwards that may not have so many pages more."""
        at: MemCgroup | None = self
        while at is not None:
            if at.usage + nr_pages > at.max:
                return at
            at = at.parent
        return None
