"""The kinds of files in /proc and /sys: texts made on reading, directories, links.

An inode is made at each look-up; ``key``, its path within the file system, says which file it is.

Mirrors: fs/proc/generic.c, fs/seq_file.c, fs/kernfs/file.c (6.18)
Differs: a read answers as much of the text as was asked for, not whole lines of one page.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import (
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    SEEK_CUR,
    SEEK_SET,
)
from pagewalk.fs.file import DirFile, VfsFile
from pagewalk.fs.inode import PROC_BLOCK_SIZE, Dirent, Inode, SuperBlock, current_time
from pagewalk.fs.procfs.registry import TaskRegistry
from pagewalk.fs.stat import Statfs
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE

if TYPE_CHECKING:
    from pagewalk.fs.namespace import Namespace
    from pagewalk.mm.system import System


class ProcSuper(SuperBlock):
    """procfs or sysfs of one machine.

    kernel, ns, system  what its texts are about
    magic               f_type of statfs(2)
    inos                inode numbers by key
    root                the root directory (set by who builds the tree)
    """

    def __init__(self, s_dev: tuple[int, int], fstype: str, magic: int, kernel: TaskRegistry, ns: "Namespace") -> None:
        super().__init__(s_dev, fstype)
        self.noexec = True
        self.s_blocksize = PROC_BLOCK_SIZE if fstype == "proc" else 4096
        self.kernel = kernel
        self.ns = ns
        self.system: System = ns.system
        self.magic = magic
        self.inos: dict[str, int] = {"": 1}
        self.made = current_time()
        self.boot_id = self.system.random.getrandbits(128)
        self.root: Inode | None = None

    def ino_of(self, key: str) -> int:
        """The inode number of a file, given at its first look-up."""
        ino = self.inos.get(key)
        if ino is None:
            ino = 4026531840 + len(self.inos)
            self.inos[key] = ino
        return ino

    def statfs(self) -> Statfs:
        """An empty file system."""
        return self.simple_statfs(self.magic)


class ProcInode(Inode):
    """A file of /proc or /sys."""

    def __init__(self, sb: ProcSuper, key: str, mode: int) -> None:
        super().__init__(sb, sb.ino_of(key), mode)
        self.proc = sb
        self.key = key
        self.i_atime = self.i_mtime = self.i_ctime = sb.made

    def is_same(self, other: Inode) -> bool:
        """The same file, though perhaps another object."""
        return isinstance(other, ProcInode) and other.key == self.key and other.proc is self.proc

    def text(self) -> bytes | int:
        """The contents now, or a negative errno."""
        return -errno.EINVAL

    def store(self, data: bytes) -> int:
        """A write: bytes taken, or a negative errno."""
        return -errno.EINVAL

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """A directory or a text."""
        if self.is_dir():
            return DirFile(self.proc.system, dentry, flags)
        return ProcFile(self.proc.system, dentry, flags, self)

    def setattr_mode(self, mode: int) -> int:
        """Kept as long as the inode is in use."""
        self.i_mode = self.i_mode & S_IFMT | mode
        return 0

    def truncate(self, length: int) -> int:
        """O_TRUNC on a file of /proc does nothing."""
        return 0

    def touch(self) -> None:
        """Times do not move."""


class ProcDir(ProcInode):
    """A directory with fixed entries, made by ``child``."""

    def __init__(self, sb: ProcSuper, key: str, mode: int = 0o555) -> None:
        super().__init__(sb, key, S_IFDIR | mode)
        self.i_nlink = 2

    def names(self) -> list[tuple[str, int]]:
        """(name, file type S_IF*) of its entries in order."""
        return []

    def child(self, name: str) -> Inode | int:
        """The entry ``name``, or -ENOENT."""
        return -errno.ENOENT

    def lookup(self, name: str) -> Inode | int:
        """The entry."""
        return self.child(name)

    def readdir(self, pos: int) -> list[Dirent] | int:
        """Entries by their place in the list, from 2 on."""
        listed: list[Dirent] = []
        for at, (name, kind) in enumerate(self.names(), 2):
            if at >= pos:
                listed.append(Dirent(name, self.proc.ino_of(f"{self.key}/{name}"), kind >> 12, at + 1))
        return listed


class ProcLink(ProcInode):
    """A link with a fixed text."""

    def __init__(self, sb: ProcSuper, key: str, target: str) -> None:
        super().__init__(sb, key, S_IFLNK | 0o777)
        self.target = target

    def readlink(self) -> str | int:
        """The text."""
        return self.target


class FixedText(ProcInode):
    """A file whose text was made with the tree."""

    def __init__(self, sb: ProcSuper, key: str, contents: str, mode: int = 0o444) -> None:
        super().__init__(sb, key, S_IFREG | mode)
        self.contents = contents

    def text(self) -> bytes | int:
        """The text."""
        return self.contents.encode("utf-8", "surrogateescape")


_UNREAD: Final = b""


class ProcFile(VfsFile):
    """An open text: made anew whenever it is read from its start."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, inode: ProcInode) -> None:
        super().__init__(system, dentry, flags)
        self.proc_inode = inode
        self.cached = _UNREAD
        self.filled = False

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """Reads the text."""
        if not self.f_mode & FMODE_READ:
            return -errno.EBADF
        at = int(self.f_pos) if pos == -1 else pos
        if not self.filled or at == 0:
            made = self.proc_inode.text()
            if isinstance(made, int):
                return made
            self.cached = made
            self.filled = True
        data = self.cached[at : at + count]
        if pos == -1:
            self.f_pos = at + len(data)
        return data

    def write(self, data: bytes, pos: int = -1) -> int:
        """Hands it to the file."""
        if not self.f_mode & FMODE_WRITE:
            return -errno.EBADF
        done = self.proc_inode.store(data)
        if done > 0 and pos == -1:
            self.f_pos += done
        return done

    def lseek(self, offset: int, whence: int) -> int:
        """seq_lseek: the end of a text is not known."""
        if whence == SEEK_CUR:
            offset += int(self.f_pos)
        elif whence != SEEK_SET:
            return -errno.EINVAL
        if offset < 0:
            return -errno.EINVAL
        self.f_pos = offset
        return offset

    def ftruncate(self, length: int) -> int:
        """A file of /proc has no length."""
        return -errno.EINVAL if not self.f_mode & FMODE_WRITE else 0
