"""A TLB for each CPU, or the frames of one RAM, of one size, with LRU: simulated access by access from dictionaries.

What ``lab.curve`` finds for every size in one pass is what this counts for one.
"""

from stack import NaiveCache

from pagewalk.trace import events as ev
from pagewalk.trace.format import FETCH, Batch

FREEING = {"DONTNEED": 4, "REMOVE": 9, "PAGEOUT": 21, "DONTNEED_LOCKED": 24}


class NaiveSimulator:
    """``entries`` in each of ``sets`` sets; see ``lab.curve.CurveRun`` for the rest."""

    def __init__(
        self, what: str, page_size: int, sets: int, entries: int, side: str, *, asid: bool, one_space: bool
    ) -> None:
        self.what, self.size, self.sets, self.entries, self.side = what, page_size, sets, entries, side
        self.asid, self.one_space = asid, one_space
        self.space_of: dict[int, str] = {}
        self.heap_end: dict[str, int] = {}
        self.caches: dict[tuple[int, int], NaiveCache] = {}
        self.loaded: dict[int, str] = {}
        self.lookups = 0
        self.names = 0

    @property
    def misses(self) -> int:
        return sum(cache.misses for cache in self.caches.values())

    def space(self, task: int) -> str:
        if task not in self.space_of:
            self.space_of[task] = "shared" if self.one_space else self.new_name()
        return self.space_of[task]

    def new_name(self) -> str:
        self.names += 1
        return f"space {self.names}"

    def feed(self, batch: Batch) -> None:
        waiting = list(batch.events)
        for number in range(len(batch) + 1):
            while waiting and waiting[0][0] <= number:
                self.event(waiting.pop(0)[1])
            if number < len(batch):
                task, cpu = int(batch.task[number]), int(batch.cpu[number])
                self.run(task, cpu)
                fetch = int(batch.kind[number]) == FETCH
                if self.side == "both" or fetch == (self.side == "fetch"):
                    addr = int(batch.addr[number])
                    for page in range(addr // self.size, (addr + int(batch.size[number]) - 1) // self.size + 1):
                        self.use(cpu, self.space(task), page)

    def run(self, task: int, cpu: int) -> None:
        """The CPU has this task's address space."""
        if self.what == "tlb" and not self.asid and self.loaded.get(cpu, self.space(task)) != self.space(task):
            for (owner, _), cache in self.caches.items():
                if owner == cpu:
                    cache.held.clear()
        self.loaded[cpu] = self.space(task)

    def use(self, cpu: int, space: str, page: int) -> None:
        self.lookups += 1
        where = (cpu if self.what == "tlb" else 0, page % self.sets)
        if where not in self.caches:
            self.caches[where] = NaiveCache(self.entries)
        self.caches[where].use((space, page))

    def gone(self, space: str, addr: int, length: int) -> None:
        if length <= 0:
            return
        for cache in self.caches.values():
            for owner, page in list(cache.held):  # type: ignore[misc]
                start, end = page * self.size, (page + 1) * self.size
                touches = start < addr + length and end > addr
                inside = start >= addr and end <= addr + length
                if owner == space and (touches if self.what == "tlb" else inside):
                    cache.drop((owner, page))

    def leave(self, task: int) -> None:
        space = self.space_of.pop(task, None)
        if space is not None and space not in self.space_of.values():
            self.gone(space, -(1 << 70), 1 << 71)

    def event(self, event: ev.Event) -> None:
        if isinstance(event, ev.Touch):
            if self.what == "ram" and self.side != "fetch":
                self.use(0, self.space(event.task), event.addr // self.size)
            return
        space = self.space(event.task)
        frees = isinstance(event, ev.Madvise) and event.advice in FREEING.values()
        if isinstance(event, ev.Mmap | ev.Munmap) or frees or (isinstance(event, ev.Mprotect) and self.what == "tlb"):
            self.gone(space, event.addr, event.length)  # type: ignore[union-attr]
        elif isinstance(event, ev.Brk):
            new = -(-event.addr // 4096) * 4096
            old = self.heap_end.get(space, event.start)
            self.heap_end[space] = event.addr
            self.gone(space, new, old - new)
        elif isinstance(event, ev.Mremap):
            self.remap(space, event)
        elif isinstance(event, ev.Fork):
            self.leave(event.child)
            if event.shares_mm:
                self.space_of[event.child] = space
            else:
                child = self.space_of[event.child] = self.new_name()
                if space in self.heap_end:
                    self.heap_end[child] = self.heap_end[space]
        elif isinstance(event, ev.Exec):
            self.leave(event.task)
            self.space_of[event.task] = self.new_name()
        elif isinstance(event, ev.Exit):
            self.leave(event.task)

    def remap(self, space: str, event: ev.Mremap) -> None:
        if event.addr == event.new_addr:
            self.gone(space, event.addr + event.new_length, event.length - event.new_length)
            return
        distance = event.new_addr - event.addr
        if self.what == "ram":
            self.gone(space, event.new_addr, event.new_length)
            if distance % self.size == 0:
                length = min(event.length, event.new_length)
                for cache in self.caches.values():
                    cache.held = {self.moved(key, space, event.addr, length, distance): None for key in cache.held}
        self.gone(space, event.addr, event.length)

    def moved(self, key: object, space: str, addr: int, length: int, distance: int) -> object:
        owner, page = key  # type: ignore[misc]
        start = page * self.size
        inside = owner == space and start >= addr and start + self.size <= addr + length
        return (owner, page + distance // self.size) if inside else key
