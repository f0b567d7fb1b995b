"""What fits nowhere else: names and sizes of the system, random bytes, futexes, memory barriers, refusals.

Sources: uname(2), sysinfo(2), getrandom(2), futex(2), membarrier(2).

Mirrors: kernel/sys.c, drivers/char/random.c, kernel/futex/syscalls.c, kernel/sched/membarrier.c (6.18)
Differs: random bytes come from the machine's seed; futexes have no other thread to meet, and no PI operations.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.clock import NSEC, host_clock_ns, monotonic_ns
from pagewalk.kernel.signal import ERESTARTSYS
from pagewalk.kernel.syscall.args import MAX_RW_COUNT, get_timespec, getname, timespec_ns
from pagewalk.kernel.wait import FOREVER, sleep_until
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_to_user, copy_to_user_partial, get_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

FUTEX_WAIT: Final = 0
FUTEX_WAKE: Final = 1
FUTEX_REQUEUE: Final = 3
FUTEX_CMP_REQUEUE: Final = 4
FUTEX_WAIT_BITSET: Final = 9
FUTEX_WAKE_BITSET: Final = 10
FUTEX_CLOCK_REALTIME: Final = 256
FUTEX_CMD_MASK: Final = ~(128 | FUTEX_CLOCK_REALTIME)

MEMBARRIER_ALL: Final = 0x3FF


def sys_uname(task: "Task", buf: int) -> int:
    """uname(2)."""
    uts = task.kernel.uts
    fields = (uts.sysname, uts.nodename, uts.release, uts.version, uts.machine, uts.domainname)
    data = b"".join([field.encode()[:64].ljust(65, b"\0") for field in fields])
    return 0 if copy_to_user(task.mm, buf, data) else -errno.EFAULT


def sys_sethostname(task: "Task", name: int, length: int) -> int:
    """sethostname(2) and setdomainname(2): the names are the machine's."""
    return -errno.EPERM


def sys_sysinfo(task: "Task", buf: int) -> int:
    """sysinfo(2)."""
    system = task.kernel.system
    uptime = (monotonic_ns() - task.kernel.boot_ns) // NSEC
    total = system.totalram_pages << 12
    free = system.node.nr_free_pages() << 12
    nr_tasks = len(task.kernel.tasks())
    data = struct.pack("<q3Q6QH6xQQI4x", uptime, 0, 0, 0, total, free, 0, 0, 0, 0, nr_tasks, 0, 0, 1)
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


def sys_futex(task: "Task", uaddr: int, op: int, val: int, timeout: int, uaddr2: int, val3: int) -> int:
    """futex(2) for a process that is alone: nobody to wake, and a wait ends with its time or a signal."""
    command = signed32(op) & FUTEX_CMD_MASK
    if uaddr & 3:
        return -errno.EINVAL
    if not 0 <= uaddr < task.mm.task_size:
        return -errno.EFAULT
    if command in (FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_WAKE_BITSET):
        return -errno.EINVAL if command == FUTEX_WAKE_BITSET and not val3 & 0xFFFF_FFFF else 0
    if command == FUTEX_CMP_REQUEUE:
        word = get_user_u32(task.mm, uaddr)
        if word is None:
            return -errno.EFAULT
        return 0 if word == val3 & 0xFFFF_FFFF else -errno.EAGAIN
    if command in (FUTEX_WAIT, FUTEX_WAIT_BITSET):
        return futex_wait(task, uaddr, val, timeout, val3, command, op & FUTEX_CLOCK_REALTIME != 0)
    return -errno.ENOSYS


def futex_wait(task: "Task", uaddr: int, val: int, timeout: int, bitset: int, command: int, realtime: bool) -> int:
    """FUTEX_WAIT (a relative time) and FUTEX_WAIT_BITSET (an absolute one)."""
    deadline = FOREVER
    if timeout:
        given = get_timespec(task, timeout)
        if given is None:
            return -errno.EFAULT
        length = timespec_ns(given[0], given[1])
        if length < 0:
            return -errno.EINVAL
        if command == FUTEX_WAIT:
            deadline = monotonic_ns() + length
        elif realtime:
            deadline = max(0, monotonic_ns() + length - host_clock_ns(0))
        else:
            deadline = length
    if command == FUTEX_WAIT_BITSET and not bitset & 0xFFFF_FFFF:
        return -errno.EINVAL
    word = get_user_u32(task.mm, uaddr)
    if word is None:
        return -errno.EFAULT
    if word != val & 0xFFFF_FFFF:
        return -errno.EAGAIN
    return -errno.ETIMEDOUT if sleep_until(task, deadline) else -ERESTARTSYS


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
