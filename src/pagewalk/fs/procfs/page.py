"""/proc/kpagecount, /proc/kpageflags, /proc/kpagecgroup: a 64-bit word for each frame of RAM.

Sources: Documentation/admin-guide/mm/pagemap.rst; include/uapi/linux/kernel-page-flags.h.

Mirrors: fs/proc/page.c (6.18)
Differs: no large folios, so no COMPOUND and THP bits.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import S_IFREG
from pagewalk.fs.file import VfsFile
from pagewalk.fs.procfs.inodes import ProcInode, ProcSuper
from pagewalk.fs.procfs.pagemap import WordFile
from pagewalk.fs.procfs.task_mmu import page_is_dirty
from pagewalk.mm.page import (
    Page,
    PG_active,
    PG_anon,
    PG_anon_exclusive,
    PG_buddy,
    PG_lru,
    PG_mlocked,
    PG_pcp,
    PG_reclaim,
    PG_referenced,
    PG_reserved,
    PG_slab,
    PG_swapbacked,
    PG_swapcache,
    PG_table,
    PG_unevictable,
    PG_uptodate,
    PG_writeback,
)

if TYPE_CHECKING:
    from pagewalk.mm.system import System

# Bit numbers.
KPF_REFERENCED: Final = 2
KPF_UPTODATE: Final = 3
KPF_DIRTY: Final = 4
KPF_LRU: Final = 5
KPF_ACTIVE: Final = 6
KPF_SLAB: Final = 7
KPF_WRITEBACK: Final = 8
KPF_RECLAIM: Final = 9
KPF_BUDDY: Final = 10
KPF_MMAP: Final = 11
KPF_ANON: Final = 12
KPF_SWAPCACHE: Final = 13
KPF_SWAPBACKED: Final = 14
KPF_UNEVICTABLE: Final = 18
KPF_ZERO_PAGE: Final = 24
KPF_PGTABLE: Final = 26
KPF_RESERVED: Final = 32
KPF_MLOCKED: Final = 33
KPF_OWNER_2: Final = 34  # of an anonymous page: it is exclusively one process's

_DIRECT: Final = (
    (PG_referenced, KPF_REFERENCED), (PG_uptodate, KPF_UPTODATE), (PG_lru, KPF_LRU), (PG_active, KPF_ACTIVE),
    (PG_writeback, KPF_WRITEBACK), (PG_buddy, KPF_BUDDY), (PG_anon, KPF_ANON), (PG_swapbacked, KPF_SWAPBACKED),
    (PG_mlocked, KPF_MLOCKED), (PG_unevictable, KPF_UNEVICTABLE), (PG_reclaim, KPF_RECLAIM),
    (PG_table, KPF_PGTABLE), (PG_reserved, KPF_RESERVED), (PG_swapcache, KPF_SWAPCACHE),
    (PG_anon_exclusive, KPF_OWNER_2), (PG_slab, KPF_SLAB),
)  # fmt: skip

# Which table.
KPAGECOUNT: Final = 0
KPAGEFLAGS: Final = 1
KPAGECGROUP: Final = 2

FRAME_TABLES: Final = {"kpagecount": KPAGECOUNT, "kpageflags": KPAGEFLAGS, "kpagecgroup": KPAGECGROUP}


class FrameTable(ProcInode):
    """One of the tables."""

    def __init__(self, sb: ProcSuper, key: str, what: int) -> None:
        super().__init__(sb, key, S_IFREG | 0o400)
        self.what = what

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """The table; for a capable reader."""
        if not self.proc.system.current.capable:
            return -errno.EPERM
        return FrameFile(self.proc.system, dentry, flags, self.what)


class FrameFile(WordFile):
    """An open table. It ends where RAM does."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, what: int) -> None:
        super().__init__(system, dentry, flags)
        self.what = what

    def words(self, first: int, count: int) -> bytes:
        """Counts, flags or control groups by frame number."""
        max_pfn = self.system.mem_map.max_pfn
        last = min(first + count, max_pfn)
        if self.what == KPAGECGROUP:  # pages of the root group are charged to nobody
            return bytes(8 * max(0, last - first))
        return self.flag_words(first, last) if self.what == KPAGEFLAGS else self.count_words(first, last)

    def count_words(self, first: int, last: int) -> bytes:
        """By how many page-table entries each frame is mapped."""
        out = bytearray()
        mem_map = self.system.mem_map
        for pfn in range(first, last):
            page = mem_map.lookup(pfn)
            out += struct.pack("<Q", 0 if page is None else int(page.mapcount))
        return bytes(out)

    def flag_words(self, first: int, last: int) -> bytes:
        """KPF_* bits of each frame. Free blocks are told as wholes."""
        out = bytearray()
        pfn = first
        free_word = struct.pack("<Q", 1 << KPF_BUDDY)
        while pfn < last:
            page = self.system.mem_map.lookup(pfn)
            if page is None or page.refcount == 0:
                end = min(free_block_end(self.system, pfn), last)
                if end > pfn:
                    out += free_word * (end - pfn)
                    pfn = end
                    continue
            word = absent_flags(self.system, pfn) if page is None else page_flags(page, self.system.zero_pfn)
            out += struct.pack("<Q", word)
            pfn += 1
        return bytes(out)


def free_block_end(system: "System", pfn: int) -> int:
    """The end of the free block that a frame lies in (is_free_buddy_page); -1 where it lies in none."""
    for zone in system.zones:
        for start, end in zone.deferred:
            if start <= pfn < end:
                return end
    for order in range(int(system.mem_map.max_order) + 1):
        head = pfn & ~((1 << order) - 1)
        page = system.mem_map.lookup(head)
        if page is not None and page.flags & PG_buddy and page.order >= order:
            return head + (1 << int(page.order))
    return -1


def absent_flags(system: "System", pfn: int) -> int:
    """Of a frame that nobody has asked for and that is not free: a hole, or what boot has reserved. The rest of a block
    on a per-CPU list has no flags."""
    for order in range(1, int(system.mem_map.max_order) + 1):
        page = system.mem_map.lookup(pfn & ~((1 << order) - 1))
        if page is not None and page.flags & PG_pcp and page.order >= order:
            return 0
    if pfn < 0x10_0000 >> int(system.page_shift):
        return 1 << KPF_RESERVED
    for start, end in system.ranges():
        if start <= pfn < end:
            return 1 << KPF_RESERVED
    return 0


def page_flags(page: Page, zero_pfn: i64) -> int:
    """stable_page_flags: the KPF_* bits of a frame."""
    word = 0
    for flag, bit in _DIRECT:
        if page.flags & flag:
            word |= 1 << bit
    if page.flags & PG_anon:
        word |= 1 << KPF_UPTODATE  # anonymous pages are from their first mapping on
    if page.mapcount > 0:
        word |= 1 << KPF_MMAP
    if page_is_dirty(page):
        word |= 1 << KPF_DIRTY
    if page.pfn == zero_pfn:
        word |= 1 << KPF_ZERO_PAGE
    return word
