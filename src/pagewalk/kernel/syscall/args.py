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
from pagewalk.mm.uaccess import copy_from_user, copy_to_user, strncpy_from_user, user_addr

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
    """Whether a buffer lies in user space at all: below TASK_SIZE_MAX, also for a 32-bit program."""
    addr = user_addr(task.mm, addr)
    return 0 <= addr <= task.kernel.task_size - length if length >= 0 else False


def import_iovec(task: "Task", addr: int, count: int) -> list[tuple[int, int]] | int:
    """(address, length) of each buffer of an iovec array; lengths are cut at MAX_RW_COUNT in all. Or a negative
    errno."""
    if count < 0 or count > UIO_MAXIOV:
        return -errno.EINVAL
    words = read_longs(task, addr, count * 2)
    if words is None:
        return -errno.EFAULT
    vectors: list[tuple[int, int]] = []
    total = 0
    for index in range(count):
        base: int = words[index * 2]
        if task.compat:
            base &= 0xFFFF_FFFF
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
    words = read_times(task, addr, 2)
    return None if words is None else (words[0], words[1])


def timespec_ns(seconds: int, nanoseconds: int) -> int:
    """Nanoseconds of a valid timespec (at most KTIME_MAX), -1 for an invalid one."""
    if seconds < 0 or nanoseconds < 0 or nanoseconds >= NSEC:
        return -1
    return min(seconds * NSEC + nanoseconds, KTIME_MAX)


def put_timespec(task: "Task", addr: int, nanoseconds: int) -> bool:
    """Writes a struct timespec; False for EFAULT."""
    return write_times(task, addr, (nanoseconds // NSEC, nanoseconds % NSEC))


def put_timeval(task: "Task", addr: int, nanoseconds: int) -> bool:
    """Writes a struct timeval; False for EFAULT."""
    return write_longs(task, addr, (nanoseconds // NSEC, nanoseconds % NSEC // 1000))


# Structures that are rows of C's long: 8 bytes each, 4 in a 32-bit system call.


def long_size(task: "Task") -> int:
    """Bytes of a long, and of a pointer, of the program that makes the system call under way."""
    return 4 if task.compat else 8


def read_longs(task: "Task", addr: int, count: int) -> tuple[int, ...] | None:
    """``count`` signed longs from user memory; None for EFAULT."""
    data = copy_from_user(task.mm, addr, count * long_size(task))
    return None if data is None else struct.unpack(f"<{count}{'i' if task.compat else 'q'}", data)


def write_longs(task: "Task", addr: int, values: "tuple[int, ...] | list[int]") -> bool:
    """Writes longs, of which a 32-bit program gets the low halves; False for EFAULT."""
    if task.compat:
        return copy_to_user(task.mm, addr, b"".join([(value & 0xFFFF_FFFF).to_bytes(4, "little") for value in values]))
    return copy_to_user(task.mm, addr, struct.pack(f"<{len(values)}q", *values))


def read_times(task: "Task", addr: int, count: int) -> tuple[int, ...] | None:
    """As ``read_longs``, for (tv_sec, tv_nsec) pairs: the later system calls of 32-bit programs have 64 bits for each,
    and leave the high half of tv_nsec undefined."""
    if not task.compat or task.time32:
        return read_longs(task, addr, count)
    data = copy_from_user(task.mm, addr, count * 8)
    if data is None:
        return None
    words = struct.unpack(f"<{count}q", data)
    return tuple([word & 0xFFFF_FFFF if index & 1 else word for index, word in enumerate(words)])


def write_times(task: "Task", addr: int, values: "tuple[int, ...] | list[int]") -> bool:
    """As ``write_longs``, for such pairs."""
    if not task.compat or task.time32:
        return write_longs(task, addr, values)
    return copy_to_user(task.mm, addr, struct.pack(f"<{len(values)}q", *values))
