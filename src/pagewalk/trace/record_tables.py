"""What a kernel makes of page tables, as text for ``Tables`` events: all that has changed since it was looked at last.

Reclaim, writeback, a call on another process: whatever takes a page away, brings one or changes its rights, it does so
in a page table, and it tells the TLBs where rights are lost. So a recorder needs no knowledge of reasons. It keeps a
copy of every table. Which of them may have changed, four things tell: flushes, faults, sizes (``_sizes``), and that
reclaim was at work. Those are compared with their copies.

Marks (Accessed, Dirty) are set by the hardware too, which is no change by the kernel. The copies follow what they find;
where the kernel may have taken marks away, all that an entry has not got is told.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pagewalk.trace.table_text import MARKS, SAME, TABLE, UP, Run

if TYPE_CHECKING:
    import numpy.typing as npt

    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.system import System

    Words = npt.NDArray[np.int64]

__all__ = ["TableWatch"]

_ALL: Final = (-(1 << 63), 1 << 62)


class _Table:
    """A copy of one table: its bytes, its entries (0: empty), and the tables they point to (place, index in RAM)."""

    __slots__ = ("children", "raw", "words")

    def __init__(self, raw: bytes, words: "Words") -> None:
        self.raw = raw
        self.words = words
        self.children: dict[int, int] = {}


class _Space:
    """An address space's tables by (level, first address), and its sizes when they were compared."""

    def __init__(self, mm: "MmStruct") -> None:
        self.mm = mm
        self.tables: dict[tuple[int, int], _Table] = {}
        self.sizes: tuple[list[int], list[int], int] = ([], [], 0)


def _sizes(mm: "MmStruct") -> tuple[list[int], list[int], int]:
    """What is different where pages have come without a flush: pages and tables by kind, and faults that change
    neither."""
    faults = mm.faults
    others = faults.zero_page + faults.reuse + faults.cow + faults.spurious + faults.file_read
    return list(mm.rss_stat), list(mm.nr_tables), int(others)


def _joined(ranges: list[tuple[int, int, bool]], span: int) -> list[tuple[int, int, bool]]:
    """As few ranges as there are, none of which has a table of ``span`` bytes in common with another."""
    if len(ranges) == 1:
        return ranges
    found: list[tuple[int, int, bool]] = []
    for start, end, unmarked in sorted(
        (start & -span, -(-end // span) * span, unmarked) for start, end, unmarked in ranges
    ):
        if found and start < found[-1][1]:
            start, before, also = found.pop()
            end, unmarked = max(end, before), unmarked or also
        found.append((start, end, unmarked))
    return found


class TableWatch:
    """Copies of the page tables of all address spaces that ``add`` has named; who is told of a machine's flushes.

    flushed  told of those that concern one of them: (mm, start, end)
    """

    def __init__(self, system: "System", flushed: Callable[["MmStruct", int, int], None]) -> None:
        self._system = system
        self._flushed = flushed
        self._spaces: dict[int, _Space] = {}
        self._due: dict[int, list[tuple[int, int, bool]]] = {}  # (start, end, marks may be gone) by address space
        self._reclaimed = self._reclaim()
        fmt = system.format
        self._dtype: Any = np.dtype(system.ram.words.format)
        self._marks = int(fmt.accessed.mask | fmt.dirty.mask | fmt.hw_dirty_bits.mask | fmt.rdonly)
        self._step = 1 << int(fmt.pfn_shift)
        self._last = len(fmt.levels) - 1
        self._span = int(fmt.pmd_size)
        task_size = int(system.layout.task_size)
        self._sizes = [level.size for level in fmt.levels]
        self._counts = [min(1 << level.nr_bits, -(-task_size // level.size)) for level in fmt.levels]

        system.on_flush = self._on_flush

    def close(self) -> None:
        """Nobody is told any more."""
        self._system.on_flush = None

    def _on_flush(self, mm: "MmStruct", start: int, end: int) -> None:
        if mm.ident in self._spaces:
            self._due.setdefault(mm.ident, []).append((start, end, True))
            self._flushed(mm, start, end)

    # What may have changed.

    def add(self, mm: "MmStruct") -> None:
        """A new address space, of whose tables nothing was told."""
        self._spaces[mm.ident] = _Space(mm)
        self._due[mm.ident] = [(*_ALL, False)]

    def fork(self, parent: "MmStruct", child: "MmStruct") -> None:
        """A new address space that begins as a copy of another, as far as that was told."""
        self.add(child)
        self._due[child.ident] = [(*_ALL, True)]
        copy = self._spaces[child.ident].tables
        for key, table in self._spaces[parent.ident].tables.items():
            copy[key] = _Table(b"", table.words)
            copy[key].children = dict.fromkeys(table.children, -1)

    def near(self, mm: "MmStruct", addr: int) -> None:
        """A fault at ``addr`` is about to be served."""
        self._due.setdefault(mm.ident, []).append((addr, addr + 1, False))

    def called(self, mm: "MmStruct", *, anything: bool) -> None:
        """A system call was served in ``mm``: one that may change any of its entries (``anything``), or one that brings
        pages, there or elsewhere, by faults or so that the sizes change."""
        for ident, space in self._spaces.items():
            if (anything and space.mm is mm) or space.sizes != _sizes(space.mm):
                self._due.setdefault(ident, []).append((*_ALL, False))

    @property
    def is_due(self) -> bool:
        """Whether anything may have changed."""
        return bool(self._due) or self._reclaim() != self._reclaimed

    def _reclaim(self) -> int:
        """Grows with what reclaim has looked at."""
        vmstat = self._system.vmstat
        return int(vmstat.pgscan_anon + vmstat.pgscan_file + vmstat.pgrefill)

    # What has changed.

    def changes(self) -> "list[tuple[MmStruct, list[Run]]]":
        """By address space; those that are gone are left out."""
        reclaimed = self._reclaim()
        if reclaimed != self._reclaimed:
            self._reclaimed = reclaimed
            for ident in self._spaces:
                self._due[ident] = [(*_ALL, True)]
        due, self._due = self._due, {}
        found = []
        for ident, ranges in due.items():
            space = self._spaces.get(ident)
            if space is None or space.mm.pgd_pfn < 0:
                continue
            runs: list[Run] = []
            root = int(space.mm.pgd_pfn) << int(self._system.format.table_shift)
            for start, end, unmarked in _joined(ranges, self._span):
                self._compare(space, 0, root, 0, (start, end, unmarked), runs)
            space.sizes = _sizes(space.mm)
            if runs:
                found.append((space.mm, runs))
        return found

    def gone(self) -> list[int]:
        """The numbers of the address spaces that are no longer there."""
        found = [ident for ident, space in self._spaces.items() if space.mm.pgd_pfn < 0]
        for ident in found:
            del self._spaces[ident]
            self._due.pop(ident, None)
        return found

    def _compare(
        self, space: _Space, level: int, index: int, base: int, part: tuple[int, int, bool], runs: list[Run]
    ) -> None:
        """The table of ``level`` at ``index`` of RAM, which serves from ``base`` on, and those below it."""
        start, end, unmarked = part
        raw = self._system.ram.words[index : index + self._counts[level]].tobytes()
        table = space.tables.get((level, base))
        if table is None:
            table = _Table(b"", np.zeros(self._counts[level], np.int64))
            space.tables[level, base] = table
        last = level == self._last
        if raw != table.raw or (last and unmarked):
            table.raw = raw
            words = self._entries(raw)
            if last:
                runs += self._leaves(table.words, words, base, unmarked=unmarked)
            else:
                runs += self._pointers(space, table, words, level, base)
            table.words = words
        if not last:
            size = self._sizes[level]
            first, stop = max(0, (start - base) // size), min(self._counts[level], -(-(end - base) // size))
            children = table.children
            for at in range(first, stop) if stop - first < len(children) else sorted(children):
                child = children.get(at)
                if child is not None and first <= at < stop:
                    self._compare(space, level + 1, child, base + at * size, part, runs)

    def _entries(self, raw: bytes) -> "Words":
        """The words of a table, those that are not present as 0."""
        present = self._system.format.present
        words = np.frombuffer(raw, self._dtype).astype(np.int64)
        words[words & present.mask != present.value] = 0
        return words

    def _pointers(self, space: _Space, table: _Table, words: "Words", level: int, base: int) -> Iterator[Run]:
        """A table above the last level. What one of its entries pointed to before is forgotten where it is another."""
        fmt = self._system.format
        marks = ~int(fmt.table_accessed)
        for at in np.flatnonzero((words ^ table.words) & marks | (words != 0) & (table.words == 0)).tolist():
            entry = int(words[at])
            page = base + at * self._sizes[level] >> int(fmt.page_shift)
            copied = table.children.pop(at, None)
            if entry and fmt.pointer.test(entry):
                table.children[at] = int(fmt.table_index(entry))
                if copied == -1:  # fork has made a table of its own in place of the parent's
                    continue
                self._forget(space, level + 1, base + at * self._sizes[level])
                yield Run(level, page, 1, TABLE)
            else:
                self._forget(space, level + 1, base + at * self._sizes[level])
                yield Run(level, page, 1, SAME, entry)

    def _forget(self, space: _Space, level: int, base: int) -> None:
        """A table is gone, with all below it."""
        table = space.tables.pop((level, base), None)
        if table is not None:
            for at in table.children:
                self._forget(space, level + 1, base + at * self._sizes[level])

    def _leaves(self, old: "Words", new: "Words", base: int, *, unmarked: bool) -> Iterator[Run]:
        """A table of the last level."""
        fmt = self._system.format
        page = base >> int(fmt.page_shift)
        changed = old ^ new
        stays = (old != 0) & (new != 0) & (changed & fmt.pfn_mask == 0)
        yield from self._words(np.flatnonzero(~stays & (changed != 0)), new, page)
        bits = changed & ~self._marks
        yield from self._bits(np.flatnonzero(stays & (bits != 0)), bits & old, bits & new, new, page)
        told = stays & (changed & self._marks != 0)
        if unmarked:
            marked = (new & fmt.accessed.mask == fmt.accessed.value) & (
                new & fmt.hw_dirty_bits.mask == fmt.hw_dirty_bits.value
            )
            told |= stays & ~marked
        yield from self._bits(np.flatnonzero(told), ~new & self._marks, new & self._marks, new, page)

    def _words(self, where: Any, new: "Words", page: int) -> Iterator[Run]:
        """Entries that are others altogether."""
        places: list[int] = where.tolist()
        first = 0
        while first < len(places):
            at = places[first]
            word = int(new[at])
            end = first + 1
            step = self._step if word else 0
            while (
                end < len(places)
                and places[end] == at + end - first
                and new[places[end]] == word + step * (end - first)
            ):
                end += 1
            if step and end == first + 1:
                while end < len(places) and places[end] == at + end - first and new[places[end]] == word:
                    end += 1
                step = 0
            yield Run(-1, page + at, end - first, UP if step else SAME, word)
            first = end

    def _bits(self, where: Any, lost: "Words", got: "Words", new: "Words", page: int) -> Iterator[Run]:
        """Entries that have lost and got bits; what is empty between two of them is passed over."""
        places: list[int] = where.tolist()
        if not places:
            return
        rank = np.cumsum(new != 0)
        first = 0
        while first < len(places):
            at = places[first]
            end = first + 1
            while (
                end < len(places)
                and rank[places[end]] == rank[places[end - 1]] + 1
                and lost[places[end]] == lost[at]
                and got[places[end]] == got[at]
            ):
                end += 1
            yield Run(-1, page + at, places[end - 1] - at + 1, MARKS, int(lost[at]), int(got[at]))
            first = end
