"""inotify_init, inotify_add_watch, inotify_rm_watch.

Sources: inotify(7).

Mirrors: fs/notify/inotify/inotify_user.c (6.18)
Differs: nothing; ``fs/inotify.py`` has the rest.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.fcntl import AT_FDCWD, O_CLOEXEC, O_NONBLOCK, R_OK
from pagewalk.fs.fs_struct import inode_permission
from pagewalk.fs.inotify import (
    ALL_INOTIFY_BITS,
    IN_DONT_FOLLOW,
    IN_MASK_ADD,
    IN_MASK_CREATE,
    IN_ONLYDIR,
    InotifyFile,
)
from pagewalk.fs.namei import LOOKUP_DIRECTORY, LOOKUP_FOLLOW, filename_lookup
from pagewalk.kernel.syscall.args import fdget, getname
from pagewalk.kernel.word import signed32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


def sys_inotify_init(task: "Task") -> int:
    """inotify_init(2)."""
    return sys_inotify_init1(task, 0)


def sys_inotify_init1(task: "Task", flags: int) -> int:
    """inotify_init1(2)."""
    flags &= 0xFFFF_FFFF
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        return -errno.EINVAL
    file = InotifyFile(task.kernel.system, flags)
    fd = task.files.install(file, bool(flags & O_CLOEXEC))
    if fd < 0:
        file.put()
    return fd


def sys_inotify_add_watch(task: "Task", fd: int, pathname: int, mask: int) -> int:
    """inotify_add_watch(2)."""
    mask &= 0xFFFF_FFFF
    if mask & ~ALL_INOTIFY_BITS or not mask:
        return -errno.EINVAL
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    if mask & IN_MASK_ADD and mask & IN_MASK_CREATE:
        return -errno.EINVAL
    if not isinstance(file, InotifyFile):
        return -errno.EINVAL
    path = getname(task, pathname)
    if isinstance(path, int):
        return path
    how = (0 if mask & IN_DONT_FOLLOW else LOOKUP_FOLLOW) | (LOOKUP_DIRECTORY if mask & IN_ONLYDIR else 0)
    found = filename_lookup(task.fs, task.files, AT_FDCWD, path, how)
    if isinstance(found, int):
        return found
    error = inode_permission(task.fs.cred, found.inode, R_OK)
    return error if error < 0 else file.add_watch(found.inode, mask)


def sys_inotify_rm_watch(task: "Task", fd: int, wd: int) -> int:
    """inotify_rm_watch(2)."""
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    return file.rm_watch(signed32(wd)) if isinstance(file, InotifyFile) else -errno.EINVAL
