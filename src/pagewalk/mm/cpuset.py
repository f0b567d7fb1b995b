"""Cpusets: the CPUs and memory nodes that the tasks of a cgroup may use.

A group has a cpuset of its own where the one above it has "+cpuset" in ``cgroup.subtree_control``; else that of the
nearest group above counts. What it asks for (``cpuset.cpus``, ``cpuset.mems``) may be more than there is. What it has
(``.effective``) is the part of it that the group above has, or all of that where nothing is left.

Sources: Documentation/admin-guide/cgroup-v2.rst, "Cpuset"; cpuset(7) for the list format.

Mirrors: kernel/cgroup/cpuset.c (update_cpumasks_hier, update_nodemasks_hier), lib/bitmap-str.c (bitmap_parselist)
(6.18)
Differs: no partitions (cpuset.cpus.partition, cpuset.cpus.exclusive); CPUs and nodes do not come and go.
"""

import errno
import re
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.mm.mem_cgroup import MemCgroup
from pagewalk.mm.mempolicy import nodes_with_memory

if TYPE_CHECKING:
    from pagewalk.mm.system import System

_REGION: Final = re.compile(r"(all|[0-9]{1,9}|N)(?:-([0-9]{1,9}|N))?(?::([0-9]{1,9})/([0-9]{1,9}))?")


def parse_list(text: str, nbits: int) -> int:
    """The mask of a list such as "0-2,5", "all", "0-7:1/2" or "4-N": regions with commas or blanks between them, up to
    the end of the line. -EINVAL for what is none, -ERANGE for a number that a mask of ``nbits`` does not have."""
    mask = 0
    for word in re.split(r"[\s,]+", text.strip(" \t,").partition("\n")[0]):
        if not word:
            continue
        match = _REGION.fullmatch(word)
        if match is None:
            return -errno.EINVAL
        last = nbits - 1
        start = 0 if match[1] == "all" else last if match[1] == "N" else int(match[1])
        if match[1] == "all":
            end = last
            if match[2]:
                return -errno.EINVAL
        else:
            end = start if match[2] is None else last if match[2] == "N" else int(match[2])
        used, group = (end - start + 1, end - start + 1) if match[3] is None else (int(match[3]), int(match[4]))
        if start > end or group == 0 or used > group:
            return -errno.EINVAL
        if end >= nbits:
            return -errno.ERANGE
        for bit in range(start, end + 1):
            if (bit - start) % group < used:
                mask |= 1 << bit
    return mask


def mask_text(mask: int, nbits: int) -> str:
    """A mask of ``nbits`` in hexadecimal, in words of 32 bits with commas between them (%*pb)."""
    digits = (nbits + 3) // 4
    text = f"{mask & (1 << nbits) - 1:0{digits}x}"
    first = len(text) % 8
    words = [text[:first]] if first else []
    return ",".join(words + [text[at : at + 8] for at in range(first, len(text), 8)])


def signed_mask(mask: int) -> i64:
    """A mask of up to 64 nodes as the allocator takes it."""
    return mask if mask < 1 << 63 else mask - (1 << 64)


def all_cpus(system: "System") -> int:
    """The CPUs of the machine."""
    return (1 << system.config.cpus) - 1


def cpuset_of(group: MemCgroup) -> MemCgroup:
    """The nearest group upwards with a cpuset of its own."""
    at = group
    while not at.has_cpuset():
        assert at.parent is not None
        at = at.parent
    return at


def effective_cpus(system: "System", group: MemCgroup) -> int:
    """cpuset.cpus.effective: never empty."""
    if group.parent is None:
        return all_cpus(system)
    above = effective_cpus(system, group.parent)
    return (above & group.cpus if group.has_cpuset() else 0) or above


def effective_mems(system: "System", group: MemCgroup) -> int:
    """cpuset.mems.effective: never empty."""
    if group.parent is None:
        return nodes_with_memory(system)
    above = effective_mems(system, group.parent)
    return (above & group.mems if group.has_cpuset() else 0) or above


def task_mems(system: "System", group: MemCgroup) -> i64:
    """The nodes that a task of the group may use; -1: all."""
    mems = effective_mems(system, group)
    return -1 if mems == nodes_with_memory(system) else signed_mask(mems)
