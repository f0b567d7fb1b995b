"""Delivering signals: choosing the next one, and what happens then: a handler, nothing, a stop or the end.

Sources: signal(7), sigaction(2); the restart codes are those of a system call that a signal interrupted.

Mirrors: kernel/signal.c (get_signal), arch/x86/kernel/signal.c (6.18)
Differs: no core is dumped (the wait status says it was where RLIMIT_CORE would have allowed it).
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.exit import do_group_exit, is_current_pgrp_orphaned, notify_parent_cldstop
from pagewalk.kernel.rseq import rseq_signal_deliver
from pagewalk.kernel.sigframe import signal_delivered
from pagewalk.kernel.sigframe_ia32 import setup_frame_32
from pagewalk.kernel.signal_send import force_fatal_sig, force_sig, signal_pending, wake_for_signal
from pagewalk.kernel.signal_struct import (
    SIGNAL_CLD_CONTINUED,
    SIGNAL_GROUP_EXIT,
    SIGNAL_STOP_CONTINUED,
    SIGNAL_STOP_STOPPED,
)
from pagewalk.kernel.signal_types import (
    CLD_CONTINUED,
    CLD_STOPPED,
    SA_RESETHAND,
    SA_RESTART,
    SIG_DFL,
    SIG_IGN,
    SIG_KERNEL_COREDUMP,
    SIG_KERNEL_IGNORE,
    SIG_KERNEL_ONLY,
    SIG_KERNEL_STOP,
    SIGCONT,
    SIGKILL,
    SIGSEGV,
    SIGSTOP,
    SigAction,
    SigInfo,
    sigmask,
)
from pagewalk.kernel.task import TASK_STOPPED
from pagewalk.mm.current import RLIMIT_CORE

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

__all__ = [
    "ERESTARTNOHAND", "ERESTARTNOINTR", "ERESTARTSYS", "ERESTART_RESTARTBLOCK", "do_sigaction", "do_signal",
    "signal_pending",
]  # fmt: skip

# What a system call answers to the kernel only: how it goes on after a signal.
ERESTARTSYS: Final = 512  # restarted under SA_RESTART, else EINTR
ERESTARTNOINTR: Final = 513  # always restarted
ERESTARTNOHAND: Final = 514  # restarted where no handler ran
ERESTART_RESTARTBLOCK: Final = 516  # as that, through restart_syscall

COREDUMPED: Final = 0x80  # in a wait status
MIN_COREDUMP: Final = 4096  # a smaller RLIMIT_CORE dumps nothing


def get_signal(task: "Task") -> tuple[SigInfo, SigAction] | None:
    """The next signal that has a handler, and its action as it was; None where there is none.

    Takes the default actions on the way: the task may have stopped and gone on, and afterwards it may have ended
    (``exit_code``).
    """
    signal = task.signal
    while True:
        if signal.flags & SIGNAL_CLD_CONTINUED:  # the process itself tells its parent, once it runs again
            signal.flags &= ~SIGNAL_CLD_CONTINUED
            notify_parent_cldstop(task, CLD_CONTINUED, SIGCONT)
        if signal.group_exiting() and signal.group_exec_task is not task:
            task.pending.flush(sigmask(SIGKILL))
            do_group_exit(task, signal.group_exit_code)
            return None
        if task.jobctl_stop:
            do_signal_stop(task, 0)
            continue
        sig = dequeue_signal(task)
        if sig is None:
            return None
        info = sig
        number = info.signo
        action = task.sighand.action[number - 1]
        if action.handler == SIG_IGN:
            continue
        if action.handler != SIG_DFL:
            taken = action.copy()
            if action.flags & SA_RESETHAND:
                action.handler = SIG_DFL
            return info, taken
        if sigmask(number) & SIG_KERNEL_IGNORE:
            continue
        if sigmask(number) & SIG_KERNEL_STOP:
            # Linux drops the terminal's stops in an orphaned process group.
            if number == SIGSTOP or not is_current_pgrp_orphaned(task):
                do_signal_stop(task, number)
            continue
        task.fatal_signal = info
        code = number
        if sigmask(number) & SIG_KERNEL_COREDUMP and task.rlimit(RLIMIT_CORE) >= MIN_COREDUMP and task.dumpable == 1:
            code |= COREDUMPED
        do_group_exit(task, code)
        return None


def dequeue_signal(task: "Task") -> SigInfo | None:
    """The next signal that the mask lets through: one that the thread caused, one of its own, one of the process."""
    sig = task.pending.next_signal(task.blocked)
    if sig:
        return task.pending.collect(sig)
    shared = task.signal.shared_pending
    sig = shared.next_signal(task.blocked)
    return shared.collect(sig) if sig else None


def do_signal_stop(task: "Task", sig: int) -> None:
    """Stops the thread; with ``sig`` the whole group is to stop. Comes back when SIGCONT or SIGKILL has come."""
    signal = task.signal
    if sig:
        if signal.flags & SIGNAL_GROUP_EXIT:
            return
        if not signal.flags & SIGNAL_STOP_STOPPED:
            signal.group_exit_code = sig
        for thread in signal.threads:
            if not thread.is_ended() and thread.state != TASK_STOPPED:
                thread.jobctl_stop = sig
                if thread is not task:
                    wake_for_signal(thread, fatal=False)
    stopping = task.jobctl_stop
    task.jobctl_stop = 0
    task.state = TASK_STOPPED
    if all(thread.state == TASK_STOPPED or thread.is_ended() for thread in signal.threads):
        signal.flags = signal.flags & ~SIGNAL_STOP_CONTINUED | SIGNAL_STOP_STOPPED
        notify_parent_cldstop(task, CLD_STOPPED, stopping)
    task.wchan = "do_signal_stop"
    task.kernel.sched.schedule(task)
    task.wchan = ""


def do_signal(task: "Task") -> None:
    """On the way back to the program: delivers a signal, or prepares the interrupted call to be made again."""
    regs = task.regs
    found = get_signal(task)
    if task.exit_code is not None:
        return
    regs = task.regs
    if found is None:
        if regs.syscallno >= 0:
            result = regs.return_value()
            if result in (-ERESTARTNOHAND, -ERESTARTSYS, -ERESTARTNOINTR):
                regs.restart_syscall()
            elif result == -ERESTART_RESTARTBLOCK:
                regs.restart_block()
            regs.syscallno = -1
        if task.saved_sigmask >= 0:
            task.set_blocked(task.saved_sigmask)
            task.saved_sigmask = -1
        return
    info, action = found
    handle_signal(task, info, action)


def handle_signal(task: "Task", info: SigInfo, action: SigAction) -> None:
    """Sets up the handler's frame; a frame that cannot be written is a SIGSEGV."""
    regs = task.regs
    if regs.syscallno >= 0:
        result = regs.return_value()
        if result in (-ERESTART_RESTARTBLOCK, -ERESTARTNOHAND) or (
            result == -ERESTARTSYS and not action.flags & SA_RESTART
        ):
            regs.set_return_value(-errno.EINTR)
        elif result in (-ERESTARTSYS, -ERESTARTNOINTR):
            regs.restart_syscall()
        regs.syscallno = -1
    if task.rseq and not rseq_signal_deliver(task):
        force_sigsegv(task, info.signo)
    mask = task.saved_sigmask if task.saved_sigmask >= 0 else task.blocked
    if action.compat:
        written = setup_frame_32(task, info.signo, action, info, mask)
    else:
        written = task.kernel.abi.setup_rt_frame(task, info.signo, action, info, mask)
    if written:
        task.saved_sigmask = -1
        task.fpu.reset()  # the handler starts with a clean one; its frame holds the program's
        signal_delivered(task, info.signo, action)
    else:
        force_sigsegv(task, info.signo)


def force_sigsegv(task: "Task", sig: int) -> None:
    """The handler of ``sig`` cannot be run: a SIGSEGV, and where it was one, the end."""
    if sig == SIGSEGV:
        force_fatal_sig(task, SIGSEGV)
    else:
        force_sig(task, SIGSEGV)


def do_sigaction(task: "Task", sig: int, action: SigAction | None) -> SigAction | int:
    """Sets the action of ``sig`` where one is given; the old one, or -EINVAL."""
    if sig < 1 or sig > 64 or (action is not None and sigmask(sig) & SIG_KERNEL_ONLY):
        return -errno.EINVAL
    old = task.sighand.action[sig - 1].copy()
    if action is not None:
        action.mask &= ~SIG_KERNEL_ONLY
        task.sighand.action[sig - 1] = action
        ignored = action.handler == SIG_IGN or (action.handler == SIG_DFL and sigmask(sig) & SIG_KERNEL_IGNORE)
        if ignored:
            task.signal.shared_pending.flush(sigmask(sig))
            for thread in task.signal.threads:
                thread.pending.flush(sigmask(sig))
    return old
