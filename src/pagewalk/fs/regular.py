"""Files whose contents are pages: reading and writing go through the page cache, mappings share its pages.

Mirrors: mm/filemap.c generic_file_read_iter, fs/read_write.c, fs/libfs.c, mm/shmem.c shmem_file_operations (6.18)
Differs: reading does not update the access time; O_DIRECT reads through the cache.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import (
    MAX_LFS_FILESIZE,
    O_APPEND,
    S_ISGID,
    S_ISUID,
    SEEK_CUR,
    SEEK_DATA,
    SEEK_END,
    SEEK_HOLE,
    SEEK_SET,
)
from pagewalk.fs.file import VfsFile
from pagewalk.fs.inode import Inode, SuperBlock
from pagewalk.mm.current import RLIMIT_FSIZE
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE, AddressSpace
from pagewalk.mm.filemap import filemap_fsync, filemap_read, filemap_write, generic_file_mmap
from pagewalk.mm.filemap_iter import filemap_read as filemap_read_iter
from pagewalk.mm.filemap_iter import generic_perform_write, shmem_file_read_iter
from pagewalk.mm.iov_iter import IovIter
from pagewalk.mm.shmem import shmem_mmap, shmem_read, shmem_write
from pagewalk.mm.vma import Vma

if TYPE_CHECKING:
    from pagewalk.mm.system import System

_MAX_RW_COUNT = 0x7FFFF000


class PagedInode(Inode):
    """A regular file with an ``AddressSpace``.

    s_maxbytes  largest size in bytes
    """

    def __init__(self, system: "System", sb: SuperBlock, ino: int, mode: int) -> None:
        super().__init__(sb, ino, mode)
        self.system = system
        self.mapping: AddressSpace | None = None
        self.s_maxbytes = MAX_LFS_FILESIZE

    def size(self) -> int:
        """The length of its contents."""
        return 0 if self.mapping is None else self.mapping.i_size

    def before_write(self, pos: int, count: int) -> int:
        """How many of ``count`` bytes may be written at ``pos`` (seals), or a negative errno."""
        return count

    def wrote(self) -> int:
        """Contents have changed: the times follow, and the set-id bits go unless a capable task wrote; 0 or a
        negative errno."""
        self.touch()
        if self.i_mode & (S_ISUID | S_ISGID) and not self.system.current.capable:
            keep = ~S_ISUID if not self.i_mode & 0o010 else ~(S_ISUID | S_ISGID)
            return self.setattr_mode(self.i_mode & keep & 0o7777)
        return 0

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """fallocate(2): -EOPNOTSUPP where the file system cannot."""
        return -errno.EOPNOTSUPP

    def seek_data(self, offset: int, whence: int) -> int:
        """SEEK_DATA and SEEK_HOLE; ``offset`` is within the file. A file system that does not know has no holes."""
        return offset if whence == SEEK_DATA else self.size()


class RegularFile(VfsFile):
    """An open regular file."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, inode: PagedInode, mapping: AddressSpace) -> None:
        super().__init__(system, dentry, flags)
        self.paged = inode
        self.s_maxbytes = MAX_LFS_FILESIZE  # mmap(2) does not ask the file system for its own limit
        self.mapping: AddressSpace | None = mapping
        self.pages = mapping

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """read(2), pread(2)."""
        if not self.f_mode & FMODE_READ:
            return -errno.EBADF
        at = self.f_pos if pos == -1 else pos
        if at >= self.pages.i_size:
            return b""
        if count > _MAX_RW_COUNT:
            count = _MAX_RW_COUNT
        if self.pages.is_shmem:
            data = shmem_read(self.system, self.pages, at, count)
        else:
            data = filemap_read(self.system, self.pages, self.f_ra, at, count)
        if isinstance(data, bytes) and pos == -1:
            self.f_pos = at + len(data)
        return data

    def read_iter(self, to: IovIter, pos: int = -1) -> int:
        """As ``read``, straight to user memory; bytes, or a negative errno where there were none."""
        if not self.f_mode & FMODE_READ:
            return -errno.EBADF
        at = self.f_pos if pos == -1 else pos
        if self.pages.is_shmem:
            done = shmem_file_read_iter(self.system, self.pages, at, to)
        else:
            done = filemap_read_iter(self.system, self.pages, self.f_ra, at, to)
        if done > 0 and pos == -1:
            self.f_pos = at + done
        return done

    def write_iter(self, source: IovIter, pos: int = -1) -> int:
        """As ``write``, straight from user memory; bytes, or a negative errno where there were none."""
        if not self.f_mode & FMODE_WRITE:
            return -errno.EBADF
        at = self.pages.i_size if self.f_flags & O_APPEND else self.f_pos if pos == -1 else pos
        if source.count == 0:
            return 0
        room = min(self.system.current.rlimit(RLIMIT_FSIZE), self.paged.s_maxbytes) - at
        if room <= 0:
            return -errno.EFBIG
        source.truncate(room)
        err = self.paged.wrote()
        if err < 0:
            return err
        done = generic_perform_write(self.system, self.pages, at, source)
        if done > 0 and pos == -1:
            self.f_pos = at + done
        return done

    def write(self, data: bytes, pos: int = -1) -> int:
        """write(2), pwrite(2). O_APPEND writes at the end, whatever ``pos`` (as Linux does)."""
        if not self.f_mode & FMODE_WRITE:
            return -errno.EBADF
        at = self.pages.i_size if self.f_flags & O_APPEND else self.f_pos if pos == -1 else pos
        if not data:
            return 0
        room = min(self.system.current.rlimit(RLIMIT_FSIZE), self.paged.s_maxbytes) - at
        if room <= 0:
            return -errno.EFBIG
        if room < len(data):
            data = data[:room]
        allowed = self.paged.before_write(at, len(data))
        if allowed < 0:
            return allowed
        data = data[:allowed]
        err = self.paged.wrote()
        if err < 0:
            return err
        if self.pages.is_shmem:
            done = shmem_write(self.system, self.pages, at, data)
        else:
            done = filemap_write(self.system, self.pages, at, data)
        if done > 0 and pos == -1:
            self.f_pos = at + done
        return done

    def lseek(self, offset: int, whence: int) -> int:
        """lseek(2) with SEEK_DATA and SEEK_HOLE."""
        size = self.pages.i_size
        if whence == SEEK_CUR:
            offset += self.f_pos
        elif whence == SEEK_END:
            offset += size
        elif whence == SEEK_DATA or whence == SEEK_HOLE:
            if offset < 0 or offset >= size:
                return -errno.ENXIO
            offset = self.paged.seek_data(offset, whence)
            if offset < 0:
                return offset
        elif whence != SEEK_SET:
            return -errno.EINVAL
        if offset < 0 or offset > self.paged.s_maxbytes:
            return -errno.EINVAL
        self.f_pos = offset
        return offset

    def fsync(self) -> int:
        """fsync(2)."""
        return 0 if self.pages.is_shmem else filemap_fsync(self.system, self.pages)

    def ftruncate(self, length: int) -> int:
        """ftruncate(2)."""
        if length < 0 or not self.f_mode & FMODE_WRITE:
            return -errno.EINVAL
        if length > min(self.system.current.rlimit(RLIMIT_FSIZE), self.paged.s_maxbytes):
            return -errno.EFBIG
        return self.paged.truncate(length)

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """fallocate(2)."""
        if offset < 0 or length <= 0:
            return -errno.EINVAL
        if not self.f_mode & FMODE_WRITE:
            return -errno.EBADF
        if offset + length > self.paged.s_maxbytes:
            return -errno.EFBIG
        return self.paged.fallocate(mode, offset, length)

    def can_mmap(self) -> bool:
        """Yes."""
        return True

    def mmap(self, vma: Vma) -> int:
        """Its pages are mapped."""
        return shmem_mmap(self, vma) if self.pages.is_shmem else generic_file_mmap(self, vma)
