"""Replaying traces: DTLB, STLB, walk caches, walks over the bits in RAM, demand faults; beside the least that C needs
for it (replay.c, ``cc -O3``, one geometry by hand) and beside libCacheSim's LRU over the same page numbers.

The captured trace is of a program that pagewalk ran (``run --record``); the random one is uniform over 64 MiB. Rounds
of ours and of C alternate, each on a machine that has touched nothing; the best of each counts, in time of the
processor. Both start with the trace in memory.
"""

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import Measurement, compile_c, in_child, pagewalk_command
from pagewalk.config import Config
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.machine import Machine
from pagewalk.trace.format import BATCH, Batch
from pagewalk.trace.open import open_trace
from pagewalk.trace.replay import Replay

ROUNDS = 3
ACCESSES = 16 << 20
BASE = 0x7F00_0000_0000
TLB = "l1d=64x4,l1i=64x4,l2=1536x12,pmd=32x4,pud=4,pgd=4"
PROGRAM = ("perl", "-e", "my %h; $h{$_} = $_ for 1 .. 6000; print scalar keys %h")

# A trace that is made as it is replayed: the same batch again and again, at other places of 64 MiB.
STREAMED = """
import numpy as np
from bench.measure import resident
from bench.replay import TLB, BASE, random_batches
from pagewalk import Config, Machine
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.trace.format import Batch
from pagewalk.trace.replay import Replay
count, seen = 100_000_000, 0
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


def random_batches(count: int) -> list[Batch]:
    """Uniform over 64 MiB, half of them writes."""
    rng = np.random.default_rng(1)
    return [
        Batch.of(BASE + (rng.integers(0, 64 << 20, BATCH) & ~7), rng.integers(0, 2, BATCH), 8, 1)
        for _ in range(count // BATCH)
    ]


def captured_batches(folder: Path) -> list[Batch]:
    """What PROGRAM did."""
    trace = folder / "captured.pwt"
    subprocess.run([*pagewalk_command("--quiet", "--no-aslr", "--record", str(trace)), *PROGRAM], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return list(open_trace(str(trace)))


def ours(batches: list[Batch]) -> tuple[float, Any]:
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


def in_c(program: str, file: Path) -> float:
    """Nanoseconds an access of the C loop, one round."""
    out = subprocess.run([program, str(file), "1"], check=True, capture_output=True, text=True).stdout
    return float(out.splitlines()[0])


def cache_simulator(batches: list[Batch], folder: Path) -> float | None:
    """Nanoseconds an access of libCacheSim's LRU of 1536 objects over page numbers, read from a file of its own format
    in its own loop; None where it is not there."""
    try:
        import libcachesim as lcs
    except ImportError:
        return None
    pages = (np.concatenate([batch.addr for batch in batches]) >> 12)[: 8 << 20]
    record = np.dtype([("time", "<u4"), ("page", "<u8"), ("size", "<u4"), ("next", "<i8")])  # "oracleGeneral"
    rows = np.zeros(len(pages), record)
    rows["page"], rows["size"], rows["next"] = pages, 1, -2
    file = folder / "pages.oracleGeneral.bin"
    rows.tofile(file)
    reader = lcs.TraceReader(str(file), lcs.TraceType.ORACLE_GENERAL_TRACE)
    cache = lcs.LRU(cache_size=1536)
    start = time.process_time_ns()
    cache.process_trace(reader)
    return (time.process_time_ns() - start) / len(pages)


def compare(name: str, batches: list[Batch], least: float, program: str, folder: Path) -> list[Measurement]:
    """The rows of one trace."""
    file = folder / f"{name}.bin"
    addrs = np.concatenate([batch.addr for batch in batches])
    kinds = np.concatenate([batch.kind for batch in batches])
    file.write_bytes(np.uint64(len(addrs)).tobytes() + addrs.tobytes() + kinds.tobytes())
    ours(batches[:1])
    mine, theirs = [], []
    report = None
    for _ in range(ROUNDS):
        took, report = ours(batches)
        mine.append(took)
        theirs.append(in_c(program, file))
    best, limit = min(mine), min(theirs)
    assert report is not None
    lookups = report.counters.lookups
    detail = f"{len(addrs):,} accesses, {100 * report.counters.misses / lookups:.3g} % walk, {report.minor:,} faults"
    rows = [
        Measurement(f"replay, {name}", 1e3 / best, "M/s", least, least=True, detail=detail, samples=mine),
        Measurement(f"replay, {name}, over C", limit / best, "x", 0.5, least=True, detail=f"C {1e3 / limit:.3g} M/s"),
    ]
    other = cache_simulator(batches, folder)
    if other is None:
        rows.append(Measurement(f"replay, {name}, over libCacheSim", None, "x", detail="libcachesim is not installed"))
    else:
        rows.append(Measurement(f"replay, {name}, over libCacheSim", other / best, "x", 3.0, least=True,
                                detail=f"LRU {1e3 / other:.3g} M/s"))  # fmt: skip
    return rows


def measure() -> list[Measurement]:
    """Captured, random, and memory over 10^8 accesses."""
    program = compile_c("replay.c", "-O3")
    with tempfile.TemporaryDirectory(prefix="pagewalk-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        rows = compare("captured", captured_batches(folder), 50.0, program, folder)
        rows += compare("random", random_batches(ACCESSES), 20.0, program, folder)
    grown, speed = (float(word) for word in in_child(STREAMED).split())
    rows.append(Measurement("replay of 10^8 accesses, memory grown", grown, "MiB", 8.0, detail=f"{speed:.3g} M/s"))
    return rows
