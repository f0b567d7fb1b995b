"""A part of /proc or /sys whose files are a table: path, mode, what it says, what a write does.

Mirrors: fs/proc/proc_sysctl.c, fs/sysfs/dir.c (6.18)
Differs: nothing.
"""

import errno
from collections.abc import Callable

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import S_IFDIR, S_IFREG
from pagewalk.fs.file import VfsFile
from pagewalk.fs.inode import Inode
from pagewalk.fs.procfs.inodes import ProcDir, ProcInode, ProcSuper

TextMaker = Callable[[ProcSuper], str]
TextStore = Callable[[ProcSuper, bytes], int]
FileOpener = Callable[[ProcInode, Dentry, int], VfsFile]


class TextSpec:
    """One file. ``store`` answers the bytes taken or a negative errno; None where writing is -EINVAL. ``opener`` makes
    the open file where it is more than a text."""

    def __init__(
        self, mode: int, make: TextMaker, store: TextStore | None = None, opener: FileOpener | None = None
    ) -> None:
        self.mode = mode
        self.make = make
        self.store = store
        self.opener = opener


class Tree:
    """Files by path below some directory, and the directories that they need.

    size   what stat(2) says of each file: 0 in /proc, 4096 in /sys
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.files: dict[str, TextSpec] = {}
        self.dirs: dict[str, list[str]] = {"": []}

    def add(self, path: str, spec: TextSpec) -> None:
        """Adds a file and its directories."""
        self.files[path] = spec
        while path:
            parent, _, name = path.rpartition("/")
            new = parent not in self.dirs
            names = self.dirs.setdefault(parent, [])
            if name not in names:
                names.append(name)
            if not new and parent == "":
                break
            path = parent

    def add_dir(self, path: str) -> None:
        """Adds a directory without files: a mount point."""
        self.dirs.setdefault(path, [])
        while path:
            parent, _, name = path.rpartition("/")
            names = self.dirs.setdefault(parent, [])
            if name not in names:
                names.append(name)
            path = parent

    def remove(self, path: str) -> None:
        """Takes a file or a directory out, with all below it, where there is one."""
        parent, _, name = path.rpartition("/")
        if name in self.dirs.get(parent, ()):
            self.dirs[parent].remove(name)
        for table in (self.files, self.dirs):
            for found in [each for each in table if each == path or each.startswith(f"{path}/")]:
                table.pop(found)


class TreeDir(ProcDir):
    """A directory of a tree; ``path`` is within the tree."""

    def __init__(self, sb: ProcSuper, key: str, tree: Tree, path: str) -> None:
        super().__init__(sb, key, 0o555)
        self.tree = tree
        self.path = path

    def _below(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name

    def names(self) -> list[tuple[str, int]]:
        """As they were added."""
        return [
            (name, S_IFREG if self._below(name) in self.tree.files else S_IFDIR) for name in self.tree.dirs[self.path]
        ]

    def child(self, name: str) -> Inode | int:
        """A file or a directory of the table."""
        path = self._below(name)
        key = f"{self.key}/{name}"
        spec = self.tree.files.get(path)
        if spec is not None:
            return TreeText(self.proc, key, spec, self.tree.size)
        return TreeDir(self.proc, key, self.tree, path) if path in self.tree.dirs else -errno.ENOENT


class TreeText(ProcInode):
    """A file of a tree."""

    def __init__(self, sb: ProcSuper, key: str, spec: TextSpec, size: int) -> None:
        super().__init__(sb, key, S_IFREG | spec.mode)
        self.spec = spec
        self.shown_size = size

    def size(self) -> int:
        """What the tree says."""
        return self.shown_size

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """As a text, or as the table says."""
        return super().open(dentry, flags) if self.spec.opener is None else self.spec.opener(self, dentry, flags)

    def text(self) -> bytes | int:
        """What the table says."""
        if not self.spec.mode & 0o444:
            return -errno.EPERM
        return self.spec.make(self.proc).encode("utf-8", "surrogateescape")

    def store(self, data: bytes) -> int:
        """What the table does."""
        return -errno.EINVAL if self.spec.store is None else self.spec.store(self.proc, data)
