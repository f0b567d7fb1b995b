"""POSIX timers: what timer_create(2) makes.

A timer that goes off queues its signal; a periodic one is started again when that signal is taken, and what has passed
meanwhile is its overrun.

Sources: timer_create(2), timer_settime(2), timer_getoverrun(2), sigevent(3).

Mirrors: kernel/time/posix-timers.c, kernel/signal.c (posixtimer_send_sigqueue) (6.18)
Differs: no timers on CPU clocks (EOPNOTSUPP); a timer whose signal is ignored when it goes off stands still until it is
    set again.
"""

import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.clock import CLOCK_MONOTONIC
from pagewalk.kernel.signal_send import complete_signal, prepare_signal, sig_ignored
from pagewalk.kernel.signal_types import SI_TIMER, SigInfo, sigmask
from pagewalk.kernel.timer import Timer

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

TIMER_ABSTIME: Final = 1
SIGEV_SIGNAL: Final = 0
SIGEV_NONE: Final = 1
SIGEV_THREAD: Final = 2
SIGEV_THREAD_ID: Final = 4
DELAYTIMER_MAX: Final = 0x7FFF_FFFF


class TimerSigInfo(SigInfo):
    """The siginfo of a timer's signal; being taken starts the timer again."""

    def __init__(self, timer: "PosixTimer") -> None:
        super().__init__(timer.signo, SI_TIMER, timer.fields(0))
        self.timer = timer
        self.charged = False

    def collected(self) -> None:
        """The signal is delivered: counts what was missed, and starts the next period."""
        self.fields = self.timer.fields(self.timer.rearm())


class PosixTimer(Timer):
    """struct k_itimer.

    id, clock       its number and clock; task: whose signal it sends (a thread where ``thread``)
    notify, signo, value   of struct sigevent
    interval_ns     its period, 0 for none; due_ns: when it is due on the monotonic clock, 0 where it is not armed
    info            its signal while it is on its way
    overrun_last    periods missed before the last signal
    """

    def __init__(self, task: "Task", number: int, clock: int) -> None:
        super().__init__()
        self.task = task
        self.thread = False
        self.id = number
        self.clock = clock
        self.notify = SIGEV_SIGNAL
        self.signo = 14
        self.value = number
        self.interval_ns = 0
        self.due_ns = 0
        self.info: TimerSigInfo | None = None
        self.overrun_last = 0

    def fields(self, overrun: int) -> bytes:
        """si_timerid, si_overrun, si_value."""
        return struct.pack("<iiQ", self.id, overrun, self.value)

    def fire(self, now_ns: int) -> None:
        """Queues the signal, unless it is ignored or still on its way."""
        if self.info is not None:
            return
        task = self.task
        if task.is_ended() and (self.thread or task.signal.live == 0):
            return
        prepare_signal(task, self.signo)
        if sig_ignored(task, self.signo):
            return
        info = TimerSigInfo(self)
        pending = task.pending if self.thread else task.signal.shared_pending
        pending.list.append(info)
        pending.signal |= sigmask(self.signo)
        self.info = info
        task.sighand.signalfd_wqh.wake_up(0, 0)
        complete_signal(task, self.signo, group=not self.thread)

    def rearm(self) -> int:
        """The signal was taken: starts the next period; how many were missed."""
        self.info = None
        missed = 0
        if self.interval_ns and self.due_ns:
            now = self.task.kernel.monotonic_ns()
            missed = max(0, now - self.due_ns) // self.interval_ns
            self.due_ns += (missed + 1) * self.interval_ns
            self.task.kernel.sched.timers.add(self, self.due_ns)
        else:
            self.due_ns = 0
        self.overrun_last = min(missed, DELAYTIMER_MAX)
        return self.overrun_last

    def remaining_ns(self) -> int:
        """Until it is due next, at least 1 while it is armed; 0 where it is not."""
        if not self.due_ns:
            return 0
        now = self.task.kernel.monotonic_ns()
        due = self.due_ns
        if self.interval_ns and due <= now:
            due += ((now - due) // self.interval_ns + 1) * self.interval_ns
        if due <= now:
            return 0 if self.notify == SIGEV_NONE or not self.queued else 1
        return due - now

    def set_time(self, value_ns: int, interval_ns: int, flags: int) -> None:
        """timer_settime(2): due in ``value_ns``, or with TIMER_ABSTIME when its clock says so; 0 disarms."""
        kernel = self.task.kernel
        kernel.sched.timers.cancel(self)
        self.drop_signal()
        self.overrun_last = 0
        self.interval_ns = 0
        self.due_ns = 0
        if value_ns == 0:
            return
        self.interval_ns = interval_ns
        now = kernel.monotonic_ns()
        if flags & TIMER_ABSTIME and self.clock != CLOCK_MONOTONIC:
            value_ns += now - kernel.clock_ns(self.clock)
        elif not flags & TIMER_ABSTIME:
            value_ns += now
        self.due_ns = max(1, min(value_ns, 1 << 62))
        if self.notify == SIGEV_NONE:
            return
        if self.due_ns <= now:
            self.fire(now)
        else:
            kernel.sched.timers.add(self, self.due_ns)

    def drop_signal(self) -> None:
        """A signal that is on its way is not delivered any more."""
        info = self.info
        self.info = None
        if info is not None:
            (self.task.pending if self.thread else self.task.signal.shared_pending).drop(info)

    def delete(self) -> None:
        """timer_delete(2)."""
        self.task.kernel.sched.timers.cancel(self)
        self.due_ns = 0
        self.interval_ns = 0
        self.drop_signal()


def exit_posix_timers(task: "Task") -> None:
    """exit and execve: the process has no timers any more."""
    timers = task.signal.posix_timers
    task.signal.posix_timers = {}
    for timer in timers.values():
        timer.delete()
