"""An engine in the state in which Linux runs a program: 64-bit mode, user privilege, our MMU, one RAM.

The CPU model is Westmere: x86-64-v2 with AES and carry-less multiply, which is what the emulator carries out in full.
It claims no AVX (there is none), no XSAVE, no ERMS (``rep movsb`` is slow here, and the C library would choose it) and
no RDRAND (a run can be repeated). RDTSC reads the host's counter. A CPU with protection keys
has XSAVE too (cpu/x86_pku.py).
"""

import ctypes
from typing import Any, Final

import unicorn
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86

from pagewalk.cpu import sse_flags, x86_pku
from pagewalk.cpu.engine_memory import allocated, fault_address
from pagewalk.cpu.engine_ram import put_ram
from pagewalk.errors import PagewalkError

_unicorn: Any = unicorn  # its types say too little

_CR0: Final = 0x33  # PE MP ET NE: x87 errors are exceptions
_CR4: Final = 0x6B0  # PSE PAE PGE OSFXSR OSXMMEXCPT
_MSR_EFER: Final = 0xC0000080
_MSR_STAR: Final = 0xC0000081
_EFER_SCE: Final = 1

_SCRATCH: Final = 0x1000  # physical address of a page that exists while the engine is set up
_SYSRETQ: Final = b"\x48\x0f\x07"
_CPUID: Final = b"\x0f\xa2"
_LOAD: Final = b"\x48\x8b\x00"  # mov rax, [rax]
_SYSRETL: Final = b"\x0f\x07"
USER32_CS: Final = 0x23  # of a 32-bit program on a 64-bit kernel; its data segment is the next one

GDT_ADDR: Final = -0x1FF_FFFF_F000  # where Linux has the first CPU's (CPU_ENTRY_AREA_PER_CPU), as a signed word
_GDT_LIMIT: Final = 16 * 8 - 1


class Engine:
    """An engine with ``ram_size`` bytes at host address ``ram_address`` as its physical memory, in user mode.

    uc              the ``unicorn.Uc`` that owns it
    address         the ``uc_engine *``
    hwcap           CPUID 1's EDX, which Linux hands to programs as AT_HWCAP
    fault_address   host address of the word that holds the exact address of the last fault, 0 where it is not known
    sse_flags       host addresses of what cpu/sse_flags.py needs, (0, 0) where they are not known
    context_64, context_32  saved contexts: the beginning of a 64-bit and of a 32-bit program
    pkru_address    host address of PKRU, 0 where the CPU has no protection keys; pkru: the word there
    last_descriptor the number of the last one in the GDT

    ``user32_cs`` is the selector of 32-bit code. Raises PagewalkError where the emulator refuses.
    """

    def __init__(self, ram_address: int, ram_size: int, user32_cs: int = USER32_CS, *, pku: bool = False) -> None:
        self.uc = uc = _unicorn.Uc(uc_const.UC_ARCH_X86, uc_const.UC_MODE_64)
        self.address: int = uc._uch.value
        uc.ctl_set_cpu_model(x86.UC_CPU_X86_WESTMERE)
        uc.mem_map(_SCRATCH, 0x1000)
        self.hwcap = _cpuid_features(uc)
        size = allocated(self.address)
        uc.mem_write(_SCRATCH, _LOAD)
        self.fault_address = fault_address(uc, self.address, size, x86.UC_X86_REG_RAX, _SCRATCH, len(_LOAD))
        uc.reg_write(x86.UC_X86_REG_CR0, _CR0)
        uc.reg_write(x86.UC_X86_REG_CR4, _CR4)
        self.pkru_address = x86_pku.enable(uc, self.address, size, _SCRATCH + 0x400, _CR4) if pku else 0
        self.pkru = ctypes.c_uint32.from_address(self.pkru_address) if pku else None
        self.sse_flags = sse_flags.find(uc, self.address, size, _SCRATCH)
        kernel_mode = uc.context_save()
        self.last_descriptor = _GDT_LIMIT >> 3
        uc.reg_write(x86.UC_X86_REG_GDTR, (0, GDT_ADDR & (1 << 64) - 1, _GDT_LIMIT, 0))
        _enter_user_mode(uc, _SYSRETL, user32_cs, user32_cs)
        self.context_32 = uc.context_save()
        uc.context_restore(kernel_mode)
        _enter_user_mode(uc, _SYSRETQ, user32_cs, user32_cs + 16)
        self.context_64 = uc.context_save()
        uc.mem_unmap(_SCRATCH, 0x1000)
        put_ram(uc, self.address, ram_address, ram_size)


def _cpuid_features(uc: Any) -> int:
    """CPUID 1's EDX."""
    uc.mem_write(_SCRATCH, _CPUID)
    uc.reg_write(x86.UC_X86_REG_RAX, 1)
    uc.reg_write(x86.UC_X86_REG_RCX, 0)
    uc.emu_start(_SCRATCH, _SCRATCH + len(_CPUID))
    features: int = uc.reg_read(x86.UC_X86_REG_RDX)
    return features


def _enter_user_mode(uc: Any, sysret: bytes, star: int, expected: int) -> None:
    """Executes SYSRET: writing the segment registers from outside does not change the privilege level.

    ``star`` is what the MSR of that name holds: SYSRET loads it into CS for 32-bit code, and that and 16 for 64-bit
    code, with the segment behind the first as SS. ``expected`` is the CS that must come of it.
    """
    uc.msr_write(_MSR_EFER, uc.msr_read(_MSR_EFER) | _EFER_SCE)
    uc.msr_write(_MSR_STAR, star << 48)
    start = _SCRATCH + 0x100 * len(sysret)  # another place each time: translations of the old code may live on
    uc.mem_write(start, sysret)
    uc.reg_write(x86.UC_X86_REG_RCX, _SCRATCH + 0x800)
    uc.reg_write(x86.UC_X86_REG_R11, 0x202)
    uc.emu_start(start, _SCRATCH + 0x800)
    if uc.reg_read(x86.UC_X86_REG_CS) != expected:
        raise PagewalkError("the CPU emulator did not enter user mode")
