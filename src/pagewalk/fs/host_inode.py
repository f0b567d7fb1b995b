"""A file of the host: reaching it, its attributes, looking names up. ``hostfs.py`` adds names and contents.

Security: a path is never handed to the host. Every host call names one component, relative to a descriptor of a
directory that was itself reached component by component, and follows no symbolic link (O_NOFOLLOW): links and ".." are
the business of our own walk, in the modelled tree. A directory's descriptor is checked to be the directory that was
meant (device and inode number) whenever it has to be opened again.

Mirrors: fs/hostfs (6.18) in purpose
Differs: attributes are asked of the host each time.
"""

import errno
import os
from typing import TYPE_CHECKING, Final, Optional

from pagewalk.fs.fcntl import DT_CHR, DT_DIR, DT_LNK, DT_REG, EXT4_SUPER_MAGIC, MAX_LFS_FILESIZE, S_IFMT
from pagewalk.fs.host_cache import HostCache, HostKey, host_open
from pagewalk.fs.hoststat import host_fchown, host_fstatfs, host_futimens, host_statx
from pagewalk.fs.inode import Dirent, Inode, SuperBlock
from pagewalk.fs.regular import PagedInode
from pagewalk.fs.stat import Stat, Statfs

if TYPE_CHECKING:
    from pagewalk.mm.system import System

# Directory descriptors that are kept open between walks.
_MAX_DIR_FDS: Final = 64

_EXT4_MAXBYTES: Final = 0xFFF_FFFF_F000  # 2**32 - 1 blocks of 4096 bytes

# File systems whose large mappings are placed so that huge pages fit: ext2 to ext4, xfs, btrfs.
_THP_ALIGNING: Final = (EXT4_SUPER_MAGIC, 0x58465342, 0x9123683E)


def host_key(st: Stat) -> HostKey:
    """Which host inode these attributes are of."""
    return (st.st_dev[0], st.st_dev[1], st.st_ino)


def os_errno(err: OSError) -> int:
    """The negative errno of a host call that failed."""
    return -(err.errno or errno.EIO)


class HostBase(SuperBlock):
    """One mount of the host's tree, from ``root_path`` down."""

    def __init__(self, system: "System", cache: HostCache, root_path: str, writable: bool) -> None:
        root_fd = os.open(root_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        st = host_statx(root_fd, "")
        if isinstance(st, int):
            raise OSError(-st, os.strerror(-st), root_path)
        super().__init__(st.st_dev, "ext4")
        self.system = system
        self.cache = cache
        self.read_only = not writable
        self.root_fd = root_fd
        self.maxbytes = _EXT4_MAXBYTES if host_fstatfs(root_fd).f_type == EXT4_SUPER_MAGIC else MAX_LFS_FILESIZE
        self.in_use: dict[HostKey, HostNode] = {}
        self.recent: dict[HostKey, HostNode] = {}  # directories with an open descriptor, the least recently used first
        self.thp_devs: dict[tuple[int, int], bool] = {}
        self.root = self.make_node(None, "", st)
        self.root.fd = root_fd

    def make_node(self, parent: "HostNode | None", name: str, st: Stat) -> "HostNode":
        """A new inode of this mount."""
        return HostNode(self, parent, name, st)

    def statfs(self) -> Statfs:
        """The host's."""
        return host_fstatfs(self.root_fd)

    def aligns_huge_pages(self, st_dev: tuple[int, int], fd: int) -> bool:
        """Whether the host's file system that ``fd`` is on aligns large mappings (thp_get_unmapped_area)."""
        known = self.thp_devs.get(st_dev)
        if known is None:
            known = host_fstatfs(fd).f_type in _THP_ALIGNING
            self.thp_devs[st_dev] = known
        return known

    def sync(self) -> int:
        """Writes back what is dirty."""
        return 0 if self.read_only else self.cache.sync()

    def close(self) -> None:
        """The machine is closed: gives the host's descriptors back."""
        for inode in self.recent.values():
            inode.close_fd()
        self.recent.clear()
        if self.root_fd >= 0:
            os.close(self.root_fd)
            self.root_fd = self.root.fd = -1

    def iget(self, parent: "HostNode", name: str, st: Stat) -> "HostNode":
        """The inode with attributes ``st`` that was found as ``name`` in ``parent``."""
        key = host_key(st)
        inode = self.in_use.get(key)
        if inode is None:
            inode = self.recent.get(key)
        if inode is None or (inode.i_mode ^ st.st_mode) & S_IFMT:
            return self.make_node(parent, name, st)
        inode.parent = parent
        inode.name = name
        inode.refresh(st)
        return inode

    def keep_fd(self, inode: "HostNode") -> None:
        """``inode`` has an open directory descriptor: the least recently used one is closed where there are too
        many."""
        self.recent[inode.key] = inode
        if len(self.recent) > _MAX_DIR_FDS:
            oldest = next(iter(self.recent))
            self.recent.pop(oldest).close_fd()


class HostNode(PagedInode):
    """A file of the host: ``name`` in ``parent``, which is where it was last seen.

    st      its attributes when it was last looked up
    fd      of a directory: an O_PATH descriptor, -1 where it is closed for now
    """

    def __init__(self, sb: HostBase, parent: Optional["HostNode"], name: str, st: Stat) -> None:
        super().__init__(sb.system, sb, st.st_ino, st.st_mode)
        self.host_sb = sb
        self.s_maxbytes = sb.maxbytes
        self.parent = parent
        self.name = name
        self.key = host_key(st)
        self.fd = -1
        self.st = st
        self.refresh(st)

    def refresh(self, st: Stat) -> None:
        """Takes over attributes that were just read."""
        self.st = st
        self.i_mode = st.st_mode
        self.i_uid = st.st_uid
        self.i_gid = st.st_gid
        self.i_nlink = st.st_nlink
        self.i_rdev = st.st_rdev

    # In use or not.

    def igrab(self) -> "HostNode":
        """The inode in use for this file, which may be an earlier object."""
        inode = self.host_sb.in_use.setdefault(self.key, self)
        inode.i_count += 1
        if inode.i_count == 1:
            inode.count_use()
        return inode

    def evict(self) -> None:
        """Nobody holds it."""
        self.host_sb.in_use.pop(self.key, None)

    def is_same(self, other: Inode) -> bool:
        """Same host inode, same mount."""
        return self is other or (
            isinstance(other, HostNode) and self.key == other.key and self.host_sb is other.host_sb
        )

    # Reaching it on the host.

    def change_fd(self) -> int:
        """``dir_fd`` for a call that changes the directory: -EROFS below a read-only mount, whoever asks."""
        return -errno.EROFS if self.host_sb.read_only else self.dir_fd()

    def change_this(self) -> int:
        """A descriptor (O_PATH) of exactly this file, for changing its attributes; -EROFS below a read-only mount."""
        if self.host_sb.read_only:
            return -errno.EROFS
        fd = self.open_host(os.O_PATH)
        mapping = self.host_sb.cache.get(self.key)
        if fd < 0 and mapping is not None and mapping.fd >= 0:
            return os.dup(mapping.fd)  # its name is gone, but it is open
        return fd

    def dir_fd(self) -> int:
        """A descriptor of this directory, or a negative errno. It is good until the next call of ``dir_fd``."""
        sb = self.host_sb
        if self.fd >= 0:
            if self.key in sb.recent:
                sb.recent[self.key] = sb.recent.pop(self.key)
            return self.fd
        fd = self.open_host(os.O_PATH | os.O_DIRECTORY)
        if fd >= 0:
            self.fd = fd
            sb.keep_fd(self)
        return fd

    def close_fd(self) -> None:
        """Closes the directory's descriptor for now."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def open_host(self, flags: int) -> int:
        """A new host descriptor of exactly this file, or a negative errno (-ESTALE: the name means another file
        now)."""
        if self.parent is None:
            return host_open(".", flags, self.fd)
        parent_fd = self.parent.dir_fd()
        if parent_fd < 0:
            return parent_fd
        fd = host_open(self.name, flags, parent_fd)
        if fd < 0:
            return fd
        st = host_statx(fd, "")
        if isinstance(st, int) or host_key(st) != self.key or (st.st_mode ^ self.i_mode) & S_IFMT:
            os.close(fd)
            return -errno.ESTALE
        return fd

    # Attributes.

    def getattr(self) -> Stat | int:
        """The host's, with the size and time that the program has made where they are not written back yet."""
        mapping = self.host_sb.cache.get(self.key)
        if mapping is not None and mapping.fd >= 0:
            st = host_statx(mapping.fd, "")
        elif self.fd >= 0:
            st = host_statx(self.fd, "")
        elif self.parent is not None:
            fd = self.parent.dir_fd()
            st = host_statx(fd, self.name) if fd >= 0 else fd
            if isinstance(st, int) or host_key(st) != self.key:
                st = self.st
        else:
            st = self.st
        if isinstance(st, int):
            return st
        self.refresh(st)
        if mapping is not None and mapping.mtime >= 0:
            st.st_mtime_ns = mapping.mtime
            st.st_ctime_ns = max(mapping.mtime, st.st_ctime_ns)
            st.st_size = mapping.i_size
        return st

    def size(self) -> int:
        """Its length now."""
        mapping = self.host_sb.cache.get(self.key)
        return self.st.st_size if mapping is None or mapping.users == 0 else mapping.i_size

    # Directories.

    def lookup(self, name: str) -> Inode | int:
        """Asks the host for one name."""
        fd = self.dir_fd()
        if fd < 0:
            return fd
        st = host_statx(fd, name)
        if isinstance(st, int):
            return st
        return self.host_sb.iget(self, name, st)

    def readdir(self, pos: int) -> list[Dirent] | int:
        """The host's order; an entry's position is its place in it, from 2 on."""
        fd = self.open_host(os.O_RDONLY | os.O_DIRECTORY)
        if fd < 0:
            return fd
        found: list[Dirent] = []
        at = 2
        try:
            with os.scandir(fd) as listing:
                for entry in listing:
                    if at >= pos:
                        found.append(Dirent(entry.name, entry.inode(), _d_type(entry), at + 1))
                    at += 1
        except OSError as err:
            return os_errno(err)
        finally:
            os.close(fd)
        return found

    def readlink(self) -> str | int:
        """The text of a link."""
        if not self.is_lnk() or self.parent is None:
            return -errno.EINVAL
        fd = self.parent.dir_fd()
        if fd < 0:
            return fd
        try:
            return os.readlink(self.name, dir_fd=fd)
        except OSError as err:
            return os_errno(err)

    # Changing attributes (the caller has checked that the mount may be written).

    def setattr_mode(self, mode: int) -> int:
        """chmod on the host, through a descriptor of exactly this file."""
        fd = self.change_this()
        if fd < 0:
            return fd
        try:
            os.chmod(f"/proc/self/fd/{fd}", mode)
        except OSError as err:
            return os_errno(err)
        finally:
            os.close(fd)
        self.i_mode = self.i_mode & S_IFMT | mode
        return 0

    def setattr_owner(self, uid: int, gid: int) -> int:
        """chown on the host."""
        fd = self.change_this()
        if fd < 0:
            return fd
        err = host_fchown(fd, uid, gid)
        os.close(fd)
        return err

    def setattr_times(self, atime: int, mtime: int) -> int:
        """utimensat on the host."""
        mapping = self.host_sb.cache.get(self.key)
        if mapping is not None and mapping.fd >= 0:
            self.host_sb.cache.write_back(mapping)
        fd = self.change_this()
        if fd < 0:
            return fd
        err = host_futimens(fd, atime, mtime)
        os.close(fd)
        return err


def _d_type(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return DT_LNK
    if entry.is_dir(follow_symlinks=False):
        return DT_DIR
    if entry.is_file(follow_symlinks=False):
        return DT_REG
    try:
        return (entry.stat(follow_symlinks=False).st_mode & S_IFMT) >> 12
    except OSError:
        return DT_CHR
