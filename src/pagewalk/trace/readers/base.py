"""What readers have in common: a file that is read from its beginning in constant memory, and malformed records.

A malformed record stops the reader with a TraceError that names its line or its offset, or, ``lenient``, is left out
and counted. A compressed file that breaks off is one such record.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

from pagewalk.errors import TraceError
from pagewalk.trace.compressed import blocks
from pagewalk.trace.format import Batch, TraceInfo

__all__ = ["FileTrace", "TextTrace"]

BLOCK: Final = 1 << 22  # bytes that are read and parsed at once
LONGEST_LINE: Final = 1 << 16
_SHOWN: Final = 60  # bytes of a malformed record that a message shows


class FileTrace:
    """A trace in one file. ``skipped`` counts the malformed records that the last pass has left out."""

    name: ClassVar[str] = ""  # of the format, as --format takes it

    def __init__(self, path: Path, lenient: bool = False) -> None:
        self.path = path
        self.lenient = lenient
        self.skipped = 0
        self._info = TraceInfo(source=self.name)

    @property
    def info(self) -> TraceInfo:
        """What the trace says of itself."""
        return self._info

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether a file that begins like this (some 10 KiB) is of this format."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Batch]:
        self.skipped = 0
        yield from self.batches()

    def batches(self) -> Iterator[Batch]:
        """One pass."""
        raise NotImplementedError

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        """The content in pieces; one that breaks off ends here if that may be."""
        try:
            yield from blocks(self.path, size)
        except TraceError:
            if not self.lenient:
                raise
            self.skipped += 1

    def malformed(self, where: str, expected: str, got: bytes) -> None:
        """Raises, or counts."""
        if not self.lenient:
            shown = repr(got[:_SHOWN])[1:] + ("..." if len(got) > _SHOWN else "")
            raise TraceError(f"{self.path}: {where}: expected {expected}, got {shown}")
        self.skipped += 1


class TextTrace(FileTrace):
    """A trace of lines. A subclass parses some lines at a time."""

    expected: str = ""  # what a line should look like, for messages

    def batches(self) -> Iterator[Batch]:
        """One pass: whole lines, some 4 MiB at a time."""
        line = 1
        rest = b""
        for block in self.blocks():
            data = rest + block
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if end:
                yield from self.lines(data[:end], line)
                line += data.count(b"\n", 0, end)
            if len(rest) > LONGEST_LINE:
                self.malformed(f"line {line}", self.expected, rest)
                rest = rest[:1] + b" line too long"  # once is enough: what it ends with is as malformed
                self.skipped -= 1
        if rest:
            yield from self.lines(rest + b"\n", line)

    def lines(self, data: bytes, first: int) -> Iterator[Batch]:
        """Batches of the accesses in ``data``: whole lines, of which the first one has the number ``first``."""
        raise NotImplementedError
