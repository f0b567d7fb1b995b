"""stat in all its forms, statfs, readlink, directory entries, and extended attributes (which no file has).

Mirrors: fs/stat.c, fs/statfs.c, fs/readdir.c, fs/xattr.c (6.18)
Differs: no file system has extended attributes.
"""

import errno
import os
from typing import TYPE_CHECKING

from pagewalk.fs.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_NOFOLLOW
from pagewalk.fs.stat import Stat, Statfs, struct_stat, struct_stat_32, struct_stat_generic, struct_statfs, struct_statx
from pagewalk.fs.stat_at import do_readlinkat, vfs_fstat, vfs_fstatfs, vfs_statat, vfs_statfs
from pagewalk.kernel.syscall.args import fdget, fdget_raw, getname
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

STATX_RESERVED = 0x80000000


def sys_stat(task: "Task", pathname: int, buf: int) -> int:
    """stat(2)."""
    return sys_newfstatat(task, AT_FDCWD, pathname, buf, 0)


def sys_lstat(task: "Task", pathname: int, buf: int) -> int:
    """lstat(2)."""
    return sys_newfstatat(task, AT_FDCWD, pathname, buf, AT_SYMLINK_NOFOLLOW)


def sys_newfstatat(task: "Task", dfd: int, pathname: int, buf: int, flags: int) -> int:
    """newfstatat(2)."""
    found = stat_path(task, dfd, pathname, signed32(flags))
    return put_stat(task, buf, found)


def sys_fstat(task: "Task", fd: int, buf: int) -> int:
    """fstat(2)."""
    file = fdget_raw(task, fd)
    return -errno.EBADF if file is None else put_stat(task, buf, vfs_fstat(file))


def sys_statx(task: "Task", dfd: int, pathname: int, flags: int, mask: int, buf: int) -> int:
    """statx(2)."""
    flags = signed32(flags)
    if mask & STATX_RESERVED or flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE:
        return -errno.EINVAL
    found = stat_path(task, dfd, pathname, flags)
    if isinstance(found, int):
        return found
    return 0 if copy_to_user(task.mm, buf, struct_statx(found)) else -errno.EFAULT


def stat_path(task: "Task", dfd: int, pathname: int, flags: int) -> Stat | int:
    """The attributes behind a path; behind ``dfd`` itself with AT_EMPTY_PATH and an empty or missing path."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE):
        return -errno.EINVAL
    if pathname == 0 and flags & AT_EMPTY_PATH:
        return vfs_statat(task.fs, task.files, signed32(dfd), "", flags)
    path = getname(task, pathname)
    if isinstance(path, int):
        return path
    return vfs_statat(task.fs, task.files, signed32(dfd), path, flags)


def put_stat(task: "Task", buf: int, found: Stat | int) -> int:
    """Writes a struct stat."""
    if isinstance(found, int):
        return found
    if task.compat:
        data = struct_stat_32(found)
    elif task.kernel.abi.asm_generic:
        data = struct_stat_generic(found)
    else:
        data = struct_stat(found)
    return 0 if copy_to_user(task.mm, buf, data) else -errno.EFAULT


def sys_statfs(task: "Task", pathname: int, buf: int) -> int:
    """statfs(2)."""
    path = getname(task, pathname)
    if isinstance(path, int):
        return path
    return put_statfs(task, buf, vfs_statfs(task.fs, task.files, path))


def sys_fstatfs(task: "Task", fd: int, buf: int) -> int:
    """fstatfs(2)."""
    file = fdget_raw(task, fd)
    return -errno.EBADF if file is None else put_statfs(task, buf, vfs_fstatfs(file))


def put_statfs(task: "Task", buf: int, found: Statfs | int) -> int:
    """Writes a struct statfs."""
    if isinstance(found, int):
        return found
    return 0 if copy_to_user(task.mm, buf, struct_statfs(found)) else -errno.EFAULT


def sys_readlink(task: "Task", pathname: int, buf: int, size: int) -> int:
    """readlink(2)."""
    return sys_readlinkat(task, AT_FDCWD, pathname, buf, size)


def sys_readlinkat(task: "Task", dfd: int, pathname: int, buf: int, size: int) -> int:
    """readlinkat(2): bytes of the target, cut at ``size``, without a NUL."""
    size = signed32(size)
    if size <= 0:
        return -errno.EINVAL
    path = getname(task, pathname)
    if isinstance(path, int):
        return path
    target = do_readlinkat(task.fs, task.files, signed32(dfd), path)
    if isinstance(target, int):
        return target
    data = os.fsencode(target)[:size]
    return len(data) if copy_to_user(task.mm, buf, data) else -errno.EFAULT


def sys_getdents64(task: "Task", fd: int, buf: int, count: int) -> int:
    """getdents64(2)."""
    return getdents(task, fd, buf, count, wide=True)


def sys_getdents(task: "Task", fd: int, buf: int, count: int) -> int:
    """getdents(2)."""
    return getdents(task, fd, buf, count, wide=False)


def getdents(task: "Task", fd: int, buf: int, count: int, wide: bool) -> int:
    """Both layouts."""
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    count &= 0xFFFF_FFFF
    before = file.f_pos
    if wide:
        data = file.getdents64(count)
    else:
        data = file.getdents_32(count) if task.compat else file.getdents(count)
    if isinstance(data, int):
        return data
    if copy_to_user(task.mm, buf, data):
        return len(data)
    file.lseek(before, 0)
    return -errno.EFAULT


def sys_getxattr(task: "Task", pathname: int, name: int, value: int, size: int) -> int:
    """getxattr(2) and lgetxattr(2): EOPNOTSUPP for a file that is there."""
    return no_xattr(task, pathname, -errno.EOPNOTSUPP)


def sys_fgetxattr(task: "Task", fd: int, name: int, value: int, size: int) -> int:
    """fgetxattr(2)."""
    return -errno.EBADF if fdget(task, fd) is None else -errno.EOPNOTSUPP


def sys_setxattr(task: "Task", pathname: int, name: int, value: int, size: int, flags: int) -> int:
    """setxattr(2) and lsetxattr(2)."""
    return no_xattr(task, pathname, -errno.EOPNOTSUPP)


def sys_fsetxattr(task: "Task", fd: int, name: int, value: int, size: int, flags: int) -> int:
    """fsetxattr(2)."""
    return -errno.EBADF if fdget(task, fd) is None else -errno.EOPNOTSUPP


def sys_listxattr(task: "Task", pathname: int, names: int, size: int) -> int:
    """listxattr(2) and llistxattr(2): an empty list."""
    return no_xattr(task, pathname, 0)


def sys_flistxattr(task: "Task", fd: int, names: int, size: int) -> int:
    """flistxattr(2)."""
    return -errno.EBADF if fdget(task, fd) is None else 0


def sys_removexattr(task: "Task", pathname: int, name: int) -> int:
    """removexattr(2) and lremovexattr(2)."""
    return no_xattr(task, pathname, -errno.EOPNOTSUPP)


def sys_fremovexattr(task: "Task", fd: int, name: int) -> int:
    """fremovexattr(2)."""
    return -errno.EBADF if fdget(task, fd) is None else -errno.EOPNOTSUPP


def no_xattr(task: "Task", pathname: int, answer: int) -> int:
    """``answer`` where the path leads to a file, the walk's error otherwise."""
    path = getname(task, pathname)
    if isinstance(path, int):
        return path
    found = vfs_statat(task.fs, task.files, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)
    return found if isinstance(found, int) else answer
