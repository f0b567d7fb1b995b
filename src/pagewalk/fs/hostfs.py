"""The host's files, read-only, or writable below the directories that the user named.

Numbers, owners, modes and times are the host's; how a file is reached is ``host_inode.py``'s business, its pages are
``host_cache.py``'s.

Mirrors: fs/hostfs (6.18) in purpose, fs/ext4/namei.c in what a program sees
Differs: a FIFO or socket below a writable directory is the model's own, no byte of it meets the host; other FIFOs
    cannot be opened (ENXIO), nor devices (EACCES: /dev is ``devfs.py``'s); device files cannot be made (EPERM); no
    O_TMPFILE (EOPNOTSUPP), no extended attributes.
"""

import errno
import os
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import (
    O_ACCMODE,
    O_RDONLY,
    O_TRUNC,
    RENAME_EXCHANGE,
    S_IFBLK,
    S_IFCHR,
    S_IFIFO,
    S_IFMT,
    S_IFSOCK,
)
from pagewalk.fs.file import DirFile, VfsFile
from pagewalk.fs.host_cache import HostMapping, host_open
from pagewalk.fs.host_inode import HostBase, HostNode, os_errno
from pagewalk.fs.hoststat import host_fallocate, host_renameat2, host_statx
from pagewalk.fs.inode import Inode, current_time
from pagewalk.fs.pipe import open_fifo
from pagewalk.fs.regular import RegularFile
from pagewalk.fs.stat import Stat
from pagewalk.mm.shmem import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
from pagewalk.mm.truncate import truncate_pagecache, truncate_pagecache_range

if TYPE_CHECKING:
    from pagewalk.mm.system import System

_DO_LINK: Final = 0
_DO_RENAME: Final = 1
_DO_EXCHANGE: Final = 2


class HostSuper(HostBase):
    """One mount of the host's tree, whose files are ``HostInode``s."""

    def make_node(self, parent: HostNode | None, name: str, st: Stat) -> HostNode:
        """A new inode of this mount."""
        return HostInode(self, parent, name, st)


class HostInode(HostNode):
    """A file of the host: making and removing names, opening, contents."""

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
            return os_errno(err)
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
            return os_errno(err)
        return 0

    def mknod(self, name: str, mode: int, rdev: tuple[int, int], uid: int, gid: int) -> int:
        """A FIFO or a socket on the host; devices are refused."""
        if mode & S_IFMT not in (S_IFIFO, S_IFSOCK):
            return -errno.EPERM
        fd = self.change_fd()
        if fd < 0:
            return fd
        try:
            os.mknod(name, mode & (S_IFMT | 0o777), dir_fd=fd)
        except OSError as err:
            return os_errno(err)
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
            return os_errno(err)
        return 0

    def link(self, name: str, inode: Inode) -> int:
        """A hard link between two directories of this mount."""
        assert isinstance(inode, HostNode)
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
            return os_errno(err)
        if isinstance(inode, HostNode):
            self.host_sb.cache.name_removed(inode.key, inode.i_nlink)
            inode.i_nlink -= 1
        return 0

    def rmdir(self, name: str, inode: Inode) -> int:
        """Removes an empty directory from the host."""
        fd = self.change_fd()
        if fd < 0:
            return fd
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError as err:
            return os_errno(err)
        return 0

    def rename(self, name: str, inode: Inode, to: Inode, to_name: str, victim: Inode | None, flags: int) -> int:
        """Renames on the host."""
        assert isinstance(to, HostInode) and isinstance(inode, HostNode)
        exchange = bool(flags & RENAME_EXCHANGE)
        err = to._two_dirs(self, name, to_name, _DO_EXCHANGE if exchange else _DO_RENAME)
        if err == 0:
            inode.parent = to
            inode.name = to_name
            if exchange and isinstance(victim, HostNode):
                victim.parent = self
                victim.name = name
            elif isinstance(victim, HostNode):
                self.host_sb.cache.name_removed(victim.key, victim.i_nlink)
        return err

    def _two_dirs(self, source: HostNode, source_name: str, name: str, what: int) -> int:
        """Links or renames ``source_name`` of ``source`` to ``name`` here. The first descriptor is a
        duplicate, as the second ``dir_fd`` may close it."""
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
            return os_errno(err)
        finally:
            os.close(one)
        return 0

    # Files.

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """Opens a directory or a regular file."""
        if self.is_dir():
            return DirFile(self.system, dentry, flags)
        if not self.is_reg():
            kind = self.i_mode & S_IFMT
            if kind == S_IFIFO and not self.host_sb.read_only:
                return open_fifo(self.system, dentry, flags)
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
                return os_errno(err)
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
            return os_errno(err)
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
            end = offset + length
            if end >= mapping.i_size:  # no hole behind the last page (ext4_punch_hole)
                end = int(self.host_sb.cache.system.page_align(mapping.i_size))
            if offset < mapping.i_size:
                truncate_pagecache_range(self.system, mapping, offset, end)
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
            return os_errno(err)


class HostFile(RegularFile):
    """An open regular file of the host."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, inode: HostInode, mapping: HostMapping) -> None:
        super().__init__(system, dentry, flags, inode, mapping)
        self.host_mapping = mapping
        self.st_dev = inode.st.st_dev
        self.thp_aligned = inode.host_sb.aligns_huge_pages(self.st_dev, mapping.fd)
        mapping.large_folios = self.thp_aligned and system.linux >= 616  # before, only XFS had them
        self.cache = inode.host_sb.cache

    def fsync(self) -> int:
        """Writes back to the host."""
        return self.cache.write_back(self.host_mapping)

    def release(self) -> None:
        """The last reference is gone: writes back, if it was the file's last user."""
        self.cache.detach(self.host_mapping)
        super().release()


def _adjust_new(fd: int, mode: int, uid: int, gid: int) -> None:
    """The host's own umask and ids have no say in what the program makes."""
    st = os.fstat(fd)
    if st.st_uid != uid or st.st_gid != gid:
        os.fchown(fd, uid, gid)
    if st.st_mode & 0o7777 != mode & 0o7777:
        os.fchmod(fd, mode & 0o7777)
