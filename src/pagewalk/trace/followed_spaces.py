"""The address spaces of a replay that follows the recorded kernel (``follow``): page tables without mappings, made of
what ``Tables`` events say."""

from typing import TYPE_CHECKING

from pagewalk.errors import ConfigError, OutOfMemory
from pagewalk.hw.walker import OK, PEEK, WRITE, walk
from pagewalk.mm.gfp import GFP_PGTABLE
from pagewalk.mm.mm_types import MmStruct, mm_alloc
from pagewalk.mm.page import PG_table
from pagewalk.mm.pgtable import NO_TAG, pgd_free
from pagewalk.trace import events as ev
from pagewalk.trace.table_text import MARKS, TABLE, UP, Run, parse_runs

if TYPE_CHECKING:
    from pagewalk.machine import Machine

__all__ = ["FollowedSpaces"]


class FollowedSpace:
    """An address space that is nothing but page tables. ``pages``: those that are there."""

    def __init__(self, mm: MmStruct) -> None:
        self.mm = mm
        self.pages = 0


class FollowedSpaces:
    """All of them, by the numbers that the trace gives them, and the tasks that have them."""

    def __init__(self, machine: "Machine") -> None:
        self._system = machine.system
        self._spaces: dict[int, FollowedSpace] = {}
        self._tasks: dict[int, int] = {}
        self.minor = self.major = 0
        fmt = self._system.format
        self._last = len(fmt.levels) - 1
        self._step = 1 << int(fmt.pfn_shift)
        self._end = int(self._system.layout.task_size) >> int(fmt.page_shift)
        self._word_limit = 1 << (8 << int(fmt.entry_shift)) - (1 if int(fmt.entry_shift) == 3 else 0)

    def of(self, task: int) -> FollowedSpace:
        """The address space of a task."""
        return self._space(self._tasks.setdefault(task, -task))

    def _space(self, number: int) -> FollowedSpace:
        space = self._spaces.get(number)
        if space is None:
            mm = mm_alloc(self._system)
            if mm is None:
                raise self._out_of_memory()
            space = self._spaces[number] = FollowedSpace(mm)
        return space

    def apply(self, event: ev.Event) -> None:
        """What an event says of address spaces; most events say what the recorded kernel was asked to do, and not what
        it did."""
        if isinstance(event, ev.Tables):
            space = self._space(event.space)
            self.minor += event.minor
            self.major += event.major
            for run in parse_runs(event.entries):
                self._enter(space, run)
        elif isinstance(event, ev.Flush):
            mm = self._space(event.space).mm
            end = min(event.addr + event.length, int(mm.task_size))
            if not 0 <= event.addr < end:
                raise ConfigError(
                    f"replay: expected a flush of user memory, got {event.length} bytes at {event.addr:#x}"
                )
            mm.note_flush(event.addr, end)
        elif isinstance(event, ev.Fork):
            if event.shares_mm:
                self._tasks[event.child] = self._tasks.setdefault(event.task, -event.task)
            elif event.space not in self._spaces:
                self._tasks[event.child] = event.space
                self._copy(self.of(event.task), self._space(event.space))
        elif isinstance(event, ev.Exec):
            self._tasks[event.task] = event.space
        elif isinstance(event, ev.Exit):
            self._tasks.pop(event.task, None)
        elif isinstance(event, ev.Free):
            gone = self._spaces.pop(event.space, None)
            if gone is not None:
                self._free_below(gone, gone.mm.pgd_pfn, 0)
                pgd_free(gone.mm)

    def mark(self, mm: MmStruct, addr: int, access: int) -> bool:
        """A walk has found a page without a mark that software sets here: the kernel sets it, and counts a fault. False
        where it is something else."""
        fmt, words = self._system.format, self._system.ram.words
        found = walk(self._system.ram, fmt, int(mm.pgd_pfn), addr, PEEK)
        if found.status != OK:
            return False
        index = found.steps[-1].paddr >> int(fmt.entry_shift)
        entry = int(words[index])
        marked = fmt.accessed.set(entry)
        if access == WRITE:
            if not fmt.write.test(entry):
                return False
            marked = fmt.dirty.set(marked)
            if fmt.rdonly:
                marked = fmt.sync_rdonly(marked)
        if marked == entry:
            return False
        words[index] = marked
        self.minor += 1
        return True

    # Tables.

    def _enter(self, space: FollowedSpace, run: Run) -> None:
        """Entries become what the run says."""
        fmt, words = self._system.format, self._system.ram.words
        level = self._last if run.level < 0 else run.level
        span = 1 << int(fmt.levels[min(level, self._last)].shift - fmt.page_shift)
        if level > self._last or (run.kind == TABLE and level == self._last):
            raise ConfigError(f"replay: expected a level of 0 to {self._last}, got {run.level}")
        if run.page + run.count * span - (span - 1) > self._end:
            raise ConfigError(f"replay: expected entries of user memory, got {run.count} at page {run.page:#x}")
        index = self._index(space, level, run.page << int(fmt.page_shift))
        if (index & int(fmt.table_mask)) + run.count > fmt.table_mask + 1:
            raise ConfigError(f"replay: expected entries of one table, got {run.count} from page {run.page:#x} on")
        step = self._step if run.kind == UP else 0
        for at in range(run.count):
            entry = int(words[index + at])
            if run.kind == TABLE:
                self._drop(space, index + at, level)
                words[index + at] = self._new_table(level)
                continue
            word = run.word + at * step
            if run.kind == MARKS:
                if not fmt.present.test(entry):
                    continue
                word = entry & ~run.word | run.set
            if level < self._last:
                self._drop(space, index + at, level)
                if fmt.present.test(word) and (fmt.pointer.test(word) or not fmt.levels[level].can_leaf):
                    raise ConfigError(f"replay: expected an entry that maps pages, got {word:#x}")
            elif not -self._word_limit <= word < self._word_limit:
                raise ConfigError(f"replay: expected a word of a page table, got {word:#x}")
            space.pages += self._maps(word) - self._maps(entry)
            words[index + at] = word

    def _maps(self, entry: int) -> bool:
        """Whether a last-level entry has a page that counts."""
        fmt = self._system.format
        return bool(fmt.present.test(entry) and not fmt.special.test(entry))

    def _index(self, space: FollowedSpace, level: int, addr: int) -> int:
        """Where in RAM the entry of a level is that serves ``addr``. Tables that nobody has told of (a trace that has
        lost some of its batches) are made."""
        fmt, words = self._system.format, self._system.ram.words
        table = int(space.mm.pgd_pfn) << int(fmt.table_shift)
        for at, above in enumerate(fmt.levels[:level]):
            index = table + (addr >> above.shift & int(fmt.table_mask))
            entry = int(words[index])
            if not fmt.present.test(entry) or not fmt.pointer.test(entry):
                entry = words[index] = self._new_table(at)
            table = int(fmt.table_index(entry))
        return table + (addr >> fmt.levels[level].shift & int(fmt.table_mask))

    def _new_table(self, level: int) -> int:
        """The entry of ``level`` that points to a new table."""
        fmt = self._system.format
        page = self._system.node.alloc_page(GFP_PGTABLE)
        if page is None:
            raise self._out_of_memory()
        page.flags |= PG_table
        self._system.vmstat.nr_page_table_pages += 1
        return int(page.pfn << fmt.pfn_shift) | int(fmt.root_table if level == 0 else fmt.table)

    def _drop(self, space: FollowedSpace, index: int, level: int) -> None:
        """An entry above the last level is empty; the tables below it are free."""
        fmt, words = self._system.format, self._system.ram.words
        entry = int(words[index])
        words[index] = 0
        space.mm.forget_pte_tables()
        space.mm.pmd_cache_tag = NO_TAG
        if fmt.present.test(entry) and fmt.pointer.test(entry):
            pfn = int(fmt.table_index(entry)) >> int(fmt.table_shift)
            self._free_below(space, pfn, level + 1)
            page = self._system.page(pfn)
            page.flags &= ~PG_table
            self._system.vmstat.nr_page_table_pages -= 1
            self._system.node.put_page(page)

    def _used(self, pfn: int, level: int) -> list[tuple[int, int]]:
        """(index, entry) of the user's entries of a table that are not 0."""
        fmt, words = self._system.format, self._system.ram.words
        index = pfn << int(fmt.table_shift)
        size = 1 << fmt.levels[level].nr_bits
        if level == 0:
            size = min(size, -(-int(self._system.layout.task_size) // fmt.levels[0].size))
        found = words[index : index + size].tolist()
        return [(index + at, entry) for at, entry in enumerate(found) if entry]

    def _free_below(self, space: FollowedSpace, pfn: int, level: int) -> None:
        """The entries of a table are empty."""
        for index, entry in self._used(pfn, level):
            if level < self._last:
                self._drop(space, index, level)
            else:
                space.pages -= self._maps(entry)
                self._system.ram.words[index] = 0

    def _copy(self, parent: FollowedSpace, child: FollowedSpace) -> None:
        """fork's new address space has what the parent's has."""
        self._copy_table(parent.mm.pgd_pfn, child.mm.pgd_pfn, 0)
        child.pages = parent.pages

    def _copy_table(self, source: int, target: int, level: int) -> None:
        fmt, words = self._system.format, self._system.ram.words
        shift = int(fmt.table_shift)
        for index, entry in self._used(source, level):
            place = index + (target - source << shift)
            if level < self._last and fmt.pointer.test(entry):
                words[place] = self._new_table(level)
                below = int(fmt.table_index(int(words[place]))) >> shift
                self._copy_table(int(fmt.table_index(entry)) >> shift, below, level + 1)
            else:
                words[place] = entry

    def _out_of_memory(self) -> OutOfMemory:
        ram = self._system.config.ram
        return OutOfMemory(f"replay: the machine's RAM of {ram:,} bytes has no room for the page tables")

    # What a report wants.

    def resident_pages(self) -> int:
        """Of all address spaces together."""
        return sum(space.pages for space in self._spaces.values())

    def faults(self) -> tuple[int, int]:
        """(minor, major) that the recorded kernel has served."""
        return self.minor, self.major

    def notes(self) -> list[str]:
        """What was not as the trace says: nothing."""
        return []
