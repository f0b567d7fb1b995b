"""32-bit x86 without PAE: two levels of 4-byte entries, 4 MiB pages (PSE).

Sources: Intel SDM volume 3, section 4.3 (32-bit paging), figure 4-4 and table 4-4 (PSE-36: bits 20:13 of a 4 MiB entry
are bits 39:32 of the address, bit 21 is reserved); AMD64 APM volume 2, section 5.2.

Mirrors: arch/x86/include/asm/pgtable-2level.h, pgtable_types.h, arch/x86/mm/pgprot.c (6.18)
Differs: the kernel's own large pages lie below 4 GiB, as without PSE-36; the walker reads the high bits all the same.
"""

from typing import Final

from pagewalk.arch import memory_types
from pagewalk.arch.bits import Bits
from pagewalk.arch.format import Layout, Level, PageFormat
from pagewalk.arch.kernel_rights import x86_kernel_rights
from pagewalk.arch.swap_format import PTE_MARKER_GUARD, SWP_PTE_MARKER, SwapFormat
from pagewalk.arch.x86_64 import (
    ACCESSED,
    DIRTY,
    GLOBAL,
    PAT,
    PAT_LARGE,
    PRESENT,
    PSE,
    RW,
    SOFTW1,
    TABLE_NAMES,
    USER,
)

PFN_MASK: Final = 0xFFFF_F000

_NONE: Final = ACCESSED | GLOBAL
_READ: Final = PRESENT | USER | ACCESSED
_SHARED: Final = PRESENT | USER | ACCESSED | RW

# There is no NX bit: whatever can be read can be executed. Indexed as in x86_64.
_PROTECTION_MAP: Final = (
    _NONE, _READ, _READ, _READ, _READ, _READ, _READ, _READ,
    _NONE, _READ, _SHARED, _SHARED, _READ, _READ, _SHARED, _SHARED,
)  # fmt: skip

_LEVELS: Final = (
    Level("pgd", 22, 10, can_leaf=True, leaf_reserved=1 << 21, leaf_high=0x001F_E000),
    Level("pte", 12, 10, can_leaf=True),
)

SWAP: Final = SwapFormat(type_shift=1, type_bits=5, offset_shift=9, offset_bits=23, exclusive=PSE)


def page_format() -> PageFormat:
    """The format of 32-bit paging with 4 MiB pages (CR4.PSE)."""
    return PageFormat(
        name="x86_32, 2 levels",
        levels=_LEVELS,
        entry_shift=2,
        pfn_mask=PFN_MASK,
        high_shift=19,  # bit 13 of the entry is bit 32 of the address
        present=Bits(PRESENT, PRESENT),
        pointer=Bits(PSE, 0),
        write=Bits(RW, RW),
        user=Bits(USER, USER),
        execute=Bits(0, 0),
        accessed=Bits(ACCESSED, ACCESSED),
        dirty=Bits(DIRTY, DIRTY),
        global_=Bits(GLOBAL, GLOBAL),
        hw_read=Bits(USER, USER),
        hw_write=Bits(USER | RW, USER | RW),
        hw_execute=Bits(USER, USER),
        table_read=Bits(USER, USER),
        table_write=Bits(USER | RW, USER | RW),
        table_execute=Bits(USER, USER),
        table_accessed=ACCESSED,
        protnone=Bits(PRESENT | GLOBAL, GLOBAL),
        special=Bits(SOFTW1, SOFTW1),
        guard=SWAP.encode(SWP_PTE_MARKER, PTE_MARKER_GUARD),
        swap=SWAP,
        table=PRESENT | RW | USER | ACCESSED | DIRTY,
        protection_map=_PROTECTION_MAP,
        bit_names=(*TABLE_NAMES[:7], (PAT, "PAT"), *TABLE_NAMES[8:]),
        large_names=(*TABLE_NAMES, (PAT_LARGE, "PAT")),
        table_names=TABLE_NAMES,
        kernel=x86_kernel_rights(RW, 0),
        memory_types=memory_types.X86,
    )


def layout(page_offset: int = 0xC000_0000) -> Layout:
    """The user address space below ``page_offset`` (CONFIG_PAGE_OFFSET), with and without PAE."""
    return Layout(
        task_size=page_offset,
        mmap_top=page_offset,
        stack_top=page_offset,
        et_dyn_base=0x0040_0000,
        mmap_rnd_bits=8,
        stack_rnd_mask=0x7FF,
        brk_rnd_bytes=0x0200_0000,
        mmap_legacy=(page_offset // 3 + 4095) & -4096,
        text_base=0x0804_8000,
        bits=32,
    )
