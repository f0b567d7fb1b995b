"""x86-64: paging with 4 and 5 levels, and Linux's layout of the address space on it.

Sources: AMD64 Architecture Programmer's Manual volume 2, section 5.3 (long-mode page translation); Intel SDM volume 3,
section 4.5; Linux Documentation/arch/x86/x86_64/mm.rst.

Mirrors: arch/x86/include/asm/pgtable_types.h, arch/x86/mm/pgprot.c, arch/x86/include/asm/processor.h (6.18)
Differs: the frame number of a PROT_NONE entry is not inverted (the L1TF mitigation).
"""

from typing import Final

from pagewalk.arch import memory_types
from pagewalk.arch.bits import Bits
from pagewalk.arch.format import Layout, Level, PageFormat
from pagewalk.arch.kernel_rights import x86_kernel_rights
from pagewalk.arch.swap_format import PTE_MARKER_GUARD, SWP_PTE_MARKER, SwapFormat

PRESENT: Final = 1 << 0
RW: Final = 1 << 1
USER: Final = 1 << 2
PWT: Final = 1 << 3
PCD: Final = 1 << 4
ACCESSED: Final = 1 << 5
DIRTY: Final = 1 << 6
PSE: Final = 1 << 7
GLOBAL: Final = 1 << 8
SOFTW1: Final = 1 << 9
SOFTW2: Final = 1 << 10
NX: Final = -(1 << 63)  # bit 63 of a signed word

PFN_MASK: Final = 0x000F_FFFF_FFFF_F000

PKEY_SHIFT: Final = 59  # bits 62:59; they count where CR4.PKE is set

PAT: Final = 1 << 7  # of a last-level entry, where no PS can be
PAT_LARGE: Final = 1 << 12

TABLE_NAMES: Final = (
    (PRESENT, "P"), (RW, "RW"), (USER, "US"), (PWT, "PWT"), (PCD, "PCD"), (ACCESSED, "A"), (DIRTY, "D"),
    (PSE, "PS"), (GLOBAL, "G"), (SOFTW1, "SW1"), (SOFTW2, "SW2"), (1 << 11, "SW3"),
)  # fmt: skip
_HIGH_NAMES: Final = (
    (1 << 57, "SW4"), (1 << 58, "SW5"), (1 << 59, "PK0"), (1 << 60, "PK1"), (1 << 61, "PK2"), (1 << 62, "PK3"),
    (NX, "NX"),
)  # fmt: skip
BIT_NAMES: Final = (*TABLE_NAMES[:7], (PAT, "PAT"), *TABLE_NAMES[8:], *_HIGH_NAMES)
LARGE_NAMES: Final = (*TABLE_NAMES, (PAT_LARGE, "PAT"), *_HIGH_NAMES)

_NONE: Final = ACCESSED | GLOBAL  # PAGE_NONE: not present, bit 8 says that a page is there
_READ: Final = PRESENT | USER | ACCESSED | NX
_READ_EXEC: Final = PRESENT | USER | ACCESSED
_SHARED: Final = PRESENT | USER | ACCESSED | RW | NX
_SHARED_EXEC: Final = PRESENT | USER | ACCESSED | RW

# Indexed by VM_READ 1 | VM_WRITE 2 | VM_EXEC 4 | VM_SHARED 8. A private mapping that may write starts read-only, for
# copy on write.
PROTECTION_MAP: Final = (
    _NONE, _READ, _READ, _READ, _READ_EXEC, _READ_EXEC, _READ_EXEC, _READ_EXEC,
    _NONE, _READ, _SHARED, _SHARED, _READ_EXEC, _READ_EXEC, _SHARED_EXEC, _SHARED_EXEC,
)  # fmt: skip

_PUD_LEAF_RESERVED: Final = 0x3FFF_E000  # address bits below 1 GiB, except PAT (12)
_PMD_LEAF_RESERVED: Final = 0x001F_E000

_LEVELS_5: Final = (
    Level("pgd", 48, 9, can_leaf=False),
    Level("p4d", 39, 9, can_leaf=False),
    Level("pud", 30, 9, can_leaf=True, leaf_reserved=_PUD_LEAF_RESERVED),
    Level("pmd", 21, 9, can_leaf=True, leaf_reserved=_PMD_LEAF_RESERVED),
    Level("pte", 12, 9, can_leaf=True),
)
_LEVELS_4: Final = (Level("pgd", 39, 9, can_leaf=False), *_LEVELS_5[2:])

# The type in the highest bits, the inverted offset below it; bits 1 to 8 are left to the present bits' neighbours.
SWAP: Final = SwapFormat(type_shift=59, type_bits=5, offset_shift=9, offset_bits=50, exclusive=PWT, inverted=True)


def page_format(levels: int) -> PageFormat:
    """The format of 4- or 5-level paging."""
    return PageFormat(
        name=f"x86_64, {levels} levels",
        levels=_LEVELS_4 if levels == 4 else _LEVELS_5,
        pfn_mask=PFN_MASK,
        top_shift=47 if levels == 4 else 56,
        halves=True,
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
        table=PRESENT | RW | USER | ACCESSED | DIRTY,  # _PAGE_TABLE
        protection_map=PROTECTION_MAP,
        bit_names=BIT_NAMES,
        large_names=LARGE_NAMES,
        table_names=(*TABLE_NAMES, (NX, "NX")),
        kernel=x86_kernel_rights(RW, NX),
        memory_types=memory_types.X86,
        pkey_shift=PKEY_SHIFT,
    )


def layout(levels: int) -> Layout:
    """The user address space of 4- or 5-level paging."""
    task_size = (1 << (47 if levels == 4 else 56)) - 4096
    window = (1 << 47) - 4096  # DEFAULT_MAP_WINDOW: beyond it only on request
    return Layout(
        task_size=task_size,
        mmap_top=window,
        stack_top=window,
        et_dyn_base=(window // 3) * 2,
        mmap_rnd_bits=28,
        stack_rnd_mask=0x3FFFFF,
        brk_rnd_bytes=1 << 30,
        mmap_legacy=(window // 3 + 4095) & -4096,
        text_base=0x40_0000,
    )
