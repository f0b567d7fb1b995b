"""Waiting for children: which child has something to tell, and what.

Sources: wait(2), waitid(2), wait4(2).

Mirrors: kernel/exit.c (do_wait, wait_consider_task) (6.18)
Differs: no tracers, so a child is only ever waited for by its parent.
"""

import errno
from typing import TYPE_CHECKING, Final, final

from pagewalk.kernel.exit import release_task
from pagewalk.kernel.signal_send import signal_pending
from pagewalk.kernel.signal_struct import SIGNAL_STOP_CONTINUED, SIGNAL_STOP_STOPPED
from pagewalk.kernel.signal_types import (
    CLD_CONTINUED,
    CLD_DUMPED,
    CLD_EXITED,
    CLD_KILLED,
    CLD_STOPPED,
    SIGCHLD,
    SIGCONT,
)
from pagewalk.kernel.task import EXIT_ZOMBIE

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

WNOHANG: Final = 1
WUNTRACED: Final = 2
WSTOPPED: Final = 2
WEXITED: Final = 4
WCONTINUED: Final = 8
WNOWAIT: Final = 0x0100_0000
WNOTHREAD: Final = 0x2000_0000
WALL: Final = 0x4000_0000
WCLONE: Final = 0x8000_0000

P_ALL: Final = 0
P_PID: Final = 1
P_PGID: Final = 2
P_PIDFD: Final = 3

ERESTARTSYS: Final = 512


@final
class WaitOpts:
    """struct wait_opts: what is waited for, and what was found.

    kind, which  P_ALL, P_PID or P_PGID, and the id
    options      W* bits
    pid, uid, cause, status, wait_status  of the child that had something to tell (pid 0: none); ``cause`` is CLD_*
    usage        18 words of struct rusage
    """

    def __init__(self, kind: int, which: int, options: int) -> None:
        self.kind = kind
        self.which = which
        self.options = options
        self.pid = 0
        self.uid = 0
        self.cause = 0
        self.status = 0
        self.wait_status = 0
        self.usage: list[int] = [0] * 18
        self.notask_error = -errno.ECHILD


def do_wait(task: "Task", wo: WaitOpts) -> int:
    """Waits until a child has something to tell: its id, 0 with WNOHANG where none has, -ECHILD, -ERESTARTSYS."""
    while True:
        wo.notask_error = -errno.ECHILD
        found = look(task, wo)
        if found:
            return found
        if wo.notask_error:
            return wo.notask_error
        if wo.options & WNOHANG:
            return 0
        if signal_pending(task):
            return -ERESTARTSYS
        task.kernel.wait(task, -1, [], [task.signal.wait_chldexit], "do_wait")


def look(task: "Task", wo: WaitOpts) -> int:
    """One look at the children of all threads (of this one with __WNOTHREAD)."""
    threads = [task] if wo.options & WNOTHREAD else list(task.signal.threads)
    for thread in threads:
        for child in list(thread.children):
            if eligible_child(wo, child) and consider(task, wo, child):
                return wo.pid
    return 0


def eligible_child(wo: WaitOpts, child: "Task") -> bool:
    """Whether the child is one of those that are asked for."""
    if wo.kind == P_PID and child.pid != wo.which:
        return False
    if wo.kind == P_PGID and child.pgid != wo.which:
        return False
    if wo.options & WALL:
        return True
    return (child.exit_signal != SIGCHLD) == bool(wo.options & WCLONE)


def consider(task: "Task", wo: WaitOpts, child: "Task") -> bool:
    """wait_consider_task: whether this child has something to tell."""
    signal = child.signal
    if child.state == EXIT_ZOMBIE and child.thread_group_empty():
        if wo.options & WEXITED:
            wait_task_zombie(task, wo, child)
            return True
        return False
    wo.notask_error = 0
    if wo.options & WSTOPPED and signal.flags & SIGNAL_STOP_STOPPED and signal.group_exit_code:
        sig = signal.group_exit_code
        if not wo.options & WNOWAIT:
            signal.group_exit_code = 0
        tell(wo, child, CLD_STOPPED, sig, sig << 8 | 0x7F)
        return True
    if wo.options & WCONTINUED and signal.flags & SIGNAL_STOP_CONTINUED:
        if not wo.options & WNOWAIT:
            signal.flags &= ~SIGNAL_STOP_CONTINUED
        tell(wo, child, CLD_CONTINUED, SIGCONT, 0xFFFF)
        return True
    return False


def tell(wo: WaitOpts, child: "Task", cause: int, status: int, wait_status: int) -> None:
    """What the parent learns."""
    wo.pid = child.pid
    wo.uid = child.uid
    wo.cause = cause
    wo.status = status
    wo.wait_status = wait_status
    wo.usage = rusage_both(child)


def wait_task_zombie(task: "Task", wo: WaitOpts, child: "Task") -> None:
    """A child that has ended: told, accounted to the parent, released (WNOWAIT: left as it is)."""
    signal = child.signal
    code = signal.group_exit_code if signal.flags & 4 else child.exit_code or 0
    if code & 0x7F:
        tell(wo, child, CLD_DUMPED if code & 0x80 else CLD_KILLED, code & 0x7F, code)
    else:
        tell(wo, child, CLD_EXITED, code >> 8 & 0xFF, code)
    if wo.options & WNOWAIT:
        return
    mine = task.signal
    user, system = signal.cpu_time_ns()
    minor, major = signal.faults()
    voluntary, involuntary = signal.switches()
    mine.cutime_ns += user + signal.cutime_ns
    mine.cstime_ns += system + signal.cstime_ns
    mine.cmin_flt += minor + signal.cmin_flt
    mine.cmaj_flt += major + signal.cmaj_flt
    mine.cnvcsw += voluntary + signal.cnvcsw
    mine.cnivcsw += involuntary + signal.cnivcsw
    mine.cmaxrss = max(mine.cmaxrss, signal.maxrss, signal.cmaxrss)
    release_task(child)


def usage_words(user: int, system: int, maxrss: int, faults: tuple[int, int], switches: tuple[int, int]) -> list[int]:
    """The 18 words of struct rusage: times in nanoseconds, ``maxrss`` in pages."""
    words = [0] * 18
    words[0], words[1] = user // 1_000_000_000, user % 1_000_000_000 // 1000
    words[2], words[3] = system // 1_000_000_000, system % 1_000_000_000 // 1000
    words[4] = maxrss << 2
    words[8], words[9] = faults
    words[16], words[17] = switches
    return words


def rusage_self(task: "Task") -> list[int]:
    """RUSAGE_SELF of the process of ``task``."""
    signal = task.signal
    maxrss = signal.maxrss
    if signal.live:
        task.mm.update_hiwater()
        maxrss = max(maxrss, int(task.mm.hiwater_rss))
    user, system = signal.cpu_time_ns()
    return usage_words(user, system, maxrss, signal.faults(), signal.switches())


def rusage_children(task: "Task") -> list[int]:
    """RUSAGE_CHILDREN."""
    signal = task.signal
    return usage_words(
        signal.cutime_ns, signal.cstime_ns, signal.cmaxrss, (signal.cmin_flt, signal.cmaj_flt),
        (signal.cnvcsw, signal.cnivcsw),
    )  # fmt: skip


def rusage_thread(task: "Task") -> list[int]:
    """RUSAGE_THREAD."""
    task.mm.update_hiwater()
    return usage_words(
        task.utime_ns, task.stime_ns, max(task.signal.maxrss, int(task.mm.hiwater_rss)),
        (task.min_flt, task.maj_flt), (task.nvcsw, task.nivcsw),
    )  # fmt: skip


def rusage_both(child: "Task") -> list[int]:
    """RUSAGE_BOTH: of a child and the children that it waited for, what wait4 answers."""
    own = rusage_self(child)
    signal = child.signal
    user, system = signal.cpu_time_ns()
    minor, major = signal.faults()
    voluntary, involuntary = signal.switches()
    return usage_words(
        user + signal.cutime_ns, system + signal.cstime_ns, max(own[4] >> 2, signal.cmaxrss),
        (minor + signal.cmin_flt, major + signal.cmaj_flt),
        (voluntary + signal.cnvcsw, involuntary + signal.cnivcsw),
    )  # fmt: skip
