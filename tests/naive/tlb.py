"""Translation caches with dictionaries and lists: slow and obvious, what the words of ``hw/`` are compared with.

It reads a ``TlbConfig`` and the page table through ``hw.walker.walk``; everything else is its own.
"""

from dataclasses import dataclass, field
from typing import Any

from pagewalk.hw.tlb_config import Policy, TlbArray, TlbConfig, WalkCache
from pagewalk.hw.walker import NON_CANONICAL, OK, PEEK, RIGHT_WRITE, walk


class Random:
    """The "minimal standard" generator, one for all arrays of a CPU."""

    def __init__(self, seed: int) -> None:
        self.state = seed % 2147483646 + 1

    def below(self, count: int) -> int:
        self.state = self.state * 48271 % 2147483647
        return self.state % count


class Order:
    """Who goes next in one set: a list of ways by age for lru and fifo, a dict of nodes for plru."""

    def __init__(self, policy: str | Policy, ways: int, random: Random) -> None:
        self.policy, self.ways, self.random = policy, ways, random
        self.by_age: list[int] = []
        self.points_right: dict[tuple[int, int], bool] = {}
        self.words = [0] * policy.words if isinstance(policy, Policy) else []

    def used(self, way: int, *, fill: bool) -> None:
        if isinstance(self.policy, Policy):
            self.policy.touch(self.words, self.ways, way, int(fill))
        elif self.policy == "lru" or (self.policy == "fifo" and fill):
            if way in self.by_age:
                self.by_age.remove(way)
            self.by_age.append(way)
        elif self.policy == "plru":
            for low, high in self.halves_on_the_way(way):
                self.points_right[low, high] = way < (low + high) // 2

    def halves_on_the_way(self, way: int) -> list[tuple[int, int]]:
        low, high = 0, 1 << (self.ways - 1).bit_length()
        halves = []
        while high - low > 1:
            halves.append((low, high))
            middle = (low + high) // 2
            low, high = (low, middle) if way < middle else (middle, high)
        return halves

    def victim(self) -> int:
        if isinstance(self.policy, Policy):
            return self.policy.victim(self.words, self.ways) % self.ways
        if self.policy == "random":
            return self.random.below(self.ways)
        if self.policy != "plru":
            return self.by_age[0]
        low, high = 0, 1 << (self.ways - 1).bit_length()
        while high - low > 1:
            middle = (low + high) // 2
            right = self.points_right.get((low, high), False) and middle < self.ways
            low, high = (middle, high) if right else (low, middle)
        return low


@dataclass
class Held:
    """An entry: of a TLB, or (``level``) of a walk cache."""

    shift: int
    number: int
    asid: int  # 0: global
    rights: int = 0
    pfn: int = 0
    level: int = -1


class Set:
    """The ways of one set."""

    def __init__(self, policy: str | Policy, ways: int, random: Random) -> None:
        self.ways: dict[int, Held] = {}
        self.count = ways
        self.order = Order(policy, ways, random)

    def put(self, held: Held) -> bool:
        """Whether somebody had to go."""
        empty = [way for way in range(self.count) if way not in self.ways]
        way = empty[0] if empty else self.order.victim()
        self.ways[way] = held
        self.order.used(way, fill=True)
        return not empty

    def remove(self, way: int) -> None:
        del self.ways[way]
        if way in self.order.by_age:
            self.order.by_age.remove(way)


class Array:
    """A TLB array or a walk cache."""

    def __init__(self, shape: TlbArray | WalkCache, random: Random) -> None:
        self.shape = shape
        self.sets = [Set(shape.policy, shape.ways, random) for _ in range(shape.sets)]
        self.fills = self.evictions = 0

    def put(self, held: Held) -> None:
        self.fills += 1
        self.evictions += self.sets[held.number % len(self.sets)].put(held)

    def look(self, shift: int, addr: int, asid: int, level: int = -1) -> tuple[Set, int] | None:
        number = addr >> shift
        ways = self.sets[number % len(self.sets)]
        for way, held in ways.ways.items():
            if (held.shift, held.number, held.asid, held.level) == (shift, number, asid, level):
                return ways, way
        return None


@dataclass
class Counts:
    hits: dict[tuple[int, int], int] = field(default_factory=dict)
    misses: list[int] = field(default_factory=lambda: [0, 0])
    refused: int = 0
    walks: int = 0
    faults: int = 0
    references: dict[str, int] = field(default_factory=dict)
    walk_hits: dict[str, int] = field(default_factory=dict)
    coalesced: int = 0
    prefetches: int = 0
    prefetch_references: int = 0
    flushed: int = 0


class NaiveMmu:
    """One CPU. ``fmt`` becomes its own: who sets the marks is written into it."""

    def __init__(self, config: TlbConfig, fmt: Any, ram: Any) -> None:
        self.config, self.fmt, self.ram = config, fmt, ram
        if config.marks != "format":
            fmt.hw_accessed = fmt.hw_dirty = config.marks == "hardware"
        random = Random(config.seed)
        self.arrays = {shape.name: Array(shape, random) for shape in config.arrays}
        self.walks = {shape.name: Array(shape, random) for shape in config.walk_caches}
        self.base = fmt.levels[-1].shift
        self.run_shift = self.base + config.coalesce.bit_length() - 1
        shifts = {level.shift for level in fmt.levels if level.can_leaf}
        shifts |= {level.shift + level.contiguous_shift for level in fmt.levels if level.contiguous_shift}
        self.shifts = sorted(shifts | ({self.run_shift} if config.coalesce > 1 else set()))
        self.counts = Counts()
        self.root = self.asid = 0

    def load(self, root: int, asid: int) -> None:
        self.root, self.asid = root, asid

    def path(self, access: int) -> list[list[Array]]:
        side = "i" if access == 2 else "d"
        return [[self.arrays[shape.name] for shape in level] for level in self.config.path(side)]

    def holds(self, shape: TlbArray, shift: int) -> bool:
        if self.config.coalesce > 1 and shift == self.run_shift:
            return shape.coalesced and (not shape.sizes or 1 << self.base in shape.sizes)
        return not shape.sizes or 1 << shift in shape.sizes

    def find(self, array: Array, addr: int) -> tuple[Set, int] | None:
        for shift in self.shifts:
            for asid in (self.asid, 0):
                found = array.look(shift, addr, asid)
                if found is not None:
                    return found
        return None

    def access(self, addr: int, access: int) -> int:
        counts, side = self.counts, access >> 1
        if addr >> 56 not in (0, -1):
            counts.misses[side] += 1
            counts.faults += 1
            return NON_CANONICAL
        path = self.path(access)
        refused = False
        for level, arrays in enumerate(path):
            for array in arrays:
                found = self.find(array, addr)
                if found is None or refused:
                    continue
                ways, way = found
                held = ways.ways[way]
                if not held.rights >> access & 1:
                    refused = True
                    continue
                counts.hits[side, level] = counts.hits.get((side, level), 0) + 1
                ways.order.used(way, fill=False)
                pfn = held.pfn + ((addr >> self.base) & ((1 << held.shift - self.base) - 1))
                for before in range(level):
                    self.fill(path[before], addr, held.asid, held.shift, pfn, held.rights)
                return OK
            if refused:
                break
        counts.misses[side] += 1
        if refused:
            counts.refused += 1
            self.drop_page(addr)
        status, walked = self.walk(addr, access)
        if status != OK:
            counts.faults += 1
            if self.config.fault_drops:
                self.drop_page(addr)
                self.drop_way(addr)
            return status
        leaf = walked.steps[-1]
        reach = self.run_shift if walked.reach == self.base and self.is_run(leaf) else walked.reach
        for arrays in path:
            self.fill(arrays, addr, self.owner(walked), reach, walked.pfn, self.granted(walked))
        if self.config.prefetch and path:
            self.prefetch(path[-1], addr, leaf.level.shift)
        return OK

    def granted(self, walked: Any) -> int:
        dirty = self.fmt.hw_dirty_bits.test(walked.steps[-1].entry)
        return int(walked.rights if dirty else walked.rights & ~RIGHT_WRITE)

    def owner(self, walked: Any) -> int:
        return 0 if self.config.globals_ and walked.global_ else self.asid

    def is_run(self, leaf: Any) -> bool:
        count = self.config.coalesce
        if count == 1 or leaf.level is not self.fmt.levels[-1]:
            return False
        first = (leaf.paddr >> self.fmt.entry_shift) // count * count
        entries = [self.ram.words[first + k] for k in range(count)]
        frame = self.fmt.pfn(entries[0])
        alike = frame % count == 0 and all(
            e & ~self.fmt.pfn_mask == entries[0] & ~self.fmt.pfn_mask and self.fmt.pfn(e) == frame + k
            for k, e in enumerate(entries)
        )
        self.counts.coalesced += alike
        return alike

    def fill(self, arrays: list[Array], addr: int, owner: int, reach: int, pfn: int, rights: int) -> None:
        page = max(level.shift for level in self.fmt.levels if level.can_leaf and level.shift <= reach)

        def as_shift(shape: TlbArray) -> int:
            for shift in (reach, page):
                if self.holds(shape, shift):
                    return shift
            pieces = [s for s in self.shifts if s < page and self.holds(shape, s)]
            if self.config.coalesce > 1:
                pieces = [s for s in pieces if s != self.run_shift]
            return max(pieces) if pieces and shape.fragments else -1

        offers = [(as_shift(array.shape), array) for array in arrays]
        best = max(shift for shift, _ in offers)
        if best < 0:
            return
        takers = [array for shift, array in offers if shift == best]
        frame = pfn >> best - self.base << best - self.base
        takers[(addr >> best) % len(takers)].put(Held(best, addr >> best, owner, rights, frame))

    def walk(self, addr: int, access: int) -> tuple[int, Any]:
        counts = self.counts
        counts.walks += 1
        names = [level.name for level in self.fmt.levels]
        start = 0
        known = None
        for level in reversed(range(len(names) - 1)):
            for cache in self.walks.values():
                found = cache.look(self.fmt.levels[level].shift, addr, self.asid, level)
                if found is not None and known is None:
                    known = found
                    found[0].order.used(found[1], fill=False)
                    start = level + 1
                    counts.walk_hits[names[level]] = counts.walk_hits.get(names[level], 0) + 1
        walked = walk(self.ram, self.fmt, self.root, addr, access)
        for step in walked.steps[start:]:
            counts.references[step.level.name] = counts.references.get(step.level.name, 0) + 1
        if walked.status != OK:
            return walked.status, walked
        for level in range(start, len(walked.steps) - 1):
            shift = self.fmt.levels[level].shift
            table = self.fmt.pfn(walked.steps[level].entry)
            for cache in self.walks.values():
                if names[level] in cache.shape.levels:
                    cache.put(Held(shift, addr >> shift, self.asid, 0, table, level))
                    break
        return OK, walked

    def prefetch(self, arrays: list[Array], addr: int, shift: int) -> None:
        following = ((addr >> shift) + 1) << shift
        if following >> 56 not in (0, -1) or any(self.find(array, following) for array in arrays):
            return
        walked = walk(self.ram, self.fmt, self.root, following, PEEK)
        self.counts.prefetch_references += len(walked.steps)
        if walked.status != OK or not self.fmt.accessed.test(walked.steps[-1].entry) or not self.granted(walked):
            return
        before = sum(array.fills for array in arrays)
        self.fill(arrays, following, self.owner(walked), walked.reach, walked.pfn, self.granted(walked))
        self.counts.prefetches += sum(array.fills for array in arrays) - before

    def drop_page(self, addr: int) -> None:
        for array in self.arrays.values():
            while (found := self.find(array, addr)) is not None:
                found[0].remove(found[1])

    def drop_way(self, addr: int) -> None:
        for cache in self.walks.values():
            for level, each in enumerate(self.fmt.levels[:-1]):
                found = cache.look(each.shift, addr, self.asid, level)
                if found is not None:
                    found[0].remove(found[1])

    def invalidate(self, gone: Any) -> None:
        """Takes out what ``gone(held, is a walk-cache entry)`` says."""
        for arrays, walks in ((self.arrays, False), (self.walks, True)):
            for array in arrays.values():
                for ways in array.sets:
                    for way in [way for way, held in ways.ways.items() if gone(held, walks)]:
                        ways.remove(way)
                        self.counts.flushed += 1

    def invalidate_pages(self, first: int, last: int, asid: int) -> None:
        def gone(held: Held, walks: bool) -> bool:
            if walks and self.config.flush_walks:
                return held.asid == asid
            start = held.number << held.shift
            return held.asid in (asid, 0) and start <= last and start + (1 << held.shift) > first

        self.invalidate(gone)

    def invalidate_asid(self, asid: int) -> None:
        self.invalidate(lambda held, walks: held.asid == asid)

    def invalidate_all(self, *, globals_too: bool) -> None:
        self.invalidate(lambda held, walks: globals_too or held.asid != 0)
