"""/proc/pressure: a text, and triggers. Who writes "some 150000 1000000" is told by poll(2) (POLLPRI) when tasks have
lost 150 ms within a second.

Sources: Documentation/accounting/psi.rst.

Mirrors: kernel/sched/psi.c (psi_write, psi_trigger_create, psi_trigger_poll) (6.18)
Differs: see mm/psi.py.
"""

import errno
import re
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import POLLERR, POLLPRI
from pagewalk.fs.procfs.inodes import ProcFile, ProcInode
from pagewalk.fs.wait import WaitQueueHead
from pagewalk.mm.file import FMODE_WRITE
from pagewalk.mm.psi import Psi, PsiLine, PsiListener, PsiTrigger

if TYPE_CHECKING:
    from pagewalk.mm.system import System

WINDOW_MAX_US: Final = 10_000_000
UNPRIVILEGED_WINDOW_US: Final = 2_000_000
_TEXT_MAX: Final = 32
_TRIGGER: Final = re.compile(rb"(some|full)\s+([+-]?\d+)\s+([+-]?\d+)")


class PressureFile(ProcFile):
    """One open file of a resource; ``psi``: what it is about."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, inode: ProcInode, psi: Psi) -> None:
        super().__init__(system, dentry, flags, inode)
        self.psi = psi
        self.trigger: Trigger | None = None

    def write(self, data: bytes, pos: int = -1) -> int:
        """Sets the trigger: -EINVAL for what is none, -EBUSY where there is one already. The last byte is the text's
        end, whatever it is."""
        if not self.f_mode & FMODE_WRITE:
            return -errno.EBADF
        if not data:
            return -errno.EINVAL
        if self.trigger is not None:
            return -errno.EBUSY
        text = data[: min(len(data), _TEXT_MAX) - 1]
        found = _TRIGGER.match(text.split(b"\0")[0])
        if found is None:
            return -errno.EINVAL
        threshold = int(found[2]) & 0xFFFF_FFFF
        window = int(found[3]) & 0xFFFF_FFFF
        if not 0 < window <= WINDOW_MAX_US:
            return -errno.EINVAL
        if not self.system.current.capable and window % UNPRIVILEGED_WINDOW_US:
            return -errno.EINVAL
        if not 0 < threshold <= window:
            return -errno.EINVAL
        line = self.psi.some if found[1] == b"some" else self.psi.full
        self.trigger = Trigger(self, line, PsiTrigger(threshold * 1000, window * 1000))
        self.psi.listeners.append(self.trigger)
        return len(data)

    def can_poll(self) -> bool:
        """It has a poll method."""
        return True

    def poll(self) -> int:
        """POLLPRI once for each time that the trigger has fired; without a trigger POLLERR as well."""
        ready = super().poll()
        if self.trigger is None:
            return ready | POLLERR | POLLPRI
        if self.trigger.fired:
            self.trigger.fired = False
            return ready | POLLPRI
        return ready

    def wait_queues(self) -> list[WaitQueueHead]:
        """The trigger's."""
        return [] if self.trigger is None else [self.trigger.wqh]

    def release(self) -> None:
        """The trigger goes with its file."""
        if self.trigger is not None:
            self.psi.listeners.remove(self.trigger)
        super().release()


class Trigger(PsiListener):
    """What one file waits for; ``fired``: it has happened, and nobody has been told."""

    def __init__(self, file: PressureFile, line: PsiLine, condition: PsiTrigger) -> None:
        super().__init__()
        self.kernel = file.proc_inode.proc.kernel
        self.line = line
        self.condition = condition
        self.fired = False
        self.wqh = WaitQueueHead()
        condition.update(self.kernel.monotonic_ns(), int(line.total_ns))

    def stalled(self) -> None:
        """See ``PsiListener.stalled``."""
        if self.condition.update(self.kernel.monotonic_ns(), int(self.line.total_ns)):
            self.fired = True
            self.wqh.wake_up(POLLPRI)


def open_memory(inode: ProcInode, dentry: Dentry, flags: int) -> PressureFile:
    """/proc/pressure/memory."""
    return PressureFile(inode.proc.system, dentry, flags, inode, inode.proc.system.psi)


def open_idle(inode: ProcInode, dentry: Dentry, flags: int) -> PressureFile:
    """/proc/pressure/cpu and io, of which nothing is ever lost."""
    return PressureFile(inode.proc.system, dentry, flags, inode, Psi())
