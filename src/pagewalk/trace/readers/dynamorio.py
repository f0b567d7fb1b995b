"""DynamoRIO's drmemtrace as its ``view`` tool prints it (``drrun -t drmemtrace -tool view``).

Format: a memref a line; ``47446 37770: 2765543 read 8 byte(s) @ 0x00007fdf64e2adc8 by PC 0x0000000000404a7e``: record,
instruction (older releases leave it out), thread (``W0.T292`` or ``T292`` in some), what, how much, where. Instruction
fetches, reads and writes are accesses; markers, prefetches, flushes and the tool's own lines are passed over.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pagewalk.trace.compressed import head
from pagewalk.trace.format import FETCH, READ, WRITE, Batch, TraceInfo
from pagewalk.trace.readers.base import TextTrace
from pagewalk.trace.readers.rows import Rows

__all__ = ["DynamorioTrace"]

_PREFIX: Final = rb"[ \t]*\d+(?:[ \t]+\d+)?:[ \t]+(?:W\d+\.)?T?(\d+)[ \t]+"
_RECORD: Final = re.compile(_PREFIX + rb"([a-z][\w.-]*)[ \t]+(\d+) byte\(s\) @ 0x([0-9a-f]+)\b")
_MARKER: Final = re.compile(_PREFIX + rb"<")
_OWN: Final = re.compile(
    rb"\s*$|Output format:|<-|-{5,}|={5,}|View tool results:|[ \t]*\d+ : total |<record#>|[ \t]*\d+: T\d+ <"
)
_PAGE_SIZE: Final = re.compile(rb"<marker: page size (\d+)>")
_KINDS: Final = {b"ifetch": FETCH, b"read": READ, b"write": WRITE}
_ASIDE: Final = re.compile(rb"pref|iflush|dflush|non-fetched|header|encoding")


class DynamorioTrace(TextTrace):
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

    def lines(self, data: bytes, first: int) -> Iterator[Batch]:
        """See TextTrace."""
        rows = Rows()
        for number, line in enumerate(data.split(b"\n")[:-1], first):
            match = _RECORD.match(line)
            if match is None:
                if not (_OWN.match(line) or _MARKER.match(line)):
                    self.malformed(f"line {number}", self.expected, line)
                continue
            tid, what, size, addr = match.groups()
            kind = _KINDS.get(what)
            if kind is None:
                if not _ASIDE.match(what):
                    self.malformed(f"line {number}", self.expected, line)
            elif not rows.add(int(addr, 16), kind, int(size[:9]), int(tid[:12])):
                self.malformed(f"line {number}", "numbers in range", line)
        if rows:
            yield rows.batch(instructions=rows.nr_fetches)
