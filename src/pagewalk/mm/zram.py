"""A compressed device in RAM: the frames that the pages in it take.

Sources: Documentation/admin-guide/blockdev/zram.rst.

Mirrors: drivers/block/zram/zram_drv.c (zram_write_page, zram_free_page) (6.18)
Differs: how well pages compress is configured; pages lie as close as they can, not in zsmalloc's size classes; what a
    freed slot held is given back with the next write.
"""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from pagewalk.mm.gfp import GFP_KERNEL
from pagewalk.mm.page import PG_special
from pagewalk.mm.swap_area import SwapArea

if TYPE_CHECKING:
    from pagewalk.mm.system import System


def zram_hold(system: "System", area: SwapArea, offset: i64) -> bool:
    """The device is about to hold the page of a slot: takes frames for it. False where there is none."""
    if offset not in area.stored_at:
        area.stored_at.add(int(offset))
        area.stored += 1
    shrink_frames(system, area)
    while len(area.frames) < area.frames_needed():
        got = system.node.alloc_page(GFP_KERNEL)
        if got is None:
            area.stored_at.discard(int(offset))
            area.stored -= 1
            return False
        got.flags |= PG_special
        area.frames.append(got)
    return True


def zram_drop(system: "System", area: SwapArea, offset: i64) -> None:
    """The device holds nothing for a slot any more."""
    if offset in area.stored_at:
        area.stored_at.discard(int(offset))
        area.stored -= 1
    shrink_frames(system, area)


def shrink_frames(system: "System", area: SwapArea) -> None:
    """Gives back the frames of pages that it holds no longer."""
    while len(area.frames) > area.frames_needed():
        frame = area.frames.pop()
        frame.flags &= ~PG_special
        system.node.put_page(frame)
