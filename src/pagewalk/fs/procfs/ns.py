"""/proc/PID/ns: the namespaces of a task, each a magic link to a file that stands for it.

Sources: namespaces(7).

Mirrors: fs/proc/namespaces.c, fs/nsfs.c (6.18)
Differs: every task is in the first namespace of each kind; no ioctl(2) on them.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry, Mount
from pagewalk.fs.fcntl import S_IFLNK, S_IFREG
from pagewalk.fs.file import VfsFile
from pagewalk.fs.inode import Inode, SuperBlock
from pagewalk.fs.procfs.inodes import ProcDir, ProcInode, ProcSuper
from pagewalk.fs.procfs.tasks import ptrace_may_access
from pagewalk.fs.stat import Statfs

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

NSFS_MAGIC: Final = 0x6E736673
NSFS_DEV: Final = (0, 4)

# (name of the link, kind of namespace, inode number of the first one: include/uapi/linux/nsfs.h)
NAMESPACES: Final = (
    ("net", "net", 4026531833),
    ("uts", "uts", 4026531838),
    ("ipc", "ipc", 4026531839),
    ("pid", "pid", 4026531836),
    ("pid_for_children", "pid", 4026531836),
    ("user", "user", 4026531837),
    ("mnt", "mnt", 4026531832),
    ("cgroup", "cgroup", 4026531835),
    ("time", "time", 4026531834),
    ("time_for_children", "time", 4026531834),
)


class NsFs(SuperBlock):
    """nsfs."""

    def __init__(self) -> None:
        super().__init__(NSFS_DEV, "nsfs")
        self.read_only = True

    def statfs(self) -> Statfs:
        """nsfs."""
        return self.simple_statfs(NSFS_MAGIC)


class NsInode(Inode):
    """A namespace as a file: nothing to read, but it can be held open."""

    def __init__(self, sb: ProcSuper, ino: int) -> None:
        super().__init__(NsFs(), ino, S_IFREG | 0o444)
        self.proc = sb

    def is_same(self, other: Inode) -> bool:
        """The same namespace."""
        return isinstance(other, NsInode) and other.i_ino == self.i_ino

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """A file without operations."""
        return VfsFile(self.proc.system, dentry, flags)


class NsLink(ProcInode):
    """/proc/PID/ns/NAME."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task", kind: str, ino: int) -> None:
        super().__init__(sb, key, S_IFLNK | 0o777)
        self.task = task
        self.kind = kind
        self.ns_ino = ino

    def readlink(self) -> str | int:
        """``pid:[4026531836]``."""
        return f"{self.kind}:[{self.ns_ino}]" if ptrace_may_access(self.task) else -errno.EACCES

    def get_link(self) -> Dentry | int | None:
        """The namespace."""
        if not ptrace_may_access(self.task):
            return -errno.EACCES
        inode = NsInode(self.proc, self.ns_ino)
        return Dentry(f"{self.kind}:[{self.ns_ino}]", None, inode, Mount(0, inode.i_sb, "nsfs", "rw", 0))


class NsDir(ProcDir):
    """/proc/PID/ns."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task") -> None:
        super().__init__(sb, key, 0o511)
        self.task = task

    def names(self) -> list[tuple[str, int]]:
        """One link for each kind."""
        return [(name, S_IFLNK) for name, _, _ in NAMESPACES]

    def child(self, name: str) -> Inode | int:
        """One of them."""
        for link, kind, ino in NAMESPACES:
            if link == name:
                return NsLink(self.proc, f"{self.key}/{name}", self.task, kind, ino)
        return -errno.ENOENT
