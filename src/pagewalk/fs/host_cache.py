"""The page cache's view of host files: one ``AddressSpace`` for each host inode, and the descriptors that feed it.

Reading fills pages with pread(2); pages that the program changed are written back with pwrite(2) on fsync, msync,
when the last user closes the file, and at the end. The host descriptor of a file that was opened for reading is
read-only.

Mirrors: mm/filemap.c, mm/page-writeback.c, fs/ext4/inode.c (6.18)
Differs: the cache is checked against the host's size and mtime at each open; write-back happens at the latest on the
    last close.
"""

import errno
import os
import resource
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.fs.hoststat import host_statx
from pagewalk.fs.stat import Stat
from pagewalk.mm.file import AddressSpace
from pagewalk.mm.filemap import filemap_fsync
from pagewalk.mm.truncate import invalidate_mapping, truncate_pagecache

if TYPE_CHECKING:
    from pagewalk.mm.system import System

_OPEN_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

# (major, minor, inode number)
HostKey = tuple[int, int, int]


def host_open(name: str, flags: int, dir_fd: int, mode: int = 0) -> int:
    """A host descriptor of ``name`` in ``dir_fd``, or a negative errno. No link is followed, no access time changed.

    Where the process is out of descriptors, its soft limit is raised to the hard one.
    """
    attempt = flags | os.O_CLOEXEC | os.O_NOFOLLOW
    if not flags & os.O_PATH:
        attempt |= _OPEN_FLAGS | os.O_NOATIME
    while True:
        try:
            return os.open(name, attempt, mode, dir_fd=dir_fd)
        except PermissionError as err:
            if err.errno != errno.EPERM or not attempt & os.O_NOATIME:
                return -errno.EACCES if err.errno is None else -err.errno
            attempt &= ~os.O_NOATIME  # not the owner
        except OSError as err:
            if err.errno != errno.EMFILE or not _raise_nofile():
                return -errno.EIO if err.errno is None else -err.errno


def _raise_nofile() -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return True


class HostMapping(AddressSpace):
    """The pages of one host file.

    page_shift  log2 of the machine's page size
    fd        host descriptor while somebody uses the file, -1 otherwise; ``writable`` tells its mode
    users     open files of the model (a mapping holds its open file)
    host_size, host_mtime  what the cached pages were read from
    mtime     set by a write of the program: the time the host file must have after write-back; -1
    """

    def __init__(self, key: HostKey, page_shift: int) -> None:
        super().__init__()
        self.key = key
        self.page_shift = page_shift
        self.fd = -1
        self.writable = False
        self.users = 0
        self.host_size = -1
        self.host_mtime = -1
        self.mtime = -1

    def read_folio(self, index: i64, into: memoryview) -> int:
        """Reads one page of the host file."""
        try:
            done = os.preadv(self.fd, [into], index << self.page_shift)
            while 0 < done < len(into):
                more = os.preadv(self.fd, [into[done:]], (index << self.page_shift) + done)
                if more == 0:
                    break
                done += more
        except OSError as err:
            return -(err.errno or errno.EIO)
        if done < len(into):
            into[done:] = bytes(len(into) - done)
        return 0

    def write_folio(self, index: i64, data: memoryview) -> int:
        """Writes one page back."""
        if not self.writable:
            return -errno.EBADF
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self.fd, data[done:], (index << self.page_shift) + done)
        except OSError as err:
            return -(err.errno or errno.EIO)
        return 0

    def has_block(self, index: i64) -> bool:
        """As the host's file system tells of holes; a page that is to be written has got its block already."""
        if int(index) in self.dirty_blocks:
            return True
        try:
            return os.lseek(self.fd, index << self.page_shift, os.SEEK_DATA) < (index + 1) << self.page_shift
        except OSError:  # ENXIO: behind the last data
            return False


class HostCache:
    """Every ``HostMapping`` of a machine, by host inode."""

    def __init__(self, system: "System", warm: bool) -> None:
        self.system = system
        self.warm = warm
        self.mappings: dict[HostKey, HostMapping] = {}

    def get(self, key: HostKey) -> HostMapping | None:
        """The mapping of a host inode that has been opened before."""
        return self.mappings.get(key)

    def attach(self, st: Stat, fd: int, writable: bool) -> HostMapping:
        """One more user of the file that ``fd`` (taken over) is open on; ``st`` are its attributes now."""
        key = (st.st_dev[0], st.st_dev[1], st.st_ino)
        mapping = self.mappings.get(key)
        if mapping is None:
            mapping = HostMapping(key, int(self.system.page_shift))
            self.mappings[key] = mapping
        if mapping.fd >= 0 and (mapping.writable or not writable):
            os.close(fd)
        else:
            if mapping.fd >= 0:
                os.close(mapping.fd)
            mapping.fd = fd
            mapping.writable = writable
        mapping.users += 1
        if mapping.mtime < 0 and (mapping.host_size != st.st_size or mapping.host_mtime != st.st_mtime_ns):
            invalidate_mapping(self.system, mapping)
            mapping.host_size = st.st_size
            mapping.host_mtime = st.st_mtime_ns
            truncate_pagecache(self.system, mapping, st.st_size)
            mapping.warm_end = int(self.system.nr_pages(st.st_size)) if self.warm else 0
            mapping.evicted.clear()
        return mapping

    def detach(self, mapping: HostMapping) -> int:
        """One user less: the last one writes back and closes the host's descriptor. 0 or a negative errno."""
        mapping.users -= 1
        if mapping.users > 0 or mapping.fd < 0:
            return 0
        st = host_statx(mapping.fd, "")
        gone = not isinstance(st, int) and st.st_nlink == 0
        err = 0 if gone else self.write_back(mapping)
        os.close(mapping.fd)
        mapping.fd = -1
        mapping.writable = False
        if gone:
            self._drop(mapping)
        return err

    def _drop(self, mapping: HostMapping) -> None:
        truncate_pagecache(self.system, mapping, 0)
        self.mappings.pop(mapping.key, None)

    def name_removed(self, key: HostKey, links: int) -> None:
        """One of the ``links`` names of a file is gone: the last one's pages go, unless the file is open."""
        mapping = self.mappings.get(key)
        if mapping is not None and links == 1 and mapping.users == 0:
            self._drop(mapping)

    def write_back(self, mapping: HostMapping) -> int:
        """Writes what is dirty, and gives the host file the size and the time that the program has seen."""
        if mapping.fd < 0 or not mapping.writable:
            return 0
        err = filemap_fsync(self.system, mapping) if mapping.dirty else 0
        st = host_statx(mapping.fd, "")
        if isinstance(st, int):
            return st
        try:
            if st.st_size != mapping.i_size and mapping.mtime >= 0:
                os.ftruncate(mapping.fd, mapping.i_size)
            if mapping.mtime >= 0:
                os.utime(mapping.fd, ns=(st.st_atime_ns, mapping.mtime))
                mapping.mtime = -1
        except OSError as oserr:
            return -(oserr.errno or errno.EIO)
        st = host_statx(mapping.fd, "")
        if not isinstance(st, int):
            mapping.host_size = st.st_size
            mapping.host_mtime = st.st_mtime_ns
        return err

    def close(self) -> None:
        """The machine is closed: writes back and closes what is still open."""
        self.sync()
        for mapping in self.mappings.values():
            if mapping.fd >= 0:
                os.close(mapping.fd)
                mapping.fd = -1
        self.mappings.clear()

    def sync(self) -> int:
        """Writes everything back; the first error, or 0."""
        first = 0
        for mapping in self.mappings.values():
            err = self.write_back(mapping)
            if err < 0 and first == 0:
                first = err
        return first
