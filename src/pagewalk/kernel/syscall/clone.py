"""fork(2), vfork(2), clone(2), clone3(2), and the ends: exit(2), exit_group(2).

Mirrors: kernel/fork.c, kernel/exit.c (6.18)
Differs: nothing that is not said in kernel/fork.py.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.pidfd import make_pidfd
from pagewalk.kernel.clock import CLOCK_REALTIME
from pagewalk.kernel.exit import do_exit, do_group_exit
from pagewalk.kernel.fork import (
    CLONE_CLEAR_SIGHAND,
    CLONE_DETACHED,
    CLONE_FILES,
    CLONE_FS,
    CLONE_INTO_CGROUP,
    CLONE_NAMESPACES,
    CLONE_NEWTIME,
    CLONE_PARENT,
    CLONE_PARENT_SETTID,
    CLONE_PIDFD,
    CLONE_SIGHAND,
    CLONE_SYSVSEM,
    CLONE_THREAD,
    CLONE_VFORK,
    CLONE_VM,
    CSIGNAL,
    CloneArgs,
    copy_process,
)
from pagewalk.kernel.sem import exit_sem
from pagewalk.kernel.signal_types import NSIG, SIGCHLD
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user, put_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

CLONE_ARGS_SIZE_VER0: Final = 64
CLONE_ARGS_SIZE: Final = 88
MAX_PID_NS_LEVEL: Final = 32


def sys_fork(task: "Task") -> int:
    """fork(2)."""
    return kernel_clone(task, CloneArgs(0, SIGCHLD))


def sys_vfork(task: "Task") -> int:
    """vfork(2)."""
    return kernel_clone(task, CloneArgs(CLONE_VFORK | CLONE_VM, SIGCHLD))


def sys_clone(task: "Task", flags: int, stack: int, parent_tid: int, child_tid: int, tls: int) -> int:
    """clone(2): the low byte of the flags is the signal at the end."""
    flags &= 0xFFFF_FFFF
    args = CloneArgs(flags & ~CSIGNAL, flags & CSIGNAL)
    args.stack = stack
    args.tls = tls
    args.compat = task.compat
    args.parent_tid = parent_tid
    args.child_tid = child_tid
    if flags & CLONE_PIDFD:
        if flags & (CLONE_PARENT_SETTID | CLONE_DETACHED):
            return -errno.EINVAL
        args.pidfd = parent_tid
    return kernel_clone(task, args)


def sys_clone_backwards(task: "Task", flags: int, stack: int, parent_tid: int, tls: int, child_tid: int) -> int:
    """clone(2) as i386 and arm64 have it: TLS before the child's id."""
    return sys_clone(task, flags, stack, parent_tid, child_tid, tls)


def sys_clone3(task: "Task", uargs: int, size: int) -> int:
    """clone3(2)."""
    if size > 4096 or size < 0:
        return -errno.E2BIG
    if size < CLONE_ARGS_SIZE_VER0:
        return -errno.EINVAL
    data = copy_from_user(task.mm, uargs, size)
    if data is None:
        return -errno.EFAULT
    if any(data[CLONE_ARGS_SIZE:]):
        return -errno.E2BIG
    words = struct.unpack("<11Q", data[:CLONE_ARGS_SIZE].ljust(CLONE_ARGS_SIZE, b"\0"))
    flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, _ = words
    if set_tid_size > MAX_PID_NS_LEVEL or bool(set_tid) != bool(set_tid_size):
        return -errno.EINVAL
    if exit_signal & ~CSIGNAL or exit_signal > NSIG:
        return -errno.EINVAL
    if flags & CLONE_INTO_CGROUP:
        return -errno.EINVAL
    args = CloneArgs(flags, exit_signal)
    args.compat = task.compat
    args.pidfd, args.child_tid, args.parent_tid, args.tls = pidfd, child_tid, parent_tid, signed64(tls)
    if set_tid_size:
        error = take_set_tid(task, args, set_tid, set_tid_size)
        if error < 0:
            return error
    if flags & ~(0xFFFF_FFFF | CLONE_CLEAR_SIGHAND) or flags & (CLONE_DETACHED | (CSIGNAL & ~CLONE_NEWTIME)):
        return -errno.EINVAL
    if flags & CLONE_SIGHAND and flags & CLONE_CLEAR_SIGHAND:
        return -errno.EINVAL
    if flags & (CLONE_THREAD | CLONE_PARENT) and exit_signal:
        return -errno.EINVAL
    if bool(stack) != bool(stack_size) or (stack and stack + stack_size > task.mm.task_size):
        return -errno.EINVAL
    args.stack = stack + stack_size if stack else 0
    return kernel_clone(task, args)


def signed64(value: int) -> int:
    """An unsigned word as a signed one."""
    return value - (1 << 64) if value >> 63 else value


def take_set_tid(task: "Task", args: CloneArgs, addr: int, count: int) -> int:
    """The id that the caller wants for the child, in the one pid namespace that there is; 0 or a negative errno."""
    if count > 1:
        return -errno.EINVAL
    data = copy_from_user(task.mm, addr, 4)
    if data is None:
        return -errno.EFAULT
    pid = struct.unpack("<i", data)[0]
    if pid < 1 or pid >= task.kernel.pid_max:
        return -errno.EINVAL
    if task.euid != 0:
        return -errno.EPERM
    if pid in task.kernel.tasks_by_pid or pid == 1:
        return -errno.EEXIST
    args.set_tid = [pid]
    return 0


def kernel_clone(task: "Task", args: CloneArgs) -> int:
    """Makes the child, tells its id where it was asked for, starts it; with CLONE_VFORK waits until it lets go of the
    memory."""
    child = copy_process(task, args)
    if isinstance(child, int):
        return child
    kernel = task.kernel
    pid = child.pid
    if args.flags & CLONE_PIDFD:
        error = install_pidfd(task, child, args.pidfd)
        if error < 0:
            kernel.abandon_task(child)
            return error
    if args.flags & CLONE_PARENT_SETTID:
        put_user_u32(task.mm, args.parent_tid, pid)
    if args.flags & CLONE_VFORK:
        child.vfork_parent = task
        task.vfork_child = child
    kernel.sched.wake_up_new_task(child)
    while task.vfork_child is child:
        if not kernel.sched.wait_killable(task, "kernel_clone"):
            child.vfork_parent = None
            task.vfork_child = None
    return pid


def install_pidfd(task: "Task", child: "Task", addr: int) -> int:
    """CLONE_PIDFD: a descriptor for the child; 0 or a negative errno."""
    file = make_pidfd(task.kernel.system, child, 0)
    fd = task.files.install(file, cloexec=True)
    if fd < 0:
        file.put()
        return fd
    if not copy_to_user(task.mm, addr, struct.pack("<i", fd)):
        task.files.close(fd)
        return -errno.EFAULT
    return 0


def sys_exit(task: "Task", status: int) -> int:
    """exit(2): of one thread."""
    do_exit(task, (status & 0xFF) << 8)
    return 0


def sys_exit_group(task: "Task", status: int) -> int:
    """exit_group(2): of all threads."""
    do_group_exit(task, (status & 0xFF) << 8)
    return 0


def sys_unshare(task: "Task", flags: int) -> int:
    """unshare(2): descriptors and file-system context; namespaces cannot be had (EINVAL)."""
    flags &= 0xFFFF_FFFF
    if flags & (CLONE_NAMESPACES | CLONE_NEWTIME):
        return -errno.EINVAL
    if flags & ~(CLONE_THREAD | CLONE_FS | CLONE_SIGHAND | CLONE_VM | CLONE_FILES | CLONE_SYSVSEM):
        return -errno.EINVAL
    if flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM) and not task.thread_group_empty():
        return -errno.EINVAL
    if flags & (CLONE_SIGHAND | CLONE_VM) and task.sighand.count > 1:
        return -errno.EINVAL
    if flags & CLONE_VM and task.mm.mm_users > 1:
        return -errno.EINVAL
    if flags & CLONE_SYSVSEM:
        exit_sem(task, task.kernel.clock_ns(CLOCK_REALTIME) // 1_000_000_000)
    if flags & CLONE_FS and task.fs.count > 1:
        task.unshare_fs()
    if flags & CLONE_FILES and task.files.count > 1:
        task.unshare_files()
    return 0


def sys_set_tid_address(task: "Task", addr: int) -> int:
    """set_tid_address(2)."""
    task.clear_child_tid = addr
    return task.pid


def sys_setns(task: "Task", fd: int, flags: int) -> int:
    """setns(2): there is one namespace of each kind, and nobody moves."""
    return -errno.EBADF if task.files.get(signed32(fd)) is None else -errno.EINVAL
