"""System calls that take a path: names made, removed, renamed, linked; modes, owners, times; the working directory.

Mirrors: fs/namei.c, fs/open.c, fs/utimes.c, fs/d_path.c (6.18)
Differs: nothing here; see fs/ for what the file systems cannot do.
"""

import errno
import os
from typing import TYPE_CHECKING

from pagewalk.fs.dir_ops import (
    do_linkat,
    do_mkdirat,
    do_mknodat,
    do_renameat2,
    do_rmdirat,
    do_symlinkat,
    do_unlinkat,
)
from pagewalk.fs.fcntl import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_NOFOLLOW,
    UTIME_NOW,
    UTIME_OMIT,
)
from pagewalk.fs.open import (
    do_chdir,
    do_chroot,
    do_faccessat,
    do_fchdir,
    do_fchmod,
    do_fchmodat,
    do_fchown,
    do_fchownat,
    do_futimens,
    do_truncate,
    do_utimensat,
    getcwd,
)
from pagewalk.kernel.syscall.args import NSEC, fdget, fdget_raw, getname, read_longs, read_times
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


def sys_mkdir(task: "Task", pathname: int, mode: int) -> int:
    """mkdir(2)."""
    return sys_mkdirat(task, AT_FDCWD, pathname, mode)


def sys_mkdirat(task: "Task", dfd: int, pathname: int, mode: int) -> int:
    """mkdirat(2)."""
    path = getname(task, pathname)
    return path if isinstance(path, int) else do_mkdirat(task.fs, task.files, signed32(dfd), path, mode & 0xFFFF)


def sys_mknod(task: "Task", pathname: int, mode: int, dev: int) -> int:
    """mknod(2)."""
    return sys_mknodat(task, AT_FDCWD, pathname, mode, dev)


def sys_mknodat(task: "Task", dfd: int, pathname: int, mode: int, dev: int) -> int:
    """mknodat(2)."""
    path = getname(task, pathname)
    if isinstance(path, int):
        return path
    numbers = (dev >> 8 & 0xFFF, dev & 0xFF | dev >> 12 & 0xFFF00)
    return do_mknodat(task.fs, task.files, signed32(dfd), path, mode & 0xFFFF, numbers)


def sys_rmdir(task: "Task", pathname: int) -> int:
    """rmdir(2)."""
    path = getname(task, pathname)
    return path if isinstance(path, int) else do_rmdirat(task.fs, task.files, AT_FDCWD, path)


def sys_unlink(task: "Task", pathname: int) -> int:
    """unlink(2)."""
    path = getname(task, pathname)
    return path if isinstance(path, int) else do_unlinkat(task.fs, task.files, AT_FDCWD, path)


def sys_unlinkat(task: "Task", dfd: int, pathname: int, flags: int) -> int:
    """unlinkat(2)."""
    flags = signed32(flags)
    if flags & ~AT_REMOVEDIR:
        return -errno.EINVAL
    path = getname(task, pathname)
    if isinstance(path, int):
        return path
    if flags & AT_REMOVEDIR:
        return do_rmdirat(task.fs, task.files, signed32(dfd), path)
    return do_unlinkat(task.fs, task.files, signed32(dfd), path)


def sys_rename(task: "Task", old: int, new: int) -> int:
    """rename(2)."""
    return sys_renameat2(task, AT_FDCWD, old, AT_FDCWD, new, 0)


def sys_renameat(task: "Task", olddfd: int, old: int, newdfd: int, new: int) -> int:
    """renameat(2)."""
    return sys_renameat2(task, olddfd, old, newdfd, new, 0)


def sys_renameat2(task: "Task", olddfd: int, old: int, newdfd: int, new: int, flags: int) -> int:
    """renameat2(2)."""
    source = getname(task, old)
    if isinstance(source, int):
        return source
    target = getname(task, new)
    if isinstance(target, int):
        return target
    return do_renameat2(task.fs, task.files, signed32(olddfd), source, signed32(newdfd), target, flags & 0xFFFF_FFFF)


def sys_link(task: "Task", old: int, new: int) -> int:
    """link(2)."""
    return sys_linkat(task, AT_FDCWD, old, AT_FDCWD, new, 0)


def sys_linkat(task: "Task", olddfd: int, old: int, newdfd: int, new: int, flags: int) -> int:
    """linkat(2)."""
    source = getname(task, old)
    if isinstance(source, int):
        return source
    target = getname(task, new)
    if isinstance(target, int):
        return target
    return do_linkat(task.fs, task.files, signed32(olddfd), source, signed32(newdfd), target, signed32(flags))


def sys_symlink(task: "Task", target: int, linkpath: int) -> int:
    """symlink(2)."""
    return sys_symlinkat(task, target, AT_FDCWD, linkpath)


def sys_symlinkat(task: "Task", target: int, dfd: int, linkpath: int) -> int:
    """symlinkat(2)."""
    contents = getname(task, target)
    if isinstance(contents, int):
        return contents
    path = getname(task, linkpath)
    if isinstance(path, int):
        return path
    return do_symlinkat(task.fs, task.files, contents, signed32(dfd), path)


def sys_chmod(task: "Task", pathname: int, mode: int) -> int:
    """chmod(2)."""
    return sys_fchmodat2(task, AT_FDCWD, pathname, mode, 0)


def sys_fchmodat(task: "Task", dfd: int, pathname: int, mode: int) -> int:
    """fchmodat(2) as the kernel has it: without flags."""
    return sys_fchmodat2(task, dfd, pathname, mode, 0)


def sys_fchmodat2(task: "Task", dfd: int, pathname: int, mode: int, flags: int) -> int:
    """fchmodat2(2)."""
    flags = signed32(flags)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    path = getname(task, pathname)
    if isinstance(path, int):
        return path
    return do_fchmodat(task.fs, task.files, signed32(dfd), path, mode & 0o7777, flags)


def sys_fchmod(task: "Task", fd: int, mode: int) -> int:
    """fchmod(2)."""
    file = fdget(task, fd)
    return -errno.EBADF if file is None else do_fchmod(task.fs, file, mode & 0o7777)


def sys_chown(task: "Task", pathname: int, uid: int, gid: int) -> int:
    """chown(2)."""
    return sys_fchownat(task, AT_FDCWD, pathname, uid, gid, 0)


def sys_lchown(task: "Task", pathname: int, uid: int, gid: int) -> int:
    """lchown(2)."""
    return sys_fchownat(task, AT_FDCWD, pathname, uid, gid, AT_SYMLINK_NOFOLLOW)


def sys_fchownat(task: "Task", dfd: int, pathname: int, uid: int, gid: int, flags: int) -> int:
    """fchownat(2)."""
    flags = signed32(flags)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    path = getname(task, pathname)
    if isinstance(path, int):
        return path
    return do_fchownat(task.fs, task.files, signed32(dfd), path, signed32(uid), signed32(gid), flags)


def sys_fchown(task: "Task", fd: int, uid: int, gid: int) -> int:
    """fchown(2)."""
    file = fdget(task, fd)
    return -errno.EBADF if file is None else do_fchown(task.fs, file, signed32(uid), signed32(gid))


def sys_access(task: "Task", pathname: int, mode: int) -> int:
    """access(2)."""
    return sys_faccessat2(task, AT_FDCWD, pathname, mode, 0)


def sys_faccessat(task: "Task", dfd: int, pathname: int, mode: int) -> int:
    """faccessat(2) as the kernel has it: without flags."""
    return sys_faccessat2(task, dfd, pathname, mode, 0)


def sys_faccessat2(task: "Task", dfd: int, pathname: int, mode: int, flags: int) -> int:
    """faccessat2(2): with the real ids unless AT_EACCESS."""
    mode = signed32(mode)
    flags = signed32(flags)
    if mode & ~7 or flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    path = getname(task, pathname)
    if isinstance(path, int):
        return path
    cred = task.fs.cred
    if not flags & AT_EACCESS:
        cred.fsuid = task.uid
        cred.fsgid = task.gid
        cred.capable = task.uid == 0
    answer = do_faccessat(task.fs, task.files, signed32(dfd), path, mode, flags)
    task.sync_cred()
    return answer


def sys_truncate(task: "Task", pathname: int, length: int) -> int:
    """truncate(2)."""
    if length < 0:
        return -errno.EINVAL
    path = getname(task, pathname)
    return path if isinstance(path, int) else do_truncate(task.fs, task.files, AT_FDCWD, path, length)


def sys_utimensat(task: "Task", dfd: int, pathname: int, times: int, flags: int) -> int:
    """utimensat(2); futimens(3) where ``pathname`` is NULL."""
    atime = mtime = UTIME_NOW
    if times:
        words = read_times(task, times, 4)
        if words is None:
            return -errno.EFAULT
        if words[1] == UTIME_OMIT and words[3] == UTIME_OMIT:
            return 0
        stamps = [utimens_ns(words[0], words[1]), utimens_ns(words[2], words[3])]
        if stamps[0] is None or stamps[1] is None:
            return -errno.EINVAL
        atime, mtime = stamps[0], stamps[1]
    return utimes(task, dfd, pathname, atime, mtime, signed32(flags))


def utimens_ns(seconds: int, nanoseconds: int) -> int | None:
    """A stamp of utimensat: nanoseconds, UTIME_NOW or UTIME_OMIT; None for an invalid one."""
    if nanoseconds in (UTIME_NOW, UTIME_OMIT):
        return nanoseconds
    return seconds * NSEC + nanoseconds if 0 <= nanoseconds < NSEC else None


def utimes(task: "Task", dfd: int, pathname: int, atime: int, mtime: int, flags: int) -> int:
    """do_utimes: by path, or by descriptor where there is none."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    if pathname == 0 and signed32(dfd) != AT_FDCWD:
        if flags:
            return -errno.EINVAL
        file = fdget(task, dfd)
        return -errno.EBADF if file is None else do_futimens(task.fs, file, atime, mtime)
    path = getname(task, pathname)
    if isinstance(path, int):
        return path
    return do_utimensat(task.fs, task.files, signed32(dfd), path, atime, mtime, flags)


def sys_futimesat(task: "Task", dfd: int, pathname: int, times: int) -> int:
    """futimesat(2)."""
    atime = mtime = UTIME_NOW
    if times:
        words = read_longs(task, times, 4)
        if words is None:
            return -errno.EFAULT
        if not 0 <= words[1] < 1_000_000 or not 0 <= words[3] < 1_000_000:
            return -errno.EINVAL
        atime = words[0] * NSEC + words[1] * 1000
        mtime = words[2] * NSEC + words[3] * 1000
    return utimes(task, dfd, pathname, atime, mtime, 0)


def sys_utimes(task: "Task", pathname: int, times: int) -> int:
    """utimes(2)."""
    return sys_futimesat(task, AT_FDCWD, pathname, times)


def sys_utime(task: "Task", pathname: int, times: int) -> int:
    """utime(2)."""
    atime = mtime = UTIME_NOW
    if times:
        words = read_longs(task, times, 2)
        if words is None:
            return -errno.EFAULT
        atime = words[0] * NSEC
        mtime = words[1] * NSEC
    return utimes(task, AT_FDCWD, pathname, atime, mtime, 0)


def sys_chdir(task: "Task", pathname: int) -> int:
    """chdir(2)."""
    path = getname(task, pathname)
    return path if isinstance(path, int) else do_chdir(task.fs, task.files, path)


def sys_fchdir(task: "Task", fd: int) -> int:
    """fchdir(2)."""
    file = fdget_raw(task, fd)
    return -errno.EBADF if file is None else do_fchdir(task.fs, file)


def sys_chroot(task: "Task", pathname: int) -> int:
    """chroot(2)."""
    path = getname(task, pathname)
    return path if isinstance(path, int) else do_chroot(task.fs, task.files, path)


def sys_getcwd(task: "Task", buf: int, size: int) -> int:
    """getcwd(2): the length with its NUL."""
    path = getcwd(task.fs)
    if isinstance(path, int):
        return path
    data = os.fsencode(path) + b"\0"
    if len(data) > 4096:
        return -errno.ENAMETOOLONG
    if size >= 0 and len(data) > size:
        return -errno.ERANGE
    return len(data) if copy_to_user(task.mm, buf, data) else -errno.EFAULT


def sys_umask(task: "Task", mask: int) -> int:
    """umask(2)."""
    old = task.fs.umask
    task.fs.umask = mask & 0o777
    return old
