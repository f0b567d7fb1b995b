"""Opening a trace of whatever format: what it is, its content tells."""

from pathlib import Path
from typing import Final

from pagewalk.errors import ConfigError, TraceError
from pagewalk.trace.compressed import head
from pagewalk.trace.native import NativeTrace
from pagewalk.trace.readers.base import FileTrace
from pagewalk.trace.readers.champsim import ChampsimTrace
from pagewalk.trace.readers.dynamorio import DynamorioTrace
from pagewalk.trace.readers.lackey import LackeyTrace
from pagewalk.trace.readers.perf import PerfTrace
from pagewalk.trace.readers.tables import CsvTrace, DinTrace, Gem5Trace

__all__ = ["FORMATS", "open_trace"]

_READERS: Final[tuple[type[FileTrace], ...]] = (
    NativeTrace,
    LackeyTrace,
    DynamorioTrace,
    DinTrace,
    Gem5Trace,
    CsvTrace,
    PerfTrace,
    ChampsimTrace,
)
FORMATS: Final[dict[str, type[FileTrace]]] = {reader.name: reader for reader in _READERS}
_HEAD: Final = 1 << 16


def open_trace(path: str | Path, *, format: str = "", lenient: bool = False) -> FileTrace:
    """The trace in a file, to be iterated over as often as wanted; nothing but its beginning is read here.

    format   one of FORMATS, for a file whose content does not tell
    lenient  malformed records are left out and counted (``skipped``), instead of a TraceError

    Raises ConfigError for a format that there is not, TraceError for a file that is no trace.
    """
    path = Path(path)
    if format and format not in FORMATS:
        raise ConfigError(f"--format: expected one of {', '.join(FORMATS)}, got {format!r}")
    if path.is_dir():
        raise TraceError(f"{path}: is a directory, not a trace")
    start = head(path, _HEAD)
    if format:
        return FORMATS[format](path, lenient)
    if not start:
        raise TraceError(f"{path}: is empty")
    for reader in _READERS:
        if reader.recognises(start):
            return reader(path, lenient)
    raise TraceError(f"{path}: not a trace of a known kind ({', '.join(FORMATS)}); --format names its kind")
