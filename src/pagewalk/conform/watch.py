"""What a program's memory was when it ended: faults, the largest resident set, the maps, natively and in the model."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pagewalk.conform.both import Outcome, compile_program, run_kernel, run_model

__all__ = ["Watched", "hwm_slack", "watch_kernel", "watch_model"]

PAGE = 4096


@dataclass(frozen=True)
class Watched:
    """One run. ``minor`` and ``major`` since execve; ``peak`` is VmHWM in bytes; ``maps`` without device and inode."""

    outcome: Outcome
    minor: int
    major: int
    peak: int
    maps: list[str]


def plain_maps(lines: Sequence[str]) -> list[str]:
    """Lines of /proc/PID/maps without what differs between any two machines: device and inode numbers."""
    found = []
    for line in lines:
        fields = line.split(None, 5)
        if len(fields) >= 5 and re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", fields[0]):
            found.append(" ".join([*fields[:3], fields[5].strip() if len(fields) > 5 else ""]))
    return found


def watch_kernel(argv: Sequence[str], *, env: dict[str, str], folder: Path, cwd: str = "/") -> Watched:
    """Natively, under ptrace(2), which stops it when it ends. ``folder`` is for a file between the two."""
    facts = folder / "native"
    facts.unlink(missing_ok=True)
    outcome = run_kernel([compile_program("watch"), str(facts), *argv], env=env, cwd=cwd)
    lines = facts.read_text().splitlines() if facts.exists() else ["faults -1 -1", "VmHWM: -1 kB"]
    minor, major = lines[0].split()[1:]
    return Watched(outcome, int(minor), int(major), int(lines[1].split()[1]) << 10, plain_maps(lines[2:]))


def watch_model(argv: Sequence[str], *, env: dict[str, str], folder: Path, cwd: str = "/") -> Watched:
    """In the model, with as many CPUs as this machine has, which some programs ask for; it reports the rest."""
    report = folder / "model"
    report.unlink(missing_ok=True)
    outcome = run_model(
        argv, env=env, cwd=cwd, options=["--json", str(report), "--maps", "--cpus", str(min(os.cpu_count() or 1, 64))]
    )
    data = json.loads(report.read_text()) if report.exists() else {}
    peak = data.get("rss", {}).get("peak", -1)
    return Watched(outcome, data.get("minor", -1), data.get("major", -1), peak, plain_maps(outcome.error.splitlines()))


def hwm_slack() -> int:
    """By how many bytes the kernel's VmHWM may be too small.

    It is kept from counters that each CPU adds to in batches of 32 pages or more (percpu_counter), one for each of
    anonymous, file and shared memory; the model counts exactly.
    """
    cpus = os.cpu_count() or 1
    return 3 * (max(32, 2 * cpus) - 1) * cpus * PAGE
