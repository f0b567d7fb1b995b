"""What writing to a text of /proc/PID does.

Sources: proc_pid_comm(5), proc_pid_oom_adj(5), proc_pid_oom_score_adj(5), proc_pid_coredump_filter(5),
proc_pid_timerslack_ns(5), proc_pid_setgroups(5), proc_pid_clear_refs(5).

Mirrors: fs/proc/base.c (6.18)
Differs: identity maps of users and the audit session cannot be changed (EPERM); the nice value of a session's
    autogroup is checked and not kept.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.procfs.clear_refs import clear_refs
from pagewalk.fs.procfs.tasks import ptrace_may_access, task_mm

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

COMM_LEN: Final = 15
OOM_SCORE_ADJ_MIN: Final = -1000
OOM_SCORE_ADJ_MAX: Final = 1000
OOM_DISABLE: Final = -17
OOM_ADJUST_MIN: Final = -16
OOM_ADJUST_MAX: Final = 15
_DUMP_FILTER_MASK: Final = 0x1FF
_DEFAULT_SLACK_NS: Final = 50000
_INT_MAX: Final = 0x7FFFFFFF
_NUMBER_ROOM: Final = 12  # characters that are looked at (PROC_NUMBUF)


def parse_number(data: bytes) -> int | None:
    """kstrtol with base 0: blanks around it, a sign, 0x for hexadecimal, 0 for octal; None where it is no number."""
    text = data.partition(b"\0")[0].strip(b" \t\n").decode("ascii", "replace").lower()
    sign = -1 if text.startswith("-") else 1
    digits = text[1:] if text[:1] in ("-", "+") else text
    base = 16 if digits.startswith("0x") else 8 if len(digits) > 1 and digits.startswith("0") else 10
    if base == 16:
        digits = digits[2:]
    known = "0123456789abcdef"[:base]
    if not digits or any(digit not in known for digit in digits):
        return None
    return sign * int(digits, base)


def store_text(task: "Task", name: str, data: bytes) -> int:
    """Writes ``data`` to the text ``name`` of the task: the bytes taken, or a negative errno."""
    if name == "comm":
        return _store_comm(task, data)
    if name == "oom_score_adj" or name == "oom_adj":
        return _store_oom(task, name, data)
    if name == "coredump_filter":
        return _store_coredump_filter(task, data)
    if name == "clear_refs":
        return _store_clear_refs(task, data)
    if name == "timerslack_ns":
        return _store_timerslack(task, data)
    if name == "setgroups":
        return {b"allow": len(data), b"deny": -errno.EPERM}.get(data.rstrip(b"\n"), -errno.EINVAL)
    if name == "autogroup":
        nice = parse_number(data)
        return -errno.EINVAL if nice is None or not -20 <= nice <= 19 else len(data)
    if name == "sched":
        return len(data)
    if name in ("uid_map", "gid_map", "projid_map"):
        return -errno.EPERM
    if name == "loginuid":
        return -errno.EINVAL if parse_number(data) is None else -errno.EPERM
    return -errno.EACCES if name == "timens_offsets" else -errno.EINVAL


def _store_comm(task: "Task", data: bytes) -> int:
    """Only a thread of the same process may name it."""
    current = task.kernel.current_task()
    if current is not None and current.tgid != task.tgid:
        return -errno.EINVAL
    task.comm = data[:COMM_LEN].split(b"\0")[0].decode("utf-8", "surrogateescape")
    return len(data)


def _store_oom(task: "Task", name: str, data: bytes) -> int:
    """Without capability not below what a capable one has set last; by the old name, not below what it is. All
    processes that share the memory get it, but for a vforked child and its parent."""
    data = data[:_NUMBER_ROOM]
    value = parse_number(data)
    if value is None:
        return -errno.EINVAL
    if not -_INT_MAX - 1 <= value <= _INT_MAX:
        return -errno.ERANGE
    legacy = name == "oom_adj"
    if legacy:
        if not (OOM_ADJUST_MIN <= value <= OOM_ADJUST_MAX or value == OOM_DISABLE):
            return -errno.EINVAL
        scaled = abs(value) * 1000 // 17
        value = OOM_SCORE_ADJ_MAX if value == OOM_ADJUST_MAX else scaled if value >= 0 else -scaled
    if not OOM_SCORE_ADJ_MIN <= value <= OOM_SCORE_ADJ_MAX:
        return -errno.EINVAL
    current = task.kernel.current_task()
    capable = current is None or current.capable
    if value < (task.oom_score_adj if legacy else task.oom_score_adj_min) and not capable:
        return -errno.EACCES
    for other in task.kernel.tasks():
        shares = other.mm is task.mm and other.exit_code is None
        vfork = task.signal.leader.vfork_parent is not None or other.signal.leader.vfork_parent is not None
        if other.tgid == task.tgid or (shares and not vfork):
            other.oom_score_adj = value
            if capable and not legacy:
                other.oom_score_adj_min = value
    return len(data)


def _store_coredump_filter(task: "Task", data: bytes) -> int:
    value = parse_number(data)
    if value is None or data.lstrip().startswith(b"-"):
        return -errno.EINVAL
    if value > 0xFFFFFFFF:
        return -errno.ERANGE
    mm = task_mm(task)
    if mm is None:
        return -errno.ESRCH
    mm.coredump_filter = value & _DUMP_FILTER_MASK
    return len(data)


def _store_clear_refs(task: "Task", data: bytes) -> int:
    what = parse_number(data)
    if what is None or not 1 <= what <= 5 or data.strip().startswith(b"0x"):
        return -errno.EINVAL
    mm = task_mm(task)
    if mm is not None:
        clear_refs(mm, what)
    return len(data)


def _store_timerslack(task: "Task", data: bytes) -> int:
    value = parse_number(data)
    if value is None or value < 0:
        return -errno.EINVAL
    if not ptrace_may_access(task):
        return -errno.EPERM
    task.timer_slack_ns = value if value else _DEFAULT_SLACK_NS
    return len(data)
