"""/proc/PID/fd and /proc/PID/fdinfo.

Mirrors: fs/proc/fd.c (6.18)
Differs: nothing.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import O_CLOEXEC, S_IFLNK, S_IFREG
from pagewalk.fs.file import VfsFile
from pagewalk.fs.inode import Inode
from pagewalk.fs.procfs.inodes import ProcDir, ProcInode, ProcSuper
from pagewalk.fs.procfs.tasks import ptrace_may_access
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


def _number(name: str) -> int:
    """The descriptor that a name means; -1 where it is no plain number."""
    if not name.isascii() or not name.isdigit() or (len(name) > 1 and name[0] == "0"):
        return -1
    return int(name)


def fds_of(task: "Task") -> list[int]:
    """The open descriptors of a task; none once it has ended, or where the reader may not look into it."""
    return task.files.fds() if task.exit_code is None and ptrace_may_access(task) else []


class FdLink(ProcInode):
    """/proc/PID/fd/N: a magic link to the open file itself. Its r and w bits tell how that is open."""

    def __init__(self, sb: ProcSuper, key: str, file: VfsFile) -> None:
        mode = S_IFLNK
        if file.f_mode & FMODE_READ:
            mode |= 0o500
        if file.f_mode & FMODE_WRITE:
            mode |= 0o300
        super().__init__(sb, key, mode)
        self.file = file

    def size(self) -> int:
        """64, as Linux shows it."""
        return 64

    def readlink(self) -> str | int:
        """The open file's path."""
        return self.file.path

    def get_link(self) -> Dentry | int | None:
        """The open file's dentry."""
        return self.file.dentry


class FdDir(ProcDir):
    """/proc/PID/fd."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task") -> None:
        super().__init__(sb, key, 0o500)
        self.task = task

    def size(self) -> int:
        """The number of open descriptors."""
        return len(fds_of(self.task))

    def names(self) -> list[tuple[str, int]]:
        """One link for each descriptor."""
        return [(str(fd), S_IFLNK) for fd in fds_of(self.task)]

    def child(self, name: str) -> Inode | int:
        """The link of a descriptor."""
        fd = _number(name)
        file = self.task.files.get_raw(fd) if fd in fds_of(self.task) else None
        return -errno.ENOENT if file is None else FdLink(self.proc, f"{self.key}/{name}", file)


class FdInfoDir(ProcDir):
    """/proc/PID/fdinfo."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task") -> None:
        super().__init__(sb, key, 0o555)
        self.task = task

    def names(self) -> list[tuple[str, int]]:
        """One text for each descriptor."""
        return [(str(fd), S_IFREG) for fd in fds_of(self.task)]

    def child(self, name: str) -> Inode | int:
        """The text of a descriptor."""
        fd = _number(name)
        if fd not in fds_of(self.task):
            return -errno.ENOENT
        return FdInfo(self.proc, f"{self.key}/{name}", self.task, fd)


class FdInfo(ProcInode):
    """/proc/PID/fdinfo/N."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task", fd: int) -> None:
        super().__init__(sb, key, S_IFREG | 0o444)
        self.task = task
        self.fd = fd

    def text(self) -> bytes | int:
        """Position, flags, mount, inode, and what the file adds."""
        file = self.task.files.get_raw(self.fd)
        if file is None:
            return -errno.ENOENT
        flags = self.task.kernel.abi.open_flags(file.f_flags & ~O_CLOEXEC)
        if self.task.files.cloexec(self.fd):
            flags |= O_CLOEXEC
        return (
            f"pos:\t{file.f_pos}\nflags:\t0{flags:o}\nmnt_id:\t{file.dentry.mnt.mnt_id}\nino:\t{file.st_ino}\n"
            + file.fdinfo()
        ).encode()
