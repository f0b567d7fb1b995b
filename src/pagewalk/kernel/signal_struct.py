"""What the threads of a process share beside memory and files: shared signals, limits, timers, its place in the family.

Mirrors: include/linux/sched/signal.h (6.18)
Differs: no tty and no audit fields; times and fault counts of dead threads stand here, those of live ones in their
    tasks.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.fs.wait import WaitQueueHead
from pagewalk.kernel.clock import IntervalTimer
from pagewalk.kernel.signal_types import SigPending
from pagewalk.kernel.timer import Timer
from pagewalk.mm.current import TaskIoAccounting

if TYPE_CHECKING:
    from pagewalk.kernel.posix_timers import PosixTimer
    from pagewalk.kernel.task import Task

SIGNAL_STOP_STOPPED: Final = 1  # the whole group is stopped
SIGNAL_STOP_CONTINUED: Final = 2  # SIGCONT since, and no parent has waited for it
SIGNAL_GROUP_EXIT: Final = 4  # the group is ending
SIGNAL_CLD_CONTINUED: Final = 8  # the parent is to be told of SIGCONT


class SignalStruct:
    """struct signal_struct of one process.

    memcg            id of the memory cgroup that it is charged to, 0 for the root
    leader, threads  the thread whose id is the process id, and all that have not been released
    live             threads that have not ended
    shared_pending   signals sent to the process rather than to a thread
    flags            SIGNAL_*
    group_exit_code  with SIGNAL_GROUP_EXIT the wait status to be; with a stop the signal
    group_exec_task  the thread that waits in execve for the others to end
    wait_chldexit    where its threads wait for children; wait_pidfd: who waits for its own end
    pgrp, session    ids of its process group and session
    timers           ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF; real_timer: the first one in the machine's queue;
                     cpu_timers: one of the others is armed
    posix_timers     what timer_create(2) made, by id; next_timer_id: of the next one
    utime_ns, stime_ns, min_flt, maj_flt, nvcsw, nivcsw, ioac   of threads that have ended
    cutime_ns, cstime_ns, cmin_flt, cmaj_flt, cnvcsw, cnivcsw, cmaxrss   of children that were waited for (pages)
    maxrss           largest resident set of the memory that it gave up, in pages
    """

    def __init__(self, leader: "Task") -> None:
        self.leader = leader
        self.threads: list[Task] = [leader]
        self.live = 1
        self.shared_pending = SigPending()
        self.flags = 0
        self.group_exit_code = 0
        self.group_exec_task: Task | None = None
        self.wait_chldexit = WaitQueueHead()
        self.wait_pidfd = WaitQueueHead()
        self.pgrp = leader.pid
        self.session = leader.pid
        self.is_child_subreaper = False
        self.timers: list[IntervalTimer] = [IntervalTimer(), IntervalTimer(), IntervalTimer()]
        self.real_timer: Timer = Timer()
        self.cpu_timers = False
        self.memcg = 0
        self.posix_timers: dict[int, PosixTimer] = {}
        self.next_timer_id = 0
        self.utime_ns = 0
        self.stime_ns = 0
        self.min_flt = 0
        self.maj_flt = 0
        self.nvcsw = 0
        self.nivcsw = 0
        self.cutime_ns = 0
        self.cstime_ns = 0
        self.cmin_flt = 0
        self.cmaj_flt = 0
        self.cnvcsw = 0
        self.cnivcsw = 0
        self.cmaxrss = 0
        self.maxrss = 0
        self.ioac = TaskIoAccounting()

    def group_exiting(self) -> bool:
        """Whether the process is on its way out, or all threads but one are."""
        return self.flags & SIGNAL_GROUP_EXIT != 0 or self.group_exec_task is not None

    def is_ending(self, thread: "Task") -> bool:
        """Whether the process ends with or after this thread: all are told to end, or it is the last one."""
        if self.flags & SIGNAL_GROUP_EXIT:
            return True
        return all(other is thread or other.is_ended() for other in self.threads)

    def cpu_time_ns(self) -> tuple[int, int]:
        """thread_group_cputime: (in the program, in the kernel) of all threads, dead ones too."""
        user, system = self.utime_ns, self.stime_ns
        for thread in self.threads:
            user += thread.utime_ns
            system += thread.stime_ns
        return user, system

    def faults(self) -> tuple[int, int]:
        """(minor, major) of all threads, dead ones too."""
        minor, major = self.min_flt, self.maj_flt
        for thread in self.threads:
            minor += thread.min_flt
            major += thread.maj_flt
        return minor, major

    def switches(self) -> tuple[int, int]:
        """(voluntary, involuntary) context switches of all threads, dead ones too."""
        voluntary, involuntary = self.nvcsw, self.nivcsw
        for thread in self.threads:
            voluntary += thread.nvcsw
            involuntary += thread.nivcsw
        return voluntary, involuntary

    def absorb(self, thread: "Task") -> None:
        """A thread is released: what it has used stays."""
        self.utime_ns += thread.utime_ns
        self.stime_ns += thread.stime_ns
        self.min_flt += thread.min_flt
        self.maj_flt += thread.maj_flt
        self.nvcsw += thread.nvcsw
        self.nivcsw += thread.nivcsw
        self.ioac.add(thread.ioac)
        self.threads.remove(thread)
