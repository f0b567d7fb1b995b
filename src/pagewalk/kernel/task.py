"""A task: what a system call, a signal and the scheduler act on.

Mirrors: include/linux/sched.h, include/linux/sched/signal.h (6.18)
Differs: credentials are plain numbers; what Linux keeps in signal_struct stands here until threads share it.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.fs.fdtable import FilesStruct
from pagewalk.fs.fs_struct import FsStruct
from pagewalk.kernel.clock import IntervalTimer
from pagewalk.kernel.ptrace import Fpu, PtRegs
from pagewalk.kernel.signal_types import SIG_KERNEL_ONLY, SigHand, SigInfo, SigPending
from pagewalk.kernel.syscall.names import NR_SYSCALLS
from pagewalk.mm.current import Current
from pagewalk.mm.mm_types import MmStruct

if TYPE_CHECKING:
    from pagewalk.kernel.kernel import Kernel

TASK_RUNNING: Final = 0
TASK_INTERRUPTIBLE: Final = 1
TASK_STOPPED: Final = 4
EXIT_ZOMBIE: Final = 32


class Task(Current):
    """struct task_struct of one process.

    pid, ppid, pgid, sid  ids as the task sees them
    uid, euid, suid, fsuid (and gid...)  credentials; ``fs.cred`` follows fsuid and fsgid
    comm          at most 15 bytes, for /proc and the report
    mm            the address space
    files, fs     descriptors; root, working directory and umask
    regs, fpu     the CPU's state, current while the kernel runs
    sighand, pending, blocked   signal actions, what is pending, the mask (bit n-1 is signal n)
    saved_sigmask the mask to return to after a call that waited with another, -1 for none
    error_code, trap_nr, cr2    of the last fault that became a signal; fault_sig, fault_code: what it is to become
    sas_ss_sp, sas_ss_size, sas_ss_flags  the alternate signal stack
    timers        ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF
    utime_ns, stime_ns  time spent in the program and in the kernel
    exit_code     wait status (status << 8, or the number of the signal that ended it), None while it lives
    fatal_signal  that signal with its siginfo
    calls         how often each system call was made, by number
    unknown_calls how often each system call was made that is not modelled
    """

    def __init__(self, kernel: "Kernel", pid: int, mm: MmStruct, fs: FsStruct) -> None:
        super().__init__()
        self.kernel = kernel
        self.pid = pid
        self.tgid = pid
        self.ppid = 1
        self.pgid = pid
        self.sid = pid
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
        self.regs = PtRegs()
        self.fpu: Fpu = Fpu()
        self.sighand = SigHand()
        self.pending = SigPending()
        self.blocked = 0
        self.saved_sigmask = -1
        self.error_code = 0
        self.trap_nr = 0
        self.cr2 = 0
        self.fault_sig = 0
        self.fault_code = 0
        self.sas_ss_sp = 0
        self.sas_ss_size = 0
        self.sas_ss_flags = 0
        self.clear_child_tid = 0
        self.robust_list = 0
        self.rseq = 0
        self.rseq_len = 0
        self.rseq_sig = 0
        self.vdso_base = 0
        self.dumpable = 1
        self.no_new_privs = 0
        self.pdeath_signal = 0
        self.child_subreaper = 0
        self.keepcaps = 0
        self.timer_slack_ns = 50000
        self.thp_disable = 0
        self.membarrier_state = 0
        self.nice = 0
        self.state = TASK_RUNNING
        self.stop_signal = 0
        self.exit_code: int | None = None
        self.fatal_signal: SigInfo | None = None
        self.exe: str = ""
        self.start_ns = 0
        self.utime_ns = 0
        self.stime_ns = 0
        self.cutime_ns = 0
        self.cstime_ns = 0
        self.nvcsw = 0
        self.nivcsw = 0
        self.timers: list[IntervalTimer] = [IntervalTimer(), IntervalTimer(), IntervalTimer()]
        self.restart_deadline_ns = 0
        self.restart_clock = 0
        self.restart_rmtp = 0
        self.nr_syscalls = 0
        self.calls: list[int] = [0] * NR_SYSCALLS
        self.unknown_calls: dict[int, int] = {}

    def total_vm(self) -> int:
        """Pages that the task has mapped."""
        return int(self.mm.total_vm)

    def set_blocked(self, mask: int) -> None:
        """Sets the signal mask; SIGKILL and SIGSTOP cannot be blocked."""
        self.blocked = mask & ~SIG_KERNEL_ONLY

    def reset_rseq(self) -> None:
        """execve unregisters restartable sequences."""
        self.rseq = 0
        self.rseq_len = 0
        self.rseq_sig = 0

    def stop(self, sig: int) -> None:
        """A stop signal takes effect."""
        self.state = TASK_STOPPED
        self.stop_signal = sig

    def wake_if_stopped(self) -> None:
        """SIGCONT, or SIGKILL."""
        if self.state == TASK_STOPPED:
            self.state = TASK_RUNNING

    def is_orphaned(self) -> bool:
        """Whether no process of the session watches this process group: the terminal's stop signals have no effect
        then."""
        return self.pgid == self.pid

    def sync_cred(self) -> None:
        """The file rooms follow the ids."""
        cred = self.fs.cred
        cred.fsuid = self.fsuid
        cred.fsgid = self.fsgid
        cred.groups = list(self.groups)
        cred.capable = self.euid == 0
        self.capable = self.euid == 0

    def wait_status(self) -> int:
        """What wait(2) reports: the exit code, or a stop (signal << 8 | 0x7f)."""
        if self.exit_code is None:
            return self.stop_signal << 8 | 0x7F
        return self.exit_code
