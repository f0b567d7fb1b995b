"""Recording a native program with Valgrind's lackey: ``pagewalk record -- PROGRAM``.

The program runs at some hundredth of its speed, its standard streams its own. Valgrind writes what it sees into a pipe,
which is read and written to the file as it comes, in constant memory. What the program and its dynamic linker map is
told by events; what was there before (the program itself, the linker, the stack) is inferred from what is touched.

Differs: addresses are those that valgrind gives the program; its preloaded library and the instructions that it puts in
place of a few string functions are among the accesses. Children are not recorded, nor which thread an access is of.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pagewalk.errors import ConfigError, TraceError
from pagewalk.trace.infer import InferredTrace
from pagewalk.trace.native import NativeTrace, NativeWriter
from pagewalk.trace.readers.base import BLOCK
from pagewalk.trace.readers.lackey import LackeyTrace

__all__ = ["Recorded", "record"]

_PIPE_SIZE: Final = 1 << 20
_OPTIONS: Final = (
    "--tool=lackey",
    "--basic-counts=no",
    "--trace-mem=yes",
    "--trace-syscalls=yes",
    "--trace-children=no",
    "--child-silent-after-fork=yes",
)


@dataclass(frozen=True)
class Recorded:
    """How it went: the program's exit status as a shell shows it, and what was recorded."""

    status: int
    nr_accesses: int
    nr_events: int
    inferred: str


def record(command: Sequence[str], path: Path, valgrind: str = "valgrind") -> Recorded:
    """Runs ``command`` (its first word the path of a program) and writes its trace to ``path``.

    Raises ConfigError where valgrind is not installed, TraceError where the file cannot be written or the recording
    does not succeed.
    """
    program = shutil.which(valgrind)
    if program is None:
        raise ConfigError(f"record: expected {valgrind} to be installed (apt install valgrind), found none")
    part = path.with_name(path.name + ".part")
    for name in (path, part):
        try:
            name.open("ab").close()  # before the program has run
        except OSError as error:
            raise TraceError(f"{name}: cannot be written: {error.strerror}") from None
    try:
        status = _capture(program, command, part)
        whole = InferredTrace(NativeTrace(part))
        with NativeWriter(path, whole.info) as writer:
            for batch in whole:
                writer.write(batch)
    finally:
        part.unlink(missing_ok=True)
    if not writer.nr_accesses:
        raise TraceError(f"{path}: {command[0]} was not recorded: valgrind ended with status {status} at its start")
    return Recorded(status, writer.nr_accesses, writer.nr_events, whole.info.extra.get("inferred", ""))


def _capture(valgrind: str, command: Sequence[str], path: Path) -> int:
    """The program's exit status; its trace, with the calls that valgrind has seen, is in ``path``."""
    read_end, write_end = os.pipe()
    try:
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        arguments = [valgrind, *_OPTIONS, f"--log-fd={write_end}", "--", *command]
        process = subprocess.Popen(arguments, pass_fds=(write_end,))
    except OSError as error:
        os.close(read_end)
        raise TraceError(f"{valgrind}: cannot be run: {error.strerror}") from None
    finally:
        os.close(write_end)
    try:
        trace = _LackeyPipe(read_end, command)
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
