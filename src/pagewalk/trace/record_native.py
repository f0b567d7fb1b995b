"""Recording a native program: ``pagewalk record -- PROGRAM``, with Valgrind's lackey or another recorder.

Under Valgrind the program runs at some hundredth of its speed, its standard streams its own. What is seen goes through
a pipe, and is read and written to the file as it comes, in constant memory. What the program and its dynamic linker map
is told by events; what was there before (the program itself, the linker, the stack) is inferred from what is touched.

Differs: addresses are those that valgrind gives the program; its preloaded library and the instructions that it puts in
place of a few string functions are among the accesses. Children are counted and not recorded. Threads run one at a
time, in turns that valgrind chooses.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from pagewalk.errors import ConfigError, TraceError
from pagewalk.trace.events import Fork
from pagewalk.trace.format import TraceSource
from pagewalk.trace.infer import InferredTrace
from pagewalk.trace.native import NativeTrace, NativeWriter
from pagewalk.trace.readers.base import BLOCK
from pagewalk.trace.readers.lackey import LackeyTrace

__all__ = ["Capture", "Captured", "Recorded", "capture_to", "record", "valgrind_capture"]

_PIPE_SIZE: Final = 1 << 20
_OPTIONS: Final = (
    "--tool=lackey",
    "--basic-counts=no",
    "--trace-mem=yes",
    "--trace-syscalls=yes",
    "--trace-sched=yes",
    "--trace-children=no",
    "--child-silent-after-fork=yes",
)


@dataclass(frozen=True)
class Recorded:
    """How it went: the program's exit status as a shell shows it, what was recorded, and what not."""

    status: int
    nr_accesses: int
    nr_events: int
    nr_threads: int
    inferred: str
    left_out: str

    def __str__(self) -> str:
        text = f"{self.nr_accesses:,} accesses, {self.nr_events:,} events"
        if self.inferred:
            text += f", {self.inferred}"
        if self.nr_threads > 1:
            text += f"; {self.nr_threads} threads"
        return f"{text}; {self.left_out}" if self.left_out else text


@dataclass(frozen=True)
class Captured:
    """A command has run: its exit status as a shell has it, and in words what it did that its trace does not tell."""

    status: int
    left_out: str = ""


Capture: TypeAlias = Callable[[Sequence[str], Path], Captured]
"""Runs a command and writes its trace (native format, mappings not inferred) to a file."""


def record(command: Sequence[str], path: Path, capture: Capture | None = None) -> Recorded:
    """Runs ``command`` (its first word the path of a program) and writes its trace to ``path``.

    capture  how: with Valgrind where it is not given

    Raises ConfigError where what is needed is not installed, TraceError where the file cannot be written or the
    recording does not succeed.
    """
    if capture is None:
        capture = valgrind_capture()
    if path.is_dir():
        raise TraceError(f"{path}: cannot be written: Is a directory")
    part = path.with_name(path.name + ".part")
    new = not path.exists()
    recorded = False
    for name in (path, part):
        try:
            name.open("ab").close()  # before the program has run
        except OSError as error:
            raise TraceError(f"{name}: cannot be written: {error.strerror}") from None
    try:
        captured = capture(command, part)
        recorded = any(len(batch) for batch in NativeTrace(part))
        if not recorded:
            raise TraceError(
                f"{command[0]} was not recorded: the recorder ended with status {captured.status} at its start"
            )
        whole = InferredTrace(NativeTrace(part))
        threads = 1
        with NativeWriter(path, whole.info) as writer:
            for batch in whole:
                threads += sum(isinstance(event, Fork) and event.shares_mm for _, event in batch.events)
                writer.write(batch)
    finally:
        part.unlink(missing_ok=True)
        if new and not recorded:
            path.unlink(missing_ok=True)
    inferred = whole.info.extra.get("inferred", "")
    return Recorded(captured.status, writer.nr_accesses, writer.nr_events, threads, inferred, captured.left_out)


def valgrind_capture(valgrind: str = "valgrind") -> Capture:
    """Recording with Valgrind's lackey. ConfigError where it is not installed."""
    program = shutil.which(valgrind)
    if program is None:
        raise ConfigError(f"record: expected {valgrind} to be installed (apt install valgrind), found none")

    def capture(command: Sequence[str], path: Path) -> Captured:
        pipes: list[_LackeyPipe] = []

        def arguments(fd: int) -> list[str]:
            return [program, *_OPTIONS, f"--log-fd={fd}", "--", *command]

        def reader(read_end: int) -> TraceSource:
            pipes.append(_LackeyPipe(read_end, command))
            return pipes[0]

        status = capture_to(path, arguments, reader)
        children = pipes[0].nr_children
        return Captured(status, f"not recorded: {children} child processes" if children else "")

    return capture


def capture_to(path: Path, arguments: Callable[[int], list[str]], reader: Callable[[int], TraceSource]) -> int:
    """Runs what ``arguments`` names, which writes to the descriptor that it is told; ``path`` gets what ``reader``
    makes of the other end. The exit status, as a shell has it."""
    read_end, write_end = os.pipe()
    try:
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        words = arguments(write_end)
        process = subprocess.Popen(words, pass_fds=(write_end,))
    except OSError as error:
        os.close(read_end)
        raise TraceError(f"{words[0]}: cannot be run: {error.strerror}") from None
    finally:
        os.close(write_end)
    try:
        trace = reader(read_end)
        with NativeWriter(path, trace.info) as writer:
            for batch in trace:
                writer.write(batch)
    except BaseException:
        process.kill()
        raise
    finally:
        os.close(read_end)
        status = process.wait()
    return 128 - status if status < 0 else status


class _LackeyPipe(LackeyTrace):
    """Lackey's lines as they come."""

    def __init__(self, fd: int, command: Sequence[str]) -> None:
        self._fd = fd
        super().__init__(Path("valgrind"), lenient=False)
        self._info.program = " ".join(command)
        self._info.source = "pagewalk record (lackey)"
        self._info.has_events = True
        self._info.arch = os.uname().machine

    def beginning(self) -> bytes:
        """A pipe cannot be looked into."""
        return b""

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        """See FileTrace: pieces as they come, collected to some size."""
        waiting: list[bytes] = []
        held = 0
        while block := os.read(self._fd, _PIPE_SIZE):
            waiting.append(block)
            held += len(block)
            if held >= size:
                yield b"".join(waiting)
                waiting, held = [], 0
        if waiting:
            yield b"".join(waiting)
