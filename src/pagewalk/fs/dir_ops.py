"""Making, removing and renaming names: mkdir, mknod, symlink, link, unlink, rmdir, rename.

Each call: walk to the directory, check the kind of the last component, check that the mount may be written, look the
name
up, check permission, do it, tell the dentries.

Mirrors: fs/namei.c (6.18)
Differs: no delegations, no quota, no whiteouts (RENAME_WHITEOUT: EINVAL, as on a file system without them).
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.dcache import Dentry, d_delete, d_exchange, d_move, follow_up
from pagewalk.fs.fcntl import (
    AT_EMPTY_PATH,
    AT_SYMLINK_FOLLOW,
    PATH_MAX,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
    S_ISGID,
    S_ISVTX,
    W_OK,
    X_OK,
)
from pagewalk.fs.fs_struct import FsStruct, inode_permission
from pagewalk.fs.fsnotify import IN_ATTRIB, IN_CREATE, IN_DELETE, fsnotify, fsnotify_dirent, fsnotify_move, inode_gone
from pagewalk.fs.inode import Inode
from pagewalk.fs.namei import (
    LAST_DOT,
    LAST_DOTDOT,
    LAST_NORM,
    LOOKUP_EMPTY,
    LOOKUP_FOLLOW,
    Nameidata,
    filename_lookup,
    filename_parent,
)

if TYPE_CHECKING:
    from pagewalk.fs.fdtable import FilesStruct


def mnt_want_write(dentry: Dentry) -> int:
    """0, or -EROFS where the dentry's file system may not be written."""
    return -errno.EROFS if dentry.mnt.sb.read_only else 0


def may_create(fs: FsStruct, parent: Dentry) -> int:
    """Whether a name may be made in ``parent``."""
    if parent.d_deleted:
        return -errno.ENOENT
    return inode_permission(fs.cred, parent.inode, W_OK | X_OK)


def may_delete(fs: FsStruct, parent: Dentry, victim: Dentry, is_dir: bool) -> int:
    """Whether the name of ``victim`` may be removed from ``parent`` by a call for directories or for others."""
    err = inode_permission(fs.cred, parent.inode, W_OK | X_OK)
    if err < 0:
        return err
    if parent.inode.i_mode & S_ISVTX and not fs.cred.owns(victim.inode) and parent.inode.i_uid != fs.cred.fsuid:
        return -errno.EPERM
    if is_dir:
        if not victim.inode.is_dir():
            return -errno.ENOTDIR
    elif victim.inode.is_dir():
        return -errno.EISDIR
    if parent.d_deleted:
        return -errno.ENOENT
    return 0


def new_owner(fs: FsStruct, parent: Inode, mode: int) -> tuple[int, int]:
    """The (mode, gid) of a new inode in ``parent``: a set-group-id directory hands on its group (and the bit to
    directories)."""
    if not parent.i_mode & S_ISGID:
        return mode, fs.cred.fsgid
    if mode & S_IFMT == S_IFDIR:
        mode |= S_ISGID
    elif mode & (S_ISGID | 0o010) == S_ISGID | 0o010 and not fs.cred.capable and not fs.cred.in_group(parent.i_gid):
        mode &= ~S_ISGID
    return mode, parent.i_gid


def _filename_create(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, is_dir: bool) -> Nameidata | int:
    """The walk to a name that must not exist yet, with the right to make it."""
    nd = filename_parent(fs, files, dfd, path)
    if isinstance(nd, int):
        return nd
    if nd.last_type != LAST_NORM:
        return -errno.EEXIST
    found = nd.step(nd.last)
    if not isinstance(found, int):
        return -errno.EEXIST
    if found != -errno.ENOENT:
        return found
    if nd.trailing and not is_dir:
        return -errno.ENOENT
    err = mnt_want_write(nd.dentry)
    if err < 0:
        return err
    err = may_create(fs, nd.dentry)
    return err if err < 0 else nd


def do_mkdirat(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, mode: int) -> int:
    """mkdirat(2)."""
    nd = _filename_create(fs, files, dfd, path, is_dir=True)
    if isinstance(nd, int):
        return nd
    parent = nd.dentry.inode
    mode, gid = new_owner(fs, parent, S_IFDIR | (mode & (0o777 | S_ISVTX) & ~fs.umask))
    return told_created(nd, parent.mkdir(nd.last, mode & 0o7777, fs.cred.fsuid, gid), is_dir=True)


def told_created(nd: Nameidata, result: int, *, is_dir: bool = False) -> int:
    """A name was made, if ``result`` is 0; hands that on."""
    if result == 0:
        fsnotify_dirent(nd.dentry.inode, nd.last, IN_CREATE, is_dir=is_dir)
    return result


def do_mknodat(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, mode: int, dev: tuple[int, int]) -> int:
    """mknodat(2); ``dev`` is (major, minor). Device files need a capable task."""
    kind = mode & S_IFMT
    if kind == S_IFDIR:
        return -errno.EPERM
    if kind not in (0, S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK):
        return -errno.EINVAL
    nd = _filename_create(fs, files, dfd, path, is_dir=False)
    if isinstance(nd, int):
        return nd
    if kind in (S_IFCHR, S_IFBLK) and not fs.cred.capable:
        return -errno.EPERM
    parent = nd.dentry.inode
    mode, gid = new_owner(fs, parent, (kind or S_IFREG) | (mode & 0o7777 & ~fs.umask))
    if kind in (0, S_IFREG):
        made = parent.create(nd.last, mode & 0o7777, fs.cred.fsuid, gid)
        return made if isinstance(made, int) else told_created(nd, 0)
    return told_created(nd, parent.mknod(nd.last, mode, dev, fs.cred.fsuid, gid))


def do_symlinkat(fs: FsStruct, files: "FilesStruct | None", target: str, dfd: int, path: str) -> int:
    """symlinkat(2)."""
    if not target:
        return -errno.ENOENT
    if len(target.encode("utf-8", "surrogateescape")) >= PATH_MAX:
        return -errno.ENAMETOOLONG
    nd = _filename_create(fs, files, dfd, path, is_dir=False)
    if isinstance(nd, int):
        return nd
    _, gid = new_owner(fs, nd.dentry.inode, 0o777)
    return told_created(nd, nd.dentry.inode.symlink(nd.last, target, fs.cred.fsuid, gid))


def do_linkat(
    fs: FsStruct, files: "FilesStruct | None", olddfd: int, old: str, newdfd: int, new: str, flags: int
) -> int:
    """linkat(2); AT_SYMLINK_FOLLOW, and AT_EMPTY_PATH for a capable task."""
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    how = LOOKUP_FOLLOW if flags & AT_SYMLINK_FOLLOW else 0
    if flags & AT_EMPTY_PATH:
        how |= LOOKUP_EMPTY
        if not old and not fs.cred.capable:
            return -errno.ENOENT
    source = filename_lookup(fs, files, olddfd, old, how)
    if isinstance(source, int):
        return source
    nd = _filename_create(fs, files, newdfd, new, is_dir=False)
    if isinstance(nd, int):
        return nd
    if source.mnt is not nd.dentry.mnt:
        return -errno.EXDEV
    if source.inode.is_dir():
        return -errno.EPERM
    result = nd.dentry.inode.link(nd.last, source.inode)
    if result == 0:
        fsnotify(source.inode, IN_ATTRIB)
    return told_created(nd, result)


def _removable(fs: FsStruct, nd: Nameidata, is_dir: bool) -> Dentry | int:
    """The dentry of a name that is to be removed: the mount may be written, the name exists and may go."""
    err = mnt_want_write(nd.dentry)
    if err < 0:
        return err
    victim = nd.step(nd.last)
    if isinstance(victim, int):
        return victim
    if nd.trailing and not is_dir:
        return -errno.EISDIR if victim.inode.is_dir() else -errno.ENOTDIR
    covered = follow_up(victim)
    err = may_delete(fs, nd.dentry, victim, is_dir)
    if err < 0:
        return err
    return -errno.EBUSY if covered is not victim else victim


def do_unlinkat(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str) -> int:
    """unlink(2), and unlinkat(2) without AT_REMOVEDIR."""
    nd = filename_parent(fs, files, dfd, path)
    if isinstance(nd, int):
        return nd
    if nd.last_type != LAST_NORM:
        return -errno.EISDIR
    victim = _removable(fs, nd, is_dir=False)
    if isinstance(victim, int):
        return victim
    err = nd.dentry.inode.unlink(nd.last, victim.inode)
    if err == 0:
        fsnotify(victim.inode, IN_ATTRIB)
        fsnotify_dirent(nd.dentry.inode, nd.last, IN_DELETE, is_dir=False)
        d_delete(nd.dentry, nd.last)
        inode_gone(victim.inode)
    return err


def do_rmdirat(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str) -> int:
    """rmdir(2), and unlinkat(2) with AT_REMOVEDIR."""
    nd = filename_parent(fs, files, dfd, path)
    if isinstance(nd, int):
        return nd
    if nd.last_type == LAST_DOTDOT:
        return -errno.ENOTEMPTY
    if nd.last_type == LAST_DOT:
        return -errno.EINVAL
    if nd.last_type != LAST_NORM:
        return -errno.EBUSY
    victim = _removable(fs, nd, is_dir=True)
    if isinstance(victim, int):
        return victim
    err = nd.dentry.inode.rmdir(nd.last, victim.inode)
    if err == 0:
        victim.inode.i_nlink = 0
        inode_gone(victim.inode)
        fsnotify_dirent(nd.dentry.inode, nd.last, IN_DELETE, is_dir=True)
        d_delete(nd.dentry, nd.last)
    return err


def _is_ancestor(inode: Inode, below: Dentry) -> bool:
    """Whether the directory ``inode`` is ``below`` or on its way to the root."""
    here: Dentry | None = below
    while here is not None:
        if here.inode.is_same(inode):
            return True
        here = here.parent
    return False


def do_renameat2(
    fs: FsStruct, files: "FilesStruct | None", olddfd: int, old: str, newdfd: int, new: str, flags: int
) -> int:
    """renameat2(2); flags 0, RENAME_NOREPLACE or RENAME_EXCHANGE."""
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT):
        return -errno.EINVAL
    if flags & RENAME_EXCHANGE and flags & (RENAME_NOREPLACE | RENAME_WHITEOUT):
        return -errno.EINVAL
    from_nd = filename_parent(fs, files, olddfd, old)
    if isinstance(from_nd, int):
        return from_nd
    to_nd = filename_parent(fs, files, newdfd, new)
    if isinstance(to_nd, int):
        return to_nd
    if from_nd.dentry.mnt is not to_nd.dentry.mnt:
        return -errno.EXDEV
    if from_nd.last_type != LAST_NORM:
        return -errno.EBUSY
    if to_nd.last_type != LAST_NORM:
        return -errno.EEXIST if flags & RENAME_NOREPLACE else -errno.EBUSY
    err = mnt_want_write(from_nd.dentry)
    if err < 0:
        return err
    return _rename(fs, from_nd, to_nd, flags)


def _rename(fs: FsStruct, from_nd: Nameidata, to_nd: Nameidata, flags: int) -> int:
    """Both directories are known, of one mount that may be written: looks both names up, checks, renames."""
    parent = from_nd.dentry
    to = to_nd.dentry
    source = from_nd.step(from_nd.last)
    if isinstance(source, int):
        return source
    found = to_nd.step(to_nd.last)
    victim = None if isinstance(found, int) else found
    if isinstance(found, int):
        if found != -errno.ENOENT:
            return found
        if flags & RENAME_EXCHANGE:
            return -errno.ENOENT
    elif flags & RENAME_NOREPLACE:
        return -errno.EEXIST
    exchange = bool(flags & RENAME_EXCHANGE)
    if exchange and victim is not None and not victim.inode.is_dir() and to_nd.trailing:
        return -errno.ENOTDIR
    if not source.inode.is_dir() and (from_nd.trailing or (not exchange and to_nd.trailing)):
        return -errno.ENOTDIR
    if source.inode.is_dir() and _is_ancestor(source.inode, to):
        return -errno.EINVAL
    if victim is not None and victim.inode.is_dir() and _is_ancestor(victim.inode, parent):
        return -errno.EINVAL if exchange else -errno.ENOTEMPTY
    if victim is not None and victim.inode.is_same(source.inode):
        return 0
    err = _may_rename(fs, from_nd, source, to_nd, victim, exchange)
    if err < 0:
        return err
    if flags & RENAME_WHITEOUT:
        return -errno.EINVAL
    target = None if victim is None else victim.inode
    err = parent.inode.rename(from_nd.last, source.inode, to.inode, to_nd.last, target, flags)
    if err == 0:
        if exchange:
            d_exchange(parent, from_nd.last, to, to_nd.last)
        else:
            d_move(parent, from_nd.last, to, to_nd.last)
            fsnotify_move(parent.inode, from_nd.last, to.inode, to_nd.last, source.inode)
            if target is not None:
                fsnotify(target, IN_ATTRIB)
                inode_gone(target)
    return err


def _may_rename(
    fs: FsStruct, from_nd: Nameidata, source: Dentry, to_nd: Nameidata, victim: Dentry | None, exchange: bool
) -> int:
    is_dir = source.inode.is_dir()
    err = may_delete(fs, from_nd.dentry, source, is_dir)
    if err < 0:
        return err
    if victim is None:
        err = may_create(fs, to_nd.dentry)
    else:
        err = may_delete(fs, to_nd.dentry, victim, victim.inode.is_dir() if exchange else is_dir)
    if err < 0:
        return err
    if from_nd.dentry is not to_nd.dentry and not from_nd.dentry.inode.is_same(to_nd.dentry.inode):
        if is_dir:
            err = inode_permission(fs.cred, source.inode, W_OK)
        if err == 0 and exchange and victim is not None and victim.inode.is_dir():
            err = inode_permission(fs.cred, victim.inode, W_OK)
        if err < 0:
            return err
    if follow_up(source) is not source or (victim is not None and follow_up(victim) is not victim):
        return -errno.EBUSY
    return 0
