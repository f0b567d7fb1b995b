"""DynamoRIO's drmemtrace as its ``view`` tool prints it (``drrun -t drmemtrace -tool view``).

Format: a memref a line; ``47446 37770: 2765543 read 8 byte(s) @ 0x00007fdf64e2adc8 by PC 0x0000000000404a7e``: record,
instruction (older releases leave it out), thread (``W0.T292`` or ``T292`` in some), what, how much, where. Instruction
fetches, reads and writes are accesses; markers, prefetches, flushes, the second line of an instruction of more bytes
than fit on one, instructions that are not fetched again (of ``rep movs``) and the tool's own lines are passed over.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from pagewalk.trace.compressed import head
from pagewalk.trace.format import TraceInfo
from pagewalk.trace.readers.scan import ScannedTrace, signature
from pagewalk.trace.readers.scan_memref import scan_memref

__all__ = ["DynamorioTrace"]

_PREFIX: Final = rb"[ \t]*\d+(?:[ \t]+\d+)?:[ \t]+(?:W\d+\.)?T?(-?\d+)[ \t]+"
_RECORD: Final = re.compile(_PREFIX + rb"([a-z][\w.-]*)[ \t]+(\d+) byte\(s\) @ 0x([0-9a-f]+)\b")
_MARKER: Final = re.compile(_PREFIX + rb"<")
_OWN: Final = re.compile(
    rb"\s*$|Output format:|<-|-{5,}|={5,}|View tool results:|[ \t]*\d+ : total |<record#>|[ \t]*\d+: T\d+ <"
    rb"|Trace invariant checks"
)
_PAGE_SIZE: Final = re.compile(rb"<marker: page size (\d+)>")
_ASIDE: Final = re.compile(_PREFIX + rb"(?:pref|iflush|dflush|non-fetched|header|encoding)")
_MIDDLE: Final = np.frombuffer(b" byte(s) @ 0x", np.uint8)


@functools.cache
def _scanner() -> Callable[..., bool]:
    import numba

    from pagewalk.hw import jit

    types: Any = numba.types
    return jit.compiled(scan_memref, signature(types.Array(types.uint8, 1, "C", readonly=True)))


class DynamorioTrace(ScannedTrace):
    """See above."""

    name = "dynamorio"
    expected = "'RECORD INSTR: TID read|write|ifetch N byte(s) @ 0xADDR ...'"

    def __init__(self, path: Path, lenient: bool = False) -> None:
        super().__init__(path, lenient)
        found = _PAGE_SIZE.search(head(path, 1 << 14))
        size = int(found[1][:9]) if found else 4096
        good = size >= 512 and size & (size - 1) == 0
        self._info = TraceInfo(source=self.name, page_size=size if good else 4096, has_fetches=True)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """The first line that is not a title decides."""
        for line in head.split(b"\n")[:64]:
            if _RECORD.match(line) or re.match(_PREFIX + rb"<marker: ", line):
                return True
            if not _OWN.match(line):
                return False
        return False

    def scanner(self) -> Callable[..., bool]:
        """See ScannedTrace."""
        return _scanner()

    def more_arguments(self, data: bytes) -> tuple[Any, ...]:
        """See ScannedTrace."""
        return (_MIDDLE,)

    def passes_over(self, line: bytes) -> bool:
        """See ScannedTrace."""
        return bool(_MARKER.match(line) or _ASIDE.match(line) or _OWN.match(line))
