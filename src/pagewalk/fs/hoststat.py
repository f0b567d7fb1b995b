"""The host's calls that Python's ``os`` lacks: statx(2), statfs(2), renameat2(2), and chown(2) and utimensat(2)
through an O_PATH
descriptor. No symbolic link is followed.

Mirrors: nothing
Differs: nothing.
"""

import ctypes
import os
import struct
from typing import Final

from pagewalk.fs.fcntl import UTIME_OMIT
from pagewalk.fs.stat import STATX_ATTR_MOUNT_ROOT, STATX_BTIME, Stat, Statfs

_AT_EMPTY_PATH: Final = 0x1000
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_WANTED: Final = 0xFFF  # STATX_BASIC_STATS | STATX_BTIME
_SECOND: Final = 1_000_000_000

_STATX: Final = struct.Struct("<IIQIIIH2xQQQQqI4xqI4xqI4xqI4xIIII")
_STATFS: Final = struct.Struct("<qqQQQQQQqqq")

_libc = ctypes.CDLL(None, use_errno=True)
_buffer = ctypes.create_string_buffer(256)


def host_statx(dir_fd: int, name: str) -> Stat | int:
    """The attributes of ``name`` in the directory ``dir_fd``, or of ``dir_fd`` itself where it is ""; or a negative
    errno."""
    flags = _AT_SYMLINK_NOFOLLOW if name else _AT_SYMLINK_NOFOLLOW | _AT_EMPTY_PATH
    if _libc.statx(dir_fd, os.fsencode(name), flags, _WANTED, _buffer) != 0:
        return -ctypes.get_errno()
    (
        mask, blksize, attributes, nlink, uid, gid, mode, ino, size, blocks, attributes_mask,
        atime, atime_ns, btime, btime_ns, ctime, ctime_ns, mtime, mtime_ns,
        rdev_major, rdev_minor, dev_major, dev_minor,
    ) = _STATX.unpack_from(_buffer)  # fmt: skip
    st = Stat()
    st.st_dev = (dev_major, dev_minor)
    st.st_ino = ino
    st.st_mode = mode
    st.st_nlink = nlink
    st.st_uid = uid
    st.st_gid = gid
    st.st_rdev = (rdev_major, rdev_minor)
    st.st_size = size
    st.st_blksize = blksize
    st.st_blocks = blocks
    st.st_atime_ns = atime * _SECOND + atime_ns
    st.st_mtime_ns = mtime * _SECOND + mtime_ns
    st.st_ctime_ns = ctime * _SECOND + ctime_ns
    st.st_btime_ns = btime * _SECOND + btime_ns if mask & STATX_BTIME else -1
    st.attributes = attributes & ~STATX_ATTR_MOUNT_ROOT
    st.attributes_mask = attributes_mask
    return st


def host_fstatfs(fd: int) -> Statfs:
    """statfs(2) of the host's file system that ``fd`` is on; zeros where the host does not tell."""
    buffer = ctypes.create_string_buffer(120)
    sf = Statfs(0)
    if _libc.fstatfs(fd, buffer) == 0:
        (
            sf.f_type, sf.f_bsize, sf.f_blocks, sf.f_bfree, sf.f_bavail, sf.f_files, sf.f_ffree, sf.f_fsid,
            sf.f_namelen, sf.f_frsize, sf.f_flags,
        ) = _STATFS.unpack_from(buffer)  # fmt: skip
    return sf


def host_renameat2(old_fd: int, old: str, new_fd: int, new: str, flags: int) -> int:
    """renameat2(2) on the host: 0 or a negative errno."""
    if _libc.renameat2(old_fd, os.fsencode(old), new_fd, os.fsencode(new), flags) != 0:
        return -ctypes.get_errno()
    return 0


def host_fallocate(fd: int, mode: int, offset: int, length: int) -> int:
    """fallocate(2) on the host: 0 or a negative errno."""
    if _libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        return -ctypes.get_errno()
    return 0


def host_fchown(fd: int, uid: int, gid: int) -> int:
    """chown(2) of what ``fd`` (O_PATH too) is open on, a link itself; 0 or a negative errno."""
    if _libc.fchownat(fd, b"", uid, gid, _AT_EMPTY_PATH) != 0:
        return -ctypes.get_errno()
    return 0


def host_futimens(fd: int, atime: int, mtime: int) -> int:
    """utimensat(2) of what ``fd`` (O_PATH too) is open on; nanoseconds or UTIME_OMIT. 0 or a negative errno."""
    words: list[int] = []
    for when in (atime, mtime):
        if when == UTIME_OMIT:
            words += [0, UTIME_OMIT]
        else:
            words += [when // _SECOND, when % _SECOND]
    if _libc.utimensat(fd, b"", struct.pack("<qqqq", *words), _AT_EMPTY_PATH) != 0:
        return -ctypes.get_errno()
    return 0
