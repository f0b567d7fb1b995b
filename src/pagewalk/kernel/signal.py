"""Sending signals, choosing the one to deliver, and what happens then: a handler, nothing, a stop or the end.

Sources: signal(7), sigaction(2); the restart codes are those of a system call that a signal interrupted.

Mirrors: kernel/signal.c, arch/x86/kernel/signal.c (6.18)
Differs: one thread, so shared and private pending signals are one queue; a stop ends ``sched.run`` until it is called
again;
no core is dumped.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.sigframe import setup_rt_frame, signal_delivered
from pagewalk.kernel.signal_types import (
    SA_RESETHAND,
    SA_RESTART,
    SI_USER,
    SIG_DFL,
    SIG_IGN,
    SIG_KERNEL_IGNORE,
    SIG_KERNEL_ONLY,
    SIG_KERNEL_STOP,
    SIGCONT,
    SIGKILL,
    SIGSEGV,
    SIGSTOP,
    SigAction,
    SigInfo,
    fault_info,
    kernel_info,
    sigmask,
)

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

# What a system call answers to the kernel only: how it goes on after a signal.
ERESTARTSYS: Final = 512  # restarted under SA_RESTART, else EINTR
ERESTARTNOINTR: Final = 513  # always restarted
ERESTARTNOHAND: Final = 514  # restarted where no handler ran
ERESTART_RESTARTBLOCK: Final = 516  # as that, through restart_syscall

NR_RESTART_SYSCALL: Final = 219


def signal_pending(task: "Task") -> bool:
    """Whether a signal waits that the mask lets through."""
    return task.pending.signal & ~task.blocked != 0


def sig_ignored(task: "Task", sig: int) -> bool:
    """Whether sending ``sig`` has no effect at all. A blocked signal is kept: its action may change."""
    if task.blocked & sigmask(sig):
        return False
    handler = task.sighand.action[sig - 1].handler
    return handler == SIG_IGN or (handler == SIG_DFL and sigmask(sig) & SIG_KERNEL_IGNORE != 0)


def send_signal(task: "Task", info: SigInfo) -> None:
    """Makes a signal pending, unless it is ignored."""
    sig = info.signo
    if sig == SIGCONT:
        task.pending.flush(SIG_KERNEL_STOP)
        task.wake_if_stopped()
    elif sigmask(sig) & SIG_KERNEL_STOP:
        task.pending.flush(sigmask(SIGCONT))
    elif sig == SIGKILL:
        task.wake_if_stopped()
    if not sig_ignored(task, sig):
        task.pending.add(info)


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


def get_signal(task: "Task") -> tuple[SigInfo, SigAction] | None:
    """The next signal that has a handler, and its action as it was; None where there is none.

    Takes the default actions on the way: afterwards the task may have ended (``exit_code``) or stopped.
    """
    while True:
        sig = task.pending.next_signal(task.blocked)
        if sig == 0:
            return None
        info = task.pending.collect(sig)
        action = task.sighand.action[sig - 1]
        if action.handler == SIG_IGN:
            continue
        if action.handler != SIG_DFL:
            taken = action.copy()
            if action.flags & SA_RESETHAND:
                action.handler = SIG_DFL
            return info, taken
        if sigmask(sig) & SIG_KERNEL_IGNORE:
            continue
        if sigmask(sig) & SIG_KERNEL_STOP:
            # Linux drops the terminal's stops in an orphaned process group, and this task's group is its own.
            if sig == SIGSTOP or not task.is_orphaned():
                task.stop(sig)
                return None
            continue
        task.fatal_signal = info
        task.kernel.do_exit(task, sig)
        return None


def do_signal(task: "Task") -> None:
    """On the way back to the program: delivers a signal, or prepares the interrupted call to be made again."""
    regs = task.regs
    found = get_signal(task)
    if task.exit_code is not None:
        return
    if found is None:
        if regs.orig_rax >= 0:
            if regs.rax in (-ERESTARTNOHAND, -ERESTARTSYS, -ERESTARTNOINTR):
                regs.rax = regs.orig_rax
                regs.rip -= 2
            elif regs.rax == -ERESTART_RESTARTBLOCK:
                regs.rax = NR_RESTART_SYSCALL
                regs.rip -= 2
            regs.orig_rax = -1
        if task.saved_sigmask >= 0:
            task.set_blocked(task.saved_sigmask)
            task.saved_sigmask = -1
        return
    info, action = found
    handle_signal(task, info, action)


def handle_signal(task: "Task", info: SigInfo, action: SigAction) -> None:
    """Sets up the handler's frame; a frame that cannot be written is a SIGSEGV."""
    regs = task.regs
    if regs.orig_rax >= 0:
        result = regs.rax
        if result in (-ERESTART_RESTARTBLOCK, -ERESTARTNOHAND) or (
            result == -ERESTARTSYS and not action.flags & SA_RESTART
        ):
            regs.rax = -errno.EINTR
        elif result in (-ERESTARTSYS, -ERESTARTNOINTR):
            regs.rax = regs.orig_rax
            regs.rip -= 2
        regs.orig_rax = -1
    mask = task.saved_sigmask if task.saved_sigmask >= 0 else task.blocked
    if setup_rt_frame(task, info.signo, action, info, mask):
        task.saved_sigmask = -1
        task.fpu.reset()  # the handler starts with a clean one; its frame holds the program's
        signal_delivered(task, info.signo, action)
    elif info.signo == SIGSEGV:
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
            task.pending.flush(sigmask(sig))
    return old


def user_info(task: "Task", sig: int, code: int = SI_USER) -> SigInfo:
    """siginfo of a signal that ``task`` itself sends."""
    from pagewalk.kernel.signal_types import kill_info

    return kill_info(sig, code, task.tgid, task.uid)
