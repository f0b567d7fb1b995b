"""Descriptors: open, close, dup, pipe, fcntl, lseek and what else acts on an open file as a whole.

Mirrors: fs/open.c, fs/fcntl.c, fs/pipe.c, fs/locks.c, fs/sync.c, mm/fadvise.c (6.18)
Differs: O_ASYNC owners are kept and unused.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.eventfd import make_eventfd
from pagewalk.fs.fcntl import (
    AT_FDCWD,
    F_ADD_SEALS,
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GET_SEALS,
    F_GETFD,
    F_GETFL,
    F_GETPIPE_SZ,
    F_SETFD,
    F_SETFL,
    F_SETPIPE_SZ,
    O_APPEND,
    O_ASYNC,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECT,
    O_NOATIME,
    O_NONBLOCK,
    O_PATH,
    O_TRUNC,
    O_WRONLY,
)
from pagewalk.fs.fsnotify import fsnotify_modify
from pagewalk.fs.locks import F_UNLCK
from pagewalk.fs.open import do_openat
from pagewalk.fs.pipe import make_pipe
from pagewalk.kernel.signal_types import NSIG
from pagewalk.kernel.syscall.args import fdget, getname
from pagewalk.kernel.syscall.locks import LOCK_COMMANDS, record_lock, set_lease
from pagewalk.kernel.wait import wait_for_open
from pagewalk.kernel.word import signed32
from pagewalk.mm.cachestat import filemap_cachestat
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE
from pagewalk.mm.filemap import filemap_write_and_wait_range
from pagewalk.mm.readahead import force_page_cache_ra
from pagewalk.mm.truncate import invalidate_mapping_pages
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

F_SETOWN: Final = 8
F_GETOWN: Final = 9
F_SETSIG: Final = 10
F_GETSIG: Final = 11
F_SETLEASE: Final = 1024
F_GETLEASE: Final = 1025
F_NOTIFY: Final = 1026

POSIX_FADV_RANDOM: Final = 1
POSIX_FADV_SEQUENTIAL: Final = 2
POSIX_FADV_WILLNEED: Final = 3
POSIX_FADV_DONTNEED: Final = 4

SETFL_MASK: Final = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME

# Allowed on an O_PATH descriptor.
_PATH_COMMANDS: Final = (F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL)


def sys_open(task: "Task", filename: int, flags: int, mode: int) -> int:
    """open(2)."""
    return sys_openat(task, AT_FDCWD, filename, flags, mode)


def sys_creat(task: "Task", filename: int, mode: int) -> int:
    """creat(2)."""
    return sys_openat(task, AT_FDCWD, filename, O_CREAT | O_WRONLY | O_TRUNC, mode)


def sys_openat(task: "Task", dfd: int, filename: int, flags: int, mode: int) -> int:
    """openat(2)."""
    path = getname(task, filename)
    if isinstance(path, int):
        return path
    flags = task.kernel.abi.open_flags(flags & 0xFFFF_FFFF)
    file = do_openat(task.fs, task.files, signed32(dfd), path, flags, mode & 0xFFFF)
    if isinstance(file, int):
        return file
    fd = wait_for_open(task, file)
    if fd == 0:
        fd = task.files.install(file, cloexec=bool(flags & O_CLOEXEC))
    if fd < 0:
        file.put()
    return fd


def sys_openat2(task: "Task", dfd: int, filename: int, how: int, size: int) -> int:
    """openat2(2); of the RESOLVE_* flags none is modelled (EINVAL, as of an unknown one)."""
    if size < 24:
        return -errno.EINVAL
    if size > 4096:
        return -errno.E2BIG
    data = copy_from_user(task.mm, how, size)
    if data is None:
        return -errno.EFAULT
    flags, mode, resolve = struct.unpack_from("<QQQ", data)
    if any(data[24:]):
        return -errno.E2BIG
    if flags & ~0o37777703 or resolve or mode & ~0o7777 or (mode and not flags & (O_CREAT | 0o20000000)):
        return -errno.EINVAL
    return sys_openat(task, dfd, filename, flags, mode)


def sys_close(task: "Task", fd: int) -> int:
    """close(2)."""
    return task.files.close(signed32(fd))


def sys_close_range(task: "Task", first: int, last: int, flags: int) -> int:
    """close_range(2)."""
    return task.files.close_range(first & 0xFFFF_FFFF, last & 0xFFFF_FFFF, flags & 0xFFFF_FFFF)


def sys_dup(task: "Task", fd: int) -> int:
    """dup(2)."""
    return task.files.dup(signed32(fd))


def sys_dup2(task: "Task", old: int, new: int) -> int:
    """dup2(2)."""
    return task.files.dup2(signed32(old), signed32(new))


def sys_dup3(task: "Task", old: int, new: int, flags: int) -> int:
    """dup3(2)."""
    return task.files.dup3(signed32(old), signed32(new), flags & 0xFFFF_FFFF)


def sys_pipe(task: "Task", fds: int) -> int:
    """pipe(2)."""
    return sys_pipe2(task, fds, 0)


def sys_pipe2(task: "Task", fds: int, flags: int) -> int:
    """pipe2(2)."""
    flags = task.kernel.abi.open_flags(flags & 0xFFFF_FFFF)
    if flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT):
        return -errno.EINVAL
    reader, writer = make_pipe(task.kernel.system, flags & ~O_CLOEXEC)
    cloexec = bool(flags & O_CLOEXEC)
    first = task.files.install(reader, cloexec)
    if first < 0:
        reader.put()
        writer.put()
        return first
    second = task.files.install(writer, cloexec)
    if second < 0:
        task.files.close(first)
        writer.put()
        return second
    if not copy_to_user(task.mm, fds, struct.pack("<ii", first, second)):
        task.files.close(first)
        task.files.close(second)
        return -errno.EFAULT
    return 0


def sys_eventfd(task: "Task", count: int) -> int:
    """eventfd(2) without flags."""
    return sys_eventfd2(task, count, 0)


def sys_eventfd2(task: "Task", count: int, flags: int) -> int:
    """eventfd(2)."""
    flags &= 0xFFFF_FFFF
    if flags & ~(O_CLOEXEC | O_NONBLOCK | 1):
        return -errno.EINVAL
    file = make_eventfd(task.kernel.system, count & 0xFFFF_FFFF, flags & ~O_CLOEXEC)
    fd = task.files.install(file, bool(flags & O_CLOEXEC))
    if fd < 0:
        file.put()
    return fd


def sys_lseek(task: "Task", fd: int, offset: int, whence: int) -> int:
    """lseek(2)."""
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    whence &= 0xFFFF_FFFF
    if whence > 4:
        return -errno.EINVAL
    return file.lseek(offset, whence)


def sys_fcntl(task: "Task", fd: int, cmd: int, arg: int) -> int:
    """fcntl(2)."""
    fd = signed32(fd)
    cmd &= 0xFFFF_FFFF
    file = task.files.get_raw(fd)
    if file is None or (file.f_flags & O_PATH and cmd not in _PATH_COMMANDS):
        return -errno.EBADF
    if cmd in (F_DUPFD, F_DUPFD_CLOEXEC):
        return task.files.dupfd(fd, signed32(arg), cloexec=cmd == F_DUPFD_CLOEXEC)
    if cmd == F_GETFD:
        return 1 if task.files.cloexec(fd) else 0
    if cmd == F_SETFD:
        task.files.set_cloexec(fd, bool(arg & 1))
        return 0
    if cmd == F_GETFL:
        return task.kernel.abi.open_flags(file.f_flags & ~O_CLOEXEC)
    if cmd == F_SETFL:
        file.f_flags = file.f_flags & ~SETFL_MASK | task.kernel.abi.open_flags(arg) & SETFL_MASK
        return 0
    if cmd in LOCK_COMMANDS:
        return record_lock(task, file, cmd, arg)
    if cmd == F_SETPIPE_SZ:
        return file.set_pipe_size(arg & 0xFFFF_FFFF)
    if cmd == F_GETPIPE_SZ:
        return file.pipe_size()
    if cmd == F_ADD_SEALS:
        return file.add_seals(arg & 0xFFFF_FFFF)
    if cmd == F_GET_SEALS:
        return file.get_seals()
    if cmd == F_GETOWN or cmd == F_GETSIG:
        return 0
    if cmd == F_SETOWN:
        return 0
    if cmd == F_SETSIG:
        return 0 if 0 <= arg <= NSIG else -errno.EINVAL
    if cmd == F_SETLEASE:
        return set_lease(file, signed32(arg))
    if cmd == F_GETLEASE:
        return F_UNLCK
    return -errno.EINVAL


def sys_fsync(task: "Task", fd: int) -> int:
    """fsync(2)."""
    file = fdget(task, fd)
    return -errno.EBADF if file is None else file.fsync()


def sys_sync(task: "Task") -> int:
    """sync(2)."""
    task.kernel.ns.sync()
    return 0


def sys_syncfs(task: "Task", fd: int) -> int:
    """syncfs(2)."""
    if fdget(task, fd) is None:
        return -errno.EBADF
    task.kernel.ns.sync()
    return 0


def sys_sync_file_range(task: "Task", fd: int, offset: int, length: int, flags: int) -> int:
    """sync_file_range(2)."""
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    if flags & ~7 or offset < 0 or length < 0:
        return -errno.EINVAL
    return file.fsync() if flags else 0


def sys_ftruncate(task: "Task", fd: int, length: int) -> int:
    """ftruncate(2)."""
    if length < 0:
        return -errno.EINVAL
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    result = file.ftruncate(length)
    if result == 0:
        fsnotify_modify(file, 1)
    return result


def sys_fallocate(task: "Task", fd: int, mode: int, offset: int, length: int) -> int:
    """fallocate(2)."""
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    if offset < 0 or length <= 0:
        return -errno.EINVAL
    return file.fallocate(signed32(mode), offset, length)


def sys_fadvise64(task: "Task", fd: int, offset: int, length: int, advice: int) -> int:
    """posix_fadvise(2): DONTNEED takes clean pages out of the cache, WILLNEED reads them; NORMAL, RANDOM
    and SEQUENTIAL tune the open file's read-ahead."""
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    if file.inode.i_mode & 0o170000 == 0o010000:
        return -errno.ESPIPE
    advice = signed32(advice)
    if length < 0 or not 0 <= advice <= 5:
        return -errno.EINVAL
    mapping = file.mapping
    if mapping is None or mapping.is_shmem or offset < 0:
        return 0
    system = task.mm.system
    shift, last_byte = int(system.page_shift), int(system.page_size) - 1
    end = offset + length if length and offset + length < 1 << 62 else 1 << 62
    if advice == POSIX_FADV_DONTNEED:
        last = end >> shift if end < mapping.i_size else 1 << 50
        busy = set(mapping.dirty)  # written now, and not dropped
        filemap_write_and_wait_range(system, mapping, offset >> shift, (end - 1) >> shift)
        invalidate_mapping_pages(system, mapping, (offset + last_byte) >> shift, last - 1, busy)
    elif advice == POSIX_FADV_WILLNEED:
        pages = ((end + last_byte) >> shift) - (offset >> shift)
        force_page_cache_ra(system, mapping, file.f_ra, offset >> shift, pages)
    elif advice <= POSIX_FADV_SEQUENTIAL:
        file.f_ra.random = advice == POSIX_FADV_RANDOM
        if advice != POSIX_FADV_RANDOM:
            file.f_ra.sequential = advice == POSIX_FADV_SEQUENTIAL
    return 0


def sys_readahead(task: "Task", fd: int, offset: int, count: int) -> int:
    """readahead(2): as posix_fadvise(WILLNEED)."""
    file = fdget(task, fd)
    if file is None or not file.f_mode & FMODE_READ:
        return -errno.EBADF
    if file.mapping is None:
        return -errno.EINVAL
    return sys_fadvise64(task, fd, offset, count, POSIX_FADV_WILLNEED)


def sys_cachestat(task: "Task", fd: int, where: int, result: int, flags: int) -> int:
    """cachestat(2): counts the cached pages of a range of bytes; a length of 0 is up to the end."""
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    data = copy_from_user(task.mm, where, 16)
    if data is None:
        return -errno.EFAULT
    if not task.capable and not file.f_mode & FMODE_WRITE:
        return -errno.EPERM
    if flags:
        return -errno.EINVAL
    offset, length = struct.unpack("<QQ", data)
    shift = int(task.mm.system.page_shift)
    last = (offset + length - 1) >> shift if length else 1 << 52
    first = min(offset >> shift, 1 << 52)
    counts = (
        bytes(40)
        if file.mapping is None
        else filemap_cachestat(task.mm.system, file.mapping, first, min(last, 1 << 52))
    )
    return 0 if copy_to_user(task.mm, result, counts) else -errno.EFAULT
