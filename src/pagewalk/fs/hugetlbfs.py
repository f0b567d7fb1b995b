"""Files of huge pages (memfd_create with MFD_HUGETLB) on a machine whose pools of huge pages are empty.

They can be made, sized and read (a hole is zeros); whatever needs a page is refused.

Mirrors: fs/hugetlbfs/inode.c (6.18)
Differs: no pools (vm.nr_hugepages is 0), so no mapping but MAP_NORESERVE could be had; that one is refused too.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import SEEK_DATA
from pagewalk.fs.stat import Stat
from pagewalk.fs.tmpfs import TmpBase, TmpFile, TmpInode
from pagewalk.mm.file import F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SHRINK, F_SEAL_WRITE
from pagewalk.mm.iov_iter import IovIter
from pagewalk.mm.shmem import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
from pagewalk.mm.vma import Vma

if TYPE_CHECKING:
    from pagewalk.mm.system import System


class HugetlbInode(TmpInode):
    """A file whose length is a multiple of ``huge_page_size`` bytes."""

    def __init__(self, sb: TmpBase, mode: int, uid: int, gid: int, huge_page_size: int) -> None:
        super().__init__(sb, mode, uid, gid)
        self.huge_page_size = huge_page_size

    def getattr(self) -> Stat | int:
        """Its attributes; a block is a huge page."""
        st = super().getattr()
        if not isinstance(st, int):
            st.st_blksize = self.huge_page_size
        return st

    def truncate(self, length: int) -> int:
        """Sets the length; EINVAL where that is no multiple of a page, EPERM where a seal forbids it."""
        assert self.mapping is not None
        if length % self.huge_page_size:
            return -errno.EINVAL
        old = self.mapping.i_size
        seals = self.mapping.seals
        if (length < old and seals & F_SEAL_SHRINK) or (length > old and seals & F_SEAL_GROW):
            return -errno.EPERM
        self.mapping.i_size = length
        self.touch()
        return 0

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """Holes cost nothing; there are no pages for anything else (ENOSPC)."""
        assert self.mapping is not None
        if mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE):
            return -errno.EOPNOTSUPP
        if mode & FALLOC_FL_PUNCH_HOLE:
            if self.mapping.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
                return -errno.EPERM
            self.touch()
            return 0
        grows = not mode & FALLOC_FL_KEEP_SIZE and offset + length > self.mapping.i_size
        return -errno.EPERM if grows and self.mapping.seals & F_SEAL_GROW else -errno.ENOSPC

    def seek_data(self, offset: int, whence: int) -> int:
        """The file system knows no holes."""
        return offset if whence == SEEK_DATA else self.size()


class HugetlbFile(TmpFile):
    """An open file of huge pages: it has no write method."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, inode: HugetlbInode) -> None:
        assert inode.mapping is not None
        super().__init__(system, dentry, flags, inode, inode.mapping)
        self.huge_page_size = inode.huge_page_size

    def write(self, data: bytes, pos: int = -1) -> int:
        """EINVAL."""
        return -errno.EINVAL

    def write_iter(self, source: IovIter, pos: int = -1) -> int:
        """EINVAL."""
        return -errno.EINVAL

    def mmap(self, vma: Vma) -> int:
        """EINVAL for an offset within a page, ENOMEM for the rest: nothing can be reserved."""
        return -errno.EINVAL if (vma.vm_pgoff << vma.vm_mm.system.page_shift) % self.huge_page_size else -errno.ENOMEM
