"""fork of a process with 256 MiB touched, and copy-on-write faults in the child: the model against the running kernel.

The model's figures are those of the public face, ``Process.fork`` and ``Process.touch``, with frames that were in use
before. Both sides' rounds alternate.
"""

import subprocess
import time

from bench.measure import Measurement, compile_c, median
from pagewalk import Machine, Process, Prot

ROUNDS = 5
MIB = 256
WRITTEN = MIB // 4  # MiB that the child writes to


def native(program: str) -> tuple[float, float]:
    """(milliseconds of a fork, nanoseconds of a copy) of the running kernel."""
    out = subprocess.run([program, "3", str(MIB)], check=True, capture_output=True, text=True).stdout
    rounds = [line.split() for line in out.splitlines()][1:]
    return median([float(one[0]) for one in rounds]), median([float(one[1]) for one in rounds])


def model(process: Process, area: int) -> tuple[float, float]:
    """The same of the model."""
    start = time.perf_counter_ns()
    child = process.fork()
    forked = time.perf_counter_ns()
    child.touch(area, WRITTEN << 20, write=True)
    copied = time.perf_counter_ns()
    if child.minor_faults != WRITTEN << 8:
        raise RuntimeError(f"expected {WRITTEN << 8} faults, the model counted {child.minor_faults}")
    child.exit()
    process.touch(area, MIB << 20, write=True)  # writable again
    return (forked - start) / 1e6, (copied - forked) / (WRITTEN << 8)


def measure() -> list[Measurement]:
    """The two ratios."""
    program = compile_c("fork.c", "-static")
    kernel: list[tuple[float, float]] = []
    ours: list[tuple[float, float]] = []
    with Machine(ram="2G", aslr=False) as machine:
        process = machine.spawn()
        area = process.mmap(MIB << 20, Prot.READ | Prot.WRITE)
        process.touch(area, MIB << 20, write=True)
        model(process, area)
        for _ in range(ROUNDS):
            kernel.append(native(program))
            ours.append(model(process, area))
    fork_k, copy_k = median([one[0] for one in kernel]), median([one[1] for one in kernel])
    fork_m, copy_m = median([one[0] for one in ours]), median([one[1] for one in ours])
    return [
        Measurement(
            "fork with 256 MiB touched, model over kernel", fork_m / fork_k, "x", 5.0,
            detail=f"{fork_m:.1f} ms, the kernel {fork_k:.1f} ms",
        ),
        Measurement(
            "copy-on-write faults, model over kernel", copy_k / copy_m, "x", 1.0, least=True,
            detail=f"{1e9 / copy_m:,.0f}/s ({copy_m:.0f} ns), the kernel {1e9 / copy_k:,.0f}/s ({copy_k:.0f} ns)",
        ),
    ]  # fmt: skip
