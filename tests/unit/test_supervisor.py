"""What pages grant to the kernel: against Unicorn's own MMU in kernel mode, and the manuals' tables."""

import itertools
import random
from typing import Any

import pytest
import unicorn
from table_rig import Tables
from test_mmu_witness_arm64 import CODE as CODE_EL1
from test_mmu_witness_arm64 import HIGH, LOW, SVC, SVC_CODE, build
from test_mmu_witness_arm64 import Witness as ArmWitness
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86

from pagewalk.arch import arm64, riscv64, x86_32, x86_64, x86_pae
from pagewalk.arch.format import PageFormat
from pagewalk.arch.x86_64 import NX, PRESENT, PSE, RW, USER
from pagewalk.cpu.unicorn_lib import mem_map_ptr
from pagewalk.hw.supervisor import kernel_rights
from pagewalk.hw.walker import FETCH, PEEK, READ, RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE, WRITE, walk
from pagewalk.mm.ram import Ram

RAM_SIZE = 64 << 20
CODE_FRAME, FIRST_TABLE = 0x10, 0x11
CODE = 255 << 39
CALLS = {READ: b"\x48\x8b\x07\xcc", WRITE: b"\x48\x89\x07\xcc", FETCH: b"\xff\xe7"}
PF, BP = 14, 3


class Ring0:
    """Unicorn's x86-64 with its own page walk, at CPL 0."""

    def __init__(self, ram: Ram) -> None:
        for kind, code in CALLS.items():
            start = (CODE_FRAME << 12) + 16 * kind
            ram.bytes[start : start + len(code)] = code
        uc: Any = unicorn.Uc(uc_const.UC_ARCH_X86, uc_const.UC_MODE_64)
        self.uc = uc
        uc.ctl_set_cpu_model(x86.UC_CPU_X86_ICELAKE_SERVER)
        assert mem_map_ptr(uc._uch.value, 0, ram.size, 7, ram.address) == 0
        uc.msr_write(0xC0000080, uc.msr_read(0xC0000080) | 1 << 8 | 1 << 11)  # LME NXE
        uc.reg_write(x86.UC_X86_REG_CR4, 0x6B0)
        uc.reg_write(x86.UC_X86_REG_CR3, 1 << 12)
        uc.reg_write(x86.UC_X86_REG_CR0, 0x8001_0033)
        assert uc.reg_read(x86.UC_X86_REG_CS) & 3 == 0
        uc.ctl_exits_enabled(True)
        uc.ctl_set_exits([])
        self.vector = -1
        uc.hook_add(uc_const.UC_HOOK_INTR, self._interrupt)
        self.clean = uc.context_save()

    def _interrupt(self, uc: Any, vector: int, user_data: object) -> None:
        self.vector = vector
        uc.emu_stop()

    def granted(self, kind: int, addr: int, wp: bool, smep: bool, smap: bool) -> bool:
        """Whether one access goes ahead."""
        uc = self.uc
        uc.context_restore(self.clean)
        uc.reg_write(x86.UC_X86_REG_CR0, 0x8000_0033 | wp << 16)
        uc.reg_write(x86.UC_X86_REG_CR4, 0x6B0 | smep << 20 | smap << 21)
        uc.ctl(uc_const.UC_CTL_TLB_FLUSH, uc_const.UC_CTL_IO_WRITE)
        uc.ctl_flush_tb()
        uc.reg_write(x86.UC_X86_REG_RDI, addr & (1 << 64) - 1)
        self.vector = -1
        uc.emu_start(CODE + 16 * kind, 0)
        assert self.vector in (PF, BP)
        return self.vector == BP


def random_bits(rng: random.Random) -> int:
    """Of an entry: mostly all rights."""
    found = PRESENT | RW | USER
    for flip in rng.sample([RW, USER, NX], rng.choice([0, 1, 1, 2, 3])):
        found ^= flip
    return found


def test_ring_0_has_the_rights_that_an_independent_mmu_grants() -> None:
    ram = Ram(RAM_SIZE)
    fmt = x86_64.page_format(4)
    ring0 = Ring0(ram)
    outcomes = set()
    for seed in range(60):
        rng = random.Random(seed)
        for frame in [1, *range(FIRST_TABLE, 0x40)]:
            ram.clear_page(frame)
        tables = Tables(ram, fmt, 1, FIRST_TABLE)
        assert tables.map(CODE, CODE_FRAME << 12 | PRESENT, 3, [PRESENT | RW] * 3)

        depth = rng.choice([3, 3, 2])
        addr = rng.choice([1 << 39, 3 << 39, -(1 << 39)]) + (rng.randrange(512) << 21) + (rng.randrange(512) << 12)
        frame = (rng.randrange(1, 30) << 9) + (rng.randrange(512) if depth == 3 else 0)
        assert tables.map(
            addr,
            frame << 12 | random_bits(rng) | (PSE if depth == 2 else 0),
            depth,
            [random_bits(rng) for _ in range(3)],
        )
        walked = walk(ram, fmt, 1, addr, PEEK)
        for wp, smep, smap in itertools.product([False, True], repeat=3):
            rights = kernel_rights(fmt, walked, wp=wp, smep=smep, smap=smap)
            ram.bytes[walked.pfn << 12] = 0xCC
            for kind in (READ, FETCH, WRITE):
                expected = bool(rights >> kind & 1)
                outcomes.add((kind, expected, wp, smep, smap))
                assert ring0.granted(kind, addr, wp, smep, smap) == expected, (seed, kind, wp, smep, smap, walked)
    assert {found[:2] for found in outcomes} == set(itertools.product((READ, WRITE, FETCH), (False, True)))


@pytest.mark.parametrize(("granule", "va_bits"), [(4096, 39), (16384, 47), (65536, 48)])
def test_el1_has_the_rights_that_an_independent_mmu_grants(granule: int, va_bits: int) -> None:
    fmt = arm64.page_format(granule, va_bits)
    page_shift = int(fmt.page_shift)
    ram = Ram(3 << 30)
    witness = ArmWitness(ram, page_shift, va_bits, kernel=True)
    outcomes = set()
    for seed in range(60):
        rng = random.Random(seed)
        addrs = build(rng, ram, fmt)
        code_path = {step.paddr for step in walk(ram, fmt, LOW, CODE_EL1, PEEK).steps}
        for addr in addrs:
            walked = walk(ram, fmt, LOW, addr, PEEK, HIGH)
            if walked.pfn < 0 or not fmt.accessed.test(walked.steps[-1].entry):
                continue
            step = rng.choice(walked.steps)
            if rng.random() < 0.5 and step.paddr not in code_path:
                bit = arm64.PXN if step is walked.steps[-1] else arm64.TABLE_PXN
                ram.words[step.paddr >> 3] = step.entry | bit
                walked = walk(ram, fmt, LOW, addr, PEEK, HIGH)
            rights = kernel_rights(fmt, walked, smap=False)
            place = (walked.pfn << page_shift) + (addr & (1 << page_shift) - 1)
            for kind in (READ, FETCH, WRITE):
                if kind == FETCH:
                    ram.bytes[place : place + 8] = SVC_CODE * 2
                expected = bool(rights >> kind & 1)
                outcomes.add((kind, expected))
                vector, _ = witness.access(kind, addr, 0x77)
                assert (vector == SVC) == expected, (seed, kind, vector, walked)
    assert outcomes == {(READ, True), (WRITE, False), (WRITE, True), (FETCH, False), (FETCH, True)}


ALL = RIGHT_READ | RIGHT_WRITE | RIGHT_EXECUTE
X86 = PRESENT | RW | USER
ARM = arm64.VALID | arm64.TYPE | arm64.AF
RISCV = riscv64.VALID | riscv64.READ | riscv64.WRITE | riscv64.EXEC | riscv64.ACCESSED | riscv64.DIRTY


@pytest.mark.parametrize(
    ("fmt", "tables", "leaf", "how", "rights"),
    [
        # Intel SDM volume 3, 5.6.1
        (x86_32.page_format(), [X86], X86, {}, 0),
        (x86_32.page_format(), [X86], X86, {"smap": False}, RIGHT_READ | RIGHT_WRITE),
        (x86_32.page_format(), [X86], X86, {"smep": False}, RIGHT_EXECUTE),
        (x86_32.page_format(), [X86 & ~USER], X86 & ~RW, {}, RIGHT_READ | RIGHT_EXECUTE),
        (x86_32.page_format(), [X86 & ~RW], X86 & ~USER, {"wp": False}, ALL),
        (x86_pae.page_format(), [PRESENT, X86], X86 & ~USER | NX, {}, RIGHT_READ | RIGHT_WRITE),
        (x86_pae.page_format(), [PRESENT, X86 | NX], X86 & ~USER, {}, RIGHT_READ | RIGHT_WRITE),
        # Arm ARM, D8.4: AP, PXN, PAN; what EL0 may write is not executed at EL1
        (arm64.page_format(), [3, 3, 3], ARM, {}, ALL),
        (arm64.page_format(), [3, 3, 3], ARM | arm64.PXN, {}, RIGHT_READ | RIGHT_WRITE),
        (arm64.page_format(), [3, 3 | arm64.TABLE_PXN, 3], ARM, {}, RIGHT_READ | RIGHT_WRITE),
        (arm64.page_format(), [3, 3, 3 | arm64.TABLE_AP1], ARM, {}, RIGHT_READ | RIGHT_EXECUTE),
        (arm64.page_format(), [3, 3, 3], ARM | arm64.RDONLY, {}, RIGHT_READ | RIGHT_EXECUTE),
        (arm64.page_format(), [3, 3, 3], ARM | arm64.USER, {"smap": False}, RIGHT_READ | RIGHT_WRITE),
        (arm64.page_format(), [3, 3, 3], ARM | arm64.USER | arm64.RDONLY, {}, RIGHT_EXECUTE),
        (arm64.page_format(), [3 | arm64.TABLE_AP0, 3, 3], ARM | arm64.USER, {}, ALL),
        (arm64.page_format(hw_dirty=True), [3, 3, 3], ARM | arm64.RDONLY | arm64.DBM, {}, ALL),
        # RISC-V Privileged Architecture: SUM, and S-mode never executes a user page
        (riscv64.page_format("sv39"), [1, 1], RISCV, {}, ALL),
        (riscv64.page_format("sv39"), [1, 1], RISCV | riscv64.USER, {}, 0),
        (riscv64.page_format("sv39"), [1, 1], RISCV | riscv64.USER, {"smap": False, "smep": False},
         RIGHT_READ | RIGHT_WRITE),
        (riscv64.page_format("sv32"), [1], RISCV & ~riscv64.WRITE, {}, RIGHT_READ | RIGHT_EXECUTE),
    ],
)  # fmt: skip
def test_the_manuals_rules(fmt: PageFormat, tables: list[int], leaf: int, how: dict[str, bool], rights: int) -> None:
    ram = Ram(16 << 20)
    made = Tables(ram, fmt)
    assert made.map(0x40_0000, made.leaf(100, leaf), len(fmt.levels) - 1, tables)
    walked = walk(ram, fmt, 1, 0x40_0000, PEEK)
    assert kernel_rights(fmt, walked, **how) == rights
    assert kernel_rights(fmt, walk(ram, fmt, 1, 0x50_0000, PEEK)) == 0
