"""How much of a file to read when one page is missing, and when to read on before it is.

A window of pages is read at once. One page of it carries a mark (PG_readahead): whoever comes to it starts the next
window, so that a stream finds its pages there. Each open file has a state of its own (``FileRaState``).

Mirrors: mm/readahead.c, mm/filemap.c (do_sync_mmap_readahead, do_async_mmap_readahead) (6.18)
Differs: what is read is there at once: no page is seen locked, on its way from the disk; pages of one folio are told
    apart everywhere but at the mark; no huge pages for MADV_HUGEPAGE; no congestion of block cgroups.
"""

from typing import Final

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace, FileRaState
from pagewalk.mm.page import Page, PG_readahead
from pagewalk.mm.page_cache import add_to_page_cache
from pagewalk.mm.system import System
from pagewalk.mm.vma import VM_EXEC, VM_RAND_READ, VM_SEQ_READ, Vma

MMAP_LOTSAMISS: Final = 100
MAX_PAGECACHE_ORDER: Final = 9
_CHUNK: Final = 2 << 20  # bytes that force_page_cache_ra reads in one go


def device_pages(system: System) -> i64:
    """The device's largest window in pages (bdi->ra_pages)."""
    return (system.config.read_ahead_kb << 10) >> int(system.page_shift)


def ra_pages(system: System, ra: FileRaState) -> i64:
    """The largest window of an open file in pages; posix_fadvise(SEQUENTIAL) doubles it."""
    return device_pages(system) * (2 if ra.sequential else 1)


def get_init_ra_size(size: i64, most: i64) -> i64:
    """The first window for a request of ``size`` pages."""
    new: i64 = 1
    while new < size:
        new *= 2
    if new <= most // 32:
        return new * 4
    return new * 2 if new <= most // 4 else most


def get_next_ra_size(ra: FileRaState, most: i64) -> i64:
    """The window that follows one of ``ra.size`` pages."""
    if ra.size < most // 16:
        return 4 * ra.size
    return 2 * ra.size if ra.size <= most // 2 else most


def max_window(system: System, ra: FileRaState, req_count: i64) -> i64:
    """ractl_max_pages: a larger request may use all that the device takes at once."""
    most = ra_pages(system, ra)
    io_pages: i64 = (system.config.max_sectors_kb << 10) >> int(system.page_shift)
    return min(req_count, io_pages) if req_count > most and io_pages > most else most


def page_cache_sync_ra(system: System, mapping: AddressSpace, ra: FileRaState, index: i64, req_count: i64) -> None:
    """Page ``index`` is missing, and ``req_count`` pages from it on are wanted."""
    if ra_pages(system, ra) == 0:
        force_page_cache_ra(system, mapping, ra, index, 1)
        return
    if ra.random:
        force_page_cache_ra(system, mapping, ra, index, req_count)
        return
    most = max_window(system, ra, req_count)
    prev_index: i64 = ra.prev_pos >> system.page_shift
    follows = ra.prev_pos >= 0 and 0 <= index - prev_index <= 1
    if index == 0 or req_count > most or follows:
        ra.start = index
        ra.size = get_init_ra_size(req_count, most)
        ra.async_size = ra.size - req_count if ra.size > req_count else ra.size >> 1
    else:
        miss = page_cache_prev_miss(mapping, index - 1, most)
        contig_count: i64 = index - miss - 1
        if contig_count <= req_count:
            do_page_cache_ra(system, mapping, index, req_count, 0)
            return
        if miss < 0:
            contig_count *= 2
        ra.start = index
        ra.size = min(contig_count + req_count, most)
        ra.async_size = 1
    ra.order = 0
    page_cache_ra_order(system, mapping, ra)


def page_cache_async_ra(system: System, mapping: AddressSpace, ra: FileRaState, index: i64, req_count: i64) -> None:
    """Somebody came to page ``index``, which carries the mark: takes the mark off and reads the next window."""
    most = ra_pages(system, ra)
    if most == 0:
        return
    nr = clear_mark(mapping, index)
    most = max_window(system, ra, req_count)
    if index == (ra.start + ra.size - ra.async_size) // nr * nr:
        ra.start += ra.size
        ra.size = max(ra.size, get_next_ra_size(ra, most))
    else:
        start = page_cache_next_miss(mapping, index + 1, most)
        if start - index > most:
            return
        ra.start = start
        ra.size = start - index + req_count
        ra.size = get_next_ra_size(ra, most)
    ra.order += 2
    end: i64 = ra.start + ra.size
    align: i64 = min(1 << ra.order, most & -most)
    aligned_end: i64 = end & -align
    if aligned_end > ra.start:
        ra.size -= end - aligned_end
    ra.async_size = ra.size
    page_cache_ra_order(system, mapping, ra)


def page_cache_ra_order(system: System, mapping: AddressSpace, ra: FileRaState) -> None:
    """Reads the window of ``ra`` in folios of its order, cut where they would not be aligned or pass the end."""
    index = ra.start
    if mapping.large_folios:
        mark: i64 = index + ra.size - ra.async_size
        limit: i64 = min((mapping.i_size - 1) >> system.page_shift, index + ra.size - 1)
        most: i64 = 0
        while most < MAX_PAGECACHE_ORDER and 2 << most <= ra.size:
            most += 1
        ra.order = min(ra.order, most)
        while index <= limit:
            order: i64 = 0
            while order < ra.order and not index & (1 << order):
                order += 1
            while order > 0 and index + (1 << order) - 1 > limit:
                order -= 1
            if not add_folio(system, mapping, index, 1 << order, (mark >> order) << order == index):
                break
            index += 1 << order
        if index > limit:
            return
    else:
        ra.order = 0
    do_page_cache_ra(system, mapping, index, ra.size - (index - ra.start), ra.async_size)


def do_page_cache_ra(system: System, mapping: AddressSpace, index: i64, nr_to_read: i64, lookahead: i64) -> None:
    """Reads what is missing of ``nr_to_read`` pages, not beyond the end; the first of the last ``lookahead`` pages gets
    the mark."""
    end_index: i64 = (mapping.i_size - 1) >> system.page_shift
    if mapping.i_size == 0 or index > end_index:
        return
    if nr_to_read > end_index - index:
        nr_to_read = end_index - index + 1
    mark: i64 = index + nr_to_read - lookahead if lookahead <= nr_to_read else -1
    end: i64 = index + nr_to_read
    while index < end:
        add_folio(system, mapping, index, 1, index == mark)
        index += 1


def force_page_cache_ra(system: System, mapping: AddressSpace, ra: FileRaState, index: i64, nr_to_read: i64) -> None:
    """Reads pages without a guess at more (random access, MADV_WILLNEED, readahead(2)), at most what the device takes
    at once."""
    config = system.config
    io_pages: i64 = (config.max_sectors_kb << 10) >> int(system.page_shift)
    left: i64 = min(nr_to_read, max(io_pages, ra_pages(system, ra)))
    while left > 0:
        chunk: i64 = min(left, _CHUNK >> int(system.page_shift))
        do_page_cache_ra(system, mapping, index, chunk, 0)
        index += chunk
        left -= chunk


def cached(mapping: AddressSpace, index: i64) -> bool:
    """Whether a page is in the cache, or counts as such."""
    return index in mapping.i_pages or mapping.is_warm(index)


def page_cache_next_miss(mapping: AddressSpace, index: i64, max_scan: i64) -> i64:
    """The first page from ``index`` on that is not cached, ``index + max_scan`` where there is none among that many.

    Where ``index`` lies within a folio the search starts from the folio's first page and counts from ``index``: the
    answer is too large by as much, up to the next 64 pages. That is what the XArray's iterator does to Linux.
    """
    at: i64 = mapping.folio_heads.get(index, int(index))
    found = index
    while found < index + max_scan:
        if not cached(mapping, at):
            return found
        found += 1
        at += 1
        if at & 63 == 0:
            at += found & 63
    return found


def page_cache_prev_miss(mapping: AddressSpace, index: i64, max_scan: i64) -> i64:
    """The last page up to ``index`` that is not cached (-1: all are), looking at ``max_scan`` pages. Within a folio it
    is off as ``page_cache_next_miss`` is."""
    at: i64 = mapping.folio_heads.get(index, int(index))
    found = index
    while max_scan > 0 and at >= 0 and cached(mapping, at):
        max_scan -= 1
        if max_scan == 0:
            break
        found -= 1
        if at != found:
            at -= 1
            if at >= 0 and at & 63 == 63:
                at += (found & 63) - 63
    return found


def add_folio(system: System, mapping: AddressSpace, index: i64, nr: i64, marked: bool) -> bool:
    """Reads the ``nr`` pages of a folio; False where one of them is there already or cannot be read."""
    for at in range(index, index + nr):
        if cached(mapping, at):
            return False
    held: list[Page] = []  # reclaim for the later ones leaves the first ones alone
    whole = True
    for at in range(index, index + nr):
        page = add_to_page_cache(system, mapping, at)
        if isinstance(page, int):
            whole = False
            break
        if nr > 1:
            mapping.folio_heads[at] = int(index)
            page.refcount += 1
            held.append(page)
        if marked:
            page.flags |= PG_readahead
            mapping.ra_marks[at] = int(index)
    for page in held:
        system.node.put_page(page)
    return whole


def clear_mark(mapping: AddressSpace, index: i64) -> i64:
    """Takes the mark off the folio of page ``index``; the pages that it has."""
    first = mapping.ra_marks.get(index, int(index))
    nr: i64 = 0
    at: i64 = first
    while mapping.ra_marks.get(at, -1) == first:
        del mapping.ra_marks[at]
        page = mapping.i_pages.get(at)
        if page is not None:
            page.flags &= ~PG_readahead
        nr += 1
        at += 1
    return max(nr, 1)


def do_sync_mmap_readahead(system: System, mapping: AddressSpace, ra: FileRaState, vma: Vma, pgoff: i64) -> None:
    """A mapping misses page ``pgoff``: reads nothing ahead where access is random, as for read(2) where it is
    sequential, from there on to the end of the VMA for code (before 6.17 as for data), and around it otherwise."""
    most = ra_pages(system, ra)
    if vma.vm_flags & (VM_RAND_READ | VM_EXEC) == VM_RAND_READ or most == 0:
        return
    if vma.vm_flags & VM_SEQ_READ:
        page_cache_sync_ra(system, mapping, ra, pgoff, most)
        return
    if ra.mmap_miss < MMAP_LOTSAMISS * 10:
        ra.mmap_miss += 1
    if ra.mmap_miss > MMAP_LOTSAMISS:
        return
    ra.order = 0
    if vma.vm_flags & VM_EXEC and system.linux >= 617:
        ra.start = pgoff
        ra.size = min(pgoff + most, vma.vm_pgoff + vma.nr_pages()) - pgoff
        ra.async_size = 0
    else:
        ra.start = max(0, pgoff - most // 2)
        ra.size = most
        ra.async_size = most // 4
    page_cache_ra_order(system, mapping, ra)


def do_async_mmap_readahead(system: System, mapping: AddressSpace, ra: FileRaState, vma: Vma, pgoff: i64) -> bool:
    """A mapping finds page ``pgoff`` in the cache; whether that has started the next window."""
    most = ra_pages(system, ra)
    if vma.vm_flags & VM_RAND_READ or most == 0:
        return False
    if ra.mmap_miss:
        ra.mmap_miss -= 1
    if pgoff not in mapping.ra_marks:
        return False
    page_cache_async_ra(system, mapping, ra, pgoff, most)
    return True
