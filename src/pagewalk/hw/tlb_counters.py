"""What the translation caches counted, by name, and the estimate of what it cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from pagewalk.hw.tlb_config import TlbConfig
from pagewalk.hw.tlb_state import (
    C_COALESCED,
    C_FAULTS,
    C_FILL,
    C_FLUSH_ALL,
    C_FLUSH_ASID,
    C_FLUSH_PAGE,
    C_FLUSHED,
    C_FRESH,
    C_HIT,
    C_MISS,
    C_PREFETCH,
    C_PREFETCH_REFERENCE,
    C_REFERENCE,
    C_REFUSED,
    C_WALK_HIT,
    C_WALKS,
)

__all__ = ["SideCounters", "TlbCounters", "read_counters"]


@dataclass
class SideCounters:
    """Look-ups of data, or of instructions. An access that faults is looked up again when it is resumed.

    hits    answered at each level, the first one first
    misses  answered by no level: each one walks
    """

    hits: list[int] = field(default_factory=list)
    misses: int = 0

    @property
    def lookups(self) -> int:
        """All of them."""
        return sum(self.hits) + self.misses

    @property
    def first_level_misses(self) -> int:
        """Those that the first level did not answer."""
        return self.lookups - (self.hits[0] if self.hits else 0)


@dataclass
class TlbCounters:
    """One CPU's counters, or the sum of several CPUs'.

    data, fetch          look-ups of the two kinds
    refused              misses where an entry was there that did not grant the access (a clean page's first store)
    walks, faults        walks for misses; those of them that ended in a fault
    references           page-table entries that walks read, by level
    walk_hits            walks that began below an entry of a walk cache, by that entry's level
    coalesced            walks that found a run of pages
    prefetches, prefetch_references  pages put into the last level ahead of their use, and entries read for that
    page_flushes, asid_flushes, all_flushes   invalidations asked for
    flushed              entries that those took away
    fills, evictions     by array
    switches             loads of a root table
    shootdowns, shootdown_targets  flushes that went to other CPUs, and to how many in all
    lazy_skips           CPUs that were spared because they ran no user code (lazy TLB)
    rollovers            times that the ASIDs were used up
    """

    data: SideCounters = field(default_factory=SideCounters)
    fetch: SideCounters = field(default_factory=SideCounters)
    refused: int = 0
    walks: int = 0
    faults: int = 0
    references: dict[str, int] = field(default_factory=dict)
    walk_hits: dict[str, int] = field(default_factory=dict)
    coalesced: int = 0
    prefetches: int = 0
    prefetch_references: int = 0
    page_flushes: int = 0
    asid_flushes: int = 0
    all_flushes: int = 0
    flushed: int = 0
    fills: dict[str, int] = field(default_factory=dict)
    evictions: dict[str, int] = field(default_factory=dict)
    switches: int = 0
    shootdowns: int = 0
    shootdown_targets: int = 0
    lazy_skips: int = 0
    rollovers: int = 0

    @property
    def lookups(self) -> int:
        """Of both kinds."""
        return self.data.lookups + self.fetch.lookups

    @property
    def misses(self) -> int:
        """Of both kinds, through all levels."""
        return self.data.misses + self.fetch.misses

    def mpki(self, instructions: int) -> float | None:
        """Misses through all levels for 1000 instructions; None where it is not known how many there were."""
        return 1000 * self.misses / instructions if instructions else None

    def estimate_cycles(self, config: TlbConfig) -> float:
        """Cycles that translation cost by ``config.costs``: an estimate, as if nothing overlapped."""
        costs = config.costs
        total = (costs.walk * self.walks + costs.reference * sum(self.references.values()) + costs.fault * self.faults
                 + costs.invalidation * (self.page_flushes + self.asid_flushes + self.all_flushes)
                 + costs.shootdown * self.shootdown_targets)  # fmt: skip
        for side in (self.data, self.fetch):
            total += sum(count * costs.hit[level] for level, count in enumerate(side.hits))
            total += side.misses * (costs.hit[len(side.hits) - 1] if side.hits else 0.0)
        return float(total)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        found: dict[str, object] = {"lookups": self.lookups, "misses": self.misses}
        for each in fields(self):
            value = getattr(self, each.name)
            found[each.name] = (
                {"lookups": value.lookups, "hits": value.hits, "misses": value.misses}
                if isinstance(value, SideCounters)
                else value
            )
        return found

    def __add__(self, other: "TlbCounters") -> "TlbCounters":
        total = TlbCounters()
        for each in fields(self):
            one, two = getattr(self, each.name), getattr(other, each.name)
            if isinstance(one, SideCounters):
                hits = [sum(pair) for pair in zip(one.hits, two.hits, strict=True)] if one.hits else list(two.hits)
                setattr(total, each.name, SideCounters(hits, one.misses + two.misses))
            elif isinstance(one, dict):
                setattr(total, each.name, {key: one.get(key, 0) + two.get(key, 0) for key in {**one, **two}})
            else:
                setattr(total, each.name, one + two)
        return total


def read_counters(words: Sequence[int], config: TlbConfig, levels: Sequence[str]) -> TlbCounters:
    """The counters among the words of hw/tlb_state.py; ``levels``: names of the page table's levels."""
    sides = [
        SideCounters([int(words[C_HIT + 4 * side + level]) for level in range(len(config.path("di"[side])))],
                     int(words[C_MISS + side]))
        for side in (0, 1)
    ]  # fmt: skip

    def by_level(at: int, count: int) -> dict[str, int]:
        return {levels[number]: int(words[at + number]) for number in range(count)}

    def by_array(at: int) -> Mapping[str, int]:
        names = [each.name for each in config.all_arrays()]
        return {name: int(words[at + number]) for number, name in enumerate(names)}

    fills, fresh = by_array(C_FILL), by_array(C_FRESH)
    return TlbCounters(
        data=sides[0],
        fetch=sides[1],
        refused=int(words[C_REFUSED]),
        walks=int(words[C_WALKS]),
        faults=int(words[C_FAULTS]),
        references=by_level(C_REFERENCE, len(levels)),
        walk_hits=by_level(C_WALK_HIT, len(levels) - 1),
        coalesced=int(words[C_COALESCED]),
        prefetches=int(words[C_PREFETCH]),
        prefetch_references=int(words[C_PREFETCH_REFERENCE]),
        page_flushes=int(words[C_FLUSH_PAGE]),
        asid_flushes=int(words[C_FLUSH_ASID]),
        all_flushes=int(words[C_FLUSH_ALL]),
        flushed=int(words[C_FLUSHED]),
        fills=dict(fills),
        evictions={name: fills[name] - fresh[name] for name in fills},
    )
