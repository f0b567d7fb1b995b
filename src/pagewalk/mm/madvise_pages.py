"""The advice that changes pages or page-table entries: MADV_FREE, COLD, PAGEOUT, GUARD_*.

Mirrors: mm/madvise.c (6.18)
Differs: nothing.
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.folio import folio_range
from pagewalk.mm.memory import vm_normal_page
from pagewalk.mm.mm_types import MM_SWAPENTS
from pagewalk.mm.mmu_gather import zap_pte_range
from pagewalk.mm.page import Page, PG_active, PG_dirty, PG_referenced, PG_swapcache, PG_unevictable, PG_workingset
from pagewalk.mm.pgtable import next_table, present_ptes, pte_alloc, pte_lookup, swap_ptes
from pagewalk.mm.rmap import anon_vma_prepare, page_mappers, pte_maps
from pagewalk.mm.swap import folio_deactivate, folio_mark_lazyfree
from pagewalk.mm.swap_state import read_swap_cache
from pagewalk.mm.swapfile import pte_to_swp_entry
from pagewalk.mm.truncate import split_to_pages
from pagewalk.mm.vma import VM_LOCKED, VM_MAYBE_GUARD, VM_MAYSHARE, Vma
from pagewalk.mm.vmscan import reclaim_pages


def madvise_free(vma: Vma, start: i64, end: i64) -> None:
    """MADV_FREE: pages lose their dirty and accessed marks; until they are written again they may be dropped instead of
    swapped. A page that is itself marked dirty keeps the mark where others map it too."""
    mm = vma.vm_mm
    fmt = mm.system.format
    words = mm.system.ram.words
    changed = False
    drop_swap_entries(vma, start, end)
    for addr in present_ptes(vma, start, end):
        index = pte_lookup(mm, addr)
        pte: i64 = words[index]
        page = vm_normal_page(mm.system, pte)
        if page is None or (page.flags & (PG_dirty | PG_swapcache) and page.mapcount != 1):
            continue
        if page.flags & PG_swapcache and not mm.system.swap.try_to_free_swap(page):
            continue
        if is_unevictable(page):
            page.flags &= ~PG_dirty
        else:
            page.flags &= ~PG_dirty
            folio_mark_lazyfree(mm.system, page)
        if fmt.accessed.test(pte) or fmt.dirty.test(pte):
            words[index] = fmt.dirty.clear(fmt.accessed.clear(pte)) | fmt.rdonly
            changed = True
    if changed:
        mm.flush_tlb_range(start, end)


def drop_swap_entries(vma: Vma, start: i64, end: i64) -> None:
    """Pages of [start, end) that are in swap are gone: nothing has to be read for them any more."""
    mm = vma.vm_mm
    system = mm.system
    fmt = system.format
    if mm.rss_stat[MM_SWAPENTS] == 0:
        return
    for addr in swap_ptes(vma, start, end):
        index = pte_lookup(mm, addr)
        entry = pte_to_swp_entry(fmt, system.ram.words[index])
        system.ram.words[index] = 0
        mm.rss_stat[MM_SWAPENTS] -= 1
        system.swap.free_swap_and_cache(entry)


def swapin_walk(vma: Vma, start: i64, end: i64) -> None:
    """MADV_WILLNEED of private memory: what is in swap is read into the swap cache."""
    system = vma.vm_mm.system
    if vma.vm_mm.rss_stat[MM_SWAPENTS] == 0:
        return
    for addr in swap_ptes(vma, start, end):
        index = pte_lookup(vma.vm_mm, addr)
        pte: i64 = system.ram.words[index]
        if system.format.is_swap_pte(pte):
            read_swap_cache(system, pte_to_swp_entry(system.format, pte), False, vma, addr)


def shmem_swapin_range(vma: Vma, start: i64, end: i64) -> None:
    """MADV_WILLNEED of shared memory."""
    assert vma.vm_file is not None and vma.vm_file.mapping is not None
    mapping = vma.vm_file.mapping
    first, last = vma.pgoff_of(start), vma.pgoff_of(start) + ((end - start) >> vma.vm_mm.system.page_shift)
    for index in sorted([index for index in mapping.swapped if first <= index < last]):
        read_swap_cache(vma.vm_mm.system, mapping.swapped[index], ahead=False)


def is_unevictable(page: Page) -> bool:
    """Whether another process has the page locked: it is on no list that MADV_FREE could move it from."""
    if page.mapcount > 1:
        for _, other, _ in page_mappers(page):
            if other.vm_flags & VM_LOCKED:
                return True
    return False


def cold_or_pageout(vma: Vma, start: i64, end: i64, pageout: bool) -> None:
    """MADV_COLD: the pages count as not accessed. MADV_PAGEOUT: what can be had back goes at once.

    A folio that is not all mapped in the range is split into its pages, which no process maps then, unless somebody
    else maps it or it waits to be written.
    """
    mm = vma.vm_mm
    system = mm.system
    if pageout and not vma.is_anonymous() and not system.current.capable and vma.vm_flags & VM_MAYSHARE:
        return
    fmt = system.format
    words = system.ram.words
    going: list[Page] = []
    passed = start  # addresses below are done with
    whole = start  # addresses below are of a folio that is all mapped in the range
    for addr in present_ptes(vma, start, end):
        index = pte_lookup(mm, addr)
        pte: i64 = words[index]
        page = vm_normal_page(system, pte)
        if page is None or addr < passed or pte == 0:
            continue
        folio_of = page.mapping
        if addr >= whole and isinstance(folio_of, AddressSpace) and page.index in folio_of.folio_heads:
            nr = folio_pte_batch(vma, addr, end, folio_of, page.index)
            low, high = folio_range(folio_of, page.index)
            if nr < high - low:
                if mapped_by_others(vma, folio_of, low, high) or not split_to_pages(system, folio_of, page.index):
                    passed = addr + (nr << system.page_shift)
                continue
            whole = addr + (nr << system.page_shift)
        if page.mapcount != 1:
            continue
        words[index] = fmt.accessed.clear(pte)
        page.flags &= ~PG_referenced
        if not pageout:
            folio_deactivate(system, page)
        elif not page.flags & PG_unevictable:
            if page.flags & PG_active:
                page.flags |= PG_workingset
            going.append(page)
    mm.flush_tlb_range(start, end)
    reclaim_pages(system, going)


def folio_pte_batch(vma: Vma, addr: i64, end: i64, mapping: AddressSpace, pgoff: i64) -> i64:
    """How many entries from ``addr`` on, before ``end``, map consecutive pages of one folio, which page ``pgoff`` at
    ``addr`` is of."""
    mm = vma.vm_mm
    words = mm.system.ram.words
    _, high = folio_range(mapping, pgoff)
    nr: i64 = 0
    while addr < end and pgoff < high:
        index = pte_lookup(mm, addr)
        found = None if index < 0 or words[index] == 0 else vm_normal_page(mm.system, words[index])
        if found is None or found is not mapping.i_pages.get(pgoff):
            break
        nr += 1
        pgoff += 1
        addr += mm.system.page_size
        if addr & (mm.system.format.pmd_size - 1) == 0:
            break
    return nr


def mapped_by_others(vma: Vma, mapping: AddressSpace, low: i64, high: i64) -> bool:
    """Whether another process maps one of pages ``low`` to before ``high``, a folio (folio_maybe_mapped_shared)."""
    for other in mapping.i_mmap:
        if other.vm_mm is vma.vm_mm:
            continue
        at: i64 = max(low, other.vm_pgoff)
        while at < min(high, other.vm_pgoff + other.nr_pages()):
            page = mapping.i_pages[at]
            if pte_maps(other.vm_mm, other.address_of(at), page.pfn):
                return True
            at += 1
    return False


def guard_install(vma: Vma, start: i64, end: i64) -> int:
    """MADV_GUARD_INSTALL: the range loses its pages, and touching it raises SIGSEGV until MADV_GUARD_REMOVE."""
    mm = vma.vm_mm
    if vma.is_anonymous():
        anon_vma_prepare(vma)  # so that fork copies the markers
    vma.vm_flags |= VM_MAYBE_GUARD
    if zap_pte_range(vma, start, end, keep_anon=False, drop_markers=False):
        mm.flush_tlb_range(start, end)
    words = mm.system.ram.words
    addr = start
    while addr < end:
        index = pte_alloc(mm, addr)
        if index < 0:
            return -errno.ENOMEM
        words[index] = mm.system.format.guard
        addr += mm.system.page_size
    return 0


def guard_remove(vma: Vma, start: i64, end: i64) -> int:
    """MADV_GUARD_REMOVE: guarded pages are ordinary untouched ones again."""
    mm = vma.vm_mm
    words = mm.system.ram.words
    addr = start
    while addr < end:
        index = pte_lookup(mm, addr)
        if index < 0:
            addr = next_table(addr, index)
            continue
        if words[index] == mm.system.format.guard:
            words[index] = 0
        addr += mm.system.page_size
    return 0
