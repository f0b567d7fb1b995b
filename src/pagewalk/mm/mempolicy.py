"""NUMA policies: from which nodes a mapping's pages, or a task's, are taken.

Sources: mbind(2), set_mempolicy(2), get_mempolicy(2), Documentation/admin-guide/mm/numa_memory_policy.rst.

Mirrors: mm/mempolicy.c (6.18)
Differs: no balancing by hint faults; weights of weighted interleave are
    1 unless /sys says otherwise.
"""

import errno
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.gfp import GFP_DIRECT_RECLAIM, GFP_NOFAIL, GFP_NOWARN
from pagewalk.mm.page import Page

if TYPE_CHECKING:
    from pagewalk.mm.current import Current
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.system import System
    from pagewalk.mm.vma import Vma

MPOL_DEFAULT: Final = 0
MPOL_PREFERRED: Final = 1
MPOL_BIND: Final = 2
MPOL_INTERLEAVE: Final = 3
MPOL_LOCAL: Final = 4
MPOL_PREFERRED_MANY: Final = 5
MPOL_WEIGHTED_INTERLEAVE: Final = 6
MPOL_MAX: Final = 7
MODE_NAMES: Final = (
    "default", "prefer", "bind", "interleave", "local", "prefer (many)", "weighted interleave",
)  # fmt: skip

MPOL_F_STATIC_NODES: Final = 1 << 15
MPOL_F_RELATIVE_NODES: Final = 1 << 14
MPOL_F_NUMA_BALANCING: Final = 1 << 13
MPOL_MODE_FLAGS: Final = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | MPOL_F_NUMA_BALANCING
MPOL_USER_NODES: Final = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES

MAX_NUMNODES: Final = 1024


@final
class MemPolicy:
    """struct mempolicy. Equal ones let mappings merge.

    mode, flags     MPOL_*; flags are the mode flags
    nodes           the nodes it names, as a mask
    user_nodes      as the caller gave them, which get_mempolicy tells where a mode flag is set
    home_node       where to begin, -1 = where the CPU is
    cpuset_mems     the nodes that its task had when ``nodes`` were chosen
    """

    def __init__(self, mode: int, flags: int, nodes: int, user_nodes: int) -> None:
        self.mode = mode
        self.flags = flags
        self.nodes = nodes
        self.user_nodes = user_nodes
        self.home_node = -1
        self.cpuset_mems = 0

    def equals(self, other: "MemPolicy") -> bool:
        """mpol_equal."""
        if (self.mode, self.flags, self.home_node) != (other.mode, other.flags, other.home_node):
            return False
        if self.flags & MPOL_MODE_FLAGS and self.user_nodes != other.user_nodes:
            return False
        return self.mode == MPOL_LOCAL or self.nodes == other.nodes

    def copy(self) -> "MemPolicy":
        """mpol_dup."""
        new = MemPolicy(self.mode, self.flags, self.nodes, self.user_nodes)
        new.home_node = self.home_node
        new.cpuset_mems = self.cpuset_mems
        return new

    def text(self) -> str:
        """As numa_maps prints it (mpol_to_str)."""
        out = MODE_NAMES[self.mode]
        if self.flags & MPOL_MODE_FLAGS:
            if self.flags & MPOL_F_STATIC_NODES:
                out += "=static"
            elif self.flags & MPOL_F_RELATIVE_NODES:
                out += "=relative"
            if self.flags & MPOL_F_NUMA_BALANCING:
                out += "=balancing" if not self.flags & MPOL_USER_NODES else "|balancing"
        return out + (f":{node_list(self.nodes)}" if self.nodes else "")


def mpol_equal(a: MemPolicy | None, b: MemPolicy | None) -> bool:
    """Whether two policies, or their absence, are the same."""
    if a is None or b is None:
        return a is b
    return a is b or a.equals(b)


def node_list(nodes: int) -> str:
    """A mask as a list of ranges: "0-1,3"."""
    parts = []
    bit = 0
    while nodes >> bit:
        if nodes >> bit & 1:
            first = bit
            while nodes >> bit + 1 & 1:
                bit += 1
            parts.append(str(first) if first == bit else f"{first}-{bit}")
        bit += 1
    return ",".join(parts)


def first_node(nodes: int) -> int:
    """The lowest node of a mask that is not empty."""
    return (nodes & -nodes).bit_length() - 1


def next_node_in(node: int, nodes: int) -> int:
    """The next node of the mask behind ``node``, round and round."""
    above = nodes >> node + 1 << node + 1
    return first_node(above or nodes)


def nodes_with_memory(system: "System") -> int:
    """node_states[N_MEMORY], as a mask."""
    mask = 0
    for zone in system.zones:
        if zone.present_pages:
            mask |= 1 << int(zone.node_id)
    return mask


def mems_allowed(system: "System", task: "Current") -> int:
    """cpuset_mems_allowed: the nodes with memory that a task may use."""
    allowed = int(task.mems_allowed) if system.memcg.cpusets else -1
    return nodes_with_memory(system) & allowed & (1 << 64) - 1


def max_numnodes(arch: str) -> int:
    """MAX_NUMNODES as distributions configure it: how many nodes a kernel counts."""
    return {"x86_64": MAX_NUMNODES, "arm64": 16, "riscv64": 4}.get(arch, 1)


def sanitize_mpol_flags(mode: int, linux_6_1: bool = False) -> tuple[int, int]:
    """The mode and its flags, apart; (-EINVAL, 0) where there is no such mode, or flags that exclude each other. In 6.1
    nothing is weighted, and only MPOL_BIND may be balanced."""
    mode &= 0xFFFF_FFFF
    flags = mode & MPOL_MODE_FLAGS
    mode &= ~MPOL_MODE_FLAGS
    if linux_6_1 and (mode == MPOL_WEIGHTED_INTERLEAVE or (flags & MPOL_F_NUMA_BALANCING and mode != MPOL_BIND)):
        return -errno.EINVAL, 0
    if mode >= MPOL_MAX or flags & MPOL_USER_NODES == MPOL_USER_NODES:
        return -errno.EINVAL, 0
    if flags & MPOL_F_NUMA_BALANCING and mode not in (MPOL_BIND, MPOL_PREFERRED_MANY):
        return -errno.EINVAL, 0
    return mode, flags


def mpol_new(system: "System", mode: int, flags: int, nodes: int) -> "MemPolicy | int":
    """A policy of that mode; 0 for MPOL_DEFAULT, -EINVAL where mode and nodes do not agree, or no node has memory."""
    if mode == MPOL_DEFAULT:
        return -errno.EINVAL if nodes else 0
    if mode == MPOL_PREFERRED:
        if not nodes:
            if flags & MPOL_USER_NODES:
                return -errno.EINVAL
            mode = MPOL_LOCAL
    elif mode == MPOL_LOCAL:
        if nodes or flags & MPOL_USER_NODES:
            return -errno.EINVAL
    elif not nodes:
        return -errno.EINVAL
    return MemPolicy(mode, flags, 0, nodes)


def mpol_set_nodemask(system: "System", pol: MemPolicy) -> int:
    """Chooses the policy's nodes among those with memory that the task may use; 0, or -EINVAL where none is left."""
    if pol.mode == MPOL_LOCAL:
        return 0
    allowed = mems_allowed(system, system.current)
    pol.cpuset_mems = allowed
    if pol.flags & MPOL_F_RELATIVE_NODES:
        nodes = relative_nodes(pol.user_nodes, allowed)
    else:
        nodes = pol.user_nodes & allowed
    if not nodes:
        return -errno.EINVAL
    pol.nodes = 1 << first_node(nodes) if pol.mode == MPOL_PREFERRED else nodes
    return 0


def relative_nodes(nodes: int, allowed: int) -> int:
    """mpol_relative_nodemask: bit n stands for the n-th allowed node, counted round and round."""
    present = [bit for bit in range(allowed.bit_length()) if allowed >> bit & 1]
    mask = 0
    for bit in range(nodes.bit_length()):
        if nodes >> bit & 1:
            mask |= 1 << present[bit % len(present)]
    return mask


def nodes_remap(nodes: int, old: int, new: int) -> int:
    """bitmap_remap: the n-th node of ``old`` becomes the n-th of ``new``, round and round; others stay."""
    places = [bit for bit in range(old.bit_length()) if old >> bit & 1]
    targets = [bit for bit in range(new.bit_length()) if new >> bit & 1]
    mask = 0
    for bit in range(nodes.bit_length()):
        if nodes >> bit & 1:
            known = bit in places and len(targets) > 0
            mask |= 1 << (targets[places.index(bit) % len(targets)] if known else bit)
    return mask


def mpol_rebind_policy(pol: MemPolicy | None, new: int) -> MemPolicy | None:
    """The policy of a task whose cpuset has become ``new``: as its mode flags say, else nodes keep their places."""
    if pol is None or pol.mode == MPOL_LOCAL or (not pol.flags & MPOL_USER_NODES and pol.cpuset_mems == new):
        return pol
    found = pol.copy()
    if pol.mode == MPOL_PREFERRED:
        found.cpuset_mems = new
        return found
    if pol.flags & MPOL_F_STATIC_NODES:
        nodes = pol.user_nodes & new
    elif pol.flags & MPOL_F_RELATIVE_NODES:
        nodes = relative_nodes(pol.user_nodes, new) if new else 0
    else:
        nodes = nodes_remap(pol.nodes, pol.cpuset_mems, new)
        found.cpuset_mems = new
    found.nodes = nodes or new
    return found


def mpol_rebind_mm(mm: "MmStruct", new: int) -> None:
    """The policies of its mappings follow."""
    for vma in mm.vmas:
        vma.vm_policy = mpol_rebind_policy(vma.vm_policy, new)


def vma_alloc_page(vma: "Vma", address: i64, gfp: i64) -> Page | None:
    """A frame for a page of a mapping, from where its policy, or the task's, says (vma_alloc_folio)."""
    system = vma.vm_mm.system
    if not system.has_policies:
        return system.node.alloc_page(gfp)
    pol = vma.vm_policy
    if pol is None:
        pol = system.current.mempolicy
    if pol is None:
        return system.node.alloc_page(gfp)
    return alloc_page_mpol(system, pol, gfp, int(vma.pgoff_of(address)))


def alloc_page_current(system: "System", gfp: i64) -> Page | None:
    """A frame that belongs to no mapping, by the running task's policy (alloc_pages)."""
    pol = system.current.mempolicy if system.has_policies else None
    if pol is None:
        return system.node.alloc_page(gfp)
    return alloc_page_mpol(system, pol, gfp, -1)


def alloc_page_mpol(system: "System", pol: MemPolicy, gfp: i64, ilx: int) -> Page | None:
    """A frame by a policy. ``ilx``: which page of the mapping, for interleaving; -1: the task's next turn. A policy
    none of whose nodes the task may use has no say."""
    if pol.mode != MPOL_LOCAL and not pol.nodes:
        return system.node.alloc_page(gfp)
    if pol.mode in (MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE):
        nid = interleave_node(system, pol, ilx)
        page = system.nodes[nid].alloc_page(gfp)
        if page is not None and system.node.zone_of(page.pfn).node_id == nid:
            system.node.zone_of(page.pfn).numa_interleave += 1
        return page
    if pol.mode == MPOL_PREFERRED:
        return system.nodes[first_node(pol.nodes)].alloc_page(gfp)
    node = system.nodes[pol.home_node] if pol.home_node >= 0 else system.node
    if pol.mode == MPOL_BIND and pol.nodes & mems_allowed(system, system.current):
        return node.alloc_pages_nodemask(gfp, 0, pol.nodes)
    if pol.mode == MPOL_PREFERRED_MANY:
        eager = (gfp | GFP_NOWARN) & ~(GFP_DIRECT_RECLAIM | GFP_NOFAIL)
        page = node.alloc_pages_nodemask(eager, 0, pol.nodes)
        if page is not None:
            return page
    return node.alloc_page(gfp)


def interleave_node(system: "System", pol: MemPolicy, ilx: int) -> int:
    """The node whose turn it is."""
    nodes = [nid for nid in range(pol.nodes.bit_length()) if pol.nodes >> nid & 1]
    if pol.mode == MPOL_WEIGHTED_INTERLEAVE:
        turns = [nid for nid in nodes for _ in range(system.node_weights[nid])]
    else:
        turns = nodes
    if ilx >= 0:
        return turns[ilx % len(turns)]
    current = system.current
    if pol.mode == MPOL_INTERLEAVE:
        nid = next_node_in(current.il_prev, pol.nodes)
        current.il_prev = nid
        return nid
    if current.il_weight <= 0 or not pol.nodes >> current.il_prev & 1:
        current.il_prev = next_node_in(current.il_prev, pol.nodes)
        current.il_weight = system.node_weights[current.il_prev]
    current.il_weight -= 1
    return current.il_prev
