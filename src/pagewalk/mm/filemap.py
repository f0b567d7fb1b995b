"""The page cache: pages of files, read, written, mapped, dirtied and written back.

Mirrors: mm/filemap.c, mm/readahead.c, mm/page-writeback.c (6.18)
Differs: folios of several pages are known by their indices (``folio.py``); write-back happens on fsync, msync, close
    and exit, never by a flusher thread; a ``warm`` file's pages count as cached though they are read from the host on
    first use; no eviction yet.
"""

import errno
from typing import Final, final

from mypy_extensions import i64

from pagewalk.mm.fault_types import VM_FAULT_MAJOR, VM_FAULT_OOM, VM_FAULT_RETRY, VM_FAULT_SIGBUS
from pagewalk.mm.file import AddressSpace, File, FileRaState
from pagewalk.mm.folio import folio_range, folio_to_map
from pagewalk.mm.memory import set_file_pte
from pagewalk.mm.page import PG_readahead, PG_uptodate
from pagewalk.mm.page_cache import add_to_page_cache, read_cache_page
from pagewalk.mm.page_writeback import folio_mark_dirty, set_page_dirty
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.readahead import (
    do_async_mmap_readahead,
    do_sync_mmap_readahead,
    page_cache_async_ra,
    page_cache_sync_ra,
)
from pagewalk.mm.system import System
from pagewalk.mm.truncate import block_zero_tail
from pagewalk.mm.vma import VM_MAYWRITE, VM_SHARED, Vma, VmFault, VmOps

_ZEROS: Final = bytes(65536)  # of the largest page


def filemap_read(system: System, mapping: AddressSpace, ra: FileRaState, pos: i64, count: i64) -> bytes | int:
    """Up to ``count`` bytes from offset ``pos``, through the cache; b"" at or beyond the end, or a negative errno."""
    end: i64 = mapping.i_size if count > mapping.i_size - pos else pos + count
    if pos >= end:
        return b""
    parts: list[bytes] = []
    while pos < end:
        index: i64 = pos >> system.page_shift
        if index not in mapping.i_pages and not mapping.is_warm(index):
            page_cache_sync_ra(system, mapping, ra, index, system.nr_pages(end) - index)
        if index in mapping.ra_marks:
            first: i64 = mapping.ra_marks[index]
            page_cache_async_ra(system, mapping, ra, first, system.nr_pages(end) - first)
        page = read_cache_page(system, mapping, index)
        if isinstance(page, int):
            return b"".join(parts) if parts else page
        start: i64 = pos & ~system.page_mask
        stop: i64 = min(system.page_size, start + end - pos)
        parts.append(bytes(system.ram.page(page.pfn)[start:stop]))
        pos += stop - start
    ra.prev_pos = pos
    return b"".join(parts)


def filemap_write(system: System, mapping: AddressSpace, pos: i64, data: bytes) -> int:
    """Writes into the cache and dirties the pages, growing the file; bytes written, or a negative errno."""
    done: i64 = 0
    total: i64 = len(data)
    before_write_at(system, mapping, pos)
    while done < total:
        index: i64 = (pos + done) >> system.page_shift
        start: i64 = (pos + done) & ~system.page_mask
        size: i64 = min(system.page_size - start, total - done)
        page = read_cache_page(system, mapping, index)
        if isinstance(page, int):
            return int(done) if done else page
        system.ram.page(page.pfn)[start : start + size] = data[done : done + size]
        system.ram.stored_to(page.pfn)
        set_page_dirty(system, page)
        done += size
        if pos + done > mapping.i_size:
            mapping.i_size = pos + done
    return int(done)


def filemap_write_and_wait_range(system: System, mapping: AddressSpace, first: i64, last: i64) -> int:
    """Writes the dirty folios of pages ``first`` to ``last`` (both included) to the backing store; 0 or the first
    error."""
    low, _ = folio_range(mapping, first)
    _, high = folio_range(mapping, last)
    collect_dirty(system, mapping, low, high - 1)
    result = 0
    for index in sorted([index for index in mapping.dirty if low <= index < high]):
        page = mapping.i_pages[index]
        mapping.dirty.discard(index)
        system.vmstat.nr_dirty -= 1
        if index not in mapping.dirty_blocks:
            continue
        mapping.dirty_blocks.discard(index)
        size: i64 = min(system.page_size, mapping.i_size - (index << system.page_shift))
        if size <= 0:
            continue
        if size < system.page_size:
            zero_tail(system, mapping)
        failed = mapping.write_folio(index, system.ram.page(page.pfn)[:size])
        system.vmstat.nr_written += 1
        system.vmstat.pgpgout += 4
        if failed and result == 0:
            result = failed
    if not mapping.dirty:
        system.dirty_spaces.pop(id(mapping), None)
    return result


def filemap_fsync(system: System, mapping: AddressSpace) -> int:
    """Writes all that is dirty to the backing store; 0 or a negative errno."""
    return filemap_write_and_wait_range(system, mapping, 0, (1 << 51) - 1)


def collect_dirty(system: System, mapping: AddressSpace, first: i64, last: i64) -> None:
    """Moves the dirty bits of page tables into the cache and write-protects the entries again (page_mkclean): the next
    write is a fault, as after any write-back."""
    fmt = system.format
    words = system.ram.words
    for vma in mapping.i_mmap:
        if not vma.vm_flags & VM_SHARED:
            continue
        low: i64 = max(first, vma.vm_pgoff)
        high: i64 = min(last, vma.vm_pgoff + vma.nr_pages() - 1)
        while low <= high:
            address: i64 = vma.address_of(low)
            page = mapping.i_pages.get(low)
            index: i64 = -1 if page is None else pte_lookup(vma.vm_mm, address)
            if page is not None and index >= 0:
                pte: i64 = words[index]
                if not fmt.present.test(pte) and not fmt.protnone.test(pte):
                    low += 1
                    continue
                if fmt.dirty.test(pte):
                    folio_mark_dirty(system, page)
                if fmt.dirty.test(pte) or fmt.write.test(pte):  # a child's copy of a dirty entry is clean, but writable
                    words[index] = fmt.write.clear(fmt.dirty.clear(pte)) | fmt.rdonly
                    vma.vm_mm.flush_tlb_range(address, address + system.page_size)
            low += 1


def before_write_at(system: System, mapping: AddressSpace, pos: i64) -> None:
    """A write begins at ``pos``: behind the last page of the file it leaves that page's tail in the file."""
    if pos >> system.page_shift > mapping.i_size >> system.page_shift and not mapping.is_shmem:
        block_zero_tail(system, mapping)


def zero_tail(system: System, mapping: AddressSpace) -> None:
    """Zeroes what is behind the end of the file in its last page, which is about to be written to the store."""
    start: i64 = mapping.i_size & ~system.page_mask
    tail = mapping.i_pages.get(mapping.i_size >> system.page_shift)
    if tail is not None and start:
        system.ram.page(tail.pfn)[start:] = _ZEROS[start : system.page_size]


@final
class FileVmOps(VmOps):
    """generic_file_vm_ops, with the page_mkwrite of a file system that tracks dirty pages (ext4)."""

    def __init__(self) -> None:
        super().__init__()
        self.has_map_pages = True
        self.has_page_mkwrite = True

    def fault(self, vmf: VmFault) -> i64:
        """filemap_fault."""
        vma = vmf.vma
        assert vma.vm_file is not None and vma.vm_file.mapping is not None
        mapping = vma.vm_file.mapping
        system = vma.vm_mm.system
        if vmf.pgoff >= system.nr_pages(mapping.i_size):
            return VM_FAULT_SIGBUS
        how: i64 = 0
        if vmf.pgoff in mapping.i_pages or mapping.is_warm(vmf.pgoff):
            if do_async_mmap_readahead(system, mapping, vma.vm_file.f_ra, vma, vmf.pgoff):
                how = VM_FAULT_RETRY
        else:
            how = VM_FAULT_MAJOR
            system.vmstat.pgmajfault += 1
            do_sync_mmap_readahead(system, mapping, vma.vm_file.f_ra, vma, vmf.pgoff)
        page = read_cache_page(system, mapping, vmf.pgoff)
        if isinstance(page, int):
            return VM_FAULT_OOM if page == -errno.ENOMEM else VM_FAULT_SIGBUS
        page.refcount += 1
        vmf.page = page
        return how

    def map_pages(self, vmf: VmFault, start_pgoff: i64, end_pgoff: i64) -> bool:
        """filemap_map_pages."""
        return filemap_map_pages(vmf, start_pgoff, end_pgoff)

    def page_mkwrite(self, vmf: VmFault) -> i64:
        """Marks the page dirty before it becomes writable."""
        page = vmf.page
        assert page is not None
        if page.mapping is None:
            return VM_FAULT_SIGBUS
        folio_mark_dirty(vmf.vma.vm_mm.system, page)
        return 0


def filemap_map_pages(vmf: VmFault, start_pgoff: i64, end_pgoff: i64) -> bool:
    """Maps the cached pages of a window whose entries are empty, folios whole where they fit; True where that served
    the fault itself.

    Where the window begins with the file's last folio, a page table that is missing yet is not made for it, and nothing
    is mapped: Linux makes it in filemap_map_pmd, which such a folio must not reach (shared memory's may).
    """
    vma = vmf.vma
    assert vma.vm_file is not None and vma.vm_file.mapping is not None
    mapping = vma.vm_file.mapping
    system = vma.vm_mm.system
    words = system.ram.words
    last_of_file: i64 = system.nr_pages(mapping.i_size) - 1
    last: i64 = min(end_pgoff, last_of_file)
    ra = vma.vm_file.f_ra
    pgoff = start_pgoff
    served = False
    found_one = False
    while pgoff <= last:
        page = mapping.i_pages.get(pgoff)
        if page is None and mapping.is_warm(pgoff):
            found = add_to_page_cache(system, mapping, pgoff)
            page = None if isinstance(found, int) else found
        if page is None or page.flags & (PG_uptodate | PG_readahead) != PG_uptodate:
            pgoff += 1
            continue
        if not found_one:
            found_one = True
            new_table = system.vmstat.nr_page_table_pages > vmf.nr_tables
            if new_table and not mapping.is_shmem and folio_range(mapping, pgoff)[1] > last_of_file:
                return False
        first, nr = folio_to_map(vmf, mapping, pgoff, last_of_file)
        for at in range(first, first + nr):
            ra.mmap_miss = max(0, ra.mmap_miss - 1)
            index: i64 = vmf.pte_index + at - vmf.pgoff
            if words[index] == 0:
                page = mapping.i_pages[at]
                page.refcount += 1
                set_file_pte(vma, index, page, write=False)
                if at == vmf.pgoff:
                    served = True
                else:
                    vma.vm_mm.faults.fault_around += 1
        pgoff = first + nr
    return served


FILE_VM_OPS: Final = FileVmOps()


def generic_file_mmap(file: File, vma: Vma) -> int:
    """The mmap method of a file whose pages live in the page cache."""
    vma.vm_ops = FILE_VM_OPS
    return 0


def link_file(vma: Vma) -> None:
    """The file's address space learns of a VMA that maps it."""
    if vma.vm_file is not None and vma.vm_file.mapping is not None:
        mapping = vma.vm_file.mapping
        mapping.i_mmap.append(vma)
        if vma.vm_flags & VM_SHARED and vma.vm_flags & VM_MAYWRITE:
            mapping.i_mmap_writable += 1


def unlink_file(vma: Vma) -> None:
    """The file's address space forgets a VMA."""
    if vma.vm_file is not None and vma.vm_file.mapping is not None:
        mapping = vma.vm_file.mapping
        mapping.i_mmap.remove(vma)
        if vma.vm_flags & VM_SHARED and vma.vm_flags & VM_MAYWRITE:
            mapping.i_mmap_writable -= 1
