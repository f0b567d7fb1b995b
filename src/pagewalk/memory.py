"""Memory maps and nodes as users write them: checked, read from files, and turned into regions of frames.

Sources: proc_iomem(5); the boot log's "BIOS-e820" lines; numa(7) for distances.
"""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pagewalk.errors import ConfigError

MAX_NODES: Final = 64
_TOP: Final = 64 << 40
_LINE: Final = re.compile(r"(?:0x)?([0-9a-fA-F]+)\s*-\s*(?:0x)?([0-9a-fA-F]+)\]?\s*:?\s*(.*)")
_RANGE: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{1,16})-(?:0x)?([0-9a-fA-F]{1,16})(?:@([0-9]{1,3}))?")
_NODE: Final = re.compile(r"\bnode\s*([0-9]{1,2})\b", re.IGNORECASE)


def check_map(rows: Sequence[Sequence[int]]) -> tuple[tuple[int, int, int], ...]:
    """The map as (start, end, node), sorted. ConfigError where a range is empty, overlaps another or is no range."""
    found = []
    for row in rows:
        if not isinstance(row, Sequence) or len(row) not in (2, 3) or not all(type(each) is int for each in row):
            raise ConfigError(f"memory_map: expected (start, end) or (start, end, node) in bytes, got {row!r}")
        start, end, node = row[0], row[1], row[2] if len(row) == 3 else 0
        if not 0 <= start < end <= _TOP:
            raise ConfigError(f"memory_map: expected 0 <= start < end <= 64T, got {start:#x} and {end:#x}")
        if not 0 <= node < MAX_NODES:
            raise ConfigError(f"memory_map: expected a node of 0 to {MAX_NODES - 1}, got {node}")
        found.append((start, end, node))
    found.sort()
    for (_, end, _), (start, behind, _) in itertools.pairwise(found):
        if start < end:
            raise ConfigError(f"memory_map: {start:#x}-{behind - 1:#x} overlaps what ends at {end - 1:#x}")
    return tuple(found)


def check_nodes(sizes: Sequence[int | str], rows: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The nodes' sizes in bytes. ConfigError where there are too many, or they do not agree with the map."""
    from pagewalk.config import parse_size

    found = tuple([parse_size(size, "nodes") for size in sizes])
    if len(found) > MAX_NODES:
        raise ConfigError(f"nodes: expected at most {MAX_NODES}, got {len(found)}")
    for size in found:
        if (size and size < 4 << 20) or size % 4096:
            raise ConfigError(f"nodes: expected 0 or 4M and more in pages of 4096 bytes for each, got {size} bytes")
    if found and any(row[2] for row in rows):
        raise ConfigError("nodes: the memory map names the nodes already")
    return found


def check_cpu_nodes(nodes: Sequence[int], cpus: int, nr_nodes: int) -> tuple[int, ...]:
    """The node of each CPU. ConfigError where there is not one for each, or no such node."""
    found = tuple(nodes)
    if not found:
        return ()
    if len(found) != cpus or not all(type(each) is int and 0 <= each < nr_nodes for each in found):
        raise ConfigError(f"cpu_nodes: expected {cpus} numbers of 0 to {nr_nodes - 1}, one for each CPU, got {nodes!r}")
    return found


def check_distances(rows: Sequence[Sequence[int]], nr_nodes: int) -> tuple[tuple[int, ...], ...]:
    """The matrix. ConfigError where it is not square, or a distance is none."""
    if not rows:
        return ()
    if len(rows) != nr_nodes or any(len(row) != nr_nodes for row in rows):
        raise ConfigError(f"distances: expected {nr_nodes} rows of {nr_nodes}, got {[len(row) for row in rows]}")
    for here, row in enumerate(rows):
        for there, distance in enumerate(row):
            if type(distance) is not int or not 10 <= distance <= (10 if here == there else 254):
                what = "10" if here == there else "10 to 254"
                raise ConfigError(f"distances: expected {what} from node {here} to {there}, got {distance!r}")
    return tuple([tuple(row) for row in rows])


def parse_ranges(text: str, what: str = "memory_map") -> tuple[tuple[int, int, int], ...]:
    """A memory map in one line: ranges in hexadecimal with commas between them, both ends included, and "@N" behind one
    that is node N's: ``0-9ffff,100000-3fffffff@1``. ConfigError, naming ``what``, where it is none."""
    rows = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ConfigError(f"{what}: expected ranges such as 100000-3fffffff or 100000-3fffffff@1, got {part!r}")
        rows.append((int(match[1], 16), int(match[2], 16) + 1, int(match[3] or 0)))
    return tuple(rows)


def read_map(path: Path, option: str = "--memory-map") -> list[tuple[int, int, int]]:
    """A memory map from a file: lines with a range in hexadecimal, both ends included, as /proc/iomem ("System RAM")
    and the boot log ("usable") print them; a bare range counts too, and "node N" names its node.

    ConfigError where the file cannot be read or has no such line.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{option}: cannot read {str(path)!r}: {error.strerror}") from None
    rows = []
    for line in text.splitlines():
        match = _LINE.search(line.partition("[mem ")[2] or line.strip())
        if match is None or line.startswith("#"):
            continue
        node = _NODE.search(match[3])
        what = match[3] if node is None else match[3].replace(node[0], "").strip()
        if what and "System RAM" not in what and "usable" not in what:
            continue
        start, end = int(match[1], 16), int(match[2], 16) + 1
        rows.append((start, end, int(node[1]) if node else 0))
    if not rows:
        raise ConfigError(f"{option}: expected lines such as '00100000-bfffffff : System RAM' in {str(path)!r}")
    return rows
