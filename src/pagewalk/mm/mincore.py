"""mincore(2): which pages are in memory.

Mirrors: mm/mincore.c (6.18)
Differs: nothing.
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.file import FMODE_WRITE
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.page import PG_uptodate
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.swap_state import swap_cache_get_folio
from pagewalk.mm.swapfile import pte_to_swp_entry
from pagewalk.mm.uaccess import access_ok, copy_to_user
from pagewalk.mm.vma import Vma


def mincore(mm: MmStruct, start: i64, length: i64, vec: i64) -> int:
    """mincore(2): stores a byte a page at ``vec``. 0, -EINVAL (unaligned), -ENOMEM (hole, out of range), -EFAULT."""
    if start & ~mm.system.page_mask:
        return -errno.EINVAL
    if not access_ok(mm, start, length):
        return -errno.ENOMEM
    pages: i64 = mm.system.nr_pages(length)
    if not access_ok(mm, vec, pages):
        return -errno.EFAULT
    at = start
    while pages > 0:
        chunk: i64 = min(pages, mm.system.page_size)
        vma = mm.vma_lookup(at)
        if vma is None:
            return -errno.ENOMEM
        chunk = min(chunk, (vma.vm_end - at) >> mm.system.page_shift)
        if not copy_to_user(mm, vec, residency(vma, at, chunk)):
            return -errno.EFAULT
        at += chunk << mm.system.page_shift
        vec += chunk
        pages -= chunk
    return 0


def residency(vma: Vma, start: i64, nr_pages: i64) -> bytes:
    """A byte a page: 1 where it is mapped, or in the page cache of a file that the task could write."""
    mm = vma.vm_mm
    words = mm.system.ram.words
    fmt = mm.system.format
    guard = fmt.guard
    mapping = None if vma.vm_file is None else vma.vm_file.mapping
    if vma.vm_file is not None and not can_do_mincore(vma):
        return bytes([1]) * int(nr_pages)
    vec = bytearray(nr_pages)
    at: i64 = 0
    while at < nr_pages:
        addr: i64 = start + (at << mm.system.page_shift)
        index = pte_lookup(mm, addr)
        pte: i64 = words[index] if index >= 0 else 0
        if pte != 0 and pte != guard:
            swapped = fmt.is_swap_pte(pte)
            vec[at] = 0 if swapped and swap_cache_get_folio(mm.system, pte_to_swp_entry(fmt, pte)) is None else 1
        elif mapping is not None:
            pgoff: i64 = vma.pgoff_of(addr)
            page = mapping.i_pages.get(pgoff)
            cached = mapping.is_warm(pgoff) if page is None else page.flags & PG_uptodate != 0
            if page is None and pgoff in mapping.swapped:
                cached = swap_cache_get_folio(mm.system, mapping.swapped[pgoff]) is not None
            vec[at] = 1 if cached else 0
        at += 1
    return bytes(vec)


def can_do_mincore(vma: Vma) -> bool:
    """A task that could not write the file learns nothing about its cache: every page counts as resident."""
    assert vma.vm_file is not None
    return vma.vm_mm.system.current.capable or vma.vm_file.f_mode & FMODE_WRITE != 0
