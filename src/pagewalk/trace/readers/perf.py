"""What ``perf script`` prints of samples that have a data address: page faults and memory samples.

Recorded by ``perf record -d -e page-faults``, ``perf mem record`` or ``perf record -e exceptions:page_fault_user``.
Format: ``COMM PID[/TID] [CPU] TIME: [PERIOD] EVENT: ADDR ...``, or ``address=0xADDR ... error_code=0xN`` (tracepoints).

A store is told by the event's name, ``|OP STORE``, or bit 1 of the error code (bit 4: a fetch); everything else counts
as a read. Samples are not all accesses, and their sizes are not told (1). Call chains, comments and samples without an
address (0) are passed over.
"""

import re
from collections.abc import Iterator
from typing import Final

from pagewalk.trace.format import FETCH, READ, WRITE, Batch
from pagewalk.trace.readers.base import TextTrace
from pagewalk.trace.readers.rows import Rows

__all__ = ["PerfTrace"]

_SAMPLE: Final = re.compile(
    rb"\S[ \t]+(?:\d+/[ \t]*)?(\d+)[ \t]+(?:\[(\d+)\][ \t]+)?\d+\.\d+:[ \t]+(?:\d+[ \t]+)?(\S+):[ \t]+(\S.*)"
)
_ADDRESS: Final = re.compile(rb"(?:0x)?([0-9a-f]{1,16})(?:\s|$)")
_FIELD: Final = re.compile(rb"\baddress=(?:0x)?([0-9a-f]{1,16})\b")
_ERROR_CODE: Final = re.compile(rb"\berror_code=(?:0x)?([0-9a-f]{1,8})\b")
_ASIDE: Final = re.compile(rb"\s*$|#|[ \t]+[0-9a-f]+[ \t]+\S.*$")  # call chains are indented
_STORE: Final = re.compile(rb"store|\|OP STORE|write", re.IGNORECASE)
_X86_PF_WRITE: Final = 2
_X86_PF_INSTR: Final = 16


class PerfTrace(TextTrace):
    """See above."""

    name = "perf"
    expected = "'COMM PID [CPU] TIME: EVENT: ADDR'"

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """The first line that is no comment decides."""
        for line in head.split(b"\n")[:256]:
            if line.strip() and not line.startswith(b"#"):
                return _SAMPLE.search(line) is not None
        return False

    def lines(self, data: bytes, first: int) -> Iterator[Batch]:
        """See TextTrace."""
        rows = Rows()
        for number, line in enumerate(data.split(b"\n")[:-1], first):
            match = _SAMPLE.search(line) if line[:1] != b"#" else None
            if match is None:
                if not _ASIDE.match(line):
                    self.malformed(f"line {number}", self.expected, line)
                continue
            tid, cpu, event, rest = match.groups()
            address = (b"address=" in rest and _FIELD.search(rest)) or _ADDRESS.match(rest)
            if address is None:
                self.malformed(f"line {number}", self.expected, line)
                continue
            addr = int(address[1], 16)
            if addr and not rows.add(addr, _kind(event, rest), 1, int(tid[:12]), int(cpu[:6]) if cpu else 0):
                self.malformed(f"line {number}", "a thread below 2**31 and a CPU below 256", line)
        if rows:
            yield rows.batch()


def _kind(event: bytes, rest: bytes) -> int:
    """Read, write or fetch, as far as the sample tells."""
    code = _ERROR_CODE.search(rest) if b"error_code=" in rest else None
    if code is not None:
        bits = int(code[1], 16)
        if bits & _X86_PF_INSTR:
            return FETCH
        return WRITE if bits & _X86_PF_WRITE else READ
    return WRITE if _STORE.search(event) or b"|OP STORE" in rest else READ
