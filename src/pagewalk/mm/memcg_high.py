"""memory.high: who takes a group above it gives pages back before he goes on, and waits where that does not do.

How long: 64 seconds times the square of the overage (a fraction of ``high``), for each 64 pages that were charged; at
most two seconds at a time, and not at all where it is a hundredth or less.

Sources: Documentation/admin-guide/cgroup-v2.rst (memory.high, memory.swap.high).

Mirrors: mm/memcontrol.c (reclaim_high, calculate_high_delay, __mem_cgroup_handle_over_high) (6.18)
Differs: nothing.
"""

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.mm.memcg_names import MEMCG_HIGH, MEMCG_SWAP_HIGH
from pagewalk.mm.memcg_stock import MEMCG_CHARGE_BATCH
from pagewalk.mm.page_alloc import MAX_RECLAIM_RETRIES
from pagewalk.mm.reclaim_seam import DEFAULT_SWAPPINESS

if TYPE_CHECKING:
    from pagewalk.mm.mem_cgroup import MemCgroup
    from pagewalk.mm.memcontrol import MemCgroupTree

HZ: Final = 250
MAX_HIGH_DELAY_JIFFIES: Final = 2 * HZ
DELAY_PRECISION_SHIFT: Final = 20
DELAY_SCALING_SHIFT: Final = 14
SWAP_CLUSTER_MAX: Final = 32


def handle_over_high(tree: "MemCgroupTree", group: "MemCgroup", nr_pages: i64) -> i64:
    """The running task has charged ``nr_pages`` to ``group`` while that, or one above it, was above a ``high``: gives
    pages back. How many nanoseconds it has to wait as well."""
    killer = tree.system.node.reclaim.killer
    retries = MAX_RECLAIM_RETRIES
    wanted = nr_pages
    while True:
        if killer.must_fail():
            return 0
        freed = reclaim_high(tree, group, wanted)
        delay = high_delay(nr_pages, memory_overage(group)) + high_delay(nr_pages, swap_overage(group))
        delay = min(delay, MAX_HIGH_DELAY_JIFFIES)
        if delay <= HZ // 100:
            return 0
        if freed == 0:
            if retries == 0:
                return delay * (1_000_000_000 // HZ)
            retries -= 1
        wanted = SWAP_CLUSTER_MAX


def reclaim_high(tree: "MemCgroupTree", group: "MemCgroup", nr_pages: i64) -> i64:
    """Takes ``nr_pages`` from each group that is above its ``high``, from this one upwards; how many it were."""
    freed: i64 = 0
    at: MemCgroup | None = group
    while at is not None and at.parent is not None:
        if at.usage > at.high:
            at.event(MEMCG_HIGH)
            tree.memstall(tree.system.config.reclaim_us * 1000)
            freed += max(tree.reclaim(at, nr_pages, DEFAULT_SWAPPINESS), 0)
        at = at.parent
    return freed


def overage(usage: i64, high: i64) -> int:
    """How far a group is above its limit, in parts of 2**20 of that; 0 where it is not."""
    if usage <= high:
        return 0
    high = max(high, 1)
    return (int(usage - high) << DELAY_PRECISION_SHIFT) // int(high)


def memory_overage(group: "MemCgroup") -> int:
    """The largest overage of the group and those above it."""
    most = 0
    at: MemCgroup | None = group
    while at is not None and at.parent is not None:
        most = max(most, overage(at.usage, at.high))
        at = at.parent
    return most


def swap_overage(group: "MemCgroup") -> int:
    """The same of swap; each group that is above is told of it."""
    most = 0
    at: MemCgroup | None = group
    while at is not None and at.parent is not None:
        excess = overage(at.swap_usage, at.swap_high)
        if excess:
            at.event(MEMCG_SWAP_HIGH)
        most = max(most, excess)
        at = at.parent
    return most


def high_delay(nr_pages: i64, excess: int) -> int:
    """calculate_high_delay: jiffies to wait for ``nr_pages`` charged at such an overage."""
    if excess == 0:
        return 0
    penalty = (excess * excess * HZ) >> DELAY_PRECISION_SHIFT >> DELAY_SCALING_SHIFT
    return penalty * int(nr_pages) // MEMCG_CHARGE_BATCH
