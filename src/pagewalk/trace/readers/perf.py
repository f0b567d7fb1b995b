"""What ``perf script`` prints of samples that have a data address: page faults and memory samples.

Recorded by ``perf record -d -e page-faults``, ``perf mem record`` or ``perf record -e exceptions:page_fault_user``.
Format: ``COMM PID[/TID] [CPU] TIME: [PERIOD] EVENT: ADDR ...``, or ``address=0xADDR ... error_code=0xN`` (tracepoints).

A store is told by the event's name, ``|OP STORE``, or bit 1 of the error code (bit 4: a fetch); everything else counts
as a read. Samples are not all accesses, and their sizes are not told (1). Call chains, comments and samples without an
address (0) are passed over.

Files with fewer columns (``perf script -F tid,time,event,addr``) are read as their first sample has them
(``perf_layout``), more slowly. Records of other kinds (``--show-mmap-events``) are passed over.

Some versions print the instruction's address alone unless they are asked for the data's (``perf script -F +addr``): an
address, its symbol and no more, where no call chain follows. That is malformed.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from pagewalk.trace.compressed import head
from pagewalk.trace.format import FETCH, READ, WRITE
from pagewalk.trace.readers.perf_layout import layout_of
from pagewalk.trace.readers.scan import POSITION, ScannedTrace, signature
from pagewalk.trace.readers.scan_perf import scan_perf

__all__ = ["PerfTrace"]

_SAMPLE: Final = re.compile(
    rb"\S[ \t]+(?:\d+/[ \t]*)?(\d+)[ \t]+(?:\[(\d+)\][ \t]+)?\d+\.\d+:[ \t]+(?:\d+[ \t]+)?(\S+):[ \t]*(.*)"
)
_ADDRESS: Final = re.compile(rb"(?:0x)?([0-9a-f]{1,16})(?:\s|$)")
_FIELD: Final = re.compile(rb"\baddress=(?:0x)?([0-9a-f]{1,16})\b")
_INSTRUCTION: Final = re.compile(rb"(?:0x)?[0-9a-f]{1,16}[ \t]+(?![0-9a-f]+(?:\s|$)|\|)(?!.*\) )\S")
_ALONE: Final = re.compile(rb"(?:0x)?[0-9a-f]{1,16}[ \t]+(?!\||.*(?:\) |\b[0-9a-f]{4,16}(?:\s|$)))\S")
_ERROR_CODE: Final = re.compile(rb"\berror_code=(?:0x)?([0-9a-f]{1,8})\b")
_ASIDE: Final = re.compile(rb"\s*$|#|[ \t]+[0-9a-f]+[ \t]+\S.*$|.*[ \t]PERF_RECORD_[A-Z]")  # call chains are indented
_STORE: Final = re.compile(rb"store|\|OP STORE|write", re.IGNORECASE)
_X86_PF_WRITE: Final = 2
_X86_PF_INSTR: Final = 16


_WORDS: Final = (b"store", b"write", b"|OP STORE", b"address=", b"error_code=")  # what ``scan_perf`` looks for
_TEXTS: Final = np.frombuffer(b"".join(_WORDS), np.uint8)
_STARTS: Final = np.cumsum([0, *map(len, _WORDS)]).tolist()


@functools.cache
def _scanner() -> Callable[..., bool]:
    import numba

    from pagewalk.hw import jit

    types: Any = numba.types
    return jit.compiled(
        scan_perf, signature(types.Array(types.uint8, 1, "C", readonly=True), types.Array(types.int64, 1, "C"))
    )


def _stop(data: Any, state: Any, *_: Any) -> bool:
    """A scanner that knows no line."""
    return bool(state[POSITION] >= len(data))


class PerfTrace(ScannedTrace):
    """See above."""

    name = "perf"
    expected = "'COMM PID [CPU] TIME: EVENT: ADDR' (perf record -d, perf script -F +addr)"
    chains = False  # the file has call chains

    def __init__(self, path: Path, lenient: bool = False) -> None:
        super().__init__(path, lenient)
        first = _first_sample(head(path))
        self._layout = layout_of(first) if _SAMPLE.search(first) is None else None

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """The first line that is no comment decides."""
        first = _first_sample(head)
        return _SAMPLE.search(first) is not None or layout_of(first) is not None

    def scanner(self) -> Callable[..., bool]:
        """See ScannedTrace."""
        return _scanner() if self._layout is None else _stop

    def more_arguments(self, data: bytes) -> tuple[Any, ...]:
        """See ScannedTrace."""
        self.chains = self.chains or b"\n\t" in data
        return _TEXTS, np.array([*_STARTS, self.chains])

    def other_line(self, line: bytes, where: Callable[[], str]) -> tuple[int, ...] | None:
        """See ScannedTrace."""
        columns = self._columns(line)
        if columns is None:
            if not _ASIDE.match(line):
                self.malformed(where(), self.expected, line)
            return None
        number, which, event, rest = columns
        field = _FIELD.search(rest) if b"address=" in rest else None
        address = field or _ADDRESS.match(rest)
        alone = _INSTRUCTION if self._layout is None else _ALONE
        if address is None or (field is None and not self.chains and alone.match(rest)):
            self.malformed(where(), self.expected, line)
            return None
        addr, tid, cpu = int(address[1], 16), int(number[:12]), int(which[:6]) if which else 0
        if addr and not (tid < 1 << 31 and cpu < 256):
            self.malformed(where(), "a thread below 2**31 and a CPU below 256", line)
            return None
        return (addr - (addr >> 63 << 64), _kind(event, rest), 1, tid, cpu) if addr else None

    def _columns(self, line: bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
        """Thread, CPU (may be empty), event and the rest of a sample; None for a line that is none."""
        if self._layout is None:
            match = _SAMPLE.search(line) if line[:1] != b"#" else None
            if match is None or match[3].startswith(b"PERF_RECORD_"):
                return None
            return match[1], match[2] or b"", match[3], match[4]
        match = self._layout.match(line)
        if match is None or b" PERF_RECORD_" in line:
            return None
        found = match.groupdict()
        return found.get("tid", b"0"), found.get("cpu", b""), found.get("event", b""), found["rest"]


def _first_sample(head: bytes) -> bytes:
    """The first line that is no comment and tells of a sample; empty where there is none."""
    for line in head.split(b"\n")[:4096]:
        if line.strip() and not line.startswith(b"#") and b" PERF_RECORD_" not in line:
            return line
    return b""


def _kind(event: bytes, rest: bytes) -> int:
    """Read, write or fetch, as far as the sample tells."""
    code = _ERROR_CODE.search(rest) if b"error_code=" in rest else None
    if code is not None:
        bits = int(code[1], 16)
        if bits & _X86_PF_INSTR:
            return FETCH
        return WRITE if bits & _X86_PF_WRITE else READ
    return WRITE if _STORE.search(event) or b"|OP STORE" in rest else READ
