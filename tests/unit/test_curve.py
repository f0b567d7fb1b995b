"""Miss curves: equal to what the TLB engine counts size by size; edges; samples and what they say of their error."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pagewalk import Config
from pagewalk.errors import ConfigError
from pagewalk.hw.jit import cache_folder
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.lab import Curve, CurveRun, Curves, miss_curves
from pagewalk.lab import stack_code as code
from pagewalk.lab.shards import Shards, bucket_edges
from pagewalk.lab.stack import LIMIT, Stacks
from pagewalk.lab.stack_changes import CLASS_BITS, stack_functions
from pagewalk.trace.events import Event, Fork, Mmap, Munmap
from pagewalk.trace.format import FETCH, READ, WRITE, Batch
from pagewalk.trace.replay import replay

A = 0x10_0000_0000
PAGE = 4096
PAGES = 319
CODE = 160  # the first page that is executed; those below are written, so that none is copied on write


def mmap(task: int) -> Mmap:
    return Mmap(task=task, addr=A, length=(PAGES + 1) * PAGE, prot=7, flags=0x22)


def program(tasks: int, cpus: int = 1, seed: int = 1, *, unmaps: bool = True) -> list[Batch]:
    """Writes to some pages of several address spaces and fetches from others, with a page mapped anew now and then.

    A task unmaps while it runs, and on one CPU: elsewhere Linux empties the whole address space, later.
    """
    rng = np.random.default_rng(seed)
    length = 20_000
    near = rng.integers(0, 40, length)
    far = np.minimum(rng.zipf(1.3, length), PAGES - 2)
    page = np.where(rng.random(length) < 0.6, near, far)
    page = np.where(rng.random(length) < 0.4, page // 2 + CODE, np.minimum(page, CODE - 2))
    kind = np.where(page >= CODE, FETCH, WRITE)
    addrs = A + page * PAGE + rng.integers(0, PAGE, length)
    runs = np.sort(rng.integers(0, 200, length))
    task = rng.integers(1, tasks + 1, 200)[runs]
    cpu = task % cpus if unmaps else rng.integers(0, cpus, 200)[runs]
    events: list[tuple[int, Event]] = [(0, mmap(number)) for number in range(1, tasks + 1)]
    for at in sorted(rng.integers(1, length, 30 * unmaps).tolist()):
        number, who = int(rng.choice([0, CODE]) + rng.integers(0, 40)), int(task[at])
        gone = Munmap(task=who, addr=A + number * PAGE, length=PAGE)
        events += [(at, gone), (at, Mmap(task=who, addr=gone.addr, length=PAGE, prot=7, flags=0x22))]
    return [Batch.of(addrs, kind, rng.choice([1, 8, 64], length), task, cpu, events)]


class Told:
    """A trace as a source of batches with information."""

    def __init__(self, batches: list[Batch]) -> None:
        from pagewalk.trace.format import TraceInfo

        self.info, self.skipped, self.batches = TraceInfo(has_events=True), 0, batches

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def engine(batches: list[Batch], tlb: str, side: str) -> int:
    """Misses of the TLB engine: those that end in a page fault are looked up once more, and count once."""
    counters = replay(batches, parse_tlb(tlb), Config(ram="256M", aslr=False)).counters
    misses = {"data": counters.data.misses, "fetch": counters.fetch.misses}
    return (sum(misses.values()) if side == "both" else misses[side]) - counters.faults


@pytest.mark.parametrize(
    ("tasks", "cpus", "asid", "unmaps"),
    [(1, 1, True, True), (3, 1, True, True), (3, 1, False, True), (3, 2, True, True), (4, 3, True, False)],
)
def test_the_tlb_engine_misses_what_the_curve_says(tasks: int, cpus: int, asid: bool, unmaps: bool) -> None:
    batches = program(tasks, cpus, unmaps=unmaps)
    curves = miss_curves(Told(batches), "tlb", page_sizes=("4K",), sets=(8, 5), side="both", asid=asid)
    switch = f"asid={'on' if asid else 'off'}"
    for entries in (1, 4, 12, 13, 31, 64, 200):
        assert curves.of("4K").misses(entries) == engine(batches, f"l1={entries},{switch}", "both"), entries
    for sets, ways in ((8, 1), (8, 3), (8, 12), (5, 2), (5, 20)):
        assert curves.of("4K", sets).misses(ways) == engine(batches, f"l1={sets * ways}x{ways},{switch}", "both")


@pytest.mark.parametrize("size", ["16K", "64K"])
def test_a_machine_of_larger_pages_misses_what_their_curve_says(size: str) -> None:
    batches = program(3, unmaps=False)
    curves = miss_curves(Told(batches), "tlb", side="both", sets=(4,))
    config = Config(ram="256M", aslr=False, arch="arm64", granule=size)
    for sets, entries in ((1, 1), (1, 3), (1, 8), (1, 14), (1, 30), (4, 4), (4, 8), (4, 20)):
        report = replay(batches, parse_tlb(f"l1={entries}x{entries // sets}"), config)
        assert report.refused == 0
        misses = report.counters.misses - report.counters.faults
        assert curves.of(size, sets).misses(entries // sets) == misses, (sets, entries)


def test_the_sides_of_a_split_tlb_have_a_curve_each() -> None:
    batches = program(2)
    for side in ("data", "fetch"):
        curve = miss_curves(Told(batches), "tlb", page_sizes=("4K",), side=side).of("4K")
        for entries in (2, 16, 50):
            tlb = parse_tlb(f"l1d={entries},l1i={entries}")
            counters = replay(batches, tlb, Config(ram="256M", aslr=False)).counters
            found = counters.data if side == "data" else counters.fetch
            assert curve.misses(entries) == found.misses - faults(batches, side)
            assert curve.lookups == found.lookups - faults(batches, side)


def faults(batches: list[Batch], side: str) -> int:
    """Page faults of a side: first touches of pages, by task, since the page was mapped."""
    touched: set[tuple[int, int]] = set()
    count = 0
    for batch in batches:
        events = list(batch.events)
        for at in range(len(batch)):
            while events and events[0][0] <= at:
                event = events.pop(0)[1]
                if isinstance(event, Munmap):
                    touched.discard((event.task, event.addr // PAGE))
            first, last = int(batch.addr[at]), int(batch.addr[at]) + int(batch.size[at]) - 1
            for page in range(first // PAGE, last // PAGE + 1):
                key = (int(batch.task[at]), page)
                if key not in touched:
                    touched.add(key)
                    count += (int(batch.kind[at]) == FETCH) == (side == "fetch")
    return count


# --- edges -----------------------------------------------------------------------------------------------------------


def test_nothing_and_one_page() -> None:
    for what in ("tlb", "ram"):
        for batches in ([], [Batch.of(np.empty(0, np.int64))]):
            curve = miss_curves(batches, what).of("4K")
            assert (curve.lookups, curve.misses(0), curve.misses(1), curve.ratio(1), curve.largest) == (0, 0, 0, 0.0, 1)
        curve = miss_curves([Batch.of([A] * 10), Batch.of([A + 5])], what).of("2M")
        assert (curve.lookups, curve.cold, curve.misses(0), curve.misses(1), curve.misses(99)) == (11, 1, 11, 1, 1)


def test_an_access_that_reaches_into_other_pages_looks_them_up_too() -> None:
    curves = miss_curves([Batch.of([A + 4090, A - 1], READ, [8, 65535])], page_sizes=("4K", "16K", "64K"))
    assert [curves.of(size).lookups for size in ("4K", "16K", "64K")] == [2 + 17, 1 + 5, 1 + 2]
    assert [curves.of(size).cold for size in ("4K", "16K", "64K")] == [17, 5, 2]


def test_addresses_at_the_ends_of_the_word_are_pages_like_others() -> None:
    ends = [-(1 << 63), (1 << 63) - 1, -1, 0]
    curve = miss_curves([Batch.of(ends * 2, READ, 65535)], page_sizes=("4K",)).of("4K")
    assert curve.misses(1 << 20) == curve.cold >= 4


def test_page_sizes_come_side_by_side_and_a_larger_one_has_fewer_first_uses() -> None:
    curves = miss_curves([Batch.of(A + np.arange(1024) * PAGE)], page_sizes=("2M", 4096, "64K"))
    assert [(curve.page_size, curve.cold) for curve in curves.curves] == [(4096, 1024), (65536, 64), (2 << 20, 2)]


def test_counts_go_beyond_32_bits() -> None:
    many = 1 << 33
    curve = Curve.exact(4096, 1, 3 * many, np.array([5, many, many], np.int64), 7)
    assert [curve.misses(size) for size in (0, 1, 2, 3)] == [3 * many, 2 * many + 7, many + 7, 7]
    stacks = Stacks()
    counts = stacks._arrays[code.V_HIST]
    counts[1] = (1 << 32) - 2
    pages = np.arange(2000) % 2
    stacks.feed(pages, 2000, 0)
    assert stacks.distances().tolist() == [0, (1 << 32) - 2 + 1998]
    run = CurveRun("tlb", page_sizes=("4K",))
    for v in (run._stream._v,):
        v[3] = 1 << 33
    run.feed(Batch.of([A, A]))
    assert run.finish().of("4K").lookups == (1 << 33) + 2


def test_tasks_share_an_address_space_only_where_the_trace_says_nothing_of_them() -> None:
    batch = Batch.of([A] * 4, READ, 1, [1, 2, 1, 2])
    assert miss_curves([batch]).of("4K").cold == 1
    assert miss_curves(Told([batch])).of("4K").cold == 2
    thread = Batch.of([A] * 4, READ, 1, [1, 2, 1, 2], events=[(0, Fork(task=1, child=2, shares_mm=True))])
    assert miss_curves(Told([thread])).of("4K").cold == 1


def test_each_cpu_has_a_tlb_and_all_share_the_ram() -> None:
    batch = Batch.of([A] * 6, READ, 1, 1, [0, 1, 2, 0, 1, 2])
    assert miss_curves([batch], "tlb").of("4K").cold == 3
    assert miss_curves([batch], "ram").of("4K").cold == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"what": "cache"}, "--what: expected tlb or ram, got 'cache'"),
        ({"side": "left"}, "--side: expected data, fetch, both, got 'left'"),
        ({"page_sizes": ("3K",)}, "--page-sizes: expected powers of two from 4K to 1G, got '3K'"),
        ({"page_sizes": ("2K",)}, "--page-sizes: expected powers of two from 4K to 1G, got '2K'"),
        ({"page_sizes": ("large",)}, "--page-sizes: expected bytes or text like '64M', got 'large'"),
        ({"page_sizes": ()}, "--page-sizes: expected at least one size"),
        ({"sets": (0,)}, "--sets: expected 1 to 65,536, got 0"),
        ({"what": "ram", "sets": (4,)}, "--sets: frames of RAM have no sets"),
        ({"what": "ram", "asid": False}, "--no-asid: frames of RAM have no tags"),
        ({"sample": 1.0}, "--sample: expected a rate above 0 and below 1, got 1"),
        ({"sample": float("nan")}, "--sample: expected a rate above 0 and below 1, got nan"),
        ({"sample_pages": 255}, "--sample-pages: expected 256 pages or more, got 255"),
        ({"sample": 0.5, "sample_pages": 256}, "--sample and --sample-pages: expected one of the two"),
        ({"sample": 0.5, "sets": (4,)}, "--sets: a sample has too few pages in each set"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        miss_curves([], **options)
    assert str(error.value).startswith(said)


def test_a_curve_that_is_not_there_is_said() -> None:
    curves = miss_curves([Batch.of([A])], page_sizes=("4K",), sets=(16,))
    with pytest.raises(ConfigError, match="expected one of the curves 4K, 4K x 16 sets, got 2M x 1 sets"):
        curves.of("2M")
    with pytest.raises(ConfigError, match="expected a size of 0 or more, got -1"):
        curves.of("4K").misses(-1)


def test_a_kind_that_is_none_is_said() -> None:
    with pytest.raises(ConfigError, match="curve: expected kinds 0 to 2, got 9"):
        miss_curves([Batch.of([A], 9)])


def test_fewer_points_are_true_ones() -> None:
    rng = np.random.default_rng(3)
    curves = miss_curves([Batch.of(A + rng.integers(0, 3000, 30_000) * PAGE)], page_sizes=("4K",))
    curve = curves.of("4K")
    all_of_it = curves.as_dict()["curves"][0]
    some = curves.as_dict(50)["curves"][0]
    assert all_of_it["complete"] and not some["complete"]
    assert len(all_of_it["sizes"]) > 2000 and 30 <= len(some["sizes"]) <= 51
    assert (some["sizes"][0], some["sizes"][-1]) == (0, curve.largest)
    assert all(curve.misses(size) == misses for size, misses in zip(some["sizes"], some["misses"], strict=True))


def test_machine_code_of_a_room_is_kept_by_the_sources_of_that_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    room = tmp_path / "room"
    room.mkdir()
    folder = cache_folder.__wrapped__
    source = room / "code.py"
    source.write_text("one = 1\n")
    before = folder(room)
    assert folder(room) == before != folder()
    source.write_text("one = 2\n")
    assert folder(room) != before


# --- samples ---------------------------------------------------------------------------------------------------------


def hash_of(page: int, owner: int = 0) -> int:
    return int(stack_functions().made["hash_of"](page, owner)) >> CLASS_BITS


def mixed(length: int = 200_000, seed: int = 4) -> np.ndarray[Any, Any]:
    """Popular pages, a scan, and pages that are used once."""
    rng = np.random.default_rng(seed)
    popular = np.minimum(rng.zipf(1.2, length), 8000)
    return np.choose(rng.choice(3, length, p=[0.7, 0.25, 0.05]), [popular, np.arange(length) % 5000 + 100_000,
                                                                 np.arange(length) + 1_000_000])  # fmt: skip


def exact(pages: np.ndarray[Any, Any]) -> Curve:
    stacks = Stacks()
    stacks.feed(pages, len(pages), 0)
    return Curve.exact(4096, 1, len(pages), stacks.distances(), stacks.cold)


def sampled(pages: np.ndarray[Any, Any], rate: float, most: int = 0, owner: int = 0) -> tuple[Curve, Shards]:
    shards = Shards(0, rate, most)
    for start in range(0, len(pages), 10_000):
        part = np.ascontiguousarray(pages[start : start + 10_000])
        shards.feed(part, len(part), owner)
    sizes, misses, errors, cold = shards.finish()
    return Curve.estimated(4096, len(pages), sizes, misses, errors, cold, shards.rate), shards


def test_a_sample_is_shards_with_its_correction() -> None:
    """By the paper's words: distances over R, and the missing look-ups added to the first bucket."""
    pages = mixed(30_000)
    rate = 0.25
    chosen = [page for page in pages.tolist() if hash_of(page) < round(LIMIT * rate)]
    stack: list[int] = []
    histogram: dict[float, float] = {}
    cold = 0
    for page in chosen:
        if page in stack:
            distance = stack.index(page)
            del stack[distance]
            histogram[distance / rate] = histogram.get(distance / rate, 0) + 1
        else:
            cold += 1
        stack.insert(0, page)
    histogram[0.0] = histogram.get(0.0, 0) + len(pages) * rate - len(chosen)
    total = sum(histogram.values()) + cold
    curve, _ = sampled(pages, rate)
    assert curve.least == math.ceil(8 / rate)
    for size in (32, 64, 100, 128, 512, 1024, 4096):
        ratio = (cold + sum(count for distance, count in histogram.items() if distance >= size)) / total
        assert curve.ratio(size) == pytest.approx(ratio, rel=1e-9), size


@pytest.mark.parametrize(("rate", "most"), [(0.1, 0), (0.03, 0), (1.0, 1024), (1.0, 4096)])
def test_the_error_that_is_stated_holds(rate: float, most: int) -> None:
    pages = mixed()
    true = exact(pages)
    inside = total = 0
    for owner in range(12):  # each owner's pages have other hashes: another sample
        curve, _ = sampled(pages, rate, most, owner)
        for size in (256, 512, 1024, 2048, 4096, 5200, 8192, 30_000):
            if size >= curve.least:
                total += 1
                inside += abs(curve.misses(size) - true.misses(size)) <= curve.error(size)
    assert total > 60
    assert inside >= 0.85 * total, f"{inside} of {total}"


def test_a_larger_sample_states_a_smaller_error() -> None:
    pages = mixed()
    stated = [np.mean([sampled(pages, rate, owner=owner)[0].error(2048) for owner in range(6)])
              for rate in (0.02, 0.1, 0.5)]  # fmt: skip
    assert stated[0] > 1.3 * stated[1] > 1.3 * 1.3 * stated[2] > 0


def test_a_sample_of_fixed_size_has_no_more_pages_and_no_more_memory() -> None:
    most = 512
    shards = Shards(0, 1.0, most)
    rng = np.random.default_rng(6)
    memory = []
    for step in range(60):
        pages = np.unique(rng.integers(0, 1 << 50, 5000)) if step % 2 else np.arange(5000) + step * 100_000
        shards.feed(pages, len(pages), 0)
        assert shards.nr_pages <= most + 1
        memory.append(shards.nr_bytes)
    assert memory[-1] <= memory[3]
    assert shards.rate < 0.01


def test_a_sample_that_has_every_page_is_exact() -> None:
    pages = mixed(20_000) % 700
    curve, shards = sampled(pages, 1.0, 2048)
    true = exact(pages)
    assert shards.whole and (curve.rate, curve.least) == (1.0, 1)
    assert not curve.errors.any()
    assert all(curve.misses(size) == true.misses(size) for size in (1, 2, 7, 64, 128, 256, 640))


def test_curves_may_be_asked_for_on_the_way() -> None:
    pages = mixed(40_000)
    for options in ({}, {"sample": 0.2}, {"sample_pages": 300}):
        often, once = (CurveRun("ram", page_sizes=("4K",), **options) for _ in range(2))  # type: ignore[arg-type]
        for start in range(0, len(pages), 8000):
            batch = Batch.of(A + pages[start : start + 8000] * PAGE)
            often.feed(batch)
            once.feed(batch)
            curve = often.finish().of("4K")
        last = once.finish().of("4K")
        assert np.array_equal(curve.sizes, last.sizes)
        assert curve.counts.tolist() == pytest.approx(last.counts.tolist())


def test_a_size_that_a_sample_does_not_see_is_said() -> None:
    curve, _ = sampled(mixed(20_000), 0.05)
    with pytest.raises(ConfigError, match="expected a size of 160 or more, which the sample tells of, got 64"):
        curve.misses(64)


def test_a_sample_of_nothing_is_nothing() -> None:
    for options in ({"sample": 0.1}, {"sample_pages": 300}):
        curve = miss_curves([], **options).of("4K")  # type: ignore[arg-type]
        assert (curve.lookups, curve.cold, curve.misses(0)) == (0, 0, 0)


def test_edges_of_buckets_rise_and_are_exact_where_they_are_small() -> None:
    edges = bucket_edges()
    assert edges[:129].tolist() == [*range(128), 128]
    assert (np.diff(edges) > 0).all()
    assert float((np.diff(edges[128:]) / edges[128:-1]).max()) < 0.016


def test_a_sample_follows_events_too() -> None:
    trace = [Batch.of(A + np.arange(4000) % 2000 * PAGE, events=[(2000, Munmap(task=0, addr=A, length=2000 * PAGE))])]
    curves: Curves = miss_curves(Told(trace), "ram", page_sizes=("4K",), sample=0.5)
    curve = curves.of("4K")
    assert curve.misses(10_000) == min(4000, curve.cold)
    assert curve.cold == pytest.approx(4000, rel=0.15)
