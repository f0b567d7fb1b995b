"""A line on the terminal that says how a long run is going, and leaves no trace.

It appears only where standard error is a terminal and standard output is not that terminal: it never mixes with what
the program prints.
"""

import os
from collections.abc import Callable
from typing import TextIO

from pagewalk.view.units import count, size

__all__ = ["StatusLine", "same_terminal"]


def same_terminal(one: int, other: int) -> bool:
    """Whether two descriptors are the same terminal."""
    try:
        return os.isatty(one) and os.isatty(other) and os.fstat(one).st_rdev == os.fstat(other).st_rdev
    except OSError:
        return False


class StatusLine:
    """Rewrites one line of ``stream`` from what ``sample()`` answers: (faults, resident bytes, system calls)."""

    interval = 0.5
    delay = 2.0

    def __init__(self, stream: TextIO, sample: Callable[[], tuple[int, int, int]]) -> None:
        self.stream = stream
        self.sample = sample
        self.shown = False
        try:
            self.wanted = stream.isatty() and not same_terminal(stream.fileno(), 1)
        except (OSError, ValueError):
            self.wanted = False

    def show(self, seconds: float) -> None:
        """Draws the line, once the run takes longer than ``delay`` seconds."""
        if seconds >= self.delay:
            faults, resident, calls = self.sample()
            text = f"{seconds:.0f} s, {count(faults)} faults, {size(resident)} resident, {count(calls)} system calls"
            self._write(f"\r\x1b[2mpagewalk: {text}\x1b[0m\x1b[K")
            self.shown = True

    def clear(self) -> None:
        """Removes the line."""
        if self.shown:
            self._write("\r\x1b[K")
            self.shown = False

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            self.wanted = False
