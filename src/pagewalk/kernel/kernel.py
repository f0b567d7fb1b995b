"""What the processes of one machine share: memory, files, clocks, the vDSO, names.

Mirrors: init/main.c, init/version.c, kernel/fork.c (pid allocation) (6.18)
Differs: an object rather than globals.
"""

import os
import select
import threading
from typing import TYPE_CHECKING

from pagewalk.arch.format import Layout
from pagewalk.config import Config
from pagewalk.errors import ExecError, OutOfMemory
from pagewalk.fs.fs_struct import FsStruct
from pagewalk.fs.procfs.registry import TaskRegistry
from pagewalk.kernel.clock import ITIMER_REAL, AlarmClock, monotonic_ns
from pagewalk.kernel.exit import do_exit, exit_mm
from pagewalk.kernel.shm import ShmNamespace
from pagewalk.kernel.signal import send_signal
from pagewalk.kernel.signal_types import SIGALRM, SIGKILL, SIGPROF, SIGVTALRM, kernel_info
from pagewalk.kernel.syscall.names import syscall_name
from pagewalk.kernel.task import Task
from pagewalk.kernel.vdso import Vdso
from pagewalk.mm.current import RLIMIT_NAMES, RLIMIT_NPROC, RLIMIT_SIGPENDING
from pagewalk.mm.mm_types import mm_alloc

if TYPE_CHECKING:
    from pagewalk.fs.namespace import Namespace
    from pagewalk.kernel.cpu import Cpu
    from pagewalk.mm.system import System

FIRST_PID = 1000


class Uts:
    """struct new_utsname: what uname(2) answers."""

    def __init__(self) -> None:
        self.sysname = "Linux"
        self.nodename = "pagewalk"
        self.release = "6.18.0"
        self.version = "#1 SMP PREEMPT_DYNAMIC"
        self.machine = "x86_64"
        self.domainname = "(none)"

    def field(self, name: str) -> str:
        """The name that is called ``name``."""
        names = {
            "sysname": self.sysname,
            "nodename": self.nodename,
            "release": self.release,
            "version": self.version,
            "domainname": self.domainname,
        }
        return names[name]


class Kernel(TaskRegistry):
    """One machine's kernel.

    system, ns     memory and files
    layout         where things go in an address space; task_size: the first address that is no user's
    cpu            what runs programs, None until one is set
    hwcap, hwcap2  AT_HWCAP, AT_HWCAP2
    stop_reason    why ``stop`` was called, "" while nobody did
    """

    def __init__(self, system: "System", ns: "Namespace") -> None:
        super().__init__()
        self.system = system
        self.ns = ns
        self.config: Config = system.config
        self.layout: Layout = system.layout
        self.task_size: int = system.layout.task_size
        self.cpu: Cpu | None = None
        self.hwcap = 0x078B_FBFD
        self.hwcap2 = 0
        self.uts = Uts()
        self.tasks_by_pid: dict[int, Task] = {}
        self.next_pid = FIRST_PID
        self.boot_ns = monotonic_ns()
        self.vdso = Vdso(system)
        self.shm = ShmNamespace(system)
        self.stop_reason = ""
        self.poked = False
        self.wake_read = -1
        self.wake_write = -1
        self.lock = threading.Lock()
        self.alarm_clock = AlarmClock(self.poke)

    # fs.procfs asks for these.

    def current_task(self) -> Task | None:
        """The running task."""
        current = self.system.current
        return current if isinstance(current, Task) else None

    def find_task(self, pid: int) -> Task | None:
        """The task with this id."""
        return self.tasks_by_pid.get(pid)

    def tasks(self) -> list[Task]:
        """Every task."""
        return list(self.tasks_by_pid.values())

    def uts_name(self, field: str) -> str:
        """A name of uname(2)."""
        return self.uts.field(field)

    def syscall_name(self, number: int) -> str:
        """What a system call is called."""
        return syscall_name(number)

    # Making and ending processes.

    def spawn(
        self,
        path: str,
        argv: list[bytes],
        envp: list[bytes],
        cwd: str = "/",
        rlimits: dict[int, tuple[int, int]] | None = None,
    ) -> Task:
        """A new process that is about to run ``path``; raises ExecError where that cannot be executed.

        ``rlimits``: (soft, hard) by RLIMIT_*, -1 for unlimited; the configuration's come on top.
        """
        task = self.new_task()
        for which, (soft, hard) in (rlimits or {}).items():
            task.rlim_cur[which] = soft
            task.rlim_max[which] = hard
        for name, (soft, hard) in self.config.rlimits.items():
            task.rlim_cur[RLIMIT_NAMES.index(name)] = soft
            task.rlim_max[RLIMIT_NAMES.index(name)] = hard
        task.fs.set_cwd(cwd)
        self.ns.install_std_streams(task.files)
        from pagewalk.kernel.exec import do_execve

        bprm = do_execve(task, path, argv, envp)
        if bprm.error < 0:
            do_exit(task, SIGKILL)
            self.release_task(task)
            raise ExecError(path, -bprm.error, bprm.reason or "cannot be executed")
        return task

    def new_task(self) -> Task:
        """A process without a program: an empty address space, no descriptors."""
        mm = mm_alloc(self.system)
        if mm is None:
            raise OutOfMemory("no page frame for the page table of a new process")
        task = Task(self, self.next_pid, mm, FsStruct(self.ns))
        self.next_pid += 1
        task.start_ns = monotonic_ns()
        nr_processes = max(1, self.system.totalram_pages // 128)  # max_threads / 2 of fork_init
        for which in (RLIMIT_NPROC, RLIMIT_SIGPENDING):
            task.rlim_cur[which] = nr_processes
            task.rlim_max[which] = nr_processes
        if self.cpu is not None:
            task.fpu = self.cpu
        self.tasks_by_pid[task.pid] = task
        self.system.current = task
        return task

    def do_exit(self, task: Task, code: int) -> None:
        """Ends a task; see kernel/exit.py."""
        do_exit(task, code)

    def release_task(self, task: Task) -> None:
        """Forgets a task that has ended, and frees its memory."""
        exit_mm(task)
        self.tasks_by_pid.pop(task.pid, None)

    # Being interrupted: by timers, and from outside.

    def poke(self) -> None:
        """Makes the kernel look at its clocks soon. From any thread."""
        self.poked = True
        cpu = self.cpu
        if cpu is not None:
            cpu.stop()
        with self.lock:
            if self.wake_write >= 0:
                try:
                    os.write(self.wake_write, b"\0")
                except BlockingIOError:
                    pass

    def stop(self, reason: str) -> None:
        """Ends the run: ``sched.run`` comes back, the task is killed. From any thread."""
        self.stop_reason = reason
        self.poke()

    def set_alarm_clock(self, task: Task) -> None:
        """Tells the helper thread when the next timer of ``task`` is due."""
        now = monotonic_ns()
        deadlines = []
        for which, timer in enumerate(task.timers):
            if timer.expires_ns:
                left = timer.expires_ns - task_timer_clock(task, which)
                deadlines.append(now + max(left, 0))
        self.alarm_clock.set(min(deadlines) if deadlines else 0)

    def check_timers(self, task: Task) -> None:
        """After a poke: sends the signals of timers that are due, and a kill where the run was stopped."""
        self.poked = False
        if self.stop_reason:
            send_signal(task, kernel_info(SIGKILL))
        armed = False
        for which, sig in ((0, SIGALRM), (1, SIGVTALRM), (2, SIGPROF)):
            timer = task.timers[which]
            if timer.due(task_timer_clock(task, which)):
                send_signal(task, kernel_info(sig))
            armed = armed or timer.expires_ns != 0
        if armed:
            self.set_alarm_clock(task)

    def wait(self, task: Task, deadline_ns: int, fds: list[tuple[int, int]]) -> bool:
        """Sleeps until a host descriptor is ready (``fds``: number and poll bits), the deadline passes, or a poke
        comes.

        ``deadline_ns`` is of the monotonic clock, -1 for none. True where it makes sense to look again at once; False
        where the time is up. The caller checks for signals.
        """
        if self.poked:
            self.check_timers(task)
            return True
        timeout = None
        if deadline_ns >= 0:
            left = deadline_ns - monotonic_ns()
            if left <= 0 and not fds:
                return False
            timeout = max(0, left) / 1_000_000
        poller = select.poll()
        with self.lock:
            if self.wake_read < 0:
                self.wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        poller.register(self.wake_read, select.POLLIN)
        for fd, events in fds:
            poller.register(fd, events)
        task.nvcsw += 1
        ready = poller.poll(timeout)
        if any(fd == self.wake_read for fd, _ in ready):
            os.read(self.wake_read, 4096)
        if self.poked:
            self.check_timers(task)
            return True
        return bool(ready) or deadline_ns < 0 or monotonic_ns() < deadline_ns

    def close(self) -> None:
        """Gives back what belongs to the host: the helper thread and the pipe."""
        self.alarm_clock.close()
        with self.lock:
            for fd in (self.wake_read, self.wake_write):
                if fd >= 0:
                    os.close(fd)
            self.wake_read = -1
            self.wake_write = -1


def task_timer_clock(task: Task, which: int) -> int:
    """The clock of one interval timer: the monotonic one, or the task's time in the program, or all its time."""
    if which == ITIMER_REAL:
        return monotonic_ns()
    return task.utime_ns if which == 1 else task.utime_ns + task.stime_ns
