"""Futexes with priority inheritance: locks whose word names the owner, and that the kernel hands over.

While somebody waits, a ``PiState`` says who owns the lock. Its owner's end hands the lock over, marked
FUTEX_OWNER_DIED; an unlock hands it to the one that has waited longest. The word keeps FUTEX_WAITERS from the first
waiter on, until an unlock that finds nobody waiting.

Sources: futex(2), "Priority-inheritance futexes"; Documentation/locking/pi-futex.rst, futex-requeue-pi.rst.

Mirrors: kernel/futex/pi.c, kernel/futex/requeue.c, kernel/locking/rtmutex.c (6.18)
Differs: nobody is boosted, as all tasks have equal slices; waiters are served in the order in which they came.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.kernel.futex import (
    FUTEX_OWNER_DIED,
    FUTEX_TID_MASK,
    FUTEX_WAITERS,
    FutexKey,
    FutexQ,
    PiState,
    get_futex_key,
)
from pagewalk.mm.uaccess import get_user_u32, put_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

ACQUIRED = 1


def lock_pi_atomic(current: "Task", uaddr: int, key: FutexKey, task: "Task", *, set_waiters: bool) -> "PiState | int":
    """Takes the lock at ``uaddr`` (of the memory of ``current``) for ``task``: ACQUIRED, or the state to wait on.

    Negative: EFAULT, EDEADLK (``task`` has it), ESRCH (no task has the owner's id), EINVAL (the word and what the
    kernel knows do not agree). ``set_waiters``: a word that is taken says that there are waiters.
    """
    word = get_user_u32(current.mm, uaddr)
    if word is None:
        return -errno.EFAULT
    owner = word & FUTEX_TID_MASK
    if owner == task.pid:
        return -errno.EDEADLK
    top = current.kernel.futexes.first(key)
    if top is not None:
        return attach_to_pi_state(top, word)
    if owner == 0:
        taken = task.pid | word & FUTEX_OWNER_DIED | (FUTEX_WAITERS if set_waiters else 0)
        return ACQUIRED if put_user_u32(current.mm, uaddr, taken) else -errno.EFAULT
    if not put_user_u32(current.mm, uaddr, word | FUTEX_WAITERS):
        return -errno.EFAULT
    holder = current.kernel.find_task(owner)
    if holder is None or holder.is_ended():
        return -errno.ESRCH
    return PiState(holder)


def attach_to_pi_state(top: FutexQ, word: int) -> "PiState | int":
    """The state of a lock that somebody waits for already, or -EINVAL where the word says something else."""
    state = top.pi_state
    if state is None:
        return -errno.EINVAL
    owner = word & FUTEX_TID_MASK
    if word & FUTEX_OWNER_DIED and owner == 0:
        return state
    return state if owner == state.owner.pid else -errno.EINVAL


def start_waiting(waiter: FutexQ, state: "PiState") -> int:
    """Queues ``waiter`` (whose key and uaddr are the lock's) on the lock; -EDEADLK where its owner waits for the
    waiter's task, at whatever remove."""
    owner = state.owner
    while True:
        if owner is waiter.task:
            return -errno.EDEADLK
        blocked = owner.pi_blocked_on
        if blocked is None or blocked.pi_state is None:
            break
        owner = blocked.pi_state.owner
    if state.nr_waiters == 0:
        state.owner.pi_states.append(state)
    state.nr_waiters += 1
    waiter.pi_state = state
    waiter.task.pi_blocked_on = waiter
    waiter.task.kernel.futexes.queue(waiter)
    return 0


def stop_waiting(waiter: FutexQ) -> None:
    """The waiter leaves the lock's queue: it has the lock now, or gives up."""
    waiter.task.kernel.futexes.unqueue(waiter)
    waiter.task.pi_blocked_on = None
    state = waiter.pi_state
    waiter.pi_state = None
    if state is None:
        return
    state.nr_waiters -= 1
    if state.nr_waiters == 0 and state in state.owner.pi_states:
        state.owner.pi_states.remove(state)


def grant(waiter: FutexQ, flags: int) -> bool:
    """Makes a waiter the owner: ``flags`` and its id go into the word, as it sees that; False for EFAULT."""
    state = waiter.pi_state
    task = waiter.task
    if not put_user_u32(task.mm, waiter.uaddr, task.pid | flags):
        return False
    stop_waiting(waiter)
    if state is not None and state.nr_waiters:
        state.owner.pi_states.remove(state)
        state.owner = task
        task.pi_states.append(state)
    waiter.woken = True
    task.kernel.sched.wake_up_process(task)
    return True


def futex_unlock_pi(task: "Task", uaddr: int, *, shared: bool) -> int:
    """FUTEX_UNLOCK_PI: the next owner's id goes into the word, or 0. EPERM for who does not own it."""
    word = get_user_u32(task.mm, uaddr)
    if word is None:
        return -errno.EFAULT
    if word & FUTEX_TID_MASK != task.pid:
        return -errno.EPERM
    key = get_futex_key(task, uaddr, shared=shared, write=True)
    if isinstance(key, int):
        return key
    waiter = task.kernel.futexes.first(key)
    if waiter is None:
        return 0 if put_user_u32(task.mm, uaddr, 0) else -errno.EFAULT
    if waiter.pi_state is None or waiter.pi_state.owner is not task:
        return -errno.EINVAL
    return 0 if grant(waiter, FUTEX_WAITERS) else -errno.EFAULT


def exit_pi_state_list(task: "Task") -> None:
    """The task ends: each lock that it owns, and that somebody waits for, is handed over."""
    table = task.kernel.futexes
    for state in list(task.pi_states):
        for waiter in table.pi_waiters(state):
            if grant(waiter, FUTEX_WAITERS | FUTEX_OWNER_DIED):
                break
    task.pi_states.clear()


def requeue_pi(task: "Task", source: FutexKey, target: FutexKey, uaddr2: int, nr_requeue: int) -> int:
    """FUTEX_CMP_REQUEUE_PI after its checks: one waiter gets the lock at ``uaddr2`` if it is free, the others (up to
    ``nr_requeue``) come to wait for it. How many in all; EINVAL where one does not wait for that."""
    table = task.kernel.futexes
    top = table.first(source)
    if top is None:
        return 0
    if top.pi_state is not None or top.requeue_key != target:
        return -errno.EINVAL
    state = lock_pi_atomic(task, uaddr2, target, top.task, set_waiters=nr_requeue > 0)
    if isinstance(state, int) and state < 0:
        return state
    done = 0
    if isinstance(state, int):
        table.unqueue(top)
        top.woken = True
        task.kernel.sched.wake_up_process(top.task)
        done = 1
        if not nr_requeue or table.first(source) is None:
            return done
        state = PiState(top.task)
    for waiter in table.waiters(source):
        if done - 1 >= nr_requeue:
            break
        if waiter.pi_state is not None or waiter.requeue_key != target:
            return -errno.EINVAL
        table.unqueue(waiter)
        waiter.key = target
        error = start_waiting(waiter, state)
        if error < 0:
            waiter.key = source
            table.queue(waiter)
            return error
        done += 1
    return done
