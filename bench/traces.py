"""The traces that replay is measured on: captured from real programs, and synthetic ones.

Captured traces are kept in the work folder (measure.work_folder) under a name that says what they were made from, so
that only the first run of the benchmark records them.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.measure import pagewalk_command, work_folder
from pagewalk.errors import TraceError
from pagewalk.trace.events import Event, Mmap
from pagewalk.trace.format import BATCH, Batch
from pagewalk.trace.native import VERSION
from pagewalk.trace.open import open_trace

BASE = 0x7F00_0000_0000
MIB = 1 << 20
COUNT = 16 << 20  # accesses of a synthetic trace

# Programs that a Debian system has, each some 10 to 20 million accesses; INPUT is a text of LINES lines.
PROGRAMS: dict[str, list[str]] = {
    "perl": ["perl", "-e", "my %h; $h{$_} = $_ for 1 .. 12000; print scalar keys %h"],
    "sort": ["sort", "INPUT"],
    "gzip": ["gzip", "-c", "INPUT"],
}
LINES = 8000


def input_text() -> str:
    """Lines of two numbers in no order."""
    return "".join(f"{number * 7919 % 20011} {number}\n" for number in range(LINES))


def command_of(name: str) -> list[str]:
    """The command line of one of PROGRAMS; RuntimeError where it is not installed."""
    program, *words = PROGRAMS[name]
    path = shutil.which(program)
    if path is None:
        raise RuntimeError(f"{program} is not installed")
    text = input_text()
    file = work_folder() / f"input-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    file.write_text(text)
    return [path, *(word.replace("INPUT", str(file)) for word in words)]


def captured(name: str) -> list[Batch]:
    """What one of PROGRAMS accessed, in memory."""
    command = command_of(name)
    status = os.stat(command[0])
    made_of = f"{command} {status.st_size} {status.st_mtime_ns} {VERSION}"
    trace = work_folder() / f"{name}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.pwt"
    if trace.exists():
        try:
            return list(open_trace(str(trace)))
        except TraceError:
            trace.unlink()
    part = Path(f"{trace}.part")
    done = subprocess.run([*pagewalk_command("--quiet", "--no-aslr", "--record", str(part)), *command],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{name} was not recorded: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    part.rename(trace)
    return list(open_trace(str(trace)))


def _batches(offsets: Iterator[npt.NDArray[np.int64]], rng: np.random.Generator, mib: int) -> list[Batch]:
    """Accesses of 8 bytes at these places of so many MiB, which are mapped first; half of them writes."""
    events: list[list[tuple[int, Event]]] = [[(0, Mmap(task=1, addr=BASE, length=mib * MIB, prot=3, flags=0x22))]]
    return [
        Batch.of(BASE + each, rng.integers(0, 2, len(each)), 8, 1, events=events.pop() if events else None)
        for each in offsets
    ]


def random() -> list[Batch]:
    """Uniform over 64 MiB."""
    rng = np.random.default_rng(1)
    return _batches((rng.integers(0, 64 * MIB, BATCH) & ~7 for _ in range(COUNT // BATCH)), rng, 64)


def sequential() -> list[Batch]:
    """Words of 64 MiB one after the other, again from the beginning at the end."""
    words = np.arange(BATCH, dtype=np.int64) * 8
    rng = np.random.default_rng(1)
    return _batches((words + start * 8 & 64 * MIB - 1 for start in range(0, COUNT, BATCH)), rng, 64)


def zipf() -> list[Batch]:
    """Pages of 256 MiB by Zipf's law (the n-th most frequent one 1/n as often as the first), in no order."""
    rng = np.random.default_rng(1)
    nr_pages = 256 * MIB >> 12
    page = rng.permutation(nr_pages)
    upto = np.cumsum(1 / np.arange(1, nr_pages + 1))

    def offsets() -> Iterator[npt.NDArray[np.int64]]:
        for _ in range(COUNT // BATCH):
            picked = page[np.searchsorted(upto, rng.random(BATCH) * upto[-1])]
            yield (picked << 12) + (rng.integers(0, 4096, BATCH) & ~7)

    return _batches(offsets(), rng, 256)


SYNTHETIC = {"random": random, "sequential": sequential, "zipf": zipf}
