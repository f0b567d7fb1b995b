"""/proc/PID: the directory of a task.

Mirrors: fs/proc/base.c, fs/proc/root.c (6.18)
Differs: what is not listed here does not exist (ns, net, attr, map_files, ...).
"""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry, d_path
from pagewalk.fs.fcntl import S_IFDIR, S_IFLNK, S_IFREG
from pagewalk.fs.file import VfsFile
from pagewalk.fs.inode import Inode
from pagewalk.fs.procfs.array import limits_text, stat_text, status_text
from pagewalk.fs.procfs.fd import FdDir, FdInfoDir
from pagewalk.fs.procfs.inodes import ProcDir, ProcInode, ProcSuper
from pagewalk.fs.procfs.mem import MemInode, cmdline, environ
from pagewalk.fs.procfs.pagemap import PagemapInode
from pagewalk.fs.procfs.task_mmu import maps_text, smaps_rollup_text, smaps_text, statm_text
from pagewalk.mm.mm_types import MM_SWAPENTS

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


def _environ(task: "Task") -> bytes:
    return environ(task.mm)


def _cmdline(task: "Task") -> bytes:
    return cmdline(task.mm)


def _auxv(task: "Task") -> bytes:
    """Up to AT_NULL, which is there too; what is behind it is not shown."""
    auxv = task.mm.saved_auxv
    end = next((at for at in range(0, len(auxv), 16) if auxv[at : at + 8] == bytes(8)), len(auxv))
    return auxv[: end + 16]


def _maps(task: "Task") -> bytes:
    return maps_text(task.mm).encode("utf-8", "surrogateescape")


def _smaps(task: "Task") -> bytes:
    return smaps_text(task.mm).encode("utf-8", "surrogateescape")


def _smaps_rollup(task: "Task") -> bytes:
    return smaps_rollup_text(task.mm).encode()


def _statm(task: "Task") -> bytes:
    return statm_text(task.mm).encode()


def _stat(task: "Task") -> bytes:
    return stat_text(task).encode("utf-8", "surrogateescape")


def _status(task: "Task") -> bytes:
    return status_text(task).encode("utf-8", "surrogateescape")


def _limits(task: "Task") -> bytes:
    return limits_text(task).encode()


def _comm(task: "Task") -> bytes:
    return task.comm.encode("utf-8", "surrogateescape") + b"\n"


def _personality(task: "Task") -> bytes:
    return f"{task.personality & 0xFFFFFFFF:08x}\n".encode()


def _wchan(task: "Task") -> bytes:
    return b"0"


def _cgroup(task: "Task") -> bytes:
    return b"0::/\n"


def _mounts(task: "Task") -> bytes:
    return task.fs.ns.mounts_text(task.fs.root).encode("utf-8", "surrogateescape")


def _mountinfo(task: "Task") -> bytes:
    return task.fs.ns.mountinfo_text(task.fs.root).encode("utf-8", "surrogateescape")


def oom_score(task: "Task") -> int:
    """The score of the OOM killer as /proc shows it: 0 to about 1333, 667 for a task that uses nothing."""
    total = task.mm.system.totalram_pages
    adj = task.oom_score_adj
    if adj == -1000:
        return 0
    points = task.mm.get_mm_rss() + task.mm.rss_stat[MM_SWAPENTS] + task.mm.pgtables_bytes() // 4096
    points += adj * (total // 1000)
    scaled = points * 1000
    share = scaled // total if scaled >= 0 else -(-scaled // total)
    return (1000 + share) * 2 // 3


def _oom_score(task: "Task") -> bytes:
    return f"{oom_score(task)}\n".encode()


def _oom_score_adj(task: "Task") -> bytes:
    return f"{task.oom_score_adj}\n".encode()


def _oom_adj(task: "Task") -> bytes:
    adj = task.oom_score_adj
    if adj == 1000:
        return b"15\n"
    scaled = abs(adj) * 17 // 1000
    return f"{scaled if adj >= 0 else -scaled}\n".encode()


def _uid_map(task: "Task") -> bytes:
    return b"%10d %10d %10d\n" % (0, 0, 0xFFFFFFFF)


# name: (permission bits, what it says)
_TEXTS: "Final[dict[str, tuple[int, Callable[[Task], bytes]]]]" = {
    "environ": (0o400, _environ),
    "auxv": (0o400, _auxv),
    "status": (0o444, _status),
    "personality": (0o400, _personality),
    "limits": (0o444, _limits),
    "comm": (0o644, _comm),
    "cmdline": (0o444, _cmdline),
    "stat": (0o444, _stat),
    "statm": (0o444, _statm),
    "maps": (0o444, _maps),
    "mounts": (0o444, _mounts),
    "mountinfo": (0o444, _mountinfo),
    "smaps": (0o444, _smaps),
    "smaps_rollup": (0o444, _smaps_rollup),
    "wchan": (0o444, _wchan),
    "cgroup": (0o444, _cgroup),
    "oom_score": (0o444, _oom_score),
    "oom_adj": (0o644, _oom_adj),
    "oom_score_adj": (0o644, _oom_score_adj),
    "uid_map": (0o644, _uid_map),
    "gid_map": (0o644, _uid_map),
}

_LINKS: Final = ("cwd", "root", "exe")


class PidText(ProcInode):
    """A text about one task."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task", name: str) -> None:
        mode, make = _TEXTS[name]
        super().__init__(sb, key, S_IFREG | mode)
        self.task = task
        self.name = name
        self.make = make
        self.i_uid = task.euid
        self.i_gid = task.egid

    def text(self) -> bytes | int:
        """The text; ESRCH for the memory of a task that has ended."""
        if self.task.exit_code is not None and self.name in ("maps", "smaps", "smaps_rollup"):
            return -errno.ESRCH
        return self.make(self.task)

    def store(self, data: bytes) -> int:
        """comm and the oom files can be written."""
        if self.name == "comm":
            name = data.split(b"\n")[0].split(b"\0")[0]
            self.task.comm = name[:15].decode("utf-8", "surrogateescape")
            return len(data)
        if self.name not in ("oom_score_adj", "oom_adj"):
            return -errno.EINVAL
        try:
            value = int(data.strip(b" \n\t\0"))
        except ValueError:
            return -errno.EINVAL
        if self.name == "oom_adj":
            if not (-16 <= value <= 15 or value == -17):
                return -errno.EINVAL
            value = 1000 if value == 15 else value * 1000 // 17 if value >= 0 else -(-value * 1000 // 17)
        if not -1000 <= value <= 1000:
            return -errno.EINVAL
        if value < self.task.oom_score_adj and not self.task.capable:
            return -errno.EACCES
        self.task.oom_score_adj = value
        return len(data)


class PidLink(ProcInode):
    """cwd, root, exe: links that lead to the place itself."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task", name: str) -> None:
        super().__init__(sb, key, S_IFLNK | 0o777)
        self.task = task
        self.name = name

    def _place(self) -> Dentry | None:
        if self.name == "cwd":
            return self.task.fs.cwd
        if self.name == "root":
            return self.task.fs.root
        return None

    def readlink(self) -> str | int:
        """The path, with " (deleted)" where it is gone."""
        place = self._place()
        if place is not None:
            return d_path(place, self.task.fs.root)
        exe = self.task.mm.exe_file
        return -errno.ENOENT if exe is None else exe.path

    def get_link(self) -> Dentry | int | None:
        """The place."""
        place = self._place()
        if place is not None:
            return place
        exe = self.task.mm.exe_file
        return -errno.ENOENT if exe is None else exe_dentry(exe)


def exe_dentry(exe: object) -> Dentry | int:
    """The name of a program's file."""
    return exe.dentry if isinstance(exe, VfsFile) else -errno.ENOENT


class PidDir(ProcDir):
    """/proc/PID; and /proc/PID/task/TID, which has no task of its own."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task", *, thread: bool) -> None:
        super().__init__(sb, key, 0o555)
        self.task = task
        self.thread = thread
        self.i_uid = task.euid
        self.i_gid = task.egid
        self.i_nlink = 7 if thread else 9

    def names(self) -> list[tuple[str, int]]:
        """What is modelled."""
        listed = [] if self.thread else [("task", S_IFDIR)]
        listed += [("fd", S_IFDIR), ("fdinfo", S_IFDIR)]
        listed += [(name, S_IFREG) for name in _TEXTS]
        listed += [("mem", S_IFREG), ("pagemap", S_IFREG)]
        listed += [(name, S_IFLNK) for name in _LINKS]
        return listed

    def child(self, name: str) -> Inode | int:
        """One of its files."""
        key = f"{self.key}/{name}"
        sb = self.proc
        task = self.task
        made: ProcInode
        if name in _TEXTS:
            return PidText(sb, key, task, name)
        if name in _LINKS:
            made = PidLink(sb, key, task, name)
        elif name == "fd":
            made = FdDir(sb, key, task)
        elif name == "fdinfo":
            made = FdInfoDir(sb, key, task)
        elif name == "mem":
            made = MemInode(sb, key, task)
        elif name == "pagemap":
            made = PagemapInode(sb, key, task)
        elif name == "task" and not self.thread:
            made = TaskDir(sb, key, task)
        else:
            return -errno.ENOENT
        made.i_uid = task.euid
        made.i_gid = task.egid
        return made


class TaskDir(ProcDir):
    """/proc/PID/task: one thread."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task") -> None:
        super().__init__(sb, key, 0o555)
        self.task = task
        self.i_nlink = 3

    def names(self) -> list[tuple[str, int]]:
        """The threads."""
        return [(str(self.task.pid), S_IFDIR)]

    def child(self, name: str) -> Inode | int:
        """A thread."""
        if name != str(self.task.pid):
            return -errno.ENOENT
        return PidDir(self.proc, f"{self.key}/{name}", self.task, thread=True)


class SelfLink(ProcInode):
    """/proc/self and /proc/thread-self."""

    def __init__(self, sb: ProcSuper, key: str, *, thread: bool) -> None:
        super().__init__(sb, key, S_IFLNK | 0o777)
        self.thread = thread

    def readlink(self) -> str | int:
        """The id of the task that asks."""
        task = self.proc.kernel.current_task()
        if task is None:
            return -errno.ENOENT
        return f"{task.tgid}/task/{task.pid}" if self.thread else str(task.tgid)
