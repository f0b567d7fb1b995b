"""Bytes through an AF_UNIX stream.

A stream is a queue of messages too: what is sent in one call goes in pieces of at most half the send buffer, and a
receiver takes as many as he has room for, but stops behind one that brought descriptors, and before one of somebody
else where he asked for credentials.

The last byte of what is sent with MSG_OOB is a message of its own, urgent until another one is. Reading stops before
it; the next read passes over it, unless recv(MSG_OOB) has taken it, or SO_OOBINLINE makes it a byte like any other.

Sources: unix(7), recv(2), send(2).

Mirrors: net/unix/af_unix.c (unix_stream_sendmsg, unix_stream_read_generic) (6.18)
Differs: no SIGURG for out-of-band data.
"""

import errno
from typing import Final

from pagewalk.fs.skbuff import NOBODY, RecvMsg, SendMsg, SkBuff, Ucred, stream_most, stream_truesize
from pagewalk.fs.socket_types import (
    MSG_NOSIGNAL,
    MSG_OOB,
    MSG_PEEK,
    MSG_WAITALL,
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    SO_OOBINLINE,
    TCP_ESTABLISHED,
)
from pagewalk.fs.unix_sock import UnixSock

# What reading does at a message.
_TAKE: Final = 0
_STOP: Final = 1
_PASS: Final = 2
_DROP: Final = 3


def stream_send(sock: UnixSock, msg: SendMsg) -> int:
    """Sends what is left of ``msg``: 0, an errno, or WOULD_BLOCK; ``msg.sent`` tells how far it came.

    ENOTCONN; EISCONN, EOPNOTSUPP: with a name. EPIPE: no more can be sent (SIGPIPE is the caller's). ECONNRESET.
    """
    other = sock.peer
    if not msg.begun:
        if msg.flags & MSG_OOB and not msg.data:
            return -errno.EOPNOTSUPP
        if msg.name:
            return -errno.EISCONN if sock.state == TCP_ESTABLISHED else -errno.EOPNOTSUPP
        if other is None:
            return -errno.ENOTCONN
        if sock.shutdown & SEND_SHUTDOWN:
            return -errno.EPIPE
        msg.begun = True
    while other is not None and msg.sent < len(msg.data):
        if sock.err:
            return sock.sock_error()
        if sock.shutdown & SEND_SHUTDOWN:
            msg.flags |= MSG_NOSIGNAL  # whoever waited for room gets no SIGPIPE
            return -errno.EPIPE
        if sock.wmem_alloc >= sock.sndbuf:
            return sock.wait_on(sock.wq)
        left = len(msg.data) - msg.sent
        urgent = bool(msg.flags & MSG_OOB) and left == 1
        wanted = left - 1 if msg.flags & MSG_OOB and left > 1 else left
        size = min(wanted, (sock.sndbuf >> 1) - 64, stream_most(sock.page_size))
        if other.dead or other.shutdown & RCV_SHUTDOWN:
            return -errno.EPIPE
        piece = msg.data if size == len(msg.data) else msg.data[msg.sent : msg.sent + size]
        skb = SkBuff(sock, piece, stream_truesize(size, sock.page_size))
        skb.files = msg.files
        skb.creds = msg.creds
        msg.files = []
        msg.sent += size
        if urgent:
            other.oob = skb
        sock.deliver(other, skb, msg.sender)
    return 0


def stream_recv(sock: UnixSock, msg: RecvMsg) -> int:
    """Receives into ``msg`` what is there: 0 where that is all that recv(2) waits for, WOULD_BLOCK, or an errno.

    EINVAL: not connected. ECONNRESET: the other end was closed with data unread. At the end of the stream ``msg`` stays
    empty.
    """
    if sock.state != TCP_ESTABLISHED:
        return -errno.EINVAL
    if msg.flags & MSG_OOB:
        return recv_urg(sock, msg)
    target = max(1, msg.size if msg.flags & MSG_WAITALL else min(sock.rcvlowat, msg.size))
    if msg.flags & MSG_PEEK:
        msg.parts = []
        msg.copied = 0
    at = 0
    while True:
        if at >= len(sock.queue):
            if msg.copied >= target or (msg.copied and msg.flags & MSG_PEEK):
                break
            if sock.err and not msg.copied:
                return sock.sock_error()
            if sock.shutdown & RCV_SHUTDOWN:
                break
            return sock.wait_on(sock.wq)
        skb = sock.queue[at]
        step = manage_oob(sock, skb, msg)
        if step == _STOP:
            break
        if step == _PASS:
            at += 1
            continue
        if step == _DROP:
            del sock.queue[at]
            skb.free()
            continue
        if not same_writer(sock, skb, msg):
            break
        if not msg.name:
            msg.name = skb.sock.addr
        chunk = min(skb.length(), msg.size - msg.copied)
        msg.parts.append(skb.data[skb.consumed : skb.consumed + chunk])
        msg.copied += chunk
        if msg.flags & MSG_PEEK:
            if skb.files:
                msg.files = list(skb.files)
                for file in msg.files:
                    file.get()
                break
            at += 1
        else:
            skb.consumed += chunk
            brought = skb.files
            skb.files = []
            msg.files.extend(brought)
            if skb.length():
                break
            del sock.queue[0]
            skb.free()
            if brought:
                break
        if msg.copied >= msg.size:
            break
    msg.result = msg.copied
    return 0


def recv_urg(sock: UnixSock, msg: RecvMsg) -> int:
    """recv(MSG_OOB): the urgent byte, of which a mark stays in the stream. EINVAL where there is none, or it is among
    the others (SO_OOBINLINE)."""
    skb = sock.oob
    if skb is None or sock.options.get(SO_OOBINLINE, 0):
        return -errno.EINVAL
    msg.parts = [skb.data[: msg.size]]
    msg.copied = len(msg.parts[0])
    msg.result = 1
    msg.out_flags |= MSG_OOB
    msg.name = skb.sock.addr
    if not msg.flags & MSG_PEEK:
        skb.consumed = len(skb.data)
        sock.oob = None
    return 0


def manage_oob(sock: UnixSock, skb: SkBuff, msg: RecvMsg) -> int:
    """What reading does at the next message: _TAKE it; _STOP before the urgent byte or its mark; _DROP either where
    reading begins there, or _PASS over it where it only looks."""
    if skb.length() == 0:
        if msg.copied and sock.oob is None:
            return _STOP
        return _PASS if msg.flags & MSG_PEEK else _DROP
    if skb is not sock.oob:
        return _TAKE
    if msg.copied:
        return _STOP
    inline = bool(sock.options.get(SO_OOBINLINE, 0))
    if msg.flags & MSG_PEEK:
        return _TAKE if inline else _PASS
    sock.oob = None
    if inline:
        return _TAKE
    sock.inq_lost += skb.length()
    return _DROP


def same_writer(sock: UnixSock, skb: SkBuff, msg: RecvMsg) -> bool:
    """Notes whose message ``msg`` is; False where it is another's and credentials are asked for."""
    who: Ucred = skb.creds if skb.creds is not None else NOBODY
    if msg.has_creds:
        return who == msg.creds
    if sock.passcred:
        msg.has_creds = True
        msg.creds = who
    return True
