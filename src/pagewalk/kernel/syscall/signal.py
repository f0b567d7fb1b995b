"""Signals: actions, masks, sending, waiting, the alternate stack, and the return from a handler.

Mirrors: kernel/signal.c (6.18)
Differs: nothing.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.sigframe import do_sigaltstack, sas_ss_flags
from pagewalk.kernel.siginfo_ia32 import pack_siginfo_32, siginfo_fields_of_32
from pagewalk.kernel.signal import ERESTARTNOHAND, do_sigaction
from pagewalk.kernel.signal_send import group_send_sig_info, kill_allowed, send_signal
from pagewalk.kernel.signal_types import (
    NSIG,
    SA_ALL,
    SI_KERNEL,
    SI_TKILL,
    SI_USER,
    SIG_KERNEL_ONLY,
    SS_AUTODISARM,
    SigAction,
    SigInfo,
    SigPending,
    kill_info,
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

_KERNEL_SIGINFO_SIZE: Final = 48
_STACK: Final = struct.Struct("<QI4xQ")
_STACK_32: Final = struct.Struct("<III")
_SI_DETHREAD: Final = -7
_SI_ASYNCNL: Final = -60
_NSIGPOLL: Final = 6
_NR_CODES: Final = {4: 11, 5: 6, 7: 5, 8: 15, 11: 10, 17: 6, 29: 6, 31: 2}  # si_code of SIGILL, SIGTRAP, SIGBUS, ...


def sys_rt_sigaction(task: "Task", sig: int, act: int, oact: int, size: int) -> int:
    """rt_sigaction(2)."""
    if size != 8:
        return -errno.EINVAL
    action: SigAction | None = None
    if act:
        data = copy_from_user(task.mm, act, 20 if task.compat else 32)
        if data is None:
            return -errno.EFAULT
        action = SigAction.unpack_32(data) if task.compat else SigAction.unpack(data)
        action.flags &= SA_ALL
    old = do_sigaction(task, signed32(sig), action)
    if isinstance(old, int):
        return old
    if oact and not copy_to_user(task.mm, oact, old.pack_32() if task.compat else old.pack()):
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
    data = struct.pack("<Q", (task.pending.signal | task.signal.shared_pending.signal) & task.blocked)[:size]
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
    sleep_until(task, FOREVER, "sigsuspend")
    return -ERESTARTNOHAND


def sys_pause(task: "Task") -> int:
    """pause(2)."""
    sleep_until(task, FOREVER, "__do_sys_pause")
    return -ERESTARTNOHAND


def take_signal(task: "Task", wanted: int) -> SigInfo | None:
    """Takes one of a set off what is pending: the thread's own first."""
    queues: list[SigPending] = [task.pending, task.signal.shared_pending]
    for pending in queues:
        sig = pending.next_signal(~wanted)
        if sig:
            return pending.collect(sig)
    return None


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
        deadline = task.kernel.monotonic_ns() + length
    blocked = task.blocked
    while True:
        found = take_signal(task, wanted)
        if found is not None:
            packed = pack_siginfo_32(found) if task.compat else found.pack()
            return found.signo if info == 0 or copy_to_user(task.mm, info, packed) else -errno.EFAULT
        task.real_blocked = blocked
        task.set_blocked(blocked & ~wanted)
        in_time = sleep_until(task, deadline, "do_sigtimedwait")
        task.set_blocked(blocked)
        task.real_blocked = 0
        if in_time:
            return -errno.EAGAIN
        if not (task.pending.signal | task.signal.shared_pending.signal) & wanted:
            return -errno.EINTR


def sys_rt_sigreturn(task: "Task") -> int:
    """rt_sigreturn(2): everything is as before the handler; a frame that cannot be read is a SIGSEGV."""
    if not task.kernel.abi.restore_sigframe(task):
        task.kernel.abi.bad_frame(task)
        task.regs.syscallno = -1
        return 0
    return task.regs.return_value()


def stack_t(task: "Task") -> struct.Struct:
    """stack_t of the program that makes the system call under way."""
    return _STACK_32 if task.compat else _STACK


def sys_sigaltstack(task: "Task", new: int, old: int) -> int:
    """sigaltstack(2)."""
    given: bytes | None = None
    if new:
        given = copy_from_user(task.mm, new, stack_t(task).size)
        if given is None:
            return -errno.EFAULT
    flags = sas_ss_flags(task, unsigned(int(task.regs.user_stack_pointer()))) | (task.sas_ss_flags & SS_AUTODISARM)
    low = 0xFFFF_FFFF if task.compat else -1
    before = stack_t(task).pack(task.sas_ss_sp & low, flags & 0xFFFF_FFFF, task.sas_ss_size & low)
    if given is not None:
        sp, flags, size = stack_t(task).unpack(given)
        error = do_sigaltstack(task, sp, flags, size)
        if error < 0:
            return error
    if old and not copy_to_user(task.mm, old, before):
        return -errno.EFAULT
    return 0


def sys_kill(task: "Task", pid: int, sig: int) -> int:
    """kill(2): a process, the caller's group (0), everybody but init and the caller (-1), a group (-pgid)."""
    pid, sig = signed32(pid), signed32(sig)
    info = kill_info(sig, SI_USER, task.tgid, task.uid)
    if pid > 0:
        other = task.kernel.find_task(pid)
        if other is None:
            return -errno.EPERM if pid == 1 and 0 <= sig <= NSIG and task.euid else -errno.ESRCH
        return -errno.EINVAL if not 0 <= sig <= NSIG else group_send_sig_info(task, other, sig, info)
    if pid == -(1 << 31):
        return -errno.ESRCH
    pgrp = task.pgid if pid == 0 else -pid
    result = -errno.ESRCH
    reached = False
    for other in task.kernel.tasks():
        if not other.is_leader() or (other.signal is task.signal if pid == -1 else other.pgid != pgrp):
            continue
        sent = -errno.EINVAL if not 0 <= sig <= NSIG else group_send_sig_info(task, other, sig, info)
        if pid == -1:
            if sent != -errno.EPERM:
                result = sent
            continue
        reached = reached or sent == 0
        if not reached:
            result = sent
    return 0 if reached else result


def sys_tkill(task: "Task", tid: int, sig: int) -> int:
    """tkill(2)."""
    return -errno.EINVAL if signed32(tid) <= 0 else do_send_specific(task, 0, signed32(tid), signed32(sig))


def sys_tgkill(task: "Task", tgid: int, tid: int, sig: int) -> int:
    """tgkill(2)."""
    tgid, tid = signed32(tgid), signed32(tid)
    return -errno.EINVAL if tgid <= 0 or tid <= 0 else do_send_specific(task, tgid, tid, signed32(sig))


def do_send_specific(task: "Task", tgid: int, tid: int, sig: int, info: SigInfo | None = None) -> int:
    """Sends to one thread, which must be of the process ``tgid`` where that is not 0."""
    other = task.kernel.find_task(tid)
    if other is None or (tgid and other.tgid != tgid):
        return -errno.ESRCH
    if not 0 <= sig <= NSIG:
        return -errno.EINVAL
    if not kill_allowed(task, other, sig):
        return -errno.EPERM
    if not sig:
        return 0
    return send_signal(other, info or kill_info(sig, SI_TKILL, task.tgid, task.uid), group=False)


def queued_info(task: "Task", sig: int, addr: int) -> SigInfo | int:
    """The siginfo of a rt_*sigqueueinfo call; -EFAULT, or -E2BIG where nobody knows what its end means."""
    data = copy_from_user(task.mm, addr, 128)
    if data is None:
        return -errno.EFAULT
    sig = signed32(sig)
    _, si_errno, code = struct.unpack_from("<iii", data)
    if task.compat:
        return SigInfo(sig, code, siginfo_fields_of_32(data, sig, code), si_errno)
    if not known_siginfo_layout(sig, code) and any(data[_KERNEL_SIGINFO_SIZE:]):
        return -errno.E2BIG
    return SigInfo(sig, code, data[16:], si_errno)


def known_siginfo_layout(sig: int, code: int) -> bool:
    """Whether the kernel knows which fields a siginfo with this code has."""
    if code > SI_USER:
        return code == SI_KERNEL or code <= _NR_CODES.get(sig, _NSIGPOLL)
    return code >= _SI_DETHREAD or code == _SI_ASYNCNL


def sys_rt_sigqueueinfo(task: "Task", tgid: int, sig: int, info: int) -> int:
    """rt_sigqueueinfo(2): only to itself may a process pretend to be the kernel or kill(2)."""
    tgid = signed32(tgid)
    given = queued_info(task, sig, info)
    if isinstance(given, int):
        return given
    if (given.code >= 0 or given.code == SI_TKILL) and task.tgid != tgid:
        return -errno.EPERM
    other = task.kernel.find_task(tgid)
    if tgid <= 0 or other is None:
        return -errno.ESRCH
    return -errno.EINVAL if not 0 <= given.signo <= NSIG else group_send_sig_info(task, other, given.signo, given)


def sys_rt_tgsigqueueinfo(task: "Task", tgid: int, tid: int, sig: int, info: int) -> int:
    """rt_tgsigqueueinfo(2)."""
    tgid, tid = signed32(tgid), signed32(tid)
    given = queued_info(task, sig, info)
    if isinstance(given, int):
        return given
    if tgid <= 0 or tid <= 0:
        return -errno.EINVAL
    if (given.code >= 0 or given.code == SI_TKILL) and task.pid != tid:
        return -errno.EPERM
    return do_send_specific(task, tgid, tid, given.signo, given)
