"""Which pages of files differ from what is stored.

Mirrors: mm/page-writeback.c (folio_mark_dirty) (6.18)
Differs: write-back itself is in ``filemap.py``; no dirty limits, no throttling of writers.
"""

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.folio import folio_range
from pagewalk.mm.page import Page, PG_dirty
from pagewalk.mm.system import System


def set_page_dirty(system: System, page: Page) -> None:
    """A page of the page cache differs from its file, or (shmem) holds what nothing else does; its folio is dirty."""
    mapping = page.mapping
    if isinstance(mapping, AddressSpace):
        if mapping.is_shmem:
            page.flags |= PG_dirty
            return
        index = int(page.index)
        mapping.dirty_blocks.add(index)
        if index not in mapping.dirty:
            system.dirty_spaces[id(mapping)] = mapping
            first, end = folio_range(mapping, index)
            mapping.dirty.update(range(first, end))
            system.vmstat.nr_dirty += end - first
            system.vmstat.nr_dirtied += end - first


def folio_mark_dirty(system: System, page: Page) -> None:
    """A program has stored to the page, or may: all of its folio's blocks are to be written, those behind the end of
    the file included (block_dirty_folio); a write(2) counts block by block."""
    mapping = page.mapping
    set_page_dirty(system, page)
    if isinstance(mapping, AddressSpace) and page.index in mapping.folio_heads:
        first, end = folio_range(mapping, page.index)
        mapping.dirty_blocks.update(range(first, end))
