"""Changes of page tables as text, as ``Tables`` events have them: runs of entries, each a few characters.

    7f3a2c010:16>8000000012345067   16 pages from 0x7f3a2c010000 on are in frames that follow each other
    5624:3=                         3 entries are empty (or all are the same word: "=8000000012345067")
    7ffd:9~2/0                      9 present entries have lost the bits 2, and got none
    2@7f3a2c000+                    the entry of level 2 that serves this page points to a new, empty table

Numbers are hexadecimal but for counts and levels; addresses are numbers of pages; words are the architecture's own.
Without a level it is the last one. Entries that the hardware does not use count as empty.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pagewalk.errors import ConfigError

__all__ = ["MARKS", "SAME", "TABLE", "UP", "Run", "parse_runs", "runs_text"]

TABLE: Final = "+"
SAME: Final = "="
UP: Final = ">"
MARKS: Final = "~"

_RUN: Final = re.compile(
    r"(?:(\d)@)?([0-9a-f]{1,13})(?::(\d{1,5}))?([+=>~])(?:([0-9a-f]{1,16})(?:/([0-9a-f]{1,16}))?)?"
)
_WORD: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` entries in one table from that of ``page`` on.

    level  of the page table, 0 the root; -1 the last
    kind   TABLE: each points to a new table; SAME: each is ``word``; UP: the first is ``word``, the frame of each
           one is higher by 1; MARKS: present ones lose the bits ``word`` and get ``set``
    """

    level: int
    page: int
    count: int
    kind: str
    word: int = 0
    set: int = 0


def _text(run: Run) -> str:
    """One run."""
    level = f"{run.level}@" if run.level >= 0 else ""
    count = f":{run.count}" if run.count != 1 else ""
    word = f"{run.word & _WORD:x}" if run.word or run.kind == MARKS else ""
    bits = f"/{run.set & _WORD:x}" if run.kind == MARKS else ""
    return f"{level}{run.page:x}{count}{run.kind}{word}{bits}"


def runs_text(runs: Iterable[Run]) -> str:
    """Several runs, in order."""
    return " ".join(map(_text, runs))


def parse_runs(text: str) -> Iterator[Run]:
    """``runs_text`` read back. ConfigError for what is none."""
    for part in text.split():
        found = _RUN.fullmatch(part)
        if found is None:
            raise ConfigError(f"replay: expected entries of a page table such as 5624:3=, got {part[:40]!r}")
        level, page, count, kind, word, bits = found.groups()
        yield Run(int(level or -1), int(page, 16), int(count or 1), kind, _signed(word or "0"), _signed(bits or "0"))


def _signed(text: str) -> int:
    word = int(text, 16)
    return word - (1 << 64) if word >> 63 else word
