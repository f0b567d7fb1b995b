"""What the processes of one machine share: memory, files, clocks, the vDSO, names.

Mirrors: init/main.c, init/version.c, kernel/fork.c (pid allocation) (6.18)
Differs: an object rather than globals.
"""

import os
import threading
from typing import TYPE_CHECKING, Final

from pagewalk.arch.format import Layout
from pagewalk.config import RLIMIT_NAMES, Config
from pagewalk.errors import ExecError, OutOfMemory
from pagewalk.fs.fs_struct import FsStruct
from pagewalk.fs.wait import WaitQueueHead
from pagewalk.kernel.abi import Abi
from pagewalk.kernel.abi_x86 import X86Abi
from pagewalk.kernel.clock import AlarmClock, Clock, monotonic_ns
from pagewalk.kernel.cpuset import attach_cpuset, update_cpuset
from pagewalk.kernel.elf import EM_386, EM_486, EM_AARCH64, EM_X86_64
from pagewalk.kernel.exit import do_exit, do_group_exit, release_task
from pagewalk.kernel.futex import FutexTable
from pagewalk.kernel.kernel_memory import KernelMemory
from pagewalk.kernel.oom import KernelOom
from pagewalk.kernel.sched import Scheduler, TaskWait
from pagewalk.kernel.sem import SemNamespace
from pagewalk.kernel.shm import ShmNamespace
from pagewalk.kernel.signal_send import send_signal, signal_pending
from pagewalk.kernel.signal_types import SIGKILL, kernel_info
from pagewalk.kernel.syscall.names_ia32 import syscall_name_ia32
from pagewalk.kernel.task import TASK_INTERRUPTIBLE, Task
from pagewalk.kernel.timer import SleepTimer
from pagewalk.kernel.uts import Uts
from pagewalk.kernel.vdso import Vdso
from pagewalk.kernel.vdso_32 import Vdso32
from pagewalk.mm.current import RLIMIT_NPROC, RLIMIT_SIGPENDING
from pagewalk.mm.memcg_names import PGFAULT, PGMAJFAULT
from pagewalk.mm.mm_types import mm_alloc

if TYPE_CHECKING:
    from pagewalk.fs.namespace import Namespace
    from pagewalk.kernel.cpu import Cpu
    from pagewalk.mm.lmk import LowMemoryKiller
    from pagewalk.mm.memcontrol import MemCgroup
    from pagewalk.mm.system import System

FIRST_PID = 1000
PID_MAX = 4194304


UTS_MACHINES: Final = {
    "x86_64": "x86_64", "x86_32": "i686", "x86_pae": "i686", "arm64": "aarch64", "riscv64": "riscv64",
    "riscv32": "riscv32",
}  # fmt: skip

# The machines (EM_*) whose programs each kernel runs, and what it is called.
ELF_MACHINES: Final[dict[str, tuple[tuple[int, ...], str]]] = {
    "x86_64": ((EM_X86_64, EM_386, EM_486), "x86-64"),
    "x86_32": ((EM_386, EM_486), "32-bit x86"),
    "x86_pae": ((EM_386, EM_486), "32-bit x86"),
    "arm64": ((EM_AARCH64,), "arm64"),
    "riscv64": ((), "riscv64"),
    "riscv32": ((), "riscv32"),
}
RESERVED_PIDS = 300


class Kernel(KernelMemory):
    """One machine's kernel.

    system, ns     memory and files
    layout         where things go in an address space; task_size: the first address that is no user's
    cpu            what runs programs, None until one is set
    abi            what the architecture has of its own
    hwcap, hwcap2  AT_HWCAP, AT_HWCAP2
    oom            the OOM killer
    elf_machines   the machines (EM_*) whose programs it runs; elf_here: what it is called
    vdso_32        the vDSO of 32-bit programs, None while there was none: see ``the_vdso_32``
    stop_reason    why ``stop`` was called, "" while nobody did
    """

    def __init__(self, system: "System", ns: "Namespace") -> None:
        super().__init__(system)
        self.ns = ns
        self.config: Config = system.config
        self.layout: Layout = system.layout
        self.task_size: int = system.layout.task_size
        self.cpu: Cpu | None = None
        self.unix.page_size = int(system.page_size)
        self.abi = abi_of(self.config.arch, int(system.page_size), system.pku)
        self.hwcap = 0x078B_FBFD
        self.hwcap2 = 0
        self.known_syscalls = {"6.1": 451, "6.12": 463}.get(self.config.linux, 1 << 16)
        if self.config.arch == "arm64":
            from pagewalk.kernel.cpufeature_arm64 import hwcaps

            self.hwcap, self.hwcap2 = hwcaps()
        self.elf_machines, self.elf_here = ELF_MACHINES[self.config.arch]
        self.vdso_32: Vdso32 | None = None
        self.uts = Uts(UTS_MACHINES[self.config.arch], self.config.linux)
        self.tasks_by_pid: dict[int, Task] = {}
        self.next_pid = FIRST_PID
        self.pid_max = PID_MAX
        self.max_threads = max(20, system.totalram_pages // 64)
        self.nr_forks = 0
        self.clock = Clock()
        self.sched = Scheduler(self, self.config.cpus)
        self.sleep_on = self.sched.sleep_on
        self.futexes = FutexTable()
        self.boot_ns = monotonic_ns()
        self.vdso = Vdso(system)
        self.shm = ShmNamespace(system)
        self.sem = SemNamespace()
        self.oom = KernelOom(self)
        for node in system.nodes:
            node.reclaim.killer = self.oom
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
        """Every task, threads too, in the order in which they were made."""
        return list(self.tasks_by_pid.values())

    def sysvipc_sem_lines(self) -> str:
        """The lines of /proc/sysvipc/sem below its heading."""
        return self.sem.proc_lines()

    def sysvipc_shm_lines(self) -> str:
        """The lines of /proc/sysvipc/shm below its heading."""
        return self.shm.proc_lines()

    def low_memory_driver(self) -> "LowMemoryKiller | None":
        """Android's driver, where the machine has it."""
        return self.oom.low_memory.driver

    def memcg_faults(self, group: "MemCgroup") -> tuple[int, int]:
        """Faults, and major ones, that the tasks of a cgroup and of those below it have had in it."""
        total = 0
        major = 0
        for task in self.tasks_by_pid.values():
            if not task.is_ended() and group.contains(self.system.memcg.groups[task.memcg]):
                total += task.min_flt + task.maj_flt - task.memcg_seen[0]
                major += task.maj_flt - task.memcg_seen[1]
        return total, major

    def memcg_leave(self, task: Task) -> None:
        """A task is about to leave its cgroup: what faults it has had there stay counted."""
        total, major = task.min_flt + task.maj_flt, task.maj_flt
        group = self.system.memcg.groups[task.memcg]
        group.vm_events[PGFAULT] += total - task.memcg_seen[0]
        group.vm_events[PGMAJFAULT] += major - task.memcg_seen[1]
        task.memcg_seen = (total, major)

    def memcg_attach(self, task: Task, group: "MemCgroup") -> None:
        """Moves a process with all its threads; what it has touched stays where it was charged."""
        for thread in task.signal.threads:
            old = self.system.memcg.groups[thread.memcg]
            self.memcg_leave(thread)
            thread.memcg = group.ident
            thread.memcg_over_high = 0
            attach_cpuset(self, thread, old, group)

    def update_cpuset(self, group: "MemCgroup", cpus: int, mems: int, enabled: bool | None = None) -> None:
        """Changes a group's cpuset; its tasks follow."""
        update_cpuset(self, group, cpus, mems, enabled)

    def kill_task(self, task: Task) -> None:
        """SIGKILL for a process, which ends at once where Python drives it."""
        self.oom.kill_task(task)

    def nr_tasks_of(self, uid: int) -> int:
        """What counts against RLIMIT_NPROC of a user: threads and zombies too."""
        count = 0
        for task in self.tasks_by_pid.values():
            if task.uid == uid:
                count += 1
        return count

    def nr_sigpending(self, uid: int) -> int:
        """What counts against RLIMIT_SIGPENDING of a user: signals that are queued, and timers."""
        count = 0
        for task in self.tasks_by_pid.values():
            if task.uid != uid:
                continue
            count += task.pending.nr_charged()
            if task.is_leader():
                count += task.signal.shared_pending.nr_charged() + len(task.signal.posix_timers)
        return count

    def uts_name(self, field: str) -> str:
        """A name of uname(2)."""
        return self.uts.field(field)

    def syscall_name(self, number: int) -> str:
        """What a system call is called."""
        return self.abi.names.get(number, f"number {number}")

    def cpuinfo_text(self) -> str:
        """/proc/cpuinfo of an arm64 machine."""
        from pagewalk.kernel.cpufeature_arm64 import cpuinfo_text

        return cpuinfo_text(self.config.cpus)

    def syscall_name_ia32(self, number: int) -> str:
        """What a 32-bit program's system call is called."""
        return syscall_name_ia32(number)

    def the_vdso_32(self) -> Vdso32:
        """The vDSO of 32-bit programs, made for the first of them."""
        if self.vdso_32 is None:
            self.vdso_32 = Vdso32(self.system, self.vdso.vvar_pfns)
        return self.vdso_32

    # Making and ending processes.

    def spawn(
        self,
        path: str,
        argv: list[bytes],
        envp: list[bytes],
        cwd: str = "/",
        rlimits: dict[int, tuple[int, int]] | None = None,
        memcg: int = 0,
    ) -> Task:
        """A new process that is about to run ``path``; raises ExecError where that cannot be executed.

        ``rlimits``: (soft, hard) by RLIMIT_*, -1 for unlimited; the configuration's come on top. ``memcg``: the id of
        its memory cgroup.
        """
        task = self.new_task()
        if memcg:
            self.memcg_attach(task, self.system.memcg.groups[memcg])
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
        task = Task(self, self.alloc_pid([]), mm, FsStruct(self.ns))
        task.held = True
        task.keep_mm = True
        task.start_ns = self.monotonic_ns()
        nr_processes = max(1, self.system.totalram_pages // 64)  # max_threads / 2 of fork_init
        for which in (RLIMIT_NPROC, RLIMIT_SIGPENDING):
            task.rlim_cur[which] = nr_processes
            task.rlim_max[which] = nr_processes
        self.tasks_by_pid[task.pid] = task
        slab = self.system.slab
        slab.task_struct.alloc()
        self.system.stacks.alloc()
        slab.pid.alloc()
        slab.signal_cache.alloc()
        slab.sighand_cache.alloc()
        slab.files_cache.alloc()
        self.system.current = task
        return task

    def alloc_pid(self, wanted: list[int]) -> int:
        """The next free id above the last one; ``wanted`` is clone3's set_tid, checked by the caller."""
        if wanted:
            return wanted[0]
        pid = self.next_pid
        while pid in self.tasks_by_pid or self.id_in_use(pid):
            pid += 1
        self.next_pid = pid + 1 if pid + 1 < self.pid_max else RESERVED_PIDS
        return pid

    def id_in_use(self, pid: int) -> bool:
        """Whether a process group or a session has the id."""
        return any(task.pgid == pid or task.sid == pid for task in self.tasks_by_pid.values())

    def do_exit(self, task: Task, code: int) -> None:
        """Ends a process; see kernel/exit.py."""
        do_group_exit(task, code)

    def release_task(self, task: Task) -> None:
        """Forgets a process that has ended."""
        task.held = False
        if task.exit_code is None:
            do_group_exit(task, SIGKILL)
        release_task(task)

    def abandon_task(self, task: Task) -> None:
        """Takes back a child that fork has made and that never ran."""
        task.exit_signal = 0
        task.real_parent = None
        do_exit(task, 0)

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
        """Ends the run: every process is killed. From any thread."""
        self.stop_reason = reason
        self.poke()

    def check_poke(self) -> None:
        """After a poke: timers that are due, and a kill of everybody where the run was stopped."""
        self.poked = False
        if self.stop_reason:
            self.kill_all()
        self.sched.timers.run_expired(self.monotonic_ns())

    def kill_all(self) -> None:
        """SIGKILL to every process."""
        for task in self.tasks():
            if task.is_leader():
                send_signal(task, kernel_info(SIGKILL))

    # Time and waiting.

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds."""
        return self.clock.monotonic_ns()

    def clock_ns(self, clock: int) -> int:
        """A system-wide clock in nanoseconds; -1 for one that is none."""
        return self.clock.clock_ns(clock)

    def wait(
        self, task: Task, deadline_ns: int, fds: list[tuple[int, int]], queues: list[WaitQueueHead], what: str
    ) -> bool:
        """Sleeps until somebody wakes ``queues``, a host descriptor is ready (``fds``: number and poll bits), a signal
        comes, or the deadline passes.

        ``deadline_ns`` is of the monotonic clock, -1 for none; ``what`` is Linux's name of the place, for wchan. False
        where the time is up, True where it makes sense to look again. The caller checks for signals.
        """
        if self.poked:
            self.check_poke()
        if signal_pending(task):
            return True
        sched = self.sched
        timer: SleepTimer | None = None
        if deadline_ns >= 0:
            if deadline_ns <= self.monotonic_ns():
                return False
            timer = SleepTimer(task)
            sched.timers.add(timer, deadline_ns)
        entry = TaskWait(task)
        for queue in queues:
            queue.add(entry)
        if fds:
            sched.host_waits[task] = fds
        sched.sleep(task, TASK_INTERRUPTIBLE, what)
        for queue in queues:
            queue.remove(entry)
        if fds:
            sched.host_waits.pop(task, None)
        if timer is not None:
            sched.timers.cancel(timer)
        return deadline_ns < 0 or self.monotonic_ns() < deadline_ns

    def wake_pipe(self) -> int:
        """The host descriptor that a poke makes readable."""
        with self.lock:
            if self.wake_read < 0:
                self.wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        return self.wake_read

    def drain_wake_pipe(self) -> None:
        """The pokes have been seen."""
        try:
            os.read(self.wake_read, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Gives back what belongs to the host: the helper thread and the pipe."""
        self.alarm_clock.close()
        with self.lock:
            for fd in (self.wake_read, self.wake_write):
                if fd >= 0:
                    os.close(fd)
            self.wake_read = -1
            self.wake_write = -1


def abi_of(arch: str, page_size: int, pku: bool) -> Abi:
    """What an architecture has of its own."""
    if arch == "arm64":
        from pagewalk.kernel.abi_arm64 import Arm64Abi

        return Arm64Abi(page_size)
    return X86Abi(pku)
