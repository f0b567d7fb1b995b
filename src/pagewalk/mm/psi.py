"""Pressure stall information of memory: how much time is lost for want of it.

A task stalls while it reclaims memory itself, and while it waits for a page that has been taken away: from swap, or of
a file too early. "some" is time in which at least one task stalls, "full" that in which nobody else could run
meanwhile. The averages over 10, 60 and 300 seconds go by periods of 2 seconds of the machine's clock.

What a stall costs is what ``Config.swap_latency_us`` and ``Config.reclaim_us`` say, not what the model takes for it:
the totals of two runs are the same.

Sources: Documentation/accounting/psi.rst.

Mirrors: kernel/sched/psi.c (6.18)
Differs: memory alone; a period that was slept through counts when it is looked at; a trigger looks when a task
    stalls rather than ten times a window.
"""

from typing import Final, final

from mypy_extensions import i64

PSI_FREQ_NS: Final = 2_000_000_000
FIXED_1: Final = 2048
# What is left of an average after a period, in parts of 2048: exp(-2/10), exp(-2/60), exp(-2/300).
EXP: Final = (1677, 1981, 2034)
NAMES: Final = ("avg10", "avg60", "avg300")


@final
class PsiLine:
    """One line of /proc/pressure/memory.

    total_ns  stalled since boot
    averages  percent in parts of 2048
    """

    def __init__(self) -> None:
        self.total_ns: i64 = 0
        self.seen_ns: i64 = 0
        self.averages: list[int] = [0, 0, 0]

    def period(self) -> None:
        """A period is over: the averages take in what was stalled in it."""
        stalled: i64 = min(self.total_ns - self.seen_ns, PSI_FREQ_NS)
        self.seen_ns = self.total_ns
        percent = int(stalled) * 100 * FIXED_1 // PSI_FREQ_NS
        for at in range(3):
            average = self.averages[at] * EXP[at] + percent * (FIXED_1 - EXP[at])
            if percent >= self.averages[at]:
                average += FIXED_1 - 1
            self.averages[at] = average // FIXED_1

    def text(self, name: str) -> str:
        """The line."""
        parts = []
        for label, average in zip(NAMES, self.averages, strict=True):
            parts.append(f"{label}={average // FIXED_1}.{average % FIXED_1 * 100 // FIXED_1:02d}")
        return f"{name} {' '.join(parts)} total={self.total_ns // 1000}\n"


@final
class PsiTrigger:
    """A trigger of /proc/pressure/memory: it fires when tasks have stalled for ``threshold_ns`` within a window, once a
    window."""

    def __init__(self, threshold_ns: int, window_ns: int = 1_000_000_000) -> None:
        self.threshold_ns = threshold_ns
        self.window_ns = window_ns
        self.start_ns = -1
        self.start_value = 0
        self.prev_growth = 0
        self.last_event_ns = -1

    def update(self, now_ns: int, total_ns: int) -> bool:
        """Takes the stall time up to now; True where the trigger fires."""
        if self.start_ns < 0:
            self.start_ns = now_ns
            self.start_value = total_ns
        elapsed = now_ns - self.start_ns
        growth = total_ns - self.start_value
        if elapsed > self.window_ns:
            self.start_ns = now_ns
            self.start_value = total_ns
            self.prev_growth = growth
        else:
            growth += self.prev_growth * (self.window_ns - elapsed) // self.window_ns
        if growth < self.threshold_ns:
            return False
        if self.last_event_ns >= 0 and now_ns < self.last_event_ns + self.window_ns:
            return False
        self.last_event_ns = now_ns
        return True


class PsiListener:
    """Somebody who has set a trigger, and is told when a task has stalled."""

    def stalled(self) -> None:
        """Time was lost: the totals have grown."""


@final
class Psi:
    """The machine's, or a memory cgroup's."""

    def __init__(self) -> None:
        self.some = PsiLine()
        self.full = PsiLine()
        self.listeners: list[PsiListener] = []
        self.updated_ns: i64 = -1

    def memstall(self, ns: i64, full: bool) -> None:
        """A task has waited ``ns`` nanoseconds for memory; ``full``: nobody else could run meanwhile."""
        self.some.total_ns += ns
        if full:
            self.full.total_ns += ns
        for listener in self.listeners:
            listener.stalled()

    def update(self, now_ns: i64) -> None:
        """Brings the averages up to a time of the monotonic clock."""
        if self.updated_ns < 0:
            self.updated_ns = now_ns
        periods: i64 = (now_ns - self.updated_ns) // PSI_FREQ_NS
        self.updated_ns += periods * PSI_FREQ_NS
        for _ in range(min(periods, 1000)):
            self.some.period()
            self.full.period()

    def text(self, now_ns: i64) -> str:
        """/proc/pressure/memory."""
        self.update(now_ns)
        return self.some.text("some") + self.full.text("full")
