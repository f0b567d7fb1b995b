"""eventfd(2).

Mirrors: fs/eventfd.c (6.18)
Differs: nothing.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.anon_inodes import AnonFile
from pagewalk.fs.fcntl import O_NONBLOCK, O_RDWR, POLLERR, POLLIN, POLLOUT
from pagewalk.fs.file import WOULD_BLOCK, VfsFile
from pagewalk.fs.inode import InodeNumbers
from pagewalk.fs.wait import WaitQueueHead

if TYPE_CHECKING:
    from pagewalk.mm.system import System

EFD_SEMAPHORE: Final = 1
_ULLONG_MAX: Final = (1 << 64) - 1
_ids = InodeNumbers(0)


class EventFile(AnonFile):
    """An eventfd: a 64-bit counter."""

    def __init__(self, system: "System", count: int, flags: int) -> None:
        super().__init__(system, "[eventfd]", O_RDWR | flags & O_NONBLOCK)
        self.id = _ids.next()
        self.count = count
        self.semaphore = bool(flags & EFD_SEMAPHORE)
        self.wqh = WaitQueueHead()

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """The counter, which becomes 0 (or, as a semaphore, 1 less)."""
        if pos != -1:
            return -errno.ESPIPE
        if count < 8:
            return -errno.EINVAL
        if self.count == 0:
            return -errno.EAGAIN if self.nonblock else WOULD_BLOCK
        taken = 1 if self.semaphore else self.count
        self.count -= taken
        self.wqh.wake_up(POLLOUT)
        return taken.to_bytes(8, "little")

    def write(self, data: bytes, pos: int = -1) -> int:
        """Adds to the counter."""
        if pos != -1:
            return -errno.ESPIPE
        if len(data) < 8:
            return -errno.EINVAL
        value = int.from_bytes(data[:8], "little")
        if value == _ULLONG_MAX:
            return -errno.EINVAL
        if self.count + value >= _ULLONG_MAX:
            return -errno.EAGAIN if self.nonblock else WOULD_BLOCK
        self.count += value
        self.wqh.wake_up(POLLIN)
        return 8

    def poll(self) -> int:
        """Readable above 0, writable below the largest value."""
        events = POLLIN if self.count > 0 else 0
        if self.count == _ULLONG_MAX:
            events |= POLLERR
        return events | POLLOUT if self.count < _ULLONG_MAX - 1 else events

    def wchan(self, events: int) -> str:
        """Where Linux waits with a queue's lock held."""
        return "do_wait_intr_irq"

    def wait_queues(self) -> list[WaitQueueHead]:
        """The counter's."""
        return [self.wqh]

    def fdinfo(self) -> str:
        """The counter."""
        return (
            f"eventfd-count: {self.count:16x}\neventfd-id: {self.id}\neventfd-semaphore: {1 if self.semaphore else 0}\n"
        )


def make_eventfd(system: "System", count: int, flags: int) -> VfsFile:
    """eventfd2(2) without the descriptor; EFD_SEMAPHORE and O_NONBLOCK in ``flags``."""
    return EventFile(system, count, flags)
