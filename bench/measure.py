"""The pieces that every measurement uses: a result with its budget, C programs, memory of this process."""

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent


@dataclass
class Measurement:
    """One line of the table.

    name    what was measured
    value   the figure, None where it could not be measured
    unit    of the figure
    budget  the limit (DESIGN.md, section 6), None for a figure that is there to explain another
    least   the budget is the least allowed rather than the most
    detail  what it was made of
    """

    name: str
    value: float | None
    unit: str
    budget: float | None = None
    least: bool = False
    detail: str = ""
    samples: list[float] = field(default_factory=list)

    @property
    def met(self) -> bool | None:
        """Whether the budget is met; None where there is none."""
        if self.budget is None or self.value is None:
            return None if self.value is not None else False
        return self.value >= self.budget if self.least else self.value <= self.budget


def work_folder() -> Path:
    """Where the benchmark keeps what it makes: a program in pagewalk has a /tmp of its own."""
    folder = Path("/var/tmp") / f"pagewalk-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def compile_c(source: str, *flags: str) -> str:
    """The path of ``source`` (beside this file) compiled with -O2 and ``flags``; compiled once per content, that of the
    headers beside it too."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("a C compiler is needed for the comparison with the running kernel")
    text = (HERE / source).read_bytes()
    text += b"".join(header.read_bytes() for header in sorted((HERE / source).parent.glob("*.h")))
    digest = hashlib.sha256(text + " ".join(flags).encode()).hexdigest()[:16]
    out = work_folder() / f"{Path(source).stem}-{digest}"
    if not out.exists():
        subprocess.run([compiler, "-O2", *flags, "-o", str(out), str(HERE / source)], check=True)
    return str(out)


def pagewalk_command(*options: str) -> list[str]:
    """The command that runs pagewalk's command line as this process has it."""
    return [sys.executable, "-m", "pagewalk", "run", *options, "--"]


def resident() -> int:
    """Bytes of this process that are resident."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def resident_within(start: int, end: int) -> int:
    """Bytes of this process's mappings between two addresses that are resident."""
    total, inside = 0, False
    with open("/proc/self/smaps") as smaps:
        for line in smaps:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                first, last = (int(word, 16) for word in words[0].split("-"))
                inside = first < end and last > start
            elif inside and words[0] == "Rss:":
                total += int(words[1]) * 1024
    return total


def median(samples: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(samples)


def in_child(code: str, env: dict[str, str] | None = None) -> str:
    """What ``code`` prints in a fresh interpreter, so that measurements of memory do not see each other."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=HERE.parent
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["failed"])[-1])
    return done.stdout
