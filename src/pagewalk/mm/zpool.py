"""Where zswap keeps what it has compressed: the seam, and a pool that is as full as it can be.

Mirrors: mm/zsmalloc.c (zs_malloc, zs_free, zs_get_total_pages) (6.18)
Differs: compressed pages lie side by side, and across frames, not in size classes.
"""

import errno
from typing import TYPE_CHECKING, final

from mypy_extensions import i64

from pagewalk.mm.gfp import GFP_KERNEL
from pagewalk.mm.page import Page, PG_special

if TYPE_CHECKING:
    from pagewalk.mm.system import System


class Zpool:
    """A pool. Compressed pages are known by the swap entries of their pages.

    nr_pages   frames that it has
    """

    def __init__(self, system: "System") -> None:
        self.system = system
        self.nr_pages: i64 = 0

    def malloc(self, entry: i64, length: i64) -> int:
        """Room for ``length`` bytes: 0; -ENOMEM where there is no frame, -ENOSPC where the pool takes nothing as
        large."""
        return -errno.ENOMEM

    def free(self, entry: i64, length: i64) -> None:
        """They are not wanted any more."""

    def new_frame(self) -> Page | None:
        """A frame more."""
        page = self.system.node.alloc_page(GFP_KERNEL)
        if page is not None:
            page.flags |= PG_special
            self.nr_pages += 1
        return page

    def put_frame(self, page: Page) -> None:
        """A frame is empty."""
        page.flags &= ~PG_special
        self.system.node.put_page(page)
        self.nr_pages -= 1


@final
class DensePool(Zpool):
    """As full as it can be.

    nr_bytes  what is in it
    """

    def __init__(self, system: "System") -> None:
        super().__init__(system)
        self.nr_bytes: i64 = 0
        self.frames: list[Page] = []

    def malloc(self, entry: i64, length: i64) -> int:
        """See ``Zpool.malloc``."""
        self.nr_bytes += length
        while len(self.frames) < self.frames_needed():
            page = self.new_frame()
            if page is None:
                self.nr_bytes -= length
                return -errno.ENOMEM
            self.frames.append(page)
        return 0

    def free(self, entry: i64, length: i64) -> None:
        """See ``Zpool.free``."""
        self.nr_bytes -= length
        while len(self.frames) > self.frames_needed():
            self.put_frame(self.frames.pop())

    def frames_needed(self) -> int:
        """Frames that the bytes take."""
        return int((self.nr_bytes + self.system.page_size - 1) >> self.system.page_shift)
