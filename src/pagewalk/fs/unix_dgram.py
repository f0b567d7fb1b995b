"""Messages through AF_UNIX datagram and sequenced-packet sockets: each goes and comes whole.

Sources: unix(7), recv(2), send(2).

Mirrors: net/unix/af_unix.c (unix_dgram_sendmsg, unix_dgram_recvmsg), net/core/datagram.c (6.18)
Differs: no socket filters.
"""

import errno

from pagewalk.fs.skbuff import NOBODY, RecvMsg, SendMsg, SkBuff, dgram_truesize
from pagewalk.fs.socket_types import (
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    SOCK_SEQPACKET,
    TCP_CLOSE,
    TCP_ESTABLISHED,
    TCP_LISTEN,
)
from pagewalk.fs.unix_sock import UnixSock


def dgram_send(sock: UnixSock, msg: SendMsg, target: UnixSock | int | None) -> int:
    """Sends ``msg`` to ``target`` as a whole: 0, an errno, or WOULD_BLOCK.

    target: None for the peer; what looking a name up has answered.

    ENOTCONN: no peer. EMSGSIZE: larger than the send buffer. ECONNREFUSED: the other end is closed. EPIPE: it takes no
    more. EPERM: it is connected to somebody else. ECONNRESET.
    """
    if msg.flags & MSG_OOB:
        return -errno.EOPNOTSUPP
    if sock.kind == SOCK_SEQPACKET:
        if sock.err:
            return sock.sock_error()
        if sock.state != TCP_ESTABLISHED:
            return -errno.ENOTCONN
    if len(msg.data) > sock.sndbuf - 32:
        return -errno.EMSGSIZE
    if sock.err:
        return sock.sock_error()
    if sock.shutdown & SEND_SHUTDOWN:
        return -errno.EPIPE
    if sock.wmem_alloc >= sock.sndbuf:
        return sock.wait_on(sock.wq)
    if isinstance(target, int):
        return target
    other = sock.peer if target is None else target
    if other is None:
        return -errno.ENOTCONN
    if not sock.may_send(other) and not other.dead:
        return -errno.EPERM
    if other.dead:
        if sock.kind == SOCK_SEQPACKET:
            return -errno.EPIPE
        if sock.peer is other:
            sock.set_peer(None)
            sock.state = TCP_CLOSE
            sock.disconnected(other)
        return -errno.ECONNREFUSED
    if other.shutdown & RCV_SHUTDOWN:
        return -errno.EPIPE
    if other is not sock and other.peer is not sock and other.recvq_full():
        return sock.wait_on(sock.wq if sock.peer is other else other.peer_wait)
    skb = SkBuff(sock, msg.data, dgram_truesize(len(msg.data), sock.page_size))
    skb.files = msg.files
    skb.creds = msg.creds
    msg.files = []
    msg.sent = len(msg.data)
    sock.deliver(other, skb, msg.sender)
    return 0


def dgram_recv(sock: UnixSock, msg: RecvMsg) -> int:
    """Receives the next message; what ``msg`` has no room for is lost (MSG_TRUNC). 0, an errno, or WOULD_BLOCK.

    ENOTCONN: a sequenced-packet socket without a connection. After shutdown(2) ``msg`` stays empty, but -EAGAIN is what
    a datagram socket answers to those that do not wait (``eof_is_eagain``).
    """
    if sock.kind == SOCK_SEQPACKET and sock.state != TCP_ESTABLISHED:
        return -errno.ENOTCONN
    if msg.flags & MSG_OOB:
        return -errno.EOPNOTSUPP
    if sock.err:
        return sock.sock_error()
    if not sock.queue:
        if sock.shutdown & RCV_SHUTDOWN:
            msg.eof = True
            return 0
        if sock.kind == SOCK_SEQPACKET and sock.state not in (TCP_ESTABLISHED, TCP_LISTEN):
            return -errno.ENOTCONN
        return sock.wait_on(sock.wq)
    skb = sock.queue[0]
    length = len(skb.data)
    size = min(msg.size, length)
    msg.parts = [skb.data[:size]]
    msg.copied = size
    msg.name = skb.sock.addr
    if size < length:
        msg.out_flags |= MSG_TRUNC
    msg.result = length if msg.flags & MSG_TRUNC else size
    msg.has_creds = sock.passcred
    msg.creds = skb.creds if skb.creds is not None else NOBODY
    if msg.flags & MSG_PEEK:
        msg.files = list(skb.files)
        for file in msg.files:
            file.get()
        return 0
    del sock.queue[0]
    msg.files = skb.files
    skb.files = []
    sock.made_room()
    skb.free()
    return 0
