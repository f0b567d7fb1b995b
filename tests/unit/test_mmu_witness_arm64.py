"""An independent witness for the walker on arm64: the MMU of Unicorn's own ARMv8 CPU, at EL0, each half with its table.

All granules, two to four levels. Unicorn has no hardware updates: it takes a fault where AF is clear.
"""

import random
from typing import Any

import pytest
import unicorn
from table_rig import Tables
from unicorn import arm64_const as arm
from unicorn import unicorn_const as uc_const

from pagewalk.arch import arm64
from pagewalk.arch.arm64 import AF, CONT, DBM, NG, PXN, RDONLY, TABLE_AP0, TABLE_AP1, TABLE_UXN, TYPE, USER, UXN, VALID
from pagewalk.arch.format import PageFormat
from pagewalk.cpu.unicorn_lib import mem_map_ptr
from pagewalk.hw.walker import (
    FETCH,
    NO_RIGHT,
    NON_CANONICAL,
    NOT_ACCESSED,
    NOT_PRESENT,
    OK,
    READ,
    WRITE,
    Walk,
    walk,
)
from pagewalk.mm.ram import Ram

RAM_SIZE = 3 << 30
LOW, HIGH = 1, 2  # frames of the roots
CODE_FRAME = 0x10
CODE = 0xF_FFE0_0000  # where the witness's own code is mapped
FIRST_TABLE, MIDDLE_TABLE, LAST_TABLE = 0x11, 0x60, 0xB0
PAGES = 16 << 20
SVC, PREFETCH_ABORT, DATA_ABORT = 2, 3, 4
LOAD, STORE, JUMP, LEAVE = 0x0, 0x10, 0x20, 0x40
# ldr x0, [x1]; str x0, [x1]; br x1; eret
INSTRUCTIONS = {LOAD: 0xF9400020, STORE: 0xF9000020, JUMP: 0xD61F0020, LEAVE: 0xD69F03E0}
SVC_CODE = (0xD4000001).to_bytes(4, "little")

# (crn, crm, op0, op1, op2)
SCTLR_EL1 = (1, 0, 3, 0, 0)
TCR_EL1 = (2, 0, 3, 0, 2)
MAIR_EL1 = (10, 2, 3, 0, 0)
SPSR_EL1 = (4, 0, 3, 0, 0)
ELR_EL1 = (4, 0, 3, 0, 1)
SCR_EL3 = (1, 1, 3, 6, 0)


class Witness:
    """Unicorn's ARMv8 with its own page walk, in user mode (or EL1: ``kernel``), over ``ram``."""

    def __init__(self, ram: Ram, page_shift: int, va_bits: int, *, kernel: bool = False) -> None:
        self.ram = ram
        physical = CODE_FRAME << page_shift
        for at, code in INSTRUCTIONS.items():
            start = physical + at
            ram.bytes[start : start + 8] = code.to_bytes(4, "little") + SVC_CODE
        uc: Any = unicorn.Uc(uc_const.UC_ARCH_ARM64, uc_const.UC_MODE_ARM)
        self.uc = uc
        uc.ctl_set_cpu_model(arm.UC_CPU_ARM64_A72)
        assert mem_map_ptr(uc._uch.value, 0, ram.size, 7, ram.address) == 0
        self.set(SCR_EL3, 1 << 10)  # RW: the levels below are AArch64, or else the walk is that of AArch32
        self.set(SPSR_EL1, 5 if kernel else 0)  # EL1h, EL0
        self.set(ELR_EL1, physical + 0x80)
        uc.emu_start(physical + LEAVE, physical + 0x80)
        assert uc.reg_read(arm.UC_ARM64_REG_PSTATE) & 0xF == (5 if kernel else 0)
        self.set(MAIR_EL1, 0xFF)
        uc.reg_write(arm.UC_ARM64_REG_TTBR0_EL1, LOW << page_shift)
        uc.reg_write(arm.UC_ARM64_REG_TTBR1_EL1, HIGH << page_shift)
        size = 64 - va_bits
        granule = {12: 0 << 14 | 2 << 30, 14: 2 << 14 | 1 << 30, 16: 1 << 14 | 3 << 30}[page_shift]
        self.set(TCR_EL1, size | size << 16 | granule | 2 << 32)  # 40 bits of physical address
        self.set(SCTLR_EL1, uc.reg_read(arm.UC_ARM64_REG_CP_REG, SCTLR_EL1) | 1)
        uc.ctl_exits_enabled(True)
        uc.ctl_set_exits([])
        self.vector = -1
        uc.hook_add(uc_const.UC_HOOK_INTR, self._interrupt)
        self.clean = uc.context_save()

    def set(self, register: tuple[int, ...], value: int) -> None:
        """MSR."""
        self.uc.reg_write(arm.UC_ARM64_REG_CP_REG, (*register, value))

    def _interrupt(self, uc: Any, vector: int, user_data: object) -> None:
        self.vector = vector
        uc.emu_stop()

    def access(self, kind: int, addr: int, value: int) -> tuple[int, int]:
        """Runs one access: (exception that ended it, x0)."""
        uc = self.uc
        uc.context_restore(self.clean)
        uc.ctl(uc_const.UC_CTL_TLB_FLUSH, uc_const.UC_CTL_IO_WRITE)
        uc.ctl_flush_tb()
        uc.reg_write(arm.UC_ARM64_REG_X1, addr & (1 << 64) - 1)
        uc.reg_write(arm.UC_ARM64_REG_X0, value)
        self.vector = -1
        uc.emu_start(CODE + {READ: LOAD, WRITE: STORE, FETCH: JUMP}[kind], 0)
        return self.vector, uc.reg_read(arm.UC_ARM64_REG_X0)


def leaf_bits(rng: random.Random, last: bool) -> int:
    """Bits of a page or block: mostly there, accessed, open to user mode."""
    bits = VALID | AF | USER | (TYPE if last else 0) | rng.choice([0, DBM, CONT, NG, PXN])
    for flip in rng.sample([VALID, AF, USER, RDONLY, RDONLY, UXN, UXN], rng.choice([0, 1, 1, 2])):
        bits ^= flip
    return bits


def table_bits(rng: random.Random) -> int:
    """Bits of an entry that points to a table: mostly nothing taken away."""
    bits = VALID | TYPE
    for flip in rng.sample([VALID, TABLE_AP0, TABLE_AP1, TABLE_UXN, AF], rng.choice([0, 0, 0, 1, 2])):
        bits ^= flip
    return bits


def build(rng: random.Random, ram: Ram, fmt: PageFormat) -> list[int]:
    """Random mappings of all sizes in both halves; the addresses that they are at."""
    page_shift = int(fmt.page_shift)
    ram.bytes[LOW << page_shift : (HIGH + 1) << page_shift] = bytes(2 << page_shift)
    ram.bytes[FIRST_TABLE << page_shift : LAST_TABLE << page_shift] = bytes(LAST_TABLE - FIRST_TABLE << page_shift)
    halves = (Tables(ram, fmt, LOW, FIRST_TABLE), Tables(ram, fmt, HIGH, MIDDLE_TABLE))
    plain = VALID | TYPE
    last = len(fmt.levels) - 1
    code = halves[0].leaf(CODE_FRAME, plain | AF | USER | RDONLY)
    assert halves[0].map(CODE, code, last, [plain] * last)
    addrs = []
    for _ in range(rng.randint(2, 8)):
        high = rng.random() < 0.5
        tables = halves[high]
        depth = rng.choice([last, last, *[at for at in range(last) if fmt.levels[at].can_leaf]])
        shift = fmt.levels[depth].shift
        addr = 0
        for level in fmt.levels[: depth + 1]:
            addr |= rng.choice([0, 1, 7, 256, 510, 2047]) % (1 << level.nr_bits) << level.shift
        first = max(PAGES, 1 << shift)
        paddr = rng.randrange(first, RAM_SIZE) & -(1 << shift)
        entry = paddr | leaf_bits(rng, depth == last)
        tables.map(addr, entry, depth, [table_bits(rng) for _ in range(last)])
        addrs.append((addr | rng.randrange(1 << shift) & ~7) - (1 << fmt.top_shift if high else 0))
    assert halves[0].next_frame <= MIDDLE_TABLE
    assert halves[1].next_frame <= LAST_TABLE
    return addrs


def check(witness: Witness, walked: Walk, kind: int, addr: int, page_shift: int, where: str) -> None:
    """One access, both ways."""
    paddr = (walked.pfn << page_shift) + (addr & (1 << page_shift) - 1)
    value = 0x1234_5678_9ABC_DEF0 ^ addr & (1 << 60) - 1
    if walked.granted:
        witness.ram.bytes[paddr : paddr + 8] = SVC_CODE * 2 if kind == FETCH else value.to_bytes(8, "little")
    vector, x0 = witness.access(kind, addr, 0x77)
    refused = PREFETCH_ABORT if kind == FETCH else DATA_ABORT
    assert vector == (SVC if walked.granted else refused), where
    if walked.granted and kind == READ:
        assert x0 == value, where
    if walked.granted and kind == WRITE:
        assert witness.ram.bytes[paddr : paddr + 8] == (0x77).to_bytes(8, "little"), where


@pytest.mark.parametrize(
    ("granule", "va_bits"), [(4096, 39), (4096, 48), (16384, 36), (16384, 47), (16384, 48), (65536, 42), (65536, 48)]
)
def test_the_walker_and_an_independent_mmu_agree(granule: int, va_bits: int) -> None:
    fmt = arm64.page_format(granule, va_bits)
    page_shift = int(fmt.page_shift)
    ram, copy = Ram(RAM_SIZE), Ram(RAM_SIZE)
    witness = Witness(copy, page_shift, va_bits)
    used = LAST_TABLE << page_shift
    start = CODE_FRAME << page_shift
    ram.bytes[start : start + 4096] = copy.bytes[start : start + 4096]
    outcomes = set()
    for seed in range(100):
        rng = random.Random(seed)
        addrs = build(rng, ram, fmt)
        copy.bytes[:used] = ram.bytes[:used]
        for addr in [*addrs, addrs[0] ^ 1 << 52, rng.randrange(-(1 << va_bits), 1 << va_bits) & ~7]:
            for kind in (READ, FETCH, WRITE):
                walked = walk(ram, fmt, LOW, addr, kind, HIGH)
                where = f"seed {seed}, {('load', 'store', 'fetch')[kind]} at {addr & (1 << 64) - 1:#x}: {walked}"
                outcomes.add((kind, walked.status, walked.shift, addr < 0))
                check(witness, walked, kind, addr, page_shift, where)
        assert copy.bytes[:used] == ram.bytes[:used], "neither of them marks entries"
    for level in fmt.levels:
        for kind in (READ, WRITE, FETCH):
            for high in (False, True):
                assert not level.can_leaf or (kind, OK, level.shift, high) in outcomes, "the search is too narrow"
    assert {found[1] for found in outcomes} == {OK, NOT_PRESENT, NO_RIGHT, NON_CANONICAL, NOT_ACCESSED}
