"""Mappings made up from what a trace touches."""

from typing import Any

import numpy as np
import pytest

from pagewalk.config import Config
from pagewalk.hw.tlb_presets import preset
from pagewalk.trace.events import Event, Fork, Mmap, Munmap
from pagewalk.trace.format import FETCH, READ, WRITE, Batch, TraceInfo
from pagewalk.trace.infer import GAP, Touched, complete, infer_mappings
from pagewalk.trace.replay import replay

PAGE = 4096


class Made:
    """A trace of given batches."""

    def __init__(self, *batches: Batch, info: TraceInfo | None = None) -> None:
        self.info = info or TraceInfo()
        self.skipped = 0
        self._batches = batches

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._batches)


def ranges(found: list[Mmap]) -> list[tuple[int, int, int]]:
    return [(event.addr // PAGE, event.length // PAGE, event.prot) for event in found]


def test_pages_that_lie_near_each_other_are_one_region_with_the_rights_they_need() -> None:
    batch = Batch.of([PAGE, 3 * PAGE, (3 + GAP + 1) * PAGE, (3 + 2 * GAP + 3) * PAGE], kind=[READ, WRITE, READ, READ])
    found = infer_mappings(Made(batch))
    assert ranges(found.mappings) == [(1, 4 + GAP, 3), (3 + 2 * GAP + 3, 1, 1)]
    assert found.nr_pages == 4
    assert all(event.inferred for event in found.mappings)


def test_code_and_data_are_two_regions() -> None:
    found = infer_mappings(Made(Batch.of([0x400000, 0x401000, 0x402000], kind=[FETCH, READ, WRITE])))
    assert ranges(found.mappings) == [(0x400, 1, 5), (0x401, 2, 3)]


def test_an_access_across_a_page_touches_both() -> None:
    found = infer_mappings(Made(Batch.of([2 * PAGE - 1, -PAGE], size=[2, 1])))
    assert ranges(found.mappings) == [(-1, 1, 1), (1, 2, 1)]


def test_what_an_event_maps_is_not_inferred_and_what_was_there_before_is() -> None:
    events: list[tuple[int, Event]] = [
        (1, Mmap(task=0, addr=10 * PAGE, length=2 * PAGE, prot=3, flags=0x22)),
        (3, Munmap(task=0, addr=10 * PAGE, length=PAGE)),
        (4, Mmap(task=0, addr=100 * PAGE, length=PAGE, prot=3, flags=0x22)),
    ]
    batch = Batch.of([100 * PAGE, 10 * PAGE, 11 * PAGE, 200 * PAGE], events=events)
    whole = complete(Made(batch, Batch.of([100 * PAGE])))
    assert whole.info.has_mappings
    assert whole.info.extra["inferred"] == "2 mappings inferred from 2 touched pages"
    first, second = whole
    assert [event for _, event in first.events][2:] == [event for _, event in events]
    assert ranges([event for _, event in first.events if isinstance(event, Mmap) and event.inferred]) == [
        (100, 1, 1),
        (200, 1, 1),
    ]
    assert second.events == []


def test_a_trace_that_tells_all_its_mappings_stays_as_it_is() -> None:
    source = Made(info=TraceInfo(has_mappings=True))
    assert complete(source) is source


def test_touched_pages_are_those_of_a_set() -> None:
    random = np.random.default_rng(7)
    touched = Touched(12)
    naive: dict[int, int] = {}
    for _ in range(4):
        addr = random.integers(-(1 << 40), 1 << 40, 5000) & ~np.int64(0x3FFF_FFFF)
        batch = Batch.of(addr + random.integers(0, 1 << 30, 5000), random.integers(0, 3, 5000), 8)
        news = touched.add(batch)
        seen = []
        for at, (where, kind) in enumerate(zip(batch.addr.tolist(), batch.kind.tolist(), strict=True)):
            for page in range(where >> 12, (where + 7 >> 12) + 1):
                if page not in naive:
                    seen.append([page, at])
                naive[page] = naive.get(page, 0) | 1 << kind
        assert news.tolist() == seen
    assert touched.pages() == naive
    assert touched.nr_pages == len(naive)


def test_tasks_that_no_event_introduces_share_the_address_space_of_what_is_inferred() -> None:
    batch = Batch.of([PAGE, 2 * PAGE, PAGE, PAGE], task=[7, 7, 9, 5], events=[(3, Fork(task=0, child=5))])
    whole = complete(Made(batch, Batch.of([PAGE, PAGE, PAGE], task=[0, 3, 9])))
    first, _ = whole
    shared = [event for _, event in first.events if isinstance(event, Fork) and event.shares_mm]
    assert [(event.task, event.child) for event in shared] == [(0, 3), (0, 7), (0, 9)]


@pytest.mark.parametrize("one_pass", [False, True])
@pytest.mark.parametrize("settings", [{}, {"arch": "arm64", "granule": "64K"}, {"arch": "x86_pae"}])
def test_threads_of_a_trace_without_events_reach_each_others_memory(one_pass: bool, settings: dict[str, Any]) -> None:
    pages = np.arange(40) % 20 * PAGE + 0x10000000
    source = Made(Batch.of(pages, kind=np.arange(40) % 2, task=np.arange(40) // 10 + 3000))
    trace = source if one_pass else complete(source)
    found = replay(trace, preset("skylake-sp"), Config(ram="256M", **settings), map_on_fault=one_pass)
    assert (found.accesses, found.refused) == (40, 0)
    assert found.pages == (2 if settings.get("arch") == "arm64" else 10)  # a page that is only read is that of zeros


@pytest.mark.parametrize("one_pass", [False, True])
@pytest.mark.parametrize("settings", [{}, {"arch": "arm64", "granule": "64K"}, {"arch": "x86_pae"}])
def test_addresses_that_no_program_has_are_refused(one_pass: bool, settings: dict[str, Any]) -> None:
    addrs = [(1 << 63) - 1, 1 << 47, (1 << 62) + 5, -1, -(1 << 63), 1 << 56, 0x10000000]
    source = Made(Batch.of(addrs, kind=[1] * 7, size=[1, 8, 8, 1, 8, 8, 8]))
    trace = source if one_pass else complete(source)
    found = replay(trace, preset("skylake-sp"), Config(ram="256M", **settings), map_on_fault=one_pass)
    assert (found.accesses, found.refused) == (7, 5 if settings.get("arch") == "arm64" else 6)
