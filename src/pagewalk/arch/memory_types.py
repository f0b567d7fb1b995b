"""What an entry says of caching: the bits that choose a memory type, and the types as Linux sets them up, as data.

The bits are an index into a register that the kernel writes at boot (x86: the PAT, arm64: MAIR_EL1); RISC-V names the
types in the entry itself (Svpbmt).

Sources: Intel SDM volume 3, section 13.12 (PAT) and table 4-20; Arm Architecture Reference Manual, MAIR_EL1; RISC-V
Privileged Architecture, "Svpbmt"; Linux Documentation/arch/x86/pat.rst.

Mirrors: arch/x86/mm/pat/memtype.c (pat_bp_init), arch/arm64/mm/proc.S (MAIR_EL1_SET) (6.18)
Differs: names only; the model's memory has no caches.
"""

from typing import Final

from mypy_extensions import i64


class MemoryTypes:
    """Where an entry says which memory type its page has.

    names  by index; a power of two of them
    bits   masks of the bits of the index in an entry of the last level, the lowest first
    large  the same in an entry of a higher level that maps a page
    """

    def __init__(self, names: tuple[str, ...], bits: tuple[int, ...], large: tuple[int, ...] = ()) -> None:
        self.names = names
        self.bits = bits
        self.large = large if large else bits

    def name(self, entry: i64, *, last: bool) -> str:
        """The memory type of a leaf; ``last``: one of the last level. "" where the format has none."""
        if not self.names:
            return ""
        index = 0
        for at, mask in enumerate(self.bits if last else self.large):
            if entry & mask:
                index += 1 << at
        return self.names[index]


NONE: Final = MemoryTypes((), ())

_PWT: Final = 1 << 3
_PCD: Final = 1 << 4

# The PAT as Linux writes it; the bit PAT is 7 in a last-level entry and 12 where 7 is PS.
X86: Final = MemoryTypes(
    (
        "write-back", "write-combining", "uncached (UC-)", "uncached", "write-back", "write-protect",
        "uncached (UC-)", "write-through",
    ),
    (_PWT, _PCD, 1 << 7),
    (_PWT, _PCD, 1 << 12),
)  # fmt: skip

# MAIR_EL1 as Linux writes it: MT_NORMAL is 0; indexes that it leaves at 0 mean Device-nGnRnE.
ARM64: Final = MemoryTypes(
    (
        "normal", "normal, tagged", "normal, non-cacheable", "device nGnRnE", "device nGnRE", "device nGnRnE",
        "device nGnRnE", "device nGnRnE",
    ),
    (1 << 2, 1 << 3, 1 << 4),
)  # fmt: skip

# Svpbmt: PMA leaves it to the physical address.
RISCV: Final = MemoryTypes(("", "non-cacheable", "I/O", "reserved"), (1 << 61, 1 << 62))
