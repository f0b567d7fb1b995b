"""A trace as CSV, for other tools: ``addr,rw,size,tid,cpu``, addresses in hexadecimal. Events have no place there."""

from pathlib import Path
from types import TracebackType
from typing import Final

from pagewalk.errors import TraceError
from pagewalk.trace.format import Batch

__all__ = ["CsvWriter"]

_LETTERS: Final = "rwi"
_WORD: Final = (1 << 64) - 1


class CsvWriter:
    """Writes accesses as lines; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nr_accesses = 0
        try:
            self._file = path.open("w", encoding="ascii")
        except OSError as error:
            raise TraceError(f"{path}: cannot be written: {error.strerror}") from None
        self._file.write("addr,rw,size,tid,cpu\n")

    def __enter__(self) -> "CsvWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, batch: Batch) -> None:
        """Appends the accesses of a batch."""
        self.nr_accesses += len(batch)
        rows = zip(*(column.tolist() for column in batch.columns), strict=True)
        try:
            self._file.writelines(
                f"{addr & _WORD:#x},{_LETTERS[kind]},{size},{task},{cpu}\n" for addr, kind, size, task, cpu in rows
            )
        except OSError as error:
            raise TraceError(f"{self.path}: cannot be written: {error.strerror}") from None
