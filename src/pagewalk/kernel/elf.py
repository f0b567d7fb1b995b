"""The ELF format as the program loader needs it: header and program headers, out of bytes that nobody has checked.

Whether a file has 64-bit or 32-bit structures follows from its machine, as in Linux, and not from its EI_CLASS.

All fields are unsigned Python ints, so that sizes near 2**64 stay what they are. Nothing here raises.

Sources: elf(5); System V gABI chapter 5; x86-64 psABI.

Mirrors: include/uapi/linux/elf.h (6.18)
Differs: nothing.
"""

import struct
from typing import Final

from pagewalk.kernel.word import WORD

ET_EXEC: Final = 2
ET_DYN: Final = 3
EM_386: Final = 3
EM_486: Final = 6
EM_X86_64: Final = 62
EM_AARCH64: Final = 183
ELFDATA2MSB: Final = 2

PT_LOAD: Final = 1
PT_INTERP: Final = 3
PT_GNU_STACK: Final = 0x6474E551

PF_X: Final = 1
PF_W: Final = 2
PF_R: Final = 4

EHDR_SIZE: Final = 64
PHDR_SIZE: Final = 56

EHDR_SIZE_32: Final = 52
PHDR_SIZE_32: Final = 32

_EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR: Final = struct.Struct("<IIQQQQQQ")
_EHDR_32: Final = struct.Struct("<16sHHIIIIIHHHHHH")
_PHDR_32: Final = struct.Struct("<IIIIIIII")
_NARROW_MACHINES: Final = (EM_386, EM_486)

_MACHINES: Final = {
    0: "no machine", 2: "SPARC", 3: "i386", 4: "68000", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390",
    40: "ARM", 42: "SuperH", 43: "SPARC V9", 50: "IA-64", 62: "x86-64", 183: "AArch64", 243: "RISC-V", 247: "BPF",
    258: "LoongArch",
}  # fmt: skip
_TYPES: Final = {0: "no type", 1: "relocatable object", 4: "core dump"}


class ElfHeader:
    """struct elf64_hdr or elf32_hdr (``narrow``); ``data`` may be shorter than a header (what is missing reads as
    zero)."""

    def __init__(self, data: bytes) -> None:
        data = data[:EHDR_SIZE].ljust(EHDR_SIZE, b"\0")
        self.narrow: bool = int.from_bytes(data[18:20], "little") in _NARROW_MACHINES
        if self.narrow:
            fields = _EHDR_32.unpack(data[:EHDR_SIZE_32])
        else:
            fields = _EHDR.unpack(data)
        ident, e_type, machine, _, entry, phoff, _, _, _, phentsize, phnum, _, _, _ = fields
        self.e_ident: bytes = ident
        self.e_type: int = e_type
        self.e_machine: int = machine
        self.e_entry: int = entry
        self.e_phoff: int = phoff
        self.e_phentsize: int = phentsize
        self.e_phnum: int = phnum

    def has_magic(self) -> bool:
        """Whether it starts as every ELF file does."""
        return self.e_ident[:4] == b"\x7fELF"

    def phdr_size(self) -> int:
        """Bytes of a program header."""
        return PHDR_SIZE_32 if self.narrow else PHDR_SIZE

    def problem(self, machines: tuple[int, ...], here: str) -> str:
        """Why this header is none that a kernel loads that runs programs for ``machines`` (EM_*), in a few words; ""
        where it is. ``here`` is what that machine is called."""
        if not self.has_magic():
            return "not an ELF file"
        known = self.e_type in (ET_EXEC, ET_DYN) and self.e_machine in machines
        if not known and self.e_ident[5] == ELFDATA2MSB:  # Linux never looks at this byte itself
            return f"a big-endian program; this machine is little-endian {here}"
        if self.e_type not in (ET_EXEC, ET_DYN):
            return f"an ELF {_TYPES.get(self.e_type, f'file of type {self.e_type}')}, not a program"
        if self.e_machine not in machines:
            name = _MACHINES.get(self.e_machine, f"machine number {self.e_machine}")
            return f"a program for another architecture ({name}); this machine is {here}"
        return ""


class ProgramHeader:
    """struct elf64_phdr, or elf32_phdr (``narrow``)."""

    def __init__(self, data: bytes, offset: int, narrow: bool) -> None:
        if narrow:
            p_type, file_offset, vaddr, _, filesz, memsz, flags, align = _PHDR_32.unpack_from(data, offset)
        else:
            p_type, flags, file_offset, vaddr, _, filesz, memsz, align = _PHDR.unpack_from(data, offset)
        self.p_type: int = p_type
        self.p_flags: int = flags
        self.p_offset: int = file_offset
        self.p_vaddr: int = vaddr
        self.p_filesz: int = filesz
        self.p_memsz: int = memsz
        self.p_align: int = align


def parse_program_headers(data: bytes, narrow: bool) -> list[ProgramHeader]:
    """Every whole program header in ``data``."""
    size = PHDR_SIZE_32 if narrow else PHDR_SIZE
    return [ProgramHeader(data, at, narrow) for at in range(0, len(data) - size + 1, size)]


def total_mapping_size(headers: list[ProgramHeader], page_size: int) -> int:
    """Bytes from the first loaded page to the end of the last segment, modulo 2**64; 0 where nothing is loaded."""
    lowest = WORD
    highest = 0
    found = False
    for header in headers:
        if header.p_type == PT_LOAD:
            lowest = min(lowest, header.p_vaddr & -page_size)
            highest = max(highest, (header.p_vaddr + header.p_memsz) & WORD)
            found = True
    return (highest - lowest) & WORD if found else 0


def maximum_alignment(headers: list[ProgramHeader], page_size: int) -> int:
    """The largest alignment that a segment asks for, rounded up to pages; odd ones are ignored."""
    alignment = 0
    for header in headers:
        if header.p_type == PT_LOAD and header.p_align & (header.p_align - 1) == 0:
            alignment = max(alignment, header.p_align)
    return page_align(alignment, page_size)


def page_align(addr: int, page_size: int) -> int:
    """``addr`` rounded up to a page, modulo 2**64."""
    return (addr + page_size - 1) & -page_size & WORD


def page_start(addr: int, page_size: int) -> int:
    """``addr`` rounded down to a page."""
    return addr & -page_size & WORD
