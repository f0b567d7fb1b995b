"""The system calls of NUMA policies: mbind, set_mempolicy, get_mempolicy, set_mempolicy_home_node, migrate_pages,
move_pages.

Mirrors: mm/mempolicy.c, mm/migrate.c (6.18)
Differs: nothing.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.word import signed, signed32
from pagewalk.mm.mbind import (
    MPOL_MF_MOVE,
    MPOL_MF_MOVE_ALL,
    do_migrate_pages,
    mbind,
    move_one,
    page_at,
    page_status,
    set_home_node,
)
from pagewalk.mm.mempolicy import (
    MAX_NUMNODES,
    MPOL_DEFAULT,
    MPOL_INTERLEAVE,
    MPOL_LOCAL,
    MPOL_MODE_FLAGS,
    MPOL_WEIGHTED_INTERLEAVE,
    MemPolicy,
    mems_allowed,
    mpol_new,
    mpol_set_nodemask,
    next_node_in,
    nodes_with_memory,
    sanitize_mpol_flags,
)
from pagewalk.mm.migrate import page_to_nid
from pagewalk.mm.uaccess import (
    clear_user,
    copy_from_user,
    copy_to_user,
    get_user_u32,
    get_user_u64,
    put_user_u32,
    user_paddr,
)

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

MPOL_F_NODE: Final = 1
MPOL_F_ADDR: Final = 2
MPOL_F_MEMS_ALLOWED: Final = 4
_WORD: Final = 0xFFFF_FFFF_FFFF_FFFF


def get_nodes(task: "Task", nmask: int, maxnode: int) -> int:
    """A node mask from user memory, ``maxnode`` - 1 bits of it; -EFAULT, or -EINVAL where it is too long or names nodes
    that no machine has."""
    bits = ((maxnode & _WORD) - 1) & _WORD
    if bits == 0 or nmask == 0:
        return 0
    if bits > 4096 * 8:
        return -errno.EINVAL
    while bits > MAX_NUMNODES:
        word = get_user_u64(task.mm, nmask + (bits - 1) // 64 * 8)
        if word is None:
            return -errno.EFAULT
        bits = max(bits - 64, MAX_NUMNODES)
        if word:
            return -errno.EINVAL
    data = copy_from_user(task.mm, nmask, (bits + 63) // 64 * 8)
    if data is None:
        return -errno.EFAULT
    return int.from_bytes(data, "little") & ((1 << bits) - 1)


def put_nodes(task: "Task", nmask: int, maxnode: int, nodes: int) -> int:
    """A node mask to user memory, zeros behind the nodes that there are; 0, -EFAULT or -EINVAL."""
    size = ((((maxnode & _WORD) - 1) & _WORD) + 63 & _WORD) // 64 * 8
    have = (len(task.mm.system.nodes) + 63) // 64 * 8
    if size > have:
        if size > 4096:
            return -errno.EINVAL
        if not clear_user(task.mm, nmask + have, size - have):
            return -errno.EFAULT
        size = have
    known = nodes & ((1 << have * 8) - 1)  # a mask that was set may name more
    return 0 if copy_to_user(task.mm, nmask, known.to_bytes(have, "little")[:size]) else -errno.EFAULT


def sys_mbind(task: "Task", start: int, length: int, mode: int, nmask: int, maxnode: int, flags: int) -> int:
    """mbind(2)."""
    kind, mode_flags = sanitize_mpol_flags(mode, task.kernel.system.linux_6_1)
    if kind < 0:
        return kind
    nodes = get_nodes(task, nmask, maxnode)
    if nodes < 0:
        return nodes
    return mbind(task.mm, start, length, kind, mode_flags, nodes, flags & 0xFFFF_FFFF)


def sys_set_mempolicy(task: "Task", mode: int, nmask: int, maxnode: int) -> int:
    """set_mempolicy(2)."""
    kind, mode_flags = sanitize_mpol_flags(mode, task.kernel.system.linux_6_1)
    if kind < 0:
        return kind
    nodes = get_nodes(task, nmask, maxnode)
    if nodes < 0:
        return nodes
    system = task.mm.system
    made = mpol_new(system, kind, mode_flags, nodes)
    if isinstance(made, int):
        if made < 0:
            return made
        task.mempolicy = None
        return 0
    failed = mpol_set_nodemask(system, made)
    if failed:
        return failed
    task.mempolicy = made
    system.has_policies = True
    if made.mode in (MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE):
        task.il_prev = MAX_NUMNODES - 1
        task.il_weight = 0
    return 0


def sys_get_mempolicy(task: "Task", policy: int, nmask: int, maxnode: int, addr: int, flags: int) -> int:
    """get_mempolicy(2)."""
    system = task.mm.system
    if nmask and (maxnode & _WORD) < len(system.nodes):
        return -errno.EINVAL
    found = do_get_mempolicy(task, addr, flags)
    if isinstance(found, int):
        return found
    value, nodes = found
    if policy and not put_user_u32(task.mm, policy, value):
        return -errno.EFAULT
    return put_nodes(task, nmask, maxnode, nodes) if nmask else 0


def do_get_mempolicy(task: "Task", addr: int, flags: int) -> tuple[int, int] | int:
    """What get_mempolicy(2) stores: a mode or a node, and a mask of nodes; or a negative errno."""
    system = task.mm.system
    if flags & ~(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED):
        return -errno.EINVAL
    if flags & MPOL_F_MEMS_ALLOWED:
        if flags & (MPOL_F_NODE | MPOL_F_ADDR):
            return -errno.EINVAL
        return 0, mems_allowed(system, task)
    pol = task.mempolicy
    if flags & MPOL_F_ADDR:
        vma = task.mm.vma_lookup(addr)
        if vma is None:
            return -errno.EFAULT
        pol = vma.vm_policy
    elif addr:
        return -errno.EINVAL
    if flags & MPOL_F_NODE:
        value = policy_node(task, pol, addr) if flags & MPOL_F_ADDR else next_interleave(task, pol)
        if value < 0:
            return value
    else:
        value = MPOL_DEFAULT if pol is None else pol.mode | pol.flags & MPOL_MODE_FLAGS
    if pol is None or pol.mode == MPOL_LOCAL:
        return value, 0
    return value, pol.user_nodes if pol.flags & MPOL_MODE_FLAGS else pol.nodes


def policy_node(task: "Task", pol: MemPolicy | None, addr: int) -> int:
    """The node of the page at ``addr``, which is brought in for that; -EFAULT where it cannot be."""
    if user_paddr(task.mm, addr, 0) < 0:
        return -errno.EFAULT
    page = page_at(task.mm, addr)
    return -errno.EFAULT if page is None else page_to_nid(task.mm.system, page)


def next_interleave(task: "Task", pol: MemPolicy | None) -> int:
    """The node that interleaving takes next; -EINVAL for other policies."""
    if pol is not None and pol.mode == MPOL_INTERLEAVE:
        return next_node_in(task.il_prev, pol.nodes)
    if pol is not None and pol.mode == MPOL_WEIGHTED_INTERLEAVE:
        return task.il_prev if task.il_weight else next_node_in(task.il_prev, pol.nodes)
    return -errno.EINVAL


def sys_set_mempolicy_home_node(task: "Task", start: int, length: int, home_node: int, flags: int) -> int:
    """set_mempolicy_home_node(2)."""
    return set_home_node(task.mm, start, length, home_node, flags)


def may_inspect(task: "Task", other: "Task") -> bool:
    """ptrace_may_access with the caller's real ids."""
    if other.mm is task.mm or task.capable:
        return True
    ids = (other.uid, other.euid, other.suid)
    groups = (other.gid, other.egid, other.sgid)
    return all(uid == task.uid for uid in ids) and all(gid == task.gid for gid in groups)


def sys_migrate_pages(task: "Task", pid: int, maxnode: int, old_nodes: int, new_nodes: int) -> int:
    """migrate_pages(2): how many pages could not be moved."""
    old = get_nodes(task, old_nodes, maxnode)
    if old < 0:
        return old
    new = get_nodes(task, new_nodes, maxnode)
    if new < 0:
        return new
    other = task if signed32(pid) == 0 else task.kernel.find_task(signed32(pid))
    if other is None:
        return -errno.ESRCH
    if not may_inspect(task, other):
        return -errno.EPERM
    if new & ~mems_allowed(task.mm.system, other) and not task.capable:
        return -errno.EPERM
    new &= mems_allowed(task.mm.system, task)
    if not new or other.is_ended():
        return -errno.EINVAL
    return do_migrate_pages(other.mm, old, new, move_all=task.capable)


def sys_move_pages(task: "Task", pid: int, nr_pages: int, pages: int, nodes: int, status: int, flags: int) -> int:
    """move_pages(2): with ``nodes`` moves each page, without says where it is."""
    flags = signed32(flags)
    if flags & ~(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL):
        return -errno.EINVAL
    if flags & MPOL_MF_MOVE_ALL and not task.capable:
        return -errno.EPERM
    other = task if signed32(pid) == 0 else task.kernel.find_task(signed32(pid))
    if other is None:
        return -errno.ESRCH
    if not may_inspect(task, other):
        return -errno.EPERM
    if other.is_ended():
        return -errno.EINVAL
    place = 0
    while place < (nr_pages & _WORD):
        word = get_user_u64(task.mm, pages + place * 8)
        if word is None:
            return -errno.EFAULT
        addr = signed(word)
        if nodes:
            nid = get_user_u32(task.mm, nodes + place * 4)
            if nid is None:
                return -errno.EFAULT
            if not 0 <= signed32(nid) < MAX_NUMNODES or not nodes_with_memory(task.mm.system) >> signed32(nid) & 1:
                return -errno.ENODEV
            if not mems_allowed(task.mm.system, other) >> signed32(nid) & 1:
                return -errno.EACCES
            page = addr & task.mm.system.page_mask
            found = move_one(other.mm, page, signed32(nid), move_all=flags & MPOL_MF_MOVE_ALL != 0)
        else:
            found = page_status(other.mm, addr)
        if not put_user_u32(task.mm, status + place * 4, found & 0xFFFF_FFFF):
            return -errno.EFAULT
        place += 1
    return 0
