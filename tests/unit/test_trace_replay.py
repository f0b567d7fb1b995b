"""Replaying traces: faults and look-ups as counted by hand; events; several CPUs; ASIDs; every entry true."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagewalk import Config, Machine
from pagewalk.check import check_machine
from pagewalk.cli import run_command
from pagewalk.cpu.tlb_cpus import Cpus
from pagewalk.errors import ConfigError, OutOfMemory
from pagewalk.hw.tlb_config import TlbArray, TlbConfig
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.hw.tlb_presets import preset
from pagewalk.hw.walker import OK, PEEK, walk
from pagewalk.mm.asid import AsidAllocator
from pagewalk.trace.events import Brk, Event, Exec, Exit, Fault, Fork, Madvise, Mmap, Mprotect, Mremap, Munmap, Switch
from pagewalk.trace.format import FETCH, READ, WRITE, Batch
from pagewalk.trace.replay import Replay, ReplayReport, replay

A = 0x10_0000_0000
SMALL = Config(ram="64M", aslr=False)
RW, PRIVATE_ANON = 3, 0x22
TLB = parse_tlb("l1d=8x4,l1i=4,l2=32x4,pmd=4,pud=2")


def mmap(addr: int = A, pages: int = 16, prot: int = RW, task: int = 1) -> Mmap:
    return Mmap(task=task, addr=addr, length=pages * 4096, prot=prot, flags=PRIVATE_ANON)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(SMALL) as made:
        yield made


def test_every_page_faults_once_and_then_hits() -> None:
    addrs = A + np.arange(4).repeat(3) * 4096
    report = replay([Batch.of(addrs, WRITE, task=1, events=[(0, mmap())])], TLB, SMALL)
    assert (report.accesses, report.writes, report.minor, report.major, report.refused) == (12, 12, 4, 0, 0)
    data = report.counters.data
    assert (data.misses, data.hits) == (8, [8, 0])  # each page: a miss that faults, a miss that fills, two hits
    assert report.counters.faults == 4
    assert report.pages == 4
    assert report.counters.references["pte"] == 7  # the first fault's walk found no table


def test_a_read_before_the_first_write_copies_and_flushes_the_page() -> None:
    report = replay([Batch.of([A, A, A], [READ, WRITE, READ], task=1, events=[(0, mmap())])], TLB, SMALL)
    assert report.minor == 2
    assert report.counters.page_flushes == 1
    assert report.counters.refused == 1


def test_an_access_that_crosses_a_page_is_looked_up_twice() -> None:
    batch = Batch.of([A + 4092, A + 4096, A + 8], [WRITE, READ, READ], size=[8, 8, 8], task=1, events=[(0, mmap())])
    report = replay([batch], TLB, SMALL)
    assert (report.accesses, report.crossing, report.minor) == (3, 1, 2)
    assert report.counters.data.lookups == 4 + 2


def test_accesses_to_two_pages_count_as_two_accesses_do() -> None:
    rng = np.random.default_rng(3)
    addrs = A + rng.integers(0, 15 * 4096, 3000)
    task = (np.arange(3000) // 700) % 2 + 1
    events: list[tuple[int, Event]] = [(0, mmap(task=1)), (0, mmap(task=2)), (500, Munmap(task=1, addr=A, length=8192))]
    whole = Batch.of(addrs, rng.integers(0, 2, 3000), rng.integers(1, 300, 3000), task, events=events)
    ends = (addrs + whole.size - 1) & -4096
    order = np.sort(np.concatenate([np.arange(3000), np.flatnonzero(ends > addrs) + 0.5]))
    first, second = order.astype(int), order % 1 > 0
    halves = Batch.of(np.where(second, ends[first], addrs[first]), whole.kind[first], 1, task[first],
                      events=[(int(np.searchsorted(order, at)), event) for at, event in events])  # fmt: skip
    found = [replay([batch], TLB, SMALL) for batch in (whole, halves)]
    assert found[0].counters == found[1].counters
    assert (found[0].minor, found[0].refused) == (found[1].minor, found[1].refused)
    assert (found[0].accesses, found[0].crossing) == (3000, len(order) - 3000)
    assert found[0].refused > 50 and found[0].crossing > 50


def test_an_event_stands_before_the_access_at_its_position() -> None:
    unmap = Munmap(task=1, addr=A, length=4096)
    batch = Batch.of([A, A, A, A], READ, task=1, events=[(0, mmap()), (2, unmap)])
    report = replay([batch], TLB, SMALL)
    assert (report.refused, report.minor, report.events) == (2, 1, {"mmap": 1, "munmap": 1})


def test_a_machine_that_is_too_small_says_so() -> None:
    batch = Batch.of(
        A + np.arange(5000) * 4096, WRITE, task=1, events=[(0, mmap(pages=2500)), (0, mmap(A + 2500 * 4096, 2500))]
    )
    with pytest.raises(OutOfMemory, match="the machine's RAM of 16,777,216 bytes is full"):
        replay([batch], TLB, Config(ram="16M", aslr=False))


def test_rights_are_the_mapping_s() -> None:
    batch = Batch.of([A, A, A], [READ, WRITE, FETCH], task=1, events=[(0, mmap(prot=1))])
    assert replay([batch], TLB, SMALL).refused == 2


def test_a_trace_without_events_is_mapped_where_it_touches() -> None:
    batch = Batch.of([A, A + 5, A + (1 << 30)], [FETCH, WRITE, READ], task=0)
    report = replay([batch], TLB, SMALL, map_on_fault=True)
    assert report.refused == 0
    assert "2 regions were mapped where the trace touched them" in report.notes[1]


def test_all_events_have_their_effect() -> None:
    b = A + (1 << 30)
    steps: list[tuple[int, Event]] = [
        (0, mmap(pages=4)),
        (1, Mprotect(task=1, addr=A, length=4096, prot=1)),
        (2, Mprotect(task=1, addr=A, length=4096, prot=3)),
        (3, Mremap(task=1, addr=A, length=4096, new_addr=b, new_length=8192)),
        (5, Madvise(task=1, addr=b, length=8192, advice=4)),
        (6, Brk(task=1, addr=0x60_1800, start=0x60_0000)),
        (7, Brk(task=1, addr=0x60_0000, start=0x60_0000)),
        (8, Fork(task=1, child=2)),
        (9, Exec(task=1, name="x")),
        (10, Exit(task=2)),
    ]
    addrs = [A, A, A, A, b, b, 0x60_1000, 0x60_1000, b, b]
    report = replay([Batch.of(addrs, WRITE, task=1, events=steps)], TLB, SMALL)
    #        A ok, A read-only, A ok, A moved away, b ok, b zapped: fault, heap ok, heap gone, b ok, b gone with exec
    assert report.refused == 4
    assert report.events["fork"] == report.events["exit"] == 1


def test_threads_on_two_cpus_share_memory_and_shoot_down() -> None:
    steps: list[tuple[int, Event]] = [(0, mmap()), (0, Fork(task=1, child=2, shares_mm=True)),
                                      (2, Munmap(task=1, addr=A, length=4096, cpu=0))]  # fmt: skip
    batch = Batch.of([A, A, A + 4096, A], WRITE, task=[1, 2, 1, 2], cpu=[0, 1, 0, 1], events=steps)
    report = replay([batch], TLB, SMALL)
    assert (report.counters.shootdowns, report.counters.shootdown_targets) == (1, 1)
    assert (report.minor, report.refused) == (2, 1)
    assert set(report.by_cpu) == {0, 1}


def test_a_lazy_cpu_is_spared_and_catches_up() -> None:
    steps: list[tuple[int, Event]] = [(0, mmap()), (0, Fork(task=1, child=2, shares_mm=True)),
                                      (2, Switch(task=0, cpu=1, previous=2)),
                                      (2, Madvise(task=1, addr=A, length=4096, advice=4))]  # fmt: skip
    batch = Batch.of([A, A, A], WRITE, task=[1, 2, 2], cpu=[0, 1, 1], events=steps)
    report = replay([batch], TLB, SMALL)
    assert (report.counters.shootdowns, report.counters.lazy_skips, report.minor) == (0, 1, 2)


@pytest.mark.parametrize(("spaces", "flushes"), [(6, 0), (7, 7)])
def test_six_tags_keep_six_address_spaces(spaces: int, flushes: int) -> None:
    events: list[tuple[int, Event]] = [(0, mmap(task=task)) for task in range(1, spaces + 1)]
    once = list(range(1, spaces + 1))
    tlb = parse_tlb("l1d=16")
    report = replay([Batch.of([A] * spaces, WRITE, task=once, events=events)], tlb, SMALL)
    twice = replay([Batch.of([A] * 2 * spaces, WRITE, task=once * 2, events=events)], tlb, SMALL)
    assert twice.counters.asid_flushes - report.counters.asid_flushes == flushes
    assert twice.counters.data.misses - report.counters.data.misses == flushes


def test_without_tags_every_switch_empties_the_tlb() -> None:
    events: list[tuple[int, Event]] = [(0, mmap(task=1)), (0, mmap(task=2))]
    report = replay([Batch.of([A] * 6, WRITE, task=[1, 2] * 3, events=events)], parse_tlb("l1d=8,asid=off"), SMALL)
    assert report.counters.switches == report.counters.all_flushes == 6
    assert report.counters.data.misses == 8


def test_the_estimate_says_that_it_is_one_and_mpki_needs_instructions() -> None:
    report = replay([Batch.of([A] * 10, WRITE, task=1, events=[(0, mmap())], instructions=100)], TLB, SMALL)
    assert report.mpki == pytest.approx(20.0)
    assert report.notes[0].startswith("cycles are an estimate")
    assert report.cycles > 1000
    assert replay([], TLB, SMALL).mpki is None


def test_arm64_ids_are_kept_until_they_are_used_up() -> None:
    ids = AsidAllocator(3, 2)  # 1 to 7
    first = {ident: ids.check_and_switch(0, ident)[0] for ident in range(1, 8)}
    assert sorted(first.values()) == [1, 2, 3, 4, 5, 6, 7]
    assert ids.check_and_switch(0, 3) == (first[3], False)
    assert ids.check_and_switch(1, 5) == (first[5], False)
    fresh, flush = ids.check_and_switch(0, 99)
    assert (ids.generation, ids.rollovers, flush) == (2, 1, True)
    assert fresh not in (first[3], first[5])  # those were running
    assert ids.check_and_switch(1, 5) == (first[5], True)
    assert ids.check_and_switch(1, 5) == (first[5], False)


def test_a_cpu_that_runs_later_than_others_is_counted_too() -> None:
    ids = AsidAllocator(2, 1)  # 1 to 3
    for cpu in range(4):  # four address spaces run at once: an id for each, and one more
        ids.check_and_switch(cpu, 10 + cpu)
    assert ids.count == 6
    running = {ident: ids.ids[ident][1] for ident in range(10, 14)}
    ids.check_and_switch(0, 20)
    ids.check_and_switch(0, 21)
    assert ids.rollovers >= 1
    kept = {ident: ids.check_and_switch(ident - 10, ident)[0] for ident in range(11, 14)}
    assert kept == {ident: running[ident] for ident in kept}


def test_a_machine_with_few_arm64_ids_rolls_over_and_drops_everything() -> None:
    with Machine(arch="arm64", ram="64M", tlb=replace(preset("cortex-a53"), asid_bits=3)) as machine:
        assert machine.tlb is not None
        processes = [machine.spawn() for _ in range(8)]
        areas = [process.mmap("64K") for process in processes]
        for number, (process, area) in enumerate(zip(processes, areas, strict=True)):
            process.write(area, bytes([number]))
        check_machine(machine)
        machine.tlb.reset()
        for _ in range(3):
            for number in range(7):
                assert processes[number].read(areas[number], 1) == bytes([number])
        kept = machine.tlb.counters()
        assert kept.rollovers <= 1 and kept.data.misses <= 14  # 1 to 7 are enough for seven
        for _ in range(4):
            for number in range(8):
                assert processes[number].read(areas[number], 1) == bytes([number])
                check_machine(machine)
        found = machine.tlb.counters()
        assert found.rollovers - kept.rollovers >= 4
        assert found.all_flushes - kept.all_flushes == found.rollovers - kept.rollovers
        assert found.data.misses - kept.data.misses > 24


@pytest.mark.parametrize("granule", ["16K", "64K"])
def test_a_machine_of_larger_pages_maps_what_the_trace_maps_in_whole_pages(granule: str) -> None:
    """Neighbours that share a page share its rights; a page goes when the range has all of it; nothing is refused."""
    page = {"16K": 16384, "64K": 65536}[granule]
    config = Config(arch="arm64", granule=granule, ram="64M", aslr=False)
    base = A + page

    def wide(events: list[tuple[int, Event]], addrs: list[int], kinds: list[int]) -> ReplayReport:
        return replay([Batch.of(np.array(addrs), np.array(kinds), task=1, events=events)], TLB, config)

    text = Mmap(task=1, addr=base, length=4096 * 3, prot=5, flags=PRIVATE_ANON)
    data = Mmap(task=1, addr=base + 4096 * 3, length=page, prot=3, flags=PRIVATE_ANON)
    told = wide([(0, text), (0, data)], [base, base + 4096, base + 3 * 4096, base + page], [FETCH, READ, WRITE, WRITE])
    assert (told.refused, told.minor) == (0, 3)  # the zero page, its copy, a new page
    assert told.notes[-1] == f"mappings are in whole pages of {granule}: those that share a page share its rights"
    partly = [(0, data), (1, Munmap(task=1, addr=base + 4096 * 3, length=4096))]
    assert wide(partly, [base + 4096 * 3, base + 4096 * 4], [WRITE, WRITE]).refused == 0
    wholly = [(0, data), (1, Munmap(task=1, addr=base, length=2 * page))]
    assert wide(wholly, [base + 4096 * 3, base + 4096 * 4], [WRITE, WRITE]).refused == 1
    sealed = [(0, data), (0, Mprotect(task=1, addr=base, length=2 * page, prot=1))]
    assert wide(sealed, [base + page, base + page], [WRITE, READ]).refused == 1
    edge = [(0, data), (0, Mprotect(task=1, addr=base + 4096, length=4096 * 3, prot=1))]
    assert wide(edge, [base + 4096 * 3], [WRITE]).refused == 0
    heap = [
        (0, Brk(task=1, start=base + 4096, addr=base + 4096)),
        (0, Brk(task=1, start=base + 4096, addr=base + page)),
    ]
    assert wide(heap, [base + 4096, base + page - 1], [WRITE, WRITE]).refused == 0
    target = A + 8 * page + 4096
    moved = [(0, data), (1, Mremap(task=1, addr=data.addr, length=page, new_addr=target, new_length=2 * page))]
    assert wide(moved, [data.addr, target, target + 2 * page - 1], [WRITE, WRITE, WRITE]).refused == 0


STEP = st.one_of(
    st.tuples(st.just("access"), st.integers(0, 30), st.sampled_from([READ, WRITE, FETCH])),
    st.tuples(st.just("access"), st.integers(0, 30), st.sampled_from([READ, WRITE])),
    st.tuples(st.just("munmap"), st.integers(0, 30), st.integers(1, 40)),
    st.tuples(st.just("mmap"), st.integers(0, 30), st.integers(1, 40)),
    st.tuples(st.just("mprotect"), st.integers(0, 30), st.sampled_from([0, 1, 3, 5, 7])),
    st.tuples(st.just("dontneed"), st.integers(0, 30), st.integers(1, 8)),
    st.tuples(st.just("move"), st.integers(0, 30), st.integers(0, 30)),
    st.tuples(st.just("fork"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("idle"), st.just(0), st.just(0)),
)
PLACED = st.tuples(STEP, st.integers(1, 4), st.integers(0, 2))


@settings(max_examples=60, deadline=None)
@given(st.lists(PLACED, max_size=40), st.booleans(), st.booleans())
def test_an_entry_equals_the_page_table_or_a_flush_is_pending(
    steps: list[tuple[tuple[str, int, int], int, int]], tagged: bool, flush_walks: bool
) -> None:
    tlb = TlbConfig(
        "t",
        (TlbArray("l1d", 1, "d", 2, 4), TlbArray("l1i", 1, "i", 1, 4), TlbArray("l2", 2, "id", 8, 4)),
        parse_tlb("pmd=4,pud=2,pgd=2").walk_caches,
        tagged=tagged, coalesce=4, prefetch=True, flush_walks=flush_walks,
    )  # fmt: skip
    with Machine(SMALL) as machine:
        run = Replay(machine, tlb)
        run.feed(Batch.of([], task=1, events=[(0, mmap(pages=40, prot=7))]))
        run.feed(Batch.of([], events=[(0, Fork(task=1, child=2, shares_mm=True)), (0, Fork(task=1, child=3))]))
        for (name, page, value), task, cpu in steps:
            addr = A + page * 4096
            event: dict[str, Event] = {
                "munmap": Munmap(task=task, cpu=cpu, addr=addr, length=value * 4096),
                "mmap": Mmap(task=task, cpu=cpu, addr=addr, length=value * 4096, prot=7, flags=PRIVATE_ANON),
                "mprotect": Mprotect(task=task, cpu=cpu, addr=addr, length=3 * 4096, prot=value),
                "dontneed": Madvise(task=task, cpu=cpu, addr=addr, length=value * 4096, advice=4),
                "move": Mremap(task=task, cpu=cpu, addr=addr, length=8192, new_length=8192,
                               new_addr=A + (value + 40) * 4096 + (page << 21)),
                "fork": Fork(task=task, cpu=cpu, child=task % 4 + 1),
                "idle": Switch(task=0, cpu=cpu),
            }  # fmt: skip
            if name == "access":
                run.feed(Batch.of([addr, addr + (page << 21)], value, task=task, cpu=cpu))
            else:
                run.feed(Batch.of([], events=[(0, event[name])]))
            check_entries(machine, run.cpus)
        run.close()


def check_entries(machine: Machine, cpus: Cpus) -> None:
    """Every entry whose tag is its address space's and up to date says what the page table says."""
    system = machine.system
    spaces = {task.mm.ident: task.mm for task in machine.kernel.tasks()}
    for cpu, mmu in cpus.mmus.items():
        state = cpus.states[cpu]
        for entry in mmu.entries():
            if cpus.config.tagged:
                context = state.ctxs[entry.asid - 1]
                mm = spaces.get(context.ctx_id)
            else:
                context = state.ctxs[0]
                mm = state.loaded_mm
            if mm is None or mm.pgd_pfn < 0 or context.tlb_gen < mm.context_gen:
                continue  # nobody's, or flushed before it is used again
            walked = walk(system.ram, system.format, int(mm.pgd_pfn), entry.addr, PEEK)
            if entry.level >= 0:
                assert len(walked.steps) > entry.level, entry
                assert entry.pfn == (walked.steps[entry.level].entry & system.format.pfn_mask) >> 12, entry
            else:
                assert walked.status == OK, entry
                assert walked.pfn == entry.pfn, entry
                assert entry.rights & ~walked.rights == 0, entry


def test_the_command_line_replays_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("addr,rw\n0x10000000,W\n0x10000008,R\n0x10001000,R\n")
    for options in ((), ("--one-pass",)):
        assert run_command(["replay", *options, "--tlb", "l1d=64x4,l2=1536x12", str(trace)]) == 0
        out = capsys.readouterr().out
        assert "3 accesses (2 reads, 1 writes, 0 fetches)" in out
        assert "faults: 2 minor, 0 major; 0 accesses refused; 1 pages resident" in out
    assert run_command(["replay", "--json", "--tlb", "none", str(trace)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["minor"], found["counters"]["misses"]) == (2, 5)
    assert run_command(["replay", "--tlb", "zen", str(trace)]) == 125


@pytest.mark.parametrize("length", [1, 200, 3000])
def test_tasks_take_turns_anywhere(length: int) -> None:
    rng = np.random.default_rng(length)
    task, cpu = np.repeat(rng.integers(1, 4, 64), 47)[:length], np.repeat(rng.integers(0, 2, 16), 190)[:length]
    events: list[tuple[int, Event]] = [(0, mmap(task=number)) for number in (1, 2, 3)]
    batch = Batch.of(A + rng.integers(0, 15 * 4096, length), rng.integers(0, 2, length), 1, task, cpu, events)
    starts = [0, *(np.flatnonzero(np.diff(task) | np.diff(cpu)) + 1).tolist(), length]
    pieces = [batch[start:end] for start, end in itertools.pairwise(starts)]
    assert replay([batch], TLB, SMALL).counters == replay(pieces, TLB, SMALL).counters


def test_an_access_of_no_kind_is_an_error() -> None:
    kinds = np.zeros(1000, np.uint8)
    kinds[777] = 3
    with pytest.raises(ConfigError, match="expected accesses of kind 0 to 2, got 3"):
        replay([Batch.of(A + np.arange(1000), kinds, task=1, events=[(0, mmap())])], TLB, SMALL)


def test_events_that_cannot_be_are_told_or_left_out() -> None:
    def one(event: Event) -> ReplayReport:
        return replay([Batch.of([], events=[(0, event)])], parse_tlb("none"), SMALL)

    with pytest.raises(ConfigError, match="expected a fault of kind 0 to 2, got 9"):
        one(Fault(task=1, addr=A, access=9))
    with pytest.raises(ConfigError, match="expected pages such as 0-3,7, got 'x'"):
        one(Mmap(task=1, addr=A, length=4096, prot=3, flags=1, name="/memfd:x", file=1, size=4096, pages="x"))
    with pytest.raises(ConfigError, match="expected a file of up to"):
        one(Mmap(task=1, addr=A, length=4096, prot=3, flags=1, name="/SYSV1", file=1, size=-1))
    assert one(Fault(task=1, addr=1 << 62, access=1)).refused == 1
    for addr, length in ((A + 5, 4096), (-4096, 8192)):
        assert one(Mmap(task=1, addr=addr, length=length, prot=1, flags=2, name="[vdso]")).refused == 0
