"""epoll(7): an open file that watches others and lists those that have become ready.

Each watched descriptor is an ``EpItem``, which stands in the wait queues of its file. When the file tells its waiters
something, the item goes to the end of the ready list; ``send_events`` takes the list from its beginning, asks each file
anew whether it is ready, and puts level-triggered items back at the end.

A watched file of the host's (a terminal) has no wait queue of ours: it stands in an epoll instance of the host, edge
triggered, and ``check_hosts`` hands on what that reports.

Sources: epoll(7), epoll_ctl(2).

Mirrors: fs/eventpoll.c (6.18)
Differs: no busy polling; EPOLLWAKEUP keeps nothing awake; the number of wake-up paths through nested instances and
    sysctl fs.epoll.max_user_watches are not limited.
"""

import errno
import select
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import mypyc_attr

from pagewalk.fs.anon_inodes import AnonFile
from pagewalk.fs.fcntl import O_RDWR, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM
from pagewalk.fs.file import VfsFile
from pagewalk.fs.wait import WaitEntry, WaitQueueHead

if TYPE_CHECKING:
    from pagewalk.mm.system import System

EPOLL_CTL_ADD: Final = 1
EPOLL_CTL_DEL: Final = 2
EPOLL_CTL_MOD: Final = 3

EPOLLEXCLUSIVE: Final = 1 << 28
EPOLLWAKEUP: Final = 1 << 29
EPOLLONESHOT: Final = 1 << 30
EPOLLET: Final = 0x8000_0000

EP_MAX_NESTS: Final = 4
_INOUT: Final = POLLIN | POLLOUT
_PRIVATE: Final = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE
_EXCLUSIVE_OK: Final = _INOUT | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE
_HOST_EVENTS: Final = 0x1 | 0x2 | 0x4 | 0x2000 | EPOLLET


@mypyc_attr(allow_interpreted_subclasses=True)
class EventSink:
    """Where reported events go: a program's array."""

    def put(self, revents: int, data: int) -> bool:
        """Takes the next event; False where it cannot (EFAULT)."""
        return False


@final
class EpItem(WaitEntry):
    """struct epitem: one watched descriptor.

    events   the mask of epoll_ctl(2), with EPOLLERR and EPOLLHUP; data: the program's own word
    linked   it stands in the ready list
    """

    def __init__(self, ep: "EventPoll", file: VfsFile, fd: int, events: int, data: int) -> None:
        super().__init__()
        self.ep = ep
        self.file = file
        self.fd = fd
        self.events = events
        self.data = data
        self.linked = False
        self.exclusive = events & EPOLLEXCLUSIVE != 0
        self.queues: list[WaitQueueHead] = []

    def ready(self) -> int:
        """Which of the wanted events the file has now."""
        return self.file.poll() & self.events

    def attach(self) -> None:
        """Begins to watch."""
        if self.file.f_ep is None:
            self.file.f_ep = []
        self.file.f_ep.append(self)
        for queue in self.file.wait_queues():
            self.queues.append(queue)
            if self.exclusive:
                queue.add(self)
            else:
                queue.add_first(self)
        for fd, _ in self.file.host_fds():
            if not isinstance(self.file, EventPoll):
                self.ep.watch_host(fd, self)

    def detach(self) -> None:
        """The item is no more."""
        for queue in self.queues:
            queue.remove(self)
        self.queues = []
        if self.file.f_ep is not None and self in self.file.f_ep:
            self.file.f_ep.remove(self)
        self.ep.forget(self)

    def wake(self, key: int) -> bool:
        """ep_poll_callback: the file has told its waiters ``key``."""
        if not self.events & ~_PRIVATE:
            return not self.exclusive  # disabled by EPOLLONESHOT
        if key and not key & self.events:
            return not self.exclusive
        helped = not self.exclusive
        if self.exclusive and self.ep.wq.active():
            kinds = key & _INOUT
            helped = kinds == 0 or (kinds != _INOUT and kinds & self.events != 0)
        self.ep.make_ready(self)
        return helped


class EventPoll(AnonFile):
    """struct eventpoll, and the open file that it belongs to.

    items      by open file and descriptor number
    rdllist    items that may be ready, in the order in which they became so
    wq         who waits in epoll_wait(2); poll_wait: who watches this instance
    host_ep    the host's epoll instance for the host's descriptors, None while there are none
    hosts      watched host descriptors with their items
    """

    def __init__(self, system: "System") -> None:
        super().__init__(system, "[eventpoll]", O_RDWR)
        self.items: dict[tuple[int, int], EpItem] = {}
        self.rdllist: list[EpItem] = []
        self.wq = WaitQueueHead()
        self.poll_wait = WaitQueueHead()
        self.host_ep: select.epoll | None = None
        self.hosts: dict[int, list[EpItem]] = {}

    # epoll_ctl(2).

    def ctl(self, op: int, file: VfsFile, fd: int, events: int, data: int) -> int:
        """epoll_ctl(2) with both files found: 0 or a negative errno.

        EPERM: a file that cannot be polled. EINVAL: itself, an unknown operation, EPOLLEXCLUSIVE where it is not
        allowed. ELOOP: instances nested too deeply, or in a circle. EEXIST, ENOENT.
        """
        if not file.can_poll():
            return -errno.EPERM
        if file is self:
            return -errno.EINVAL
        nested = file if isinstance(file, EventPoll) else None
        if op != EPOLL_CTL_DEL and events & EPOLLEXCLUSIVE:
            if op == EPOLL_CTL_MOD:
                return -errno.EINVAL
            if op == EPOLL_CTL_ADD and (nested is not None or events & ~_EXCLUSIVE_OK):
                return -errno.EINVAL
        if op == EPOLL_CTL_ADD and nested is not None and self.would_loop(nested):
            return -errno.ELOOP
        item = self.items.get((id(file), fd))
        if op == EPOLL_CTL_ADD:
            if item is not None:
                return -errno.EEXIST
            return self.insert(file, fd, events | POLLERR | POLLHUP, data)
        if op == EPOLL_CTL_DEL:
            if item is None:
                return -errno.ENOENT
            item.detach()
            return 0
        if op == EPOLL_CTL_MOD:
            if item is None:
                return -errno.ENOENT
            if item.exclusive:
                return -errno.EINVAL
            item.events = events | POLLERR | POLLHUP
            item.data = data
            if item.ready():
                self.make_ready(item)
            return 0
        return -errno.EINVAL

    def insert(self, file: VfsFile, fd: int, events: int, data: int) -> int:
        """ep_insert."""
        item = EpItem(self, file, fd, events, data)
        self.items[(id(file), fd)] = item
        item.attach()
        if item.ready():
            self.make_ready(item)
        return 0

    def would_loop(self, inner: "EventPoll") -> bool:
        """Whether watching ``inner`` closes a circle, or nests more than EP_MAX_NESTS instances."""
        below = inner.depth_below(self, 0)
        return below > EP_MAX_NESTS or below + 1 + self.depth_above() > EP_MAX_NESTS

    def depth_below(self, outer: "EventPoll", depth: int) -> int:
        """Levels of instances that this one watches; beyond the limit where ``outer`` is among them."""
        deepest = 0
        for item in self.items.values():
            inner = item.file
            if isinstance(inner, EventPoll):
                if inner is outer or depth > EP_MAX_NESTS:
                    return EP_MAX_NESTS + 1
                deepest = max(deepest, inner.depth_below(outer, depth + 1) + 1)
                if deepest > EP_MAX_NESTS:
                    break
        return deepest

    def depth_above(self) -> int:
        """Levels of instances that watch this one."""
        highest = 0
        for item in self.f_ep or []:
            highest = max(highest, item.ep.depth_above() + 1)
        return highest

    # The ready list.

    def make_ready(self, item: EpItem) -> None:
        """Puts the item at the end of the ready list, unless it is there, and tells who waits."""
        if not item.linked:
            item.linked = True
            self.rdllist.append(item)
        self.wq.wake_up(POLLIN)
        self.poll_wait.wake_up(POLLIN, 0)

    def forget(self, item: EpItem) -> None:
        """The item leaves the instance."""
        self.items.pop((id(item.file), item.fd), None)
        if item.linked:
            self.rdllist.remove(item)
            item.linked = False
        for fd in [fd for fd, items in self.hosts.items() if item in items]:
            self.hosts[fd].remove(item)
            if not self.hosts[fd]:
                del self.hosts[fd]
                if self.host_ep is not None:
                    try:
                        self.host_ep.unregister(fd)
                    except OSError:
                        pass  # the host has closed it already

    def available(self) -> bool:
        """ep_events_available: something may be ready."""
        return bool(self.rdllist)

    def send_events(self, sink: EventSink, maxevents: int) -> int:
        """Reports up to ``maxevents`` events; how many, or -EFAULT where the first could not be delivered."""
        scan = self.rdllist
        self.rdllist = []
        sent = 0
        at = 0
        while at < len(scan) and sent < maxevents:
            item = scan[at]
            at += 1
            item.linked = False
            revents = item.ready()
            if not revents:
                continue
            if not sink.put(revents, item.data):
                item.linked = True
                at -= 1
                sent = sent or -errno.EFAULT
                break
            sent += 1
            if item.events & EPOLLONESHOT:
                item.events &= _PRIVATE
            elif not item.events & EPOLLET:
                item.linked = True
                self.rdllist.append(item)
        self.rdllist = scan[at:] + self.rdllist
        if self.rdllist:
            self.wq.wake_up(POLLIN)
        return sent

    # As a file.

    def poll(self) -> int:
        """Readable where one of the items on the ready list is; those before it that are not leave the list."""
        self.check_hosts()
        while self.rdllist:
            item = self.rdllist[0]
            if item.ready():
                return POLLIN | POLLRDNORM
            if self.rdllist and self.rdllist[0] is item:
                item.linked = False
                del self.rdllist[0]
        return 0

    def ioctl_bytes(self, cmd: int, data: bytes) -> bytes | int:
        """EINVAL, whatever it is."""
        return -errno.EINVAL

    def wait_queues(self) -> list[WaitQueueHead]:
        """Of those that watch this instance."""
        return [self.poll_wait]

    def wchan(self, events: int) -> str:
        """Where epoll_wait(2) waits."""
        return "do_epoll_wait"

    def release(self) -> None:
        """Watches nothing any more."""
        for item in list(self.items.values()):
            item.detach()
        if self.host_ep is not None:
            self.host_ep.close()
            self.host_ep = None
        super().release()

    def fdinfo(self) -> str:
        """One line for each item."""
        lines = []
        for item in sorted(self.items.values(), key=_by_number):
            major, minor = item.file.st_dev
            lines.append(
                f"tfd: {item.fd:8d} events: {item.events:8x} data: {item.data:16x}  pos:{item.file.f_pos} "
                f"ino:{item.file.st_ino:x} sdev:{major << 20 | minor:x}\n"
            )
        return "".join(lines)

    # The host's descriptors.

    def watch_host(self, fd: int, item: EpItem) -> None:
        """``item`` is about the host's descriptor ``fd``."""
        if self.host_ep is None:
            self.host_ep = select.epoll()
        if fd not in self.hosts:
            self.hosts[fd] = []
            self.host_ep.register(fd, _HOST_EVENTS)
        self.hosts[fd].append(item)

    def check_hosts(self) -> None:
        """Hands on what has happened to the host's descriptors, here and in nested instances."""
        if self.host_ep is not None and self.hosts:
            for fd, events in self.host_ep.poll(0, len(self.hosts)):
                for item in list(self.hosts.get(fd, [])):
                    item.wake(events)
        for nested in self.items.values():
            if isinstance(nested.file, EventPoll):
                nested.file.check_hosts()

    def host_fds(self) -> list[tuple[int, int]]:
        """The host's epoll instance, and those of nested instances."""
        fds: list[tuple[int, int]] = []
        if self.host_ep is not None and self.hosts:
            fds.append((self.host_ep.fileno(), POLLIN))
        for item in self.items.values():
            if isinstance(item.file, EventPoll):
                fds.extend(item.file.host_fds())
        return fds


def _by_number(item: EpItem) -> int:
    return item.fd
