"""The pages of the naive twin: what is mapped where, and what loads and stores do with it.

``NaivePages`` holds one process's pages as a dict and answers accesses; address_space.py adds the system calls.
"""

from collections.abc import Callable
from dataclasses import replace

from pages import EFAULT, ENOMEM, GAP, Page, W


class NaivePages:
    """One process's memory. ``base``: the page below which mmap searches; ``low``: the lowest that it may pick;
    ``huge``: pages that a last-level table maps; ``around``: those that a read of a file may map."""

    def __init__(
        self, base: int, low: int, top: int, brk: int, stack_limit: int, max_map_count: int, huge: int = 512,
        around: int = 16,
    ) -> None:  # fmt: skip
        self.base, self.low, self.top = base, low, top
        self.start_brk = self.brk_page = brk
        self.stack_limit = stack_limit
        self.huge, self.around = huge, around
        self.max_map_count = max_map_count
        self.pages: dict[int, Page] = {}
        self.seams: set[int] = set()
        self.has_table: Callable[[int], bool] = lambda at: True
        self.faults = 0

    # Looking.

    def vmas(self) -> list[tuple[int, int, Page]]:
        """(first page, end, first Page) of every run of pages of one kind, cut at the seams."""
        runs: list[tuple[int, int, Page]] = []
        for at in sorted(self.pages):
            page = self.pages[at]
            if runs and runs[-1][1] == at and at not in self.seams and self.same_run(at):
                runs[-1] = (runs[-1][0], at + 1, runs[-1][2])
            else:
                runs.append((at, at + 1, page))
        return runs

    def same_run(self, at: int) -> bool:
        """Whether page ``at`` continues the page before it."""
        low, high = self.pages[at - 1], self.pages[at]
        return low.kind() == high.kind() and (high.obj is None or high.off == low.off + 1)

    def vma_of(self, at: int) -> tuple[int, int]:
        """The bounds of the VMA that page ``at`` lies in."""
        start = at
        while start not in self.seams and start - 1 in self.pages and self.same_run(start):
            start -= 1
        end = at + 1
        while end in self.pages and end not in self.seams and self.same_run(end):
            end += 1
        return start, end

    def parts(self, start: int, end: int) -> list[tuple[int, int]]:
        """[start, end) cut into the parts that lie in one VMA each, holes left out."""
        found = []
        at = start
        while at < end:
            if at in self.pages:
                upto = min(self.vma_of(at)[1], end)
                found.append((at, upto))
                at = upto
            else:
                at += 1
        return found

    def whole(self, start: int, end: int) -> int:
        """0 where every page of [start, end) is mapped, else -ENOMEM: how many calls end."""
        return 0 if all(page in self.pages for page in range(start, end)) else -ENOMEM

    def same_as(self, vmas: list[tuple[int, int, tuple[object, ...], int]]) -> str:
        """Compares with another model's VMAs (first, end, kind, offset); "" or what differs. Takes over its seams."""
        if sum(end - start for start, end, _, _ in vmas) != len(self.pages):
            return f"{sum(end - start for start, end, _, _ in vmas)} pages mapped, expected {len(self.pages)}"
        for start, end, kind, off in vmas:
            for at in range(start, end):
                page = self.pages.get(at)
                if page is None:
                    return f"page {at:#x} should not be mapped"
                if page.kind() != kind or (page.obj is not None and page.off != off + at - start):
                    return f"page {at:#x} is {kind} at {off}, expected {page.kind()} at {page.off}"
        self.seams = {start for start, _, _, _ in vmas}
        return ""

    def rss(self) -> dict[str, int]:
        """Resident pages by kind."""
        counts = {"anon": 0, "file": 0, "shmem": 0}
        for page in self.pages.values():
            if page.entry == "anon":
                counts["anon"] += 1
            elif page.entry == "cache" and page.obj is not None:
                counts["shmem" if page.obj.shmem else "file"] += 1
        return counts

    # Accesses.

    def access(self, at: int, write: bool, byte: int = 0) -> str:
        """A load or store of the page's first byte: "ok" or the signal."""
        if at not in self.pages and not self.grow(at):
            return "maperr"
        page = self.pages[at]
        if not page.prot or (write and not page.prot & W):
            return "accerr"
        outcome = self.fault(at, write)
        if outcome == "ok" and write:
            page.dirty = True
            if page.obj is not None and page.entry == "cache":
                page.obj.data[page.off] = byte
            page.byte = byte
        return outcome

    def load(self, at: int) -> int:
        """The byte that a load just saw."""
        page = self.pages[at]
        return page.obj.data.get(page.off, 0) if page.obj is not None and page.entry == "cache" else page.byte

    def fault(self, at: int, write: bool) -> str:
        """Brings the page's entry to what the access needs."""
        page = self.pages[at]
        if page.entry == "guard":
            return "maperr"
        if page.entry and (not write or page.writable):
            return "ok"
        if page.obj is not None and not page.entry and page.off >= page.obj.size:
            if not write:
                self.map_around(at)
            return "bus"
        self.faults += 1
        if page.obj is None and not write:
            page.entry, page.byte = "zero", 0
        elif write and not page.shared:
            if page.entry != "anon":
                page.byte = page.obj.data.setdefault(page.off, 0) if page.obj is not None else 0
            page.entry, page.writable, page.dirty = "anon", bool(page.prot & W), True
        elif write and page.obj is not None:
            page.entry, page.writable, page.dirty = "cache", bool(page.prot & W), True
            page.obj.data.setdefault(page.off, 0)
        else:
            self.map_around(at)
        return "ok"

    def map_around(self, at: int) -> None:
        """A read of a file page maps its cached neighbours: of the aligned 64 KiB, cut at the VMA and at 2 MiB."""
        page = self.pages[at]
        obj = page.obj
        assert obj is not None
        start, end = self.vma_of(at)
        first = max(at & -self.around, start, at & -self.huge)
        last = min(first + self.around, end, (at & -self.huge) + self.huge)
        if not obj.shmem and self.pages[first].off == obj.size - 1 and not self.table_there(at):
            last = first  # no page table is made for the file's last page alone
        for near in range(first, last):
            other = self.pages[near]
            cached = other.off < obj.size and (not obj.shmem or other.off in obj.data)
            if not other.entry and cached:
                self.map_cache(other)
        if not page.entry and page.off < obj.size:
            self.map_cache(page)
            obj.data.setdefault(page.off, 0)

    def table_there(self, at: int) -> bool:
        """Whether the page table that serves ``at`` exists."""
        neighbours = range(at & -self.huge, (at & -self.huge) + self.huge)
        return self.has_table(at) or any(near in self.pages and self.pages[near].entry for near in neighbours)

    def map_cache(self, page: Page) -> None:
        """The page of the file itself, read-only where the first store must be noticed."""
        page.entry, page.dirty = "cache", False
        page.writable = page.shared and bool(page.prot & W) and not page.notify

    def populate(self, start: int, end: int, strict: bool = False) -> int:
        """Faults in what can be; the first error ends a VMA's part (``strict``: ends all, and is answered)."""
        for first, last in self.parts(start, end):
            page = self.pages[first]
            if "lf" in page.marks:
                continue
            write = bool(page.prot & W) and not page.shared
            for at in range(first, last):
                if not page.prot or self.fault(at, write) != "ok":
                    if strict:
                        return -EFAULT
                    break
        return 0

    def grow(self, at: int) -> bool:
        """A touch below a stack."""
        above = min((page for page in self.pages if page > at), default=None)
        if above is None or "gd" not in self.pages[above].marks:
            return False
        below = max((page for page in self.pages if page < at), default=None)
        if below is not None and at - below - 1 < GAP:
            near = self.pages[below]
            if near.prot and "gd" not in near.marks:
                return False
        if self.vma_of(above)[1] - at > self.stack_limit:
            return False
        for page in range(at, above):
            self.pages[page] = replace(self.pages[above], entry="", writable=False, dirty=False, byte=0)
        return True
