"""Curves as a table for a person: a row for each size of TLB or RAM, a column for each page size."""

from collections.abc import Iterator
from typing import Final

from pagewalk.lab.curve_report import Curve, Curves
from pagewalk.view.units import size as size_text

__all__ = ["lines", "notes", "sizes_for", "title"]

_CELL: Final = 23


def title(curves: Curves, name: str) -> str:
    """What the curves say, in a line."""
    sides = {"data": "data", "fetch": "instructions", "both": "data and instructions"}
    if curves.what == "ram":
        return f"faults against RAM, LRU page frames: {sides[curves.side]} of {name}"
    tags = "address spaces tagged" if curves.asid else "emptied by every switch of address space"
    return f"misses against TLB entries, LRU, {tags}: {sides[curves.side]} of {name}"


def lines(curves: Curves, name: str) -> list[str]:
    """The whole table, and the notes."""
    found = [title(curves, name), f"{curves.accesses:,} accesses in {curves.seconds:.1f} s"]
    for sets in sorted({curve.sets for curve in curves.curves}):
        group = [curve for curve in curves.curves if curve.sets == sets]
        found += ["", *_table(curves.what, sets, group)]
    return found + [f"note: {note}" for note in notes(curves)]


def sizes_for(what: str, group: list[Curve]) -> Iterator[int]:
    """Sizes worth a row, up to the one where no curve falls any more: entries, ways, or (RAM) bytes."""
    unit = min(curve.page_size for curve in group) if what == "ram" else 1
    least = min(curve.least * (curve.page_size if what == "ram" else 1) for curve in group)
    last = max(curve.largest * (curve.page_size if what == "ram" else 1) for curve in group)
    size = unit
    while True:
        if size >= least:
            yield size
        if size >= last:
            return
        half = size + size // 2
        if size // unit >= 8 and least <= half < last:
            yield half
        size *= 2


def _table(what: str, sets: int, group: list[Curve]) -> Iterator[str]:
    """One table of curves of so many sets."""
    if what == "ram":
        head = "RAM"
    elif sets == 1:
        head = "entries"
    else:
        yield f"{sets} sets; entries are {sets} x ways"
        head = "ways"
    yield f"{head:>9}" + "".join(f"{size_text(curve.page_size):>{_CELL}}" for curve in group)
    for size in sizes_for(what, group):
        cells = [_cell(curve, size // curve.page_size if what == "ram" else size) for curve in group]
        yield f"{size_text(size) if what == 'ram' else f'{size:,}':>9}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
    yield f"{'first use':>9}" + "".join(f"{_number(curve, curve.cold):>{_CELL}}" for curve in group)


def _cell(curve: Curve, size: int) -> str:
    if size < curve.least:
        return "-"
    misses = _number(curve, curve.misses(size))
    if curve.rate < 1:
        return f"{misses} ± {100 * curve.error(size) / max(1, curve.lookups):.2g} %"
    return f"{misses} {f'{100 * curve.ratio(size):.3g}':>8} %"


def _number(curve: Curve, misses: float) -> str:
    return f"{misses:,.0f}"


def notes(curves: Curves) -> list[str]:
    """What the figures rest on."""
    found = list(curves.notes)
    rates = {curve.rate for curve in curves.curves if curve.rate < 1}
    if rates:
        shown = ", ".join(f"{100 * rate:.3g} %" for rate in sorted(rates))
        found.append(f"a sample of {shown} of the pages: estimates, with their error in percent of look-ups; "
                     "sizes that are too small for it are not told")  # fmt: skip
    return found
