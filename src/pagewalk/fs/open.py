"""open(2) and the calls that change what a path or a descriptor refers to: access, chmod, chown, utimes, truncate,
chdir.

Mirrors: fs/open.c, fs/attr.c, fs/utimes.c, fs/namei.c do_open (6.18)
Differs: no leases, no ETXTBSY, no openat2; O_DIRECT and O_SYNC are kept in f_flags and change nothing.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.dcache import Dentry, d_path, follow_up, is_unreachable
from pagewalk.fs.dir_ops import may_create, mnt_want_write, new_owner
from pagewalk.fs.fcntl import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    MAX_LFS_FILESIZE,
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_LARGEFILE,
    O_NOATIME,
    O_NOFOLLOW,
    O_PATH,
    O_RDONLY,
    O_TMPFILE_ONLY,
    O_TRUNC,
    R_OK,
    S_IFDIR,
    S_IFMT,
    S_IFREG,
    S_ISGID,
    S_ISUID,
    UTIME_NOW,
    UTIME_OMIT,
    W_OK,
    X_OK,
)
from pagewalk.fs.file import WOULD_BLOCK, PathFile, VfsFile
from pagewalk.fs.fs_struct import FsStruct, inode_permission, should_remove_sgid
from pagewalk.fs.fsnotify import IN_ATTRIB, IN_CREATE, IN_MODIFY, IN_OPEN, fsnotify_dentry, fsnotify_dirent
from pagewalk.fs.inode import current_time
from pagewalk.fs.namei import (
    LAST_NORM,
    LOOKUP_DIRECTORY,
    LOOKUP_EMPTY,
    LOOKUP_FOLLOW,
    Nameidata,
    filename_lookup,
    path_init,
)

if TYPE_CHECKING:
    from pagewalk.fs.fdtable import FilesStruct

_VALID_OPEN: int = 0o37777703


def do_openat(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, flags: int, mode: int) -> "VfsFile | int":
    """openat(2) up to the descriptor: a new open file with one reference, or a negative errno.

    Args:
        flags: O_*; unknown bits are ignored, as open(2) does.
        mode: permission bits of a file that O_CREAT or O_TMPFILE makes; the umask applies.
    """
    flags = flags & _VALID_OPEN | O_LARGEFILE
    if flags & O_PATH:
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    elif flags & O_TMPFILE_ONLY:
        if not flags & O_DIRECTORY or flags & O_CREAT or flags & O_ACCMODE == O_RDONLY:
            return -errno.EINVAL
    elif flags & O_CREAT and flags & O_DIRECTORY:
        return -errno.EINVAL
    if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL:
        flags |= O_NOFOLLOW
    if flags & O_TMPFILE_ONLY:
        return _do_tmpfile(fs, files, dfd, path, flags, mode)
    if flags & O_CREAT:
        return _open_create(fs, files, dfd, path, flags, mode)
    how = (0 if flags & O_NOFOLLOW else LOOKUP_FOLLOW) | (LOOKUP_DIRECTORY if flags & O_DIRECTORY else 0)
    found = filename_lookup(fs, files, dfd, path, how)
    if isinstance(found, int):
        return found
    if flags & O_PATH:
        return PathFile(fs.ns.system, found, flags)
    return _do_open(fs, found, flags, created=False)


def _open_create(
    fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, flags: int, mode: int
) -> "VfsFile | int":
    """open with O_CREAT: the last component may be missing, also at the end of a symbolic link."""
    nd = path_init(fs, files, dfd, path, 0)
    if isinstance(nd, int):
        return nd
    err = nd.link_path_walk(path)
    while True:
        if err < 0:
            return err
        if nd.last_type != LAST_NORM:
            here = nd.step_last(follow=False)
            if isinstance(here, int):
                return here
            return -errno.EEXIST if flags & O_EXCL else -errno.EISDIR
        if nd.trailing:
            return -errno.EISDIR
        found = nd.step(nd.last)
        if isinstance(found, int):
            return found if found != -errno.ENOENT else _create(fs, nd, flags, mode)
        if flags & O_EXCL:
            return -errno.EEXIST
        if not found.inode.is_lnk() or flags & O_NOFOLLOW:
            break
        text = nd.pick_link(found)
        if isinstance(text, int):
            return text
        if not text:
            found = nd.dentry
            break
        err = nd.link_path_walk(text)
    if found.inode.is_dir():
        return -errno.EISDIR
    return _do_open(fs, found, flags, created=False)


def _create(fs: FsStruct, nd: Nameidata, flags: int, mode: int) -> "VfsFile | int":
    parent = nd.dentry
    err = mnt_want_write(parent)
    if err == 0:
        err = may_create(fs, parent)
    if err < 0:
        return err
    mode, gid = new_owner(fs, parent.inode, S_IFREG | (mode & 0o7777 & ~fs.umask))
    inode = parent.inode.create(nd.last, mode & 0o7777, fs.cred.fsuid, gid)
    if isinstance(inode, int):
        return inode
    fsnotify_dirent(parent.inode, nd.last, IN_CREATE, is_dir=False)
    return _do_open(fs, parent.child(nd.last, inode), flags, created=True)


def _do_tmpfile(
    fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, flags: int, mode: int
) -> "VfsFile | int":
    parent = filename_lookup(fs, files, dfd, path, LOOKUP_DIRECTORY | (0 if flags & O_NOFOLLOW else LOOKUP_FOLLOW))
    if isinstance(parent, int):
        return parent
    err = mnt_want_write(parent)
    if err == 0:
        err = may_create(fs, parent)
    if err < 0:
        return err
    mode, gid = new_owner(fs, parent.inode, S_IFREG | (mode & 0o7777 & ~fs.umask))
    inode = parent.inode.tmpfile(mode & 0o7777, fs.cred.fsuid, gid)
    if isinstance(inode, int):
        return inode
    dentry = Dentry(f"#{inode.i_ino}", parent, inode, parent.mnt)
    dentry.d_deleted = True
    return _do_open(fs, dentry, flags & ~O_TRUNC, created=True)


def _may_open(fs: FsStruct, dentry: Dentry, flags: int) -> int:
    """Whether an existing file may be opened for ``flags``: its kind, permission, a file system that may be written."""
    inode = dentry.inode
    mask = _acc_mode(flags)
    if inode.is_lnk():
        return -errno.ELOOP
    if inode.is_dir() and mask & W_OK:
        return -errno.EISDIR
    err = inode_permission(fs.cred, inode, mask)
    if err < 0:
        return err
    if flags & O_NOATIME and not fs.cred.owns(inode):
        return -errno.EPERM
    if mask & W_OK and not inode.is_special():
        return mnt_want_write(dentry)
    return 0


def _acc_mode(flags: int) -> int:
    mask = (R_OK, W_OK, R_OK | W_OK, R_OK | W_OK)[flags & O_ACCMODE]
    return mask | W_OK if flags & O_TRUNC else mask


def _do_open(fs: FsStruct, dentry: Dentry, flags: int, created: bool) -> "VfsFile | int":
    if not created:
        err = _may_open(fs, dentry, flags)
        if err < 0:
            return err
    file = dentry.inode.open(dentry, flags & ~(O_CREAT | O_EXCL))
    if isinstance(file, int):
        return file
    fsnotify_dentry(file.dentry, IN_OPEN)
    if flags & O_TRUNC and not created and dentry.inode.is_reg():
        err = file.inode.truncate(0)
        if err < 0:
            file.put()
            return err
        fsnotify_dentry(file.dentry, IN_MODIFY)
    return file


def do_sys_open(fs: FsStruct, files: "FilesStruct", dfd: int, path: str, flags: int, mode: int) -> int:
    """openat(2): the new descriptor, the lowest that is free; WOULD_BLOCK for a FIFO without its other side."""
    file = do_openat(fs, files, dfd, path, flags, mode)
    if isinstance(file, int):
        return file
    if file.open_pending():
        file.put()
        return WOULD_BLOCK
    fd = files.install(file, cloexec=bool(flags & O_CLOEXEC))
    if fd < 0:
        file.put()
    return fd


def open_exec(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, flags: int) -> "VfsFile | int":
    """The file that execveat(2) executes, open for reading. AT_EMPTY_PATH and AT_SYMLINK_NOFOLLOW in ``flags``.

    EACCES: not a regular file, no execute permission, or a noexec mount; ELOOP: a link with AT_SYMLINK_NOFOLLOW.
    """
    if flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
        return -errno.EINVAL
    how = 0 if flags & AT_SYMLINK_NOFOLLOW else LOOKUP_FOLLOW
    found = filename_lookup(fs, files, dfd, path, how | (LOOKUP_EMPTY if flags & AT_EMPTY_PATH else 0))
    if isinstance(found, int):
        return found
    if found.inode.is_lnk():
        return -errno.ELOOP
    if not found.inode.is_reg() or found.mnt.noexec:
        return -errno.EACCES
    err = inode_permission(fs.cred, found.inode, X_OK)
    if err < 0:
        return err
    file = found.inode.open(found, O_RDONLY)
    if not isinstance(file, int):
        fsnotify_dentry(file.dentry, IN_OPEN)
    return file


def _at_lookup(at_flags: int) -> int:
    """LOOKUP_* of AT_* flags for the calls that follow a link at the end unless told otherwise."""
    how = 0 if at_flags & AT_SYMLINK_NOFOLLOW else LOOKUP_FOLLOW
    return how | LOOKUP_EMPTY if at_flags & AT_EMPTY_PATH else how


def do_faccessat(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, mode: int, at_flags: int) -> int:
    """faccessat2(2): F_OK, or R_OK | W_OK | X_OK for ``fs.cred`` (the caller puts real ids there unless AT_EACCESS)."""
    if mode & ~7 or at_flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    found = filename_lookup(fs, files, dfd, path, _at_lookup(at_flags))
    if isinstance(found, int):
        return found
    if mode & X_OK and found.inode.is_reg() and found.mnt.noexec:
        return -errno.EACCES
    err = inode_permission(fs.cred, found.inode, mode)
    if err == 0 and mode & W_OK and not found.inode.is_special():
        err = mnt_want_write(found)
    return err


def _setattr_mode(fs: FsStruct, dentry: Dentry, mode: int) -> int:
    err = mnt_want_write(dentry)
    if err < 0:
        return err
    inode = dentry.inode
    if not fs.cred.owns(inode):
        return -errno.EPERM
    if inode.is_lnk():
        return -errno.EOPNOTSUPP
    mode &= 0o7777
    if should_remove_sgid(fs.cred, inode, mode):
        mode &= ~S_ISGID
    return told_attrib(dentry, inode.setattr_mode(mode))


def told_attrib(dentry: Dentry, result: int) -> int:
    """Attributes were changed, if ``result`` is 0; hands that on."""
    if result == 0:
        fsnotify_dentry(dentry, IN_ATTRIB)
    return result


def do_fchmodat(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, mode: int, at_flags: int) -> int:
    """fchmodat2(2)."""
    if at_flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    found = filename_lookup(fs, files, dfd, path, _at_lookup(at_flags))
    return found if isinstance(found, int) else _setattr_mode(fs, found, mode)


def do_fchmod(fs: FsStruct, file: VfsFile, mode: int) -> int:
    """fchmod(2)."""
    return _setattr_mode(fs, file.dentry, mode)


def _setattr_owner(fs: FsStruct, dentry: Dentry, uid: int, gid: int) -> int:
    err = mnt_want_write(dentry)
    if err < 0:
        return err
    inode = dentry.inode
    if not fs.cred.capable:
        if uid != -1 and (uid != inode.i_uid or fs.cred.fsuid != inode.i_uid):
            return -errno.EPERM
        if gid != -1 and (fs.cred.fsuid != inode.i_uid or not (fs.cred.in_group(gid) or gid == inode.i_gid)):
            return -errno.EPERM
    mode = inode.i_mode
    err = inode.setattr_owner(uid, gid)
    if err == 0 and not inode.is_dir() and not inode.is_lnk():
        cleared = mode & ~S_ISUID
        if mode & 0o010:
            cleared &= ~S_ISGID
        if cleared != mode:
            err = inode.setattr_mode(cleared & 0o7777)
    return told_attrib(dentry, err)


def do_fchownat(
    fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, uid: int, gid: int, at_flags: int
) -> int:
    """fchownat(2); -1 keeps an id."""
    if at_flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    found = filename_lookup(fs, files, dfd, path, _at_lookup(at_flags))
    return found if isinstance(found, int) else _setattr_owner(fs, found, uid, gid)


def do_fchown(fs: FsStruct, file: VfsFile, uid: int, gid: int) -> int:
    """fchown(2)."""
    return _setattr_owner(fs, file.dentry, uid, gid)


def _setattr_times(fs: FsStruct, dentry: Dentry, atime: int, mtime: int) -> int:
    if atime == UTIME_OMIT and mtime == UTIME_OMIT:
        return 0
    err = mnt_want_write(dentry)
    if err < 0:
        return err
    inode = dentry.inode
    if atime == UTIME_NOW and mtime == UTIME_NOW:
        if not fs.cred.owns(inode) and inode_permission(fs.cred, inode, W_OK) < 0:
            return -errno.EACCES
    elif not fs.cred.owns(inode):
        return -errno.EPERM
    now = current_time()
    result = inode.setattr_times(now if atime == UTIME_NOW else atime, now if mtime == UTIME_NOW else mtime)
    return told_attrib(dentry, result)


def do_utimensat(
    fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, atime: int, mtime: int, at_flags: int
) -> int:
    """utimensat(2); nanoseconds since 1970, UTIME_NOW or UTIME_OMIT."""
    if at_flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        return -errno.EINVAL
    found = filename_lookup(fs, files, dfd, path, _at_lookup(at_flags))
    return found if isinstance(found, int) else _setattr_times(fs, found, atime, mtime)


def do_futimens(fs: FsStruct, file: VfsFile, atime: int, mtime: int) -> int:
    """futimens(3)."""
    return _setattr_times(fs, file.dentry, atime, mtime)


def do_truncate(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, length: int) -> int:
    """truncate(2)."""
    if length < 0 or length > MAX_LFS_FILESIZE:
        return -errno.EINVAL
    found = filename_lookup(fs, files, dfd, path, LOOKUP_FOLLOW)
    if isinstance(found, int):
        return found
    kind = found.inode.i_mode & S_IFMT
    if kind != S_IFREG:
        return -errno.EISDIR if kind == S_IFDIR else -errno.EINVAL
    err = mnt_want_write(found)
    if err == 0:
        err = inode_permission(fs.cred, found.inode, W_OK)
    if err < 0:
        return err
    file = found.inode.open(found, 1)
    if isinstance(file, int):
        return file
    err = file.inode.truncate(length)
    if err == 0:
        fsnotify_dentry(found, IN_MODIFY)
    file.f_flags |= O_PATH  # nobody has opened it: its end is no news
    file.put()
    return err


def do_chdir(fs: FsStruct, files: "FilesStruct | None", path: str) -> int:
    """chdir(2)."""
    found = filename_lookup(fs, files, AT_FDCWD, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY)
    return found if isinstance(found, int) else _chdir(fs, found)


def _chdir(fs: FsStruct, dentry: Dentry) -> int:
    err = inode_permission(fs.cred, dentry.inode, X_OK)
    if err == 0:
        fs.replace_cwd(dentry)
    return err


def do_fchdir(fs: FsStruct, file: VfsFile) -> int:
    """fchdir(2)."""
    return _chdir(fs, file.dentry) if file.inode.is_dir() else -errno.ENOTDIR


def do_chroot(fs: FsStruct, files: "FilesStruct | None", path: str) -> int:
    """chroot(2)."""
    found = filename_lookup(fs, files, AT_FDCWD, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY)
    if isinstance(found, int):
        return found
    err = inode_permission(fs.cred, found.inode, X_OK)
    if err < 0:
        return err
    if not fs.cred.capable:
        return -errno.EPERM
    fs.replace_root(found)
    return 0


def getcwd(fs: FsStruct) -> str | int:
    """The path of the working directory; -ENOENT where it has been removed."""
    if follow_up(fs.cwd).d_deleted or fs.cwd.d_deleted:
        return -errno.ENOENT
    path = d_path(fs.cwd, fs.root)
    return "(unreachable)" + path if is_unreachable(fs.cwd, fs.root) else path
