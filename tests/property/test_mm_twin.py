"""Random calls on an address space do what the naive twin says, and break no invariant.

A failure prints the calls as ``state.name(...)`` lines: pasted into a script after ``state = AddressSpaceCalls()`` they
replay it. PAGEWALK_EXAMPLES and PAGEWALK_SEED search longer and elsewhere than CI does.
"""

import os
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from mm_driver import FILE_PAGES, Pair

EXAMPLES = int(os.environ.get("PAGEWALK_EXAMPLES", "60"))
STEPS = 50  # times EXAMPLES: at least 2000 steps in CI
ARENA = 0x2000001D0  # the arena lies across a 2 MiB line
ADVICE = (
    "normal random sequential willneed dontneed dontneed free remove dontfork dofork mergeable unmergeable hugepage"
    " nohugepage dontdump dodump wipeonfork keeponfork cold populate_read populate_write dontneed_locked guard_install"
    " guard_remove"
).split()

pages = st.integers(0, 95).map(lambda page: ARENA + page)
lengths = st.one_of(st.integers(1, 6), st.integers(0, 40))
prots = st.sampled_from([3, 3, 3, 1, 1, 0, 2, 5, 7])
nth = st.integers(0, 1000)


class AddressSpaceCalls(RuleBasedStateMachine):
    """The calls, at addresses that are likely to matter."""

    setting: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(**self.setting)
        huge = self.pair.twin.huge
        self.arena = (ARENA >> self.pair.shift - 12 & -huge) + huge - (-ARENA % 512)

    def teardown(self) -> None:
        self.pair.close()

    def near(self, which: int, page: int) -> int:
        """An address in or near a mapping that exists, or in the arena."""
        runs = self.pair.twin.vmas()
        if not runs or which % 4 == 0:
            return self.here(page)
        start, end, _ = runs[which % len(runs)]
        return max(16, start - 1 + page % (end - start + 2))

    def here(self, page: int) -> int:
        """A page of the arena where this machine has it."""
        return page - ARENA + self.arena

    def kept_small(self) -> bool:
        """Whether there is room for more: the machine's RAM is small, and the twin is slow."""
        return len(self.pair.twin.pages) < 1500

    @rule(
        page=pages, length=lengths, prot=prots, kind=st.sampled_from(["", "", "", "shared", "file", "memory"]),
        shared=st.booleans(), off=st.integers(0, FILE_PAGES),
        how=st.sampled_from(["fixed", "fixed", "hint", "new", "no"]),
        mark=st.sampled_from(["", "", "", "gd", "lo", "nr", "nh"]), populate=st.booleans(),
    )  # fmt: skip
    def mmap(
        self, page: int, length: int, prot: int, kind: str, shared: bool, off: int, how: str, mark: str, populate: bool
    ) -> None:
        if not self.kept_small():
            return
        self.pair.mmap(
            0 if how == "new" else self.here(page),
            length,
            prot,
            shared=kind == "shared" or (shared and kind != ""),
            file={"file": 0, "memory": 1}.get(kind, -1),
            off=off if kind in ("file", "memory") else 0,
            fixed=how == "fixed",
            noreplace=how == "no",
            marks=(mark,) if mark else (),
            populate=populate,
        )

    @rule(prot=prots, shared=st.booleans(), size=st.sampled_from([512, 1024, 511, 513]))
    def mmap_large(self, prot: int, shared: bool, size: int) -> None:
        if self.kept_small():
            self.pair.mmap(0, size, prot, shared=shared)

    @rule(which=nth, page=pages, length=lengths)
    def munmap(self, which: int, page: int, length: int) -> None:
        self.pair.munmap(self.near(which, page), length)

    @rule(which=nth)
    def munmap_all_of_one(self, which: int) -> None:
        runs = self.pair.twin.vmas()
        if runs:
            start, end, _ = runs[which % len(runs)]
            self.pair.munmap(start, end - start)

    @rule(which=nth, page=pages, length=lengths, prot=prots)
    def mprotect(self, which: int, page: int, length: int, prot: int) -> None:
        self.pair.mprotect(self.near(which, page), length, prot)

    @rule(
        which=nth, page=pages, old=lengths, new=lengths, to=pages, maymove=st.booleans(),
        how=st.sampled_from(["", "", "fixed", "fixed", "keep", "keep fixed"]), same=st.booleans(), whole=st.booleans(),
    )  # fmt: skip
    def mremap(
        self, which: int, page: int, old: int, new: int, to: int, maymove: bool, how: str, same: bool, whole: bool
    ) -> None:
        if not self.kept_small():
            return
        addr = self.near(which, page)
        if whole and addr in self.pair.twin.pages:
            end = self.pair.twin.vma_of(addr)[1]
            old = min(end - addr, 64)
        fixed = self.here(to) if "fixed" in how else -1
        self.pair.mremap(addr, old, old if same else new, maymove or bool(how), fixed, "keep" in how)

    @rule(size=st.integers(-3, 20))
    def brk(self, size: int) -> None:
        self.pair.brk(self.pair.start_brk + size)

    @rule(which=nth, page=pages, length=lengths, advice=st.sampled_from(ADVICE))
    def madvise(self, which: int, page: int, length: int, advice: str) -> None:
        addr = self.near(which, page)
        if advice == "remove" and any(
            self.pair.twin.pages[at].obj is self.pair.objects[0]
            for at in range(addr, addr + length)
            if at in self.pair.twin.pages
        ):
            return  # whether a disk file can have holes is its file system's business
        self.pair.madvise(addr, length, advice)

    @rule(which=nth, advice=st.sampled_from(ADVICE))
    def madvise_all_of_one(self, which: int, advice: str) -> None:
        runs = self.pair.twin.vmas()
        if runs and advice != "remove":
            start, end, _ = runs[which % len(runs)]
            self.pair.madvise(start, end - start, advice)

    @rule(which=nth, page=pages, length=lengths, onfault=st.booleans())
    def mlock(self, which: int, page: int, length: int, onfault: bool) -> None:
        self.pair.mlock(self.near(which, page), max(length, 1), onfault)

    @rule(which=nth, page=pages, length=lengths)
    def munlock(self, which: int, page: int, length: int) -> None:
        self.pair.munlock(self.near(which, page), max(length, 1))

    @rule(which=nth, page=pages, length=lengths)
    def msync(self, which: int, page: int, length: int) -> None:
        self.pair.msync(self.near(which, page), length)

    @rule(file=st.integers(0, 1), size=st.integers(0, FILE_PAGES))
    def truncate(self, file: int, size: int) -> None:
        self.pair.truncate(file, size)

    @rule(which=nth, page=pages, byte=st.integers(1, 255), count=st.integers(1, 6))
    def write(self, which: int, page: int, byte: int, count: int) -> None:
        addr = self.near(which, page)
        for at in range(addr, addr + count):
            self.pair.access(at, write=True, byte=byte)

    @rule(which=nth, page=pages, count=st.integers(1, 6))
    def read(self, which: int, page: int, count: int) -> None:
        addr = self.near(which, page)
        for at in range(addr, addr + count):
            self.pair.access(at, write=False)


AddressSpaceCalls.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize="PAGEWALK_SEED" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
class TestAddressSpaceCalls(AddressSpaceCalls.TestCase):  # type: ignore[misc,name-defined]
    """CI's search."""


@pytest.mark.slow
@pytest.mark.parametrize("granule", ["16K", "64K"])
def test_calls_on_machines_with_larger_pages(granule: str) -> None:
    larger = {"arch": "arm64", "granule": granule, "ram": "512M"}
    calls = type(f"AddressSpaceCalls{granule}", (AddressSpaceCalls,), {"setting": larger})
    few = settings(AddressSpaceCalls.TestCase.settings, max_examples=max(EXAMPLES // 12, 1))
    run_state_machine_as_test(calls, settings=few)


if "PAGEWALK_SEED" in os.environ:
    seed(int(os.environ["PAGEWALK_SEED"]))(AddressSpaceCalls.TestCase)
