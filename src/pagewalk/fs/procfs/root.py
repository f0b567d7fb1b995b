"""/proc itself: the tasks' directories and the machine's files; mounting both file systems.

Mirrors: fs/proc/root.c (6.18)
Differs: one instance.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.fcntl import CGROUP2_SUPER_MAGIC, PROC_SUPER_MAGIC, S_IFDIR, S_IFLNK, S_IFREG, SYSFS_MAGIC
from pagewalk.fs.inode import Inode
from pagewalk.fs.procfs.base import PidDir, SelfLink
from pagewalk.fs.procfs.cgroupfs import CgroupDir
from pagewalk.fs.procfs.inodes import ProcDir, ProcLink, ProcSuper
from pagewalk.fs.procfs.machine_texts import MACHINE_TEXTS, machine_trees
from pagewalk.fs.procfs.newer import as_of
from pagewalk.fs.procfs.page import FRAME_TABLES, FrameTable
from pagewalk.fs.procfs.registry import TaskRegistry
from pagewalk.fs.procfs.sysctl import sysctl_tree
from pagewalk.fs.procfs.sysfs import add_pools, sysfs_tree
from pagewalk.fs.procfs.system_texts import SYSTEM_TEXTS
from pagewalk.fs.procfs.tree import TextSpec, TreeDir, TreeText

if TYPE_CHECKING:
    from pagewalk.fs.namespace import Namespace


class ProcRoot(ProcDir):
    """/proc."""

    def __init__(self, sb: ProcSuper) -> None:
        super().__init__(sb, "", 0o555)
        self.sysctls = as_of(sysctl_tree(), sb.system.config.linux)
        self.trees = machine_trees()
        self.texts: dict[str, TextSpec] = {name: TextSpec(0o444, make) for name, make in SYSTEM_TEXTS.items()}
        for name, (mode, make) in MACHINE_TEXTS.items():
            self.texts[name] = TextSpec(mode, make)

    def names(self) -> list[tuple[str, int]]:
        """The machine's files, then the tasks."""
        listed = [(name, S_IFREG) for name in self.texts]
        listed += [(name, S_IFREG) for name in FRAME_TABLES]
        listed += [("sys", S_IFDIR)] + [(name, S_IFDIR) for name in self.trees]
        listed += [("mounts", S_IFLNK), ("net", S_IFLNK), ("self", S_IFLNK), ("thread-self", S_IFLNK)]
        return listed + [(str(task.pid), S_IFDIR) for task in self.proc.kernel.tasks() if task.pid == task.tgid]

    def child(self, name: str) -> Inode | int:
        """One of them."""
        key = f"/{name}"
        spec = self.texts.get(name)
        if spec is not None:
            return TreeText(self.proc, key, spec, 0)
        if name == "self" or name == "thread-self":
            return SelfLink(self.proc, key, thread=name == "thread-self")
        if name == "mounts" or name == "net":
            return ProcLink(self.proc, key, f"self/{name}")
        if name == "sys":
            return TreeDir(self.proc, key, self.sysctls, "")
        tree = self.trees.get(name)
        if tree is not None:
            return TreeDir(self.proc, key, tree, "")
        if name in FRAME_TABLES:
            return FrameTable(self.proc, key, FRAME_TABLES[name])
        if name.isascii() and name.isdigit() and (name == "0" or name[0] != "0"):
            task = self.proc.kernel.find_task(int(name))
            if task is not None:  # a thread's directory is not listed, yet it can be entered
                return PidDir(self.proc, key, task, thread=False)
        return -errno.ENOENT


def attach(ns: "Namespace", kernel: TaskRegistry) -> ProcSuper:
    """Mounts /proc and /sys of the machine whose tasks ``kernel`` has; the /proc."""
    proc = ProcSuper(ns.anon_dev(), "proc", PROC_SUPER_MAGIC, kernel, ns)
    proc_root = ProcRoot(proc)
    proc.root = proc_root
    ns.mount("/proc", proc, proc_root, "proc", "rw,relatime")
    sysfs = ProcSuper(ns.anon_dev(), "sysfs", SYSFS_MAGIC, kernel, ns)
    config, nr_nodes = ns.system.config, len(ns.system.nodes)
    tree = sysfs_tree(config.lmk, nr_nodes, int(ns.system.page_size))
    tree = as_of(add_pools(tree, config, nr_nodes), config.linux)
    ns.mount("/sys", sysfs, TreeDir(sysfs, "", tree, ""), "sysfs", "rw,relatime")
    cgroups = ProcSuper(ns.anon_dev(), "cgroup2", CGROUP2_SUPER_MAGIC, kernel, ns)
    ns.mount("/sys/fs/cgroup", cgroups, CgroupDir(cgroups, "", ns.system.memcg.root), "cgroup2", "rw,relatime")
    return proc
