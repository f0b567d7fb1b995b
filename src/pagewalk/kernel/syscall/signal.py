"""Signals: actions, masks, sending, waiting, the alternate stack, and the return from a handler.

Mirrors: kernel/signal.c (6.18)
Differs: only the task itself can be sent signals; signalfd is not modelled.
"""

import errno
import struct
from typing import TYPE_CHECKING

from pagewalk.kernel.clock import monotonic_ns
from pagewalk.kernel.sigframe import do_sigaltstack, restore_sigframe, sas_ss_flags
from pagewalk.kernel.signal import (
    ERESTARTNOHAND,
    do_sigaction,
    force_sig,
    send_signal,
    user_info,
)
from pagewalk.kernel.signal_types import (
    NSIG,
    SA_ALL,
    SI_TKILL,
    SIG_KERNEL_ONLY,
    SIGSEGV,
    SS_AUTODISARM,
    SigAction,
    SigInfo,
)
from pagewalk.kernel.syscall.args import get_timespec, timespec_ns
from pagewalk.kernel.wait import FOREVER, sleep_until
from pagewalk.kernel.word import signed32, unsigned
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

SIG_BLOCK = 0
SIG_UNBLOCK = 1
SIG_SETMASK = 2


def sys_rt_sigaction(task: "Task", sig: int, act: int, oact: int, size: int) -> int:
    """rt_sigaction(2)."""
    if size != 8:
        return -errno.EINVAL
    action: SigAction | None = None
    if act:
        data = copy_from_user(task.mm, act, 32)
        if data is None:
            return -errno.EFAULT
        action = SigAction.unpack(data)
        action.flags &= SA_ALL
    old = do_sigaction(task, signed32(sig), action)
    if isinstance(old, int):
        return old
    if oact and not copy_to_user(task.mm, oact, old.pack()):
        return -errno.EFAULT
    return 0


def get_mask(task: "Task", addr: int) -> int | None:
    """A signal mask from user memory; None for EFAULT."""
    data = copy_from_user(task.mm, addr, 8)
    return None if data is None else int.from_bytes(data, "little")


def sys_rt_sigprocmask(task: "Task", how: int, new: int, old: int, size: int) -> int:
    """rt_sigprocmask(2)."""
    if size != 8:
        return -errno.EINVAL
    before = task.blocked
    if new:
        mask = get_mask(task, new)
        if mask is None:
            return -errno.EFAULT
        mask &= ~SIG_KERNEL_ONLY
        how = signed32(how)
        if how == SIG_BLOCK:
            task.set_blocked(before | mask)
        elif how == SIG_UNBLOCK:
            task.set_blocked(before & ~mask)
        elif how == SIG_SETMASK:
            task.set_blocked(mask)
        else:
            return -errno.EINVAL
    if old and not copy_to_user(task.mm, old, struct.pack("<Q", before)):
        return -errno.EFAULT
    return 0


def sys_rt_sigpending(task: "Task", buf: int, size: int) -> int:
    """rt_sigpending(2): those that are pending and blocked."""
    if size < 0 or size > 8:
        return -errno.EINVAL
    data = struct.pack("<Q", task.pending.signal & task.blocked)[:size]
    return 0 if copy_to_user(task.mm, buf, data) else -errno.EFAULT


def sys_rt_sigsuspend(task: "Task", mask: int, size: int) -> int:
    """rt_sigsuspend(2)."""
    if size != 8:
        return -errno.EINVAL
    new = get_mask(task, mask)
    if new is None:
        return -errno.EFAULT
    task.saved_sigmask = task.blocked
    task.set_blocked(new)
    sleep_until(task, FOREVER)
    return -ERESTARTNOHAND


def sys_pause(task: "Task") -> int:
    """pause(2)."""
    sleep_until(task, FOREVER)
    return -ERESTARTNOHAND


def sys_rt_sigtimedwait(task: "Task", these: int, info: int, timeout: int, size: int) -> int:
    """rt_sigtimedwait(2): takes one of the set; EAGAIN when the time is up, EINTR for another signal."""
    if size != 8:
        return -errno.EINVAL
    wanted = get_mask(task, these)
    if wanted is None:
        return -errno.EFAULT
    wanted &= ~SIG_KERNEL_ONLY
    deadline = FOREVER
    if timeout:
        given = get_timespec(task, timeout)
        if given is None:
            return -errno.EFAULT
        length = timespec_ns(given[0], given[1])
        if length < 0:
            return -errno.EINVAL
        deadline = monotonic_ns() + length
    blocked = task.blocked
    while True:
        sig = task.pending.next_signal(~wanted)
        if sig:
            found = task.pending.collect(sig)
            task.set_blocked(blocked)
            return sig if info == 0 or copy_to_user(task.mm, info, found.pack()) else -errno.EFAULT
        task.set_blocked(blocked & ~wanted)
        in_time = sleep_until(task, deadline)
        task.set_blocked(blocked)
        if in_time:
            return -errno.EAGAIN
        if not task.pending.signal & wanted:
            return -errno.EINTR


def sys_rt_sigreturn(task: "Task") -> int:
    """rt_sigreturn(2): everything is as before the handler; a frame that cannot be read is a SIGSEGV."""
    if not restore_sigframe(task):
        force_sig(task, SIGSEGV)
        task.regs.orig_rax = -1
        return 0
    return int(task.regs.rax)


def sys_sigaltstack(task: "Task", new: int, old: int) -> int:
    """sigaltstack(2)."""
    given: bytes | None = None
    if new:
        given = copy_from_user(task.mm, new, 24)
        if given is None:
            return -errno.EFAULT
    flags = sas_ss_flags(task, unsigned(task.regs.rsp)) | (task.sas_ss_flags & SS_AUTODISARM)
    before = struct.pack("<QI4xQ", task.sas_ss_sp, flags, task.sas_ss_size)
    if given is not None:
        sp, flags, size = struct.unpack("<QI4xQ", given)
        error = do_sigaltstack(task, sp, flags, size)
        if error < 0:
            return error
    if old and not copy_to_user(task.mm, old, before):
        return -errno.EFAULT
    return 0


def sys_kill(task: "Task", pid: int, sig: int) -> int:
    """kill(2)."""
    pid, sig = signed32(pid), signed32(sig)
    if not 0 <= sig <= NSIG:
        return -errno.EINVAL
    if pid == -1:  # everybody but init and the sender
        return -errno.ESRCH
    if pid not in (0, task.tgid, -task.pgid):
        return -errno.EPERM if pid == 1 else -errno.ESRCH
    if sig:
        send_signal(task, user_info(task, sig))
    return 0


def sys_tkill(task: "Task", tid: int, sig: int) -> int:
    """tkill(2)."""
    tid, sig = signed32(tid), signed32(sig)
    if tid <= 0 or not 0 <= sig <= NSIG:
        return -errno.EINVAL
    if tid != task.pid:
        return -errno.ESRCH
    if sig:
        send_signal(task, user_info(task, sig, SI_TKILL))
    return 0


def sys_tgkill(task: "Task", tgid: int, tid: int, sig: int) -> int:
    """tgkill(2)."""
    if signed32(tgid) <= 0:
        return -errno.EINVAL
    if signed32(tid) > 0 and signed32(tgid) != task.tgid:
        return -errno.ESRCH
    return sys_tkill(task, tid, sig)


def sys_rt_sigqueueinfo(task: "Task", tgid: int, sig: int, info: int) -> int:
    """rt_sigqueueinfo(2)."""
    return sys_rt_tgsigqueueinfo(task, tgid, tgid, sig, info)


def sys_rt_tgsigqueueinfo(task: "Task", tgid: int, tid: int, sig: int, info: int) -> int:
    """rt_tgsigqueueinfo(2)."""
    data = copy_from_user(task.mm, info, 128)
    if data is None:
        return -errno.EFAULT
    tgid, tid, sig = signed32(tgid), signed32(tid), signed32(sig)
    if tgid <= 0 or tid <= 0 or not 0 <= sig <= NSIG:
        return -errno.EINVAL
    if tgid != task.tgid or tid != task.pid:
        return -errno.ESRCH
    _, si_errno, code = struct.unpack_from("<iii", data)
    if sig:
        send_signal(task, SigInfo(sig, code, data[16:], si_errno))
    return 0
