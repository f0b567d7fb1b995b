"""Sending signals: to a thread, to a process, to a group; and those that a program causes itself.

Sources: signal(7), kill(2).

Mirrors: kernel/signal.c (send_signal_locked, complete_signal, force_sig_info, kill_something_info) (6.18)
Differs: no user namespaces; permission is that of plain ids.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.kernel.signal_struct import (
    SIGNAL_CLD_CONTINUED,
    SIGNAL_GROUP_EXIT,
    SIGNAL_STOP_CONTINUED,
    SIGNAL_STOP_STOPPED,
)
from pagewalk.kernel.signal_types import (
    SI_KERNEL,
    SI_USER,
    SIG_DFL,
    SIG_IGN,
    SIG_KERNEL_COREDUMP,
    SIG_KERNEL_IGNORE,
    SIG_KERNEL_STOP,
    SIGCONT,
    SIGKILL,
    SIGRTMIN,
    SigInfo,
    fault_info,
    kernel_info,
    sigmask,
)
from pagewalk.mm.current import RLIMIT_SIGPENDING

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_INTERRUPTIBLE = 1
_STOPPED = 4
_KILLABLE = 0x102


def signal_pending(task: "Task") -> bool:
    """Whether a signal waits that the mask lets through, or the task is to end or to stop."""
    if (task.pending.signal | task.signal.shared_pending.signal) & ~task.blocked:
        return True
    signal = task.signal
    return task.jobctl_stop != 0 or (signal.group_exiting() and signal.group_exec_task is not task)


def fatal_signal_pending(task: "Task") -> bool:
    """Whether the task is being killed."""
    return task.pending.signal & sigmask(SIGKILL) != 0 or (
        task.signal.group_exiting() and task.signal.group_exec_task is not task
    )


def wake_for_signal(task: "Task", fatal: bool) -> None:
    """signal_wake_up: a sleeping thread looks at its signals; ``fatal`` reaches stopped and killable ones too."""
    if task.state == _INTERRUPTIBLE or (fatal and task.state in (_STOPPED, _KILLABLE)):
        task.kernel.sched.wake_up_process(task)
    task.need_resched = True


def sig_ignored(task: "Task", sig: int) -> bool:
    """Whether sending ``sig`` has no effect at all. A blocked signal is kept: its action may change."""
    if (task.blocked | task.real_blocked) & sigmask(sig):
        return False
    handler = task.sighand.action[sig - 1].handler
    return handler == SIG_IGN or (handler == SIG_DFL and sigmask(sig) & SIG_KERNEL_IGNORE != 0)


def send_signal(task: "Task", info: SigInfo, *, group: bool = True) -> int:
    """Makes a signal pending for a thread, or with ``group`` for its process, unless it is ignored. 0, or -EAGAIN for
    one that must not be lost and finds no room (RLIMIT_SIGPENDING)."""
    sig = info.signo
    signal = task.signal
    if signal.flags & SIGNAL_GROUP_EXIT or (task.is_ended() and not group):
        return 0
    prepare_signal(task, sig)
    if sig_ignored(task, sig):
        return 0
    pending = signal.shared_pending if group else task.pending
    if (
        (sig >= SIGRTMIN or info.code < 0)
        and over_limit(task)
        and not (sig < SIGRTMIN and pending.signal & sigmask(sig))
    ):
        if sig >= SIGRTMIN and info.code not in (SI_USER, SI_KERNEL):
            return -errno.EAGAIN
        pending.signal |= sigmask(sig)  # it comes, and nothing with it
    else:
        pending.add(info)
    task.sighand.signalfd_wqh.wake_up(0, 0)
    complete_signal(task, sig, group=group)
    return 0


def over_limit(task: "Task") -> bool:
    """Whether as many signals are queued for the task's user as RLIMIT_SIGPENDING allows."""
    limit = task.rlimit(RLIMIT_SIGPENDING)
    return task.kernel.nr_sigpending(task.uid) >= limit


def prepare_signal(task: "Task", sig: int) -> None:
    """Stop signals and SIGCONT cancel each other; SIGCONT makes a stopped process go on, whatever its action."""
    signal = task.signal
    if sig == SIGCONT:
        signal.shared_pending.flush(SIG_KERNEL_STOP)
        stopping = False
        for thread in signal.threads:
            thread.pending.flush(SIG_KERNEL_STOP)
            stopping = stopping or thread.jobctl_stop != 0
            thread.jobctl_stop = 0
            if thread.state == _STOPPED:
                thread.kernel.sched.wake_up_process(thread)
        if signal.flags & SIGNAL_STOP_STOPPED:
            signal.flags = signal.flags & ~SIGNAL_STOP_STOPPED | SIGNAL_STOP_CONTINUED | SIGNAL_CLD_CONTINUED
            signal.group_exit_code = 0
    elif sigmask(sig) & SIG_KERNEL_STOP:
        signal.shared_pending.flush(sigmask(SIGCONT))
        for thread in signal.threads:
            thread.pending.flush(sigmask(SIGCONT))


def wants_signal(task: "Task", sig: int) -> bool:
    """Whether this thread could take the signal now."""
    if task.blocked & sigmask(sig) or task.is_ended():
        return False
    if sig == SIGKILL:
        return True
    return task.state != _STOPPED


def complete_signal(task: "Task", sig: int, *, group: bool) -> None:
    """Wakes a thread that can take the signal; one that ends the process does so at once."""
    signal = task.signal
    chosen: Task | None = None
    if wants_signal(task, sig):
        chosen = task
    elif group:
        for thread in signal.threads:
            if wants_signal(thread, sig):
                chosen = thread
                break
    if chosen is None:
        return
    mask = sigmask(sig)
    fatal = (
        task.sighand.action[sig - 1].handler == SIG_DFL
        and not mask & (SIG_KERNEL_IGNORE | SIG_KERNEL_STOP | SIG_KERNEL_COREDUMP)
        and not (chosen.blocked | chosen.real_blocked) & mask
    )
    if fatal and (sig == SIGKILL or not signal.group_exiting()):
        signal.flags = SIGNAL_GROUP_EXIT
        signal.group_exit_code = sig
        for thread in signal.threads:
            thread.pending.add(kernel_info(SIGKILL))
            if thread.fatal_signal is None:
                thread.fatal_signal = (signal.shared_pending if group else task.pending).peek(sig)
            wake_for_signal(thread, fatal=True)
        return
    wake_for_signal(chosen, fatal=sig == SIGKILL)


def force_sig_info(task: "Task", info: SigInfo) -> None:
    """A signal that the program caused: where it is blocked or ignored, it kills."""
    action = task.sighand.action[info.signo - 1]
    blocked = task.blocked & sigmask(info.signo) != 0
    if blocked or action.handler == SIG_IGN:
        action.handler = SIG_DFL
        if blocked:
            task.blocked &= ~sigmask(info.signo)
    task.pending.add(info)


def force_sig(task: "Task", sig: int) -> None:
    """force_sig_info for a signal that the kernel sends for no particular address."""
    force_sig_info(task, kernel_info(sig))


def force_sig_fault(task: "Task", sig: int, code: int, addr: int) -> None:
    """force_sig_info for a fault at ``addr``."""
    force_sig_info(task, fault_info(sig, code, addr))


def force_fatal_sig(task: "Task", sig: int) -> None:
    """A signal that ends the program whatever it has installed."""
    task.sighand.action[sig - 1].handler = SIG_DFL
    task.blocked &= ~sigmask(sig)
    task.pending.add(kernel_info(sig))


def kill_allowed(task: "Task", other: "Task", sig: int) -> bool:
    """kill_ok_by_cred, and SIGCONT within a session."""
    if task.euid == 0 or task.signal is other.signal:
        return True
    if task.euid in (other.suid, other.uid) or task.uid in (other.suid, other.uid):
        return True
    return sig == SIGCONT and task.sid == other.sid


def group_send_sig_info(task: "Task", other: "Task", sig: int, info: SigInfo) -> int:
    """Sends to the process of ``other``; 0, -EPERM or -EAGAIN. Signal 0 only asks."""
    if not kill_allowed(task, other, sig):
        return -errno.EPERM
    return send_signal(other, info) if sig else 0


def kill_pgrp(kernel_tasks: "list[Task]", pgrp: int, info: SigInfo) -> int:
    """The kernel sends to every process of a group; how many there were."""
    count = 0
    for other in kernel_tasks:
        if other.is_leader() and other.pgid == pgrp:
            send_signal(other, info)
            count += 1
    return count
