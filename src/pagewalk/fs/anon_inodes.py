"""Files that have nothing but a descriptor: eventfd, epoll, timerfd, signalfd, inotify.

They share one inode without a type, whose attributes cannot be changed.

Mirrors: fs/anon_inodes.c (6.18)
Differs: each file has an inode object of its own, with the same number.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry, Mount
from pagewalk.fs.fcntl import ANON_INODE_FS_MAGIC
from pagewalk.fs.file import VfsFile
from pagewalk.fs.inode import Inode, SuperBlock
from pagewalk.fs.stat import Statfs

if TYPE_CHECKING:
    from pagewalk.mm.system import System

ANON_INODE_DEV: Final = (0, 15)


class AnonInodeFs(SuperBlock):
    """anon_inodefs."""

    def __init__(self) -> None:
        super().__init__(ANON_INODE_DEV, "anon_inodefs")
        self.noexec = True

    def statfs(self) -> Statfs:
        """anon_inodefs."""
        return self.simple_statfs(ANON_INODE_FS_MAGIC)


class AnonInode(Inode):
    """The inode of all of them."""

    def setattr_mode(self, mode: int) -> int:
        """EOPNOTSUPP."""
        return -errno.EOPNOTSUPP

    def setattr_owner(self, uid: int, gid: int) -> int:
        """EOPNOTSUPP."""
        return -errno.EOPNOTSUPP

    def setattr_times(self, atime: int, mtime: int) -> int:
        """EOPNOTSUPP."""
        return -errno.EOPNOTSUPP


def anon_inode_dentry(name: str) -> Dentry:
    """The name of a file that has nothing but one: ``anon_inode:[eventfd]``."""
    sb = AnonInodeFs()
    return Dentry(f"anon_inode:{name}", None, AnonInode(sb, 1037, 0o600), Mount(0, sb, "none", "rw", 0))


class AnonFile(VfsFile):
    """An open one. Seeking is allowed and does nothing; there are no positions to read or write at."""

    def __init__(self, system: "System", name: str, flags: int) -> None:
        super().__init__(system, anon_inode_dentry(name), flags)

    def lseek(self, offset: int, whence: int) -> int:
        """Stays at 0."""
        return 0

    def can_pread(self) -> bool:
        """No positions."""
        return False

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """ENODEV."""
        return -errno.ENODEV

    def can_splice(self) -> bool:
        """None of them can be spliced."""
        return False

    def can_poll(self) -> bool:
        """All of them can be polled."""
        return True
