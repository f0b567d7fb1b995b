"""What is in a pipe: a ring of slots, each of which holds up to a page of bytes.

A write puts whole pages into slots of their own, and first tries to put what is left over behind the last bytes in the
pipe, if their page has room for all of it. Thus a pipe of 16 slots, of 4 KiB each, is full with 65536 bytes written at
once, and with as little as 16 bytes where packets are written. Whatever is written in one piece of up to PIPE_BUF bytes
goes into one page: it goes as a whole.

Sources: pipe(7), splice(2), tee(2).

Mirrors: fs/pipe.c, include/linux/pipe_fs_i.h, fs/splice.c (link_pipe, splice_pipe_to_pipe) (6.18)
Differs: the bytes are not in frames of the modelled RAM; no limit per user (sysctl fs.pipe-user-pages-soft).
"""

import errno
from typing import TYPE_CHECKING, Final, final

from pagewalk.fs.wait import WaitQueueHead

if TYPE_CHECKING:
    from pagewalk.mm.system import System

PIPE_DEF_BUFFERS: Final = 16
PIPE_MAX_SIZE: Final = 1 << 20  # sysctl fs.pipe-max-size
_MOST_SLOTS: Final = 1 << 16  # a larger array of struct pipe_buffer is more than kmalloc gives

PIPE_BUF_FLAG_CAN_MERGE: Final = 1  # a write may be put behind it
PIPE_BUF_FLAG_PACKET: Final = 2  # read(2) takes it alone and drops what does not fit


@final
class PipeBuffer:
    """struct pipe_buffer: the bytes of ``data`` from ``offset`` on. ``data`` begins where its page does."""

    def __init__(self, data: bytearray, offset: int, flags: int) -> None:
        self.data = data
        self.offset = offset
        self.flags = flags

    def length(self) -> int:
        """Bytes that have not been read."""
        return len(self.data) - self.offset

    def peek(self, count: int) -> bytes:
        """The next ``count`` bytes, or as many as there are; they stay."""
        return bytes(self.data[self.offset : self.offset + count])


@final
class Pipe:
    """struct pipe_inode_info: the ring, and who is at the ends.

    bufs       the slots in use, the oldest first
    max_usage  slots that there are
    readers, writers      open ends
    r_counter, w_counter  ends ever opened, so that a waiting open of a FIFO notices one that came and went
    page_size  bytes that a slot holds
    poll_usage somebody has asked for its readiness: every write tells the waiters, not only the one into an empty pipe
    """

    def __init__(self, system: "System") -> None:
        self.system = system
        self.page_size = int(system.page_size)
        self.bufs: list[PipeBuffer] = []
        self.max_usage = PIPE_DEF_BUFFERS
        self.readers = 0
        self.writers = 0
        self.r_counter = 0
        self.w_counter = 0
        self.poll_usage = False
        self.rd_wait = WaitQueueHead()
        self.wr_wait = WaitQueueHead()

    def empty(self) -> bool:
        """pipe_empty."""
        return not self.bufs

    def full(self) -> bool:
        """pipe_full: no slot is free (the last page may have room all the same)."""
        return len(self.bufs) >= self.max_usage

    def bytes_waiting(self) -> int:
        """What FIONREAD answers."""
        total = 0
        for buf in self.bufs:
            total += buf.length()
        return total

    def take(self, count: int) -> bytes:
        """Up to ``count`` bytes out of the pipe; of a packet the rest is lost. Tells nobody."""
        parts: list[bytes] = []
        while count > 0 and self.bufs:
            buf = self.bufs[0]
            part = buf.peek(count)
            parts.append(part)
            count -= len(part)
            buf.offset += len(part)
            packet = buf.flags & PIPE_BUF_FLAG_PACKET != 0
            if packet or buf.length() == 0:
                del self.bufs[0]
            if packet:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def put(self, data: bytes, *, packet: bool) -> int:
        """As many of ``data`` as there is room for; how many. Tells nobody."""
        total = len(data)
        done = 0
        chars = total & (self.page_size - 1)
        if chars and self.bufs:
            last = self.bufs[-1]
            if last.flags & PIPE_BUF_FLAG_CAN_MERGE and len(last.data) + chars <= self.page_size:
                last.data += data[:chars]
                done = chars
        flags = PIPE_BUF_FLAG_PACKET if packet else PIPE_BUF_FLAG_CAN_MERGE
        while done < total and not self.full():
            page = bytearray(data[done : done + self.page_size])
            self.bufs.append(PipeBuffer(page, 0, flags))
            done += len(page)
        return done

    def put_back(self, data: bytes) -> None:
        """What was taken and could not be delivered is the first to be read again."""
        if data:
            self.bufs.insert(0, PipeBuffer(bytearray(data), 0, 0))

    def put_page(self, data: bytes) -> None:
        """A page of its own at the end, as splice(2) and vmsplice(2) bring it: nothing is written behind it."""
        self.bufs.append(PipeBuffer(bytearray(data), 0, 0))

    def resize(self, size: int) -> int:
        """F_SETPIPE_SZ: room for ``size`` bytes, rounded up to a power of two of at least a page; the new size.

        EINVAL: beyond 2 GiB. EPERM: beyond sysctl fs.pipe-max-size. EBUSY: more slots are in use. ENOMEM.
        """
        if size > 1 << 31:
            return -errno.EINVAL
        slots = 1
        while slots * self.page_size < size:
            slots *= 2
        if slots > self.max_usage and slots * self.page_size > PIPE_MAX_SIZE and not self.system.current.capable:
            return -errno.EPERM
        if slots < len(self.bufs):
            return -errno.EBUSY
        if slots > _MOST_SLOTS:
            return -errno.ENOMEM
        was_full = self.full()
        self.max_usage = slots
        if was_full and not self.full():
            self.wr_wait.wake_up(0, 1)
        return slots * self.page_size

    def link_from(self, other: "Pipe", count: int) -> int:
        """tee(2): duplicates up to ``count`` bytes of ``other`` here; how many bytes. Slot by slot, as far as there
        are both."""
        done = 0
        for buf in other.bufs:
            if done >= count or self.full():
                break
            part = buf.peek(count - done)
            self.bufs.append(PipeBuffer(bytearray(part), 0, buf.flags & ~PIPE_BUF_FLAG_CAN_MERGE))
            done += len(part)
        return done

    def move_from(self, other: "Pipe", count: int) -> int:
        """splice(2) between pipes: moves up to ``count`` bytes of ``other`` here; how many bytes."""
        done = 0
        while done < count and other.bufs and not self.full():
            buf = other.bufs[0]
            if buf.length() <= count - done:
                del other.bufs[0]
                self.bufs.append(buf)
                done += buf.length()
            else:
                part = buf.peek(count - done)
                buf.offset += len(part)
                self.bufs.append(PipeBuffer(bytearray(part), 0, buf.flags & ~PIPE_BUF_FLAG_CAN_MERGE))
                done += len(part)
        return done
