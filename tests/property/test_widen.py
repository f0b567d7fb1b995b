"""A trace of 4K pages on a machine of larger ones: what the trace's mappings allowed is never refused."""

import random
from typing import Any

import numpy as np
import pytest

from pagewalk import Config
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.trace.events import Event, Mmap, Mprotect, Mremap, Munmap
from pagewalk.trace.format import FETCH, READ, WRITE, Batch
from pagewalk.trace.replay import replay

BASE, PAGES, PAGE = 0x10_0000_0000, 96, 4096
TLB = parse_tlb("l1d=8x4,l1i=4,l2=32x4")
RIGHTS = ((READ, 1), (WRITE, 2), (FETCH, 4))


def change(rng: random.Random, rights: list[int | None]) -> Event | None:
    """A random event that the recorded machine would have carried out; ``rights`` of each 4K page follow it."""
    first = rng.randrange(PAGES)
    count = min(rng.choice([1, 2, 3, 5, 9, 20, 40]), PAGES - first)
    pages, prot = slice(first, first + count), rng.choice([1, 3, 3, 5, 7])
    where: dict[str, Any] = {"task": 1, "addr": BASE + first * PAGE, "length": count * PAGE}
    kind = rng.choice(["mmap", "mmap", "mmap", "munmap", "mprotect", "mremap"])
    if kind == "mmap":
        rights[pages] = [prot] * count
        return Mmap(**where, prot=prot, flags=0x22)
    if kind == "munmap":
        rights[pages] = [None] * count
        return Munmap(**where)
    if None in rights[pages]:
        return None
    if kind == "mprotect":
        rights[pages] = [prot] * count
        return Mprotect(**where, prot=prot)
    length = max(1, min(count + rng.choice([-1, 0, 2, 5]), PAGES))
    to = rng.randrange(PAGES - length + 1)
    if len(set(rights[pages])) > 1 or first - length < to < first + count:
        return None
    kept = rights[first]
    rights[pages] = [None] * count
    rights[to : to + length] = [kept] * length
    return Mremap(**where, new_addr=BASE + to * PAGE, new_length=length * PAGE)


@pytest.mark.parametrize("granule", ["16K", "64K"])
@pytest.mark.parametrize("seed", range(20))
def test_an_access_that_was_allowed_is_allowed_in_larger_pages(seed: int, granule: str) -> None:
    rng = random.Random(seed)
    rights: list[int | None] = [None] * PAGES
    events: list[tuple[int, Event]] = []
    addrs: list[int] = []
    kinds: list[int] = []
    for _ in range(60):
        event = change(rng, rights)
        if event is not None:
            events.append((len(addrs), event))
        for _ in range(6):
            page = rng.randrange(PAGES)
            granted = rights[page]
            if granted is not None:
                addrs.append(BASE + page * PAGE + rng.randrange(PAGE))
                kinds.append(rng.choice([kind for kind, bit in RIGHTS if granted & bit]))
    config = Config(arch="arm64", granule=granule, ram="64M", aslr=False)
    report = replay([Batch.of(np.array(addrs), np.array(kinds), task=1, events=events)], TLB, config)
    assert report.refused == 0
    assert not [note for note in report.notes if "left out" in note]
    assert report.accesses == len(addrs) > 60
