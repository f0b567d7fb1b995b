"""Miss curves: all sizes of TLB, fully associative, for pages of 4K, 16K, 64K and 2M in one pass, beside one replay of
the same trace with one TLB (bench/replay.py's), in the processor's time of this process; rounds alternate, and the best
of each counts. Both start with the trace in memory. Look-ups are data and fetches, as the replay's.
"""

import time
from typing import Any

from bench import traces
from bench.measure import Measurement, in_child
from bench.replay import ours
from pagewalk.lab import CurveRun
from pagewalk.trace.format import Batch

ROUNDS = 3
BUDGET = 10.0  # times one replay
SAMPLE = 0.1

# A trace that is made as it is followed: the same steps again and again, at other places of 64 MiB; all four page sizes
# and a set count, exact and sampled; what it takes is looked at after a quarter and at the end.
STREAMED = """
import time
import numpy as np
from bench.measure import resident
from bench.traces import BASE
from pagewalk.lab import CurveRun
from pagewalk.trace.format import Batch
count, seen = 100_000_000, 0
rng = np.random.default_rng(1)
runs = [CurveRun("tlb", sets=(128,)), CurveRun("ram", sample_pages=1024)]
steps = np.cumsum(rng.integers(-4000, 4000, 1 << 18))
before = 0
start = time.process_time()
while seen < count:
    batch = Batch.of(BASE + ((steps + 8 * seen) & (1 << 26) - 1), 0, 1, 1)
    for run in runs:
        run.feed(batch)
    seen += len(batch)
    if not before and seen >= count // 4:
        before = resident()
print((resident() - before) / (1 << 20), seen / (time.process_time() - start) / 1e6)
"""


def curves(batches: list[Batch], **options: Any) -> tuple[float, CurveRun]:
    """Nanoseconds an access."""
    run = CurveRun("tlb", side="both", **options)
    start = time.process_time_ns()
    for batch in batches:
        run.feed(batch)
    run.finish()
    return (time.process_time_ns() - start) / run.accesses, run


def compare(name: str, batches: list[Batch]) -> list[Measurement]:
    """The rows of one trace."""
    ours(batches[:1])
    curves(batches[:1])
    replays, exact, with_sets, sampled = [], [], [], []
    for _ in range(ROUNDS):
        replays.append(ours(batches)[0])
        took, run = curves(batches)
        exact.append(took)
        with_sets.append(curves(batches, sets=(16, 128))[0])
        sampled.append(curves(batches, sample=SAMPLE)[0])
    replay = min(replays)
    pages = run.finish().of("4K").cold
    detail = (f"{run.accesses:,} accesses, {pages:,.0f} pages of 4K; {1e3 / min(exact):.3g} M/s, "
              f"replay {1e3 / replay:.3g} M/s, {run.nr_bytes / (1 << 20):.2g} MiB")  # fmt: skip
    return [
        Measurement(f"curves, {name}, over one replay", min(exact) / replay, "x", BUDGET, detail=detail, samples=exact),
        Measurement("  and those of 16 and of 128 sets", min(with_sets) / replay, "x", samples=with_sets),
        Measurement(f"  of a sample of {SAMPLE:.0%} of the pages", min(sampled) / replay, "x", samples=sampled),
    ]  # fmt: skip


def measure() -> list[Measurement]:
    """Captured traces, a random one, and memory over 10^8 accesses."""
    rows: list[Measurement] = []
    for name in traces.PROGRAMS:
        try:
            rows += compare(name, traces.captured(name))
        except RuntimeError as error:
            rows.append(Measurement(f"curves, {name}", None, "x", detail=f"not measured: {error}"))
    rows += compare("random", traces.random())
    grown, speed = (float(word) for word in in_child(STREAMED).split())
    rows.append(Measurement("curves of 10^8 accesses, memory grown", grown, "MiB", 8.0, detail=f"{speed:.3g} M/s"))
    return rows
