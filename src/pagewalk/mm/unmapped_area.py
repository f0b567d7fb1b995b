"""Choosing where a new mapping goes, and the layout that the choice starts from.

Mirrors: mm/mmap.c, mm/util.c, mm/huge_memory.c (thp_get_unmapped_area), arch/x86/mm/mmap.c,
    arch/x86/kernel/sys_x86_64.c (6.18)
Differs: no per-model alignment of file mappings (AMD family 15h); one search for all architectures, which differ only
    in the numbers of their layout.
"""

import errno
from bisect import bisect_left
from typing import Final

from mypy_extensions import i64

from pagewalk.mm.file import File
from pagewalk.mm.mm_types import MmStruct, vm_start_gap
from pagewalk.mm.mmap_flags import MAP_32BIT, MAP_ABOVE4G, MAP_FIXED, MAP_SHARED, MAP_TYPE

ADDR_COMPAT_LAYOUT: Final = 0x0200000
ADDR_NO_RANDOMIZE: Final = 0x0040000

_MIN_GAP: Final = 128 << 20


def mmap_min_addr(mm: MmStruct) -> i64:
    """The lowest address that the kernel picks by itself, and that a stack grows down to."""
    config = mm.system.config
    return max(config.mmap_min_addr, config.lsm_mmap_min_addr)


def pick_mmap_layout(mm: MmStruct, stack_limit: int, randomize: bool) -> None:
    """Sets ``mmap_base`` below the stack's room (top-down) or at a third of the address space (legacy).

    ``stack_limit``: soft RLIMIT_STACK in bytes, -1 = unlimited, which selects the legacy layout.
    """
    layout = mm.layout
    rnd = 0
    if randomize:
        rnd = mm.system.random.getrandbits(layout.mmap_rnd_bits) << mm.system.page_shift
    mm.mmap_legacy_base = layout.mmap_legacy + rnd
    personality = mm.system.current.personality
    legacy = mm.system.config.legacy_va_layout or personality & ADDR_COMPAT_LAYOUT != 0
    mm.topdown = not legacy
    if legacy:
        mm.mmap_base = mm.mmap_legacy_base
        return
    gap = layout.mmap_top if stack_limit < 0 else stack_limit
    pad = (mm.system.config.stack_guard_gap + (layout.stack_rnd_mask if randomize else 0)) << int(mm.system.page_shift)
    gap = min(gap + pad, layout.mmap_top)
    gap = max(_MIN_GAP, min(gap, layout.mmap_top // 6 * 5))
    mm.mmap_base = mm.system.page_align(layout.mmap_top - gap - rnd)


def get_unmapped_area(mm: MmStruct, file: File | None, addr: i64, length: i64, pgoff: i64, flags: i64) -> i64:
    """An address for ``length`` bytes (page aligned): ``addr`` itself with MAP_FIXED, near it where that is free,
    else the highest (top-down) or lowest (legacy) gap. A negative errno where there is none: -ENOMEM, -EINVAL,
    -EPERM."""
    if length < 0 or length > mm.task_size:
        return -errno.ENOMEM
    if file is None:
        pgoff = 0
    if flags & MAP_FIXED:
        if file is not None and file.huge_page_size and addr & (file.huge_page_size - 1):
            return -errno.EINVAL
        found = addr
    elif (
        mm.system.format.halves
        and mm.layout.bits == 64
        and (
            (file is not None and file.thp_aligned and (file.mapping is not None or not flags & MAP_SHARED))
            or (
                file is None
                and not mm.system.linux_6_1
                and flags & MAP_TYPE != MAP_SHARED
                and addr == 0
                and length & (mm.system.format.pmd_size - 1) == 0
            )
        )
    ):
        found = thp_get_unmapped_area(mm, addr, length, pgoff, flags)
    else:
        found = mm_get_unmapped_area(mm, addr, length, flags)
    if -4096 < found < 0:
        return found
    if found < 0 or found > mm.task_size - length:
        return -errno.ENOMEM
    if found & ~mm.system.page_mask:
        return -errno.EINVAL
    if found < mm.system.config.mmap_min_addr and not mm.system.current.capable:
        return -errno.EPERM
    return found


def thp_get_unmapped_area(mm: MmStruct, addr: i64, length: i64, pgoff: i64, flags: i64) -> i64:
    """As ``mm_get_unmapped_area``, with the huge pages of the object on huge-page boundaries where there is room."""
    pmd_size: i64 = mm.system.format.pmd_size
    offset: i64 = pgoff << mm.system.page_shift
    first_huge: i64 = (offset + pmd_size - 1) & -pmd_size
    if offset + length > first_huge and offset + length - first_huge >= pmd_size:
        found = mm_get_unmapped_area(mm, addr, length + pmd_size, flags)
        if found >= 0:
            if found == addr:
                return addr
            shift: i64 = (offset - found) & (pmd_size - 1)
            if mm.topdown and shift == 0 and not mm.system.linux_6_1:
                return found + pmd_size
            return found + shift
    return mm_get_unmapped_area(mm, addr, length, flags)


def mm_get_unmapped_area(mm: MmStruct, addr: i64, length: i64, flags: i64) -> i64:
    """The hint where it is free, else a gap by the address space's layout; or -ENOMEM."""
    if length > mm.task_size:
        return -errno.ENOMEM
    if not mm.topdown or (flags & MAP_32BIT and mm.layout.bits == 64):
        return _bottom_up(mm, addr, length, flags)
    if addr != 0:
        addr &= mm.system.page_mask
        if _hint_valid(mm, addr, length) and _is_free(mm, addr, length):
            return addr
    window = mm.layout.mmap_top
    low: i64 = (1 << 32) if flags & MAP_ABOVE4G and mm.layout.bits == 64 else mm.system.page_size
    high: i64 = mm.mmap_base
    if _beyond(addr, window):
        high += mm.task_size - window
    found = unmapped_area_topdown(mm, max(low, mmap_min_addr(mm)), high, length)
    return found if found >= 0 else _bottom_up(mm, 0, length, flags)


def _beyond(addr: i64, window: i64) -> bool:
    """The hint asks for the addresses above the 47-bit window: it lies there, or is ~0 or any other high number."""
    return addr < 0 or addr > window


def _hint_valid(mm: MmStruct, addr: i64, length: i64) -> bool:
    """The hint lies in the address space and does not straddle the 47-bit window."""
    window = mm.layout.mmap_top
    if addr < 0 or mm.task_size - length < addr:
        return False
    return (addr > window) == (addr + length > window)


def _is_free(mm: MmStruct, addr: i64, length: i64) -> bool:
    vma = mm.find_vma(addr)
    return vma is None or addr + length <= vm_start_gap(vma)


def _bottom_up(mm: MmStruct, addr: i64, length: i64, flags: i64) -> i64:
    window = mm.layout.mmap_top
    if flags & MAP_32BIT and mm.layout.bits == 64:
        begin: i64 = 0x40000000
        end: i64 = 0x80000000
        if mm.randomized:
            begin += mm.system.random.getrandbits(13) << mm.system.page_shift
    else:
        begin = max(mm.mmap_legacy_base, (1 << 32) if flags & MAP_ABOVE4G and mm.layout.bits == 64 else 0)
        end = mm.task_size if _beyond(addr, window) else window
    if length > end:
        return -errno.ENOMEM
    if addr != 0:
        addr = mm.system.page_align(addr)
        if 0 <= addr <= end - length and _is_free(mm, addr, length):
            return addr
    return unmapped_area(mm, max(begin, mmap_min_addr(mm)), end, length)


def unmapped_area(mm: MmStruct, low: i64, high: i64, length: i64) -> i64:
    """The lowest gap of ``length`` bytes in [low, high), guard gaps of stacks kept free; or -ENOMEM."""
    addr = low
    for vma in mm.vmas[mm.index_of_first(low) :]:
        if addr + length > high:
            return -errno.ENOMEM
        if vma.vm_start >= addr and vm_start_gap(vma) - addr >= length:
            return addr
        addr = max(addr, vma.vm_end)
    return addr if addr + length <= high else -errno.ENOMEM


def unmapped_area_topdown(mm: MmStruct, low: i64, high: i64, length: i64) -> i64:
    """The highest gap of ``length`` bytes in [low, high), guard gaps of stacks kept free; or -ENOMEM.

    A gap that would do but for the guard of the stack above it sends the search below that whole guard, even where
    other mappings lie within it; a stack above a gap that is too small anyway does not.
    """
    at = bisect_left(mm.starts, high)
    top = high
    while True:
        bottom: i64 = mm.vmas[at - 1].vm_end if at > 0 else 0
        if top - length >= max(bottom, low):
            if at == len(mm.vmas) or vm_start_gap(mm.vmas[at]) >= top:
                return top - length
            top = vm_start_gap(mm.vmas[at])
            at = bisect_left(mm.starts, top)
            continue
        if at == 0 or bottom <= low:
            return -errno.ENOMEM
        at -= 1
        top = min(top, mm.vmas[at].vm_start)
