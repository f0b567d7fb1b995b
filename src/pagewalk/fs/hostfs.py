"""The host's files, read-only, or writable below the directories that the user named.

Security: a path is never handed to the host. Every host call names one component, relative to a descriptor of a
directory that was itself reached component by component, and follows no symbolic link (O_NOFOLLOW): links and ".." are
the business of our own walk, in the modelled tree. A directory's descriptor is checked to be the directory that was
meant (device and inode number) whenever it has to be opened again.

Numbers, owners, modes and times are the host's.

Mirrors: fs/hostfs (6.18) in purpose, fs/ext4/namei.c in what a program sees
Differs: host sockets and FIFOs cannot be opened (ENXIO), nor devices (EACCES: /dev is ``devfs.py``'s); device files
    cannot be
    made (EPERM); no O_TMPFILE (EOPNOTSUPP), no extended attributes.
"""

import errno
import os
from typing import TYPE_CHECKING, Final, Optional

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import (
    DT_CHR,
    DT_DIR,
    DT_LNK,
    DT_REG,
    EXT4_SUPER_MAGIC,
    MAX_LFS_FILESIZE,
    EXT4_SUPER_MAGIC,
    O_ACCMODE,
    O_RDONLY,
    O_TRUNC,
    RENAME_EXCHANGE,
    S_IFBLK,
    S_IFCHR,
    S_IFIFO,
    S_IFMT,
)
from pagewalk.fs.file import DirFile, VfsFile
from pagewalk.fs.host_cache import HostCache, HostKey, HostMapping, host_open
from pagewalk.fs.hoststat import host_fallocate, host_fchown, host_fstatfs, host_futimens, host_renameat2, host_statx
from pagewalk.fs.inode import Dirent, Inode, SuperBlock, current_time
from pagewalk.fs.regular import PagedInode, RegularFile
from pagewalk.fs.stat import Stat, Statfs
from pagewalk.mm.filemap import truncate_pagecache, truncate_pagecache_range
from pagewalk.mm.shmem import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE

if TYPE_CHECKING:
    from pagewalk.mm.system import System

# Directory descriptors that are kept open between walks.
_MAX_DIR_FDS: Final = 64

_EXT4_MAXBYTES: Final = 0xFFF_FFFF_F000  # 2**32 - 1 blocks of 4096 bytes


def _key(st: Stat) -> HostKey:
    return (st.st_dev[0], st.st_dev[1], st.st_ino)


def _errno(err: OSError) -> int:
    return -(err.errno or errno.EIO)


# File systems whose large mappings are placed so that huge pages fit: ext2 to ext4, xfs, btrfs.
_THP_ALIGNING: Final = (EXT4_SUPER_MAGIC, 0x58465342, 0x9123683E)


class HostSuper(SuperBlock):
    """One mount of the host's tree, from ``root_path`` down."""

    def __init__(self, system: "System", cache: HostCache, root_path: str, writable: bool) -> None:
        root_fd = os.open(root_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        st = host_statx(root_fd, "")
        if isinstance(st, int):
            raise OSError(-st, os.strerror(-st), root_path)
        super().__init__(st.st_dev, "ext4")
        self.system = system
        self.cache = cache
        self.read_only = not writable
        self.root_fd = root_fd
        self.maxbytes = _EXT4_MAXBYTES if host_fstatfs(root_fd).f_type == EXT4_SUPER_MAGIC else MAX_LFS_FILESIZE
        self.in_use: dict[HostKey, HostInode] = {}
        self.recent: dict[HostKey, HostInode] = {}  # directories with an open descriptor, the least recently used first
        self.thp_devs: dict[tuple[int, int], bool] = {}
        self.root = HostInode(self, None, "", st)
        self.root.fd = root_fd

    def statfs(self) -> Statfs:
        """The host's."""
        return host_fstatfs(self.root_fd)

    def aligns_huge_pages(self, st_dev: tuple[int, int], fd: int) -> bool:
        """Whether the host's file system that ``fd`` is on aligns large mappings (thp_get_unmapped_area)."""
        known = self.thp_devs.get(st_dev)
        if known is None:
            known = host_fstatfs(fd).f_type in _THP_ALIGNING
            self.thp_devs[st_dev] = known
        return known

    def sync(self) -> int:
        """Writes back what is dirty."""
        return 0 if self.read_only else self.cache.sync()

    def close(self) -> None:
        """The machine is closed: gives the host's descriptors back."""
        for inode in self.recent.values():
            inode.close_fd()
        self.recent.clear()
        if self.root_fd >= 0:
            os.close(self.root_fd)
            self.root_fd = self.root.fd = -1

    def iget(self, parent: "HostInode", name: str, st: Stat) -> "HostInode":
        """The inode with attributes ``st`` that was found as ``name`` in ``parent``."""
        key = _key(st)
        inode = self.in_use.get(key)
        if inode is None:
            inode = self.recent.get(key)
        if inode is None or (inode.i_mode ^ st.st_mode) & S_IFMT:
            return HostInode(self, parent, name, st)
        inode.parent = parent
        inode.name = name
        inode.refresh(st)
        return inode

    def keep_fd(self, inode: "HostInode") -> None:
        """``inode`` has an open directory descriptor: the least recently used one is closed where there are too
        many."""
        self.recent[inode.key] = inode
        if len(self.recent) > _MAX_DIR_FDS:
            oldest = next(iter(self.recent))
            self.recent.pop(oldest).close_fd()


class HostInode(PagedInode):
    """A file of the host: ``name`` in ``parent``, which is where it was last seen.

    st      its attributes when it was last looked up
    fd      of a directory: an O_PATH descriptor, -1 where it is closed for now
    """

    def __init__(self, sb: HostSuper, parent: Optional["HostInode"], name: str, st: Stat) -> None:
        super().__init__(sb.system, sb, st.st_ino, st.st_mode)
        self.host_sb = sb
        self.s_maxbytes = sb.maxbytes
        self.parent = parent
        self.name = name
        self.key = _key(st)
        self.fd = -1
        self.st = st
        self.refresh(st)

    def refresh(self, st: Stat) -> None:
        """Takes over attributes that were just read."""
        self.st = st
        self.i_mode = st.st_mode
        self.i_uid = st.st_uid
        self.i_gid = st.st_gid
        self.i_nlink = st.st_nlink
        self.i_rdev = st.st_rdev

    # In use or not.

    def igrab(self) -> "HostInode":
        """The inode in use for this file, which may be an earlier object."""
        inode = self.host_sb.in_use.setdefault(self.key, self)
        inode.i_count += 1
        return inode

    def evict(self) -> None:
        """Nobody holds it."""
        self.host_sb.in_use.pop(self.key, None)

    def is_same(self, other: Inode) -> bool:
        """Same host inode, same mount."""
        return self is other or (
            isinstance(other, HostInode) and self.key == other.key and self.host_sb is other.host_sb
        )

    # Reaching it on the host.

    def change_fd(self) -> int:
        """``dir_fd`` for a call that changes the directory: -EROFS below a read-only mount, whoever asks."""
        return -errno.EROFS if self.host_sb.read_only else self.dir_fd()

    def change_this(self) -> int:
        """An O_PATH descriptor of exactly this file, for changing its attributes; -EROFS below a read-only mount."""
        return -errno.EROFS if self.host_sb.read_only else self.open_host(os.O_PATH)

    def dir_fd(self) -> int:
        """A descriptor of this directory, or a negative errno. It is good until the next call of ``dir_fd``."""
        sb = self.host_sb
        if self.fd >= 0:
            if self.key in sb.recent:
                sb.recent[self.key] = sb.recent.pop(self.key)
            return self.fd
        fd = self.open_host(os.O_PATH | os.O_DIRECTORY)
        if fd >= 0:
            self.fd = fd
            sb.keep_fd(self)
        return fd

    def close_fd(self) -> None:
        """Closes the directory's descriptor for now."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def open_host(self, flags: int) -> int:
        """A new host descriptor of exactly this file, or a negative errno (-ESTALE: the name means another file
        now)."""
        if self.parent is None:
            return host_open(".", flags, self.fd)
        parent_fd = self.parent.dir_fd()
        if parent_fd < 0:
            return parent_fd
        fd = host_open(self.name, flags, parent_fd)
        if fd < 0:
            return fd
        st = host_statx(fd, "")
        if isinstance(st, int) or _key(st) != self.key:
            os.close(fd)
            return -errno.ESTALE
        return fd

    # Attributes.

    def getattr(self) -> Stat | int:
        """The host's, with the size and time that the program has made where they are not written back yet."""
        mapping = self.host_sb.cache.get(self.key)
        if mapping is not None and mapping.fd >= 0:
            st = host_statx(mapping.fd, "")
        elif self.fd >= 0:
            st = host_statx(self.fd, "")
        elif self.parent is not None:
            fd = self.parent.dir_fd()
            st = host_statx(fd, self.name) if fd >= 0 else fd
            if isinstance(st, int) or _key(st) != self.key:
                st = self.st
        else:
            st = self.st
        if isinstance(st, int):
            return st
        self.refresh(st)
        if mapping is not None and mapping.mtime >= 0:
            st.st_mtime_ns = mapping.mtime
            st.st_ctime_ns = max(mapping.mtime, st.st_ctime_ns)
            st.st_size = mapping.i_size
        return st

    def size(self) -> int:
        """Its length now."""
        mapping = self.host_sb.cache.get(self.key)
        return self.st.st_size if mapping is None or mapping.users == 0 else mapping.i_size

    # Directories.

    def lookup(self, name: str) -> Inode | int:
        """Asks the host for one name."""
        fd = self.dir_fd()
        if fd < 0:
            return fd
        st = host_statx(fd, name)
        if isinstance(st, int):
            return st
        return self.host_sb.iget(self, name, st)

    def readdir(self, pos: int) -> list[Dirent] | int:
        """The host's order; an entry's position is its place in it, from 2 on."""
        fd = self.open_host(os.O_RDONLY | os.O_DIRECTORY)
        if fd < 0:
            return fd
        found: list[Dirent] = []
        at = 2
        try:
            with os.scandir(fd) as listing:
                for entry in listing:
                    if at >= pos:
                        found.append(Dirent(entry.name, entry.inode(), _d_type(entry), at + 1))
                    at += 1
        except OSError as err:
            return _errno(err)
        finally:
            os.close(fd)
        return found

    def create(self, name: str, mode: int, uid: int, gid: int) -> Inode | int:
        """A new empty file on the host."""
        fd = self.change_fd()
        if fd < 0:
            return fd
        made = host_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, fd, mode)
        if made < 0:
            return made
        try:
            _adjust_new(made, mode, uid, gid)
        except OSError as err:
            return _errno(err)
        finally:
            os.close(made)
        return self.lookup(name)

    def mkdir(self, name: str, mode: int, uid: int, gid: int) -> int:
        """A new directory on the host."""
        fd = self.change_fd()
        if fd < 0:
            return fd
        try:
            os.mkdir(name, mode & 0o777, dir_fd=fd)
            made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                _adjust_new(made, mode, uid, gid)
            finally:
                os.close(made)
        except OSError as err:
            return _errno(err)
        return 0

    def mknod(self, name: str, mode: int, rdev: tuple[int, int], uid: int, gid: int) -> int:
        """A FIFO on the host; devices and sockets are refused."""
        if mode & S_IFMT != S_IFIFO:
            return -errno.EPERM
        fd = self.change_fd()
        if fd < 0:
            return fd
        try:
            os.mkfifo(name, mode & 0o777, dir_fd=fd)
        except OSError as err:
            return _errno(err)
        made = self.lookup(name)
        return made if isinstance(made, int) else made.setattr_mode(mode & 0o7777)

    def symlink(self, name: str, target: str, uid: int, gid: int) -> int:
        """A new link on the host; its text means nothing to the host as long as we walk."""
        fd = self.change_fd()
        if fd < 0:
            return fd
        try:
            os.symlink(target, name, dir_fd=fd)
            if uid != os.geteuid() or gid != os.getegid():
                os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
        except OSError as err:
            return _errno(err)
        return 0

    def link(self, name: str, inode: Inode) -> int:
        """A hard link between two directories of this mount."""
        assert isinstance(inode, HostInode)
        if inode.parent is None:
            return -errno.EPERM
        checked = inode.change_this()  # the name must still mean that file
        if checked < 0:
            return -errno.ENOENT if checked == -errno.ESTALE else checked
        os.close(checked)
        return self._two_dirs(inode.parent, inode.name, name, _DO_LINK)

    def unlink(self, name: str, inode: Inode) -> int:
        """Removes a name from the host."""
        fd = self.change_fd()
        if fd < 0:
            return fd
        try:
            os.unlink(name, dir_fd=fd)
        except OSError as err:
            return _errno(err)
        if isinstance(inode, HostInode):
            self.host_sb.cache.name_removed(inode.key, inode.i_nlink)
        return 0

    def rmdir(self, name: str, inode: Inode) -> int:
        """Removes an empty directory from the host."""
        fd = self.change_fd()
        if fd < 0:
            return fd
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError as err:
            return _errno(err)
        return 0

    def rename(self, name: str, inode: Inode, to: Inode, to_name: str, victim: Inode | None, flags: int) -> int:
        """Renames on the host."""
        assert isinstance(to, HostInode) and isinstance(inode, HostInode)
        exchange = bool(flags & RENAME_EXCHANGE)
        err = to._two_dirs(self, name, to_name, _DO_EXCHANGE if exchange else _DO_RENAME)
        if err == 0:
            inode.parent = to
            inode.name = to_name
            if exchange and isinstance(victim, HostInode):
                victim.parent = self
                victim.name = name
            elif isinstance(victim, HostInode):
                self.host_sb.cache.name_removed(victim.key, victim.i_nlink)
        return err

    def _two_dirs(self, source: "HostInode", source_name: str, name: str, what: int) -> int:
        """Links or renames ``source_name`` of ``source`` to ``name`` here. Both descriptors are duplicates, as one
        ``dir_fd``
        may close the other."""
        one = source.change_fd()
        if one < 0:
            return one
        one = os.dup(one)
        try:
            two = self.change_fd()
            if two < 0:
                return two
            if what == _DO_LINK:
                os.link(source_name, name, src_dir_fd=one, dst_dir_fd=two, follow_symlinks=False)
            elif what == _DO_EXCHANGE:
                return host_renameat2(one, source_name, two, name, RENAME_EXCHANGE)
            else:
                os.rename(source_name, name, src_dir_fd=one, dst_dir_fd=two)
        except OSError as err:
            return _errno(err)
        finally:
            os.close(one)
        return 0

    def readlink(self) -> str | int:
        """The text of a link."""
        if not self.is_lnk() or self.parent is None:
            return -errno.EINVAL
        fd = self.parent.dir_fd()
        if fd < 0:
            return fd
        try:
            return os.readlink(self.name, dir_fd=fd)
        except OSError as err:
            return _errno(err)

    # Files.

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """Opens a directory or a regular file."""
        if self.is_dir():
            return DirFile(self.system, dentry, flags)
        if not self.is_reg():
            kind = self.i_mode & S_IFMT
            return -errno.EACCES if kind in (S_IFCHR, S_IFBLK) else -errno.ENXIO
        writable = flags & O_ACCMODE != O_RDONLY or bool(flags & O_TRUNC)
        if writable and self.host_sb.read_only:
            return -errno.EROFS
        mapping = self._attach(writable)
        if isinstance(mapping, int):
            return mapping
        return HostFile(self.system, dentry, flags, self, mapping)

    def _attach(self, writable: bool) -> HostMapping | int:
        cache = self.host_sb.cache
        mapping = cache.get(self.key)
        how = os.O_RDWR if writable else os.O_RDONLY
        fd = self.open_host(how)
        if fd < 0 and mapping is not None and mapping.fd >= 0:
            # Its name is gone, but it is open: through that descriptor, with at most the rights of this mount.
            try:
                fd = os.open(f"/proc/self/fd/{mapping.fd}", how | os.O_CLOEXEC)
            except OSError as err:
                return _errno(err)
        if fd < 0:
            return -errno.ENOENT if fd == -errno.ESTALE else fd
        st = host_statx(fd, "")
        if isinstance(st, int):
            os.close(fd)
            return st
        self.refresh(st)
        mapping = cache.attach(st, fd, writable)
        self.mapping = mapping
        return mapping

    def touch(self) -> None:
        """A write: the host's file gets this time when it is written back."""
        mapping = self.host_sb.cache.get(self.key)
        if mapping is not None:
            mapping.mtime = current_time()

    def truncate(self, length: int) -> int:
        """Cuts or extends the host's file, which is open for writing."""
        if self.host_sb.read_only:
            return -errno.EROFS
        mapping = self.host_sb.cache.get(self.key)
        if mapping is None or not mapping.writable:
            return -errno.EBADF
        truncate_pagecache(self.system, mapping, length)
        try:
            os.ftruncate(mapping.fd, length)
        except OSError as err:
            return _errno(err)
        mapping.mtime = current_time()
        return 0

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """Blocks for a range, which may make the file longer (mode 0) or not (KEEP_SIZE); or a hole
        (PUNCH_HOLE | KEEP_SIZE)."""
        mapping = self.host_sb.cache.get(self.key)
        punches = mode == FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
        if mode not in (0, FALLOC_FL_KEEP_SIZE) and not punches:
            return -errno.EOPNOTSUPP
        if mapping is None or not mapping.writable or self.host_sb.read_only:
            return -errno.EOPNOTSUPP
        err = host_fallocate(mapping.fd, mode, offset, length)
        if err < 0:
            return err
        if punches:
            truncate_pagecache_range(self.system, mapping, offset, offset + length)
        elif mode == 0 and offset + length > mapping.i_size:
            truncate_pagecache(self.system, mapping, offset + length)
        mapping.mtime = current_time()
        return 0

    def seek_data(self, offset: int, whence: int) -> int:
        """Asks the host, which has the holes."""
        mapping = self.host_sb.cache.get(self.key)
        if mapping is None or mapping.fd < 0:
            return super().seek_data(offset, whence)
        self.host_sb.cache.write_back(mapping)
        try:
            return os.lseek(mapping.fd, offset, whence)
        except OSError as err:
            return _errno(err)

    # Changing attributes (the caller has checked that the mount may be written).

    def setattr_mode(self, mode: int) -> int:
        """chmod on the host, through a descriptor of exactly this file."""
        fd = self.change_this()
        if fd < 0:
            return fd
        try:
            os.chmod(f"/proc/self/fd/{fd}", mode)
        except OSError as err:
            return _errno(err)
        finally:
            os.close(fd)
        self.i_mode = self.i_mode & S_IFMT | mode
        return 0

    def setattr_owner(self, uid: int, gid: int) -> int:
        """chown on the host."""
        fd = self.change_this()
        if fd < 0:
            return fd
        err = host_fchown(fd, uid, gid)
        os.close(fd)
        return err

    def setattr_times(self, atime: int, mtime: int) -> int:
        """utimensat on the host."""
        mapping = self.host_sb.cache.get(self.key)
        if mapping is not None and mapping.fd >= 0:
            self.host_sb.cache.write_back(mapping)
        fd = self.change_this()
        if fd < 0:
            return fd
        err = host_futimens(fd, atime, mtime)
        os.close(fd)
        return err


_DO_LINK: Final = 0
_DO_RENAME: Final = 1
_DO_EXCHANGE: Final = 2


class HostFile(RegularFile):
    """An open regular file of the host."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, inode: HostInode, mapping: HostMapping) -> None:
        super().__init__(system, dentry, flags, inode, mapping)
        self.host_mapping = mapping
        self.st_dev = inode.st.st_dev
        self.thp_aligned = inode.host_sb.aligns_huge_pages(self.st_dev, mapping.fd)
        self.cache = inode.host_sb.cache

    def fsync(self) -> int:
        """Writes back to the host."""
        return self.cache.write_back(self.host_mapping)

    def release(self) -> None:
        """The last reference is gone: writes back, if it was the file's last user."""
        self.cache.detach(self.host_mapping)
        super().release()


def _d_type(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return DT_LNK
    if entry.is_dir(follow_symlinks=False):
        return DT_DIR
    if entry.is_file(follow_symlinks=False):
        return DT_REG
    try:
        return (entry.stat(follow_symlinks=False).st_mode & S_IFMT) >> 12
    except OSError:
        return DT_CHR


def _adjust_new(fd: int, mode: int, uid: int, gid: int) -> None:
    """The host's own umask and ids have no say in what the program makes."""
    st = os.fstat(fd)
    if st.st_uid != uid or st.st_gid != gid:
        os.fchown(fd, uid, gid)
    if st.st_mode & 0o7777 != mode & 0o7777:
        os.fchmod(fd, mode & 0o7777)
