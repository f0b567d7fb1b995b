"""timerfd: timers that are read.

Sources: timerfd_create(2).

Mirrors: fs/timerfd.c (6.18)
Differs: clocks are never set, so nothing is cancelled by that; no TFD_IOC_SET_TICKS. It stands in kernel/, for it needs
    the timer queue.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.anon_inodes import AnonFile
from pagewalk.fs.fcntl import O_CLOEXEC, O_NONBLOCK, O_RDWR, POLLIN
from pagewalk.fs.file import WOULD_BLOCK
from pagewalk.fs.wait import WaitQueueHead
from pagewalk.kernel.clock import (
    CLOCK_BOOTTIME,
    CLOCK_BOOTTIME_ALARM,
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    CLOCK_REALTIME_ALARM,
)
from pagewalk.kernel.syscall.args import KTIME_MAX, NSEC, fdget, read_times, timespec_ns, write_times
from pagewalk.kernel.timer import Timer
from pagewalk.kernel.word import signed32

if TYPE_CHECKING:
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task

TFD_TIMER_ABSTIME: Final = 1
TFD_TIMER_CANCEL_ON_SET: Final = 2
_CLOCKS: Final = (CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM)
_ALARM_CLOCKS: Final = (CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM)
_ITIMERSPEC: Final = struct.Struct("<qqqq")


class TimerFdTimer(Timer):
    """The timer of a timerfd."""

    def __init__(self, file: "TimerFile") -> None:
        super().__init__()
        self.file = file

    def fire(self, now_ns: int) -> None:
        """It has expired: readers are told. Further periods are counted when somebody looks."""
        self.file.expired = True
        self.file.ticks += 1
        self.file.wqh.wake_up(POLLIN)


class TimerFile(AnonFile):
    """An open timerfd.

    ticks     expirations since the last read or setting
    expired   it has gone off and, if it is periodic, has not been started again
    interval_ns  its period, 0 for none
    """

    def __init__(self, kernel: "Kernel", clock: int, flags: int) -> None:
        super().__init__(kernel.system, "[timerfd]", O_RDWR | flags & O_NONBLOCK)
        self.kernel = kernel
        self.clock = clock
        self.timer = TimerFdTimer(self)
        self.wqh = WaitQueueHead()
        self.ticks = 0
        self.expired = False
        self.interval_ns = 0
        self.settime_flags = 0

    def release(self) -> None:
        """The timer is cancelled."""
        self.kernel.sched.timers.cancel(self.timer)
        super().release()

    def catch_up(self) -> None:
        """Counts the periods that have passed since it expired, and starts it for the next one."""
        if self.expired and self.interval_ns:
            now = self.kernel.monotonic_ns()
            passed = max(0, now - self.timer.expires_ns) // self.interval_ns + 1
            self.ticks += passed - 1
            self.expired = False
            self.kernel.sched.timers.add(self.timer, self.timer.expires_ns + passed * self.interval_ns)

    def remaining_ns(self) -> int:
        """Until it expires the next time; 0 where it does not."""
        self.catch_up()
        if not self.timer.queued:
            return 0
        return max(0, self.timer.expires_ns - self.kernel.monotonic_ns())

    def setting(self) -> bytes:
        """struct itimerspec."""
        left = self.remaining_ns()
        return _ITIMERSPEC.pack(self.interval_ns // NSEC, self.interval_ns % NSEC, left // NSEC, left % NSEC)

    def set_time(self, value_ns: int, interval_ns: int, flags: int) -> None:
        """Arms it for ``value_ns`` from now or (TFD_TIMER_ABSTIME) of its clock; 0 disarms."""
        timers = self.kernel.sched.timers
        timers.cancel(self.timer)
        self.expired = False
        self.ticks = 0
        self.interval_ns = interval_ns
        self.settime_flags = flags & (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)
        if value_ns == 0:
            return
        now = self.kernel.monotonic_ns()
        if flags & TFD_TIMER_ABSTIME:
            value_ns -= self.kernel.clock_ns(self.clock)
        due = min(now + value_ns, KTIME_MAX)
        if due <= now:
            self.timer.expires_ns = due
            self.timer.fire(now)
        else:
            timers.add(self.timer, due)

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """How often it has expired."""
        if pos != -1:
            return -errno.ESPIPE
        if count < 8:
            return -errno.EINVAL
        if self.ticks == 0:
            return -errno.EAGAIN if self.nonblock else WOULD_BLOCK
        self.catch_up()
        self.expired = False
        ticks = self.ticks
        self.ticks = 0
        return ticks.to_bytes(8, "little")

    def poll(self) -> int:
        """Readable once it has expired."""
        return POLLIN if self.ticks else 0

    def wchan(self, events: int) -> str:
        """Where Linux waits with a queue's lock held."""
        return "do_wait_intr_irq"

    def wait_queues(self) -> list[WaitQueueHead]:
        """Its own."""
        return [self.wqh]

    def fdinfo(self) -> str:
        """Clock, ticks, flags and times."""
        seconds, nanos, left_s, left_ns = _ITIMERSPEC.unpack(self.setting())
        return (
            f"clockid: {self.clock}\nticks: {self.ticks}\nsettime flags: 0{self.settime_flags:o}\n"
            f"it_value: ({left_s}, {left_ns})\nit_interval: ({seconds}, {nanos})\n"
        )


def sys_timerfd_create(task: "Task", clock: int, flags: int) -> int:
    """timerfd_create(2)."""
    clock, flags = signed32(clock), flags & 0xFFFF_FFFF
    if flags & ~(O_CLOEXEC | O_NONBLOCK) or clock not in _CLOCKS:
        return -errno.EINVAL
    if clock in _ALARM_CLOCKS and not task.capable:
        return -errno.EPERM
    file = TimerFile(task.kernel, clock, flags)
    fd = task.files.install(file, bool(flags & O_CLOEXEC))
    if fd < 0:
        file.put()
    return fd


def get_itimerspec(task: "Task", addr: int) -> tuple[int, int] | int:
    """(interval, value) in nanoseconds of a struct itimerspec; -EFAULT, -EINVAL."""
    words = read_times(task, addr, 4)
    if words is None:
        return -errno.EFAULT
    interval, value = timespec_ns(words[0], words[1]), timespec_ns(words[2], words[3])
    return -errno.EINVAL if interval < 0 or value < 0 else (interval, value)


def sys_timerfd_settime(task: "Task", fd: int, flags: int, new: int, old: int) -> int:
    """timerfd_settime(2)."""
    spec = get_itimerspec(task, new)
    if spec == -errno.EFAULT:
        return -errno.EFAULT
    if isinstance(spec, int) or flags & 0xFFFF_FFFF & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET):
        return -errno.EINVAL
    file = fdget(task, fd)
    if not isinstance(file, TimerFile):
        return -errno.EBADF if file is None else -errno.EINVAL
    before = file.setting()
    file.set_time(spec[1], spec[0], flags & 0xFFFF_FFFF)
    return 0 if old == 0 or write_times(task, old, _ITIMERSPEC.unpack(before)) else -errno.EFAULT


def sys_timerfd_gettime(task: "Task", fd: int, current: int) -> int:
    """timerfd_gettime(2)."""
    file = fdget(task, fd)
    if not isinstance(file, TimerFile):
        return -errno.EBADF if file is None else -errno.EINVAL
    return 0 if write_times(task, current, _ITIMERSPEC.unpack(file.setting())) else -errno.EFAULT
