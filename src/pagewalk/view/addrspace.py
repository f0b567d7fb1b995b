"""The address space as a picture: a row per mapping, high addresses at the top, bars to one scale.

A bar is as long as its mapping is large; each of its cells is shaded by how much of that part is resident. Gaps are
one row, with their size.
"""

import os

from pagewalk.view.report import Mapping, Report
from pagewalk.view.units import Line, size

__all__ = ["address_space", "shades"]

SHADES = "░▒▓█"
STYLES = {"r": "blue", "w": "green", "x": "red"}
MAX_ROWS = 120


def shades(mapping: Mapping, width: int, page_size: int = 4096) -> str:
    """The bar of ``mapping`` in ``width`` cells: untouched, less than half, most, all of it resident."""
    cells = mapping.cells or [0]
    pages = mapping.size // page_size
    bar = []
    for column in range(width):
        first, last = (
            column * len(cells) // width,
            max((column + 1) * len(cells) // width, column * len(cells) // width + 1),
        )
        there = sum(cells[first:last])
        room = max(1, pages * (last - first) // len(cells))
        share = there / room
        bar.append(SHADES[0 if not there else 1 if share < 0.5 else 2 if share < 0.95 else 3])
    return "".join(bar)


def _style(mapping: Mapping) -> str:
    """Executable red, writable green, readable blue, the rest dim."""
    return next((STYLES[right] for right in "xwr" if right in mapping.rights), "dim")


def _label(mapping: Mapping, again: bool) -> str:
    """The mapping's name, without the directory and not ``again``, and what a segment of a file holds."""
    if not mapping.name.startswith("/"):
        return mapping.name
    role = "code" if "x" in mapping.rights else "data" if "w" in mapping.rights else "constants"
    return f"{'″' if again else os.path.basename(mapping.name)} {role}"


def _scale(mappings: list[Mapping], columns: int, page_size: int) -> int:
    """Bytes per cell: the largest mapping fills ``columns``; a power of two, at least a page."""
    largest = max((mapping.size for mapping in mappings), default=page_size)
    scale = page_size
    while scale * columns < largest:
        scale *= 2
    return scale


def address_space(report: Report, width: int = 100) -> list[Line]:
    """The lines of the picture, for a terminal of ``width`` columns."""
    mappings = report.mappings
    columns = max(8, min(32, width - 64))
    scale = _scale(mappings, columns, report.page_size)
    total = sum(mapping.size for mapping in mappings)
    legend = f"{len(mappings)} mappings, {size(total)}; one cell is {size(scale)}: █ resident ▓ ▒ partly ░ untouched"
    lines: list[Line] = [[("Address space", "bold"), (f"  {legend}", "dim")]]
    above = report.task_size
    digits = len(f"{above:x}")
    lines.append([(f"  {above:x} end of user space", "dim")])
    shown = mappings if len(mappings) <= MAX_ROWS else mappings[: MAX_ROWS // 2] + mappings[-MAX_ROWS // 2 :]
    last_name = ""
    for index in range(len(shown) - 1, -1, -1):
        mapping = shown[index]
        if len(shown) < len(mappings) and index == MAX_ROWS // 2 - 1:
            lines.append([(f"  {'...':>{digits}} {len(mappings) - len(shown)} more mappings", "dim")])
            above = mapping.end
        gap = above - mapping.end
        if gap:
            lines.append([(f"  {'┊':>{digits}} {size(gap):>7}", "dim")])
            last_name = ""
        label = _label(mapping, mapping.name == last_name)
        cells = max(1, round(mapping.size / scale))
        resident = size(mapping.resident) if mapping.resident else "-"
        lines.append(
            [
                (f"  {mapping.start:0{digits}x} ", ""),
                (f"{size(mapping.size):>7} {mapping.rights} ", ""),
                (shades(mapping, cells, report.page_size).ljust(columns), _style(mapping)),
                (f" {resident:>7}", ""),
                (f"  {label}", _style(mapping)),
            ]
        )
        last_name = mapping.name
        above = mapping.start
    if above:
        lines.append([(f"  {'┊':>{digits}} {size(above):>7}", "dim")])
    return lines
