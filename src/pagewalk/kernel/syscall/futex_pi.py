"""The calls of futex(2) that wait for a lock with priority inheritance, or move waiters to one.

Sources: futex(2).

Mirrors: kernel/futex/pi.c, kernel/futex/requeue.c (6.18)
Differs: nothing that is not said in kernel/futex_pi.py.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.kernel.futex import FUTEX_BITSET_MATCH_ANY, FutexQ, get_futex_key
from pagewalk.kernel.futex_pi import lock_pi_atomic, requeue_pi, start_waiting, stop_waiting
from pagewalk.kernel.signal import ERESTARTNOINTR
from pagewalk.kernel.signal_send import signal_pending
from pagewalk.mm.uaccess import get_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


def futex_lock_pi(task: "Task", uaddr: int, deadline: int, *, shared: bool, wait: bool) -> int:
    """FUTEX_LOCK_PI, FUTEX_TRYLOCK_PI: takes the lock, or with ``wait`` sleeps until it is handed over.

    EDEADLK (it would wait for itself), ESRCH (the owner is no task), EAGAIN (without ``wait``), ETIMEDOUT.
    """
    key = get_futex_key(task, uaddr, shared=shared, write=True)
    if isinstance(key, int):
        return key
    state = lock_pi_atomic(task, uaddr, key, task, set_waiters=False)
    if isinstance(state, int):
        return min(state, 0)
    if not wait:
        return -errno.EAGAIN
    waiter = FutexQ(task, key, FUTEX_BITSET_MATCH_ANY, uaddr)
    error = start_waiting(waiter, state)
    if error < 0:
        return error
    result = wait_for_lock(task, waiter, deadline)
    return -ERESTARTNOINTR if result == -errno.EINTR else result


def wait_for_lock(task: "Task", waiter: FutexQ, deadline: int) -> int:
    """Sleeps until the waiter is the owner; 0, ETIMEDOUT, or EINTR."""
    while not waiter.woken:
        in_time = task.kernel.wait(task, deadline, [], [], "futex_lock_pi")
        if waiter.woken:
            break
        if not in_time or signal_pending(task):
            stop_waiting(waiter)
            return -errno.EINTR if in_time else -errno.ETIMEDOUT
    return 0


def futex_wait_requeue_pi(task: "Task", uaddr: int, val: int, deadline: int, uaddr2: int, *, shared: bool) -> int:
    """FUTEX_WAIT_REQUEUE_PI: sleeps while the word is ``val``, until it was moved to the lock at ``uaddr2`` and has it.

    EAGAIN: the word is another, or a signal came while it waited for the lock. ETIMEDOUT on either.
    """
    if uaddr == uaddr2:
        return -errno.EINVAL
    target = get_futex_key(task, uaddr2, shared=shared, write=True)
    if isinstance(target, int):
        return target
    key = get_futex_key(task, uaddr, shared=shared)
    if isinstance(key, int):
        return key
    word = get_user_u32(task.mm, uaddr)
    if word is None:
        return -errno.EFAULT
    if word != val:
        return -errno.EAGAIN
    if key == target:
        return -errno.EINVAL
    waiter = FutexQ(task, key, FUTEX_BITSET_MATCH_ANY, uaddr2)
    waiter.requeue_key = target
    task.kernel.futexes.queue(waiter)
    while not waiter.has_moved():
        in_time = task.kernel.wait(task, deadline, [], [], "futex_do_wait")
        if waiter.has_moved():
            break
        if not in_time or signal_pending(task):
            task.kernel.futexes.unqueue(waiter)
            return -ERESTARTNOINTR if in_time else -errno.ETIMEDOUT
    result = wait_for_lock(task, waiter, deadline)
    return -errno.EAGAIN if result == -errno.EINTR else result


def futex_cmp_requeue_pi(
    task: "Task", uaddr: int, uaddr2: int, nr_wake: int, nr_requeue: int, expected: int, *, shared: bool
) -> int:
    """FUTEX_CMP_REQUEUE_PI: see requeue_pi; EAGAIN where the first word is not ``expected``."""
    if nr_wake < 0 or nr_requeue < 0 or uaddr == uaddr2 or nr_wake != 1:
        return -errno.EINVAL
    source = get_futex_key(task, uaddr, shared=shared)
    if isinstance(source, int):
        return source
    target = get_futex_key(task, uaddr2, shared=shared, write=True)
    if isinstance(target, int):
        return target
    if source == target:
        return -errno.EINVAL
    word = get_user_u32(task.mm, uaddr)
    if word is None:
        return -errno.EFAULT
    return requeue_pi(task, source, target, uaddr2, nr_requeue) if word == expected else -errno.EAGAIN
