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
from pagewalk.mm.uaccess import access_ok, get_user_u32, get_user_u64, put_user_u32, user_paddr

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.mm.mm_types import MmStruct

FUTEX_WAITERS: Final = 0x8000_0000
FUTEX_OWNER_DIED: Final = 0x4000_0000
FUTEX_TID_MASK: Final = 0x3FFF_FFFF
FUTEX_BITSET_MATCH_ANY: Final = 0xFFFF_FFFF
ROBUST_LIST_LIMIT: Final = 2048

# The kinds of key.
KEY_PRIVATE: Final = 0
KEY_SHARED: Final = 1
KEY_MMSHARED: Final = 2  # asked for as shared, and the page turned out to be the address space's own

FutexKey = tuple[int, int, int]


@final
class PiState:
    """struct futex_pi_state: a lock with priority inheritance that ``nr_waiters`` wait for; see futex_pi.py."""

    def __init__(self, owner: "Task") -> None:
        self.owner = owner
        self.nr_waiters = 0


@final
class FutexQ:
    """struct futex_q: one waiter.

    woken        somebody took it off its queue; where it waits for a lock, the lock is its own
    uaddr        where its task sees the word that it waits for
    pi_state     of the lock that it waits for; None for a plain wait
    requeue_key  FUTEX_WAIT_REQUEUE_PI: the lock that it wants to be moved to
    """

    def __init__(self, task: "Task", key: FutexKey, bitset: int, uaddr: int = 0) -> None:
        self.task = task
        self.key = key
        self.bitset = bitset
        self.uaddr = uaddr
        self.woken = False
        self.pi_state: PiState | None = None
        self.requeue_key: FutexKey | None = None

    def has_moved(self) -> bool:
        """Whether a waiter for a requeue was moved to its lock, or given it. (A method: compiled code would go on
        believing what it has seen of an attribute before it slept.)"""
        return self.woken or self.pi_state is not None

    def is_plain(self) -> bool:
        """Whether FUTEX_WAKE and FUTEX_REQUEUE may touch it."""
        return self.pi_state is None and self.requeue_key is None


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
        """Wakes up to ``count`` waiters that share a bit; how many. -EINVAL where one waits for a lock."""
        woken = 0
        for waiter in self.waiters(key):
            if woken >= count:
                break
            if not waiter.is_plain():
                return -errno.EINVAL
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
        """Wakes up to ``nr_wake`` waiters and moves up to ``nr_requeue`` more to ``target``; how many in all. -EINVAL
        where one waits for a lock."""
        done = 0
        for waiter in self.waiters(source):
            if done < nr_wake + nr_requeue and not waiter.is_plain():
                return -errno.EINVAL
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

    def waiters(self, key: FutexKey) -> list[FutexQ]:
        """All that wait for a word now, the longest first."""
        return list(self.queues.get(key, []))

    def pi_waiters(self, state: PiState) -> list[FutexQ]:
        """All that wait for a lock."""
        return [waiter for waiters in self.queues.values() for waiter in waiters if waiter.pi_state is state]

    def first(self, key: FutexKey) -> FutexQ | None:
        """The waiter that has been there longest."""
        waiters = self.queues.get(key)
        return waiters[0] if waiters else None


def get_futex_key(task: "Task", uaddr: int, *, shared: bool, write: bool = False) -> FutexKey | int:
    """The key of the word at ``uaddr``; -EINVAL (not aligned to 4), -EFAULT (also for a page that nobody has: the zero
    page). ``write``: the call will write to a shared one."""
    if uaddr & 3:
        return -errno.EINVAL
    mm = task.mm
    if not access_ok(mm, uaddr, 4):
        return -errno.EFAULT
    if not shared:
        return (KEY_PRIVATE, mm.ident, uaddr)
    paddr = int(user_paddr(mm, uaddr, WRITE))
    if paddr < 0:
        if write or get_user_u32(mm, uaddr) is None:
            return -errno.EFAULT
        paddr = int(user_paddr(mm, uaddr, 0))
    page = mm.system.page(paddr >> mm.system.page_shift)
    if page.flags & PG_anon:
        return (KEY_MMSHARED, mm.ident, uaddr)
    if page.mapping is None:
        return -errno.EFAULT
    return (
        KEY_SHARED,
        id(page.mapping),
        int(page.index) << int(mm.system.page_shift) | uaddr & (int(mm.system.page_size) - 1),
    )


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
    word = 4 if task.robust_list_compat else 8
    entry = get_pointer(mm, head, word)
    offset = get_pointer(mm, head + word, word)
    pending = get_pointer(mm, head + 2 * word, word)
    if entry is None or offset is None or pending is None:
        return
    if offset >= 1 << 8 * word - 1:
        offset -= 1 << 8 * word
    for _ in range(ROBUST_LIST_LIMIT):
        if entry is None or entry & ~1 == head:
            break
        following = get_pointer(mm, entry & ~1, word) if entry < mm.task_size else None
        if entry & ~1 != pending & ~1 and not handle_futex_death(task, (entry & ~1) + offset, pi=entry & 1 != 0):
            return
        entry = following
    if pending & ~1:
        handle_futex_death(task, (pending & ~1) + offset, pi=pending & 1 != 0, pending_op=True)


def get_pointer(mm: "MmStruct", addr: int, word: int) -> int | None:
    """A pointer of ``word`` bytes from user memory; None for EFAULT."""
    return get_user_u64(mm, addr) if word == 8 else get_user_u32(mm, addr)


def handle_futex_death(task: "Task", uaddr: int, *, pi: bool, pending_op: bool = False) -> bool:
    """One lock of a dead thread; False where its memory cannot be reached. One with priority inheritance (``pi``) is
    handed over by exit_pi_state_list."""
    if uaddr & 3 or not 0 <= uaddr < task.mm.task_size:
        return False
    word = get_user_u32(task.mm, uaddr)
    if word is None:
        return False
    owner = word & FUTEX_TID_MASK
    if pending_op and not pi and owner == 0:
        futex_wake_user(task, uaddr)
        return True
    if owner != task.pid:
        return True
    if not put_user_u32(task.mm, uaddr, word & FUTEX_WAITERS | FUTEX_OWNER_DIED):
        return False
    if word & FUTEX_WAITERS and not pi:
        futex_wake_user(task, uaddr)
    return True
