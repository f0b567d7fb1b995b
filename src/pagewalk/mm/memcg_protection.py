"""memory.min and memory.low: how much of a group reclaim from above leaves alone.

What a group asks for counts as far as it uses it, and as far as the groups above it are protected themselves: where the
children of a group ask for more than it has, each gets its share. With the mount option ``memory_recursiveprot`` what
nobody has claimed is shared out by use.

Sources: Documentation/admin-guide/cgroup-v2.rst (memory.min, memory.low, memory_recursiveprot).

Mirrors: mm/page_counter.c (page_counter_calculate_protection, effective_protection) (6.18)
Differs: what the children claim is added up when it is asked for.
"""

from typing import TYPE_CHECKING

from mypy_extensions import i64

if TYPE_CHECKING:
    from pagewalk.mm.memcontrol import MemCgroup, MemCgroupTree


def calculate_protection(tree: "MemCgroupTree", root: "MemCgroup", group: "MemCgroup") -> None:
    """Sets ``emin`` and ``elow`` of a group for reclaim within ``root``. Its parent's must be known: groups are asked
    from the top down."""
    parent = group.parent
    if group is root or parent is None or group.usage == 0:
        return
    if parent is root:
        group.emin = group.min
        group.elow = group.low
        return
    if parent.emin == 0 and parent.elow == 0:
        group.emin = 0
        group.elow = 0
        return
    min_claimed: i64 = 0
    low_claimed: i64 = 0
    for child in parent.children.values():
        min_claimed += min(child.usage, child.min)
        low_claimed += min(child.usage, child.low)
    recursive = tree.recursive_protection
    group.emin = effective_protection(group.usage, parent.usage, group.min, parent.emin, min_claimed, recursive)
    group.elow = effective_protection(group.usage, parent.usage, group.low, parent.elow, low_claimed, recursive)


def effective_protection(
    usage: i64, parent_usage: i64, setting: i64, parent_effective: i64, claimed: i64, recursive: bool
) -> i64:
    """Pages of a group that are protected. ``setting``: what it asks for; ``claimed``: what it and its siblings ask for
    as far as they use it; ``parent_effective``: what there is for all of them."""
    own = int(min(usage, setting))
    if claimed > parent_effective:
        return own * int(parent_effective) // int(claimed)
    if not recursive or parent_usage <= claimed or usage <= own:
        return own
    unclaimed = int(parent_effective - claimed)
    return own + unclaimed * (int(usage) - own) // int(parent_usage - claimed)
