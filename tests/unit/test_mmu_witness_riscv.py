"""An independent witness for the walker on RISC-V: the MMU of Unicorn's own CPU in user mode, which sets A and D."""

import random
from typing import Any

import pytest
import unicorn
from table_rig import Tables
from unicorn import riscv_const as riscv
from unicorn import unicorn_const as uc_const

from pagewalk.arch import riscv64
from pagewalk.arch.format import PageFormat
from pagewalk.arch.riscv64 import ACCESSED, DIRTY, EXEC, GLOBAL, SOFT, USER, VALID
from pagewalk.arch.riscv64 import READ as R
from pagewalk.arch.riscv64 import WRITE as W
from pagewalk.cpu.unicorn_lib import mem_map_ptr
from pagewalk.hw.walker import FETCH, NO_RIGHT, OK, READ, WRITE, walk
from pagewalk.mm.ram import Ram

RAM_SIZE = 3 << 30
ROOT, CODE_FRAME, FIRST_TABLE, LAST_TABLE = 1, 0x10, 0x11, 0x80
CODE = 0x3FE0_0000
PAGES = 16 << 20
ECALL = 8
FAULTS = {READ: 13, WRITE: 15, FETCH: 12}
LOAD, STORE, JUMP, LEAVE = 0x0, 0x10, 0x20, 0x40
# lw a0, 0(a1); sw a0, 0(a1); jr a1; mret
INSTRUCTIONS = {LOAD: 0x0005A503, STORE: 0x00A5A023, JUMP: 0x00058067, LEAVE: 0x30200073}
ECALL_CODE = (0x73).to_bytes(4, "little")
MODES = {"sv32": 1 << 31, "sv39": 8 << 60, "sv48": 9 << 60, "sv57": 10 << 60}


class Witness:
    """Unicorn's RISC-V with its own page walk, in user mode, over ``ram``."""

    def __init__(self, ram: Ram, mode: str) -> None:
        self.ram = ram
        for at, code in INSTRUCTIONS.items():
            start = (CODE_FRAME << 12) + at
            ram.bytes[start : start + 8] = code.to_bytes(4, "little") + ECALL_CODE
        uc: Any = unicorn.Uc(
            uc_const.UC_ARCH_RISCV, uc_const.UC_MODE_RISCV32 if mode == "sv32" else uc_const.UC_MODE_RISCV64
        )
        self.uc = uc
        assert mem_map_ptr(uc._uch.value, 0, ram.size, 7, ram.address) == 0
        uc.reg_write(riscv.UC_RISCV_REG_SATP, MODES[mode] | ROOT)
        assert uc.reg_read(riscv.UC_RISCV_REG_SATP) == MODES[mode] | ROOT
        uc.reg_write(riscv.UC_RISCV_REG_MSTATUS, 0)
        uc.reg_write(riscv.UC_RISCV_REG_MEPC, CODE)
        self.vector = -1
        uc.ctl_exits_enabled(True)
        uc.ctl_set_exits([])
        uc.hook_add(uc_const.UC_HOOK_INTR, self._interrupt)
        self.clean = uc.context_save()

    def _interrupt(self, uc: Any, vector: int, user_data: object) -> None:
        self.vector = vector
        uc.emu_stop()

    def access(self, kind: int, addr: int, value: int) -> tuple[int, int]:
        """Runs one access: (exception that ended it, a0)."""
        uc = self.uc
        uc.context_restore(self.clean)
        uc.ctl(uc_const.UC_CTL_TLB_FLUSH, uc_const.UC_CTL_IO_WRITE)
        uc.ctl_flush_tb()
        uc.reg_write(riscv.UC_RISCV_REG_A1, addr & (1 << 64) - 1)
        uc.reg_write(riscv.UC_RISCV_REG_A0, value)
        uc.reg_write(riscv.UC_RISCV_REG_MEPC, CODE + {READ: LOAD, WRITE: STORE, FETCH: JUMP}[kind])
        self.vector = -1
        uc.emu_start((CODE_FRAME << 12) + LEAVE, 0)
        return self.vector, uc.reg_read(riscv.UC_RISCV_REG_A0)


def leaf_bits(rng: random.Random) -> int:
    """Bits of a page: mostly there and open to user mode."""
    bits = VALID | USER | R | W | EXEC | rng.choice([0, ACCESSED, ACCESSED | DIRTY, GLOBAL, SOFT])
    for flip in rng.sample([VALID, USER, R, W, EXEC, W], rng.choice([0, 0, 1, 1, 2])):
        bits ^= flip
    return bits


def build(rng: random.Random, ram: Ram, fmt: PageFormat) -> list[int]:
    """Random mappings of all sizes; the addresses that they are at."""
    for frame in [ROOT, *range(FIRST_TABLE, LAST_TABLE)]:
        ram.clear_page(frame)
    tables = Tables(ram, fmt, ROOT, FIRST_TABLE)
    last = len(fmt.levels) - 1
    assert tables.map(CODE, tables.leaf(CODE_FRAME, VALID | USER | R | EXEC | ACCESSED), last)
    addrs = []
    for _ in range(rng.randint(2, 7)):
        depth = rng.choice([last, last, last - 1, max(last - 2, 0)])
        shift = fmt.levels[depth].shift
        addr = 0
        for level in fmt.levels[: depth + 1]:
            addr |= rng.choice([0, 1, 7, 256, 510]) << level.shift
        paddr = rng.randrange(max(PAGES, 1 << shift), RAM_SIZE) & -(1 << shift)
        if rng.random() < 0.1 and shift > 12:
            paddr |= 1 << 13  # misaligned
        path = [VALID if rng.random() < 0.9 else 0] * last
        tables.map(addr, tables.leaf(paddr >> 12, leaf_bits(rng)), depth, path)
        addr |= rng.randrange(1 << shift) & ~7
        addrs.append(addr - (1 << fmt.top_shift + 1) if fmt.halves and addr >> fmt.top_shift else addr)
    assert tables.next_frame <= LAST_TABLE
    return addrs


@pytest.mark.parametrize("mode", ["sv32", "sv39", "sv48", "sv57"])
def test_the_walker_and_an_independent_mmu_agree(mode: str) -> None:
    fmt = riscv64.page_format(mode, hw_marks=True)
    ram, copy = Ram(RAM_SIZE), Ram(RAM_SIZE)
    witness = Witness(copy, mode)
    used = LAST_TABLE << 12
    start = CODE_FRAME << 12
    ram.bytes[start : start + 4096] = copy.bytes[start : start + 4096]
    outcomes = set()
    for seed in range(100):
        rng = random.Random(seed)
        addrs = build(rng, ram, fmt)
        copy.bytes[:used] = ram.bytes[:used]
        for addr in [*addrs, addrs[0] ^ 1 << 27]:
            for kind in (READ, FETCH, WRITE, READ):
                walked = walk(ram, fmt, ROOT, addr, kind)
                where = f"seed {seed}, {('load', 'store', 'fetch')[kind]} at {addr & (1 << 64) - 1:#x}: {walked}"
                outcomes.add((kind, walked.status, walked.shift))
                paddr = (walked.pfn << 12) + (addr & 4095)
                value = (0x5151_5151 ^ addr) & 0x7FFF_FFFF
                if walked.granted:
                    copy.bytes[paddr : paddr + 4] = ECALL_CODE if kind == FETCH else value.to_bytes(4, "little")
                vector, a0 = witness.access(kind, addr, 0x77)
                assert vector == (ECALL if walked.granted else FAULTS[kind]), where
                if walked.granted and kind == READ:
                    assert a0 == value, where
                if walked.granted and kind == WRITE:
                    assert copy.bytes[paddr : paddr + 4] == (0x77).to_bytes(4, "little"), where
                assert copy.bytes[:used] == ram.bytes[:used], f"A and D differ after {where}"
    for level in fmt.levels[-3:]:
        for kind in (READ, WRITE, FETCH):
            assert (kind, OK, level.shift) in outcomes, "the search has become too narrow"
    assert any(found[1] == NO_RIGHT for found in outcomes)
