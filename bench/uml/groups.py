"""Memory cgroups and zswap on a real kernel and in the model: ``python -m bench.uml.groups``, into docs/cgroups.md.

Each scenario (bench/uml/groups.c) runs once on Debian's user-mode Linux and once in the model, on a machine with as
much memory. Victims and kills have to be the same; what is counted in pages, events or milliseconds has to be within
15 %, where it is large enough to tell.
"""

import argparse
import datetime
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.uml import model
from bench.uml.command import run_all, write_between
from bench.uml.kernel import UserModeLinux
from bench.uml.table import Row

SCENARIOS = {
    "no protection": "protect memory.min 0 3000 9000 3",
    "memory.min, all of it": "protect memory.min 2600 2048 9000 3",
    "memory.min, half of it": "protect memory.min 1500 3000 9000 3",
    "memory.low, all of it": "protect memory.low 2600 2048 9000 3",
    "memory.low, half of it": "protect memory.low 1500 3000 9000 3",
    "memory.low, of more than there is": "protect memory.low 20000 12000 200 1",
    "memory.high": "high 3000 5000 1",
    "memory.high, no swap": "high 3000 3400 0",
    "memory.max": "oom 4096 0 0",
    "memory.max, oom_score_adj 900": "oom 4096 0 900",
    "memory.max, memory.oom.group": "oom 4096 1 0",
    "memory.swap.max": "swap 3000 1500 4000 6000",
    "memory.stat": "stat 1000 1600 {file}",
    "zswap": "zswap 11000 2 5000",
    "zswap, small pool": "zswap 11000 2 530",
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "cgroups.md"
BEGIN, END = "<!-- begin: python -m bench.uml.groups -->", "<!-- end -->"
SMALL = 200  # pages, milliseconds or events: below it a count says nothing, and is not judged
WAITING = ("memory.high, no swap",)  # whose program is kept waiting: elsewhere its time is that of the host
NOT_FIGURES = ("min_free_kbytes", "memfree_kb", "cache_kb", "pcp_kb", "reserved_kb", "end")


def rows(scenario: str, kernel: Mapping[str, int], ours: Mapping[str, int]) -> list[Row]:
    """The figures that both have printed; those that are 0 on both sides only where they must be equal.

    How many kills a whole group takes is not judged: the first victim counts twice where it is still there. Nor is the
    time of a program that does not wait.
    """
    found = []
    for name, theirs in kernel.items():
        exact = name.startswith("killed") or (name == "group_oom_kill" and "oom.group" not in scenario)
        if name not in NOT_FIGURES and (theirs or ours[name] or exact):
            judged = exact or (max(theirs, ours[name]) >= SMALL and (name != "group_ms" or scenario in WAITING))
            found.append(Row(scenario, name.replace("_", " "), theirs, ours[name], judged, exact))
    return found


def compare(linux: UserModeLinux, name: str) -> list[Row]:
    """One scenario on both sides."""
    words = SCENARIOS[name].split()
    kernel = linux.run(["groups", *(word.format(file="/data/file") for word in words)])
    return rows(
        name, kernel, model.run(linux.root, ["groups", *(w.format(file=str(linux.file)) for w in words)], kernel)
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="bench.uml.groups", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help=f"some of {', '.join(SCENARIOS)}; all without any")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SCENARIOS):
        parser.error(f"expected some of {', '.join(SCENARIOS)}, got {', '.join(sorted(unknown))}")
    table = run_all("bench.uml.groups", arguments.names or SCENARIOS, SCENARIOS, compare)
    if not table:
        return 1
    if not arguments.names:
        write_between(
            DOCUMENT,
            BEGIN,
            END,
            f"\nGenerated on {datetime.date.today().isoformat()}; one boot of Linux 6.1 a scenario.\n\n{table}\n",
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
