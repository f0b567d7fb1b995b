"""Wait queues: who wants to be told when something happens to a pipe, a child, a futex.

Whatever a task can wait for has a ``WaitQueueHead``. A waiter links a ``WaitEntry`` into every head that concerns it,
looks once more whether there is reason to wait at all, and sleeps; ``wake_up`` calls the entries' ``wake``. What that
does is the waiter's affair: a task becomes runnable (kernel/sched.py), an epoll item becomes ready.

Mirrors: include/linux/wait.h, kernel/sched/wait.c (6.18)
Differs: it stands in fs/, the lowest room that has something to wait for; waiters are told in the order in which they
    came, exclusive ones among the others.
"""

from typing import final

from mypy_extensions import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class WaitEntry:
    """struct wait_queue_entry: ``exclusive`` waiters are woken one at a time (``wake_up`` of one)."""

    def __init__(self) -> None:
        self.exclusive = False

    def wake(self, key: int) -> bool:
        """Something happened; ``key`` is a mask of POLL* bits, 0 where it may be anything. Whether it was of use."""
        return False


@final
class WaitQueueHead:
    """struct wait_queue_head."""

    def __init__(self) -> None:
        self.entries: list[WaitEntry] = []

    def add(self, entry: WaitEntry) -> None:
        """add_wait_queue."""
        self.entries.append(entry)

    def add_first(self, entry: WaitEntry) -> None:
        """The same, before all who wait already: where Linux puts those that do not sleep (epoll's items)."""
        self.entries.insert(0, entry)

    def remove(self, entry: WaitEntry) -> None:
        """remove_wait_queue; an entry that is not there is no error."""
        if entry in self.entries:
            self.entries.remove(entry)

    def active(self) -> bool:
        """waitqueue_active."""
        return len(self.entries) > 0

    def wake_up(self, key: int = 0, nr_exclusive: int = 1) -> int:
        """Tells every waiter, but at most ``nr_exclusive`` of the exclusive ones (0: all); how many it helped."""
        if not self.entries:
            return 0
        woken = 0
        exclusive = 0
        for entry in list(self.entries):
            if not entry.wake(key):
                continue
            woken += 1
            if entry.exclusive:
                exclusive += 1
                if exclusive == nr_exclusive:
                    break
        return woken
