"""Runs the measurements and prints each with its budget: ``python -m bench [--json FILE] [NAME...]``.

Names are faults, fork, cpu, start, boot, replay, readers, curve, reclaim; all without any. A missed budget is in the
table, and no failure.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from bench.measure import Measurement
from pagewalk import _build

NAMES = ("faults", "fork", "cpu", "start", "boot", "replay", "readers", "curve", "reclaim")


def line(row: Measurement) -> str:
    """A row of the table."""
    if row.value is None:
        return f"  {row.name:<36} {'-':>10} {'':<6} {row.detail}"
    budget = "" if row.budget is None else f"{'>=' if row.least else '<='} {row.budget:g} {row.unit}"
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    return f"  {row.name:<36} {row.value:>10.3g} {row.unit:<6} {budget:<14} {verdict:<7} {row.detail}".rstrip()


def run(name: str) -> list[Measurement]:
    """One module's measurements; a failure is a row too."""
    try:
        found: list[Measurement] = importlib.import_module(f"bench.{name}").measure()
        return found
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        return [Measurement(name, None, "", detail=f"not measured: {type(error).__name__}: {first}")]


def put_into(file: Path, name: str, rows: list[Measurement], title: str) -> None:
    """The rows as a table in a text, between the marks of ``name`` where it has them."""
    text = file.read_text()
    before, mark, behind = text.partition(f"<!-- measured: {name} -->\n")
    _, end, after = behind.partition("<!-- end -->")
    if not mark or not end:
        return
    table = [f"{title}:", "", "| what | measured | budget | |", "|---|---|---|---|"]
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.3g} {row.unit}"
        budget = "" if row.budget is None else f"{'≥' if row.least else '≤'} {row.budget:g} {row.unit}"
        verdict = {True: "", False: "missed; ", None: ""}[row.met]
        table.append(f"| {row.name} | {value} | {budget} | {verdict}{row.detail} |")
    file.write_text(before + mark + "\n".join([*table, ""]) + end + after)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all without any")
    parser.add_argument("--into", metavar="FILE", help="put each name's table into a text, between its marks "
                        "'<!-- measured: NAME -->' and '<!-- end -->'")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON too")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"expected some of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    why = _build.interpreted_because()
    title = (f"pagewalk, {'compiled' if not why else f'INTERPRETED ({why})'}, Python {platform.python_version()}, "
             f"Linux {platform.release().split('-')[0]}, {len(os.sched_getaffinity(0))} processors")  # fmt: skip
    print(title)
    rows = []
    for name in arguments.names or NAMES:
        found = run(name)
        for row in found:
            print(line(row), flush=True)
        rows += found
        if arguments.into:
            put_into(Path(arguments.into), name, found, title)
    if arguments.json:
        data = {"interpreted": why, "kernel": platform.release(), "rows": [{**asdict(r), "met": r.met} for r in rows]}
        Path(arguments.json).write_text(json.dumps(data, indent=2) + "\n")
    missed = [row.name for row in rows if row.met is False]
    print(f"{len(missed)} budget{'' if len(missed) == 1 else 's'} missed{': ' if missed else ''}{', '.join(missed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
