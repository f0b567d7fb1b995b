"""timer_create, timer_settime, timer_gettime, timer_getoverrun, timer_delete.

Sources: timer_create(2), timer_settime(2), timer_getoverrun(2), timer_delete(2).

Mirrors: kernel/time/posix-timers.c (6.18)
Differs: ``kernel/posix_timers.py`` has the timers.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.clock import (
    CLOCK_BOOTTIME,
    CLOCK_BOOTTIME_ALARM,
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    CLOCK_REALTIME_ALARM,
    CLOCK_TAI,
)
from pagewalk.kernel.posix_timers import SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID, PosixTimer
from pagewalk.kernel.signal_send import over_limit
from pagewalk.kernel.signal_types import NSIG
from pagewalk.kernel.syscall.args import NSEC, write_times
from pagewalk.kernel.syscall.time import clock_ns
from pagewalk.kernel.syscall.timerfd import get_itimerspec
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, put_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_CLOCKS: Final = (
    CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM,
)  # fmt: skip
_ALARM_CLOCKS: Final = (CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM)
_SIGEVENT_SIZE: Final = 64


def sys_timer_create(task: "Task", clock: int, event: int, timer_id: int) -> int:
    """timer_create(2)."""
    data = b""
    if event:
        copied = copy_from_user(task.mm, event, _SIGEVENT_SIZE)
        if copied is None:
            return -errno.EFAULT
        data = copied
    clock = signed32(clock)
    if clock_ns(task, clock) < 0:
        return -errno.EINVAL
    if clock not in _CLOCKS:
        return -errno.EOPNOTSUPP
    if over_limit(task):
        return -errno.EAGAIN  # no room for its signal
    signal = task.signal
    timer = PosixTimer(signal.leader, signal.next_timer_id, clock)
    signal.next_timer_id += 1
    if data:
        error = take_sigevent(task, timer, data)
        if error < 0:
            return error
    if not put_user_u32(task.mm, timer_id, timer.id):
        return -errno.EFAULT
    if clock in _ALARM_CLOCKS and not task.capable:
        return -errno.EPERM
    signal.posix_timers[timer.id] = timer
    return 0


def take_sigevent(task: "Task", timer: PosixTimer, data: bytes) -> int:
    """How the timer tells; 0 or -EINVAL."""
    value, signo, notify, tid = struct.unpack_from("<Iiii" if task.compat else "<Qiii", data)
    if notify not in (SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD, SIGEV_THREAD_ID):
        return -errno.EINVAL
    if notify == SIGEV_THREAD_ID:
        thread = task.kernel.find_task(tid)
        if thread is None or thread.signal is not task.signal:
            return -errno.EINVAL
        timer.task = thread
        timer.thread = True
    if notify != SIGEV_NONE and not 0 < signo <= NSIG:
        return -errno.EINVAL
    timer.value = value
    timer.signo = signo
    timer.notify = notify
    return 0


def find_timer(task: "Task", number: int) -> PosixTimer | None:
    """The process's timer with that number."""
    return task.signal.posix_timers.get(signed32(number))


def setting(timer: PosixTimer) -> tuple[int, int, int, int]:
    """The words of struct itimerspec."""
    left = timer.remaining_ns()
    return timer.interval_ns // NSEC, timer.interval_ns % NSEC, left // NSEC, left % NSEC


def sys_timer_settime(task: "Task", number: int, flags: int, new: int, old: int) -> int:
    """timer_settime(2)."""
    if not new:
        return -errno.EINVAL
    spec = get_itimerspec(task, new)
    if isinstance(spec, int):
        return spec
    timer = find_timer(task, number)
    if timer is None:
        return -errno.EINVAL
    before = setting(timer)
    timer.set_time(spec[1], spec[0], flags)
    return 0 if not old or write_times(task, old, before) else -errno.EFAULT


def sys_timer_gettime(task: "Task", number: int, current: int) -> int:
    """timer_gettime(2)."""
    timer = find_timer(task, number)
    if timer is None:
        return -errno.EINVAL
    return 0 if write_times(task, current, setting(timer)) else -errno.EFAULT


def sys_timer_getoverrun(task: "Task", number: int) -> int:
    """timer_getoverrun(2)."""
    timer = find_timer(task, number)
    return -errno.EINVAL if timer is None else timer.overrun_last


def sys_timer_delete(task: "Task", number: int) -> int:
    """timer_delete(2)."""
    timer = find_timer(task, number)
    if timer is None:
        return -errno.EINVAL
    del task.signal.posix_timers[timer.id]
    timer.delete()
    return 0
