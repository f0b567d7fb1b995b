"""What stat(2) and statfs(2) answer, and their bytes in a program's memory.

Sources: stat(2), statx(2), statfs(2); the layouts are the x86-64 and the i386 ABI's.

Mirrors: fs/stat.c, fs/statfs.c (6.18)
Differs: statx has no direct-I/O, atomic-write or subvolume fields.
"""

import struct
from typing import Final

from pagewalk.fs.fcntl import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

STATX_BASIC_STATS: Final = 0x7FF
STATX_BTIME: Final = 0x800
STATX_MNT_ID: Final = 0x1000
STATX_ATTR_AUTOMOUNT: Final = 0x1000
STATX_ATTR_MOUNT_ROOT: Final = 0x2000
STATX_ATTR_DAX: Final = 0x200000

_STAT: Final = struct.Struct("<QQQIIIIQqqqQQQQQQ24x")
_STAT_GENERIC: Final = struct.Struct("<QQIIIIQQqi4xqQQQQQQ8x")
_STAT_32: Final = struct.Struct("<IIHHHHIIIIIIIIII8x")
_STAT64_32: Final = struct.Struct("<Q4xIIIIIQ4xqIqIIIIIIQ")
_STATFS_32: Final = struct.Struct("<IIIIIIIIIIII16x")
_STATFS64_32: Final = struct.Struct("<IIQQQQQIIIII16x")
_STATX_HEAD: Final = struct.Struct("<IIQIIIH2xQQQQ")
_STATX_TIME: Final = struct.Struct("<qI4x")
_STATX_TAIL: Final = struct.Struct("<IIIIQ104x")
_STATFS: Final = struct.Struct("<qqQQQQQQqqq32x")

_SECOND: Final = 1_000_000_000


class Stat:
    """struct kstat. Sizes in bytes, ``st_blocks`` in units of 512, times in nanoseconds since 1970, devices (major,
    minor)."""

    def __init__(self) -> None:
        self.st_dev: tuple[int, int] = (0, 0)
        self.st_ino: int = 0
        self.st_mode: int = 0
        self.st_nlink: int = 1
        self.st_uid: int = 0
        self.st_gid: int = 0
        self.st_rdev: tuple[int, int] = (0, 0)
        self.st_size: int = 0
        self.st_blksize: int = 4096
        self.st_blocks: int = 0
        self.st_atime_ns: int = 0
        self.st_mtime_ns: int = 0
        self.st_ctime_ns: int = 0
        self.st_btime_ns: int = -1  # birth; -1 where the file system does not know it
        self.mnt_id: int = 0
        self.attributes: int = 0  # STATX_ATTR_*
        self.attributes_mask: int = (
            STATX_ATTR_AUTOMOUNT | STATX_ATTR_MOUNT_ROOT | STATX_ATTR_DAX
        )  # those that are meant

    def is_dir(self) -> bool:
        """Whether it describes a directory."""
        return self.st_mode & S_IFMT == S_IFDIR

    def is_reg(self) -> bool:
        """Whether it describes a regular file."""
        return self.st_mode & S_IFMT == S_IFREG

    def is_lnk(self) -> bool:
        """Whether it describes a symbolic link."""
        return self.st_mode & S_IFMT == S_IFLNK


class Statfs:
    """struct kstatfs. ``f_blocks``, ``f_bfree`` and ``f_bavail`` count blocks of ``f_frsize`` bytes."""

    def __init__(self, f_type: int) -> None:
        self.f_type = f_type
        self.f_bsize: int = 4096
        self.f_blocks: int = 0
        self.f_bfree: int = 0
        self.f_bavail: int = 0
        self.f_files: int = 0
        self.f_ffree: int = 0
        self.f_fsid: int = 0
        self.f_namelen: int = 255
        self.f_frsize: int = 4096
        self.f_flags: int = 0


def new_encode_dev(dev: tuple[int, int]) -> int:
    """(major, minor) as user space has it in ``st_dev``."""
    major, minor = dev
    return (minor & 0xFF) | ((major & 0xFFF) << 8) | ((minor & ~0xFF) << 12) | ((major & ~0xFFF) << 32)


def new_decode_dev(dev: int) -> tuple[int, int]:
    """The (major, minor) of mknod(2)'s number."""
    return ((dev >> 8) & 0xFFF, (dev & 0xFF) | ((dev >> 12) & 0xFFF00))


def struct_stat(st: Stat) -> bytes:
    """The 144 bytes of struct stat."""
    return _STAT.pack(
        new_encode_dev(st.st_dev), st.st_ino, st.st_nlink, st.st_mode, st.st_uid, st.st_gid, 0,
        new_encode_dev(st.st_rdev), st.st_size, st.st_blksize, st.st_blocks,
        st.st_atime_ns // _SECOND, st.st_atime_ns % _SECOND, st.st_mtime_ns // _SECOND, st.st_mtime_ns % _SECOND,
        st.st_ctime_ns // _SECOND, st.st_ctime_ns % _SECOND,
    )  # fmt: skip


def struct_stat_generic(st: Stat) -> bytes:
    """The 128 bytes of asm-generic's struct stat."""
    return _STAT_GENERIC.pack(
        new_encode_dev(st.st_dev), st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_gid,
        new_encode_dev(st.st_rdev), 0, st.st_size, st.st_blksize, st.st_blocks,
        st.st_atime_ns // _SECOND, st.st_atime_ns % _SECOND, st.st_mtime_ns // _SECOND, st.st_mtime_ns % _SECOND,
        st.st_ctime_ns // _SECOND, st.st_ctime_ns % _SECOND,
    )  # fmt: skip


def struct_stat_32(st: Stat) -> bytes:
    """The 64 bytes of a 32-bit program's struct stat; numbers lose what does not fit."""
    low = 0xFFFF_FFFF
    words = (
        st.st_size & low, st.st_blksize, st.st_blocks & low,
        st.st_atime_ns // _SECOND & low, st.st_atime_ns % _SECOND, st.st_mtime_ns // _SECOND & low,
        st.st_mtime_ns % _SECOND, st.st_ctime_ns // _SECOND & low, st.st_ctime_ns % _SECOND,
    )  # fmt: skip
    return _STAT_32.pack(
        new_encode_dev(st.st_dev) & low, st.st_ino & low, st.st_mode, min(st.st_nlink, 0xFFFF), high2low(st.st_uid),
        high2low(st.st_gid), new_encode_dev(st.st_rdev) & low, *words,
    )  # fmt: skip


def high2low(ident: int) -> int:
    """A user's or group's number in 16 bits: 65534 where it does not fit."""
    return ident if ident < 0x1_0000 else 65534


def struct_stat64_32(st: Stat) -> bytes:
    """The 96 bytes of struct stat64, which a 32-bit program's C library asks for."""
    low = 0xFFFF_FFFF
    return _STAT64_32.pack(
        new_encode_dev(st.st_dev), st.st_ino & low, st.st_mode, st.st_nlink, st.st_uid, st.st_gid,
        new_encode_dev(st.st_rdev), st.st_size, st.st_blksize, st.st_blocks, st.st_atime_ns // _SECOND & low,
        st.st_atime_ns % _SECOND, st.st_mtime_ns // _SECOND & low, st.st_mtime_ns % _SECOND,
        st.st_ctime_ns // _SECOND & low, st.st_ctime_ns % _SECOND, st.st_ino,
    )  # fmt: skip


def struct_statfs_32(sf: Statfs, wide: bool) -> bytes | None:
    """The 64 bytes of a 32-bit program's struct statfs (None where a count does not fit), or the 84 of its statfs64."""
    low = 0xFFFF_FFFF
    counts = [sf.f_blocks, sf.f_bfree, sf.f_bavail, sf.f_files, sf.f_ffree]
    fsid = (sf.f_fsid & low, sf.f_fsid >> 32 & low)
    if wide:
        return _STATFS64_32.pack(
            sf.f_type & low, sf.f_bsize, *counts, *fsid, sf.f_namelen, sf.f_frsize, sf.f_flags
        )  # fmt: skip
    if (counts[0] | counts[1] | counts[2] | sf.f_bsize | sf.f_frsize) >> 32:
        return None
    counts[3] = min(counts[3], low)
    counts[4] = min(counts[4], low)
    return _STATFS_32.pack(sf.f_type & low, sf.f_bsize, *counts, *fsid, sf.f_namelen, sf.f_frsize, sf.f_flags)


def struct_statx(st: Stat) -> bytes:
    """The 256 bytes of struct statx; ``stx_mask`` tells what is known."""
    mask = STATX_BASIC_STATS | STATX_MNT_ID
    btime = 0
    if st.st_btime_ns >= 0:
        mask |= STATX_BTIME
        btime = st.st_btime_ns
    head = _STATX_HEAD.pack(
        mask, st.st_blksize, st.attributes, st.st_nlink, st.st_uid, st.st_gid, st.st_mode, st.st_ino, st.st_size,
        st.st_blocks, st.attributes_mask,
    )  # fmt: skip
    times = b""
    for when in (st.st_atime_ns, btime, st.st_ctime_ns, st.st_mtime_ns):
        times += _STATX_TIME.pack(when // _SECOND, when % _SECOND)
    tail = _STATX_TAIL.pack(st.st_rdev[0], st.st_rdev[1], st.st_dev[0], st.st_dev[1], st.mnt_id)
    return head + times + tail


def struct_statfs(sf: Statfs) -> bytes:
    """The 120 bytes of struct statfs."""
    return _STATFS.pack(
        sf.f_type, sf.f_bsize, sf.f_blocks, sf.f_bfree, sf.f_bavail, sf.f_files, sf.f_ffree, sf.f_fsid,
        sf.f_namelen, sf.f_frsize, sf.f_flags,
    )  # fmt: skip
