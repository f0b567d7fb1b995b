"""/proc/PID/{stat,status,statm,limits}: a task in lines and columns.

Sources: proc_pid_stat(5), proc_pid_status(5), proc_pid_limits(5).

Mirrors: fs/proc/array.c, fs/proc/base.c (6.18)
Differs: no pid namespaces below the first, no seccomp.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.fs.procfs.task_mmu import task_mem
from pagewalk.fs.procfs.tasks import ptrace_may_access, task_mm, thread_group
from pagewalk.mm.cpuset import mask_text
from pagewalk.mm.current import RLIMIT_RSS, RLIMIT_SIGPENDING
from pagewalk.mm.mempolicy import max_numnodes, mems_allowed, node_list

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

CAP_FULL: Final = (1 << 41) - 1  # CAP_LAST_CAP 40
_NS_PER_TICK: Final = 10_000_000  # USER_HZ 100
_PF_EXITING: Final = 0x00000004
_PF_RANDOMIZE: Final = 0x00400000

_LIMITS: Final = (
    ("Max cpu time", "seconds", 0), ("Max file size", "bytes", 1), ("Max data size", "bytes", 2),
    ("Max stack size", "bytes", 3), ("Max core file size", "bytes", 4), ("Max resident set", "bytes", 5),
    ("Max processes", "processes", 6), ("Max open files", "files", 7), ("Max locked memory", "bytes", 8),
    ("Max address space", "bytes", 9), ("Max file locks", "locks", 10), ("Max pending signals", "signals", 11),
    ("Max msgqueue size", "bytes", 12), ("Max nice priority", "", 13), ("Max realtime priority", "", 14),
    ("Max realtime timeout", "us", 15),
)  # fmt: skip


def state_letter(task: "Task") -> str:
    """R, S, T or Z."""
    if task.exit_code is not None:
        return "Z"
    return {0: "R", 1: "S", 4: "T"}.get(task.state, "S")


_STATE_NAMES: Final = {"R": "running", "S": "sleeping", "T": "stopped", "Z": "zombie"}


def signal_sets(task: "Task") -> tuple[int, int]:
    """(ignored, caught) as masks."""
    ignored = caught = 0
    for number, action in enumerate(task.sighand.action):
        if action.handler == 1:
            ignored |= 1 << number
        elif action.handler != 0:
            caught |= 1 << number
    return ignored, caught


def _unsigned(word: int) -> int:
    return word & 0xFFFF_FFFF_FFFF_FFFF


def stat_text(task: "Task") -> str:
    """/proc/PID/stat: 52 columns. What is about memory is 0 once the task has ended."""
    mm = task_mm(task)
    ignored, caught = signal_sets(task)
    start = max(0, task.start_ns - task.kernel.boot_ns) // _NS_PER_TICK
    flags = _PF_RANDOMIZE if mm is None or mm.randomized else 0
    if mm is None:
        flags |= _PF_EXITING
    sizes: list[int] = [0, 0]
    code: list[int] = [0, 0, 0]
    bounds: list[int] = [0] * 7
    if mm is not None:
        sizes = [int(mm.total_vm) << mm.system.page_shift, mm.get_mm_rss()]
    if mm is not None and ptrace_may_access(task):
        code = [int(mm.start_code), int(mm.end_code), int(mm.start_stack)]
        bounds = [
            int(mm.start_data), int(mm.end_data), int(mm.start_brk), int(mm.arg_start), int(mm.arg_end),
            int(mm.env_start), int(mm.env_end),
        ]  # fmt: skip
    signal = task.signal
    user, system = signal.cpu_time_ns()
    minor, major = signal.faults()
    columns: list[object] = [
        task.pid, f"({task.comm})", state_letter(task), task.ppid, task.pgid, task.sid, 0, -1, flags,
        minor, signal.cmin_flt, major, signal.cmaj_flt,
        user // _NS_PER_TICK, system // _NS_PER_TICK,
        signal.cutime_ns // _NS_PER_TICK, signal.cstime_ns // _NS_PER_TICK,
        task.sched.prio(task.nice), task.nice, len(thread_group(task)), 0, start,
        sizes[0], sizes[1], _unsigned(task.rlim_cur[RLIMIT_RSS]),
        code[0], code[1], code[2], 0, 0,
        task.pending.signal & 0x7FFFFFFF, task.blocked & 0x7FFFFFFF, ignored & 0x7FFFFFFF, caught & 0x7FFFFFFF,
        0, 0, 0, 17, 0, task.sched.rt_priority, task.sched.policy, 0, 0, 0,
        bounds[0], bounds[1], bounds[2], bounds[3], bounds[4], bounds[5], bounds[6],
        task.exit_code if task.exit_code is not None and ptrace_may_access(task) else 0,
    ]  # fmt: skip
    return " ".join([str(column) for column in columns]) + "\n"


def status_text(task: "Task") -> str:
    """/proc/PID/status; a zombie has no lines about memory and files."""
    mm = task_mm(task)
    state = state_letter(task)
    name = task.comm.replace("\\", "\\\\").replace("\n", "\\n")
    ignored, caught = signal_sets(task)
    caps = CAP_FULL if task.capable else 0
    groups = " ".join([str(group) for group in task.groups])
    pending = task.kernel.nr_sigpending(task.uid)
    sigpending = task.rlim_cur[RLIMIT_SIGPENDING]
    cpus, arch = task.kernel.config.cpus, task.kernel.config.arch
    on = task.cpus_allowed & (1 << cpus) - 1
    mems = mems_allowed(task.kernel.system, task)
    out = f"Name:\t{name}\n"
    if mm is not None:
        out += f"Umask:\t{task.fs.umask:04o}\n"
    out += (
        f"State:\t{state} ({_STATE_NAMES[state]})\n"
        f"Tgid:\t{task.tgid}\nNgid:\t0\nPid:\t{task.pid}\nPPid:\t{task.ppid}\nTracerPid:\t0\n"
        f"Uid:\t{task.uid}\t{task.euid}\t{task.suid}\t{task.fsuid}\n"
        f"Gid:\t{task.gid}\t{task.egid}\t{task.sgid}\t{task.fsgid}\n"
        f"FDSize:\t{task.files.nr_open if mm is not None else 0}\nGroups:\t{groups} \n"
        f"NStgid:\t{task.tgid}\nNSpid:\t{task.pid}\nNSpgid:\t{task.pgid}\nNSsid:\t{task.sid}\n"
    )
    old = task.kernel.system.linux_6_1
    if not old:
        out += "Kthread:\t0\n"
    if mm is not None:
        out += task_mem(mm) + "CoreDumping:\t0\nTHP_enabled:\t1\n"
        out += "" if old else "untag_mask:\t0xffffffffffffffff\n"
    out += (
        f"Threads:\t{len(thread_group(task))}\nSigQ:\t{pending}/{_unsigned(sigpending)}\n"
        f"SigPnd:\t{task.pending.signal:016x}\nShdPnd:\t{task.signal.shared_pending.signal:016x}\n"
        f"SigBlk:\t{task.blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
        f"CapInh:\t{0:016x}\nCapPrm:\t{caps:016x}\nCapEff:\t{caps:016x}\nCapBnd:\t{CAP_FULL:016x}\nCapAmb:\t{0:016x}\n"
        f"NoNewPrivs:\t{task.no_new_privs}\nSeccomp:\t0\nSeccomp_filters:\t0\n"
        "Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:\talways enabled\n"
        f"Cpus_allowed:\t{mask_text(task.cpus_allowed, cpus)}\nCpus_allowed_list:\t{node_list(on)}\n"
        f"Mems_allowed:\t{mask_text(mems, max_numnodes(arch))}\nMems_allowed_list:\t{node_list(mems)}\n"
        f"voluntary_ctxt_switches:\t{task.nvcsw}\nnonvoluntary_ctxt_switches:\t{task.nivcsw}\n"
    )
    return out


def cpu_list(cpus: int) -> str:
    """The first ``cpus`` CPUs as a list of ranges."""
    return "0" if cpus == 1 else f"0-{cpus - 1}"


def limits_text(task: "Task") -> str:
    """/proc/PID/limits."""
    out = f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10}\n"
    for name, unit, which in _LIMITS:
        soft = _limit(task.rlim_cur[which])
        hard = _limit(task.rlim_max[which])
        out += f"{name:<25} {soft:<20} {hard:<20} {unit:<10}\n" if unit else f"{name:<25} {soft:<20} {hard:<20} \n"
    return out


def _limit(value: int) -> str:
    return "unlimited" if value == -1 else str(_unsigned(value))
