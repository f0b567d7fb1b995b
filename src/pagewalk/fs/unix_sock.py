"""AF_UNIX sockets: one end, and what brings two of them together and apart.

How bytes go is ``unix_stream.py``'s and ``unix_dgram.py``'s business, names are ``unix_bind.py``'s. Where a call must
wait it answers WOULD_BLOCK and ``blocked_on`` is the queue whose waiters will be told.

Sources: unix(7), socketpair(2), listen(2), accept(2), shutdown(2).

Mirrors: net/unix/af_unix.c, net/core/sock.c (6.18)
Differs: no SO_PEEK_OFF, no SO_PASSPIDFD, no limit on descriptors on their way (ETOOMANYREFS).
"""

import errno
from typing import TYPE_CHECKING, Final, Optional, final

from pagewalk.fs.fcntl import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDNORM, POLLWRNORM
from pagewalk.fs.file import WOULD_BLOCK
from pagewalk.fs.skbuff import SkBuff, Ucred
from pagewalk.fs.socket_types import (
    MAX_DGRAM_QLEN,
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    SHUTDOWN_MASK,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOMAXCONN,
    SUN_PATH,
    TCP_CLOSE,
    TCP_ESTABLISHED,
    TCP_LISTEN,
    WMEM_DEFAULT,
)
from pagewalk.fs.wait import WaitQueueHead

if TYPE_CHECKING:
    from pagewalk.fs.dcache import Dentry
    from pagewalk.fs.file import VfsFile
    from pagewalk.fs.unix_bind import UnixTable

POLLRDBAND: Final = 0x80
POLLWRBAND: Final = 0x200
POLLRDHUP: Final = 0x2000
_DATA_READY: Final = POLLIN | POLLPRI | POLLRDNORM | POLLRDBAND
_WRITE_SPACE: Final = POLLOUT | POLLWRNORM | POLLWRBAND
_READABLE: Final = POLLIN | POLLRDNORM
_WRITABLE: Final = POLLOUT | POLLWRNORM | POLLWRBAND

UNNAMED: Final = b"\x01\x00"  # the address of a socket that has none
NO_PEERCRED: Final = (0, -1, -1)


@final
class UnixSock:
    """struct unix_sock.

    state      TCP_CLOSE, TCP_LISTEN, TCP_ESTABLISHED
    peer       the other end, or where a datagram socket sends; fans: datagram sockets that send here
    addr       struct sockaddr_un up to its end, b"" while it has none; path: what ``unix_bind.py`` made of it
    table, number  the machine's sockets, None for one of no machine; which of them it is
    page_size  of the machine, bytes
    file       its open file, None for a connection that nobody has accepted
    queue      what has arrived; of a listening socket, connections that wait for accept(2)
    oob        the message of one urgent byte, which has not been taken; inq_lost: such bytes as were passed over, which
               FIONREAD goes on counting
    backlog    how many messages or connections may wait, and one more
    sndbuf, rcvbuf  buffer sizes; wmem_alloc: truesize of what is on its way from here
    err        the error that the next call reports
    wq         who waits for this socket; peer_wait: who waits for room in its queue
    embryo     the other end of a connection that nobody has accepted yet; dead: closed
    """

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.state = TCP_CLOSE
        self.shutdown = 0
        self.err = 0
        self.peer: UnixSock | None = None
        self.fans: list[UnixSock] = []
        self.addr = b""
        self.path: Dentry | None = None
        self.table: UnixTable | None = None
        self.number = 0
        self.page_size = 4096
        self.file: VfsFile | None = None
        self.queue: list[SkBuff] = []
        self.oob: SkBuff | None = None
        self.inq_lost = 0
        self.backlog = MAX_DGRAM_QLEN
        self.sndbuf = WMEM_DEFAULT
        self.rcvbuf = WMEM_DEFAULT
        self.wmem_alloc = 0
        self.rcvlowat = 1
        self.rcvtimeo_ns = -1
        self.sndtimeo_ns = -1
        self.options: dict[int, int] = {}
        self.passcred = False
        self.peercred: Ucred = NO_PEERCRED
        self.wq = WaitQueueHead()
        self.peer_wait = WaitQueueHead()
        self.blocked_on: WaitQueueHead = self.wq
        self.embryo = False
        self.dead = False

    @property
    def connection_based(self) -> bool:
        """A stream or a sequence of packets."""
        return self.kind != SOCK_DGRAM

    def sock_error(self) -> int:
        """The pending error as a negative errno, which it is no more afterwards; 0."""
        error = self.err
        self.err = 0
        return -error

    def wait_on(self, queue: WaitQueueHead) -> int:
        """WOULD_BLOCK, until ``queue`` is told."""
        self.blocked_on = queue
        return WOULD_BLOCK

    # Buffers.

    def recvq_full(self) -> bool:
        """More messages wait than the backlog allows."""
        return len(self.queue) > self.backlog

    def writable(self) -> bool:
        """unix_writable: at most a quarter of the send buffer is in use."""
        return self.state != TCP_LISTEN and (self.wmem_alloc + 1) * 4 <= self.sndbuf

    def wmem_freed(self, truesize: int) -> None:
        """A message from here has been read, or is lost."""
        self.wmem_alloc -= truesize
        if self.writable():
            self.wq.wake_up(_WRITE_SPACE, 0)

    def deliver(self, other: "UnixSock", skb: SkBuff, sender: Ucred) -> None:
        """Queues a message at ``other``; who sent it is noted where either side wants to know, or nobody accepted the
        connection yet."""
        if skb.creds is None and (self.passcred or other.passcred or other.embryo):
            skb.creds = sender
        if skb.files and self.table is not None:
            self.table.tot_inflight = True
        self.wmem_alloc += skb.truesize
        other.queue.append(skb)
        other.data_ready()

    def data_ready(self) -> None:
        """sk_data_ready."""
        self.wq.wake_up(_DATA_READY)

    def state_change(self) -> None:
        """sk_state_change: everybody looks anew."""
        self.wq.wake_up(0, 0)

    def made_room(self) -> None:
        """A datagram or a connection has been taken from the queue."""
        self.peer_wait.wake_up(_WRITABLE)
        for fan in list(self.fans):
            fan.wq.wake_up(_WRITABLE)

    def purge(self) -> None:
        """Everything in the queue is lost."""
        queue = self.queue
        self.queue = []
        self.oob = None
        for skb in queue:
            if self.state == TCP_LISTEN:
                skb.sock.release()
            skb.free()

    # Two ends.

    def set_peer(self, other: Optional["UnixSock"]) -> None:
        """unix_peer(sk) = other."""
        if self.peer is not None and self in self.peer.fans:
            self.peer.fans.remove(self)
        self.peer = other
        if other is not None and self.kind == SOCK_DGRAM:
            other.fans.append(self)

    def pair_with(self, other: "UnixSock", creds: Ucred) -> None:
        """socketpair(2)."""
        self.set_peer(other)
        other.set_peer(self)
        for end in (self, other):
            end.peercred = creds
            end.state = TCP_ESTABLISHED

    def listen(self, backlog: int, creds: Ucred) -> int:
        """listen(2). EOPNOTSUPP: datagrams. EINVAL: without an address, or connected."""
        if self.kind == SOCK_DGRAM:
            return -errno.EOPNOTSUPP
        if not self.addr or self.state not in (TCP_CLOSE, TCP_LISTEN):
            return -errno.EINVAL
        if backlog < 0 or backlog > SOMAXCONN:
            backlog = SOMAXCONN
        if backlog > self.backlog:
            self.peer_wait.wake_up(0, 0)
        self.backlog = backlog
        self.state = TCP_LISTEN
        self.peercred = creds
        return 0

    def connect_stream(self, other: "UnixSock", creds: Ucred) -> int:
        """connect(2) to a listening socket: the other end waits there for accept(2).

        ECONNREFUSED: it does not listen. EISCONN; EINVAL: this one listens. WOULD_BLOCK: too many wait already.
        """
        if other.state != TCP_LISTEN or other.shutdown & RCV_SHUTDOWN:
            return -errno.ECONNREFUSED
        if other.recvq_full():
            return self.wait_on(other.peer_wait)
        if self.state != TCP_CLOSE:
            return -errno.EISCONN if self.state == TCP_ESTABLISHED else -errno.EINVAL
        end = UnixSock(self.kind)
        if self.table is not None:
            self.table.insert(end)
        end.embryo = True
        end.set_peer(self)
        end.state = TCP_ESTABLISHED
        end.peercred = creds
        end.addr = other.addr
        self.peercred = other.peercred
        self.state = TCP_ESTABLISHED
        self.set_peer(end)
        other.queue.append(SkBuff(end, b"", 0))
        other.data_ready()
        return 0

    def connect_dgram(self, other: Optional["UnixSock"]) -> int:
        """connect(2) of a datagram socket: where it sends and from whom it receives; None: everybody again. EPERM:
        ``other`` is somebody else's."""
        if other is not None:
            if not self.may_send(other):
                return -errno.EPERM
            self.state = other.state = TCP_ESTABLISHED
        old = self.peer
        self.set_peer(other)
        if other is None:
            self.state = TCP_CLOSE
        if old is not None and old is not other:
            self.disconnected(old)
            if old.peer is None:
                old.state = TCP_CLOSE
        return 0

    def may_send(self, other: "UnixSock") -> bool:
        """Whether ``other`` takes messages from here: it is connected to nobody else."""
        return other.peer is None or other.peer is self

    def disconnected(self, other: "UnixSock") -> None:
        """unix_dgram_disconnected: what came from the old peer is lost, of which that is told."""
        if self.queue:
            self.purge()
            self.peer_wait.wake_up(0, 0)
            if not other.dead and other.peer is self:
                other.err = errno.ECONNRESET
                other.wq.wake_up(POLLERR, 0)

    def accept(self, *, nonblock: bool) -> "UnixSock | int":
        """accept(2): the next connection. EOPNOTSUPP: datagrams. EINVAL: it does not listen, or was shut down.

        Without connections it answers EAGAIN to those that do not wait, though it was shut down.
        """
        if self.kind == SOCK_DGRAM:
            return -errno.EOPNOTSUPP
        if self.state != TCP_LISTEN:
            return -errno.EINVAL
        if self.err:
            return self.sock_error()
        if not self.queue:
            if nonblock:
                return -errno.EAGAIN
            return -errno.EINVAL if self.shutdown & RCV_SHUTDOWN else self.wait_on(self.wq)
        skb = self.queue.pop(0)
        self.made_room()
        skb.sock.embryo = False
        skb.sock.passcred = self.passcred
        return skb.sock

    def do_shutdown(self, how: int) -> int:
        """shutdown(2); ``how``: SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2."""
        if not 0 <= how <= 2:
            return -errno.EINVAL
        mode = how + 1
        self.shutdown |= mode
        self.state_change()
        other = self.peer
        if other is not None and self.connection_based:
            if mode & RCV_SHUTDOWN:
                other.shutdown |= SEND_SHUTDOWN
            if mode & SEND_SHUTDOWN:
                other.shutdown |= RCV_SHUTDOWN
            other.state_change()
        return 0

    def release(self) -> None:
        """The socket is closed."""
        if self.table is not None:
            self.table.unbind(self)
        self.dead = True
        self.shutdown = SHUTDOWN_MASK
        other = self.peer
        self.set_peer(None)
        self.peer_wait.wake_up(0, 0)
        if other is not None and self.connection_based:
            other.shutdown = SHUTDOWN_MASK
            unread = len(self.queue) > 1 or (len(self.queue) == 1 and self.queue[0].length() > 0)
            if unread or self.embryo:
                other.err = errno.ECONNRESET
            other.state_change()
        for fan in list(self.fans):
            fan.wq.wake_up(_WRITABLE)
        self.purge()
        self.state = TCP_CLOSE

    # What it says about itself.

    def name(self) -> bytes:
        """getsockname(2)."""
        return self.addr or UNNAMED

    def poll(self) -> int:
        """POLL* bits."""
        events = 0
        if self.err:
            events |= POLLERR
        if self.shutdown == SHUTDOWN_MASK:
            events |= POLLHUP
        if self.shutdown & RCV_SHUTDOWN:
            events |= POLLRDHUP | _READABLE
        if self.queue:
            events |= _READABLE
        if self.oob is not None:
            events |= POLLPRI
        if self.connection_based and self.state == TCP_CLOSE:
            events |= POLLHUP
        if self.writable() and not self.peer_full():
            events |= _WRITABLE
        return events

    def peer_full(self) -> bool:
        """Whether a datagram to the peer would have to wait for room in its queue."""
        other = self.peer
        return self.kind != SOCK_STREAM and other is not None and other.peer is not self and other.recvq_full()

    def inq_len(self) -> int:
        """FIONREAD: all bytes of a stream or a sequence, those of the next datagram; -EINVAL where it listens."""
        if self.state == TCP_LISTEN:
            return -errno.EINVAL
        if self.kind in (SOCK_STREAM, SOCK_SEQPACKET):
            total = self.inq_lost
            for skb in self.queue:
                total += skb.length()
            return total
        return self.queue[0].length() if self.queue else 0

    def refcount(self) -> int:
        """sk_refcnt: itself and the table, and each socket whose peer it is."""
        count = 2 + len(self.fans)
        if self.connection_based and self.peer is not None and self.peer.peer is self:
            count += 1
        return count

    def at_mark(self) -> bool:
        """SIOCATMARK: whether the next byte is the urgent one, or was it."""
        if not self.queue:
            return False
        first = self.queue[0]
        if first is self.oob:
            return True
        return first.length() == 0 and (self.oob is None or (len(self.queue) > 1 and self.queue[1] is self.oob))

    def path_name(self) -> str:
        """The path that it is bound to, or "@" and the abstract name, for /proc/net/unix and reports."""
        raw = self.addr[SUN_PATH:]
        return (
            raw.rstrip(b"\0").decode(errors="replace") if raw[:1] != b"\0" else "@" + raw[1:].decode(errors="replace")
        )
