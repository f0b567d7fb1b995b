"""Who is told when translations are no longer so: the TLBs of a machine that models them.

Mirrors: include/asm-generic/tlb.h, arch/x86/mm/tlb.c (flush_tlb_mm_range) (6.18)
Differs: clearing entries and freeing page tables are told of one after the other, not gathered into one flush.
"""

from typing import TYPE_CHECKING

from mypy_extensions import i64, mypyc_attr

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct


@mypyc_attr(allow_interpreted_subclasses=True)
class TlbWatcher:
    """Told of each flush before anything runs in the address space again."""

    def flush_tlb_mm_range(self, mm: "MmStruct", start: i64, end: i64) -> None:
        """Nothing that a CPU keeps of [start, end) in ``mm`` may be used any more: translations and what led to
        them."""
        raise NotImplementedError
