"""An arm64 engine in the state in which Linux runs a program: user privilege (EL0), our MMU, one RAM.

The CPU model is the emulator's largest, Armv8.5 with atomics and the cryptographic instructions; what of it programs
are told is in kernel/cpufeature_arm64.py. CNTVCT_EL0 counts the host's time.

Sources: Arm Architecture Reference Manual, D19.2 (SCTLR_EL1, CPACR_EL1, TCR_EL1, CNTKCTL_EL1), C6.2 (ERET).
"""

import ctypes
import struct
from typing import Any, Final

import unicorn
from unicorn import arm64_const as arm64
from unicorn import unicorn_const as uc_const

from pagewalk.cpu.engine_memory import allocated, fault_address, register_file
from pagewalk.cpu.engine_ram import put_ram
from pagewalk.errors import PagewalkError

_unicorn: Any = unicorn  # its types say too little

# (CRn, CRm, op0, op1, op2), as the emulator wants it
_SCTLR_EL1: Final = (1, 0, 3, 0, 0)
_TCR_EL1: Final = (2, 0, 3, 0, 2)
_CNTKCTL_EL1: Final = (14, 1, 3, 0, 0)
_SPSR_EL1: Final = (4, 0, 3, 0, 0)
_ELR_EL1: Final = (4, 0, 3, 0, 1)

# What programs may do: DC ZVA, CTR_EL0, WFI, WFE, cache maintenance.
_DZE: Final = 1 << 14
_SCTLR: Final = _DZE | 1 << 15 | 1 << 16 | 1 << 18 | 1 << 26
_TBI0: Final = 1 << 37  # the highest byte of an address is a tag
_EL0VCTEN: Final = 1 << 1  # CNTVCT_EL0; the physical counter is not theirs
_FPEN: Final = 3 << 20  # floating point, and no SVE

_SCRATCH: Final = 0x10000  # physical address of a page, of any size, that exists while the engine is set up
_CODE: Final = {"load": 0xF940_0000, "ldxr": 0xC85F_7C01, "eret": 0xD69F_03E0, "nop": 0xD503_201F}
_FIRST_REGISTERS: Final = (arm64.UC_ARM64_REG_X0, arm64.UC_ARM64_REG_X1, arm64.UC_ARM64_REG_X2, arm64.UC_ARM64_REG_X3)
_STATE: Final = 1 << 16  # bytes from the general registers on in which the exclusive monitor is looked for


class Arm64Engine:
    """An engine with ``ram_size`` bytes at host address ``ram_address`` as its physical memory, in user mode; its TLB
    holds pages of ``page_size`` bytes.

    uc              the ``unicorn.Uc`` that owns it
    address         the ``uc_engine *``
    fault_address   host address of the word that holds the exact address of the last fault, 0 where it is not known
    monitor         host address of the word that holds what the exclusive monitor watches, 0 where it is not known

    Raises PagewalkError where the emulator refuses.
    """

    def __init__(self, ram_address: int, ram_size: int, page_size: int) -> None:
        self.uc = uc = _unicorn.Uc(uc_const.UC_ARCH_ARM64, uc_const.UC_MODE_ARM)
        self.address: int = uc._uch.value
        uc.ctl_set_cpu_model(arm64.UC_CPU_ARM64_MAX)
        uc.ctl_set_page_size(page_size)
        uc.mem_map(_SCRATCH, page_size)
        for at, word in enumerate(_CODE.values()):
            uc.mem_write(_SCRATCH + 4 * at, struct.pack("<I", word))
        size = allocated(self.address)
        self.fault_address = fault_address(uc, self.address, size, arm64.UC_ARM64_REG_X0, _SCRATCH, 4)
        self.monitor = _monitor(uc, register_file(uc, self.address, size, _FIRST_REGISTERS))
        self._write(_SCTLR_EL1, self._read(_SCTLR_EL1) | _SCTLR)
        self._write(_TCR_EL1, _TBI0)
        self._write(_CNTKCTL_EL1, _EL0VCTEN)
        uc.reg_write(arm64.UC_ARM64_REG_CPACR_EL1, _FPEN)
        self._enter_user_mode()
        uc.mem_unmap(_SCRATCH, page_size)
        put_ram(uc, self.address, ram_address, ram_size)

    def _read(self, register: tuple[int, ...]) -> int:
        value: int = self.uc.reg_read(arm64.UC_ARM64_REG_CP_REG, register)
        return value

    def _write(self, register: tuple[int, ...], value: int) -> None:
        self.uc.reg_write(arm64.UC_ARM64_REG_CP_REG, (*register, value))

    def allow_zeroing(self, allowed: bool) -> None:
        """Whether programs may use DC ZVA."""
        control = self._read(_SCTLR_EL1)
        self._write(_SCTLR_EL1, control | _DZE if allowed else control & ~_DZE)

    def _enter_user_mode(self) -> None:
        """Executes ERET: writing PSTATE from outside does not change the privilege level."""
        self._write(_SPSR_EL1, 0)
        self._write(_ELR_EL1, _SCRATCH + 12)
        self.uc.emu_start(_SCRATCH + 8, _SCRATCH + 12)
        if self.uc.reg_read(arm64.UC_ARM64_REG_PSTATE) & 0xF:
            raise PagewalkError("the CPU emulator did not enter user mode")


def _monitor(uc: Any, registers: int) -> int:
    """Where the address stands that the last load-exclusive was from."""
    if not registers:
        return 0
    places: set[int] | None = None
    for addr in (_SCRATCH + 0x118, _SCRATCH + 0x7E0):
        uc.reg_write(arm64.UC_ARM64_REG_X0, addr)
        uc.emu_start(_SCRATCH + 4, _SCRATCH + 8)
        uc.reg_write(arm64.UC_ARM64_REG_X0, 0)
        words = struct.unpack(f"<{_STATE // 8}Q", ctypes.string_at(registers, _STATE))
        found = {at for at, word in enumerate(words) if word == addr}
        places = found if places is None else places & found
    return registers + 8 * places.pop() if places is not None and len(places) == 1 else 0
