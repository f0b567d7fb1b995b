"""/proc/PID: the directory of a process; /proc/PID/task/TID: that of a thread.

A process is there as long as its id is: alive, or a zombie that nobody has waited for. Whoever holds its directory or
one of its files longer finds nothing there (ESRCH).

Sources: proc_pid(5).

Mirrors: fs/proc/base.c, fs/proc/root.c (6.18)
Differs: no security modules, so the files of ``attr`` answer EINVAL.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry, d_path
from pagewalk.fs.fcntl import S_IFDIR, S_IFLNK, S_IFREG
from pagewalk.fs.file import VfsFile
from pagewalk.fs.inode import Inode
from pagewalk.fs.procfs.fd import FdDir, FdInfoDir
from pagewalk.fs.procfs.inodes import ProcDir, ProcInode, ProcSuper
from pagewalk.fs.procfs.map_files import MapFilesDir
from pagewalk.fs.procfs.mem import MemInode
from pagewalk.fs.procfs.net import net_tree
from pagewalk.fs.procfs.ns import NsDir
from pagewalk.fs.procfs.pagemap import PagemapInode
from pagewalk.fs.procfs.pid_stores import store_text
from pagewalk.fs.procfs.pid_texts import (
    PROCESS_TEXTS,
    READ_FREE,
    READ_LIVING,
    READ_TRACE,
    THREAD_TEXTS,
    PidTextSpec,
)
from pagewalk.fs.procfs.tasks import is_there, owner, ptrace_may_access, task_mm, thread_group
from pagewalk.fs.procfs.tree import TreeDir

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_LINKS: Final = ("cwd", "root", "exe")
_ATTRIBUTES: Final = (
    ("current", 0o666), ("prev", 0o444), ("exec", 0o666), ("fscreate", 0o666), ("keycreate", 0o666),
    ("sockcreate", 0o666),
)  # fmt: skip


class PidText(ProcInode):
    """A text about one task."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task", name: str, spec: PidTextSpec) -> None:
        super().__init__(sb, key, S_IFREG | spec.mode)
        self.task = task
        self.name = name
        self.spec = spec

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """Whoever may not look into the task does not get its memory open."""
        needs = self.spec.needs
        if needs == READ_LIVING and task_mm(self.task) is None:
            return -errno.ESRCH
        if needs != READ_FREE and needs != READ_TRACE and not ptrace_may_access(self.task):
            return -errno.EACCES
        if self.name.startswith("mount") and task_mm(self.task) is None:
            return -errno.EINVAL
        return ProcInode.open(self, dentry, flags)

    def text(self) -> bytes | int:
        """The text now."""
        if not is_there(self.task):
            return -errno.ESRCH
        if not self.spec.mode & 0o444:
            return -errno.EINVAL
        if self.spec.needs == READ_LIVING and task_mm(self.task) is None:
            return b""
        if self.spec.needs == READ_TRACE and not ptrace_may_access(self.task):
            return -errno.EPERM
        return self.spec.make(self.task)

    def store(self, data: bytes) -> int:
        """What the file takes."""
        return store_text(self.task, self.name, data) if is_there(self.task) else -errno.ESRCH


class AttrText(ProcInode):
    """A file of /proc/PID/attr: there is no security module that would answer."""

    def store(self, data: bytes) -> int:
        """EINVAL."""
        return -errno.EINVAL


class AttrDir(ProcDir):
    """/proc/PID/attr."""

    def names(self) -> list[tuple[str, int]]:
        """What security modules could answer."""
        return [(name, S_IFREG) for name, _ in _ATTRIBUTES]

    def child(self, name: str) -> Inode | int:
        """One of them."""
        for known, mode in _ATTRIBUTES:
            if known == name:
                return AttrText(self.proc, f"{self.key}/{name}", S_IFREG | mode)
        return -errno.ENOENT


class PidLink(ProcInode):
    """cwd, root, exe: links that lead to the place itself."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task", name: str) -> None:
        super().__init__(sb, key, S_IFLNK | 0o777)
        self.task = task
        self.name = name

    def _refused(self) -> int:
        """ENOENT where the task has ended, EACCES where it may not be looked into, else 0."""
        if task_mm(self.task) is None:
            return -errno.ENOENT if is_there(self.task) else -errno.ESRCH
        return 0 if ptrace_may_access(self.task) else -errno.EACCES

    def _place(self) -> Dentry | None:
        if self.name == "cwd":
            return self.task.fs.cwd
        if self.name == "root":
            return self.task.fs.root
        return None

    def readlink(self) -> str | int:
        """The path, with " (deleted)" where it is gone."""
        refused = self._refused()
        if refused < 0:
            return refused
        place = self._place()
        if place is not None:
            return d_path(place, self.task.fs.root)
        exe = self.task.mm.exe_file
        return -errno.ENOENT if exe is None else exe.path

    def get_link(self) -> Dentry | int | None:
        """The place."""
        refused = self._refused()
        if refused < 0:
            return refused
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
        self.texts = THREAD_TEXTS if thread else PROCESS_TEXTS
        self.i_uid, self.i_gid = owner(task, self.i_mode)
        self.i_nlink = 7 if thread else 9

    def is_same(self, other: Inode) -> bool:
        """The same task's: a later one may have the same id."""
        return isinstance(other, PidDir) and other.task is self.task and other.key == self.key

    def names(self) -> list[tuple[str, int]]:
        """What the task has; nothing once it is gone."""
        if not is_there(self.task):
            return []
        listed = [("fd", S_IFDIR), ("fdinfo", S_IFDIR), ("ns", S_IFDIR), ("net", S_IFDIR), ("attr", S_IFDIR)]
        if not self.thread:
            listed += [("task", S_IFDIR), ("map_files", S_IFDIR)]
        listed += [(name, S_IFREG) for name in self.texts]
        listed += [("mem", S_IFREG), ("pagemap", S_IFREG)]
        listed += [(name, S_IFLNK) for name in _LINKS]
        return listed

    def child(self, name: str) -> Inode | int:
        """One of its files."""
        if not is_there(self.task):
            return -errno.ESRCH
        made = self._make(name)
        if made is None:
            return -errno.ENOENT
        made.i_uid, made.i_gid = owner(self.task, made.i_mode)
        return made

    def _make(self, name: str) -> ProcInode | None:
        key = f"{self.key}/{name}"
        sb = self.proc
        task = self.task
        spec = self.texts.get(name)
        if spec is not None:
            return PidText(sb, key, task, name, spec)
        if name in _LINKS:
            return PidLink(sb, key, task, name)
        if name == "fd":
            return FdDir(sb, key, task)
        if name == "fdinfo":
            return FdInfoDir(sb, key, task)
        if name == "mem":
            return MemInode(sb, key, task)
        if name == "pagemap":
            return PagemapInode(sb, key, task)
        if name == "ns":
            return NsDir(sb, key, task)
        if name == "attr":
            return AttrDir(sb, key)
        if name == "net":
            return TreeDir(sb, key, net_tree(), "")
        if self.thread:
            return None
        if name == "task":
            return TaskDir(sb, key, task)
        return MapFilesDir(sb, key, task) if name == "map_files" else None


class TaskDir(ProcDir):
    """/proc/PID/task: the threads of the process."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task") -> None:
        super().__init__(sb, key, 0o555)
        self.task = task
        self.i_nlink = 2 + len(thread_group(task))

    def names(self) -> list[tuple[str, int]]:
        """The threads."""
        return [(str(thread.pid), S_IFDIR) for thread in thread_group(self.task)] if is_there(self.task) else []

    def child(self, name: str) -> Inode | int:
        """A thread."""
        for thread in thread_group(self.task):
            if name == str(thread.pid):
                return PidDir(self.proc, f"{self.key}/{name}", thread, thread=True)
        return -errno.ENOENT


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
