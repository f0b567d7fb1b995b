"""Reclaim over memory cgroups: each group's lists on a node in turn, and nobody else's.

A pass of kswapd asks all groups. A task that reclaims stops where it has enough, and the next one goes on with the
group behind, so that no group gives for all. Groups that memory.min or memory.low protects are spared.

Sources: Documentation/admin-guide/cgroup-v2.rst, "Memory" (memory.low, memory.min).

Mirrors: mm/vmscan.c (shrink_node_memcgs), mm/memcontrol.c (mem_cgroup_iter) (6.18)
Differs: where a partial pass goes on is remembered for each node by place, not by group.
"""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from pagewalk.mm.lruvec import ReclaimPolicy
from pagewalk.mm.memcg_names import MEMCG_LOW
from pagewalk.mm.memcg_protection import calculate_protection

if TYPE_CHECKING:
    from pagewalk.mm.mem_cgroup import MemCgroup
    from pagewalk.mm.scan_control import ScanControl
    from pagewalk.mm.system import System


def subtree(target: ReclaimPolicy) -> list[ReclaimPolicy]:
    """The lists of a group and of those below it on a node, parents before children."""
    found = [target]
    for child in target.children:
        found += subtree(child)
    return found


def group_evictable(system: "System", group: "MemCgroup") -> i64:
    """Pages of a group, and of those below it, that could go."""
    count: i64 = 0
    for node in system.nodes:
        for lruvec in subtree(node.lruvecs[group.ident]):
            count += lruvec.nr_evictable(system.memcg.get_nr_swap_pages(lruvec.memcg) > 0)
    return count


def spared(sc: "ScanControl", group: "MemCgroup") -> bool:
    """Whether a group uses no more than what is protected of it. Parents are asked before their children."""
    tree = sc.system.memcg
    target = tree.root if sc.group is None else sc.group
    calculate_protection(tree, target, group)
    if group is target or group.parent is None:
        return False
    if group.emin >= group.usage:
        return True
    if group.elow >= group.usage:
        if not sc.low_reclaim:
            sc.low_skipped = True
            return True
        group.event(MEMCG_LOW)
    return False


def shrink_node_memcgs(sc: "ScanControl", target: ReclaimPolicy) -> None:
    """One pass over the lists of a node, from the place where the last partial one ended."""
    lruvecs = subtree(target)
    partial = not sc.full_walk
    at = target.next_child if partial and target.next_child < len(lruvecs) else 0
    while at < len(lruvecs):
        lruvec = lruvecs[at]
        at += 1
        group = sc.system.memcg.groups[lruvec.memcg]
        if spared(sc, group):
            continue
        sc.set_memcg(group)
        lruvec.shrink(sc)
        sc.shrink_slab()
        if partial and sc.nr_reclaimed >= sc.nr_to_reclaim:
            break
    if partial:
        target.next_child = at
