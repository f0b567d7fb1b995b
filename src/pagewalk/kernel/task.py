"""A task: what a system call, a signal and the scheduler act on.

Mirrors: include/linux/sched.h (6.18)
Differs: credentials are plain numbers; what Linux keeps in signal_struct stands here until threads share it.
"""

from typing import TYPE_CHECKING

from pagewalk.kernel.ptrace import Fpu, PtRegs
from pagewalk.kernel.signal_types import SigHand, SigPending
from pagewalk.mm.current import Current
from pagewalk.mm.mm_types import MmStruct

if TYPE_CHECKING:
    from pagewalk.fs.fdtable import FilesStruct
    from pagewalk.fs.namespace import FsStruct
    from pagewalk.kernel.kernel import Kernel

TASK_RUNNING = 0
TASK_INTERRUPTIBLE = 1
EXIT_ZOMBIE = 32


class Task(Current):
    """struct task_struct of one process.

    pid, ppid, pgid, sid  ids as the task sees them
    comm          at most 15 bytes, for /proc and the report
    mm            the address space
    files, fs     descriptors; root, working directory and umask
    regs, fpu     the CPU's state, current while the kernel runs
    sighand, pending, blocked   signal actions, what is pending, the mask (bit n-1 is signal n)
    exit_code     wait status (status << 8, or the signal number | 0x80 for a core dump), None while it lives
    """

    def __init__(self, kernel: "Kernel", pid: int, mm: MmStruct, files: "FilesStruct", fs: "FsStruct") -> None:
        super().__init__()
        self.kernel = kernel
        self.pid = pid
        self.tgid = pid
        self.ppid = 1
        self.pgid = pid
        self.sid = pid
        self.uid = 0
        self.euid = 0
        self.gid = 0
        self.egid = 0
        self.groups: list[int] = []
        self.comm = ""
        self.mm = mm
        self.files = files
        self.fs = fs
        self.regs = PtRegs()
        self.fpu: Fpu = Fpu()
        self.sighand = SigHand()
        self.pending = SigPending()
        self.blocked = 0
        self.sas_ss_sp = 0
        self.sas_ss_size = 0
        self.sas_ss_flags = 2  # SS_DISABLE
        self.clear_child_tid = 0
        self.robust_list = 0
        self.rseq = 0
        self.state = TASK_RUNNING
        self.exit_code: int | None = None
        self.exe: str = ""
        self.start_ns = 0
        self.utime_ns = 0
        self.unknown_calls: dict[int, int] = {}
