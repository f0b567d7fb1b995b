"""A processor's translation caches as data: arrays of TLB entries, walk caches, tags, how marks are set, what it costs.

A ``TlbConfig`` is a tree. Each array says which accesses it serves (data, instructions or both) and at which level it
is asked; an access asks the arrays of its levels in turn, level 1 first. An array that serves both is unified. Arrays
of one level are asked at the same time and differ in the page sizes they hold.

What every part means is said here once; ``hw/tlb.py`` and ``hw/translate.py`` carry it out, and ``tests/naive/tlb.py``
does the same with dictionaries.

- A translation found at a level is copied to the levels before it. One that the page table gave is put into every
  level. An entry that leaves one level stays in the others.
- An entry goes to the array of its level that holds the page's size. ``fragments``: an array that holds only smaller
  pages takes a piece of the page, of the largest size that it holds.
- Where several arrays of a level hold a page's size, the page number modulo their count says which takes it.
- An empty way is filled first (the lowest), then the policy names one.
- An entry grants what the walk found; a store needs Dirty, so an entry of a clean page grants no store. An access that
  an entry does not grant takes the page's entries out of all arrays, and is a miss.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pagewalk.errors import ConfigError

__all__ = ["ANY", "POLICIES", "Costs", "Policy", "TlbArray", "TlbConfig", "WalkCache"]

POLICIES: Final = ("lru", "plru", "fifo", "random")
ANY: Final[tuple[int, ...]] = ()  # page sizes: all

MAX_ARRAYS: Final = 24  # of TLB and walk caches together
MAX_LEVELS: Final = 4  # of TLBs on the way of one kind of access
MAX_PER_LEVEL: Final = 6
MAX_SLOTS: Final = 1 << 20
PLRU_WAYS: Final = 64


@dataclass(frozen=True)
class Policy:
    """A replacement policy of a user's: two small functions, compiled by Numba (so: integers and arrays only).

    touch(words, ways, way, fill)  way ``way`` was used; ``fill`` is 1 when it has just been filled, else 0
    victim(words, ways) -> way     every way is in use: the one to replace, 0 <= way < ways
    words                          how many 64-bit words a set has for them, zero at first

    ``words`` in the calls is the set's own array of that length.
    """

    name: str
    touch: Callable[..., None]
    victim: Callable[..., int]
    words: int = 1


@dataclass(frozen=True)
class TlbArray:
    """One array of entries.

    name       for reports, and to be replaced by
    level      1 is asked first
    serves     "d" data, "i" instructions, "id" both
    sets, ways any numbers; one set is full associativity
    sizes      bytes of the pages that it holds, ANY for all
    policy     "lru", "plru" (a tree, up to 64 ways), "fifo", "random", or a Policy
    fragments  holds pieces of pages that are larger than its sizes
    coalesced  holds runs of pages as one entry, where the configuration says how long they are
    """

    name: str
    level: int
    serves: str
    sets: int
    ways: int
    sizes: tuple[int, ...] = ANY
    policy: str | Policy = "lru"
    fragments: bool = False
    coalesced: bool = True

    def __post_init__(self) -> None:
        check_geometry(self.name, self.sets, self.ways, self.policy)
        if not 1 <= self.level <= 9:
            raise ConfigError(f"TLB {self.name}: expected a level of 1 to 9, got {self.level}")
        if self.serves not in ("d", "i", "id"):
            raise ConfigError(f"TLB {self.name}: expected to serve d, i or id, got {self.serves!r}")
        for size in self.sizes:
            if size < 4096 or size & (size - 1):
                raise ConfigError(f"TLB {self.name}: expected page sizes that are powers of two from 4096, got {size}")

    @property
    def entries(self) -> int:
        """All of its ways."""
        return self.sets * self.ways


@dataclass(frozen=True)
class WalkCache:
    """A page-walk cache: entries of the upper levels, so that a walk begins below them.

    levels  names of the levels whose entries it holds (pgd, p4d, pud, pmd); those that a format has not got do not
            matter
    """

    name: str
    levels: tuple[str, ...]
    sets: int
    ways: int
    policy: str | Policy = "lru"

    def __post_init__(self) -> None:
        check_geometry(self.name, self.sets, self.ways, self.policy)
        if not self.levels or set(self.levels) - {"pgd", "p4d", "pud", "pmd"}:
            raise ConfigError(f"walk cache {self.name}: expected some of pgd, p4d, pud, pmd, got {self.levels!r}")

    @property
    def entries(self) -> int:
        """All of its ways."""
        return self.sets * self.ways


@dataclass(frozen=True)
class Costs:
    """Cycles, for an estimate: what a look-up adds that is answered by the second level, the third ..., what one
    reference of a walk costs, and a fault's way into the kernel and back. The first level is part of the load itself.

    The default figures are round ones (a second-level hit of 7 cycles as Intel's optimisation manual has it for
    Skylake, a walk reference that finds its line in the second-level data cache, 14). Out-of-order execution hides an
    unknown part of all of them.
    """

    hit: tuple[float, ...] = (0.0, 7.0, 7.0, 7.0)
    walk: float = 0.0
    reference: float = 14.0
    fault: float = 1000.0
    invalidation: float = 200.0
    shootdown: float = 4000.0


@dataclass(frozen=True)
class TlbConfig:
    """The translation caches of one CPU.

    arrays, walk_caches
    tagged       entries carry an ASID (PCID): address spaces live side by side
    asid_bits    how many tags there are (the operating system may use fewer); up to 16
    globals_     entries of global pages serve every address space
    marks        who sets Accessed and Dirty: "hardware" (walks do), "fault" (an access that needs one is a page
                 fault), or "format": as the page-table format has it
    coalesce     pages that one entry may cover, when they are aligned, contiguous and alike: 1 (off), 2, 4, 8, 16
    prefetch     after a walk, the translation of the next page is put into the last level, if marked Accessed
    fault_drops  a page fault drops the page's entries and the walk-cache entries on its way (x86)
    flush_walks  invalidating a page drops all walk-cache entries of its address space (x86), not only those on its way
    seed         of random replacement
    costs        of the estimate in cycles
    """

    name: str
    arrays: tuple[TlbArray, ...] = ()
    walk_caches: tuple[WalkCache, ...] = ()
    tagged: bool = True
    asid_bits: int = 12
    globals_: bool = True
    marks: str = "format"
    coalesce: int = 1
    prefetch: bool = False
    fault_drops: bool = True
    flush_walks: bool = True
    seed: int = 1
    costs: Costs = field(default_factory=Costs)

    def __post_init__(self) -> None:
        names = [each.name for each in self.all_arrays()]
        if len(set(names)) != len(names):
            raise ConfigError(f"TLB configuration {self.name}: expected different names, got {', '.join(names)}")
        if len(names) > MAX_ARRAYS:
            raise ConfigError(f"TLB configuration {self.name}: expected up to {MAX_ARRAYS} arrays, got {len(names)}")
        if sum(each.entries for each in self.all_arrays()) > MAX_SLOTS:
            raise ConfigError(f"TLB configuration {self.name}: expected up to {MAX_SLOTS} entries in all")
        if self.marks not in ("format", "hardware", "fault"):
            raise ConfigError(f"marks: expected format, hardware or fault, got {self.marks!r}")
        if self.coalesce not in (1, 2, 4, 8, 16):
            raise ConfigError(f"coalesce: expected 1, 2, 4, 8 or 16 pages, got {self.coalesce!r}")
        if not 1 <= self.asid_bits <= 16:
            raise ConfigError(f"asid_bits: expected 1 to 16, got {self.asid_bits!r}")
        for side in "di":
            path = self.path(side)
            if len(path) > MAX_LEVELS or any(len(level) > MAX_PER_LEVEL for level in path):
                raise ConfigError(f"TLB configuration {self.name}: expected up to {MAX_LEVELS} levels of up to "
                                  f"{MAX_PER_LEVEL} arrays")  # fmt: skip

    def all_arrays(self) -> "tuple[TlbArray | WalkCache, ...]":
        """TLB arrays, then walk caches: the order in which they are numbered."""
        return (*self.arrays, *self.walk_caches)

    def path(self, side: str) -> list[list[TlbArray]]:
        """The arrays that an access of ``side`` ("d" or "i") asks, by level."""
        levels = sorted({each.level for each in self.arrays if side in each.serves})
        return [[each for each in self.arrays if each.level == level and side in each.serves] for level in levels]

    def describe(self) -> str:
        """One line for each array."""
        lines = []
        for each in self.all_arrays():
            shape = "fully associative" if each.sets == 1 else f"{each.sets} sets x {each.ways} ways"
            policy = each.policy if isinstance(each.policy, str) else each.policy.name
            what = " ".join(each.levels) if isinstance(each, WalkCache) else size_names(each.sizes)
            lines.append(f"{each.name}: {each.entries} entries, {shape}, {policy}, {what}")
        return "\n".join(lines)


def size_names(sizes: tuple[int, ...]) -> str:
    """``(4096, 2 << 20)`` as "4K+2M"; "any" for ANY."""
    return "+".join(size_name(size) for size in sizes) or "any"


def size_name(size: int) -> str:
    """A power of two in the largest unit that divides it."""
    for shift, unit in ((40, "T"), (30, "G"), (20, "M"), (10, "K")):
        if size >> shift:
            return f"{size >> shift}{unit}"
    return str(size)


def check_geometry(name: str, sets: int, ways: int, policy: str | Policy) -> None:
    """Raises ConfigError for an array that cannot be."""
    if sets < 1 or ways < 1 or sets * ways > MAX_SLOTS:
        raise ConfigError(f"TLB {name}: expected at least one set and one way, {MAX_SLOTS} in all, got {sets} x {ways}")
    if isinstance(policy, Policy):
        if not 1 <= policy.words <= 4096:
            raise ConfigError(f"policy {policy.name}: expected 1 to 4096 words, got {policy.words}")
    elif policy not in POLICIES:
        raise ConfigError(f"TLB {name}: expected a policy of {', '.join(POLICIES)}, got {policy!r}")
    elif policy == "plru" and ways > PLRU_WAYS:
        raise ConfigError(f"TLB {name}: expected up to {PLRU_WAYS} ways for plru, got {ways}")
