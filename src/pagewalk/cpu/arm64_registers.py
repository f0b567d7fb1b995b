"""The registers of one arm64 engine: general ones, and the floating-point state as signal frames have it."""

import ctypes
import struct
from typing import Final

from unicorn import arm64_const as arm64

from pagewalk.cpu import unicorn_lib as ulib
from pagewalk.kernel.ptrace_arm64 import Arm64Regs

_IDS: Final = [
    *(arm64.UC_ARM64_REG_X0 + at for at in range(29)), arm64.UC_ARM64_REG_X29, arm64.UC_ARM64_REG_X30,
    arm64.UC_ARM64_REG_SP, arm64.UC_ARM64_REG_PSTATE, arm64.UC_ARM64_REG_TPIDR_EL0, arm64.UC_ARM64_REG_PC,
]  # fmt: skip
_NR_GENERAL: Final = 31
_WRITTEN: Final = len(_IDS) - 1  # all but pc, which a run takes as an argument
_READ_FORMAT: Final = struct.Struct(f"<{len(_IDS)}q")
_WRITE_FORMAT: Final = struct.Struct(f"<{_WRITTEN}q")


class Arm64GeneralRegisters:
    """Reads and writes them all in one call each."""

    def __init__(self, engine: int) -> None:
        self._engine = engine
        self._words = ulib.Registers(_IDS)
        self._written = ulib.Registers(_IDS[:_WRITTEN])
        self._known: tuple[int, ...] = ()

    def load(self, regs: Arm64Regs) -> None:
        """Into the engine, where anything but pc differs from what it holds."""
        wanted = (*regs.regs, regs.sp, regs.pstate, regs.tpidr_el0)
        if wanted != self._known:
            _WRITE_FORMAT.pack_into(self._written.bytes, 0, *wanted)
            self._written.write(self._engine)

    def store(self, regs: Arm64Regs) -> None:
        """From the engine."""
        self._words.read(self._engine)
        values = _READ_FORMAT.unpack(self._words.bytes)
        regs.regs = list(values[:_NR_GENERAL])
        regs.sp, regs.pstate, regs.tpidr_el0, regs.pc = values[_NR_GENERAL:]
        self._known = values[:_WRITTEN]


class Arm64FpState:
    """The floating-point state: 32 vector registers of 16 bytes, FPSR, FPCR, 8 bytes of padding
    (struct user_fpsimd_state)."""

    def __init__(self, engine: int) -> None:
        self._engine = engine
        ids = [
            *(arm64.UC_ARM64_REG_V0 + at for at in range(32)), arm64.UC_ARM64_REG_FPSR, arm64.UC_ARM64_REG_FPCR,
        ]  # fmt: skip
        self._ids = (ctypes.c_int * len(ids))(*ids)
        self._image = ctypes.create_string_buffer(528)
        base = ctypes.addressof(self._image)
        places = [*range(0, 512, 16), 512, 516]
        self._pointers = (ctypes.c_void_p * len(ids))(*[base + at for at in places])
        self._arguments = (ctypes.addressof(self._ids), ctypes.addressof(self._pointers), len(ids))

    def save(self) -> bytes:
        """The 528 bytes."""
        ulib.reg_read_batch(self._engine, *self._arguments)
        return self._image.raw[:520] + bytes(8)

    def restore(self, image: bytes) -> None:
        """Loads them."""
        self._image.raw = image[:520] + bytes(8)
        ulib.reg_write_batch(self._engine, *self._arguments)

    def reset(self) -> None:
        """All zero."""
        self.restore(bytes(528))
