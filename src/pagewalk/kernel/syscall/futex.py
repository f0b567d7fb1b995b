"""futex(2), and the list of robust locks.

Sources: futex(2), set_robust_list(2).

Mirrors: kernel/futex/syscalls.c, kernel/futex/waitwake.c, kernel/futex/requeue.c (6.18)
Differs: nothing that is not said in kernel/futex.py and kernel/futex_pi.py.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.futex import (
    FUTEX_BITSET_MATCH_ANY,
    FutexQ,
    get_futex_key,
)
from pagewalk.kernel.futex_pi import futex_unlock_pi
from pagewalk.kernel.signal import ERESTART_RESTARTBLOCK, ERESTARTSYS
from pagewalk.kernel.signal_send import signal_pending
from pagewalk.kernel.syscall.args import get_timespec, long_size, timespec_ns, write_longs
from pagewalk.kernel.syscall.futex_pi import futex_cmp_requeue_pi, futex_lock_pi, futex_wait_requeue_pi
from pagewalk.kernel.wait import FOREVER
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import get_user_u32, put_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

FUTEX_WAIT: Final = 0
FUTEX_WAKE: Final = 1
FUTEX_REQUEUE: Final = 3
FUTEX_CMP_REQUEUE: Final = 4
FUTEX_WAKE_OP: Final = 5
FUTEX_LOCK_PI: Final = 6
FUTEX_UNLOCK_PI: Final = 7
FUTEX_TRYLOCK_PI: Final = 8
FUTEX_WAIT_BITSET: Final = 9
FUTEX_WAKE_BITSET: Final = 10
FUTEX_WAIT_REQUEUE_PI: Final = 11
FUTEX_CMP_REQUEUE_PI: Final = 12
FUTEX_LOCK_PI2: Final = 13
FUTEX_PRIVATE_FLAG: Final = 128
FUTEX_CLOCK_REALTIME: Final = 256
FUTEX_CMD_MASK: Final = ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)

_TIMED: Final = (FUTEX_WAIT, FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI)
_REALTIME: Final = (FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_LOCK_PI2)


def sys_futex(task: "Task", uaddr: int, op: int, val: int, timeout: int, uaddr2: int, val3: int) -> int:
    """futex(2)."""
    op = signed32(op)
    command = op & FUTEX_CMD_MASK
    shared = not op & FUTEX_PRIVATE_FLAG
    deadline = FOREVER
    if timeout and command in _TIMED:
        deadline = futex_deadline(task, timeout, command, realtime=bool(op & FUTEX_CLOCK_REALTIME))
        if deadline < FOREVER:
            return deadline
    if op & FUTEX_CLOCK_REALTIME and command not in _REALTIME:
        return -errno.ENOSYS
    val &= 0xFFFF_FFFF
    val3 &= 0xFFFF_FFFF
    if command == FUTEX_WAIT:
        return futex_wait(task, uaddr, val, deadline, FUTEX_BITSET_MATCH_ANY, shared=shared)
    if command == FUTEX_WAIT_BITSET:
        return futex_wait(task, uaddr, val, deadline, val3, shared=shared)
    if command == FUTEX_WAKE:
        return futex_wake(task, uaddr, val, FUTEX_BITSET_MATCH_ANY, shared=shared)
    if command == FUTEX_WAKE_BITSET:
        return futex_wake(task, uaddr, val, val3, shared=shared)
    if command in (FUTEX_REQUEUE, FUTEX_CMP_REQUEUE):
        expected = val3 if command == FUTEX_CMP_REQUEUE else -1
        return futex_requeue(task, uaddr, uaddr2, signed32(val), signed32(timeout), expected, shared=shared)
    if command == FUTEX_WAKE_OP:
        return futex_wake_op(task, uaddr, uaddr2, signed32(val), signed32(timeout), val3, shared=shared)
    if command in (FUTEX_LOCK_PI, FUTEX_LOCK_PI2):
        return futex_lock_pi(task, uaddr, deadline, shared=shared, wait=True)
    if command == FUTEX_TRYLOCK_PI:
        return futex_lock_pi(task, uaddr, FOREVER, shared=shared, wait=False)
    if command == FUTEX_UNLOCK_PI:
        return futex_unlock_pi(task, uaddr, shared=shared)
    if command == FUTEX_WAIT_REQUEUE_PI:
        return futex_wait_requeue_pi(task, uaddr, val, deadline, uaddr2, shared=shared)
    if command == FUTEX_CMP_REQUEUE_PI:
        return futex_cmp_requeue_pi(task, uaddr, uaddr2, signed32(val), signed32(timeout), val3, shared=shared)
    return -errno.ENOSYS


def futex_deadline(task: "Task", timeout: int, command: int, *, realtime: bool) -> int:
    """When the wait ends, on the monotonic clock: FUTEX_WAIT takes a length, the others a time. A negative errno."""
    given = get_timespec(task, timeout)
    if given is None:
        return -errno.EFAULT
    length = timespec_ns(given[0], given[1])
    if length < 0:
        return -errno.EINVAL
    now = task.kernel.monotonic_ns()
    if command == FUTEX_WAIT:
        return now + length
    if realtime or command == FUTEX_LOCK_PI:
        return max(0, now + length - task.kernel.clock_ns(0))
    return length


def futex_wait(task: "Task", uaddr: int, val: int, deadline: int, bitset: int, *, shared: bool) -> int:
    """Sleeps while the word is ``val``: 0 when woken, EAGAIN where it is not, ETIMEDOUT."""
    if not bitset:
        return -errno.EINVAL
    key = get_futex_key(task, uaddr, shared=shared)
    if isinstance(key, int):
        return key
    word = get_user_u32(task.mm, uaddr)
    if word is None:
        return -errno.EFAULT
    if word != val:
        return -errno.EAGAIN
    waiter = FutexQ(task, key, bitset)
    table = task.kernel.futexes
    table.queue(waiter)
    while True:
        in_time = task.kernel.wait(task, deadline, [], [], "futex_do_wait")
        if waiter.woken:
            return 0
        if not in_time:
            table.unqueue(waiter)
            return -errno.ETIMEDOUT
        if signal_pending(task):
            table.unqueue(waiter)
            if deadline == FOREVER:
                return -ERESTARTSYS
            task.restart_futex = (uaddr, val, deadline, bitset, int(shared))
            task.restart_deadline_ns = 0
            return -ERESTART_RESTARTBLOCK


def futex_wait_restart(task: "Task") -> int:
    """restart_syscall(2) of a wait with an end."""
    saved = task.restart_futex
    task.restart_futex = None
    assert saved is not None
    uaddr, val, deadline, bitset, shared = saved
    return futex_wait(task, uaddr, val, deadline, bitset, shared=bool(shared))


def futex_wake(task: "Task", uaddr: int, count: int, bitset: int, *, shared: bool) -> int:
    """How many were woken."""
    if not bitset:
        return -errno.EINVAL
    key = get_futex_key(task, uaddr, shared=shared)
    if isinstance(key, int):
        return key
    return task.kernel.futexes.wake(key, max(1, signed32(count)), bitset)


def futex_requeue(
    task: "Task", uaddr: int, uaddr2: int, nr_wake: int, nr_requeue: int, expected: int, *, shared: bool
) -> int:
    """Wakes some waiters and moves others to a second word."""
    if nr_wake < 0 or nr_requeue < 0:
        return -errno.EINVAL
    source = get_futex_key(task, uaddr, shared=shared)
    if isinstance(source, int):
        return source
    target = get_futex_key(task, uaddr2, shared=shared)
    if isinstance(target, int):
        return target
    if expected >= 0:
        word = get_user_u32(task.mm, uaddr)
        if word is None:
            return -errno.EFAULT
        if word != expected:
            return -errno.EAGAIN
    return task.kernel.futexes.requeue(source, target, nr_wake, nr_requeue)


def futex_wake_op(
    task: "Task", uaddr: int, uaddr2: int, nr_wake: int, nr_wake2: int, encoded: int, *, shared: bool
) -> int:
    """Changes the second word, wakes waiters of the first, and of the second where its old value compares."""
    key = get_futex_key(task, uaddr, shared=shared)
    if isinstance(key, int):
        return key
    key2 = get_futex_key(task, uaddr2, shared=shared, write=True)
    if isinstance(key2, int):
        return key2
    word = get_user_u32(task.mm, uaddr2)
    if word is None:
        return -errno.EFAULT
    old = signed32(word)
    operand = signed12(encoded >> 12)
    compared = signed12(encoded)
    operation = encoded >> 28 & 7
    if encoded >> 28 & 8:
        operand = 1 << (operand & 31)
    if operation == 0:
        new = operand
    elif operation == 1:
        new = old + operand
    elif operation == 2:
        new = old | operand
    elif operation == 3:
        new = old & ~operand
    elif operation == 4:
        new = old ^ operand
    else:
        return -errno.ENOSYS
    comparison = encoded >> 24 & 15
    if comparison > 5:
        return -errno.ENOSYS
    if not put_user_u32(task.mm, uaddr2, new & 0xFFFF_FFFF):
        return -errno.EFAULT
    holds = (
        old == compared, old != compared, old < compared, old <= compared, old > compared, old >= compared,
    )[comparison]  # fmt: skip
    table = task.kernel.futexes
    woken = table.wake(key, max(1, nr_wake), FUTEX_BITSET_MATCH_ANY)
    if woken >= 0 and holds:
        more = table.wake(key2, max(1, nr_wake2), FUTEX_BITSET_MATCH_ANY)
        return more if more < 0 else woken + more
    return woken


def signed12(value: int) -> int:
    """A 12-bit field with its sign."""
    value &= 0xFFF
    return value - 0x1000 if value & 0x800 else value


def sys_set_robust_list(task: "Task", head: int, size: int) -> int:
    """set_robust_list(2)."""
    if size != 3 * long_size(task):
        return -errno.EINVAL
    task.robust_list = head
    task.robust_list_compat = task.compat
    return 0


def sys_get_robust_list(task: "Task", pid: int, head: int, size: int) -> int:
    """get_robust_list(2)."""
    pid = signed32(pid)
    other = task if pid == 0 else task.kernel.find_task(pid)
    if other is None:
        return -errno.ESRCH
    if task.euid != 0 and other.signal is not task.signal and other.uid != task.euid:
        return -errno.EPERM
    if not write_longs(task, size, (3 * long_size(task),)):
        return -errno.EFAULT
    return 0 if write_longs(task, head, (other.robust_list,)) else -errno.EFAULT
