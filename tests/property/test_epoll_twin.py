"""Any sequence of calls on epoll instances answers what the running kernel answers: errors, events and their order."""

import errno
import fcntl
import itertools
import os
import random
import select
import sys

import pytest

from pagewalk.config import Config
from pagewalk.fs.eventfd import make_eventfd
from pagewalk.fs.eventpoll import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLONESHOT,
    EventPoll,
    EventSink,
)
from pagewalk.fs.file import VfsFile
from pagewalk.fs.pipe import make_pipe
from pagewalk.mm.system import System

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux")


class Sink(EventSink):
    """Collects (data, events)."""

    def __init__(self) -> None:
        self.events: list[tuple[int, int]] = []

    def put(self, revents: int, data: int) -> bool:
        self.events.append((data, revents))
        return True


class Twin:
    """Descriptors of the host and files of the model under the same numbers."""

    def __init__(self) -> None:
        self.system = System(Config(ram="16M"))
        self.files: dict[int, VfsFile] = {}
        self.epolls: list[int] = []
        self.epoll_objects: dict[int, select.epoll] = {}
        self.kinds: dict[int, str] = {}

    def add(self, fd: int, file: VfsFile, kind: str) -> None:
        self.files[fd] = file
        self.kinds[fd] = kind

    def pipe(self) -> None:
        fds = os.pipe2(os.O_NONBLOCK)
        for fd, file, kind in zip(fds, make_pipe(self.system, os.O_NONBLOCK), ("reader", "writer"), strict=True):
            self.add(fd, file, kind)

    def eventfd(self) -> None:
        self.add(os.eventfd(0, os.O_NONBLOCK), make_eventfd(self.system, 0, os.O_NONBLOCK), "eventfd")

    def epoll(self) -> None:
        poller = select.epoll()
        self.epoll_objects[poller.fileno()] = poller
        self.epolls.append(poller.fileno())
        self.add(poller.fileno(), EventPoll(self.system), "epoll")

    def dup(self, fd: int) -> None:
        file = self.files[fd]
        file.get()
        self.add(os.dup(fd), file, self.kinds[fd])

    def close(self, fd: int) -> None:
        if fd in self.epoll_objects:
            self.epoll_objects.pop(fd).close()
            self.epolls.remove(fd)
        else:
            os.close(fd)
        self.files.pop(fd).put()
        del self.kinds[fd]

    def close_all(self) -> None:
        for fd in list(self.files):
            self.close(fd)

    def host_ctl(self, ep: int, op: int, fd: int, events: int) -> int:
        poller = self.epoll_objects[ep]
        try:
            if op == EPOLL_CTL_ADD:
                poller.register(fd, events)
            elif op == EPOLL_CTL_DEL:
                poller.unregister(fd)
            else:
                poller.modify(fd, events)
        except OSError as err:
            return -(err.errno or 0)
        return 0

    def model(self, ep: int) -> EventPoll:
        file = self.files[ep]
        assert isinstance(file, EventPoll)
        return file


def native(call: object, *args: object) -> object:
    try:
        return call(*args)  # type: ignore[operator]
    except OSError as err:
        return -(err.errno or 0)


def one_step(twin: Twin, rng: random.Random) -> tuple[str, object, object]:
    """(what was done, the kernel's answer, the model's)."""
    what = rng.choice(("ctl", "ctl", "ctl", "use", "use", "use", "wait", "wait", "dup", "close", "new"))
    fd = rng.choice(list(twin.files))
    kind = twin.kinds[fd]
    ep = rng.choice(twin.epolls)
    if what == "ctl":
        op = rng.choice((EPOLL_CTL_ADD, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL))
        events = rng.choice((1, 1, 4, 5, 0, 0x2015))
        events |= rng.choice((0, 0, EPOLLET, EPOLLONESHOT, EPOLLET | EPOLLONESHOT, EPOLLEXCLUSIVE))
        found = twin.model(ep).ctl(op, twin.files[fd], fd, events, fd)
        return f"ctl {ep} {op} {fd} {kind} {events:x}", twin.host_ctl(ep, op, fd, events), found
    if what == "wait":
        most = rng.choice((1, 2, 100))
        sink = Sink()
        if twin.model(ep).available():
            twin.model(ep).send_events(sink, most)
        return f"wait {ep} {most}", twin.epoll_objects[ep].poll(0, most), sink.events
    if what == "use" and kind != "epoll":
        if kind == "reader":
            size = rng.choice((1, 4096, 70000))
            expected, found = native(os.read, fd, size), twin.files[fd].read(size)
            if isinstance(expected, bytes) and isinstance(found, bytes):
                expected, found = len(expected), len(found)
            return f"read {fd}", expected, found
        if kind == "writer":
            data = bytes(rng.choice((1, 4096, 30000)))
            return f"write {fd} {len(data)}", native(os.write, fd, data), twin.files[fd].write(data)
        if rng.random() < 0.5:
            return f"eventfd read {fd}", native(os.read, fd, 8), twin.files[fd].read(8)
        return f"eventfd write {fd}", native(os.write, fd, b"\1" + bytes(7)), twin.files[fd].write(b"\1" + bytes(7))
    if what == "dup" and kind != "epoll" and len(twin.files) < 24:
        twin.dup(fd)
    elif what == "close" and len(twin.files) > 10 and (kind != "epoll" or len(twin.epolls) > 3):
        twin.close(fd)
    elif what == "new" and len(twin.files) < 24:
        rng.choice((twin.pipe, twin.eventfd, twin.epoll))()
    return f"{what} {fd} {kind}", 0, 0


@pytest.mark.parametrize("seed", range(16))
def test_random_calls(seed: int) -> None:
    rng = random.Random(seed)
    twin = Twin()
    for make in (twin.epoll, twin.epoll, twin.epoll, twin.pipe, twin.pipe, twin.eventfd, twin.eventfd):
        make()
    log: list[str] = []
    try:
        for _ in range(3000):
            what, expected, found = one_step(twin, rng)
            log.append(f"{what}: {expected}")
            assert found == expected, "\n".join(log[-30:])
    finally:
        twin.close_all()


def test_instances_nest_up_to_five_and_never_in_a_circle() -> None:
    twin = Twin()
    for _ in range(7):
        twin.epoll()
    fds = list(twin.epolls)
    for inner, outer in itertools.pairwise(fds):
        assert twin.host_ctl(outer, EPOLL_CTL_ADD, inner, 1) == twin.model(outer).ctl(
            EPOLL_CTL_ADD, twin.files[inner], inner, 1, inner
        )
    for inner, outer in ((fds[4], fds[0]), (fds[6], fds[0]), (fds[0], fds[0])):
        assert twin.host_ctl(outer, EPOLL_CTL_ADD, inner, 1) == twin.model(outer).ctl(
            EPOLL_CTL_ADD, twin.files[inner], inner, 1, inner
        )
    twin.close_all()


def test_a_regular_file_cannot_be_watched() -> None:
    poller = select.epoll()
    with open(__file__, "rb") as file, pytest.raises(PermissionError):
        poller.register(file.fileno())
    poller.close()
    twin = Twin()
    reader, _ = make_pipe(twin.system, 0)
    instance = EventPoll(twin.system)
    assert instance.ctl(EPOLL_CTL_ADD, instance, 3, 1, 0) == -errno.EINVAL
    assert instance.ctl(9, reader, 4, 1, 0) == -errno.EINVAL


def test_a_watched_stream_of_the_host_is_reported_once_for_each_edge() -> None:
    from pagewalk.fs.host_cache import HostCache
    from pagewalk.fs.stream import host_stream

    system = System(Config(ram="16M"))
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK)
    stream = host_stream(system, HostCache(system, False), reader)
    assert stream is not None
    instance = EventPoll(system)
    assert instance.ctl(EPOLL_CTL_ADD, stream, 0, 1 | EPOLLET, 7) == 0
    outer = EventPoll(system)
    assert outer.ctl(EPOLL_CTL_ADD, instance, 5, 1, 8) == 0
    assert [fd for fd, _ in outer.host_fds()] == [fd for fd, _ in instance.host_fds()]
    for _ in range(2):
        assert outer.poll() == 0
        os.write(writer, b"x")
        assert outer.poll() == 0x41
        sink = Sink()
        instance.check_hosts()
        assert instance.send_events(sink, 10) == 1
        assert sink.events == [(7, 1)]
    stream.put()
    assert instance.host_fds() == []
    instance.put()
    os.close(reader)
    os.close(writer)
