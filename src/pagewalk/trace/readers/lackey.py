"""Valgrind's ``lackey --trace-mem=yes``: one line for each instruction, load, store and modify.

Format: valgrind-3.19's manual, "Lackey: an example tool". A modify is one read and one write. Threads are not told.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pagewalk.trace.compressed import head
from pagewalk.trace.format import TraceInfo
from pagewalk.trace.readers.scan import ScannedTrace, scan_lackey, signature

__all__ = ["LackeyTrace"]

_RECORD: Final = re.compile(rb"(?:I | [LSM]) [0-9a-f]{1,16},\d{1,5}\r?$")
_OWN: Final = re.compile(rb"(==|--|\*\*)\d+\1")
_COMMAND: Final = re.compile(rb"^==\d+== Command: (.*)$", re.MULTILINE)


@functools.cache
def _scanner() -> Callable[..., bool]:
    from pagewalk.hw import jit

    return jit.compiled(scan_lackey, signature())


class LackeyTrace(ScannedTrace):
    """See above."""

    name = "lackey"
    expected = "' L ADDR,SIZE' (or S, M; or 'I  ADDR,SIZE')"

    def __init__(self, path: Path, lenient: bool = False) -> None:
        super().__init__(path, lenient)
        command = _COMMAND.search(head(path, 4096))
        program = command[1].decode("utf-8", "replace") if command else ""
        self._info = TraceInfo(source=self.name, program=program, has_fetches=True)

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
