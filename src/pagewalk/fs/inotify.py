"""inotify(7): an open file that reads as the events of what it watches.

Sources: inotify(7), inotify_add_watch(2).

Mirrors: fs/notify/inotify/inotify_user.c, inotify_fsnotify.c (6.18)
Differs: no limits per user; no IN_UNMOUNT; what /proc/PID/fdinfo shows has no file handles.
"""

import errno
import os
import struct
from typing import TYPE_CHECKING, Final, final

from pagewalk.fs.anon_inodes import AnonFile
from pagewalk.fs.fcntl import O_NONBLOCK, O_RDONLY, POLLIN, POLLRDNORM
from pagewalk.fs.file import WOULD_BLOCK
from pagewalk.fs.fsnotify import IN_EXCL_UNLINK, MARKS, Mark
from pagewalk.fs.ioctl import FIONREAD
from pagewalk.fs.wait import WaitQueueHead

if TYPE_CHECKING:
    from pagewalk.fs.inode import Inode
    from pagewalk.mm.system import System

IN_ALL_EVENTS: Final = 0xFFF
IN_UNMOUNT: Final = 0x2000
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
IN_ONLYDIR: Final = 0x0100_0000
IN_DONT_FOLLOW: Final = 0x0200_0000
IN_MASK_CREATE: Final = 0x1000_0000
IN_MASK_ADD: Final = 0x2000_0000
IN_ONESHOT: Final = 0x8000_0000
ALL_INOTIFY_BITS: Final = (
    IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK
    | IN_MASK_CREATE | IN_MASK_ADD | 0x4000_0000 | IN_ONESHOT
)  # fmt: skip
MAX_QUEUED_EVENTS: Final = 16384  # sysctl fs.inotify.max_queued_events

_EVENT: Final = struct.Struct("<iIII")

Event = tuple[int, int, int, str]  # wd, mask, cookie, name


def pack_event(event: Event) -> bytes:
    """struct inotify_event, its name padded with zeros to a multiple of the struct's size."""
    name = os.fsencode(event[3])
    length = (len(name) + 1 + _EVENT.size - 1) // _EVENT.size * _EVENT.size if name else 0
    return _EVENT.pack(event[0], event[1], event[2], length) + name.ljust(length, b"\0")


@final
class InotifyFile(AnonFile):
    """An inotify instance.

    marks    what it watches, by watch descriptor
    events   what has not been read
    """

    def __init__(self, system: "System", flags: int) -> None:
        super().__init__(system, "inotify", O_RDONLY | flags & O_NONBLOCK)
        self.marks: dict[int, Mark] = {}
        self.next_wd = 1
        self.events: list[Event] = []
        self.overflowed = False
        self.wqh = WaitQueueHead()

    def add_watch(self, inode: "Inode", mask: int) -> int:
        """Watches ``inode``, or changes what is watched of it; the watch descriptor. EEXIST with IN_MASK_CREATE."""
        keep = mask & (IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT)
        for mark in self.marks.values():
            if mark.inode.is_same(inode):
                if mask & IN_MASK_CREATE:
                    return -errno.EEXIST
                mark.mask = mark.mask | keep if mask & IN_MASK_ADD else keep
                return mark.wd
        inode = inode.igrab()
        mark = Mark(self, inode, self.next_wd, keep)
        self.next_wd += 1
        self.marks[mark.wd] = mark
        if inode.i_marks is None:
            inode.i_marks = []
        inode.i_marks.append(mark)
        MARKS.count += 1
        return mark.wd

    def rm_watch(self, wd: int) -> int:
        """inotify_rm_watch(2); EINVAL."""
        mark = self.marks.get(wd)
        if mark is None:
            return -errno.EINVAL
        self.remove_mark(mark)
        return 0

    def remove_mark(self, mark: Mark) -> None:
        """The watch ends, of which it tells."""
        if self.drop_mark(mark):
            self.add_event((mark.wd, IN_IGNORED, 0, ""))

    def drop_mark(self, mark: Mark) -> bool:
        """Takes a mark off its inode; whether it was still there."""
        if self.marks.pop(mark.wd, None) is None:
            return False
        if mark.inode.i_marks is not None and mark in mark.inode.i_marks:
            mark.inode.i_marks.remove(mark)
        MARKS.count -= 1
        mark.inode.iput()
        return True

    def queue_event(self, mark: Mark, mask: int, cookie: int, name: str) -> None:
        """Something has happened that the mark is about."""
        self.add_event((mark.wd, mask, cookie, name))
        if mark.mask & IN_ONESHOT:
            self.remove_mark(mark)

    def add_event(self, event: Event) -> None:
        """Queues an event, unless it is the same as the last one."""
        if self.events and self.events[-1] == event:
            return
        if len(self.events) >= MAX_QUEUED_EVENTS:
            if not self.overflowed:
                self.overflowed = True
                self.events.append((-1, IN_Q_OVERFLOW, 0, ""))
            return
        self.events.append(event)
        self.wqh.wake_up(POLLIN | POLLRDNORM)

    def release(self) -> None:
        """Watches nothing any more."""
        for mark in list(self.marks.values()):
            self.drop_mark(mark)
        super().release()

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """As many events as fit; EINVAL where not even the first does."""
        if pos != -1:
            return -errno.ESPIPE
        if not self.events:
            return -errno.EAGAIN if self.nonblock else WOULD_BLOCK
        out = b""
        while self.events:
            record = pack_event(self.events[0])
            if len(out) + len(record) > count:
                break
            out += record
            if self.events.pop(0)[1] == IN_Q_OVERFLOW:
                self.overflowed = False
        return out or -errno.EINVAL

    def poll(self) -> int:
        """Readable where there are events."""
        return POLLIN | POLLRDNORM if self.events else 0

    def wait_queues(self) -> list[WaitQueueHead]:
        """Its own."""
        return [self.wqh]

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """EBADF: not open for writing."""
        return -errno.EBADF

    def ioctl_bytes(self, cmd: int, data: bytes) -> bytes | int:
        """FIONREAD: bytes of all events."""
        if cmd != FIONREAD:
            return -errno.ENOTTY
        total = 0
        for event in self.events:
            total += len(pack_event(event))
        return struct.pack("<i", total)
