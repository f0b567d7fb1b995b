"""fork's copy of page tables: the child's entries for a VMA, and what that makes of the parent's.

A private page is then mapped by both, so neither may write to it: both entries lose the right, the page is no longer
exclusively the parent's, and whoever writes first gets a copy (``do_wp_page``). What a fault can bring back, pages of a
shared mapping or of a file that nobody has written to, is not copied at all.

A last-level table is read and written as a whole, in lists: half of fork's time would else go into single entries.

Mirrors: mm/memory.c (copy_page_range, copy_pte_range, __copy_present_ptes) (6.18)
Differs: no pinned pages.
"""

from array import array

from mypy_extensions import i64

from pagewalk.mm.gfp import GFP_PGTABLE
from pagewalk.mm.memory import mm_counter
from pagewalk.mm.mm_types import MM_SWAPENTS, MmStruct
from pagewalk.mm.page import PG_anon, PG_anon_exclusive, PG_table
from pagewalk.mm.swapfile import pte_to_swp_entry
from pagewalk.mm.vma import VM_MAYBE_GUARD, VM_MAYWRITE, VM_MIXEDMAP, VM_PFNMAP, VM_SHARED, Vma


def vma_needs_copy(source: Vma) -> bool:
    """Whether faults could not bring everything back: private pages, frames without a page, guard regions."""
    return source.anon_vma is not None or source.vm_flags & (VM_PFNMAP | VM_MIXEDMAP | VM_MAYBE_GUARD) != 0


def copy_page_range(vma: Vma, source: Vma) -> bool:
    """Copies the entries of ``source`` to the child's ``vma``; False where there is no frame for a table."""
    if not vma_needs_copy(source):
        return True
    mm = vma.vm_mm
    return copy_range(
        vma,
        source,
        0,
        source.vm_mm.pgd_pfn << mm.system.format.table_shift,
        mm.pgd_pfn << mm.system.format.table_shift,
        source.vm_start,
        source.vm_end,
    )


def copy_range(vma: Vma, source: Vma, level: int, from_table: i64, to_table: i64, start: i64, end: i64) -> bool:
    """One table above the last level: makes the child's tables wherever the parent has one, and goes down."""
    mm = vma.vm_mm
    system = mm.system
    fmt = system.format
    words = system.ram.words
    shift: i64 = fmt.levels[level].shift
    size: i64 = 1 << int(shift)
    last = level + 2 == len(fmt.levels)
    addr = start
    while addr < end:
        following: i64 = min((addr & -size) + size, end)
        slot: i64 = (addr >> shift) & fmt.table_mask
        entry: i64 = words[from_table + slot]
        if entry & fmt.present.mask == fmt.present.value:
            below = child_table(mm, level + 1, to_table + slot)
            if below < 0:
                return False
            child: i64 = fmt.table_index(entry)
            if last:
                first: i64 = (addr >> fmt.page_shift) & fmt.table_mask
                copy_pte_range(vma, source, child + first, below + first, (following - addr) >> fmt.page_shift)
            elif not copy_range(vma, source, level + 1, child, below, addr, following):
                return False
        addr = following
    return True


def child_table(mm: MmStruct, level: int, index: i64) -> i64:
    """The table of ``level`` below the child's entry ``index``, made where there is none: the index of its first entry,
    -1 where there is no frame."""
    system = mm.system
    fmt = system.format
    words = system.ram.words
    entry: i64 = words[index]
    if entry & fmt.present.mask == fmt.present.value:
        return fmt.table_index(entry)
    page = system.node.alloc_page(GFP_PGTABLE)
    if page is None:
        return -1
    page.flags |= PG_table
    system.vmstat.nr_page_table_pages += 1
    mm.nr_tables[level] += 1
    words[index] = (page.pfn << fmt.pfn_shift) | (fmt.root_table if level == 1 else fmt.table)
    return page.pfn << fmt.table_shift


def copy_pte_range(vma: Vma, source: Vma, from_index: i64, to_index: i64, count: i64) -> None:
    """``count`` entries of one last-level table."""
    mm = vma.vm_mm
    system = mm.system
    fmt = system.format
    words = system.ram.words
    entries: list[int] = words[from_index : from_index + count].tolist()
    present_mask, present = fmt.present.mask, fmt.present.value
    protnone_mask, protnone = fmt.protnone.mask, fmt.protnone.value
    special_mask, special = fmt.special.mask, fmt.special.value
    write_mask, write = fmt.write.mask, fmt.write.value
    pfn_mask = fmt.pfn_mask
    pfn_shift = fmt.pfn_shift
    rdonly: i64 = fmt.rdonly
    gained: i64 = 0
    typecode = "q" if fmt.entry_shift == 3 else "I"
    cow = source.vm_flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE
    dropped: i64 = fmt.accessed.mask
    if source.vm_flags & VM_SHARED:
        dropped |= fmt.dirty.mask
        gained = rdonly
    keep: i64 = ~dropped
    pages = system.mem_map
    rss = [0, 0, 0, 0]
    protected: list[int] = []
    copied: list[int] = []
    for raw in entries:
        pte: i64 = raw
        if pte & present_mask == present or pte & protnone_mask == protnone:
            if pte & special_mask != special:
                page = pages.page((pte & pfn_mask) >> pfn_shift)
                page.refcount += 1
                page.mapcount += 1
                if page.flags & PG_anon:
                    page.flags &= ~PG_anon_exclusive
                rss[mm_counter(page)] += 1
            if cow and pte & write_mask == write:
                pte = (pte & ~write_mask) | rdonly
            protected.append(pte)
            pte = (pte & keep) | gained
            copied.append(pte)
        else:  # nothing, the mark of a guard region, or a page in swap
            if pte != 0 and pte != fmt.guard:
                system.swap.swap_duplicate(pte_to_swp_entry(fmt, pte))
                rss[MM_SWAPENTS] += 1
                system.mmlist[mm.ident] = mm
                pte = fmt.pte_swp_clear_exclusive(pte)
            protected.append(pte)
            copied.append(pte)
    for kind in range(4):
        mm.rss_stat[kind] += rss[kind]
    words[to_index : to_index + count] = memoryview(array(typecode, copied))
    if cow:
        words[from_index : from_index + count] = memoryview(array(typecode, protected))
