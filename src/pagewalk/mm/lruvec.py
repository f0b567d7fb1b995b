"""The lists that reclaim takes pages from, and what a reclaim policy is.

A policy holds every page that user space has brought in and that could be taken away again: anonymous memory, page
cache, shared memory. It is told when a page comes, goes or is accessed through the kernel, and it is asked to give
pages back. The five lists here are Linux's; their counts are what meminfo and vmstat tell. A policy of one's own
subclasses ``ReclaimPolicy`` and overrides ``shrink``, and what else it wants to know.

Each node has such a set of lists for every memory cgroup, the root's group included, and a page stands on those of its
own node and group (``Node.folio_lruvec``). What reclaim wants to know of a group it asks of its lists and those of the
groups below it: the sets of one node form a tree as the groups do.

Mirrors: include/linux/mm_inline.h, include/linux/mmzone.h (struct lruvec), mm/swap.c (lru_note_cost) (6.18)
Differs: pages enter the lists at once, not in batches of each CPU; pages of one folio stand on the list one by one;
    sums over groups are taken when they are asked for.
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from pagewalk.mm.lru_names import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_NAMES,
    LRU_UNEVICTABLE,
)
from pagewalk.mm.page import (
    MemMap,
    Page,
    PG_active,
    PG_lru,
    PG_referenced,
    PG_swapbacked,
    PG_unevictable,
    PG_workingset,
)
from pagewalk.mm.workingset import workingset_refault

if TYPE_CHECKING:
    from pagewalk.mm.scan_control import ScanControl
    from pagewalk.mm.system import System


_ROOM: Final = 64  # places that a list may waste


@final
class LruList:
    """Pages in a row, the oldest one, which is the next to be looked at, first. The tail is the old end, the head the
    young one.

    A row rather than links between the pages: whoever takes a page off need not touch its neighbours, which have been
    left alone for long, and the pages that come next are known before the first of them has been fetched.

    name       for reports
    row        the pages; None where one has been taken out
    first      where in the row the oldest page is; what is before it is None
    base       ``Page.lru_at`` of the row's first place: a page is at ``row[page.lru_at - base]``
    nr_pages   how many there are; nr_below: those of them whose frames lie below ``bound``, where the highest zone of
               the node begins; nr_lowest: below ``lowest_bound``, where the second highest begins
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.row: list[Page | None] = []
        self.first: i64 = 0
        self.base: i64 = 0
        self.nr_pages: i64 = 0
        self.nr_below: i64 = 0
        self.nr_lowest: i64 = 0
        self.bound: i64 = 0
        self.lowest_bound: i64 = 0

    def __repr__(self) -> str:
        return f"<LruList {self.name}: {self.nr_pages} pages>"

    def add(self, page: Page) -> None:
        """Puts a page at the head."""
        page.lru_at = self.base + len(self.row)
        self.row.append(page)
        self.nr_pages += 1
        if page.pfn < self.bound:
            self.nr_below += 1
            if page.pfn < self.lowest_bound:
                self.nr_lowest += 1

    def add_tail(self, page: Page) -> None:
        """Puts a page at the tail: it is the next to be looked at."""
        if self.first == 0:
            self.row[:0] = [None] * _ROOM
            self.first = _ROOM
            self.base -= _ROOM
        self.first -= 1
        page.lru_at = self.base + self.first
        self.row[self.first] = page
        self.nr_pages += 1
        if page.pfn < self.bound:
            self.nr_below += 1
            if page.pfn < self.lowest_bound:
                self.nr_lowest += 1

    def delete(self, page: Page) -> None:
        """Takes a page off."""
        at: i64 = page.lru_at - self.base
        self.row[at] = None
        self.nr_pages -= 1
        if page.pfn < self.bound:
            self.nr_below -= 1
            if page.pfn < self.lowest_bound:
                self.nr_lowest -= 1
        if at == self.first:
            self.advance()
        else:
            self.close_gaps()

    def advance(self) -> None:
        """The oldest page has gone: finds the one behind it, and gives up places where nothing is any more."""
        row = self.row
        at = self.first
        end: i64 = len(row)
        while at < end and row[at] is None:
            at += 1
        self.first = at
        if at > _ROOM and at * 2 > end:
            del row[:at]
            self.base += at
            self.first = 0
        self.close_gaps()

    def close_gaps(self) -> None:
        """Where most places are empty, the pages move together."""
        if len(self.row) - self.first <= 2 * self.nr_pages + _ROOM:
            return
        self.row = [page for page in self.row if page is not None]
        self.base = 0
        self.first = 0
        at: i64 = 0
        for page in self.row:
            assert page is not None
            page.lru_at = at
            at += 1

    def last(self) -> Page | None:
        """The page at the tail."""
        return self.row[self.first] if self.nr_pages else None

    def take(self, count: i64) -> list[Page]:
        """Takes up to ``count`` pages off the tail, the oldest first."""
        taken: list[Page] = []
        row = self.row
        at = self.first
        end: i64 = len(row)
        while at < end and len(taken) < count:
            page = row[at]
            if page is not None:
                taken.append(page)  # one after another, so that the host fetches several at a time
                row[at] = None
            at += 1
        self.nr_pages -= len(taken)
        if self.bound:
            for page in taken:
                if page.pfn < self.bound:
                    self.nr_below -= 1
                    if page.pfn < self.lowest_bound:
                        self.nr_lowest -= 1
        self.first = at
        self.advance()
        return taken

    def pages(self) -> list[Page]:
        """All of them, from the head on; for reports and checks."""
        return [page for page in reversed(self.row) if page is not None]


def folio_lru_list(page: Page) -> int:
    """The list that a page's flags put it on."""
    flags = page.flags
    if flags & PG_unevictable:
        return LRU_UNEVICTABLE
    kind = LRU_INACTIVE_ANON if flags & PG_swapbacked else LRU_INACTIVE_FILE
    return kind + 1 if flags & PG_active else kind


def folio_is_file_lru(page: Page) -> bool:
    """The page can be had back without swap."""
    return page.flags & PG_swapbacked == 0


@mypyc_attr(allow_interpreted_subclasses=True)
class ReclaimPolicy:
    """Which pages go when memory is short. One object for each set of lists: a node's, or a memory cgroup's on it.

    lists           by LRU_*; ``add`` and ``remove`` keep them by the pages' flags
    node_id, memcg  whose they are: the number of the node, the ident of the memory cgroup (0: the root)
    parent, children  the lists of the group above it and of those below, on the same node
    next_child      where reclaim of the group goes on among the groups below it
    anon_cost, file_cost  what taking pages of the kind has cost lately: pages looked at in vain, and I/O
    io_cost_only    pages looked at in vain cost nothing (Linux 6.1)
    nonresident_age  pages that have left and pages that were activated: the clock of refault distances
    refaults        activations by refault, of those below too, when the lists were last shrunk, anon and file
    refaulted_pages, activated, restored  pages that came back, those of them that were activated at once, and those
                    that had been active before; anon and file, since boot
    """

    name = "none"

    def __init__(self, mem_map: MemMap) -> None:
        self.mem_map = mem_map
        self.lists: list[LruList] = [LruList(name) for name in LRU_NAMES]
        self.anon_cost: i64 = 0
        self.file_cost: i64 = 0
        self.io_cost_only = False
        self.nonresident_age: i64 = 0
        self.node_id: i64 = 0
        self.memcg: i64 = 0
        self.parent: ReclaimPolicy | None = None
        self.children: list[ReclaimPolicy] = []
        self.next_child = 0
        self.refaults: list[int] = [0, 0]
        self.refaulted_pages: list[int] = [0, 0]
        self.activated: list[int] = [0, 0]
        self.restored: list[int] = [0, 0]

    # What the policy is told.

    def add(self, page: Page) -> None:
        """A page has come: a fault, a read, swap-in; or it returns after having been looked at (PG_active and
        PG_unevictable may be set)."""
        page.flags |= PG_lru
        self.lists[folio_lru_list(page)].add(page)

    def remove(self, page: Page) -> None:
        """A page goes: it is free, or about to be looked at. Its flags are still those that it was added with."""
        self.lists[folio_lru_list(page)].delete(page)
        page.flags &= ~PG_lru

    def accessed(self, page: Page) -> None:
        """The kernel has accessed a page for a program (read(2), get_user_pages), or the last mapping of a page that
        was used goes. Accesses by programs leave the accessed bit in page tables instead."""
        page.flags |= PG_referenced

    def rotate(self, page: Page) -> None:
        """A page on the lists, just added, is to be the next to go: it has been written back for that."""
        which = self.lists[folio_lru_list(page)]
        which.delete(page)
        which.add_tail(page)

    def evicted(self, page: Page) -> i64:
        """A page has gone: what is to be remembered of it, from 0 to 2**36 (its shadow). Here: the age of the lists,
        and whether it had been active (workingset_eviction)."""
        shadow: i64 = self.nonresident_age << 1
        self.age_nonresident()
        return shadow | (1 if page.flags & PG_workingset else 0)

    def evictor(self, target: "ReclaimPolicy") -> "ReclaimPolicy":
        """Whose ``evicted`` is told when a page of these lists goes for the sake of ``target``, the lists of the group
        that has to give (the root's where the machine has). Here: those, whose clock all below it share."""
        return target

    def refaulted(self, system: "System", page: Page, shadow: i64) -> None:
        """A page is back, and about to be added to its lists; these here left ``shadow`` when it went."""
        workingset_refault(system, self, page, shadow)

    def prepare(self, sc: "ScanControl") -> None:
        """A pass begins over these lists and those of the groups below: each is asked to ``shrink`` in turn."""

    # What the policy is asked for.

    def shrink(self, sc: "ScanControl") -> None:
        """One pass: looks at about ``size >> sc.priority`` pages, hands those that may go to
        ``sc.shrink_folio_list(pages)``, and puts back what that returns."""
        raise NotImplementedError(f"{type(self).__name__} does not say which pages go: shrink(sc) is missing")

    def age(self, sc: "ScanControl") -> None:
        """kswapd is about to shrink: a policy may look at pages that are not to go yet."""

    # For everybody.

    def age_nonresident(self) -> None:
        """workingset_age_nonresident: the clock of refault distances goes on, here and above."""
        at: ReclaimPolicy | None = self
        while at is not None:
            at.nonresident_age += 1
            at = at.parent

    def all_pages(self, lru: int) -> list[Page]:
        """The pages of one list; for reports and checks."""
        return self.lists[lru].pages()

    def nr(self, lru: int) -> i64:
        """Pages of one list."""
        return self.lists[lru].nr_pages

    def set_bounds(self, highest: i64, second: i64) -> None:
        """Before there are pages: where the two highest zones of the node begin."""
        for each in self.lists:
            each.bound = highest
            each.lowest_bound = second

    def nr_below(self, lru: int) -> i64:
        """Pages of one list below the highest zone of the node."""
        return self.lists[lru].nr_below

    def nr_lowest(self, lru: int) -> i64:
        """Pages of one list below the two highest zones of the node."""
        return self.lists[lru].nr_lowest

    def page_state(self, lru: int) -> i64:
        """Pages of one list, those of the groups below included (lruvec_page_state)."""
        pages: i64 = self.nr(lru)
        for child in self.children:
            pages += child.page_state(lru)
        return pages

    def activated_state(self, kind: int) -> int:
        """Refaulted pages that were activated, those of the groups below included."""
        return self.activated[kind] + sum([child.activated_state(kind) for child in self.children])

    def nr_evictable(self, anon: bool) -> i64:
        """Pages that could go: the page cache's, and with ``anon`` those that need swap."""
        pages: i64 = self.lists[LRU_INACTIVE_FILE].nr_pages + self.lists[LRU_ACTIVE_FILE].nr_pages
        if anon:
            pages += self.lists[LRU_INACTIVE_ANON].nr_pages + self.lists[LRU_ACTIVE_ANON].nr_pages
        return pages

    def note_cost(self, file: bool, nr_io: i64, nr_rotated: i64) -> None:
        """lru_note_cost: pages of the kind had to be written or read again, or were looked at in vain. Old costs fade;
        the groups above have the cost too. (Up to 6.1 the last did not count: ``io_cost_only``.)"""
        cost: i64 = nr_io if self.io_cost_only else nr_io * 32 + nr_rotated
        if cost == 0:
            return
        at: ReclaimPolicy | None = self
        while at is not None:
            if file:
                at.file_cost += cost
            else:
                at.anon_cost += cost
            if at.file_cost + at.anon_cost > at.subtree_evictable() // 4:
                at.file_cost //= 2
                at.anon_cost //= 2
            at = at.parent

    def subtree_evictable(self) -> i64:
        """Pages that could go, those of the groups below included."""
        pages: i64 = self.nr_evictable(True)
        for child in self.children:
            pages += child.subtree_evictable()
        return pages
