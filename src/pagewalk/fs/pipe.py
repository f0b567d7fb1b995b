"""Pipes and FIFOs: their open files, and how the two sides of a FIFO wait for each other.

Reading an empty pipe that has writers, and writing a full one that has readers, answers ``WOULD_BLOCK`` (or -EAGAIN
with O_NONBLOCK): the caller waits on ``wait_queues`` until the other side has done something and calls again. An open
FIFO whose other side is missing is ``open_pending``: whoever opened it waits in the same way before he uses it, and
puts it where he gives up.

Sources: pipe(7), fifo(7).

Mirrors: fs/pipe.c (6.18)
Differs: what is in a pipe is ``pipe_buffer.py``'s; readers and writers that wait are all woken, in their order.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry, Mount
from pagewalk.fs.fcntl import (
    O_ACCMODE,
    O_DIRECT,
    O_NONBLOCK,
    O_RDONLY,
    O_WRONLY,
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
from pagewalk.fs.pipe_buffer import Pipe
from pagewalk.fs.stat import Statfs
from pagewalk.fs.wait import WaitQueueHead
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE

if TYPE_CHECKING:
    from pagewalk.mm.system import System

PIPEFS_DEV: Final = (0, 14)
_READABLE: Final = POLLIN | POLLRDNORM
_WRITABLE: Final = POLLOUT | POLLWRNORM


_inode_numbers = InodeNumbers(10001)


class PipeInode(Inode):
    """The inode of a pipe without a name."""

    def __init__(self, sb: "PipeFs", ino: int) -> None:
        super().__init__(sb, ino, S_IFIFO | 0o600)
        self.i_pipe = self.pipe = Pipe(sb.system)
        self.i_atime = self.i_mtime = self.i_ctime = current_time()

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """Opens an end anew, through /proc/self/fd."""
        return open_fifo(self.pipe.system, dentry, flags)

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
        return self.simple_statfs(PIPEFS_MAGIC)


class PipeFile(VfsFile):
    """One end of a pipe, or both (a FIFO opened O_RDWR).

    seen      of an end that was opened without the other: how many of those had been opened then (``f_pipe``)
    waiting   whether the open still waits for the other side
    """

    def __init__(self, system: "System", dentry: Dentry, flags: int, pipe: Pipe) -> None:
        super().__init__(system, dentry, flags)
        self.pipe = pipe
        self.seen = -1
        self.waiting = False
        self.named = not isinstance(self.inode, PipeInode)
        if self.f_mode & FMODE_READ:
            pipe.r_counter += 1
            pipe.readers += 1
            if pipe.readers == 1:
                pipe.rd_wait.wake_up(0, 0)
                pipe.wr_wait.wake_up(0, 0)
        if self.f_mode & FMODE_WRITE:
            pipe.w_counter += 1
            pipe.writers += 1
            if pipe.writers == 1:
                pipe.rd_wait.wake_up(0, 0)
                pipe.wr_wait.wake_up(0, 0)

    def release(self) -> None:
        """This end is closed. Where it was the last of its kind, the other side is told."""
        pipe = self.pipe
        if self.f_mode & FMODE_READ:
            pipe.readers -= 1
        if self.f_mode & FMODE_WRITE:
            pipe.writers -= 1
        if pipe.readers == 0 and pipe.writers == 0:
            pipe.bufs.clear()
        elif pipe.readers == 0 or pipe.writers == 0:
            pipe.rd_wait.wake_up(0, 0)
            pipe.wr_wait.wake_up(0, 0)
        super().release()

    def open_pending(self) -> bool:
        """Whether nobody has opened the other side since this one was opened for waiting."""
        if self.waiting:
            now = self.pipe.w_counter if self.f_mode & FMODE_READ else self.pipe.r_counter
            self.waiting = now == self.seen
        return self.waiting

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """Takes from the pipe; b"" where nothing is left and nobody writes. A pipe has no positions (ESPIPE)."""
        if not self.f_mode & FMODE_READ:
            return -errno.EBADF
        if pos != -1:
            return -errno.ESPIPE
        if count == 0:
            return b""
        pipe = self.pipe
        if pipe.empty():
            if pipe.writers == 0:
                return b""
            return -errno.EAGAIN if self.nonblock else WOULD_BLOCK
        was_full = pipe.full()
        out = pipe.take(count)
        if was_full and not pipe.full():
            pipe.wr_wait.wake_up(_WRITABLE)
        if self.named:
            self.inode.i_atime = current_time()
        return out

    def unread(self, data: bytes) -> None:
        """Goes back into the pipe."""
        self.pipe.put_back(data)

    def write(self, data: bytes, pos: int = -1) -> int:
        """Puts into the pipe: all, or what fits; up to PIPE_BUF bytes go as a whole or not at all."""
        if not self.f_mode & FMODE_WRITE:
            return -errno.EBADF
        if pos != -1:
            return -errno.ESPIPE
        if not data:
            return 0
        pipe = self.pipe
        if pipe.readers == 0:
            return -errno.EPIPE
        was_empty = pipe.empty()
        taken = pipe.put(data, packet=bool(self.f_flags & O_DIRECT))
        if was_empty or pipe.poll_usage:  # also after a write that found no room: an edge for epoll
            pipe.rd_wait.wake_up(_READABLE)
        if taken == 0:
            return -errno.EAGAIN if self.nonblock else WOULD_BLOCK
        if self.named:
            self.inode.touch()
        return taken

    def fsync(self) -> int:
        """EINVAL, as for every pipe."""
        return -errno.EINVAL

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """ESPIPE for the writing end."""
        return -errno.ESPIPE if self.f_mode & FMODE_WRITE else -errno.EBADF

    def poll(self) -> int:
        """What would not wait. A FIFO that no writer has opened yet has not been hung up."""
        pipe = self.pipe
        pipe.poll_usage = True
        events = 0
        if self.f_mode & FMODE_READ:
            if not pipe.empty():
                events |= _READABLE
            if pipe.writers == 0 and self.seen != pipe.w_counter:
                events |= POLLHUP
        if self.f_mode & FMODE_WRITE:
            if not pipe.full():
                events |= _WRITABLE
            if pipe.readers == 0:
                events |= POLLERR
        return events

    def can_poll(self) -> bool:
        """It has a poll method."""
        return True

    def write_goes_on(self) -> bool:
        """Yes."""
        return True

    def wchan(self, events: int) -> str:
        """Its read or write function."""
        return "anon_pipe_read" if events & POLLIN else "anon_pipe_write"

    def wait_queues(self) -> list[WaitQueueHead]:
        """Those of the ends that are open."""
        if not self.f_mode & FMODE_WRITE:
            return [self.pipe.rd_wait]
        if not self.f_mode & FMODE_READ:
            return [self.pipe.wr_wait]
        return [self.pipe.rd_wait, self.pipe.wr_wait]

    def ioctl_bytes(self, cmd: int, data: bytes) -> bytes | int:
        """FIONREAD: bytes that wait."""
        return struct.pack("<i", self.pipe.bytes_waiting()) if cmd == FIONREAD else -errno.ENOTTY

    def pipe_size(self) -> int:
        """Capacity in bytes."""
        return self.pipe.max_usage * self.pipe.page_size

    def set_pipe_size(self, size: int) -> int:
        """Capacity; see ``Pipe.resize``."""
        return self.pipe.resize(size)


def open_fifo(system: "System", dentry: Dentry, flags: int) -> VfsFile | int:
    """Opens a pipe by a name, or again through /proc/self/fd.

    A FIFO opened for reading waits for a writer and the other way round: the file is ``open_pending``. O_RDWR and
    O_NONBLOCK do not wait; ENXIO: O_WRONLY with O_NONBLOCK and no reader.
    """
    access = flags & O_ACCMODE
    named = not isinstance(dentry.inode, PipeInode)
    pipe = dentry.inode.i_pipe
    if pipe is None or (pipe.readers == 0 and pipe.writers == 0):
        pipe = Pipe(system)
        dentry.inode.i_pipe = pipe
    if named and access == O_WRONLY and flags & O_NONBLOCK and pipe.readers == 0:
        return -errno.ENXIO
    file = PipeFile(system, dentry, flags, pipe)
    if named and access == O_RDONLY and pipe.writers == 0:
        file.seen = pipe.w_counter
        file.waiting = not flags & O_NONBLOCK
    elif named and access == O_WRONLY and pipe.readers == 0:
        file.seen = pipe.r_counter
        file.waiting = True
    return file


def make_pipe(system: "System", flags: int) -> tuple[VfsFile, VfsFile]:
    """pipe2(2) without the descriptors: (reading end, writing end), one reference each. Flags: O_NONBLOCK, O_DIRECT."""
    sb = PipeFs(system)
    inode = PipeInode(sb, _inode_numbers.next())
    dentry = Dentry(f"pipe:[{inode.i_ino}]", None, inode, Mount(0, sb, "pipefs", "rw", 0))
    reader = PipeFile(system, dentry, O_RDONLY | flags & O_NONBLOCK, inode.pipe)
    writer = PipeFile(system, dentry, O_WRONLY | flags & (O_NONBLOCK | O_DIRECT), inode.pipe)
    return reader, writer
