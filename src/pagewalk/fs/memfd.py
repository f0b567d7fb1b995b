"""memfd_create(2): files without a name, in memory.

Mirrors: mm/memfd.c, mm/shmem.c (6.18)
Differs: files of huge pages have the inode numbers and the device of the others; sysctl vm.memfd_noexec is 0.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry, Mount
from pagewalk.fs.fcntl import (
    MFD_ALLOW_SEALING,
    MFD_CLOEXEC,
    MFD_EXEC,
    MFD_HUGETLB,
    MFD_NOEXEC_SEAL,
    O_LARGEFILE,
    O_RDWR,
    S_IFREG,
)
from pagewalk.fs.file import VfsFile
from pagewalk.fs.hugetlbfs import HugetlbFile, HugetlbInode
from pagewalk.fs.tmpfs import TmpBase, TmpFile, TmpInode
from pagewalk.mm.file import F_SEAL_EXEC, F_SEAL_SEAL
from pagewalk.mm.hugetlb import default_shift, huge_page_shifts
from pagewalk.mm.shmem import SHMEM_DEV

if TYPE_CHECKING:
    from pagewalk.mm.system import System

MFD_NAME_MAX_LEN: Final = 249  # NAME_MAX - len("memfd:")


class ShmMount(TmpBase):
    """The kernel's own tmpfs mount (shm_mnt): its inode numbers are those of all unnamed shared memory."""

    def __init__(self, system: "System") -> None:
        super().__init__(system, SHMEM_DEV)

    def new_ino(self) -> int:
        """The next number of the mount."""
        self.system.nr_shmem_inodes += 1
        return int(self.system.nr_shmem_inodes)


def memfd_flags_error(flags: int) -> int:
    """0, or -EINVAL for flags that memfd_create(2) does not know or that exclude each other."""
    known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC
    if flags & MFD_HUGETLB:
        known |= MFD_HUGETLB | 0x3F << 26
    return -errno.EINVAL if flags & ~known or flags & (MFD_EXEC | MFD_NOEXEC_SEAL) == MFD_EXEC | MFD_NOEXEC_SEAL else 0


def memfd_create(system: "System", name: str, flags: int, uid: int = 0, gid: int = 0) -> VfsFile | int:
    """A new memfd, readable and writable, with one reference; the caller installs it (MFD_CLOEXEC).

    EINVAL: unknown flags, MFD_EXEC with MFD_NOEXEC_SEAL, a name of more than 249 bytes. ENODEV: MFD_HUGETLB with a
    page size that there is not.
    """
    failed = memfd_flags_error(flags)
    if failed:
        return failed
    if len(name.encode("utf-8", "surrogateescape")) > MFD_NAME_MAX_LEN:
        return -errno.EINVAL
    if flags & MFD_HUGETLB:
        shift = (flags >> 26) & 0x3F or default_shift(system.config)
        if shift not in huge_page_shifts(system.config):
            return -errno.ENODEV
        inode: TmpInode = HugetlbInode(ShmMount(system), S_IFREG | 0o777, uid, gid, 1 << shift)
    else:
        inode = TmpInode(ShmMount(system), S_IFREG | 0o777, uid, gid)
    inode.i_nlink = 0
    assert inode.mapping is not None
    if flags & MFD_NOEXEC_SEAL:
        inode.i_mode &= ~0o111
        inode.mapping.seals = F_SEAL_EXEC
    elif flags & MFD_ALLOW_SEALING:
        inode.mapping.seals = 0
    else:
        inode.mapping.seals = F_SEAL_SEAL
    dentry = Dentry(f"/memfd:{name} (deleted)", None, inode, Mount(0, inode.tmp_sb, "tmpfs", "rw", 0))
    if isinstance(inode, HugetlbInode):
        return HugetlbFile(system, dentry, O_RDWR | O_LARGEFILE, inode)
    return TmpFile(system, dentry, O_RDWR | O_LARGEFILE, inode, inode.mapping)
