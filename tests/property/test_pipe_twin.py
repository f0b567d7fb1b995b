"""Any sequence of calls on a pipe answers what the running kernel's pipe answers, to the byte and the poll bit."""

import errno
import fcntl
import os
import random
import select
import struct
import sys
import termios

import pytest

from pagewalk.config import Config
from pagewalk.fs.pipe import PipeFile, make_pipe
from pagewalk.mm.system import System

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux")

SIZES = (1, 2, 100, 1000, 4095, 4096, 4097, 5000, 8192, 12288, 20000, 65536, 70000)
ALL_EVENTS = 0x1 | 0x2 | 0x4 | 0x40 | 0x100


class Twin:
    """Pipes of the host and of the model, one beside the other."""

    def __init__(self, flags: int) -> None:
        self.system = System(Config(ram="16M"))
        self.system.current.capable = False  # beyond the limit of sysctl fs.pipe-max-size is EPERM on both sides
        self.ours: list[PipeFile] = []
        self.theirs: list[int] = []
        for _ in range(2):
            reader, writer = make_pipe(self.system, os.O_NONBLOCK | flags)
            assert isinstance(reader, PipeFile) and isinstance(writer, PipeFile)
            self.ours += [reader, writer]
            self.theirs += list(os.pipe2(os.O_NONBLOCK | flags))
        self.counter = 0

    def close(self) -> None:
        for fd in self.theirs:
            os.close(fd)

    def data(self, size: int) -> bytes:
        self.counter += 1
        return struct.pack("<I", self.counter) * (size // 4) + bytes([self.counter & 255]) * (size % 4)


def native(call: object, *args: object) -> object:
    try:
        return call(*args)  # type: ignore[operator]
    except OSError as err:
        return -(err.errno or 0)


def poll_host(fd: int) -> int:
    poller = select.poll()
    poller.register(fd, ALL_EVENTS)
    return next((events for _, events in poller.poll(0)), 0)


def fionread(fd: int) -> bytes:
    return fcntl.ioctl(fd, termios.FIONREAD, bytes(4))


def splice(source: int, target: int, count: int) -> int:
    return os.splice(source, target, count, flags=2)


def splice_model(twin: Twin, count: int) -> int:
    source, target = twin.ours[0].pipe, twin.ours[3].pipe
    if source.empty() or target.full():
        return -errno.EAGAIN
    return target.move_from(source, count)


@pytest.mark.parametrize("flags", [0, os.O_DIRECT])
@pytest.mark.parametrize("seed", range(6))
def test_random_calls(seed: int, flags: int) -> None:
    rng = random.Random(seed)
    twin = Twin(flags)
    log: list[str] = []
    try:
        for _ in range(1500):
            which = rng.choice((0, 2))
            size = rng.choice(SIZES)
            what = rng.choice(("read", "write", "write", "read", "poll", "resize", "splice", "waiting"))
            reader, writer = twin.ours[which], twin.ours[which + 1]
            host_reader, host_writer = twin.theirs[which], twin.theirs[which + 1]
            if what == "read":
                expected, found = native(os.read, host_reader, size), reader.read(size)
            elif what == "write":
                data = twin.data(size)
                expected, found = native(os.write, host_writer, data), writer.write(data)
            elif what == "poll":
                expected = (poll_host(host_reader), poll_host(host_writer))
                found = (reader.poll(), writer.poll())
            elif what == "resize":
                size = rng.choice((0, 1, 4096, 5000, 16384, 65536, 65536, 1 << 17))
                expected, found = native(fcntl.fcntl, host_writer, 1031, size), writer.set_pipe_size(size)
            elif what == "splice":
                expected = native(splice, twin.theirs[0], twin.theirs[3], size)
                found = splice_model(twin, size)
            else:
                expected, found = fionread(host_reader), reader.ioctl_bytes(termios.FIONREAD, b"")
            log.append(f"{what} pipe {which // 2} {size}")
            assert found == expected, "\n".join(log[-12:])
    finally:
        twin.close()


@pytest.mark.parametrize("first", [0, 1])
def test_closing_one_side(first: int) -> None:
    twin = Twin(0)
    assert twin.ours[1].write(b"rest") == os.write(twin.theirs[1], b"rest")
    twin.ours[first].put()
    os.close(twin.theirs[first])
    twin.theirs[first] = os.open("/dev/null", os.O_RDONLY)
    other = 1 - first
    for _ in range(2):
        assert twin.ours[other].poll() == poll_host(twin.theirs[other])
        if other == 0:
            assert twin.ours[0].read(10) == os.read(twin.theirs[0], 10)
        else:
            assert twin.ours[1].write(b"x") == native(os.write, twin.theirs[1], b"x") == -errno.EPIPE
    twin.close()
