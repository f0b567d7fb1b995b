"""Valgrind's ``lackey --trace-mem=yes``: one line for each instruction, load, store and modify.

Format: valgrind-3.19's manual, "Lackey: an example tool". A modify is one read and one write. With
``--trace-syscalls=yes`` the calls that change the address space become events (``lackey_calls``).

Lackey itself does not tell threads. Valgrind runs one at a time, and with ``--trace-sched=yes`` says which, in the same
stream (``SCHED[2]:  acquired lock``): thread n is task n - 1, from its first turn to its exit; valgrind then gives the
number to the next one. Processes have a stream each, if they are traced at all.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from pagewalk.trace.compressed import head
from pagewalk.trace.events import Event, Exit, Fork
from pagewalk.trace.format import TraceInfo
from pagewalk.trace.readers.lackey_calls import Calls
from pagewalk.trace.readers.scan import ScannedTrace, scan_lackey, signature

__all__ = ["LackeyTrace"]

_RECORD: Final = re.compile(rb"(?:I | [LSM]) [0-9a-f]{1,16},\d{1,5}\r?$")
_OWN: Final = re.compile(rb"(==|--|\*\*)\d+\1|SYSCALL\[| -->")
_TURN: Final = re.compile(rb"SYSCALL\[\d+,(\d{1,5})\]|--\d+-- +SCHED\[(\d{1,5})\]: +acquired lock")
_EXIT: Final = re.compile(rb"SYSCALL\[\d+,\d+\]\( *60\) exit\(")
_CHILD: Final = re.compile(rb"process \d+ created child \d+")
_COMMAND: Final = re.compile(rb"^==\d+== Command: (.*)$", re.MULTILINE)


@functools.cache
def _scanner() -> Callable[..., bool]:
    import numba

    from pagewalk.hw import jit

    types: Any = numba.types
    return jit.compiled(scan_lackey, signature(types.Array(types.int64, 2, "C")))


class LackeyTrace(ScannedTrace):
    """See above."""

    name = "lackey"
    expected = "' L ADDR,SIZE' (or S, M; or 'I  ADDR,SIZE')"

    def __init__(self, path: Path, lenient: bool = False) -> None:
        super().__init__(path, lenient)
        self._calls = Calls()
        self.nr_children = 0  # processes that it has started, in the last pass
        self._task = 0
        self._threads = {0}
        self._turns: list[tuple[int, int]] = []
        start = self.beginning()
        command = _COMMAND.search(start[:4096])
        program = command[1].decode("utf-8", "replace") if command else ""
        self._info = TraceInfo(source=self.name, program=program, has_fetches=True, has_events=b"\nSYSCALL[" in start)

    def beginning(self) -> bytes:
        """Some of the content, to see what it tells."""
        return head(self.path, 1 << 21)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """The first line that is not valgrind's own decides."""
        for line in head.split(b"\n"):
            if line.strip() and not _OWN.match(line):
                return _RECORD.match(line) is not None
        return b"Lackey, an example Valgrind tool" in head

    def scanner(self) -> Callable[..., bool]:
        """See ScannedTrace."""
        return _scanner()

    def more_arguments(self, data: bytes) -> tuple[Any, ...]:
        """See ScannedTrace."""
        return (np.zeros((data.count(b"SYSCALL[") + data.count(b"\n--") + 2, 2), np.int64),)

    def events(self, data: bytes, first: int, more: tuple[Any, ...]) -> list[tuple[int, Event]]:
        """See ScannedTrace."""
        if first == 1:
            self._calls = Calls()
            self.nr_children = 0
            self._task = 0
            self._threads = {0}
        marks = more[0]
        found: list[tuple[int, Event]] = []
        self._turns = [(0, self._task)]
        for start, position in marks[1 : 1 + int(marks[0, 0])].tolist():
            line = data[start : data.index(b"\n", start)]
            self.nr_children += _CHILD.search(line) is not None
            event = self._calls.event(line)
            turn = _TURN.match(line)
            if turn is not None:
                self._begins(int(turn[1] or turn[2]) - 1, position, found)
            if event is not None:
                found.append((position, replace(event, task=self._task)))
            if self._task and _EXIT.match(line):
                self._threads.discard(self._task)
                found.append((position, Exit(task=self._task)))
        return found

    def _begins(self, task: int, position: int, found: list[tuple[int, Event]]) -> None:
        """A thread has its turn: from its first one on it shares the address space."""
        if task not in self._threads and task > 0:
            self._threads.add(task)
            found.append((position, Fork(task=0, child=task, shares_mm=True)))
        if task != self._task and task >= 0:
            self._task = task
            self._turns.append((position, task))

    def give_tasks(self, tasks: Any) -> None:
        """See ScannedTrace."""
        for start, task in self._turns:
            tasks[start:] = task
