"""Pages of shared memory in swap: the object keeps their entries in place of the pages.

Mirrors: mm/shmem.c (shmem_writeout, shmem_swapin_folio, shmem_free_swap, shmem_unuse) (6.18)
Differs: nothing.
"""

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.page import Page, PG_dirty, PG_swapbacked, PG_uptodate
from pagewalk.mm.swap_state import swap_cluster_readahead, swap_update_readahead
from pagewalk.mm.system import System
from pagewalk.mm.util import vm_unacct_memory


def shmem_lookup(system: System, mapping: AddressSpace, index: i64) -> Page | None:
    """The page of an object, brought back where it is in swap; None for a hole, and where no frame is left for it."""
    page = mapping.i_pages.get(index)
    if page is None and index in mapping.swapped:
        return shmem_swapin_folio(system, mapping, index)
    return page


def shmem_swap_major(system: System, mapping: AddressSpace, index: i64) -> bool:
    """Page ``index`` is in swap, and not in memory."""
    entry = mapping.swapped.get(index, -1)
    return entry >= 0 and system.swap.slot(entry).page is None


def shmem_swapin_folio(system: System, mapping: AddressSpace, index: i64) -> Page | None:
    """Brings page ``index``, which is in swap, back into the object."""
    swap = system.swap
    entry: i64 = mapping.swapped[index]
    page = swap.slot(entry).page
    if page is not None:
        swap_update_readahead(system, page, None, 0)
    else:
        page = swap_cluster_readahead(system, entry)
        if page is None:
            return None
    page.refcount += 1
    del mapping.swapped[index]
    swap.swap_free(entry)
    swap.delete_from_swap_cache(page)
    page.refcount -= 1
    page.mapping = mapping
    page.index = index
    page.flags |= PG_swapbacked | PG_uptodate | PG_dirty
    mapping.i_pages[index] = page
    system.vmstat.nr_file_pages += 1
    system.vmstat.nr_shmem += 1
    return page


def shmem_writeout(system: System, page: Page) -> bool:
    """Moves a page that nobody maps from its object to the swap cache, which has the only reference then; it is still
    to be written. False where there is no slot."""
    mapping = page.mapping
    assert isinstance(mapping, AddressSpace)
    if not system.swap.folio_alloc_swap(page):
        return False
    if not page.flags & PG_uptodate:  # fallocate(2) made it, and nobody has looked at it
        system.ram.clear_page(page.pfn)
        page.flags |= PG_uptodate
    del mapping.i_pages[page.index]
    mapping.swapped[page.index] = page.swap
    system.shmem_swaplist[id(mapping)] = mapping
    system.swap.swap_duplicate(page.swap)
    page.mapping = None
    page.refcount -= 1
    system.vmstat.nr_file_pages -= 1
    system.vmstat.nr_shmem -= 1
    page.flags |= PG_dirty
    return True


def shmem_free_swap(system: System, mapping: AddressSpace, first: i64, end: i64) -> None:
    """Pages ``first`` to before ``end`` that are in swap are wanted no more."""
    for index in [index for index in mapping.swapped if first <= index < end]:
        entry: i64 = mapping.swapped.pop(index)
        system.swap.free_swap_and_cache(entry)
        if mapping.noreserve:
            vm_unacct_memory(system, 1)
