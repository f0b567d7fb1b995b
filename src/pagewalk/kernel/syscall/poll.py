"""poll and select, and ioctl.

Mirrors: fs/select.c, fs/ioctl.c (6.18)
Differs: readiness is asked anew after each wait.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.fcntl import O_ASYNC, O_NONBLOCK, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI
from pagewalk.fs.ioctl import FIOASYNC, FIOCLEX, FIONBIO, FIONCLEX, ioctl_sizes
from pagewalk.fs.wait import WaitQueueHead
from pagewalk.kernel.signal import ERESTARTNOHAND, signal_pending
from pagewalk.kernel.syscall.args import (
    fdget,
    get_timespec,
    long_size,
    put_timespec,
    put_timeval,
    read_longs,
    timespec_ns,
)
from pagewalk.kernel.wait import FOREVER, host_fds
from pagewalk.kernel.word import signed32
from pagewalk.mm.current import RLIMIT_NOFILE
from pagewalk.mm.uaccess import copy_from_user, copy_to_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

WCHAN: Final = "poll_schedule_timeout.constprop.0"
POLLIN_SET: Final = 0x1 | 0x40 | 0x80 | POLLHUP | POLLERR
POLLOUT_SET: Final = 0x4 | 0x100 | 0x200 | POLLERR
POLLEX_SET: Final = POLLPRI


def sys_ioctl(task: "Task", fd: int, cmd: int, arg: int) -> int:
    """ioctl(2)."""
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    cmd &= 0xFFFF_FFFF
    if cmd in (FIOCLEX, FIONCLEX):
        task.files.set_cloexec(signed32(fd), cmd == FIOCLEX)
        return 0
    if cmd in (FIONBIO, FIOASYNC):
        data = copy_from_user(task.mm, arg, 4)
        if data is None:
            return -errno.EFAULT
        bit = O_NONBLOCK if cmd == FIONBIO else O_ASYNC
        file.f_flags = file.f_flags | bit if any(data) else file.f_flags & ~bit
        return 0
    sizes = ioctl_sizes(cmd)
    given = b""
    if sizes is not None and sizes[0]:
        copied = copy_from_user(task.mm, arg, sizes[0])
        if copied is None:
            return -errno.EFAULT
        given = copied
    answer = file.ioctl_bytes(cmd, given)
    if isinstance(answer, int):
        return answer
    return 0 if not answer or copy_to_user(task.mm, arg, answer) else -errno.EFAULT


def sys_poll(task: "Task", fds: int, count: int, timeout: int) -> int:
    """poll(2)."""
    timeout = signed32(timeout)
    deadline = task.kernel.monotonic_ns() + timeout * 1_000_000 if timeout >= 0 else FOREVER
    return do_poll(task, fds, count, deadline)


def sys_ppoll(task: "Task", fds: int, count: int, timeout: int, mask: int, size: int) -> int:
    """ppoll(2)."""
    deadline = deadline_of(task, timeout)
    if deadline < FOREVER:
        return deadline
    error = set_wait_mask(task, mask, size)
    if error < 0:
        return error
    result = do_poll(task, fds, count, deadline)
    finish_wait_mask(task, result)
    return poll_left(task, timeout, deadline, result)


def deadline_of(task: "Task", timeout: int) -> int:
    """The deadline that a timespec of user memory asks for: FOREVER for NULL, below that an error."""
    if timeout == 0:
        return FOREVER
    given = get_timespec(task, timeout)
    if given is None:
        return -errno.EFAULT
    left = timespec_ns(given[0], given[1])
    return -errno.EINVAL if left < 0 else task.kernel.monotonic_ns() + left


def poll_left(task: "Task", timeout: int, deadline: int, result: int) -> int:
    """Writes back how much time was left, as Linux does for ppoll and pselect6; EFAULT there is no error."""
    if timeout and deadline != FOREVER:
        put_timespec(task, timeout, max(0, deadline - task.kernel.monotonic_ns()))
    return result


def set_wait_mask(task: "Task", mask: int, size: int) -> int:
    """set_user_sigmask: another mask while a call waits. 0 or a negative errno."""
    if mask == 0:
        return 0
    if size != 8:
        return -errno.EINVAL
    data = copy_from_user(task.mm, mask, 8)
    if data is None:
        return -errno.EFAULT
    task.saved_sigmask = task.blocked
    task.set_blocked(int.from_bytes(data, "little"))
    return 0


def finish_wait_mask(task: "Task", result: int) -> None:
    """restore_saved_sigmask_unless: the old mask at once, or, after an interruption, once the signal was delivered."""
    if task.saved_sigmask >= 0 and result != -ERESTARTNOHAND:
        task.set_blocked(task.saved_sigmask)
        task.saved_sigmask = -1


def do_poll(task: "Task", fds: int, count: int, deadline: int) -> int:
    """Waits until a descriptor is ready; how many are, and their revents written."""
    count &= 0xFFFF_FFFF
    if count > task.rlimit(RLIMIT_NOFILE):
        return -errno.EINVAL
    data = copy_from_user(task.mm, fds, count * 8)
    if data is None:
        return -errno.EFAULT
    wanted: list[tuple[int, int]] = []
    for at in range(0, len(data), 8):
        fd, events = struct.unpack_from("<iH", data, at)
        wanted.append((fd, events))
    while True:
        found, hosts = poll_once(task, wanted)
        ready = sum(1 for revents in found if revents)
        if ready or (deadline != FOREVER and task.kernel.monotonic_ns() >= deadline):
            break
        if signal_pending(task):
            return -ERESTARTNOHAND
        task.kernel.wait(task, deadline, hosts, poll_queues(task, wanted), WCHAN)
    out = bytearray(data)
    for index, revents in enumerate(found):
        struct.pack_into("<H", out, index * 8 + 6, revents)
    return ready if copy_to_user(task.mm, fds, bytes(out)) else -errno.EFAULT


def poll_once(task: "Task", wanted: list[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
    """revents of each (descriptor, events), and the host's descriptors to wait for."""
    found: list[int] = []
    hosts: list[tuple[int, int]] = []
    for fd, events in wanted:
        revents = 0
        if fd >= 0:
            file = task.files.get(fd)
            if file is None:
                revents = POLLNVAL
            else:
                revents = file.poll() & (events | POLLERR | POLLHUP)
                hosts += host_fds(file, events & (POLLIN | POLLOUT | POLLPRI))
        found.append(revents)
    return found, hosts


def poll_queues(task: "Task", wanted: list[tuple[int, int]]) -> list[WaitQueueHead]:
    """The queues to wait in for all of (descriptor, events)."""
    queues: list[WaitQueueHead] = []
    for fd, _ in wanted:
        file = task.files.get(fd) if fd >= 0 else None
        if file is not None:
            queues += file.wait_queues()
    return queues


def sys_select(task: "Task", count: int, inp: int, outp: int, exp: int, timeout: int) -> int:
    """select(2)."""
    deadline = FOREVER
    if timeout:
        given = read_longs(task, timeout, 2)
        if given is None:
            return -errno.EFAULT
        seconds, micros = given
        if seconds < 0 or micros < 0:
            return -errno.EINVAL
        deadline = task.kernel.monotonic_ns() + min(seconds * 1_000_000_000 + micros * 1000, (1 << 62))
    result = do_select(task, count, inp, outp, exp, deadline)
    if timeout:
        put_timeval(task, timeout, max(0, deadline - task.kernel.monotonic_ns()))
    return result


def sys_pselect6(task: "Task", count: int, inp: int, outp: int, exp: int, timeout: int, sig: int) -> int:
    """pselect(2)."""
    mask = 0
    size = 0
    if sig:
        given = read_longs(task, sig, 2)
        if given is None:
            return -errno.EFAULT
        mask, size = given
        if task.compat:
            mask &= 0xFFFF_FFFF
    deadline = deadline_of(task, timeout)
    if deadline < FOREVER:
        return deadline
    error = set_wait_mask(task, mask, size)
    if error < 0:
        return error
    result = do_select(task, count, inp, outp, exp, deadline)
    finish_wait_mask(task, result)
    return poll_left(task, timeout, deadline, result)


def do_select(task: "Task", count: int, inp: int, outp: int, exp: int, deadline: int) -> int:
    """Waits until a descriptor of the three sets is ready; how many bits are set in the sets that are written back."""
    count = signed32(count)
    if count < 0:
        return -errno.EINVAL
    count = min(count, task.files.nr_open)
    word = long_size(task)
    size = (count + 8 * word - 1) // (8 * word) * word
    sets: list[int] = []
    for addr in (inp, outp, exp):
        bits = 0
        if addr:
            data = copy_from_user(task.mm, addr, size)
            if data is None:
                return -errno.EFAULT
            bits = int.from_bytes(data, "little") & (1 << count) - 1
        sets.append(bits)
    wanted: list[tuple[int, int]] = []
    for fd in range(count):
        if (sets[0] | sets[1] | sets[2]) >> fd & 1:
            if task.files.get(fd) is None:
                return -errno.EBADF
            events = POLLIN_SET if sets[0] >> fd & 1 else 0
            events |= POLLOUT_SET if sets[1] >> fd & 1 else 0
            events |= POLLEX_SET if sets[2] >> fd & 1 else 0
            wanted.append((fd, events))
    while True:
        found, hosts = poll_once(task, wanted)
        results = [0, 0, 0]
        for (fd, _), revents in zip(wanted, found, strict=True):
            for index, kinds in enumerate((POLLIN_SET, POLLOUT_SET, POLLEX_SET)):
                if revents & kinds and sets[index] >> fd & 1:
                    results[index] |= 1 << fd
        ready = sum(bits.bit_count() for bits in results)
        if ready or (deadline != FOREVER and task.kernel.monotonic_ns() >= deadline):
            break
        if signal_pending(task):
            return -ERESTARTNOHAND
        task.kernel.wait(task, deadline, hosts, poll_queues(task, wanted), WCHAN)
    for addr, bits in zip((inp, outp, exp), results, strict=True):
        if addr and not copy_to_user(task.mm, addr, bits.to_bytes(size, "little")):
            return -errno.EFAULT
    return ready
