"""The host's standard streams, passed through: what the program reads and writes there is the user's, byte for byte.

A stream may be a terminal, a pipe, a socket, a device or a regular file. Names and attributes are the host's.

Mirrors: drivers/tty/tty_io.c, fs/pipe.c, fs/read_write.c (6.18), as far as a program sees them
Differs: job control is the host's; attributes cannot be changed (EROFS); opening one again grants at most the rights
    it has.
"""

import errno
import fcntl
import os
import select
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry, Mount
from pagewalk.fs.fcntl import (
    O_ACCMODE,
    O_APPEND,
    O_CLOEXEC,
    O_CREAT,
    O_EXCL,
    O_LARGEFILE,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_RDONLY,
    O_TRUNC,
    O_WRONLY,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLWRNORM,
)
from pagewalk.fs.file import WOULD_BLOCK, VfsFile
from pagewalk.fs.host_cache import HostCache
from pagewalk.fs.hoststat import host_fstatfs, host_statx
from pagewalk.fs.inode import SuperBlock
from pagewalk.fs.ioctl import (
    FIONREAD,
    TCFLSH,
    TCGETS,
    TCGETS2,
    TCSBRK,
    TCSETS,
    TCSETS2,
    TCSETSF,
    TCSETSW,
    TIOCGPGRP,
    TIOCGSID,
    TIOCGWINSZ,
    TIOCOUTQ,
    ioctl_sizes,
)
from pagewalk.fs.regular import PagedInode
from pagewalk.fs.stat import Stat, Statfs
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE
from pagewalk.mm.filemap import generic_file_mmap
from pagewalk.mm.vma import Vma

if TYPE_CHECKING:
    from pagewalk.mm.system import System

# Commands that reach the host's device. What takes the terminal away (TIOCSPGRP, TIOCSCTTY, TIOCSTI) does not.
_FORWARDED: Final = (
    TCGETS, TCGETS2, TCSETS, TCSETS2, TCSETSW, TCSETSF, TIOCGWINSZ, TIOCGPGRP, TIOCGSID, TIOCOUTQ, FIONREAD,
)  # fmt: skip
_MAX_RW_COUNT: Final = 0x7FFFF000


class StreamSuper(SuperBlock):
    """Where a stream's file lives on the host."""

    def __init__(self, s_dev: tuple[int, int], fd: int) -> None:
        super().__init__(s_dev, "host")
        self.fd = fd

    def statfs(self) -> Statfs:
        """The host's."""
        return host_fstatfs(self.fd)


class StreamInode(PagedInode):
    """The file behind the host descriptor ``fd``."""

    def __init__(self, system: "System", sb: StreamSuper, st: Stat, fd: int, cache: HostCache) -> None:
        super().__init__(system, sb, st.st_ino, st.st_mode)
        self.fd = fd
        self.cache = cache
        self.i_uid = st.st_uid
        self.i_gid = st.st_gid
        self.i_rdev = st.st_rdev

    def getattr(self) -> Stat | int:
        """The host's fstat."""
        return host_statx(self.fd, "")

    def size(self) -> int:
        """The host's."""
        st = host_statx(self.fd, "")
        return 0 if isinstance(st, int) else st.st_size

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """/dev/stdin, /proc/self/fd/0: the host opens its file again, for no more than the stream's own rights."""
        have = fcntl.fcntl(self.fd, fcntl.F_GETFL) & O_ACCMODE
        access = flags & O_ACCMODE
        if have == O_RDONLY and (access != O_RDONLY or flags & O_TRUNC):
            return -errno.EROFS
        if have == O_WRONLY and access != O_WRONLY:
            return -errno.EACCES
        how = flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW) | O_CLOEXEC | os.O_NOCTTY
        try:
            fd = os.open(f"/proc/self/fd/{self.fd}", how)
        except OSError as err:
            return -(err.errno or errno.EIO)
        return HostStream(self.system, dentry, flags, fd, self.cache, owned=True)

    def setattr_mode(self, mode: int) -> int:
        """The user's file keeps its mode: EROFS."""
        return -errno.EROFS

    def setattr_owner(self, uid: int, gid: int) -> int:
        """EROFS."""
        return -errno.EROFS

    def setattr_times(self, atime: int, mtime: int) -> int:
        """EROFS."""
        return -errno.EROFS

    def truncate(self, length: int) -> int:
        """ftruncate of a redirected stream; the host knows whether it is open for writing."""
        try:
            os.ftruncate(self.fd, length)
        except OSError as err:
            return -(err.errno or errno.EIO)
        return 0


class HostStream(VfsFile):
    """An open file of the model that is an open file of the host.

    host_fd   the host's descriptor, for those that wait for it (poll)
    owned     the host's descriptor is closed with the last reference
    """

    def __init__(self, system: "System", dentry: Dentry, flags: int, fd: int, cache: HostCache, *, owned: bool) -> None:
        super().__init__(system, dentry, flags)
        self.host_fd = fd
        self.owned = owned
        self.cache = cache
        self.regular = self.inode.is_reg()
        st = self.inode.getattr()
        if not isinstance(st, int):
            self.st_dev = st.st_dev

    def release(self) -> None:
        """Closes what was opened for the model; the user's own streams stay."""
        if self.mapping is not None:
            mapping = self.cache.get((self.st_dev[0], self.st_dev[1], self.st_ino))
            if mapping is not None:
                self.cache.detach(mapping)
        if self.owned:
            os.close(self.host_fd)
        super().release()

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """Reads from the host, which may wait."""
        if not self.f_mode & FMODE_READ:
            return -errno.EBADF
        count = min(count, _MAX_RW_COUNT)
        if self.nonblock and not self.poll() & ~POLLOUT & ~POLLWRNORM:
            return -errno.EAGAIN
        try:
            return os.read(self.host_fd, count) if pos == -1 else os.pread(self.host_fd, count, pos)
        except BlockingIOError:
            return -errno.EAGAIN if self.nonblock else WOULD_BLOCK
        except OSError as err:
            return -(err.errno or errno.EIO)

    def write(self, data: bytes, pos: int = -1) -> int:
        """Writes to the host at once: nothing is held back."""
        if not self.f_mode & FMODE_WRITE:
            return -errno.EBADF
        try:
            if pos != -1:
                return os.pwrite(self.host_fd, data, pos)
            if self.regular and self.f_flags & O_APPEND:
                os.lseek(self.host_fd, 0, os.SEEK_END)
            return os.write(self.host_fd, data)
        except BlockingIOError:
            return -errno.EAGAIN if self.nonblock else WOULD_BLOCK
        except OSError as err:
            return -(err.errno or errno.EIO)

    def lseek(self, offset: int, whence: int) -> int:
        """The host's position, which it shares with whoever started us."""
        try:
            return os.lseek(self.host_fd, offset, whence)
        except OverflowError:
            return -errno.EINVAL
        except OSError as err:
            return -(err.errno or errno.EIO)

    def getattr(self) -> Stat | int:
        """The host's fstat."""
        return host_statx(self.host_fd, "")

    def fsync(self) -> int:
        """The host's fsync."""
        try:
            os.fsync(self.host_fd)
        except OSError as err:
            return -(err.errno or errno.EIO)
        return 0

    def ftruncate(self, length: int) -> int:
        """The host's ftruncate."""
        try:
            os.ftruncate(self.host_fd, length)
        except OSError as err:
            return -(err.errno or errno.EIO)
        return 0

    def poll(self) -> int:
        """What the host says is ready."""
        poller = select.poll()
        poller.register(self.host_fd, 0x1 | 0x2 | 0x4 | 0x40 | 0x100)
        for _, events in poller.poll(0):
            return events
        return 0

    def write_goes_on(self) -> bool:
        """Yes."""
        return True

    def can_poll(self) -> bool:
        """What the host says: no regular file, no /dev/null."""
        if self.regular:
            return False
        probe = select.epoll()
        try:
            probe.register(self.host_fd, POLLIN)
        except OSError:
            return False
        finally:
            probe.close()
        return True

    def host_fds(self) -> list[tuple[int, int]]:
        """The host's descriptor, unless it is always ready."""
        return [] if self.regular else [(self.host_fd, POLLIN | POLLPRI | POLLOUT)]

    def ioctl_bytes(self, cmd: int, data: bytes) -> bytes | int:
        """Terminal and pipe commands go to the host."""
        sizes = ioctl_sizes(cmd)
        try:
            if cmd in (TCFLSH, TCSBRK):
                return fcntl.ioctl(self.host_fd, cmd, 1 if cmd == TCSBRK else 0)
            if cmd not in _FORWARDED or sizes is None:
                return -errno.ENOTTY
            if sizes[1]:
                return fcntl.ioctl(self.host_fd, cmd, bytes(sizes[1]))
            fcntl.ioctl(self.host_fd, cmd, data)
            return b""
        except OSError as err:
            return -(err.errno or errno.EIO)

    def pipe_size(self) -> int:
        """The host's pipe."""
        try:
            return fcntl.fcntl(self.host_fd, 1032)
        except OSError as err:
            return -(err.errno or errno.EIO)

    def can_mmap(self) -> bool:
        """A redirected regular file can be mapped."""
        return self.regular

    def mmap(self, vma: Vma) -> int:
        """Maps the host's file through the page cache; its pages are shared with the same file opened by name."""
        if not self.regular:
            return -errno.ENODEV
        if self.mapping is None:
            st = host_statx(self.host_fd, "")
            if isinstance(st, int):
                return st
            self.mapping = self.cache.attach(st, os.dup(self.host_fd), self.f_mode == FMODE_READ | FMODE_WRITE)
        return generic_file_mmap(self, vma)


def host_stream(system: "System", cache: HostCache, fd: int, *, owned: bool = False) -> HostStream | None:
    """The model's open file for the host's descriptor ``fd``; None where the host has it closed."""
    st = host_statx(fd, "")
    if isinstance(st, int):
        return None
    try:
        name = os.readlink(f"/proc/self/fd/{fd}")
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    except OSError:
        return None
    sb = StreamSuper(st.st_dev, fd)
    inode = StreamInode(system, sb, st, fd, cache)
    dentry = Dentry(name, None, inode, Mount(0, sb, "none", "rw", 0))
    return HostStream(system, dentry, flags & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_LARGEFILE), fd, cache, owned=owned)
