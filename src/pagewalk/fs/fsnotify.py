"""Telling who watches: what happens to files and directories becomes events of inotify instances.

A mark is an instance's interest in one inode. An event of a file goes to its directory's marks, with the name, and to
its own, without.

Sources: inotify(7).

Mirrors: fs/notify/fsnotify.c, include/linux/fsnotify.h (6.18)
Differs: only what the model's own programs do is seen, not what the host does.
"""

from typing import TYPE_CHECKING, Final, final

from pagewalk.fs.fcntl import O_PATH
from pagewalk.mm.file import FMODE_WRITE

if TYPE_CHECKING:
    from pagewalk.fs.dcache import Dentry
    from pagewalk.fs.file import VfsFile
    from pagewalk.fs.inode import Inode
    from pagewalk.fs.inotify import InotifyFile

IN_ACCESS: Final = 0x1
IN_MODIFY: Final = 0x2
IN_ATTRIB: Final = 0x4
IN_CLOSE_WRITE: Final = 0x8
IN_CLOSE_NOWRITE: Final = 0x10
IN_OPEN: Final = 0x20
IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_EXCL_UNLINK: Final = 0x0400_0000
IN_ISDIR: Final = 0x4000_0000


@final
class Mark:
    """struct fsnotify_mark: what ``group`` wants to know of ``inode``, under the number ``wd``."""

    def __init__(self, group: "InotifyFile", inode: "Inode", wd: int, mask: int) -> None:
        self.group = group
        self.inode = inode
        self.wd = wd
        self.mask = mask


@final
class MarkCount:
    """How many marks there are in all machines: while there are none, nothing has to be looked at."""

    def __init__(self) -> None:
        self.count = 0
        self.cookie = 0


MARKS: Final = MarkCount()


def fsnotify(inode: "Inode", mask: int, name: str = "", cookie: int = 0, *, unlinked: bool = False) -> None:
    """An event of ``inode``: for a directory's entry, ``name`` is that (``unlinked``: or was)."""
    marks = inode.i_marks
    if marks is not None:
        for mark in list(marks):
            if mark.mask & mask and not (unlinked and mark.mask & IN_EXCL_UNLINK):
                mark.group.queue_event(mark, mask, cookie, name)


def fsnotify_dentry(dentry: "Dentry", mask: int) -> None:
    """An event of a file by its name: its directory is told first."""
    if not MARKS.count:
        return
    if dentry.inode.is_dir():
        mask |= IN_ISDIR
    if dentry.parent is not None:
        fsnotify(dentry.parent.inode, mask, dentry.name, unlinked=dentry.d_deleted)
    fsnotify(dentry.inode, mask)


def fsnotify_dirent(parent: "Inode", name: str, mask: int, *, is_dir: bool) -> None:
    """A name has come or gone."""
    if MARKS.count:
        fsnotify(parent, mask | (IN_ISDIR if is_dir else 0), name)


def fsnotify_access(file: "VfsFile", done: int) -> int:
    """``done`` bytes were read; hands that on."""
    if MARKS.count and done > 0:
        fsnotify_dentry(file.dentry, IN_ACCESS)
    return done


def fsnotify_modify(file: "VfsFile", done: int) -> int:
    """``done`` bytes were written; hands that on."""
    if MARKS.count and done > 0:
        fsnotify_dentry(file.dentry, IN_MODIFY)
    return done


def fsnotify_close(file: "VfsFile") -> None:
    """The last reference to an open file is dropped."""
    if MARKS.count and not file.f_flags & O_PATH:
        fsnotify_dentry(file.dentry, IN_CLOSE_WRITE if file.f_mode & FMODE_WRITE else IN_CLOSE_NOWRITE)


def fsnotify_move(old: "Inode", old_name: str, new: "Inode", new_name: str, moved: "Inode") -> None:
    """A rename."""
    if not MARKS.count:
        return
    MARKS.cookie += 1
    is_dir = IN_ISDIR if moved.is_dir() else 0
    fsnotify(old, IN_MOVED_FROM | is_dir, old_name, MARKS.cookie)
    fsnotify(new, IN_MOVED_TO | is_dir, new_name, MARKS.cookie)
    fsnotify(moved, IN_MOVE_SELF)


def inode_gone(inode: "Inode") -> None:
    """The inode has lost a name: where that was the last one, and only marks hold it, they are told and removed."""
    marks = inode.i_marks
    if marks and inode.i_nlink == 0 and inode.i_count <= len(marks):
        for mark in list(marks):
            if mark.mask & IN_DELETE_SELF:
                mark.group.queue_event(mark, IN_DELETE_SELF, 0, "")
            mark.group.remove_mark(mark)
