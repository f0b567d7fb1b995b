"""Curves of random traces with random events against simulations of one size each."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from one_size import FREEING, NaiveSimulator

from pagewalk.lab import CurveRun, Curves
from pagewalk.trace import events as ev
from pagewalk.trace.format import Batch, TraceInfo

PAGE = 4096
SIZES = {"4K": 4096, "16K": 16 << 10, "64K": 64 << 10}
BASES = (0x1000_0000, 0x7F00_0000_0000, -(1 << 40))
TASK = st.integers(1, 4)
CPU = st.sampled_from([0, 0, 0, 1, 2])


def address(draw: Any) -> int:
    return int(draw(st.sampled_from(BASES)) + draw(st.integers(0, 120)) * PAGE)


@st.composite
def events(draw: Any) -> ev.Event:
    who = {"task": draw(TASK), "cpu": draw(CPU)}
    where = {"addr": address(draw), "length": draw(st.integers(1, 40)) * PAGE}
    kind = draw(st.sampled_from(["mmap", "munmap", "mprotect", "madvise", "mremap", "brk", "fork", "fork", "exec",
                                 "exit", "touch", "switch"]))  # fmt: skip
    if kind == "mmap":
        return ev.Mmap(**who, **where, prot=3, flags=0x22)
    if kind == "munmap":
        return ev.Munmap(**who, **where)
    if kind == "mprotect":
        return ev.Mprotect(**who, **where, prot=1)
    if kind == "madvise":
        return ev.Madvise(**who, **where, advice=draw(st.sampled_from([*FREEING.values(), 8, 14, 0])))
    if kind == "mremap":
        new = where["addr"] + draw(st.sampled_from([0, 0, 1 << 28, (1 << 28) + PAGE, -(1 << 28), 3 << 27]))
        return ev.Mremap(**who, **where, new_addr=new, new_length=draw(st.integers(1, 40)) * PAGE)
    if kind == "brk":
        return ev.Brk(**who, start=BASES[0], addr=BASES[0] + draw(st.integers(0, 100 * PAGE)))
    if kind == "fork":
        return ev.Fork(**who, child=draw(TASK.filter(lambda task: task != who["task"])), shares_mm=draw(st.booleans()))
    if kind == "touch":
        return ev.Touch(**who, addr=where["addr"])
    return {"exec": ev.Exec(**who), "exit": ev.Exit(**who), "switch": ev.Switch(**who)}[kind]


@st.composite
def batches(draw: Any) -> Batch:
    length = draw(st.sampled_from([0, 1, 20, 300]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    spread = draw(st.sampled_from([3, 20, 120]))
    addrs = np.array(BASES)[rng.integers(0, 3, length)] + rng.integers(0, spread * PAGE, length)
    again = rng.random(length) < 0.4
    again[:1] = False
    addrs = addrs[np.maximum.accumulate(np.where(again, 0, np.arange(length)))] if length else addrs
    runs = np.arange(length) // draw(st.sampled_from([7, 50, 1000]))
    task = rng.integers(1, 5, length + 1)[runs] if length else 0
    cpu = rng.choice([0, 0, 1, 2], length + 1)[runs] if length else 0
    size = rng.choice([1, 8, 64, 5000, 65535], length, p=[0.5, 0.3, 0.15, 0.04, 0.01])
    places = sorted(draw(st.lists(st.integers(0, length), max_size=6)))
    return Batch.of(addrs, rng.integers(0, 3, length), size, task, cpu, [(at, draw(events())) for at in places])


def curves_of(trace: list[Batch], what: str, has_events: bool, **options: Any) -> Curves:
    run = CurveRun(what, page_sizes=list(SIZES), info=TraceInfo(has_events=has_events), **options)
    for batch in trace:
        run.feed(batch)
    return run.finish()


def check(curves: Curves, trace: list[Batch], sets: int, has_events: bool) -> None:
    for name, page_size in SIZES.items():
        curve = curves.of(name, sets)
        for entries in (1, 2, 5, 12, 13, 20, 40, 100, 400):
            slow = NaiveSimulator(
                curves.what, page_size, sets, entries, curves.side, asid=curves.asid, one_space=not has_events
            )
            for batch in trace:
                slow.feed(batch)
            assert curve.lookups == slow.lookups
            assert curve.misses(entries) == slow.misses, (name, sets, entries)
        assert curve.misses(0) == curve.lookups
        assert curve.misses(curve.largest) == curve.cold


TRACE = st.lists(batches(), max_size=4)
SIDE = st.sampled_from(["data", "fetch", "both"])


@settings(max_examples=40, deadline=None)
@given(TRACE, SIDE, st.booleans(), st.booleans())
def test_a_tlb_of_every_size_misses_what_the_curve_says(
    trace: list[Batch], side: str, asid: bool, has_events: bool
) -> None:
    curves = curves_of(trace, "tlb", has_events, side=side, asid=asid, sets=(4, 3))
    for sets in (1, 4, 3):
        check(curves, trace, sets, has_events)


@settings(max_examples=60, deadline=None)
@given(TRACE, SIDE, st.booleans())
def test_a_ram_of_every_size_faults_as_the_curve_says(trace: list[Batch], side: str, has_events: bool) -> None:
    check(curves_of(trace, "ram", has_events, side=side), trace, 1, has_events)
