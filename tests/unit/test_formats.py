"""Entries decoded as the manuals say, typed from their figures; and what only hand-made tables can show."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_rig import Tables

from pagewalk.arch import arm64, riscv64, x86_32, x86_64, x86_pae
from pagewalk.arch.format import PageFormat
from pagewalk.hw.walker import (
    FETCH,
    NO_RIGHT,
    NOT_ACCESSED,
    NOT_DIRTY,
    NOT_PRESENT,
    OK,
    OUT_WORDS,
    PEEK,
    READ,
    RESERVED,
    RIGHT_EXECUTE,
    RIGHT_READ,
    RIGHT_WRITE,
    WRITE,
    pack_format,
    walk,
    walk_table,
)
from pagewalk.mm.ram import Ram

pytestmark = pytest.mark.quick

ALL = [
    x86_32.page_format(),
    x86_pae.page_format(),
    x86_64.page_format(4),
    x86_64.page_format(5),
    arm64.page_format(4096, 39),
    arm64.page_format(4096, 48),
    arm64.page_format(4096, 52, 52),
    arm64.page_format(16384, 36),
    arm64.page_format(16384, 47),
    arm64.page_format(16384, 52, 52),
    arm64.page_format(65536, 42),
    arm64.page_format(65536, 52, 52, hw_accessed=True, hw_dirty=True),
    *[riscv64.page_format(mode) for mode in riscv64.MODES],
]
every_format = pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)


# Levels, as the figures draw them: name, lowest bit of the index, bits of the index, may map a page.
LEVELS: dict[str, tuple[PageFormat, list[tuple[str, int, int, bool]]]] = {
    "Intel SDM 3, figures 4-2 and 4-3": (x86_32.page_format(), [("pgd", 22, 10, True), ("pte", 12, 10, True)]),
    "Intel SDM 3, figures 4-5 and 4-6": (
        x86_pae.page_format(), [("pgd", 30, 2, False), ("pmd", 21, 9, True), ("pte", 12, 9, True)],
    ),
    "Intel SDM 3, figures 4-8 to 4-10": (
        x86_64.page_format(4),
        [("pgd", 39, 9, False), ("pud", 30, 9, True), ("pmd", 21, 9, True), ("pte", 12, 9, True)],
    ),
    "Arm ARM, 4 KiB granule, 48 bits": (
        arm64.page_format(4096, 48),
        [("pgd", 39, 9, False), ("pud", 30, 9, True), ("pmd", 21, 9, True), ("pte", 12, 9, True)],
    ),
    "Arm ARM, 4 KiB granule, 52 bits (LPA2): level -1 has 16 entries, level 0 blocks of 512 GiB": (
        arm64.page_format(4096, 52, 52),
        [("pgd", 48, 4, False), ("p4d", 39, 9, True), ("pud", 30, 9, True), ("pmd", 21, 9, True), ("pte", 12, 9, True)],
    ),
    "Arm ARM, 16 KiB granule, 48 bits: level 0 has two entries": (
        arm64.page_format(16384, 48),
        [("pgd", 47, 1, False), ("pud", 36, 11, False), ("pmd", 25, 11, True), ("pte", 14, 11, True)],
    ),
    "Arm ARM, 64 KiB granule, 48 bits": (
        arm64.page_format(65536, 48), [("pgd", 42, 6, False), ("pmd", 29, 13, True), ("pte", 16, 13, True)],
    ),
    "Arm ARM, 64 KiB granule, 52 bits (LVA, LPA): level 1 blocks of 4 TiB": (
        arm64.page_format(65536, 52, 52), [("pgd", 42, 10, True), ("pmd", 29, 13, True), ("pte", 16, 13, True)],
    ),
    "RISC-V Sv32": (riscv64.page_format("sv32"), [("pgd", 22, 10, True), ("pte", 12, 10, True)]),
    "RISC-V Sv39": (
        riscv64.page_format("sv39"), [("pgd", 30, 9, True), ("pmd", 21, 9, True), ("pte", 12, 9, True)],
    ),
    "RISC-V Sv57": (
        riscv64.page_format("sv57"),
        [("pgd", 48, 9, True), ("p4d", 39, 9, True), ("pud", 30, 9, True), ("pmd", 21, 9, True), ("pte", 12, 9, True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("figure", LEVELS)
def test_levels_are_those_of_the_manual(figure: str) -> None:
    fmt, expected = LEVELS[figure]
    assert [(level.name, level.shift, level.nr_bits, level.can_leaf) for level in fmt.levels] == expected


R, W, X = RIGHT_READ, RIGHT_WRITE, RIGHT_EXECUTE

# (source, format, entry, depth from the root, physical address, rights of user mode), each decoded by hand from the
# figure or table that it names; addresses are those of the first byte of the page.
ENTRIES: list[tuple[str, PageFormat, int, int, int, int]] = [
    ("SDM table 4-6: 4 KiB page, P US A", x86_32.page_format(), 0x0012_3025, 1, 0x12_3000, R | X),
    ("SDM table 4-6: 4 KiB page, P RW US A D", x86_32.page_format(), 0x0012_3067, 1, 0x12_3000, R | W | X),
    ("SDM table 4-6: supervisor page", x86_32.page_format(), 0x0012_3063, 1, 0x12_3000, 0),
    ("SDM table 4-4: 4 MiB page, P RW US PS", x86_32.page_format(), 0x00C0_0087, 0, 0xC0_0000, R | W | X),
    ("SDM table 4-4: 4 MiB page with PAT (bit 12)", x86_32.page_format(), 0x00C0_1087, 0, 0xC0_0000, R | W | X),
    ("SDM table 4-11: XD", x86_pae.page_format(), (1 << 63 | 0x12_3027) - (1 << 64), 2, 0x12_3000, R | W),
    ("SDM table 4-9: 2 MiB page", x86_pae.page_format(), 0x60_00A5, 1, 0x60_0000, R | X),
    ("Arm: page, AF, AP=01, UXN", arm64.page_format(), 0x0040_0000_0012_3443, 3, 0x12_3000, R | W),
    ("Arm: page, AF, AP=11", arm64.page_format(), 0x0000_0000_0012_34C3, 3, 0x12_3000, R | X),
    ("Arm: page, AF, AP=10: no data access, and execution by itself", arm64.page_format(), 0x12_3483, 3, 0x12_3000, X),
    ("Arm: page, AF, AP=00, UXN", arm64.page_format(), 0x0040_0000_0012_3403, 3, 0x12_3000, 0),
    ("Arm: 2 MiB block, AF, AP=01", arm64.page_format(), 0x0020_0000_0060_0441, 2, 0x60_0000, R | W | X),
    ("Arm: 32 MiB block of the 16 KiB granule", arm64.page_format(16384, 47), 0x0200_0441, 1, 0x200_0000, R | W | X),
    ("Arm: 64 KiB page, AP=11, UXN", arm64.page_format(65536, 48), 0x0040_0000_0012_04C3, 2, 0x12_0000, R),
    ("RISC-V: V R U A D", riscv64.page_format("sv39"), 0x123 << 10 | 0xD3, 2, 0x12_3000, R),
    ("RISC-V: V R W U A D", riscv64.page_format("sv39"), 0x123 << 10 | 0xD7, 2, 0x12_3000, R | W),
    ("RISC-V: V X U A: execute only", riscv64.page_format("sv48"), 0x123 << 10 | 0x59, 3, 0x12_3000, X),
    ("RISC-V: V R W X A D without U", riscv64.page_format("sv39"), 0x123 << 10 | 0xCF, 2, 0x12_3000, 0),
    ("RISC-V: 2 MiB page", riscv64.page_format("sv39"), 0x600 << 10 | 0xDF, 1, 0x60_0000, R | W | X),
    ("RISC-V: 4 MiB page of Sv32", riscv64.page_format("sv32"), 0xC00 << 10 | 0xDF, 0, 0xC0_0000, R | W | X),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fmt", "entry", "depth", "paddr", "rights"), [row[1:] for row in ENTRIES], ids=[row[0] for row in ENTRIES]
)
def test_an_entry_means_what_the_manual_says(fmt: PageFormat, entry: int, depth: int, paddr: int, rights: int) -> None:
    ram = Ram(128 << 20)
    tables = Tables(ram, fmt)
    level = fmt.levels[depth]
    addr = 1 << level.shift  # the second entry at that level
    assert tables.map(addr, entry, depth)
    walked = walk(ram, fmt, 1, addr + 0x340, PEEK)
    assert (walked.status, walked.pfn << int(fmt.page_shift), walked.rights) == (OK, paddr, rights)
    assert walked.shift == level.shift


# High physical addresses: the entry's bits, and where the walk must come to (beyond any RAM: read from the step).
@pytest.mark.parametrize(
    ("fmt", "entry", "depth", "paddr"),
    [
        (x86_32.page_format(), 0x0080_2087, 0, 0x1_0080_0000),  # SDM table 4-4: bit 13 is bit 32 of the address
        (
            arm64.page_format(4096, 48, 52),
            0x0000_0000_0012_3143 | 1 << 10,
            3,
            1 << 50 | 0x12_3000,
        ),  # bits 9:8 are 51:50
        (arm64.page_format(65536, 48, 52), 0x0012_1443, 2, 1 << 48 | 0x12_0000),  # bits 15:12 are 51:48
        (riscv64.page_format("sv32"), 0x8000_00DF, 1, 2 << 32),  # a frame number of 22 bits
    ],
)
def test_high_physical_addresses_are_put_together(fmt: PageFormat, entry: int, depth: int, paddr: int) -> None:
    ram = Ram(128 << 20)
    tables = Tables(ram, fmt)
    assert tables.map(0, entry, depth)
    out = [0] * OUT_WORDS
    status = walk_table(ram.words, 1 << 60, pack_format(fmt), 1, 0, PEEK, out)
    assert (status, out[0] << int(fmt.page_shift)) == (OK, paddr)


def test_a_reserved_bit_of_a_4_mib_entry_is_refused() -> None:
    ram = Ram(128 << 20)
    tables = Tables(ram, x86_32.page_format())
    assert tables.map(0, 0x0060_0087, 0)  # bit 21
    assert walk(ram, tables.fmt, 1, 0, READ).status == RESERVED


def test_svnapot_maps_64_kib_by_16_alike_entries() -> None:
    fmt = riscv64.page_format("sv39")
    ram = Ram(128 << 20)
    tables = Tables(ram, fmt)
    entry = riscv64.NAPOT | (0x120 | 8) << 10 | 0xD7
    for page in range(16):
        assert tables.map(0x10_0000 + 4096 * page, entry, 2)
    for page in (0, 3, 15):
        walked = walk(ram, fmt, 1, 0x10_0000 + 4096 * page, READ)
        assert (walked.status, walked.pfn, walked.shift, walked.reach) == (OK, 0x120 + page, 12, 16)
    tables.put(walked.steps[-1].paddr, riscv64.NAPOT | 0x120 << 10 | 0xD7)  # not a pattern that has a meaning
    assert walk(ram, fmt, 1, 0x10_0000 + 4096 * 15, READ).status == RESERVED


@pytest.mark.parametrize(
    ("fmt", "up", "reach"),
    [
        (arm64.page_format(4096), 0, 16), (arm64.page_format(4096), 1, 25), (arm64.page_format(4096), 2, 34),
        (arm64.page_format(16384, 47), 0, 21), (arm64.page_format(16384, 47), 1, 30),
        (arm64.page_format(65536), 0, 21), (arm64.page_format(65536), 1, 34),
    ],
)  # fmt: skip
def test_the_contiguous_bit_widens_what_a_tlb_may_hold(fmt: PageFormat, up: int, reach: int) -> None:
    """Arm ARM, table of the contiguous bit: 64K, 32M, 16G; 2M, 1G; 2M, 16G."""
    ram = Ram(64 << 20)
    tables = Tables(ram, fmt)
    depth = len(fmt.levels) - 1 - up
    bits = arm64.VALID | (arm64.TYPE if up == 0 else 0) | arm64.AF | arm64.USER | arm64.CONT
    assert tables.map(0, bits, depth)
    walked = walk(ram, fmt, 1, 0, READ)
    assert (walked.status, walked.reach) == (OK, reach)


def test_hardware_dirty_clears_the_read_only_bit_of_a_page_with_dbm() -> None:
    """Arm ARM D8.5 (FEAT_HAFDBS): a store to DBM = 1, AP[2] = 1 makes AP[2] 0; without DBM it is a fault."""
    bits = arm64.VALID | arm64.TYPE | arm64.USER | arm64.RDONLY
    for dbm, expected in ((arm64.DBM, OK), (0, NO_RIGHT)):
        fmt = arm64.page_format(4096, 48, hw_accessed=True, hw_dirty=True)
        ram = Ram(64 << 20)
        tables = Tables(ram, fmt)
        assert tables.map(0, tables.leaf(9, bits | dbm), 3)
        assert walk(ram, fmt, 1, 0, READ).status == OK
        assert walk(ram, fmt, 1, 0, READ).steps[-1].entry == tables.leaf(9, bits | dbm | arm64.AF)
        walked = walk(ram, fmt, 1, 0, WRITE)
        assert walked.status == expected
        assert bool(walked.steps[-1].entry & arm64.RDONLY) == (dbm == 0)


def test_marks_that_software_keeps_are_faults() -> None:
    fmt = riscv64.page_format("sv39")
    ram = Ram(64 << 20)
    tables = Tables(ram, fmt)
    bits = riscv64.VALID | riscv64.READ | riscv64.WRITE | riscv64.USER
    assert tables.map(0, tables.leaf(9, bits), 2)
    assert walk(ram, fmt, 1, 0, READ).status == NOT_ACCESSED
    tables.put(walk(ram, fmt, 1, 0, PEEK).steps[-1].paddr, tables.leaf(9, bits | riscv64.ACCESSED))
    assert walk(ram, fmt, 1, 0, READ).status == OK
    assert walk(ram, fmt, 1, 0, WRITE).status == NOT_DIRTY
    tables.put(walk(ram, fmt, 1, 0, PEEK).steps[-1].paddr, tables.leaf(9, bits | riscv64.ACCESSED | riscv64.DIRTY))
    assert walk(ram, fmt, 1, 0, WRITE).status == OK


def test_an_upper_half_without_a_root_maps_nothing() -> None:
    fmt = arm64.page_format()
    ram = Ram(1 << 20)
    walked = walk(ram, fmt, 1, -4096, READ)
    assert (walked.status, walked.steps) == (NOT_PRESENT, ())


# What the kernel's software does with entries.


@every_format
def test_swap_entries_are_neither_present_nor_protnone_and_come_back(fmt: PageFormat) -> None:
    top = int(fmt.swap.max_offset)
    for kind in (0, 1, 23, 31):
        for offset in (1, 0x1234, top - 1):
            entry = fmt.swap.encode(kind, offset)
            assert fmt.swap.decode(entry) == (kind, offset)
            assert not fmt.present.test(entry)
            assert not fmt.protnone.test(entry)
            assert fmt.is_swap_pte(entry)
            assert not fmt.pte_swp_exclusive(entry)
            alone = fmt.pte_swp_mkexclusive(entry)
            assert fmt.pte_swp_exclusive(alone) and fmt.is_swap_pte(alone)
            assert (fmt.pte_swp_type(alone), fmt.pte_swp_offset(alone)) == (kind, offset)
            assert fmt.pte_swp_clear_exclusive(alone) == entry == fmt.swp_pte(kind, offset)
    assert not fmt.is_swap_pte(0)
    assert not fmt.is_swap_pte(fmt.protection_map[0]) and not fmt.is_swap_pte(fmt.protection_map[1])
    assert fmt.is_swap_pte(fmt.guard) and fmt.swap.decode(fmt.guard) == (31, 4)


# (format, type, offset, the entry, unsigned), each written out by hand from the comment "Format of swap PTEs" or
# "Encode and de-code a swap entry" of the kernel's header.
SWAP_ENTRIES: list[tuple[str, PageFormat, int, int, int]] = [
    ("pgtable_64.h: type 63:59, ~offset 58:9", x86_64.page_format(4), 3, 0x55, 0x1FFF_FFFF_FFFF_5400),
    ("pgtable_64.h: the first page of the first area", x86_64.page_format(5), 0, 1, 0x07FF_FFFF_FFFF_FC00),
    ("pgtable_64.h: a guard marker", x86_64.page_format(4), 31, 4, 0xFFFF_FFFF_FFFF_F600),
    ("pgtable-3level.h: type 63:59, ~offset 58:9", x86_pae.page_format(), 3, 0x55, 0x1FFF_FFFF_FFFF_5400),
    ("pgtable-3level.h: type 31", x86_pae.page_format(), 31, 1, 0xFFFF_FFFF_FFFF_FC00),
    ("pgtable-2level.h: offset 31:9, type 5:1", x86_32.page_format(), 3, 0x55, 0x0000_AA06),
    ("pgtable-2level.h: all ones", x86_32.page_format(), 31, 0x7F_FFFF, 0xFFFF_FE3E),
    ("arm64: type 10:6, offset 61:12", arm64.page_format(), 3, 0x55, 0x0005_50C0),
    ("arm64, 64K: the same places", arm64.page_format(65536, 52, 52), 31, (1 << 50) - 1, 0x3FFF_FFFF_FFFF_F7C0),
    ("riscv: type 11:7, offset 63:12", riscv64.page_format("sv39"), 3, 0x55, 0x0005_5180),
    ("riscv: all ones", riscv64.page_format("sv57"), 31, (1 << 52) - 1, 0xFFFF_FFFF_FFFF_FF80),
    ("riscv, 32 bits: offset 31:12", riscv64.page_format("sv32"), 1, 0xF_FFFF, 0xFFFF_F080),
]


@pytest.mark.parametrize(
    ("fmt", "kind", "offset", "entry"), [row[1:] for row in SWAP_ENTRIES], ids=[row[0] for row in SWAP_ENTRIES]
)
def test_a_swap_entry_is_the_one_of_the_kernels_header(fmt: PageFormat, kind: int, offset: int, entry: int) -> None:
    bits = 8 << int(fmt.entry_shift)
    assert fmt.swp_pte(kind, offset) & (1 << bits) - 1 == entry
    word = entry - (1 << 64) if entry >> 63 else entry
    assert (fmt.pte_swp_type(word), fmt.pte_swp_offset(word)) == (kind, offset)


@pytest.mark.parametrize(
    ("fmt", "mark", "pages"),
    [
        (x86_64.page_format(4), 1 << 3, 1 << 50),
        (x86_pae.page_format(), 1 << 7, 1 << 26),  # a swp_entry_t has 32 bits, of which 6 are not the offset's
        (x86_32.page_format(), 1 << 7, 1 << 23),
        (arm64.page_format(16384, 47), 1 << 2, 1 << 50),
        (riscv64.page_format("sv48"), 1 << 6, 1 << 52),
        (riscv64.page_format("sv32"), 1 << 6, 1 << 20),
    ],
    ids=lambda value: value.name if isinstance(value, PageFormat) else "",
)
def test_the_exclusive_mark_and_the_largest_area_are_those_of_linux(fmt: PageFormat, mark: int, pages: int) -> None:
    assert fmt.swap.exclusive == mark
    assert fmt.swap.max_offset + 1 == pages


@every_format
def test_the_protection_map_grants_what_its_index_asks(fmt: PageFormat) -> None:
    """VM_READ 1, VM_WRITE 2, VM_EXEC 4, VM_SHARED 8. A private page that may be written starts read-only."""
    ram = Ram(64 << 20)
    tables = Tables(ram, fmt)
    last = len(fmt.levels) - 1
    for index, bits in enumerate(fmt.protection_map):
        addr = index << int(fmt.page_shift)
        entry = tables.leaf(9, bits)
        if index & 10 == 10:  # written to, so that software has made it dirty
            entry = fmt.dirty.set(entry) & ~int(fmt.rdonly)
        assert tables.map(addr, entry, last)
        walked = walk(ram, fmt, 1, addr, PEEK)
        if index & 7 == 0:
            assert walked.status == NOT_PRESENT
            assert fmt.protnone.test(bits)
            continue
        assert walked.status == OK
        assert bool(walked.rights & W) == (index & 10 == 10)
        execute_only = index & 7 == 4 and fmt.name.startswith("riscv")
        assert bool(walked.rights & R) == (not execute_only)
        assert bool(walked.rights & X) == (bool(index & 4) or fmt.name == "x86_32, 2 levels")


@every_format
def test_software_bits_do_not_collide_with_the_frame_or_each_other(fmt: PageFormat) -> None:
    fields = [fmt.present.mask, fmt.accessed.mask, fmt.dirty.mask, fmt.special.mask, fmt.write.mask]
    for at, mask in enumerate(fields):
        assert mask & fmt.pfn_mask == 0
        assert not any(mask & other for other in fields[at + 1 :])
    assert not fmt.present.test(fmt.guard)
    assert not fmt.protnone.test(fmt.guard)


def test_levels_that_a_format_lacks_are_folded_as_linux_folds_them() -> None:
    assert x86_32.page_format().folded("pgd") == ("p4d", "pud", "pmd")
    assert riscv64.page_format("sv39").folded("pgd") == ("p4d", "pud")
    assert x86_64.page_format(4).folded("pgd") == ("p4d",)
    assert x86_64.page_format(5).folded("pgd") == ()
    assert arm64.page_format().folded("pmd") == ()


def test_the_bits_of_an_entry_have_names() -> None:
    assert arm64.page_format().decode(0x0040_0000_0012_3443) == ["V", "T", "AP1", "AF", "UXN"]
    assert riscv64.page_format().decode(0xD7) == ["V", "R", "W", "U", "A", "D"]
    assert x86_32.page_format().decode(0x87, 0) == ["P", "RW", "US", "PS"]


def test_bit_7_of_a_last_level_entry_is_pat_and_bit_12_of_a_large_one() -> None:
    """Intel SDM volume 3, tables 4-17 to 4-20."""
    four = x86_64.page_format(4)
    assert four.decode(0x87, 3) == ["P", "RW", "US", "PAT"]
    assert four.decode(0x1087, 2) == ["P", "RW", "US", "PS", "PAT"]
    assert four.decode(0x1007, 2) == ["P", "RW", "US"]  # a table whose address has bit 12
    assert four.decode(1 | 5 << 59, 3) == ["P", "PK0", "PK2"]
    assert x86_pae.page_format().decode(0x1083, 1) == ["P", "RW", "PS", "PAT"]


def test_the_bits_of_a_table_and_of_a_page_of_arm_have_their_own_names() -> None:
    fmt = arm64.page_format()
    assert fmt.decode(3 | 1 << 59 | 1 << 54, 1) == ["V", "T", "PXNTable"]
    assert fmt.decode(1 | 1 << 54 | 1 << 59, 2) == ["V", "UXN"]
    assert "SH0" not in arm64.page_format(4096, 52, 52).decode(3 | 1 << 8)  # LPA2: a bit of the address


@pytest.mark.parametrize(
    ("fmt", "entry", "level", "memory"),
    [  # x86: Linux Documentation/arch/x86/pat.rst; arm64: arch/arm64/mm/proc.S; RISC-V: Svpbmt
        (x86_64.page_format(4), 0x67, 3, "write-back"),
        (x86_64.page_format(4), 0x67 | 1 << 3, 3, "write-combining"),
        (x86_64.page_format(4), 0x67 | 1 << 4, 3, "uncached (UC-)"),
        (x86_64.page_format(4), 0x67 | 3 << 3, 3, "uncached"),
        (x86_64.page_format(4), 0x67 | 1 << 7 | 1 << 3, 3, "write-protect"),
        (x86_64.page_format(4), 0xE7 | 1 << 12 | 3 << 3, 2, "write-through"),
        (x86_64.page_format(4), 0xE7, 2, "write-back"),
        (x86_32.page_format(), 0xE7 | 1 << 12 | 3 << 3, 0, "write-through"),
        (x86_pae.page_format(), 0x67 | 1 << 3, 2, "write-combining"),
        (arm64.page_format(), 0x403, 3, "normal"),
        (arm64.page_format(), 0x403 | 2 << 2, 3, "normal, non-cacheable"),
        (arm64.page_format(), 0x401 | 4 << 2, 2, "device nGnRE"),
        (riscv64.page_format("sv39"), 0xCF, 2, ""),
        (riscv64.page_format("sv39"), 0xCF | 2 << 61, 2, "I/O"),
        (riscv64.page_format("sv32"), 0xCF, 1, ""),
    ],
)
def test_a_leaf_says_its_memory_type(fmt: PageFormat, entry: int, level: int, memory: str) -> None:
    assert fmt.memory_type(entry, level) == memory


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: arm64.page_format(8192), "a granule of 4096, 16384 or 65536"),
        (lambda: arm64.page_format(4096, 52), "36 to 48 bits of virtual address, or 52 with LPA2, got 52"),
        (lambda: arm64.page_format(4096, 35), "36 to 48"),
        (lambda: riscv64.page_format("sv64"), "one of sv32, sv39, sv48, sv57"),
        (lambda: x86_32.page_format().swap.encode(32, 0), "a type of 0 to 31"),
    ],
)
def test_sizes_that_no_machine_has_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


@every_format
def test_compiled_and_interpreted_walks_agree(fmt: PageFormat) -> None:
    import os

    numpy = pytest.importorskip("numpy")
    pytest.importorskip("numba")
    if os.environ.get("PAGEWALK_INTERPRETED"):
        pytest.skip("PAGEWALK_INTERPRETED is set")
    from pagewalk.hw import callbacks

    one, two = Ram(1 << 21), Ram(1 << 21)
    array = numpy.frombuffer(two.words, dtype=numpy.int64)
    packed = pack_format(fmt, 2)
    packed_array = numpy.array(packed, dtype=numpy.int64)
    limit = 1 << (8 << int(fmt.entry_shift))
    frames = (1 << 21) >> int(fmt.page_shift)
    bits = [int(fmt.table), int(fmt.root_table), *fmt.protection_map[1:8], *fmt.protection_map[9:]]
    entry = st.builds(
        lambda frame, base, flip: (frame << int(fmt.pfn_shift) | base) ^ (1 << flip if flip < 63 else 0),
        st.integers(0, frames), st.sampled_from(bits), st.one_of(st.just(63), st.integers(0, 62)),
    )  # fmt: skip
    per_table = 1 << int(fmt.table_shift)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, frames - 1), st.sampled_from([0, 1, 2, per_table - 1]), entry), max_size=30),
        st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from([0, 1 << 12, 1 << 31, -4096])),
        st.sampled_from([READ, WRITE, FETCH, PEEK]),
    )
    def run(entries: list[tuple[int, int, int]], addr: int, access: int) -> None:
        one.bytes[:] = bytes(1 << 21)
        tables = Tables(one, fmt)
        for frame, index, word in entries:
            place = (frame << int(fmt.page_shift)) + (index << int(fmt.entry_shift))
            tables.put(place, word % limit)
        two.bytes[:] = one.bytes
        out, out_array = [0] * OUT_WORDS, numpy.zeros(OUT_WORDS, dtype=numpy.int64)
        status = walk_table(one.words, 1 << 18, packed, 1, addr, access, out)
        assert callbacks.walk_table(array, 1 << 18, packed_array, 1, addr, access, out_array) == status
        assert out_array.tolist() == out
        assert one.bytes == two.bytes

    run()
