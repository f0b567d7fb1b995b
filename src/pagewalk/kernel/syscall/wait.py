"""wait4(2) and waitid(2).

Mirrors: kernel/exit.c (6.18)
Differs: nothing.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.do_wait import (
    P_ALL,
    P_PGID,
    P_PID,
    P_PIDFD,
    WALL,
    WCLONE,
    WCONTINUED,
    WEXITED,
    WNOHANG,
    WNOTHREAD,
    WNOWAIT,
    WSTOPPED,
    WUNTRACED,
    WaitOpts,
    do_wait,
)
from pagewalk.kernel.signal_types import SIGCHLD
from pagewalk.kernel.syscall.args import write_longs
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_WAIT4: Final = WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL
_WAITID: Final = WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WCLONE | WALL


def sys_wait4(task: "Task", pid: int, status: int, options: int, usage: int) -> int:
    """wait4(2)."""
    options &= 0xFFFF_FFFF
    if options & ~_WAIT4:
        return -errno.EINVAL
    pid = signed32(pid)
    if pid == -(1 << 31):
        return -errno.ESRCH
    if pid == -1:
        wo = WaitOpts(P_ALL, 0, options | WEXITED)
    elif pid < 0:
        wo = WaitOpts(P_PGID, -pid, options | WEXITED)
    elif pid == 0:
        wo = WaitOpts(P_PGID, task.pgid, options | WEXITED)
    else:
        wo = WaitOpts(P_PID, pid, options | WEXITED)
    found = do_wait(task, wo)
    if found > 0:
        if status and not copy_to_user(task.mm, status, struct.pack("<i", wo.wait_status)):
            return -errno.EFAULT
        if usage and not write_longs(task, usage, wo.usage):
            return -errno.EFAULT
    return found


def sys_waitid(task: "Task", which: int, pid: int, info: int, options: int, usage: int) -> int:
    """waitid(2)."""
    options &= 0xFFFF_FFFF
    if options & ~_WAITID or not options & (WEXITED | WSTOPPED | WCONTINUED):
        return -errno.EINVAL
    which, pid = signed32(which), signed32(pid)
    if which == P_PIDFD:
        target = pidfd_pid(task, pid)
        if target < 0:
            return target
        nonblock = target >> 32
        wo = WaitOpts(P_PID, target & 0xFFFF_FFFF, options | (WNOHANG if nonblock else 0))
        found = do_wait(task, wo)
        if found == 0 and nonblock and not options & WNOHANG:
            return -errno.EAGAIN
    else:
        if (which == P_PID and pid <= 0) or (which == P_PGID and pid < 0) or which not in (P_ALL, P_PID, P_PGID):
            return -errno.EINVAL
        if which == P_PGID and pid == 0:
            pid = task.pgid
        wo = WaitOpts(which, pid, options)
        found = do_wait(task, wo)
    if found > 0 and usage and not write_longs(task, usage, wo.usage):
        return -errno.EFAULT
    if found < 0:
        return found
    if info:
        signo = SIGCHLD if found > 0 else 0
        words = struct.pack("<iii", signo, 0, wo.cause)
        rest = struct.pack("<iIi", wo.pid, wo.uid, wo.status)
        behind = info + (12 if task.compat else 16)
        if not copy_to_user(task.mm, info, words) or not copy_to_user(task.mm, behind, rest):
            return -errno.EFAULT
    return 0


def pidfd_pid(task: "Task", fd: int) -> int:
    """The process of a pidfd, with bit 32 set where it is non-blocking; a negative errno."""
    if fd < 0:
        return -errno.EINVAL
    file = task.files.get(fd)
    if file is None:
        return -errno.EBADF
    pid = file.pidfd_pid()
    if pid <= 0:
        return -errno.EBADF
    return pid | (1 << 32 if file.nonblock else 0)
