"""Clocks and interval timers. Time is the host's until it is counted; a helper thread wakes the kernel for timers.

The thread touches no kernel state: it only calls ``poke``, and the kernel looks at its clocks itself when it comes
round.

Sources: clock_gettime(2), setitimer(2).

Mirrors: kernel/time/itimer.c, kernel/time/posix-timers.c (6.18)
Differs: process times are measured, not sampled; ITIMER_VIRTUAL and ITIMER_PROF are checked when the kernel is entered.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

CLOCK_REALTIME: Final = 0
CLOCK_MONOTONIC: Final = 1
CLOCK_PROCESS_CPUTIME_ID: Final = 2
CLOCK_THREAD_CPUTIME_ID: Final = 3
CLOCK_MONOTONIC_RAW: Final = 4
CLOCK_REALTIME_COARSE: Final = 5
CLOCK_MONOTONIC_COARSE: Final = 6
CLOCK_BOOTTIME: Final = 7
CLOCK_REALTIME_ALARM: Final = 8
CLOCK_BOOTTIME_ALARM: Final = 9
CLOCK_TAI: Final = 11

ITIMER_REAL: Final = 0
ITIMER_VIRTUAL: Final = 1
ITIMER_PROF: Final = 2

_WALL_CLOCKS: Final = (CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCK_REALTIME_ALARM)

NSEC: Final = 1_000_000_000
JIFFY_NS: Final = 4_000_000  # CONFIG_HZ=250: what coarse clocks resolve


def monotonic_ns() -> int:
    """CLOCK_MONOTONIC in nanoseconds."""
    return time.monotonic_ns()


def host_clock_ns(clock: int) -> int:
    """A system-wide clock in nanoseconds; -1 for one that is none."""
    if clock in (CLOCK_REALTIME, CLOCK_REALTIME_ALARM):
        return time.time_ns()
    if clock in (CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW):
        return time.clock_gettime_ns(clock)
    if clock in (CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM):
        return time.clock_gettime_ns(CLOCK_BOOTTIME)
    if clock == CLOCK_TAI:
        return time.clock_gettime_ns(CLOCK_TAI)
    return -1


class Clock:
    """A machine's monotonic clock: the host's, or, once ``count`` was called, one that goes on by what programs do."""

    def __init__(self) -> None:
        self.counting = False
        self.now_ns = 0
        self.real_offset_ns = 0

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return self.now_ns if self.counting else time.monotonic_ns()

    def clock_ns(self, clock: int) -> int:
        """A system-wide clock in nanoseconds; -1 for one that is none."""
        host = host_clock_ns(clock)
        if host < 0 or not self.counting:
            return host
        ahead = host - time.monotonic_ns()  # the offset of one clock from the other does not change
        return self.now_ns + ahead if clock not in _WALL_CLOCKS else self.now_ns + self.real_offset_ns

    def count(self) -> None:
        """From now on ``advance`` makes the time."""
        if not self.counting:
            self.now_ns = time.monotonic_ns()
            self.real_offset_ns = time.time_ns() - self.now_ns
            self.counting = True

    def advance(self, ns: int) -> None:
        """The programs have used ``ns``."""
        self.now_ns += ns

    def slept(self, host_ns: int, deadline_ns: int) -> None:
        """The machine slept for ``host_ns``, at most until ``deadline_ns`` (-1: none)."""
        if self.counting:
            now = self.now_ns + host_ns
            self.now_ns = now if deadline_ns < 0 else max(self.now_ns, min(now, deadline_ns))


class IntervalTimer:
    """One of setitimer(2)'s: ``expires_ns`` on its own clock (0: not armed) and the interval that it repeats with."""

    def __init__(self) -> None:
        self.expires_ns = 0
        self.interval_ns = 0

    def remaining_ns(self, now: int) -> int:
        """Until it is due; 0 where it is not armed, at least one microsecond where it is."""
        return max(1000, self.expires_ns - now) if self.expires_ns else 0

    def arm(self, now: int, value_ns: int, interval_ns: int) -> None:
        """Due in ``value_ns``; 0 disarms."""
        self.expires_ns = now + value_ns if value_ns else 0
        self.interval_ns = interval_ns

    def due(self, now: int) -> bool:
        """Whether it went off; arms it for the next time."""
        if not self.expires_ns or now < self.expires_ns:
            return False
        if self.interval_ns:
            missed = (now - self.expires_ns) // self.interval_ns
            self.expires_ns += (missed + 1) * self.interval_ns
        else:
            self.expires_ns = 0
        return True


class AlarmClock:
    """The helper thread: calls ``poke`` once the host's monotonic clock reaches ``deadline``. Started on first use."""

    def __init__(self, poke: Callable[[], None]) -> None:
        self.poke = poke
        self.deadline_ns = 0
        self.closed = False
        self.condition = threading.Condition()
        self.thread: threading.Thread | None = None

    def set(self, deadline_ns: int) -> None:
        """Pokes at ``deadline_ns``; 0 for never."""
        with self.condition:
            self.deadline_ns = deadline_ns
            if self.thread is None and deadline_ns:
                self.thread = threading.Thread(target=self.run, name="pagewalk-timers", daemon=True)
                self.thread.start()
            self.condition.notify()

    def run(self) -> None:
        """The thread's body."""
        while True:
            with self.condition:
                if self.closed:
                    return
                wait = (self.deadline_ns - time.monotonic_ns()) / NSEC if self.deadline_ns else None
                due = wait is not None and wait <= 0
                if due:
                    self.deadline_ns = 0
                else:
                    self.condition.wait(wait)
            if due:
                self.poke()

    def close(self) -> None:
        """Ends the thread."""
        with self.condition:
            self.closed = True
            self.condition.notify()
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(1)
