"""/sys/fs/cgroup: the tree of memory cgroups as directories, their settings and figures as files.

``mkdir`` makes a group, writing a process id to ``cgroup.procs`` moves the process, ``memory.max`` limits it.

Sources: Documentation/admin-guide/cgroup-v2.rst.

Mirrors: kernel/cgroup/cgroup.c (6.18)
Differs: the controllers of memory, which the root's groups have from the start, and of cpusets alone; no thread mode,
    no delegation; no pressure files but memory's; a move to another group takes the whole process.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import S_IFDIR, S_IFREG
from pagewalk.fs.file import VfsFile
from pagewalk.fs.inode import Inode
from pagewalk.fs.procfs.cpuset_files import CPUSET_FILES, CPUSET_ROOT_FILES, read_cpuset, write_cpuset
from pagewalk.fs.procfs.inodes import ProcDir, ProcInode, ProcSuper
from pagewalk.fs.procfs.memcg_files import MEMORY_FILES, ROOT_FILES, read_memory, write_memory
from pagewalk.fs.procfs.newer import newer_than
from pagewalk.fs.procfs.pressure import PressureFile
from pagewalk.mm.mem_cgroup import MemCgroup

if TYPE_CHECKING:
    from pagewalk.config import Config
    from pagewalk.kernel.task import Task

_CGROUP_FILES: Final = {
    "cgroup.controllers": 0o444, "cgroup.procs": 0o644, "cgroup.stat": 0o444, "cgroup.subtree_control": 0o644,
    "cgroup.threads": 0o644, "memory.pressure": 0o644,
}  # fmt: skip
_BELOW_THE_ROOT: Final = {"cgroup.events": 0o444, "cgroup.kill": 0o200, "cgroup.type": 0o444}


def files_of(group: MemCgroup, config: "Config") -> dict[str, int]:
    """The files of a group's directory with their modes, as the machine's release and architecture have them."""
    files = dict(_CGROUP_FILES)
    if group.parent is not None:
        files.update(_BELOW_THE_ROOT)
        if group.has_controller():
            files.update(MEMORY_FILES)
        if group.has_cpuset():
            files.update(CPUSET_FILES)
    else:
        files.update(ROOT_FILES)
        files.update(CPUSET_ROOT_FILES)
    missing = set(newer_than(config.linux))
    if config.arch in ("x86_32", "x86_pae", "riscv32"):  # without NUMA
        missing.add("memory.numa_stat")
    return {name: mode for name, mode in files.items() if name not in missing}


class CgroupDir(ProcDir):
    """The directory of a group."""

    def __init__(self, sb: ProcSuper, key: str, group: MemCgroup) -> None:
        super().__init__(sb, key, 0o755)
        self.group = group
        self.i_nlink = 2 + len(group.children)

    def is_same(self, other: Inode) -> bool:
        """The same group's: a later one may have the same name."""
        return isinstance(other, CgroupDir) and other.group is self.group

    def names(self) -> list[tuple[str, int]]:
        """The group's files, then the groups below."""
        if not self.group.online:
            return []
        listed = [(name, S_IFREG) for name in files_of(self.group, self.proc.system.config)]
        return listed + [(name, S_IFDIR) for name in self.group.children]

    def child(self, name: str) -> Inode | int:
        """A file, or a group below."""
        if not self.group.online:
            return -errno.ENODEV
        below = self.group.children.get(name)
        key = f"{self.key}/{name}"
        if below is not None:
            return CgroupDir(self.proc, key, below)
        mode = files_of(self.group, self.proc.system.config).get(name)
        return -errno.ENOENT if mode is None else CgroupFile(self.proc, key, self.group, name, mode)

    def mkdir(self, name: str, mode: int, uid: int, gid: int) -> int:
        """A new group."""
        if not self.group.online:
            return -errno.ENODEV
        if "\n" in name or name in files_of(self.group, self.proc.system.config):
            return -errno.EINVAL if "\n" in name else -errno.EEXIST
        return 0 if self.proc.system.memcg.create(self.group, name) is not None else -errno.ENOSPC

    def rmdir(self, name: str, inode: Inode) -> int:
        """Removes a group without processes and without groups below."""
        if not isinstance(inode, CgroupDir):
            return -errno.ENOTDIR
        group = inode.group
        if group.children or members(self.proc, group):
            return -errno.EBUSY
        self.proc.system.memcg.remove(group)
        return 0


class CgroupFile(ProcInode):
    """A file of a group."""

    def __init__(self, sb: ProcSuper, key: str, group: MemCgroup, name: str, mode: int) -> None:
        super().__init__(sb, key, S_IFREG | mode)
        self.group = group
        self.name = name

    def is_same(self, other: Inode) -> bool:
        """The same file of the same group."""
        return isinstance(other, CgroupFile) and other.group is self.group and other.name == self.name

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """A text; memory.pressure takes triggers."""
        if self.name == "memory.pressure" and self.group.online:
            psi = self.proc.system.psi if self.group.parent is None else self.group.psi
            return PressureFile(self.proc.system, dentry, flags, self, psi)
        return super().open(dentry, flags)

    def text(self) -> bytes | int:
        """What it says now."""
        if not self.group.online:
            return -errno.ENODEV
        if not self.i_mode & 0o444:
            return -errno.EINVAL  # root may open what there is nothing to read from
        return read_file(self.proc, self.group, self.name).encode()

    def store(self, data: bytes) -> int:
        """A setting, or a request."""
        if not self.group.online:
            return -errno.ENODEV
        failed = write_file(self.proc, self.group, self.name, data.strip().decode("utf-8", "replace"))
        return len(data) if failed == 0 else failed


# Reading.


def members(sb: ProcSuper, group: MemCgroup) -> "list[Task]":
    """The living processes of a group itself, by their leaders."""
    return [
        task for task in sb.kernel.tasks() if task.memcg == group.ident and task.is_leader() and task.signal.live > 0
    ]


def read_file(sb: ProcSuper, group: MemCgroup, name: str) -> str:
    """The text of a file."""
    if name == "cgroup.procs":
        return "".join(f"{task.pid}\n" for task in members(sb, group))
    if name == "cgroup.threads":
        return "".join(
            f"{task.pid}\n" for task in sb.kernel.tasks() if task.memcg == group.ident and not task.is_ended()
        )
    if name == "cgroup.controllers":
        return controllers(group.has_cpuset(), group.has_controller())
    if name == "cgroup.subtree_control":
        has_memory = group.subtree_control and group.has_controller()
        return controllers(group.subtree_cpuset and group.has_cpuset(), has_memory)
    if name == "cgroup.type":
        return "domain\n"
    if name == "cgroup.events":
        populated = any(members(sb, other) for other in group.subtree())
        return f"populated {int(populated)}\nfrozen 0\n"
    if name == "cgroup.stat":
        alive = len(group.subtree()) - 1
        dying = len(group.subtree_with_dying()) - 1 - alive
        return f"nr_descendants {alive}\nnr_dying_descendants {dying}\n"
    return read_cpuset(sb, group, name) if name.startswith("cpuset.") else read_memory(sb, group, name)


def controllers(cpuset: bool, memory: bool) -> str:
    """A list of controllers."""
    return " ".join([name for name, has in (("cpuset", cpuset), ("memory", memory)) if has]) + "\n"


# Writing.


def write_file(sb: ProcSuper, group: MemCgroup, name: str, text: str) -> int:
    """Writes a file: 0 or a negative errno."""
    if name == "cgroup.procs" or name == "cgroup.threads":
        return move_process(sb, group, text)
    if name == "cgroup.subtree_control":
        return set_subtree_control(sb, group, text.split())
    if name == "cgroup.kill":
        return kill_all(sb, group) if text == "1" else -errno.ERANGE
    if name.startswith("cpuset."):
        return write_cpuset(sb, group, name, text)
    return write_memory(sb, group, name, text)


def move_process(sb: ProcSuper, group: MemCgroup, text: str) -> int:
    """Moves a process (0: the one that writes) with all its threads; what it has touched stays where it was charged."""
    if not text.isdigit():
        return -errno.EINVAL
    task = sb.kernel.current_task() if text == "0" else sb.kernel.find_task(int(text))
    if task is None or task.signal.live == 0:
        return -errno.ESRCH
    shares = (group.subtree_control and group.has_controller()) or (group.subtree_cpuset and group.has_cpuset())
    if group.parent is not None and shares and not may_be_thread_root(sb, group):
        return -errno.EBUSY  # no processes beside groups that have controllers
    sb.kernel.memcg_attach(task, group)
    return 0


def set_subtree_control(sb: ProcSuper, group: MemCgroup, words: list[str]) -> int:
    """ "+memory", "-cpuset" and the like: whether the groups below count, or choose CPUs and nodes, for themselves. A
    group with processes cannot have groups that share out its memory."""
    for word in words:
        if word not in ("+memory", "-memory", "+cpuset", "-cpuset"):
            return -errno.EINVAL
        has = group.has_controller() if word.endswith("memory") else group.has_cpuset()
        if word.startswith("+") and not has:
            return -errno.ENOENT
        if word == "+memory" and group.parent is not None and members(sb, group):
            return -errno.EBUSY
        if word == "+cpuset" and group.parent is not None and members(sb, group) and not may_be_thread_root(sb, group):
            return -errno.EBUSY
        below = group.children.values()
        used = [child.subtree_control if word == "-memory" else child.subtree_cpuset for child in below]
        if word.startswith("-") and any(used):
            return -errno.EBUSY
    for word in words:
        if word.endswith("cpuset"):
            sb.kernel.update_cpuset(group, group.cpus, group.mems, word == "+cpuset")
            continue
        group.subtree_control = word == "+memory"
        if word == "-memory":
            sb.system.memcg.drain_all_stock(group)
    return 0


def may_be_thread_root(sb: ProcSuper, group: MemCgroup) -> bool:
    """cgroup_can_be_thread_root: it shares out no memory, and no group below has processes."""
    below = [other for child in group.children.values() for other in child.subtree()]
    return not (group.subtree_control and group.has_controller()) and not any(members(sb, other) for other in below)


def kill_all(sb: ProcSuper, group: MemCgroup) -> int:
    """SIGKILL for every process of the group and of those below."""
    for other in group.subtree():
        for task in members(sb, other):
            sb.kernel.kill_task(task)
    return 0
