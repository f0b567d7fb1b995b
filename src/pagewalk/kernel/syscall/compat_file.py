"""File calls of 32-bit programs that have no twin among the 64-bit ones: stat64, fcntl64, llseek, old mmap and select.

Sources: stat(2), fcntl(2), llseek(2), mmap2(2), select(2), statfs(2).

Mirrors: fs/stat.c, fs/fcntl.c, fs/read_write.c, fs/select.c, arch/x86/kernel/sys_ia32.c (6.18)
Differs: nothing.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import AT_FDCWD, AT_SYMLINK_NOFOLLOW
from pagewalk.fs.stat import Stat, Statfs, struct_stat64_32, struct_statfs_32
from pagewalk.fs.stat_at import vfs_fstat, vfs_fstatfs, vfs_statfs
from pagewalk.kernel.syscall.args import fdget, fdget_raw, getname
from pagewalk.kernel.syscall.file import sys_fcntl
from pagewalk.kernel.syscall.locks import FLOCK64_32, record_lock
from pagewalk.kernel.syscall.mm import sys_mmap
from pagewalk.kernel.syscall.poll import sys_select
from pagewalk.kernel.syscall.rw import sys_preadv2, sys_pwritev2
from pagewalk.kernel.syscall.stat import stat_path
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_F_GETLK64: Final = 12
_F_SETLKW64: Final = 14
_F_GETLK: Final = 5
_F_OFD_GETLK: Final = 36
_F_OFD_SETLKW: Final = 38
_STATFS64_SIZE: Final = 84
_O_PATH: Final = 0o10000000
_PAGE_SHIFT: Final = 12


def put_stat64(task: "Task", buf: int, found: Stat | int) -> int:
    """Writes a struct stat64."""
    if isinstance(found, int):
        return found
    return 0 if copy_to_user(task.mm, buf, struct_stat64_32(found)) else -errno.EFAULT


def sys_stat64(task: "Task", pathname: int, buf: int) -> int:
    """stat64(2)."""
    return put_stat64(task, buf, stat_path(task, AT_FDCWD, pathname, 0))


def sys_lstat64(task: "Task", pathname: int, buf: int) -> int:
    """lstat64(2)."""
    return put_stat64(task, buf, stat_path(task, AT_FDCWD, pathname, AT_SYMLINK_NOFOLLOW))


def sys_fstat64(task: "Task", fd: int, buf: int) -> int:
    """fstat64(2)."""
    file = fdget_raw(task, fd)
    return -errno.EBADF if file is None else put_stat64(task, buf, vfs_fstat(file))


def sys_fstatat64(task: "Task", dfd: int, pathname: int, buf: int, flags: int) -> int:
    """fstatat64(2)."""
    return put_stat64(task, buf, stat_path(task, dfd, pathname, signed32(flags)))


def put_statfs_32(task: "Task", buf: int, found: Statfs | int, wide: bool) -> int:
    """Writes a struct statfs or statfs64; -EOVERFLOW where a count does not fit."""
    if isinstance(found, int):
        return found
    data = struct_statfs_32(found, wide)
    if data is None:
        return -errno.EOVERFLOW
    return 0 if copy_to_user(task.mm, buf, data) else -errno.EFAULT


def statfs_path(task: "Task", pathname: int) -> Statfs | int:
    """The file system behind a path."""
    path = getname(task, pathname)
    return path if isinstance(path, int) else vfs_statfs(task.fs, task.files, path)


def statfs_fd(task: "Task", fd: int) -> Statfs | int:
    """The file system behind a descriptor."""
    file = fdget_raw(task, fd)
    return -errno.EBADF if file is None else vfs_fstatfs(file)


def sys_statfs_32(task: "Task", pathname: int, buf: int) -> int:
    """statfs(2)."""
    return put_statfs_32(task, buf, statfs_path(task, pathname), wide=False)


def sys_fstatfs_32(task: "Task", fd: int, buf: int) -> int:
    """fstatfs(2)."""
    return put_statfs_32(task, buf, statfs_fd(task, fd), wide=False)


def sys_statfs64(task: "Task", pathname: int, size: int, buf: int) -> int:
    """statfs64(2)."""
    if size != _STATFS64_SIZE:
        return -errno.EINVAL
    return put_statfs_32(task, buf, statfs_path(task, pathname), wide=True)


def sys_fstatfs64(task: "Task", fd: int, size: int, buf: int) -> int:
    """fstatfs64(2)."""
    if size != _STATFS64_SIZE:
        return -errno.EINVAL
    return put_statfs_32(task, buf, statfs_fd(task, fd), wide=True)


def sys_fcntl64(task: "Task", fd: int, cmd: int, arg: int) -> int:
    """fcntl64(2): fcntl, and record locks with a struct flock64."""
    if _F_GETLK64 <= cmd <= _F_SETLKW64 or _F_OFD_GETLK <= cmd <= _F_OFD_SETLKW:
        file = fdget(task, fd)
        if file is None:
            return -errno.EBADF
        if cmd <= _F_SETLKW64:
            cmd += _F_GETLK - _F_GETLK64
        return record_lock(task, file, cmd, arg, FLOCK64_32)
    return sys_fcntl(task, fd, cmd, arg)


def sys_fcntl_32(task: "Task", fd: int, cmd: int, arg: int) -> int:
    """fcntl(2), whose record locks have a struct flock, but for those of open files."""
    if _F_GETLK64 <= cmd <= _F_SETLKW64:
        return -errno.EINVAL
    return sys_fcntl64(task, fd, cmd, arg)


def sys_llseek(task: "Task", fd: int, high: int, low: int, result: int, whence: int) -> int:
    """llseek(2): the new position goes to memory."""
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    if whence > 4:
        return -errno.EINVAL
    offset = high << 32 | low
    position = file.lseek(offset - (1 << 64) if offset >> 63 else offset, whence)
    if position < 0:
        return position
    return 0 if copy_to_user(task.mm, result, struct.pack("<q", position)) else -errno.EFAULT


def sys_mmap2(task: "Task", addr: int, length: int, prot: int, flags: int, fd: int, pgoff: int) -> int:
    """mmap2(2): the offset in pages."""
    return sys_mmap(task, addr, length, prot, flags, fd, pgoff << _PAGE_SHIFT)


def sys_old_mmap(task: "Task", addr: int) -> int:
    """The first mmap(2): its arguments are in memory."""
    data = copy_from_user(task.mm, addr, 24)
    if data is None:
        return -errno.EFAULT
    start, length, prot, flags, fd, offset = struct.unpack("<6I", data)
    return sys_mmap(task, start, length, prot, flags, fd, offset)


def sys_old_select(task: "Task", addr: int) -> int:
    """The first select(2): its arguments are in memory."""
    data = copy_from_user(task.mm, addr, 20)
    if data is None:
        return -errno.EFAULT
    count, inp, outp, exp, timeout = struct.unpack("<5I", data)
    return sys_select(task, count, inp, outp, exp, timeout)


def sys_preadv2_32(task: "Task", fd: int, vec: int, vlen: int, pos: int, flags: int) -> int:
    """preadv2(2)."""
    return sys_preadv2(task, fd, vec, vlen, pos, 0, flags)


def sys_pwritev2_32(task: "Task", fd: int, vec: int, vlen: int, pos: int, flags: int) -> int:
    """pwritev2(2)."""
    return sys_pwritev2(task, fd, vec, vlen, pos, 0, flags)
