"""The x87, MMX and SSE state of the emulated CPU as the 512 bytes of FXSAVE64.

Source: Intel SDM volume 1, section 10.5.1 (table 10-2, layout with REX.W).
Differs: the emulator raises no SIMD floating-point exceptions; a restored MXCSR with unmasked ones is kept, not acted
on.
"""

import ctypes
import struct
from typing import Final

from unicorn import x86_const as x86

from pagewalk.cpu.sse_flags import SseFlags
from pagewalk.cpu.unicorn_lib import reg_read_batch, reg_write_batch

SIZE: Final = 512
FCW_DEFAULT: Final = 0x37F
MXCSR_DEFAULT: Final = 0x1F80
MXCSR_MASK: Final = 0xFFFF  # bits that MXCSR has; also what FXSAVE reports

_HEADER: Final = struct.Struct("<HHBxHQQII")  # FCW FSW FTW FOP FIP FDP MXCSR MXCSR_MASK
_EMPTY: Final = 3  # of the two tag bits of an x87 register

_CONTROL: Final = (
    x86.UC_X86_REG_FPCW, x86.UC_X86_REG_FPSW, x86.UC_X86_REG_FPTAG, x86.UC_X86_REG_FOP,
    x86.UC_X86_REG_FIP, x86.UC_X86_REG_FDP, x86.UC_X86_REG_MXCSR,
)  # fmt: skip


class FxState:
    """Reads and writes the state of one engine, all registers in one call."""

    def __init__(self, engine: int, sse: SseFlags) -> None:
        self._engine = engine
        self._sse = sse
        ids = [
            *_CONTROL,
            *range(x86.UC_X86_REG_FP0, x86.UC_X86_REG_FP0 + 8),
            *range(x86.UC_X86_REG_XMM0, x86.UC_X86_REG_XMM0 + 16),
        ]
        count = len(ids)
        self._ids = (ctypes.c_int * count)(*ids)
        self._control = (ctypes.c_uint64 * len(_CONTROL))()
        self._registers = ctypes.create_string_buffer(16 * (8 + 16))
        control = ctypes.addressof(self._control)
        registers = ctypes.addressof(self._registers)
        self._pointers = (ctypes.c_void_p * count)(
            *[control + 8 * at for at in range(len(_CONTROL))], *[registers + 16 * at for at in range(8 + 16)]
        )
        self._arguments = (ctypes.addressof(self._ids), ctypes.addressof(self._pointers), count)

    def save(self) -> bytes:
        """The state, in FXSAVE64's layout; reserved bytes are zero."""
        self._sse.fold()
        ctypes.memset(self._control, 0, ctypes.sizeof(self._control))
        ctypes.memset(self._registers, 0, ctypes.sizeof(self._registers))
        reg_read_batch(self._engine, *self._arguments)
        fcw, fsw, tags, fop, fip, fdp, mxcsr = self._control
        valid = sum(1 << at for at in range(8) if tags >> (2 * at) & 3 != _EMPTY)
        header = _HEADER.pack(fcw & 0xFFFF, fsw & 0xFFFF, valid, fop & 0x7FF, fip, fdp, mxcsr & 0xFFFFFFFF, MXCSR_MASK)
        registers = self._registers.raw
        top = fsw >> 11 & 7
        stack = b"".join(registers[16 * at : 16 * at + 10] + bytes(6) for at in ((top + i) & 7 for i in range(8)))
        return (header + stack + registers[128:]).ljust(SIZE, b"\0")

    def restore(self, image: bytes) -> None:
        """Loads what ``save`` (or FXSAVE64) wrote; bits that MXCSR does not have are dropped."""
        fcw, fsw, valid, fop, fip, fdp, mxcsr, _ = _HEADER.unpack_from(image)
        tags = sum((0 if valid >> at & 1 else _EMPTY) << (2 * at) for at in range(8))
        self._control[:] = [fcw, fsw, tags, fop, fip, fdp, mxcsr & MXCSR_MASK]
        top = fsw >> 11 & 7
        registers = bytearray(128)
        for i in range(8):
            at = 16 * ((top + i) & 7)
            registers[at : at + 10] = image[32 + 16 * i : 42 + 16 * i]
        self._registers.raw = bytes(registers) + bytes(image[160:416])
        self._sse.drop()
        reg_write_batch(self._engine, *self._arguments)

    def reset(self) -> None:
        """FCW 0x37f, MXCSR 0x1f80, all registers empty and zero."""
        self.restore(_HEADER.pack(FCW_DEFAULT, 0, 0, 0, 0, 0, MXCSR_DEFAULT, 0).ljust(SIZE, b"\0"))
