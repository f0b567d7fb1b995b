"""Folios of several pages: which pages of a file go into a page table, become dirty and are written back together.

Mirrors: mm/memory.c (finish_fault), mm/filemap.c (filemap_map_folio_range), mm/huge_memory.c (folio_split) (6.18)
Differs: a folio is known by the indices of its pages, and one that has lost a page to a hole counts as what is left.
"""

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.vma import VmFault


def folio_range(mapping: AddressSpace, index: i64) -> tuple[int, int]:
    """(first page, page behind the last one) of the folio of page ``index``."""
    first: i64 = mapping.folio_heads.get(index, -1)
    if first < 0:
        return int(index), int(index + 1)
    end = index + 1
    while mapping.folio_heads.get(end, -1) == first:
        end += 1
    return int(first), int(end)


def folio_to_map(vmf: VmFault, mapping: AddressSpace, pgoff: i64, file_end: i64) -> tuple[int, int]:
    """(first page, pages) of the folio of page ``pgoff`` where all of it lies within the VMA, the page table and
    before page ``file_end`` of the file; else the page alone."""
    first, end = folio_range(mapping, pgoff)
    vma = vmf.vma
    mask = vma.vm_mm.system.format.table_mask
    entry: i64 = (vmf.address >> vma.vm_mm.system.page_shift) & mask
    if (
        first < vma.vm_pgoff
        or end > vma.vm_pgoff + vma.nr_pages()
        or end > file_end
        or entry + first - vmf.pgoff < 0
        or entry + end - vmf.pgoff > mask + 1
    ):
        return int(pgoff), 1
    return first, end - first


def regroup(mapping: AddressSpace, index: i64) -> None:
    """Splits the folio of page ``index`` as little as makes that page a folio of its own: the other half stays whole,
    then the other quarter, and so on."""
    first, end = folio_range(mapping, index)
    while end - first > 1:
        middle = (first + end) // 2
        low, high = (first, middle) if index >= middle else (middle, end)
        for at in range(low, high):
            if high - low > 1:
                mapping.folio_heads[at] = low
            else:
                del mapping.folio_heads[at]
        first, end = (middle, end) if index >= middle else (first, middle)
    mapping.folio_heads.pop(index, None)
