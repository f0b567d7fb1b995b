"""The multi-generational policy: pages by age, in up to four generations for each of two kinds.

The youngest generation is where pages go that were found used; reclaim takes from the oldest. Ageing makes a new
generation: every page whose accessed bit is set moves there. Within a generation pages accessed through the kernel
stand in tiers, by how often; those in higher tiers get one more generation where their tier has refaulted more than
the pages that were never accessed again. Which kind gives is decided by refaults too, weighed by ``vm.swappiness``.

Sources: Documentation/mm/multigen_lru.rst, Documentation/admin-guide/mm/multigen_lru.rst.

Mirrors: mm/vmscan.c (lru_gen_*, evict_folios, get_type_to_scan), mm/workingset.c (lru_gen_refault) (6.18)
Differs: ageing asks the reverse map page by page rather than walking page tables with a Bloom filter; a page that is
    found used at eviction does not make its neighbours young; no working-set protection by time (min_ttl_ms).
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.lru_names import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_UNEVICTABLE,
)
from pagewalk.mm.lruvec import LruList, ReclaimPolicy, folio_is_file_lru
from pagewalk.mm.page import (
    MemMap,
    Page,
    PG_active,
    PG_lru,
    PG_mlocked,
    PG_referenced,
    PG_swapcache,
    PG_unevictable,
    PG_workingset,
)
from pagewalk.mm.rmap import folio_referenced

if TYPE_CHECKING:
    from pagewalk.mm.scan_control import ScanControl
    from pagewalk.mm.system import System

MIN_NR_GENS: Final = 2
MAX_NR_GENS: Final = 4
MAX_NR_TIERS: Final = 4
MIN_LRU_BATCH: Final = 64
# page->flags: the generation + 1 (0: on no list), and accesses through the kernel beyond the first.
GEN_SHIFT: Final = 32
GEN_MASK: Final = 7 << GEN_SHIFT
REFS_SHIFT: Final = 36
REFS_MASK: Final = 3 << REFS_SHIFT
ANON: Final = 0
FILE: Final = 1


@final
class Tiers:
    """Refaults and evictions of one kind by tier: since ageing last, and averages of before."""

    def __init__(self) -> None:
        self.refaulted: list[int] = [0] * MAX_NR_TIERS
        self.evicted: list[int] = [0] * MAX_NR_TIERS
        self.avg_refaulted: list[int] = [0] * MAX_NR_TIERS
        self.avg_total: list[int] = [0] * MAX_NR_TIERS

    def position(self, tier: int) -> tuple[int, int]:
        """(refaulted, evicted) of tier ``tier``."""
        total = self.avg_total[tier] + self.evicted[tier]
        return self.avg_refaulted[tier] + self.refaulted[tier], total

    def new_generation(self) -> None:
        """reset_ctrl_pos: what was counted goes into the averages, which fade by half."""
        for tier in range(MAX_NR_TIERS):
            self.avg_refaulted[tier] = (self.avg_refaulted[tier] + self.refaulted[tier]) // 2
            self.avg_total[tier] = (self.avg_total[tier] + self.evicted[tier]) // 2
            self.refaulted[tier] = 0
            self.evicted[tier] = 0


def positive_error(base: tuple[int, int], base_gain: int, other: tuple[int, int], gain: int) -> bool:
    """positive_ctrl_err: the second kind refaults less than the first, weighed by their gains."""
    if other[0] < MIN_LRU_BATCH:
        return True
    return other[0] * max(base[1], MIN_LRU_BATCH) * gain <= (base[0] + MIN_LRU_BATCH) * other[1] * base_gain


@final
class Mglru(ReclaimPolicy):
    """struct lru_gen_folio.

    max_seq   number of the youngest generation; generation ``seq`` is at place ``seq % 4``
    min_seq   of the oldest, anon and file
    gens      lists by kind and place
    """

    name = "mglru"

    def __init__(self, mem_map: MemMap) -> None:
        super().__init__(mem_map)
        self.max_seq = MIN_NR_GENS + 1
        self.min_seq: list[int] = [0, 0]
        self.gens: list[list[LruList]] = [
            [LruList(f"{kind} generation {place}") for place in range(MAX_NR_GENS)] for kind in ("anon", "file")
        ]
        self.tiers: list[Tiers] = [Tiers(), Tiers()]

    def add(self, page: Page) -> None:
        """lru_gen_add_folio: used and active pages are young, anonymous ones not quite, file pages old."""
        if page.flags & PG_unevictable:
            page.flags |= PG_lru
            self.lists[LRU_UNEVICTABLE].add(page)
            return
        kind = FILE if folio_is_file_lru(page) else ANON
        workingset = 1 if page.flags & PG_workingset else 0
        if page.flags & PG_active:
            age = MIN_NR_GENS - workingset
        elif kind == ANON and not page.flags & PG_swapcache:
            age = MIN_NR_GENS
        else:
            age = MAX_NR_GENS - workingset
        self.add_to(page, kind, max(self.max_seq - age + 1, self.min_seq[kind]))

    def add_to(self, page: Page, kind: int, seq: int) -> None:
        """Puts the page into a generation."""
        place: i64 = seq % MAX_NR_GENS
        page.flags = (page.flags & ~(GEN_MASK | PG_active)) | PG_lru | ((place + 1) << GEN_SHIFT)
        self.gens[kind][place].add(page)
        self.count(kind, seq, 1)

    def count(self, kind: int, seq: int, nr: int) -> None:
        """The classic lists' sizes, for meminfo: the two youngest generations count as active."""
        active = seq + MIN_NR_GENS > self.max_seq
        self.lists[kind * 2 + (1 if active else 0)].nr_pages += nr

    def seq_of(self, page: Page, kind: int) -> int:
        """The number of the generation that a page is in."""
        place = int((page.flags & GEN_MASK) >> GEN_SHIFT) - 1
        return self.min_seq[kind] + (place - self.min_seq[kind]) % MAX_NR_GENS

    def remove(self, page: Page) -> None:
        """lru_gen_del_folio: the page is active off the lists where it was young on them."""
        if page.flags & PG_unevictable:
            self.lists[LRU_UNEVICTABLE].delete(page)
            page.flags &= ~PG_lru
            return
        kind = FILE if folio_is_file_lru(page) else ANON
        seq = self.seq_of(page, kind)
        self.gens[kind][seq % MAX_NR_GENS].delete(page)
        self.count(kind, seq, -1)
        page.flags &= ~(PG_lru | GEN_MASK)
        if seq + MIN_NR_GENS > self.max_seq:
            page.flags |= PG_active

    def accessed(self, page: Page) -> None:
        """folio_inc_refs: the first access is marked, the others are counted, up to three."""
        if not page.flags & PG_referenced:
            page.flags |= PG_referenced
        elif page.flags & REFS_MASK != REFS_MASK:
            page.flags += 1 << REFS_SHIFT
        else:
            page.flags |= PG_workingset

    def tier_of(self, page: Page) -> int:
        """0 for pages that were accessed through the kernel once at most, else 1 + log2 of how often beyond that."""
        refs = int((page.flags & REFS_MASK) >> REFS_SHIFT)
        return min(refs.bit_length(), MAX_NR_TIERS - 1)

    def rotate(self, page: Page) -> None:
        """To the tail of its generation."""
        kind = FILE if folio_is_file_lru(page) else ANON
        which = self.gens[kind][self.seq_of(page, kind) % MAX_NR_GENS]
        which.delete(page)
        which.add_tail(page)

    def evicted(self, page: Page) -> i64:
        """lru_gen_eviction: the shadow tells the oldest generation and the tier."""
        kind = FILE if folio_is_file_lru(page) else ANON
        tier: i64 = self.tier_of(page)
        self.tiers[kind].evicted[tier] += 1
        seq: i64 = self.min_seq[kind]
        return seq << 4 | tier << 1 | (1 if page.flags & PG_workingset else 0)

    def evictor(self, target: ReclaimPolicy) -> ReclaimPolicy:
        """Generations are each list's own."""
        return self

    def refaulted(self, system: "System", page: Page, shadow: i64) -> None:
        """lru_gen_refault: a page of the last generations is back; its tier had gone too early. One that comes back to
        another node or group tells nothing."""
        if system.node.folio_lruvec(page) is not self:
            return
        kind = FILE if folio_is_file_lru(page) else ANON
        vmstat = system.vmstat
        vmstat.workingset_refault[kind] += 1
        self.refaulted_pages[kind] += 1
        if shadow >> 4 < self.max_seq - MAX_NR_GENS:
            return
        tier = int(shadow >> 1 & 7)
        self.tiers[kind].refaulted[tier] += 1
        vmstat.workingset_activate[kind] += 1
        self.activated[kind] += 1
        if tier or shadow & 1:
            page.flags |= PG_workingset
            self.restored[kind] += 1
            vmstat.workingset_restore[kind] += 1

    # Ageing and eviction.

    def shrink(self, sc: "ScanControl") -> None:
        """lru_gen_shrink_lruvec: ages where the old generations run out, evicts until the pass has looked at its
        share."""
        anon = sc.may_swap and sc.swappiness > 0
        size = sc.unprotected(int(self.nr_evictable(anon)))
        left = max(size >> sc.priority, min(size, MIN_LRU_BATCH))
        while left > 0 and sc.nr_reclaimed < sc.nr_to_reclaim:
            kind = self.kind_to_scan(sc, anon)
            if self.min_seq[kind] + MIN_NR_GENS > self.max_seq and not self.inc_max_seq(anon):
                break
            scanned = self.evict(kind, sc)
            if scanned == 0 and anon:
                scanned = self.evict(FILE if kind == ANON else ANON, sc)
            if scanned == 0:
                break
            left -= scanned

    def age(self, sc: "ScanControl") -> None:
        """lru_gen_age_node: kswapd makes a generation where only the two youngest are left."""
        kind = FILE if not sc.may_swap else ANON
        self.inc_min_seq(kind)
        if self.min_seq[kind] + MIN_NR_GENS > self.max_seq:
            self.inc_max_seq(sc.may_swap)

    def kind_to_scan(self, sc: "ScanControl", anon: bool) -> int:
        """get_type_to_scan: the kind that refaults less, its first tiers taken, weighed by swappiness."""
        self.inc_min_seq(FILE)
        if not anon:
            return FILE
        self.inc_min_seq(ANON)
        if self.nr_evictable(False) == 0 or sc.swappiness >= 200:
            return ANON
        if self.nr_evictable(True) == self.nr_evictable(False):
            return FILE
        file_first = positive_error(
            self.tiers[ANON].position(0), sc.swappiness, self.tiers[FILE].position(0), 200 - sc.swappiness
        )
        return FILE if file_first else ANON

    def tier_to_keep(self, kind: int) -> int:
        """get_tier_idx: pages of this tier and above refault more than those of tier 0, twice as much in doubt."""
        base = self.tiers[kind].position(0)
        tier = 1
        while tier < MAX_NR_TIERS and positive_error(base, 2, self.tiers[kind].position(tier), 3):
            tier += 1
        return tier

    def evict(self, kind: int, sc: "ScanControl") -> int:
        """evict_folios: up to 64 pages of the oldest generation; how many were looked at."""
        keep_from = self.tier_to_keep(kind)
        seq = self.min_seq[kind]
        which = self.gens[kind][seq % MAX_NR_GENS]
        taken: list[Page] = []
        scanned = 0
        while scanned < MIN_LRU_BATCH:
            page = which.last()
            if page is None:
                break
            scanned += 1
            tier = self.tier_of(page)
            self.remove(page)
            if tier >= keep_from or not (sc.all_zones or sc.zone_fits(page)):
                page.flags &= ~PG_active
                self.add_to(page, kind, seq + 1)
                continue
            page.flags &= ~PG_active
            taken.append(page)
        file = kind == FILE
        before: i64 = sc.nr_reclaimed
        sc.count_scan(scanned, file)
        for page in sc.shrink_folio_list(taken):
            if page.flags & (PG_mlocked | PG_unevictable):
                page.flags = (page.flags | PG_unevictable) & ~PG_active
                self.add(page)
                continue
            young = page.flags & PG_active != 0
            now = FILE if folio_is_file_lru(page) else ANON
            self.add_to(page, now, self.max_seq if young else max(self.min_seq[now], min(seq + 1, self.max_seq)))
        sc.count_steal(sc.nr_reclaimed - before, file)
        sc.end_batch()
        return scanned

    def inc_min_seq(self, kind: int) -> None:
        """try_to_inc_min_seq: generations that have become empty are no more."""
        while self.min_seq[kind] + MIN_NR_GENS <= self.max_seq:
            if self.gens[kind][self.min_seq[kind] % MAX_NR_GENS].nr_pages:
                break
            self.min_seq[kind] += 1
            self.tiers[kind].new_generation()

    def inc_max_seq(self, anon: bool) -> bool:
        """try_to_inc_max_seq: a new youngest generation, into which all pages go that have been used. Where a kind has
        four already, its oldest joins the next one."""
        for kind in (ANON, FILE):
            if self.max_seq - self.min_seq[kind] + 1 == MAX_NR_GENS:
                self.merge_oldest(kind)
        used: list[Page] = []
        for kind in (ANON, FILE) if anon else (FILE,):
            for which in self.gens[kind]:
                for page in which.pages():
                    if folio_referenced(page)[0]:
                        used.append(page)
        self.max_seq += 1
        self.recount()
        for page in used:
            self.remove(page)
            self.add_to(page, FILE if folio_is_file_lru(page) else ANON, self.max_seq)
        for kind in (ANON, FILE):
            self.inc_min_seq(kind)
        return True

    def merge_oldest(self, kind: int) -> None:
        """inc_min_seq: what is left of the oldest generation joins the next one, at its old end."""
        seq = self.min_seq[kind]
        old = self.gens[kind][seq % MAX_NR_GENS]
        target = self.gens[kind][(seq + 1) % MAX_NR_GENS]
        place: i64 = (seq + 1) % MAX_NR_GENS
        for page in old.pages():
            old.delete(page)
            page.flags = (page.flags & ~GEN_MASK) | ((place + 1) << GEN_SHIFT)
            target.add_tail(page)
        self.min_seq[kind] += 1
        self.tiers[kind].new_generation()
        self.recount()

    def recount(self) -> None:
        """The classic lists' sizes, after generations have changed their ages."""
        for lru in (LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE):
            self.lists[lru].nr_pages = 0
        for kind in (ANON, FILE):
            for seq in range(self.min_seq[kind], self.max_seq + 1):
                self.count(kind, seq, int(self.gens[kind][seq % MAX_NR_GENS].nr_pages))

    def set_bounds(self, highest: i64, second: i64) -> None:
        """See ``ReclaimPolicy.set_bounds``."""
        super().set_bounds(highest, second)
        for lists in self.gens:
            for which in lists:
                which.bound = highest
                which.lowest_bound = second

    def nr_below(self, lru: int) -> i64:
        """See ``ReclaimPolicy.nr_below``."""
        return sum([which.nr_below for which in self.lists_of(lru)])

    def nr_lowest(self, lru: int) -> i64:
        """See ``ReclaimPolicy.nr_lowest``."""
        return sum([which.nr_lowest for which in self.lists_of(lru)])

    def lists_of(self, lru: int) -> list[LruList]:
        """The generations that count as one of the classic lists, the youngest first."""
        if lru == LRU_UNEVICTABLE:
            return [self.lists[lru]]
        kind = lru // 2
        found: list[LruList] = []
        for seq in range(self.max_seq, self.min_seq[kind] - 1, -1):
            if (seq + MIN_NR_GENS > self.max_seq) == (lru % 2 == 1):
                found.append(self.gens[kind][seq % MAX_NR_GENS])
        return found

    def all_pages(self, lru: int) -> list[Page]:
        """Pages that count in one of the classic lists."""
        found: list[Page] = []
        for which in self.lists_of(lru):
            found += which.pages()
        return found
