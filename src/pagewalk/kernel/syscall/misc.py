"""What fits nowhere else: names and sizes of the system, random bytes, memory barriers, refusals.

Sources: uname(2), sysinfo(2), getrandom(2), membarrier(2).

Mirrors: kernel/sys.c, drivers/char/random.c, kernel/sched/membarrier.c (6.18)
Differs: random bytes come from the machine's seed.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.clock import NSEC
from pagewalk.kernel.syscall.args import MAX_RW_COUNT, getname
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_to_user, copy_to_user_partial

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

MEMBARRIER_ALL: Final = 0x3FF


def sys_uname(task: "Task", buf: int) -> int:
    """uname(2)."""
    uts = task.kernel.uts
    fields = (uts.sysname, uts.nodename, uts.release, uts.version, uts.machine_of(task.personality), uts.domainname)
    data = b"".join([field.encode()[:64].ljust(65, b"\0") for field in fields])
    return 0 if copy_to_user(task.mm, buf, data) else -errno.EFAULT


def sys_sethostname(task: "Task", name: int, length: int) -> int:
    """sethostname(2) and setdomainname(2): the names are the machine's."""
    return -errno.EPERM


def sys_sysinfo(task: "Task", buf: int) -> int:
    """sysinfo(2)."""
    system = task.kernel.system
    uptime = (task.kernel.monotonic_ns() - task.kernel.boot_ns) // NSEC
    shift = int(system.page_shift)
    total = system.totalram_pages << shift
    free = int(system.node.nr_free_pages()) << shift
    shared = int(system.vmstat.nr_shmem) << shift
    swap = int(system.swap.total_swap_pages) << shift
    swap_free = int(system.swap.nr_swap_pages) << shift
    nr_tasks = len(task.kernel.tasks())
    data = struct.pack("<q3Q6QH6xQQI4x", uptime, 0, 0, 0, total, free, shared, 0, swap, swap_free, nr_tasks, 0, 0, 1)
    return 0 if copy_to_user(task.mm, buf, data) else -errno.EFAULT


def sys_getrandom(task: "Task", buf: int, count: int, flags: int) -> int:
    """getrandom(2): bytes of the machine's seed."""
    flags &= 0xFFFF_FFFF
    if flags & ~7 or flags & 6 == 6:
        return -errno.EINVAL
    count = MAX_RW_COUNT if count < 0 else min(count, MAX_RW_COUNT)
    done = 0
    while done < count:
        size = min(count - done, 1 << 20)
        stored = int(copy_to_user_partial(task.mm, buf + done, task.kernel.system.random.randbytes(size)))
        done += stored
        if stored < size:
            return done or -errno.EFAULT
    return done


def sys_membarrier(task: "Task", cmd: int, flags: int, cpu: int) -> int:
    """membarrier(2): with one thread every barrier is done; the private ones must be registered."""
    cmd = signed32(cmd)
    if flags & 0xFFFF_FFFF:
        return -errno.EINVAL
    if cmd == 0:
        return MEMBARRIER_ALL
    if cmd & (cmd - 1) or cmd & ~MEMBARRIER_ALL:
        return -errno.EINVAL
    if cmd in (16, 64, 256):  # REGISTER_PRIVATE_EXPEDITED and its kinds
        task.membarrier_state |= cmd
        return 0
    if cmd in (8, 32, 128):
        return 0 if task.membarrier_state & cmd << 1 else -errno.EPERM
    if cmd == 512:
        return task.membarrier_state
    return 0


def sys_set_thread_area(task: "Task", info: int) -> int:
    """set_thread_area(2): of 32-bit programs only."""
    return -errno.ENOSYS


def sys_modify_ldt(task: "Task", func: int, ptr: int, count: int) -> int:
    """modify_ldt(2): there is no LDT to read, and none can be made."""
    return 0 if signed32(func) in (0, 2) else -errno.ENOSYS


def sys_ptrace(task: "Task", request: int, pid: int, addr: int, data: int) -> int:
    """ptrace(2): nobody to trace, and no tracer."""
    return -errno.EPERM if signed32(request) in (0, 16, 0x4206) else -errno.ESRCH


def sys_mount(task: "Task", source: int, target: int, fstype: int, flags: int, data: int) -> int:
    """mount(2): the tree is fixed."""
    return -errno.EPERM


def sys_umount2(task: "Task", target: int, flags: int) -> int:
    """umount2(2)."""
    path = getname(task, target)
    return path if isinstance(path, int) else -errno.EPERM
