"""Traces that are tables of text: plain CSV, gem5's packet traces as CSV, and Dinero's ``din``.

csv   Columns by a title line (``addr,rw,size,tid,cpu`` and other words for these, in any order, others are ignored), or
      without one: ``ADDR``, ``ADDR,RW``, ``RW,ADDR``, each with a size at the end or not. RW is r, w or i and what
      begins so (l, s and f, too), or 0, 1, 2. Addresses are hexadecimal where they begin with 0x, or where one of those
      at the beginning of the file has a letter; decimal otherwise.
gem5  What gem5's util/decode_packet_trace.py prints: ``[ID,]CMD,ADDR,SIZE[,FLAGS],TICK[,PC]``, CMD being r, w or u
      (neither: passed over). Its addresses are those of the port that was recorded, physical ones as a rule.
din   ``LABEL ADDR``: 0 read, 1 write, 2 fetch; 3 and 4 are passed over, as is the rest of a line. Hexadecimal.

Sizes that are not told count as one byte.
"""

import csv
import functools
import re
from codecs import BOM_UTF8
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from pagewalk.trace.compressed import head
from pagewalk.trace.format import FETCH, TraceInfo
from pagewalk.trace.readers.scan import COUNT, ScannedTrace, signature
from pagewalk.trace.readers.scan_table import ADDR, CPU, FLAG, KIND, NOTHING, SIZE, TASK, scan_table

__all__ = ["CsvTrace", "DinTrace", "Gem5Trace"]

_HEAD: Final = 1 << 16
_WORDS: Final = {
    ADDR: ("addr", "address", "vaddr", "virtual_address", "va"),
    KIND: ("rw", "r/w", "kind", "type", "op", "access", "cmd", "access_type"),
    FLAG: ("is_write", "iswrite", "write"),
    SIZE: ("size", "len", "length", "bytes"),
    TASK: ("task", "tid", "thread", "pid"),
    CPU: ("cpu", "core"),
}
_NUMBER: Final = r"(?:0[xX][0-9a-fA-F]{1,16}|[0-9a-fA-F]{1,20})"
_RW: Final = r"(?:[rRwWlLsSiIfF][A-Za-z]*|[012])"
_SIZE: Final = r"(?:0[xX][0-9a-fA-F]+|[0-9]+)"
_SHAPES: Final = (
    (re.compile(_NUMBER), (ADDR,)),
    (re.compile(rf"{_NUMBER},{_RW}"), (ADDR, KIND)),
    (re.compile(rf"{_NUMBER},{_RW},{_SIZE}"), (ADDR, KIND, SIZE)),
    (re.compile(rf"{_RW},{_NUMBER}"), (KIND, ADDR)),
    (re.compile(rf"{_RW},{_NUMBER},{_SIZE}"), (KIND, ADDR, SIZE)),
)
_GEM5: Final = re.compile(r"(\d+,)?[rwu],\d+,\d+(?:,\d+){1,3}$")
_AROUND: Final = re.compile(r"\s*,\s*")
_DIN: Final = re.compile(rb"[ \t]*[0-4][ \t]+(?:0[xX])?[0-9a-fA-F]{1,16}(?:\s|$)")


@functools.cache
def _scanner() -> Callable[..., bool]:
    import numba

    from pagewalk.hw import jit

    types: Any = numba.types
    word = types.int64
    more = (types.Array(word, 1, "C"), word, word, types.boolean, types.boolean)
    return jit.compiled(scan_table, signature(*more))


class TableTrace(ScannedTrace):
    """Lines of columns."""

    separator = ","
    base = 16
    exact = True
    aside = False
    roles: tuple[int, ...] = ()

    def __init__(self, path: Path, lenient: bool = False) -> None:
        super().__init__(path, lenient)
        self._info = TraceInfo(source=self.name)

    def scanner(self) -> Callable[..., bool]:
        """See ScannedTrace."""
        return _scanner()

    def more_arguments(self, data: bytes) -> tuple[Any, ...]:
        """See ScannedTrace."""
        return np.array(self.roles, np.int64), ord(self.separator), self.base, self.exact, self.aside


class DinTrace(TableTrace):
    """See above."""

    name = "din"
    expected = "'LABEL ADDR': 0 to 4, and a hexadecimal number"
    separator = " "
    exact = False
    aside = True
    roles = (KIND, ADDR)

    def __init__(self, path: Path, lenient: bool = False) -> None:
        super().__init__(path, lenient)
        self._info.has_fetches = any(line.lstrip().startswith(b"2") for line in head(path, _HEAD).split(b"\n"))

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Most of the first lines decide."""
        lines = [line for line in head.split(b"\n")[:16] if line.strip()]
        return bool(lines) and 2 * sum(_DIN.match(line) is not None for line in lines) > len(lines)


class Gem5Trace(TableTrace):
    """See above."""

    name = "gem5"
    expected = "'[ID,]CMD,ADDR,SIZE[,FLAGS],TICK[,PC]', CMD being r, w or u"
    base = 10
    exact = False
    aside = True

    def __init__(self, path: Path, lenient: bool = False) -> None:
        super().__init__(path, lenient)
        first = next(iter(_lines(head(path, _HEAD))), "")
        match = _GEM5.match(first)
        self.roles = (NOTHING,) * (match is not None and match[1] is not None) + (KIND, ADDR, SIZE)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """The first line decides: three numbers or more around one r, w or u."""
        first = next(iter(_lines(head)), "")
        return _GEM5.match(first) is not None


class CsvTrace(TableTrace):
    """See above."""

    name = "csv"
    base = 10

    def __init__(self, path: Path, lenient: bool = False) -> None:
        super().__init__(path, lenient)
        lines = _lines(head(path, _HEAD))
        first = lines[0] if lines else ""
        titles = _titles(first)
        self.roles = titles or _shape(first) or (ADDR, KIND)
        self._has_titles = bool(titles)
        names = [_WORDS[role][0] if role else "..." for role in self.roles]
        self.expected = f"'{','.join(names)}'"
        at = self.roles.index(ADDR)
        fields = [line.split(",") for line in lines[bool(titles) : -1] or lines]
        self.base = 16 if any(_has_letter(field[at]) for field in fields if at < len(field)) else 10
        if KIND in self.roles:
            kinds = [field[self.roles.index(KIND)] for field in fields if len(field) == len(self.roles)]
            self._info.has_fetches = any(kind.strip()[:1] in tuple("iIfF2") for kind in kinds)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """The first line decides."""
        lines = _lines(head)
        return bool(lines) and bool(_titles(lines[0]) or _shape(lines[0]))

    def title(self, data: bytes) -> int:
        """See ScannedTrace: the title line, and the comments before it."""
        if not self._has_titles:
            return 0
        at = 0
        while at < len(data):
            end = data.index(b"\n", at) + 1
            line = data[at:end].removeprefix(BOM_UTF8).strip(b" \t\r\n")
            at = end
            if line and not line.startswith(b"#"):
                break
        return at

    def other_line(self, line: bytes, where: Callable[[], str]) -> tuple[int, ...] | None:
        """See ScannedTrace: fields between quotation marks, and the mark of UTF-8 before the first one."""
        if b'"' in line or line.startswith(BOM_UTF8):
            text = line.removeprefix(BOM_UTF8).decode("latin-1").rstrip("\r")
            try:
                fields = next(csv.reader([text], skipinitialspace=True), [])
            except csv.Error:
                fields = []
            plain = ",".join(field.replace(",", " ") for field in fields).encode("latin-1") + b"\n"
            columns = [np.zeros(1, dtype) for dtype in (np.int64, np.uint8, np.uint16, np.int32, np.uint8)]
            state = np.zeros(3, np.int64)
            if self.scanner()(np.frombuffer(plain, np.uint8), state, *columns, *self.more_arguments(plain)):
                return tuple(int(column[0]) for column in columns) if state[COUNT] else None
        return super().other_line(line, where)


def _lines(text: bytes) -> list[str]:
    """Lines of the beginning of a file, without comments, spaces and quotation marks."""
    lines = [line.strip(" \t\r") for line in text.removeprefix(BOM_UTF8).decode("latin-1").replace('"', "").split("\n")]
    return [_AROUND.sub(",", line) for line in lines if line and not line.startswith("#")]


def _titles(line: str) -> tuple[int, ...]:
    """The columns that a title line names; () where it is none."""
    names = [name.lower() for name in line.split(",")]
    roles = [next((role for role, words in _WORDS.items() if name in words), NOTHING) for name in names]
    if KIND in roles:
        roles = [NOTHING if role == FLAG else role for role in roles]
    told = [role for role in roles if role]
    return tuple(roles) if ADDR in told and len(set(told)) == len(told) else ()


def _shape(line: str) -> tuple[int, ...]:
    """The columns of a file without titles; () where it is none of those that are known."""
    return next((roles for shape, roles in _SHAPES if shape.fullmatch(line)), ())


def _has_letter(number: str) -> bool:
    return not number.lower().startswith("0x") and any(letter in "abcdefABCDEF" for letter in number)


assert FETCH == 2  # as din's labels and CSV's digits have it
