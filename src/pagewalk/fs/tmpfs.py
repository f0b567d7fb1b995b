"""Files in memory: /tmp and /dev/shm. Directories are dictionaries, contents are pages of the modelled RAM.

Mirrors: mm/shmem.c (the file system side), fs/libfs.c (6.18)
Differs: no size limit of its own (a write fails when RAM is short), no extended attributes, quotas or huge pages.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import (
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    MAX_LFS_FILESIZE,
    NAME_MAX,
    RENAME_EXCHANGE,
    S_IFDIR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_ISVTX,
    SEEK_DATA,
    TMPFS_MAGIC,
    UTIME_OMIT,
)
from pagewalk.fs.file import DirFile, VfsFile
from pagewalk.fs.inode import Dirent, Inode, SuperBlock, current_time
from pagewalk.fs.pipe import open_fifo
from pagewalk.fs.regular import PagedInode, RegularFile
from pagewalk.fs.stat import Stat, Statfs
from pagewalk.mm.file import (
    F_SEAL_EXEC,
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    FMODE_WRITE,
    AddressSpace,
)
from pagewalk.mm.page import PG_dirty, PG_uptodate
from pagewalk.mm.shmem import ShmemSpace, shmem_evict, shmem_get_page, shmem_punch_hole, shmem_truncate

if TYPE_CHECKING:
    from pagewalk.mm.system import System

BOGO_DIRENT_SIZE: Final = 20
_DIR_OFFSET_EOD: Final = 0x7FFFFFFF
_F_ALL_SEALS: Final = 0x3F


class TmpBase(SuperBlock):
    """Where inodes in memory belong to: a tmpfs mount, /dev, or the kernel's own mount without directories."""

    def __init__(self, system: "System", s_dev: tuple[int, int]) -> None:
        super().__init__(s_dev, "tmpfs")
        self.system = system
        self.next_ino = 1
        self.nr_inodes = 0

    def new_ino(self) -> int:
        """The next inode number."""
        ino = self.next_ino
        self.next_ino += 1
        self.nr_inodes += 1
        return ino

    def statfs(self) -> Statfs:
        """As a mount with the default size, half of RAM."""
        sf = self.simple_statfs(TMPFS_MAGIC)
        sf.f_blocks = self.system.totalram_pages // 2
        sf.f_bfree = sf.f_bavail = max(0, sf.f_blocks - int(self.system.vmstat.nr_shmem))
        sf.f_files = self.system.totalram_pages // 2
        sf.f_ffree = max(0, sf.f_files - self.nr_inodes)
        sf.f_fsid = self.s_dev[1]
        return sf


class TmpSuper(TmpBase):
    """One tmpfs mount, empty at first."""

    def __init__(self, system: "System", s_dev: tuple[int, int], root_mode: int = 0o777 | S_ISVTX) -> None:
        super().__init__(system, s_dev)
        self.root = TmpInode(self, S_IFDIR | root_mode)


class TmpInode(PagedInode):
    """Any file of a tmpfs.

    entries    a directory's names: inode and position (positions only grow, so that a listing can go on after changes)
    target     a link's text
    """

    def __init__(self, sb: TmpBase, mode: int, uid: int = 0, gid: int = 0) -> None:
        super().__init__(sb.system, sb, sb.new_ino(), mode)
        self.tmp_sb = sb
        self.i_uid = uid
        self.i_gid = gid
        self.i_atime = self.i_mtime = self.i_ctime = self.i_btime = current_time()
        self.entries: dict[str, tuple[TmpInode, int]] = {}
        self.next_pos = 3
        self.target = ""
        self.i_linkable = False  # made by O_TMPFILE: may get its first name
        kind = mode & S_IFMT
        if kind == S_IFDIR:
            self.i_nlink = 2
        elif kind == S_IFREG:
            space = ShmemSpace(sb.system, 0, noreserve=True)
            space.seals = F_SEAL_SEAL
            self.mapping = space
        self.s_maxbytes = MAX_LFS_FILESIZE

    def evict(self) -> None:
        """Nobody uses it: without a name it goes, with its pages."""
        if self.i_nlink == 0:
            self.tmp_sb.nr_inodes -= 1
            if self.mapping is not None:
                shmem_evict(self.system, self.mapping)
                self.mapping = None

    def _drop_link(self) -> None:
        self.i_nlink -= 1
        self.i_ctime = current_time()
        if self.i_nlink == 0 and self.i_count == 0:
            self.evict()

    # Attributes.

    def size(self) -> int:
        """Bytes of contents; 20 for each entry of a directory; the length of a link's text."""
        if self.mapping is not None:
            return self.mapping.i_size
        if self.is_dir():
            return BOGO_DIRENT_SIZE * (len(self.entries) + 2)
        return len(self.target.encode("utf-8", "surrogateescape"))

    def getattr(self) -> Stat | int:
        """Its attributes; blocks are the pages that it has."""
        st = super().getattr()
        if not isinstance(st, int):
            st.st_btime_ns = self.i_btime
            st.attributes_mask |= 0x70
            if self.mapping is not None:
                st.st_blocks = (len(self.mapping.i_pages) + len(self.mapping.swapped)) * (self.i_sb.s_blocksize >> 9)
        return st

    def setattr_mode(self, mode: int) -> int:
        """chmod; a file sealed with F_SEAL_EXEC keeps its x bits."""
        if self.mapping is not None and self.mapping.seals & F_SEAL_EXEC and (self.i_mode ^ mode) & 0o111:
            return -errno.EPERM
        self.i_mode = self.i_mode & S_IFMT | mode
        self.i_ctime = current_time()
        return 0

    def setattr_owner(self, uid: int, gid: int) -> int:
        """chown."""
        if uid != -1:
            self.i_uid = uid
        if gid != -1:
            self.i_gid = gid
        self.i_ctime = current_time()
        return 0

    def setattr_times(self, atime: int, mtime: int) -> int:
        """utimensat."""
        if atime != UTIME_OMIT:
            self.i_atime = atime
        if mtime != UTIME_OMIT:
            self.i_mtime = mtime
        self.i_ctime = current_time()
        return 0

    # Directories.

    def lookup(self, name: str) -> Inode | int:
        """The entry."""
        entry = self.entries.get(name)
        if entry is not None:
            return entry[0]
        return -errno.ENOENT if self.is_dir() else -errno.ENOTDIR

    def readdir(self, pos: int) -> list[Dirent] | int:
        """The newest name first, as Linux lists a tmpfs. Positions fall; an entry's ``d_off`` is the next one's
        position."""
        if pos >= _DIR_OFFSET_EOD:
            return []
        listed: list[Dirent] = []
        for name, (inode, at) in sorted(self.entries.items(), key=_position, reverse=True):
            if pos > 2 and at > pos:
                continue
            if listed:
                listed[-1].d_off = at
            listed.append(Dirent(name, inode.i_ino, (inode.i_mode & S_IFMT) >> 12, _DIR_OFFSET_EOD))
        return listed

    def _add(self, name: str, inode: "TmpInode") -> None:
        self.entries[name] = (inode, self.next_pos)
        self.next_pos += 1
        self.i_mtime = self.i_ctime = current_time()

    def _remove(self, name: str) -> None:
        del self.entries[name]
        self.i_mtime = self.i_ctime = current_time()

    def _make(self, name: str, mode: int, uid: int, gid: int) -> "TmpInode | int":
        if len(name) > NAME_MAX:
            return -errno.ENAMETOOLONG
        inode = TmpInode(self.tmp_sb, mode, uid, gid)
        self._add(name, inode)
        return inode

    def create(self, name: str, mode: int, uid: int, gid: int) -> Inode | int:
        """A new regular file."""
        return self._make(name, S_IFREG | mode, uid, gid)

    def mkdir(self, name: str, mode: int, uid: int, gid: int) -> int:
        """A new directory."""
        made = self._make(name, S_IFDIR | mode, uid, gid)
        if isinstance(made, int):
            return made
        self.i_nlink += 1
        return 0

    def mknod(self, name: str, mode: int, rdev: tuple[int, int], uid: int, gid: int) -> int:
        """A new FIFO, socket or device file."""
        made = self._make(name, mode, uid, gid)
        if isinstance(made, int):
            return made
        made.i_rdev = rdev
        return 0

    def symlink(self, name: str, target: str, uid: int, gid: int) -> int:
        """A new symbolic link."""
        made = self._make(name, S_IFLNK | 0o777, uid, gid)
        if isinstance(made, int):
            return made
        made.target = target
        return 0

    def tmpfile(self, mode: int, uid: int, gid: int) -> Inode | int:
        """A file without a name, which link(2) may give one."""
        inode = TmpInode(self.tmp_sb, S_IFREG | mode, uid, gid)
        inode.i_nlink = 0
        inode.i_linkable = True
        return inode

    def link(self, name: str, inode: Inode) -> int:
        """A further name."""
        assert isinstance(inode, TmpInode)
        if inode.i_nlink == 0 and not inode.i_linkable:
            return -errno.ENOENT
        inode.i_nlink += 1
        inode.i_ctime = current_time()
        self._add(name, inode)
        return 0

    def unlink(self, name: str, inode: Inode) -> int:
        """Removes a name; the file goes with the last one, when nobody has it open."""
        assert isinstance(inode, TmpInode)
        self._remove(name)
        inode._drop_link()
        return 0

    def rmdir(self, name: str, inode: Inode) -> int:
        """Removes an empty directory."""
        assert isinstance(inode, TmpInode)
        if inode.entries:
            return -errno.ENOTEMPTY
        self._remove(name)
        self.i_nlink -= 1
        inode.i_nlink = 1
        inode._drop_link()
        return 0

    def rename(self, name: str, inode: Inode, to: Inode, to_name: str, victim: Inode | None, flags: int) -> int:
        """Moves an entry; over an empty directory or another file, or in exchange for it."""
        assert isinstance(inode, TmpInode) and isinstance(to, TmpInode)
        if isinstance(victim, TmpInode):
            if flags & RENAME_EXCHANGE:
                return self._exchange(name, inode, to, to_name, victim)
            err = to.rmdir(to_name, victim) if victim.is_dir() else to.unlink(to_name, victim)
            if err < 0:
                return err
        if len(to_name) > NAME_MAX:
            return -errno.ENAMETOOLONG
        self._remove(name)
        to._add(to_name, inode)
        inode.i_ctime = current_time()
        if inode.is_dir() and to is not self:
            self.i_nlink -= 1
            to.i_nlink += 1
        return 0

    def _exchange(self, name: str, inode: "TmpInode", to: "TmpInode", to_name: str, other: "TmpInode") -> int:
        mine = self.entries[name][1]
        theirs = to.entries[to_name][1]
        self.entries[name] = (other, mine)
        to.entries[to_name] = (inode, theirs)
        if to is not self and inode.is_dir() != other.is_dir():
            moved = 1 if inode.is_dir() else -1
            self.i_nlink -= moved
            to.i_nlink += moved
        for changed in (self, to, inode, other):
            changed.i_ctime = current_time()
        return 0

    def readlink(self) -> str | int:
        """The text of a link."""
        return self.target if self.is_lnk() else -errno.EINVAL

    # Files.

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """Opens a directory, a regular file or a FIFO; device files and sockets of a tmpfs are not served."""
        kind = self.i_mode & S_IFMT
        if kind == S_IFDIR:
            return DirFile(self.system, dentry, flags)
        if kind == S_IFREG:
            assert self.mapping is not None
            return TmpFile(self.system, dentry, flags, self, self.mapping)
        if kind == S_IFIFO:
            return open_fifo(self.system, dentry, flags)
        return -errno.ENXIO

    def before_write(self, pos: int, count: int) -> int:
        """EPERM where a seal forbids it; F_SEAL_GROW lets the pages be written that end within the file."""
        assert self.mapping is not None
        seals = self.mapping.seals
        if seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
            return -errno.EPERM
        if seals & F_SEAL_GROW and pos + count > self.mapping.i_size:
            room = (int(self.mapping.i_size) & int(self.system.page_mask)) - pos
            return room if room > 0 else -errno.EPERM
        return count

    def truncate(self, length: int) -> int:
        """Sets the length; EPERM where a seal forbids it."""
        assert self.mapping is not None
        err = shmem_truncate(self.system, self.mapping, length)
        if err == 0:
            self.touch()
        return err

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """Pages for a range (mode 0, KEEP_SIZE) or none (PUNCH_HOLE|KEEP_SIZE)."""
        if mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE):
            return -errno.EOPNOTSUPP
        mapping = self.mapping
        assert mapping is not None
        if mode & FALLOC_FL_PUNCH_HOLE:
            if not mode & FALLOC_FL_KEEP_SIZE:
                return -errno.EOPNOTSUPP
            if mapping.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
                return -errno.EPERM
            shmem_punch_hole(self.system, mapping, offset, offset + length)
            self.touch()
            return 0
        page_size = int(self.system.page_size)
        grows = not mode & FALLOC_FL_KEEP_SIZE and offset + length > mapping.i_size
        if mapping.seals & F_SEAL_GROW and offset + length > mapping.i_size:
            return -errno.EPERM
        last = (offset + length + page_size - 1) // page_size
        if last - offset // page_size > self.system.totalram_pages:
            return -errno.ENOSPC
        new: list[int] = []
        for index in range(offset // page_size, last):
            if index not in mapping.i_pages and index not in mapping.swapped:
                page = shmem_get_page(self.system, mapping, index)
                if page is None:
                    for start in new:
                        shmem_punch_hole(self.system, mapping, start * page_size, (start + 1) * page_size)
                    return -errno.ENOSPC
                page.flags = page.flags & ~PG_uptodate | PG_dirty  # until somebody asks for it
                new.append(index)
            elif index in mapping.i_pages:
                mapping.i_pages[index].flags |= PG_uptodate | PG_dirty
        if grows:
            mapping.i_size = offset + length
        self.touch()
        return 0

    def seek_data(self, offset: int, whence: int) -> int:
        """Pages are data, everything else is a hole; so is what fallocate has given and nobody asked for yet."""
        mapping = self.mapping
        assert mapping is not None
        page_size = int(self.system.page_size)
        index = offset // page_size
        end = (mapping.i_size + page_size - 1) // page_size
        if whence == SEEK_DATA:
            later = [at for at in (*mapping.i_pages, *mapping.swapped) if index <= at < end and _is_data(mapping, at)]
            if not later:
                return -errno.ENXIO
            return max(offset, min(later) * page_size)
        while index < end and _is_data(mapping, index):
            index += 1
        return min(max(offset, index * page_size), mapping.i_size)


def _is_data(mapping: AddressSpace, index: int) -> bool:
    """Whether a page has contents."""
    if index in mapping.swapped:
        return True
    return index in mapping.i_pages and mapping.i_pages[index].flags & PG_uptodate != 0


def _position(entry: tuple[str, tuple[TmpInode, int]]) -> int:
    return entry[1][1]


class TmpFile(RegularFile):
    """An open regular file of a tmpfs, or a memfd."""

    def get_seals(self) -> int:
        """F_SEAL_* bits; a file of a mounted tmpfs has F_SEAL_SEAL and nothing else."""
        return self.pages.seals

    def add_seals(self, seals: int) -> int:
        """fcntl(2) F_ADD_SEALS."""
        if not self.f_mode & FMODE_WRITE:
            return -errno.EPERM
        if seals & ~_F_ALL_SEALS:
            return -errno.EINVAL
        if self.pages.seals & F_SEAL_SEAL:
            return -errno.EPERM
        if seals & F_SEAL_WRITE and not self.pages.seals & F_SEAL_WRITE and self.pages.i_mmap_writable > 0:
            return -errno.EBUSY
        if seals & F_SEAL_EXEC and self.paged.i_mode & 0o111:
            seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE
        self.pages.seals |= seals
        return 0
