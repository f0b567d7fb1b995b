"""Parsing lines of text at the speed of machine code: what ``lackey`` and the tables share.

The functions here are plain Python that Numba compiles (hw/jit.py); each stands alone, since Numba's cache looks at one
file only. They take bytes, write into arrays, and stop at a line that they do not understand.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from pagewalk.trace.events import Event
from pagewalk.trace.format import FETCH, READ, WRITE, Batch
from pagewalk.trace.readers.base import TextTrace

__all__ = ["ScannedTrace"]

# What a scanner leaves in ``state``.
POSITION: Final = 0  # where to go on, or the start of the line that stopped it
COUNT: Final = 1  # accesses in the arrays
INSTRUCTIONS: Final = 2

_SHORTEST: Final = 3  # bytes of text that one access takes, at least


class ScannedTrace(TextTrace):
    """A text trace whose lines a compiled function parses."""

    def scanner(self) -> Callable[..., bool]:
        """``scan(data, state, addr, kind, size, task, cpu, ...)``: False where it has stopped at a malformed line."""
        raise NotImplementedError

    def passes_over(self, line: bytes) -> bool:
        """Whether a line that the scanner does not know is none of an access, and well-formed."""
        return False

    def other_line(self, line: bytes, where: Callable[[], str]) -> tuple[int, ...] | None:
        """A line that the scanner does not know: the access that it is after all, None where it is none.

        where  says what line it is, for ``malformed``
        """
        if not self.passes_over(line):
            self.malformed(where(), self.expected, line)
        return None

    def title(self, data: bytes) -> int:
        """Bytes at the beginning of the file that are its title: 0, where there is none."""
        return 0

    def more_arguments(self, data: bytes) -> tuple[Any, ...]:
        """What the scanner takes beyond the seven that all have, for these lines."""
        return ()

    def events(self, data: bytes, first: int, more: tuple[Any, ...]) -> list[tuple[int, Event]]:
        """What the scanner has marked, as events with their positions."""
        return []

    def give_tasks(self, tasks: Any) -> None:
        """Fills in whose the accesses are, where the scanner does not know; after ``events``."""

    def lines(self, data: bytes, first: int) -> Iterator[Batch]:
        """See TextTrace."""
        scan = self.scanner()
        more = self.more_arguments(data)
        text = np.frombuffer(data, np.uint8)
        room = len(data) // _SHORTEST + 2
        columns = [np.zeros(room, dtype) for dtype in (np.int64, np.uint8, np.uint16, np.int32, np.uint8)]
        state = np.zeros(3, np.int64)
        state[POSITION] = self.title(data) if first == 1 else 0
        while not scan(text, state, *columns, *more):
            at = int(state[POSITION])
            end = data.index(b"\n", at)
            found = self.other_line(data[at:end], functools.partial(_line_number, data, first, at))
            if found is not None:
                for column, value in zip(columns, found, strict=True):
                    column[state[COUNT]] = value
                state[COUNT] += 1
            state[POSITION] = end + 1
        count = int(state[COUNT])
        events = self.events(data, first, more)
        self.give_tasks(columns[3][:count])
        if count or events:
            arrays = [column[:count].copy() for column in columns]
            yield Batch.of_columns(arrays, events, instructions=int(state[INSTRUCTIONS]))


def _line_number(data: bytes, first: int, at: int) -> str:
    """Names the line that begins at ``at``."""
    return f"line {first + data.count(bytes([10]), 0, at)}"


def signature(*more: Any) -> Any:
    """Numba's type of a scanner, with further arguments."""
    import numba

    types: Any = numba.types
    text = types.Array(types.uint8, 1, "C", readonly=True)
    columns = (types.int64, types.int64, types.uint8, types.uint16, types.int32, types.uint8)
    return types.boolean(text, *[types.Array(item, 1, "C") for item in columns], *more)


def scan_lackey(data: Any, state: Any, addr: Any, kind: Any, size: Any, task: Any, cpu: Any, marks: Any) -> bool:
    """`` L 1fff000758,8``, `` S``, `` M`` (read, then written) and ``I  ``; valgrind's own lines are passed over.

    Of lines that begin with SYSCALL or --, ``marks`` gets the start and the number of accesses before them; marks[0, 0]
    is how many there are.
    """
    at = state[0]
    count = state[1]
    instructions = state[2]
    end = len(data)
    good = True
    while at < end:
        start = at
        first = data[at]
        own = (first == 61 or first == 45 or first == 42) and data[at + 1] == first  # == -- ** are valgrind's
        if own or first == 10:
            if first == 45 and marks[0, 0] + 1 < len(marks):
                marks[0, 0] += 1
                marks[marks[0, 0], 0] = at
                marks[marks[0, 0], 1] = count
            while data[at] != 10:
                at += 1
            at += 1
            continue
        if (first == 83 and data[at + 1] == 89) or (first == 32 and data[at + 1] == 45):  # SYSCALL, or its " -->"
            if first == 83 and marks[0, 0] + 1 < len(marks):
                marks[0, 0] += 1
                marks[marks[0, 0], 0] = at
                marks[marks[0, 0], 1] = count
            while data[at] != 10:
                at += 1
            at += 1
            continue
        if end - at < 4:
            good = False
            break
        letter = data[at + 1] if first == 32 else first
        space = data[at + 2] == 32 and (first == 32 or data[at + 1] == 32)
        if not space or (first == 32) == (letter == 73):
            good = False
            break
        if letter == 76:
            what = READ
        elif letter == 83 or letter == 77:
            what = WRITE
        elif letter == 73:
            what = FETCH
        else:
            good = False
            break
        at += 3
        word = np.uint64(0)
        digits = 0
        while True:
            byte = data[at]
            if 48 <= byte <= 57:
                value = byte - 48
            elif 97 <= byte <= 102:
                value = byte - 87
            else:
                break
            word = (word << np.uint64(4)) | np.uint64(value)
            digits += 1
            at += 1
        if digits == 0 or digits > 16 or data[at] != 44:
            at = start
            good = False
            break
        at += 1
        length = 0
        digits = 0
        while 48 <= data[at] <= 57 and digits < 6:
            length = length * 10 + (data[at] - 48)
            digits += 1
            at += 1
        if data[at] == 13:
            at += 1
        if data[at] != 10 or length < 1 or length > 65535:
            at = start
            good = False
            break
        at += 1
        if letter == 77:
            addr[count] = np.int64(word)
            kind[count] = READ
            size[count] = length
            count += 1
        addr[count] = np.int64(word)
        kind[count] = what
        size[count] = length
        count += 1
        if what == FETCH:
            instructions += 1
    state[0] = at
    state[1] = count
    state[2] = instructions
    return good
