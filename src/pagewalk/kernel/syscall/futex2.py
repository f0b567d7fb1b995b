"""The calls that came after futex(2): futex_waitv(2), and futex_wake, futex_wait, futex_requeue.

Sources: Documentation/userspace-api/futex2.rst.

Mirrors: kernel/futex/syscalls.c, kernel/futex/waitwake.c (6.18)
Differs: no FUTEX2_NUMA and no FUTEX2_MPOL (EINVAL).
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.futex import FUTEX_BITSET_MATCH_ANY, FutexKey, FutexQ, FutexTable, get_futex_key
from pagewalk.kernel.signal import ERESTARTSYS
from pagewalk.kernel.signal_send import signal_pending
from pagewalk.kernel.syscall.args import get_timespec, timespec_ns
from pagewalk.kernel.syscall.futex import futex_requeue
from pagewalk.kernel.wait import FOREVER
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, get_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

FUTEX2_SIZE_MASK: Final = 3
FUTEX2_SIZE_U32: Final = 2
FUTEX2_PRIVATE: Final = 128
FUTEX_WAITV_MAX: Final = 128
WAITV_SIZE: Final = 24

_CLOCK_REALTIME: Final = 0
_CLOCK_MONOTONIC: Final = 1


class Waitv:
    """struct futex_waitv: the word at ``uaddr`` is to be ``val``."""

    def __init__(self, val: int, uaddr: int, flags: int) -> None:
        self.val = val
        self.uaddr = uaddr
        self.flags = flags


def flags_valid(flags: int) -> bool:
    """Whether the words are of 32 bits, and nothing else is asked for than that they are private."""
    return flags & ~(FUTEX2_SIZE_MASK | FUTEX2_PRIVATE) == 0 and flags & FUTEX2_SIZE_MASK == FUTEX2_SIZE_U32


def fits(value: int) -> bool:
    """Whether a value or mask is one of 32 bits."""
    return 0 <= value <= 0xFFFF_FFFF


def futex2_deadline(task: "Task", timeout: int, clock: int) -> int:
    """When a wait ends, on the monotonic clock; the argument is a time of CLOCK_REALTIME or CLOCK_MONOTONIC."""
    if not timeout:
        return FOREVER
    clock = signed32(clock)
    if clock not in (_CLOCK_REALTIME, _CLOCK_MONOTONIC):
        return -errno.EINVAL
    given = get_timespec(task, timeout)
    if given is None:
        return -errno.EFAULT
    end = timespec_ns(given[0], given[1])
    if end < 0:
        return -errno.EINVAL
    if clock == _CLOCK_REALTIME:
        return max(0, end + task.kernel.monotonic_ns() - task.kernel.clock_ns(_CLOCK_REALTIME))
    return end


def parse_waitv(task: "Task", addr: int, count: int) -> list[Waitv] | int:
    """The array of struct futex_waitv in user memory; EFAULT, EINVAL."""
    found: list[Waitv] = []
    for index in range(count):
        data = copy_from_user(task.mm, addr + index * WAITV_SIZE, WAITV_SIZE)
        if data is None:
            return -errno.EFAULT
        val, uaddr, flags, reserved = struct.unpack("<QqII", data)
        if reserved or not flags_valid(flags) or not fits(val):
            return -errno.EINVAL
        found.append(Waitv(val, uaddr, flags))
    return found


def sys_futex_waitv(task: "Task", waiters: int, count: int, flags: int, timeout: int, clock: int) -> int:
    """futex_waitv(2): sleeps while each word has its value; which of them was woken."""
    count &= 0xFFFF_FFFF
    if flags & 0xFFFF_FFFF or not 0 < count <= FUTEX_WAITV_MAX or not waiters:
        return -errno.EINVAL
    deadline = futex2_deadline(task, timeout, clock)
    if deadline < FOREVER:
        return deadline
    words = parse_waitv(task, waiters, count)
    if isinstance(words, int):
        return words
    keys: list[FutexKey] = []
    for word in words:
        key = get_futex_key(task, word.uaddr, shared=not word.flags & FUTEX2_PRIVATE)
        if isinstance(key, int):
            return key
        keys.append(key)
    table = task.kernel.futexes
    queued: list[FutexQ] = []
    for index, word in enumerate(words):
        value = get_user_u32(task.mm, word.uaddr)
        if value != word.val:
            unqueue_multiple(table, queued)
            return -errno.EFAULT if value is None else -errno.EAGAIN
        waiter = FutexQ(task, keys[index], FUTEX_BITSET_MATCH_ANY, word.uaddr)
        table.queue(waiter)
        queued.append(waiter)
    while True:
        in_time = task.kernel.wait(task, deadline, [], [], "futex_do_wait")
        result = -errno.ETIMEDOUT if not in_time else -ERESTARTSYS
        if any(waiter.woken for waiter in queued) or not in_time or signal_pending(task):
            woken = unqueue_multiple(table, queued)
            return woken if woken >= 0 else result


def unqueue_multiple(table: FutexTable, queued: list[FutexQ]) -> int:
    """Takes all off their queues; the number of the last one that was woken, -1 for none."""
    woken = -1
    for index, waiter in enumerate(queued):
        if not table.unqueue(waiter):
            woken = index
    return woken


def sys_futex_wake(task: "Task", uaddr: int, mask: int, count: int, flags: int) -> int:
    """futex_wake(2): up to ``count`` waiters that share a bit with ``mask``; how many. 0 of 0."""
    if not flags_valid(flags & 0xFFFF_FFFF) or not fits(mask) or mask == 0:
        return -errno.EINVAL
    key = get_futex_key(task, uaddr, shared=not flags & FUTEX2_PRIVATE)
    if isinstance(key, int):
        return key
    count = signed32(count)
    return task.kernel.futexes.wake(key, max(1, count), mask) if count else 0


def sys_futex_wait(task: "Task", uaddr: int, val: int, mask: int, flags: int, timeout: int, clock: int) -> int:
    """futex_wait(2): sleeps while the word is ``val``; 0, EAGAIN, ETIMEDOUT."""
    if not flags_valid(flags & 0xFFFF_FFFF) or not fits(val) or not fits(mask):
        return -errno.EINVAL
    deadline = futex2_deadline(task, timeout, clock)
    if deadline < FOREVER:
        return deadline
    if mask == 0:
        return -errno.EINVAL
    key = get_futex_key(task, uaddr, shared=not flags & FUTEX2_PRIVATE)
    if isinstance(key, int):
        return key
    word = get_user_u32(task.mm, uaddr)
    if word != val:
        return -errno.EFAULT if word is None else -errno.EAGAIN
    waiter = FutexQ(task, key, mask, uaddr)
    table = task.kernel.futexes
    table.queue(waiter)
    while not waiter.woken:
        in_time = task.kernel.wait(task, deadline, [], [], "futex_do_wait")
        if not waiter.woken and (not in_time or signal_pending(task)):
            table.unqueue(waiter)
            return -ERESTARTSYS if in_time else -errno.ETIMEDOUT
    return 0


def sys_futex_requeue(task: "Task", waiters: int, flags: int, nr_wake: int, nr_requeue: int) -> int:
    """futex_requeue(2): as FUTEX_CMP_REQUEUE, from the first of two struct futex_waitv to the second."""
    if flags & 0xFFFF_FFFF or not waiters:
        return -errno.EINVAL
    pair = parse_waitv(task, waiters, 2)
    if isinstance(pair, int):
        return pair
    source, target = pair
    if source.flags != target.flags:
        return -errno.EINVAL
    shared = not source.flags & FUTEX2_PRIVATE
    return futex_requeue(
        task, source.uaddr, target.uaddr, signed32(nr_wake), signed32(nr_requeue), source.val, shared=shared
    )
