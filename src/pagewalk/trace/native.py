"""The native format (``.pwt``): an Arrow IPC file, one row for each access, compressed with zstd, a batch at a time.

Columns: ``addr`` int64, ``kind`` uint8 (0 read, 1 write, 2 fetch), ``size`` uint16, ``task`` int32, ``cpu`` uint8. Any
tool that reads Arrow (Feather version 2) reads them. What is ours alone is JSON in Arrow's metadata: of the schema,
what is known of the trace (``TraceInfo`` and the format's version); of each record batch, its events with their
positions, its instructions, a checksum of its columns and one of the rest, compressed with zlib.

Writer and reader hold one batch at a time, whatever the length of the trace: the file is read as a stream, not mapped,
so that it does not count as this process's memory. Other tools may map it (``pyarrow.memory_map``). A file whose writer
was killed has no footer; ``lenient`` reads the batches that are whole.

Measured (4.7 million accesses of a program, one thread of a 2-core machine): 0.2 bytes an access; written at 67, read
at 350 million accesses a second. Importing pyarrow takes 80 ms and is left to the functions that need it.
"""

import dataclasses
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from pagewalk.errors import TraceError
from pagewalk.trace.events import EVENT_TYPES, Event, as_fields
from pagewalk.trace.format import BATCH, KINDS, Batch, TraceInfo
from pagewalk.trace.readers.base import FileTrace

__all__ = ["MAGIC", "NativeTrace", "NativeWriter"]

MAGIC: Final = b"ARROW1\0\0"
VERSION: Final = 5
READABLE: Final = (3, 4, 5)  # version 4 does not tell of page tables, version 3 nor of frames, locks, changes of files
_KEY: Final = b"pagewalk"
_COLUMNS: Final = (("addr", "int64"), ("kind", "uint8"), ("size", "uint16"), ("task", "int32"), ("cpu", "uint8"))
_LONGEST: Final = 1 << 30  # bytes of a batch's metadata
_MOST: Final = 1 << 24  # rows that a batch may have: a corrupt length must not take all memory


class NativeWriter:
    """Writes a trace, batch by batch; a context manager. TraceError where the file cannot be written.

    level  zstd's, 1 (fast) to 22 (small)
    """

    def __init__(self, path: Path, info: TraceInfo, level: int = 1) -> None:
        import pyarrow

        self.path = path
        self.nr_accesses = 0
        self.nr_events = 0
        self._arrow: Any = pyarrow
        about = json.dumps({"version": VERSION, **dataclasses.asdict(info)})
        types = [pyarrow.field(name, pyarrow.type_for_alias(alias), nullable=False) for name, alias in _COLUMNS]
        self._schema: Any = pyarrow.schema(types, metadata={_KEY: about.encode()})
        codec = pyarrow.Codec("zstd", compression_level=level)
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise TraceError(f"{path}: cannot be written: {error.strerror}") from None
        options = pyarrow.ipc.IpcWriteOptions(compression=codec)
        self._out: Any = pyarrow.ipc.new_file(self._file, self._schema, options=options)
        self._waiting: list[Batch] = []
        self._nr_waiting = 0

    def __enter__(self) -> "NativeWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def write(self, batch: Batch) -> None:
        """Appends a batch. Small ones are collected until there is enough for a record batch."""
        self._waiting.append(batch)
        self._nr_waiting += len(batch) + len(batch.events)
        if self._nr_waiting >= BATCH:
            self._flush()

    def close(self) -> None:
        """Writes what is left, and the footer."""
        if self._file.closed:
            return
        try:
            self._flush()
            self._out.close()
            self._file.close()
        except OSError as error:
            raise TraceError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    def _flush(self) -> None:
        """One record batch of what waits, or several where it is much."""
        batches, self._waiting, self._nr_waiting = self._waiting, [], 0
        if not batches:
            return
        whole = batches[0] if len(batches) == 1 else _joined(batches)
        try:
            for part in _parts(whole):
                self._write_one(part)
        except OSError as error:
            raise TraceError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    def _write_one(self, batch: Batch) -> None:
        events = [[at, as_fields(event)] for at, event in batch.events]
        about = {"sum": _checksum(batch), "instructions": batch.instructions, "events": events}
        about["text"] = _text_sum(about)
        arrays = [self._arrow.array(column) for column in batch.columns]
        rows = self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._out.write_batch(rows, custom_metadata={_KEY: _deflated(json.dumps(about).encode())})
        self.nr_accesses += len(batch)
        self.nr_events += len(events)


class NativeTrace(FileTrace):
    """Reads a trace, batch by batch, as a stream. TraceError where it is not one, or not whole."""

    name = "native"

    def __init__(self, path: Path, lenient: bool = False) -> None:
        super().__init__(path, lenient)
        with self._opened() as (_, reader):
            about = _json(path, (reader.schema.metadata or {}).get(_KEY))
            columns = tuple((column.name, str(column.type)) for column in reader.schema)
        if columns != _COLUMNS:
            raise TraceError(f"{path}: expected the columns {_named(_COLUMNS)}, got {_named(columns)}")
        version = about.pop("version", None)
        if version not in READABLE:
            raise TraceError(f"{path}: expected a trace of version {VERSION}, got version {version!r}")
        known = {field.name: field for field in dataclasses.fields(TraceInfo)}
        self._info = TraceInfo()
        for name, value in about.items():
            before = getattr(self._info, name, None)
            if name not in known:
                continue  # a later pagewalk says more
            if name != "seed" and type(value) is not type(before):
                raise TraceError(f"{path}: expected a {type(before).__name__} as {name}, got {value!r}")
            setattr(self._info, name, value)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Arrow's magic number."""
        return head.startswith(MAGIC)

    def batches(self) -> Iterator[Batch]:
        """One pass."""
        import pyarrow

        at = 0
        with self._opened() as (_, reader):
            while True:
                try:
                    rows, metadata = reader.read_next_batch_with_custom_metadata()
                    if rows is None:
                        break
                    if len(rows) > _MOST:
                        raise TraceError(f"{self.path}: batch {at}: {len(rows)} rows, more than {_MOST}")
                    batch = self._batch(rows, metadata, at)
                except StopIteration:
                    break
                except (pyarrow.ArrowException, OSError, ValueError, TraceError) as error:
                    ours = isinstance(error, TraceError)
                    message = str(error) if ours else f"{self.path}: batch {at} is corrupt or truncated"
                    if not self.lenient:
                        raise TraceError(message) from None
                    self.skipped += 1
                    if not ours:
                        break  # where the next one begins is not known
                    at += 1
                    continue
                yield batch
                at += 1

    def _opened(self) -> "_Opened":
        return _Opened(self.path, self.lenient)

    def _batch(self, rows: Any, metadata: Any, number: int) -> Batch:
        """What Arrow has read, checked."""
        about = _json(self.path, _inflated((metadata or {}).get(_KEY)))
        columns = [rows.column(at) for at in range(len(_COLUMNS))]
        if any(column.null_count for column in columns):
            raise TraceError(f"{self.path}: batch {number}: values are missing")
        arrays = [column.to_numpy() for column in columns]
        instructions = about.get("instructions")
        events = about.get("events")
        if not isinstance(instructions, int) or not isinstance(events, list):
            raise TraceError(f"{self.path}: batch {number}: its metadata are malformed")
        whole = about.get("text") == _text_sum(about)  # before the events are taken apart
        found = [self._event(item, number, rows.num_rows) for item in events]
        batch = Batch.of_columns(arrays, found, instructions)
        if len(batch) and int(batch.kind.max()) >= len(KINDS):
            raise TraceError(f"{self.path}: batch {number}: expected a kind of 0 to 2, got {int(batch.kind.max())}")
        if any(before[0] > after[0] for before, after in zip(batch.events, batch.events[1:], strict=False)):
            raise TraceError(f"{self.path}: batch {number}: its events are not in order")
        if about.get("sum") != _checksum(batch) or not whole:
            raise TraceError(f"{self.path}: batch {number} is corrupt: its checksum is another one")
        return batch

    def _event(self, item: Any, number: int, nr_rows: int) -> tuple[int, Event]:
        """One event from its JSON."""
        try:
            position, values = item
            made = EVENT_TYPES[values.pop("kind")](**values)
            wanted = {field.name: field.type for field in dataclasses.fields(made)}
            found = {name: getattr(made, name) for name in wanted}
            right = all(type(found[name]) is kind for name, kind in wanted.items())
            right = right and all(-(1 << 63) <= each < 1 << 63 for each in found.values() if type(each) is int)
            if type(position) is not int or not 0 <= position <= nr_rows or not right:
                raise ValueError
        except (TypeError, ValueError, KeyError, AttributeError):
            raise TraceError(f"{self.path}: batch {number}: a malformed event: {str(item)[:80]}") from None
        return position, made


class _Opened:
    """The file, and a reader of the stream in it; a context manager."""

    def __init__(self, path: Path, lenient: bool) -> None:
        self._path = path
        self._lenient = lenient
        self._file: Any = None

    def __enter__(self) -> tuple[Any, Any]:
        import pyarrow

        try:
            self._file = pyarrow.OSFile(str(self._path), "rb")
            size = self._file.size()
            if self._file.read(len(MAGIC)) != MAGIC:
                raise TraceError(f"{self._path}: not a trace in the native format")
            self._file.seek(max(0, size - 6))
            if self._file.read(6) != MAGIC[:6] and not self._lenient:
                raise TraceError(f"{self._path}: truncated: its last record is missing (--lenient reads what is there)")
            self._file.seek(len(MAGIC))
            return self._file, pyarrow.ipc.open_stream(self._file)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            self.__exit__()
            if isinstance(error, TraceError):
                raise
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "corrupt or truncated"
            raise TraceError(f"{self._path}: {reason}") from None

    def __exit__(self, *failure: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _checksum(batch: Batch) -> int:
    """A number that changes with any one value of the batch: sums of 64-bit words, wrapped."""
    total = 0
    columns: tuple[Any, ...] = batch.columns
    for column in columns:
        raw = column.view(np.uint8)
        whole = len(raw) & ~7
        words = int(np.add.reduce(raw[:whole].view(np.int64)))
        total = (total * 31 + words + int.from_bytes(raw[whole:].tobytes(), "little")) & (1 << 63) - 1
    return total


def _joined(batches: list[Batch]) -> Batch:
    """One batch of several."""
    events = []
    start = 0
    for batch in batches:
        events += [(start + at, event) for at, event in batch.events]
        start += len(batch)
    columns = [np.concatenate(column) for column in zip(*(batch.columns for batch in batches), strict=True)]
    return Batch.of_columns(columns, events, sum(batch.instructions for batch in batches))


def _parts(batch: Batch) -> Iterator[Batch]:
    """A batch in pieces of at most 4 * BATCH accesses; the instructions go with the first one."""
    most = 4 * BATCH
    if len(batch) <= most:
        yield batch
        return
    for start in range(0, len(batch), most):
        part = batch[start : start + most]
        yield Batch.of_columns(part.columns, part.events, batch.instructions if start == 0 else 0)


def _text_sum(about: dict[str, Any]) -> int:
    """The CRC-32 of what a batch's metadata say beside its columns."""
    return zlib.crc32(json.dumps([about["instructions"], about["events"]]).encode())


def _deflated(text: bytes) -> bytes:
    """A batch's metadata as they are written."""
    return zlib.compress(text, 1)


def _inflated(text: bytes | None) -> bytes | None:
    """A batch's metadata; before version 5 they were not compressed."""
    if text is None or text.startswith(b"{"):
        return text
    try:
        return zlib.decompressobj().decompress(text, _LONGEST)
    except zlib.error:
        return None


def _json(path: Path, text: bytes | None) -> dict[str, Any]:
    """An object from metadata."""
    try:
        value = json.loads(text or b"")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise TraceError(f"{path}: an Arrow file, but not one of pagewalk's traces")
    return value


def _named(columns: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns)
