"""signalfd: signals that are read.

Sources: signalfd(2).

Mirrors: fs/signalfd.c (6.18)
Differs: it stands in kernel/, for it reads what is pending for a task.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.anon_inodes import AnonFile
from pagewalk.fs.fcntl import O_CLOEXEC, O_NONBLOCK, O_RDWR, POLLIN
from pagewalk.fs.file import WOULD_BLOCK
from pagewalk.fs.wait import WaitQueueHead
from pagewalk.kernel.signal_types import (
    ALL_SIGNALS,
    SI_TIMER,
    SI_USER,
    SIG_KERNEL_ONLY,
    SIG_KERNEL_SYNCHRONOUS,
    SIGCHLD,
    SigInfo,
    sigmask,
)
from pagewalk.kernel.syscall.args import fdget
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user

if TYPE_CHECKING:
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task

SI_KERNEL: Final = 0x80
_SIZE: Final = 128


class SignalFile(AnonFile):
    """An open signalfd. What is pending is asked of the task that reads, as in Linux."""

    def __init__(self, kernel: "Kernel", mask: int, flags: int) -> None:
        super().__init__(kernel.system, "[signalfd]", O_RDWR | flags & O_NONBLOCK)
        self.kernel = kernel
        self.mask = mask

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """As many signals as are pending and fit, 128 bytes each."""
        if pos != -1:
            return -errno.ESPIPE
        task = self.kernel.current_task()
        if count < _SIZE or task is None:
            return -errno.EINVAL
        records: list[bytes] = []
        while len(records) < count // _SIZE:
            info = dequeue_signal(task, self.mask)
            if info is None:
                break
            records.append(signalfd_siginfo(info))
        if not records:
            return -errno.EAGAIN if self.nonblock else WOULD_BLOCK
        return b"".join(records)

    def poll(self) -> int:
        """Readable where one of its signals is pending for the task that asks."""
        task = self.kernel.current_task()
        if task is None:
            return 0
        return POLLIN if (task.pending.signal | task.signal.shared_pending.signal) & self.mask else 0

    def wchan(self, events: int) -> str:
        """Its read function."""
        return "signalfd_read_iter"

    def wait_queues(self) -> list[WaitQueueHead]:
        """That of the task's signals."""
        task = self.kernel.current_task()
        return [] if task is None else [task.sighand.signalfd_wqh]

    def fdinfo(self) -> str:
        """The mask."""
        return f"sigmask:\t{self.mask:016x}\n"


def dequeue_signal(task: "Task", mask: int) -> SigInfo | None:
    """The next pending signal of ``mask``: the thread's own first, then the process's."""
    for pending in (task.pending, task.signal.shared_pending):
        sig = pending.next_signal(ALL_SIGNALS & ~mask)
        if sig:
            return pending.collect(sig)
    return None


def signalfd_siginfo(info: SigInfo) -> bytes:
    """struct signalfd_siginfo."""
    fields = info.fields.ljust(112, b"\0")
    pid = uid = tid = overrun = status = value = pointer = utime = stime = addr = 0
    if SI_USER < info.code < SI_KERNEL and info.signo == SIGCHLD:
        pid, uid, status, utime, stime = struct.unpack_from("<iIi4xqq", fields)
    elif SI_USER < info.code < SI_KERNEL and sigmask(info.signo) & SIG_KERNEL_SYNCHRONOUS:
        addr = struct.unpack_from("<Q", fields)[0]
    elif info.code == SI_TIMER:
        tid, overrun, pointer = struct.unpack_from("<IIQ", fields)
        value = pointer & 0xFFFF_FFFF
    elif info.code < 0:
        pid, uid, pointer = struct.unpack_from("<iIQ", fields)
        value = pointer & 0xFFFF_FFFF
    else:
        pid, uid = struct.unpack_from("<iI", fields)
    head = struct.pack("<IiiiIiIIII", info.signo, info.si_errno, info.code, pid, uid, 0, tid, 0, overrun, 0)
    return (head + struct.pack("<iIQqqQ", status, value, pointer, utime, stime, addr)).ljust(_SIZE, b"\0")


def sys_signalfd(task: "Task", fd: int, mask: int, size: int) -> int:
    """signalfd(2) without flags."""
    return sys_signalfd4(task, fd, mask, size, 0)


def sys_signalfd4(task: "Task", fd: int, mask: int, size: int, flags: int) -> int:
    """signalfd(2): a new descriptor for -1, else another mask for an old one."""
    if size != 8:
        return -errno.EINVAL
    data = copy_from_user(task.mm, mask, 8)
    if data is None:
        return -errno.EFAULT
    flags &= 0xFFFF_FFFF
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        return -errno.EINVAL
    wanted = int.from_bytes(data, "little") & ~SIG_KERNEL_ONLY
    if signed32(fd) != -1:
        old = fdget(task, fd)
        if not isinstance(old, SignalFile):
            return -errno.EBADF if old is None else -errno.EINVAL
        old.mask = wanted
        task.sighand.signalfd_wqh.wake_up(0, 0)
        return signed32(fd)
    file = SignalFile(task.kernel, wanted, flags)
    new = task.files.install(file, bool(flags & O_CLOEXEC))
    if new < 0:
        file.put()
    return new
