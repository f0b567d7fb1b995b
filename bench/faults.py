"""First touch of anonymous memory: the running kernel, the model called from Python, and a program in the model.

The model's figure is a fault through the public face, ``Process.touch``: find the VMA, build the tables, take a frame
from the allocator, zero it, write the entry, count. The RAM is warm from the second round on, as the kernel's is.
"""

import subprocess
import time

from bench.measure import Measurement, compile_c, median, pagewalk_command

ROUNDS = 7
MIB = 64


def native(program: str) -> list[float]:
    """Nanoseconds for each fault of the running kernel, by round."""
    out = subprocess.run([program, str(ROUNDS), str(MIB)], check=True, capture_output=True, text=True).stdout
    return [float(line.split()[1]) for line in out.splitlines()]


def inside(program: str) -> list[float]:
    """The same program in pagewalk: emulation included."""
    command = [*pagewalk_command("--quiet"), program, str(ROUNDS), str(MIB)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(line.split()[1]) for line in out.splitlines()]


def model() -> list[float]:
    """Nanoseconds for each fault of the model, called from Python, by round."""
    from pagewalk import Machine, Prot

    rounds = []
    with Machine(ram="1G", aslr=False) as machine:
        process = machine.spawn()
        for _ in range(ROUNDS):
            area = process.mmap(MIB << 20, Prot.READ | Prot.WRITE)
            before = process.minor_faults
            start = time.perf_counter_ns()
            process.touch(area, MIB << 20, write=True)
            took = time.perf_counter_ns() - start
            faults = process.minor_faults - before
            assert faults == MIB << 8, faults
            rounds.append(took / faults)
            process.munmap(area, MIB << 20)
    return rounds


def measure() -> list[Measurement]:
    """The ratio, and what it is made of."""
    program = compile_c("faults.c", "-static")
    kernel, ours, emulated = native(program), model(), inside(program)
    k, m, e = median(kernel[1:]), median(ours[1:]), median(emulated[1:])
    detail = f"{1e9 / m:,.0f}/s ({m:.0f} ns; first round {ours[0]:.0f}), the kernel {1e9 / k:,.0f}/s ({k:.0f} ns)"
    return [
        Measurement("faults, model over running kernel", k / m, "x", 1.0, least=True, detail=detail, samples=ours),
        Measurement("faults of a program in pagewalk", e, "ns", detail=f"{1e9 / e:,.0f}/s, emulation included"),
    ]
