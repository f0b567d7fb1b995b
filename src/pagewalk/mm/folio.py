"""Which pages of a file go into a page table together: those of a folio that read-ahead made.

Mirrors: mm/memory.c (finish_fault), mm/filemap.c (filemap_map_folio_range) (6.18)
Differs: a folio is known by the indices of its pages; only read-ahead makes folios of several pages (write(2) to ext4
    does too in Linux), and one that has lost a page counts as single pages.
"""

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.vma import VmFault


def folio_next_index(mapping: AddressSpace, pgoff: i64) -> i64:
    """The page behind the folio of page ``pgoff``."""
    first: i64 = mapping.folio_heads.get(pgoff, -1)
    end = pgoff + 1
    while first >= 0 and mapping.folio_heads.get(end, -1) == first:
        end += 1
    return end


def folio_to_map(vmf: VmFault, mapping: AddressSpace, pgoff: i64) -> tuple[int, int]:
    """(first page, pages) of the folio of page ``pgoff`` where all of it lies within the VMA, the page table and the
    file; else the page alone."""
    alone = (int(pgoff), 1)
    first: i64 = mapping.folio_heads.get(pgoff, -1)
    if first < 0:
        return alone
    end = first
    while mapping.folio_heads.get(end, -1) == first:
        end += 1
    vma = vmf.vma
    if first < vma.vm_pgoff or end > vma.vm_pgoff + vma.nr_pages() or end > (mapping.i_size + 4095) >> 12:
        return alone
    entry: i64 = (vmf.address >> 12) & 511
    if pgoff >= end or entry + first - vmf.pgoff < 0 or entry + end - vmf.pgoff > 512:
        return alone
    return int(first), int(end - first)
