"""First touch of anonymous memory: the running kernel, the model called from Python, and a program in the model.

The model's figure is a fault through the public face, ``Process.touch``: find the VMA, build the tables, take a frame
from the allocator, zero it, write the entry, count. The budget is for frames in use before, as nearly all of the
kernel's are: they have to be zeroed. A frame that was never used is zero already, so its fault zeroes nothing; what the
host then takes to bring the RAM in is a row of its own, with the byte that makes it do so. Both sides' rounds
alternate.
"""

import subprocess
import time

from bench.measure import Measurement, compile_c, median, pagewalk_command
from pagewalk import Machine, Process, Prot

ROUNDS = 7
MIB = 64


def native(program: str, rounds: int) -> list[float]:
    """Nanoseconds for each fault of the running kernel, by round."""
    out = subprocess.run([program, str(rounds), str(MIB)], check=True, capture_output=True, text=True).stdout
    return [float(line.split()[1]) for line in out.splitlines()]


def inside(program: str) -> list[float]:
    """The same program in pagewalk: emulation included."""
    command = [*pagewalk_command("--quiet"), program, str(ROUNDS), str(MIB)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(line.split()[1]) for line in out.splitlines()]


def touched(process: Process, *, store: bool) -> float:
    """Nanoseconds for each fault of the model in a new area; with ``store``, a byte is stored in each page as well."""
    area = process.mmap(MIB << 20, Prot.READ | Prot.WRITE)
    before = process.minor_faults
    start = time.perf_counter_ns()
    process.touch(area, MIB << 20, write=True)
    if store:
        for addr in range(area, area + (MIB << 20), 4096):
            process.write(addr, b"x")
    took = time.perf_counter_ns() - start
    faults = process.minor_faults - before
    if faults != MIB << 8:
        raise RuntimeError(f"expected {MIB << 8} faults, the model counted {faults}")
    process.munmap(area, MIB << 20)
    return took / faults


def measure() -> list[Measurement]:
    """The ratio, and what it is made of."""
    program = compile_c("faults.c", "-static")
    kernel: list[float] = []
    ours: list[float] = []
    with Machine(ram="1G", aslr=False) as machine:
        process = machine.spawn()
        cold = touched(process, store=True)
        for _ in range(ROUNDS):
            kernel.append(median(native(program, 3)[1:]))
            ours.append(touched(process, store=False))
    k, m, e = median(kernel), median(ours), median(inside(program)[1:])
    detail = f"{1e9 / m:,.0f}/s ({m:.0f} ns), the kernel {1e9 / k:,.0f}/s ({k:.0f} ns)"
    return [
        Measurement("faults, model over running kernel", k / m, "x", 1.0, least=True, detail=detail, samples=ours),
        Measurement("faults, RAM never used before", cold, "ns", detail="with a store from Python that brings it in"),
        Measurement("faults of a program in pagewalk", e, "ns", detail=f"{1e9 / e:,.0f}/s, emulation included"),
    ]
