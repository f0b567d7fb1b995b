"""read, write and their vector and positioned forms.

Mirrors: fs/read_write.c (6.18)
Differs: what has no pages (pipes, terminals) is moved in pieces of at most 1 MiB; RWF_* flags change nothing but where
    Linux refuses them.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import POLLIN, POLLOUT
from pagewalk.fs.file import WOULD_BLOCK
from pagewalk.fs.fsnotify import fsnotify_access, fsnotify_modify
from pagewalk.fs.regular import RegularFile
from pagewalk.fs.socket import SocketFile
from pagewalk.kernel.signal_send import send_signal
from pagewalk.kernel.signal_types import SI_USER, SIGPIPE, SIGXFSZ, kill_info
from pagewalk.kernel.syscall.args import MAX_RW_COUNT, access_ok, fdget, import_iovec
from pagewalk.kernel.syscall.sockmsg import socket_read, socket_write, total
from pagewalk.kernel.wait import host_fd, wait_for_file
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE
from pagewalk.mm.iov_iter import IovIter
from pagewalk.mm.uaccess import copy_from_user_partial, copy_to_user_partial

if TYPE_CHECKING:
    from pagewalk.fs.file import VfsFile
    from pagewalk.kernel.task import Task

CHUNK: Final = 1 << 20

RWF_APPEND: Final = 0x10
RWF_SUPPORTED: Final = 0x1 | 0x2 | 0x4 | 0x8 | RWF_APPEND | 0x20


def sys_read(task: "Task", fd: int, buf: int, count: int) -> int:
    """read(2)."""
    file = fdget(task, fd)
    if file is None or not file.f_mode & FMODE_READ:
        return -errno.EBADF
    if not access_ok(task, buf, count):
        return -errno.EFAULT
    return fsnotify_access(file, task.ioac.count_read(read_to_user(task, file, buf, min(count, MAX_RW_COUNT), -1)))


def sys_write(task: "Task", fd: int, buf: int, count: int) -> int:
    """write(2)."""
    file = fdget(task, fd)
    if file is None or not file.f_mode & FMODE_WRITE:
        return -errno.EBADF
    if not access_ok(task, buf, count):
        return -errno.EFAULT
    return fsnotify_modify(file, task.ioac.count_write(write_from_user(task, file, buf, min(count, MAX_RW_COUNT), -1)))


def sys_pread64(task: "Task", fd: int, buf: int, count: int, pos: int) -> int:
    """pread(2)."""
    if pos < 0:
        return -errno.EINVAL
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    if not seekable(file):
        return -errno.ESPIPE
    if not file.f_mode & FMODE_READ:
        return -errno.EBADF
    if not access_ok(task, buf, count):
        return -errno.EFAULT
    return fsnotify_access(file, task.ioac.count_read(read_to_user(task, file, buf, min(count, MAX_RW_COUNT), pos)))


def sys_pwrite64(task: "Task", fd: int, buf: int, count: int, pos: int) -> int:
    """pwrite(2)."""
    if pos < 0:
        return -errno.EINVAL
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    if not seekable(file):
        return -errno.ESPIPE
    if not file.f_mode & FMODE_WRITE:
        return -errno.EBADF
    if not access_ok(task, buf, count):
        return -errno.EFAULT
    return fsnotify_modify(file, task.ioac.count_write(write_from_user(task, file, buf, min(count, MAX_RW_COUNT), pos)))


def sys_readv(task: "Task", fd: int, vec: int, vlen: int) -> int:
    """readv(2)."""
    file = fdget(task, fd)
    if file is None or not file.f_mode & FMODE_READ:
        return -errno.EBADF
    return fsnotify_access(file, task.ioac.count_read(readv(task, file, vec, vlen, -1)))


def sys_writev(task: "Task", fd: int, vec: int, vlen: int) -> int:
    """writev(2)."""
    file = fdget(task, fd)
    if file is None or not file.f_mode & FMODE_WRITE:
        return -errno.EBADF
    return fsnotify_modify(file, task.ioac.count_write(writev(task, file, vec, vlen, -1)))


def sys_preadv(task: "Task", fd: int, vec: int, vlen: int, pos: int, high: int) -> int:
    """preadv(2); the high half of the position is unused on 64-bit machines."""
    if pos < 0:
        return -errno.EINVAL
    return positioned(task, fd, vec, vlen, pos, writing=False)


def sys_pwritev(task: "Task", fd: int, vec: int, vlen: int, pos: int, high: int) -> int:
    """pwritev(2)."""
    if pos < 0:
        return -errno.EINVAL
    return positioned(task, fd, vec, vlen, pos, writing=True)


def sys_preadv2(task: "Task", fd: int, vec: int, vlen: int, pos: int, high: int, flags: int) -> int:
    """preadv2(2): position -1 is the file's own."""
    return vector2(task, fd, vec, vlen, pos, flags, writing=False)


def sys_pwritev2(task: "Task", fd: int, vec: int, vlen: int, pos: int, high: int, flags: int) -> int:
    """pwritev2(2)."""
    return vector2(task, fd, vec, vlen, pos, flags, writing=True)


def vector2(task: "Task", fd: int, vec: int, vlen: int, pos: int, flags: int, writing: bool) -> int:
    """preadv2 and pwritev2."""
    if pos < -1:
        return -errno.EINVAL
    if flags & ~RWF_SUPPORTED:
        return -errno.EBADF if fdget(task, fd) is None else -errno.EOPNOTSUPP
    if pos >= 0:
        return positioned(task, fd, vec, vlen, pos, writing)
    return sys_writev(task, fd, vec, vlen) if writing else sys_readv(task, fd, vec, vlen)


def positioned(task: "Task", fd: int, vec: int, vlen: int, pos: int, writing: bool) -> int:
    """preadv and pwritev."""
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    if not seekable(file):
        return -errno.ESPIPE
    if not file.f_mode & (FMODE_WRITE if writing else FMODE_READ):
        return -errno.EBADF
    if writing:
        return fsnotify_modify(file, task.ioac.count_write(writev(task, file, vec, vlen, pos)))
    return fsnotify_access(file, task.ioac.count_read(readv(task, file, vec, vlen, pos)))


def seekable(file: "VfsFile") -> bool:
    """Whether the file has positions (FMODE_PREAD)."""
    return file.can_pread()


def readv(task: "Task", file: "VfsFile", vec: int, vlen: int, pos: int) -> int:
    """Fills the buffers one after the other; a short read ends it."""
    vectors = import_iovec(task, vec, vlen)
    if isinstance(vectors, int):
        return vectors
    if isinstance(file, RegularFile):
        return file.read_iter(IovIter(task.mm, vectors), pos)
    if isinstance(file, SocketFile):
        return socket_read(task, file, vectors)
    if total(vectors) <= CHUNK:
        return read_scattered(task, file, vectors, pos)
    done = 0
    for base, length in vectors:
        if length == 0:
            continue
        got = read_to_user(task, file, base, length, pos + done if pos >= 0 else -1, wait=done == 0)
        if got < 0:
            return done or got
        done += got
        if got < length:
            break
    return done


def read_scattered(task: "Task", file: "VfsFile", vectors: list[tuple[int, int]], pos: int) -> int:
    """One read of what all buffers hold together."""
    if host_fd(file) >= 0 and not file.nonblock:
        error = wait_for_file(task, file, POLLIN)
        if error < 0:
            return error
    while True:
        data = file.read(total(vectors), pos)
        if not isinstance(data, int):
            break
        if data != WOULD_BLOCK:
            return data
        error = wait_for_file(task, file, POLLIN)
        if error < 0:
            return error
    done = 0
    for base, length in vectors:
        part = data[done : done + length]
        stored = int(copy_to_user_partial(task.mm, base, part))
        done += stored
        if stored < len(part):
            if pos < 0:
                file.unread(data[done:])
            return done or -errno.EFAULT
    return done


def writev(task: "Task", file: "VfsFile", vec: int, vlen: int, pos: int) -> int:
    """Writes the buffers as one piece."""
    vectors = import_iovec(task, vec, vlen)
    if isinstance(vectors, int):
        return vectors
    if isinstance(file, RegularFile):
        return told_of_limit(task, file.write_iter(IovIter(task.mm, vectors), pos))
    if isinstance(file, SocketFile):
        return socket_write(task, file, vectors)
    size = total(vectors)
    if size <= CHUNK:
        pieces = []
        for base, length in vectors:
            piece = copy_from_user_partial(task.mm, base, length)
            pieces.append(piece)
            if len(piece) < length:
                break
        data = b"".join(pieces)
        if size and not data:
            return -errno.EFAULT
        return write_all(task, file, data, pos)
    done = 0
    for base, length in vectors:
        if length == 0:
            continue
        put = write_from_user(task, file, base, length, pos + done if pos >= 0 else -1)
        if put < 0:
            return done or put
        done += put
        if put < length:
            break
    return done


def read_to_user(task: "Task", file: "VfsFile", buf: int, count: int, pos: int, wait: bool = True) -> int:
    """Up to ``count`` bytes of ``file`` to ``buf``; bytes, or a negative errno where there are none."""
    if isinstance(file, RegularFile):
        return file.read_iter(IovIter(task.mm, [(buf, count)]), pos)
    if isinstance(file, SocketFile):
        return socket_read(task, file, [(buf, count)])
    done = 0
    waits = wait and host_fd(file) >= 0 and not file.nonblock
    while True:
        if waits:  # the host's read could not be interrupted by the program's own timers
            error = wait_for_file(task, file, POLLIN)
            if error < 0:
                return done or error
            waits = False
        size = min(count - done, CHUNK)
        data = file.read(size, pos + done if pos >= 0 else -1)
        if isinstance(data, int):
            if data != WOULD_BLOCK:
                return done or data
            if done or not wait:
                return done or -errno.EAGAIN
            error = wait_for_file(task, file, POLLIN)
            if error < 0:
                return error
            continue
        got = len(data)
        if got:
            stored = int(copy_to_user_partial(task.mm, buf + done, data))
            if stored < got:
                if pos < 0:
                    file.unread(data[stored:])
                return done + stored or -errno.EFAULT
        done += got
        if got < size or done >= count or host_fd(file) >= 0:
            return done


def write_from_user(task: "Task", file: "VfsFile", buf: int, count: int, pos: int) -> int:
    """Up to ``count`` bytes from ``buf`` to ``file``; bytes, or a negative errno where there were none."""
    if isinstance(file, RegularFile):
        return told_of_limit(task, file.write_iter(IovIter(task.mm, [(buf, count)]), pos))
    if isinstance(file, SocketFile):
        return socket_write(task, file, [(buf, count)])
    done = 0
    while True:
        size = min(count - done, CHUNK)
        data = copy_from_user_partial(task.mm, buf + done, size)
        if size and not data:
            return done or -errno.EFAULT
        put = write_all(task, file, data, pos + done if pos >= 0 else -1)
        if put < 0:
            return done or put
        done += put
        if put < size or done >= count:
            return done


def told_of_limit(task: "Task", done: int) -> int:
    """A write that met RLIMIT_FSIZE or the largest size of a file raises SIGXFSZ; hands ``done`` on."""
    if done == -errno.EFBIG:
        send_signal(task, kill_info(SIGXFSZ, SI_USER, task.tgid, task.uid), group=False)
    return done


def write_all(task: "Task", file: "VfsFile", data: bytes, pos: int) -> int:
    """Writes ``data``, waiting where the file is full; bytes, or a negative errno where there were none."""
    done = 0
    while True:
        put = file.write(data[done:] if done else data, pos + done if pos >= 0 else -1)
        if put == WOULD_BLOCK:
            error = wait_for_file(task, file, POLLOUT)
            if error < 0:
                return done or error
            continue
        if put < 0:
            if put == -errno.EPIPE:
                send_signal(task, kill_info(SIGPIPE, SI_USER, task.tgid, task.uid), group=False)
            return done or told_of_limit(task, put)
        done += put
        if put == 0 or done >= len(data) or file.nonblock or not file.write_goes_on():
            return done
