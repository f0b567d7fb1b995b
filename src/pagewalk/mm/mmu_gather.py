"""Taking mappings away: page-table entries are cleared, pages lose a mapping, and go when it was the last.

Mirrors: mm/memory.c (zap_page_range_single, unmap_mapping_range), mm/mmu_gather.c (6.18)
Differs: pages are freed at once (nothing runs between the clearing and the TLB flush).
"""

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.memory import free_swap_cache, mm_counter, page_remove_rmap, vm_normal_page
from pagewalk.mm.mm_types import MM_SWAPENTS
from pagewalk.mm.page import Page, PG_anon, PG_lru, PG_mlocked
from pagewalk.mm.page_writeback import folio_mark_dirty
from pagewalk.mm.pgtable import next_table, pte_lookup, try_to_free_pte
from pagewalk.mm.rmap import locked_elsewhere
from pagewalk.mm.swap import folio_mark_accessed, munlock_folio
from pagewalk.mm.swapfile import pte_to_swp_entry
from pagewalk.mm.vma import VM_LOCKED, Vma


def unmap_vma(vma: Vma) -> None:
    """Unmaps every page of a VMA that goes, guard regions included."""
    if zap_pte_range(vma, vma.vm_start, vma.vm_end, keep_anon=False, drop_markers=True):
        vma.vm_mm.flush_tlb_range(vma.vm_start, vma.vm_end)


def zap_page_range(vma: Vma, start: i64, end: i64) -> None:
    """Unmaps every page of [start, end), which lies in ``vma``; shared memory and page cache keep theirs, and guard
    regions stay. Last-level tables that became empty go too (CONFIG_PT_RECLAIM)."""
    if zap_pte_range(vma, start, end, keep_anon=False, drop_markers=False):
        vma.vm_mm.flush_tlb_range(start, end)
    size = vma.vm_mm.system.format.pmd_size
    table: i64 = (start + size - 1) & -size
    while table + size <= end:
        try_to_free_pte(vma.vm_mm, table)
        table += size


def zap_pte_range(vma: Vma, start: i64, end: i64, keep_anon: bool, drop_markers: bool) -> bool:
    """Clears the entries of [start, end): private copies stay with ``keep_anon``, guard regions without
    ``drop_markers``. Whether anything was mapped."""
    mm = vma.vm_mm
    system = mm.system
    words = system.ram.words
    fmt = system.format
    size = fmt.pmd_size
    page_size: i64 = fmt.page_size
    mm.update_hiwater()
    zapped = False
    addr = start
    while addr < end:
        index = pte_lookup(mm, addr)
        if index < 0:
            addr = next_table(addr, index)
            continue
        table_end: i64 = min(end, (addr & -size) + size)
        while addr < table_end:
            pte: i64 = words[index]
            if pte == fmt.guard:
                if drop_markers:
                    words[index] = 0
            elif fmt.is_swap_pte(pte):
                if not keep_anon:
                    words[index] = 0
                    mm.rss_stat[MM_SWAPENTS] -= 1
                    system.swap.free_swap_and_cache(pte_to_swp_entry(fmt, pte))
            elif pte != 0:
                page = vm_normal_page(system, pte)
                if page is None or not (keep_anon and page.flags & PG_anon):
                    words[index] = 0
                    zapped = True
                    if page is not None:
                        if page.flags & (PG_anon | PG_lru) == PG_lru and fmt.accessed.test(pte) and vma.has_recency():
                            folio_mark_accessed(system, page)
                        zap_present_page(vma, page, pte & fmt.dirty.mask == fmt.dirty.value)
            addr += page_size
            index += 1
    return zapped


def zap_present_page(vma: Vma, page: Page, dirty: bool) -> None:
    """One mapping of ``page`` in ``vma`` is gone: accounts for it, passes the dirty bit on, drops the reference."""
    mm = vma.vm_mm
    system = mm.system
    if dirty and not page.flags & PG_anon:
        folio_mark_dirty(system, page)
    mm.rss_stat[mm_counter(page)] -= 1
    page_remove_rmap(system, page)
    if page.flags & PG_mlocked and vma.vm_flags & VM_LOCKED:
        munlock_folio(system, page, locked_elsewhere(page, vma))
    free_swap_cache(system, page)
    system.node.put_page(page)


def unmap_mapping_pages(mapping: AddressSpace, first: i64, last: i64, even_cows: bool) -> None:
    """Unmaps pages ``first`` to ``last`` (both included) of a file from every process; private copies only where
    ``even_cows`` (truncation takes them, a punched hole or an invalidation does not)."""
    for vma in list(mapping.i_mmap):
        low: i64 = max(first, vma.vm_pgoff)
        high: i64 = min(last, vma.vm_pgoff + vma.nr_pages() - 1)
        if low <= high:
            start: i64 = vma.address_of(low)
            end: i64 = vma.address_of(high) + vma.vm_mm.system.page_size
            if zap_pte_range(vma, start, end, keep_anon=not even_cows, drop_markers=False):
                vma.vm_mm.flush_tlb_range(start, end)
