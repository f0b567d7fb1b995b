"""Between pages and swap areas.

Mirrors: mm/page_io.c (6.18)
Differs: I/O ends before the call returns: no page is seen under write-back or not up to date.
"""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from pagewalk.mm.gfp import GFP_KERNEL
from pagewalk.mm.page import Page, PG_dirty, PG_special, PG_uptodate
from pagewalk.mm.swap_area import SwapArea
from pagewalk.mm.swapfile import SWP_OFFSET_MASK

if TYPE_CHECKING:
    from pagewalk.mm.system import System


def is_folio_zero_filled(system: "System", page: Page) -> bool:
    """All bytes are 0; the last word is looked at first, as most other pages do not end in one."""
    shift: i64 = system.page_shift - 3
    first: i64 = page.pfn << shift
    quads = system.ram.quads
    if quads[first + (1 << shift) - 1] != 0 or quads[first] != 0:
        return False
    return system.ram.zero_page.startswith(system.ram.page(page.pfn))  # compares without a copy


def swap_writeout(system: "System", page: Page) -> bool:
    """Stores a page of the swap cache in its slot; it is clean then. A page of zeros only leaves a mark. False where a
    compressed device has no frame for it."""
    swap = system.swap
    area = swap.area_of(page.swap)
    offset: i64 = page.swap & SWP_OFFSET_MASK
    if area.ratio and not zram_store(system, area, page, offset):
        return False
    page.flags &= ~PG_dirty
    if is_folio_zero_filled(system, page):
        area.contents.store_zeros(offset)
        system.vmstat.swpout_zero += 1
        return True
    area.contents.store(offset, system.ram.bytes, page.pfn << system.page_shift)
    system.vmstat.pswpout += 1
    system.vmstat.nr_vmscan_write += 1
    return True


def zram_store(system: "System", area: SwapArea, page: Page, offset: i64) -> bool:
    """A compressed device in RAM is about to hold the page: takes frames for it, or gives back those of pages that it
    holds no longer. False where there is none."""
    if is_folio_zero_filled(system, page):
        if offset in area.stored_at:
            area.stored_at.discard(int(offset))
            area.stored -= 1
    elif offset not in area.stored_at:
        area.stored_at.add(int(offset))
        area.stored += 1
    while len(area.frames) > area.frames_needed():
        frame = area.frames.pop()
        frame.flags &= ~PG_special
        system.node.put_page(frame)
    while len(area.frames) < area.frames_needed():
        got = system.node.alloc_page(GFP_KERNEL)
        if got is None:
            area.stored_at.discard(int(offset))
            area.stored -= 1
            return False
        got.flags |= PG_special
        area.frames.append(got)
    return True


def swap_read_folio(system: "System", page: Page) -> None:
    """Fills a page of the swap cache, which nobody maps yet, from its slot."""
    area = system.swap.area_of(page.swap)
    offset: i64 = page.swap & SWP_OFFSET_MASK
    page.flags |= PG_uptodate
    if area.contents.load(offset, system.ram.bytes, page.pfn << system.page_shift):
        system.vmstat.pswpin += 1
    else:
        system.ram.clear_page(page.pfn)
        system.vmstat.swpin_zero += 1
