"""A family of LRU stacks: the sets of a TLB, or of the TLBs of several CPUs, or all of RAM's frames.

    stacks = Stacks()
    stacks.feed(pages, len(pages), owner=0)
    stacks.distances(), stacks.cold

Memory grows with the pages that are in the stacks, some 100 bytes each, not with the accesses. Counts are 64 bits wide.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pagewalk.errors import OutOfMemory
from pagewalk.lab import stack_code as code
from pagewalk.lab.stack_changes import LIMIT, stack_functions

__all__ = ["LIMIT", "Stacks"]

_MOST_SLOTS: Final = 1 << 31
_LEAST_ROWS: Final = 1 << 10


class Stacks:
    """Stacks in groups of ``sets``; an owner (an address space, or an address space on a CPU) has one group.

    shift  the pages that are fed are shifted right by it
    sets   page number modulo ``sets`` is a page's stack in its group
    most   pages that there may be before ``feed`` stops, and one more
    """

    def __init__(self, shift: int = 0, sets: int = 1, most: int = 1 << 62) -> None:
        self.shift = shift
        self.sets = sets
        self._functions = stack_functions().made
        self._feed = self._functions["feed"]
        self._v = np.zeros(code.V_WORDS, np.int64)
        self._v[code.V_OWNER] = -1
        self._v[code.V_MOST] = most
        self._arrays: dict[int, npt.NDArray[Any]] = {}  # kept: compiled code knows their addresses only
        self._bases = np.zeros(16, np.int64)  # first stack of each owner's group
        self._keep(code.V_STACKS, np.zeros((0, code.S_WORDS), np.int64))
        self._keep(code.V_FRONT, np.zeros((0, code.FRONT_WORDS), np.int64))
        self._keep(code.V_TABLE, _table(_LEAST_ROWS))
        self._v[code.V_ROWS] = _LEAST_ROWS
        self._keep(code.V_POOL, np.zeros((0, code.P_WORDS), np.int64))
        self._keep(code.V_WHERE, np.zeros(0, np.int32))
        self._keep(code.V_HIST, np.zeros(code.FRONT_PAGES + 1, np.int64))
        self._add_groups(1)

    @property
    def cold(self) -> int:
        """Pages that came in: used for the first time, or again after they had been dropped."""
        return int(self._v[code.V_COLD])

    @property
    def nr_pages(self) -> int:
        """Pages in the stacks now."""
        return int(self._v[code.V_PAGES])

    @property
    def nr_bytes(self) -> int:
        """Memory that this takes."""
        return sum(int(array.nbytes) for array in self._arrays.values())

    def distances(self) -> npt.NDArray[np.int64]:
        """How often a page was used again whose distance (pages above it in its stack) is the index.

        A page that is used twice in a row is not counted the second time: its distance is 0.
        """
        hist = self._arrays[code.V_HIST]
        used = np.flatnonzero(hist)
        return hist[: used[-1] + 1 if len(used) else 0].copy()

    def forget_distances(self) -> None:
        """``distances`` and ``cold`` begin at nothing again; the stacks stay."""
        self._arrays[code.V_HIST][:] = 0
        self._v[code.V_COLD] = 0

    def own(self, owner: int, group: int) -> None:
        """The pages of ``owner`` (0 to 2**31 - 1) are in this group, which may be new; in group 0 where nobody says."""
        if owner >= len(self._bases):
            self._bases = np.concatenate([self._bases, np.zeros(owner + 1, np.int64)])
        self._bases[owner] = group * self.sets
        self._add_groups(group + 1)

    def feed(self, pages: npt.NDArray[np.int64], count: int, owner: int) -> int:
        """The owner uses the first ``count`` of these pages (a contiguous array) in order; how many before there were
        too many in the stacks."""
        v = self._v
        v[code.V_AT] = 0
        base = self._base(owner)
        while True:
            status = self._feed(v.ctypes.data, pages.ctypes.data, count, self.shift, owner, base, self.sets)
            if status == code.DONE or status == code.TOO_MANY:
                return int(v[code.V_AT])
            if status == code.GROW_TABLE:
                self._grow_table()
            else:
                self._grow_pool(int(v[code.V_WANT]))

    def drop(self, owner: int, first: int, last: int) -> None:
        """Pages ``first`` to ``last`` (after the shift) of an owner are gone, and their entries free."""
        if first <= last:
            self._functions["drop"](self._v.ctypes.data, owner, first, last, self._base(owner), self.sets)

    def move(self, owner: int, first: int, last: int, distance: int) -> None:
        """Pages ``first`` to ``last`` of an owner have other numbers, higher by ``distance``, and keep their places.

        No page has one of the new numbers, and those are not among the old ones. With one set alone.
        """
        if first > last:
            return
        if 2 * (self._v[code.V_USED] + min(last - first + 1, self.nr_pages)) >= self._v[code.V_ROWS]:
            self._grow_table(2 * self.nr_pages)
        self._functions["move"](self._v.ctypes.data, owner, first, last, distance, self._base(owner))

    def clear(self, owner: int) -> None:
        """All pages of the owner's group are gone: its stacks are as at the beginning."""
        self._functions["clear"](self._v.ctypes.data, self._base(owner), self.sets)

    def hashes(self) -> npt.NDArray[np.int64]:
        """Of the pages in the stacks, in no order: 0 to LIMIT - 1 each."""
        found = np.empty(self.nr_pages + 1, np.int64)
        count = self._functions["hashes"](self._v.ctypes.data, found.ctypes.data)
        return found[:count]

    def sift(self, limit: int) -> None:
        """Pages whose hash is not below ``limit`` were never there. With one set alone."""
        self._functions["sift"](self._v.ctypes.data, limit, self._bases.ctypes.data)

    def _base(self, owner: int) -> int:
        """The first stack of an owner's group."""
        if owner >= len(self._bases):
            self.own(owner, 0)
        return int(self._bases[owner])

    def _keep(self, name: int, array: npt.NDArray[Any]) -> None:
        self._arrays[name] = array
        self._v[name] = array.ctypes.data

    def _lengthen(self, name: int, length: int) -> None:
        """More rows of zeros."""
        old = self._arrays[name]
        new = np.zeros((length, *old.shape[1:]), old.dtype)
        new[: len(old)] = old
        self._keep(name, new)

    def _add_groups(self, count: int) -> None:
        before = len(self._arrays[code.V_STACKS])
        if count * self.sets > before:
            self._lengthen(code.V_STACKS, count * self.sets)
            self._lengthen(code.V_FRONT, count * self.sets)
            self._arrays[code.V_STACKS][before:, code.S_HINT] = -1

    def _grow_table(self, pages: int = 0) -> None:
        """Room for twice the pages that are in the stacks, or ``pages``; rows of pages that are gone are left out."""
        rows = _LEAST_ROWS
        while rows < 4 * (max(self.nr_pages, pages) + 1):
            rows *= 2
        new = _table(rows)
        self._functions["rehash"](self._v.ctypes.data, new.ctypes.data, rows, len(self._arrays[code.V_STACKS]))
        self._keep(code.V_TABLE, new)

    def _grow_pool(self, want: int) -> None:
        """``want`` more slots at least, and a place for every distance that there can be."""
        before = len(self._arrays[code.V_WHERE])
        slots = max(2 * before, before + want, 1 << 12)
        if slots >= _MOST_SLOTS:
            raise OutOfMemory(f"curve: {self.nr_pages:,} pages are more than can be followed exactly; sample them")
        self._lengthen(code.V_WHERE, slots)
        self._lengthen(code.V_POOL, slots // 64)
        self._lengthen(code.V_HIST, slots + code.FRONT_PAGES + 1)
        self._v[code.V_SLOTS] = slots


def _table(rows: int) -> npt.NDArray[np.int64]:
    table = np.zeros((rows, 2), np.int64)
    table[:, 1] = code.EMPTY
    return table
