"""Accesses that a reader finds one by one, on their way to a batch."""

from array import array
from typing import Final

import numpy as np

from pagewalk.trace.format import FETCH, Batch

__all__ = ["Rows"]

_WORD: Final = 1 << 64
_SIGN: Final = 1 << 63


class Rows:
    """Columns that grow. ``nr_fetches`` counts instruction fetches."""

    def __init__(self) -> None:
        self._addr = array("Q")
        self._kind = array("B")
        self._size = array("H")
        self._task = array("i")
        self._cpu = array("B")
        self.nr_fetches = 0

    def __len__(self) -> int:
        return len(self._addr)

    def add(self, addr: int, kind: int, size: int = 1, task: int = 0, cpu: int = 0) -> bool:
        """One access, its address unsigned; False where a number does not fit."""
        if not (0 <= addr < _WORD and 1 <= size < 1 << 16 and 0 <= task < 1 << 31 and 0 <= cpu < 256):
            return False
        self._addr.append(addr)
        self._kind.append(kind)
        self._size.append(size)
        self._task.append(task)
        self._cpu.append(cpu)
        self.nr_fetches += kind == FETCH
        return True

    def batch(self, instructions: int = 0) -> Batch:
        """All of them."""
        return Batch.of(
            np.frombuffer(self._addr, np.uint64).view(np.int64),
            np.frombuffer(self._kind, np.uint8),
            np.frombuffer(self._size, np.uint16),
            np.frombuffer(self._task, np.int32),
            np.frombuffer(self._cpu, np.uint8),
            instructions=instructions,
        )
