"""/proc/PID/pagemap, /proc/kpagecount and /proc/kpageflags: tables of 64-bit words.

Sources: Documentation/admin-guide/mm/pagemap.rst.

Mirrors: fs/proc/task_mmu.c pagemap_read, fs/proc/page.c (6.18)
Differs: kpageflags knows the flags that the model keeps; no kpagecgroup.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import S_IFREG, SEEK_CUR, SEEK_END, SEEK_SET
from pagewalk.fs.file import VfsFile
from pagewalk.fs.procfs.inodes import ProcInode, ProcSuper
from pagewalk.fs.procfs.task_mmu import page_is_dirty, pagemap_words
from pagewalk.fs.procfs.tasks import ptrace_may_access, task_mm
from pagewalk.mm.file import FMODE_READ
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.page import (
    Page,
    PG_active,
    PG_anon,
    PG_buddy,
    PG_lru,
    PG_referenced,
    PG_reserved,
    PG_swapbacked,
    PG_table,
    PG_uptodate,
    PG_writeback,
)

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.mm.system import System

# include/uapi/linux/kernel-page-flags.h: bit numbers
KPF_REFERENCED: Final = 2
KPF_UPTODATE: Final = 3
KPF_DIRTY: Final = 4
KPF_LRU: Final = 5
KPF_ACTIVE: Final = 6
KPF_WRITEBACK: Final = 8
KPF_BUDDY: Final = 10
KPF_MMAP: Final = 11
KPF_ANON: Final = 12
KPF_SWAPBACKED: Final = 14
KPF_ZERO_PAGE: Final = 24
KPF_PGTABLE: Final = 26
KPF_RESERVED: Final = 32

_DIRECT: Final = (
    (PG_referenced, KPF_REFERENCED), (PG_uptodate, KPF_UPTODATE), (PG_lru, KPF_LRU), (PG_active, KPF_ACTIVE),
    (PG_writeback, KPF_WRITEBACK), (PG_buddy, KPF_BUDDY), (PG_anon, KPF_ANON), (PG_swapbacked, KPF_SWAPBACKED),
    (PG_table, KPF_PGTABLE), (PG_reserved, KPF_RESERVED),
)  # fmt: skip

# Which table of frames.
KPAGECOUNT: Final = 0
KPAGEFLAGS: Final = 1


class WordFile(VfsFile):
    """An open table of 64-bit words: reads are of whole words, at multiples of 8."""

    def words(self, first: int, count: int) -> bytes:
        """``count`` words from word ``first`` on; fewer at the end of the table."""
        return b""

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """Whole words; EINVAL where position or length is no multiple of 8."""
        if not self.f_mode & FMODE_READ:
            return -errno.EBADF
        at = int(self.f_pos) if pos == -1 else pos
        if at < 0 or at % 8 or count % 8:
            return -errno.EINVAL
        data = self.words(at // 8, min(count // 8, 1 << 20))
        if pos == -1:
            self.f_pos = at + len(data)
        return data

    def lseek(self, offset: int, whence: int) -> int:
        """mem_lseek: any position."""
        if whence == SEEK_CUR:
            offset += int(self.f_pos)
        elif whence not in (SEEK_SET, SEEK_END):
            return -errno.EINVAL
        if offset < 0 or whence == SEEK_END:
            return -errno.EINVAL
        self.f_pos = offset
        return offset


class PagemapInode(ProcInode):
    """/proc/PID/pagemap."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task") -> None:
        super().__init__(sb, key, S_IFREG | 0o400)
        self.task = task

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """The address space as it is now; frame numbers for a capable opener. ESRCH where there is none any more,
        EACCES where the opener may not look into the task."""
        mm = task_mm(self.task)
        if mm is None:
            return -errno.ESRCH
        if not ptrace_may_access(self.task):
            return -errno.EACCES
        return PagemapFile(self.proc.system, dentry, flags, mm)


class PagemapFile(WordFile):
    """An open /proc/PID/pagemap."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, mm: MmStruct) -> None:
        super().__init__(system, dentry, flags)
        self.mm = mm
        self.show_pfn = system.current.capable

    def words(self, first: int, count: int) -> bytes:
        """A word for each page of the address space."""
        return pagemap_words(self.mm, first, count, self.show_pfn) if first < 1 << 51 else b""


class FrameTable(ProcInode):
    """/proc/kpagecount or /proc/kpageflags."""

    def __init__(self, sb: ProcSuper, key: str, what: int) -> None:
        super().__init__(sb, key, S_IFREG | 0o400)
        self.what = what

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """The table."""
        return FrameFile(self.proc.system, dentry, flags, self.what)


class FrameFile(WordFile):
    """An open table with a word for each frame of RAM."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, what: int) -> None:
        super().__init__(system, dentry, flags)
        self.what = what

    def words(self, first: int, count: int) -> bytes:
        """Counts or flags by frame number."""
        out = bytearray()
        mem_map = self.system.mem_map
        for pfn in range(first, min(first + count, mem_map.max_pfn)):
            page = mem_map.lookup(pfn)
            word = 0
            if page is not None:
                word = int(page.mapcount) if self.what == KPAGECOUNT else page_flags(page, self.system.zero_pfn)
            out += struct.pack("<Q", word)
        return bytes(out)


def page_flags(page: Page, zero_pfn: i64) -> int:
    """stable_page_flags: the KPF_* bits of a frame."""
    word = 0
    for flag, bit in _DIRECT:
        if page.flags & flag:
            word |= 1 << bit
    if page.mapcount > 0:
        word |= 1 << KPF_MMAP
    if page_is_dirty(page):
        word |= 1 << KPF_DIRTY
    if page.pfn == zero_pfn:
        word |= 1 << KPF_ZERO_PAGE
    return word
