"""A process as a file: readable once it has ended.

Sources: pidfd_open(2).

Mirrors: fs/pidfs.c (6.18)
Differs: no ioctls; all pidfds of a process have inodes of their own.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.anon_inodes import AnonInode, AnonInodeFs
from pagewalk.fs.dcache import Dentry, Mount
from pagewalk.fs.fcntl import O_NONBLOCK, O_RDWR, POLLHUP, POLLIN, POLLRDNORM
from pagewalk.fs.file import VfsFile
from pagewalk.fs.inode import InodeNumbers
from pagewalk.fs.wait import WaitQueueHead

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.mm.system import System

PIDFD_THREAD: Final = 0o200  # O_EXCL
_EXIT_DEAD: Final = 16
_EXIT_ZOMBIE: Final = 32

_inode_numbers = InodeNumbers(30001)


def _dentry() -> Dentry:
    sb = AnonInodeFs()
    return Dentry(
        "anon_inode:[pidfd]", None, AnonInode(sb, _inode_numbers.next(), 0o700), Mount(0, sb, "none", "rw", 0)
    )


class PidFile(VfsFile):
    """A pidfd of a process, or with ``thread`` of one thread."""

    def __init__(self, system: "System", task: "Task", flags: int, *, thread: bool) -> None:
        super().__init__(system, _dentry(), O_RDWR | flags & O_NONBLOCK)
        self.task = task
        self.thread = thread

    def pidfd_pid(self) -> int:
        """Its process id."""
        return self.task.pid

    def find(self) -> "Task | None":
        """The task, None once it has been waited for."""
        return None if self.task.state == _EXIT_DEAD else self.task

    def can_poll(self) -> bool:
        """Yes."""
        return True

    def poll(self) -> int:
        """Readable when the task has ended (and with it all threads of its process); hung up once it is waited for."""
        if self.task.state == _EXIT_DEAD:
            return POLLIN | POLLRDNORM | POLLHUP
        if self.task.state == _EXIT_ZOMBIE and (self.thread or self.task.thread_group_empty()):
            return POLLIN | POLLRDNORM
        return 0

    def wait_queues(self) -> list[WaitQueueHead]:
        """Of those that wait for its end."""
        return [self.task.signal.wait_pidfd]

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """EOPNOTSUPP."""
        return -errno.EOPNOTSUPP

    def ftruncate(self, length: int) -> int:
        """EOPNOTSUPP."""
        return -errno.EOPNOTSUPP

    def fdinfo(self) -> str:
        """Its id, -1 once it has been waited for."""
        pid = -1 if self.find() is None else self.task.pid
        return f"Pid:\t{pid}\nNSpid:\t{pid}\n"


def make_pidfd(system: "System", task: "Task", flags: int) -> VfsFile:
    """A pidfd for ``task`` (O_NONBLOCK, PIDFD_THREAD in ``flags``), with one reference."""
    return PidFile(system, task, flags, thread=bool(flags & PIDFD_THREAD))
