"""Putting pages into the page cache and taking them out.

Mirrors: mm/filemap.c (filemap_add_folio, filemap_remove_folio, read_mapping_folio) (6.18)
Differs: a page is read as it is put in, so that none is ever seen locked; one without PG_uptodate has its contents. In
    a replay pages are not read (Ram.unread).
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.gfp import GFP_HIGHUSER_MOVABLE
from pagewalk.mm.mempolicy import alloc_page_current
from pagewalk.mm.page import Page, PG_readahead, PG_uptodate
from pagewalk.mm.system import System
from pagewalk.mm.workingset import page_refaulted


def add_to_page_cache(system: System, mapping: AddressSpace, index: i64) -> Page | int:
    """Reads page ``index`` of the backing store into a new page of the cache; the page, or -ENOMEM, -EIO, ..."""
    page = alloc_page_current(system, GFP_HIGHUSER_MOVABLE)
    if page is None:
        return -errno.ENOMEM
    failed = 0 if system.ram.unread else mapping.read_folio(index, system.ram.page(page.pfn))
    if failed:
        system.node.put_page(page)
        return failed
    page.mapping = mapping
    page.index = index
    page.flags |= PG_uptodate
    mapping.i_pages[index] = page
    mapping.evicted.discard(index)
    if mapping.shadows:
        shadow = mapping.shadows.pop(index, -1)
        if shadow >= 0:
            page_refaulted(system, page, shadow)
    system.node.folio_lruvec(page).add(page)
    system.vmstat.nr_file_pages += 1
    system.vmstat.pgpgin += 4
    return page


def delete_from_page_cache(system: System, mapping: AddressSpace, index: i64) -> None:
    """Takes a page out of the cache; processes that still map it keep the frame."""
    page = mapping.i_pages.pop(index)
    if index in mapping.dirty:
        mapping.dirty.discard(index)
        mapping.dirty_blocks.discard(index)
        system.vmstat.nr_dirty -= 1
    if page.flags & PG_readahead:
        page.flags &= ~PG_readahead
        mapping.ra_marks.pop(index, None)
    mapping.folio_heads.pop(index, None)
    page.mapping = None
    system.vmstat.nr_file_pages -= 1
    system.node.put_page(page)


def read_cache_page(system: System, mapping: AddressSpace, index: i64) -> Page | int:
    """The page from the cache, up to date, read where it is not there; or a negative errno."""
    page = mapping.i_pages.get(index)
    if page is None:
        return add_to_page_cache(system, mapping, index)
    page.flags |= PG_uptodate
    return page
