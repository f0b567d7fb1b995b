"""From a path to a dentry: the walk.

``filename_lookup`` goes all the way; ``filename_parent`` stops before the last component, for those that make or remove
a name (``dir_ops.py``) or may create a file (``open.py``).

Sources: path_resolution(7), symlink(7), Documentation/filesystems/path-lookup.rst.

Mirrors: fs/namei.c (6.18)
Differs: no automounts, no RESOLVE_* of openat2, sysctls fs.protected_* are 0, no nosymfollow mounts.
"""

import errno
import os
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry, follow_mount, follow_up
from pagewalk.fs.fcntl import AT_FDCWD, NAME_MAX, PATH_MAX, X_OK
from pagewalk.fs.fs_struct import FsStruct, inode_permission

if TYPE_CHECKING:
    from pagewalk.fs.fdtable import FilesStruct

LOOKUP_FOLLOW: Final = 1  # follow a symbolic link at the end
LOOKUP_DIRECTORY: Final = 2  # it must be a directory
LOOKUP_EMPTY: Final = 4  # "" is the starting point itself (AT_EMPTY_PATH)

MAXSYMLINKS: Final = 40

# What the last component is.
LAST_NORM: Final = 0
LAST_ROOT: Final = 1
LAST_DOT: Final = 2
LAST_DOTDOT: Final = 3


class Nameidata:
    """A walk in progress (struct nameidata).

    dentry     where it stands: after ``filename_parent``, the directory of the last component
    last, last_type   the last component and its kind (LAST_*)
    trailing   a slash follows the last component
    links      symbolic links followed so far
    """

    def __init__(self, fs: FsStruct, start: Dentry) -> None:
        self.fs = fs
        self.dentry = start
        self.last = ""
        self.last_type = LAST_ROOT
        self.trailing = False
        self.links = 0

    def link_path_walk(self, path: str) -> int:
        """Walks every component of ``path`` but the last, which it leaves in ``last``; 0 or a negative errno.

        ``path`` is the program's or the text of a link at the end of one; links on the way put their text before the
        rest.
        """
        if path.startswith("/"):
            self.dentry = self.fs.root
        if path.endswith("/"):
            self.trailing = True
        rest = _components(path)
        if not rest:
            self.last = ""
            self.last_type = LAST_ROOT
            return 0
        rest.reverse()
        while True:
            err = inode_permission(self.fs.cred, self.dentry.inode, X_OK)
            if err < 0:
                return err
            name = rest.pop()
            if not rest:
                self.last = name
                self.last_type = LAST_DOT if name == "." else LAST_DOTDOT if name == ".." else LAST_NORM
                return 0
            child = self.step(name)
            if isinstance(child, int):
                return child
            if child.inode.is_lnk():
                text = self.pick_link(child)
                if isinstance(text, int):
                    return text
                if text:
                    more = _components(text)
                    more.reverse()
                    rest.extend(more)
            else:
                self.dentry = child
            if not self.dentry.inode.is_dir():
                return -errno.ENOTDIR

    def step(self, name: str) -> Dentry | int:
        """The dentry of one component of ``self.dentry``: mounts are crossed, a link is not followed."""
        here = self.dentry
        if name == ".":
            return here
        if name == "..":
            return self.dotdot()
        pinned = here.pinned_child(name)
        if pinned is not None and pinned.d_mounted is not None:
            return follow_mount(pinned)
        if len(name) > NAME_MAX or (not name.isascii() and len(os.fsencode(name)) > NAME_MAX):
            return -errno.ENAMETOOLONG
        inode = here.inode.lookup(name)
        if isinstance(inode, int):
            return inode
        return here.child(name, inode)

    def dotdot(self) -> Dentry:
        """The parent directory; the root's is the root itself."""
        here = self.dentry
        if here is self.fs.root:
            return here
        here = follow_up(here)
        parent = here.parent
        if parent is None or here is self.fs.root:
            return here if parent is not None else self.dentry
        return follow_mount(parent)

    def pick_link(self, link: Dentry) -> str | int:
        """Follows a link from ``self.dentry``: its text, still to be walked from there (or from the root).

        "" where the link was a magic one: the walk stands at its end already.
        """
        self.links += 1
        if self.links > MAXSYMLINKS:
            return -errno.ELOOP
        magic = link.inode.get_link()
        if magic is not None:
            if isinstance(magic, int):
                return magic
            self.dentry = magic
            return ""
        text = link.inode.readlink()
        if isinstance(text, int):
            return text
        if not text:
            return -errno.ENOENT
        if text.startswith("/"):
            self.dentry = self.fs.root
        return text

    def step_last(self, follow: bool) -> Dentry | int:
        """Takes the last component, through links where ``follow`` or a slash behind it says so; the final dentry."""
        while True:
            if self.last_type == LAST_ROOT:
                return self.dentry
            child = self.step(self.last)
            if isinstance(child, int):
                return child
            if not child.inode.is_lnk() or not (follow or self.trailing):
                return child
            text = self.pick_link(child)
            if isinstance(text, int):
                return text
            if not text:
                return self.dentry
            err = self.link_path_walk(text)
            if err < 0:
                return err


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


def path_init(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, flags: int) -> Nameidata | int:
    """A walk at its start: the root, the working directory, or the directory that ``dfd`` is."""
    if len(path) >= PATH_MAX or (not path.isascii() and len(os.fsencode(path)) >= PATH_MAX):
        return -errno.ENAMETOOLONG
    if not path and not flags & LOOKUP_EMPTY:
        return -errno.ENOENT
    if path.startswith("/"):
        return Nameidata(fs, fs.root)
    if dfd == AT_FDCWD:
        return Nameidata(fs, fs.cwd)
    file = None if files is None else files.get_raw(dfd)
    if file is None:
        return -errno.EBADF
    if path and not file.inode.is_dir():
        return -errno.ENOTDIR
    return Nameidata(fs, file.dentry)


def filename_lookup(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str, flags: int) -> Dentry | int:
    """The dentry that ``path`` names from ``dfd``, or a negative errno.

    Args:
        flags: LOOKUP_FOLLOW, LOOKUP_DIRECTORY, LOOKUP_EMPTY.
    """
    nd = path_init(fs, files, dfd, path, flags)
    if isinstance(nd, int):
        return nd
    if not path:
        return nd.dentry
    err = nd.link_path_walk(path)
    if err < 0:
        return err
    found = nd.step_last(follow=bool(flags & LOOKUP_FOLLOW))
    if isinstance(found, int):
        return found
    if (nd.trailing or flags & LOOKUP_DIRECTORY) and not found.inode.is_dir():
        return -errno.ENOTDIR
    return found


def filename_parent(fs: FsStruct, files: "FilesStruct | None", dfd: int, path: str) -> Nameidata | int:
    """The walk, stopped before the last component of ``path``: its directory, its name, whether a slash follows."""
    nd = path_init(fs, files, dfd, path, 0)
    if isinstance(nd, int):
        return nd
    err = nd.link_path_walk(path)
    if err < 0:
        return err
    return nd
