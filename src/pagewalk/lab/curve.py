"""Miss curves: how many misses a TLB of every size has, or how many faults a RAM of every size, in one pass.

    curves = miss_curves(open_trace("app.pwt"), what="tlb", page_sizes=("4K", "2M"), sets=(128,))
    curves.of("4K").misses(64)               # of 64 entries, fully associative
    curves.of("4K", sets=128).misses(12)     # of 128 sets of 12 ways

LRU caches of all sizes hold what lies on top of one stack (Mattson 1970): an access hits where its distance in the
stack is less than the cache has entries. One pass counts how often each distance occurs; the misses of every size
follow.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from pagewalk.config import parse_size
from pagewalk.errors import ConfigError
from pagewalk.hw.walker import FETCH
from pagewalk.lab.curve_report import Curve, Curves
from pagewalk.lab.owners import Family, Owners
from pagewalk.lab.shards import LEAST_PAGES, Shards
from pagewalk.lab.stack import Stacks
from pagewalk.lab.stream import SIDES, PageStream
from pagewalk.trace.events import Event, Touch
from pagewalk.trace.format import Batch, TraceInfo, TraceSource, page_size_of, segment_starts

__all__ = ["PAGE_SIZES", "CurveRun", "miss_curves"]

PAGE_SIZES: Final = ("4K", "16K", "64K", "2M")
_SMALLEST, _LARGEST = 4096, 1 << 30
_MOST_SETS: Final = 1 << 16


class CurveRun:
    """One pass: feed it batches, then ask for the curves.

    what          "tlb": misses against entries, for each CPU a TLB of its own; "ram": faults against page frames of one
                  RAM that all address spaces share
    page_sizes    bytes or text, powers of two from 4K to 1G
    sets          besides fully associative TLBs, those with so many sets, with any number of ways
    side          "data", "fetch" or "both"; by itself "data" for a TLB, "both" for RAM
    asid          TLB entries stay when a CPU changes to another address space
    sample        a rate above 0 and below 1: a sample of the pages, and curves with an error
    sample_pages  a sample of at most so many pages, 256 or more, at a rate that falls
    info          what the trace says of itself: without events, all its tasks share one address space

    Raises ConfigError for anything else.
    """

    def __init__(
        self,
        what: str,
        *,
        page_sizes: Sequence[int | str] = PAGE_SIZES,
        sets: Sequence[int] = (),
        side: str | None = None,
        asid: bool = True,
        sample: float | None = None,
        sample_pages: int | None = None,
        info: TraceInfo | None = None,
    ) -> None:
        if what not in ("tlb", "ram"):
            raise ConfigError(f"--what: expected tlb or ram, got {what!r}")
        side = side if side is not None else ("data" if what == "tlb" else "both")
        if side not in SIDES:
            raise ConfigError(f"--side: expected {', '.join(SIDES)}, got {side!r}")
        self._what, self._side = what, side
        sizes = _page_sizes(page_sizes)
        counts = _sets(sets)
        _check(what, counts, asid, sample, sample_pages)
        self._asid = asid
        self._sampled = sample is not None or sample_pages is not None
        self._stream = PageStream(sizes, side)
        self._exact: dict[tuple[int, int], Stacks] = {}
        self._samples: dict[int, Shards] = {}
        for size, shift in zip(sizes, self._stream.shifts, strict=True):
            if self._sampled:
                self._samples[size] = Shards(shift, 1.0 if sample is None else sample, sample_pages or 0)
            else:
                for number in (1, *counts):
                    self._exact[size, number] = Stacks(shift, number)
        sized: list[tuple[Family, int]] = [(family, size) for (size, _), family in self._exact.items()]
        sized += [(family, size) for size, family in self._samples.items()]
        self._families = [family for family, _ in sized]
        one_space = info is None or not info.has_events
        self._owners = Owners(
            sized, per_cpu=what == "tlb", asid=asid, one_space=one_space, page_size=page_size_of(info)
        )
        self._sizes = sizes
        self._owner = -1
        self.accesses = 0
        self._instructions = 0
        self._start = time.perf_counter()

    def feed(self, batch: Batch) -> None:
        """The next accesses and events."""
        if len(batch) and int(batch.kind.max()) > FETCH:
            raise ConfigError(f"curve: expected kinds 0 to {FETCH}, got {int(batch.kind.max())}")
        self.accesses += len(batch)
        self._instructions += batch.instructions
        starts = segment_starts(batch)
        events = batch.events
        next_event = 0
        for number, start in enumerate(starts):
            while next_event < len(events) and events[next_event][0] <= start:
                self._apply(events[next_event][1])
                next_event += 1
            end = starts[number + 1] if number + 1 < len(starts) else len(batch)
            if start < end:
                self._own(int(batch.task[start]), int(batch.cpu[start]))
                for pages, count in self._stream.pages(batch, start, end):
                    for family in self._families:
                        family.feed(pages, count, self._owner)
        for _, event in events[next_event:]:
            self._apply(event)

    def _own(self, task: int, cpu: int) -> None:
        """Accesses of this task on this CPU follow."""
        owner = self._owners.of(task, cpu)
        if owner != self._owner:
            self._owner = owner
            self._stream.restart()

    def _apply(self, event: Event) -> None:
        self._stream.restart()  # the page that was used last may be gone
        if isinstance(event, Touch) and self._what == "ram" and self._side != "fetch":
            self._own(event.task, event.cpu)
            self._stream.add_lookup()
            page = np.array([event.addr >> self._stream.shift], np.int64)
            for family in self._families:
                family.feed(page, 1, self._owner)
            return
        self._owners.apply(event)

    def finish(self) -> Curves:
        """The curves of what was fed so far; more may be fed then."""
        lookups = dict(zip(self._sizes, self._stream.lookups(), strict=True))
        curves = [Curve.exact(size, sets, lookups[size], stacks.distances(), stacks.cold)
                  for (size, sets), stacks in self._exact.items()]  # fmt: skip
        for size, shards in self._samples.items():
            sizes, misses, error, cold = shards.finish()
            curves.append(Curve.estimated(size, lookups[size], sizes, misses, error, cold, shards.rate))
        return Curves(
            what=self._what,
            side=self._side,
            asid=self._asid,
            accesses=self.accesses,
            instructions=self._instructions,
            curves=curves,
            seconds=time.perf_counter() - self._start,
        )

    @property
    def nr_bytes(self) -> int:
        """Memory that the stacks take now."""
        return sum(family.nr_bytes for family in self._families)


def _page_sizes(sizes: Sequence[int | str]) -> list[int]:
    """Ascending, each once."""
    found = set()
    for size in sizes:
        number = parse_size(size, "--page-sizes")
        if not _SMALLEST <= number <= _LARGEST or number & (number - 1):
            raise ConfigError(f"--page-sizes: expected powers of two from 4K to 1G, got {size!r}")
        found.add(number)
    if not found:
        raise ConfigError("--page-sizes: expected at least one size, such as 4K")
    return sorted(found)


def _sets(sets: Sequence[int]) -> list[int]:
    for number in sets:
        if not 1 <= number <= _MOST_SETS:
            raise ConfigError(f"--sets: expected 1 to {_MOST_SETS:,}, got {number:,}")
    return sorted(set(sets) - {1})


def _check(what: str, sets: list[int], asid: bool, sample: float | None, sample_pages: int | None) -> None:
    """What does not go together."""
    if what == "ram" and sets:
        raise ConfigError("--sets: frames of RAM have no sets; expected --what tlb")
    if what == "ram" and not asid:
        raise ConfigError("--no-asid: frames of RAM have no tags; expected --what tlb")
    if sample is not None and not 0 < sample < 1:
        raise ConfigError(f"--sample: expected a rate above 0 and below 1, got {sample:g}")
    if sample_pages is not None and sample_pages < LEAST_PAGES:
        raise ConfigError(f"--sample-pages: expected {LEAST_PAGES} pages or more, got {sample_pages}")
    if sample is not None and sample_pages is not None:
        raise ConfigError("--sample and --sample-pages: expected one of the two")
    if sets and (sample is not None or sample_pages is not None):
        raise ConfigError("--sets: a sample has too few pages in each set; expected exact curves, or no sets")


def miss_curves(
    trace: TraceSource | Iterable[Batch],
    what: str = "tlb",
    *,
    page_sizes: Sequence[int | str] = PAGE_SIZES,
    sets: Sequence[int] = (),
    side: str | None = None,
    asid: bool = True,
    sample: float | None = None,
    sample_pages: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Curves:
    """The curves of a whole trace; arguments are those of ``CurveRun``.

    progress  called after each batch with the accesses so far
    """
    info = getattr(trace, "info", None)
    run = CurveRun(
        what,
        page_sizes=page_sizes,
        sets=sets,
        side=side,
        asid=asid,
        sample=sample,
        sample_pages=sample_pages,
        info=info,
    )
    for batch in trace:
        run.feed(batch)
        if progress is not None:
            progress(run.accesses)
    curves = run.finish()
    if skipped := getattr(trace, "skipped", 0):
        curves.notes.append(f"{skipped:,} malformed records were left out")
    return curves
