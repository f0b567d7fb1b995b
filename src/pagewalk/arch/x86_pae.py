"""32-bit x86 with PAE: three levels of 8-byte entries, 2 MiB pages, NX. The root has four entries.

The root's entries hold no rights and no marks: the processor loads them when CR3 is written (Intel SDM volume 3,
section 4.4.1), so that most of their bits are reserved.

Sources: Intel SDM volume 3, section 4.4 (PAE paging), figure 4-7 and tables 4-8 to 4-11; AMD64 APM volume 2, section
5.2.3.

Mirrors: arch/x86/include/asm/pgtable-3level.h, pgtable_types.h, arch/x86/mm/pgprot.c (6.18)
Differs: the root takes a whole frame; the frame number of a PROT_NONE entry is not inverted (the L1TF mitigation).
"""

from typing import Final

from pagewalk.arch import memory_types
from pagewalk.arch.bits import Bits
from pagewalk.arch.format import Level, PageFormat
from pagewalk.arch.kernel_rights import x86_kernel_rights
from pagewalk.arch.swap_format import PTE_MARKER_GUARD, SWP_PTE_MARKER, SwapFormat
from pagewalk.arch.x86_64 import (
    ACCESSED,
    DIRTY,
    GLOBAL,
    NX,
    PAT,
    PAT_LARGE,
    PFN_MASK,
    PRESENT,
    PROTECTION_MAP,
    PSE,
    RW,
    SOFTW1,
    TABLE_NAMES,
    USER,
)

# Of a root entry: bits 2:1 and 8:5, and NX.
PDPTE_RESERVED: Final = 0x1E6 | NX

_LEVELS: Final = (
    Level("pgd", 30, 2, can_leaf=False, rights=False, table_reserved=PDPTE_RESERVED),
    Level("pmd", 21, 9, can_leaf=True, leaf_reserved=0x001F_E000),
    Level("pte", 12, 9, can_leaf=True),
)

# The places of x86-64, but for the exclusive mark, which is that of two levels.
SWAP: Final = SwapFormat(
    type_shift=59, type_bits=5, offset_shift=9, offset_bits=50, exclusive=PSE, inverted=True, entry_bits=32
)


def page_format() -> PageFormat:
    """The format of PAE paging with NX."""
    return PageFormat(
        name="x86_32 with PAE, 3 levels",
        levels=_LEVELS,
        pfn_mask=PFN_MASK,
        present=Bits(PRESENT, PRESENT),
        pointer=Bits(PSE, 0),
        write=Bits(RW, RW),
        user=Bits(USER, USER),
        execute=Bits(NX, 0),
        accessed=Bits(ACCESSED, ACCESSED),
        dirty=Bits(DIRTY, DIRTY),
        global_=Bits(GLOBAL, GLOBAL),
        hw_read=Bits(USER, USER),
        hw_write=Bits(USER | RW, USER | RW),
        hw_execute=Bits(USER | NX, USER),
        table_read=Bits(USER, USER),
        table_write=Bits(USER | RW, USER | RW),
        table_execute=Bits(USER | NX, USER),
        table_accessed=ACCESSED,
        protnone=Bits(PRESENT | GLOBAL, GLOBAL),
        special=Bits(SOFTW1, SOFTW1),
        guard=SWAP.encode(SWP_PTE_MARKER, PTE_MARKER_GUARD),
        swap=SWAP,
        table=PRESENT | RW | USER | ACCESSED | DIRTY,
        root_table=PRESENT,
        protection_map=PROTECTION_MAP,
        bit_names=(*TABLE_NAMES[:7], (PAT, "PAT"), *TABLE_NAMES[8:], (NX, "NX")),
        large_names=(*TABLE_NAMES, (PAT_LARGE, "PAT"), (NX, "NX")),
        table_names=(*TABLE_NAMES, (NX, "NX")),
        kernel=x86_kernel_rights(RW, NX),
        memory_types=memory_types.X86,
    )
