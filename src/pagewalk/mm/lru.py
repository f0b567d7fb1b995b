"""The classic policy: two lists each for anonymous and file pages, a second chance, and a balance between the two.

New pages begin at the head of an inactive list. One that is found used at its tail gets a second round, or becomes
active; active pages that fall behind become inactive again. How much each kind gives is decided by what taking from it
has cost lately, weighed by ``vm.swappiness``.

Sources: Documentation/mm/ (page reclaim), Documentation/admin-guide/sysctl/vm.rst (swappiness).

Mirrors: mm/vmscan.c (get_scan_count, shrink_lruvec, shrink_active_list, shrink_inactive_list), mm/swap.c (6.18)
Differs: no throttling of reclaimers; buffer heads and slab caches are not shrunk.
"""

from math import isqrt
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.lru_names import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_UNEVICTABLE,
)
from pagewalk.mm.lruvec import ReclaimPolicy, folio_is_file_lru
from pagewalk.mm.memcg_names import PGDEACTIVATE, PGREFILL
from pagewalk.mm.page import Page, PG_active, PG_lru, PG_mlocked, PG_referenced, PG_unevictable, PG_workingset
from pagewalk.mm.rmap import folio_referenced
from pagewalk.mm.vma import VM_EXEC

if TYPE_CHECKING:
    from pagewalk.mm.scan_control import ScanControl

SWAP_CLUSTER_MAX: Final = 32
DEACTIVATE_ANON: Final = 1
DEACTIVATE_FILE: Final = 2
DEF_PRIORITY: Final = 12
SWAPPINESS_ANON_ONLY: Final = 201  # memory.reclaim "swappiness=max"
EVICTABLE: Final = (LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE)


@final
class ClassicLru(ReclaimPolicy):
    """Linux's policy without multi-generational LRU."""

    name = "lru"

    def accessed(self, page: Page) -> None:
        """folio_mark_accessed: the second access makes an inactive page active."""
        if not page.flags & PG_referenced:
            page.flags |= PG_referenced
        elif not page.flags & (PG_unevictable | PG_active):
            if page.flags & PG_lru:
                self.remove(page)
                page.flags |= PG_active
                self.add(page)
            else:
                page.flags |= PG_active
            page.flags &= ~PG_referenced
            self.age_nonresident()

    def prepare(self, sc: "ScanControl") -> None:
        """prepare_scan_control."""
        prepare_scan_control(self, sc)

    def shrink(self, sc: "ScanControl") -> None:
        """shrink_lruvec: takes from the four lists in turns of 32 pages until enough is reclaimed, and then lets the
        kind that was to give less stop, in proportion."""
        nr = get_scan_count(self, sc)
        targets = list(nr)
        proportional = not sc.kswapd and sc.priority == DEF_PRIORITY and not sc.cgroup
        adjusted = False
        before: i64 = sc.nr_reclaimed
        while nr[LRU_INACTIVE_ANON] or nr[LRU_ACTIVE_FILE] or nr[LRU_INACTIVE_FILE]:
            for lru in EVICTABLE:
                if nr[lru]:
                    count = min(nr[lru], SWAP_CLUSTER_MAX)
                    nr[lru] -= count
                    self.shrink_list(lru, count, sc)
            if sc.nr_reclaimed - before < sc.nr_to_reclaim or proportional or adjusted:
                continue
            if not stop_the_smaller(nr, targets):
                break
            adjusted = True
        if sc.may_swap and self.inactive_is_low(LRU_INACTIVE_ANON):
            self.shrink_active_list(LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX, sc)

    def age(self, sc: "ScanControl") -> None:
        """kswapd_age_node: a few active anonymous pages become inactive before they are needed."""
        if sc.may_swap and self.inactive_is_low(LRU_INACTIVE_ANON):
            self.shrink_active_list(LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX, sc)

    def inactive_is_low(self, inactive_lru: int) -> bool:
        """The inactive list is too short for a page on it to have a chance: shorter than the active one by more than
        sqrt(10 * GiB)."""
        inactive: i64 = self.page_state(inactive_lru)
        active: i64 = self.page_state(inactive_lru + 1)
        gigabytes = int(inactive + active) >> 18
        ratio = isqrt(10 * gigabytes) if gigabytes else 1
        return inactive * ratio < active

    def shrink_list(self, lru: int, nr_to_scan: int, sc: "ScanControl") -> None:
        """One list."""
        if lru == LRU_ACTIVE_ANON or lru == LRU_ACTIVE_FILE:
            if sc.may_deactivate & (DEACTIVATE_FILE if lru == LRU_ACTIVE_FILE else DEACTIVATE_ANON):
                self.shrink_active_list(lru, nr_to_scan, sc)
            else:
                sc.skipped_deactivate = True
            return
        self.shrink_inactive_list(lru, nr_to_scan, sc)

    def isolate(self, lru: int, nr_to_scan: int, sc: "ScanControl") -> list[Page]:
        """Takes up to ``nr_to_scan`` pages off the tail of a list; those of zones that are of no use to the request
        stay (isolate_lru_folios)."""
        which = self.lists[lru]
        taken: list[Page] = []
        if sc.all_zones:
            taken = which.take(nr_to_scan)
            for each in taken:
                each.flags &= ~PG_lru
            return taken
        skipped: list[Page] = []
        while len(taken) < nr_to_scan:
            page = which.last()
            if page is None:
                break
            which.delete(page)
            if sc.zone_fits(page):
                page.flags &= ~PG_lru
                taken.append(page)
            else:
                skipped.append(page)
        for page in skipped:  # they are not looked at again soon
            which.add(page)
        return taken

    def shrink_inactive_list(self, lru: int, nr_to_scan: int, sc: "ScanControl") -> None:
        """Looks at pages of an inactive list; those that cannot go return to the lists."""
        file = lru == LRU_INACTIVE_FILE
        pages = self.isolate(lru, nr_to_scan, sc)
        if not pages:
            return
        scanned = len(pages)
        sc.count_scan(scanned, file)
        before: i64 = sc.nr_reclaimed
        kept = sc.shrink_folio_list(pages)
        self.put_back(kept)
        reclaimed: i64 = sc.nr_reclaimed - before
        sc.count_steal(reclaimed, file)
        sc.end_batch()
        self.note_cost(file, sc.nr_pageout, max(0, scanned - reclaimed))  # folios of several pages count as one

    def put_back(self, pages: list[Page]) -> None:
        """move_folios_to_lru: the first of them, which was looked at first, comes nearest to the tail. Those that are
        active now push others out, as those that come do: refault distances grow."""
        for page in pages:
            if page.flags & PG_mlocked:
                page.flags |= PG_unevictable
                page.flags &= ~PG_active
            elif page.flags & PG_active:
                self.age_nonresident()
            self.add(page)

    def shrink_active_list(self, lru: int, nr_to_scan: int, sc: "ScanControl") -> None:
        """Pages of the active list's tail become inactive; code that was executed stays."""
        file = lru == LRU_ACTIVE_FILE
        pages = self.isolate(lru, nr_to_scan, sc)
        system = sc.system
        rotated = 0
        for page in pages:
            if page.flags & PG_mlocked:
                page.flags = (page.flags | PG_unevictable) & ~PG_active
                self.add(page)
                continue
            referenced, vm_flags = folio_referenced(page)
            if referenced and vm_flags & VM_EXEC and folio_is_file_lru(page):
                rotated += 1
                self.age_nonresident()
                self.add(page)
                continue
            page.flags = (page.flags & ~PG_active) | PG_workingset
            system.vmstat.pgdeactivate += 1
            sc.count_event(PGDEACTIVATE, 1)
            self.add(page)
        system.vmstat.pgrefill += len(pages)
        sc.count_event(PGREFILL, len(pages))
        self.note_cost(file, 0, rotated)


def stop_the_smaller(nr: list[int], targets: list[int]) -> bool:
    """Enough is reclaimed: the kind with less left to scan stops, the other one goes on to the same fraction of its
    target. False where one of them is done already."""
    nr_file = nr[LRU_INACTIVE_FILE] + nr[LRU_ACTIVE_FILE]
    nr_anon = nr[LRU_INACTIVE_ANON] + nr[LRU_ACTIVE_ANON]
    if not nr_file or not nr_anon:
        return False
    if nr_file > nr_anon:
        stops, goes_on, left = LRU_INACTIVE_ANON, LRU_INACTIVE_FILE, nr_anon
    else:
        stops, goes_on, left = LRU_INACTIVE_FILE, LRU_INACTIVE_ANON, nr_file
    percentage = left * 100 // (targets[stops] + targets[stops + 1] + 1)
    nr[stops] = 0
    nr[stops + 1] = 0
    for lru in (goes_on, goes_on + 1):
        scanned = targets[lru] - nr[lru]
        wanted = targets[lru] * (100 - percentage) // 100
        nr[lru] = wanted - min(wanted, scanned)
    return True


def prepare_scan_control(lruvec: ClassicLru, sc: "ScanControl") -> None:
    """What is known before a pass over these lists and those of the groups below: whether active pages are to be
    deactivated, whether the page cache alone can, or cannot, give what is wanted, and what each kind has cost."""
    sc.anon_cost = lruvec.anon_cost
    sc.file_cost = lruvec.file_cost
    if sc.force_deactivate:
        sc.may_deactivate = DEACTIVATE_ANON | DEACTIVATE_FILE
    else:
        sc.may_deactivate = 0
        if lruvec.activated_state(0) != lruvec.refaults[0] or lruvec.inactive_is_low(LRU_INACTIVE_ANON):
            sc.may_deactivate |= DEACTIVATE_ANON
        if lruvec.activated_state(1) != lruvec.refaults[1] or lruvec.inactive_is_low(LRU_INACTIVE_FILE):
            sc.may_deactivate |= DEACTIVATE_FILE
    inactive_file: i64 = lruvec.page_state(LRU_INACTIVE_FILE)
    sc.cache_trim_mode = inactive_file >> sc.priority > 0 and not sc.may_deactivate & DEACTIVATE_FILE
    if not sc.cgroup:
        file: i64 = inactive_file + lruvec.page_state(LRU_ACTIVE_FILE)
        anon: i64 = lruvec.page_state(LRU_INACTIVE_ANON)
        tiny = file + sc.nr_free() <= sc.total_high_wmark()
        sc.file_is_tiny = tiny and not sc.may_deactivate & DEACTIVATE_ANON and anon >> sc.priority > 0


def get_scan_count(lruvec: ClassicLru, sc: "ScanControl") -> list[int]:
    """How many pages of each list a pass looks at."""
    swappiness = sc.swappiness
    shares = [1, 1]  # anon, file
    total = 1
    equal = False
    if not sc.may_swap or (sc.cgroup and swappiness == 0):
        shares[0] = 0
    elif swappiness == SWAPPINESS_ANON_ONLY:
        shares[1] = 0
    elif sc.priority == 0 and swappiness:
        equal = True
    elif sc.file_is_tiny:
        shares[1] = 0
    elif sc.cache_trim_mode:
        shares[0] = 0
    else:
        costs = int(sc.anon_cost + sc.file_cost)
        anon_cost = costs + int(sc.anon_cost)
        file_cost = costs + int(sc.file_cost)
        costs = anon_cost + file_cost
        shares[0] = swappiness * (costs + 1) // (anon_cost + 1)
        shares[1] = (200 - swappiness) * (costs + 1) // (file_cost + 1)
        total = shares[0] + shares[1]
    nr = [0] * LRU_UNEVICTABLE
    for lru in EVICTABLE:
        size = sc.lru_size(lruvec, lru)
        scan = sc.unprotected(size) >> sc.priority
        if scan == 0 and not sc.online:
            scan = min(size, SWAP_CLUSTER_MAX)  # what a removed group has left is scraped out
        if not equal:
            scaled = scan * shares[lru >> 1]
            scan = scaled // total if sc.online else -(-scaled // total)
        nr[lru] = scan
    return nr
