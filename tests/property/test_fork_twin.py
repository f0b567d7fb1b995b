"""Families of processes: forks, writes, reads, advice and exits in any order, against ``tests/naive/family.py`` and
with every invariant after each step; on every architecture, whose hardware walk finds what the kernel wrote."""

import os

import pytest
from family import ZERO, Area
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from pagewalk import Machine, Map, Process
from pagewalk.check import check_machine
from pagewalk.hw.walker import OK, PEEK, RIGHT_WRITE, walk
from pagewalk.mm.pgtable import pte_lookup

EXAMPLES = int(os.environ.get("PAGEWALK_FORK_EXAMPLES", "40"))
STEPS = 50
PAGES = 6
ADDRESSES = (0x1000_0000, 0x2000_0000)  # far apart: the areas neither merge nor share tables
COMMON = 0x3000_0000
MOST = 7
ADVICE = {"skip": (10, "copy"), "unskip": (11, "skip"), "wipe": (18, "copy"), "unwipe": (19, "wipe")}

nth = st.integers(0, 99)
areas = st.integers(0, len(ADDRESSES) - 1)
pages = st.integers(0, PAGES - 1)
bytes_ = st.integers(1, 255)


class Families(RuleBasedStateMachine):
    """Up to ``MOST`` processes that descend from one."""

    arch = "x86_64"
    granule = "4K"

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(ram="64M", aslr=False, arch=self.arch, granule=self.granule)
        self.shift = int(self.machine.system.page_shift)
        first = self.machine.spawn()
        for addr in ADDRESSES:
            first.mmap(PAGES << self.shift, addr=addr, flags=Map.PRIVATE | Map.ANONYMOUS | Map.FIXED)
        first.mmap(PAGES << self.shift, addr=COMMON, flags=Map.SHARED | Map.ANONYMOUS | Map.FIXED)
        self.family: list[tuple[Process, list[Area | None]]] = [(first, [Area() for _ in ADDRESSES])]
        self.common = bytearray(PAGES)

    def teardown(self) -> None:
        try:
            while self.family:
                self.ends(0)
        finally:
            self.machine.close()

    def chosen(self, who: int) -> tuple[Process, list[Area | None]]:
        """One of those that live."""
        return self.family[who % len(self.family)]

    def same(self) -> None:
        """Invariants; who maps what, how often each frame is mapped, and each process's anonymous memory."""
        check_machine(self.machine)
        for process, held in self.family:
            mm = process._task.mm
            private = 0
            for addr, area in zip(ADDRESSES, held, strict=True):
                for page in range(PAGES if area is not None else 0):
                    assert area is not None
                    index = pte_lookup(mm, addr + (page << self.shift))
                    pte = mm.system.ram.words[index] if index >= 0 else 0
                    assert mm.system.format.present.test(pte) == (page in area.entries)
                    walked = walk(mm.system.ram, mm.system.format, int(mm.pgd_pfn), addr + (page << self.shift), PEEK)
                    assert (walked.status == OK) == (page in area.entries)
                    assert not walked.rights & RIGHT_WRITE or area.entries[page][1]
                    if page in area.entries:
                        assert mm.system.format.write.test(pte) == area.entries[page][1]
                        if area.frame(page) is not ZERO:
                            frame = mm.system.page(mm.system.format.pfn(pte))
                            assert frame.pfn == walked.pfn
                            assert frame.mapcount == area.frame(page).count
                            private += 1
            assert process.rss["anon"] == private << self.shift

    @precondition(lambda self: len(self.family) < MOST)
    @rule(who=nth)
    def forks(self, who: int) -> None:
        process, held = self.chosen(who)
        self.family.append((process.fork(), [None if area is None else area.child() for area in held]))
        self.same()

    @precondition(lambda self: len(self.family) > 1)
    @rule(who=nth)
    def exits(self, who: int) -> None:
        self.ends(who)
        self.same()

    def ends(self, who: int) -> None:
        """A process goes; its frames lose a count each."""
        process, held = self.family.pop(who % len(self.family))
        process.exit()
        for area in held:
            for page in list(area.entries) if area is not None else []:
                assert area is not None
                area.drop(page)

    @rule(who=nth, which=areas, page=pages, byte=bytes_)
    def writes(self, who: int, which: int, page: int, byte: int) -> None:
        process, held = self.chosen(who)
        area = held[which]
        if area is None:
            return
        counts = process._task.mm.faults
        before = (process.minor_faults, counts.cow, counts.reuse)
        process.write(ADDRESSES[which] + (page << self.shift), bytes([byte]))
        kind = area.write(page, byte)
        after = (process.minor_faults, counts.cow, counts.reuse)
        took = tuple(now - then for now, then in zip(after, before, strict=True))
        assert took == (int(kind != ""), int(kind == "copy"), int(kind == "reuse"))
        self.same()

    @rule(who=nth, which=areas, page=pages)
    def reads(self, who: int, which: int, page: int) -> None:
        process, held = self.chosen(who)
        area = held[which]
        if area is None:
            return
        before = process.minor_faults
        read = process.read(ADDRESSES[which] + (page << self.shift), 1)[0]
        assert (read, process.minor_faults - before) == area.read(page)
        self.same()

    @rule(who=nth, which=areas, page=pages)
    def drops(self, who: int, which: int, page: int) -> None:
        process, held = self.chosen(who)
        area = held[which]
        if area is None:
            return
        process.madvise(ADDRESSES[which] + (page << self.shift), 1 << self.shift, 4)
        area.drop(page)
        self.same()

    @rule(who=nth, which=areas, advice=st.sampled_from(sorted(ADVICE)))
    def advises(self, who: int, which: int, advice: str) -> None:
        process, held = self.chosen(who)
        area = held[which]
        number, needed = ADVICE[advice]
        if area is None or area.fork != needed:
            return
        process.madvise(ADDRESSES[which], PAGES << self.shift, number)
        area.fork = "copy" if advice.startswith("un") else advice
        self.same()

    @rule(who=nth, page=pages, byte=bytes_, write=st.booleans())
    def shares(self, who: int, page: int, byte: int, write: bool) -> None:
        process, _ = self.chosen(who)
        if write:
            process.write(COMMON + (page << self.shift), bytes([byte]))
            self.common[page] = byte
        assert process.read(COMMON + (page << self.shift), 1)[0] == self.common[page]
        self.same()


Families.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize="PAGEWALK_SEED" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
class TestFamilies(Families.TestCase):  # type: ignore[misc,name-defined]
    """CI's search: more than a thousand steps."""


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["x86_32", "x86_pae", "arm64", "arm64-16K", "arm64-64K", "riscv64", "riscv32"])
def test_families_on_other_architectures(arch: str) -> None:
    name, _, granule = arch.partition("-")
    machine = type(f"Families_{name}{granule}", (Families,), {"arch": name, "granule": granule or "4K"})
    few = settings(Families.TestCase.settings, max_examples=max(EXAMPLES // 8, 1))
    run_state_machine_as_test(machine, settings=few)


if "PAGEWALK_SEED" in os.environ:
    seed(int(os.environ["PAGEWALK_SEED"]))(Families.TestCase)
