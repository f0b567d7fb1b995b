"""An open file: what every descriptor refers to, and the files that need no file system (O_PATH, directories).

Mirrors: fs/file_table.c, fs/open.c, fs/readdir.c, fs/read_write.c (6.18)
Differs: a directory is read as it was when it was last rewound.
"""

import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.fs.dcache import Dentry, Mount, d_path, dget, dput, follow_up
from pagewalk.fs.fcntl import (
    DT_DIR,
    O_ACCMODE,
    O_CREATION,
    O_NONBLOCK,
    O_PATH,
    O_RDWR,
    O_WRONLY,
    SEEK_CUR,
    SEEK_SET,
)
from pagewalk.fs.fsnotify import fsnotify_close
from pagewalk.fs.inode import Dirent, Inode
from pagewalk.fs.stat import Stat
from pagewalk.fs.wait import WaitQueueHead
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE, File

if TYPE_CHECKING:
    from pagewalk.fs.eventpoll import EpItem
    from pagewalk.mm.system import System

# What read, write and open answer when they must wait: no errno. The caller waits and calls again.
WOULD_BLOCK: Final = -100000

_DIRENT64: Final = struct.Struct("<QqHB")
_DIRENT: Final = struct.Struct("<QQH")
_DIRENT_32: Final = struct.Struct("<IIH")


class VfsFile(File):
    """struct file with its name and inode.

    dentry   pinned while the file is open. A pipe, a socket, a memfd have one of their own that no directory lists.
    inode    the dentry's
    mode_bits  i_mode at open time (the type of a file does not change)
    f_ep       what watches it in epoll instances, None where nothing ever did
    """

    def __init__(self, system: "System", dentry: Dentry, flags: int) -> None:
        access = flags & O_ACCMODE
        f_mode = FMODE_WRITE if access == O_WRONLY else FMODE_READ | FMODE_WRITE if access == O_RDWR else FMODE_READ
        if flags & O_PATH:
            f_mode = 0
        dentry.inode.i_sb.belongs_to(system.slab)
        system.slab.filp.alloc()
        dentry = dget(dentry)
        super().__init__(dentry.name if dentry.mnt.mnt_root is None else d_path(dentry, None), f_mode)
        self.system = system
        self.f_flags = flags & ~O_CREATION
        self.dentry = dentry
        self.inode: Inode = dentry.inode
        self.st_dev = self.inode.i_sb.s_dev
        self.st_ino = self.inode.i_ino
        self.noexec = dentry.mnt.noexec or self.inode.i_sb.noexec
        if dentry.d_files is None:
            dentry.d_files = []
        dentry.d_files.append(self)
        self.f_ep: list[EpItem] | None = None

    def put(self) -> None:
        """Drops a reference; with the last one the file leaves the epoll instances that watch it, and is released."""
        self.f_count -= 1
        if self.f_count == 0:
            if self.f_ep is not None:
                for item in list(self.f_ep):
                    item.detach()
            if self.inode.i_flctx is not None:
                self.inode.i_flctx.remove_owner(self)
            fsnotify_close(self)
            self.release()

    def release(self) -> None:
        """The last reference is gone: the name is let go."""
        if self.dentry.d_files is not None and self in self.dentry.d_files:
            self.dentry.d_files.remove(self)
        self.system.slab.filp.free()
        dput(self.dentry)

    @property
    def nonblock(self) -> bool:
        """Opened or set O_NONBLOCK."""
        return bool(self.f_flags & O_NONBLOCK)

    def getattr(self) -> Stat | int:
        """fstat(2)."""
        return self.inode.getattr()

    def flush(self) -> int:
        """One descriptor is closed (close(2) reports what it answers)."""
        return 0

    def unread(self, data: bytes) -> None:
        """``data``, the end of what the last read gave, could not be delivered: where it can, it is as if unread."""
        if self.lseek(0, SEEK_CUR) >= 0:
            self.lseek(-len(data), SEEK_CUR)

    def open_pending(self) -> bool:
        """Whether open(2) has to wait before it may give the file out (a FIFO without its other side)."""
        return False

    def can_pread(self) -> bool:
        """Whether it has positions to read and write at (FMODE_PREAD)."""
        return self.lseek(0, SEEK_CUR) != -errno.ESPIPE

    def can_splice(self) -> bool:
        """Whether splice(2) takes it (it has splice_read and splice_write)."""
        return True

    def can_poll(self) -> bool:
        """Whether the file has a poll method of its own (file_can_poll): epoll(7) takes no others."""
        return False

    def host_fds(self) -> list[tuple[int, int]]:
        """The host's descriptors whose readiness is this file's, each with the poll bits to wait for."""
        return []

    def wchan(self, events: int) -> str:
        """What Linux calls the place where a task waits for POLLIN or POLLOUT of this file (/proc/PID/wchan)."""
        return "wait_woken"

    def wait_queues(self) -> list[WaitQueueHead]:
        """The queues whose waiters are told when ``poll`` may answer something new; none for files that are always
        ready, and for the host's streams, which the host tells of."""
        return []

    def write_goes_on(self) -> bool:
        """Whether a write that took only a part waits to write the rest: into pipes and terminals it does."""
        return False

    def pidfd_pid(self) -> int:
        """The process that a pidfd is for; 0 for any other file."""
        return 0

    def getdents64(self, count: int) -> bytes | int:
        """Up to ``count`` bytes of packed struct linux_dirent64; b"" at the end."""
        return -errno.ENOTDIR

    def getdents(self, count: int) -> bytes | int:
        """Up to ``count`` bytes of packed struct linux_dirent (the old getdents)."""
        return -errno.ENOTDIR

    def getdents_32(self, count: int) -> bytes | int:
        """The same for a 32-bit program."""
        return -errno.ENOTDIR

    def ioctl_bytes(self, cmd: int, data: bytes) -> bytes | int:
        """ioctl(2): ``data`` was copied from the argument, the answer is copied to it (see ``fs/ioctl.py``)."""
        return -errno.ENOTTY

    def add_seals(self, seals: int) -> int:
        """fcntl(2) F_ADD_SEALS."""
        return -errno.EINVAL

    def get_seals(self) -> int:
        """fcntl(2) F_GET_SEALS."""
        return -errno.EINVAL

    def set_pipe_size(self, size: int) -> int:
        """fcntl(2) F_SETPIPE_SZ; the new size in bytes."""
        return -errno.EBADF

    def pipe_size(self) -> int:
        """fcntl(2) F_GETPIPE_SZ."""
        return -errno.EBADF

    def fdinfo(self) -> str:
        """The lines of /proc/PID/fdinfo/N behind the common ones."""
        return ""


class PathFile(VfsFile):
    """An O_PATH descriptor: a place, nothing to read or write."""

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """EBADF, like every other use of its contents."""
        return -errno.EBADF

    def write(self, data: bytes, pos: int = -1) -> int:
        """EBADF."""
        return -errno.EBADF

    def lseek(self, offset: int, whence: int) -> int:
        """EBADF."""
        return -errno.EBADF

    def fsync(self) -> int:
        """EBADF."""
        return -errno.EBADF

    def ftruncate(self, length: int) -> int:
        """EBADF."""
        return -errno.EBADF

    def getdents64(self, count: int) -> bytes | int:
        """EBADF."""
        return -errno.EBADF

    def ioctl_bytes(self, cmd: int, data: bytes) -> bytes | int:
        """EBADF."""
        return -errno.EBADF


class DirFile(VfsFile):
    """An open directory. Positions: 0 is ".", 1 is "..", then what the file system gives (``Dirent.d_off``)."""

    def __init__(self, system: "System", dentry: Dentry, flags: int) -> None:
        super().__init__(system, dentry, flags)
        self.entries: list[Dirent] | None = None
        self.next_entry = 0

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """A directory is not read as bytes: EISDIR."""
        return -errno.EISDIR

    def write(self, data: bytes, pos: int = -1) -> int:
        """Never open for writing: EBADF."""
        return -errno.EBADF

    def lseek(self, offset: int, whence: int) -> int:
        """Goes to a ``d_off``; 0 reads the directory anew."""
        if whence == SEEK_CUR:
            offset += self.f_pos
        elif whence != SEEK_SET:
            return -errno.EINVAL
        if offset < 0:
            return -errno.EINVAL
        if offset != self.f_pos:
            self.entries = None
        self.f_pos = offset
        return offset

    def fsync(self) -> int:
        """Nothing to write: names are never behind."""
        return 0

    def ftruncate(self, length: int) -> int:
        """EINVAL."""
        return -errno.EINVAL

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """EBADF: never open for writing."""
        return -errno.EBADF

    def _fill(self) -> int:
        """Reads the directory from ``f_pos`` on; 0 or a negative errno."""
        listed = self.inode.readdir(self.f_pos)
        if isinstance(listed, int):
            return listed
        entries: list[Dirent] = []
        if self.f_pos <= 0:
            entries.append(Dirent(".", self.inode.i_ino, DT_DIR, 1))
        if self.f_pos <= 1:
            parent = follow_up(self.dentry).parent
            entries.append(Dirent("..", self.inode.i_ino if parent is None else parent.inode.i_ino, DT_DIR, 2))
        entries.extend(listed)
        self.entries = entries
        self.next_entry = 0
        return 0

    def _getdents(self, count: int, is64: bool, narrow: bool = False) -> bytes | int:
        if self.dentry.d_deleted:
            return -errno.ENOENT
        if self.entries is None or self.f_pos == 0:
            err = self._fill()
            if err < 0:
                return err
        assert self.entries is not None
        out = bytearray()
        while self.next_entry < len(self.entries):
            entry = self.entries[self.next_entry]
            name = os.fsencode(entry.name)
            reclen = (len(name) + 12 + 3) & ~3 if narrow else (len(name) + 20 + 7) & ~7
            if len(out) + reclen > count:
                return bytes(out) if out else -errno.EINVAL
            if is64:
                out += _DIRENT64.pack(entry.d_ino, entry.d_off, reclen, entry.d_type)
                out += name.ljust(reclen - 19, b"\0")
            elif narrow:
                out += _DIRENT_32.pack(entry.d_ino & 0xFFFF_FFFF, entry.d_off & 0xFFFF_FFFF, reclen)
                out += name.ljust(reclen - 11, b"\0") + bytes((entry.d_type,))
            else:
                out += _DIRENT.pack(entry.d_ino, entry.d_off, reclen)
                out += name.ljust(reclen - 19, b"\0") + bytes((entry.d_type,))
            self.next_entry += 1
            self.f_pos = entry.d_off
        return bytes(out)

    def getdents64(self, count: int) -> bytes | int:
        """getdents64(2)."""
        return self._getdents(count, is64=True)

    def getdents(self, count: int) -> bytes | int:
        """getdents(2), the old layout: the type is the record's last byte."""
        return self._getdents(count, is64=False)

    def getdents_32(self, count: int) -> bytes | int:
        """The old layout with numbers of 32 bits."""
        return self._getdents(count, is64=False, narrow=True)


def anon_mount(mnt_id: int, inode: Inode) -> Mount:
    """The mount of files that no directory lists (pipefs and its like): d_path is the dentry's own name."""
    return Mount(mnt_id, inode.i_sb, "none", "", 0)
