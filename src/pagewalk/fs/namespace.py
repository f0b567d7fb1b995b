"""What is mounted where: the tree of files that a program sees.

``host_namespace`` builds it: the host's files read-only at /, private memory at /tmp and /dev/shm, our own /dev,
/proc and
/sys, and the directories that the user made writable.

Mirrors: fs/namespace.c, fs/proc_namespace.c (6.18)
Differs: one namespace, put together at start; no mount(2).
"""

import os
import stat as hoststat
from typing import TYPE_CHECKING

from pagewalk.errors import ConfigError
from pagewalk.fs.dcache import Dentry, Mount, d_path, dget, follow_mount
from pagewalk.fs.devfs import DevSuper
from pagewalk.fs.fcntl import ST_RDONLY, ST_RELATIME
from pagewalk.fs.fs_struct import FsStruct
from pagewalk.fs.host_cache import HostCache
from pagewalk.fs.hostfs import HostSuper
from pagewalk.fs.inode import Inode, SuperBlock
from pagewalk.fs.stream import host_stream
from pagewalk.fs.tmpfs import TmpInode, TmpSuper

if TYPE_CHECKING:
    from pagewalk.fs.fdtable import FilesStruct
    from pagewalk.mm.system import System

__all__ = ["FsStruct", "Namespace", "host_namespace"]


class Namespace:
    """struct mnt_namespace: the mounts, in the order in which they were made.

    root    the root directory of the first mount
    cache   the page cache's side of host files
    """

    def __init__(self, system: "System", root_sb: SuperBlock, root_inode: Inode, cache: HostCache, source: str) -> None:
        self.system = system
        self.cache = cache
        self.mounts: list[Mount] = []
        self.next_minor = _free_minor()
        options = "ro,relatime" if root_sb.read_only else "rw,relatime"
        self.root: Dentry = self._mount(root_sb, root_inode, source, options, None)

    def _mount(self, sb: SuperBlock, inode: Inode, source: str, options: str, where: Dentry | None) -> Dentry:
        flags = ST_RELATIME | (ST_RDONLY if options.startswith("ro") else 0)
        mnt = Mount(20 + len(self.mounts), sb, source, options, flags)
        sb.belongs_to(self.system.slab)
        root = dget(Dentry("/", None, inode, mnt))
        mnt.mnt_root = root
        if where is not None:
            where = dget(where)
            where.d_mounted = mnt
            mnt.mnt_mountpoint = where
            mnt.parent_id = where.mnt.mnt_id
        self.mounts.append(mnt)
        return root

    def anon_dev(self) -> tuple[int, int]:
        """A device number for a file system without a device, not in use on the host."""
        self.next_minor += 1
        return (0, self.next_minor - 1)

    def mount(self, path: str, sb: SuperBlock, inode: Inode, source: str, options: str) -> Dentry:
        """Mounts ``sb`` at ``path`` (absolute, without links) and returns its root. What was mounted exactly there is
        replaced.

        A mount point that does not exist is one all the same, though no directory lists it.
        """
        here = self.root
        for name in path.strip("/").split("/"):
            pinned = here.pinned_child(name)
            if pinned is not None:
                here = pinned if pinned.d_mounted is None else follow_mount(pinned)
                continue
            found = here.inode.lookup(name)
            if isinstance(found, int) and isinstance(here.inode, TmpInode):
                here.inode.mkdir(name, 0o755, 0, 0)  # a directory of the host below /tmp
                found = here.inode.lookup(name)
            here = here.child(name, inode if isinstance(found, int) else found)
        if here.parent is None and here is not self.root:
            return self._replace(here.mnt, sb, inode, source, options)
        return self._mount(sb, inode, source, options, here)

    def _replace(self, mnt: Mount, sb: SuperBlock, inode: Inode, source: str, options: str) -> Dentry:
        mnt.sb = sb
        mnt.source = source
        mnt.options = options
        sb.belongs_to(self.system.slab)
        root = dget(Dentry("/", None, inode, mnt))
        mnt.mnt_root = root
        return root

    def show(self, path: str) -> None:
        """Makes the host's directory or file ``path`` (absolute) visible where private memory hides it, read-only.

        What is mounted at or below it stays. Nothing happens where ``path`` is not hidden, or is no such thing.
        """
        place = os.path.realpath(path)
        if not place.startswith("/tmp/") or not os.path.exists(place):
            return
        mounted = [(_mount_path(mnt, self.root), mnt) for mnt in self.mounts]
        if any(place == where or place.startswith(where + "/") for where, _ in mounted if where.startswith("/tmp/")):
            return
        inner = [(where, mnt) for where, mnt in mounted if where.startswith(place + "/")]
        parent = place if os.path.isdir(place) else os.path.dirname(place)
        sb = HostSuper(self.system, self.cache, parent, writable=False)
        sb.fstype = self.root.mnt.sb.fstype
        inode: Inode | int = sb.root if parent == place else sb.root.lookup(os.path.basename(place))
        if isinstance(inode, int):
            return
        source = self.mounts[0].source
        self.mount(place, sb, inode, source, "ro,relatime")
        for where, mnt in inner:
            assert mnt.mnt_root is not None
            self.mount(where, mnt.sb, mnt.mnt_root.inode, mnt.source, mnt.options)

    def install_std_streams(self, files: "FilesStruct") -> None:
        """Descriptors 0, 1 and 2 are the host's; one that the host has closed stays closed."""
        for fd in (0, 1, 2):
            stream = host_stream(self.system, self.cache, fd)
            if stream is not None:
                files.install(stream, cloexec=False, lowest=fd)

    def sync(self) -> int:
        """Writes dirty host files back; 0 or the first error."""
        return self.cache.sync()

    def close(self) -> None:
        """The machine is closed: writes back, and gives the host's descriptors back. Nothing works afterwards."""
        self.cache.close()
        for mnt in self.mounts:
            mnt.sb.close()

    def mounts_text(self, root: Dentry) -> str:
        """/proc/PID/mounts."""
        return "".join(
            f"{_mangle(mnt.source)} {_mangle(_mount_path(mnt, root))} {mnt.sb.fstype} {mnt.options} 0 0\n"
            for mnt in self.mounts
        )

    def mountinfo_text(self, root: Dentry) -> str:
        """/proc/PID/mountinfo."""
        lines = []
        for mnt in self.mounts:
            major, minor = mnt.sb.s_dev
            access = mnt.options.split(",")[0]
            lines.append(
                f"{mnt.mnt_id} {mnt.parent_id if mnt.mnt_mountpoint is not None else 1} {major}:{minor} / "
                f"{_mangle(_mount_path(mnt, root))} {mnt.options} - {mnt.sb.fstype} {_mangle(mnt.source)} {access}\n"
            )
        return "".join(lines)


def _mount_path(mnt: Mount, root: Dentry) -> str:
    assert mnt.mnt_root is not None
    return d_path(mnt.mnt_root, root)


def _mangle(text: str) -> str:
    """Octal for what would break a line of /proc/mounts."""
    for char in "\\ \t\n#":
        text = text.replace(char, f"\\{ord(char):03o}")
    return text


def _host_mounts() -> list[list[str]]:
    """The fields of each line of the host's mountinfo."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            return [line.split() for line in lines]
    except OSError:
        return []


def _free_minor() -> int:
    """Above every anonymous device number of the host."""
    highest = 20
    for fields in _host_mounts():
        major, _, minor = fields[2].partition(":")
        if major == "0" and int(minor) > highest:
            highest = int(minor)
    return highest + 1


def _host_root() -> tuple[str, str]:
    """(source, file system type) of the host's root."""
    for fields in _host_mounts():
        if fields[4] == "/" and "-" in fields:
            at = fields.index("-")
            return fields[at + 2], fields[at + 1]
    return "host", "ext4"


def host_namespace(system: "System", rw_dirs: list[str], warm: bool) -> Namespace:
    """The tree that ``pagewalk run`` gives a program.

    Args:
        rw_dirs: directories of the host that the program may change; links in their names are resolved now.
        warm: host files count as cached before they are first read.

    Raises:
        ConfigError: a directory of ``rw_dirs`` is none, or lies in /proc, /sys or /dev.
    """
    cache = HostCache(system, warm)
    places = [_check_rw(name) for name in rw_dirs]
    source, fstype = _host_root()
    root_sb = HostSuper(system, cache, "/", writable="/" in places)
    root_sb.fstype = fstype
    ns = Namespace(system, root_sb, root_sb.root, cache, source)
    for path in ("/proc", "/sys"):
        empty = TmpSuper(system, ns.anon_dev(), 0o555)
        empty.read_only = True
        ns.mount(path, empty, empty.root, "none", "ro,relatime")
    dev = DevSuper(system, ns.anon_dev(), cache)
    ns.mount("/dev", dev, dev.root, "devtmpfs", "rw,relatime")
    for path in ("/dev/shm", "/tmp"):
        tmp = TmpSuper(system, ns.anon_dev())
        ns.mount(path, tmp, tmp.root, "tmpfs", "rw,relatime")
    for place in sorted(set(places)):
        if place != "/":
            sb = HostSuper(system, cache, place, writable=True)
            sb.fstype = fstype
            ns.mount(place, sb, sb.root, source, "rw,relatime")
    return ns


def _check_rw(name: str) -> str:
    path = os.path.realpath(name)
    try:
        mode = os.stat(path).st_mode
    except OSError as err:
        raise ConfigError(f"--rw {name}: {err.strerror}") from err
    if not hoststat.S_ISDIR(mode):
        raise ConfigError(f"--rw {name}: expected a directory")
    for ours in ("/proc", "/sys", "/dev"):
        if path == ours or path.startswith(ours + "/"):
            raise ConfigError(f"--rw {name}: {ours} is not the host's, expected a directory elsewhere")
    return path
