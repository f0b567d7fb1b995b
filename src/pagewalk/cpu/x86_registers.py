"""The general registers of one engine, and what it is known to hold of them."""

import struct
from typing import Final

from unicorn import x86_const as x86

from pagewalk.cpu import unicorn_lib as ulib
from pagewalk.kernel.ptrace import PtRegs

_IDS: Final = [
    x86.UC_X86_REG_RAX, x86.UC_X86_REG_RBX, x86.UC_X86_REG_RCX, x86.UC_X86_REG_RDX, x86.UC_X86_REG_RSI,
    x86.UC_X86_REG_RDI, x86.UC_X86_REG_RBP, x86.UC_X86_REG_RSP, x86.UC_X86_REG_R8, x86.UC_X86_REG_R9,
    x86.UC_X86_REG_R10, x86.UC_X86_REG_R11, x86.UC_X86_REG_R12, x86.UC_X86_REG_R13, x86.UC_X86_REG_R14,
    x86.UC_X86_REG_R15, x86.UC_X86_REG_EFLAGS, x86.UC_X86_REG_FS_BASE, x86.UC_X86_REG_GS_BASE, x86.UC_X86_REG_RIP,
]  # fmt: skip
_RIP: Final = 19
_READ_FORMAT: Final = struct.Struct("<20q")
_WRITE_FORMAT: Final = struct.Struct("<19q")  # all but rip, which a run takes as an argument


class GeneralRegisters:
    """Reads and writes them all in one call each. ``words``: as they were last read."""

    def __init__(self, engine: int) -> None:
        self._engine = engine
        self.words = ulib.Registers(_IDS)
        self._written = ulib.Registers(_IDS[:_RIP])
        self._known: tuple[int, ...] = ()

    def forget(self) -> None:
        """The engine may hold anything: the next ``load`` writes all of them."""
        self._known = ()

    def load(self, regs: PtRegs) -> None:
        """Into the engine, where anything but rip differs from what it holds."""
        wanted = (
            regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp, regs.rsp, regs.r8, regs.r9, regs.r10,
            regs.r11, regs.r12, regs.r13, regs.r14, regs.r15, regs.eflags, regs.fs_base, regs.gs_base,
        )  # fmt: skip
        if wanted != self._known:
            _WRITE_FORMAT.pack_into(self._written.bytes, 0, *wanted)
            self._written.write(self._engine)

    def store(self, regs: PtRegs) -> None:
        """From the engine."""
        self.words.read(self._engine)
        self.unpack(regs)

    def unpack(self, regs: PtRegs) -> None:
        """From the last words that were read."""
        values = _READ_FORMAT.unpack(self.words.bytes)
        (
            regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp, regs.rsp, regs.r8, regs.r9, regs.r10,
            regs.r11, regs.r12, regs.r13, regs.r14, regs.r15, regs.eflags, regs.fs_base, regs.gs_base, regs.rip,
        ) = values  # fmt: skip
        self._known = values[:_RIP]
