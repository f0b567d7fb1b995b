"""Recording a native program with QEMU's user-mode emulator: ``pagewalk record --with qemu -- PROGRAM``.

A plugin (``c/qemu_plugin.c``, built with the host's C compiler at first use and kept beside Numba's code) writes each
fetch, load and store as one word to a pipe, and each call that changes the address space with its arguments.

Differs: addresses are those that QEMU gives the program. Children are not recorded. Threads are not told apart: their
accesses come in pieces of some thirty thousand. A program that a fault kills lacks the last piece. An instruction that
is begun again after a fault or a signal is there twice.
"""

import hashlib
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from pagewalk.errors import ConfigError, TraceError
from pagewalk.trace.events import Event
from pagewalk.trace.format import FETCH, Batch, TraceInfo
from pagewalk.trace.readers.lackey_calls import Calls
from pagewalk.trace.record_native import Capture, Captured, capture_to

__all__ = ["QemuPipe", "build_plugin", "qemu_capture"]

SOURCE: Final = Path(__file__).with_name("c") / "qemu_plugin.c"
_HEAD: Final = struct.Struct("<4I")
_CALLS: Final = {9: "mmap", 10: "mprotect", 11: "munmap", 12: "brk", 25: "mremap", 28: "madvise"}
_ARGUMENTS: Final = 6
_LONGEST: Final = 1 << 16  # words of a chunk


def qemu_capture(qemu: str = "qemu-x86_64") -> Capture:
    """Recording with QEMU. ConfigError where it, or what builds its plugin, is not installed."""
    program = shutil.which(qemu)
    if program is None:
        raise ConfigError(f"record: expected {qemu} to be installed (apt install qemu-user), found none")
    plugin = build_plugin(program)

    def capture(command: Sequence[str], path: Path) -> Captured:
        def arguments(fd: int) -> list[str]:
            return [program, "-plugin", f"{plugin},fd={fd}", *command]

        status = capture_to(path, arguments, lambda read_end: QemuPipe(read_end, command))
        return Captured(status, "threads are not told apart, children not recorded")

    return capture


def build_plugin(qemu: str) -> Path:
    """The plugin for this QEMU, built where it is not yet. ConfigError where QEMU has no plugins, or there is no C
    compiler."""
    from pagewalk.hw.jit import cache_folder

    try:
        shown = [
            subprocess.run([qemu, option], capture_output=True, text=True, timeout=20).stdout
            for option in ("--help", "--version")
        ]
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"record: {qemu} cannot be run: {error}") from None
    if "-plugin" not in shown[0]:
        raise ConfigError(f"record: expected a {qemu} with plugins (-plugin), this one is built without")
    major = re.search(r"version (\d+)", shown[1])
    version = 1 if major is None or int(major[1]) < 9 else 2  # of the plugin interface
    source = SOURCE.read_bytes()
    name = hashlib.sha256(source + bytes([version])).hexdigest()[:16]
    target = cache_folder() / f"qemu-plugin-{name}.so"
    if target.exists():
        return target
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise ConfigError("record: expected a C compiler (cc) to build QEMU's plugin with, found none")
    part = target.with_name(f"{target.name}.{os.getpid()}")
    flags = ["-O2", "-shared", "-fPIC", f"-DPLUGIN_VERSION={version}", "-o", str(part)]
    built = subprocess.run([compiler, *flags, str(SOURCE)], capture_output=True, text=True)
    if built.returncode:
        reason = built.stderr.strip().splitlines() or [f"status {built.returncode}"]
        raise ConfigError(f"record: {compiler} cannot build QEMU's plugin: {reason[0]}")
    part.replace(target)
    return target


class QemuPipe:
    """What the plugin writes, as it comes: batches of accesses with the events before them.

    ended    the plugin has said that this was all: not so where a signal has killed the program
    skipped  nothing is ever left out
    """

    def __init__(self, fd: int, command: Sequence[str]) -> None:
        self._fd = fd
        self._calls = Calls()
        self.ended = False
        self.skipped = 0
        self.info = TraceInfo(
            source="pagewalk record (qemu)", program=" ".join(command), arch="x86_64", has_events=True, has_fetches=True
        )

    def __iter__(self) -> Iterator[Batch]:
        waiting: list[tuple[int, Event]] = []
        with open(self._fd, "rb", buffering=1 << 20, closefd=False) as pipe:
            while head := pipe.read(_HEAD.size):
                if len(head) < _HEAD.size:
                    return  # killed in the middle of a word
                kind, zero, count, end = _HEAD.unpack(head)
                if chr(kind) not in "ACZ" or zero or end or count > _LONGEST:
                    raise TraceError(f"qemu's plugin: expected a chunk of accesses or a call, got {head.hex()}")
                data = pipe.read(8 * count)
                if len(data) < 8 * count:
                    return
                if chr(kind) == "A":
                    yield batch_of(np.frombuffer(data, np.int64), waiting)
                    waiting = []
                elif chr(kind) == "C":
                    event = self.event(data)
                    if event is not None:
                        waiting.append((0, event))
                else:
                    self.ended = True
        if waiting:
            yield batch_of(np.zeros(0, np.int64), waiting)

    def event(self, data: bytes) -> Event | None:
        """The event of a call that changed the address space: number, result, arguments, path."""
        fixed = 8 * (2 + _ARGUMENTS)
        number, result, *words = struct.unpack(f"<{2 + _ARGUMENTS}q", data[:fixed])
        path = data[fixed:].rstrip(b"\0").decode("utf-8", "replace")
        return self._calls.made(_CALLS[number], words, result, path) if number in _CALLS else None


def batch_of(words: "np.ndarray[tuple[int], np.dtype[np.int64]]", events: list[tuple[int, Event]]) -> Batch:
    """A batch of the plugin's words: address << 8 | bytes << 2 | what."""
    kinds = (words & 3).astype(np.uint8)
    sizes = (words >> 2 & 63).astype(np.uint16)
    return Batch.of(words >> 8, kinds, sizes, events=events, instructions=int((kinds == FETCH).sum()))
