"""Recording what a program on the emulated CPU accesses: loads, stores, and the blocks of instructions that it runs.

The hooks are machine code (hw/record.py) that fills two arrays; ``sink`` is asked to take them when they are full, and
told of each time that the CPU begins to run.

Differs: a block of instructions is one fetch, of all its bytes. A locked read-modify-write is one write. An
instruction that faults has had its fetch, and its accesses before the one that faulted, which is not recorded; where it
is begun again, these are there twice. One that only its protection key refuses is recorded as a load of one byte.
"""

import ctypes
from typing import Any, Final

import numpy as np

from pagewalk.cpu.listener import AccessSink
from pagewalk.cpu.unicorn_lib import (
    CTL_TB_REQUEST_CACHE,
    UC_HOOK_BLOCK,
    TranslationBlock,
    hook_add,
    hook_del,
    request_cache,
    strerror,
)
from pagewalk.errors import PagewalkError
from pagewalk.hw.walker import FETCH, READ

UC_HOOK_MEM_READ: Final = 1 << 10
UC_HOOK_MEM_WRITE: Final = 1 << 11
ROOM: Final = 1 << 18  # accesses: 4 MiB of arrays

_FULL: Final = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)


class AccessHooks:
    """The hooks of one engine, and their arrays."""

    def __init__(self, engine: int, sink: AccessSink, nr_frames: int, page_shift: int, state_address: int) -> None:
        from pagewalk.hw import record

        self.sink = sink
        self._record: Any = record
        self._addr = np.zeros(ROOM, np.int64)
        self._meta = np.zeros(ROOM, np.int64)
        self._words = np.zeros(record.RECORD_WORDS, np.int64)
        self.pages = np.zeros(nr_frames, np.int64)
        self._blocks = np.full(record.BLOCKS * record.BLOCK_WORDS, -1, np.int64)
        self._block = TranslationBlock()
        self._full = _FULL(self._on_full)
        self._resolve = _FULL(self._on_unknown_block)
        self._page_shift = page_shift
        self.exception: BaseException | None = None
        self._words[record.RECORD_PAGE_SHIFT] = page_shift
        self._words[record.RECORD_ROOM] = ROOM
        self._words[record.RECORD_ADDR] = self._addr.ctypes.data
        self._words[record.RECORD_META] = self._meta.ctypes.data
        self._words[record.RECORD_PAGES] = self.pages.ctypes.data
        self._words[record.RECORD_FULL] = ctypes.cast(self._full, ctypes.c_void_p).value or 0
        self._words[record.RECORD_STATE] = state_address
        self._words[record.RECORD_BLOCKS] = self._blocks.ctypes.data
        self._words[record.RECORD_RESOLVE] = ctypes.cast(self._resolve, ctypes.c_void_p).value or 0
        shared = self._words.ctypes.data
        self._engine = engine
        self._hooks = [
            hook_add(engine, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, record.on_access.address, shared),
            hook_add(engine, UC_HOOK_BLOCK, record.on_block.address, shared),
        ]

    def close(self) -> None:
        """Removes the hooks; not while the emulator runs."""
        for hook in self._hooks:
            hook_del(self._engine, hook)
        self._hooks = []

    @property
    def count(self) -> int:
        """Accesses in the arrays."""
        return int(self._words[self._record.RECORD_COUNT])

    def last_reaches(self, addr: int, access: int) -> bool:
        """Whether the last access is one of two pages, and ``addr`` is in the second."""
        at = self.count - 1
        if at < 0 or self._meta[at] & 0xFF != access:
            return False
        first = int(self._addr[at])
        last = first + int(self._meta[at] >> 8) - 1
        shift = self._page_shift
        return first >> shift != last >> shift and addr >> shift == last >> shift

    def flush(self) -> None:
        """Gives everything to the sink."""
        count = int(self._words[self._record.RECORD_COUNT])
        if count:
            instructions = int(self._words[self._record.RECORD_INSTRUCTIONS])
            self._words[self._record.RECORD_COUNT] = 0
            self._words[self._record.RECORD_INSTRUCTIONS] = 0
            self.sink.take(self._addr[:count], self._meta[:count], instructions)

    def add_refused(self, addr: int) -> None:
        """An access that the page table grants and a protection key refuses: the TLBs were looked up, as for a load."""
        words, record = self._words, self._record
        if self.count == ROOM:
            self.flush()
        at = self.count
        self._addr[at] = addr
        self._meta[at] = READ | 1 << 8
        words[record.RECORD_COUNT] = at + 1

    def not_begun(self, rip: int) -> None:
        """The CPU was stopped before the block at ``rip``, which it will begin again."""
        at = self.count - 1
        if at >= 0 and self._meta[at] & 0xFF == FETCH and self._addr[at] == rip:
            self._words[self._record.RECORD_COUNT] = at
            self._words[self._record.RECORD_INSTRUCTIONS] -= self._words[self._record.RECORD_LAST_COUNT]
        self._words[self._record.RECORD_LAST_SIZE] = 0

    def left_early(self, rip: int) -> None:
        """The instruction at ``rip`` has failed: those behind it in its block were not begun."""
        words, record = self._words, self._record
        start, size = int(words[record.RECORD_LAST_ADDR]), int(words[record.RECORD_LAST_SIZE])
        if start <= rip < start + size:
            rest = self._instructions(rip)
            if rip + self._block.size == start + size:
                words[record.RECORD_INSTRUCTIONS] -= rest - 1
        words[record.RECORD_LAST_SIZE] = 0

    def _instructions(self, addr: int) -> int:
        """How many instructions the emulator has in its translation of the code at ``addr``."""
        failed = request_cache(self._engine, CTL_TB_REQUEST_CACHE, addr, ctypes.addressof(self._block))
        if failed:
            raise PagewalkError(f"the CPU emulator has no code at {addr & (1 << 64) - 1:#x}: {strerror(failed)}")
        return int(self._block.icount)

    def _on_unknown_block(self, engine: int) -> int:
        """A block is begun that was not seen before, or was another one."""
        words, record = self._words, self._record
        words[record.RECORD_LAST_COUNT] = 0
        try:
            words[record.RECORD_LAST_COUNT] = self._instructions(int(words[record.RECORD_LAST_ADDR]))
        except BaseException as exception:  # see _on_full
            self.exception = self.exception or exception
        return 0

    def _on_full(self, engine: int) -> int:
        """The arrays are full."""
        try:
            self.flush()
        except BaseException as exception:  # it must not reach the emulator's C code: run() raises it
            self.exception = self.exception or exception
            self._words[self._record.RECORD_COUNT] = 0
        return 0
