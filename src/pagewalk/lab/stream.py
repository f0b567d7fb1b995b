"""From accesses to pages: which pages a batch touches in order, of the kinds of access that are wanted.

The pages are those of the smallest size; larger ones are made of them by a shift. A page that is touched twice in a row
is told once, since that is a hit in every cache; look-ups are counted here.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pagewalk.hw.walker import FETCH, READ, WRITE
from pagewalk.lab.native import Functions, bytes_at, halves_at, word, words_at
from pagewalk.trace.format import Batch

__all__ = ["SIDES", "PageStream"]

SIDES: Final = {"data": 1 << READ | 1 << WRITE, "fetch": 1 << FETCH, "both": 1 << READ | 1 << WRITE | 1 << FETCH}

_PAGES: Final = 1 << 15  # told at once
_MOST: Final = 17  # pages of one access: 65,535 bytes of 4 KiB pages

# Scalars.
_AT: Final = 0  # access to go on with
_LAST: Final = 1  # page that was told last
_FRESH: Final = 2  # 1: none was
_ACCESSES: Final = 3  # of the kinds that are wanted
_WORDS: Final = 4


def touch_pages(
    v_at: int, addrs_at: int, kinds_at: int, sizes_at: int, end: int, kinds: int, shift: int, shifts_at: int,
    nr_shifts: int, more_at: int, out_at: int, room: int,
) -> int:  # fmt: skip
    """The pages of accesses ``v[_AT]`` to ``end``, into ``out``: how many.

    kinds   bits of those that are wanted
    shifts  of each page size, beyond ``shift``; ``more`` counts the pages of each size that accesses reach into
    room    in ``out``; where it is used up ``v[_AT]`` is below ``end``
    """
    v, addrs, more, out = words_at(v_at), words_at(addrs_at), words_at(more_at), words_at(out_at)
    kind, size, shifts = bytes_at(kinds_at), halves_at(sizes_at), words_at(shifts_at)
    last = v[_LAST]
    fresh = v[_FRESH] != 0
    accesses = 0
    found = 0
    at = v[_AT]
    while at < end and found < room - _MOST:
        if kinds >> kind[at] & 1 != 0:
            accesses += 1
            page = addrs[at] >> shift
            if page != last or fresh:
                out[found] = page
                found += 1
                last = page
                fresh = False
            end_page = (addrs[at] + (size[at] - 1)) >> shift
            if end_page > page:
                for number in range(nr_shifts):
                    more[number] += (end_page >> shifts[number]) - (page >> shifts[number])
                while last < end_page:
                    last += 1
                    out[found] = last
                    found += 1
        at += 1
    v[_AT] = at
    v[_LAST] = last
    v[_FRESH] = 1 if fresh else 0
    v[_ACCESSES] += accesses
    return found


@functools.cache
def _touch_pages() -> Any:
    return Functions().make(touch_pages, word, *[word] * 12)


class PageStream:
    """The pages of batches.

    page_sizes  bytes, powers of two of at least 4096, ascending
    side        one of SIDES
    """

    def __init__(self, page_sizes: Sequence[int], side: str) -> None:
        self.shift = page_sizes[0].bit_length() - 1
        self.shifts = [size.bit_length() - 1 - self.shift for size in page_sizes]
        self._kinds = SIDES[side]
        self._v = np.zeros(_WORDS, np.int64)
        self._more = np.zeros(len(page_sizes), np.int64)
        self._shifts = np.array(self.shifts, np.int64)
        self._out = np.empty(_PAGES, np.int64)

    def restart(self) -> None:
        """Another owner's accesses follow: its page is told even if it has the same number."""
        self._v[_FRESH] = 1

    def lookups(self) -> list[int]:
        """So far, for each page size: accesses, and further pages that they reached into."""
        return [int(self._v[_ACCESSES] + more) for more in self._more]

    def add_lookup(self) -> None:
        """One that is not in a batch."""
        self._v[_ACCESSES] += 1

    def pages(self, batch: Batch, start: int, end: int) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
        """(array, count) of pages that accesses ``start`` to ``end`` touch; the array is used again."""
        v = self._v
        v[_AT] = start
        make = _touch_pages()
        columns = [np.ascontiguousarray(column) for column in (batch.addr, batch.kind, batch.size)]
        while v[_AT] < end:
            count = make(
                v.ctypes.data, *(column.ctypes.data for column in columns), end, self._kinds, self.shift,
                self._shifts.ctypes.data, len(self._shifts), self._more.ctypes.data, self._out.ctypes.data, _PAGES,
            )  # fmt: skip
            if count:
                yield self._out, count
