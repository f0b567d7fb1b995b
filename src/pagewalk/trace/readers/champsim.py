"""ChampSim's binary traces: one record of 64 bytes for each instruction; plain, or compressed (.xz, .gz).

Format: ``struct input_instr`` of ChampSim's inc/trace_instruction.h: ip, is_branch, branch_taken, 2 + 4 registers, 2
addresses written, 4 addresses read, all little-endian; an address of 0 is none. An instruction is fetched, then reads,
then writes. Sizes are not told: each access counts as one byte. Traces of several address spaces
(``cloudsuite_instr``) have other records and are not read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from pagewalk.trace.format import FETCH, READ, WRITE, Batch, TraceInfo
from pagewalk.trace.readers.base import FileTrace

__all__ = ["RECORD", "ChampsimTrace"]

RECORD: Final = np.dtype(
    [
        ("ip", "<i8"),
        ("is_branch", "u1"),
        ("branch_taken", "u1"),
        ("destination_registers", "u1", 2),
        ("source_registers", "u1", 4),
        ("destination_memory", "<i8", 2),
        ("source_memory", "<i8", 4),
    ]
)
_KINDS: Final = np.array([FETCH, READ, READ, READ, READ, WRITE, WRITE], np.uint8)
_RECORDS: Final = 1 << 16  # at a time
_LIKELY: Final = 64  # records that are looked at to recognise a trace


class ChampsimTrace(FileTrace):
    """See above."""

    name = "champsim"

    def __init__(self, path: Path, lenient: bool = False) -> None:
        super().__init__(path, lenient)
        self._info = TraceInfo(source=self.name, has_fetches=True)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Binary, and most of the first records are well-formed, their instructions near each other."""
        count = min(len(head) // RECORD.itemsize, _LIKELY)
        if not count or b"\0" not in head[:64]:
            return False
        records = np.frombuffer(head, RECORD, count)
        good = records[_well_formed(records) & (records["ip"] != 0)]
        return 2 * len(good) > count and len(np.unique(good["ip"] >> 12)) <= len(good) // 2 + 1

    def batches(self) -> Iterator[Batch]:
        """One pass."""
        at = 0
        rest = b""
        for block in self.blocks(_RECORDS * RECORD.itemsize):
            data = rest + block
            count = len(data) // RECORD.itemsize
            rest = data[count * RECORD.itemsize :]
            records = np.frombuffer(data, RECORD, count)
            good = _well_formed(records)
            if not good.all():
                for bad in np.flatnonzero(~good):
                    self.malformed(f"offset {at + int(bad) * RECORD.itemsize}", _EXPECTED, records[bad].tobytes())
                records = records[good]
            at += count * RECORD.itemsize
            if len(records):
                yield _batch(records)
        if rest:
            self.malformed(f"offset {at}", f"a record of {RECORD.itemsize} bytes ({len(rest)} are left)", rest)


_EXPECTED: Final = "is_branch and branch_taken to be 0 or 1"


def _well_formed(records: Any) -> Any:
    """Which records can be some."""
    return (records["is_branch"] <= 1) & (records["branch_taken"] <= 1)


def _batch(records: Any) -> Batch:
    """The accesses of some instructions, in order."""
    table = np.empty((len(records), len(_KINDS)), np.int64)
    table[:, 0] = records["ip"]
    table[:, 1:5] = records["source_memory"]
    table[:, 5:] = records["destination_memory"]
    used = table != 0
    used[:, 0] = True
    kinds = np.broadcast_to(_KINDS, table.shape)[used]
    return Batch.of(table[used], kinds, instructions=len(records))
