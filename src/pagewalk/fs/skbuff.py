"""Messages on their way through a socket, and how much of its sender's buffer each takes.

A sender may queue until what it has on the way is at least its send buffer. What counts is not the bytes but the memory
behind them, ``truesize``: so a byte at a time fills a buffer with 278 bytes.

Mirrors: net/core/skbuff.c (alloc_skb_with_frags), include/linux/skbuff.h, net/core/scm.c (6.18)
Differs: the bytes are not in frames of the modelled RAM.
"""

from typing import TYPE_CHECKING, Final, final

from pagewalk.fs.socket_types import OVERFLOW_ID

if TYPE_CHECKING:
    from pagewalk.fs.file import VfsFile
    from pagewalk.fs.unix_sock import UnixSock

_SHARED_INFO: Final = 320  # SKB_DATA_ALIGN(sizeof(struct skb_shared_info))
_SK_BUFF: Final = 256  # SKB_DATA_ALIGN(sizeof(struct sk_buff))
_DGRAM_HEAD_PAGES: Final = 4  # SKB_MAX_ALLOC
_MAX_SKB_FRAGS: Final = 17
_STREAM_FRAGS: Final = 32768  # at least a page (UNIX_SKB_FRAGS_SZ)

Ucred = tuple[int, int, int]  # pid, uid, gid
NOBODY: Final = (0, OVERFLOW_ID, OVERFLOW_ID)


def _kmalloc_size(size: int) -> int:
    """kmalloc_size_roundup for what a buffer's head asks for."""
    bucket = 512
    while bucket < size:
        bucket *= 2
    return bucket


def _page_align(size: int, page_size: int) -> int:
    return (size + page_size - 1) // page_size * page_size


def _truesize(head: int, pages: int, page_size: int) -> int:
    return _kmalloc_size((head + 63) // 64 * 64 + _SHARED_INFO) + _SK_BUFF + _page_align(pages, page_size)


def _stream_head(page_size: int) -> int:
    """SKB_MAX_HEAD(0)."""
    return page_size - _SHARED_INFO


def stream_most(page_size: int) -> int:
    """The largest piece of a stream."""
    return _stream_head(page_size) + max(_STREAM_FRAGS, page_size)


def stream_truesize(size: int, page_size: int) -> int:
    """Of a piece of a stream of ``size`` bytes, at most ``stream_most``."""
    pages = min(size, _page_align(max(0, size - _stream_head(page_size)), page_size))
    return _truesize(size - pages, pages, page_size)


def dgram_truesize(size: int, page_size: int) -> int:
    """Of a datagram of ``size`` bytes."""
    head = _DGRAM_HEAD_PAGES * page_size - _SHARED_INFO
    pages = _page_align(min(size - head, _MAX_SKB_FRAGS * page_size), page_size) if size > head else 0
    return _truesize(size - pages, pages, page_size)


@final
class SkBuff:
    """struct sk_buff: ``data`` from ``consumed`` on has not been read.

    sock    who sent it; in the queue of a listening socket, the other end of the connection that waits
    files   open files on their way (SCM_RIGHTS), each with a reference; creds: who sent it, None where nobody noted
    """

    def __init__(self, sock: "UnixSock", data: bytes, truesize: int) -> None:
        self.sock = sock
        self.data = data
        self.consumed = 0
        self.truesize = truesize
        self.files: list[VfsFile] = []
        self.creds: Ucred | None = None

    def length(self) -> int:
        """Bytes that have not been read."""
        return len(self.data) - self.consumed

    def free(self) -> None:
        """It leaves the queue: its sender may send again; files that nobody took are let go."""
        self.sock.wmem_freed(self.truesize)
        put_files(self.files)
        self.files = []


def put_files(files: "list[VfsFile]") -> None:
    """Drops a reference on each."""
    for file in files:
        file.put()


@final
class SendMsg:
    """What a sender gives: struct msghdr, copied from the program.

    name   the destination (struct sockaddr_un), b"" for the peer
    files  references that pass to the message with the first piece; what is left is the sender's to put
    sender who the sender is; creds: what SCM_CREDENTIALS says, None without
    sent   bytes of ``data`` that are on their way; begun: the send has been checked, and waits
    """

    def __init__(self, data: bytes, flags: int) -> None:
        self.data = data
        self.flags = flags
        self.name = b""
        self.files: list[VfsFile] = []
        self.sender: Ucred = NOBODY
        self.creds: Ucred | None = None
        self.sent = 0
        self.begun = False


@final
class RecvMsg:
    """What a receiver wants, ``size`` bytes, and gets.

    parts, copied   the bytes
    result          what recv(2) answers; eof: 0 because nothing will come any more
    out_flags       MSG_TRUNC, MSG_EOR
    name            the sender's address; creds: whose message it is; files: references that are the receiver's now
    """

    def __init__(self, size: int, flags: int) -> None:
        self.size = size
        self.flags = flags
        self.parts: list[bytes] = []
        self.copied = 0
        self.result = 0
        self.out_flags = 0
        self.name = b""
        self.creds: Ucred = NOBODY
        self.has_creds = False
        self.files: list[VfsFile] = []
        self.eof = False

    def data(self) -> bytes:
        """All of it."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
