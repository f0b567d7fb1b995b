"""Reclaim over memory cgroups: each group's lists on a node in turn, and nobody else's.

A pass of kswapd asks all groups. A task that reclaims stops where it has enough, and the next one goes on with the
group behind, so that no group gives for all.

Mirrors: mm/vmscan.c (shrink_node_memcgs), mm/memcontrol.c (mem_cgroup_iter) (6.18)
Differs: memory.low and memory.min protect nobody.
"""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from pagewalk.mm.lruvec import ReclaimPolicy

if TYPE_CHECKING:
    from pagewalk.mm.memcontrol import MemCgroup
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


def shrink_node_memcgs(sc: "ScanControl", target: ReclaimPolicy) -> None:
    """One pass over the lists of a node, from the place where the last partial one ended."""
    lruvecs = subtree(target)
    partial = not sc.full_walk
    at = target.next_child if partial and target.next_child < len(lruvecs) else 0
    while at < len(lruvecs):
        lruvec = lruvecs[at]
        at += 1
        sc.may_swap = sc.may_swap_of(lruvec)
        lruvec.shrink(sc)
        if partial and sc.nr_reclaimed >= sc.nr_to_reclaim:
            break
    if partial:
        target.next_child = at
