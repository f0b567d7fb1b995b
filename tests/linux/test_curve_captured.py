"""Curves of programs that pagewalk ran: against the TLB engine, simulations with all events, and samples of them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from harness import new_work
from one_size import NaiveSimulator

from pagewalk import Config
from pagewalk.cli import run_command
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.lab import miss_curves
from pagewalk.trace.format import FETCH, WRITE, Batch, TraceInfo
from pagewalk.trace.infer import complete
from pagewalk.trace.open import open_trace
from pagewalk.trace.replay import replay

pytestmark = [pytest.mark.linux, pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")]

# A table of 12 MiB that is filled, looked up at random and near by, and scanned in part.
TABLE = r"""
static unsigned table[3 << 20];
int main(void) {
    unsigned random = 1, sum = 0;
    for (int i = 0; i < 3 << 20; i += 256) table[i] = i;
    for (int i = 0; i < 400000; i++) {
        random = random * 1664525 + 1013904223;
        unsigned at = random >> 11;
        if (random & 0x700) at &= (1 << (10 + (random >> 8 & 7))) - 1;
        sum += table[at * 2 % (3 << 20)]++;
        if (i % 1000 == 0)
            for (int k = 0; k < 64 << 10; k += 512) sum += table[k + (1 << 20)];
    }
    return sum & 1;
}
"""

FAMILY = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    char *a = mmap(0, 400 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 400 << 10; i += 2048) a[i] = 1;
    if (fork() == 0) {
        for (int i = 0; i < 100 << 10; i += 1024) a[i] = 2;
        munmap(a, 64 << 10);
        _exit(0);
    }
    wait(0);
    madvise(a + (64 << 10), 64 << 10, MADV_DONTNEED);
    a = mremap(a, 400 << 10, 2000 << 10, MREMAP_MAYMOVE);
    for (int i = 0; i < 800 << 10; i += 2048) a[i]++;
    char *p = 0;
    for (int i = 1; i < 40; i++) memset(p = realloc(p, i << 10), i, i << 10);
    mprotect(a, 32 << 10, PROT_READ);
    int sum = 0;
    for (int i = 0; i < 64 << 10; i += 64) sum += a[i];
    return sum == 0;
}
"""


def record(folder: Path, text: str, name: str) -> Path:
    """The trace of a C program."""
    source, program, trace = folder / f"{name}.c", folder / name, folder / f"{name}.pwt"
    source.write_text(text)
    subprocess.run(["gcc", "-O1", "-static", "-w", "-o", program, source], check=True, timeout=100)
    assert run_command(["run", "-q", "--no-aslr", "--record", str(trace), "--", str(program)]) in (0, 1)
    return trace


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    directory = new_work()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def table(folder: Path) -> Path:
    return record(folder, TABLE, "table")


def test_the_tlb_engine_misses_what_the_curve_of_a_program_says(table: Path) -> None:
    """Its data accesses as writes, without its events: then no page is copied, and none flushed."""

    class Writes:
        info, skipped = TraceInfo(), 0

        def __iter__(self) -> Iterator[Batch]:
            for batch in open_trace(table):
                data = batch.kind != FETCH
                yield Batch.of(batch.addr[data], WRITE, batch.size[data])

    curve = miss_curves(Writes(), "tlb", page_sizes=("4K",), sets=(64,))
    assert curve.of("4K").cold > 3000
    mapped = complete(Writes())
    for tlb, size, sets in (("l1d=16", 16, 1), ("l1d=64", 64, 1), ("l1d=1536", 1536, 1), ("l1d=256x4", 4, 64)):
        report = replay(mapped, parse_tlb(tlb), Config(ram="256M", aslr=False))
        assert report.refused == 0
        assert curve.of("4K", sets).misses(size) == report.counters.misses - report.counters.faults, tlb


@pytest.mark.parametrize("what", ["tlb", "ram"])
def test_a_family_with_all_its_events_counts_as_in_a_simulation(what: str, folder: Path) -> None:
    trace = folder / "family.pwt"
    batches = list(open_trace(trace if trace.exists() else record(folder, FAMILY, "family")))
    kinds = {event.kind for batch in batches for _, event in batch.events}
    assert {"mmap", "munmap", "mremap", "madvise", "mprotect", "brk", "fork", "exit", "exec", "touch"} <= kinds
    curves = miss_curves(open_trace(trace), what, page_sizes=("4K", "64K"), side="both")
    for name, size in (("4K", 4096), ("64K", 64 << 10)):
        for entries in (8, 60):
            slow = NaiveSimulator(what, size, 1, entries, "both", asid=True, one_space=False)
            for batch in batches:
                slow.feed(batch)
            curve = curves.of(name)
            assert (curve.lookups, curve.misses(entries)) == (slow.lookups, slow.misses), (name, entries)


def test_a_sample_of_a_program_is_within_its_error(table: Path) -> None:
    exact = miss_curves(open_trace(table), page_sizes=("4K",)).of("4K")
    inside = total = 0
    errors = []
    for options in ({"sample": 0.05}, {"sample": 0.1}, {"sample": 0.2}, {"sample": 0.4}, {"sample_pages": 512},
                    {"sample_pages": 1024}):  # fmt: skip
        curve = miss_curves(open_trace(table), page_sizes=("4K",), **options).of("4K")  # type: ignore[arg-type]
        assert 0.02 < curve.rate < 0.5
        for size in (64, 128, 200, 256, 384, 512, 1024, 1536, 2048, 3000):
            if size >= curve.least:
                total += 1
                off = abs(curve.misses(size) - exact.misses(size))
                inside += off <= curve.error(size)
                errors.append(off / exact.lookups)
    assert total >= 40
    assert inside >= 0.85 * total, f"{inside} of {total}"
    assert np.mean(errors) < 0.01  # of look-ups
