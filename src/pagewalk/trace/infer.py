"""Mappings that a trace does not tell of, made up from what it touches.

A trace of addresses alone says nothing of mmap(2). The pages that it touches, before an event of the trace has mapped
them, are taken to be mapped from the beginning: pages of one kind (executed or not) that lie near each other are one
region, with the rights that its accesses need. What is made up says so (``Mmap.inferred``, ``TraceInfo.extra``).

They are in one address space. Tasks that no event introduces are taken for threads of the program: they share it.
"""

import functools
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from pagewalk.trace.events import Brk, Event, Exec, Fork, Mmap, Mremap, Munmap
from pagewalk.trace.format import FETCH, READ, WRITE, Batch, TraceInfo, TraceSource

__all__ = ["InferredTrace", "Touched", "complete", "infer_mappings"]

GAP: Final = 16  # pages between two that are touched, at most, in one region: 64 KiB

_PROT: Final = {READ: 1, WRITE: 2, FETCH: 4}  # PROT_READ, PROT_WRITE, PROT_EXEC
_PROT_EXEC: Final = 4
_MAP_PRIVATE_ANONYMOUS: Final = 0x22
_EMPTY: Final = -(1 << 63)  # no page has this number


def touch(addr: Any, kind: Any, size: Any, shift: int, state: Any, table: Any, news: Any) -> bool:
    """Marks the pages of some accesses in a hash table; False where it is to grow before going on.

    state  [access to go on with, pages in the table, pages in ``news``]
    table  rows of (page, bits of the kinds of access); a power of two of them
    news   gets rows of (page, position of the access that touched it first)
    """
    mask = len(table) - 1
    last = np.int64(-1)
    last_bits = np.int64(0)
    at = state[0]
    while at < len(addr):
        first_page = addr[at] >> shift
        end_page = (addr[at] + (np.int64(size[at]) - 1)) >> shift
        bit = np.int64(1) << kind[at]
        if first_page == last and end_page == last and last_bits & bit != 0:
            at += 1
            continue
        if 2 * (state[1] + 18) > len(table) or state[2] + 18 > len(news):
            state[0] = at
            return False
        page = first_page
        while page <= end_page:
            slot = (page * -7046029254386353131 >> 20) & mask
            while table[slot, 0] != page and table[slot, 0] != _EMPTY:
                slot = (slot + 1) & mask
            if table[slot, 0] == _EMPTY:
                table[slot, 0] = page
                news[state[2], 0] = page
                news[state[2], 1] = at
                state[1] += 1
                state[2] += 1
            table[slot, 1] |= bit
            last = page
            last_bits = table[slot, 1]
            page += 1
        at += 1
    state[0] = at
    return True


@functools.cache
def _compiled() -> Callable[..., bool]:
    import numba

    from pagewalk.hw import jit

    types: Any = numba.types
    word = types.int64

    def arrays(item: Any, dimensions: int = 1) -> Any:
        return types.Array(item, dimensions, "C", readonly=dimensions == 1)

    tables = [types.Array(word, 1, "C"), types.Array(word, 2, "C"), types.Array(word, 2, "C")]
    return jit.compiled(touch, types.boolean(arrays(word), arrays(types.uint8), arrays(types.uint16), word, *tables))


class Touched:
    """The pages that batches touch, and how. Memory grows with the pages (32 bytes each), not with the accesses."""

    def __init__(self, page_shift: int) -> None:
        self._shift = page_shift
        self._table = _table(1 << 12)
        self._state = np.zeros(3, np.int64)
        self._news = np.empty((1 << 12, 2), np.int64)

    @property
    def nr_pages(self) -> int:
        """How many there are."""
        return int(self._state[1])

    def add(self, batch: Batch) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Rows of (page, position in the batch) for each page that was touched for the first time."""
        mark = _compiled()
        self._state[0] = 0
        self._state[2] = 0
        while not mark(batch.addr, batch.kind, batch.size, self._shift, self._state, self._table, self._news):
            if 2 * (self._state[1] + 18) > len(self._table):
                self._grow()
            if self._state[2] + 18 > len(self._news):
                self._news = np.concatenate([self._news, np.empty_like(self._news)])
        return self._news[: self._state[2]].copy()

    def pages(self) -> dict[int, int]:
        """PROT_* that the accesses to each page need, by page number."""
        used = self._table[self._table[:, 0] != _EMPTY]
        used = used[np.argsort(used[:, 0])]
        return dict(zip(used[:, 0].tolist(), used[:, 1].tolist(), strict=True))

    def _grow(self) -> None:
        """Twice the room."""
        used = self._table[self._table[:, 0] != _EMPTY]
        table = _table(2 * len(self._table))
        mask = len(table) - 1
        slots = ((used[:, 0] * np.int64(-7046029254386353131)) >> 20) & mask
        for (page, bits), slot in zip(used.tolist(), slots.tolist(), strict=True):
            while table[slot, 0] != _EMPTY:
                slot = (slot + 1) & mask
            table[slot] = page, bits
        self._table = table


def _table(rows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    table = np.zeros((rows, 2), np.int64)
    table[:, 0] = _EMPTY
    return table


class Mapped:
    """The address ranges that events have mapped so far: sorted, disjoint, neighbours joined."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, addr: int) -> bool:
        at = bisect_right(self._starts, addr) - 1
        return at >= 0 and addr < self._ends[at]

    def set(self, start: int, end: int, *, mapped: bool) -> None:
        """[start, end) is mapped, or is not."""
        starts, ends = [], []
        for low, high in zip(self._starts, self._ends, strict=True):
            for a, b in ((low, min(high, start)), (max(low, end), high)):
                if a < b:
                    starts.append(a)
                    ends.append(b)
        if mapped and start < end:
            at = bisect_right(starts, start)
            starts.insert(at, start)
            ends.insert(at, end)
        self._starts, self._ends = starts, ends

    def apply(self, event: Event) -> None:
        """What the event does."""
        if isinstance(event, Mmap):
            self.set(event.addr, event.addr + event.length, mapped=True)
        elif isinstance(event, Munmap):
            self.set(event.addr, event.addr + event.length, mapped=False)
        elif isinstance(event, Mremap):
            self.set(event.addr, event.addr + event.length, mapped=False)
            self.set(event.new_addr, event.new_addr + event.new_length, mapped=True)
        elif isinstance(event, Brk):
            self.set(event.start, max(event.start, event.addr), mapped=True)
        elif isinstance(event, Exec):
            self.set(-(1 << 63), (1 << 63) - 1, mapped=False)


@dataclass(frozen=True)
class Inference:
    """What was made up: the mappings, and of how many pages; the tasks beside task 0 that no event introduces."""

    mappings: list[Mmap]
    nr_pages: int
    threads: tuple[int, ...] = ()


def infer_mappings(source: TraceSource, gap: int = GAP) -> Inference:
    """One pass over a trace: the mappings that must have been there, for all its tasks in one address space.

    gap  pages without an access that may lie between two pages of a region
    """
    shift = source.info.page_size.bit_length() - 1
    touched = Touched(shift)
    mapped = Mapped()
    before: set[int] = set()
    tasks: set[int] = set()
    introduced = {0}
    for batch in source:
        events = batch.events
        tasks.update(_tasks(batch.task))
        introduced.update(_introduced(events))
        next_event = 0
        for page, position in touched.add(batch).tolist():
            while next_event < len(events) and events[next_event][0] <= position:
                mapped.apply(events[next_event][1])
                next_event += 1
            if page << shift not in mapped:
                before.add(page)
        for _, event in events[next_event:]:
            mapped.apply(event)
    bits = touched.pages()
    prots = {page: _prot(bits[page]) for page in sorted(before)}
    return Inference(list(_regions(prots, shift, gap)), len(before), tuple(sorted(tasks - introduced)))


def _tasks(column: np.ndarray[Any, Any]) -> list[int]:
    """Who makes accesses, once for each time that it comes after another one."""
    return [*column[:1].tolist(), *column[1:][column[1:] != column[:-1]].tolist()]


def _introduced(events: list[tuple[int, Event]]) -> Iterator[int]:
    """The tasks that events tell of."""
    for _, event in events:
        yield event.task
        if isinstance(event, Fork):
            yield event.child


def _prot(kinds: int) -> int:
    """PROT_* for bits of kinds; what is written or executed can be read."""
    return 1 | sum(prot for kind, prot in _PROT.items() if kinds >> kind & 1)


def _regions(prots: dict[int, int], shift: int, gap: int) -> Iterator[Mmap]:
    """Neighbours of one kind become one mapping; ``prots`` is sorted by page."""
    start = end = prot = 0
    for page, wanted in prots.items():
        same = (wanted ^ prot) & _PROT_EXEC == 0
        if end and page <= end + (gap if same else 0) and same:
            end = page + 1
            prot |= wanted
            continue
        if prot:
            yield _mapping(start, end, prot, shift)
        start, end, prot = page, page + 1, wanted
    if prot:
        yield _mapping(start, end, prot, shift)


def _mapping(start: int, end: int, prot: int, shift: int) -> Mmap:
    length = (end - start) << shift
    return Mmap(
        task=0, addr=start << shift, length=length, prot=prot, flags=_MAP_PRIVATE_ANONYMOUS, name="", inferred=True
    )


def complete(source: TraceSource) -> TraceSource:
    """The trace itself where it tells of all its mappings; otherwise one with those that must have been there."""
    return source if source.info.has_mappings else InferredTrace(source)


class InferredTrace:
    """A trace with the mappings that it does not tell of, at its beginning. The first pass is made here."""

    def __init__(self, source: TraceSource, gap: int = GAP) -> None:
        self._source = source
        self.inference = infer_mappings(source, gap)
        found = self.inference
        extra = {**source.info.extra}
        if found.mappings:
            extra["inferred"] = f"{len(found.mappings)} mappings inferred from {found.nr_pages} touched pages"
        self._info = replace(source.info, has_events=True, has_mappings=True, extra=extra)

    @property
    def info(self) -> TraceInfo:
        """See TraceSource."""
        return self._info

    @property
    def skipped(self) -> int:
        """See TraceSource."""
        return self._source.skipped

    def __iter__(self) -> Iterator[Batch]:
        threads = [Fork(task=0, child=child, shares_mm=True) for child in self.inference.threads]
        first: list[tuple[int, Event]] = [(0, event) for event in (*threads, *self.inference.mappings)]
        for batch in self._source:
            events: list[tuple[int, Event]] = [*first, *batch.events]
            first = []
            yield Batch.of_columns(batch.columns, events, batch.instructions)
