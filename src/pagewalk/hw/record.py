"""The C functions that an emulated CPU calls for each access while it is recorded: they append to two arrays.

The emulator tells physical addresses. Which page a frame was last filled through is in ``pages``, one word a frame
(``page << PAGES_SHIFT | generation of the TLB``); while accesses are recorded, the TLB never holds a frame through two
pages: a fill that would do that is answered FLUSH, as the fill of hw/fill.py does with code.

Instructions are counted by block: how many a block has, whoever records says once (``RECORD_RESOLVE``), and it is kept
in a table of ``BLOCKS`` entries until the bytes at its address are others. They are looked at again after each flush of
the TLB: code that a program rewrites in place, without the kernel's help, counts as before if its length is as before.

Machine code, no Python on the way. Whoever records shares ``RECORD_WORDS`` words with them, whose address the emulator
hands back with each call; when the arrays are full they call a function of his, which empties them.

Differs: importing this module imports Numba and compiles or loads the code.
"""

from typing import Any, Final

import numba as _numba

from pagewalk.hw import callbacks, jit
from pagewalk.hw.callbacks import call_with_engine, words_at
from pagewalk.hw.fill import FLUSH
from pagewalk.hw.state import (
    STATE_FORMAT,
    STATE_NR_WORDS,
    STATE_OUT,
    STATE_PAGES,
    STATE_PAGES_GEN,
    STATE_RAM,
    STATE_ROOT,
    STATE_SCRATCH,
    STATE_STATUS,
    STATE_WINDOW,
    STATE_WORDS,
)
from pagewalk.hw.walker import (
    FETCH,
    FORMAT_PAGE_SHIFT,
    FORMAT_WORDS,
    OK,
    OUT_PFN,
    OUT_WORDS,
    PEEK,
    READ,
    WRITE,
    walk_table,
)

numba: Any = _numba
carray: Any = numba.carray
types: Any = numba.types

RECORD_COUNT: Final = 0  # accesses in the arrays
RECORD_ROOM: Final = 1  # that they have room for
RECORD_ADDR: Final = 2  # address of the array of addresses
RECORD_META: Final = 3  # address of the array of words kind | size << 8
RECORD_FULL: Final = 4  # address of ``int full(engine)``, which sets RECORD_COUNT to 0
RECORD_INSTRUCTIONS: Final = 5  # of the blocks that were begun
RECORD_PAGES: Final = 6  # address of ``pages``
RECORD_STATE: Final = 7  # address of the words of hw/state.py
RECORD_BLOCKS: Final = 8  # address of the table of blocks
RECORD_RESOLVE: Final = 9  # address of ``int resolve(engine)``, which sets RECORD_LAST_COUNT for the block below
RECORD_LAST_ADDR: Final = 10  # the block that was begun last
RECORD_LAST_SIZE: Final = 11
RECORD_LAST_COUNT: Final = 12
RECORD_PAGE_SHIFT: Final = 13  # log2 of the size of a page
RECORD_WORDS: Final = 16

BLOCKS: Final = 1 << 15  # entries, a power of two; 8 words each
BLOCK_ADDR: Final = 0
BLOCK_SIZE: Final = 1
BLOCK_GEN: Final = 2  # generation of the TLB in which it was looked at
BLOCK_COUNT: Final = 3
BLOCK_SUM: Final = 4  # of its bytes
BLOCK_WORDS: Final = 8

PAGES_SHIFT: Final = 11  # page numbers have 52 bits, and a sign
PAGES_GEN: Final = (1 << PAGES_SHIFT) - 1

_UC_MEM_WRITE: Final = 17


def _on_access(engine: int, kind: int, address: int, size: int, value: int, user_data: Any) -> None:
    """``void mem(engine, type, address, size, value, words)``: a load or a store of a page that the TLB has is about to
    happen. (What the CPU reads of its descriptor table is no access of the program's.)"""
    words = carray(user_data, RECORD_WORDS)
    shift = words[RECORD_PAGE_SHIFT]
    pfn = types.int64(address) >> shift
    claim = carray(words_at(words[RECORD_PAGES]), pfn + 1)[pfn]
    if claim == 0:
        return
    at = words[RECORD_COUNT]
    if at == words[RECORD_ROOM]:
        call_with_engine(words[RECORD_FULL], engine)
        at = words[RECORD_COUNT]
    page = claim >> PAGES_SHIFT
    carray(words_at(words[RECORD_ADDR]), at + 1)[at] = page << shift | types.int64(address) & ((1 << shift) - 1)
    what = WRITE if kind == _UC_MEM_WRITE else READ
    carray(words_at(words[RECORD_META]), at + 1)[at] = what | types.int64(size) << 8
    words[RECORD_COUNT] = at + 1


def _on_block(engine: int, address: int, size: int, user_data: Any) -> None:
    """``void block(engine, address, size, words)``: the instructions in [address, address + size) are about to run."""
    words = carray(user_data, RECORD_WORDS)
    at = words[RECORD_COUNT]
    if at == words[RECORD_ROOM]:
        call_with_engine(words[RECORD_FULL], engine)
        at = words[RECORD_COUNT]
    carray(words_at(words[RECORD_ADDR]), at + 1)[at] = types.int64(address)
    carray(words_at(words[RECORD_META]), at + 1)[at] = FETCH | types.int64(size) << 8
    words[RECORD_COUNT] = at + 1
    blocks = carray(words_at(words[RECORD_BLOCKS]), BLOCKS * BLOCK_WORDS)
    state = carray(words_at(words[RECORD_STATE]), STATE_WORDS)
    entry = ((types.int64(address) ^ (types.int64(address) >> 15)) & (BLOCKS - 1)) * BLOCK_WORDS
    words[RECORD_LAST_ADDR] = types.int64(address)
    words[RECORD_LAST_SIZE] = types.int64(size)
    if (
        blocks[entry + BLOCK_ADDR] == types.int64(address)
        and blocks[entry + BLOCK_SIZE] == types.int64(size)
        and blocks[entry + BLOCK_GEN] == state[STATE_PAGES_GEN]
    ):
        words[RECORD_LAST_COUNT] = blocks[entry + BLOCK_COUNT]
    else:
        total = block_sum(state, types.int64(address), types.int64(size))
        other = entry ^ BLOCK_WORDS  # its neighbour is its second place
        if blocks[other + BLOCK_ADDR] == types.int64(address) and blocks[other + BLOCK_SIZE] == types.int64(size):
            for word in range(BLOCK_WORDS):
                kept = blocks[entry + word]
                blocks[entry + word] = blocks[other + word]
                blocks[other + word] = kept
        elif blocks[entry + BLOCK_ADDR] != types.int64(address) or blocks[entry + BLOCK_SIZE] != types.int64(size):
            for word in range(BLOCK_WORDS):
                blocks[other + word] = blocks[entry + word]
            blocks[entry + BLOCK_SUM] = -1
        if blocks[entry + BLOCK_SUM] != total:
            call_with_engine(words[RECORD_RESOLVE], engine)
            blocks[entry + BLOCK_ADDR] = types.int64(address)
            blocks[entry + BLOCK_SIZE] = types.int64(size)
            blocks[entry + BLOCK_COUNT] = words[RECORD_LAST_COUNT]
            blocks[entry + BLOCK_SUM] = total
        blocks[entry + BLOCK_GEN] = state[STATE_PAGES_GEN]
        words[RECORD_LAST_COUNT] = blocks[entry + BLOCK_COUNT]
    words[RECORD_INSTRUCTIONS] += words[RECORD_LAST_COUNT]


def _block_sum(state: Any, addr: int, size: int) -> int:
    """A checksum of the bytes of a block, as far as they lie in its first page; -2 where that is not there."""
    nr_words = state[STATE_NR_WORDS]
    ram = carray(words_at(state[STATE_RAM]), nr_words)
    out = state[STATE_SCRATCH : STATE_SCRATCH + OUT_WORDS]
    fmt = state[STATE_FORMAT : STATE_FORMAT + FORMAT_WORDS]
    if walk_table(ram, nr_words, fmt, state[STATE_ROOT], addr, PEEK, out) != OK:
        return -2
    shift = fmt[FORMAT_PAGE_SHIFT]
    start = (out[OUT_PFN] << shift) + (addr & ((1 << shift) - 1))
    end = min(start + size, (out[OUT_PFN] + 1) << shift)
    total = 0
    for at in range(start, end):
        byte = (ram[at >> 3] >> ((at & 7) << 3)) & 0xFF
        total = (total * 1000003 + byte + 1) & ((1 << 62) - 1)
    return total


def _on_tlb_fill(engine: int, vaddr: int, kind: int, entry: Any, user_data: Any) -> int:
    """As that of ``callbacks``; and notes through which page the frame is filled."""
    if fill_entry(engine, vaddr, kind, entry, user_data) == 0:
        return 0
    state = carray(user_data, STATE_WORDS)
    if state[STATE_WINDOW] != 0:
        return 1
    pages = carray(words_at(state[STATE_PAGES]), state[STATE_NR_WORDS] >> 9)
    page = types.int64(vaddr) >> state[STATE_FORMAT + FORMAT_PAGE_SHIFT]
    if claim_page(pages, state[STATE_OUT + OUT_PFN], page, state[STATE_PAGES_GEN]):
        return 1
    state[STATE_STATUS] = FLUSH
    return 0


def claim_page(pages: Any, pfn: int, page: int, gen: int) -> bool:
    """The frame is filled through ``page``; False where the TLB holds it through another one already."""
    mine = page << PAGES_SHIFT | gen & PAGES_GEN
    if pages[pfn] != mine and pages[pfn] != 0 and (pages[pfn] ^ mine) & PAGES_GEN == 0:
        return False
    pages[pfn] = mine
    return True


_words = types.CPointer(types.int64)
_fill_signature = types.uint8(types.voidptr, types.uint64, types.int32, _words, _words)
_array = types.Array(types.int64, 1, "C")
fill_entry = jit.compiled(callbacks._on_tlb_fill, _fill_signature, fill=callbacks.fill, close_key=callbacks.close_key)
compiled_claim_page = jit.compiled(claim_page, types.boolean(_array, types.int64, types.int64, types.int64))
on_tlb_fill = jit.callback(_on_tlb_fill, _fill_signature, fill_entry=fill_entry, claim_page=compiled_claim_page)
on_access = jit.callback(
    _on_access, types.void(types.voidptr, types.int32, types.uint64, types.int32, types.int64, _words)
)
block_sum = jit.compiled(_block_sum, types.int64(_array, types.int64, types.int64), walk_table=callbacks.walk_table)
on_block = jit.callback(_on_block, types.void(types.voidptr, types.uint64, types.uint32, _words), block_sum=block_sum)
