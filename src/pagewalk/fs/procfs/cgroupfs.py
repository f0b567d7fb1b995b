"""/sys/fs/cgroup: the tree of memory cgroups as directories, their settings and figures as files.

``mkdir`` makes a group, writing a process id to ``cgroup.procs`` moves the process, ``memory.max`` limits it.

Sources: Documentation/admin-guide/cgroup-v2.rst.

Mirrors: kernel/cgroup/cgroup.c, mm/memcontrol.c (memory_files) (6.18)
Differs: the memory controller alone, which the root's groups have from the start; no thread mode, no delegation, no
    pressure files of groups; a move to another group takes the whole process.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import S_IFDIR, S_IFREG
from pagewalk.fs.inode import Inode
from pagewalk.fs.procfs.inodes import ProcDir, ProcInode, ProcSuper
from pagewalk.mm.memcg_stat import memory_stat, memory_stat_text
from pagewalk.mm.memcontrol import EVENT_NAMES, PAGE_COUNTER_MAX, MemCgroup

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_CGROUP_FILES: Final = {
    "cgroup.controllers": 0o444, "cgroup.procs": 0o644, "cgroup.stat": 0o444, "cgroup.subtree_control": 0o644,
    "cgroup.threads": 0o644,
}  # fmt: skip
_BELOW_THE_ROOT: Final = {"cgroup.events": 0o444, "cgroup.kill": 0o200, "cgroup.type": 0o444}
_MEMORY_FILES: Final = {
    "memory.current": 0o444, "memory.peak": 0o444, "memory.min": 0o644, "memory.low": 0o644, "memory.high": 0o644,
    "memory.max": 0o644, "memory.events": 0o444, "memory.events.local": 0o444, "memory.stat": 0o444,
    "memory.oom.group": 0o644, "memory.reclaim": 0o200, "memory.swap.current": 0o444, "memory.swap.peak": 0o444,
    "memory.swap.high": 0o644, "memory.swap.max": 0o644, "memory.swap.events": 0o444,
}  # fmt: skip
_UNITS: Final = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}


def files_of(group: MemCgroup) -> dict[str, int]:
    """The files of a group's directory with their modes."""
    files = dict(_CGROUP_FILES)
    if group.parent is not None:
        files.update(_BELOW_THE_ROOT)
        if group.has_controller():
            files.update(_MEMORY_FILES)
    else:
        files["memory.stat"] = 0o444
        files["memory.reclaim"] = 0o200
    return files


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
        listed = [(name, S_IFREG) for name in files_of(self.group)]
        return listed + [(name, S_IFDIR) for name in self.group.children]

    def child(self, name: str) -> Inode | int:
        """A file, or a group below."""
        if not self.group.online:
            return -errno.ENODEV
        below = self.group.children.get(name)
        key = f"{self.key}/{name}"
        if below is not None:
            return CgroupDir(self.proc, key, below)
        mode = files_of(self.group).get(name)
        return -errno.ENOENT if mode is None else CgroupFile(self.proc, key, self.group, name, mode)

    def mkdir(self, name: str, mode: int, uid: int, gid: int) -> int:
        """A new group."""
        if not self.group.online:
            return -errno.ENODEV
        if "\n" in name or name in files_of(self.group):
            return -errno.EINVAL if "\n" in name else -errno.EEXIST
        self.proc.system.memcg.create(self.group, name)
        return 0

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

    def text(self) -> bytes | int:
        """What it says now."""
        if not self.group.online:
            return -errno.ENODEV
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


def shown(pages: int, page_size: int) -> str:
    """A limit, given in pages, in bytes, or "max"."""
    return "max" if pages >= PAGE_COUNTER_MAX else str(pages * page_size)


def read_file(sb: ProcSuper, group: MemCgroup, name: str) -> str:
    """The text of a file."""
    if name == "cgroup.procs":
        return "".join(f"{task.pid}\n" for task in members(sb, group))
    if name == "cgroup.threads":
        return "".join(
            f"{task.pid}\n" for task in sb.kernel.tasks() if task.memcg == group.ident and not task.is_ended()
        )
    if name == "cgroup.controllers":
        return "memory\n" if group.has_controller() else "\n"
    if name == "cgroup.subtree_control":
        return "memory\n" if group.subtree_control and group.has_controller() else "\n"
    if name == "cgroup.type":
        return "domain\n"
    if name == "cgroup.events":
        populated = any(members(sb, other) for other in group.subtree())
        return f"populated {int(populated)}\nfrozen 0\n"
    if name == "cgroup.stat":
        return f"nr_descendants {len(group.subtree()) - 1}\nnr_dying_descendants 0\n"
    return read_memory(sb, group, name)


def read_memory(sb: ProcSuper, group: MemCgroup, name: str) -> str:
    """The text of a file of the memory controller."""
    if name == "memory.stat":
        return memory_stat_text(memory_stat(sb.system, group, sb.kernel.memcg_faults(group)))
    if name == "memory.events" or name == "memory.events.local":
        counts = group.events if name == "memory.events" else group.events_local
        return "".join(f"{event} {count}\n" for event, count in zip(EVENT_NAMES, counts, strict=True))
    if name == "memory.swap.events":
        return f"high 0\nmax {group.swap_failcnt}\nfail {group.swap_failcnt}\n"
    if name == "memory.oom.group":
        return f"{int(group.oom_group)}\n"
    limits = {
        "memory.min": int(group.min), "memory.low": int(group.low), "memory.high": int(group.high),
        "memory.max": int(group.max), "memory.swap.high": int(group.swap_high), "memory.swap.max": int(group.swap_max),
    }  # fmt: skip
    if name in limits:
        return f"{shown(limits[name], int(sb.system.page_size))}\n"
    sizes = {
        "memory.current": int(group.usage), "memory.peak": int(group.watermark),
        "memory.swap.current": int(group.swap_usage), "memory.swap.peak": int(group.swap_watermark),
    }  # fmt: skip
    return f"{sizes[name] * int(sb.system.page_size)}\n"


# Writing.


def parse_limit(text: str, page_size: int) -> int:
    """page_counter_memparse: "max", or bytes with a suffix K, M, G, ..., in pages; or -EINVAL."""
    if text == "max":
        return PAGE_COUNTER_MAX
    unit = _UNITS.get(text[-1:].lower(), 0)
    digits = text[:-1] if unit else text
    base = 16 if digits.lower().startswith("0x") else 8 if len(digits) > 1 and digits.startswith("0") else 10
    digits = digits[2:] if base == 16 else digits
    if not digits or any(digit not in "0123456789abcdef"[:base] for digit in digits.lower()):
        return -errno.EINVAL
    return min((int(digits, base) << unit) // page_size, PAGE_COUNTER_MAX)


def write_file(sb: ProcSuper, group: MemCgroup, name: str, text: str) -> int:
    """Writes a file: 0 or a negative errno."""
    if name == "cgroup.procs" or name == "cgroup.threads":
        return move_process(sb, group, text)
    if name == "cgroup.subtree_control":
        return set_subtree_control(sb, group, text.split())
    if name == "cgroup.kill":
        return kill_all(sb, group) if text == "1" else -errno.ERANGE
    if name == "memory.oom.group":
        if text not in ("0", "1"):
            return -errno.EINVAL
        group.oom_group = text == "1"
        return 0
    size = text.split()[0] if name == "memory.reclaim" and text else text
    pages = parse_limit(size, int(sb.system.page_size))
    if pages < 0:
        return pages
    tree = sb.system.memcg
    if name == "memory.max":
        tree.set_max(group, pages)
    elif name == "memory.high":
        tree.set_high(group, pages)
    elif name == "memory.low":
        group.low = pages
    elif name == "memory.min":
        group.min = pages
    elif name == "memory.swap.max":
        group.swap_max = pages
    elif name == "memory.swap.high":
        group.swap_high = pages
    elif name == "memory.reclaim":
        return proactive_reclaim(sb, group, pages)
    else:
        return -errno.EINVAL
    return 0


def move_process(sb: ProcSuper, group: MemCgroup, text: str) -> int:
    """Moves a process (0: the one that writes) with all its threads; what it has touched stays where it was charged."""
    if not text.isdigit():
        return -errno.EINVAL
    task = sb.kernel.current_task() if text == "0" else sb.kernel.find_task(int(text))
    if task is None or task.signal.live == 0:
        return -errno.ESRCH
    if group.parent is not None and group.subtree_control and group.has_controller():
        return -errno.EBUSY  # no processes beside groups that have controllers
    for thread in task.signal.threads:
        thread.memcg = group.ident
    return 0


def set_subtree_control(sb: ProcSuper, group: MemCgroup, words: list[str]) -> int:
    """ "+memory" or "-memory": whether the groups below count for themselves."""
    for word in words:
        if word not in ("+memory", "-memory"):
            return -errno.EINVAL
        if word == "+memory" and not group.has_controller():
            return -errno.ENOENT
        if word == "+memory" and group.parent is not None and members(sb, group):
            return -errno.EBUSY
        if word == "-memory" and any(child.subtree_control for child in group.children.values()):
            return -errno.EBUSY
    for word in words:
        group.subtree_control = word == "+memory"
    return 0


def kill_all(sb: ProcSuper, group: MemCgroup) -> int:
    """SIGKILL for every process of the group and of those below."""
    for other in group.subtree():
        for task in members(sb, other):
            sb.kernel.kill_task(task)
    return 0


def proactive_reclaim(sb: ProcSuper, group: MemCgroup, pages: int) -> int:
    """memory.reclaim: -EAGAIN where less could be had than was asked for."""
    done = 0
    reclaim = sb.system.node.reclaim
    while done < pages:
        freed = int(reclaim.try_to_free_mem_cgroup_pages(group, min(pages - done, 256), 0))
        if freed <= 0:
            return -errno.EAGAIN
        done += freed
    return 0
