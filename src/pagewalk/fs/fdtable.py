"""A task's descriptors: which number is which open file.

Sources: open(2) (the lowest free number), dup(2), fcntl(2), close_range(2).

Mirrors: fs/file.c, include/linux/fdtable.h (6.18)
Differs: no RCU.
"""

import errno
from typing import Final

from pagewalk.fs.fcntl import CLOSE_RANGE_CLOEXEC, CLOSE_RANGE_UNSHARE, O_CLOEXEC, O_PATH
from pagewalk.fs.file import VfsFile
from pagewalk.mm.current import RLIMIT_NOFILE, Current

NR_OPEN: Final = 1 << 20  # sysctl fs.nr_open: above what RLIMIT_NOFILE may ask for
_NR_OPEN_DEFAULT: Final = 64  # BITS_PER_LONG: the table that every task starts with


class FilesStruct:
    """struct files_struct.

    fd        open files by number, None where a number is free
    cloexec   numbers that execve closes
    count     tasks that share it
    memcg     id of the memory cgroup that it is charged to, 0 for the root
    """

    def __init__(self, current: Current) -> None:
        self.current = current
        self.fd: list[VfsFile | None] = []
        self.cloexec_fds: set[int] = set()
        self.next_fd = 0  # no number below it is free
        self.max_fds = _NR_OPEN_DEFAULT
        self.count = 1
        self.memcg = 0

    @property
    def nr_open(self) -> int:
        """Size of the table, as /proc/PID/status shows it (FDSize)."""
        return self.max_fds

    def _limit(self) -> int:
        return min(self.current.rlimit(RLIMIT_NOFILE), NR_OPEN)

    def get_raw(self, fd: int) -> VfsFile | None:
        """The open file of ``fd``, O_PATH ones too; None where there is none (EBADF)."""
        if 0 <= fd < len(self.fd):
            return self.fd[fd]
        return None

    def get(self, fd: int) -> VfsFile | None:
        """The open file of ``fd`` for a call that uses its contents; None where there is none, or an O_PATH one
        (EBADF)."""
        if 0 <= fd < len(self.fd):
            file = self.fd[fd]
            if file is not None and not file.f_flags & O_PATH:
                return file
        return None

    def fds(self) -> list[int]:
        """The numbers in use, ascending."""
        return [number for number, file in enumerate(self.fd) if file is not None]

    def cloexec(self, fd: int) -> bool:
        """Whether execve closes ``fd``."""
        return fd in self.cloexec_fds

    def set_cloexec(self, fd: int, on: bool) -> None:
        """fcntl(2) F_SETFD."""
        if on:
            self.cloexec_fds.add(fd)
        else:
            self.cloexec_fds.discard(fd)

    def _lowest_free(self, lowest: int) -> int:
        number = max(lowest, self.next_fd)
        while number < len(self.fd) and self.fd[number] is not None:
            number += 1
        return number

    def _place(self, fd: int, file: VfsFile, cloexec: bool) -> None:
        """Puts ``file`` at a free number; the table grows as Linux's does, to a power of two of at least 256."""
        while len(self.fd) <= fd:
            self.fd.append(None)
        if fd >= self.max_fds:
            size = 256
            while size <= fd:
                size *= 2
            self.max_fds = size
        self.fd[fd] = file
        self.set_cloexec(fd, cloexec)

    def install(self, file: VfsFile, cloexec: bool, lowest: int = 0) -> int:
        """Gives ``file`` the lowest free number of at least ``lowest`` and takes over the reference; -EMFILE."""
        number = self._lowest_free(lowest)
        if number >= self._limit():
            return -errno.EMFILE
        if lowest <= self.next_fd:
            self.next_fd = number + 1
        self._place(number, file, cloexec)
        return number

    def _remove(self, fd: int) -> VfsFile | None:
        file = self.get_raw(fd)
        if file is not None:
            self.fd[fd] = None
            self.cloexec_fds.discard(fd)
            if fd < self.next_fd:
                self.next_fd = fd
        return file

    def close(self, fd: int) -> int:
        """close(2): what the file's flush says; -EBADF."""
        file = self._remove(fd)
        if file is None:
            return -errno.EBADF
        if file.inode.i_flctx is not None:
            file.inode.i_flctx.remove_owner(self)
        err = file.flush()
        file.put()
        return err

    def close_range(self, first: int, last: int, flags: int) -> int:
        """close_range(2); numbers are unsigned 32-bit. CLOSE_RANGE_UNSHARE is the caller's: it copies first."""
        if flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) or first > last:
            return -errno.EINVAL
        for fd in range(first, min(last, len(self.fd) - 1) + 1):
            if self.fd[fd] is not None:
                if flags & CLOSE_RANGE_CLOEXEC:
                    self.cloexec_fds.add(fd)
                else:
                    self.close(fd)
        return 0

    def dup(self, fd: int) -> int:
        """dup(2)."""
        file = self.get_raw(fd)
        if file is None:
            return -errno.EBADF
        return self._install_dup(file, cloexec=False, lowest=0)

    def _install_dup(self, file: VfsFile, cloexec: bool, lowest: int) -> int:
        new = self.install(file, cloexec, lowest)
        if new >= 0:
            file.get()
        return new

    def dupfd(self, fd: int, lowest: int, cloexec: bool) -> int:
        """fcntl(2) F_DUPFD and F_DUPFD_CLOEXEC; EINVAL where ``lowest`` is beyond the limit."""
        file = self.get_raw(fd)
        if file is None:
            return -errno.EBADF
        if lowest < 0 or lowest >= self._limit():
            return -errno.EINVAL
        return self._install_dup(file, cloexec, lowest)

    def dup2(self, old: int, new: int) -> int:
        """dup2(2): the same number is no error."""
        if old == new:
            return -errno.EBADF if self.get_raw(old) is None else new
        return self.dup3(old, new, 0)

    def dup3(self, old: int, new: int, flags: int) -> int:
        """dup3(2)."""
        if flags & ~O_CLOEXEC or old == new:
            return -errno.EINVAL
        if new < 0 or new >= self._limit():
            return -errno.EBADF
        file = self.get_raw(old)
        if file is None:
            return -errno.EBADF
        file.get()
        closed = self._remove(new)
        self._place(new, file, bool(flags & O_CLOEXEC))
        if closed is not None:
            if closed.inode.i_flctx is not None:
                closed.inode.i_flctx.remove_owner(self)
            closed.flush()
            closed.put()
        return new

    def close_on_exec(self) -> None:
        """execve: closes what is marked."""
        for fd in sorted(self.cloexec_fds):
            self.close(fd)

    def copy(self, current: Current) -> "FilesStruct":
        """For a new process: the same open files, each held once more."""
        new = FilesStruct(current)
        for file in self.fd:
            new.fd.append(None if file is None else file)
            if file is not None:
                file.get()
        new.cloexec_fds = set(self.cloexec_fds)
        new.next_fd = self.next_fd
        new.max_fds = self.max_fds
        return new

    def exit(self) -> None:
        """The task ends: the last sharer closes everything."""
        self.count -= 1
        if self.count == 0:
            for fd in self.fds():
                self.close(fd)
