"""Memory pressure in the model: pages reclaimed and swapped out a second, and a replay of which most accesses miss.

Reclaim is measured where nothing else is: pages with contents, none of them used lately, taken by passes over the lists
until three quarters of them are in swap. On the second trip: on the first, the host has to find and to clear a page for
each page of contents, which takes it from half a microsecond to ten, as its own memory is; that is a row of its own,
with the part of the time that the host took. The replay is of uniform random accesses to twice as much memory as the
machine has; about half of them are major faults, each with a page that has to go first.
"""

import resource
import time

import numpy as np

from bench.measure import Measurement, median
from pagewalk import Config, Machine
from pagewalk.hw.tlb_presets import preset
from pagewalk.mm.vmscan import try_to_free_memory
from pagewalk.trace.format import Batch
from pagewalk.trace.replay import Replay

ROUNDS = 3
MIB = 256
REPLAY_MIB = 128
ACCESSES = 300_000


def swapped_out() -> list[tuple[float, float]]:
    """Pages a second that go to swap, and the part of the time that is the host's kernel's: the first time, when the
    host has no memory yet for what they hold, and the second time."""
    with Machine(ram="1G", swap="1G", aslr=False) as machine:
        process = machine.spawn()
        area = process.mmap(f"{MIB}M")
        trips = []
        for _ in range(2):
            process.touch(area, f"{MIB}M")
            quads = machine.system.ram.quads
            for lru in machine.system.node.lruvec.lists:
                for page in lru.pages():
                    quads[int(page.pfn) << 9] = 1 + int(page.pfn)  # pages of zeros would only leave a mark
            try_to_free_memory(machine.system, 32)  # the first round only clears the accessed bits
            trips.append(trip(machine, (MIB << 8) * 3 // 4))
        return trips


def trip(machine: Machine, pages: int) -> tuple[float, float]:
    """At least ``pages`` pages go to swap: pages a second, and the part of the time in the host's kernel."""
    before = machine.system.vmstat.pswpout
    in_kernel = resource.getrusage(resource.RUSAGE_SELF).ru_stime
    start = time.perf_counter()
    while machine.system.vmstat.pswpout - before < pages:
        if try_to_free_memory(machine.system, 4096) == 0:
            raise RuntimeError("nothing could be reclaimed")
    took = time.perf_counter() - start
    in_kernel = resource.getrusage(resource.RUSAGE_SELF).ru_stime - in_kernel
    return (machine.system.vmstat.pswpout - before) / took, in_kernel / took


def thrashed() -> tuple[float, float]:
    """Major faults a second of a replay under pressure, and what part of the accesses they are."""
    config = Config(ram=f"{REPLAY_MIB}M", swap="1G", aslr=False, page_cluster=0)
    with Machine(config) as machine:
        pages = machine.system.totalram_pages * 2
        random = np.random.default_rng(1)
        run = Replay(machine, preset("skylake-sp"), map_on_fault=True)
        try:
            run.feed(batch(np.arange(pages, dtype=np.int64)))  # everything is touched, half of it is in swap then
            majors = run.finish().major
            start = time.perf_counter()
            run.feed(batch(random.integers(0, pages, ACCESSES)))
            took = time.perf_counter() - start
            majors = run.finish().major - majors
        finally:
            run.close()
    return majors / took, majors / ACCESSES


def batch(pages: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Batch:
    """Stores to pages, by number."""
    return Batch.of(addr=0x1000_0000 + (pages << 12), kind=1, size=8)


def measure() -> list[Measurement]:
    """The figures."""
    trips = [swapped_out() for _ in range(ROUNDS)]
    first = median([rate for (rate, _), _ in trips])
    host = median([part for (_, part), _ in trips])
    out = median([rate for _, (rate, _) in trips])
    samples = [thrashed() for _ in range(ROUNDS)]
    faults = median([rate for rate, _ in samples])
    part = median([share for _, share in samples])
    return [
        Measurement("reclaim and swap-out", out, "/s", 300_000, least=True, detail=f"{1e9 / out:.0f} ns a page"),
        Measurement("  and the host finds memory for it", first, "/s",
                    detail=f"{1e9 / first:.0f} ns a page, {host:.0%} of that in the host's kernel"),
        Measurement("major faults of a replay", faults, "/s", 200_000, least=True,
                    detail=f"{1e9 / faults:.0f} ns each with a page swapped out; {part:.0%} of the accesses"),
    ]  # fmt: skip
