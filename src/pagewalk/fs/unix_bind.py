"""Names of AF_UNIX sockets: paths, abstract names, and who is found under them.

Sources: unix(7).

Mirrors: net/unix/af_unix.c (unix_validate_addr, unix_bind, unix_autobind, unix_find_other) (6.18)
Differs: a socket file of the host has nobody behind it (ECONNREFUSED); automatic names count up from 00000.
"""

import errno
import os
import struct
from typing import TYPE_CHECKING, final

from pagewalk.fs.dcache import dget, dput
from pagewalk.fs.dir_ops import do_mknodat
from pagewalk.fs.fcntl import AT_FDCWD, S_IFMT, S_IFSOCK, W_OK
from pagewalk.fs.fs_struct import FsStruct, inode_permission
from pagewalk.fs.namei import LOOKUP_FOLLOW, filename_lookup
from pagewalk.fs.socket_types import AF_UNIX, SUN_PATH, UNIX_PATH_MAX
from pagewalk.fs.unix_sock import UnixSock

if TYPE_CHECKING:
    from pagewalk.fs.fdtable import FilesStruct


@final
class UnixTable:
    """The AF_UNIX sockets of one machine.

    abstract       abstract names: by kind of socket and the whole address
    socks          all that are not closed; last_number: of the newest
    page_size      of the machine, bytes
    tot_inflight   sockets may be on their way through sockets: closing one looks for circles
    """

    def __init__(self) -> None:
        self.socks: list[UnixSock] = []
        self.last_number = 0
        self.tot_inflight = False
        self.abstract: dict[tuple[int, bytes], UnixSock] = {}
        self.next_auto = 0
        self.page_size = 4096

    def insert(self, sock: UnixSock) -> None:
        """A new socket."""
        self.last_number += 1
        sock.number = self.last_number
        sock.table = self
        sock.page_size = self.page_size
        self.socks.append(sock)

    def unbind(self, sock: UnixSock) -> None:
        """The socket is closed: its name leads nowhere."""
        if sock in self.socks:
            self.socks.remove(sock)
        if self.abstract.get((sock.kind, sock.addr)) is sock:
            del self.abstract[(sock.kind, sock.addr)]
        if sock.path is not None:
            if sock.path.inode.i_socket is sock:
                sock.path.inode.i_socket = None
            dput(sock.path)
            sock.path = None

    def autobind(self, sock: UnixSock) -> int:
        """Gives a socket without a name an abstract one of five hexadecimal digits."""
        if sock.addr:
            return 0
        for _ in range(1 << 20):
            addr = struct.pack("<H", AF_UNIX) + b"\0" + b"%05x" % self.next_auto
            self.next_auto = (self.next_auto + 1) & 0xFFFFF
            if (sock.kind, addr) not in self.abstract:
                self.abstract[(sock.kind, addr)] = sock
                sock.addr = addr
                return 0
        return -errno.ENOSPC


def validate_addr(addr: bytes) -> int:
    """unix_validate_addr: 0 or -EINVAL."""
    if len(addr) <= SUN_PATH or len(addr) > SUN_PATH + UNIX_PATH_MAX:
        return -errno.EINVAL
    return 0 if int.from_bytes(addr[:2], "little") == AF_UNIX else -errno.EINVAL


def path_of(addr: bytes) -> bytes:
    """The path of an address, up to its NUL or the address's end."""
    return addr[SUN_PATH:].split(b"\0", 1)[0]


def unix_bind(table: UnixTable, fs: FsStruct, files: "FilesStruct | None", sock: UnixSock, addr: bytes) -> int:
    """bind(2). EINVAL: no such address, or it has a name already. EADDRINUSE; and what making a file may answer."""
    if len(addr) == SUN_PATH and int.from_bytes(addr, "little") == AF_UNIX:
        return table.autobind(sock)
    error = validate_addr(addr)
    if error < 0:
        return error
    if addr[SUN_PATH] == 0:
        if sock.addr:
            return -errno.EINVAL
        if (sock.kind, addr) in table.abstract:
            return -errno.EADDRINUSE
        table.abstract[(sock.kind, addr)] = sock
        sock.addr = addr
        return 0
    raw = path_of(addr)
    path = os.fsdecode(raw)
    if sock.addr:
        found = filename_lookup(fs, files, AT_FDCWD, path, 0)
        return -errno.EADDRINUSE if not isinstance(found, int) else -errno.EINVAL
    error = do_mknodat(fs, files, AT_FDCWD, path, S_IFSOCK | 0o777, (0, 0))
    if error < 0:
        return -errno.EADDRINUSE if error == -errno.EEXIST else error
    made = filename_lookup(fs, files, AT_FDCWD, path, 0)
    if isinstance(made, int):
        return made
    sock.path = dget(made)
    sock.path.inode.i_socket = sock
    sock.addr = struct.pack("<H", AF_UNIX) + raw + b"\0"
    return 0


def unix_find_other(
    table: UnixTable, fs: FsStruct, files: "FilesStruct | None", kind: int, addr: bytes
) -> "UnixSock | int":
    """Who has the valid address ``addr``. ECONNREFUSED: nobody. EPROTOTYPE: a socket of another kind; and what walking
    a path may answer."""
    if addr[SUN_PATH] == 0:
        found = table.abstract.get((kind, addr))
        return -errno.ECONNREFUSED if found is None else found
    dentry = filename_lookup(fs, files, AT_FDCWD, os.fsdecode(path_of(addr)), LOOKUP_FOLLOW)
    if isinstance(dentry, int):
        return dentry
    error = inode_permission(fs.cred, dentry.inode, W_OK)
    if error < 0:
        return error
    sock = dentry.inode.i_socket
    if dentry.inode.i_mode & S_IFMT != S_IFSOCK or sock is None:
        return -errno.ECONNREFUSED
    return sock if sock.kind == kind else -errno.EPROTOTYPE
