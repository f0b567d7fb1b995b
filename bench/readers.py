"""Reading other tools' text: lines a second, of a million lines that are accesses, in time of the processor."""

import random
import time
from collections.abc import Callable

from bench.measure import Measurement, work_folder
from pagewalk.trace.open import open_trace

ROUNDS = 3
LINES = 1_000_000
LEAST = 1.0  # million lines a second


def formats() -> dict[str, Callable[[int], str]]:
    """For each format, its n-th line."""
    rng = random.Random(1)
    addr = [rng.randrange(1 << 46) for _ in range(LINES)]
    kind = [rng.randrange(3) for _ in range(LINES)]
    return {
        "lackey": lambda n: (" L ", " S ", "I  ")[kind[n]] + f"{addr[n]:x},8",
        "dynamorio": lambda n: f"{n + 1:12} {n:9}: {276554:11} {('read', 'write', 'ifetch')[kind[n]]} 8 byte(s) @ "
                               f"0x{addr[n]:016x} by PC 0x{addr[n] ^ 4096:016x}",
        "din": lambda n: f"{kind[n]} {addr[n]:x}",
        "csv": lambda n: f"0x{addr[n]:x},{'RWR'[kind[n]]}",
        "gem5": lambda n: f"{'rwr'[kind[n]]},{addr[n]},8,{500 * n}",
        "perf": lambda n: f"            perl {1234:6} [{n & 1:03}] {n // 1000:6}.{n % 1000000:06}:          1 "
                          f"page-faults: {addr[n]:16x} {addr[n] ^ 4096:16x} main+0x{n & 255:x} (/usr/bin/perl)",
    }  # fmt: skip


def measure() -> list[Measurement]:
    """A row for each format."""
    rows = []
    file = work_folder() / "lines.txt"
    for name, line in formats().items():
        file.write_text("\n".join(map(line, range(LINES))) + "\n")
        size = file.stat().st_size
        taken = []
        for _ in range(1 + ROUNDS):  # the first one compiles
            start = time.process_time()
            read = sum(map(len, open_trace(file, format=name)))
            taken.append(time.process_time() - start)
            if read != LINES:
                raise RuntimeError(f"{name}: expected {LINES} accesses, got {read}")
        took = sorted(taken[1:])[ROUNDS // 2]
        rows.append(Measurement(f"reading {name}", LINES / took / 1e6, "M/s", LEAST, least=True,
                                detail=f"lines; {size / took / 1e6:.3g} MB/s", samples=taken[1:]))  # fmt: skip
    file.unlink()
    return rows
