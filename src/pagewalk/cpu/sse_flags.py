"""The exception flags of MXCSR, which the emulator collects and does not show.

It keeps the flags that SSE arithmetic raises in a word of its own floating-point library, and MXCSR as it was last
loaded: ``fetestexcept`` would find nothing. Here both are found in the emulator's memory when it is set up, and the
instructions that read or load MXCSR (STMXCSR, LDMXCSR) get a hook that moves the flags to where the program looks for
them. Such an instruction is found when its page is first executed, by its bytes; bytes that only look like one cost a
call.

Differs: FXSAVE by the program itself shows the flags as they were when MXCSR was last read or loaded.
"""

import ctypes
import re
import struct
from typing import Any, Final

from unicorn import x86_const as x86

from pagewalk.cpu.engine_memory import register_file
from pagewalk.cpu.unicorn_lib import CODE_CALLBACK, UC_HOOK_CODE, hook_add

_FLAGS: Final = 0x3D  # IE ZE OE UE PE: the same bits in both words
_ACCESS: Final = re.compile(rb"\x0f\xae(?:[\x10-\x1f\x50-\x5f\x90-\x9f]|\Z)|\x0f\Z", re.DOTALL)  # (LD|ST)MXCSR [memory]
_MAX_PREFIX: Final = 2  # bytes of segment and REX prefixes before it

_DIVIDE: Final = b"\xf2\x0f\x5e\xc1"  # divsd xmm0, xmm1
_REGISTERS: Final = (x86.UC_X86_REG_RAX, x86.UC_X86_REG_RCX, x86.UC_X86_REG_RDX, x86.UC_X86_REG_RBX)
_STATE: Final = 1 << 12  # bytes of the register file, from the general registers on, that hold what we look for


def find(uc: Any, engine: int, engine_size: int, scratch: int) -> tuple[int, int]:
    """Host addresses of the library's flags (a byte) and of MXCSR (a word); (0, 0) where they are not certain.

    ``scratch`` is the address of a page of the engine's memory, for code; SSE registers and MXCSR are changed.
    """
    registers = register_file(uc, engine, engine_size, _REGISTERS)
    if not registers:
        return 0, 0

    def state() -> bytes:
        return ctypes.string_at(registers, _STATE)

    def divide(dividend: float, divisor: float) -> None:
        for register, value in ((x86.UC_X86_REG_XMM0, dividend), (x86.UC_X86_REG_XMM1, divisor)):
            uc.reg_write(register, struct.unpack("<Q", struct.pack("<d", value))[0])
        uc.emu_start(scratch, scratch + len(_DIVIDE))

    uc.mem_write(scratch, _DIVIDE)
    uc.reg_write(x86.UC_X86_REG_MXCSR, 0x1F80)
    divide(1.0, 1.0)
    clean = state()
    uc.reg_write(x86.UC_X86_REG_MXCSR, 0x1FA0)
    loaded = state()
    uc.reg_write(x86.UC_X86_REG_MXCSR, 0x1F80)
    divide(1.0, 0.0)
    by_zero = state()
    divide(1.0, 3.0)
    inexact = state()
    mxcsr = [at for at in range(0, _STATE, 4) if clean[at : at + 4] == b"\x80\x1f\0\0" and loaded[at] == 0xA0]
    flags = [at for at in range(_STATE) if (clean[at], by_zero[at], inexact[at]) == (0, 0x04, 0x24)]
    if len(mxcsr) != 1 or len(flags) != 1:
        return 0, 0
    ctypes.c_uint8.from_address(registers + flags[0]).value = 0
    return registers + flags[0], registers + mxcsr[0]


class SseFlags:
    """Keeps one engine's MXCSR as a program expects it. Does nothing where the flags were not found."""

    def __init__(self, engine: int, flags_address: int, mxcsr_address: int) -> None:
        self._engine = engine
        self._known = flags_address != 0
        self._flags = ctypes.c_uint8.from_address(flags_address) if self._known else ctypes.c_uint8()
        self._mxcsr = ctypes.c_uint32.from_address(mxcsr_address) if self._known else ctypes.c_uint32()
        self._callback = CODE_CALLBACK(self._before_access)
        self._hooked: set[int] = set()

    def on_new_code(self, addr: int, page: memoryview) -> None:
        """``page`` is about to be executed at ``addr``: hooks what reads or loads MXCSR."""
        if not self._known:
            return
        for match in _ACCESS.finditer(page):
            at = addr + match.start()
            if at not in self._hooked:
                self._hooked.add(at)
                hook_add(self._engine, UC_HOOK_CODE, self._callback, 0, begin=at - _MAX_PREFIX, end=at)

    def fold(self) -> None:
        """Moves the flags that arithmetic has raised into MXCSR."""
        self._mxcsr.value |= self._flags.value & _FLAGS
        self._flags.value = 0

    def drop(self) -> None:
        """Forgets the flags that arithmetic has raised: MXCSR is loaded from elsewhere."""
        self._flags.value = 0

    def _before_access(self, engine: int, addr: int, size: int, user_data: int) -> None:
        self.fold()
