"""The translation caches against dictionaries: every count and every entry equal, for any geometry and policy; and no
entry says anything but what the page table says."""

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig
from tlb import NaiveMmu

from pagewalk.arch.x86_64 import ACCESSED, DIRTY, GLOBAL, NX, PRESENT, PSE, RW, USER
from pagewalk.hw import loop
from pagewalk.hw.ahead import looking_ahead
from pagewalk.hw.mmu import Accesses, Entry, Mmu
from pagewalk.hw.tlb_config import Policy, TlbArray, TlbConfig, WalkCache
from pagewalk.hw.tlb_presets import PRESETS, preset
from pagewalk.hw.walker import OK, PEEK, RIGHT_WRITE, walk

INTERPRETED = bool(os.environ.get("PAGEWALK_INTERPRETED"))
BASE = 0x55_4000_0000
REGIONS = (BASE, BASE + (2 << 20), BASE + (1 << 30), BASE + (7 << 39), -(1 << 40))
PAGES = 24
K4, K16, M2, G1 = 4096, 16384, 2 << 20, 1 << 30


def count_touch(words: Any, ways: int, way: int, fill: int) -> None:
    """Least frequently used, and a hand that goes round."""
    if fill == 1:
        words[way] = 0
    words[way] += 1


def count_victim(words: Any, ways: int) -> int:
    best = 0
    for way in range(1, ways):
        if words[way] < words[best]:
            best = way
    words[ways] += 1
    return best if words[ways] % 3 != 0 else words[ways] % ways


LFU = Policy("lfu", count_touch, count_victim, 9)
POLICY = st.sampled_from(["lru", "plru", "fifo", "random", LFU])


def size_sets(small: int, large: int, largest: int) -> list[tuple[int, ...]]:
    """What arrays may hold: () for all."""
    sets = [(), (small,), (small, large), (large,), (largest,), (large, largest), (small, large, largest)]
    return [tuple(dict.fromkeys(sizes)) for sizes in sets]


@st.composite
def tlb_configs(
    draw: Any, sizes: tuple[int, int, int] = (K4, M2, G1), coalesce: tuple[int, ...] = (1, 1, 2, 4)
) -> TlbConfig:
    def array(name: str, level: int, serves: str) -> TlbArray:
        return TlbArray(
            name, level, serves, draw(st.integers(1, 5)), draw(st.integers(1, 7)),
            draw(st.sampled_from(size_sets(*sizes))), draw(POLICY),
            fragments=draw(st.booleans()), coalesced=draw(st.booleans()),
        )  # fmt: skip

    sides = {"d": "d", "i": "i", "u": "id"}
    first = draw(st.sampled_from(["di", "u", "u", "d", "", "diu", "iu", "udi", "ud", "ddi"]))
    shapes = [array(f"l1{side}.{number}", 1, sides[side]) for number, side in enumerate(first)]
    for level in range(2, 2 + draw(st.integers(0, 2))):
        for number in range(draw(st.integers(1, 3))):
            shapes.append(array(f"l{level}.{number}", level, draw(st.sampled_from(["id", "id", "d", "i"]))))
    levels = st.lists(st.sampled_from(["pgd", "pud", "pmd"]), min_size=1, max_size=3, unique=True)
    caches = [
        WalkCache(f"w{number}", tuple(draw(levels)), draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(POLICY))
        for number in range(draw(st.integers(0, 3)))
    ]
    return TlbConfig(
        "drawn", tuple(shapes), tuple(caches), globals_=draw(st.booleans()),
        marks=draw(st.sampled_from(["format", "hardware", "fault"])), coalesce=draw(st.sampled_from(coalesce)),
        prefetch=draw(st.booleans()), fault_drops=draw(st.booleans()), flush_walks=draw(st.booleans()),
        seed=draw(st.integers(0, 100)),
    )  # fmt: skip


ADDRESS = st.builds(
    lambda region, page, offset: REGIONS[region] + page * 4096 + offset,
    st.integers(0, len(REGIONS) - 1), st.integers(0, PAGES - 1), st.integers(0, 4095),
)  # fmt: skip
WILD = (1 << 47, 1 << 59, -(1 << 58), 0)


def accesses(seed: int, spread: int, length: int) -> list[tuple[int, ...]]:
    """Accesses to ``spread`` pages, often to one of those used last, seldom to an address that is none; some reach into
    the next page, in one case of three many."""
    rng = np.random.default_rng(seed)
    pages = [
        int(REGIONS[region]) + int(page) * 4096
        for region, page in zip(rng.integers(0, len(REGIONS), spread), rng.integers(0, PAGES, spread), strict=True)
    ]
    found: list[tuple[int, ...]] = []
    sizes = rng.choice([1, 8, 8, 8, 64 if seed % 3 else 4000], length).tolist()
    kinds = [0, 0, 0, 1, 2] if seed % 5 else [0, 0, 0, 1]
    for choice, pick, kind, size in zip(rng.integers(0, 64, length), rng.integers(0, 1 << 30, length),
                                        rng.choice(kinds, length), sizes, strict=True):  # fmt: skip
        if choice == 0:
            found.append((WILD[pick % len(WILD)], int(kind), size))
        elif choice < 32 and found:
            found.append((found[-1 - pick % min(3, len(found))][0], int(kind), size))
        else:
            found.append((pages[pick % spread] + int(pick) % 4096, int(kind), size))
    return found


ACCESSES = st.builds(accesses, st.integers(0, 1 << 30), st.sampled_from([2, 4, 8, 16, 48]),
                     st.sampled_from([1, 5, 40, 300]))  # fmt: skip
LEAF = st.sampled_from([0, 0, ACCESSED, ACCESSED | DIRTY, ACCESSED | DIRTY, GLOBAL | ACCESSED | DIRTY, NX, PRESENT])
OPERATION = st.one_of(
    st.tuples(st.just("access"), ACCESSES),
    st.tuples(st.just("access"), ACCESSES),
    st.tuples(st.just("change"), ADDRESS, LEAF, st.booleans()),
    st.tuples(st.just("pages"), ADDRESS, st.sampled_from([0, 4096, 20_000, 3 << 20])),
    st.tuples(st.just("asid"), st.integers(1, 3)),
    st.tuples(st.just("all"), st.booleans()),
    st.tuples(st.just("load"), st.integers(0, 2)),
)


class Pair:
    """The fast one and the naive one, above two RAMs that are the same.

    passed    writes and fetches so far, ``crossing`` accesses that reached into the next page
    """

    passed = np.zeros(2, dtype=np.int64)
    crossing = 0

    def __init__(self, config: TlbConfig, *, interpreted: bool = INTERPRETED) -> None:
        self.rigs = [Rig(size=4 << 20), Rig(size=4 << 20)]
        self.roots = [[make_tables(rig, space) for space in range(3)] for rig in self.rigs]
        self.fast = Mmu(config, self.rigs[0].fmt, self.rigs[0].ram, interpreted=interpreted)
        self.naive = NaiveMmu(config, self.rigs[1].fmt, self.rigs[1].ram)
        self.config = config
        self.load(0)

    def load(self, space: int) -> None:
        self.space = space
        self.fast.load(self.roots[0][space], space + 1)
        self.naive.load(self.roots[1][space], space + 1)

    def access(self, accesses: list[tuple[int, ...]]) -> None:
        """(address, kind), or (address, kind, size): two accesses where it reaches into the next page."""
        sizes = [more[0] if more else 1 for _, _, *more in accesses]
        addrs, kinds = np.array([each[:2] for each in accesses], dtype=np.int64).T.copy()
        batch = Accesses(addrs, kinds.astype(np.uint8), np.array(sizes, dtype=np.uint16))
        refused = {}
        for number, ((addr, kind, *_), size) in enumerate(zip(accesses, sizes, strict=True)):
            for half, part in enumerate(dict.fromkeys((addr, max(addr, addr + size - 1 & -4096)))):
                status = self.naive.access(part, kind)
                self.crossing += half
                if status != OK:
                    refused[number, bool(half)] = (part, status)
        found = {}
        at = self.fast.replay(batch)
        while self.fast.status != OK:
            found[at, self.fast.in_second_page] = (self.fast.fault[0], self.fast.status)
            assert self.fast.fault[1] == kinds[at]
            self.fast.leave_out()
            at = self.fast.go_on()
        assert at == len(batch)
        assert found == refused
        self.passed = self.passed + np.bincount(batch.kinds, minlength=3)[1:]
        assert self.fast.passed == (*self.passed, self.crossing)

    def change(self, addr: int, bits: int) -> None:
        """Another leaf, and the invalidation that it needs."""
        for rig, roots in zip(self.rigs, self.roots, strict=True):
            rig.mm.pgd_pfn = roots[self.space]
            index = rig.entry_index(addr)
            rig.ram.words[index] = 0 if bits == 0 else (rig.ram.words[index] ^ bits ^ RW) | (100 << 12) | USER
        page = addr & -4096
        self.fast.invalidate_pages(page, page + 4095, self.space + 1)
        self.naive.invalidate_pages(page, page + 4095, self.space + 1)

    def same(self) -> None:
        counts, naive = self.fast.counters(), self.naive.counts
        for side, found in enumerate((counts.data, counts.fetch)):
            assert found.hits == [naive.hits.get((side, level), 0) for level in range(len(found.hits))]
            assert found.misses == naive.misses[side]
        for name in ("refused", "walks", "faults", "coalesced", "prefetches", "prefetch_references", "flushed"):
            assert getattr(counts, name) == getattr(naive, name), name
        for name in ("references", "walk_hits"):
            assert {k: v for k, v in getattr(counts, name).items() if v} == getattr(naive, name), name
        arrays = {**self.naive.arrays, **self.naive.walks}
        assert counts.fills == {name: array.fills for name, array in arrays.items()}
        assert counts.evictions == {name: array.evictions for name, array in arrays.items()}
        held = {
            (name, entry.asid, entry.number << entry.shift, 1 << entry.shift, entry.level,
             *((entry.pfn, entry.rights) if entry.level < 0 else (entry.pfn,)))
            for name, array in arrays.items() for ways in array.sets for entry in ways.ways.values()
        }  # fmt: skip
        assert {key(entry) for entry in self.fast.entries()} == held
        assert self.image(0) == self.image(1)

    def image(self, which: int) -> bytes:
        """What the marks were set in."""
        return bytes(self.rigs[which].ram.bytes)

    def entries_are_true(self) -> None:
        """Each entry of the loaded address space equals the page table."""
        rig, roots = self.rigs[0], self.roots[0]
        for entry in self.fast.entries():
            if entry.asid == 0 or entry.asid != self.space + 1:
                continue
            walked = walk(rig.ram, rig.fmt, roots[entry.asid - 1], entry.addr, PEEK)
            if entry.level >= 0:
                step = walked.steps[entry.level]
                assert entry.pfn == rig.fmt.pfn(step.entry)
                continue
            assert walked.pfn == entry.pfn, f"{entry}: the page table says frame {walked.pfn:#x}"
            dirty = rig.fmt.hw_dirty_bits.test(walked.steps[-1].entry)
            rights = walked.rights if dirty else walked.rights & ~RIGHT_WRITE
            assert entry.rights & ~rights == 0, f"{entry}: the page table grants {rights:03b}"


def key(entry: Entry) -> tuple[Any, ...]:
    shown = (entry.pfn, entry.rights) if entry.level < 0 else (entry.pfn,)
    return (entry.array, entry.asid, entry.addr, entry.size, entry.level, *shown)


def make_tables(rig: Rig, space: int) -> int:
    """An address space with runs of pages, single ones, holes, huge pages, global ones in the upper half."""
    rig.mm.pgd_pfn = rig.frame()
    for page in range(PAGES):
        for region, base in ((0, REGIONS[0]), (3, REGIONS[3])):
            if (page + space) % 7 != 3:
                frame = 256 + page + 32 * region if page % 12 < 8 else 300 + page * 5
                rig.ram.words[rig.entry_index(base + page * 4096)] = (
                    frame << 12 | PRESENT | USER | (RW if page % 12 else 0) | (NX if page % 5 == 2 else 0)
                )
        rig.ram.words[rig.entry_index(REGIONS[4] + page * 4096)] = (
            (700 + page) << 12 | PRESENT | USER | RW | ACCESSED | DIRTY | (GLOBAL if page % 3 else 0)
        )
    rig.ram.words[rig.entry_index(REGIONS[1], 21)] = 1 << 21 | PRESENT | USER | RW | PSE
    rig.ram.words[rig.entry_index(REGIONS[2], 30)] = PRESENT | USER | RW | PSE | ACCESSED | DIRTY
    return rig.mm.pgd_pfn


def run(config: TlbConfig, operations: list[tuple[Any, ...]], *, interpreted: bool = INTERPRETED) -> None:
    pair = Pair(config, interpreted=interpreted)
    for name, *arguments in operations:
        if name == "access":
            pair.access(*arguments)
        elif name == "change":
            addr, bits, _ = arguments
            if addr not in range(REGIONS[1], REGIONS[1] + (2 << 20)) and addr not in range(*huge()):
                pair.change(addr, bits)
        elif name == "pages":
            for mmu in (pair.fast, pair.naive):
                mmu.invalidate_pages(arguments[0], arguments[0] + arguments[1], pair.space + 1)
        elif name == "asid":
            for mmu in (pair.fast, pair.naive):
                mmu.invalidate_asid(arguments[0])
        elif name == "all":
            for mmu in (pair.fast, pair.naive):
                mmu.invalidate_all(globals_too=arguments[0])
        else:
            pair.load(arguments[0])
        pair.same()
        pair.entries_are_true()


def huge() -> tuple[int, int]:
    return REGIONS[2], REGIONS[2] + G1


@settings(max_examples=300, deadline=None)
@given(tlb_configs(), st.lists(OPERATION, min_size=1, max_size=12))
def test_counts_and_entries_equal_those_of_dictionaries(config: TlbConfig, operations: list[tuple[Any, ...]]) -> None:
    run(config, operations)


@pytest.mark.skipif(INTERPRETED, reason="PAGEWALK_INTERPRETED is set: the test above did it")
@settings(max_examples=20, deadline=None)
@given(tlb_configs(), st.lists(OPERATION, min_size=1, max_size=8))
def test_the_interpreted_engine_equals_it_too(config: TlbConfig, operations: list[tuple[Any, ...]]) -> None:
    run(config, operations, interpreted=True)


@pytest.mark.parametrize("policy", ["lru", "fifo", "plru"])
@pytest.mark.parametrize("ways", [1, 2])
def test_a_prefetch_into_the_first_level_may_take_the_slot_of_the_page_just_used(policy: str, ways: int) -> None:
    array = TlbArray("l1u", 1, "id", 1, ways, (), policy)
    page = REGIONS[4]  # its pages are marked Accessed: a prefetch takes them
    accesses = [(page + 4096 * number, 0) for number in (0, 0, 0, 2, 2, 0, 1, 1, 3, 3, 0, 0)]
    run(TlbConfig("one set", (array,), (), prefetch=True), [("access", accesses)])


@pytest.mark.parametrize("first", ["ud", "du", "udi", "uu", "ddu", "d", "i", ""])
@pytest.mark.parametrize("second", [(), ("id", "d"), ("d", "id"), ("i", "id"), ("d", "i", "id")], ids="-".join)
def test_a_page_that_data_and_instructions_bring_to_different_arrays_of_a_level(
    first: str, second: tuple[str, ...]
) -> None:
    serves = {"d": "d", "i": "i", "u": "id"}
    arrays = [TlbArray(f"l1.{number}", 1, serves[side], 1, 1 + 2 * number) for number, side in enumerate(first)]
    arrays += [TlbArray(f"l2.{number}", 2, sides, 2, 2) for number, sides in enumerate(second)]
    config = TlbConfig("shared", tuple(arrays), (WalkCache("w", ("pmd",), 1, 4), WalkCache("v", ("pud",), 1, 4)))
    run(config, [("access", accesses(seed, spread, 300)) for seed in range(4) for spread in (4, 8, 16)])


def test_a_whole_page_comes_to_an_array_that_is_asked_before_the_one_with_its_piece() -> None:
    arrays = (
        TlbArray("l1.large", 1, "id", 1, 1, (M2, G1)),
        TlbArray("l1.small", 1, "id", 1, 2, (K4,)),
        TlbArray("l2", 2, "id", 1, 3, (K4,), fragments=True),
    )
    page, other_page_of_it, huge_page, small, smaller = (
        REGIONS[1], REGIONS[1] + 8192, REGIONS[2], REGIONS[0] + 4096, REGIONS[0] + 16384
    )  # fmt: skip
    order = (page, huge_page, page, small, other_page_of_it, page, page, smaller)
    run(TlbConfig("pieces", arrays), [("access", [(addr, 0) for addr in order])])


@pytest.mark.parametrize("serves", [("id", "d"), ("d", "id"), ("i", "id"), ("id", "id")], ids="-".join)
def test_levels_that_replace_at_random_draw_their_numbers_in_turn(serves: tuple[str, str]) -> None:
    arrays = [TlbArray(f"l{1 + n}", 1 + n, sides, 2, 1 + n, policy="random") for n, sides in enumerate(serves)]
    config = TlbConfig("random", tuple(arrays), (WalkCache("w", ("pmd", "pud"), 1, 8, "random"),))
    run(config, [("access", accesses(seed, spread, 300)) for seed in range(3) for spread in (8, 16, 48)])


ONE_LEVEL = TlbConfig("one level", (TlbArray("l1u", 1, "id", 3, 5, (K4,), "fifo"),), (WalkCache("w", ("pmd",), 1, 3),))


@pytest.mark.skipif(INTERPRETED, reason="PAGEWALK_INTERPRETED is set: nothing is specialised")
@pytest.mark.parametrize("config", [preset("skylake-sp"), preset("cortex-a53"), ONE_LEVEL], ids=lambda one: one.name)
def test_code_for_one_geometry_counts_as_dictionaries_do(config: TlbConfig) -> None:
    rng = np.random.default_rng(1)
    pair = Pair(config)
    assert pair.fast.specialise()
    for number in range(12):
        pair.load(number % 3)
        pair.access(accesses(int(rng.integers(1 << 30)), 48, 600))
        pair.same()
        pair.entries_are_true()
        page = int(rng.choice(REGIONS)) + 4096 * int(rng.integers(PAGES))
        for mmu in (pair.fast, pair.naive):
            mmu.invalidate_pages(page, page + 3 * 4096, pair.space + 1)


def two_levels(policy: str | Policy) -> TlbConfig:
    """Of PAGES pages the first level answers about one access in three, the second one about as many."""
    first = TlbArray("l1d", 1, "d", 2, 3, (K4,), policy)
    fetched = TlbArray("l1i", 1, "i", 2, 2, (K4,), policy)
    second = TlbArray("l2", 2, "id", 3, 4, (K4,), policy)
    return TlbConfig("two levels", (first, fetched, second), (WalkCache("w", ("pmd",), 1, 1),))


@pytest.mark.parametrize("how", ["interpreted", "compiled", "specialised"])
@pytest.mark.parametrize("policy", ["lru", "fifo", "plru", "random", LFU], ids=lambda one: getattr(one, "name", one))
def test_looking_ahead_counts_as_dictionaries_do(
    policy: str | Policy, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if INTERPRETED and how != "interpreted":
        pytest.skip("PAGEWALK_INTERPRETED is set: nothing is compiled")
    ahead = []
    monkeypatch.setattr(loop, "looking_ahead", lambda *args: ahead.append(args[-2:]) or looking_ahead(*args))
    pair = Pair(two_levels(policy), interpreted=how == "interpreted")
    if how == "specialised":
        assert pair.fast.specialise() == (policy != "random")
    rng = np.random.default_rng(1)
    for number in range(6):
        pair.load(number % 2)
        pages = np.array(REGIONS)[3 * rng.integers(0, 2, 500)] + rng.integers(0, PAGES, 500) ** 2 // PAGES * 4096
        pair.access([(int(page), int(kind)) for page, kind in zip(pages, rng.choice([0, 0, 1], 500), strict=True)])
        pair.same()
        pair.entries_are_true()
        page = REGIONS[0] + 4096 * int(rng.integers(PAGES))
        for mmu in (pair.fast, pair.naive):
            mmu.invalidate_pages(page, page + 3 * 4096, pair.space + 1)
    if how == "interpreted" and policy != "random":
        assert sum(stop - start for start, stop in ahead) > 1000


@pytest.mark.parametrize("name", ["none", "icelake-sp", "u74"])
def test_where_there_is_no_code_for_one_geometry_nothing_changes(name: str) -> None:
    pair = Pair(preset(name))
    specialised = pair.fast.specialise()
    assert specialised == (name == "u74" and not INTERPRETED)
    pair.access([(BASE, 0), (BASE, 1), (BASE + 4096, 2)] * 3)
    pair.same()


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_count_as_dictionaries_do_on_a_long_random_trace(name: str) -> None:
    rng = np.random.default_rng(len(name))
    pair = Pair(preset(name))
    for _ in range(4):
        picked = rng.integers(0, len(REGIONS), 400)
        addrs = (
            np.array(REGIONS)[picked] + (rng.integers(0, PAGES, 400) ** 2 // PAGES) * 4096 + rng.integers(0, 64, 400)
        )
        pair.access(list(zip(addrs.tolist(), rng.integers(0, 3, 400).tolist(), strict=True)))
        pair.same()
        pair.entries_are_true()
