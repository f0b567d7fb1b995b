"""What system calls do with their arguments before they do anything else: descriptors, path names, vectors, times.

Mirrors: fs/namei.c (getname), lib/iov_iter.c (import_iovec), kernel/time/time.c (6.18)
Differs: a path name is a str (surrogateescape) from here on.
"""

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import PATH_MAX
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user, strncpy_from_user

if TYPE_CHECKING:
    from pagewalk.fs.file import VfsFile
    from pagewalk.kernel.task import Task

UIO_MAXIOV: Final = 1024
MAX_RW_COUNT: Final = 0x7FFF_F000
NSEC: Final = 1_000_000_000
KTIME_MAX: Final = (1 << 63) - 1


def fdget(task: "Task", fd: int) -> "VfsFile | None":
    """The open file of a descriptor argument, None for EBADF (O_PATH ones too)."""
    return task.files.get(signed32(fd))


def fdget_raw(task: "Task", fd: int) -> "VfsFile | None":
    """As fdget, with O_PATH ones."""
    return task.files.get_raw(signed32(fd))


def getname(task: "Task", addr: int) -> str | int:
    """A path name from user memory; -EFAULT, or -ENAMETOOLONG where it has no end within PATH_MAX."""
    name = strncpy_from_user(task.mm, addr, PATH_MAX)
    if isinstance(name, int):
        return name
    if len(name) >= PATH_MAX:
        return -errno.ENAMETOOLONG
    return os.fsdecode(name)


def access_ok(task: "Task", addr: int, length: int) -> bool:
    """Whether a buffer lies in user space at all."""
    return 0 <= addr <= task.mm.task_size - length if length >= 0 else False


def import_iovec(task: "Task", addr: int, count: int) -> list[tuple[int, int]] | int:
    """(address, length) of each buffer of an iovec array; lengths are cut at MAX_RW_COUNT in all. Or a negative
    errno."""
    if count < 0 or count > UIO_MAXIOV:
        return -errno.EINVAL
    data = copy_from_user(task.mm, addr, count * 16)
    if data is None:
        return -errno.EFAULT
    words = struct.unpack(f"<{count * 2}q", data)
    vectors: list[tuple[int, int]] = []
    total = 0
    for index in range(count):
        base: int = words[index * 2]
        length: int = words[index * 2 + 1]
        if length < 0:
            return -errno.EINVAL
        if not access_ok(task, base, length):
            return -errno.EFAULT
        length = min(length, MAX_RW_COUNT - total)
        total += length
        vectors.append((base, length))
    return vectors


def get_timespec(task: "Task", addr: int) -> tuple[int, int] | None:
    """(tv_sec, tv_nsec) from user memory, unchecked; None for EFAULT."""
    data = copy_from_user(task.mm, addr, 16)
    if data is None:
        return None
    seconds, nanoseconds = struct.unpack("<qq", data)
    return seconds, nanoseconds


def timespec_ns(seconds: int, nanoseconds: int) -> int:
    """Nanoseconds of a valid timespec (at most KTIME_MAX), -1 for an invalid one."""
    if seconds < 0 or nanoseconds < 0 or nanoseconds >= NSEC:
        return -1
    return min(seconds * NSEC + nanoseconds, KTIME_MAX)


def put_timespec(task: "Task", addr: int, nanoseconds: int) -> bool:
    """Writes a struct timespec; False for EFAULT."""
    return copy_to_user(task.mm, addr, struct.pack("<qq", nanoseconds // NSEC, nanoseconds % NSEC))


def put_timeval(task: "Task", addr: int, nanoseconds: int) -> bool:
    """Writes a struct timeval; False for EFAULT."""
    return copy_to_user(task.mm, addr, struct.pack("<qq", nanoseconds // NSEC, nanoseconds % NSEC // 1000))
