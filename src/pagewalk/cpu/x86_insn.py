"""Questions about an x86-64 instruction that has faulted, which the emulator leaves open.

An instruction that reads, changes and writes one place in memory (``add [x], 1``, ``xchg``, ``lock cmpxchg``) faults on
hardware as a write at once. The emulator carries it out as a load and a store and reports the load; Linux would count
the fault differently (a zero page, then a copy), so the CPU asks here before it reports a load.

Sources: AMD64 Architecture Programmer's Manual volume 3, appendix A (opcode maps).
"""

from typing import Final

# PUSH and POP in their other forms, PUSHF, POPF, RET, LEAVE, ENTER, IRET, CALL.
_STACK_OPCODES: Final = frozenset({0x68, 0x6A, 0x8F, 0x9C, 0x9D, 0xC2, 0xC3, 0xC8, 0xC9, 0xCF, 0xE8})
RDPMC: Final = b"\x0f\x33"
MAX_LENGTH: Final = 15  # bytes of an instruction

_LEGACY_PREFIXES: Final = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3")

# One-byte opcodes: ADD OR ADC SBB AND SUB XOR with a memory destination, XCHG.
_ALWAYS: Final = frozenset(
    {base | width for base in (0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30) for width in (0, 1)}
) | {
    0x86,
    0x87,
}
# Opcode groups, where the reg field of ModRM chooses the operation: which of the eight write what they read.
_BY_REG: Final = {
    0x80: 0b0111_1111,  # all but CMP
    0x81: 0b0111_1111,
    0x83: 0b0111_1111,
    0xC0: 0b1111_1111,  # rotates and shifts
    0xC1: 0b1111_1111,
    0xD0: 0b1111_1111,
    0xD1: 0b1111_1111,
    0xD2: 0b1111_1111,
    0xD3: 0b1111_1111,
    0xF6: 0b0000_1100,  # NOT, NEG
    0xF7: 0b0000_1100,
    0xFE: 0b0000_0011,  # INC, DEC
    0xFF: 0b0000_0011,
}
# Two-byte opcodes (0F xx): SHLD, BTS, SHRD, CMPXCHG, BTR, BTC, XADD.
_ALWAYS_0F: Final = frozenset({0xA4, 0xA5, 0xAB, 0xAC, 0xAD, 0xB0, 0xB1, 0xB3, 0xBB, 0xC0, 0xC1})
_BY_REG_0F: Final = {
    0xBA: 0b1110_0000,  # BTS, BTR, BTC
    0xC7: 0b0000_0010,  # CMPXCHG8B, CMPXCHG16B
}


def writes_what_it_reads(code: bytes, wide: bool = True) -> bool:
    """Whether the instruction at the start of ``code``, which loads from memory, will store to the same place.

    ``wide``: it is 64-bit code, in which 0x40 to 0x4f are prefixes."""
    at = 0
    end = len(code)
    while at < end and code[at] in _LEGACY_PREFIXES:
        at += 1
    if wide and at < end and code[at] & 0xF0 == 0x40:  # REX
        at += 1
    if at + 1 >= end:
        return False
    opcode = code[at]
    if opcode != 0x0F:
        return opcode in _ALWAYS or bool(_BY_REG.get(opcode, 0) >> (code[at + 1] >> 3 & 7) & 1)
    opcode = code[at + 1]
    if opcode in _ALWAYS_0F:
        return True
    return at + 2 < end and bool(_BY_REG_0F.get(opcode, 0) >> (code[at + 2] >> 3 & 7) & 1)


def uses_the_stack_segment(code: bytes) -> bool:
    """Whether the memory operand of ``code`` is addressed through SS: the stack itself, or a base of RSP or RBP."""
    at = 0
    end = len(code)
    override = False
    while at < end and code[at] in _LEGACY_PREFIXES:
        override = override or code[at] in (0x64, 0x65)  # in 64-bit mode the others are ignored
        at += 1
    rex = code[at] if at < end and code[at] & 0xF0 == 0x40 else 0
    at += rex != 0
    if at >= end or override:
        return False
    opcode = code[at]
    if opcode & 0xF0 == 0x50 or opcode in _STACK_OPCODES:
        return True
    if opcode == 0x0F:
        at += 2 if at + 1 < end and code[at + 1] in (0x38, 0x3A) else 1
    if at + 1 >= end:
        return False
    modrm = code[at + 1]
    mod, base = modrm >> 6, modrm & 7
    if mod == 3 or (rex & 1 and base != 4):
        return False
    if base == 4:
        if at + 2 >= end or rex & 1:
            return False
        base = code[at + 2] & 7
    return base == 4 or (base == 5 and mod != 0)


def is_software_interrupt(code: bytes, vector: int) -> bool:
    """Whether ``code`` is ``int vector``, written out."""
    return code[:2] == bytes((0xCD, vector & 0xFF))
