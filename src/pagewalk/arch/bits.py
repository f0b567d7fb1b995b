"""A property of a page-table entry: a mask and a value.

Mirrors: include/linux/pgtable.h (6.18)
Differs: one description of data in place of each architecture's macros.
"""

from typing import Final

from mypy_extensions import i64


class Bits:
    """A property of an entry: ``entry & mask == value``. Masks and values are signed 64-bit words."""

    def __init__(self, mask: i64, value: i64) -> None:
        self.mask = mask
        self.value = value

    def test(self, entry: i64) -> bool:
        """Whether ``entry`` has the property."""
        return entry & self.mask == self.value

    def set(self, entry: i64) -> i64:
        """``entry`` with the property."""
        return (entry & ~self.mask) | self.value

    def clear(self, entry: i64) -> i64:
        """``entry`` without the property (single-bit fields only)."""
        return (entry & ~self.mask) | (self.mask & ~self.value)


ALWAYS: Final = Bits(0, 0)
NEVER: Final = Bits(0, 1)
