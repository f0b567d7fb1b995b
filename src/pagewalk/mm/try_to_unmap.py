"""Taking a page out of every page table that maps it.

An anonymous page leaves its swap entry behind, which remembers whether the page was one mapping's alone; a page of a
file leaves nothing. The dirty bits of the entries go to the page.

Mirrors: mm/rmap.c (try_to_unmap_one) (6.18)
Differs: pages are never pinned; translations are flushed once for a whole list of pages.
"""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from pagewalk.mm.memory import mm_counter_file, page_remove_rmap
from pagewalk.mm.mm_types import MM_ANONPAGES, MM_SWAPENTS, MmStruct
from pagewalk.mm.page import Page, PG_anon, PG_anon_exclusive, PG_dirty, PG_swapbacked
from pagewalk.mm.page_writeback import folio_mark_dirty
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.rmap import RmapHit, rmap_vmas
from pagewalk.mm.swap import mlock_folio
from pagewalk.mm.swapfile import swp_entry_to_pte
from pagewalk.mm.vma import VM_LOCKED, Vma

if TYPE_CHECKING:
    from pagewalk.mm.system import System


def unmap_hit(system: "System", page: Page, hit: RmapHit, unflushed: dict[int, MmStruct]) -> bool:
    """``try_to_unmap`` of a page whose only mapping has just been found."""
    vma = hit.vma
    assert vma is not None
    hit.pfn = -1
    if not unmap_one(system, page, vma, hit.index, hit.pte):
        return False
    mm = vma.vm_mm
    if not mm.tlb_flush_batched:
        mm.tlb_flush_batched = True
        unflushed[mm.ident] = mm
    return True


def try_to_unmap(system: "System", page: Page, unflushed: dict[int, MmStruct]) -> bool:
    """Unmaps the page everywhere; False where a mapping has to stay: it is locked, or the page was not meant for swap
    and has been written. The references of the mappings are dropped, the last one too, without freeing the page.

    unflushed  gets the address spaces whose TLB entries are stale now
    """
    for vma in rmap_vmas(page):
        if page.mapcount == 0:
            break
        address = vma.address_of(page.index)
        if address < 0:
            continue
        mm = vma.vm_mm
        index = pte_lookup(mm, address)
        if index < 0:
            continue
        fmt = system.format
        pte: i64 = system.ram.words[index]
        if (pte & fmt.pfn_mask) >> fmt.pfn_shift != page.pfn or not (fmt.present.test(pte) or fmt.protnone.test(pte)):
            continue
        if vma.vm_flags & VM_LOCKED:
            mlock_folio(system, page)
            return False
        if not unmap_one(system, page, vma, index, pte):
            return False
        if not mm.tlb_flush_batched:
            mm.tlb_flush_batched = True
            unflushed[mm.ident] = mm
    return page.mapcount == 0


def unmap_one(system: "System", page: Page, vma: Vma, index: i64, pte: i64) -> bool:
    """Takes the page out of one entry."""
    mm = vma.vm_mm
    fmt = system.format
    dirty = fmt.dirty.test(pte)
    if not mm.tlb_flush_batched:  # since then it can only have become less
        mm.update_hiwater()
    if not page.flags & PG_anon:
        if dirty:
            folio_mark_dirty(system, page)
        system.ram.words[index] = 0
        mm.rss_stat[mm_counter_file(page)] -= 1
    elif page.flags & PG_swapbacked:
        if dirty:
            page.flags |= PG_dirty
        entry = page.swap
        system.swap.swap_duplicate(entry)
        swap_pte = swp_entry_to_pte(fmt, entry)
        if page.flags & PG_anon_exclusive:
            page.flags &= ~PG_anon_exclusive
            swap_pte = fmt.pte_swp_mkexclusive(swap_pte)
        system.ram.words[index] = swap_pte
        rss = mm.rss_stat
        anon: i64 = rss[MM_ANONPAGES]
        swapents: i64 = rss[MM_SWAPENTS]
        rss[MM_ANONPAGES] = anon - 1
        rss[MM_SWAPENTS] = swapents + 1
        if not mm.on_mmlist:
            mm.on_mmlist = True
            system.mmlist[mm.ident] = mm
    else:
        if dirty or page.flags & PG_dirty or page.refcount != page.mapcount:
            if dirty or page.flags & PG_dirty:
                page.flags |= PG_swapbacked  # written again after MADV_FREE
            return False
        system.ram.words[index] = 0
        mm.rss_stat[MM_ANONPAGES] -= 1
    page.refcount -= 1
    page_remove_rmap(system, page)
    return True
