"""Sockets: making them, names, connections. What goes through them is ``sockmsg.py``'s, options are ``sockopt.py``'s.

Sources: socket(2), unix(7), bind(2), listen(2), accept(2), connect(2), socketpair(2), getsockname(2), shutdown(2).

Mirrors: net/socket.c (6.18)
Differs: AF_UNIX only: every other family answers EAFNOSUPPORT, as where the kernel has no networking.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.file import WOULD_BLOCK
from pagewalk.fs.skbuff import Ucred
from pagewalk.fs.socket import SocketFile
from pagewalk.fs.socket_types import (
    AF_UNIX,
    AF_UNSPEC,
    NPROTO,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_MAX,
    SOCK_NONBLOCK,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOCK_TYPE_MASK,
)
from pagewalk.fs.unix_bind import unix_bind, unix_find_other, validate_addr
from pagewalk.fs.unix_sock import UnixSock
from pagewalk.kernel.signal import ERESTARTSYS
from pagewalk.kernel.signal_send import signal_pending
from pagewalk.kernel.syscall.args import fdget
from pagewalk.kernel.wait import FOREVER
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user, get_user_u32, put_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

SOCKADDR_STORAGE: Final = 128


def sockfd(task: "Task", fd: int) -> SocketFile | int:
    """The socket of a descriptor argument; -EBADF, -ENOTSOCK."""
    file = fdget(task, fd)
    if file is None:
        return -errno.EBADF
    return file if isinstance(file, SocketFile) else -errno.ENOTSOCK


def current_cred(task: "Task") -> Ucred:
    """What SO_PEERCRED tells of the task (cred_to_ucred)."""
    return (task.tgid, task.euid, task.egid)


def sock_wait(task: "Task", file: SocketFile, deadline: int, what: str) -> int:
    """Waits until the queue that the socket has blocked on is told: 0; -EAGAIN when the time is up; for a signal
    -ERESTARTSYS, or -EINTR where there is a time."""
    if deadline != FOREVER and task.kernel.monotonic_ns() >= deadline:
        return -errno.EAGAIN
    if signal_pending(task):
        return -ERESTARTSYS if deadline == FOREVER else -errno.EINTR
    file.get()
    task.kernel.wait(task, deadline, [], [file.sock.blocked_on], what)
    file.put()
    return 0


def sock_deadline(task: "Task", timeout_ns: int) -> int:
    """When a call with SO_RCVTIMEO or SO_SNDTIMEO gives up."""
    return FOREVER if timeout_ns < 0 else task.kernel.monotonic_ns() + timeout_ns


# Addresses.


def move_addr_to_kernel(task: "Task", addr: int, length: int) -> bytes | int:
    """A struct sockaddr from user memory."""
    length = signed32(length)
    if length < 0 or length > SOCKADDR_STORAGE:
        return -errno.EINVAL
    if length == 0:
        return b""
    data = copy_from_user(task.mm, addr, length)
    return -errno.EFAULT if data is None else data


def move_addr_to_user(task: "Task", name: bytes, addr: int, length_addr: int) -> int:
    """Writes an address, as much as fits, and its whole length."""
    length = get_user_u32(task.mm, length_addr)
    if length is None:
        return -errno.EFAULT
    if signed32(length) < 0:
        return -errno.EINVAL
    if not copy_to_user(task.mm, addr, name[:length]):
        return -errno.EFAULT
    return 0 if put_user_u32(task.mm, length_addr, len(name)) else -errno.EFAULT


# Making them.


def sock_create(task: "Task", family: int, kind: int, protocol: int) -> UnixSock | int:
    """A new socket. EAFNOSUPPORT, EINVAL, EPROTONOSUPPORT, ESOCKTNOSUPPORT."""
    if family < 0 or family >= NPROTO:
        return -errno.EAFNOSUPPORT
    if kind < 0 or kind >= SOCK_MAX:
        return -errno.EINVAL
    if family != AF_UNIX:
        return -errno.EAFNOSUPPORT
    if protocol not in (0, AF_UNIX):
        return -errno.EPROTONOSUPPORT
    if kind == SOCK_RAW:
        kind = SOCK_DGRAM
    if kind not in (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET):
        return -errno.ESOCKTNOSUPPORT
    sock = UnixSock(kind)
    task.kernel.unix.insert(sock)
    return sock


def install_socket(task: "Task", sock: UnixSock, flags: int) -> int:
    """A descriptor for ``sock`` (SOCK_NONBLOCK, SOCK_CLOEXEC); a negative errno, and the socket is closed."""
    file = SocketFile(task.kernel.system, sock, flags & SOCK_NONBLOCK)
    fd = task.files.install(file, bool(flags & SOCK_CLOEXEC))
    if fd < 0:
        file.put()
    return fd


def sys_socket(task: "Task", family: int, kind: int, protocol: int) -> int:
    """socket(2)."""
    kind = signed32(kind)
    flags = kind & ~SOCK_TYPE_MASK
    if flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        return -errno.EINVAL
    sock = sock_create(task, signed32(family), kind & SOCK_TYPE_MASK, signed32(protocol))
    return sock if isinstance(sock, int) else install_socket(task, sock, flags)


def sys_socketpair(task: "Task", family: int, kind: int, protocol: int, pair: int) -> int:
    """socketpair(2)."""
    kind = signed32(kind)
    flags = kind & ~SOCK_TYPE_MASK
    if flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        return -errno.EINVAL
    one = sock_create(task, signed32(family), kind & SOCK_TYPE_MASK, signed32(protocol))
    if isinstance(one, int):
        return one
    other = UnixSock(one.kind)
    task.kernel.unix.insert(other)
    one.pair_with(other, current_cred(task))
    first = install_socket(task, one, flags)
    if first < 0:
        other.release()
        return first
    second = install_socket(task, other, flags)
    if second < 0:
        task.files.close(first)
        return second
    if not copy_to_user(task.mm, pair, struct.pack("<ii", first, second)):
        task.files.close(first)
        task.files.close(second)
        return -errno.EFAULT
    return 0


# Names and connections.


def sys_bind(task: "Task", fd: int, addr: int, length: int) -> int:
    """bind(2)."""
    file = sockfd(task, fd)
    if isinstance(file, int):
        return file
    name = move_addr_to_kernel(task, addr, length)
    if isinstance(name, int):
        return name
    return unix_bind(task.kernel.unix, task.fs, task.files, file.sock, name)


def sys_listen(task: "Task", fd: int, backlog: int) -> int:
    """listen(2)."""
    file = sockfd(task, fd)
    return file if isinstance(file, int) else file.sock.listen(signed32(backlog), current_cred(task))


def sys_accept(task: "Task", fd: int, addr: int, length: int) -> int:
    """accept(2)."""
    return sys_accept4(task, fd, addr, length, 0)


def sys_accept4(task: "Task", fd: int, addr: int, length: int, flags: int) -> int:
    """accept4(2)."""
    flags &= 0xFFFF_FFFF
    if fdget(task, fd) is None:
        return -errno.EBADF
    if flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        return -errno.EINVAL
    file = sockfd(task, fd)
    if isinstance(file, int):
        return file
    deadline = sock_deadline(task, file.sock.rcvtimeo_ns)
    while True:
        sock = file.sock.accept(nonblock=file.nonblock)
        if not isinstance(sock, int):
            break
        if sock != WOULD_BLOCK:
            return sock
        error = sock_wait(task, file, deadline, "__skb_wait_for_more_packets")
        if error < 0:
            return error
    new = install_socket(task, sock, flags)
    if new >= 0 and addr:
        peer = sock.peer
        error = move_addr_to_user(task, peer.name() if peer is not None else b"\1\0", addr, length)
        if error < 0:
            task.files.close(new)
            return error
    return new


def sys_connect(task: "Task", fd: int, addr: int, length: int) -> int:
    """connect(2)."""
    if fdget(task, fd) is None:
        return -errno.EBADF
    name = move_addr_to_kernel(task, addr, length)
    if isinstance(name, int):
        return name
    file = sockfd(task, fd)
    if isinstance(file, int):
        return file
    sock = file.sock
    if sock.kind == SOCK_DGRAM:
        if len(name) < 2:
            return -errno.EINVAL
        if int.from_bytes(name[:2], "little") == AF_UNSPEC:
            return sock.connect_dgram(None)
    deadline = sock_deadline(task, sock.sndtimeo_ns)
    while True:
        other = find_other(task, sock, name)
        if isinstance(other, int):
            return other
        if sock.kind == SOCK_DGRAM:
            return sock.connect_dgram(other)
        error = sock.connect_stream(other, current_cred(task))
        if error != WOULD_BLOCK:
            return error
        if file.nonblock:
            return -errno.EAGAIN
        error = sock_wait(task, file, deadline, "unix_wait_for_peer")
        if error < 0:
            return error


def find_other(task: "Task", sock: UnixSock, name: bytes) -> UnixSock | int:
    """Who has an address; a socket that wants credentials gets a name of its own first."""
    error = validate_addr(name)
    if error == 0 and sock.passcred:
        error = task.kernel.unix.autobind(sock)
    return error if error < 0 else unix_find_other(task.kernel.unix, task.fs, task.files, sock.kind, name)


def sys_getsockname(task: "Task", fd: int, addr: int, length: int) -> int:
    """getsockname(2)."""
    file = sockfd(task, fd)
    return file if isinstance(file, int) else move_addr_to_user(task, file.sock.name(), addr, length)


def sys_getpeername(task: "Task", fd: int, addr: int, length: int) -> int:
    """getpeername(2)."""
    file = sockfd(task, fd)
    if isinstance(file, int):
        return file
    peer = file.sock.peer
    return -errno.ENOTCONN if peer is None else move_addr_to_user(task, peer.name(), addr, length)


def sys_shutdown(task: "Task", fd: int, how: int) -> int:
    """shutdown(2)."""
    file = sockfd(task, fd)
    return file if isinstance(file, int) else file.sock.do_shutdown(signed32(how))
