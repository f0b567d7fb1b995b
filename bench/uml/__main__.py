"""Runs the patterns on both sides and writes the table into docs/reclaim.md: ``python -m bench.uml [--runs N]``.

Each pattern runs on N kernels that are booted one after the other, and on as many machines of the model, each as large
as one of those; the median of each figure is compared. Needs Debian's user-mode-linux; without it, one line says so and
the status is 1. Memory cgroups and zswap are compared by ``python -m bench.uml.groups``.
"""

import argparse
import datetime
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.uml import model
from bench.uml.command import run_all, write_between
from bench.uml.kernel import UserModeLinux
from bench.uml.table import Row, rows

PATTERNS = {
    "cyclic": "cyclic 20000 4",
    "Zipf": "zipf 16000 200000",
    "hot set and scans": "scan 4000 9000 100000",
    "file beside anonymous": "stream 6000 {file} 4000",
    "file against anonymous": "stream 11000 {file} 4000",
    "file set, anonymous set": "sets 8000 {file} 4000 60000",
    "fork, copy-on-write": "fork 8000 4 6000",
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "reclaim.md"
BEGIN, END = "<!-- begin: python -m bench.uml -->", "<!-- end -->"


def compare(linux: UserModeLinux, name: str, runs: int) -> list[Row]:
    """One pattern on both sides."""
    words = PATTERNS[name].split()
    boots = [linux.run(["patterns", *(word.format(file="/data/file") for word in words)]) for _ in range(runs)]
    ours = ["patterns", *(word.format(file=str(linux.file)) for word in words)]
    return rows(name, medians(boots), medians([model.run(linux.root, ours, boot) for boot in boots]))


def medians(runs: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """Of each figure over the runs."""
    return {figure: median(run[figure] for run in runs) for figure in runs[0]}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="bench.uml", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="PATTERN", help=f"some of {', '.join(PATTERNS)}; all without any")
    parser.add_argument(
        "--runs", type=int, default=3, metavar="N", help="boots of the real kernel for each pattern (3)"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PATTERNS):
        parser.error(f"expected some of {', '.join(PATTERNS)}, got {', '.join(sorted(unknown))}")
    if arguments.runs < 1:
        parser.error(f"--runs: expected 1 or more, got {arguments.runs}")
    table = run_all(
        "bench.uml", arguments.names or PATTERNS, PATTERNS, lambda linux, name: compare(linux, name, arguments.runs)
    )
    if not table:
        return 1
    if not arguments.names:
        date = datetime.date.today().isoformat()
        write_between(
            DOCUMENT, BEGIN, END, f"\nGenerated on {date}; {arguments.runs} boots of Linux 6.1 a pattern.\n\n{table}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
