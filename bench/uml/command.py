"""What the comparisons with user-mode Linux share: the way through them, the table, its place in a document."""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.uml.kernel import Missing, UserModeLinux
from bench.uml.table import Row, markdown


def run_all(
    prog: str, names: Iterable[str], about: dict[str, str], compare: Callable[[UserModeLinux, str], list[Row]]
) -> str:
    """Runs and prints the comparisons of these names; the table, "" where something was missing or failed."""
    folder = Path("/var/tmp") / f"pagewalk-uml-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found: list[Row] = []
    try:
        linux = UserModeLinux(folder)
        for name in names:
            print(f"{name}: {about[name]}", flush=True)
            found += compare(linux, name)
    except (Missing, RuntimeError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return ""
    table = markdown(found)
    print(table, end="")
    out = [row for row in found if row.judged and not row.within]
    print(f"{len(out)} of {sum(row.judged for row in found)} figures out of bounds")
    return table


def write_between(document: Path, begin: str, end: str, text: str) -> None:
    """Replaces what stands between two marks of a document."""
    before, _, rest = document.read_text().partition(begin)
    document.write_text(f"{before}{begin}\n{text}{end}{rest.partition(end)[2]}")
