"""pidfd_open, pidfd_send_signal, pidfd_getfd.

Sources: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2).

Mirrors: kernel/pid.c, kernel/signal.c (6.18)
Differs: PIDFD_SELF is not known (EBADF); another's descriptors may be taken by whoever could send him signals.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import O_NONBLOCK
from pagewalk.fs.pidfd import PIDFD_THREAD, PidFile, make_pidfd
from pagewalk.kernel.signal_send import kill_allowed, kill_pgrp, send_signal
from pagewalk.kernel.signal_types import NSIG, SI_TKILL, SI_USER, SigInfo, kill_info
from pagewalk.kernel.syscall.args import fdget
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

PIDFD_SIGNAL_THREAD: Final = 1
PIDFD_SIGNAL_THREAD_GROUP: Final = 2
PIDFD_SIGNAL_PROCESS_GROUP: Final = 4


def sys_pidfd_open(task: "Task", pid: int, flags: int) -> int:
    """pidfd_open(2): always close-on-exec. ENOENT: a thread that is no leader, without PIDFD_THREAD."""
    pid, flags = signed32(pid), flags & 0xFFFF_FFFF
    if flags & ~(O_NONBLOCK | PIDFD_THREAD) or pid <= 0:
        return -errno.EINVAL
    target = task.kernel.find_task(pid)
    if target is None:
        return -errno.ESRCH
    if not flags & PIDFD_THREAD and not target.is_leader():
        return -errno.ENOENT
    file = make_pidfd(task.kernel.system, target, flags)
    fd = task.files.install(file, cloexec=True)
    if fd < 0:
        file.put()
    return fd


def sys_pidfd_send_signal(task: "Task", pidfd: int, sig: int, info: int, flags: int) -> int:
    """pidfd_send_signal(2)."""
    flags, sig = flags & 0xFFFF_FFFF, signed32(sig)
    if flags & ~7 or flags.bit_count() > 1:
        return -errno.EINVAL
    file = fdget(task, pidfd)
    if not isinstance(file, PidFile):
        return -errno.EBADF
    thread = file.thread if not flags else flags == PIDFD_SIGNAL_THREAD
    target = file.find()
    if info:
        data = copy_from_user(task.mm, info, 128)
        if data is None:
            return -errno.EFAULT
        signo, si_errno, code = struct.unpack_from("<iii", data)
        if signo != sig:
            return -errno.EINVAL
        if (target is not task or flags == PIDFD_SIGNAL_PROCESS_GROUP) and (code >= 0 or code == SI_TKILL):
            return -errno.EPERM
        what = SigInfo(sig, code, data[16:], si_errno)
    else:
        what = kill_info(sig, SI_TKILL if thread else SI_USER, task.tgid, task.uid)
    if target is None:
        return -errno.ESRCH
    if not 0 <= sig <= NSIG:
        return -errno.EINVAL
    if flags == PIDFD_SIGNAL_PROCESS_GROUP:
        return 0 if kill_pgrp(task.kernel.tasks(), target.pid, what) else -errno.ESRCH
    if not kill_allowed(task, target, sig):
        return -errno.EPERM
    if sig:
        send_signal(target, what, group=not thread)
    return 0


def sys_pidfd_getfd(task: "Task", pidfd: int, fd: int, flags: int) -> int:
    """pidfd_getfd(2): a duplicate, close-on-exec."""
    if flags & 0xFFFF_FFFF:
        return -errno.EINVAL
    file = fdget(task, pidfd)
    if not isinstance(file, PidFile):
        return -errno.EBADF
    target = file.find()
    if target is None or target.is_ended():
        return -errno.ESRCH
    if not kill_allowed(task, target, 0):
        return -errno.EPERM
    wanted = target.files.get_raw(signed32(fd))
    if wanted is None:
        return -errno.EBADF
    wanted.get()
    new = task.files.install(wanted, cloexec=True)
    if new < 0:
        wanted.put()
    return new
