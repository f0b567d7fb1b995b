"""Between pages and swap areas.

Mirrors: mm/page_io.c (6.18)
Differs: reading ends before the call returns; writing ends when reclaim has looked at 32 pages more, or with
    the pass.
"""

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.mm.memcg_names import PSWPIN, PSWPOUT, SWPIN_ZERO, SWPOUT_ZERO
from pagewalk.mm.page import Page, PG_dirty, PG_reclaim, PG_uptodate, PG_writeback, PG_zeros
from pagewalk.mm.swap import folio_rotate_reclaimable
from pagewalk.mm.swap_slot import SwapSlot
from pagewalk.mm.swapfile import SWP_OFFSET_MASK
from pagewalk.mm.zram import zram_drop, zram_hold
from pagewalk.mm.zswap import writeback_enabled

if TYPE_CHECKING:
    from pagewalk.mm.system import System

# What became of a page that was to be written.
NOT_WRITTEN: Final = 0
WRITTEN: Final = 1
WRITING: Final = 2


def is_folio_zero_filled(system: "System", page: Page) -> bool:
    """All bytes are 0."""
    if system.ram.quads[page.pfn << (system.page_shift - 3)] != 0:
        return False
    return system.ram.zero_page.startswith(system.ram.page(page.pfn))  # compares without a copy


def known_zeros(system: "System", page: Page) -> bool:
    """The page was zeros when it was mapped, and nobody stores: there is no need to look."""
    return page.flags & PG_zeros != 0 and system.ram.nobody_stores


def swap_writeout(system: "System", page: Page) -> int:
    """Stores a page of the swap cache in its slot; it is clean then. A page of zeros only leaves a mark (up to 6.1 it
    is written as any other); zswap is asked before the device. WRITING where a disk has to do it; NOT_WRITTEN where the
    page has to stay: a compressed device has no frame for it, or its memory cgroup keeps it from the device."""
    area = system.swap.area_of(page.swap)
    offset: i64 = page.swap & SWP_OFFSET_MASK
    slot = area.slot(offset)
    group = system.memcg.groups[page.memcg]
    if not system.linux_6_1 and (known_zeros(system, page) or is_folio_zero_filled(system, page)):
        page.flags &= ~PG_dirty
        if area.ratio:
            zram_drop(system, area, offset)
        area.contents.store_zeros(slot)
        system.ram.frame_changed(page.pfn)
        page.pristine = True  # it is freed next, and nobody writes to it before it has another owner
        system.vmstat.swpout_zero += 1
        group.vm_events[SWPOUT_ZERO] += 1
        return WRITTEN
    compressed = system.zswap.active() and system.zswap.store(page)
    if not compressed:
        if not writeback_enabled(group) or (area.ratio and not zram_hold(system, area, offset)):
            return NOT_WRITTEN
        system.vmstat.pswpout += 1
        system.vmstat.pgpgout += system.page_size >> 10
        group.vm_events[PSWPOUT] += 1
    page.flags &= ~PG_dirty
    area.contents.store(slot, system.ram.bytes, page.pfn << system.page_shift)
    system.vmstat.nr_vmscan_write += 1
    return WRITTEN if compressed or area.synchronous else WRITING


def start_writeback(system: "System", page: Page) -> None:
    """The page, which reclaim wants, is under write-back until the batch of pages after its own has been looked at."""
    page.flags |= PG_writeback | PG_reclaim
    system.swap.writeback.append(page)


def end_writeback(system: "System") -> None:
    """folio_end_writeback: a batch has been looked at, and the device is done with what the one before began to write;
    each page is the next to be looked at, the last one first."""
    swap = system.swap
    pages = swap.writeback_before
    swap.writeback_before = swap.writeback
    swap.writeback = []
    for page in pages:
        page.flags &= ~(PG_writeback | PG_reclaim)
        folio_rotate_reclaimable(system, page)


def swap_read_folio(system: "System", page: Page, slot: SwapSlot, zeroed: bool) -> None:
    """Fills a page of the swap cache, which nobody maps yet, from its ``slot``. ``zeroed``: that is all zeros, and so
    is the page as it comes from the allocator."""
    page.flags |= PG_uptodate
    contents = system.swap.area_of(page.swap).contents
    group = system.memcg.groups[page.memcg]
    if zeroed or not contents.load(slot, system.ram.bytes, page.pfn << system.page_shift):
        if not zeroed:
            system.ram.clear_page(page.pfn)
        if system.ram.nobody_stores:
            page.flags |= PG_zeros
        system.vmstat.swpin_zero += 1
        group.vm_events[SWPIN_ZERO] += 1
        return
    if system.zswap.entries and system.zswap.load(page):
        return
    system.vmstat.pswpin += 1
    system.vmstat.pgpgin += system.page_size >> 10
    system.current.ioac.read_bytes += int(system.page_size)
    group.vm_events[PSWPIN] += 1
    system.zswap.swapin_from_disk(int(page.memcg))
