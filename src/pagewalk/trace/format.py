"""A trace in memory: batches of accesses as NumPy arrays, the events between them, and what is known of the whole.

Every reader yields ``Batch`` after ``Batch`` and every consumer (replay, curves, writers) takes them; neither holds
more than one at a time. A consumer may keep a batch, and nobody changes one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from pagewalk.hw.walker import FETCH, READ, WRITE
from pagewalk.trace.events import Event

__all__ = [
    "BATCH",
    "FETCH",
    "KINDS",
    "READ",
    "WRITE",
    "Batch",
    "TraceInfo",
    "TraceSource",
    "page_size_of",
    "segment_starts",
]

I64: TypeAlias = npt.NDArray[np.int64]
I32: TypeAlias = npt.NDArray[np.int32]
U16: TypeAlias = npt.NDArray[np.uint16]
U8: TypeAlias = npt.NDArray[np.uint8]

KINDS: Final = {"read": READ, "write": WRITE, "fetch": FETCH}
BATCH: Final = 1 << 18  # accesses that readers put into one batch, or a few more: 4 MiB of arrays


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some accesses in the order in which they happened. All arrays have the same length, which may be 0."""

    addr: I64  # virtual; of the first byte
    kind: U8  # READ, WRITE or FETCH
    size: U16  # bytes, from 1 on; an access may cross a page
    task: I32  # the thread's number; 0 where the trace does not say
    cpu: U8  # 0 where the trace does not say
    events: list[tuple[int, Event]] = field(default_factory=list)
    """(position, event), positions ascending in 0..len(batch): the event comes before the access at its position.
    Events at one position happen in their order."""
    instructions: int = 0
    """Instructions that were executed in this batch; 0 where the trace does not say."""

    def __len__(self) -> int:
        return len(self.addr)

    @classmethod
    def of(
        cls,
        addr: npt.ArrayLike,
        kind: npt.ArrayLike = READ,
        size: npt.ArrayLike = 1,
        task: npt.ArrayLike = 0,
        cpu: npt.ArrayLike = 0,
        events: list[tuple[int, Event]] | None = None,
        instructions: int = 0,
    ) -> "Batch":
        """A batch of whatever can be arrays; one number stands for all accesses. Unsigned addresses are taken too."""
        words = np.asarray(addr)
        addrs = (words if words.dtype != np.uint64 else words.view(np.int64)).astype(np.int64, copy=False)
        count = len(addrs)

        def column(values: npt.ArrayLike, dtype: Any) -> Any:
            array = np.asarray(values, dtype=dtype)
            return np.ascontiguousarray(array if array.ndim else np.full(count, array, dtype=dtype))

        return cls(
            np.ascontiguousarray(addrs),
            column(kind, np.uint8),
            column(size, np.uint16),
            column(task, np.int32),
            column(cpu, np.uint8),
            events if events is not None else [],
            instructions,
        )

    @classmethod
    def of_columns(
        cls, columns: Iterable[Any], events: list[tuple[int, Event]] | None = None, instructions: int = 0
    ) -> "Batch":
        """A batch of its five arrays, in order."""
        addr, kind, size, task, cpu = columns
        return cls(addr, kind, size, task, cpu, [] if events is None else events, instructions)

    @property
    def columns(self) -> tuple[I64, U8, U16, I32, U8]:
        """Its five arrays, in order."""
        return self.addr, self.kind, self.size, self.task, self.cpu

    def __getitem__(self, where: slice) -> "Batch":
        """Some accesses in a row, as views, with the events before them; instructions are not told."""
        start, end, _ = where.indices(len(self))
        last = end == len(self)
        events = [(at - start, event) for at, event in self.events if start <= at and (at < end or last)]
        return Batch.of_columns([column[start:end] for column in self.columns], events)


def segment_starts(batch: Batch) -> list[int]:
    """Where the task or the CPU changes or an event stands, ascending; 0 is always among them."""
    cuts = [position for position, _ in batch.events if position < len(batch)]
    for column in (batch.task, batch.cpu):
        if len(column) and column.min() != column.max():
            cuts += (np.flatnonzero(column[1:] != column[:-1]) + 1).tolist()
    return sorted({0, *cuts})


@dataclass(slots=True)
class TraceInfo:
    """What a trace says of itself as a whole; whatever it does not say has the value given here."""

    source: str = ""  # what recorded it: "pagewalk run", "lackey", "champsim", ...
    arch: str = ""  # of config.Config: "x86_64", ...
    page_size: int = 4096  # bytes
    program: str = ""  # the command line
    seed: int | None = None  # of the machine that recorded it
    has_events: bool = False  # changes of the address space are in the trace
    has_mappings: bool = False  # all that is accessed was mapped by an event; else infer.complete() makes mappings up
    has_fetches: bool = False  # instruction fetches are among the accesses
    extra: dict[str, str] = field(default_factory=dict)  # anything else that the recorder tells


def page_size_of(info: TraceInfo | None) -> int:
    """Of the recorded machine, in bytes; 4096 where the trace does not tell, or tells what is no such size."""
    size = info.page_size if info is not None else 4096
    return size if 4096 <= size <= 1 << 30 and size & (size - 1) == 0 else 4096


class TraceSource(Protocol):
    """A trace that can be read from its beginning, as often as wanted."""

    @property
    def info(self) -> TraceInfo:
        """What the trace says of itself."""

    @property
    def skipped(self) -> int:
        """Malformed records that the last pass left out (with ``lenient``)."""

    def __iter__(self) -> Iterator[Batch]:
        """A pass from the beginning. Raises TraceError at a malformed record."""
