"""Any sequence of calls on AF_UNIX sockets answers what the running kernel answers: bytes, errors, poll bits, room."""

import errno
import fcntl
import os
import random
import select
import socket
import struct
import sys
import termios

import pytest

from pagewalk.config import Config
from pagewalk.fs.file import WOULD_BLOCK
from pagewalk.fs.fs_struct import FsStruct
from pagewalk.fs.namespace import host_namespace
from pagewalk.fs.skbuff import RecvMsg, SendMsg
from pagewalk.fs.socket import SocketFile
from pagewalk.fs.socket_types import SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from pagewalk.fs.unix_bind import UnixTable, unix_bind, unix_find_other, validate_addr
from pagewalk.fs.unix_sock import UnixSock
from pagewalk.mm.system import System

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux")

SIZES = (0, 1, 10, 192, 193, 1000, 3776, 3777, 4096, 20000, 40000, 70000, 212000, 212961, 300000)
EVENTS = 0x1 | 0x2 | 0x4 | 0x40 | 0x100 | 0x80 | 0x200 | 0x2000
KINDS = (
    "send", "send", "recv", "recv", "poll", "room", "shutdown", "connect", "bind", "listen", "accept", "close", "new",
    "pair", "sendto",
)  # fmt: skip
ME = (os.getpid(), os.getuid(), os.getgid())


class Twin:
    """Sockets of the host and of the model, side by side."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.system = System(Config(ram="64M"))
        self.ns = host_namespace(self.system, [], warm=True)
        self.fs = FsStruct(self.ns)
        self.table = UnixTable()
        self.ours: list[SocketFile] = []
        self.theirs: list[socket.socket] = []
        self.names: list[bytes] = []
        self.tag = struct.pack("<Q", random.getrandbits(64))
        self.sent = 0

    def add(self, theirs: socket.socket, ours: UnixSock) -> None:
        theirs.setblocking(False)
        self.theirs.append(theirs)
        self.ours.append(SocketFile(self.system, ours, os.O_NONBLOCK))

    def made(self) -> UnixSock:
        sock = UnixSock(self.kind)
        self.table.insert(sock)
        return sock

    def new(self) -> None:
        self.add(socket.socket(socket.AF_UNIX, self.kind), self.made())

    def pair(self) -> None:
        ours = self.made(), self.made()
        ours[0].pair_with(ours[1], ME)
        for one, other in zip(socket.socketpair(socket.AF_UNIX, self.kind), ours, strict=True):
            self.add(one, other)

    def close(self, at: int) -> None:
        self.theirs.pop(at).close()
        self.ours.pop(at).put()

    def close_all(self) -> None:
        while self.ours:
            self.close(0)
        self.fs.exit()
        self.ns.close()

    def name(self, rng: random.Random) -> bytes:
        return b"\0" + self.tag + bytes([rng.randrange(3)])

    def find(self, name: bytes) -> "UnixSock | int":
        addr = b"\1\0" + name
        return validate_addr(addr) or unix_find_other(self.table, self.fs, None, self.kind, addr)


def native(call: object, *args: object) -> object:
    try:
        return call(*args)  # type: ignore[operator]
    except OSError as err:
        return -(err.errno or 0)


def settled(answer: int) -> int:
    return -errno.EAGAIN if answer == WOULD_BLOCK else answer


def send(twin: Twin, at: int, data: bytes, name: bytes) -> int:
    file = twin.ours[at]
    target: UnixSock | int | None = None
    msg = SendMsg(data, 0)
    if name and twin.kind == SOCK_DGRAM:
        target = twin.find(name)
    elif name and twin.kind == SOCK_STREAM:
        msg.name = name
    result = settled(file.send(msg, target))
    return msg.sent or result


def receive(twin: Twin, at: int, size: int, flags: int) -> object:
    file = twin.ours[at]
    msg = RecvMsg(size, flags)
    result = settled(file.receive(msg))
    if msg.copied and result < 0:
        result, msg.result = 0, msg.copied
    if result < 0:
        return result
    if msg.eof and not file.sock.connection_based:
        return -errno.EAGAIN
    return msg.data(), msg.out_flags, msg.name[2:]


def host_receive(sock: socket.socket, size: int, flags: int) -> object:
    data, _, out, name = sock.recvmsg(size, 0, flags)
    if isinstance(name, str):
        name = name.encode() + b"\0" if name else b""
    return data, out & 0x20, name or b""


def host_poll(sock: socket.socket) -> int:
    poller = select.poll()
    poller.register(sock.fileno(), EVENTS)
    return next((events for _, events in poller.poll(0)), 0)


def host_ioctl(sock: socket.socket, cmd: int) -> object:
    return native(fcntl.ioctl, sock.fileno(), cmd, bytes(4))


def connect(twin: Twin, at: int, name: bytes) -> int:
    found = twin.find(name)
    if isinstance(found, int):
        return found
    sock = twin.ours[at].sock
    if twin.kind == SOCK_DGRAM:
        return sock.connect_dgram(found)
    return settled(sock.connect_stream(found, ME))


def accept(twin: Twin, at: int) -> tuple[object, object]:
    expected = native(twin.theirs[at].accept)
    found = twin.ours[at].sock.accept(nonblock=True)
    if isinstance(expected, tuple) and isinstance(found, UnixSock):
        twin.add(expected[0], found)
        return 0, 0
    return (0 if isinstance(expected, tuple) else expected), found


def one_step(twin: Twin, rng: random.Random) -> tuple[str, object, object]:
    """(what was done, the kernel's answer, the model's)."""
    what = rng.choice(KINDS)
    at = rng.randrange(len(twin.ours))
    host, sock = twin.theirs[at], twin.ours[at].sock
    name = twin.name(rng)
    if what in ("send", "sendto"):
        twin.sent += 1
        size = rng.choice(SIZES)
        data = struct.pack("<I", twin.sent) * (size // 4) + bytes(size % 4)
        if what == "send":
            return f"send {at} {size}", native(host.send, data), send(twin, at, data, b"")
        return f"sendto {at} {size} {name[-1]}", native(host.sendto, data, name), send(twin, at, data, name)
    if what == "recv":
        size = rng.choice(SIZES)
        flags = rng.choice((0, 0, 0, socket.MSG_PEEK, socket.MSG_TRUNC if twin.kind != SOCK_STREAM else 0))
        if size == 0 and twin.kind == SOCK_STREAM:
            size = 5
        return f"recv {at} {size} {flags}", native(host_receive, host, size, flags), receive(twin, at, size, flags)
    if what == "poll":
        return f"poll {at}", host_poll(host), sock.poll()
    if what == "room":
        expected = [host_ioctl(host, cmd) for cmd in (termios.FIONREAD, termios.TIOCOUTQ)]
        return (
            f"room {at}",
            expected,
            [twin.ours[at].ioctl_bytes(cmd, b"") for cmd in (termios.FIONREAD, termios.TIOCOUTQ)],
        )
    if what == "shutdown" and rng.random() < 0.3:
        how = rng.randrange(4)
        found = sock.do_shutdown(how)
        return f"shutdown {at} {how}", native(host.shutdown, how) or 0, found
    if what == "connect":
        return f"connect {at} {name[-1]}", native(host.connect, name) or 0, connect(twin, at, name)
    if what == "bind":
        found = unix_bind(twin.table, twin.fs, None, sock, b"\1\0" + name)
        return f"bind {at} {name[-1]}", native(host.bind, name) or 0, found
    if what == "listen":
        backlog = rng.choice((-1, 0, 1, 5))
        return f"listen {at} {backlog}", native(_listen, host, backlog) or 0, sock.listen(backlog, ME)
    if what == "accept":
        return f"accept {at}", *accept(twin, at)
    if what == "close" and len(twin.ours) > 3:
        twin.close(at)
    elif what == "new" and len(twin.ours) < 14:
        twin.new()
    elif what == "pair" and len(twin.ours) < 14:
        twin.pair()
    return f"{what} {at}", 0, 0


def _listen(host: socket.socket, backlog: int) -> int:
    """Python cuts negative backlogs."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    return 0 if libc.listen(host.fileno(), backlog) == 0 else -ctypes.get_errno()


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET])
@pytest.mark.parametrize("seed", range(8))
def test_random_calls(kind: int, seed: int) -> None:
    rng = random.Random(seed)
    twin = Twin(kind)
    twin.pair()
    twin.new()
    twin.new()
    log: list[str] = []
    try:
        for _ in range(2500):
            what, expected, found = one_step(twin, rng)
            if isinstance(expected, tuple) and isinstance(found, tuple) and expected != found:
                expected = (len(expected[0]), expected[0][:8], *expected[1:])
                found = (len(found[0]), found[0][:8], *found[1:])
            shown = (len(expected[0]), *expected[1:]) if isinstance(expected, tuple) else expected
            log.append(f"{what}: {shown}")
            assert found == expected, "\n".join(log[-30:])
            polled = [(host_poll(host), ours.poll()) for host, ours in zip(twin.theirs, twin.ours, strict=True)]
            assert [one for one, _ in polled] == [other for _, other in polled], "\n".join(log[-30:])
    finally:
        twin.close_all()
