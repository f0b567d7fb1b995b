"""The base of every file system: an inode, and what it answers where a file system does not have an operation.

A file system subclasses ``SuperBlock`` and ``Inode``. Permission, mount flags and the meaning of a path are the
business of the callers (``namei.py``, ``open.py``); an inode is only asked for what it can do.

Mirrors: include/linux/fs.h struct inode, struct super_block, fs/inode.c, fs/bad_inode.c (6.18)
Differs: no inode cache of its own: each file system keeps what it needs.
"""

import errno
import time
from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK
from pagewalk.fs.fsnotify import inode_gone
from pagewalk.fs.stat import Stat, Statfs
from pagewalk.mm.slab import KmemCache, SlabCaches

if TYPE_CHECKING:
    from pagewalk.fs.dcache import Dentry
    from pagewalk.fs.file import VfsFile
    from pagewalk.fs.fsnotify import Mark
    from pagewalk.fs.locks import FileLockContext
    from pagewalk.fs.pipe_buffer import Pipe
    from pagewalk.fs.unix_sock import UnixSock


def current_time() -> int:
    """Now, in nanoseconds since 1970, at the granularity of a file system's clock."""
    return time.time_ns()


class InodeNumbers:
    """A source of inode numbers: first, first + 1, ..."""

    def __init__(self, first: int) -> None:
        self._next = first

    def next(self) -> int:
        """A number that was not given before."""
        number = self._next
        self._next += 1
        return number


class Dirent:
    """One entry of a directory. ``d_off`` is the position of the next one (lseek(2) goes on from there)."""

    def __init__(self, name: str, d_ino: int, d_type: int, d_off: int) -> None:
        self.name = name
        self.d_ino = d_ino
        self.d_type = d_type
        self.d_off = d_off


PROC_BLOCK_SIZE: Final = 1024  # st_blksize of files in /proc


class SuperBlock:
    """A mounted file system.

    s_dev       (major, minor)
    fstype      its name in /proc/mounts
    read_only   every change answers EROFS
    noexec      nothing on it can be executed or mapped so (SB_I_NOEXEC)
    s_blocksize st_blksize of its files: a page; 1024 in /proc; the host's files have their own
    slab        the machine's slab caches, None while it belongs to no machine; inodes: the one of its inodes
    """

    def __init__(self, s_dev: tuple[int, int], fstype: str) -> None:
        self.s_dev = s_dev
        self.fstype = fstype
        self.read_only = False
        self.noexec = False
        self.slab: SlabCaches | None = None
        self.inodes: KmemCache | None = None
        self.s_blocksize = 4096

    def belongs_to(self, slab: SlabCaches) -> None:
        """A machine uses it: its dentries and inodes are counted there from now on."""
        if self.slab is None:
            self.slab = slab
            self.inodes = slab.inodes_of(self.fstype)
            if self.s_blocksize != PROC_BLOCK_SIZE:
                self.s_blocksize = slab.page_size

    def statfs(self) -> Statfs:
        """statfs(2) of the file system."""
        return self.simple_statfs(0)

    def simple_statfs(self, f_type: int) -> Statfs:
        """Of a file system without blocks: its unit is the page, or what was told it."""
        sf = Statfs(f_type)
        if self.slab is not None:
            sf.f_bsize = sf.f_frsize = self.slab.page_size
        return sf

    def sync(self) -> int:
        """Writes everything dirty to the backing store; 0 or a negative errno."""
        return 0

    def close(self) -> None:
        """The machine is closed: gives back what belongs to the host."""


class Inode:
    """struct inode. Attributes are those of ``Stat``; a file system may override ``getattr`` to answer fresh ones.

    i_mode     type and permission bits
    i_count    users: held dentries, and open files without a name
    i_pipe     a FIFO's bytes while it is open; i_socket: who is bound to a socket file
    i_flctx    locks, None while there were none; i_marks: who watches it (inotify)
    """

    def __init__(self, sb: SuperBlock, ino: int, mode: int) -> None:
        self.i_sb = sb
        self.i_ino = ino
        self.i_mode = mode
        self.i_nlink = 1
        self.i_uid = 0
        self.i_gid = 0
        self.i_rdev: tuple[int, int] = (0, 0)
        self.i_atime = 0
        self.i_mtime = 0
        self.i_ctime = 0
        self.i_count = 0
        self.i_pipe: Pipe | None = None
        self.i_socket: UnixSock | None = None
        self.i_flctx: FileLockContext | None = None
        self.i_marks: list[Mark] | None = None

    # In use or not.

    def igrab(self) -> "Inode":
        """One more user. Returns the object to use: where a file system made two for one file, the one in use."""
        self.i_count += 1
        if self.i_count == 1:
            self.count_use()
        return self

    def count_use(self) -> None:
        """The first user has come: the inode is in its slab cache."""
        if self.i_sb.inodes is not None:
            self.i_sb.inodes.alloc()

    def iput(self) -> None:
        """One user less; the last one evicts."""
        self.i_count -= 1
        if self.i_count == 0:
            if self.i_sb.inodes is not None:
                self.i_sb.inodes.free()
            self.evict()
        elif self.i_marks and self.i_nlink == 0:
            inode_gone(self)

    def evict(self) -> None:
        """Nobody uses it any more: what is only kept for users can go (and everything, if it has no name left)."""

    def is_same(self, other: "Inode") -> bool:
        """Whether both are the same file."""
        return self is other

    # What it is.

    def is_dir(self) -> bool:
        """A directory."""
        return self.i_mode & S_IFMT == S_IFDIR

    def is_reg(self) -> bool:
        """A regular file."""
        return self.i_mode & S_IFMT == S_IFREG

    def is_lnk(self) -> bool:
        """A symbolic link."""
        return self.i_mode & S_IFMT == S_IFLNK

    def is_special(self) -> bool:
        """A device, a FIFO or a socket: writing to it does not change the file system."""
        kind = self.i_mode & S_IFMT
        return kind == S_IFCHR or kind == S_IFBLK or kind == S_IFIFO or kind == S_IFSOCK

    def size(self) -> int:
        """i_size in bytes."""
        return 0

    def getattr(self) -> Stat | int:
        """Its attributes now, or a negative errno."""
        st = Stat()
        st.st_dev = self.i_sb.s_dev
        st.st_ino = self.i_ino
        st.st_mode = self.i_mode
        st.st_nlink = self.i_nlink
        st.st_uid = self.i_uid
        st.st_gid = self.i_gid
        st.st_rdev = self.i_rdev
        st.st_size = self.size()
        st.st_blksize = self.i_sb.s_blocksize
        st.st_atime_ns = self.i_atime
        st.st_mtime_ns = self.i_mtime
        st.st_ctime_ns = self.i_ctime
        return st

    # Directories. ``name`` is one component: never empty, ".", ".." or with a slash.

    def lookup(self, name: str) -> "Inode | int":
        """The entry ``name``: its inode (the same object as long as it is in use), or -ENOENT, -EACCES, -EIO."""
        return -errno.ENOTDIR

    def readdir(self, pos: int) -> list[Dirent] | int:
        """The entries from position ``pos`` on, without "." and ".." (they are positions 0 and 1; 2 is the first of
        all)."""
        return -errno.ENOTDIR

    def create(self, name: str, mode: int, uid: int, gid: int) -> "Inode | int":
        """A new, empty regular file. The name does not exist (checked by the caller); ``mode`` has the umask
        applied."""
        return -errno.EACCES

    def mkdir(self, name: str, mode: int, uid: int, gid: int) -> int:
        """A new directory; as ``create``."""
        return -errno.EPERM

    def mknod(self, name: str, mode: int, rdev: tuple[int, int], uid: int, gid: int) -> int:
        """A new device, FIFO or socket; as ``create``."""
        return -errno.EPERM

    def symlink(self, name: str, target: str, uid: int, gid: int) -> int:
        """A new symbolic link that holds ``target``."""
        return -errno.EPERM

    def link(self, name: str, inode: "Inode") -> int:
        """A further name for ``inode`` of the same file system."""
        return -errno.EPERM

    def unlink(self, name: str, inode: "Inode") -> int:
        """Removes the name of ``inode``, which is no directory."""
        return -errno.EPERM

    def rmdir(self, name: str, inode: "Inode") -> int:
        """Removes the empty directory ``inode``; -ENOTEMPTY."""
        return -errno.EPERM

    def rename(self, name: str, inode: "Inode", to: "Inode", to_name: str, victim: "Inode | None", flags: int) -> int:
        """Moves ``inode`` from ``name`` here to ``to_name`` in ``to``, over ``victim`` or (RENAME_EXCHANGE) in its
        place."""
        return -errno.EPERM

    def tmpfile(self, mode: int, uid: int, gid: int) -> "Inode | int":
        """A regular file without a name (O_TMPFILE)."""
        return -errno.EOPNOTSUPP

    # Links.

    def readlink(self) -> str | int:
        """The target of a symbolic link."""
        return -errno.EINVAL

    def get_link(self) -> "Dentry | int | None":
        """Where a magic link of /proc leads without a path; None for an ordinary link, whose text is walked."""
        return None

    # Files.

    def open(self, dentry: "Dentry", flags: int) -> "VfsFile | int":
        """An open file for ``flags`` (O_*); permission has been checked. A socket answers ENXIO, as Linux."""
        return -errno.ENXIO

    def touch(self) -> None:
        """The contents have changed: modification and change time are now."""
        self.i_mtime = self.i_ctime = current_time()

    def setattr_mode(self, mode: int) -> int:
        """chmod: the permission bits (07777)."""
        return -errno.EPERM

    def setattr_owner(self, uid: int, gid: int) -> int:
        """chown: -1 keeps one. The caller has cleared the set-id bits where it must."""
        return -errno.EPERM

    def setattr_times(self, atime: int, mtime: int) -> int:
        """utimensat: nanoseconds, UTIME_OMIT keeps one (UTIME_NOW has been replaced)."""
        return -errno.EPERM

    def truncate(self, length: int) -> int:
        """Sets the length of a regular file."""
        return -errno.EINVAL
