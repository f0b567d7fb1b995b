"""Making tasks: fork, vfork, clone.

Sources: fork(2), vfork(2), clone(2).

Mirrors: kernel/fork.c (copy_process, kernel_clone) (6.18)
Differs: no namespaces of its own for a child (EINVAL, as without CONFIG_*_NS), no cgroup argument, no ptrace.
"""

import errno
from typing import Final

from pagewalk.kernel.ptrace import PtRegs, TaskRegs
from pagewalk.kernel.segment import do_set_thread_area
from pagewalk.kernel.sem import UndoList
from pagewalk.kernel.signal_send import signal_pending
from pagewalk.kernel.task import INIT_PID, Task
from pagewalk.mm.current import RLIMIT_NPROC
from pagewalk.mm.fork import dup_mm, mmget

CSIGNAL: Final = 0xFF
CLONE_VM: Final = 0x100
CLONE_FS: Final = 0x200
CLONE_FILES: Final = 0x400
CLONE_SIGHAND: Final = 0x800
CLONE_PIDFD: Final = 0x1000
CLONE_PTRACE: Final = 0x2000
CLONE_VFORK: Final = 0x4000
CLONE_PARENT: Final = 0x8000
CLONE_THREAD: Final = 0x10000
CLONE_NEWNS: Final = 0x20000
CLONE_SYSVSEM: Final = 0x40000
CLONE_SETTLS: Final = 0x80000
CLONE_PARENT_SETTID: Final = 0x100000
CLONE_CHILD_CLEARTID: Final = 0x200000
CLONE_DETACHED: Final = 0x400000
CLONE_UNTRACED: Final = 0x800000
CLONE_CHILD_SETTID: Final = 0x1000000
CLONE_NEWCGROUP: Final = 0x2000000
CLONE_NEWUTS: Final = 0x4000000
CLONE_NEWIPC: Final = 0x8000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
CLONE_IO: Final = 0x80000000
CLONE_CLEAR_SIGHAND: Final = 0x1_0000_0000
CLONE_INTO_CGROUP: Final = 0x2_0000_0000
CLONE_NEWTIME: Final = 0x80

CLONE_NAMESPACES: Final = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
)

ERESTARTNOINTR: Final = 513


class CloneArgs:
    """struct kernel_clone_args: CLONE_* flags, the signal at the end, addresses for ids, stack pointer, TLS: the base
    of FS, or, in a 32-bit system call (``compat``), where a struct user_desc is."""

    def __init__(self, flags: int, exit_signal: int) -> None:
        self.flags = flags
        self.exit_signal = exit_signal
        self.stack = 0
        self.tls = 0
        self.compat = False
        self.parent_tid = 0
        self.child_tid = 0
        self.pidfd = 0
        self.set_tid: list[int] = []


def copy_process(parent: Task, args: CloneArgs) -> Task | int:
    """A new task as a copy of ``parent``, which shares with it what the flags say; not runnable yet. A negative errno
    where it cannot be: EINVAL for flags that do not go together, EAGAIN for too many tasks, ENOMEM."""
    kernel = parent.kernel
    error = check_flags(parent, args)
    if error < 0:
        return error
    if signal_pending(parent):
        return -ERESTARTNOINTR
    if over_limits(parent):
        return -errno.EAGAIN
    regs = child_regs(parent, args)
    if isinstance(regs, int):
        return regs
    flags = args.flags
    memcg = kernel.system.memcg
    kmem = int(memcg.kmem_group()) if memcg.enabled else 0
    if not memcg.charge_stack(kmem):
        return -errno.ENOMEM
    if flags & CLONE_VM:
        mm = parent.mm
        mmget(mm)
    else:
        copied = dup_mm(parent.mm)
        if copied is None:
            memcg.uncharge_stack(kmem)
            return -errno.ENOMEM
        mm = copied
    task = Task(kernel, kernel.alloc_pid(args.set_tid), mm, parent.fs)
    if flags & CLONE_FS:
        parent.fs.count += 1
    else:
        task.fs = parent.fs.copy()
    if flags & CLONE_FILES:
        task.files = parent.files
        parent.files.count += 1
    else:
        task.files = parent.files.copy(task)
    if flags & CLONE_SYSVSEM:
        if parent.sysvsem is None:
            parent.sysvsem = UndoList()
        parent.sysvsem.users += 1
        task.sysvsem = parent.sysvsem
    copy_credentials(task, parent)
    copy_signals(task, parent, args)
    copy_thread(task, parent, args, regs)
    task.exe = parent.exe
    task.comm = parent.comm
    task.personality = parent.personality
    task.tagged_addr = parent.tagged_addr
    task.oom_score_adj = parent.oom_score_adj
    task.oom_score_adj_min = parent.oom_score_adj_min
    task.mempolicy = None if parent.mempolicy is None else parent.mempolicy.copy()
    task.il_prev = parent.il_prev
    task.il_weight = parent.il_weight
    task.memcg = parent.memcg
    task.mems_allowed = parent.mems_allowed
    task.capable = parent.capable
    task.dumpable = parent.dumpable
    task.vdso_base = parent.vdso_base
    task.thp_disable = parent.thp_disable
    task.membarrier_state = parent.membarrier_state if flags & CLONE_VM else 0
    task.timer_slack_ns = parent.timer_slack_ns
    task.default_timer_slack_ns = parent.timer_slack_ns
    task.sched = parent.sched.forked()
    task.nice = parent.sched.forked_nice(parent.nice)
    task.cpus_allowed = parent.cpus_allowed
    task.user_cpus = parent.user_cpus
    task.cpu = parent.cpu
    task.start_ns = kernel.monotonic_ns()
    task.set_child_tid = args.child_tid if flags & CLONE_CHILD_SETTID else 0
    task.clear_child_tid = args.child_tid if flags & CLONE_CHILD_CLEARTID else 0
    link_family(task, parent, args)
    kernel.tasks_by_pid[task.pid] = task
    slab = kernel.system.slab
    task.kmem = kmem
    task.stack_charged = True
    slab.task_struct.alloc(kmem)
    slab.pid.alloc(kmem)
    kernel.system.stacks.alloc()
    if not flags & CLONE_THREAD:
        task.signal.memcg = kmem
        slab.signal_cache.alloc(kmem)
    if not flags & CLONE_SIGHAND:
        task.sighand.memcg = kmem
        slab.sighand_cache.alloc(kmem)
    if not flags & CLONE_FILES:
        task.files.memcg = kmem
        slab.files_cache.alloc(kmem)
    kernel.nr_forks += 1
    if kernel.on_fork is not None:
        kernel.on_fork(parent, task)
    return task


def check_flags(parent: Task, args: CloneArgs) -> int:
    """Which flags go together; 0 or -EINVAL."""
    flags = args.flags
    if flags & CLONE_THREAD and not flags & CLONE_SIGHAND:
        return -errno.EINVAL
    if flags & CLONE_SIGHAND and not flags & CLONE_VM:
        return -errno.EINVAL
    if flags & CLONE_PARENT and parent.ppid == INIT_PID and parent.tgid == INIT_PID:
        return -errno.EINVAL
    if flags & CLONE_NAMESPACES:
        return -errno.EINVAL
    return 0


def over_limits(parent: Task) -> bool:
    """RLIMIT_NPROC, which does not bind root, and the machine's threads-max."""
    kernel = parent.kernel
    if parent.uid != 0 and not parent.capable and kernel.nr_tasks_of(parent.uid) >= parent.rlimit(RLIMIT_NPROC):
        return True
    parent.nproc_exceeded = False
    return len(kernel.tasks_by_pid) >= kernel.max_threads


def copy_credentials(task: Task, parent: Task) -> None:
    """Ids and groups."""
    task.uid, task.euid, task.suid, task.fsuid = parent.uid, parent.euid, parent.suid, parent.fsuid
    task.gid, task.egid, task.sgid, task.fsgid = parent.gid, parent.egid, parent.sgid, parent.fsgid
    task.groups = list(parent.groups)
    task.no_new_privs = parent.no_new_privs
    task.keepcaps = parent.keepcaps


def copy_signals(task: Task, parent: Task, args: CloneArgs) -> None:
    """Actions, limits, and for a thread the whole of what a process shares. Nothing is pending for a child."""
    flags = args.flags
    if flags & CLONE_SIGHAND:
        task.sighand = parent.sighand
        task.sighand.count += 1
    else:
        task.sighand = parent.sighand.copy()
        if flags & CLONE_CLEAR_SIGHAND:
            task.sighand.flush_handlers()
    task.blocked = parent.saved_sigmask if parent.saved_sigmask >= 0 else parent.blocked
    if not flags & CLONE_VM or flags & CLONE_VFORK:
        task.sas_ss_sp = parent.sas_ss_sp
        task.sas_ss_size = parent.sas_ss_size
        task.sas_ss_flags = parent.sas_ss_flags
    if flags & CLONE_THREAD:
        task.signal = parent.signal
        task.tgid = parent.tgid
        task.rlim_cur = parent.rlim_cur
        task.rlim_max = parent.rlim_max
        return
    task.signal.pgrp = parent.signal.pgrp
    task.signal.session = parent.signal.session
    task.rlim_cur = list(parent.rlim_cur)
    task.rlim_max = list(parent.rlim_max)


def child_regs(parent: Task, args: CloneArgs) -> TaskRegs | int:
    """The child's registers: the parent's, with 0 as the call's answer, and its own stack and TLS where given. A
    negative errno for what is wrong with the description of a 32-bit program's TLS."""
    regs = parent.regs.copy()
    regs.set_return_value(0)
    if args.stack:
        regs.set_user_stack_pointer(args.stack)
    if args.flags & CLONE_SETTLS:
        if args.compat and isinstance(regs, PtRegs):
            error = do_set_thread_area(parent, regs, args.tls, can_allocate=False)
            if error < 0:
                return error
        else:
            regs.set_thread_pointer(args.tls)
    return regs


def copy_thread(task: Task, parent: Task, args: CloneArgs, regs: TaskRegs) -> None:
    """What the CPU has of the child."""
    task.regs = regs
    task.fpu = parent.fpu.copy()
    task.pkru = parent.pkru
    if not args.flags & CLONE_VM:
        task.rseq = parent.rseq
        task.rseq_len = parent.rseq_len
        task.rseq_sig = parent.rseq_sig
        task.robust_list = 0


def link_family(task: Task, parent: Task, args: CloneArgs) -> None:
    """Whose child it is, and what that gets at its end."""
    if args.flags & CLONE_THREAD:
        task.exit_signal = -1
        task.real_parent = parent.signal.leader.real_parent
        task.signal.threads.append(task)
        task.signal.live += 1
        return
    task.exit_signal = args.exit_signal
    task.real_parent = parent
    if args.flags & CLONE_PARENT:
        task.exit_signal = parent.signal.leader.exit_signal
        task.real_parent = parent.signal.leader.real_parent
    if task.real_parent is not None:
        task.real_parent.children.append(task)
