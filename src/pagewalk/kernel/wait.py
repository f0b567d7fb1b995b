"""Waiting: for a file, for a time, for a signal.

Mirrors: kernel/sched/wait.c, kernel/time/hrtimer.c, fs/select.c (6.18)
Differs: a file of the host's (a terminal, a pipe from outside) is waited for by the whole machine when all tasks sleep.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import POLLERR, POLLHUP
from pagewalk.fs.stream import HostStream
from pagewalk.kernel.signal import ERESTARTSYS
from pagewalk.kernel.signal_send import signal_pending

if TYPE_CHECKING:
    from pagewalk.fs.file import VfsFile
    from pagewalk.kernel.task import Task

FOREVER: Final = -1


def host_fd(file: "VfsFile") -> int:
    """The host's descriptor behind ``file`` that one can wait for; -1 where there is none."""
    return file.host_fd if isinstance(file, HostStream) and not file.regular else -1


def wait_for_file(task: "Task", file: "VfsFile", events: int) -> int:
    """Waits after ``file`` has answered WOULD_BLOCK, or before a stream of the host's is used, until it makes sense to
    try (again) what ``events`` (POLLIN, POLLOUT) stands for. 0, or -ERESTARTSYS for a signal.

    A file of ours tells when it has changed. Whether it is ready for everything is not the question: an eventfd is
    writable and may yet have no room for a large number.
    """
    fds = host_fds(file, events)
    if signal_pending(task):
        return -ERESTARTSYS
    file.get()  # another thread may close the descriptor meanwhile
    result = 0
    if not fds:
        task.kernel.wait(task, FOREVER, [], file.wait_queues(), file.wchan(events))
    else:
        while not file.poll() & (events | POLLERR | POLLHUP):
            if signal_pending(task):
                result = -ERESTARTSYS
                break
            task.kernel.wait(task, FOREVER, fds, file.wait_queues(), file.wchan(events))
    file.put()
    return result


def host_fds(file: "VfsFile", events: int) -> list[tuple[int, int]]:
    """The host's descriptors to wait for until ``file`` is ready for ``events``."""
    return [(fd, bits & events or bits) for fd, bits in file.host_fds()]


def wait_for_open(task: "Task", file: "VfsFile") -> int:
    """Waits until an open FIFO has its other side. 0, or -ERESTARTSYS for a signal; the file is the caller's still."""
    while file.open_pending():
        if signal_pending(task):
            return -ERESTARTSYS
        task.kernel.wait(task, FOREVER, [], file.wait_queues(), "wait_for_partner")
    return 0


def sleep_until(task: "Task", deadline_ns: int, what: str = "hrtimer_nanosleep") -> bool:
    """Sleeps until the monotonic clock reaches ``deadline_ns`` (FOREVER: for ever). False where a signal came first."""
    while True:
        if signal_pending(task):
            return False
        if 0 <= deadline_ns <= task.kernel.monotonic_ns():
            return True
        task.kernel.wait(task, deadline_ns, [], [], what)
