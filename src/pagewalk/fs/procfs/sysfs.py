"""/sys: what programs ask of CPUs, nodes, huge pages and KSM.

Mirrors: drivers/base/cpu.c, drivers/base/node.c, mm/huge_memory.c, mm/ksm.c (6.18)
Differs: of huge pages only whether they are enabled can be changed; the rest, and KSM, is shown as it stands on a
    machine that does not use it.
"""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pagewalk.fs.procfs.array import cpu_list
from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.fs.procfs.lmk_params import add_parameters
from pagewalk.fs.procfs.sysctl import Constant
from pagewalk.fs.procfs.thp_switch import add_thp_switch
from pagewalk.fs.procfs.tree import TextSpec, Tree
from pagewalk.fs.procfs.zswap_params import add_zswap
from pagewalk.mm.hugetlb import pool_files
from pagewalk.mm.node_texts import (
    node_cpulist,
    node_cpumap,
    node_distance,
    node_meminfo,
    node_numastat,
    node_vmstat,
    nodes_having_memory,
    nodes_having_normal_memory,
    nodes_online,
    nodes_with_cpu,
)
from pagewalk.mm.system import System

if TYPE_CHECKING:
    from pagewalk.config import Config

_CONSTANTS: Final = (
    ("kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never"),
    ("kernel/mm/transparent_hugepage/shmem_enabled", "always within_size advise [never] deny force"),
    ("kernel/mm/transparent_hugepage/use_zero_page", "1"),
    ("kernel/mm/transparent_hugepage/shrink_underused", "1"),
    ("kernel/mm/ksm/run", "0"),
    ("kernel/mm/ksm/sleep_millisecs", "20"),
    ("kernel/mm/ksm/pages_to_scan", "100"),
    ("kernel/mm/ksm/merge_across_nodes", "1"),
    ("kernel/mm/ksm/max_page_sharing", "256"),
    ("kernel/mm/ksm/use_zero_pages", "0"),
    ("kernel/mm/ksm/smart_scan", "1"),
    ("kernel/mm/ksm/pages_shared", "0"),
    ("kernel/mm/ksm/pages_sharing", "0"),
    ("kernel/mm/ksm/pages_unshared", "0"),
    ("kernel/mm/ksm/pages_volatile", "0"),
    ("kernel/mm/ksm/pages_scanned", "0"),
    ("kernel/mm/ksm/pages_skipped", "0"),
    ("kernel/mm/ksm/ksm_zero_pages", "0"),
    ("kernel/mm/ksm/full_scans", "0"),
    ("kernel/mm/ksm/general_profit", "0"),
    ("kernel/mm/ksm/stable_node_chains", "0"),
    ("kernel/mm/ksm/stable_node_dups", "0"),
    ("kernel/mm/ksm/stable_node_chains_prune_millisecs", "2000"),
    ("kernel/mm/swap/vma_ra_enabled", "true"),
)


def _cpus(sb: ProcSuper) -> str:
    return cpu_list(sb.system.config.cpus) + "\n"


def _no_cpus(sb: ProcSuper) -> str:
    return "\n"


def _hpage_pmd_size(sb: ProcSuper) -> str:
    return f"{int(sb.system.format.pmd_size)}\n"


def _kernel_max(sb: ProcSuper) -> str:
    return "63\n"


class NodeText:
    """A file of one node."""

    def __init__(self, nid: int, text: Callable[[System, int], str]) -> None:
        self.nid = nid
        self.text = text

    def make(self, sb: ProcSuper) -> str:
        """What it says."""
        return self.text(sb.system, self.nid)


class NodesText:
    """A file about all nodes."""

    def __init__(self, text: Callable[[System], str]) -> None:
        self.text = text

    def make(self, sb: ProcSuper) -> str:
        """What it says."""
        return self.text(sb.system)


class NodeWeight:
    """/sys/kernel/mm/mempolicy/weighted_interleave/nodeN: turns of a node, 1 to 255; nothing or 0 is the default."""

    def __init__(self, nid: int) -> None:
        self.nid = nid

    def make(self, sb: ProcSuper) -> str:
        """The weight."""
        return f"{sb.system.node_weights[self.nid]}\n"

    def store(self, sb: ProcSuper, data: bytes) -> int:
        """Sets it; -EINVAL for what is no such number."""
        text = data.decode("ascii", "replace").strip()
        if text and not (text.isdigit() and int(text) <= 255):
            return -errno.EINVAL
        sb.system.node_weights[self.nid] = int(text or "0") or 1
        return len(data)


def add_nodes(tree: Tree, nr_nodes: int) -> None:
    """/sys/devices/system/node, and the weights of weighted interleaving."""
    for name, about in (
        ("online", nodes_online), ("possible", nodes_online), ("has_cpu", nodes_with_cpu),
        ("has_memory", nodes_having_memory), ("has_normal_memory", nodes_having_normal_memory),
    ):  # fmt: skip
        tree.add(f"devices/system/node/{name}", TextSpec(0o444, NodesText(about).make))
    for nid in range(nr_nodes):
        for name, text in (
            ("cpulist", node_cpulist), ("cpumap", node_cpumap), ("distance", node_distance),
            ("meminfo", node_meminfo), ("numastat", node_numastat), ("vmstat", node_vmstat),
        ):  # fmt: skip
            tree.add(f"devices/system/node/node{nid}/{name}", TextSpec(0o444, NodeText(nid, text).make))
        weight = NodeWeight(nid)
        tree.add(f"kernel/mm/mempolicy/weighted_interleave/node{nid}", TextSpec(0o644, weight.make, weight.store))


def add_pools(tree: Tree, config: "Config", nr_nodes: int) -> Tree:
    """/sys/kernel/mm/hugepages, and the same of each node."""
    folders = ["kernel/mm/hugepages"]
    if config.arch not in ("x86_32", "x86_pae", "riscv32"):
        folders += [f"devices/system/node/node{nid}/hugepages" for nid in range(nr_nodes)]
    for folder in folders:
        for path, (mode, value) in pool_files(config, folder.startswith("devices")).items():
            constant = Constant(value)
            tree.add(f"{folder}/{path}", TextSpec(mode, constant.make, constant.store))
    return tree


def sysfs_tree(lmk: str = "", nr_nodes: int = 1, page_size: int = 4096) -> Tree:
    """The tree below /sys; ``lmk``: the low memory killer that the machine has; ``page_size`` in bytes."""
    tree = Tree(page_size)
    add_zswap(tree)
    add_thp_switch(tree)
    if lmk == "driver":
        add_parameters(tree)
    for name, make in (
        ("online", _cpus), ("possible", _cpus), ("present", _cpus), ("offline", _no_cpus), ("isolated", _no_cpus),
        ("kernel_max", _kernel_max),
    ):  # fmt: skip
        tree.add(f"devices/system/cpu/{name}", TextSpec(0o444, make))
    add_nodes(tree, nr_nodes)
    tree.add_dir("fs/cgroup")
    tree.add("kernel/mm/transparent_hugepage/hpage_pmd_size", TextSpec(0o444, _hpage_pmd_size))
    for path, value in _CONSTANTS:
        constant = Constant(value)
        tree.add(path, TextSpec(0o644 if path.startswith("kernel") else 0o444, constant.make, constant.store))
    return tree
