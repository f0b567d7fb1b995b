"""Resource limits and CPU sets.

Sources: getrlimit(2), sched_setaffinity(2), getcpu(2).

Mirrors: kernel/sys.c, kernel/sched/syscalls.c (6.18)
Differs: nothing.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.syscall.args import long_size
from pagewalk.kernel.syscall.sched import find_process_by_pid
from pagewalk.kernel.word import signed, signed32
from pagewalk.mm.cpuset import effective_cpus
from pagewalk.mm.current import RLIM_NLIMITS, RLIMIT_NOFILE
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

NR_OPEN: Final = 1 << 20


def sys_getrlimit(task: "Task", which: int, addr: int) -> int:
    """getrlimit(2)."""
    return sys_prlimit64(task, 0, which, 0, addr) if addr else bad_limit(which)


def bad_limit(which: int) -> int:
    """EINVAL for an unknown limit, EFAULT for a known one without a place to write it."""
    return -errno.EFAULT if 0 <= which & 0xFFFF_FFFF < RLIM_NLIMITS else -errno.EINVAL


def sys_setrlimit(task: "Task", which: int, addr: int) -> int:
    """setrlimit(2)."""
    if addr == 0:
        return -errno.EFAULT
    return sys_prlimit64(task, 0, which, addr, 0)


def sys_prlimit64(task: "Task", pid: int, which: int, new: int, old: int) -> int:
    """prlimit(2)."""
    given: tuple[int, int] | None = None
    if new:
        data = copy_from_user(task.mm, new, 16)
        if data is None:
            return -errno.EFAULT
        given = struct.unpack("<QQ", data)
    return do_prlimit(task, pid, which, given, old)


def do_setrlimit(task: "Task", which: int, soft: int, hard: int) -> int:
    """setrlimit(2) with the limits in the kernel's hands, -1 for none."""
    return do_prlimit(task, 0, which, (soft & (1 << 64) - 1, hard & (1 << 64) - 1), 0)


def do_prlimit(task: "Task", pid: int, which: int, given: tuple[int, int] | None, old: int) -> int:
    """Sets a limit where one is given (unsigned words), and writes what it was to ``old`` where that is not 0."""
    which &= 0xFFFF_FFFF
    other = task if signed32(pid) == 0 else task.kernel.find_task(signed32(pid))
    if other is None:
        return -errno.ESRCH
    if other.signal is not task.signal and task.euid != 0 and not same_owner(task, other):
        return -errno.EPERM
    if which >= RLIM_NLIMITS:
        return -errno.EINVAL
    caller = task
    task = other
    before = (task.rlim_cur[which] & (1 << 64) - 1, task.rlim_max[which] & (1 << 64) - 1)
    if given is not None:
        soft, hard = given
        if soft > hard:
            return -errno.EINVAL
        if which == RLIMIT_NOFILE and hard > NR_OPEN:
            return -errno.EPERM
        if hard > before[1] and caller.euid != 0:
            return -errno.EPERM
        task.rlim_cur[which] = signed(soft)
        task.rlim_max[which] = signed(hard)
    if old and not copy_to_user(caller.mm, old, struct.pack("<QQ", *before)):
        return -errno.EFAULT
    return 0


def same_owner(task: "Task", other: "Task") -> bool:
    """Whether ``other`` has but the ids of ``task`` (check_prlimit_permission)."""
    return (task.uid, task.uid, task.uid, task.gid, task.gid, task.gid) == (
        other.euid, other.suid, other.uid, other.egid, other.sgid, other.gid,
    )  # fmt: skip


def is_self(task: "Task", pid: int) -> bool:
    """Whether a pid argument names a task."""
    return find_process_by_pid(task, pid) is not None


def sys_sched_yield(task: "Task") -> int:
    """sched_yield(2)."""
    task.kernel.sched.cond_resched(task)
    return 0


def sys_sched_getaffinity(task: "Task", pid: int, size: int, mask: int) -> int:
    """sched_getaffinity(2): CPU 0; the bytes written."""
    size &= 0xFFFF_FFFF
    if size * 8 < task.kernel.config.cpus or size & (long_size(task) - 1):
        return -errno.EINVAL
    if not is_self(task, pid):
        return -errno.ESRCH
    size = min(size, long_size(task) if task.kernel.config.cpus <= 32 else 8)
    other = find_process_by_pid(task, pid)
    allowed = -1 if other is None else other.cpus_allowed
    bits = ((1 << task.kernel.config.cpus) - 1 & allowed).to_bytes(size, "little")
    return size if copy_to_user(task.mm, mask, bits) else -errno.EFAULT


def sys_sched_setaffinity(task: "Task", pid: int, size: int, mask: int) -> int:
    """sched_setaffinity(2): some CPU that the task's cpuset has must be in the set."""
    size &= 0xFFFF_FFFF
    data = copy_from_user(task.mm, mask, min(size, 8))
    if data is None:
        return -errno.EFAULT
    if not is_self(task, pid):
        return -errno.ESRCH
    wanted = int.from_bytes(data, "little") & (1 << task.kernel.config.cpus) - 1
    other = find_process_by_pid(task, pid)
    if other is None:
        return -errno.ESRCH
    if task.euid not in (0, other.euid, other.uid):
        return -errno.EPERM
    system = task.kernel.system
    had = wanted & effective_cpus(system, system.memcg.groups[other.memcg])
    if not had:
        return -errno.EINVAL
    other.user_cpus = wanted
    other.cpus_allowed = wanted = had
    if other is task and not wanted >> task.cpu & 1:
        task.kernel.sched.migrate(task)
    return 0


def sys_getcpu(task: "Task", cpu: int, node: int) -> int:
    """getcpu(2)."""
    if cpu and not copy_to_user(task.mm, cpu, struct.pack("<I", task.cpu)):
        return -errno.EFAULT
    return -errno.EFAULT if node and not copy_to_user(task.mm, node, bytes(4)) else 0
