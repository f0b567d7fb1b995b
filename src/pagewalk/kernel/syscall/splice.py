"""splice, tee and vmsplice: bytes that move between pipes and files a page at a time.

Sources: splice(2), tee(2), vmsplice(2).

Mirrors: fs/splice.c (6.18)
Differs: pages are copied: what a program changes after vmsplice(2), or in a file after splice(2), a pipe does not show.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import O_APPEND, O_NONBLOCK, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from pagewalk.fs.file import WOULD_BLOCK, VfsFile
from pagewalk.fs.pipe import PipeFile
from pagewalk.fs.pipe_buffer import Pipe
from pagewalk.kernel.signal import ERESTARTSYS
from pagewalk.kernel.signal_send import send_signal, signal_pending
from pagewalk.kernel.signal_types import SI_USER, SIGPIPE, kill_info
from pagewalk.kernel.syscall.args import MAX_RW_COUNT, fdget, import_iovec
from pagewalk.kernel.syscall.rw import seekable, write_all
from pagewalk.kernel.syscall.sockmsg import total
from pagewalk.kernel.syscall.transfer import get_offset, put_offset
from pagewalk.kernel.wait import FOREVER, wait_for_file
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE
from pagewalk.mm.uaccess import copy_from_user_partial, copy_to_user_partial

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

SPLICE_F_NONBLOCK: Final = 2
SPLICE_F_ALL: Final = 0xF


def sys_splice(task: "Task", fd_in: int, off_in: int, fd_out: int, off_out: int, length: int, flags: int) -> int:
    """splice(2): one end at least is a pipe."""
    if length == 0:
        return 0
    flags &= 0xFFFF_FFFF
    if flags & ~SPLICE_F_ALL:
        return -errno.EINVAL
    source = fdget(task, fd_in)
    target = fdget(task, fd_out)
    if source is None or target is None:
        return -errno.EBADF
    ipipe = source.pipe if isinstance(source, PipeFile) else None
    opipe = target.pipe if isinstance(target, PipeFile) else None
    if (ipipe is not None and off_in) or (opipe is not None and off_out):
        return -errno.ESPIPE
    to = get_offset(task, off_out)
    at = get_offset(task, off_in)
    if at is None or to is None:
        return -errno.EFAULT
    if not source.f_mode & FMODE_READ or not target.f_mode & FMODE_WRITE:
        return -errno.EBADF
    length = min(length, MAX_RW_COUNT) if length > 0 else MAX_RW_COUNT
    if ipipe is not None and opipe is not None:
        if ipipe is opipe:
            return -errno.EINVAL
        nonblock = bool(flags & SPLICE_F_NONBLOCK or (source.f_flags | target.f_flags) & O_NONBLOCK)
        return pipe_to_pipe(task, ipipe, opipe, length, nonblock)
    if ipipe is not None:
        if (off_out and not seekable(target)) or target.f_flags & O_APPEND or (off_out and to < 0):
            return -errno.EINVAL
        nonblock = bool(flags & SPLICE_F_NONBLOCK or source.f_flags & O_NONBLOCK)
        done = pipe_to_file(task, ipipe, target, to, length, nonblock)
    elif opipe is not None:
        if off_in and (not seekable(source) or at < 0):
            return -errno.EINVAL
        nonblock = bool(flags & SPLICE_F_NONBLOCK or target.f_flags & O_NONBLOCK)
        done = file_to_pipe(task, source, at, opipe, length, nonblock)
    else:
        return -errno.EINVAL
    if done > 0 and not (put_offset(task, off_in, at + done) and put_offset(task, off_out, to + done)):
        return -errno.EFAULT
    return done


def sys_tee(task: "Task", fd_in: int, fd_out: int, length: int, flags: int) -> int:
    """tee(2): both ends are pipes, and the first keeps its bytes."""
    flags &= 0xFFFF_FFFF
    if flags & ~SPLICE_F_ALL:
        return -errno.EINVAL
    if length == 0:
        return 0
    source = fdget(task, fd_in)
    target = fdget(task, fd_out)
    if source is None or target is None:
        return -errno.EBADF
    if not source.f_mode & FMODE_READ or not target.f_mode & FMODE_WRITE:
        return -errno.EBADF
    if not isinstance(source, PipeFile) or not isinstance(target, PipeFile) or source.pipe is target.pipe:
        return -errno.EINVAL
    nonblock = bool(flags & SPLICE_F_NONBLOCK or (source.f_flags | target.f_flags) & O_NONBLOCK)
    error = wait_for_data(task, source.pipe, nonblock)
    if error == 0:
        error = wait_for_space(task, target.pipe, nonblock)
    if error < 0:
        return error
    done = target.pipe.link_from(source.pipe, min(length, MAX_RW_COUNT) if length > 0 else MAX_RW_COUNT)
    if done:
        target.pipe.rd_wait.wake_up(POLLIN | POLLRDNORM)
    return done


def broken_pipe(task: "Task") -> int:
    """SIGPIPE; EPIPE."""
    send_signal(task, kill_info(SIGPIPE, SI_USER, task.tgid, task.uid), group=False)
    return -errno.EPIPE


def wait_for_data(task: "Task", pipe: Pipe, nonblock: bool) -> int:
    """ipipe_prep: waits until there is something, or nobody who writes: 0, -EAGAIN, -ERESTARTSYS."""
    while pipe.empty() and pipe.writers:
        if signal_pending(task):
            return -ERESTARTSYS
        if nonblock:
            return -errno.EAGAIN
        task.kernel.wait(task, FOREVER, [], [pipe.rd_wait], "pipe_wait_readable")
    return 0


def wait_for_space(task: "Task", pipe: Pipe, nonblock: bool) -> int:
    """Waits for a free slot: 0, -EPIPE with SIGPIPE, -EAGAIN, -ERESTARTSYS."""
    while True:
        if pipe.readers == 0:
            return broken_pipe(task)
        if not pipe.full():
            return 0
        if nonblock:
            return -errno.EAGAIN
        if signal_pending(task):
            return -ERESTARTSYS
        task.kernel.wait(task, FOREVER, [], [pipe.wr_wait], "pipe_wait_writable")


def pipe_to_pipe(task: "Task", ipipe: Pipe, opipe: Pipe, length: int, nonblock: bool) -> int:
    """Moves slots."""
    while True:
        error = wait_for_data(task, ipipe, nonblock)
        if error == 0:
            error = wait_for_space(task, opipe, nonblock)
        if error < 0:
            return error
        done = opipe.move_from(ipipe, length)
        if done or not ipipe.writers:
            break
    if done:
        opipe.rd_wait.wake_up(POLLIN | POLLRDNORM)
        ipipe.wr_wait.wake_up(POLLOUT | POLLWRNORM)
    return done


def pipe_to_file(task: "Task", pipe: Pipe, target: VfsFile, to: int, length: int, nonblock: bool) -> int:
    """Writes what is in the pipe, up to ``length`` bytes; waits only while it has nothing."""
    if not target.can_splice():
        return -errno.EINVAL
    error = wait_for_data(task, pipe, nonblock)
    if error < 0:
        return error
    done = 0
    while done < length and not pipe.empty():
        data = pipe.bufs[0].peek(length - done)
        put = write_all(task, target, data, to + done if to >= 0 else -1)
        if put < 0:
            return done or put
        pipe.take(put)
        done += put
        if put < len(data):
            break
    if done:
        pipe.wr_wait.wake_up(POLLOUT | POLLWRNORM)
    return done


def file_to_pipe(task: "Task", source: VfsFile, at: int, pipe: Pipe, length: int, nonblock: bool) -> int:
    """Reads into free slots, each of which gets what lies in one page of the file."""
    if not source.can_splice():
        return -errno.EINVAL
    error = wait_for_space(task, pipe, nonblock)
    if error < 0:
        return error
    free = pipe.max_usage - len(pipe.bufs)
    page_size = pipe.page_size
    start = 0
    if source.mapping is not None:
        start = (at if at >= 0 else int(source.f_pos)) % page_size
    data: bytes | int
    while True:
        data = source.read(min(length, free * page_size, free * page_size - start), at)
        if data != WOULD_BLOCK:
            break
        if nonblock:
            return -errno.EAGAIN
        error = wait_for_file(task, source, POLLIN)
        if error < 0:
            return error
    if isinstance(data, int):
        return data
    done = 0
    while done < len(data):
        part = data[done : done + page_size - (start if done == 0 else 0)]
        pipe.put_page(part)
        done += len(part)
    if done:
        pipe.rd_wait.wake_up(POLLIN | POLLRDNORM)
    return done


def sys_vmsplice(task: "Task", fd: int, vec: int, count: int, flags: int) -> int:
    """vmsplice(2): into a pipe open for writing, out of one open for reading."""
    flags &= 0xFFFF_FFFF
    if flags & ~SPLICE_F_ALL:
        return -errno.EINVAL
    file = fdget(task, fd)
    if file is None or not file.f_mode & (FMODE_READ | FMODE_WRITE):
        return -errno.EBADF
    vectors = import_iovec(task, vec, count)
    if isinstance(vectors, int):
        return vectors
    if not total(vectors):
        return 0
    if not isinstance(file, PipeFile):
        return -errno.EBADF
    nonblock = bool(flags & SPLICE_F_NONBLOCK)
    if file.f_mode & FMODE_WRITE:
        return user_to_pipe(task, file.pipe, vectors, nonblock)
    return pipe_to_user(task, file.pipe, vectors, nonblock)


def user_to_pipe(task: "Task", pipe: Pipe, vectors: list[tuple[int, int]], nonblock: bool) -> int:
    """A slot for each page of each buffer, as far as there are any."""
    error = wait_for_space(task, pipe, nonblock)
    if error < 0:
        return error
    done = 0
    for base, length in vectors:
        at = base
        while at < base + length and not pipe.full():
            size = min(pipe.page_size - at % pipe.page_size, base + length - at)
            data = copy_from_user_partial(task.mm, at, size)
            if len(data) < size:
                return done or -errno.EFAULT
            pipe.put_page(data)
            done += size
            at += size
    if done:
        pipe.rd_wait.wake_up(POLLIN | POLLRDNORM)
    return done


def pipe_to_user(task: "Task", pipe: Pipe, vectors: list[tuple[int, int]], nonblock: bool) -> int:
    """As a read of what is there."""
    error = wait_for_data(task, pipe, nonblock)
    if error < 0:
        return error
    done = 0
    for base, length in vectors:
        data = pipe.take(length)
        stored = int(copy_to_user_partial(task.mm, base, data))
        pipe.put_back(data[stored:])
        done += stored
        if stored < len(data):
            return done or -errno.EFAULT
        if len(data) < length:
            break
    if done:
        pipe.wr_wait.wake_up(POLLOUT | POLLWRNORM)
    return done
