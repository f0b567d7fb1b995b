"""Random programs on a machine with a few hundred frames, and a twin that knows what every page must hold.

Each step is one call or access of one process; afterwards every invariant of ``pagewalk.check`` must hold. The twin
keeps eight bytes a page: a dictionary for each private mapping, a dictionary that processes share for shared memory and
for the file.
"""

import errno
import random

from pressure_machines import KINDS, Watermarks, make_machine
from pressure_steps import FILE_PAGES, FileSteps, GroupSteps, move_between_nodes

from pagewalk import LinuxError, OomKilled, OutOfMemory, Process
from pagewalk.cgroup import Cgroup
from pagewalk.check import check_machine
from pagewalk.mm.lru_names import LRU_UNEVICTABLE
from pagewalk.mm.swapon import add_swap, swapoff
from pagewalk.mm.vmscan import try_to_free_memory

PAGE = 4096
RW = 3
PRIVATE, SHARED, FILE, FILE_PRIVATE = range(4)
MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT = 3, 4, 8, 20, 21
MAX_LIVE = 200  # pages that the processes may hold together: RAM and swap have room for them


class Area:
    """A mapping of a process: what it is of, and what its pages hold. ``maybe``: pages given up with MADV_FREE."""

    def __init__(self, start: int, pages: int, kind: int, data: dict[int, bytes], offset: int = 0) -> None:
        self.start = start
        self.pages = pages
        self.kind = kind
        self.data = data
        self.offset = offset
        self.maybe: set[int] = set()
        self.writable = True
        self.locked = False


class Pressure:
    """The machine, its processes, the twin."""

    def __init__(self, seed: int, path: str, rw: list[str], kind: int = 0) -> None:
        self.random = random.Random(seed)
        self.name = KINDS[kind][0]
        generations = KINDS[kind][1].get("reclaim_policy") == "mglru"  # they never swap at 0
        self.machine = make_machine(kind, rw, self.random.choice((60, 100, 200) if generations else (0, 60, 100, 200)))
        self.watermarks = Watermarks(self.machine)
        self.path = path
        self.file: dict[int, bytes] = {}
        self.areas: dict[Process, list[Area]] = {self.machine.spawn(): []}
        self.groups: list[Cgroup] = []
        if "groups" in KINDS[kind][3]:
            outer = self.machine.cgroup("outer")
            self.groups = [outer, outer.cgroup("inner"), self.machine.cgroup("other", oom_group=True)]
        self.nodes = len(self.machine.system.nodes) if "nodes" in KINDS[kind][3] else 0
        self.steps = 0
        self.kills = 0

    def close(self) -> None:
        """Everybody ends; nothing may be left."""
        for process in list(self.areas):
            process.exit()
        check_machine(self.machine)
        swap = self.machine.system.swap
        assert swap.nr_swap_pages == swap.total_swap_pages
        assert not swap.cached_pages()
        assert self.machine.system.page_state(LRU_UNEVICTABLE) == 0
        self.machine.close()

    def live(self) -> int:
        """Pages that the processes may hold."""
        return sum(area.pages for areas in self.areas.values() for area in areas)

    def step(self) -> None:
        """One random step, and every invariant."""
        process = self.random.choice(list(self.areas))
        choice = self.random.random()
        try:
            if choice < 0.62:
                self.access(process)
            elif choice < 0.80:
                self.advise(process)
            elif choice < 0.95:
                self.change(process)
            else:
                self.everybody(process)
        except OomKilled:
            self.kills += 1
            del self.areas[process]
        except OutOfMemory:
            pass
        if not self.areas:
            self.areas[self.machine.spawn()] = []
        check_machine(self.machine)
        self.watermarks.check()
        self.steps += 1

    def pick(self, process: Process) -> Area | None:
        """One of its mappings."""
        areas = self.areas[process]
        return self.random.choice(areas) if areas else None

    def access(self, process: Process) -> None:
        """Stores and loads, a few pages in a row or all over the place."""
        area = self.pick(process)
        if area is None:
            self.new_area(process)
            return
        first = self.random.randrange(area.pages)
        count = self.random.choice((1, 2, 8, 24))
        for page in range(first, min(first + count, area.pages)):
            if area.writable and self.random.random() < 0.5:
                value = self.random.randbytes(7) + b"\1"
                process.write(area.start + page * PAGE, value)
                area.data[page + area.offset] = value
                area.maybe.discard(page)
            else:
                self.verify(process, area, page)

    def verify(self, process: Process, area: Area, page: int) -> None:
        """The page holds what was stored."""
        found = process.read(area.start + page * PAGE, 8)
        expected = area.data.get(page + area.offset, bytes(8))
        if area.kind == FILE_PRIVATE and page + area.offset not in area.data:
            expected = self.file.get(page + area.offset, bytes(8))
        if page in area.maybe and found == bytes(8):
            area.data.pop(page + area.offset, None)
            return
        assert found == expected, f"{area.start + page * PAGE:#x} holds {found!r}, expected {expected!r}"

    def advise(self, process: Process) -> None:
        """madvise(2) of a part of a mapping."""
        area = self.pick(process)
        if area is None:
            return
        first = self.random.randrange(area.pages)
        count = self.random.randrange(1, area.pages - first + 1)
        advices = [MADV_PAGEOUT, MADV_PAGEOUT, MADV_COLD, MADV_WILLNEED]
        if area.kind == PRIVATE:
            advices += [MADV_FREE, MADV_DONTNEED]
        advice = self.random.choice(advices)
        if area.locked and advice != MADV_WILLNEED:
            return
        process.madvise(area.start + first * PAGE, count * PAGE, advice)
        pages = range(first, first + count)
        if advice == MADV_FREE:
            area.maybe.update(pages)
        elif advice == MADV_DONTNEED:
            for page in pages:
                area.data.pop(page + area.offset, None)
                area.maybe.discard(page)

    def change(self, process: Process) -> None:
        """mmap, munmap, mprotect, mremap, mlock; the file is written and cut; groups and nodes change."""
        area = self.pick(process)
        what = self.random.randrange(10) if self.live() > 100 else 0
        if area is None or what == 0:
            self.new_area(process)
        elif what == 1:
            process.munmap(area.start, area.pages * PAGE)
            self.areas[process].remove(area)
        elif what == 2:
            area.writable = not area.writable
            process.mprotect(area.start, area.pages * PAGE, RW if area.writable else 1)
            self.break_cow(process, area)
        elif what == 3 and not area.locked:
            area.start = process.mremap(area.start, area.pages * PAGE, (area.pages + 1) * PAGE) if (
                area.kind == PRIVATE and self.live() < MAX_LIVE
            ) else area.start  # fmt: skip
            area.pages += area.kind == PRIVATE and self.live() < MAX_LIVE
        elif what == 4 and area.pages <= 16 and not area.locked:
            if sum(each.pages for areas in self.areas.values() for each in areas if each.locked) < 20:
                area.locked = True
                try:
                    process.mlock(area.start, area.pages * PAGE)
                except LinuxError as error:
                    assert error.errno == errno.EAGAIN  # locked, but not all of it would fit
                self.break_cow(process, area)
        elif what == 5 and area.locked:
            process.munlock(area.start, area.pages * PAGE)
            area.locked = False
        elif what == 6 and area.pages > 1:
            self.shrink(process, area)
        elif what == 7:
            FileSteps(self, process).step()
        elif what == 8 and self.groups:
            GroupSteps(self, process).step()
        elif what == 9 and self.nodes:
            move_between_nodes(self, process, area)

    def shrink(self, process: Process, area: Area) -> None:
        """munmap of the mapping's first pages, or mremap to fewer."""
        less = self.random.randrange(1, area.pages)
        if self.random.random() < 0.5:
            process.munmap(area.start, less * PAGE)
            area.start += less * PAGE
            area.offset += less
            area.maybe = {page - less for page in area.maybe if page >= less}
            gone = range(area.offset - less, area.offset)
        else:
            assert process.mremap(area.start, area.pages * PAGE, (area.pages - less) * PAGE) == area.start
            kept = area.offset + area.pages - less
            area.maybe = {page for page in area.maybe if page < area.pages - less}
            gone = range(kept, kept + less)
        area.pages -= less
        if area.kind in (PRIVATE, FILE_PRIVATE):
            for page in gone:
                area.data.pop(page, None)

    def break_cow(self, process: Process, area: Area) -> None:
        """Locked private memory that may be written gets its copies at once: the file's later changes pass it by. Where
        memory and swap are full it may get none, which mlock answers with EAGAIN and mprotect keeps to itself."""
        if area.locked and area.writable and area.kind == FILE_PRIVATE:
            for page in range(area.pages):
                found = str(process.explain(area.start + page * PAGE))
                if "anonymous" in found or "swap" in found.partition("\npte")[2]:
                    area.data.setdefault(page + area.offset, self.file.get(page + area.offset, bytes(8)))
                else:
                    assert "short of swap" in self.name or self.groups, found

    def new_area(self, process: Process) -> None:
        """A mapping of some kind."""
        pages = self.random.choice((1, 4, 16, 30))
        if self.live() + pages > MAX_LIVE:
            return
        kind = self.random.choice((PRIVATE, PRIVATE, SHARED, FILE, FILE_PRIVATE))
        if kind in (PRIVATE, SHARED):
            start = process.mmap(pages * PAGE, RW, 0x22 if kind == PRIVATE else 0x21)
            self.areas[process].append(Area(start, pages, kind, {}))
            return
        offset = self.random.randrange(FILE_PAGES - pages)
        flags = 1 if kind == FILE else 2
        start = process.mmap(pages * PAGE, RW, flags, path=self.path, offset=offset * PAGE)
        self.areas[process].append(Area(start, pages, kind, self.file if kind == FILE else {}, offset))

    def everybody(self, process: Process) -> None:
        """fork, exit, reclaim, swapoff."""
        what = self.random.randrange(4)
        if what == 0 and self.live() * 2 < MAX_LIVE and len(self.areas) < 4:
            try:
                child = process.fork()
            except LinuxError as error:
                assert error.errno == errno.ENOMEM  # alone on its nodes: nobody else can be killed
                return
            copies = []
            for area in self.areas[process]:
                shared = area.kind in (SHARED, FILE)
                copy = Area(area.start, area.pages, area.kind, area.data if shared else dict(area.data), area.offset)
                copy.maybe = set(area.maybe)
                copy.writable = area.writable
                copies.append(copy)
            self.areas[child] = copies
        elif what == 1 and len(self.areas) > 1:
            process.exit()
            del self.areas[process]
        elif what == 2:
            try_to_free_memory(self.machine.system, self.random.randrange(1, 100))
        elif what == 3 and self.random.random() < 0.3:
            system = self.machine.system
            slots = next(area.max for area in system.swap.areas if area and area.name == "/dev/vda")
            if swapoff(system, "/dev/vda") == 0:
                assert add_swap(system, "/dev/vda", slots, -1, partition=True, rotational=False) == 0
