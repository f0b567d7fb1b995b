"""An independent witness for the walker: the MMU of Unicorn's own x86 CPU, with CR3 set to the same table.

The witness runs a load, a store and a fetch at each address, in user mode, over a copy of the tables. It must reach the
same byte of RAM, refuse the same accesses, and leave the same Accessed and Dirty bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import unicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86

from pagewalk.arch.x86_64 import ACCESSED, DIRTY, GLOBAL, NX, PRESENT, PSE, RW, SOFTW1, USER, page_format
from pagewalk.cpu.unicorn_lib import mem_map_ptr
from pagewalk.hw.walker import FETCH, NO_RIGHT, NON_CANONICAL, OK, READ, WRITE, Walk, walk
from pagewalk.mm.ram import Ram

RAM_SIZE = 4 << 30
TABLES = 16 << 20  # tables live below, pages above
CODE_FRAME = 0x10  # the witness's own code, mapped by entry 255 of the root
GP, PF, BP = 13, 14, 3

LOAD, STORE, JUMP, LEAVE = 0x0, 0x10, 0x20, 0x40
CODE = {LOAD: b"\x48\x8b\x07\xcc", STORE: b"\x48\x89\x07\xcc", JUMP: b"\xff\xe7", LEAVE: b"\x48\x0f\x07"}


class Witness:
    """Unicorn's x86-64 with its own page walk, in user mode, over ``ram``."""

    def __init__(self, ram: Ram, levels: int) -> None:
        self.ram = ram
        self.code = 255 << (39 if levels == 4 else 48)
        for at, code in CODE.items():
            start = (CODE_FRAME << 12) + at
            ram.bytes[start : start + len(code)] = code
        uc: Any = unicorn.Uc(uc_const.UC_ARCH_X86, uc_const.UC_MODE_64)
        self.uc = uc
        uc.ctl_set_cpu_model(x86.UC_CPU_X86_ICELAKE_SERVER)
        assert mem_map_ptr(uc._uch.value, 0, ram.size, 7, ram.address) == 0
        uc.msr_write(0xC0000080, uc.msr_read(0xC0000080) | 1 << 8 | 1 << 11 | 1)  # LME NXE SCE
        uc.msr_write(0xC0000081, 0x23 << 48)
        uc.reg_write(x86.UC_X86_REG_RCX, (CODE_FRAME << 12) + 0x80)
        uc.reg_write(x86.UC_X86_REG_R11, 0x202)
        uc.emu_start((CODE_FRAME << 12) + LEAVE, (CODE_FRAME << 12) + 0x80)  # SYSRET: to user mode
        assert uc.reg_read(x86.UC_X86_REG_CS) == 0x33
        uc.reg_write(x86.UC_X86_REG_CR4, 0x6B0 | (1 << 12 if levels == 5 else 0))
        uc.reg_write(x86.UC_X86_REG_CR3, 1 << 12)
        uc.reg_write(x86.UC_X86_REG_CR0, 0x80010033)  # PG WP
        assert uc.reg_read(x86.UC_X86_REG_CR4) >> 12 & 1 == (levels == 5)
        uc.ctl_exits_enabled(True)  # no address ends a run
        uc.ctl_set_exits([])
        self.vector = -1
        uc.hook_add(uc_const.UC_HOOK_INTR, self._interrupt)
        self.clean = uc.context_save()

    def _interrupt(self, uc: Any, vector: int, user_data: object) -> None:
        self.vector = vector
        uc.emu_stop()

    def access(self, kind: int, addr: int, value: int = 0) -> tuple[int, int, int]:
        """Runs one access in user mode: (vector that ended it, CR2, rax)."""
        uc = self.uc
        uc.context_restore(self.clean)
        uc.ctl(uc_const.UC_CTL_TLB_FLUSH, uc_const.UC_CTL_IO_WRITE)
        uc.ctl_flush_tb()
        uc.reg_write(x86.UC_X86_REG_CR2, 0)
        uc.reg_write(x86.UC_X86_REG_RDI, addr & (1 << 64) - 1)
        uc.reg_write(x86.UC_X86_REG_RAX, value)
        self.vector = -1
        uc.emu_start(self.code + {READ: LOAD, WRITE: STORE, FETCH: JUMP}[kind], 0)
        return self.vector, uc.reg_read(x86.UC_X86_REG_CR2), uc.reg_read(x86.UC_X86_REG_RAX)


@dataclass
class Mapping:
    """One random path down the table: an index and the bits of the entry for each level, and where it ends."""

    indices: Sequence[int]
    bits: Sequence[int]
    leaf_level: int
    frame: int
    offset: int


BITS = [PRESENT, RW, USER, NX, ACCESSED, DIRTY, GLOBAL, SOFTW1, 1 << 52, 1 << 62]


@st.composite
def entry_bits(draw: st.DrawFn) -> int:
    """Mostly present, writable, user, executable; anything may be otherwise."""
    bits = PRESENT | RW | USER
    for flip in draw(st.lists(st.sampled_from(BITS), max_size=3, unique=True)):
        bits ^= flip
    return bits


@st.composite
def mappings(draw: st.DrawFn, levels: int) -> list[Mapping]:
    found = []
    for _ in range(draw(st.integers(1, 6))):
        indices = [draw(st.sampled_from([0, 1, 7, 128, 254, 256, 511])) for _ in range(levels)]
        leaf_level = draw(st.sampled_from([levels - 1, levels - 1, levels - 2, levels - 3, 0]))
        found.append(
            Mapping(
                indices,
                [draw(entry_bits()) for _ in range(levels)],
                leaf_level,
                draw(st.integers(TABLES >> 12, (RAM_SIZE >> 12) - 1)),
                draw(st.integers(0, (1 << 30) - 1)) & ~7,
            )
        )
    return found


class Tables:
    """Builds the mappings into RAM, root in frame 1."""

    def __init__(self, ram: Ram, levels: int) -> None:
        self.ram = ram
        self.fmt = page_format(levels)
        self.next_frame = CODE_FRAME + 1
        table = 1
        for level in self.fmt.levels[:-1]:  # the witness's own code page
            index = table << 9 | (255 if level is self.fmt.levels[0] else 0)
            table = self.frame()
            ram.words[index] = table << 12 | PRESENT | RW | USER | ACCESSED
        ram.words[table << 9] = CODE_FRAME << 12 | PRESENT | USER | ACCESSED

    def frame(self) -> int:
        self.next_frame += 1
        return self.next_frame - 1

    def add(self, mapping: Mapping) -> int:
        """Where a table is there already, the path uses it. Returns the address that the path leads to."""
        table = 1
        addr = 0
        for at, level in enumerate(self.fmt.levels):
            addr |= mapping.indices[at] << level.shift
        top = self.fmt.levels[0].shift + 8
        addr -= (addr >> top & 1) << (top + 1)
        for at, level in enumerate(self.fmt.levels):
            index = table << 9 | mapping.indices[at]
            entry = self.ram.words[index]
            if entry:
                if at == len(self.fmt.levels) - 1 or entry & PSE:
                    break
                table = (entry & self.fmt.pfn_mask) >> 12
                continue
            if at == mapping.leaf_level or at == len(self.fmt.levels) - 1:
                size = 1 << level.shift - 12
                frame = mapping.frame & -size if size <= RAM_SIZE >> 13 else 0
                if frame << 12 < TABLES:
                    frame = size if size > 1 else TABLES >> 12
                frame = frame if level.can_leaf else TABLES >> 12
                self.ram.words[index] = frame << 12 | mapping.bits[at] | (PSE if level.shift != 12 else 0)
                break
            table = self.frame()
            self.ram.words[index] = table << 12 | mapping.bits[at]
        last = self.fmt.levels[mapping.leaf_level].shift
        return addr | mapping.offset & (1 << last) - 1


def check(walked: Walk, ram: Ram, nr_frames: int, witness: Witness, kind: int, addr: int) -> None:
    """One access, both ways."""
    paddr = (walked.pfn << 12) + (addr & 4095)
    where = f"{('load', 'store', 'fetch')[kind]} at {addr & (1 << 64) - 1:#x}: {walked}"
    signature = 0x1234_5678_9ABC_DEF0 ^ addr & (1 << 62) - 1
    if walked.granted:
        witness.ram.words[paddr >> 3] = 0xCC if kind == FETCH else signature
    vector, cr2, rax = witness.access(kind, addr, 0x77)
    if walked.status == NON_CANONICAL:
        assert vector == GP, where
    elif not walked.granted:
        assert (vector, cr2) == (PF, addr & (1 << 64) - 1), where
    else:
        assert vector == BP, where
        if kind == READ:
            assert rax == signature, where
        if kind == WRITE:
            assert witness.ram.words[paddr >> 3] == 0x77, where
    if walked.status == NO_RIGHT and walked.shift == 30:  # QEMU marks a 1 GiB leaf before it checks rights
        witness.ram.words[walked.steps[-1].paddr >> 3] = walked.steps[-1].entry
    used = slice(0, nr_frames << 12)
    assert witness.ram.bytes[used] == ram.bytes[used], f"Accessed and Dirty differ after {where}"


@pytest.mark.parametrize("levels", [4, 5])
def test_the_walker_and_an_independent_mmu_agree(levels: int) -> None:
    ram, copy = Ram(RAM_SIZE), Ram(RAM_SIZE)
    witness = Witness(copy, levels)
    outcomes: set[tuple[int, int, int]] = set()

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mappings(levels), st.integers(-(1 << 63), (1 << 63) - 1))
    def run(paths: list[Mapping], anywhere: int) -> None:
        for frame in range(1, 64):
            if frame != CODE_FRAME:
                ram.clear_page(frame)
        start = CODE_FRAME << 12
        ram.bytes[start : start + 4096] = copy.bytes[start : start + 4096]
        tables = Tables(ram, levels)
        addrs = [tables.add(path) for path in paths]
        assert tables.next_frame <= 64
        copy.bytes[: 64 << 12] = ram.bytes[: 64 << 12]
        for addr in [*addrs, addrs[0] ^ 1 << 40, anywhere & ~7]:
            for kind in (READ, FETCH, WRITE, READ):
                walked = walk(ram, tables.fmt, 1, addr, kind)
                outcomes.add((kind, walked.status, walked.shift))
                check(walked, ram, tables.next_frame, witness, kind, addr)

    run()
    for shift in (12, 21, 30):
        for kind in (READ, WRITE, FETCH):
            assert (kind, OK, shift) in outcomes, "the search has become too narrow"
