"""How a not-present entry says where in swap its page is (a swp_entry_t in a page table), as data.

Sources: the comments "Format of swap PTEs" in each architecture's pgtable.h; MAX_SWAPFILES_SHIFT in
include/linux/swap.h.

Mirrors: include/linux/swapops.h, arch/*/include/asm/pgtable*.h (6.18)
Differs: one description of data in place of each architecture's macros; no soft-dirty and userfaultfd bits.
"""

from typing import Final

from mypy_extensions import i64

MAX_SWAPFILES_SHIFT: Final = 5

# Types above those of swap areas, the highest ones: what else a not-present entry may be.
SWP_PTE_MARKER: Final = 31
PTE_MARKER_POISONED: Final = 2
PTE_MARKER_GUARD: Final = 4


class SwapFormat:
    """Where the parts of a swap entry lie.

    type_shift, type_bits      the number of the swap area
    offset_shift, offset_bits  the page in that area
    inverted                   the offset is stored with all bits inverted (against L1TF)
    exclusive                  bit that remembers PG_anon_exclusive
    max_type, max_offset       the highest numbers that fit: under PAE fewer than the entry's bits, as a swp_entry_t
                               has only 32 (``entry_bits``), of which 5 are the type's and one is the xarray's
    """

    def __init__(
        self,
        type_shift: int,
        type_bits: int,
        offset_shift: int,
        offset_bits: int,
        exclusive: int,
        inverted: bool = False,
        entry_bits: int = 64,
    ) -> None:
        self.type_shift: i64 = type_shift
        self.type_bits: i64 = type_bits
        self.offset_shift: i64 = offset_shift
        self.offset_bits: i64 = offset_bits
        self.exclusive: i64 = exclusive
        self.inverted = inverted
        self.type_mask: i64 = (1 << type_bits) - 1
        self.offset_mask: i64 = (1 << offset_bits) - 1
        self.max_type: i64 = (1 << type_bits) - 1
        self.max_offset: i64 = (1 << min(offset_bits, entry_bits - 1 - MAX_SWAPFILES_SHIFT)) - 1
        # A field that ends in bit 63 is stored as a signed number, so that nothing leaves the signed word.
        self._type_sign: i64 = 1 << type_bits - 1 if type_shift + type_bits == 64 else 0
        self._offset_sign: i64 = 1 << offset_bits - 1 if offset_shift + offset_bits == 64 else 0

    def swp_pte(self, kind: i64, offset: i64) -> i64:
        """The entry of page ``offset`` of swap area ``kind``, a signed word. 0 <= kind <= max_type and 0 <= offset <=
        max_offset, which the caller has seen to."""
        if self.inverted:
            offset ^= self.offset_mask
        if kind & self._type_sign:
            kind -= self.type_mask + 1
        if offset & self._offset_sign:
            offset -= self.offset_mask + 1
        return kind << self.type_shift | offset << self.offset_shift

    def pte_swp_type(self, pte: i64) -> i64:
        """The swap area of an entry."""
        return pte >> self.type_shift & self.type_mask

    def pte_swp_offset(self, pte: i64) -> i64:
        """The page in its area of an entry."""
        offset: i64 = pte >> self.offset_shift & self.offset_mask
        return offset ^ self.offset_mask if self.inverted else offset

    def encode(self, kind: int, offset: int) -> int:
        """``swp_pte`` for numbers that may be wrong: ValueError where they do not fit."""
        if not 0 <= kind <= self.max_type or not 0 <= offset <= self.max_offset:
            raise ValueError(
                f"a swap entry: expected a type of 0 to {self.max_type} and an offset of 0 to {self.max_offset:#x}, "
                f"got {kind} and {offset:#x}"
            )
        return self.swp_pte(kind, offset)

    def decode(self, entry: int) -> tuple[int, int]:
        """(area, page) of a swap entry."""
        return self.pte_swp_type(entry), self.pte_swp_offset(entry)
