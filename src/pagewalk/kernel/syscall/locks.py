"""flock, and the lock commands of fcntl.

Sources: flock(2), fcntl(2).

Mirrors: fs/locks.c (6.18)
Differs: a lease is refused as if the file were open elsewhere (EAGAIN).
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.file import WOULD_BLOCK
from pagewalk.fs.locks import (
    F_RDLCK,
    F_UNLCK,
    F_WRLCK,
    OFDLCK,
    POSIX,
    FileLock,
    Waiter,
    flock_lock,
    lock_context,
    range_of,
)
from pagewalk.kernel.signal import ERESTARTSYS
from pagewalk.kernel.signal_send import signal_pending
from pagewalk.kernel.syscall.args import fdget
from pagewalk.kernel.wait import FOREVER
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.fs.file import VfsFile
    from pagewalk.kernel.task import Task

F_GETLK: Final = 5
F_SETLK: Final = 6
F_SETLKW: Final = 7
F_OFD_GETLK: Final = 36
F_OFD_SETLK: Final = 37
F_OFD_SETLKW: Final = 38
LOCK_COMMANDS: Final = (F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW)

LOCK_SH: Final = 1
LOCK_EX: Final = 2
LOCK_NB: Final = 4
LOCK_UN: Final = 8
LOCK_MAND: Final = 32

# struct flock: type, whence, start, length, pid
_FLOCK: Final = struct.Struct("<hh4xqqi4x")
_FLOCK_32: Final = struct.Struct("<hhiii")  # of a 32-bit program
_OFFSET_MAX_32: Final = 0x7FFF_FFFF
FLOCK64_32: Final = struct.Struct("<hhqqi")


def sys_flock(task: "Task", fd: int, operation: int) -> int:
    """flock(2)."""
    operation &= 0xFFFF_FFFF
    if operation & LOCK_MAND:
        return 0
    how = operation & ~LOCK_NB
    if how not in (LOCK_SH, LOCK_EX, LOCK_UN):
        return -errno.EINVAL
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    kind = {LOCK_SH: F_RDLCK, LOCK_EX: F_WRLCK, LOCK_UN: F_UNLCK}[how]
    if kind != F_UNLCK and not file.f_mode & (FMODE_READ | FMODE_WRITE):
        return -errno.EBADF
    table = task.kernel.file_locks
    context = lock_context(table, file.inode)
    file.get()
    while True:
        result = context.flock(file, kind, task.tgid)
        if result != WOULD_BLOCK:
            break
        if operation & LOCK_NB:
            result = -errno.EAGAIN
            break
        if signal_pending(task):
            result = -ERESTARTSYS
            break
        wanted = flock_lock(file, kind, task.tgid)
        blocker = context.flock_conflict(wanted)
        if blocker is None:
            continue
        waiter = Waiter(wanted, blocker)
        table.waiters.append(waiter)
        task.kernel.wait(task, FOREVER, [], [context.wait], "locks_lock_inode_wait")
        table.waiters.remove(waiter)
    file.put()
    return result


def record_lock(task: "Task", file: "VfsFile", cmd: int, addr: int, given_layout: struct.Struct | None = None) -> int:
    """F_GETLK, F_SETLK, F_SETLKW and their OFD forms; with a struct flock64 of a 32-bit program where that is given."""
    layout = given_layout or (_FLOCK_32 if task.compat else _FLOCK)
    data = copy_from_user(task.mm, addr, layout.size)
    if data is None:
        return -errno.EFAULT
    kind, whence, start, length, pid = layout.unpack(data)
    getting = cmd in (F_GETLK, F_OFD_GETLK)
    if cmd == F_GETLK and kind not in (F_RDLCK, F_WRLCK):
        return -errno.EINVAL
    if whence not in (0, 1, 2):
        return -errno.EINVAL
    base = 0 if whence == 0 else int(file.f_pos) if whence == 1 else file.inode.size()
    bounds = range_of(start, length, base)
    if isinstance(bounds, int):
        return bounds
    if kind not in (F_RDLCK, F_WRLCK, F_UNLCK):
        return -errno.EINVAL
    needs = FMODE_READ if kind == F_RDLCK else FMODE_WRITE if kind == F_WRLCK else 0
    if not getting and file.f_mode & needs != needs:
        return -errno.EBADF
    ofd = cmd >= F_OFD_GETLK
    if ofd and pid != 0:
        return -errno.EINVAL
    owner: object = file if ofd else task.files
    wanted = FileLock(owner, -1 if ofd else task.tgid, kind, bounds[0], bounds[1], OFDLCK if ofd else POSIX)
    if getting:
        return test_lock(task, file, wanted, addr, data, layout)
    return set_lock(task, file, wanted, wait=cmd in (F_SETLKW, F_OFD_SETLKW))


def test_lock(task: "Task", file: "VfsFile", wanted: FileLock, addr: int, given: bytes, layout: struct.Struct) -> int:
    """F_GETLK: writes the lock that is in the way, or F_UNLCK into what was given."""
    context = lock_context(task.kernel.file_locks, file.inode)
    found: FileLock | None = None
    if wanted.kind == F_UNLCK:  # F_OFD_GETLK: a lock of one's own
        for lock in context.posix:
            if lock.owner is wanted.owner and lock.overlaps(wanted):
                found = lock
                break
    else:
        found = context.conflict(wanted)
    if found is None:
        answer = struct.pack("<h", F_UNLCK) + given[2:]
    else:
        length = 0 if found.end == (1 << 63) - 1 else found.end - found.start + 1
        if layout is _FLOCK_32 and (found.start > _OFFSET_MAX_32 or length > _OFFSET_MAX_32):
            return -errno.EOVERFLOW
        answer = layout.pack(found.kind, 0, found.start, length, found.pid)
    return 0 if copy_to_user(task.mm, addr, answer) else -errno.EFAULT


def set_lock(task: "Task", file: "VfsFile", wanted: FileLock, *, wait: bool) -> int:
    """Locks or unlocks. EAGAIN: in somebody's way. EDEADLK: he waits for us."""
    table = task.kernel.file_locks
    context = lock_context(table, file.inode)
    file.get()
    while True:
        result = context.set_lock(wanted)
        if result != WOULD_BLOCK:
            break
        blocker = context.conflict(wanted)
        if not wait or blocker is None:
            result = -errno.EAGAIN
            break
        if wanted.pid >= 0 and table.would_deadlock(wanted.owner, blocker.owner):
            result = -errno.EDEADLK
            break
        if signal_pending(task):
            result = -ERESTARTSYS
            break
        waiter = Waiter(wanted, blocker)
        table.waiters.append(waiter)
        task.kernel.wait(task, FOREVER, [], [context.wait], "fcntl_setlk")
        table.waiters.remove(waiter)
    file.put()
    return result


def set_lease(file: "VfsFile", kind: int) -> int:
    """F_SETLEASE: EINVAL where there can be none, EAGAIN otherwise."""
    if not file.inode.is_reg() or kind not in (F_RDLCK, F_WRLCK, F_UNLCK):
        return -errno.EINVAL
    return -errno.EAGAIN
