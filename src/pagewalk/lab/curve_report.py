"""What a pass has found: the curves, as numbers, as JSON, and as a table for a person."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pagewalk.config import parse_size
from pagewalk.errors import ConfigError
from pagewalk.view.units import size as size_text

__all__ = ["Curve", "Curves"]


@dataclass(frozen=True, eq=False)
class Curve:
    """Misses of LRU caches of pages of one size. All arrays have the same length.

    page_size  bytes
    sets       1: fully associative, and ``sizes`` are entries; otherwise ``sizes`` are ways
    lookups    accesses of the side that was asked for; one that reaches into another page is one more
    cold       misses of every size: first uses, and uses of pages that were mapped anew
    sizes      0, then each number of entries (ways) from which on there are fewer misses, ascending
    counts     misses of caches of that size up to the next one
    errors     of ``counts``: they are wrong by no more in about 19 of 20 samples; 0 where they are exact
    rate       of the pages, those that were in the sample at the end; 1: exact
    least      the smallest size, but for 0, that the curve tells of; 1 where it is exact
    """

    page_size: int
    sets: int
    lookups: int
    cold: float
    sizes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.float64] | npt.NDArray[np.int64]
    errors: npt.NDArray[np.float64]
    rate: float = 1.0
    least: int = 1

    @classmethod
    def exact(cls, page_size: int, sets: int, lookups: int, distances: npt.NDArray[np.int64], cold: int) -> "Curve":
        """From how often each distance was seen."""
        misses = cold + np.cumsum(distances[::-1])[::-1]  # of caches of 0, 1, ... entries
        steps = np.flatnonzero(distances[1:]) + 2  # a cache of d + 1 entries is the first that holds distance d
        sizes = np.concatenate([np.array([0, 1], np.int64), steps])
        counts = np.append(misses, cold)[np.minimum(sizes, len(misses))]
        counts[0] = lookups
        return cls(page_size, sets, lookups, cold, sizes, counts, np.zeros(len(sizes)))

    @classmethod
    def estimated(
        cls,
        page_size: int,
        lookups: int,
        sizes: npt.NDArray[np.int64],
        misses: npt.NDArray[np.float64],
        errors: npt.NDArray[np.float64],
        cold: float,
        rate: float,
    ) -> "Curve":
        """From a sample; the first of ``sizes`` is the smallest one that it tells of."""
        counts = np.minimum(np.append(lookups, misses), lookups)
        return cls(
            page_size, 1, lookups, cold, np.append(0, sizes), counts, np.append(0.0, errors), rate, int(sizes[0])
        )

    def _at(self, size: int) -> int:
        if size < 0:
            raise ConfigError(f"expected a size of 0 or more, got {size}")
        if 0 < size < self.least:
            raise ConfigError(f"expected a size of {self.least:,} or more, which the sample tells of, got {size:,}")
        return int(np.searchsorted(self.sizes, size, side="right")) - 1

    def misses(self, size: int) -> float:
        """Of a cache of so many entries (ways, where there are sets)."""
        return float(self.counts[self._at(size)])

    def error(self, size: int) -> float:
        """Of ``misses``; 0 where it is exact."""
        return float(self.errors[self._at(size)])

    def ratio(self, size: int) -> float:
        """Misses for one look-up; 0 where there is none."""
        return self.misses(size) / self.lookups if self.lookups else 0.0

    @property
    def largest(self) -> int:
        """The size from which on every miss is a cold one."""
        return int(self.sizes[-1])

    def thinned(self, points: int) -> npt.NDArray[np.int64]:
        """Positions of at most ``points`` sizes, the first and the last among them, denser where sizes are small."""
        if len(self.sizes) <= points:
            return np.arange(len(self.sizes))
        scale = np.linspace(math.log(self.least), math.log(self.largest), points - 1)
        wanted = np.searchsorted(self.sizes, np.exp(scale), side="right") - 1
        return np.unique(np.concatenate([[0], wanted, [len(self.sizes) - 1]]))


@dataclass
class Curves:
    """All curves of a pass.

    what          "tlb" or "ram"; ``side``: "data", "fetch" or "both"
    asid          TLB entries of other address spaces stay when a CPU changes to another one
    accesses      of the trace, of all kinds
    instructions  0 where the trace does not say
    notes         what the figures rest on
    """

    what: str
    side: str
    asid: bool
    accesses: int
    instructions: int
    curves: list[Curve]
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def of(self, page_size: int | str, sets: int = 1) -> Curve:
        """The curve of a page size. ConfigError where there is none."""
        wanted = parse_size(page_size, "page size")
        for curve in self.curves:
            if (curve.page_size, curve.sets) == (wanted, sets):
                return curve
        known = ", ".join(f"{size_text(c.page_size)}" + (f" x {c.sets} sets" * (c.sets > 1)) for c in self.curves)
        raise ConfigError(f"expected one of the curves {known}, got {size_text(wanted)} x {sets} sets")

    def mpki(self, misses: float) -> float | None:
        """Misses for 1000 instructions; None where the trace does not count those."""
        return 1000 * misses / self.instructions if self.instructions else None

    def as_dict(self, points: int | None = None) -> dict[str, Any]:
        """For JSON; ``points``: of each curve at most so many sizes."""
        return {
            "what": self.what,
            "side": self.side,
            "asid": self.asid,
            "accesses": self.accesses,
            "instructions": self.instructions,
            "seconds": self.seconds,
            "notes": self.notes,
            "curves": [self._curve(curve, points) for curve in self.curves],
        }

    def _curve(self, curve: Curve, points: int | None) -> dict[str, Any]:
        kept = curve.thinned(points) if points is not None else np.arange(len(curve.sizes))
        return {
            "page_size": curve.page_size,
            "sets": curve.sets,
            "unit": "frames" if self.what == "ram" else "entries" if curve.sets == 1 else "ways",
            "exact": curve.rate == 1,
            "rate": curve.rate,
            "least": curve.least,
            "lookups": curve.lookups,
            "cold": curve.cold,
            "complete": len(kept) == len(curve.sizes),
            "sizes": curve.sizes[kept].tolist(),
            "misses": curve.counts[kept].tolist(),
            **({} if curve.rate == 1 else {"errors": curve.errors[kept].tolist()}),
        }
