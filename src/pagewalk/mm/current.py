"""What memory management asks of the task on whose behalf it runs.

Mirrors: include/linux/sched.h, include/uapi/asm-generic/resource.h (6.18)
Differs: only the fields that mm/ reads; kernel.task.Task adds the rest.
"""

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.mm.mempolicy import MAX_NUMNODES, MemPolicy

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct

RLIMIT_CPU: Final = 0
RLIMIT_FSIZE: Final = 1
RLIMIT_DATA: Final = 2
RLIMIT_STACK: Final = 3
RLIMIT_CORE: Final = 4
RLIMIT_RSS: Final = 5
RLIMIT_NPROC: Final = 6
RLIMIT_NOFILE: Final = 7
RLIMIT_MEMLOCK: Final = 8
RLIMIT_AS: Final = 9
RLIMIT_LOCKS: Final = 10
RLIMIT_SIGPENDING: Final = 11
RLIMIT_MSGQUEUE: Final = 12
RLIMIT_NICE: Final = 13
RLIMIT_RTPRIO: Final = 14
RLIMIT_RTTIME: Final = 15

RLIM_NLIMITS: Final = 16
RLIM_INFINITY: Final = -1  # ~0UL: limits are signed 64-bit words, -1 is "unlimited"

# Boot defaults of init (INIT_RLIMITS), soft and hard; NPROC and SIGPENDING scale with RAM and are set by the task.
RLIMIT_DEFAULTS: Final = (
    (-1, -1), (-1, -1), (-1, -1), (8 << 20, -1), (0, -1), (-1, -1), (0, 0), (1024, 4096),
    (8 << 20, 8 << 20), (-1, -1), (-1, -1), (0, 0), (819200, 819200), (0, 0), (0, 0), (-1, -1),
)  # fmt: skip


class TaskIoAccounting:
    """struct task_io_accounting: bytes that went through read and write, how many such calls, bytes of devices."""

    def __init__(self) -> None:
        self.rchar = 0
        self.wchar = 0
        self.syscr = 0
        self.syscw = 0
        self.read_bytes = 0
        self.write_bytes = 0

    def count_read(self, done: int) -> int:
        """A read came back with ``done`` (bytes, or a negative errno), which is handed on."""
        self.syscr += 1
        if done > 0:
            self.rchar += done
        return done

    def count_write(self, done: int) -> int:
        """A write came back with ``done`` (bytes, or a negative errno), which is handed on."""
        self.syscw += 1
        if done > 0:
            self.wchar += done
        return done

    def add(self, other: "TaskIoAccounting") -> None:
        """Adds what another thread has done."""
        self.rchar += other.rchar
        self.wchar += other.wchar
        self.syscr += other.syscr
        self.syscw += other.syscw
        self.read_bytes += other.read_bytes
        self.write_bytes += other.write_bytes

    def counts(self) -> list[tuple[str, int]]:
        """The lines of /proc/PID/io."""
        return [
            ("rchar", self.rchar),
            ("wchar", self.wchar),
            ("syscr", self.syscr),
            ("syscw", self.syscw),
            ("read_bytes", self.read_bytes),
            ("write_bytes", self.write_bytes),
            ("cancelled_write_bytes", 0),
        ]


class Current:
    """The running task, as far as mm/ knows it.

    min_flt, maj_flt   faults served, as getrusage(2) reports them
    rlim_cur, rlim_max soft and hard limits, indexed by RLIMIT_*
    capable            holds CAP_IPC_LOCK, CAP_SYS_ADMIN, CAP_SYS_RAWIO, CAP_SYS_RESOURCE (a root task does)
    personality        personality(2) bits
    cpu                the CPU that it is on
    memcg              id of its memory cgroup, 0 for the root
    memcg_over_max     the kernel's own objects have taken its group above memory.max
    memcg_over_high    pages that it has charged while a group was above its memory.high, and not yet paid for
    oom_score_adj      -1000 (never chosen by the OOM killer) to 1000
    oom_score_adj_min  what a capable process last made of it: nobody else may go below
    ioac               what it has read and written
    mems_allowed       nodes that its cpuset has, as a mask; -1: all
    mempolicy          NUMA policy, None = the CPU's node first
    rss_pending, rss_events  what its faults have changed of its address space's counters and not told it yet, by MM_*;
                       how many faults that were (Linux 6.1, mm/split_rss.py)
    tagged_addr        its pointers in system calls may carry a tag in bits 63:56 (arm64's TIF_TAGGED_ADDR)
    pkru               what its protection keys let it do, two bits each (mm/pkeys.py); 0 where the CPU has none
    il_prev, il_weight the node that interleaving took last, and how many turns it has left
    """

    def __init__(self) -> None:
        self.min_flt = 0
        self.maj_flt = 0
        self.rlim_cur: list[int] = [soft for soft, _ in RLIMIT_DEFAULTS]
        self.rlim_max: list[int] = [hard for _, hard in RLIMIT_DEFAULTS]
        self.capable = True
        self.personality = 0
        self.oom_score_adj = 0
        self.cpu = 0
        self.oom_score_adj_min = 0
        self.memcg = 0
        self.memcg_over_max = False
        self.memcg_over_high: i64 = 0
        self.ioac = TaskIoAccounting()
        self.rss_pending: list[int] = [0, 0, 0, 0]
        self.rss_events = 0
        self.tagged_addr = False
        self.mems_allowed: i64 = -1
        self.pkru = 0
        self.mempolicy: MemPolicy | None = None
        self.il_prev = MAX_NUMNODES - 1
        self.il_weight = 0

    def owns(self, mm: "MmStruct") -> bool:
        """Whether ``mm`` is the task's address space."""
        return False

    def rlimit(self, which: int) -> int:
        """The soft limit ``which`` (RLIMIT_*) in its own unit; 2**63 - 1 where it is unlimited or above that."""
        limit = self.rlim_cur[which]
        return limit if limit >= 0 else 0x7FFF_FFFF_FFFF_FFFF

    def total_vm(self) -> int:
        """Pages that the task has mapped, 0 for a kernel thread."""
        return 0
