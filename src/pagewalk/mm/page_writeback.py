"""Which pages of files differ from what is stored.

Mirrors: mm/page-writeback.c (folio_mark_dirty) (6.18)
Differs: write-back itself is in ``filemap.py``; no dirty limits, no throttling of writers.
"""

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.page import Page, PG_dirty
from pagewalk.mm.system import System


def set_page_dirty(system: System, page: Page) -> None:
    """A page of the page cache differs from its file, or (shmem) holds what nothing else does (folio_mark_dirty)."""
    mapping = page.mapping
    if isinstance(mapping, AddressSpace):
        if mapping.is_shmem:
            page.flags |= PG_dirty
            return
        index = int(page.index)
        if index not in mapping.dirty:
            mapping.dirty.add(index)
            system.vmstat.nr_dirty += 1
            system.vmstat.nr_dirtied += 1
