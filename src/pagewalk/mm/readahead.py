"""How much of a file to read when one page is missing.

Mirrors: mm/readahead.c, mm/filemap.c (do_sync_mmap_readahead) (6.18)
Differs: windows are read at once; no asynchronous marker pages, so a stream meets a miss per window.
"""

from mypy_extensions import i64

from pagewalk.config import Config
from pagewalk.mm.file import AddressSpace
from pagewalk.mm.vma import VM_RAND_READ, VM_SEQ_READ, Vma


def ra_pages(config: Config) -> int:
    """The device's largest window in pages."""
    return max(config.read_ahead_kb >> 2, 1)


def mmap_readahead_window(config: Config, vma: Vma, pgoff: i64) -> tuple[int, int]:
    """(first page, pages) to read for a missing page of a mapping: the page alone where access is random, the window
    from it on where it is sequential, the window around it otherwise."""
    pages = ra_pages(config)
    if vma.vm_flags & VM_RAND_READ:
        return int(pgoff), 1
    if vma.vm_flags & VM_SEQ_READ:
        return int(pgoff), pages
    return max(0, int(pgoff) - pages // 2), pages


def read_window(config: Config, mapping: AddressSpace, index: i64) -> int:
    """Pages to read for a missing page of read(2): the whole window in the middle of a stream (the page before is
    cached), a quarter of it otherwise."""
    pages = ra_pages(config)
    return pages if index > 0 and index - 1 in mapping.i_pages else max(pages // 4, 1)
