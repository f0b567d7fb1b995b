"""What /proc asks about a task before it shows anything of it: is it there, has it memory, may the reader look.

Sources: proc(5), proc_pid(5), ptrace(2) (ptrace access mode checking).

Mirrors: fs/proc/base.c (get_proc_task, task_dump_owner), kernel/ptrace.c (ptrace_may_access) (6.18)
Differs: capabilities are all or none (``Current.capable``), no security modules.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import S_IFDIR
from pagewalk.mm.mm_types import MmStruct

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

SUID_DUMP_USER: Final = 1


def task_mm(task: "Task") -> MmStruct | None:
    """get_task_mm: None for a task that has ended."""
    return task.mm if task.exit_code is None else None


def is_there(task: "Task") -> bool:
    """Whether the task can still be found: it lives, or is a zombie that nobody has waited for."""
    return task.kernel.find_task(task.pid) is task


def thread_group(task: "Task") -> "list[Task]":
    """The threads of a task's process that have not been released."""
    return task.signal.threads


def ptrace_may_access(task: "Task") -> bool:
    """Whether the running task may look into another one: itself, one with the same ids that may be dumped, or, for
    a capable reader, every one. Without a running task the machine's owner looks."""
    current = task.kernel.current_task()
    if current is None or current.capable or current.tgid == task.tgid:
        return True
    if any(uid != current.fsuid for uid in (task.uid, task.euid, task.suid)):
        return False
    if any(gid != current.fsgid for gid in (task.gid, task.egid, task.sgid)):
        return False
    return task.dumpable == SUID_DUMP_USER


def owner(task: "Task", mode: int) -> tuple[int, int]:
    """(uid, gid) of a file of the task with the mode ``mode``: its effective ones; root where it may not be dumped.
    Directories that all may read always belong to the task."""
    if mode != (S_IFDIR | 0o555) and task.dumpable != SUID_DUMP_USER:
        return 0, 0
    return task.euid, task.egid
