"""Scheduling classes and nice values.

Sources: sched(7), sched_setscheduler(2), sched_setattr(2), getpriority(2).

Mirrors: kernel/sched/syscalls.c, kernel/sys.c (6.18)
Differs: no utilisation clamps (CONFIG_UCLAMP_TASK is off) and no SCHED_EXT; SCHED_DEADLINE is granted whatever the
    machine has promised already.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.sched_entity import (
    PRIORITIES,
    SCHED_DEADLINE,
    SCHED_EXT,
    SCHED_IDLE,
    SCHED_RESET_ON_FORK,
    SCHED_RR,
    base_slice_ns,
    fair_policy,
    rt_policy,
)
from pagewalk.kernel.syscall.args import put_timespec
from pagewalk.kernel.word import signed32
from pagewalk.mm.current import RLIMIT_NICE, RLIMIT_RTPRIO
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

PRIO_PROCESS: Final = 0
PRIO_PGRP: Final = 1
PRIO_USER: Final = 2

FLAG_RESET_ON_FORK: Final = 0x01
FLAG_KEEP_POLICY: Final = 0x08
FLAG_KEEP_PARAMS: Final = 0x10
FLAG_UTIL_CLAMP: Final = 0x60
FLAG_ALL: Final = 0x7F

_VER0: Final = 48  # bytes of the first struct sched_attr
_ATTR: Final = struct.Struct("<IIQiIQQQII")
_RR_SLICE_NS: Final = 100_000_000
_KEEP: Final = -1  # a policy: as it is


class Attr:
    """struct sched_attr, as the kernel takes it."""

    def __init__(self, policy: int, priority: int = 0, nice: int = 0) -> None:
        self.policy = policy
        self.flags = 0
        self.nice = nice
        self.priority = priority
        self.runtime = 0
        self.deadline = 0
        self.period = 0


def find_process_by_pid(task: "Task", pid: int) -> "Task | None":
    """The task of a pid argument; the caller for 0."""
    return task if signed32(pid) == 0 else task.kernel.find_task(signed32(pid))


# Nice values.


def set_of(task: "Task", which: int, who: int) -> "list[Task]":
    """The tasks that PRIO_PROCESS, PRIO_PGRP or PRIO_USER and ``who`` name."""
    if which == PRIO_PROCESS:
        found = find_process_by_pid(task, who)
        return [] if found is None else [found]
    tasks = [other for other in task.kernel.tasks_by_pid.values() if other.exit_code is None]
    if which == PRIO_PGRP:
        return [other for other in tasks if other.pgid == (who or task.pgid)]
    return [other for other in tasks if other.uid == (who or task.uid)]


def sys_getpriority(task: "Task", which: int, who: int) -> int:
    """getpriority(2): 20 - nice, of the one who is served best."""
    which, who = signed32(which), signed32(who)
    if which not in (PRIO_PROCESS, PRIO_PGRP, PRIO_USER):
        return -errno.EINVAL
    found = set_of(task, which, who)
    return max([20 - other.nice for other in found]) if found else -errno.ESRCH


def sys_setpriority(task: "Task", which: int, who: int, nice: int) -> int:
    """setpriority(2)."""
    which, who = signed32(which), signed32(who)
    if which not in (PRIO_PROCESS, PRIO_PGRP, PRIO_USER):
        return -errno.EINVAL
    nice = max(-20, min(19, signed32(nice)))
    error = -errno.ESRCH
    for other in set_of(task, which, who):
        if task.euid not in (other.euid, other.uid) and not task.capable:
            error = -errno.EPERM
        elif nice < other.nice and not can_nice(task, other, nice):
            error = -errno.EACCES
        else:
            other.nice = nice
            error = 0 if error == -errno.ESRCH else error
    return error


def can_nice(task: "Task", other: "Task", nice: int) -> bool:
    """Whether a nice value below the present one is granted: by RLIMIT_NICE or a capability."""
    return 20 - nice <= other.rlim_cur[RLIMIT_NICE] & (1 << 63) - 1 or task.capable


# Scheduling classes.


def may_set(task: "Task", other: "Task", attr: Attr, policy: int, reset_on_fork: bool) -> bool:
    """What an ordinary user may change (user_check_sched_setscheduler)."""
    now = other.sched
    if task.capable:
        return True
    if fair_policy(policy) and attr.nice < other.nice and not can_nice(task, other, attr.nice):
        return False
    if rt_policy(policy):
        limit = other.rlim_cur[RLIMIT_RTPRIO] & (1 << 63) - 1
        if (policy != now.policy and limit == 0) or (attr.priority > now.rt_priority and attr.priority > limit):
            return False
    if policy == SCHED_DEADLINE:
        return False
    if now.policy == SCHED_IDLE and policy != SCHED_IDLE and not can_nice(task, other, other.nice):
        return False
    return task.euid in (other.euid, other.uid) and (reset_on_fork or not now.reset_on_fork)


def sched_setscheduler(task: "Task", other: "Task", attr: Attr) -> int:
    """Another class, priority, nice value or slice for ``other`` (__sched_setscheduler)."""
    now = other.sched
    if attr.policy == _KEEP:
        policy, reset_on_fork = now.policy, now.reset_on_fork
    else:
        policy, reset_on_fork = attr.policy, bool(attr.flags & FLAG_RESET_ON_FORK)
        if policy not in PRIORITIES:
            return -errno.EINVAL
    if attr.flags & ~FLAG_ALL or attr.priority > 99:
        return -errno.EINVAL
    if policy == SCHED_DEADLINE and not deadline_ok(attr):
        return -errno.EINVAL
    if rt_policy(policy) != (attr.priority != 0):
        return -errno.EINVAL
    if not may_set(task, other, attr, policy, reset_on_fork):
        return -errno.EPERM
    now.reset_on_fork = reset_on_fork
    if attr.flags & FLAG_KEEP_PARAMS:
        return 0
    now.policy = policy
    now.rt_priority = attr.priority
    if policy == SCHED_DEADLINE:
        now.runtime, now.deadline, now.period = attr.runtime, attr.deadline, attr.period or attr.deadline
    elif fair_policy(policy):
        other.nice = attr.nice
        now.slice_ns = max(100_000, min(attr.runtime, 100_000_000)) if attr.runtime else 0
    return 0


def deadline_ok(attr: Attr) -> bool:
    """__checkparam_dl: a runtime of at least 1024 ns within a deadline within a period, which 100 us to 4 s bound."""
    period = attr.period or attr.deadline
    if attr.deadline == 0 or attr.runtime < 1024 or attr.deadline >> 63 or period >> 63:
        return False
    return attr.runtime <= attr.deadline <= period and 100_000 <= period <= 4_194_304_000


def sys_sched_setscheduler(task: "Task", pid: int, policy: int, param: int) -> int:
    """sched_setscheduler(2)."""
    return -errno.EINVAL if signed32(policy) < 0 else set_param(task, pid, signed32(policy), param)


def sys_sched_setparam(task: "Task", pid: int, param: int) -> int:
    """sched_setparam(2)."""
    return set_param(task, pid, _KEEP, param)


def set_param(task: "Task", pid: int, policy: int, param: int) -> int:
    """A class and a priority from user memory."""
    if param == 0 or signed32(pid) < 0:
        return -errno.EINVAL
    data = copy_from_user(task.mm, param, 4)
    if data is None:
        return -errno.EFAULT
    other = find_process_by_pid(task, pid)
    if other is None:
        return -errno.ESRCH
    attr = Attr(policy, struct.unpack("<I", data)[0], other.nice)
    if policy != _KEEP and policy & SCHED_RESET_ON_FORK:
        attr.policy &= ~SCHED_RESET_ON_FORK
        attr.flags = FLAG_RESET_ON_FORK
    attr.runtime = other.sched.slice_ns
    return sched_setscheduler(task, other, attr)


def sys_sched_getscheduler(task: "Task", pid: int) -> int:
    """sched_getscheduler(2)."""
    if signed32(pid) < 0:
        return -errno.EINVAL
    other = find_process_by_pid(task, pid)
    if other is None:
        return -errno.ESRCH
    return other.sched.policy | (SCHED_RESET_ON_FORK if other.sched.reset_on_fork else 0)


def sys_sched_getparam(task: "Task", pid: int, param: int) -> int:
    """sched_getparam(2)."""
    if param == 0 or signed32(pid) < 0:
        return -errno.EINVAL
    other = find_process_by_pid(task, pid)
    if other is None:
        return -errno.ESRCH
    return 0 if copy_to_user(task.mm, param, struct.pack("<i", other.sched.rt_priority)) else -errno.EFAULT


def copy_attr(task: "Task", addr: int) -> "Attr | int":
    """struct sched_attr from user memory, of any size that has nothing in what is not known (sched_copy_attr)."""
    head = copy_from_user(task.mm, addr, 4)
    if head is None:
        return -errno.EFAULT
    size = struct.unpack("<I", head)[0] or _VER0
    if not _VER0 <= size <= 4096:
        return too_big(task, addr)
    data = copy_from_user(task.mm, addr, size)
    if data is None:
        return -errno.EFAULT
    if any(data[_ATTR.size :]):
        return too_big(task, addr)
    _, policy, flags, nice, priority, runtime, deadline, period, _, _ = _ATTR.unpack(
        data[: _ATTR.size].ljust(_ATTR.size, b"\0")
    )
    if flags & FLAG_UTIL_CLAMP and size < _ATTR.size:
        return -errno.EINVAL
    attr = Attr(signed32(policy), priority, max(-20, min(19, nice)))
    attr.flags = flags
    attr.runtime, attr.deadline, attr.period = runtime, deadline, period
    return attr


def too_big(task: "Task", addr: int) -> int:
    """E2BIG; the size that is known goes to the caller."""
    copy_to_user(task.mm, addr, struct.pack("<I", _ATTR.size))
    return -errno.E2BIG


def sys_sched_setattr(task: "Task", pid: int, addr: int, flags: int) -> int:
    """sched_setattr(2)."""
    if addr == 0 or signed32(pid) < 0 or flags & 0xFFFF_FFFF:
        return -errno.EINVAL
    attr = copy_attr(task, addr)
    if isinstance(attr, int):
        return attr
    if attr.policy < 0:
        return -errno.EINVAL
    other = find_process_by_pid(task, pid)
    if other is None:
        return -errno.ESRCH
    if attr.flags & FLAG_KEEP_POLICY:
        attr.policy = _KEEP
    if attr.flags & FLAG_KEEP_PARAMS:
        fill_params(task, other, attr)
    if attr.flags & FLAG_UTIL_CLAMP:
        return -errno.EOPNOTSUPP
    return sched_setscheduler(task, other, attr)


def fill_params(task: "Task", other: "Task", attr: Attr) -> None:
    """What ``other`` is scheduled by (get_params)."""
    now = other.sched
    attr.nice = other.nice if not rt_policy(now.policy) and now.policy != SCHED_DEADLINE else 0
    attr.priority = now.rt_priority
    if now.policy == SCHED_DEADLINE:
        attr.runtime, attr.deadline, attr.period = now.runtime, now.deadline, now.period
    elif not rt_policy(now.policy):
        attr.runtime = now.slice_ns or base_slice_ns(task.kernel.config.cpus)


def sys_sched_getattr(task: "Task", pid: int, addr: int, size: int, flags: int) -> int:
    """sched_getattr(2)."""
    size &= 0xFFFF_FFFF
    if addr == 0 or signed32(pid) < 0 or not _VER0 <= size <= 4096 or flags & 0xFFFF_FFFF:
        return -errno.EINVAL
    other = find_process_by_pid(task, pid)
    if other is None:
        return -errno.ESRCH
    attr = Attr(other.sched.policy)
    fill_params(task, other, attr)
    known = min(size, _ATTR.size)
    data = _ATTR.pack(
        known, attr.policy, FLAG_RESET_ON_FORK if other.sched.reset_on_fork else 0, attr.nice, attr.priority,
        attr.runtime, attr.deadline, attr.period, 0, 0,
    )  # fmt: skip
    return 0 if copy_to_user(task.mm, addr, data[:known].ljust(size, b"\0")) else -errno.EFAULT


def priorities(policy: int) -> tuple[int, int]:
    """The lowest and highest priority of a class; SCHED_EXT is known here, and granted to nobody."""
    return (0, 0) if policy == SCHED_EXT else PRIORITIES.get(policy, (-errno.EINVAL, -errno.EINVAL))


def sys_sched_get_priority_max(task: "Task", policy: int) -> int:
    """sched_get_priority_max(2)."""
    return priorities(signed32(policy))[1]


def sys_sched_get_priority_min(task: "Task", policy: int) -> int:
    """sched_get_priority_min(2)."""
    return priorities(signed32(policy))[0]


def sys_sched_rr_get_interval(task: "Task", pid: int, tp: int) -> int:
    """sched_rr_get_interval(2): 0 for who shares its CPU with nobody, and for SCHED_FIFO."""
    if signed32(pid) < 0:
        return -errno.EINVAL
    other = find_process_by_pid(task, pid)
    if other is None:
        return -errno.ESRCH
    interval = _RR_SLICE_NS if other.sched.policy == SCHED_RR else 0
    return 0 if put_timespec(task, tp, interval) else -errno.EFAULT
