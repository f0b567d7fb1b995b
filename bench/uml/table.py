"""The comparison's table: for each pattern what the kernel counted, what the model did, and the ratio."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BOUND", "Row", "markdown", "rows"]

BOUND = 0.15  # how far a ratio may be from 1
SMALL = 200  # pages: below it a count says nothing about a policy, and is not judged
COUNTS = {
    "major faults": ("pgmajfault",),
    "pages swapped in": ("pswpin",),
    "pages swapped out": ("pswpout",),
    "refaults": ("workingset_refault_anon", "workingset_refault_file"),
}


@dataclass(frozen=True)
class Row:
    """One figure of one pattern. ``judged`` is False for a count that is too small; ``exact``: no two may differ."""

    pattern: str
    figure: str
    kernel: float
    model: float
    judged: bool
    exact: bool = False

    @property
    def ratio(self) -> float | None:
        """The model's over the kernel's."""
        return self.model / self.kernel if self.kernel else None

    @property
    def within(self) -> bool:
        """Whether the ratio is within the bound."""
        if self.exact:
            return self.kernel == self.model
        return self.ratio is not None and abs(self.ratio - 1) <= BOUND


def rows(pattern: str, kernel: Mapping[str, float], model: Mapping[str, float]) -> list[Row]:
    """The figures that are compared."""
    found = []
    for figure, names in COUNTS.items():
        theirs, ours = (sum(side[name] for name in names) for side in (kernel, model))
        found.append(Row(pattern, figure, theirs, ours, max(theirs, ours) >= SMALL))
    for figure, name in (("anonymous share", "anon_kb"), ("file share", "file_kb")):
        theirs, ours = (100 * side[name] / (side["anon_kb"] + side["file_kb"]) for side in (kernel, model))
        found.append(Row(pattern, figure + ", %", theirs, ours, max(theirs, ours) >= 5))
    return found


def markdown(found: list[Row]) -> str:
    """As a table; a figure out of bounds is marked."""
    lines = ["| pattern | figure | kernel | model | ratio | |", "|---|---|---:|---:|---:|---|"]
    for row in found:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        verdict = "" if not row.judged else "within" if row.within else "**out**"
        lines.append(f"| {row.pattern} | {row.figure} | {row.kernel:,.4g} | {row.model:,.4g} | {ratio} | {verdict} |")
    return "\n".join(lines) + "\n"
