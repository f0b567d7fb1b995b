"""Where mm/ meets fs/: an open file, and the page cache's view of what is behind it.

``fs/`` subclasses both; ``mm/filemap.py`` and ``mm/shmem.py`` drive them. Nothing here touches the host.

Mirrors: include/linux/fs.h (6.18)
Differs: struct inode's memory side and struct address_space are one object.
"""

import errno
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

if TYPE_CHECKING:
    from pagewalk.mm.page import Page
    from pagewalk.mm.vma import Vma

FMODE_READ: Final = 1
FMODE_WRITE: Final = 2

# fcntl(2) F_ADD_SEALS
F_SEAL_SEAL: Final = 0x1
F_SEAL_SHRINK: Final = 0x2
F_SEAL_GROW: Final = 0x4
F_SEAL_WRITE: Final = 0x8
F_SEAL_FUTURE_WRITE: Final = 0x10
F_SEAL_EXEC: Final = 0x20


class AddressSpace:
    """The pages of one file (struct address_space), keyed by page index.

    i_pages     cached pages by index; the cache holds one reference on each
    i_size      length of the file in bytes; pages wholly beyond it raise SIGBUS
    i_mmap      the VMAs that map this file (for truncation and rmap)
    is_shmem    contents live in memory only (tmpfs, memfd, shared anonymous): a hole reads as a new zero page
    warm_end    pages below this index that are not in ``i_pages`` yet count as cached all the same: reading them is no
                major fault; ``evicted`` are those of them that have left the cache
    dirty       indices of pages that differ from the backing store, and of the others in their folios
    dirty_blocks  those of them whose own blocks are to be written
    seals       F_SEAL_* bits
    ra_marks    pages that start the next read-ahead when somebody comes to them (PG_readahead): index of each to the
                index of its folio's first page
    folio_heads  index of each page of a folio of several to that of the folio's first page
    large_folios  read-ahead and write(2) make folios of several pages
    swapped     index of each page of shared memory that is in swap to its entry
    shadows     index of each page that reclaim has taken to what workingset.py remembers of it
    unevictable  its pages stay in memory (SHM_LOCK)
    i_mmap_writable  number of shared mappings that may write (VM_SHARED|VM_MAYWRITE)
    """

    def __init__(self) -> None:
        self.i_pages: dict[int, Page] = {}
        self.i_size: i64 = 0
        self.i_mmap: list[Vma] = []
        self.is_shmem = False
        self.warm_end: i64 = 0
        self.evicted: set[int] = set()
        self.dirty: set[int] = set()
        self.dirty_blocks: set[int] = set()
        self.seals = 0
        self.i_mmap_writable: i64 = 0
        self.noreserve = False
        self.ra_marks: dict[int, int] = {}
        self.folio_heads: dict[int, int] = {}
        self.large_folios = False
        self.swapped: dict[int, int] = {}
        self.shadows: dict[int, int] = {}
        self.unevictable = False

    def is_warm(self, index: i64) -> bool:
        """Whether page ``index``, which is not in ``i_pages``, counts as cached."""
        return index < self.warm_end and index not in self.evicted

    def evict(self, first: i64, last: i64) -> None:
        """Pages ``first`` to before ``last`` have left the cache: the next access reads them."""
        if last >= self.warm_end:
            self.warm_end = min(self.warm_end, first)
        else:
            self.evicted.update(range(first, last))

    def read_folio(self, index: i64, into: memoryview) -> int:
        """Fill ``into`` (the writable bytes of a frame) with page ``index`` of the backing store, zeros beyond its end.

        Returns 0, or a negative errno (then the access raises SIGBUS, as for an I/O error).
        """
        return -errno.EIO

    def write_folio(self, index: i64, data: memoryview) -> int:
        """Store ``data`` (up to a frame's bytes, cut at ``i_size``) as page ``index``. Returns 0 or a negative
        errno."""
        return -errno.EIO

    def has_block(self, index: i64) -> bool:
        """Whether page ``index`` is stored, or was to be: no hole."""
        return True


@final
class FileRaState:
    """struct file_ra_state: what read-ahead remembers of an open file. In pages.

    start, size, async_size  the current window; somebody who comes to its last ``async_size`` pages starts the next
    order       of the folios that it is made of
    mmap_miss   faults that missed, less those that hit
    prev_pos    where the last read(2) ended, in bytes; -1
    random      FMODE_RANDOM: posix_fadvise(RANDOM)
    sequential  posix_fadvise(SEQUENTIAL): windows are twice as large
    """

    def __init__(self) -> None:
        self.start: i64 = 0
        self.size: i64 = 0
        self.async_size: i64 = 0
        self.order: i64 = 0
        self.mmap_miss: i64 = 0
        self.prev_pos: i64 = -1
        self.random = False
        self.sequential = False


class File:
    """An open file (struct file): what a descriptor and a file mapping refer to.

    f_mode     FMODE_READ | FMODE_WRITE
    f_flags    O_* of open(2), without the creation flags
    f_pos      read/write offset in bytes
    path       absolute path as the task sees it, for /proc/PID/maps and /proc/PID/fd ("/memfd:x (deleted)",
    "socket:[7]")
    mapping    its pages, or None where the file has none (pipe, terminal)
    st_dev     (major, minor) of its file system, for maps
    st_ino     inode number, for maps
    noexec     its mount forbids PROT_EXEC mappings
    s_maxbytes largest offset in bytes that a mapping may reach; 0 = no limit
    thp_aligned  large mappings are aligned so that huge pages fit (ext4, xfs, btrfs, and /dev/zero if private)
    f_ra       what read-ahead remembers of it
    huge_page_size  of a file of huge pages, in bytes: fixed mappings are aligned to it; 0 = not one
    f_count    references: descriptors and VMAs; ``release`` runs when it falls to 0
    """

    def __init__(self, path: str, f_mode: int) -> None:
        self.path = path
        self.f_mode = f_mode
        self.f_flags = 0
        self.f_pos: i64 = 0
        self.mapping: AddressSpace | None = None
        self.st_dev: tuple[int, int] = (0, 0)
        self.st_ino: int = 0
        self.noexec = False
        self.s_maxbytes: i64 = 0
        self.thp_aligned = False
        self.huge_page_size: i64 = 0
        self.f_ra = FileRaState()
        self.f_count: i64 = 1

    def get(self) -> "File":
        """Takes a reference."""
        self.f_count += 1
        return self

    def put(self) -> None:
        """Drops a reference; the last one releases the file."""
        self.f_count -= 1
        if self.f_count == 0:
            self.release()

    def release(self) -> None:
        """The last reference is gone."""

    def mmap(self, vma: "Vma") -> int:
        """The file's mmap method: sets ``vma.vm_ops`` (and may change ``vm_flags``). 0 or a negative errno.

        Files with a ``mapping`` call ``mm.filemap.generic_file_mmap(self, vma)`` or ``mm.shmem.shmem_mmap``.
        """
        return -errno.ENODEV

    def can_mmap(self) -> bool:
        """Whether the file has an mmap method at all (mmap answers ENODEV where it has not, before other checks)."""
        return False

    # What a program does with a descriptor. Each returns a value or a negative errno.

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """Up to ``count`` bytes, from ``pos`` or, where that is -1, from ``f_pos``, which moves. b"" at the end."""
        return -errno.EINVAL

    def write(self, data: bytes, pos: int = -1) -> int:
        """Bytes written, at ``pos`` or, where that is -1, at ``f_pos`` (the end with O_APPEND), which moves."""
        return -errno.EINVAL

    def lseek(self, offset: int, whence: int) -> int:
        """The new ``f_pos``; lseek(2)."""
        return -errno.ESPIPE

    def ioctl(self, cmd: int, arg: int) -> int:
        """ioctl(2); ``arg`` is the raw word (the caller copies memory: see kernel/syscall/file.py)."""
        return -errno.ENOTTY

    def fsync(self) -> int:
        """Writes what is dirty to the backing store; fsync(2)."""
        return -errno.EINVAL

    def ftruncate(self, length: int) -> int:
        """Sets the length; ftruncate(2)."""
        return -errno.EINVAL

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """fallocate(2)."""
        return -errno.EOPNOTSUPP

    def poll(self) -> int:
        """The POLL* bits that are ready now; regular files are always readable and writable."""
        return 0x1 | 0x4 | 0x40 | 0x100
