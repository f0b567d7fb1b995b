"""What else only 32-bit programs call: socketcall, ipc, ids of 16 bits, old times and limits, thread areas.

Sources: socketcall(2), ipc(2), getuid16(2), set_thread_area(2), getrlimit(2), sysinfo(2), stime(2).

Mirrors: net/compat.c, ipc/syscall.c, kernel/uid16.c, arch/x86/kernel/tls.c, kernel/sys.c (6.18)
Differs: no message queues, as of 64-bit programs.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.stat import high2low
from pagewalk.kernel.ptrace import x86_regs
from pagewalk.kernel.segment import do_get_thread_area, do_set_thread_area
from pagewalk.kernel.syscall import cred, limits, path, sem, shm, socket, sockmsg, sockopt
from pagewalk.kernel.syscall.args import NSEC
from pagewalk.kernel.syscall.wait import sys_wait4
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from collections.abc import Callable

    from pagewalk.kernel.task import Task

_LOW: Final = 0xFFFF_FFFF
_RLIM_INFINITY_OLD: Final = 0x7FFF_FFFF
# The calls of socketcall(2) from 1 on, with their counts of arguments. send and recv are sendto and recvfrom.
_SOCKET_CALLS: "Final[tuple[tuple[Callable[..., int], int], ...]]" = (
    (socket.sys_socket, 3), (socket.sys_bind, 3), (socket.sys_connect, 3), (socket.sys_listen, 2),
    (socket.sys_accept, 3), (socket.sys_getsockname, 3), (socket.sys_getpeername, 3), (socket.sys_socketpair, 4),
    (sockmsg.sys_sendto, 4), (sockmsg.sys_recvfrom, 4), (sockmsg.sys_sendto, 6), (sockmsg.sys_recvfrom, 6),
    (socket.sys_shutdown, 2), (sockopt.sys_setsockopt, 5), (sockopt.sys_getsockopt, 5), (sockmsg.sys_sendmsg, 3),
    (sockmsg.sys_recvmsg, 3), (socket.sys_accept4, 4), (sockmsg.sys_recvmmsg, 5), (sockmsg.sys_sendmmsg, 4),
)  # fmt: skip
_SEND: Final = 9
_RECV: Final = 10


def sys_socketcall(task: "Task", call: int, addr: int) -> int:
    """socketcall(2): the arguments are in memory."""
    if not 1 <= call <= len(_SOCKET_CALLS):
        return -errno.EINVAL
    function, nargs = _SOCKET_CALLS[call - 1]
    data = copy_from_user(task.mm, addr, nargs * 4)
    if data is None:
        return -errno.EFAULT
    words = list(struct.unpack(f"<{nargs}I", data))
    if call in (_SEND, _RECV):
        words += [0, 0]
    return function(task, *words)


def sys_ipc(task: "Task", call: int, first: int, second: int, third: int, ptr: int, fifth: int) -> int:
    """ipc(2): the System V calls by number; the high half of the number is a version."""
    version = call >> 16
    call &= 0xFFFF
    if call == 1:
        return sem.sys_semop(task, first, ptr, second)
    if call == 2:
        return sem.sys_semget(task, first, second, third)
    if call == 3:
        if not ptr:
            return -errno.EINVAL
        data = copy_from_user(task.mm, ptr, 4)
        if data is None:
            return -errno.EFAULT
        return sem.sys_semctl(task, first, second, third, int.from_bytes(data, "little"))
    if call == 4:
        return sem.sys_semtimedop(task, first, ptr, second, fifth)
    if call == 21:
        if version == 1:
            return -errno.EINVAL
        found = shm.sys_shmat(task, first, ptr, second)
        if found < 0:
            return found
        return 0 if copy_to_user(task.mm, third, struct.pack("<I", found)) else -errno.EFAULT
    if call == 22:
        return shm.sys_shmdt(task, ptr)
    if call == 23:
        return shm.sys_shmget(task, first, second, third)
    if call == 24:
        return shm.sys_shmctl(task, first, second, ptr)
    return -errno.ENOSYS


def sys_set_thread_area_32(task: "Task", info: int) -> int:
    """set_thread_area(2)."""
    return do_set_thread_area(task, x86_regs(task), info, can_allocate=True)


def sys_get_thread_area(task: "Task", info: int) -> int:
    """get_thread_area(2)."""
    return do_get_thread_area(task, info)


def sys_waitpid(task: "Task", pid: int, status: int, options: int) -> int:
    """waitpid(2)."""
    return sys_wait4(task, pid, status, options, 0)


def sys_stime(task: "Task", addr: int) -> int:
    """stime(2): the time is the host's."""
    return -errno.EFAULT if copy_from_user(task.mm, addr, 4) is None else -errno.EPERM


def sys_time_32(task: "Task", addr: int) -> int:
    """time(2)."""
    now = task.kernel.clock_ns(0) // NSEC
    if addr and not copy_to_user(task.mm, addr, struct.pack("<I", now & _LOW)):
        return -errno.EFAULT
    return signed32(now)


def sys_sysinfo_32(task: "Task", buf: int) -> int:
    """sysinfo(2): sizes in units that make them fit."""
    system = task.kernel.system
    uptime = (task.kernel.monotonic_ns() - task.kernel.boot_ns) // NSEC
    total = system.totalram_pages << 12
    unit = 1
    while total // unit > _LOW and unit < 4096:
        unit <<= 1
    free = (system.node.nr_free_pages() << 12) // unit
    words = (0, 0, 0, total // unit, free, 0, 0, 0, 0)
    data = struct.pack("<i3I6IHxxIII8x", uptime, *words, len(task.kernel.tasks()), 0, 0, unit)
    return 0 if copy_to_user(task.mm, buf, data) else -errno.EFAULT


def sys_ugetrlimit(task: "Task", which: int, addr: int) -> int:
    """getrlimit(2); what does not fit is infinite."""
    return put_rlimit(task, which, addr, _LOW)


def sys_old_getrlimit(task: "Task", which: int, addr: int) -> int:
    """getrlimit(2), the old call: what does not fit in 31 bits is infinite."""
    return put_rlimit(task, which, addr, _RLIM_INFINITY_OLD)


def put_rlimit(task: "Task", which: int, addr: int, most: int) -> int:
    """Writes two words of at most ``most``."""
    if which >= len(task.rlim_cur):
        return -errno.EINVAL
    values = [min(value & (1 << 64) - 1, most) for value in (task.rlim_cur[which], task.rlim_max[which])]
    return 0 if copy_to_user(task.mm, addr, struct.pack("<II", *values)) else -errno.EFAULT


def sys_setrlimit_32(task: "Task", which: int, addr: int) -> int:
    """setrlimit(2)."""
    data = copy_from_user(task.mm, addr, 8)
    if data is None:
        return -errno.EFAULT
    soft, hard = [-1 if word == _LOW else word for word in struct.unpack("<II", data)]
    return limits.do_setrlimit(task, which, soft, hard)


def low2high(ident: int) -> int:
    """A 16-bit argument as an id; -1 stays "do not change"."""
    ident &= 0xFFFF
    return _LOW if ident == 0xFFFF else ident


def sys_chown16(task: "Task", pathname: int, uid: int, gid: int) -> int:
    """chown(2) with ids of 16 bits."""
    return path.sys_chown(task, pathname, low2high(uid), low2high(gid))


def sys_lchown16(task: "Task", pathname: int, uid: int, gid: int) -> int:
    """lchown(2) with ids of 16 bits."""
    return path.sys_lchown(task, pathname, low2high(uid), low2high(gid))


def sys_fchown16(task: "Task", fd: int, uid: int, gid: int) -> int:
    """fchown(2) with ids of 16 bits."""
    return path.sys_fchown(task, fd, low2high(uid), low2high(gid))


def sys_getuid16(task: "Task") -> int:
    """getuid(2)."""
    return high2low(cred.sys_getuid(task))


def sys_geteuid16(task: "Task") -> int:
    """geteuid(2)."""
    return high2low(cred.sys_geteuid(task))


def sys_getgid16(task: "Task") -> int:
    """getgid(2)."""
    return high2low(cred.sys_getgid(task))


def sys_getegid16(task: "Task") -> int:
    """getegid(2)."""
    return high2low(cred.sys_getegid(task))


def sys_setuid16(task: "Task", uid: int) -> int:
    """setuid(2)."""
    return cred.sys_setuid(task, low2high(uid))


def sys_setgid16(task: "Task", gid: int) -> int:
    """setgid(2)."""
    return cred.sys_setgid(task, low2high(gid))


def sys_setreuid16(task: "Task", ruid: int, euid: int) -> int:
    """setreuid(2)."""
    return cred.sys_setreuid(task, low2high(ruid), low2high(euid))


def sys_setregid16(task: "Task", rgid: int, egid: int) -> int:
    """setregid(2)."""
    return cred.sys_setregid(task, low2high(rgid), low2high(egid))


def sys_setresuid16(task: "Task", ruid: int, euid: int, suid: int) -> int:
    """setresuid(2)."""
    return cred.sys_setresuid(task, low2high(ruid), low2high(euid), low2high(suid))


def sys_setresgid16(task: "Task", rgid: int, egid: int, sgid: int) -> int:
    """setresgid(2)."""
    return cred.sys_setresgid(task, low2high(rgid), low2high(egid), low2high(sgid))


def sys_setfsuid16(task: "Task", uid: int) -> int:
    """setfsuid(2)."""
    return cred.sys_setfsuid(task, low2high(uid))


def sys_setfsgid16(task: "Task", gid: int) -> int:
    """setfsgid(2)."""
    return cred.sys_setfsgid(task, low2high(gid))


def put_ids16(task: "Task", addresses: tuple[int, ...], values: tuple[int, ...]) -> int:
    """Writes ids of 16 bits, one to each address."""
    for addr, value in zip(addresses, values, strict=True):
        if not copy_to_user(task.mm, addr, struct.pack("<H", high2low(value))):
            return -errno.EFAULT
    return 0


def sys_getresuid16(task: "Task", ruid: int, euid: int, suid: int) -> int:
    """getresuid(2)."""
    return put_ids16(task, (ruid, euid, suid), (task.uid, task.euid, task.suid))


def sys_getresgid16(task: "Task", rgid: int, egid: int, sgid: int) -> int:
    """getresgid(2)."""
    return put_ids16(task, (rgid, egid, sgid), (task.gid, task.egid, task.sgid))


def sys_getgroups16(task: "Task", size: int, addr: int) -> int:
    """getgroups(2)."""
    return cred.put_groups(task, size, addr, "H", [high2low(group) for group in task.groups])


def sys_setgroups16(task: "Task", size: int, addr: int) -> int:
    """setgroups(2)."""
    if task.euid != 0:
        return -errno.EPERM
    if size > 65536:
        return -errno.EINVAL
    data = copy_from_user(task.mm, addr, size * 2)
    if data is None:
        return -errno.EFAULT
    task.groups = sorted(struct.unpack(f"<{size}H", data))
    task.sync_cred()
    return 0


def sys_olduname(task: "Task", buf: int) -> int:
    """uname(2), the first call: five names of 9 bytes."""
    uts = task.kernel.uts
    names = (uts.sysname, uts.nodename, uts.release, uts.version, uts.machine_of(task.personality))
    data = b"".join([name.encode()[:8].ljust(9, b"\0") for name in names])
    return 0 if copy_to_user(task.mm, buf, data) else -errno.EFAULT


def sys_uname_old(task: "Task", buf: int) -> int:
    """uname(2), the second call: five names of 65 bytes."""
    uts = task.kernel.uts
    names = (uts.sysname, uts.nodename, uts.release, uts.version, uts.machine_of(task.personality))
    data = b"".join([name.encode()[:64].ljust(65, b"\0") for name in names])
    return 0 if copy_to_user(task.mm, buf, data) else -errno.EFAULT
