"""Stack distances of a sample of the pages: SHARDS (Waldspurger 2015).

A page is in the sample where its hash is below a threshold, with all its uses or none. Of the pages between two uses a
fraction R (the rate) is in the sample: a sampled distance d stands for d / R, and a sampled miss for 1 / R misses. At a
fixed rate the threshold stays; at a fixed size it is lowered whenever there are too many pages, and those beyond it
leave as if they had never been there.

Misses are sums of 1 / R over sampled misses, against the true count of look-ups. That is what the paper's correction
(SHARDS-adj) comes to: it adds the look-ups that the sample has too few to the hits at distance 0.

The error that is stated has three parts, added as independent ones are:

- Eight samples of an eighth of the size each, of pages by other bits of the hash, give eight curves; their spread says
  how far the whole sample's may be off by its choice of pages (Student's 95 % for seven degrees of freedom).
- A smaller sample resolves distances less finely: the difference between the mean of the eight and the whole sample
  bounds what that does.
- How many of D pages are in the sample varies by the root of D R (1 - R), so a size is known to twice that only: how
  much the curve falls in between. Where a curve falls like a cliff this is the largest part.

Sizes below ``RESOLUTION`` / R are not told: too few pages of the sample lie that near.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from pagewalk.lab.stack import LIMIT, Stacks
from pagewalk.lab.stack_changes import CLASSES, stack_functions

__all__ = ["LEAST_PAGES", "RESOLUTION", "Estimate", "Shards", "bucket_edges"]

LEAST_PAGES: Final = 256  # of a sample of a fixed size
RESOLUTION: Final = 8
_STUDENT: Final = 2.365  # 95 % of its distribution with 7 degrees of freedom lie within
_KEPT: Final = 7 / 8  # of the pages, where there are too many
_PARTS: Final = 64  # buckets for each power of two of distances, beyond as many exact ones
_OCTAVES: Final = 60

Words = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


def bucket_edges() -> Words:
    """The lower ends of the ranges that distances are counted in: 1.6 % wide, exact below 128."""
    whole = np.arange(_PARTS, dtype=np.int64)
    steps = [whole] + [(_PARTS + whole) << octave for octave in range(_OCTAVES - 6)]
    return np.concatenate(steps)


class Estimate:
    """Distances and misses, each sampled one in place of 1 / R."""

    def __init__(self) -> None:
        self.edges = bucket_edges()
        self.counts: Reals = np.zeros(len(self.edges))
        self.cold = 0.0

    def add(self, distances: Words, cold: int, rate: float) -> None:
        """What was seen at a rate."""
        scaled = np.arange(len(distances)) / rate
        at = np.searchsorted(self.edges, scaled, side="right") - 1
        np.add.at(self.counts, at, distances / rate)
        self.cold += cold / rate

    def misses(self) -> Reals:
        """Misses of caches of ``edges`` entries each; of no entry, the first one, what is not in the sample twice."""
        return self.cold + np.cumsum(self.counts[::-1])[::-1]


class _Sample:
    """Stacks of one sample. ``which`` is the class of hashes that it is of, -1 for all."""

    def __init__(self, which: int, limit: int, most: int) -> None:
        self.stacks = Stacks(most=most or 1 << 62)
        self.limit = limit
        self._which = which
        self._most = most
        self._whole = Estimate()
        self._last = np.array([0, -1], np.int64)

    @property
    def rate(self) -> float:
        """Of all pages, those that are in the sample."""
        return self.limit / LIMIT / (CLASSES if self._which >= 0 else 1)

    def feed(self, pages: Words, count: int, owner: int, out: Words) -> None:
        """The pages of the sample among these are used."""
        last = self._last
        while True:
            found = _sampled(pages, count, 0, owner, self.limit, self._which, last, out)
            fed = self.stacks.feed(out, found, owner)
            if fed == found:
                return
            self._lower()
            pages, count = out[fed:found].copy(), found - fed
            last = np.array([0, -1], np.int64)

    def _lower(self) -> None:
        """Fewer pages from here on."""
        self._fold()
        hashes = np.sort(self.stacks.hashes())
        self.limit = max(1, int(hashes[int(_KEPT * self._most)]))
        self.stacks.sift(self.limit)

    def _fold(self) -> None:
        self._whole.add(self.stacks.distances(), self.stacks.cold, self.rate)
        self.stacks.forget_distances()

    def finish(self) -> Estimate:
        """All that was seen."""
        self._fold()
        return self._whole


def _sampled(pages: Words, count: int, shift: int, owner: int, limit: int, which: int, last: Words, out: Words) -> int:
    """Fills ``out`` with the pages whose hash is below ``limit``, and in the class; how many there are."""
    found: int = stack_functions().made["sample"](
        pages.ctypes.data, count, shift, owner, limit, which, last.ctypes.data, out.ctypes.data
    )
    return found


class Shards:
    """A sample of the pages of one size, and eight smaller ones.

    rate  of the pages, above 0 and at most 1; ``most``: pages that the sample may have (LEAST_PAGES or more), 0 for any
    """

    def __init__(self, shift: int, rate: float, most: int = 0) -> None:
        limit = max(1, round(LIMIT * rate))
        self._shift = shift
        self._main = _Sample(-1, limit, most)
        self._parts = [_Sample(which, limit, most // CLASSES) for which in range(CLASSES)]
        self._last = np.array([0, -1], np.int64)
        self._some = self._out = np.empty(0, np.int64)
        self._samples = [self._main, *self._parts]

    @property
    def rate(self) -> float:
        """As it is now."""
        return self._main.rate

    @property
    def nr_pages(self) -> int:
        """Pages in the sample now."""
        return self._main.stacks.nr_pages

    @property
    def nr_bytes(self) -> int:
        """Memory that this takes."""
        return sum(sample.stacks.nr_bytes for sample in self._samples)

    def own(self, owner: int, group: int) -> None:
        """See Stacks."""
        for sample in self._samples:
            sample.stacks.own(owner, group)

    def feed(self, pages: Words, count: int, owner: int) -> int:
        """See Stacks; it is all of them."""
        if count > len(self._some):
            self._some, self._out = np.empty(count, np.int64), np.empty(count, np.int64)
        limit = max(sample.limit for sample in self._samples)
        found = _sampled(pages, count, self._shift, owner, limit, -1, self._last, self._some)
        if found:
            for sample in self._samples:
                sample.feed(self._some, found, owner, self._out)
        return count

    def drop(self, owner: int, first: int, last: int) -> None:
        """See Stacks."""
        for sample in self._samples:
            sample.stacks.drop(owner, first, last)

    def move(self, owner: int, first: int, last: int, distance: int) -> None:
        """A page with another number has another hash: the old one is gone, and the new one comes in."""
        if self.whole:
            self._main.stacks.move(owner, first, last, distance)
        for sample in self._samples:
            sample.stacks.drop(owner, first, last)

    def clear(self, owner: int) -> None:
        """See Stacks."""
        for sample in self._samples:
            sample.stacks.clear(owner)

    @property
    def whole(self) -> bool:
        """Every page was in the sample: the curve is exact."""
        return self._main.limit == LIMIT

    def finish(self) -> tuple[Words, Reals, Reals, float]:
        """(entries, misses, error of the misses, first uses), of all sizes that are told where misses change."""
        whole = self._main.finish()
        misses = whole.misses()
        parts = np.array([part.finish().misses() for part in self._parts])
        if self.whole:
            error = np.zeros(len(misses))
        else:
            spread = _STUDENT * parts.std(axis=0, ddof=1) / math.sqrt(CLASSES)
            coarse = parts.mean(axis=0) - misses
            error = np.sqrt(spread**2 + coarse**2 + _blur(whole.edges, misses, self.rate) ** 2)
        least = int(np.searchsorted(whole.edges, 1 if self.whole else math.ceil(RESOLUTION / self.rate)))
        changes = np.flatnonzero((np.diff(misses, prepend=np.inf) != 0) | (np.diff(error, prepend=np.inf) != 0))
        kept = np.union1d([least], changes[changes > least])
        return whole.edges[kept], misses[kept], error[kept], whole.cold


def _blur(edges: Words, misses: Reals, rate: float) -> Reals:
    """How much the misses change within what is known of each size."""
    known = 2 * np.sqrt(edges * (1 - rate) / rate)
    lower = np.searchsorted(edges, np.maximum(edges - known, 0), side="right") - 1
    upper = np.searchsorted(edges, edges + known, side="right") - 1
    found: Reals = np.maximum(misses[lower] - misses, misses - misses[upper])
    return found
