"""The vDSO of 64-bit x86 programs: its functions.

Mirrors: arch/x86/entry/vdso/vclock_gettime.c, vgetcpu.c (6.18)
Differs: functions enter the kernel rather than compute from [vvar]; no getrandom and no SGX entry.
"""

import struct
from typing import Final

from pagewalk.kernel.elf import EM_X86_64
from pagewalk.kernel.vdso_image import VCLOCK_PAGES, VVAR_PAGES, VdsoText

# name without prefix, number of the system call
FUNCTIONS: Final = (("clock_gettime", 228), ("gettimeofday", 96), ("time", 201), ("clock_getres", 229), ("getcpu", 309))

# version 1, "zR", code alignment 1, data alignment -8, return address in column 16, pointers pcrel sdata4;
# DW_CFA_def_cfa rsp+8, DW_CFA_offset column 16 at cfa-8, two DW_CFA_nop: the return address is what RSP points to
_UNWIND: Final = b"\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01\0\0"


class VdsoTextX86(VdsoText):
    """See VdsoText."""

    def __init__(self) -> None:
        super().__init__(EM_X86_64, "LINUX_2.6", "__vdso_", plain=True, unwind=_UNWIND)

    def code(self, text: int) -> tuple[bytes, list[tuple[str, int, int]], int]:
        """See VdsoText."""
        code, places = text_section(text)
        return code, places, len(code)


def text_section(text: int) -> tuple[bytes, list[tuple[str, int, int]]]:
    """The machine code, which begins ``text`` bytes into the image, and (name, offset, size) of each function.

    Read a word of [vvar] and touch where the result goes, as code that computes there would, but not for the clocks of
    a process and a thread (2, 3), which are the kernel's own; then mov eax, number; syscall; ret.
    """
    code = b""
    places = []
    for name, number in FUNCTIONS:
        guard = b"\x8d\x47\xfe\x83\xf8\x01\x76" if name.startswith("clock_") else b""  # lea eax, [rdi - 2]; cmp 1; jbe
        touch = b""
        if name != "getcpu":
            at = text + len(code) + len(guard) + (1 if guard else 0) + 6
            touch = b"\x8b\x05" + struct.pack("<i", -((VVAR_PAGES + VCLOCK_PAGES) << 12) - at)  # mov eax, [rip + vvar]
            result = b"\x48\x83\x0e\x00" if guard else b"\x48\x83\x0f\x00"  # or qword [rsi or rdi], 0
            if name != "clock_gettime":
                touch += (b"\x48\x85\xf6" if guard else b"\x48\x85\xff") + b"\x74\x04"  # test; jz over it
            touch += result
        body = guard + bytes([len(touch)]) + touch if guard else touch
        body += b"\xb8" + struct.pack("<I", number) + b"\x0f\x05\xc3"
        places.append((name, len(code), len(body)))
        code += body.ljust(32, b"\xcc")
    return code, places
