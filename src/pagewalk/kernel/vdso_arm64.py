"""The vDSO of arm64 programs: the way back from signal handlers, and the time.

Sources: vdso(7), "aarch64 functions"; Arm Architecture Reference Manual, C6.2 (instructions); DWARF for the Arm 64-bit
Architecture, section 4.1 (numbers of registers).

Mirrors: arch/arm64/kernel/vdso/{vgettimeofday.c,sigreturn.S} (6.18)
Differs: as kernel/vdso.py; what [vvar] would be read for, a bad pointer is answered to after the system call.
"""

import struct
from typing import Final

from pagewalk.kernel.elf import EM_AARCH64
from pagewalk.kernel.vdso_image import VVAR_PAGES, VdsoText

# version 1, "zR", code alignment 4, data alignment -8, return address in column 30 (x30), pointers pcrel sdata4;
# DW_CFA_def_cfa sp+0, DW_CFA_nop
_UNWIND: Final = b"\x01zR\0\x04\x78\x1e\x01\x1b\x0c\x1f\0\0\0\0\0"

_SLOT: Final = 64  # bytes of code that each function has

_MOV_W9_W0: Final = 0x2A00_03E9
_MOV_X9_X0: Final = 0xAA00_03E9
_LDR_W10_X10: Final = 0xB940_014A
_SVC: Final = 0xD400_0001
_CMN_X0_EFAULT: Final = 0xB100_381F  # whether the answer is -14
_SUB_W9_2: Final = 0x5100_0929
_CMP_W9_1: Final = 0x7100_053F
_STR_X1: Final = 0xF900_003F  # str xzr, [x1]
_STR_X9: Final = 0xF900_013F
_RET: Final = 0xD65F_03C0
_NOP: Final = 0xD503_201F
_UDF: Final = b"\0\0\0\0"
_EQ, _NE, _LS = 0, 1, 9


def mov_x8(number: int) -> int:
    """mov x8, #number."""
    return 0xD280_0008 | number << 5


def adr_x10(offset: int) -> int:
    """adr x10, pc + offset (bytes, within 1 MiB)."""
    return 0x1000_000A | (offset & 3) << 29 | (offset >> 2 & 0x7_FFFF) << 5


def branch(condition: int, words: int) -> int:
    """b.cond, so many instructions on."""
    return 0x5400_0000 | words << 5 | condition


def cbz(register: int, words: int) -> int:
    """cbz x, so many instructions on."""
    return 0xB400_0000 | words << 5 | register


def clock_call(number: int, vvar: int) -> list[int]:
    """A function of a clock and a pointer to the result. ``vvar``: where [vvar] is, relative to its first instruction.

    Clocks 2 and 3, of a process and of a thread, are the kernel's own: a bad pointer is an error number."""
    return [
        _MOV_W9_W0, adr_x10(vvar - 4), _LDR_W10_X10, mov_x8(number), _SVC, _CMN_X0_EFAULT, branch(_NE, 5), _SUB_W9_2,
        _CMP_W9_1, branch(_LS, 2), _STR_X1, _RET,
    ]  # fmt: skip


def gettimeofday_call(number: int, vvar: int) -> list[int]:
    """gettimeofday: either pointer may be null."""
    return [
        _MOV_X9_X0, adr_x10(vvar - 4), _LDR_W10_X10, mov_x8(number), _SVC, _CMN_X0_EFAULT, branch(_NE, 5), cbz(9, 2),
        _STR_X9, cbz(1, 2), _STR_X1, _RET,
    ]  # fmt: skip


class VdsoTextArm64(VdsoText):
    """See VdsoText. ``sigreturn``: where in the image a handler returns to, once ``code`` has been called for it."""

    def __init__(self, page_size: int) -> None:
        super().__init__(EM_AARCH64, "LINUX_2.6.39", "__kernel_", plain=False, unwind=_UNWIND)
        self.page_size = page_size
        self.sigreturn = 0

    def code(self, text: int) -> tuple[bytes, list[tuple[str, int, int]], int]:
        """See VdsoText. The way back from handlers has no unwind table: unwinders know it by its instructions."""
        out = b""
        places = []
        for name, number in (("clock_gettime", 113), ("clock_getres", 114), ("gettimeofday", 169)):
            vvar = -(VVAR_PAGES * self.page_size) - (text + len(out))
            words = gettimeofday_call(number, vvar) if name == "gettimeofday" else clock_call(number, vvar)
            body = struct.pack(f"<{len(words)}I", *words)
            places.append((name, len(out), len(body)))
            out += body.ljust(_SLOT, _UDF[:1])
        unwound = len(out)
        out += struct.pack("<I", _NOP)  # an unwinder looks before the return address
        self.sigreturn = text + len(out)
        places.append(("rt_sigreturn", len(out), 8))
        out += struct.pack("<II", mov_x8(139), _SVC)
        return out, places, unwound
