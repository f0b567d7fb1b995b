"""Valgrind's ``lackey --trace-mem=yes``: one line for each instruction, load, store and modify.

Format: valgrind-3.19's manual, "Lackey: an example tool". A modify is one read and one write. Threads are not told.
With ``--trace-syscalls=yes`` the calls that change the address space become events (``lackey_calls``).
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from pagewalk.trace.compressed import head
from pagewalk.trace.events import Event
from pagewalk.trace.format import TraceInfo
from pagewalk.trace.readers.lackey_calls import Calls
from pagewalk.trace.readers.scan import ScannedTrace, scan_lackey, signature

__all__ = ["LackeyTrace"]

_RECORD: Final = re.compile(rb"(?:I | [LSM]) [0-9a-f]{1,16},\d{1,5}\r?$")
_OWN: Final = re.compile(rb"(==|--|\*\*)\d+\1|SYSCALL\[| -->")
_COMMAND: Final = re.compile(rb"^==\d+== Command: (.*)$", re.MULTILINE)


@functools.cache
def _scanner() -> Callable[..., bool]:
    import numba

    from pagewalk.hw import jit

    types: Any = numba.types
    return jit.compiled(scan_lackey, signature(types.Array(types.int64, 2, "C")))


class LackeyTrace(ScannedTrace):
    """See above."""

    name = "lackey"
    expected = "' L ADDR,SIZE' (or S, M; or 'I  ADDR,SIZE')"

    def __init__(self, path: Path, lenient: bool = False) -> None:
        super().__init__(path, lenient)
        self._calls = Calls()
        start = self.beginning()
        command = _COMMAND.search(start[:4096])
        program = command[1].decode("utf-8", "replace") if command else ""
        self._info = TraceInfo(source=self.name, program=program, has_fetches=True, has_events=b"\nSYSCALL[" in start)

    def beginning(self) -> bytes:
        """Some of the content, to see what it tells."""
        return head(self.path, 1 << 21)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """The first line that is not valgrind's own decides."""
        for line in head.split(b"\n"):
            if line.strip() and not _OWN.match(line):
                return _RECORD.match(line) is not None
        return b"Lackey, an example Valgrind tool" in head

    def scanner(self) -> Callable[..., bool]:
        """See ScannedTrace."""
        return _scanner()

    def more_arguments(self, data: bytes) -> tuple[Any, ...]:
        """See ScannedTrace."""
        return (np.zeros((data.count(b"SYSCALL[") + 1, 2), np.int64),)

    def events(self, data: bytes, first: int, more: tuple[Any, ...]) -> list[tuple[int, Event]]:
        """See ScannedTrace."""
        if first == 1:
            self._calls = Calls()
        marks = more[0]
        found: list[tuple[int, Event]] = []
        for start, position in marks[1 : 1 + int(marks[0, 0])].tolist():
            event = self._calls.event(data[start : data.index(b"\n", start)])
            if event is not None:
                found.append((position, event))
        return found
