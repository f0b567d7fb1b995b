"""Pipes and FIFOs.

Reading an empty pipe that has writers, and writing a full one that has readers, answers ``WOULD_BLOCK`` (or -EAGAIN
with
O_NONBLOCK): the caller waits until the other side has done something and calls again.

Sources: pipe(7), fifo(7).

Mirrors: fs/pipe.c (6.18)
Differs: the capacity is counted in bytes, not in page-sized slots; no packet mode (O_DIRECT); pages are not modelled.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry, Mount
from pagewalk.fs.fcntl import (
    O_ACCMODE,
    O_NONBLOCK,
    O_RDONLY,
    O_WRONLY,
    PIPE_BUF,
    PIPEFS_MAGIC,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
    POLLWRNORM,
    S_IFIFO,
)
from pagewalk.fs.file import WOULD_BLOCK, VfsFile
from pagewalk.fs.inode import Inode, InodeNumbers, SuperBlock, current_time
from pagewalk.fs.ioctl import FIONREAD
from pagewalk.fs.stat import Statfs
from pagewalk.fs.wait import WaitQueueHead
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE

if TYPE_CHECKING:
    from pagewalk.mm.system import System

DEFAULT_SIZE: Final = 65536
MAX_SIZE: Final = 1 << 20  # sysctl fs.pipe-max-size
PIPEFS_DEV: Final = (0, 14)


_inode_numbers = InodeNumbers(10001)


class Pipe:
    """struct pipe_inode_info: the bytes on their way, and who is at the ends.

    head     bytes of ``data`` that have been read
    r_counter, w_counter  ends ever opened, so that a waiting open of a FIFO notices one that came and went
    """

    def __init__(self, system: "System") -> None:
        self.system = system
        self.data = bytearray()
        self.size = DEFAULT_SIZE
        self.readers = 0
        self.writers = 0
        self.r_counter = 0
        self.w_counter = 0
        self.wait = WaitQueueHead()

    def room(self) -> int:
        """Bytes that can be written now."""
        return self.size - len(self.data)

    def read(self, count: int, nonblock: bool) -> bytes | int:
        """Up to ``count`` bytes; b"" where nothing is left and nobody writes."""
        if count == 0:
            return b""
        if not self.data:
            if self.writers == 0:
                return b""
            return -errno.EAGAIN if nonblock else WOULD_BLOCK
        out = bytes(self.data[:count])
        del self.data[:count]
        self.wait.wake_up(POLLOUT | POLLWRNORM)
        return out

    def write(self, data: bytes, nonblock: bool) -> int:
        """Bytes taken: all, or what fits where more than PIPE_BUF were given; up to PIPE_BUF go as a whole or not at
        all."""
        if self.readers == 0:
            return -errno.EPIPE
        if not data:
            return 0
        room = self.room()
        if room == 0 or (room < len(data) <= PIPE_BUF):
            return -errno.EAGAIN if nonblock else WOULD_BLOCK
        taken = data[:room]
        self.data += taken
        self.wait.wake_up(POLLIN | POLLRDNORM)
        return len(taken)


class PipeInode(Inode):
    """The inode of a pipe without a name."""

    def __init__(self, sb: "PipeFs", ino: int) -> None:
        super().__init__(sb, ino, S_IFIFO | 0o600)
        self.pipe = Pipe(sb.system)
        self.i_atime = self.i_mtime = self.i_ctime = current_time()

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """Opens an end anew, through /proc/self/fd."""
        return open_fifo(self.pipe.system, dentry, flags, self.pipe)

    def setattr_mode(self, mode: int) -> int:
        """fchmod works on pipes."""
        self.i_mode = S_IFIFO | mode
        return 0


class PipeFs(SuperBlock):
    """pipefs: the file system that no directory shows."""

    def __init__(self, system: "System") -> None:
        super().__init__(PIPEFS_DEV, "pipefs")
        self.noexec = True
        self.system = system

    def statfs(self) -> Statfs:
        """pipefs."""
        return Statfs(PIPEFS_MAGIC)


class PipeFile(VfsFile):
    """One end of a pipe, or both (a FIFO opened O_RDWR)."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, pipe: Pipe) -> None:
        super().__init__(system, dentry, flags)
        self.pipe = pipe
        if self.f_mode & FMODE_READ:
            pipe.readers += 1
            pipe.r_counter += 1
            pipe.wait.wake_up()
        if self.f_mode & FMODE_WRITE:
            pipe.writers += 1
            pipe.w_counter += 1
            pipe.wait.wake_up()

    def release(self) -> None:
        """This end is closed."""
        if self.f_mode & FMODE_READ:
            self.pipe.readers -= 1
        if self.f_mode & FMODE_WRITE:
            self.pipe.writers -= 1
        if self.pipe.readers == 0 and self.pipe.writers == 0:
            self.pipe.data.clear()
        self.pipe.wait.wake_up(POLLIN | POLLOUT | POLLERR | POLLHUP, 0)
        super().release()

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """Takes from the pipe; a pipe has no positions (ESPIPE)."""
        if not self.f_mode & FMODE_READ:
            return -errno.EBADF
        if pos != -1:
            return -errno.ESPIPE
        return self.pipe.read(count, self.nonblock)

    def write(self, data: bytes, pos: int = -1) -> int:
        """Puts into the pipe."""
        if not self.f_mode & FMODE_WRITE:
            return -errno.EBADF
        if pos != -1:
            return -errno.ESPIPE
        return self.pipe.write(data, self.nonblock)

    def fsync(self) -> int:
        """EINVAL, as for every pipe."""
        return -errno.EINVAL

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """ESPIPE for the writing end."""
        return -errno.ESPIPE if self.f_mode & FMODE_WRITE else -errno.EBADF

    def poll(self) -> int:
        """What would not wait."""
        events = 0
        if self.f_mode & FMODE_READ:
            if self.pipe.data:
                events |= POLLIN | POLLRDNORM
            if self.pipe.writers == 0:
                events |= POLLHUP
        if self.f_mode & FMODE_WRITE:
            if self.pipe.room() >= PIPE_BUF:
                events |= POLLOUT | POLLWRNORM
            if self.pipe.readers == 0:
                events |= POLLERR
        return events

    def wait_queues(self) -> list[WaitQueueHead]:
        """The pipe's."""
        return [self.pipe.wait]

    def ioctl_bytes(self, cmd: int, data: bytes) -> bytes | int:
        """FIONREAD: bytes that wait."""
        return struct.pack("<i", len(self.pipe.data)) if cmd == FIONREAD else -errno.ENOTTY

    def pipe_size(self) -> int:
        """Capacity in bytes."""
        return self.pipe.size

    def set_pipe_size(self, size: int) -> int:
        """Capacity, rounded up to a power of two of at least a page; EBUSY below what is in it, EPERM above the
        limit."""
        if size < 0 or size > 1 << 31:
            return -errno.EINVAL
        rounded = 4096
        while rounded < size:
            rounded *= 2
        if rounded > MAX_SIZE and not self.system.current.capable:
            return -errno.EPERM
        if rounded < len(self.pipe.data):
            return -errno.EBUSY
        self.pipe.size = rounded
        return rounded


def open_fifo(system: "System", dentry: Dentry, flags: int, pipe: Pipe) -> VfsFile | int:
    """Opens a FIFO: for reading waits for a writer and the other way round; O_RDWR and O_NONBLOCK do not wait."""
    access = flags & O_ACCMODE
    nonblock = bool(flags & O_NONBLOCK)
    if access == O_WRONLY and pipe.readers == 0:
        return -errno.ENXIO if nonblock else WOULD_BLOCK
    if access == O_RDONLY and pipe.writers == 0 and not nonblock:
        return WOULD_BLOCK
    return PipeFile(system, dentry, flags, pipe)


def make_pipe(system: "System", flags: int) -> tuple[VfsFile, VfsFile]:
    """pipe2(2) without the descriptors: (reading end, writing end), one reference each. Flags: O_NONBLOCK, O_DIRECT."""
    sb = PipeFs(system)
    inode = PipeInode(sb, _inode_numbers.next())
    dentry = Dentry(f"pipe:[{inode.i_ino}]", None, inode, Mount(0, sb, "pipefs", "rw", 0))
    reader = PipeFile(system, dentry, O_RDONLY | flags & O_NONBLOCK, inode.pipe)
    writer = PipeFile(system, dentry, O_WRONLY | flags & O_NONBLOCK, inode.pipe)
    return reader, writer
