"""Sending and receiving: send, recv and their message forms, and read and write of sockets.

Sources: send(2), recv(2), sendmmsg(2), recvmmsg(2).

Mirrors: net/socket.c (6.18)
Differs: a message is copied as a whole before it is sent; what cannot be delivered (EFAULT) is lost.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.file import WOULD_BLOCK
from pagewalk.fs.skbuff import RecvMsg, SendMsg, put_files
from pagewalk.fs.socket import SocketFile
from pagewalk.fs.socket_types import (
    MSG_CMSG_CLOEXEC,
    MSG_CMSG_COMPAT,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_NOSIGNAL,
    MSG_WAITFORONE,
    SOCK_DGRAM,
    SOCK_STREAM,
)
from pagewalk.fs.unix_sock import UnixSock
from pagewalk.kernel.signal_send import send_signal
from pagewalk.kernel.signal_types import SI_USER, SIGPIPE, kill_info
from pagewalk.kernel.syscall.args import (
    MAX_RW_COUNT,
    access_ok,
    get_timespec,
    import_iovec,
    long_size,
    put_timespec,
    timespec_ns,
    write_longs,
)
from pagewalk.kernel.syscall.cmsg import ControlBuffer, scm_recv, scm_send
from pagewalk.kernel.syscall.socket import (
    SOCKADDR_STORAGE,
    find_other,
    move_addr_to_kernel,
    move_addr_to_user,
    sock_deadline,
    sock_wait,
    sockfd,
)
from pagewalk.kernel.word import signed32
from pagewalk.mm.uaccess import copy_from_user, copy_to_user_partial, put_user_u32

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

UIO_MAXIOV: Final = 1024
_MOST: Final = 1 << 24  # no datagram of that size fits any buffer
_CHUNK: Final = 1 << 20  # a stream's bytes are copied in such pieces
_OPTMEM_MAX: Final = 131072
_MSGHDR: Final = struct.Struct("<QI4xQQQQI4x")
_MSGHDR_32: Final = struct.Struct("<7I")

Vectors = list[tuple[int, int]]


def send_file(task: "Task", file: SocketFile, msg: SendMsg) -> int:
    """sock_sendmsg: sends ``msg`` and waits where it must; bytes, or a negative errno."""
    sock = file.sock
    nonblock = file.nonblock or bool(msg.flags & MSG_DONTWAIT)
    deadline = sock_deadline(task, sock.sndtimeo_ns)
    msg.sender = (task.tgid, task.uid, task.gid)
    target: UnixSock | int | None = None
    while True:
        if msg.name and sock.kind == SOCK_DGRAM:
            target = find_other(task, sock, msg.name)
            if target == -errno.EINVAL:
                result = -errno.EINVAL
                break
        result = file.send(msg, target)
        if result != WOULD_BLOCK:
            break
        what = "sock_alloc_send_pskb" if sock.blocked_on is sock.wq else "unix_wait_for_peer"
        result = -errno.EAGAIN if nonblock else sock_wait(task, file, deadline, what)
        if result < 0:
            break
    put_files(msg.files)
    msg.files = []
    if result == -errno.EPIPE and sock.kind == SOCK_STREAM and not msg.sent and not msg.flags & MSG_NOSIGNAL:
        send_signal(task, kill_info(SIGPIPE, SI_USER, task.tgid, task.uid), group=False)
    return msg.sent if msg.sent or result >= 0 else result


def receive_file(task: "Task", file: SocketFile, msg: RecvMsg) -> int:
    """sock_recvmsg: receives into ``msg`` and waits where it must; what recv(2) answers."""
    sock = file.sock
    nonblock = file.nonblock or bool(msg.flags & MSG_DONTWAIT)
    deadline = sock_deadline(task, sock.rcvtimeo_ns)
    what = "unix_stream_read_generic" if sock.kind == SOCK_STREAM else "__skb_wait_for_more_packets"
    while True:
        result = file.receive(msg)
        if result != WOULD_BLOCK:
            break
        result = -errno.EAGAIN if nonblock else sock_wait(task, file, deadline, what)
        if result < 0:
            break
    if msg.eof and nonblock and sock.kind == SOCK_DGRAM:
        return -errno.EAGAIN
    if result < 0:
        return msg.copied or result
    return msg.result


def gather(task: "Task", vectors: Vectors) -> bytes | None:
    """The bytes of all buffers; None for EFAULT."""
    parts: list[bytes] = []
    for base, length in vectors:
        part = copy_from_user(task.mm, base, length)
        if part is None:
            return None
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def scatter(task: "Task", vectors: Vectors, data: bytes) -> bool:
    """Fills the buffers one after the other; False for EFAULT."""
    at = 0
    for base, length in vectors:
        part = data[at : at + length]
        if copy_to_user_partial(task.mm, base, part) != len(part):
            return False
        at += len(part)
    return True


def total(vectors: Vectors) -> int:
    """Bytes in all."""
    size = 0
    for _, length in vectors:
        size += length
    return size


def send_vectors(task: "Task", file: SocketFile, vectors: Vectors, msg: SendMsg) -> int:
    """Sends the program's buffers; ``msg`` has the rest."""
    size = total(vectors)
    if file.sock.kind != SOCK_STREAM or size <= _CHUNK:
        data = b"" if size > _MOST else gather(task, vectors)
        if size > _MOST or data is None:
            put_files(msg.files)
            return -errno.EFAULT if data is None else -errno.EMSGSIZE
        msg.data = data
        return send_file(task, file, msg)
    done = 0
    for base, length in vectors:
        at = 0
        while at < length:
            piece = SendMsg(copy_from_user(task.mm, base + at, min(length - at, _CHUNK)) or b"", msg.flags)
            piece.name = msg.name
            piece.creds = msg.creds
            piece.files = msg.files
            msg.files = []
            if not piece.data:
                put_files(piece.files)
                return done or -errno.EFAULT
            sent = send_file(task, file, piece)
            if sent < 0:
                return done or sent
            done += sent
            at += sent
            if sent < len(piece.data):
                return done
    return done


def socket_write(task: "Task", file: SocketFile, vectors: Vectors) -> int:
    """write(2) and writev(2) of a socket."""
    return send_vectors(task, file, vectors, SendMsg(b"", 0))


def socket_read(task: "Task", file: SocketFile, vectors: Vectors) -> int:
    """read(2) and readv(2) of a socket: nothing is waited for where nothing is wanted."""
    size = total(vectors)
    if size == 0:
        return 0
    msg = RecvMsg(size, 0)
    result = receive_file(task, file, msg)
    put_files(msg.files)
    if result < 0:
        return result
    return result if scatter(task, vectors, msg.data()) else -errno.EFAULT


def sys_sendto(task: "Task", fd: int, buf: int, length: int, flags: int, addr: int, addr_len: int) -> int:
    """sendto(2), send(2)."""
    if not access_ok(task, buf, min(length, MAX_RW_COUNT) if length >= 0 else length):
        return -errno.EFAULT
    file = sockfd(task, fd)
    if isinstance(file, int):
        return file
    msg = SendMsg(b"", flags & 0xFFFF_FFFF & ~MSG_CMSG_COMPAT)
    if addr:
        name = move_addr_to_kernel(task, addr, addr_len)
        if isinstance(name, int):
            return name
        msg.name = name
    return send_vectors(task, file, [(buf, min(length, MAX_RW_COUNT))], msg)


def sys_recvfrom(task: "Task", fd: int, buf: int, length: int, flags: int, addr: int, addr_len: int) -> int:
    """recvfrom(2), recv(2)."""
    if not access_ok(task, buf, min(length, MAX_RW_COUNT) if length >= 0 else length):
        return -errno.EFAULT
    file = sockfd(task, fd)
    if isinstance(file, int):
        return file
    msg = RecvMsg(min(length, MAX_RW_COUNT), flags & 0xFFFF_FFFF)
    if msg.flags & MSG_ERRQUEUE:
        return -errno.EAGAIN
    result = receive_file(task, file, msg)
    put_files(msg.files)
    if result < 0:
        return result
    if copy_to_user_partial(task.mm, buf, msg.data()) != msg.copied:
        return -errno.EFAULT
    if addr:
        error = move_addr_to_user(task, msg.name, addr, addr_len)
        if error < 0:
            return error
    return result


# Messages.


class UserMsg:
    """struct msghdr of a program: ``name``, ``name_len``, ``vectors``, ``control``, ``control_len``."""

    def __init__(self, name: int, name_len: int, vectors: Vectors, control: int, control_len: int) -> None:
        self.name = name
        self.name_len = name_len
        self.vectors = vectors
        self.control = control
        self.control_len = control_len


def msghdr_size(task: "Task") -> int:
    """Bytes of struct msghdr."""
    return _MSGHDR_32.size if task.compat else _MSGHDR.size


def mmsghdr_size(task: "Task") -> int:
    """Bytes of struct mmsghdr: that and a count."""
    return msghdr_size(task) + long_size(task)


def copy_msghdr(task: "Task", addr: int) -> UserMsg | int:
    """struct msghdr at ``addr``. EFAULT, EINVAL, EMSGSIZE: too many buffers."""
    header = _MSGHDR_32 if task.compat else _MSGHDR
    data = copy_from_user(task.mm, addr, header.size)
    if data is None:
        return -errno.EFAULT
    name, name_len, iov, iov_len, control, control_len, _ = header.unpack(data)
    name_len = signed32(name_len) if name else 0
    if name_len < 0:
        return -errno.EINVAL
    if iov_len > UIO_MAXIOV:
        return -errno.EMSGSIZE
    vectors = import_iovec(task, iov - (1 << 64) if iov >> 63 else iov, iov_len)
    if isinstance(vectors, int):
        return vectors
    return UserMsg(name, min(name_len, SOCKADDR_STORAGE), vectors, control, control_len)


def sys_sendmsg(task: "Task", fd: int, addr: int, flags: int) -> int:
    """sendmsg(2)."""
    flags &= 0xFFFF_FFFF
    if flags & MSG_CMSG_COMPAT:
        return -errno.EINVAL
    file = sockfd(task, fd)
    return file if isinstance(file, int) else send_message(task, file, addr, flags)


def send_message(task: "Task", file: SocketFile, addr: int, flags: int) -> int:
    """___sys_sendmsg."""
    user = copy_msghdr(task, addr)
    if isinstance(user, int):
        return user
    msg = SendMsg(b"", flags)
    if user.name_len:
        name = move_addr_to_kernel(task, user.name, user.name_len)
        if isinstance(name, int):
            return name
        msg.name = name
    if user.control_len > _OPTMEM_MAX:
        return -errno.ENOBUFS
    if user.control_len:
        control = copy_from_user(task.mm, user.control, user.control_len)
        if control is None:
            return -errno.EFAULT
        error = scm_send(task, control, msg)
        if error < 0:
            put_files(msg.files)
            return error
    return send_vectors(task, file, user.vectors, msg)


def sys_recvmsg(task: "Task", fd: int, addr: int, flags: int) -> int:
    """recvmsg(2)."""
    flags &= 0xFFFF_FFFF
    if flags & MSG_CMSG_COMPAT:
        return -errno.EINVAL
    file = sockfd(task, fd)
    return file if isinstance(file, int) else receive_message(task, file, addr, flags)


def receive_message(task: "Task", file: SocketFile, addr: int, flags: int) -> int:
    """___sys_recvmsg: besides the bytes it writes the name, its length, the control buffer, its length, the flags."""
    user = copy_msghdr(task, addr)
    if isinstance(user, int):
        return user
    msg = RecvMsg(total(user.vectors), flags)
    if flags & MSG_ERRQUEUE:
        return -errno.EAGAIN
    result = receive_file(task, file, msg)
    if result < 0:
        put_files(msg.files)
        return result
    if not scatter(task, user.vectors, msg.data()):
        put_files(msg.files)
        return -errno.EFAULT
    control = ControlBuffer(task, user.control, user.control_len)
    scm_recv(msg, control)
    if user.name:
        error = move_addr_to_user(task, msg.name, user.name, addr + long_size(task))
        if error < 0:
            return error
    out = msg.out_flags | control.flags | flags & MSG_CMSG_CLOEXEC
    control_len_at, flags_at = (20, 24) if task.compat else (40, 48)
    if not put_user_u32(task.mm, addr + flags_at, out) or not write_longs(
        task, addr + control_len_at, (control.used(),)
    ):
        return -errno.EFAULT
    return result


def sys_sendmmsg(task: "Task", fd: int, vec: int, count: int, flags: int) -> int:
    """sendmmsg(2): how many messages were sent; the error of the first where it was none."""
    flags &= 0xFFFF_FFFF
    if flags & MSG_CMSG_COMPAT:
        return -errno.EINVAL
    file = sockfd(task, fd)
    if isinstance(file, int):
        return file
    done = 0
    while done < min(count & 0xFFFF_FFFF, UIO_MAXIOV):
        at = vec + done * mmsghdr_size(task)
        sent = send_message(task, file, at, flags)
        if sent >= 0 and not put_user_u32(task.mm, at + msghdr_size(task), sent):
            sent = -errno.EFAULT
        if sent < 0:
            return done or sent
        done += 1
    return done


def sys_recvmmsg(task: "Task", fd: int, vec: int, count: int, flags: int, timeout: int) -> int:
    """recvmmsg(2): the time is looked at after each message. An error after the first is the next call's."""
    flags &= 0xFFFF_FFFF
    if flags & MSG_CMSG_COMPAT:
        return -errno.EINVAL
    deadline = -1
    if timeout:
        given = get_timespec(task, timeout)
        if given is None:
            return -errno.EFAULT
        length = timespec_ns(given[0], given[1])
        if length < 0:
            return -errno.EINVAL
        deadline = task.kernel.monotonic_ns() + length
    file = sockfd(task, fd)
    if isinstance(file, int):
        return file
    if file.sock.err:
        return file.sock.sock_error()
    done = 0
    result = 0
    while done < min(count & 0xFFFF_FFFF, UIO_MAXIOV):
        at = vec + done * mmsghdr_size(task)
        result = receive_message(task, file, at, flags & ~MSG_WAITFORONE)
        if result >= 0 and not put_user_u32(task.mm, at + msghdr_size(task), result):
            result = -errno.EFAULT
        if result < 0:
            break
        done += 1
        if flags & MSG_WAITFORONE:
            flags |= MSG_DONTWAIT
        if deadline >= 0 and task.kernel.monotonic_ns() >= deadline:
            break
    if timeout and not put_timespec(task, timeout, max(0, deadline - task.kernel.monotonic_ns())):
        return -errno.EFAULT
    if done and result < 0 and result != -errno.EAGAIN:
        file.sock.err = -result if result > -512 else 0
    return done or result
