"""The translation caches above the page tables of other architectures, against dictionaries: counts and entries equal,
runs of pages made one entry whatever an entry looks like, beside those that the table itself says are contiguous."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from table_rig import Tables
from test_tlb_twin import INTERPRETED, Pair, tlb_configs
from tlb import NaiveMmu

from pagewalk.arch import arm64, riscv64, x86_32, x86_64, x86_pae
from pagewalk.arch.format import PageFormat
from pagewalk.hw.mmu import Mmu
from pagewalk.hw.tlb_config import TlbArray, TlbConfig
from pagewalk.hw.walker import OK, READ
from pagewalk.mm.ram import Ram

FORMATS: dict[str, Callable[[], PageFormat]] = {
    "x86_32": x86_32.page_format,
    "x86_pae": x86_pae.page_format,
    "x86_64, 5 levels": lambda: x86_64.page_format(5),
    "arm64 4K": lambda: arm64.page_format(4096, 48),
    "arm64 4K, hardware marks": lambda: arm64.page_format(4096, 39, hw_accessed=True, hw_dirty=True),
    "arm64 4K, LPA2": lambda: arm64.page_format(4096, 52, 52),
    "arm64 16K": lambda: arm64.page_format(16384, 47),
    "arm64 64K": lambda: arm64.page_format(65536, 48, hw_accessed=True),
    "arm64 64K, LPA": lambda: arm64.page_format(65536, 52, 52),
    "riscv Sv32": lambda: riscv64.page_format("sv32"),
    "riscv Sv39": lambda: riscv64.page_format("sv39", hw_marks=True),
    "riscv Sv57": lambda: riscv64.page_format("sv57"),
}
PAGES = 40
SINGLE, RUNS, MARKED, LARGE = 0x1000_0000, 0x1800_0000, 0x2000_0000, 0x4000_0000
SPACES = 2


class FormatRig:
    """RAM with the tables of some address spaces, any format."""

    def __init__(self, fmt: PageFormat) -> None:
        self.fmt = fmt
        self.page = int(fmt.page_size)
        self.ram = Ram(1024 * self.page, int(fmt.entry_shift), int(fmt.page_shift))
        self.tables = [Tables(self.ram, fmt, root=1 + space, first_free=8 + 40 * space) for space in range(SPACES)]
        for space, tables in enumerate(self.tables):
            self.fill(tables, space)

    def bits(self, kind: int) -> int:
        """The bits of a leaf: a page that was written, one that is read, one that was not used yet, ..."""
        fmt = self.fmt
        flags = (11, 1, 11, 5, 11, 15)[kind % 6]  # of the protection map
        bits = fmt.accessed.set(fmt.protection_map[flags])
        if kind % 6 in (0, 5):
            bits = fmt.dirty.set(bits) & ~fmt.rdonly
        if kind % 6 == 4:
            bits = fmt.accessed.clear(bits)
        return int(fmt.global_.set(bits) if kind % 12 == 6 else bits)

    def fill(self, tables: Tables, space: int) -> None:
        """Single pages, runs, pages that the table says are contiguous, a large one, holes."""
        fmt, last = self.fmt, len(self.fmt.levels) - 1
        for at in range(PAGES):
            if at % 7 != 3:
                tables.map(SINGLE + at * self.page, tables.leaf(256 + 5 * at, self.bits(at)), last)
            if (at + space) % 11 != 10:
                tables.map(RUNS + at * self.page, tables.leaf(512 + at, self.bits(at // 8)), last)
        joined = 1 << fmt.levels[-1].contiguous_shift
        if joined > 1 and joined <= 128:
            for at in range(joined):
                frame = 768 + (joined // 2 if fmt.napot else at)
                bits = self.bits(0) | int(fmt.contiguous.value)
                tables.map(MARKED + at * self.page, tables.leaf(frame, bits), last)
        above = fmt.levels[-2]
        if above.can_leaf:
            bits = self.bits(0)
            if fmt.name.startswith("x86"):
                bits |= x86_64.PSE
            elif fmt.name.startswith("arm64"):
                bits &= ~arm64.TYPE
            tables.map(LARGE, tables.leaf(0, bits), last - 1)

    def replace(self, space: int, addr: int, entry: int) -> None:
        """Another leaf."""
        place = self.tables[space].place(addr, len(self.fmt.levels) - 1)
        assert place is not None
        self.tables[space].put(place, entry)


class FormatPair(Pair):
    """The fast one and the naive one, above two RAMs that are the same."""

    def __init__(self, config: TlbConfig, make: Callable[[], PageFormat], *, interpreted: bool = INTERPRETED) -> None:
        self.rigs: list[Any] = [FormatRig(make()), FormatRig(make())]
        self.roots = [[tables.root for tables in rig.tables] for rig in self.rigs]
        self.fast = Mmu(config, self.rigs[0].fmt, self.rigs[0].ram, interpreted=interpreted)
        self.naive = NaiveMmu(config, self.rigs[1].fmt, self.rigs[1].ram)
        self.config = config
        self.load(0)

    def image(self, which: int) -> bytes:
        rig = self.rigs[which]
        return bytes(rig.ram.bytes[: 100 * rig.page])

    def replace(self, at: int, kind: int, frame: int) -> None:
        """Another leaf among the runs, and the invalidation that it needs."""
        page = self.rigs[0].page
        addr = RUNS + at * page
        for rig in self.rigs:
            entry = 0 if kind == 0 else rig.tables[0].leaf(frame, rig.bits(kind))
            rig.replace(self.space, addr, entry)
        for mmu in (self.fast, self.naive):
            mmu.invalidate_pages(addr, addr + page - 1, self.space + 1)


def trace(fmt: PageFormat, seed: int, length: int) -> list[tuple[int, int]]:
    """Accesses to all that there is, and seldom to what is not."""
    rng = np.random.default_rng(seed)
    page = int(fmt.page_size)
    found = []
    for region, at, offset, kind in zip(
        rng.choice([SINGLE, RUNS, RUNS, MARKED, LARGE], length).tolist(), rng.integers(0, PAGES + 1, length).tolist(),
        rng.integers(0, page, length).tolist(), rng.choice([0, 0, 1, 2], length).tolist(), strict=True,
    ):  # fmt: skip
        found.append((region + at * page + offset, kind))
    return found + ([(-page, READ)] if seed % 5 == 0 else [])


def sizes_of(fmt: PageFormat) -> tuple[int, int, int]:
    """A small, a large and a larger page of the format."""
    sizes = [level.size for level in reversed(fmt.levels) if level.can_leaf]
    return sizes[0], sizes[min(1, len(sizes) - 1)], sizes[-1]


OPERATION = st.one_of(
    st.tuples(st.just("access"), st.integers(0, 1 << 30), st.sampled_from([5, 60, 300])),
    st.tuples(st.just("access"), st.integers(0, 1 << 30), st.sampled_from([60, 300])),
    st.tuples(st.just("replace"), st.integers(0, PAGES - 1), st.integers(0, 11), st.integers(500, 600)),
    st.tuples(st.just("load"), st.integers(0, SPACES - 1)),
    st.tuples(st.just("flush"), st.integers(0, 3)),
)


def run(config: TlbConfig, make: Callable[[], PageFormat], operations: list[tuple[Any, ...]], **how: bool) -> None:
    pair = FormatPair(config, make, **how)
    for name, *arguments in operations:
        if name == "access":
            pair.access(trace(pair.rigs[0].fmt, *arguments))
        elif name == "replace":
            pair.replace(*arguments)
        elif name == "load":
            pair.load(arguments[0])
        else:
            for mmu in (pair.fast, pair.naive):
                if arguments[0] < 2:
                    mmu.invalidate_asid(arguments[0] + 1)
                else:
                    mmu.invalidate_all(globals_too=arguments[0] == 3)
        pair.same()
        pair.entries_are_true()


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_counts_and_entries_equal_those_of_dictionaries(name: str, data: st.DataObject) -> None:
    make = FORMATS[name]
    config = data.draw(tlb_configs(sizes_of(make()), (1, 2, 4, 8, 16)))
    run(config, make, data.draw(st.lists(OPERATION, min_size=1, max_size=8)))


@pytest.mark.parametrize("interpreted", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_a_run_of_pages_is_one_entry_in_every_format(name: str, interpreted: bool) -> None:
    make = FORMATS[name]
    fmt = make()
    page = int(fmt.page_size)
    config = TlbConfig("one array", (TlbArray("l1", 1, "id", 1, 8, ()),), (), coalesce=4)
    pair = FormatPair(config, make, interpreted=interpreted or INTERPRETED)
    pair.access([(RUNS + at * page, READ) for at in range(8)])  # two runs of four, written before
    assert pair.fast.status == OK
    counts = pair.fast.counters()
    assert (counts.coalesced, counts.walks) == (2, 2)
    assert sorted((entry.addr, entry.size) for entry in pair.fast.entries()) == [
        (RUNS, 4 * page),
        (RUNS + 4 * page, 4 * page),
    ]
    pair.replace(5, 3, 517)  # same frame, another right: the second run is none any more
    pair.access([(RUNS + at * page, READ) for at in range(4, 8)])
    assert pair.fast.counters().coalesced == 2
    pair.same()


@pytest.mark.parametrize("name", [name for name in FORMATS if name.startswith(("arm64", "riscv Sv39", "riscv Sv57"))])
def test_what_the_table_says_is_contiguous_is_one_entry_without_being_compared(name: str) -> None:
    make = FORMATS[name]
    fmt = make()
    joined = int(fmt.page_size) << fmt.levels[-1].contiguous_shift
    config = TlbConfig("one array", (TlbArray("l1", 1, "id", 1, 8, ()),), (), coalesce=2)
    pair = FormatPair(config, make)
    pair.access([(MARKED + int(fmt.page_size), READ), (MARKED + joined - 1, READ)])
    assert [(entry.addr, entry.size) for entry in pair.fast.entries()] == [(MARKED, joined)]
    assert (pair.fast.counters().coalesced, pair.fast.counters().walks) == (0, 1)
    pair.same()
    pair.entries_are_true()
