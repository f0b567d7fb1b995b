"""Tables of 64-bit words as files; /proc/PID/pagemap.

Sources: Documentation/admin-guide/mm/pagemap.rst.

Mirrors: fs/proc/task_mmu.c pagemap_read (6.18)
Differs: nothing.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import S_IFREG, SEEK_CUR, SEEK_END, SEEK_SET
from pagewalk.fs.file import VfsFile
from pagewalk.fs.procfs.inodes import ProcInode, ProcSuper
from pagewalk.fs.procfs.task_mmu import pagemap_words
from pagewalk.fs.procfs.tasks import ptrace_may_access, task_mm
from pagewalk.mm.file import FMODE_READ
from pagewalk.mm.mm_types import MmStruct

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.mm.system import System


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
