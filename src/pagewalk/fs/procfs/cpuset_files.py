"""The files of a cgroup's cpuset: cpuset.cpus, cpuset.mems, and what is effective of them.

Sources: Documentation/admin-guide/cgroup-v2.rst, "Cpuset Interface Files".

Mirrors: kernel/cgroup/cpuset.c (dfl_files, cpuset_write_resmask) (6.18)
Differs: no cpuset.cpus.partition, .exclusive and .isolated.
"""

import errno
from typing import Final

from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.mm.cpuset import effective_cpus, effective_mems, parse_list
from pagewalk.mm.mem_cgroup import MemCgroup
from pagewalk.mm.mempolicy import max_numnodes, node_list, nodes_with_memory

CPUSET_FILES: Final = {
    "cpuset.cpus": 0o644, "cpuset.mems": 0o644, "cpuset.cpus.effective": 0o444, "cpuset.mems.effective": 0o444,
}  # fmt: skip
CPUSET_ROOT_FILES: Final = {"cpuset.cpus.effective": 0o444, "cpuset.mems.effective": 0o444}


def read_cpuset(sb: ProcSuper, group: MemCgroup, name: str) -> str:
    """The text of a file of a cpuset."""
    masks = {
        "cpuset.cpus": group.cpus, "cpuset.mems": group.mems,
        "cpuset.cpus.effective": effective_cpus(sb.system, group),
        "cpuset.mems.effective": effective_mems(sb.system, group),
    }  # fmt: skip
    return f"{node_list(masks[name])}\n"


def write_cpuset(sb: ProcSuper, group: MemCgroup, name: str, text: str) -> int:
    """Writes cpuset.cpus or cpuset.mems: 0, -EINVAL (no list, a node without memory) or -ERANGE (a number beyond what
    the kernel counts)."""
    if name not in ("cpuset.cpus", "cpuset.mems"):
        return -errno.EINVAL
    of_cpus = name == "cpuset.cpus"
    config = sb.system.config
    mask = parse_list(text, config.cpus if of_cpus else max_numnodes(config.arch))
    if mask < 0:
        return mask
    if of_cpus:
        sb.kernel.update_cpuset(group, mask, group.mems)
    elif mask & ~nodes_with_memory(sb.system):
        return -errno.EINVAL
    else:
        sb.kernel.update_cpuset(group, group.cpus, mask)
    return 0
