"""RISC-V: Sv32, Sv39, Sv48 and Sv57, with Svnapot.

The frame number begins at bit 10. An entry without R, W and X points to a table, at whatever level; one with any of
them maps a page, of the size of its level. Rights are those of the leaf alone. A page with W and not R is illegal.

Svnapot (a leaf with N, bit 63, and the frame number ending in 1000): 16 leaves that together map 64 KiB.

Sources: The RISC-V Instruction Set Manual, volume II: Privileged Architecture, version 20211203 and later: section 4.3
(Sv32), 4.4 (Sv39), 4.5 (Sv48), 4.6 (Sv57), 5 (Svnapot), 6 (Svpbmt).

Mirrors: arch/riscv/include/asm/pgtable-bits.h, pgtable-64.h, pgtable.h (6.18)
Differs: memory types (Svpbmt) are not set.
"""

from typing import Final

from pagewalk.arch import memory_types
from pagewalk.arch.bits import Bits
from pagewalk.arch.format import Layout, Level, PageFormat, level_names
from pagewalk.arch.kernel_rights import KernelRights
from pagewalk.arch.swap_format import PTE_MARKER_GUARD, SWP_PTE_MARKER, SwapFormat

VALID: Final = 1 << 0
READ: Final = 1 << 1
WRITE: Final = 1 << 2
EXEC: Final = 1 << 3
USER: Final = 1 << 4
GLOBAL: Final = 1 << 5
ACCESSED: Final = 1 << 6
DIRTY: Final = 1 << 7
SOFT: Final = 1 << 8  # Linux: special
SOFT2: Final = 1 << 9
PBMT: Final = 3 << 61
NAPOT: Final = -(1 << 63)

_LOW_NAMES: Final = (
    (VALID, "V"), (READ, "R"), (WRITE, "W"), (EXEC, "X"), (USER, "U"), (GLOBAL, "G"), (ACCESSED, "A"), (DIRTY, "D"),
    (SOFT, "RSW0"), (SOFT2, "RSW1"),
)  # fmt: skip
_HIGH_NAMES: Final = ((1 << 61, "PBMT0"), (1 << 62, "PBMT1"), (NAPOT, "N"))

_BASE: Final = VALID | ACCESSED | USER
_NONE: Final = GLOBAL | READ  # G without V says that a page is there
_R: Final = _BASE | READ
_X: Final = _BASE | EXEC
_RX: Final = _BASE | READ | EXEC
_RW: Final = _BASE | READ | WRITE
_RWX: Final = _BASE | READ | WRITE | EXEC

_PROTECTION_MAP: Final = (
    _NONE, _R, _R, _R, _X, _RX, _RX, _RX,
    _NONE, _R, _RW, _RW, _X, _RX, _RWX, _RWX,
)  # fmt: skip

_RESERVED: Final = 0x7F << 54  # of every 64-bit entry
_TABLE_RESERVED: Final = _RESERVED | PBMT | NAPOT | DIRTY | ACCESSED | USER
_PFN_MASK_64: Final = (1 << 54) - (1 << 10)

MODES: Final = {"sv32": 2, "sv39": 3, "sv48": 4, "sv57": 5}


def _levels_64(count: int) -> tuple[Level, ...]:
    """The levels of an Sv39, Sv48 or Sv57 table: a page of any level must be aligned to its size."""
    levels = []
    for at, name in enumerate(level_names(count)):
        shift = 12 + 9 * (count - 1 - at)
        misaligned = (1 << shift - 2) - (1 << 10)
        napot = 0 if shift == 12 else NAPOT
        levels.append(
            Level(
                name,
                shift,
                9,
                can_leaf=True,
                contiguous_shift=4 if shift == 12 else 0,
                table_reserved=_TABLE_RESERVED,
                leaf_reserved=_RESERVED | misaligned | napot,
            )
        )
    return tuple(levels)


_LEVELS_32: Final = (
    Level("pgd", 22, 10, can_leaf=True, table_reserved=DIRTY | ACCESSED | USER, leaf_reserved=0x3FF << 10),
    Level("pte", 12, 10, can_leaf=True),
)


def page_format(mode: str = "sv39", *, hw_marks: bool = False) -> PageFormat:
    """The format of a mode: "sv32", "sv39", "sv48" or "sv57".

    hw_marks  the hardware sets A and D (Svadu); otherwise their absence is a fault (Svade)

    ValueError for another mode.
    """
    if mode not in MODES:
        raise ValueError(f"riscv: expected one of {', '.join(MODES)}, got {mode!r}")
    count = MODES[mode]
    wide = mode != "sv32"
    swap = SwapFormat(
        type_shift=7, type_bits=5, offset_shift=12, offset_bits=52 if wide else 20, exclusive=ACCESSED
    )  # fmt: skip
    return PageFormat(
        name=f"riscv, {mode.capitalize()}, {count} levels",
        levels=_levels_64(count) if wide else _LEVELS_32,
        entry_shift=3 if wide else 2,
        pfn_shift=10,
        pfn_mask=_PFN_MASK_64 if wide else (1 << 32) - (1 << 10),
        top_shift=12 + 9 * count - 1 if wide else 32,
        halves=wide,
        present=Bits(VALID, VALID),
        pointer=Bits(READ | WRITE | EXEC, 0),
        no_page=Bits(READ | WRITE | EXEC, 0),
        illegal=Bits(READ | WRITE, WRITE),
        write=Bits(WRITE, WRITE),
        user=Bits(USER, USER),
        execute=Bits(EXEC, EXEC),
        accessed=Bits(ACCESSED, ACCESSED),
        dirty=Bits(DIRTY, DIRTY),
        global_=Bits(GLOBAL, GLOBAL),
        hw_read=Bits(USER | READ, USER | READ),
        hw_write=Bits(USER | WRITE, USER | WRITE),
        hw_execute=Bits(USER | EXEC, USER | EXEC),
        hw_accessed=hw_marks,
        hw_dirty=hw_marks,
        contiguous=Bits(NAPOT, NAPOT) if wide else Bits(0, 1),
        napot=True,
        protnone=Bits(VALID | GLOBAL, GLOBAL),
        special=Bits(SOFT, SOFT),
        guard=swap.encode(SWP_PTE_MARKER, PTE_MARKER_GUARD),
        swap=swap,
        table=VALID,
        protection_map=_PROTECTION_MAP,
        bit_names=_LOW_NAMES + _HIGH_NAMES if wide else _LOW_NAMES,
        kernel=KernelRights(
            read=Bits(READ, READ), write=Bits(WRITE, WRITE), execute=Bits(EXEC, EXEC), executes_user=False
        ),
        memory_types=memory_types.RISCV if wide else memory_types.NONE,
    )


# FIXADDR_START of Sv32: PAGE_OFFSET 0xC0000000 less vmalloc (512 MiB), vmemmap (32), PCI (16) and fixmap (8).
TASK_SIZE_32: Final = 0x9C80_0000


def layout(mode: str = "sv39") -> Layout:
    """The user address space of a mode; beyond 47 bits only on request."""
    task_size = TASK_SIZE_32 if mode == "sv32" else 1 << 11 + 9 * MODES[mode]
    window = min(task_size, 1 << 47)
    wide = mode != "sv32"
    return Layout(
        task_size=task_size,
        mmap_top=window,
        stack_top=window,
        et_dyn_base=window // 3 * 2,
        mmap_rnd_bits=18 if wide else 8,
        stack_rnd_mask=0x3FFFF if wide else 0x7FF,
        brk_rnd_bytes=1 << 30 if wide else 0x0200_0000,
        mmap_legacy=(window // 3 + 4095) & -4096,
        text_base=0x1_0000,
    )
