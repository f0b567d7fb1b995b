"""/dev: the few devices that programs use, of our own making. The host's device files are never opened.

Sources: null(4), full(4), random(4), tty(4).

Mirrors: drivers/char/mem.c, drivers/char/random.c, drivers/base/devtmpfs.c (6.18)
Differs: random and urandom give the machine's seeded numbers; no ptmx; /dev/tty is the host's terminal.
"""

import errno
import os
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import (
    O_ACCMODE,
    S_IFCHR,
    S_IFDIR,
    S_IFMT,
    SEEK_CUR,
    SEEK_END,
    SEEK_SET,
    TMPFS_MAGIC,
)
from pagewalk.fs.file import VfsFile
from pagewalk.fs.host_cache import HostCache
from pagewalk.fs.hoststat import host_statx
from pagewalk.fs.inode import Inode
from pagewalk.fs.stat import Statfs
from pagewalk.fs.stream import HostStream, StreamInode, StreamSuper, host_stream
from pagewalk.fs.tmpfs import TmpBase, TmpInode
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE
from pagewalk.mm.shmem import shmem_zero_setup
from pagewalk.mm.vma import VM_SHARED, Vma

if TYPE_CHECKING:
    from pagewalk.mm.system import System

# Which device a file is.
_NULL: Final = 3
_ZERO: Final = 5
_FULL: Final = 7
_RANDOM: Final = 8
_URANDOM: Final = 9

_MAX_RW_COUNT: Final = 0x7FFFF000


class MemFile(VfsFile):
    """An open null, zero, full, random or urandom (by minor number of major 1)."""

    def __init__(self, system: "System", dentry: Dentry, flags: int, minor: int) -> None:
        super().__init__(system, dentry, flags)
        self.minor = minor
        self.thp_aligned = minor == _ZERO

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """Nothing, zeros, or random bytes."""
        if not self.f_mode & FMODE_READ:
            return -errno.EBADF
        count = min(count, _MAX_RW_COUNT)
        if self.minor == _NULL:
            return b""
        if self.minor == _ZERO or self.minor == _FULL:
            return bytes(count)
        return self.system.random.randbytes(count)

    def write(self, data: bytes, pos: int = -1) -> int:
        """Swallowed; /dev/full has no space."""
        if not self.f_mode & FMODE_WRITE:
            return -errno.EBADF
        return -errno.ENOSPC if self.minor == _FULL else len(data)

    def lseek(self, offset: int, whence: int) -> int:
        """null, zero and full stay at 0; random devices do not care either."""
        if self.minor in (_NULL, _ZERO, _FULL):
            self.f_pos = 0
            return 0
        if whence not in (SEEK_SET, SEEK_CUR, SEEK_END):
            return -errno.EINVAL
        return 0

    def can_mmap(self) -> bool:
        """Only zero can be mapped."""
        return self.minor == _ZERO

    def mmap(self, vma: Vma) -> int:
        """/dev/zero: shared memory where the mapping is shared, anonymous memory where it is private."""
        if self.minor != _ZERO:
            return -errno.ENODEV
        if vma.vm_flags & VM_SHARED:
            return shmem_zero_setup(vma)
        return 0


class DevInode(TmpInode):
    """A device file, a link or the directory."""

    def __init__(self, sb: "DevSuper", mode: int, rdev: tuple[int, int]) -> None:
        super().__init__(sb, mode)
        self.dev_sb = sb
        self.i_rdev = rdev

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """Opens the device."""
        if self.i_mode & S_IFMT != S_IFCHR:
            return super().open(dentry, flags)
        major, minor = self.i_rdev
        if major == 1:
            return MemFile(self.system, dentry, flags, minor)
        return open_tty(self.system, self.dev_sb.cache, flags)


def open_tty(system: "System", cache: HostCache, flags: int) -> VfsFile | int:
    """/dev/tty: the terminal that controls this process on the host; ENXIO where there is none."""
    try:
        fd = os.open("/dev/tty", flags & O_ACCMODE | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -errno.ENXIO
    stream = host_stream(system, cache, fd, owned=True)
    if stream is None:
        os.close(fd)
        return -errno.ENXIO
    return stream


class HostTtyInode(StreamInode):
    """/dev/pts/N and the like: the terminal of a standard stream, under the host's name."""

    def open(self, dentry: Dentry, flags: int) -> VfsFile | int:
        """The host opens its terminal again."""
        file = super().open(dentry, flags)
        if isinstance(file, HostStream):
            return file
        return -errno.EACCES if isinstance(file, int) else file


class DevSuper(TmpBase):
    """The file system at /dev: a tmpfs that holds device files. Nothing can be made in it."""

    def __init__(self, system: "System", s_dev: tuple[int, int], cache: HostCache) -> None:
        super().__init__(system, s_dev)
        self.fstype = "devtmpfs"
        self.cache = cache
        self.ttys: dict[str, Inode] = {}
        self.root: DevRoot = DevRoot(self)
        for name, major, minor in (
            ("null", 1, _NULL), ("zero", 1, _ZERO), ("full", 1, _FULL), ("random", 1, _RANDOM),
            ("urandom", 1, _URANDOM),
            ("tty", 5, 0),
        ):  # fmt: skip
            self.root.add_entry(name, DevInode(self, S_IFCHR | 0o666, (major, minor)))
        for name, target in (
            ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ):  # fmt: skip
            self.root.symlink(name, target, 0, 0)
        for name in ("shm", "pts"):
            self.root.mkdir(name, 0o755, 0, 0)
        self._add_ttys()
        self.read_only = True

    def _add_ttys(self) -> None:
        """The terminals of the host's standard streams, so that ttyname(3) finds them."""
        for fd in (0, 1, 2):
            try:
                name = os.ttyname(fd) if os.isatty(fd) else ""
            except OSError:
                continue
            st = host_statx(fd, "")
            if name.startswith("/dev/") and not isinstance(st, int):
                parts = name[5:].split("/")
                where = self.root if len(parts) == 1 else self.root.entry(parts[0])
                if where is not None and len(parts) <= 2:
                    inode = HostTtyInode(self.system, StreamSuper(st.st_dev, fd), st, fd, self.cache)
                    where.foreign[parts[-1]] = inode

    def statfs(self) -> Statfs:
        """As a tmpfs."""
        sf = super().statfs()
        sf.f_type = TMPFS_MAGIC
        return sf


class DevRoot(DevInode):
    """A directory of /dev.

    foreign   terminals of the host, by name
    """

    def __init__(self, sb: DevSuper) -> None:
        super().__init__(sb, S_IFDIR | 0o755, (0, 0))
        self.foreign: dict[str, Inode] = {}

    def add_entry(self, name: str, inode: TmpInode) -> None:
        """Puts a device into the directory."""
        self._add(name, inode)

    def entry(self, name: str) -> "DevRoot | None":
        """A subdirectory."""
        found = self.entries.get(name)
        return found[0] if found is not None and isinstance(found[0], DevRoot) else None

    def mkdir(self, name: str, mode: int, uid: int, gid: int) -> int:
        """A subdirectory (while /dev is put together)."""
        assert isinstance(self.dev_sb, DevSuper)
        self._add(name, DevRoot(self.dev_sb))
        self.i_nlink += 1
        return 0

    def lookup(self, name: str) -> Inode | int:
        """A device."""
        foreign = self.foreign.get(name)
        return foreign if foreign is not None else super().lookup(name)
