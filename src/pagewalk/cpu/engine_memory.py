"""Finding things in the emulator's own memory that its interface does not show.

Each is looked for when an engine is set up, by what changes there when the engine carries out an instruction; where a
place is not certain, nothing is found.
"""

import ctypes
import os
import re
import struct
from collections.abc import Sequence
from typing import Any, Final

import unicorn

_unicorn: Any = unicorn  # its types say too little

_REACH: Final = 1 << 17  # bytes behind a pointer of the engine's in which its registers are looked for


def allocated(address: int) -> int:
    """Bytes that the C library allocated at ``address``."""
    libc = ctypes.CDLL(None)
    libc.malloc_usable_size.restype = ctypes.c_size_t
    libc.malloc_usable_size.argtypes = [ctypes.c_void_p]
    size: int = libc.malloc_usable_size(address)
    return size


def fault_address(uc: Any, engine: int, size: int, register: int, load: int, length: int) -> int:
    """Host address of the word in the engine's own structure that has the exact address of the last fault; 0 where it
    cannot be found.

    The fill hook is told the page only, while a signal needs the byte. Two loads from addresses where there is no
    memory leave the two addresses in one place. ``load`` is where an instruction of ``length`` bytes loads from where
    ``register`` points to.
    """
    words = (ctypes.c_uint64 * (size // 8)).from_address(engine)
    places = set(range(len(words)))
    for addr in (0x12_3456_789A, 0x0B_ADF0_0D43):
        uc.reg_write(register, addr)
        try:
            uc.emu_start(load, load + length)
        except _unicorn.UcError:
            places &= {at for at, word in enumerate(words) if word == addr}
    return engine + 8 * places.pop() if len(places) == 1 else 0


def register_file(uc: Any, engine: int, engine_size: int, registers: Sequence[int]) -> int:
    """Host address of the general registers, 0 where they are not found. ``registers`` are the first four.

    Four random values stand in a row there, near something that the engine points to; and other ones after these. Of
    the others there is no copy in a row, while Python's own of the first ones may lie nearby.
    """
    values = _set_registers(uc, registers)
    pointers = dict.fromkeys((ctypes.c_uint64 * (engine_size // 8)).from_address(engine))
    memory = os.open("/proc/self/mem", os.O_RDONLY)  # reading it refuses a wild address, and does not crash
    try:
        for pointer in pointers:
            if not 0x1_0000 <= pointer < 1 << 47:
                continue
            try:
                near = os.pread(memory, _REACH, pointer)
            except OSError:
                continue
            pattern = struct.pack(f"<{len(values)}Q", *values)
            places = [found.start() for found in re.finditer(re.escape(pattern), near)]
            if places:
                values = _set_registers(uc, registers)
            for place in places:
                words = (ctypes.c_uint64 * len(values)).from_address(pointer + place)
                if all(word == value for word, value in zip(words, values, strict=True)):
                    found: int = pointer + place
                    return found
    finally:
        os.close(memory)
    return 0


def _set_registers(uc: Any, registers: Sequence[int]) -> list[int]:
    """Random values in registers."""
    values = [int.from_bytes(os.urandom(8), "little") for _ in registers]
    for register, value in zip(registers, values, strict=True):
        uc.reg_write(register, value)
    return values
