"""Signal calls that only 32-bit programs have: those of before real-time signals, with masks of 32 bits.

Sources: sigaction(2), sigprocmask(2), sigpending(2), sigsuspend(2), signal(2), sigreturn(2).

Mirrors: kernel/signal.c, arch/x86/kernel/signal_32.c (6.18)
Differs: nothing.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.sigframe_ia32 import restore_frame_32, restore_rt_frame_32
from pagewalk.kernel.signal import ERESTARTNOHAND, do_sigaction
from pagewalk.kernel.signal_send import force_sig
from pagewalk.kernel.signal_types import SA_ALL, SA_NODEFER, SA_RESETHAND, SIG_KERNEL_ONLY, SIGSEGV, SigAction
from pagewalk.kernel.syscall.signal import SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK
from pagewalk.kernel.wait import FOREVER, sleep_until
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_LOW: Final = 0xFFFF_FFFF
_HIGH: Final = _LOW << 32
_OLD_SIGACTION: Final = struct.Struct("<IIII")  # handler, mask, flags, restorer


def sys_sigaction(task: "Task", sig: int, act: int, oact: int) -> int:
    """sigaction(2), the old call."""
    action: SigAction | None = None
    if act:
        data = copy_from_user(task.mm, act, _OLD_SIGACTION.size)
        if data is None:
            return -errno.EFAULT
        action = SigAction()
        action.handler, action.mask, flags, action.restorer = _OLD_SIGACTION.unpack(data)
        action.flags = flags & SA_ALL
        action.compat = True
    old = do_sigaction(task, signed32(sig), action)
    if isinstance(old, int):
        return old
    data = _OLD_SIGACTION.pack(old.handler & _LOW, old.mask & _LOW, old.flags & _LOW, old.restorer & _LOW)
    if oact and not copy_to_user(task.mm, oact, data):
        return -errno.EFAULT
    return 0


def sys_signal(task: "Task", sig: int, handler: int) -> int:
    """signal(2), the System V kind: the handler is gone once it has run. The old handler."""
    action = SigAction()
    action.handler = handler
    action.flags = SA_RESETHAND | SA_NODEFER
    action.compat = True
    old = do_sigaction(task, signed32(sig), action)
    return old if isinstance(old, int) else old.handler & _LOW


def sys_sigprocmask(task: "Task", how: int, new: int, old: int) -> int:
    """sigprocmask(2), the old call: the first 32 signals."""
    before = task.blocked
    if new:
        data = copy_from_user(task.mm, new, 4)
        if data is None:
            return -errno.EFAULT
        mask = int.from_bytes(data, "little") & ~SIG_KERNEL_ONLY
        how = signed32(how)
        if how == SIG_BLOCK:
            task.set_blocked(before | mask)
        elif how == SIG_UNBLOCK:
            task.set_blocked(before & ~mask)
        elif how == SIG_SETMASK:
            task.set_blocked(before & _HIGH | mask)
        else:
            return -errno.EINVAL
    if old and not copy_to_user(task.mm, old, struct.pack("<I", before & _LOW)):
        return -errno.EFAULT
    return 0


def sys_sigpending(task: "Task", buf: int) -> int:
    """sigpending(2), the old call."""
    pending = (task.pending.signal | task.signal.shared_pending.signal) & task.blocked & _LOW
    return 0 if copy_to_user(task.mm, buf, struct.pack("<I", pending)) else -errno.EFAULT


def sys_sigsuspend(task: "Task", unused1: int, unused2: int, mask: int) -> int:
    """sigsuspend(2), the old call: the mask is the third argument itself."""
    task.saved_sigmask = task.blocked
    task.set_blocked(mask)
    sleep_until(task, FOREVER, "sigsuspend")
    return -ERESTARTNOHAND


def sys_sgetmask(task: "Task") -> int:
    """sgetmask(2)."""
    return task.blocked & _LOW


def sys_ssetmask(task: "Task", mask: int) -> int:
    """ssetmask(2): the old mask."""
    old = task.blocked
    task.set_blocked(mask)
    return old & _LOW


def back_from(task: "Task", restored: bool) -> int:
    """What either sigreturn leaves in eax; a frame that cannot be read is a SIGSEGV."""
    if restored:
        return task.regs.return_value()
    force_sig(task, SIGSEGV)
    task.regs.syscallno = -1
    return 0


def sys_sigreturn_32(task: "Task") -> int:
    """sigreturn(2)."""
    return back_from(task, restore_frame_32(task))


def sys_rt_sigreturn_32(task: "Task") -> int:
    """rt_sigreturn(2)."""
    return back_from(task, restore_rt_frame_32(task))
