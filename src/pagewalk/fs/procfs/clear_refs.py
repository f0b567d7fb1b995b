"""/proc/PID/clear_refs: forgets that pages were used, so that what is used from now on can be told.

Sources: proc_pid_clear_refs(5); Documentation/filesystems/proc.rst.

Mirrors: fs/proc/task_mmu.c (clear_refs_write, clear_refs_pte_range) (6.18)
Differs: nothing (a kernel without CONFIG_MEM_SOFT_DIRTY: 4 changes nothing).
"""

from typing import Final

from mypy_extensions import i64

from pagewalk.mm.memory import vm_normal_page
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.page import PG_referenced
from pagewalk.mm.pgtable import next_table, pte_lookup
from pagewalk.mm.vma import VM_PFNMAP, Vma

CLEAR_REFS_ALL: Final = 1
CLEAR_REFS_ANON: Final = 2
CLEAR_REFS_MAPPED: Final = 3
CLEAR_REFS_SOFT_DIRTY: Final = 4
CLEAR_REFS_MM_HIWATER_RSS: Final = 5


def clear_refs(mm: MmStruct, what: int) -> None:
    """Does what ``what`` (CLEAR_REFS_*) asks for: clears the referenced bits of all pages, of those in private
    anonymous mappings, or of those in mappings of files; nothing; or sets the peak of RSS to what it is now."""
    if what == CLEAR_REFS_MM_HIWATER_RSS:
        mm.hiwater_rss = mm.get_mm_rss()
        return
    if what == CLEAR_REFS_SOFT_DIRTY:
        return
    for vma in mm.vmas:
        if vma.vm_flags & VM_PFNMAP:
            continue
        if what == CLEAR_REFS_ANON and vma.vm_file is not None:
            continue
        if what == CLEAR_REFS_MAPPED and vma.vm_file is None:
            continue
        clear_referenced(vma)


def clear_referenced(vma: Vma) -> None:
    """Clears the accessed bit of every entry of the mapping, and the referenced flag of the pages that they map."""
    mm = vma.vm_mm
    system = mm.system
    words = system.ram.words
    fmt = system.format
    addr = vma.vm_start
    changed = False
    while addr < vma.vm_end:
        index = pte_lookup(mm, addr)
        if index < 0:
            addr = next_table(addr, index)
            continue
        stop: i64 = min(vma.vm_end, (addr & -system.format.pmd_size) + system.format.pmd_size)
        while addr < stop:
            pte: i64 = words[index]
            if pte != 0 and fmt.present.test(pte):
                page = vm_normal_page(system, pte)
                if page is not None:
                    words[index] = fmt.accessed.clear(pte)
                    page.flags &= ~PG_referenced
                    changed = True
            index += 1
            addr += system.page_size
    if changed:
        mm.flush_tlb_range(vma.vm_start, vma.vm_end)
