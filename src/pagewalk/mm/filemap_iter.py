"""Bytes between user memory and the page cache, one page at a time.

A page is copied before the next one is looked at: where a buffer is a mapping of the file itself, later pages see what
earlier copies stored.

Mirrors: mm/filemap.c (filemap_read, generic_perform_write), mm/shmem.c (shmem_file_read_iter) (6.18)
Differs: every page that a write begins is brought in, also where all of it will be overwritten; the copy goes page by
    page through a folio.
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.file import F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_WRITE, AddressSpace, FileRaState
from pagewalk.mm.filemap import before_write_at
from pagewalk.mm.folio import folio_range
from pagewalk.mm.iov_iter import IovIter
from pagewalk.mm.page import Page, PG_dirty
from pagewalk.mm.page_cache import read_cache_page
from pagewalk.mm.page_writeback import set_page_dirty
from pagewalk.mm.readahead import MAX_PAGECACHE_ORDER, add_folio, page_cache_async_ra, page_cache_sync_ra
from pagewalk.mm.shmem import shmem_get_page
from pagewalk.mm.shmem_swap import shmem_lookup
from pagewalk.mm.swap import folio_mark_accessed
from pagewalk.mm.system import System


def filemap_read(system: System, mapping: AddressSpace, ra: FileRaState, pos: i64, to: IovIter) -> int:
    """Copies from offset ``pos`` to user memory, through the cache, up to the end of the file; bytes, or a negative
    errno where there were none (EFAULT, or what the backing store said)."""
    done: i64 = 0
    while to.count > 0 and pos + done < mapping.i_size:
        at: i64 = pos + done
        index: i64 = at >> system.page_shift
        if index not in mapping.i_pages and not mapping.is_warm(index):
            page_cache_sync_ra(system, mapping, ra, index, system.nr_pages(at + to.count) - index)
        if index in mapping.ra_marks:
            first: i64 = mapping.ra_marks[index]
            page_cache_async_ra(system, mapping, ra, first, system.nr_pages(at + to.count) - first)
        page = read_cache_page(system, mapping, index)
        if isinstance(page, int):
            return int(done) if done else page
        size: i64 = min(system.page_size - (at & ~system.page_mask), min(to.count, mapping.i_size - at))
        if index != (ra.prev_pos - 1) >> system.page_shift or done:
            folio_mark_accessed(system, page)
        page.refcount += 1  # it stays while faults are taken for the copy
        copied = to.copy_to((page.pfn << system.page_shift) + (at & ~system.page_mask), size)
        system.node.put_page(page)
        done += copied
        if copied < size:
            break
    ra.prev_pos = pos + done
    return -errno.EFAULT if done == 0 and to.count > 0 and pos < mapping.i_size else int(done)


def shmem_file_read_iter(system: System, mapping: AddressSpace, pos: i64, to: IovIter) -> int:
    """As ``filemap_read``; holes read as zeros and stay holes."""
    done: i64 = 0
    while to.count > 0 and pos + done < mapping.i_size:
        at: i64 = pos + done
        size: i64 = min(system.page_size - (at & ~system.page_mask), min(to.count, mapping.i_size - at))
        page = shmem_lookup(system, mapping, at >> system.page_shift)
        pfn: i64 = system.zero_pfn if page is None else page.pfn
        if page is not None:
            folio_mark_accessed(system, page)
            page.refcount += 1  # it stays while faults are taken for the copy
        copied = to.copy_to((pfn << system.page_shift) + (at & ~system.page_mask), size)
        if page is not None:
            system.node.put_page(page)
        done += copied
        if copied < size:
            return int(done) if done else -errno.EFAULT
    return int(done)


def write_begin(system: System, mapping: AddressSpace, at: i64, size: i64, length: i64) -> Page | int:
    """The page that ``size`` bytes at ``at`` are to be written to; -EPERM (sealed), -ENOSPC, -ENOMEM, ...

    A page that is missing comes with the others of a folio, as large as the ``length`` bytes that the write has left
    and the alignment allow (__filemap_get_folio).
    """
    index: i64 = at >> system.page_shift
    if not mapping.is_shmem:
        if mapping.large_folios and length >= 8192 and index not in mapping.i_pages:
            order: i64 = 1
            while order < MAX_PAGECACHE_ORDER and 8192 << order <= length and not index & (1 << order):
                order += 1
            while order > 0 and index & ((1 << order) - 1):
                order -= 1
            while order > 0 and not add_folio(system, mapping, index, 1 << order, False):
                order -= 1
        return read_cache_page(system, mapping, index)
    if mapping.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
        return -errno.EPERM
    if mapping.seals & F_SEAL_GROW and at + size > mapping.i_size:
        return -errno.EPERM
    page = shmem_get_page(system, mapping, index)
    return -errno.ENOSPC if page is None else page


def write_end(system: System, mapping: AddressSpace, page: Page, at: i64, copied: i64) -> None:
    """The page holds ``copied`` bytes more, from file offset ``at`` on; the file reaches that far at least.

    Where nothing was copied to the beginning of a page that the file has already, the page is not dirty
    (block_commit_write counts the blocks that begin before the last byte).
    """
    system.ram.stored_to(page.pfn)
    if mapping.is_shmem:
        page.flags |= PG_dirty
    elif copied or at & ~system.page_mask or not mapping.has_block(page.index):
        set_page_dirty(system, page)
    mapping.i_size = max(mapping.i_size, at + copied)


def zero_new_buffers(system: System, mapping: AddressSpace, at: i64, length: i64) -> None:
    """A copy of ``length`` bytes to ``at`` has ended too early within a folio: what it would have filled there of the
    blocks that the file did not have is zeros, and to be written (folio_zero_new_buffers)."""
    _, end = folio_range(mapping, at >> system.page_shift)
    last: i64 = min(end, system.nr_pages(at + length))
    index: i64 = (at >> system.page_shift) + 1
    while index < last:
        if not mapping.has_block(index):
            mapping.dirty_blocks.add(int(index))
        index += 1


def generic_perform_write(system: System, mapping: AddressSpace, pos: i64, source: IovIter) -> int:
    """Copies user memory to offset ``pos`` of the cache, growing the file; bytes, or a negative errno where there were
    none.

    A page is prepared before its source is read, and where the source is not present the page counts as written with no
    byte before the source is faulted in: the file grows up to there, even where the source turns out unreadable.
    """
    done: i64 = 0
    chunk: i64 = system.page_size << MAX_PAGECACHE_ORDER  # halved whenever the source was not there
    before_write_at(system, mapping, pos)
    while source.count > 0:
        at: i64 = pos + done
        size: i64 = min(system.page_size - (at & ~system.page_mask), source.count)
        page = write_begin(system, mapping, at, size, min(chunk - (at & (chunk - 1)), source.count))
        if isinstance(page, int):
            return int(done) if done else page
        copied = source.copy_from_atomic((page.pfn << system.page_shift) + (at & ~system.page_mask), size)
        write_end(system, mapping, page, at, copied)
        done += copied
        if copied < size and at >> system.page_shift in mapping.folio_heads:
            zero_new_buffers(system, mapping, at, source.count)
        if copied == 0:
            chunk = max(system.page_size, chunk >> 1)
            if source.fault_in_readable(size) == size:
                return int(done) if done else -errno.EFAULT
    return int(done)
