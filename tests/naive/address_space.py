"""The naive twin: one address space as a dict of pages. Obvious and slow; nothing of pagewalk is used.

Every mapped page is an entry of ``pages`` (naive_pages.py: what is mapped, and accesses): its rights, what it shows,
and what its page-table entry would be. Addresses and lengths are in pages. Calls answer 0, a page number, or a
negative errno.

What Linux makes depend on history is not modelled but told to the twin: where one VMA ends and the next of the same
kind begins (``seams``: whether two neighbours merge depends on the anon_vma that each got by its first write fault).
``same_as`` compares VMAs modulo those seams and then takes them over: fault-around and several calls stop there. So is
which page tables are there (``has_table``: an empty one stays or goes with its neighbours).
"""

from dataclasses import replace

from naive_pages import NaivePages
from pages import EACCES, EEXIST, EFAULT, EINVAL, ENOMEM, GAP, MARKS, Object, Page, R, W, writable_after_mprotect


class NaiveAddressSpace(NaivePages):
    """One process's memory, and the calls that change it."""

    # Choosing an address.

    def gap_start(self, at: int) -> int:
        """Where the VMA that starts at ``at`` keeps room below itself: a stack does."""
        return at - GAP if "gd" in self.pages[at].marks else at

    def room_end(self, at: int) -> int:
        """Where the free room that starts at ``at`` ends: at the next mapping, or at the guard gap of a stack."""
        above = min((page for page in self.pages if page >= at), default=None)
        return self.top if above is None else self.gap_start(above)

    def search(self, length: int) -> int:
        """The highest free range below the base, page by page; the guard of the stack right above it is kept free."""
        at = self.base - length
        while at >= self.low:
            taken = next((page for page in range(at, at + length) if page in self.pages), None)
            end = self.room_end(at + length)
            if taken is not None:
                at = taken - length
            elif end < at + length:
                at = end - length
            else:
                return at
        return -ENOMEM

    def pick(self, addr: int, length: int, anon: bool, private: bool) -> int:
        """An address: the hint where it is free, else the search; large anonymous areas start at 2 MiB."""
        if addr and addr + length <= self.room_end(addr):
            return addr
        if anon and private and not addr and length % self.huge == 0:
            found = self.search(length + self.huge)
            if found >= 0:
                return found + (-found % self.huge or self.huge)
        return self.search(length)

    # Calls.

    def mmap(
        self, addr: int, length: int, prot: int, shared: bool, obj: Object | None, off: int,
        fixed: bool = False, noreplace: bool = False, marks: frozenset[str] = frozenset(), populate: bool = False,
    ) -> int:  # fmt: skip
        if length == 0:
            return -EINVAL
        if len(self.vmas()) > self.max_map_count:
            return -ENOMEM
        at = addr if fixed or noreplace else self.pick(addr, length, obj is None, not shared)
        if at < 0:
            return at
        if noreplace and any(page in self.pages for page in range(at, at + length)):
            return -EEXIST
        if "gd" in marks and (shared or obj is not None):
            return -EINVAL
        if obj is None and shared:
            obj, off = Object("shared memory", length), 0
        self.munmap(at, length)
        for page in range(length):
            self.pages[at + page] = Page(prot, shared, obj, off + page if obj else 0, marks)
        if populate or "lo" in marks:
            self.populate(at, at + length)
        return at

    def munmap(self, addr: int, length: int) -> int:
        if length == 0:
            return -EINVAL
        for page in range(addr, addr + length):
            self.pages.pop(page, None)
            self.seams.discard(page)
        return 0

    def mprotect(self, addr: int, length: int, prot: int) -> int:
        if length == 0:
            return 0
        for start, end in self.parts_until_hole(addr, addr + length):
            old = self.pages[start]
            lock_and_write = "lo" in old.marks and not old.shared and not old.prot & W and bool(prot & W)
            changed = prot != old.prot
            for at in range(start, end):
                page = self.pages[at]
                page.prot = prot
                if changed:
                    page.writable = writable_after_mprotect(page)
            if lock_and_write:
                self.populate(start, end)
        return self.whole(addr, addr + length)

    def parts_until_hole(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) up to the first hole, cut by the VMAs as they are now."""
        hole = next((page for page in range(start, end) if page not in self.pages), end)
        return self.parts(start, hole)

    def mark(self, start: int, end: int, add: str, remove: str) -> None:
        """Sets and clears marks of every page of [start, end)."""
        for at in range(start, end):
            page = self.pages[at]
            page.marks = (page.marks - frozenset(remove.split())) | frozenset(add.split())

    def mlock(self, addr: int, length: int, onfault: bool = False) -> int:
        end = addr + length
        for start, upto in self.parts_until_hole(addr, end):
            self.mark(start, upto, "lo lf" if onfault else "lo", "" if onfault else "lf")
        return self.whole(addr, end) or (-ENOMEM if self.populate(addr, end, strict=True) else 0)

    def munlock(self, addr: int, length: int) -> int:
        for start, upto in self.parts_until_hole(addr, addr + length):
            self.mark(start, upto, "", "lo lf")
        return self.whole(addr, addr + length)

    def drop(self, at: int) -> None:
        """The page's entry goes; a private copy is lost."""
        page = self.pages[at]
        page.entry, page.writable, page.dirty, page.byte = "", False, False, 0

    def madvise(self, addr: int, length: int, advice: str) -> int:
        end = addr + length
        if length == 0:
            return 0
        if advice.startswith("populate"):
            return self.madvise_populate(addr, end, advice == "populate_write")
        for start, upto in self.parts(addr, end):
            failed = self.advise(start, upto, advice)
            if failed:
                return failed
        return self.whole(addr, end)

    def madvise_populate(self, addr: int, end: int, write: bool) -> int:
        at = addr
        while at < end:
            if at not in self.pages:
                return -ENOMEM
            if not self.pages[at].prot & (W if write else R):
                return -EINVAL
            upto = min(self.vma_of(at)[1], end)
            for page in range(at, upto):
                if self.fault(page, write) != "ok":
                    return -EFAULT
            at = upto
        return 0

    def advise(self, start: int, end: int, advice: str) -> int:
        """One advice for a part of one VMA."""
        page = self.pages[start]
        locked = "lo" in page.marks
        if advice in MARKS:
            if advice == "wipeonfork" and (page.obj is not None or page.shared):
                return -EINVAL
            if advice != "mergeable" or not page.shared:
                self.mark(start, end, *MARKS[advice])
            return 0
        if advice in ("dontneed", "dontneed_locked", "free", "cold", "remove"):
            if locked and advice != "dontneed_locked":
                return -EINVAL
            if advice == "free":
                return 0 if page.obj is None else -EINVAL
            if advice == "remove":
                return self.remove(start, end)
            for at in range(start, end):
                if advice != "cold" and self.pages[at].entry != "guard":
                    self.drop(at)
        elif advice == "guard_install":
            if locked:
                return -EINVAL
            for at in range(start, end):
                self.drop(at)
                self.pages[at].entry = "guard"
        elif advice == "guard_remove":
            for at in range(start, end):
                if self.pages[at].entry == "guard":
                    self.drop(at)
        return 0

    def remove(self, start: int, end: int) -> int:
        """MADV_REMOVE: a hole in the object."""
        page = self.pages[start]
        if page.obj is None:
            return -EINVAL
        if not page.shared:
            return -EACCES
        self.forget(page.obj, page.off, page.off + end - start, private_too=False)
        return 0

    def forget(self, obj: Object, first: int, last: int, private_too: bool) -> None:
        """Pages [first, last) of an object are gone, everywhere; ``private_too``: private copies as well."""
        for off in [off for off in obj.data if first <= off < last]:
            del obj.data[off]
        for at, page in self.pages.items():
            gone = page.entry == "cache" or (private_too and page.entry == "anon")
            if page.obj is obj and first <= page.off < last and gone:
                self.drop(at)

    def msync(self, addr: int, length: int) -> int:
        """MS_SYNC: dirty pages of shared files are clean, and read-only until the next store."""
        for start, end in self.parts(addr, addr + length):
            model = self.pages[start]
            offs = range(model.off, model.off + end - start)
            for page in self.pages.values() if model.notify else ():
                if page.obj is model.obj and page.shared and page.dirty and page.entry == "cache" and page.off in offs:
                    page.dirty = page.writable = False
        return self.whole(addr, addr + length)

    def truncate(self, obj: Object, size: int) -> int:
        """The object's new length in pages."""
        if size < obj.size:
            self.forget(obj, size, 1 << 40, private_too=True)
        obj.size = size
        return 0

    def brk(self, new: int) -> int:
        """Sets the break (in pages); the break."""
        old = self.brk_page
        if new < self.start_brk or new == old:
            return old
        if new < old:
            if any(page in self.pages for page in range(new, old)):
                self.munmap(new, old - new)
                self.brk_page = new
            return self.brk_page
        above = next((page for page in range(old, new + GAP + 1) if page in self.pages), None)
        if above is not None and new + 1 > self.gap_start(above):
            return old
        for page in range(old, new):
            self.pages[page] = Page(R | W)
        self.brk_page = new
        return new

    def mremap(self, addr: int, old: int, new: int, maymove: bool, fixed: int = -1, keep: bool = False) -> int:
        """``fixed``: the new address, or -1; ``keep``: MREMAP_DONTUNMAP."""
        if new == 0 or ((fixed >= 0 or keep) and not maymove) or (keep and old != new):
            return -EINVAL
        if fixed >= 0 and addr + old > fixed and fixed + new > addr:
            return -EINVAL
        if fixed >= 0 and old == new:
            return self.move_all(addr, old, fixed, keep)
        if addr not in self.pages:
            return -EFAULT
        end = self.vma_of(addr)[1]
        moves = fixed >= 0 or keep
        if not moves and old >= new:
            if old > new:
                self.munmap(addr + new, old - new)
            return addr
        if old == 0 and not self.pages[addr].shared:
            return -EINVAL
        if min(old, new) > end - addr:
            return -EFAULT
        if fixed >= 0:
            self.munmap(fixed, new)
            if old > new:
                self.munmap(addr + new, old - new)
            if addr not in self.pages:
                return -EFAULT
            return self.move(addr, min(old, new), new, fixed, keep)
        if not keep and old == end - addr and not any(page in self.pages for page in range(end, end + new - old)):
            self.continue_as(self.pages[addr], addr, old, new)
            return addr
        if not maymove:
            return -ENOMEM
        page = self.pages[addr]
        return self.move(addr, old, new, self.pick(0, new, page.obj is None, not page.shared), keep)

    def continue_as(self, model: Page, at: int, old: int, new: int) -> None:
        """Pages [at + old, at + new), untouched, of the mapping whose first page is ``model``."""
        for page in range(old, new):
            off = model.off + page if model.obj is not None else 0
            self.pages[at + page] = Page(model.prot, model.shared, model.obj, off, model.marks)
        if "lo" in model.marks and new > old:
            self.populate(at + old, at + new)

    def move_all(self, addr: int, length: int, to: int, keep: bool) -> int:
        """A plain move takes every mapping of the range along, gaps kept."""
        parts = self.parts(addr, addr + length)
        if not parts or parts[0][0] != addr:
            return -EFAULT
        for start, end in parts:
            self.munmap(to + start - addr, end - start)
            if start not in self.pages:
                return -EFAULT
            self.move(start, end - start, end - start, to + start - addr, keep)
        return to

    def move(self, addr: int, old: int, new: int, to: int, keep: bool) -> int:
        """Moves entries; the source goes, or stays without pages and unlocked."""
        if to < 0:
            return to
        model = replace(self.pages[addr])
        start, end = self.vma_of(addr)
        for page in range(old):
            self.pages[to + page] = replace(self.pages[addr + page])
            if keep:
                self.drop(addr + page)
            else:
                del self.pages[addr + page]
        if keep:
            self.mark(start, end, "", "lo lf")  # all of the VMA, though only a part has moved
        self.continue_as(model, to, old, new)
        return to
