"""Timers: what is to happen when the monotonic clock has reached a time.

A ``Timer`` knows what to do (``fire``); the machine's ``TimerQueue`` knows when. The scheduler asks ``next_deadline``
how long it may run or sleep, and calls ``run_expired`` when it comes round. Timers of the same time fire in the order
in which they were added.

Mirrors: kernel/time/hrtimer.c (6.18)
Differs: one queue on CLOCK_MONOTONIC; who counts on another clock converts when he arms.
"""

import heapq
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

NEVER: Final = -1


@mypyc_attr(allow_interpreted_subclasses=True)
class Timer:
    """struct hrtimer: ``fire`` is called once ``expires_ns`` of the monotonic clock has passed.

    expires_ns   when it is due; meaningful while it is queued
    queued       it stands in a queue (hrtimer_active)
    key          its entry in that queue; entries with another one are left-overs
    """

    def __init__(self) -> None:
        self.expires_ns = 0
        self.queued = False
        self.key = 0

    def fire(self, now_ns: int) -> None:
        """It is due. No longer queued: it may be added again, here or later."""


class SleepTimer(Timer):
    """Wakes a task when its time is up."""

    def __init__(self, task: "Task") -> None:
        super().__init__()
        self.task = task

    def fire(self, now_ns: int) -> None:
        """The task becomes runnable."""
        self.task.kernel.sched.wake_up_process(self.task)


@final
class TimerQueue:
    """The timers of one machine, by time."""

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Timer]] = []
        self.next_key = 1
        self.nr_queued = 0

    def add(self, timer: Timer, expires_ns: int) -> None:
        """Queues ``timer`` for ``expires_ns``, in place of the time that it may have had (hrtimer_start)."""
        self.cancel(timer)
        timer.expires_ns = expires_ns
        timer.queued = True
        timer.key = self.next_key
        self.next_key += 1
        self.nr_queued += 1
        heapq.heappush(self.heap, (expires_ns, timer.key, timer))

    def cancel(self, timer: Timer) -> bool:
        """Takes ``timer`` out; whether it was queued (hrtimer_cancel)."""
        if not timer.queued:
            return False
        timer.queued = False
        timer.key = 0
        self.nr_queued -= 1
        if len(self.heap) > 2 * self.nr_queued + 64:  # mostly left-overs of cancelled timers
            self.heap = [entry for entry in self.heap if entry[2].key == entry[1]]
            heapq.heapify(self.heap)
        return True

    def drop_stale(self) -> None:
        """Brings a timer that is queued to the front of the heap."""
        while self.heap and self.heap[0][2].key != self.heap[0][1]:
            heapq.heappop(self.heap)

    def next_deadline(self) -> int:
        """When the first timer is due (monotonic nanoseconds), NEVER (-1) where there is none."""
        self.drop_stale()
        return self.heap[0][0] if self.heap else NEVER

    def run_expired(self, now_ns: int) -> int:
        """Fires everything that is due at ``now_ns``; how many timers that were.

        What a timer adds while it fires waits for the next call, even where it is due already: a timer cannot keep
        the kernel here.
        """
        fired = 0
        last_key = self.next_key
        again: list[tuple[int, int, Timer]] = []
        while True:
            self.drop_stale()
            if not self.heap or self.heap[0][0] > now_ns:
                break
            entry = heapq.heappop(self.heap)
            if entry[1] >= last_key:
                again.append(entry)
                continue
            timer = entry[2]
            timer.queued = False
            timer.key = 0
            self.nr_queued -= 1
            timer.fire(now_ns)
            fired += 1
        for entry in again:
            heapq.heappush(self.heap, entry)
        return fired
