"""What the slots of a swap area hold, on the host's side.

A slot that is written gets a page of a sparse mapping, and gives it back when it is freed: the next slot to be written
takes the one that was given back last. So an area costs the host as much memory as it has held at once, not a page for
every slot that was ever used; and the host, which takes longer to find a page than the model takes for all the rest of
a page's way to swap, is asked for few. A slot whose page is all zeros takes none.

Mirrors: mm/page_io.c (the zeromap) (6.18)
Differs: a slot has a page of the host's memory, not a place on a device.
"""

import mmap
from typing import Final, final

from mypy_extensions import i64

from pagewalk.arch.format import bit
from pagewalk.mm.swap_slot import NOTHING, ZEROS, SwapSlot

_MAP_NORESERVE: Final = 0x4000


@final
class SwapContents:
    """The contents of one area.

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
        self.holes: list[int] = []
        self.nr_places: i64 = 0

    def store(self, slot: SwapSlot, ram: memoryview, start: i64) -> None:
        """Writes the page at byte ``start`` of ``ram`` to a slot."""
        if slot.place <= NOTHING:
            if self.holes:
                slot.place = self.holes.pop()
            else:
                self.nr_places += 1
                slot.place = self.nr_places
        at: i64 = (slot.place - 1) << self.page_shift
        self.bytes[at : at + self.page_size] = ram[start : start + self.page_size]

    def store_zeros(self, slot: SwapSlot) -> None:
        """Marks a slot: its page is all zeros."""
        self.free(slot)
        slot.place = ZEROS

    def load(self, slot: SwapSlot, ram: memoryview, start: i64) -> bool:
        """Reads a slot into the page at byte ``start`` of ``ram``; False where it holds nothing but zeros."""
        if slot.place <= NOTHING:
            return False
        at: i64 = (slot.place - 1) << self.page_shift
        ram[start : start + self.page_size] = self.bytes[at : at + self.page_size]
        return True

    def free(self, slot: SwapSlot) -> None:
        """The slot is no longer used: its page is the next to be taken."""
        if slot.place > NOTHING:
            self.holes.append(slot.place)
            slot.place = NOTHING

    def close(self) -> None:
        """Gives the memory back to the host."""
        self.bytes.release()
        self._map.close()
