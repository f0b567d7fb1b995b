"""Who has the tasks: what /proc asks of the kernel.

Mirrors: kernel/pid.c (6.18), as far as /proc needs it
Differs: nothing.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pagewalk.fs.locks import LockTable
from pagewalk.fs.unix_bind import UnixTable

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.mm.lmk import LowMemoryKiller
    from pagewalk.mm.memcontrol import MemCgroup


class TaskRegistry:
    """The kernel object's side of /proc; ``kernel.kernel.Kernel`` fills it in.

    next_pid  the id that the next task gets
    on_exit   called with each task (threads too) that is about to end, while everything of it is still there
    boot_ns   the monotonic clock when the machine was started
    file_locks, unix  the locks on files; the AF_UNIX sockets
    on_exec   called with each task whose program is about to be replaced, while it still has the old address space
    on_mm_release  called with each task that has given its address space up, in exit or execve, before that is freed
    on_idle   called with the number of a CPU that has nothing to run any more
    on_fork   called with the parent and each task (threads too) that it has made, before that runs
    before_syscall  called before each system call that there is, with its task, function and arguments
    on_syscall  called after each system call with its task, the function that served it, its arguments (as that
                function got them) and its answer
    """

    def __init__(self) -> None:
        self.on_exit: Callable[[Task], None] | None = None
        self.on_exec: Callable[[Task], None] | None = None
        self.on_mm_release: Callable[[Task], None] | None = None
        self.on_idle: Callable[[int], None] | None = None
        self.on_fork: Callable[[Task, Task], None] | None = None
        self.before_syscall: Callable[[Task, Callable[..., int], tuple[int, ...]], None] | None = None
        self.on_syscall: Callable[[Task, Callable[..., int], tuple[int, ...], int], None] | None = None
        self.boot_ns = 0
        self.next_pid = 0
        self.file_locks = LockTable()
        self.unix = UnixTable()

    def current_task(self) -> "Task | None":
        """The running task, for /proc/self."""
        return None

    def find_task(self, pid: int) -> "Task | None":
        """The task with this id."""
        return None

    def tasks(self) -> "list[Task]":
        """Every task, by id."""
        return []

    def low_memory_driver(self) -> "LowMemoryKiller | None":
        """Android's driver, where the machine has it."""
        return None

    def memcg_faults(self, group: "MemCgroup") -> tuple[int, int]:
        """Faults, and major ones, of the tasks that a cgroup and those below it have now."""
        return 0, 0

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def memcg_attach(self, task: "Task", group: "MemCgroup") -> None:
        """Moves a process to a cgroup."""

    def update_cpuset(self, group: "MemCgroup", cpus: int, mems: int, enabled: bool | None = None) -> None:
        """Changes a group's cpuset, or whether the groups below it have one."""

    def kill_task(self, task: "Task") -> None:
        """SIGKILL for a process."""

    def vmallocinfo(self) -> str:
        """The text of /proc/vmallocinfo."""
        return ""

    def uts_name(self, field: str) -> str:
        """A name of uname(2): sysname, nodename, release, version, domainname."""
        return ""

    def cpuinfo_text(self) -> str:
        """/proc/cpuinfo of an arm64 machine."""
        raise NotImplementedError

    def syscall_name(self, number: int) -> str:
        """What a system call is called, for wchan and stack."""
        return str(number)

    def sysvipc_sem_lines(self) -> str:
        """The lines of /proc/sysvipc/sem below its heading, one for each System V semaphore set."""
        return ""

    def sysvipc_shm_lines(self) -> str:
        """The lines of /proc/sysvipc/shm below its heading, one for each System V segment."""
        return ""
