"""stat, readlink and statfs by path and by descriptor.

Mirrors: fs/stat.c, fs/statfs.c (6.18)
Differs: nothing.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_NO_AUTOMOUNT,
    AT_STATX_SYNC_TYPE,
    AT_SYMLINK_NOFOLLOW,
)
from pagewalk.fs.file import VfsFile
from pagewalk.fs.fs_struct import FsStruct
from pagewalk.fs.namei import LOOKUP_EMPTY, LOOKUP_FOLLOW, filename_lookup
from pagewalk.fs.stat import STATX_ATTR_MOUNT_ROOT, Stat, Statfs

if TYPE_CHECKING:
    from pagewalk.fs.fdtable import FilesStruct


def _getattr(dentry: Dentry) -> Stat | int:
    st = dentry.inode.getattr()
    if not isinstance(st, int):
        st.mnt_id = dentry.mnt.mnt_id
        if dentry is dentry.mnt.mnt_root:
            st.attributes |= STATX_ATTR_MOUNT_ROOT
    return st


def vfs_statat(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, at_flags: int) -> Stat | int:
    """newfstatat(2) and statx(2): AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT, AT_EMPTY_PATH, AT_STATX_*."""
    if at_flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE):
        return -errno.EINVAL
    how = 0 if at_flags & AT_SYMLINK_NOFOLLOW else LOOKUP_FOLLOW
    if at_flags & AT_EMPTY_PATH:
        how |= LOOKUP_EMPTY
        if not path and dfd != AT_FDCWD:
            file = None if files is None else files.get_raw(dfd)
            return -errno.EBADF if file is None else vfs_fstat(file)
    found = filename_lookup(fs, files, dfd, path, how)
    return found if isinstance(found, int) else _getattr(found)


def vfs_fstat(file: VfsFile) -> Stat | int:
    """fstat(2)."""
    st = file.getattr()
    if not isinstance(st, int):
        st.mnt_id = file.dentry.mnt.mnt_id
        if file.dentry is file.dentry.mnt.mnt_root:
            st.attributes |= STATX_ATTR_MOUNT_ROOT
    return st


def do_readlinkat(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str) -> str | int:
    """readlinkat(2): the whole target (the caller cuts it). "" names the link that ``dfd`` is."""
    found = filename_lookup(fs, files, dfd, path, LOOKUP_EMPTY if dfd != AT_FDCWD else 0)
    if isinstance(found, int):
        return found
    text = found.inode.readlink()
    if isinstance(text, int) and not path and text == -errno.EINVAL:
        return -errno.ENOENT
    return text


def _statfs(dentry: Dentry) -> Statfs:
    sf = dentry.mnt.sb.statfs()
    sf.f_flags = dentry.mnt.st_flags | 0x20  # ST_VALID
    return sf


def vfs_statfs(fs: FsStruct, files: "FilesStruct | None", path: str) -> Statfs | int:
    """statfs(2)."""
    found = filename_lookup(fs, files, AT_FDCWD, path, LOOKUP_FOLLOW)
    return found if isinstance(found, int) else _statfs(found)


def vfs_fstatfs(file: VfsFile) -> Statfs:
    """fstatfs(2)."""
    return _statfs(file.dentry)
