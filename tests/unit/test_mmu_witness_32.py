"""Independent witnesses for the walker on 32-bit x86: Unicorn's own MMU without and with PAE, walking the same tables.

A load, a store and a fetch at each address, in user mode: the witness must reach the same byte of RAM, refuse the same
accesses, and leave the same Accessed and Dirty bits.
"""

import random
from typing import Any

import pytest
import unicorn
from table_rig import Tables
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86

from pagewalk.arch import x86_32, x86_pae
from pagewalk.arch.format import PageFormat
from pagewalk.arch.x86_64 import ACCESSED, DIRTY, GLOBAL, NX, PRESENT, PSE, RW, SOFTW1, USER
from pagewalk.cpu.unicorn_lib import mem_map_ptr
from pagewalk.hw.walker import FETCH, NOT_PRESENT, OK, READ, RESERVED, WRITE, walk
from pagewalk.mm.ram import Ram

RAM_SIZE = 6 << 30  # above 4 GiB too: PAE's entries and PSE-36 reach it
CODE_FRAME = 0x10
CODE = 0xBFC0_0000  # where the witness's own code is mapped
FIRST_TABLE = 0x11
LAST_TABLE = 0x80
PAGES = 16 << 20  # frames of pages lie above
PF, BP = 14, 3
LOAD, STORE, JUMP, LEAVE = 0x0, 0x10, 0x20, 0x40
INSTRUCTIONS = {LOAD: b"\x8b\x07\xcc", STORE: b"\x89\x07\xcc", JUMP: b"\xff\xe7", LEAVE: b"\x0f\x35"}


class Witness:
    """Unicorn's 32-bit x86 with its own page walk, in user mode, over ``ram``; the root is in frame 1."""

    def __init__(self, ram: Ram, pae: bool) -> None:
        self.ram = ram
        for at, code in INSTRUCTIONS.items():
            start = (CODE_FRAME << 12) + at
            ram.bytes[start : start + len(code)] = code
        uc: Any = unicorn.Uc(uc_const.UC_ARCH_X86, uc_const.UC_MODE_32)
        self.uc = uc
        uc.ctl_set_cpu_model(x86.UC_CPU_X86_HASWELL)
        assert mem_map_ptr(uc._uch.value, 0, ram.size, 7, ram.address) == 0
        uc.msr_write(0x174, 0x8)  # SYSENTER_CS: SYSEXIT goes to user mode in flat segments
        uc.reg_write(x86.UC_X86_REG_EDX, (CODE_FRAME << 12) + 0x80)
        uc.reg_write(x86.UC_X86_REG_ECX, 0)
        uc.emu_start((CODE_FRAME << 12) + LEAVE, (CODE_FRAME << 12) + 0x80)
        assert uc.reg_read(x86.UC_X86_REG_CS) & 3 == 3
        uc.msr_write(0xC0000080, 1 << 11 if pae else 0)  # NXE
        uc.reg_write(x86.UC_X86_REG_CR4, 0x690 | (0x20 if pae else 0))  # PSE PGE OSFXSR OSXMMEXCPT, PAE
        uc.reg_write(x86.UC_X86_REG_CR3, 1 << 12)
        uc.reg_write(x86.UC_X86_REG_CR0, 0x8001_0033)  # PG WP
        uc.ctl_exits_enabled(True)
        uc.ctl_set_exits([])
        self.vector = -1
        uc.hook_add(uc_const.UC_HOOK_INTR, self._interrupt)
        self.clean = uc.context_save()

    def _interrupt(self, uc: Any, vector: int, user_data: object) -> None:
        self.vector = vector
        uc.emu_stop()

    def access(self, kind: int, addr: int, value: int) -> tuple[int, int]:
        """Runs one access: (vector that ended it, eax)."""
        uc = self.uc
        uc.context_restore(self.clean)
        uc.reg_write(x86.UC_X86_REG_CR3, 1 << 12)
        uc.ctl(uc_const.UC_CTL_TLB_FLUSH, uc_const.UC_CTL_IO_WRITE)
        uc.ctl_flush_tb()
        uc.reg_write(x86.UC_X86_REG_EDI, addr)
        uc.reg_write(x86.UC_X86_REG_EAX, value)
        self.vector = -1
        uc.emu_start(CODE + {READ: LOAD, WRITE: STORE, FETCH: JUMP}[kind], 0)
        return self.vector, uc.reg_read(x86.UC_X86_REG_EAX)


def random_bits(rng: random.Random, pae: bool) -> int:
    """Bits of an entry: mostly present, writable, user; anything may be otherwise."""
    bits = PRESENT | RW | USER
    flips = [PRESENT, RW, USER, ACCESSED, DIRTY, GLOBAL, SOFTW1] + ([NX] if pae else [])
    for flip in rng.sample(flips, rng.choice([0, 0, 1, 1, 2, 3])):
        bits ^= flip
    return bits


def build(rng: random.Random, ram: Ram, fmt: PageFormat, pae: bool) -> tuple[Tables, list[int]]:
    """Random mappings of all sizes, and the addresses that they are at."""
    for frame in [1, *range(FIRST_TABLE, LAST_TABLE)]:
        ram.clear_page(frame)
    tables = Tables(ram, fmt, 1, FIRST_TABLE)
    last = len(fmt.levels) - 1
    plain = PRESENT | RW | USER | ACCESSED
    path = [PRESENT if pae else plain, plain, plain]
    assert tables.map(CODE, tables.leaf(CODE_FRAME, plain & ~RW), last, path)
    addrs = []
    for _ in range(rng.randint(1, 6)):
        depth = rng.choice([last, last, last - 1])
        shift = fmt.levels[depth].shift
        addr = 0
        for level in fmt.levels[: depth + 1]:
            addr |= rng.choice([0, 1, 2, 3, 7, 100, 511, 1023]) % (1 << level.nr_bits) << level.shift
        if addr >> 22 == CODE >> 22:
            continue
        frame = rng.randrange(PAGES >> 12, RAM_SIZE >> 12) & -(1 << shift - 12)
        bits = random_bits(rng, pae)
        if depth != last:
            bits |= PSE
        entry = frame << 12 | bits
        if not pae and depth == last:
            entry &= 0xFFFF_FFFF
        if not pae and depth != last:  # PSE-36
            entry = (frame << 12) & 0xFFC0_0000 | (frame >> 20 & 0xFF) << 13 | bits
        path = [(PRESENT if pae and at == 0 else random_bits(rng, pae)) for at in range(last)]
        tables.map(addr, entry, depth, path)
        addrs.append(addr | rng.randrange(1 << shift) & ~7)
    assert tables.next_frame <= LAST_TABLE
    return tables, addrs


@pytest.mark.parametrize("pae", [False, True], ids=["2-level", "pae"])
def test_the_walker_and_an_independent_mmu_agree(pae: bool) -> None:
    fmt = x86_pae.page_format() if pae else x86_32.page_format()
    ram, copy = Ram(RAM_SIZE), Ram(RAM_SIZE)
    witness = Witness(copy, pae)
    start = CODE_FRAME << 12
    ram.bytes[start : start + 4096] = copy.bytes[start : start + 4096]
    used = LAST_TABLE << 12
    outcomes = set()
    for seed in range(150):
        rng = random.Random(seed)
        _, addrs = build(rng, ram, fmt, pae)
        copy.bytes[:used] = ram.bytes[:used]
        for addr in [*addrs, rng.randrange(1 << 32) & ~7]:
            for kind in (READ, FETCH, WRITE, READ):
                walked = walk(ram, fmt, 1, addr, kind)
                where = f"seed {seed}, {('load', 'store', 'fetch')[kind]} at {addr:#x}: {walked}"
                outcomes.add((kind, walked.status, walked.shift, walked.pfn >= 1 << 20))
                paddr = (walked.pfn << 12) + (addr & 4095)
                value = (0x5151_5151 ^ addr) & 0xFFFF_FFFF
                if walked.granted:
                    data = 0xCC if kind == FETCH else value
                    copy.bytes[paddr : paddr + 4] = data.to_bytes(4, "little")
                vector, eax = witness.access(kind, addr, 0x77)
                assert vector == (BP if walked.granted else PF), where
                if walked.granted and kind == READ:
                    assert eax == value, where
                if walked.granted and kind == WRITE:
                    assert copy.bytes[paddr : paddr + 4] == (0x77).to_bytes(4, "little"), where
                assert copy.bytes[:used] == ram.bytes[:used], f"Accessed and Dirty differ after {where}"
    for shift in {level.shift for level in fmt.levels if level.can_leaf}:
        for kind in (READ, WRITE, FETCH):
            assert (kind, OK, shift, False) in outcomes, "the search has become too narrow"
        assert any(found[1:] == (OK, shift, True) for found in outcomes) or (not pae and shift == 12)
    assert any(found[1] == NOT_PRESENT for found in outcomes)


def test_a_root_entry_of_pae_with_rights_in_it_is_refused() -> None:
    fmt = x86_pae.page_format()
    ram = Ram(16 << 20)
    tables = Tables(ram, fmt)
    assert tables.map(0, tables.leaf(9, PRESENT | RW | USER), 2)
    assert walk(ram, fmt, 1, 0, READ).status == OK
    tables.put(1 << 12, tables.get(1 << 12) | RW)
    assert walk(ram, fmt, 1, 0, READ).status == RESERVED
