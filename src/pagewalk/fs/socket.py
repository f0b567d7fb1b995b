"""The open file of a socket, and sockfs, where sockets live.

Mirrors: net/socket.c (6.18)
Differs: AF_UNIX only.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final, final

from pagewalk.fs.dcache import Dentry, Mount
from pagewalk.fs.fcntl import O_NONBLOCK, O_RDWR, POLLIN, S_IFSOCK
from pagewalk.fs.file import WOULD_BLOCK, VfsFile
from pagewalk.fs.inode import Inode, InodeNumbers, SuperBlock
from pagewalk.fs.ioctl import FIONREAD, SIOCATMARK, TIOCOUTQ
from pagewalk.fs.skbuff import RecvMsg, SendMsg, put_files
from pagewalk.fs.socket_types import MSG_NOSIGNAL, SOCK_STREAM, SOCKFS_MAGIC
from pagewalk.fs.stat import Statfs
from pagewalk.fs.unix_dgram import dgram_recv, dgram_send
from pagewalk.fs.unix_gc import unix_gc
from pagewalk.fs.unix_sock import UnixSock
from pagewalk.fs.unix_stream import stream_recv, stream_send
from pagewalk.fs.wait import WaitQueueHead

if TYPE_CHECKING:
    from pagewalk.mm.system import System

SOCKFS_DEV: Final = (0, 8)

_inode_numbers = InodeNumbers(20001)


class SockFs(SuperBlock):
    """sockfs: the file system that no directory shows."""

    def __init__(self) -> None:
        super().__init__(SOCKFS_DEV, "sockfs")
        self.noexec = True

    def statfs(self) -> Statfs:
        """sockfs."""
        return self.simple_statfs(SOCKFS_MAGIC)


class SockInode(Inode):
    """The inode of a socket; it cannot be opened again (ENXIO)."""

    def setattr_mode(self, mode: int) -> int:
        """fchmod works on sockets."""
        self.i_mode = S_IFSOCK | mode
        return 0

    def setattr_owner(self, uid: int, gid: int) -> int:
        """fchown too."""
        if uid != -1:
            self.i_uid = uid
        if gid != -1:
            self.i_gid = gid
        return 0


def _dentry() -> Dentry:
    sb = SockFs()
    inode = SockInode(sb, _inode_numbers.next(), S_IFSOCK | 0o777)
    return Dentry(f"socket:[{inode.i_ino}]", None, inode, Mount(0, sb, "sockfs", "rw", 0))


@final
class SocketFile(VfsFile):
    """An open socket."""

    def __init__(self, system: "System", sock: UnixSock, flags: int) -> None:
        super().__init__(system, _dentry(), O_RDWR | flags & O_NONBLOCK)
        self.sock = sock
        sock.file = self

    def release(self) -> None:
        """The last descriptor is closed."""
        table = self.sock.table
        self.sock.release()
        super().release()
        if table is not None and table.tot_inflight:
            unix_gc(table)

    def send(self, msg: SendMsg, target: UnixSock | int | None = None) -> int:
        """Sends what is left of ``msg``: 0, an errno, or WOULD_BLOCK (then ``sock.blocked_on`` tells)."""
        if self.sock.kind == SOCK_STREAM:
            return stream_send(self.sock, msg)
        return dgram_send(self.sock, msg, target)

    def receive(self, msg: RecvMsg) -> int:
        """Receives into ``msg``: 0, an errno, or WOULD_BLOCK."""
        return stream_recv(self.sock, msg) if self.sock.kind == SOCK_STREAM else dgram_recv(self.sock, msg)

    def read(self, count: int, pos: int = -1) -> bytes | int:
        """As recv(2) without flags; descriptors that came along are closed."""
        if pos != -1:
            return -errno.ESPIPE
        if count == 0:
            return b""
        msg = RecvMsg(count, 0)
        result = self.receive(msg)
        put_files(msg.files)
        if result == WOULD_BLOCK:
            return -errno.EAGAIN if self.nonblock else WOULD_BLOCK
        if msg.eof and self.nonblock and not self.sock.connection_based:
            return -errno.EAGAIN
        return result if result < 0 else msg.data()

    def write(self, data: bytes, pos: int = -1) -> int:
        """As send(2) without flags. The sender is nobody in particular."""
        if pos != -1:
            return -errno.ESPIPE
        msg = SendMsg(data, MSG_NOSIGNAL)
        result = self.send(msg)
        if msg.sent:
            return msg.sent
        if result == WOULD_BLOCK:
            return -errno.EAGAIN if self.nonblock else WOULD_BLOCK
        return result

    def fallocate(self, mode: int, offset: int, length: int) -> int:
        """ENODEV."""
        return -errno.ENODEV

    def poll(self) -> int:
        """What would not wait."""
        return self.sock.poll()

    def can_poll(self) -> bool:
        """It has a poll method."""
        return True

    def wchan(self, events: int) -> str:
        """Where it waits."""
        if self.sock.kind == SOCK_STREAM:
            return "unix_stream_read_generic" if events & POLLIN else "sock_alloc_send_pskb"
        return "__skb_wait_for_more_packets" if events & POLLIN else "sock_alloc_send_pskb"

    def wait_queues(self) -> list[WaitQueueHead]:
        """The socket's own."""
        return [self.sock.wq]

    def ioctl_bytes(self, cmd: int, data: bytes) -> bytes | int:
        """FIONREAD (SIOCINQ), TIOCOUTQ (SIOCOUTQ), SIOCATMARK."""
        if cmd == SIOCATMARK:
            if self.sock.kind != SOCK_STREAM:
                return -errno.EOPNOTSUPP
            return struct.pack("<i", self.sock.at_mark())
        if cmd == FIONREAD:
            length = self.sock.inq_len()
            return length if length < 0 else struct.pack("<i", length)
        return struct.pack("<i", self.sock.wmem_alloc) if cmd == TIOCOUTQ else -errno.ENOTTY

    def fdinfo(self) -> str:
        """How many descriptors are on their way here."""
        return f"scm_fds: {sum([len(skb.files) for skb in self.sock.queue])}\n"
