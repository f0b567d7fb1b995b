"""Futexes: where threads wait for a word of memory to change.

A key says which word is meant. A private futex is (address space, address). A shared one is taken from the page: a page
of a file or of shared memory is the same futex wherever it is mapped; an anonymous page belongs to its address space.

Sources: futex(2), set_robust_list(2), Documentation/locking/robust-futex-ABI.rst.

Mirrors: kernel/futex/core.c, kernel/futex/waitwake.c, kernel/futex/requeue.c (6.18)
Differs: one table for all keys; waiters are woken in the order in which they came.
"""

import errno
from typing import TYPE_CHECKING, Final, final

from pagewalk.mm.fault import WRITE
from pagewalk.mm.page import PG_anon
from pagewalk.mm.uaccess import get_user_u32, get_user_u64, put_user_u32, user_paddr

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

FUTEX_WAITERS: Final = 0x8000_0000
FUTEX_OWNER_DIED: Final = 0x4000_0000
FUTEX_TID_MASK: Final = 0x3FFF_FFFF
FUTEX_BITSET_MATCH_ANY: Final = 0xFFFF_FFFF
ROBUST_LIST_LIMIT: Final = 2048

# The kinds of key.
KEY_PRIVATE: Final = 0
KEY_SHARED: Final = 1

FutexKey = tuple[int, int, int]


@final
class FutexQ:
    """struct futex_q: one waiter. ``woken`` is set when somebody took it off its queue; ``pi_owner``: it was given the
    lock that it waits for."""

    def __init__(self, task: "Task", key: FutexKey, bitset: int) -> None:
        self.task = task
        self.key = key
        self.bitset = bitset
        self.woken = False
        self.is_pi = False


class FutexTable:
    """The waiters of a machine, by key, in order of arrival."""

    def __init__(self) -> None:
        self.queues: dict[FutexKey, list[FutexQ]] = {}

    def queue(self, waiter: FutexQ) -> None:
        """futex_queue."""
        waiters = self.queues.get(waiter.key)
        if waiters is None:
            self.queues[waiter.key] = [waiter]
        else:
            waiters.append(waiter)

    def unqueue(self, waiter: FutexQ) -> bool:
        """Takes a waiter off that was not woken; whether it was still there."""
        waiters = self.queues.get(waiter.key)
        if waiters is None or waiter not in waiters:
            return False
        waiters.remove(waiter)
        if not waiters:
            del self.queues[waiter.key]
        return True

    def wake(self, key: FutexKey, count: int, bitset: int) -> int:
        """Wakes up to ``count`` waiters that share a bit; how many."""
        woken = 0
        for waiter in list(self.queues.get(key, [])):
            if woken >= count:
                break
            if not waiter.bitset & bitset:
                continue
            self.mark_woken(waiter)
            woken += 1
        return woken

    def mark_woken(self, waiter: FutexQ) -> None:
        """futex_wake_mark: off the queue, and runnable."""
        self.unqueue(waiter)
        waiter.woken = True
        waiter.task.kernel.sched.wake_up_process(waiter.task)

    def requeue(self, source: FutexKey, target: FutexKey, nr_wake: int, nr_requeue: int) -> int:
        """Wakes up to ``nr_wake`` waiters and moves up to ``nr_requeue`` more to ``target``; how many in all."""
        done = 0
        for waiter in list(self.queues.get(source, [])):
            if done < nr_wake:
                self.mark_woken(waiter)
            elif done < nr_wake + nr_requeue:
                if source != target:
                    self.unqueue(waiter)
                    waiter.key = target
                    self.queue(waiter)
            else:
                break
            done += 1
        return done

    def first(self, key: FutexKey) -> FutexQ | None:
        """The waiter that has been there longest."""
        waiters = self.queues.get(key)
        return waiters[0] if waiters else None


def get_futex_key(task: "Task", uaddr: int, *, shared: bool) -> FutexKey | int:
    """The key of the word at ``uaddr``; -EINVAL (not aligned to 4), -EFAULT."""
    if uaddr & 3:
        return -errno.EINVAL
    mm = task.mm
    if not 0 <= uaddr < mm.task_size:
        return -errno.EFAULT
    if not shared:
        return (KEY_PRIVATE, mm.ident, uaddr)
    paddr = int(user_paddr(mm, uaddr, WRITE))
    if paddr < 0:
        if get_user_u32(mm, uaddr) is None:
            return -errno.EFAULT
        paddr = int(user_paddr(mm, uaddr, 0))
    page = mm.system.page(paddr >> 12)
    if page.flags & PG_anon or page.mapping is None:
        return (KEY_PRIVATE, mm.ident, uaddr)
    return (KEY_SHARED, id(page.mapping), int(page.index) << 12 | uaddr & 4095)


def futex_wake_user(task: "Task", uaddr: int) -> int:
    """Wakes one waiter of a word of the task's memory, as a shared futex: what the end of a thread does."""
    key = get_futex_key(task, uaddr, shared=True)
    return key if isinstance(key, int) else task.kernel.futexes.wake(key, 1, FUTEX_BITSET_MATCH_ANY)


def exit_robust_list(task: "Task") -> None:
    """The thread ends: locks that it holds are marked FUTEX_OWNER_DIED, and a waiter of each is woken."""
    head = task.robust_list
    task.robust_list = 0
    if head == 0:
        return
    mm = task.mm
    entry = get_user_u64(mm, head)
    offset = get_user_u64(mm, head + 8)
    pending = get_user_u64(mm, head + 16)
    if entry is None or offset is None or pending is None:
        return
    if offset >= 1 << 63:
        offset -= 1 << 64
    for _ in range(ROBUST_LIST_LIMIT):
        if entry is None or entry & ~1 == head:
            break
        following = get_user_u64(mm, entry & ~1) if entry >> 47 == 0 else None
        if entry & ~1 != pending & ~1 and not handle_futex_death(task, (entry & ~1) + offset):
            return
        entry = following
    if pending & ~1:
        handle_futex_death(task, (pending & ~1) + offset, pending_op=True)


def handle_futex_death(task: "Task", uaddr: int, *, pending_op: bool = False) -> bool:
    """One lock of a dead thread; False where its memory cannot be reached."""
    if uaddr & 3 or not 0 <= uaddr < task.mm.task_size:
        return False
    word = get_user_u32(task.mm, uaddr)
    if word is None:
        return False
    if pending_op and word == 0:
        futex_wake_user(task, uaddr)
        return True
    if word & FUTEX_TID_MASK != task.pid:
        return True
    if not put_user_u32(task.mm, uaddr, word & FUTEX_WAITERS | FUTEX_OWNER_DIED):
        return False
    if word & FUTEX_WAITERS:
        futex_wake_user(task, uaddr)
    return True
