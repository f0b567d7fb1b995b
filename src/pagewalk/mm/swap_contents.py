"""What the slots of a swap area hold, on the host's side, and what is remembered of the pages that went there.

A slot that is written gets a page of a sparse mapping, and gives it back when it is freed: the next slot to be written
takes the one that was given back last. So an area costs the host as much memory as it has held at once, not a page for
every slot that was ever used; and the host, which takes longer to find a page than the model takes for all the rest of
a page's way to swap, is asked for few. A slot whose page is all zeros takes none.

Mirrors: mm/page_io.c (the zeromap), mm/swap_table.h (shadows) (6.18)
Differs: contents and shadows have an array each.
"""

import mmap
from typing import Final, final

from mypy_extensions import i64

from pagewalk.arch.format import bit

_MAP_NORESERVE: Final = 0x4000
NOTHING: Final = 0
ZEROS: Final = 0xFFFF_FFFF


@final
class SwapContents:
    """The contents of one area, by slot.

    places     the page of ``bytes`` that a slot has, plus 1; 0: nothing is stored; 0xffffffff: the slot's page is all
               zeros, or was when the slot was last used
    shadows    what is to be remembered of a slot's page that has left memory, plus 1; 0: nothing; of a slot that is
               free, or whose page has not gone yet, what it was before
    holes      pages of ``bytes`` that were given back, plus 1, the last one at the end
    nr_places  pages of ``bytes`` that were ever in use
    """

    def __init__(self, nr_slots: int, page_shift: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self.page_shift: i64 = page_shift
        self.page_size: i64 = bit(page_shift)
        self._map = mmap.mmap(-1, nr_slots << page_shift, flags=flags)
        try:
            self._map.madvise(mmap.MADV_HUGEPAGE)  # pages are taken in their order: the host takes fewer faults
        except (AttributeError, OSError):
            pass
        self.bytes = memoryview(self._map)
        self._places_map = mmap.mmap(-1, nr_slots * 4, flags=flags)
        self.places = memoryview(self._places_map).cast("I")
        self._shadows_map = mmap.mmap(-1, nr_slots * 8, flags=flags)
        self.shadows = memoryview(self._shadows_map).cast("q")
        self.holes: list[int] = []
        self.nr_places: i64 = 0

    def store(self, offset: i64, ram: memoryview, start: i64) -> None:
        """Writes the page at byte ``start`` of ``ram`` to a slot."""
        place: i64 = self.places[offset]
        if place == NOTHING or place == ZEROS:
            if self.holes:
                place = self.holes.pop()
            else:
                self.nr_places += 1
                place = self.nr_places
            self.places[offset] = place
        at: i64 = (place - 1) << self.page_shift
        self.bytes[at : at + self.page_size] = ram[start : start + self.page_size]

    def store_zeros(self, offset: i64) -> None:
        """Marks a slot: its page is all zeros."""
        place: i64 = self.places[offset]
        if place == ZEROS:
            return
        if place != NOTHING:
            self.holes.append(place)
        self.places[offset] = ZEROS

    def is_zeros(self, offset: i64) -> bool:
        """Whether the page of a slot, which has been written, is all zeros."""
        place: i64 = self.places[offset]
        return place == ZEROS

    def load(self, offset: i64, ram: memoryview, start: i64) -> bool:
        """Reads a slot into the page at byte ``start`` of ``ram``; False where it holds nothing but zeros."""
        place: i64 = self.places[offset]
        if place == NOTHING or place == ZEROS:
            return False
        at: i64 = (place - 1) << self.page_shift
        ram[start : start + self.page_size] = self.bytes[at : at + self.page_size]
        return True

    def free(self, offset: i64) -> None:
        """The slot is no longer used: its page is the next to be taken. What is remembered is of no meaning then."""
        place: i64 = self.places[offset]
        if place != NOTHING and place != ZEROS:
            self.holes.append(place)
            self.places[offset] = NOTHING

    def close(self) -> None:
        """Gives the memory back to the host."""
        self.bytes.release()
        self.places.release()
        self.shadows.release()
        self._map.close()
