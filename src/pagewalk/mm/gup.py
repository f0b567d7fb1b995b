"""Faulting pages in without the program touching them: MAP_POPULATE, mlock, MADV_POPULATE_*.

Mirrors: mm/gup.c (6.18)
Differs: pages are not pinned; only the populate side exists.
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.fault_types import FAULT_FLAG_WRITE, VM_FAULT_ERROR, VM_FAULT_OOM
from pagewalk.mm.memory import handle_mm_fault, vm_normal_page
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.page import PG_anon, PG_dirty
from pagewalk.mm.page_writeback import folio_mark_dirty
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.pkeys import arch_vma_access_permitted
from pagewalk.mm.swap import folio_mark_accessed
from pagewalk.mm.vma import (
    VM_IO,
    VM_LOCKONFAULT,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    Vma,
)


def mm_populate(mm: MmStruct, start: i64, end: i64) -> None:
    """Faults in what can be of [start, end), errors ignored (as after mmap and mlockall)."""
    _mm_populate(mm, start, end, ignore_errors=True)


def _mm_populate(mm: MmStruct, start: i64, end: i64, ignore_errors: bool) -> int:
    """Faults in [start, end), VMA by VMA, holes and device memory skipped; 0 or the first error."""
    for vma in mm.vmas_in(start, end):
        if vma.vm_flags & (VM_IO | VM_PFNMAP):
            continue
        failed = populate_vma_page_range(vma, max(start, vma.vm_start), min(end, vma.vm_end))
        if failed and not ignore_errors:
            return failed
    return 0


def populate_or_error(mm: MmStruct, start: i64, end: i64) -> int:
    """As ``mm_populate``, but the first error ends it and is answered (mlock)."""
    return _mm_populate(mm, start, end, ignore_errors=False)


def populate_vma_page_range(vma: Vma, start: i64, end: i64) -> int:
    """Faults in [start, end) of one VMA: for writing where it is private and writable, so that copy-on-write is broken
    now, for reading otherwise. 0 or a negative errno."""
    if vma.vm_flags & VM_LOCKONFAULT:
        return 0
    write = vma.vm_flags & (VM_WRITE | VM_SHARED) == VM_WRITE
    return faultin_range(vma, start, end, write, force=vma.is_accessible())


def faultin_range(vma: Vma, start: i64, end: i64, write: bool, force: bool) -> int:
    """get_user_pages without the pages: takes a fault for every page of [start, end) that does not grant the access.

    ``force`` allows what the VMA may (VM_MAYREAD, VM_MAYWRITE on private memory) rather than what it does.
    """
    if not vma_permits(vma, write, force):
        return -errno.EFAULT
    addr = start
    while addr < end:
        if not page_is_there(vma, addr, write):
            ret = handle_mm_fault(vma, addr, FAULT_FLAG_WRITE if write else 0)
            if ret & VM_FAULT_ERROR:
                return -errno.ENOMEM if ret & VM_FAULT_OOM else -errno.EFAULT
            page_is_there(vma, addr, write)  # which is looked at again, and touched
        addr += vma.vm_mm.system.page_size
    return 0


def vma_permits(vma: Vma, write: bool, force: bool) -> bool:
    """check_vma_flags."""
    flags = vma.vm_flags
    if flags & (VM_IO | VM_PFNMAP):
        return False
    if vma.vm_mm.system.pku and not arch_vma_access_permitted(vma, write):
        return False
    if write:
        return flags & VM_WRITE != 0 or (force and flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE)
    return flags & VM_READ != 0 or (force and flags & VM_MAYREAD != 0)


def page_is_there(vma: Vma, addr: i64, write: bool) -> bool:
    """Whether the page table grants the access already; if so the page, not its entry, is marked (FOLL_TOUCH)."""
    mm = vma.vm_mm
    index = pte_lookup(mm, addr)
    if index < 0:
        return False
    fmt = mm.system.format
    words = mm.system.ram.words
    pte: i64 = words[index]
    if not fmt.present.test(pte) or (write and not fmt.write.test(pte)):
        return False
    page = vm_normal_page(mm.system, pte)
    if page is not None:
        folio_mark_accessed(mm.system, page)
        if write and not fmt.dirty.test(pte):
            if page.flags & PG_anon:
                page.flags |= PG_dirty
            else:
                folio_mark_dirty(mm.system, page)
    return True
