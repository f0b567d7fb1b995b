"""zbud: the pool of 6.1's zswap. A frame has room for two compressed pages, one at each end, however small they are.

A frame is divided into 64 chunks; the first is its header. A new page goes to the frame whose room is the tightest that
does, of those to the one that came to have it last. Frames are written out in the order in which something was last
put into them.

Sources: Documentation/admin-guide/mm/zswap.rst (zbud).

Mirrors: mm/zbud.c (zbud_alloc, zbud_free, zbud_reclaim_page) (6.1)
Differs: who writes out what a frame holds walks over it himself (``oldest``, ``reclaimed``).
"""

import errno
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.page import Page
from pagewalk.mm.zpool import Zpool

if TYPE_CHECKING:
    from pagewalk.mm.system import System

TOTAL_CHUNKS_SHIFT: Final = 6
NCHUNKS: Final = 63


@final
class ZbudPage:
    """A frame (struct zbud_header).

    first, last    the swap entries of what lies at its beginning and at its end, -1 for nothing
    first_chunks, last_chunks  what they take
    under_reclaim  it is being written out: it stays although it is empty
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.first: i64 = -1
        self.last: i64 = -1
        self.first_chunks: i64 = 0
        self.last_chunks: i64 = 0
        self.under_reclaim = False

    def free_chunks(self) -> int:
        """Room between the two."""
        return int(NCHUNKS - self.first_chunks - self.last_chunks)


@final
class Zbud(Zpool):
    """A pool.

    where      the frame of each compressed page
    unbuddied  frames with one page, by the chunks that are free in them; of each the last to come there at the end
    lru        frames by number, the one that something was put into last at the end
    """

    def __init__(self, system: "System") -> None:
        super().__init__(system)
        self.chunk_shift: i64 = system.page_shift - TOTAL_CHUNKS_SHIFT
        self.where: dict[int, ZbudPage] = {}
        self.unbuddied: list[dict[int, ZbudPage]] = [{} for _ in range(NCHUNKS + 1)]
        self.lru: dict[int, ZbudPage] = {}

    def malloc(self, entry: i64, length: i64) -> int:
        """See ``Zpool.malloc``: a page has to leave a chunk for another, and one for the header."""
        if length > self.system.page_size - (2 << self.chunk_shift):
            return -errno.ENOSPC
        chunks: i64 = (length + (1 << self.chunk_shift) - 1) >> self.chunk_shift
        frame = self.roomy(chunks)
        if frame is None:
            page = self.new_frame()
            if page is None:
                return -errno.ENOMEM
            frame = ZbudPage(page)
        if frame.first < 0:
            frame.first = entry
            frame.first_chunks = chunks
        else:
            frame.last = entry
            frame.last_chunks = chunks
        self.where[entry] = frame
        self.settle(frame)
        return 0

    def roomy(self, chunks: i64) -> ZbudPage | None:
        """Takes the frame with the tightest room for so many chunks off its list; None where none has."""
        free: i64 = chunks
        while free <= NCHUNKS:
            if self.unbuddied[free]:
                return self.unbuddied[free].popitem()[1]
            free += 1
        return None

    def settle(self, frame: ZbudPage) -> None:
        """The frame comes last in the order of writing out, and may take another page where it has one only."""
        pfn = frame.page.pfn
        self.lru.pop(pfn, None)
        self.lru[pfn] = frame
        if frame.first < 0 or frame.last < 0:
            self.unbuddied[frame.free_chunks()][pfn] = frame

    def free(self, entry: i64, length: i64) -> None:
        """See ``Zpool.free``."""
        frame = self.where.pop(entry)
        if not frame.under_reclaim:
            self.unbuddied[frame.free_chunks()].pop(frame.page.pfn, None)
        if frame.first == entry:
            frame.first = -1
            frame.first_chunks = 0
        else:
            frame.last = -1
            frame.last_chunks = 0
        if frame.under_reclaim:
            return
        if frame.first < 0 and frame.last < 0:
            del self.lru[frame.page.pfn]
            self.put_frame(frame.page)
        else:
            self.unbuddied[frame.free_chunks()][frame.page.pfn] = frame

    def oldest(self) -> ZbudPage | None:
        """The frame that is to be written out next, which is off all lists up to ``reclaimed``; None: there is none."""
        if not self.lru:
            return None
        frame = next(iter(self.lru.values()))
        del self.lru[frame.page.pfn]
        self.unbuddied[frame.free_chunks()].pop(frame.page.pfn, None)
        frame.under_reclaim = True
        return frame

    def reclaimed(self, frame: ZbudPage) -> bool:
        """Its pages were written out as far as possible: True where it is empty, and given back."""
        frame.under_reclaim = False
        if frame.first < 0 and frame.last < 0:
            self.put_frame(frame.page)
            return True
        self.settle(frame)
        return False
