"""/sys: what programs ask of CPUs, nodes, huge pages and KSM.

Mirrors: drivers/base/cpu.c, drivers/base/node.c, mm/huge_memory.c, mm/ksm.c (6.18)
Differs: nothing can be changed; huge pages and KSM are shown as they stand on a machine that does not use them.
"""

from typing import Final

from pagewalk.fs.procfs.array import cpu_list
from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.fs.procfs.lmk_params import add_parameters
from pagewalk.fs.procfs.sysctl import Constant
from pagewalk.fs.procfs.tree import TextSpec, Tree

_CONSTANTS: Final = (
    ("kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
    ("kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never"),
    ("kernel/mm/transparent_hugepage/shmem_enabled", "always within_size advise [never] deny force"),
    ("kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152"),
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
    ("devices/system/node/online", "0"),
    ("devices/system/node/possible", "0"),
    ("devices/system/node/has_cpu", "0"),
    ("devices/system/node/has_memory", "0"),
    ("devices/system/node/has_normal_memory", "0"),
    ("devices/system/node/node0/distance", "10"),
)


def _cpus(sb: ProcSuper) -> str:
    return cpu_list(sb.system.config.cpus) + "\n"


def _no_cpus(sb: ProcSuper) -> str:
    return "\n"


def _cpu_map(sb: ProcSuper) -> str:
    return f"{(1 << sb.system.config.cpus) - 1:x}\n"


def _kernel_max(sb: ProcSuper) -> str:
    return "63\n"


def sysfs_tree(lmk: str = "") -> Tree:
    """The tree below /sys; ``lmk``: the low memory killer that the machine has."""
    tree = Tree(4096)
    if lmk == "driver":
        add_parameters(tree)
    for name, make in (
        ("online", _cpus), ("possible", _cpus), ("present", _cpus), ("offline", _no_cpus), ("isolated", _no_cpus),
        ("kernel_max", _kernel_max),
    ):  # fmt: skip
        tree.add(f"devices/system/cpu/{name}", TextSpec(0o444, make))
    tree.add("devices/system/node/node0/cpulist", TextSpec(0o444, _cpus))
    tree.add("devices/system/node/node0/cpumap", TextSpec(0o444, _cpu_map))
    tree.add_dir("fs/cgroup")
    for path, value in _CONSTANTS:
        constant = Constant(value)
        tree.add(path, TextSpec(0o644 if path.startswith("kernel") else 0o444, constant.make, constant.store))
    return tree
