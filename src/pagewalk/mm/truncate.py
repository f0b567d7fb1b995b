"""A file becomes shorter, gets a hole, or its cached pages are not wanted any more.

Folios that reach over an end of what goes are split where nothing in them waits to be written, and else stay, zeroed.

Mirrors: mm/truncate.c, fs/ext4/inode.c (ext4_block_zero_page_range, ext4_zero_partial_blocks) (6.18)
Differs: pages whose write-back fadvise(DONTNEED) starts stay cached, as if the device had not finished yet; a dirty
    folio that is split loses the cache's dirty mark too, which Linux's keeps (cachestat tells of it).
"""

from typing import Final

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.folio import folio_range, regroup
from pagewalk.mm.mmu_gather import unmap_mapping_pages
from pagewalk.mm.page import PG_uptodate
from pagewalk.mm.page_cache import add_to_page_cache, delete_from_page_cache
from pagewalk.mm.page_writeback import set_page_dirty
from pagewalk.mm.system import System

_ZEROS: Final = bytes(65536)  # of the largest page
_FOR_EVER: Final = 1 << 62  # an end behind every file, in bytes


def truncate_pagecache(system: System, mapping: AddressSpace, new_size: i64) -> None:
    """The file has got a new length: pages beyond it leave all processes and the cache, the last one's tail is
    zeroed. (A longer file, too, may have had a page beyond its end, from a write that failed.)"""
    shrinks = new_size < mapping.i_size
    if new_size > mapping.i_size:
        block_zero_tail(system, mapping)
    mapping.i_size = new_size
    first: i64 = system.nr_pages(new_size)
    if shrinks:
        mapping.evict(first, 1 << 51)
    unmap_mapping_pages(mapping, first, (1 << 51) - 1, even_cows=True)
    truncate_inode_pages_range(system, mapping, new_size, _FOR_EVER)
    if shrinks:
        block_zero_tail(system, mapping)


def truncate_pagecache_range(system: System, mapping: AddressSpace, start: i64, end: i64) -> None:
    """Bytes [start, end) of the file have become a hole: whole pages leave all processes and the cache, the parts of
    pages at its ends are zeroed."""
    first: i64 = system.nr_pages(start)
    last: i64 = end >> system.page_shift
    if first < last:
        mapping.evict(first, last)
        unmap_mapping_pages(mapping, first, last - 1, even_cows=False)
    elif last == 0:
        # The last page to unmap is -1 then, which Linux takes for the end of the file.
        unmap_mapping_pages(mapping, first, (1 << 51) - 1, even_cows=False)
    truncate_inode_pages_range(system, mapping, start, end)
    if first > last:
        block_zero_page_range(system, mapping, start, end)
    else:
        block_zero_page_range(system, mapping, start, first << system.page_shift)
        block_zero_page_range(system, mapping, last << system.page_shift, end)


def truncate_inode_pages_range(system: System, mapping: AddressSpace, start: i64, end: i64) -> None:
    """Takes the pages that lie within bytes [start, end) out of the cache; folios in part only where they can be
    split."""
    first: i64 = system.nr_pages(start)
    last: i64 = end >> system.page_shift
    for index in [index for index in mapping.i_pages if first <= index < last]:
        low, high = folio_range(mapping, index)
        if low >= first and high <= last:
            delete_from_page_cache_batch(system, mapping, low, high)
    same = start >> system.page_shift == (end - 1) >> system.page_shift
    if start >> system.page_shift in mapping.i_pages:
        low, high = folio_range(mapping, start >> system.page_shift)
        same = end - 1 < high << system.page_shift
        if not truncate_inode_partial_folio(system, mapping, start, end, start >> system.page_shift):
            first = high
            if same:
                last = low
    if not same and (end - 1) >> system.page_shift in mapping.i_pages:
        low, high = folio_range(mapping, (end - 1) >> system.page_shift)
        if not truncate_inode_partial_folio(system, mapping, start, end, (end - 1) >> system.page_shift):
            last = low
    for index in [index for index in mapping.i_pages if first <= index < last]:
        if index in mapping.i_pages:
            low, high = folio_range(mapping, index)
            delete_from_page_cache_batch(system, mapping, low, high)


def delete_from_page_cache_batch(system: System, mapping: AddressSpace, first: i64, end: i64) -> None:
    """Takes the cached ones of pages ``first`` to before ``end`` out of the cache."""
    at = first
    while at < end:
        if at in mapping.i_pages:
            delete_from_page_cache(system, mapping, at)
        at += 1


def truncate_inode_partial_folio(system: System, mapping: AddressSpace, start: i64, end: i64, index: i64) -> bool:
    """The folio of page ``index`` lies in part within bytes [start, end), which are zeroed. True where no page of it
    that is to go is still part of a folio that is to stay."""
    low, high = folio_range(mapping, index)
    begin: i64 = max(start, low << system.page_shift)
    stop: i64 = min(end, high << system.page_shift)
    if stop - begin == (high - low) << system.page_shift:
        unmap_mapping_pages(mapping, low, high - 1, even_cows=False)
        delete_from_page_cache_batch(system, mapping, low, high)
        return True
    at: i64 = begin
    while at < stop:
        size: i64 = min(stop, (at & system.page_mask) + system.page_size) - at
        pfn: i64 = mapping.i_pages[at >> system.page_shift].pfn
        system.ram.page(pfn)[at & ~system.page_mask : (at & ~system.page_mask) + size] = _ZEROS[:size]
        system.ram.frame_changed(pfn)
        if size == system.page_size:
            mapping.dirty_blocks.discard(int(at >> system.page_shift))
        at += size
    if high - low == 1:
        return True
    if split_folio(system, mapping, begin >> system.page_shift):
        if stop < high << system.page_shift and (stop >> system.page_shift) in mapping.folio_heads:
            split_folio(system, mapping, stop >> system.page_shift)
        return True
    if low in mapping.dirty:
        return False
    unmap_mapping_pages(mapping, low, high - 1, even_cows=False)
    delete_from_page_cache_batch(system, mapping, low, high)
    return True


def split_folio(system: System, mapping: AddressSpace, index: i64) -> bool:
    """Makes page ``index`` of a larger folio one of its own; False where blocks of the folio are to be written yet (its
    buffers are busy). A split drops what lies behind the end of the file. Afterwards no process maps any page of it, in
    either case (try_folio_split_or_unmap)."""
    low, high = folio_range(mapping, index)
    unmap_mapping_pages(mapping, low, high - 1, even_cows=False)
    if not free_buffers(system, mapping, low, high):
        return False
    regroup(mapping, index)
    beyond: i64 = system.nr_pages(mapping.i_size)  # an earlier truncation may have left some there
    delete_from_page_cache_batch(system, mapping, max(low, beyond), high)
    return True


def free_buffers(system: System, mapping: AddressSpace, low: i64, high: i64) -> bool:
    """Whether none of pages ``low`` to before ``high``, a folio, has a block to be written; the folio is clean then,
    whatever had made it dirty (try_to_free_buffers)."""
    if not mapping.dirty_blocks.isdisjoint(range(low, high)):
        return False
    at = low
    while at < high:
        if at in mapping.dirty:
            mapping.dirty.discard(int(at))
            system.vmstat.nr_dirty -= 1
        at += 1
    return True


def split_to_pages(system: System, mapping: AddressSpace, index: i64) -> bool:
    """Makes every page of the folio of page ``index`` one of its own, mapped by no process (split_folio); False, and
    nothing is changed, where blocks of it are to be written yet."""
    low, high = folio_range(mapping, index)
    if not free_buffers(system, mapping, low, high):
        return False
    unmap_mapping_pages(mapping, low, high - 1, even_cows=False)
    for at in range(low, high):
        mapping.folio_heads.pop(at, None)
    beyond: i64 = system.nr_pages(mapping.i_size)
    delete_from_page_cache_batch(system, mapping, max(low, beyond), high)
    return True


def block_zero_tail(system: System, mapping: AddressSpace) -> None:
    """The length of the file is about to change, or just has: zeroes what is behind its end in the last page."""
    if mapping.i_size & ~system.page_mask:
        block_zero_page_range(system, mapping, mapping.i_size, (mapping.i_size & system.page_mask) + system.page_size)


def block_zero_page_range(system: System, mapping: AddressSpace, start: i64, end: i64) -> None:
    """Zeroes bytes [start, end), which lie in one page. That page is brought in, and becomes dirty unless it is a hole.

    Its block is read, not the page: that counts as up to date only when somebody asks for it.
    """
    if start >= end:
        return
    index: i64 = start >> system.page_shift
    page = mapping.i_pages.get(index)
    if page is None:
        warm = mapping.is_warm(index)
        found = add_to_page_cache(system, mapping, index)
        if isinstance(found, int):
            return
        page = found
        if not warm:
            page.flags &= ~PG_uptodate
    low: i64 = start & ~system.page_mask
    system.ram.page(page.pfn)[low : low + end - start] = _ZEROS[: end - start]
    system.ram.frame_changed(page.pfn)
    if mapping.has_block(index):
        set_page_dirty(system, page)


def invalidate_mapping(system: System, mapping: AddressSpace) -> None:
    """Drops what is clean and not mapped (the backing store has changed, or nobody needs it)."""
    invalidate_mapping_pages(system, mapping, 0, 1 << 51, mapping.dirty)


def invalidate_mapping_pages(system: System, mapping: AddressSpace, first: i64, last: i64, busy: set[int]) -> None:
    """The folios that lie within pages ``first`` to ``last`` (both included) leave the cache where they are not mapped
    and not ``busy``: dirty, or on their way to the device (posix_fadvise, drop_caches)."""
    for index in [index for index in mapping.i_pages if first <= index <= last]:
        if index not in mapping.i_pages:
            continue
        low, high = folio_range(mapping, index)
        if low < first or high > last + 1 or index in busy:
            continue
        if max([mapping.i_pages[at].mapcount for at in range(low, high)]) == 0:
            delete_from_page_cache_batch(system, mapping, low, high)
    mapping.evict(first, last + 1)
