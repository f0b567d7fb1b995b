"""The table of docs/reclaim.md: major faults of access patterns under each reclaim policy.

PYTHONPATH=src python docs/reclaim_table.py
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pagewalk import Machine

PAGE = 4096


def policies() -> dict[str, Any]:
    """The built-in policies, and those that docs/reclaim.md defines."""
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", Path(__file__).with_name("reclaim.md").read_text(), re.S):
        if "class " in block:
            exec(compile(block.split("\n\n\nmachine =")[0], "docs/reclaim.md", "exec"), found)
    return {"lru": "lru", "mglru": "mglru", "FIFO": found["Fifo"], "CLOCK": found["Clock"]}


def cyclic(pages: int, order: random.Random) -> Iterator[int]:
    """Round and round over more than there is RAM."""
    for _ in range(4):
        yield from range(pages)


def zipf(pages: int, order: random.Random) -> Iterator[int]:
    """Few pages often, many rarely."""
    places = list(range(pages))
    order.shuffle(places)
    for _ in range(6 * pages):
        yield places[min(int(pages ** order.random()), pages) - 1]


def scans(pages: int, order: random.Random) -> Iterator[int]:
    """A hot set, and every now and then a scan over everything."""
    hot = pages // 4
    for _ in range(4):
        for _ in range(pages):
            yield order.randrange(hot)
        yield from range(hot, pages)


def uniform(pages: int, order: random.Random) -> Iterator[int]:
    """All alike."""
    for _ in range(4 * pages):
        yield order.randrange(pages)


def majors(policy: Any, pattern: Any) -> int:
    """Major faults after everything was touched once."""
    with Machine(ram="64M", swap="256M", aslr=False, page_cluster=0, reclaim_policy=policy) as machine:
        process = machine.spawn()
        pages = machine.system.totalram_pages * 3 // 2
        area = process.mmap(pages * PAGE)
        process.touch(area, pages * PAGE)
        before = process.major_faults
        for page in pattern(pages, random.Random(1)):
            process.touch(area + page * PAGE)
        return process.major_faults - before


def main() -> None:
    """Prints the table."""
    named = policies()
    print("| pattern, 1.5 times the RAM | " + " | ".join(named) + " |\n|---|" + "---:|" * len(named))
    for pattern in (cyclic, zipf, scans, uniform):
        counts = [f"{majors(policy, pattern):,}" for policy in named.values()]
        print(f"| {pattern.__name__} | " + " | ".join(counts) + " |", flush=True)


if __name__ == "__main__":
    main()
