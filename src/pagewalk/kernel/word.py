"""64-bit words: the kernel rooms keep them signed, structures in memory hold them unsigned.

Mirrors: nothing; C has both kinds.
Differs: nothing.
"""

from typing import Final

WORD: Final = (1 << 64) - 1


def unsigned(value: int) -> int:
    """``value`` modulo 2**64. For a register: ``& WORD`` on an i64 would make an i64 of WORD, which has none."""
    return value & WORD


def signed(value: int) -> int:
    """``value`` modulo 2**64 as a signed word."""
    value &= WORD
    return value - (1 << 64) if value >> 63 else value


def signed32(value: int) -> int:
    """The low half of ``value`` as a C int."""
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value
