"""The C functions that an emulator calls while a program runs: the TLB fill, and a note of what stopped it.

Machine code, no Python on the way. They share one array of words with the Python side (``STATE_*``), whose address the
emulator hands back with each call.

Differs: importing this module imports Numba and compiles or loads the code; without it the CPU uses ``fill``
interpreted.
"""

from typing import Any, Final

import numba as _numba
from llvmlite import ir
from numba import extending

from pagewalk.hw import fill as filling
from pagewalk.hw import jit, keys, walker
from pagewalk.hw.fill import FLUSH, NEW_CODE
from pagewalk.hw.state import (
    EVENT_INTERRUPT,
    EVENT_NONE,
    EVENT_SYSCALL,
    STATE_CODE,
    STATE_EVENT,
    STATE_FILLS,
    STATE_FORMAT,
    STATE_NR_WORDS,
    STATE_OUT,
    STATE_OWNERS,
    STATE_PEEK,
    STATE_PKRU,
    STATE_RAM,
    STATE_ROOT,
    STATE_SLICE,
    STATE_STATUS,
    STATE_STOP,
    STATE_VECTOR,
    STATE_WINDOW,
    STATE_WORDS,
    WINDOW_MASK,
)
from pagewalk.hw.walker import (
    FETCH,
    FORMAT_PAGE_SHIFT,
    FORMAT_PKRU,
    FORMAT_WORDS,
    OK,
    OUT_PFN,
    OUT_RIGHTS,
    OUT_WORDS,
    RIGHT_EXECUTE,
    RIGHT_READ,
)

numba: Any = _numba  # its types say too little
carray: Any = numba.carray
types: Any = numba.types

_FIRST_KIND: Final = 16  # UC_MEM_READ; writes and fetches follow

_word = types.int64
_words = types.Array(_word, 1, "C")
_bytes = types.Array(types.uint8, 1, "C")
_word_pointer = types.CPointer(_word)


def _pointer_to(item: Any) -> Any:
    """A function of compiled code: an address as a pointer to ``item``."""

    def to_pointer(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(item)(_word), generate

    return extending.intrinsic(to_pointer)


def _call_with_engine() -> Any:
    """A function of compiled code: calls the C function ``int f(engine)`` at an address."""

    def call(typing_context: Any, address: Any, engine: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = context.get_value_type(types.voidptr)
            function = ir.FunctionType(ir.IntType(32), [pointer]).as_pointer()
            return builder.call(builder.inttoptr(args[0], function), [args[1]])

        return types.int32(_word, types.voidptr), generate

    return extending.intrinsic(call)


call_with_engine = _call_with_engine()
words_at = _pointer_to(_word)
bytes_at = _pointer_to(types.uint8)
words32_at = _pointer_to(types.uint32)


def _on_tlb_fill(engine: int, vaddr: int, kind: int, entry: Any, user_data: Any) -> int:
    """``bool tlb_fill(engine, vaddr, kind, {paddr, perms} *entry, state)``: True with the entry filled.

    False leaves in STATE_STATUS how it failed.
    """
    state = carray(user_data, STATE_WORDS)
    addr = types.int64(vaddr)
    access = types.int64(kind) - _FIRST_KIND
    if state[STATE_WINDOW] != 0 and access == FETCH:
        entry[0] = addr & WINDOW_MASK
        entry[1] = RIGHT_READ | RIGHT_EXECUTE
        return 1
    if state[STATE_PKRU] != 0:
        state[STATE_FORMAT + FORMAT_PKRU] = carray(words32_at(state[STATE_PKRU]), 1)[0]
    nr_words = state[STATE_NR_WORDS]
    out = state[STATE_OUT : STATE_OUT + OUT_WORDS]
    status = fill(
        carray(words_at(state[STATE_RAM]), nr_words),
        nr_words,
        state[STATE_FORMAT : STATE_FORMAT + FORMAT_WORDS],
        state[STATE_ROOT],
        addr,
        access,
        out,
        carray(words_at(state[STATE_OWNERS]), nr_words >> 9),
        carray(bytes_at(state[STATE_CODE]), nr_words >> 9),
        state[STATE_PEEK],
    )
    if state[STATE_PKRU] != 0 and (status == OK or status == NEW_CODE or status == FLUSH):
        close_key(state[STATE_FORMAT : STATE_FORMAT + FORMAT_WORDS], out)
    state[STATE_STATUS] = status
    state[STATE_FILLS] += 1
    if status != OK:
        return 0
    entry[0] = out[OUT_PFN] << state[STATE_FORMAT + FORMAT_PAGE_SHIFT]
    entry[1] = out[OUT_RIGHTS]
    return 1


def _on_syscall(engine: int, user_data: Any) -> None:
    """``void syscall(engine, state)``."""
    carray(user_data, STATE_WORDS)[STATE_EVENT] = EVENT_SYSCALL


def _on_interrupt(engine: int, vector: int, user_data: Any) -> None:
    """``void interrupt(engine, vector, state)``."""
    state = carray(user_data, STATE_WORDS)
    if state[STATE_EVENT] == EVENT_NONE:
        state[STATE_EVENT] = EVENT_INTERRUPT
        state[STATE_VECTOR] = vector


def _on_block(engine: int, address: int, size: int, user_data: Any) -> None:
    """``void block(engine, address, size, state)``: a basic block is about to run; stops the program where its slice
    is used up."""
    state = carray(user_data, STATE_WORDS)
    state[STATE_SLICE] -= 1
    if state[STATE_SLICE] == 0:
        call_with_engine(state[STATE_STOP], engine)


walk_table = jit.compiled(walker.walk_table, _word(_words, _word, _words, _word, _word, _word, _words))
fill = jit.compiled(
    filling.fill,
    _word(_words, _word, _words, _word, _word, _word, _words, _words, _bytes, _word),
    walk_table=walk_table,
)
close_key = jit.compiled(keys.close, types.void(_words, _words))
on_tlb_fill = jit.callback(
    _on_tlb_fill,
    types.uint8(types.voidptr, types.uint64, types.int32, _word_pointer, _word_pointer),
    fill=fill,
    close_key=close_key,
)
on_syscall = jit.callback(_on_syscall, types.void(types.voidptr, _word_pointer))
on_block = jit.callback(_on_block, types.void(types.voidptr, types.uint64, types.uint32, _word_pointer))
on_interrupt = jit.callback(_on_interrupt, types.void(types.voidptr, types.uint32, _word_pointer))
