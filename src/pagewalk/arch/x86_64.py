"""x86-64: paging with 4 and 5 levels, and Linux's layout of the address space on it.

Sources: AMD64 Architecture Programmer's Manual volume 2, section 5.3 (long-mode page translation); Intel SDM volume 3,
section 4.5; Linux Documentation/arch/x86/x86_64/mm.rst.

Mirrors: arch/x86/include/asm/pgtable_types.h, arch/x86/mm/pgprot.c, arch/x86/include/asm/processor.h (6.18)
Differs: the frame number of a PROT_NONE entry is not inverted (the L1TF mitigation).
"""

from typing import Final

from pagewalk.arch.format import Bits, Layout, Level, PageFormat

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

_BIT_NAMES: Final = (
    (PRESENT, "P"), (RW, "RW"), (USER, "US"), (PWT, "PWT"), (PCD, "PCD"), (ACCESSED, "A"), (DIRTY, "D"),
    (PSE, "PS"), (GLOBAL, "G"), (SOFTW1, "SW1"), (NX, "NX"),
)  # fmt: skip

_NONE: Final = ACCESSED | GLOBAL  # PAGE_NONE: not present, bit 8 says that a page is there
_READ: Final = PRESENT | USER | ACCESSED | NX
_READ_EXEC: Final = PRESENT | USER | ACCESSED
_SHARED: Final = PRESENT | USER | ACCESSED | RW | NX
_SHARED_EXEC: Final = PRESENT | USER | ACCESSED | RW

# Indexed by VM_READ 1 | VM_WRITE 2 | VM_EXEC 4 | VM_SHARED 8. A private mapping that may write starts read-only, for
# copy on write.
_PROTECTION_MAP: Final = (
    _NONE, _READ, _READ, _READ, _READ_EXEC, _READ_EXEC, _READ_EXEC, _READ_EXEC,
    _NONE, _READ, _SHARED, _SHARED, _READ_EXEC, _READ_EXEC, _SHARED_EXEC, _SHARED_EXEC,
)  # fmt: skip

_LEVELS_5: Final = (
    Level("pgd", 48, 9, can_leaf=False),
    Level("p4d", 39, 9, can_leaf=False),
    Level("pud", 30, 9, can_leaf=True),
    Level("pmd", 21, 9, can_leaf=True),
    Level("pte", 12, 9, can_leaf=True),
)
_LEVELS_4: Final = (Level("pgd", 39, 9, can_leaf=False), *_LEVELS_5[2:])


def page_format(levels: int) -> PageFormat:
    """The format of 4- or 5-level paging."""
    return PageFormat(
        name=f"x86_64, {levels} levels",
        levels=_LEVELS_4 if levels == 4 else _LEVELS_5,
        pfn_mask=PFN_MASK,
        present=Bits(PRESENT, PRESENT),
        leaf=Bits(PSE, PSE),
        write=Bits(RW, RW),
        user=Bits(USER, USER),
        execute=Bits(NX, 0),
        accessed=Bits(ACCESSED, ACCESSED),
        dirty=Bits(DIRTY, DIRTY),
        protnone=Bits(PRESENT | GLOBAL, GLOBAL),
        special=Bits(SOFTW1, SOFTW1),
        guard=SOFTW1 | SOFTW2,
        table=PRESENT | RW | USER | ACCESSED | DIRTY,  # _PAGE_TABLE
        protection_map=_PROTECTION_MAP,
        bit_names=_BIT_NAMES,
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
    )
