"""epoll_create, epoll_ctl, epoll_wait and their later forms.

Sources: epoll(7), epoll_ctl(2), epoll_wait(2).

Mirrors: fs/eventpoll.c (6.18)
Differs: nothing; ``fs/eventpoll.py`` has the rest.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final, final

from pagewalk.fs.eventpoll import EPOLL_CTL_DEL, EventPoll, EventSink
from pagewalk.fs.fcntl import O_CLOEXEC
from pagewalk.kernel.signal_send import signal_pending
from pagewalk.kernel.syscall.args import access_ok, fdget
from pagewalk.kernel.syscall.poll import deadline_of, set_wait_mask
from pagewalk.kernel.wait import FOREVER
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_EVENT: Final = struct.Struct("<IQ")  # packed on x86-64
_EVENT_ALIGNED: Final = struct.Struct("<I4xQ")
INT_MAX: Final = 0x7FFF_FFFF


@final
class UserEvents(EventSink):
    """An array of struct epoll_event in user memory, filled from its beginning."""

    def __init__(self, task: "Task", addr: int) -> None:
        super().__init__()
        self.task = task
        self.addr = addr
        self.event = event_struct(task)

    def put(self, revents: int, data: int) -> bool:
        """The next one."""
        if not copy_to_user(self.task.mm, self.addr, self.event.pack(revents, data)):
            return False
        self.addr += self.event.size
        return True


def event_struct(task: "Task") -> struct.Struct:
    """struct epoll_event of the program's architecture."""
    return _EVENT_ALIGNED if task.kernel.abi.asm_generic else _EVENT


def sys_epoll_create(task: "Task", size: int) -> int:
    """epoll_create(2): the size must be positive and means nothing."""
    return -errno.EINVAL if signed32(size) <= 0 else sys_epoll_create1(task, 0)


def sys_epoll_create1(task: "Task", flags: int) -> int:
    """epoll_create1(2)."""
    flags &= 0xFFFF_FFFF
    if flags & ~O_CLOEXEC:
        return -errno.EINVAL
    file = EventPoll(task.kernel.system)
    fd = task.files.install(file, bool(flags & O_CLOEXEC))
    if fd < 0:
        file.put()
    return fd


def sys_epoll_ctl(task: "Task", epfd: int, op: int, fd: int, event: int) -> int:
    """epoll_ctl(2)."""
    op = signed32(op)
    events, word = 0, 0
    if op != EPOLL_CTL_DEL:
        layout = event_struct(task)
        data = copy_from_user(task.mm, event, layout.size)
        if data is None:
            return -errno.EFAULT
        events, word = layout.unpack(data)
    instance = fdget(task, epfd)
    file = fdget(task, fd)
    if instance is None or file is None:
        return -errno.EBADF
    if not isinstance(instance, EventPoll):
        return -errno.EINVAL if file.can_poll() else -errno.EPERM
    return instance.ctl(op, file, signed32(fd), events, word)


def sys_epoll_wait(task: "Task", epfd: int, events: int, maxevents: int, timeout: int) -> int:
    """epoll_wait(2); the timeout is in milliseconds, negative for ever."""
    return do_epoll_wait(task, epfd, events, maxevents, deadline_ms(task, timeout))


def sys_epoll_pwait(task: "Task", epfd: int, events: int, maxevents: int, timeout: int, mask: int, size: int) -> int:
    """epoll_pwait(2)."""
    error = set_wait_mask(task, mask, size)
    if error < 0:
        return error
    return restore_mask(task, do_epoll_wait(task, epfd, events, maxevents, deadline_ms(task, timeout)))


def sys_epoll_pwait2(task: "Task", epfd: int, events: int, maxevents: int, timeout: int, mask: int, size: int) -> int:
    """epoll_pwait2(2): the timeout is a struct timespec."""
    deadline = deadline_of(task, timeout)
    if deadline < FOREVER:
        return deadline
    error = set_wait_mask(task, mask, size)
    if error < 0:
        return error
    return restore_mask(task, do_epoll_wait(task, epfd, events, maxevents, deadline))


def deadline_ms(task: "Task", timeout: int) -> int:
    """The deadline of a timeout in milliseconds."""
    timeout = signed32(timeout)
    return FOREVER if timeout < 0 else task.kernel.monotonic_ns() + timeout * 1_000_000


def restore_mask(task: "Task", result: int) -> int:
    """The old signal mask at once, or after EINTR once the signal was delivered."""
    if task.saved_sigmask >= 0 and result != -errno.EINTR:
        task.set_blocked(task.saved_sigmask)
        task.saved_sigmask = -1
    return result


def do_epoll_wait(task: "Task", epfd: int, events: int, maxevents: int, deadline: int) -> int:
    """Waits until something is ready; how many events were written. EINTR for a signal, whatever its action says."""
    instance = fdget(task, epfd)
    if instance is None:
        return -errno.EBADF
    maxevents = signed32(maxevents)
    size = event_struct(task).size
    if maxevents <= 0 or maxevents > INT_MAX // size:
        return -errno.EINVAL
    if not access_ok(task, events, maxevents * size):
        return -errno.EFAULT
    if not isinstance(instance, EventPoll):
        return -errno.EINVAL
    instance.get()
    result = ep_poll(task, instance, events, maxevents, deadline)
    instance.put()
    return result


def ep_poll(task: "Task", instance: EventPoll, events: int, maxevents: int, deadline: int) -> int:
    """The wait itself."""
    while True:
        instance.check_hosts()
        if instance.available():
            sent = instance.send_events(UserEvents(task, events), maxevents)
            if sent:
                return sent
        if deadline != FOREVER and task.kernel.monotonic_ns() >= deadline:
            return 0
        if signal_pending(task):
            return -errno.EINTR
        task.kernel.wait(task, deadline, instance.host_fds(), [instance.wq], "do_epoll_wait")
