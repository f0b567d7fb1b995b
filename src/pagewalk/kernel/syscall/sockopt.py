"""getsockopt and setsockopt.

Sources: socket(7), unix(7).

Mirrors: net/core/sock.c (6.18)
Differs: options that have no effect on AF_UNIX are kept and answered; those that are not in the table are ENOPROTOOPT.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.socket_types import (
    AF_UNIX,
    SO_ACCEPTCONN,
    SO_BROADCAST,
    SO_DEBUG,
    SO_DOMAIN,
    SO_DONTROUTE,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_NO_CHECK,
    SO_OOBINLINE,
    SO_PASSCRED,
    SO_PASSSEC,
    SO_PEERCRED,
    SO_PEERNAME,
    SO_PRIORITY,
    SO_PROTOCOL,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_RCVLOWAT,
    SO_RCVTIMEO,
    SO_REUSEADDR,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SO_SNDLOWAT,
    SO_SNDTIMEO,
    SO_TIMESTAMP,
    SO_TYPE,
    SOCK_MIN_RCVBUF,
    SOCK_MIN_SNDBUF,
    SOL_SOCKET,
    TCP_LISTEN,
    WMEM_MAX,
)
from pagewalk.fs.unix_sock import UnixSock
from pagewalk.kernel.clock import JIFFY_NS
from pagewalk.kernel.syscall.args import long_size, read_longs
from pagewalk.kernel.syscall.socket import sockfd
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user, get_user_u32, put_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

# On or off, and nothing but that to AF_UNIX.
_FLAGS: Final = (SO_DEBUG, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_NO_CHECK, SO_TIMESTAMP)
_NSEC: Final = 1_000_000_000


def sys_setsockopt(task: "Task", fd: int, level: int, name: int, value: int, length: int) -> int:
    """setsockopt(2)."""
    length, name = signed32(length), signed32(name)
    if length < 0:
        return -errno.EINVAL
    file = sockfd(task, fd)
    if isinstance(file, int):
        return file
    if signed32(level) != SOL_SOCKET:
        return -errno.EOPNOTSUPP
    if length < 4:
        return -errno.EINVAL
    word = get_user_u32(task.mm, value)
    if word is None:
        return -errno.EFAULT
    if name in (SO_RCVTIMEO, SO_SNDTIMEO):
        return set_timeout(task, file.sock, name, value, length)
    if name == SO_LINGER:
        data = copy_from_user(task.mm, value, 8) if length >= 8 else b""
        if data is None:
            return -errno.EFAULT
        if not data:
            return -errno.EINVAL
        on, seconds = struct.unpack("<ii", data)
        file.sock.options[SO_LINGER] = seconds & 0xFFFF_FFFF | (1 << 32) if on else 0
        return 0
    return set_option(task, file.sock, name, signed32(word))


def set_option(task: "Task", sock: UnixSock, name: int, value: int) -> int:
    """The options that are an int."""
    if name in (SO_SNDBUF, SO_SNDBUFFORCE):
        if name == SO_SNDBUFFORCE and not task.capable:
            return -errno.EPERM
        if name == SO_SNDBUF:
            value = min(value & 0xFFFF_FFFF, WMEM_MAX)
        sock.sndbuf = max(min(max(value, 0), 0x3FFF_FFFF) * 2, SOCK_MIN_SNDBUF)
        sock.wq.wake_up(0x304, 0)
    elif name in (SO_RCVBUF, SO_RCVBUFFORCE):
        if name == SO_RCVBUFFORCE and not task.capable:
            return -errno.EPERM
        if name == SO_RCVBUF:
            value = min(value & 0xFFFF_FFFF, WMEM_MAX)
        sock.rcvbuf = max(min(max(value, 0), 0x3FFF_FFFF) * 2, SOCK_MIN_RCVBUF)
    elif name == SO_PASSCRED:
        sock.passcred = value != 0
    elif name == SO_RCVLOWAT:
        sock.rcvlowat = 0x7FFF_FFFF if value < 0 else value or 1
    elif name == SO_REUSEADDR:
        sock.options[name] = 1 if value else 0
    elif name == SO_PRIORITY:
        if not 0 <= value <= 6 and not task.capable:
            return -errno.EPERM
        sock.options[name] = value
    elif name in _FLAGS:
        if name == SO_DEBUG and value and not task.capable:
            return -errno.EACCES
        sock.options[name] = 1 if value else 0
    else:
        return -errno.ENOPROTOOPT
    return 0


def set_timeout(task: "Task", sock: UnixSock, name: int, addr: int, length: int) -> int:
    """SO_RCVTIMEO, SO_SNDTIMEO: a struct timeval, 0 for ever."""
    if length < 2 * long_size(task):
        return -errno.EINVAL
    words = read_longs(task, addr, 2)
    if words is None:
        return -errno.EFAULT
    seconds, micros = words
    if not 0 <= micros < 1_000_000:
        return -errno.EDOM
    timeout = seconds * _NSEC + (micros * 1000 + JIFFY_NS - 1) // JIFFY_NS * JIFFY_NS if 0 <= seconds < 1 << 32 else -1
    if seconds < 0:
        timeout = 0
    elif seconds == 0 and micros == 0:
        timeout = -1
    if name == SO_RCVTIMEO:
        sock.rcvtimeo_ns = timeout
    else:
        sock.sndtimeo_ns = timeout
    return 0


def sys_getsockopt(task: "Task", fd: int, level: int, name: int, value: int, length: int) -> int:
    """getsockopt(2)."""
    file = sockfd(task, fd)
    if isinstance(file, int):
        return file
    if signed32(level) != SOL_SOCKET:
        return -errno.EOPNOTSUPP
    room = get_user_u32(task.mm, length)
    if room is None:
        return -errno.EFAULT
    if signed32(room) < 0:
        return -errno.EINVAL
    answer = get_option(file.sock, signed32(name))
    if isinstance(answer, int):
        return answer
    if task.compat and signed32(name) in (SO_RCVTIMEO, SO_SNDTIMEO):
        answer = struct.pack("<ii", *struct.unpack("<qq", answer))
    if signed32(name) == SO_PEERNAME and room > len(answer):
        return -errno.EINVAL
    answer = answer[:room]
    if not copy_to_user(task.mm, value, answer) or not put_user_u32(task.mm, length, len(answer)):
        return -errno.EFAULT
    return 0


def get_option(sock: UnixSock, name: int) -> bytes | int:
    """The bytes of an option."""
    if name in (SO_RCVTIMEO, SO_SNDTIMEO):
        timeout = max(0, sock.rcvtimeo_ns if name == SO_RCVTIMEO else sock.sndtimeo_ns)
        return struct.pack("<qq", timeout // _NSEC, timeout % _NSEC // 1000)
    if name == SO_LINGER:
        linger = sock.options.get(SO_LINGER, 0)
        return struct.pack("<iI", linger >> 32, linger & 0xFFFF_FFFF)
    if name == SO_PEERCRED:
        return struct.pack("<iii", *sock.peercred)
    if name == SO_PEERNAME:
        return -errno.ENOTCONN if sock.peer is None else sock.peer.name()
    value = int_option(sock, name)
    return -errno.ENOPROTOOPT if value is None else struct.pack("<i", value)


def int_option(sock: UnixSock, name: int) -> int | None:
    """The options that are an int; None for one that there is not."""
    if name == SO_TYPE:
        return sock.kind
    if name == SO_ERROR:
        return -sock.sock_error()
    if name == SO_SNDBUF:
        return sock.sndbuf
    if name == SO_RCVBUF:
        return sock.rcvbuf
    if name == SO_PASSCRED:
        return 1 if sock.passcred else 0
    if name == SO_RCVLOWAT:
        return sock.rcvlowat
    if name == SO_SNDLOWAT:
        return 1
    if name == SO_ACCEPTCONN:
        return 1 if sock.state == TCP_LISTEN else 0
    if name == SO_DOMAIN:
        return AF_UNIX
    if name in (SO_PROTOCOL, SO_PASSSEC):
        return 0
    if name in (SO_REUSEADDR, SO_PRIORITY) or name in _FLAGS:
        return sock.options.get(name, 0)
    return None
