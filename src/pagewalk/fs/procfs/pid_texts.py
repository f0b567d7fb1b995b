"""The texts of /proc/PID: which there are, who may read them, and what each says.

A text that is about memory is empty, or cannot be read, once the task has ended; the others stay until somebody has
waited for it.

Sources: proc_pid(5) and the pages that it names; Documentation/filesystems/proc.rst.

Mirrors: fs/proc/base.c (tgid_base_stuff, tid_base_stuff) (6.18)
Differs: one namespace of each kind, no audit sessions; ``stack`` has the one frame that the
    model knows, ``sched`` those of its lines that do not depend on a scheduling policy.
"""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pagewalk.fs.procfs.array import limits_text, stat_text, status_text
from pagewalk.fs.procfs.mem import cmdline, environ
from pagewalk.fs.procfs.numa_maps import numa_maps_text
from pagewalk.fs.procfs.task_mmu import maps_text, smaps_rollup_text, smaps_text, statm_text
from pagewalk.fs.procfs.tasks import ptrace_may_access, task_mm, thread_group
from pagewalk.mm.current import TaskIoAccounting

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_ID_NONE: Final = 0xFFFFFFFF

# What a reader must be allowed to, before the text is made.
READ_FREE: Final = 0  # nothing but the mode's bits
READ_MEMORY: Final = 1  # EACCES where it may not look into the task
READ_TRACE: Final = 2  # EPERM there
READ_LIVING: Final = 3  # as READ_MEMORY, and ESRCH for a task that has ended


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# Memory.


def _environ(task: "Task") -> bytes:
    return environ(task.mm)


def _cmdline(task: "Task") -> bytes:
    mm = task_mm(task)
    return b"" if mm is None else cmdline(mm)


def _auxv(task: "Task") -> bytes:
    """Up to AT_NULL, which is there too; what is behind it is not shown."""
    auxv = task.mm.saved_auxv
    end = len(auxv)
    for at in range(0, len(auxv), 16):
        if auxv[at : at + 8] == bytes(8):
            end = at
            break
    return auxv[: end + 16]


def _maps(task: "Task") -> bytes:
    mm = task_mm(task)
    return b"" if mm is None else _encode(maps_text(mm))


def _smaps(task: "Task") -> bytes:
    mm = task_mm(task)
    return b"" if mm is None else _encode(smaps_text(mm))


def _numa_maps(task: "Task") -> bytes:
    mm = task_mm(task)
    return b"" if mm is None else _encode(numa_maps_text(mm, task.mempolicy))


def _smaps_rollup(task: "Task") -> bytes:
    return smaps_rollup_text(task.mm).encode()


def _statm(task: "Task") -> bytes:
    mm = task_mm(task)
    return b"0 0 0 0 0 0 0\n" if mm is None else statm_text(mm).encode()


def _coredump_filter(task: "Task") -> bytes:
    mm = task_mm(task)
    return b"" if mm is None else f"{mm.coredump_filter:08x}\n".encode()


def _ksm_merging_pages(task: "Task") -> bytes:
    return b"" if task_mm(task) is None else b"0\n"


def _ksm_stat(task: "Task") -> bytes:
    if task_mm(task) is None:
        return b""
    return (
        b"ksm_rmap_items 0\nksm_zero_pages 0\nksm_merging_pages 0\nksm_process_profit 0\n"
        b"ksm_merge_any: no\nksm_mergeable: no\n"
    )


def _empty(task: "Task") -> bytes:
    return b""


# The task itself.


def _stat(task: "Task") -> bytes:
    return _encode(stat_text(task))


def _status(task: "Task") -> bytes:
    return _encode(status_text(task))


def _limits(task: "Task") -> bytes:
    return limits_text(task).encode()


def _comm(task: "Task") -> bytes:
    return _encode(task.comm) + b"\n"


def _personality(task: "Task") -> bytes:
    return f"{task.personality & 0xFFFFFFFF:08x}\n".encode()


def _io(task: "Task") -> bytes:
    """Of all threads, those that have been released too."""
    total = TaskIoAccounting()
    total.add(task.signal.ioac)
    for thread in task.signal.threads:
        total.add(thread.ioac)
    return "".join([f"{name}: {count}\n" for name, count in total.counts()]).encode()


def _thread_io(task: "Task") -> bytes:
    return "".join([f"{name}: {count}\n" for name, count in task.ioac.counts()]).encode()


def _children(task: "Task") -> bytes:
    return "".join([f"{child.pid} " for child in task.children]).encode()


def _timers(task: "Task") -> bytes:
    return b""


def _timerslack_ns(task: "Task") -> bytes:
    return f"{task.timer_slack_ns}\n".encode()


# Running and waiting.


def sleeps(task: "Task") -> bool:
    """Whether it waits for something; one that has been woken counts as running."""
    return task.exit_code is None and task.state != 0 and task.wchan != ""


def _wchan(task: "Task") -> bytes:
    """The function that it sleeps in; 0 for one that runs."""
    return task.wchan.encode() if sleeps(task) and ptrace_may_access(task) else b"0"


def _stack(task: "Task") -> bytes:
    """Where it sleeps, innermost first; offsets are not known."""
    if not sleeps(task):
        return b""
    frames = [task.wchan]
    abi = task.kernel.abi
    if task.regs.syscallno >= 0:
        frames.append(f"{abi.syscall_prefix}{task.kernel.syscall_name(int(task.regs.syscallno))}")
    frames += abi.entry_functions
    return "".join([f"[<0>] {frame}+0x0/0x0\n" for frame in frames]).encode()


def _syscall(task: "Task") -> bytes:
    """Number and arguments of the call, stack pointer, program counter. A task that runs elsewhere: ``running``."""
    if task.exit_code is not None:
        return b"-1 0x0 0x0\n"
    regs = task.regs
    stack = f"{_word(int(regs.user_stack_pointer())):#x} {_word(int(regs.instruction_pointer())):#x}"
    if task is not task.kernel.current_task() and task.state == 0:
        return b"running\n"
    if regs.syscallno < 0:
        return f"-1 {stack}\n".encode()
    words = " ".join([f"{_word(int(regs.argument(at))):#x}" for at in range(6)])
    return f"{regs.syscallno} {words} {stack}\n".encode()


def _word(word: int) -> int:
    return word & 0xFFFF_FFFF_FFFF_FFFF


def _schedstat(task: "Task") -> bytes:
    """Time on a CPU and waiting for one (ns), and how often it came to run."""
    return f"{task.utime_ns + task.stime_ns} 0 {task.nvcsw + task.nivcsw}\n".encode()


def _sched(task: "Task") -> bytes:
    head = f"{task.comm} ({task.pid}, #threads: {len(thread_group(task))})\n"
    out = head + "-" * 67 + "\n"
    run = task.utime_ns + task.stime_ns
    weight = 1048576
    rows: list[tuple[str, str]] = [
        ("se.sum_exec_runtime", f"{run // 1_000_000}.{run % 1_000_000:06d}"),
        ("se.nr_migrations", "0"),
        ("nr_switches", str(task.nvcsw + task.nivcsw)),
        ("nr_voluntary_switches", str(task.nvcsw)),
        ("nr_involuntary_switches", str(task.nivcsw)),
        ("se.load.weight", str(weight)),
        ("policy", str(task.sched.policy)),
        ("prio", str(100 + task.sched.prio(task.nice))),
    ]
    for label, value in rows:
        out += f"{label:<45}:{value:>21}\n"
    return _encode(out)


def _autogroup(task: "Task") -> bytes:
    return f"/autogroup-{task.sid} nice 0\n".encode()


# Where it belongs.


def _cgroup(task: "Task") -> bytes:
    group = task.kernel.system.memcg.groups[task.memcg]
    return f"0::{group.path()}{'' if group.online else ' (deleted)'}\n".encode()


def _cpuset(task: "Task") -> bytes:
    return b"/\n"


def _mounts(task: "Task") -> bytes | int:
    if task.exit_code is not None:
        return -errno.EINVAL
    return _encode(task.fs.ns.mounts_text(task.fs.root))


def _mountinfo(task: "Task") -> bytes | int:
    if task.exit_code is not None:
        return -errno.EINVAL
    return _encode(task.fs.ns.mountinfo_text(task.fs.root))


def _mountstats(task: "Task") -> bytes | int:
    if task.exit_code is not None:
        return -errno.EINVAL
    lines = ""
    for line in task.fs.ns.mounts_text(task.fs.root).splitlines():
        source, place, fstype = line.split(" ")[:3]
        lines += f"device {source} mounted on {place} with fstype {fstype}\n"
    return _encode(lines)


def _id_map(task: "Task") -> bytes:
    return b"%10d %10d %10d\n" % (0, 0, _ID_NONE)


def _setgroups(task: "Task") -> bytes:
    return b"allow\n"


def _audit_id(task: "Task") -> bytes:
    return f"{_ID_NONE}".encode()


def _timens_offsets(task: "Task") -> bytes:
    if task.exit_code is not None:
        return b""
    return f"{'monotonic':<10} {0:>10} {0:>9}\n{'boottime':<10} {0:>10} {0:>9}\n".encode()


def _arch_status(task: "Task") -> bytes:
    return b""


# The OOM killer.


def _oom_score(task: "Task") -> bytes:
    return f"{task.oom_score()}\n".encode()


def _oom_score_adj(task: "Task") -> bytes:
    return f"{task.oom_score_adj}\n".encode()


def _oom_adj(task: "Task") -> bytes:
    adj = task.oom_score_adj
    if adj == 1000:
        return b"15\n"
    scaled = abs(adj) * 17 // 1000
    return f"{scaled if adj >= 0 else -scaled}\n".encode()


TextMaker = Callable[["Task"], bytes | int]


class PidTextSpec:
    """One text: permission bits, what a reader needs (READ_*), what it says."""

    def __init__(self, mode: int, needs: int, make: TextMaker) -> None:
        self.mode = mode
        self.needs = needs
        self.make = make


def _both() -> dict[str, PidTextSpec]:
    """What a process and a thread have, in the kernel's order."""
    return {
        "environ": PidTextSpec(0o400, READ_LIVING, _environ),
        "auxv": PidTextSpec(0o400, READ_LIVING, _auxv),
        "status": PidTextSpec(0o444, READ_FREE, _status),
        "personality": PidTextSpec(0o400, READ_TRACE, _personality),
        "limits": PidTextSpec(0o444, READ_FREE, _limits),
        "sched": PidTextSpec(0o644, READ_FREE, _sched),
        "comm": PidTextSpec(0o644, READ_FREE, _comm),
        "syscall": PidTextSpec(0o400, READ_TRACE, _syscall),
        "cmdline": PidTextSpec(0o444, READ_FREE, _cmdline),
        "stat": PidTextSpec(0o444, READ_FREE, _stat),
        "statm": PidTextSpec(0o444, READ_FREE, _statm),
        "maps": PidTextSpec(0o444, READ_MEMORY, _maps),
        "numa_maps": PidTextSpec(0o444, READ_MEMORY, _numa_maps),
        "mounts": PidTextSpec(0o444, READ_FREE, _mounts),
        "mountinfo": PidTextSpec(0o444, READ_FREE, _mountinfo),
        "clear_refs": PidTextSpec(0o200, READ_FREE, _empty),
        "smaps": PidTextSpec(0o444, READ_MEMORY, _smaps),
        "smaps_rollup": PidTextSpec(0o444, READ_LIVING, _smaps_rollup),
        "wchan": PidTextSpec(0o444, READ_FREE, _wchan),
        "stack": PidTextSpec(0o400, READ_TRACE, _stack),
        "schedstat": PidTextSpec(0o444, READ_FREE, _schedstat),
        "cpuset": PidTextSpec(0o444, READ_FREE, _cpuset),
        "cgroup": PidTextSpec(0o444, READ_FREE, _cgroup),
        "oom_score": PidTextSpec(0o444, READ_FREE, _oom_score),
        "oom_adj": PidTextSpec(0o644, READ_FREE, _oom_adj),
        "oom_score_adj": PidTextSpec(0o644, READ_FREE, _oom_score_adj),
        "loginuid": PidTextSpec(0o644, READ_FREE, _audit_id),
        "sessionid": PidTextSpec(0o444, READ_FREE, _audit_id),
        "io": PidTextSpec(0o400, READ_MEMORY, _io),
        "uid_map": PidTextSpec(0o644, READ_FREE, _id_map),
        "gid_map": PidTextSpec(0o644, READ_FREE, _id_map),
        "projid_map": PidTextSpec(0o644, READ_FREE, _id_map),
        "setgroups": PidTextSpec(0o644, READ_FREE, _setgroups),
        "arch_status": PidTextSpec(0o444, READ_FREE, _arch_status),
        "ksm_merging_pages": PidTextSpec(0o400, READ_FREE, _ksm_merging_pages),
        "ksm_stat": PidTextSpec(0o400, READ_FREE, _ksm_stat),
    }


PROCESS_TEXTS: Final = {
    **_both(),
    "autogroup": PidTextSpec(0o644, READ_FREE, _autogroup),
    "timens_offsets": PidTextSpec(0o644, READ_FREE, _timens_offsets),
    "mountstats": PidTextSpec(0o400, READ_FREE, _mountstats),
    "coredump_filter": PidTextSpec(0o644, READ_FREE, _coredump_filter),
    "timers": PidTextSpec(0o444, READ_FREE, _timers),
    "timerslack_ns": PidTextSpec(0o666, READ_FREE, _timerslack_ns),
}

THREAD_TEXTS: Final = {
    **_both(),
    "children": PidTextSpec(0o444, READ_FREE, _children),
    "io": PidTextSpec(0o400, READ_MEMORY, _thread_io),
}
