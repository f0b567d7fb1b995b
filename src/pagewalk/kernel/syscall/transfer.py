"""Calls that move bytes from one file to another: sendfile, copy_file_range. ``splice.py`` has those through pipes.

Mirrors: fs/read_write.c (6.18)
Differs: bytes are copied, never moved as pages.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.fcntl import O_APPEND, POLLIN
from pagewalk.fs.file import WOULD_BLOCK, VfsFile
from pagewalk.kernel.syscall.args import MAX_RW_COUNT, fdget
from pagewalk.kernel.syscall.rw import CHUNK, seekable, write_all
from pagewalk.kernel.wait import wait_for_file
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

S_IFMT = 0o170000
S_IFREG = 0o100000


def get_offset(task: "Task", addr: int) -> int | None:
    """A file position from user memory: -1 for a NULL pointer, None for EFAULT."""
    if addr == 0:
        return -1
    size = offset_size(task)
    data = copy_from_user(task.mm, addr, size)
    return None if data is None else int.from_bytes(data, "little", signed=True)


def put_offset(task: "Task", addr: int, value: int) -> bool:
    """Writes a file position back."""
    return addr == 0 or copy_to_user(task.mm, addr, value.to_bytes(offset_size(task), "little", signed=True))


def offset_size(task: "Task") -> int:
    """Bytes of the positions that the system call under way points to: the old calls of 32-bit programs have 4."""
    return 4 if task.compat and task.narrow_offset else 8


def move(task: "Task", source: VfsFile, at: int, target: VfsFile, to: int, count: int) -> int:
    """Copies up to ``count`` bytes; positions of -1 are the files' own. Bytes, or a negative errno where there are
    none."""
    return task.ioac.count_write(task.ioac.count_read(copy_range(task, source, at, target, to, count)))


def copy_range(task: "Task", source: VfsFile, at: int, target: VfsFile, to: int, count: int) -> int:
    """As ``move``, on nobody's account."""
    done = 0
    while done < count:
        size = min(count - done, CHUNK)
        data = source.read(size, at + done if at >= 0 else -1)
        if isinstance(data, int):
            if data == WOULD_BLOCK and not done:
                error = wait_for_file(task, source, POLLIN)
                if error < 0:
                    return error
                continue
            return done or (-errno.EAGAIN if data == WOULD_BLOCK else data)
        if not data:
            break
        put = write_all(task, target, data, to + done if to >= 0 else -1)
        if put < 0:
            return done or put
        done += put
        if put < len(data):
            if at < 0 and seekable(source):
                source.lseek(put - len(data), 1)
            break
    return done


def sys_sendfile(task: "Task", out_fd: int, in_fd: int, offset: int, count: int) -> int:
    """sendfile(2)."""
    at = get_offset(task, offset)
    if at is None:
        return -errno.EFAULT
    source = fdget(task, in_fd)
    if source is None or not source.f_mode & FMODE_READ:
        return -errno.EBADF
    if offset and not seekable(source):
        return -errno.ESPIPE
    if offset and at < 0:
        return -errno.EINVAL
    target = fdget(task, out_fd)
    if target is None or not target.f_mode & FMODE_WRITE:
        return -errno.EBADF
    if count < 0 or source.inode.i_mode & S_IFMT not in (S_IFREG, 0o060000) or target.f_flags & O_APPEND:
        return -errno.EINVAL
    done = move(task, source, at, target, -1, min(count, MAX_RW_COUNT))
    if done > 0 and offset and not put_offset(task, offset, at + done):
        return -errno.EFAULT
    return done


def sys_copy_file_range(
    task: "Task", fd_in: int, off_in: int, fd_out: int, off_out: int, length: int, flags: int
) -> int:
    """copy_file_range(2)."""
    source = fdget(task, fd_in)
    target = fdget(task, fd_out)
    if source is None or target is None:
        return -errno.EBADF
    at = get_offset(task, off_in)
    to = get_offset(task, off_out)
    if at is None or to is None:
        return -errno.EFAULT
    if flags & 0xFFFF_FFFF:
        return -errno.EINVAL
    if source.inode.is_dir() or target.inode.is_dir():
        return -errno.EISDIR
    if not source.inode.is_reg() or not target.inode.is_reg():
        return -errno.EINVAL
    if not source.f_mode & FMODE_READ or not target.f_mode & FMODE_WRITE or target.f_flags & O_APPEND:
        return -errno.EBADF
    if source.st_dev != target.st_dev:
        return -errno.EXDEV
    if length < 0 or (off_in and at < 0) or (off_out and to < 0):
        return -errno.EINVAL
    if source.inode is target.inode:
        start = at if off_in else int(source.f_pos)
        goal = to if off_out else int(target.f_pos)
        if goal + length > start and goal < start + length:
            return -errno.EINVAL
    done = move(task, source, at, target, to, min(length, MAX_RW_COUNT))
    if done > 0:
        if off_in and not put_offset(task, off_in, at + done):
            return -errno.EFAULT
        if off_out and not put_offset(task, off_out, to + done):
            return -errno.EFAULT
    return done
