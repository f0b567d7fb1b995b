"""cachestat(2): how many pages of a part of a file are in the page cache.

Mirrors: mm/filemap.c (filemap_cachestat) (6.18)
Differs: a dirty page counts for itself, not for the folio that Linux keeps it in; write-back takes no time; evicted
    pages are not remembered yet.
"""

import struct

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.system import System


def filemap_cachestat(system: System, mapping: AddressSpace, first: i64, last: i64) -> bytes:
    """struct cachestat for pages ``first`` to ``last`` (both included): cached, dirty, under write-back, evicted,
    recently evicted."""
    end: i64 = min(last, max((mapping.i_size - 1) >> system.page_shift, max(mapping.i_pages, default=0)))
    cached = 0
    dirty = 0
    at = first
    while at <= end:
        if at in mapping.i_pages or mapping.is_warm(at):
            cached += 1
            dirty += at in mapping.dirty
        at += 1
    return struct.pack("<5Q", cached, dirty, 0, 0, 0)
