"""Which frames a recorded run's pages are in, so that a replay knows which of them are neighbours.

What a TLB with coalesced entries counts depends on frames, and those are the allocator's choice, which depends on
everything that the machine has ever done. So the trace tells them: after each fault, the pages around it whose entries
have become others; after exec and calls that populate, all pages that are there.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pagewalk.mm.pgtable import next_table, pte_lookup
from pagewalk.trace.events import Event, Frames

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct

__all__ = ["FrameWatch", "present_frames"]


class FrameWatch:
    """Looks at the page table before a fault, and again when it has been served."""

    def __init__(self) -> None:
        self._mm: MmStruct | None = None
        self._task = 0
        self._cpu = 0
        self._start = 0
        self._place = 0
        self._before = b""

    def before(self, mm: "MmStruct", task: int, cpu: int, addr: int, place: int) -> None:
        """A fault at ``addr`` is about to be served; the event that tells of it, if any, is number ``place`` of the
        list that ``settle`` will be given."""
        self._mm = mm
        self._task, self._cpu, self._place = task, cpu, place
        self._start = addr & -int(mm.system.format.pmd_size)
        self._before = _entries(mm, self._start)

    def settle(self, events: list[tuple[int, Event]], position: int) -> None:
        """The fault has been served, or refused: what it has mapped is told in front of it (which is at ``position``
        where no event of the list tells of it)."""
        mm = self._mm
        if mm is None:
            return
        self._mm = None
        now = _entries(mm, self._start)
        if now == self._before or not now:
            return
        fmt = mm.system.format
        width = np.dtype(mm.system.ram.words.format)
        new = np.frombuffer(now, width)
        old = np.frombuffer(self._before, width) if self._before else np.zeros(len(new), width)
        found = []
        for at in np.flatnonzero(old != new).tolist():
            before, entry = int(old[at]), int(new[at])
            if fmt.present.test(entry) and not (fmt.present.test(before) and fmt.pfn(before) == fmt.pfn(entry)):
                found.append((self._start + at * int(fmt.page_size), int(fmt.pfn(entry))))
        told = list(_runs(found, int(fmt.page_size), self._task, self._cpu, ahead=True))
        if self._place < len(events):
            position = events[self._place][0]
        events[self._place : self._place] = [(position, event) for event in told]


def present_frames(mm: "MmStruct", task: int, cpu: int, start: int, end: int) -> list[Frames]:
    """The pages of [start, end) that are there now."""
    fmt = mm.system.format
    words = mm.system.ram.words
    found = []
    for vma in mm.vmas_in(start, end):
        addr, stop = max(int(vma.vm_start), start), min(int(vma.vm_end), end)
        while addr < stop:
            index = int(pte_lookup(mm, addr))
            if index < 0:
                addr = int(next_table(addr, index))
                continue
            entry = int(words[index])
            if fmt.present.test(entry):
                found.append((addr, int(fmt.pfn(entry))))
            addr += int(fmt.page_size)
    return list(_runs(found, int(fmt.page_size), task, cpu, ahead=False))


def _entries(mm: "MmStruct", start: int) -> bytes:
    """The entries of the page table's last level that begins at ``start``; b"" where there is no such table."""
    if mm.pgd_pfn < 0:
        return b""
    index = int(pte_lookup(mm, start))
    if index < 0:
        return b""
    return mm.system.ram.words[index : index + int(mm.system.format.table_mask) + 1].tobytes()


def _runs(found: list[tuple[int, int]], page: int, task: int, cpu: int, *, ahead: bool) -> Iterator[Frames]:
    """Pages and their frames, neighbours in both told together."""
    at = 0
    while at < len(found):
        addr, pfn = found[at]
        count = 1
        while at + count < len(found) and found[at + count] == (addr + count * page, pfn + count):
            count += 1
        yield Frames(task=task, cpu=cpu, addr=addr, pfn=pfn, count=count, ahead=ahead)
        at += count
