"""Names: the tree of dentries in use, mounts, and the path of a dentry.

A dentry that nobody holds is a throw-away: the walk makes it and drops it. One that is held (an open file, a working
directory, a mount point) is pinned: it stands in its parent's ``d_children``, there is one for each name, and
rename and unlink act on it, so that /proc/self/fd and /proc/self/maps tell the new name or " (deleted)".

Mirrors: fs/dcache.c, fs/d_path.c, fs/mount.h (6.18)
Differs: no cache of names beyond those in use, no negative dentries; a dentry belongs to one mount (no bind mounts).
"""

from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from pagewalk.fs.inode import Inode, SuperBlock
    from pagewalk.mm.file import File


class Mount:
    """struct mount: a file system at a place.

    mnt_id, parent_id   as /proc/self/mountinfo has them
    mnt_root            the root dentry of the file system
    mnt_mountpoint      the dentry that it covers; None for the root of the namespace
    source, options     columns of /proc/mounts
    st_flags            ST_* for statfs(2)
    """

    def __init__(self, mnt_id: int, sb: "SuperBlock", source: str, options: str, st_flags: int) -> None:
        self.mnt_id = mnt_id
        self.sb = sb
        self.source = source
        self.options = options
        self.st_flags = st_flags
        self.parent_id = mnt_id
        self.mnt_root: Dentry | None = None
        self.mnt_mountpoint: Dentry | None = None
        self.noexec = False


class Dentry:
    """struct dentry: ``name`` in ``parent`` is ``inode``.

    parent      None for the root of a file system (``mnt.mnt_mountpoint`` leads on)
    d_count     holders: open files, working directories, mounts, pinned children
    d_children  the pinned children by name
    d_mounted   what is mounted here
    d_deleted   unlinked while held
    d_files     open files through this dentry, whose ``path`` follows a rename
    """

    def __init__(self, name: str, parent: Optional["Dentry"], inode: "Inode", mnt: Mount) -> None:
        self.name = name
        self.parent = parent
        self.inode = inode
        self.mnt = mnt
        self.d_count = 0
        self.d_children: dict[str, Dentry] | None = None
        self.d_mounted: Mount | None = None
        self.d_deleted = False
        self.d_files: list[File] | None = None

    def child(self, name: str, inode: "Inode") -> "Dentry":
        """The dentry of ``name`` here, which is ``inode``: the pinned one if there is one."""
        if self.d_children is not None:
            known = self.d_children.get(name)
            if known is not None and known.inode.is_same(inode):
                return known
        return Dentry(name, self, inode, self.mnt)

    def pinned_child(self, name: str) -> Optional["Dentry"]:
        """The pinned dentry of ``name``, whatever its inode."""
        return None if self.d_children is None else self.d_children.get(name)


def dget(dentry: Dentry) -> Dentry:
    """Takes a reference; the first one pins the dentry. Returns the dentry to hold, which may be an earlier twin."""
    parent = dentry.parent
    if dentry.d_count == 0 and parent is not None and not dentry.d_deleted:
        twin = parent.pinned_child(dentry.name)
        if twin is not None and twin.inode.is_same(dentry.inode):
            dentry = twin
        else:
            held = dget(parent)
            dentry.parent = held
            if held.d_children is None:
                held.d_children = {}
            if twin is not None:
                twin.d_deleted = True  # the name means another file now: changed behind our back
            held.d_children[dentry.name] = dentry
    if dentry.d_count == 0:
        dentry.inode = dentry.inode.igrab()
        slab = dentry.inode.i_sb.slab
        if slab is not None:
            slab.dentry.alloc()
    dentry.d_count += 1
    return dentry


def dput(dentry: Dentry) -> None:
    """Drops a reference; the last one unpins the dentry."""
    dentry.d_count -= 1
    if dentry.d_count > 0:
        return
    parent = dentry.parent
    slab = dentry.inode.i_sb.slab
    if slab is not None:
        slab.dentry.free()
    dentry.inode.iput()
    if parent is not None:
        if parent.d_children is not None and parent.d_children.get(dentry.name) is dentry:
            del parent.d_children[dentry.name]
        dput(parent)


def d_delete(parent: Dentry, name: str) -> None:
    """The name is gone: a pinned dentry becomes a deleted one."""
    dentry = parent.pinned_child(name)
    if dentry is not None and parent.d_children is not None:
        del parent.d_children[name]
        dentry.d_deleted = True
        _update_paths(dentry)


def d_move(parent: Dentry, name: str, to: Dentry, to_name: str) -> None:
    """A rename has happened: the pinned dentry of the old name, if any, now is the new name; the victim's is
    deleted."""
    d_delete(to, to_name)
    dentry = parent.pinned_child(name)
    if dentry is not None and parent.d_children is not None:
        del parent.d_children[name]
        _rehash(dentry, parent, to, to_name)


def d_exchange(parent: Dentry, name: str, to: Dentry, to_name: str) -> None:
    """As ``d_move`` for RENAME_EXCHANGE: each pinned dentry takes the other's place."""
    one = parent.pinned_child(name)
    other = to.pinned_child(to_name)
    if one is not None and parent.d_children is not None:
        del parent.d_children[name]
    if other is not None and to.d_children is not None:
        del to.d_children[to_name]
    if one is not None:
        _rehash(one, parent, to, to_name)
    if other is not None:
        _rehash(other, to, parent, name)


def _rehash(dentry: Dentry, parent: Dentry, to: Dentry, to_name: str) -> None:
    held = dget(to)
    if held.d_children is None:
        held.d_children = {}
    held.d_children[to_name] = dentry
    dentry.parent = held
    dentry.name = to_name
    dput(parent)
    _update_paths(dentry)


def _update_paths(dentry: Dentry) -> None:
    """Tells the open files below ``dentry`` their new path."""
    if dentry.d_files is not None:
        path = d_path(dentry, None)
        for file in dentry.d_files:
            file.path = path
    if dentry.d_children is not None:
        for child in dentry.d_children.values():
            _update_paths(child)


def follow_up(dentry: Dentry) -> Dentry:
    """The place that ``dentry`` has in the whole tree: a mount's root becomes the dentry that it covers."""
    while dentry.parent is None:
        mountpoint = dentry.mnt.mnt_mountpoint
        if mountpoint is None:
            break
        dentry = mountpoint
    return dentry


def follow_mount(dentry: Dentry) -> Dentry:
    """What is seen at ``dentry``: the root of the topmost mount on it."""
    while dentry.d_mounted is not None:
        root = dentry.d_mounted.mnt_root
        assert root is not None
        dentry = root
    return dentry


def d_path(dentry: Dentry, root: Dentry | None) -> str:
    """The absolute path, seen from ``root`` (None: the namespace's); " (deleted)" follows where the name is gone.

    Outside ``root`` the path is what leads up to the real root, as /proc shows it.
    """
    parts: list[str] = []
    deleted = dentry.d_deleted
    here = dentry
    while True:
        if root is not None and here is root:
            break
        here = follow_up(here)
        if root is not None and here is root:
            break
        parent = here.parent
        if parent is None:
            break
        parts.append(here.name)
        here = parent
    parts.reverse()
    path = "/" + "/".join(parts)
    return path + " (deleted)" if deleted else path


def is_unreachable(dentry: Dentry, root: Dentry) -> bool:
    """Whether ``root`` is not above ``dentry`` (after chroot, or in a removed directory)."""
    here = dentry
    while here is not root:
        here = follow_up(here)
        if here is root:
            return False
        parent = here.parent
        if parent is None:
            return True
        here = parent
    return False
