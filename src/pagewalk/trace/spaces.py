"""The address spaces of a replay: which task of the trace is which process of the machine, and what events do."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pagewalk.errors import BusError, LinuxError, SegmentationFault
from pagewalk.flags import Map, Prot
from pagewalk.kernel.vdso import map_vdso_part
from pagewalk.mm.brk import brk
from pagewalk.mm.fault import READ, WRITE
from pagewalk.mm.mlock import mlockall, munlockall
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.mmap import vm_mmap
from pagewalk.mm.msync import msync
from pagewalk.mm.uaccess import user_paddr
from pagewalk.trace import events as ev
from pagewalk.trace.memory_files import MemoryFiles
from pagewalk.trace.widen import widened

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.machine import Machine
    from pagewalk.process import Process

__all__ = ["Space", "Spaces"]

MAP_CHUNK: Final = 64 << 10  # what is mapped around an access that nothing has mapped
_FIXED: Final = 0x10
_VDSO: Final = ("[vdso]", "[vvar]", "[vvar_vclock]")
_MREMAP_MAYMOVE_FIXED: Final = 3


def is_free(mm: MmStruct, addr: int, length: int) -> bool:
    """[addr, addr + length) is whole pages of user space, and nothing is mapped there."""
    end = addr + length
    whole = 0 <= addr < end <= int(mm.task_size) and not (addr | length) % mm.system.page_size
    return whole and mm.find_vma_intersection(addr, end) is None


@dataclass
class Space:
    """A process, and the tasks of the trace that share it."""

    process: "Process"
    users: set[int]

    @property
    def task(self) -> "Task":
        """The kernel's task."""
        return self.process._task

    @property
    def mm(self) -> MmStruct:
        """Its address space."""
        return self.process._task.mm


class Spaces:
    """All of them, by the numbers that the trace gives its tasks; ``page_size``: of the trace, bytes."""

    def __init__(self, machine: "Machine", page_size: int, *, map_on_fault: bool) -> None:
        self._machine = machine
        self._files = MemoryFiles(machine, page_size)
        self._map_on_fault = map_on_fault
        self._page = int(machine.system.page_size)
        self._wide = self._page > page_size
        self._spaces: dict[int, Space] = {}
        self._told = False  # whether there was an event
        self._gone = [0, 0]  # faults of processes that have ended
        self._counts = {"inferred": 0, "on fault": 0, "stand-in": 0, "refused": 0}

    def of(self, task: int) -> Space:
        """The address space of a task; an empty one where the trace has not said how the task began, the one of the
        others where memory is mapped as it is touched and the trace tells of nothing: they are threads."""
        space = self._spaces.get(task)
        if space is None and self._map_on_fault and not self._told and self._spaces:
            space = self._spaces[task] = next(iter(self._spaces.values()))
            space.users.add(task)
        if space is None:
            space = self._spaces[task] = Space(self._machine.spawn(), {task})
        return space

    def apply(self, event: ev.Event) -> None:
        """What an event did; a call that this machine refuses, and the recorded one did not, is counted and left
        out."""
        self._told = True
        try:
            if self._wide:
                for each in widened(event, self.of(event.task).mm):
                    self._change(each)
            else:
                self._change(event)
        except (LinuxError, SegmentationFault, BusError):
            if not (isinstance(event, ev.Madvise | ev.Mlock) and event.failed):
                self._counts["refused"] += 1

    def _change(self, event: ev.Event) -> None:
        space = self.of(event.task)
        process = space.process
        if isinstance(event, ev.Mmap):
            self._mmap(space, event)
        elif isinstance(event, ev.Munmap):
            process.munmap(event.addr, event.length)
        elif isinstance(event, ev.Mprotect):
            process.mprotect(event.addr, event.length, event.prot)
        elif isinstance(event, ev.Mremap):
            if event.new_addr == event.addr:
                process.mremap(event.addr, event.length, event.new_length, 0)
            else:
                process.mremap(event.addr, event.length, event.new_length, _MREMAP_MAYMOVE_FIXED, event.new_addr)
        elif isinstance(event, ev.Madvise):
            process.madvise(event.addr, event.length, event.advice)
        elif isinstance(event, ev.Mlock):
            if event.flags:
                process.mlock(event.addr, event.length, onfault=event.flags & 2 != 0)
            else:
                process.munlock(event.addr, event.length)
        elif isinstance(event, ev.Mlockall):
            self._machine.system.current = space.task
            failed = mlockall(space.mm, event.flags) if event.flags else munlockall(space.mm)
            if failed:
                raise LinuxError("mlockall", -failed)
        elif isinstance(event, ev.Msync):
            self._machine.system.current = space.task
            msync(space.mm, event.addr, event.length, event.flags)
        elif isinstance(event, ev.File):
            self._machine.system.current = space.task
            self._files.change(event)
        elif isinstance(event, ev.Touch):
            self._machine.system.current = space.task
            user_paddr(space.mm, event.addr, WRITE if event.write else READ)
        elif isinstance(event, ev.Brk):
            self._brk(space, event)
        elif isinstance(event, ev.Fork):
            self._leave(event.child)
            if event.shares_mm:
                space.users.add(event.child)
                self._spaces[event.child] = space
            else:
                self._spaces[event.child] = Space(process.fork(), {event.child})
        elif isinstance(event, ev.Exec):
            self._leave(event.task)
            self.of(event.task)
        elif isinstance(event, ev.Exit):
            self._leave(event.task)

    def _mmap(self, space: Space, event: ev.Mmap) -> None:
        """A file is mapped where this machine has one of that name or the trace tells of its pages; else anonymous
        memory stands in for it."""
        self._counts["inferred"] += event.inferred
        flags = event.flags | _FIXED
        if event.file:
            self._map_memory_file(space, event, flags & ~Map.ANONYMOUS)
            return
        if event.name in _VDSO and is_free(space.mm, event.addr, event.length) and self._has_vdso(space, event):
            map_vdso_part(space.task, event.addr, event.length, event.name)
            return
        path = None
        if not flags & Map.ANONYMOUS:
            safe = not flags & Map.SHARED or not event.prot & Prot.WRITE
            if event.name.startswith("/") and os.path.isfile(event.name) and safe:
                path = event.name
                flags = flags & ~Map.SHARED | Map.PRIVATE  # nobody writes: it is the same, and the host's file is safe
                self._machine.namespace.show(path)
            else:
                flags |= Map.ANONYMOUS
                self._counts["stand-in"] += event.name.startswith("/")
        length = (event.length + self._page - 1) & -self._page
        try:
            space.process.mmap(
                length, event.prot, flags, addr=event.addr, path=path, offset=event.offset if path else 0
            )
        except LinuxError:
            if path is None:
                raise
            self._counts["stand-in"] += 1
            space.process.mmap(length, event.prot, flags | Map.ANONYMOUS, addr=event.addr)

    def _has_vdso(self, space: Space, event: ev.Mmap) -> bool:
        """Whether this machine's vDSO has as many pages; 32-bit programs have one of their own."""
        if self._wide:
            return False
        pfns = self._machine.kernel.vdso.pfns
        return event.name != "[vdso]" or space.mm.layout.bits == 32 or len(pfns) * self._page >= event.length

    def _map_memory_file(self, space: Space, event: ev.Mmap, flags: int) -> None:
        """A file of whose pages the trace tells."""
        self._machine.system.current = space.task
        if event.name.startswith("/SYSV"):
            writable = bool(event.prot & Prot.WRITE)
            failed = self._files.attach(space.mm, event, writable=writable)
        else:
            file = self._files.get(event)
            failed = int(vm_mmap(space.mm, file, event.addr, event.length, event.prot, flags, event.offset))
        if -4096 < failed < 0:
            raise LinuxError("mmap", -failed)

    def _brk(self, space: Space, event: ev.Brk) -> None:
        """The end of the heap. Where this machine's own brk(2) refuses, for a stack's or a mapping's sake, the heap is
        a mapping like others."""
        mm = space.mm
        self._machine.system.current = space.task
        if mm.start_brk not in (event.start, event.start & -self._page):
            mm.start_brk = mm.brk = event.start
            if self._wide and is_free(mm, event.start & -self._page, self._page):
                mm.start_brk = mm.brk = event.start & -self._page
        before = int(mm.brk)
        if int(brk(mm, event.addr)) == event.addr:
            return
        old, new = (before + self._page - 1) & -self._page, (event.addr + self._page - 1) & -self._page
        if new > old:
            space.process.mmap(new - old, Prot.READ | Prot.WRITE, Map.PRIVATE | Map.ANONYMOUS | _FIXED, addr=old)
        elif new < old:
            space.process.munmap(new, old - new)
        mm.brk = event.addr

    def _leave(self, task: int) -> None:
        """A task has its address space no longer; the last one frees it."""
        space = self._spaces.pop(task, None)
        if space is None:
            return
        space.users.discard(task)
        if not space.users:
            self._gone[0] += space.process.minor_faults
            self._gone[1] += space.process.major_faults
            space.process.exit()

    def map_here(self, space: Space, addr: int) -> bool:
        """Maps the memory around an access that no mapping allowed, where that is wanted and possible."""
        if not self._map_on_fault:
            return False
        process = space.process
        for chunk in (MAP_CHUNK, self._page):
            start = addr & -chunk
            if not 0 <= start <= int(space.mm.task_size) - chunk:
                continue
            if space.mm.find_vma_intersection(start, start + chunk) is None:
                try:
                    process.mmap(chunk, Prot.READ | Prot.WRITE | Prot.EXEC,
                                 Map.PRIVATE | Map.ANONYMOUS | _FIXED, addr=start)  # fmt: skip
                except LinuxError:
                    return False
                self._counts["on fault"] += 1
                return True
        return False

    def resident_pages(self) -> int:
        """Of all address spaces together."""
        return sum({id(space): int(space.mm.get_mm_rss()) for space in self._spaces.values()}.values())

    def faults(self) -> tuple[int, int]:
        """(minor, major) of all processes, ended ones included."""
        living = {id(space): space.process for space in self._spaces.values()}.values()
        return (
            self._gone[0] + sum(p.minor_faults for p in living),
            self._gone[1] + sum(p.major_faults for p in living),
        )

    def notes(self) -> list[str]:
        """What was not as the trace says, one line each."""
        counts = self._counts
        texts = {
            "inferred": "mappings were inferred from what the trace touches",
            "on fault": "regions were mapped where the trace touched them: it does not say what was mapped",
            "stand-in": "file mappings had anonymous memory in their place: this machine has no such file",
            "refused": "events could not be carried out on this machine and were left out",
        }
        found = [f"{counts[name]:,} {text}" for name, text in texts.items() if counts[name]]
        if self._wide:
            found.append(
                f"mappings are in whole pages of {self._page >> 10}K: those that share a page share its rights"
            )
        return found
