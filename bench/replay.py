"""Replaying traces: DTLB, STLB, walk caches, walks over the bits in RAM, demand faults; beside what others need for the
same trace.

C            a loop by hand for this one geometry (replay.c, ``cc -O3``): the ceiling. It has all of the MMU, and of the
             kernel the faults of anonymous memory; where a trace has nothing else, all its counts must equal ours
libCacheSim  its LRU of 1536 objects over the page numbers, in its own loop over a file of its own format
cachegrind   Valgrind's cache simulator set up as a TLB (``--D1=262144,4,4096``), running the program itself

Rounds of ours, of C and of libCacheSim take turns, each on a machine that has touched nothing; the medians count, in
time of the processor. Ours and C begin with the trace in memory. Data references of cachegrind are those that it
reports over the time that it takes longer than for a program that does nothing.
"""

import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench import traces
from bench.measure import Measurement, compile_c, in_child, median, work_folder
from pagewalk.config import Config
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.hw.walker import FETCH
from pagewalk.machine import Machine
from pagewalk.trace.format import Batch
from pagewalk.trace.replay import Replay, ReplayReport

ROUNDS = 5
TLB = "l1d=64x4,l1i=64x4,l2=1536x12,pmd=32x4,pud=4,pgd=4"
LEAST = {"random": 20.0, "sequential": None, "zipf": None}  # million accesses a second; captured ones CAPTURED
CAPTURED = 50.0
OF_C = 0.5
OF_LIBCACHESIM = 3.0
OBJECTS = 1536

# A trace that is made as it is replayed: the same batch again and again, at other places of 64 MiB.
STREAMED = """
import numpy as np
from bench.measure import resident
from bench.replay import TLB
from bench.traces import BASE
from pagewalk import Config, Machine
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.trace.format import Batch
from pagewalk.trace.replay import Replay
count, seen = COUNT, 0
rng = np.random.default_rng(1)
with Machine(Config(ram="256M", aslr=False)) as machine:
    run = Replay(machine, parse_tlb(TLB), map_on_fault=True)
    steps = np.cumsum(rng.integers(-300, 300, 1 << 18))
    sizes = []
    while seen < count:
        batch = Batch.of(BASE + ((steps + seen) & (1 << 26) - 1), 0, 1, 1)
        run.feed(batch)
        seen += len(batch)
        if seen % (1 << 23) == 0:
            sizes.append(resident())
    print((sizes[-1] - sizes[1]) / (1 << 20), seen / run.finish().seconds / 1e6)
"""


def ours(batches: list[Batch]) -> tuple[float, ReplayReport]:
    """Nanoseconds an access, and the report."""
    with Machine(Config(ram="1G", aslr=False)) as machine:
        run = Replay(machine, parse_tlb(TLB), map_on_fault=True)
        start = time.process_time_ns()
        for batch in batches:
            run.feed(batch)
        took = time.process_time_ns() - start
        report = run.finish()
        run.close()
    return took / report.accesses, report


def in_c(batches: list[Batch]) -> Callable[[], tuple[float, dict[str, list[int]]]]:
    """A function that runs the C loop once: nanoseconds an access, and what it has counted."""
    program = compile_c("replay.c", "-O3")
    file = work_folder() / "accesses.bin"
    count = sum(map(len, batches))
    with file.open("wb") as out:
        out.write(np.uint64(count).tobytes())
        for batch in batches:
            out.write(batch.addr.tobytes())
        for batch in batches:
            out.write(batch.size.tobytes())
        for batch in batches:
            out.write(batch.kind.tobytes())

    def run() -> tuple[float, dict[str, list[int]]]:
        text = subprocess.run([program, str(file), "1"], check=True, capture_output=True, text=True).stdout
        took, *lines = text.splitlines()
        return float(took), {name: [int(word) for word in words] for name, *words in map(str.split, lines)}

    return run


def as_in_c(report: ReplayReport) -> dict[str, list[int]]:
    """What the C loop counts, as we have counted it."""
    counters = report.counters
    data, fetch = counters.data, counters.fetch
    found = {
        "writes": [report.writes], "fetches": [report.fetches], "crossing": [report.crossing],
        "misses": [data.misses, fetch.misses], "refused": [counters.refused],
        "first_level_misses": [data.first_level_misses, fetch.first_level_misses], "lookups": [counters.lookups],
        "walks": [counters.walks], "faults": [counters.faults], "minor": [report.minor], "flushed": [counters.flushed],
        "references": list(counters.references.values()), "walk_hits": list(counters.walk_hits.values()),
    }  # fmt: skip
    arrays = zip(counters.fills.values(), counters.evictions.values(), strict=True)
    return {**found, **{f"array{number}": list(both) for number, both in enumerate(arrays)}}


def check_counts(name: str, report: ReplayReport, counts: dict[str, list[int]]) -> None:
    """The C loop has counted the same. RuntimeError where it has not."""
    for what, ours_ in as_in_c(report).items():
        if counts[what] != ours_:
            raise RuntimeError(f"{name}: {what}: {ours_}, but the loop in C counted {counts[what]}")


def in_libcachesim(batches: list[Batch]) -> Callable[[], float] | None:
    """A function that runs libCacheSim once: nanoseconds an access; None where it is not installed."""
    try:
        import libcachesim
    except ImportError:
        return None
    lcs: Any = libcachesim
    record = np.dtype([("time", "<u4"), ("page", "<u8"), ("size", "<u4"), ("next", "<i8")])  # "oracleGeneral"
    file = work_folder() / "pages.oracleGeneral.bin"
    count = 0
    with file.open("wb") as out:
        for batch in batches:
            rows = np.zeros(len(batch), record)
            rows["page"], rows["size"], rows["next"] = batch.addr >> 12, 1, -2
            out.write(rows.tobytes())
            count += len(batch)

    def run() -> float:
        reader = lcs.TraceReader(str(file), lcs.TraceType.ORACLE_GENERAL_TRACE)
        cache = lcs.LRU(cache_size=OBJECTS)
        start = time.process_time_ns()
        cache.process_trace(reader)
        return (time.process_time_ns() - start) / count

    return run


def why_below(report: ReplayReport, took: float, least: float) -> str:
    """What explains a figure that misses its budget of ``least`` nanoseconds an access."""
    counters = report.counters
    lookups = counters.lookups
    missed = counters.data.first_level_misses + counters.fetch.first_level_misses
    above = counters.walks - counters.walk_hits["pmd"]  # those that the short way does not know
    faults = report.minor + report.major
    parts = (
        f"{1e3 * missed / lookups:.3g} first-level misses",
        f"{1e3 * above / lookups:.3g} walks from above the last table",
        f"{1e3 * faults / lookups:.3g} faults",
    )
    return f"; {took:.3g} ns an access instead of {least:.3g}; in 1000, {', '.join(parts)}"


def compare(name: str, batches: list[Batch], least: float | None) -> list[Measurement]:
    """The rows of one trace."""
    c, other = in_c(batches), in_libcachesim(batches)
    ours(batches)  # compiles or loads what this needs
    mine: list[float] = []
    theirs: list[float] = []
    lru: list[float] = []
    for _ in range(ROUNDS):
        took, report = ours(batches)
        mine.append(took)
        limit, counts = c()
        theirs.append(limit)
        if name in traces.SYNTHETIC:  # of memory that is all anonymous: what the loop in C knows
            check_counts(name, report, counts)
        if other is not None:
            lru.append(other())
    best, limit = median(mine), median(theirs)
    walks = 100 * report.counters.misses / report.counters.lookups
    detail = f"{report.accesses:,} accesses, {walks:.3g} % walk, {report.minor + report.major:,} faults"
    if least is not None and 1e3 / best < least:
        detail += why_below(report, best, 1e3 / least)
    of_c = f"C {1e3 / limit:.3g} M/s"
    if limit / best < OF_C:
        of_c += why_below(report, best, limit / OF_C)
    rows = [
        Measurement(f"replay, {name}", 1e3 / best, "M/s", least, least=True, detail=detail, samples=mine),
        Measurement(f"replay, {name}, over C", limit / best, "x", OF_C, least=True, detail=of_c, samples=theirs),
    ]
    label = f"replay, {name}, over libCacheSim"
    if lru:
        detail = f"LRU {1e3 / median(lru):.3g} M/s"
        if median(lru) / best < OF_LIBCACHESIM:
            detail += why_below(report, best, median(lru) / OF_LIBCACHESIM)
        rows.append(Measurement(label, median(lru) / best, "x", OF_LIBCACHESIM, least=True, detail=detail, samples=lru))
    else:
        rows.append(Measurement(label, None, "x", detail="libcachesim is not installed (pip install pagewalk[bench])"))
    return rows


def cachegrind(name: str, batches: list[Batch], nanoseconds: float) -> Measurement:
    """Data references a second, ours over cachegrind's for the same program; all in time of the processor."""
    label = f"replay, {name}, data over cachegrind"
    if shutil.which("valgrind") is None:
        return Measurement(label, None, "x", detail="valgrind is not installed")
    start, _ = _under_cachegrind(["/bin/true"])
    whole, references = _under_cachegrind(traces.command_of(name))
    theirs = references / (whole - start)
    accesses = sum(map(len, batches))
    data = accesses - sum(int(np.count_nonzero(batch.kind == FETCH)) for batch in batches)
    mine = data / (accesses * nanoseconds / 1e9)
    return Measurement(label, mine / theirs, "x", 1.0, least=True,
                       detail=f"{mine / 1e6:.3g} M data references/s, cachegrind {theirs / 1e6:.3g}")  # fmt: skip


def _under_cachegrind(command: list[str]) -> tuple[float, int]:
    """Seconds of the processor, and data references."""
    options = ["--tool=cachegrind", "--cache-sim=yes", "--D1=262144,4,4096", "--cachegrind-out-file=/dev/null"]
    before = _children()
    done = subprocess.run(
        ["valgrind", *options, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    took = _children() - before
    found = re.search(r"D\s+refs:\s+([\d,]+)", done.stderr)
    if found is None:
        raise RuntimeError(f"cachegrind: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    return took, int(found[1].replace(",", ""))


def _children() -> float:
    """Seconds of the processor that children have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def streamed(count: int) -> tuple[float, float]:
    """MiB that a replay of so many streamed accesses has grown by, and million accesses a second."""
    grown, speed = (float(word) for word in in_child(STREAMED.replace("COUNT", str(count))).split())
    return grown, speed


def measure() -> list[Measurement]:
    """Captured traces, synthetic ones, and memory over 10^8 accesses."""
    rows: list[Measurement] = []
    for name in traces.PROGRAMS:
        try:
            batches = traces.captured(name)
        except RuntimeError as error:
            rows.append(Measurement(f"replay, {name}", None, "M/s", detail=f"not measured: {error}"))
            continue
        found = compare(name, batches, CAPTURED)
        rows += [*found, cachegrind(name, batches, median(found[0].samples))]
    for name, make in traces.SYNTHETIC.items():
        rows += compare(name, make(), LEAST[name])
    grown, speed = streamed(100_000_000)
    rows.append(Measurement("replay of 10^8 accesses, memory grown", grown, "MiB", 8.0, detail=f"{speed:.3g} M/s"))
    for file in ("accesses.bin", "pages.oracleGeneral.bin"):
        Path(work_folder(), file).unlink(missing_ok=True)
    return rows


if __name__ == "__main__":
    print("{:.3g} MiB grown, {:.3g} million accesses a second".format(*streamed(int(sys.argv[1]))))
