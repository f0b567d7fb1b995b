"""ARMv8-A stage 1 (VMSAv8-64): granules of 4, 16 and 64 KiB, 36 to 52 bits of address, a root for each half.

An entry at a level above the last is a table (bits 1:0 = 11) or a block (01); at the last level 11 is a page and 01 is
nothing. The rights of user mode (EL0): AP[1] (bit 6) lets it in, AP[2] (bit 7) forbids stores, UXN (bit 54) execution,
each by itself: a page may be executable and not readable. Tables may take rights from all below (APTable, UXNTable).

With 52 bits of physical address the highest bits lie at the bottom of an entry: 64 KiB pages have address bits 51:48 in
bits 15:12 (FEAT_LPA), smaller ones 51:50 in bits 9:8 (FEAT_LPA2).

Sources: Arm Architecture Reference Manual for A-profile, D8.2 (translation process), D8.3 (descriptor formats), D8.4
(access permissions), D8.5 (hardware updates), D8.7 (contiguous bit), table D8-100 and following for block sizes.

Mirrors: arch/arm64/include/asm/pgtable-hwdef.h, pgtable-prot.h, arch/arm64/mm/mmap.c (6.18)
Differs: Linux's entries as for a CPU without hardware marks (FEAT_HAFDBS) and without execute-only pages (FEAT_PAN3).
"""

from typing import Final

from pagewalk.arch import memory_types
from pagewalk.arch.bits import NEVER, Bits
from pagewalk.arch.format import Layout, Level, PageFormat, level_names
from pagewalk.arch.kernel_rights import KernelRights
from pagewalk.arch.swap_format import PTE_MARKER_GUARD, SWP_PTE_MARKER, SwapFormat

VALID: Final = 1 << 0
TYPE: Final = 1 << 1  # table, or page at the last level; a block has it clear
ATTR_MASK: Final = 7 << 2
NS: Final = 1 << 5
USER: Final = 1 << 6  # AP[1]
RDONLY: Final = 1 << 7  # AP[2]
SHARED: Final = 3 << 8  # inner shareable
AF: Final = 1 << 10
NG: Final = 1 << 11
DBM: Final = 1 << 51  # Linux's PTE_WRITE too
CONT: Final = 1 << 52
PXN: Final = 1 << 53
UXN: Final = 1 << 54
DIRTY: Final = 1 << 55  # software
SPECIAL: Final = 1 << 56  # software
TABLE_PXN: Final = 1 << 59
TABLE_UXN: Final = 1 << 60
TABLE_AP0: Final = 1 << 61  # no access by user mode below
TABLE_AP1: Final = 1 << 62  # no stores below

BIT_NAMES: Final = (
    (VALID, "V"), (TYPE, "T"), (1 << 2, "ATTR0"), (1 << 3, "ATTR1"), (1 << 4, "ATTR2"), (NS, "NS"), (USER, "AP1"),
    (RDONLY, "AP2"), (1 << 8, "SH0"), (1 << 9, "SH1"), (AF, "AF"), (NG, "nG"), (DBM, "DBM"), (CONT, "CONT"),
    (PXN, "PXN"), (UXN, "UXN"), (DIRTY, "SW-DIRTY"), (SPECIAL, "SW-SPECIAL"),
)  # fmt: skip
TABLE_NAMES: Final = (
    (VALID, "V"), (TYPE, "T"), (AF, "AF"), (TABLE_PXN, "PXNTable"), (TABLE_UXN, "UXNTable"), (TABLE_AP0, "APTable0"),
    (TABLE_AP1, "APTable1"), (-(1 << 63), "NSTable"),
)  # fmt: skip

_DEFAULT: Final = VALID | TYPE | AF | SHARED | USER | NG | PXN | RDONLY
_NONE: Final = (_DEFAULT | UXN) & ~(VALID | USER)  # nG without V says that a page is there
_READ: Final = _DEFAULT | UXN
_READ_EXEC: Final = _DEFAULT
_SHARED: Final = _DEFAULT | UXN | DBM  # writable, and clean until the first store
_SHARED_EXEC: Final = _DEFAULT | DBM

_PROTECTION_MAP: Final = (
    _NONE, _READ, _READ, _READ, _READ_EXEC, _READ_EXEC, _READ_EXEC, _READ_EXEC,
    _NONE, _READ, _SHARED, _SHARED, _READ_EXEC, _READ_EXEC, _SHARED_EXEC, _SHARED_EXEC,
)  # fmt: skip

SWAP: Final = SwapFormat(type_shift=6, type_bits=5, offset_shift=12, offset_bits=50, exclusive=1 << 2)

GRANULES: Final = {4096: 12, 16384: 14, 65536: 16}

# log2 of the entries that the contiguous bit joins, by page shift, from the last level up.
_CONTIGUOUS: Final = {12: (4, 4, 4), 14: (7, 5), 16: (5, 5)}


def _levels(page_shift: int, va_bits: int, pa_bits: int) -> tuple[Level, ...]:
    """The levels of one granule for one size of address."""
    nr_bits = page_shift - 3
    count = -((page_shift - va_bits) // nr_bits)
    names = level_names(count)
    # The highest block: 1 GiB, 32 MiB, 512 MiB; one level more with 52 bits of physical address.
    top_leaf = {12: 2, 14: 1, 16: 1}[page_shift] + (1 if pa_bits == 52 else 0)
    high = 0 if pa_bits < 52 else 0xF << 12 if page_shift == 16 else 3 << 8
    levels = []
    for up in range(count - 1, -1, -1):
        shift = page_shift + up * nr_bits
        contiguous = _CONTIGUOUS[page_shift]
        levels.append(
            Level(
                names[count - 1 - up],
                shift,
                min(nr_bits, va_bits - shift),
                can_leaf=up <= top_leaf,
                contiguous_shift=contiguous[up] if up < len(contiguous) else 0,
                table_high=high,
                leaf_high=high,
            )
        )
    return tuple(levels)


def page_format(
    granule: int = 4096,
    va_bits: int = 48,
    pa_bits: int = 48,
    *,
    hw_accessed: bool = False,
    hw_dirty: bool = False,
) -> PageFormat:
    """The format of one granule (bytes) and size of address.

    va_bits      36 to 48; 52 with 64 KiB pages (FEAT_LVA), or with ``pa_bits=52`` (FEAT_LPA2)
    pa_bits      48 or 52
    hw_accessed, hw_dirty  the hardware sets AF, and clears AP[2] of a page with DBM (FEAT_HAFDBS); otherwise an access
                 to a page without AF, and a store to one that is read-only, is a fault

    ValueError for sizes that the architecture does not have.
    """
    if granule not in GRANULES:
        raise ValueError(f"arm64: expected a granule of 4096, 16384 or 65536 bytes, got {granule}")
    if pa_bits not in (48, 52):
        raise ValueError(f"arm64: expected 48 or 52 bits of physical address, got {pa_bits}")
    page_shift = GRANULES[granule]
    most = 52 if pa_bits == 52 or granule == 65536 else 48
    if not 36 <= va_bits <= most:
        or_52 = ", or 52 with LPA2" if most == 48 else ""
        raise ValueError(f"arm64: expected 36 to {most} bits of virtual address{or_52}, got {va_bits}")
    small_high = pa_bits == 52 and page_shift < 16  # FEAT_LPA2: bits 9:8 are address, shareability comes from TCR
    top_pa = 50 if small_high else 48
    return PageFormat(
        name=f"arm64, {granule >> 10}K pages, {va_bits} bits, {len(_levels(page_shift, va_bits, pa_bits))} levels",
        levels=_levels(page_shift, va_bits, pa_bits),
        page_shift=page_shift,
        pfn_shift=page_shift,
        pfn_mask=(1 << top_pa) - (1 << page_shift),
        high_shift=42 if small_high else 36,
        top_shift=va_bits,
        halves=True,
        two_roots=True,
        present=Bits(VALID, VALID),
        pointer=Bits(TYPE, TYPE),
        no_page=Bits(TYPE, 0),
        write=Bits(DBM, DBM),
        user=Bits(USER, USER),
        execute=Bits(UXN, 0),
        accessed=Bits(AF, AF),
        dirty=Bits(DIRTY, DIRTY),
        global_=Bits(NG, 0),
        hw_read=Bits(USER, USER),
        hw_write=Bits(USER | RDONLY, USER),
        hw_execute=Bits(UXN, 0),
        table_read=Bits(TABLE_AP0, 0),
        table_write=Bits(TABLE_AP0 | TABLE_AP1, 0),
        table_execute=Bits(TABLE_UXN, 0),
        modifier=Bits(USER | DBM, USER | DBM) if hw_dirty else NEVER,
        hw_accessed=hw_accessed,
        hw_dirty_bits=Bits(RDONLY, 0),
        contiguous=Bits(CONT, CONT),
        rdonly=RDONLY,
        protnone=Bits(VALID | NG, NG),
        special=Bits(SPECIAL, SPECIAL),
        guard=SWAP.encode(SWP_PTE_MARKER, PTE_MARKER_GUARD),
        swap=SWAP,
        table=VALID | TYPE | AF | TABLE_PXN,
        protection_map=tuple(bits & ~SHARED for bits in _PROTECTION_MAP) if small_high else _PROTECTION_MAP,
        bit_names=tuple(pair for pair in BIT_NAMES if not (small_high and pair[0] & SHARED)),
        table_names=TABLE_NAMES,
        kernel=KernelRights(
            write=Bits(RDONLY, 0),
            execute=Bits(PXN, 0),
            modifier=Bits(DBM, DBM) if hw_dirty else NEVER,
            table_write=Bits(TABLE_AP1, 0),
            table_execute=Bits(TABLE_PXN, 0),
            user_writes_pxn=True,
        ),
        memory_types=memory_types.ARM64,
    )


def va_bits_min(granule: int, va_bits: int) -> int:
    """VA_BITS_MIN: what a kernel for ``va_bits`` falls back to on a CPU that has no more than 48 bits. With pages of
    16 KiB these would take another level of tables, of two entries."""
    if va_bits <= 48:
        return va_bits
    return 47 if granule == 16384 else 48


def layout(granule: int = 4096, va_bits: int = 48) -> Layout:
    """The user address space of the lower half; beyond what every CPU has only on request."""
    page_shift = GRANULES[granule]
    window = 1 << va_bits_min(granule, va_bits)  # DEFAULT_MAP_WINDOW
    return Layout(
        task_size=1 << va_bits,
        mmap_top=window,
        stack_top=window,
        et_dyn_base=2 * window // 3,
        mmap_rnd_bits={12: 18, 14: 16, 16: 14}[page_shift],  # ARCH_MMAP_RND_BITS_MIN
        stack_rnd_mask=0x3FFFF >> (page_shift - 12),
        brk_rnd_bytes=1 << 30,
        mmap_legacy=(window // 4 + granule - 1) & -granule,
        text_base=0x40_0000,
        page_size=granule,
    )
