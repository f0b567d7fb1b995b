"""A task: what a system call, a signal and the scheduler act on.

Mirrors: include/linux/sched.h, include/linux/sched/signal.h (6.18)
Differs: credentials are plain numbers; processes whose parent has ended have none (Linux: init's children).
"""

from typing import TYPE_CHECKING, Any, Final

from pagewalk.fs.fdtable import FilesStruct
from pagewalk.fs.fs_struct import FsStruct
from pagewalk.kernel.cpu import TaskFpu
from pagewalk.kernel.ptrace import TaskRegs
from pagewalk.kernel.sched_entity import SchedEntity
from pagewalk.kernel.signal_struct import SignalStruct
from pagewalk.kernel.signal_types import SIG_KERNEL_ONLY, SIGCHLD, SigHand, SigInfo, SigPending
from pagewalk.kernel.syscall.names import NR_SYSCALLS
from pagewalk.mm.current import Current
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.pkeys import INIT_PKRU

if TYPE_CHECKING:
    from pagewalk.kernel.futex import FutexQ, PiState
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.sem import UndoList

TASK_RUNNING: Final = 0
TASK_INTERRUPTIBLE: Final = 1
TASK_UNINTERRUPTIBLE: Final = 2
TASK_STOPPED: Final = 4
EXIT_DEAD: Final = 16
EXIT_ZOMBIE: Final = 32
TASK_KILLABLE: Final = 0x102  # asleep for all but SIGKILL
INIT_PID: Final = 1  # whose children orphans are


class Task(Current):
    """struct task_struct: one thread of a process.

    pid, tgid     its id, and that of its process (the leader's pid)
    signal        what the threads of the process share
    real_parent   who forked it, None where that one has ended; children: those that were forked and not waited for
    exit_signal   what its parent gets when it ends, 0 for none, -1 for a thread that is not the leader
    uid, euid, suid, fsuid (and gid...)  credentials; ``fs.cred`` follows fsuid and fsgid
    comm          at most 15 bytes, for /proc and the report
    mm            the address space; what it was, once the task has ended
    files, fs     descriptors; root, working directory and umask
    regs, fpu     the CPU's state, current while the kernel runs
    sighand, pending, blocked   signal actions, what is pending for this thread, the mask (bit n-1 is signal n)
    real_blocked  what is blocked but for rt_sigtimedwait, while that waits
    saved_sigmask the mask to return to after a call that waited with another, -1 for none
    compat        the system call under way is a 32-bit one (TS_COMPAT); time32, narrow_offset: its times, and the file
                  positions that it points to, have 32 bits
    error_code, trap_nr, cr2    of the last fault that became a signal (arm64: fault_code, 0, fault_address); fault_sig,
                  fault_code, fault_pkey: what it is to become
    sas_ss_sp, sas_ss_size, sas_ss_flags  the alternate signal stack
    pi_states     locks with priority inheritance that it owns and others wait for; pi_blocked_on: it waits for one
    sysvsem       what its System V semaphore operations are undone by at its end, None while there is nothing
    state         TASK_* or EXIT_*; on_rq: it is in a run queue or runs; cpu: the CPU of that queue
    cpus_allowed  mask of CPUs that it may run on; user_cpus: what sched_setaffinity(2) asked for
    wchan         what it waits in, by the name that Linux has for the place, "" where it runs
    stack         the greenlet whose C stack is its kernel stack, None for a process that Python drives
    utime_ns, stime_ns  time spent in the program and in the kernel
    nproc_exceeded  it became a user's who has too many processes (PF_NPROC_EXCEEDED)
    kmem          id of the memory cgroup that its own objects and its kernel stack are charged to, 0 for the root;
                  stack_charged: the stack still is
    throttle_ns   how long it has to sleep for memory.high before it goes on
    memcg_seen    faults, and major ones, that it had when it entered its memory cgroup
    held          Python holds it: it is not released on its own; keep_mm: nor is its memory, before release_task
    exit_code     wait status (status << 8, or the number of the signal that ended it), None while it lives
    fatal_signal  that signal with its siginfo
    calls         how often each system call was made, by number
    unknown_calls how often each system call was made that is not modelled; with _ia32, those of 32-bit programs
    """

    def __init__(self, kernel: "Kernel", pid: int, mm: MmStruct, fs: FsStruct) -> None:
        super().__init__()
        self.kernel = kernel
        self.pkru = INIT_PKRU if kernel.system.pku else 0
        self.pid = pid
        self.tgid = pid
        self.signal = SignalStruct(self)
        self.real_parent: Task | None = None
        self.children: list[Task] = []
        self.exit_signal = SIGCHLD
        self.uid = 0
        self.euid = 0
        self.suid = 0
        self.fsuid = 0
        self.gid = 0
        self.egid = 0
        self.sgid = 0
        self.fsgid = 0
        self.groups: list[int] = []
        self.comm = ""
        self.mm = mm
        self.fs = fs
        self.files = FilesStruct(self)
        self.regs: TaskRegs = kernel.abi.new_regs()
        self.fpu = TaskFpu(kernel.abi.clean_fpu)
        self.sighand = SigHand()
        self.pending = SigPending()
        self.blocked = 0
        self.real_blocked = 0
        self.saved_sigmask = -1
        self.compat = False
        self.time32 = False
        self.narrow_offset = False
        self.error_code = 0
        self.trap_nr = 0
        self.cr2 = 0
        self.fault_sig = 0
        self.fault_code = 0
        self.fault_pkey = 0
        self.sas_ss_sp = 0
        self.sas_ss_size = 0
        self.sas_ss_flags = 0
        self.clear_child_tid = 0
        self.set_child_tid = 0
        self.robust_list = 0
        self.robust_list_compat = False
        self.pi_states: list[PiState] = []
        self.sysvsem: UndoList | None = None
        self.pi_blocked_on: FutexQ | None = None
        self.rseq = 0
        self.rseq_len = 0
        self.rseq_sig = 0
        self.rseq_cpu = -1
        self.rseq_preempted = False
        self.vfork_child: Task | None = None
        self.vfork_parent: Task | None = None
        self.did_exec = False
        self.vdso_base = 0
        self.dumpable = 1
        self.no_new_privs = 0
        self.pdeath_signal = 0
        self.keepcaps = 0
        self.nproc_exceeded = False
        self.timer_slack_ns = 50000
        self.default_timer_slack_ns = 50000
        self.thp_disable = 0
        self.membarrier_state = 0
        self.nice = 0
        self.sched = SchedEntity()
        self.state = TASK_RUNNING
        self.on_rq = False
        self.cpus_allowed = -1
        self.user_cpus = -1
        self.kmem = 0
        self.throttle_ns = 0
        self.memcg_seen = (0, 0)
        self.stack_charged = False
        self.need_resched = False
        self.moving = False
        self.wchan = ""
        self.stack: Any = None
        self.jobctl_stop = 0
        self.exit_code: int | None = None
        self.fatal_signal: SigInfo | None = None
        self.exe: str = ""
        self.start_ns = 0
        self.utime_ns = 0
        self.stime_ns = 0
        self.nvcsw = 0
        self.nivcsw = 0
        self.restart_deadline_ns = 0
        self.restart_clock = 0
        self.restart_rmtp = 0
        self.restart_futex: tuple[int, int, int, int, int] | None = None
        self.held = False
        self.held = False
        self.keep_mm = False
        self.nr_syscalls = 0
        self.calls: list[int] = [0] * NR_SYSCALLS
        self.unknown_calls: dict[int, int] = {}
        self.calls_ia32: dict[int, int] = {}
        self.unknown_calls_ia32: dict[int, int] = {}

    @property
    def ppid(self) -> int:
        """The process id of the parent; init's for an orphan."""
        parent = self.signal.leader.real_parent
        return INIT_PID if parent is None else parent.tgid

    @property
    def pgid(self) -> int:
        """The id of the process group."""
        return self.signal.pgrp

    @property
    def sid(self) -> int:
        """The id of the session."""
        return self.signal.session

    def owns(self, mm: MmStruct) -> bool:
        """See ``Current.owns``."""
        return self.mm is mm

    def is_leader(self) -> bool:
        """thread_group_leader."""
        return self.signal.leader is self

    def is_ended(self) -> bool:
        """Whether do_exit has run for it."""
        return self.exit_code is not None

    def thread_group_empty(self) -> bool:
        """Whether it is the only thread of its process that has not been released."""
        return len(self.signal.threads) == 1

    def total_vm(self) -> int:
        """Pages that the task has mapped."""
        return int(self.mm.total_vm)

    def set_blocked(self, mask: int) -> None:
        """Sets the signal mask; SIGKILL and SIGSTOP cannot be blocked."""
        self.blocked = mask & ~SIG_KERNEL_ONLY

    def is_setid(self) -> bool:
        """Whether it acts as somebody else than who it is: a program that it starts is told to be careful."""
        return self.uid != self.euid or self.gid != self.egid

    def set_dumpable(self, value: int) -> None:
        """Whether the process may dump core, for all its threads."""
        for thread in self.signal.threads:
            thread.dumpable = value

    def reset_rseq(self) -> None:
        """execve unregisters restartable sequences."""
        self.rseq = 0
        self.rseq_len = 0
        self.rseq_sig = 0
        self.rseq_cpu = -1

    def unshare_fs(self) -> None:
        """Its own root, working directory and umask."""
        old = self.fs
        self.fs = old.copy()
        old.exit()

    def unshare_files(self) -> None:
        """A descriptor table of its own."""
        old = self.files
        self.files = old.copy(self)
        self.files.memcg = self.kmem
        self.kernel.system.slab.files_cache.alloc(self.kmem)
        old.exit()

    def sync_cred(self) -> None:
        """The file rooms follow the ids."""
        cred = self.fs.cred
        cred.fsuid = self.fsuid
        cred.fsgid = self.fsgid
        cred.groups = list(self.groups)
        cred.capable = self.euid == 0
        self.capable = self.euid == 0

    def oom_score(self) -> int:
        """What /proc/PID/oom_score shows."""
        from pagewalk.kernel.oom_tasks import task_oom_score

        return task_oom_score(self)

    def wait_status(self) -> int:
        """What wait(2) reports: the exit code, or a stop (signal << 8 | 0x7f)."""
        if self.exit_code is None:
            return self.signal.group_exit_code << 8 | 0x7F
        return self.exit_code
