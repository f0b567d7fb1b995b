"""zswap as it was in 6.1: frames of two, pages that stay in the pool while they are in memory, and a full pool that
gives one frame back.

When the pool has more than its frames, the page goes to its device, and the oldest frame is written out; from then on
every page goes past the pool until that has fallen below the acceptance mark by itself. A page that comes back stays in
the pool as well, as long as it keeps its slot. A page of one word repeated takes no room.

Sources: Documentation/admin-guide/mm/zswap.rst (6.1).

Mirrors: mm/zswap.c (zswap_frontswap_store, zswap_frontswap_load, shrink_worker, zswap_writeback_entry), mm/frontswap.c
(6.1)
Differs: contents lie where the device's do, so that writing them out moves nothing, and needs no page; the work of
    shrinking is done at once by who finds the pool full.
"""

import errno
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.memcg_names import ZSWPIN
from pagewalk.mm.page import Page
from pagewalk.mm.zbud import Zbud
from pagewalk.mm.zswap import WRITTEN, Zswap

if TYPE_CHECKING:
    from pagewalk.mm.system import System

RECLAIM_RETRIES: Final = 8  # frames that shrinking tries
ZSWAP_HEADER: Final = 8  # bytes in front of each compressed page, which zbud has to write out


@final
class Zswap61(Zswap):
    """A machine's, of that release.

    zbud   its pool
    reject_compress_poor  pages that hardly became smaller
    """

    def __init__(self, system: "System") -> None:
        super().__init__(system)
        self.zbud = Zbud(system)
        self.pool = self.zbud
        self.header = ZSWAP_HEADER
        self.reject_compress_poor = 0

    def check_limits(self) -> bool:
        """Whether the pool takes no pages: it has more than its frames, or had, and is not below the acceptance mark
        again. The first of these gives a frame back."""
        pages = int(self.pool.nr_pages)
        if pages > self.max_pages():
            self.pool_limit_hit += 1
            self.reached_full = True
            self.shrink_frame()
        elif self.reached_full and self.accept_pages() > pages:
            self.reached_full = False
        return self.reached_full

    def accept_pages(self) -> int:
        """See ``Zswap.accept_pages``."""
        return int(self.system.totalram_pages) * self.accept_threshold_percent // 100 * self.max_pool_percent // 100

    def store(self, page: Page) -> bool:
        """See ``Zswap.store``."""
        entry = page.swap
        self.invalidate(entry)
        if not self.enabled:
            return False
        group = self.system.memcg.groups[page.memcg]
        if not self.may_store(group):
            self.shrink_frame()
            return False
        if self.check_limits():
            return False
        if self.same_filled(page):
            self.add_entry(entry, 0, group)
            return True
        return self.keep(entry, group)

    def refused(self, reason: int) -> None:
        """See ``Zswap.refused``."""
        if reason == -errno.ENOSPC:
            self.reject_compress_poor += 1
        else:
            self.reject_alloc_fail += 1

    def same_filled(self, page: Page) -> bool:
        """Every word is as the first."""
        contents = self.system.ram.page(page.pfn)
        if contents[:8] != contents[-8:]:
            return False
        return bytes(contents[:8]) * (int(self.system.page_size) >> 3) == contents

    def load(self, page: Page) -> bool:
        """See ``Zswap.load``; what is loaded stays in the pool."""
        found = self.entries.get(page.swap)
        if found is None:
            return False
        self.system.vmstat.zswpin += 1
        self.system.memcg.groups[found.memcg].vm_events[ZSWPIN] += 1
        return True

    def shrink_frame(self) -> None:
        """shrink_worker: the oldest frame whose pages can be written, of the 8 oldest, is given back."""
        for _ in range(RECLAIM_RETRIES):
            frame = self.zbud.oldest()
            if frame is None:
                break
            if self.write_if_any(frame.first):
                self.write_if_any(frame.last)
            if self.zbud.reclaimed(frame):
                return
        self.reject_reclaim_fail += 1

    def write_if_any(self, entry: i64) -> bool:
        """Writes an entry out, unless it is -1; False where that cannot be."""
        return entry < 0 or self.writeback_entry(entry, self.entries[entry]) == WRITTEN
