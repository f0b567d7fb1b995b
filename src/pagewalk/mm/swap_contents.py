"""What the slots of a swap area hold, on the host's side, and what is remembered of the pages that went there.

A slot that is written gets a page of a sparse mapping, and gives it back when it is freed: the next slot to be written
takes the one that was given back last. So an area costs the host as much memory as it has held at once, not a page for
every slot that was ever used; and the host, which takes longer to find a page than the model takes for all the rest of
a page's way to swap, is asked for few. A slot whose page is all zeros takes none.

Mirrors: mm/page_io.c (the zeromap), mm/swap_table.h (shadows) (6.18)
Differs: place and shadow of a slot stand side by side in one array.
"""

import mmap
from typing import Final, final

from mypy_extensions import i64

from pagewalk.arch.format import bit

_MAP_NORESERVE: Final = 0x4000
NOTHING: Final = 0
ZEROS: Final = -1


@final
class SwapContents:
    """The contents of one area, by slot.

    slots      two words a slot (the host fetches them together): its place, the page of ``bytes`` that it has, plus 1,
               0 where nothing is stored, -1 where the slot's page is all zeros, or was when the slot was last used; and
               its shadow, what is to be remembered of the page that has left memory, plus 1, 0 for nothing (of a slot
               that is free, or whose page has not gone yet, it is what it was before)
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
        self._slots_map = mmap.mmap(-1, nr_slots * 16, flags=flags)
        self.slots = memoryview(self._slots_map).cast("q")
        self.holes: list[int] = []
        self.nr_places: i64 = 0

    def store(self, offset: i64, ram: memoryview, start: i64) -> None:
        """Writes the page at byte ``start`` of ``ram`` to a slot."""
        place: i64 = self.slots[offset * 2]
        if place <= NOTHING:
            if self.holes:
                place = self.holes.pop()
            else:
                self.nr_places += 1
                place = self.nr_places
            self.slots[offset * 2] = place
        at: i64 = (place - 1) << self.page_shift
        self.bytes[at : at + self.page_size] = ram[start : start + self.page_size]

    def store_zeros(self, offset: i64) -> None:
        """Marks a slot: its page is all zeros."""
        place: i64 = self.slots[offset * 2]
        if place == ZEROS:
            return
        if place > NOTHING:
            self.holes.append(place)
        self.slots[offset * 2] = ZEROS

    def is_zeros(self, offset: i64) -> bool:
        """Whether the page of a slot, which has been written, is all zeros."""
        place: i64 = self.slots[offset * 2]
        return place == ZEROS

    def load(self, offset: i64, ram: memoryview, start: i64) -> bool:
        """Reads a slot into the page at byte ``start`` of ``ram``; False where it holds nothing but zeros."""
        place: i64 = self.slots[offset * 2]
        if place <= NOTHING:
            return False
        at: i64 = (place - 1) << self.page_shift
        ram[start : start + self.page_size] = self.bytes[at : at + self.page_size]
        return True

    def free(self, offset: i64) -> None:
        """The slot is no longer used: its page is the next to be taken. What is remembered is of no meaning then."""
        place: i64 = self.slots[offset * 2]
        if place > NOTHING:
            self.holes.append(place)
            self.slots[offset * 2] = NOTHING

    def set_shadow(self, offset: i64, shadow: i64) -> None:
        """The page of a slot has left memory: what is to be remembered of it, 0 or more."""
        self.slots[offset * 2 + 1] = shadow + 1

    def take_shadow(self, offset: i64) -> i64:
        """What was remembered of the page of a slot, which is back; -1 for nothing."""
        shadow: i64 = self.slots[offset * 2 + 1]
        if shadow:
            self.slots[offset * 2 + 1] = 0
        return shadow - 1

    def close(self) -> None:
        """Gives the memory back to the host."""
        self.bytes.release()
        self.slots.release()
        self._map.close()
