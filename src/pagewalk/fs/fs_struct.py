"""Where a task stands in the tree of files, and as whom it is asked about permission.

Mirrors: include/linux/fs_struct.h, include/linux/cred.h, fs/namei.c generic_permission (6.18)
Differs: one capability bit for CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_CHOWN, CAP_FSETID and
    CAP_MKNOD; no ACLs.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.dcache import Dentry, dget, dput
from pagewalk.fs.fcntl import S_ISGID, X_OK

if TYPE_CHECKING:
    from pagewalk.fs.inode import Inode
    from pagewalk.fs.namespace import Namespace


class Cred:
    """As whom files are touched. The kernel keeps it equal to the task's ids."""

    def __init__(self) -> None:
        self.fsuid = 0
        self.fsgid = 0
        self.groups: list[int] = []
        self.capable = True

    def copy(self) -> "Cred":
        """A credential of its own with the same ids."""
        new = Cred()
        new.fsuid = self.fsuid
        new.fsgid = self.fsgid
        new.groups = list(self.groups)
        new.capable = self.capable
        return new

    def in_group(self, gid: int) -> bool:
        """Whether ``gid`` is the group or one of the supplementary groups."""
        return gid == self.fsgid or gid in self.groups

    def owns(self, inode: "Inode") -> bool:
        """Whether the owner's rights apply (inode_owner_or_capable)."""
        return self.capable or inode.i_uid == self.fsuid


class FsStruct:
    """struct fs_struct: root, working directory, umask; and the credential for permission checks. ``count`` tasks share
    it."""

    def __init__(self, ns: "Namespace") -> None:
        self.ns = ns
        self.root: Dentry = dget(ns.root)
        self.cwd: Dentry = dget(ns.root)
        self.umask = 0o022
        self.cred = Cred()
        self.count = 1

    def copy(self) -> "FsStruct":
        """For a new process: the same places, held once more."""
        new = FsStruct(self.ns)
        new.replace_root(self.root)
        new.replace_cwd(self.cwd)
        new.umask = self.umask
        new.cred = self.cred.copy()
        return new

    def set_cwd(self, path: str) -> int:
        """Walks to ``path`` and makes it the working directory; 0 or a negative errno."""
        from pagewalk.fs.open import do_chdir

        return do_chdir(self, None, path)

    def replace_cwd(self, dentry: Dentry) -> None:
        """Makes a directory the working directory (set_fs_pwd)."""
        old = self.cwd
        self.cwd = dget(dentry)
        dput(old)

    def replace_root(self, dentry: Dentry) -> None:
        """Makes a directory the root (set_fs_root)."""
        old = self.root
        self.root = dget(dentry)
        dput(old)

    def exit(self) -> None:
        """The task ends: the last sharer drops what is held."""
        self.count -= 1
        if self.count == 0:
            dput(self.cwd)
            dput(self.root)


def inode_permission(cred: Cred, inode: "Inode", mask: int) -> int:
    """Whether ``cred`` may do ``mask`` (R_OK | W_OK | X_OK) with ``inode``: 0 or -EACCES.

    The root of all: a capable task may do everything but execute a file without any x bit.
    """
    mode = inode.i_mode
    if cred.capable:
        if mask & X_OK and not inode.is_dir() and not mode & 0o111:
            return -errno.EACCES
        return 0
    if inode.i_uid == cred.fsuid:
        mode >>= 6
    elif cred.in_group(inode.i_gid):
        mode >>= 3
    return 0 if mask & ~mode & 7 == 0 else -errno.EACCES


def should_remove_sgid(cred: Cred, inode: "Inode", mode: int) -> bool:
    """Whether chmod to ``mode`` must drop the set-group-id bit (the caller is no member of the group)."""
    return bool(mode & S_ISGID) and not cred.capable and not cred.in_group(inode.i_gid)
