"""Clocks, sleeping, interval timers, and what a process has used of the CPU.

Sources: clock_gettime(2), nanosleep(2), setitimer(2), getrusage(2), times(2).

Mirrors: kernel/time/*.c, kernel/sys.c (6.18)
Differs: clocks cannot be set.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.clock import (
    CLOCK_MONOTONIC_COARSE,
    CLOCK_PROCESS_CPUTIME_ID,
    CLOCK_REALTIME_COARSE,
    CLOCK_THREAD_CPUTIME_ID,
    ITIMER_REAL,
    JIFFY_NS,
)
from pagewalk.kernel.do_wait import rusage_children, rusage_self, rusage_thread
from pagewalk.kernel.itimer import itimer_changed, task_timer_clock
from pagewalk.kernel.signal import ERESTART_RESTARTBLOCK, ERESTARTNOHAND
from pagewalk.kernel.syscall.args import (
    KTIME_MAX,
    NSEC,
    get_timespec,
    long_size,
    put_timespec,
    put_timeval,
    read_longs,
    timespec_ns,
    write_longs,
)
from pagewalk.kernel.syscall.futex import futex_wait_restart
from pagewalk.kernel.wait import sleep_until
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

TIMER_ABSTIME: Final = 1
RUSAGE_SELF: Final = 0
RUSAGE_CHILDREN: Final = -1
RUSAGE_THREAD: Final = 1
CLK_TCK_NS: Final = 10_000_000


def clock_ns(task: "Task", clock: int) -> int:
    """A clock in nanoseconds; -1 for one that there is not. Negative numbers name some CPU time."""
    if clock in (CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID) or (clock < 0 and clock & 3 != 3):
        thread = clock == CLOCK_THREAD_CPUTIME_ID or (clock < 0 and bool(clock & 4))
        other: Task | None = task
        if clock < 0:
            pid = ~(clock >> 3)
            other = task if pid == 0 else task.kernel.find_task(pid)
            if other is None or (thread and other.signal is not task.signal):
                return -1
        return cpu_time_ns(other, thread=thread)
    return task.kernel.clock_ns(clock)


def cpu_time_ns(task: "Task | None", *, thread: bool) -> int:
    """What the process, or one thread, has used of the CPU, in the program and in the kernel."""
    if task is None:
        return 0
    if thread:
        return task.utime_ns + task.stime_ns
    user, system = task.signal.cpu_time_ns()
    return user + system


def sys_clock_gettime(task: "Task", clock: int, tp: int) -> int:
    """clock_gettime(2)."""
    now = clock_ns(task, signed32(clock))
    if now < 0:
        return -errno.EINVAL
    return 0 if put_timespec(task, tp, now) else -errno.EFAULT


def sys_clock_getres(task: "Task", clock: int, tp: int) -> int:
    """clock_getres(2)."""
    clock = signed32(clock)
    if clock_ns(task, clock) < 0:
        return -errno.EINVAL
    resolution = JIFFY_NS if clock in (CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE) else 1
    return 0 if tp == 0 or put_timespec(task, tp, resolution) else -errno.EFAULT


def sys_clock_settime(task: "Task", clock: int, tp: int) -> int:
    """clock_settime(2): the time is the host's."""
    if signed32(clock) != 0:
        return -errno.EINVAL
    given = get_timespec(task, tp)
    if given is None:
        return -errno.EFAULT
    return -errno.EINVAL if timespec_ns(given[0], given[1]) < 0 else -errno.EPERM


def sys_settimeofday(task: "Task", tv: int, tz: int) -> int:
    """settimeofday(2): the time is the host's."""
    return -errno.EPERM


def sys_gettimeofday(task: "Task", tv: int, tz: int) -> int:
    """gettimeofday(2); the time zone is UTC."""
    if tv and not put_timeval(task, tv, task.kernel.clock_ns(0)):
        return -errno.EFAULT
    if tz and not copy_to_user(task.mm, tz, bytes(8)):
        return -errno.EFAULT
    return 0


def sys_time(task: "Task", addr: int) -> int:
    """time(2)."""
    now = task.kernel.clock_ns(0) // NSEC
    if addr and not write_longs(task, addr, (now,)):
        return -errno.EFAULT
    return now


def sys_nanosleep(task: "Task", request: int, remaining: int) -> int:
    """nanosleep(2)."""
    given = get_timespec(task, request)
    if given is None:
        return -errno.EFAULT
    length = timespec_ns(given[0], given[1])
    if length < 0:
        return -errno.EINVAL
    return sleep(task, min(task.kernel.monotonic_ns() + length, KTIME_MAX), remaining)


def sys_clock_nanosleep(task: "Task", clock: int, flags: int, request: int, remaining: int) -> int:
    """clock_nanosleep(2)."""
    clock = signed32(clock)
    now = clock_ns(task, clock)
    if now < 0 or clock == CLOCK_THREAD_CPUTIME_ID:
        return -errno.EINVAL
    if clock in (4, 5, 6):
        return -errno.EOPNOTSUPP
    given = get_timespec(task, request)
    if given is None:
        return -errno.EFAULT
    length = timespec_ns(given[0], given[1])
    if length < 0:
        return -errno.EINVAL
    if flags & TIMER_ABSTIME:
        deadline = task.kernel.monotonic_ns() + length - now
        return 0 if sleep_until(task, max(0, deadline)) else -ERESTARTNOHAND
    return sleep(task, min(task.kernel.monotonic_ns() + length, KTIME_MAX), remaining)


def sleep(task: "Task", deadline: int, remaining: int) -> int:
    """Sleeps; interrupted, it writes what is left and can be taken up again by restart_syscall."""
    if sleep_until(task, deadline):
        return 0
    left = max(0, deadline - task.kernel.monotonic_ns())
    if left == 0:
        return 0
    if remaining and not put_timespec(task, remaining, left):
        return -errno.EFAULT
    task.restart_futex = None
    task.restart_deadline_ns = deadline
    task.restart_rmtp = remaining
    return -ERESTART_RESTARTBLOCK


def sys_restart_syscall(task: "Task") -> int:
    """restart_syscall(2): goes on with an interrupted sleep, or wait for a futex."""
    if task.restart_futex is not None:
        return futex_wait_restart(task)
    deadline = task.restart_deadline_ns
    task.restart_deadline_ns = 0
    return sleep(task, deadline, task.restart_rmtp) if deadline else -errno.EINTR


def sys_alarm(task: "Task", seconds: int) -> int:
    """alarm(2): what was left of the last one, in seconds, at least 1."""
    now = task.kernel.monotonic_ns()
    timer = task.signal.timers[ITIMER_REAL]
    left = timer.remaining_ns(now)
    timer.arm(now, (seconds & 0xFFFF_FFFF) * NSEC, 0)
    itimer_changed(task)
    if left == 0:
        return 0
    return max(1, left // NSEC + (1 if left % NSEC >= NSEC // 2 else 0))


def sys_getitimer(task: "Task", which: int, value: int) -> int:
    """getitimer(2)."""
    which = signed32(which)
    if which not in (0, 1, 2):
        return -errno.EINVAL
    return 0 if put_itimer(task, which, value) else -errno.EFAULT


def put_itimer(task: "Task", which: int, value: int) -> bool:
    """Writes a struct itimerval."""
    timer = task.signal.timers[which]
    left = timer.remaining_ns(task_timer_clock(task, which))
    return put_timeval(task, value, timer.interval_ns) and put_timeval(task, value + 2 * long_size(task), left)


def sys_setitimer(task: "Task", which: int, value: int, old: int) -> int:
    """setitimer(2)."""
    which = signed32(which)
    words: tuple[int, ...] = (0, 0, 0, 0)
    if value:
        given = read_longs(task, value, 4)
        if given is None:
            return -errno.EFAULT
        words = given
        for seconds, micros in (words[:2], words[2:]):
            if seconds < 0 or not 0 <= micros < 1_000_000:
                return -errno.EINVAL
    if which not in (0, 1, 2):
        return -errno.EINVAL
    if old and not put_itimer(task, which, old):
        return -errno.EFAULT
    interval = min(words[0] * NSEC + words[1] * 1000, KTIME_MAX // 4)
    length = min(words[2] * NSEC + words[3] * 1000, KTIME_MAX // 4)
    task.signal.timers[which].arm(task_timer_clock(task, which), length, interval)
    itimer_changed(task)
    return 0


def sys_times(task: "Task", buf: int) -> int:
    """times(2): clock ticks of 10 ms."""
    if buf:
        signal = task.signal
        user, system = signal.cpu_time_ns()
        ticks = [time_ns // CLK_TCK_NS for time_ns in (user, system, signal.cutime_ns, signal.cstime_ns)]
        if not write_longs(task, buf, ticks):
            return -errno.EFAULT
    return task.kernel.monotonic_ns() // CLK_TCK_NS


def sys_getrusage(task: "Task", who: int, usage: int) -> int:
    """getrusage(2)."""
    who = signed32(who)
    if who not in (RUSAGE_SELF, RUSAGE_CHILDREN, RUSAGE_THREAD):
        return -errno.EINVAL
    if who == RUSAGE_SELF:
        words = rusage_self(task)
    elif who == RUSAGE_THREAD:
        words = rusage_thread(task)
    else:
        words = rusage_children(task)
    return 0 if write_longs(task, usage, words) else -errno.EFAULT
