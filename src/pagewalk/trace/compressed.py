"""Bytes of a file that may be compressed (gzip, xz, bzip2, zstd, lz4): recognised by its first bytes, read as a stream.

A compressed file that ends too early, or does not make sense, is a TraceError; what came before it has been delivered.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, cast

from pagewalk.errors import TraceError

__all__ = ["blocks", "head", "open_bytes"]

_MAGIC: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_PIECE: Final = 4096  # Arrow loses what it has read where it finds that the data break off
_FAILURES: Final = (EOFError, OSError, lzma.LZMAError, zlib.error, ValueError)


def compression(path: Path) -> str:
    """Which of these it is, by its name as above; "" for a file that is none of them; TraceError where it cannot be
    read."""
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "")


def open_bytes(path: Path) -> IO[bytes]:
    """The file, without its compression."""
    kind = compression(path)
    if kind == "gzip":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if kind == "xz":
        return lzma.open(path, "rb")
    if kind == "bzip2":
        return bz2.open(path, "rb")
    if kind:
        return cast(IO[bytes], _ArrowStream(path, kind))
    return path.open("rb", buffering=0)


class _ArrowStream:
    """What Arrow has a decompressor for: "zstd" or "lz4"."""

    def __init__(self, path: Path, kind: str) -> None:
        import pyarrow

        self._stream: Any = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), kind)

    def __enter__(self) -> "_ArrowStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        """Some bytes; none at the end."""
        return bytes(self._stream.read(min(size, _PIECE)))


def blocks(path: Path, size: int) -> Iterator[bytes]:
    """The content in pieces of about ``size`` bytes; TraceError where the compressed data break off, after what came
    before that."""
    at = 0
    with open_bytes(path) as file:
        read: Callable[[int], bytes] = getattr(file, "read1", file.read)  # read would lose what came before a failure
        while True:
            pieces: list[bytes] = []
            held = 0
            failure: Exception | None = None
            ended = False
            while held < size and failure is None and not ended:
                try:
                    piece = read(size - held)
                except _FAILURES as error:
                    failure = error
                else:
                    ended = not piece
                    held += len(piece)
                    pieces.append(piece)
            if held:
                at += held
                yield b"".join(pieces)
            if failure is not None:
                raise TraceError(f"{path}: {_reason(path, failure)} after {at} bytes of content")
            if ended:
                return


def head(path: Path, size: int = 1 << 16) -> bytes:
    """The first bytes of the content, to see what it is; fewer where it breaks off."""
    try:
        return next(blocks(path, size), b"")[:size]
    except TraceError:
        if not compression(path):
            raise
        raise TraceError(f"{path}: the compressed data are truncated or corrupt at their beginning") from None


def _reason(path: Path, error: BaseException) -> str:
    """What is wrong with a file that cannot be read on."""
    kind = compression(path)
    if kind and (isinstance(error, EOFError) or "Truncated" in str(error)):
        return f"the {kind} data are truncated"
    return f"the {kind} data are corrupt" if kind else f"cannot be read: {error}"
