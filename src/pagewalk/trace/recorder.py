"""``pagewalk run --record FILE``: everything that programs on a machine access, and what changes their address spaces.

Accesses come from the CPU's hooks (cpu/tap.py), events from the kernel's (``on_fork``, ``on_syscall`` and
their sisters); an event's position is the number of accesses before it. What a system call was asked for
``record_calls`` says, what became of the page tables ``record_tables``.

Differs: the kernel's own accesses to user memory are no accesses of the trace; those that take a fault or mark a page
are ``Touch`` events.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pagewalk.mm.fault import WRITE
from pagewalk.mm.pgtable import present_ptes, pte_lookup
from pagewalk.mm.vma import VM_PFNMAP, VM_WRITE
from pagewalk.trace.events import Event, Exec, Exit, Fault, Flush, Fork, Free, Lazy, Switch, Tables, Touch
from pagewalk.trace.format import Batch, TraceInfo
from pagewalk.trace.native import NativeWriter
from pagewalk.trace.record_calls import CallRecorder
from pagewalk.trace.record_tables import TableWatch
from pagewalk.trace.table_text import runs_text

if TYPE_CHECKING:
    from pagewalk.config import Config
    from pagewalk.cpu.tap import Tap
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task
    from pagewalk.mm.mm_types import MmStruct

__all__ = ["Recorder"]


@dataclass
class _Served:
    """A fault that the kernel is serving: its place in the list of events, whose it is, its position, and which of
    those it is that the next access takes (1, 2). Of a late one no other event tells."""

    place: int
    task: "Task"
    position: int
    ahead: int
    is_late: bool
    refused: Fault | None = None  # the event, where it comes to nothing


class Recorder:
    """Writes one run to a file; a context manager, and ``machine.Recording``.

    Raises TraceError where the file cannot be written.
    """

    def __init__(self, path: Path, config: "Config", command: Sequence[str]) -> None:
        settings = json.dumps(asdict(config), default=str)
        info = TraceInfo(
            source="pagewalk run",
            arch=config.arch,
            program=" ".join(command),
            seed=config.seed,
            page_size=int(config.granule),
            has_events=True,
            has_mappings=True,
            has_fetches=True,
            extra={"config": settings, "tables": "1"},
        )
        self._writer = NativeWriter(path, info)
        self._page_shift = int(config.granule).bit_length() - 1
        self._kernel: Kernel | None = None
        self._tap: Tap | None = None
        self._events: list[tuple[int, Event]] = []
        self._turns: list[tuple[int, int, int]] = []  # (position, task, cpu): from there on it runs
        self._runs: dict[int, int] = {}  # which task a CPU runs
        self._new: set[int] = set()  # address spaces that execve is filling
        self._calls = CallRecorder(self._note, self._executed, int(config.granule))
        self._watch: TableWatch | None = None
        self._waits = False  # with what has changed: a call is being told of
        self._served: dict[int, tuple[int, int]] = {}  # faults of each task that were told
        self._fault: _Served | None = None
        self._since: int | None = None  # the position at which the kernel has last done what is not told yet

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._writer.close()

    # A run (machine.Recording).

    def begin(self, kernel: "Kernel", tap: "Tap", task: "Task") -> None:
        """See Recording."""
        self._kernel = kernel
        self._tap = tap
        kernel.on_fork = self._on_fork
        kernel.on_syscall = self._on_syscall
        kernel.before_syscall = self._before_syscall
        kernel.system.on_uaccess = self._on_uaccess
        self._watch = TableWatch(kernel.system, self._on_flush)
        self._executed(task)

    def end(self) -> None:
        """See Recording."""
        kernel = self._kernel
        if kernel is None:
            return
        kernel.on_fork = None
        kernel.on_syscall = None
        kernel.before_syscall = None
        kernel.system.on_uaccess = None
        self._settle()
        for task in kernel.tasks():
            self._tell_faults(task)
        if self._watch is not None:
            self._watch.close()
        if self._events:
            self._writer.write(Batch.of([], events=self._events))
        self._events = []
        self._turns = []
        self._kernel = None
        self._tap = None

    # What the CPU tells (Listener).

    def on_turn(self, position: int, task: "Task") -> None:
        """See Listener."""
        self._settle()
        self._turns.append((position, task.pid, task.cpu))
        previous = self._runs.get(task.cpu, 0)
        if previous != task.pid:
            self._runs[task.cpu] = task.pid
            self._note(Switch(task=task.pid, cpu=task.cpu, previous=previous))

    def on_fault(self, position: int, task: "Task", addr: int, access: int) -> None:
        """See Listener: an event, until the access that follows turns out to tell the same (``told``)."""
        self._begin_fault(position, task, addr, 1, is_late=False)
        self._events.append((position, Fault(task=task.pid, cpu=task.cpu, addr=addr, access=access)))

    def on_late_fault(self, position: int, task: "Task", addr: int, access: int, *, is_alone: bool = False) -> None:
        """See Listener: no event, for the access tells of it; it may tell of two."""
        self._settle()
        before = max(
            (event.ahead for at, event in self._events if at == position and isinstance(event, Tables)), default=0
        )
        self._begin_fault(position, task, addr, before + 1, is_late=True)
        if is_alone and self._fault is not None:
            self._fault.refused = Fault(task=task.pid, cpu=task.cpu, addr=addr, access=access)

    def _begin_fault(self, position: int, task: "Task", addr: int, ahead: int, *, is_late: bool) -> None:
        """The kernel is about to serve a fault."""
        self._settle()
        if self._watch is not None:
            self._watch.near(task.mm, addr)
        self._fault = _Served(len(self._events), task, position, ahead, is_late)

    def on_resumed(self) -> None:
        """See Listener."""
        self._settle()

    def on_accesses(
        self,
        addrs: npt.NDArray[np.int64],
        kinds: npt.NDArray[np.uint8],
        sizes: npt.NDArray[np.uint16],
        instructions: int,
    ) -> None:
        """See Listener."""
        self._settle()
        count = len(addrs)
        tasks = np.empty(count, np.int32)
        cpus = np.empty(count, np.uint8)
        for at, (start, pid, cpu) in enumerate(self._turns):
            end = self._turns[at + 1][0] if at + 1 < len(self._turns) else count
            tasks[start:end] = pid
            cpus[start:end] = cpu
        batch = Batch(addrs, kinds, sizes, tasks, cpus, self._events, instructions)
        self._writer.write(replace(batch, events=told(batch, self._page_shift)))
        self._events = []
        self._turns = [(0, *self._turns[-1][1:])] if self._turns else []

    # What the kernel tells.

    def on_idle(self, cpu: int) -> None:
        """See Recording."""
        self._note(Switch(task=0, cpu=cpu, previous=self._runs.pop(cpu, 0)))

    def on_mm_release(self, task: "Task") -> None:
        """See Recording."""
        self._settle()
        self._tell_faults(task)
        self._append(Lazy(task=task.pid, cpu=task.cpu))
        if task.is_ended():
            self._new.discard(task.mm.ident)
            self._append(Exit(task=task.pid, cpu=task.cpu))
        else:
            self._new.add(task.mm.ident)

    def _on_fork(self, parent: "Task", child: "Task") -> None:
        shares = child.mm is parent.mm
        made = Fork(task=parent.pid, cpu=parent.cpu, child=child.pid, shares_mm=shares, space=child.mm.ident)
        self._note(made)
        if not shares and self._watch is not None:
            self._watch.fork(parent.mm, child.mm)
            self._settle()

    def _on_uaccess(self, mm: "MmStruct", addr: int, access: int) -> None:
        """The kernel reaches into the memory of the current task, or of another one (process_vm_writev, /proc/PID/mem).
        What execve writes, ``_executed`` tells."""
        assert self._kernel is not None and self._watch is not None
        if mm.ident in self._new:
            return
        current = self._kernel.current_task()
        owner = self._owner(mm)
        if owner is not None and current is not None:
            self._note(
                Touch(task=owner.pid, cpu=current.cpu, addr=addr & int(mm.system.page_mask), write=access == WRITE)
            )
            self._watch.near(mm, addr)
            self._since = self._position()

    def _owner(self, mm: "MmStruct") -> "Task | None":
        """A task that has this address space, the current one before others."""
        assert self._kernel is not None
        current = self._kernel.current_task()
        if current is not None and current.mm is mm:
            return current
        return next((task for task in self._kernel.tasks() if task.mm is mm and not task.is_ended()), None)

    def _before_syscall(self, task: "Task", function: Callable[..., int], words: tuple[int, ...]) -> None:
        self._settle()
        self._calls.begins(task, function, words)

    def _on_syscall(self, task: "Task", function: Callable[..., int], words: tuple[int, ...], result: int) -> None:
        if self._watch is not None:
            self._watch.called(task.mm, anything=self._calls.changes_entries(function))
        self._waits = True  # a machine that does the call again has its pages then
        self._calls.served(task, function, words, result)
        self._waits = False
        self._settle()

    def _on_flush(self, mm: "MmStruct", start: int, end: int) -> None:
        assert self._kernel is not None
        cpu = int(self._kernel.system.current.cpu)
        self._insert(Flush(task=0, cpu=cpu, space=mm.ident, addr=start, length=end - start, ahead=self._ahead))

    # Events.

    def _executed(self, task: "Task") -> None:
        """The task has a new program: its mappings, and the pages that execve has already filled."""
        mm = task.mm
        self._note(Exec(task=task.pid, cpu=task.cpu, name=task.exe, space=mm.ident))
        self._new.discard(mm.ident)
        for vma in mm.vmas:
            self._note(self._calls.mapping(task, vma))
        self._calls.break_is(task)
        fmt = mm.system.format
        words = mm.system.ram.words
        for vma in mm.vmas:
            if vma.vm_flags & VM_PFNMAP:
                continue
            for addr in present_ptes(vma, vma.vm_start, vma.vm_end):
                written = bool(vma.vm_flags & VM_WRITE) and fmt.dirty.test(words[pte_lookup(mm, addr)])
                self._note(Touch(task=task.pid, cpu=task.cpu, addr=addr, write=written))
        if self._watch is not None:
            self._watch.add(mm)
        self._settle()

    def _note(self, event: Event) -> None:
        """The event happens now."""
        self._settle()
        self._append(event)

    def _append(self, event: Event) -> None:
        self._events.append((self._position(), event))

    def _insert(self, event: Event) -> None:
        """The event happens now, or, where a fault is being served, is told in front of that."""
        if self._fault is None:
            if isinstance(event, Flush) or self._since is None:
                self._since = self._position()
            self._events.append((self._since, event))
            return
        self._events.insert(self._fault.place, (self._fault.position, event))
        self._fault.place += 1

    @property
    def _ahead(self) -> int:
        """See Tables."""
        return self._fault.ahead if self._fault is not None else 0

    def _settle(self) -> None:
        """What the kernel has done so far is told; a fault that it was serving has been served."""
        watch = self._watch
        if self._waits:
            return
        if watch is None or not watch.is_due:
            self._fault = self._since = None
            return
        served = self._newly_served(self._fault.task) if self._fault is not None else (0, 0)
        changes = watch.changes()
        for mm, runs in changes:
            self._insert(self._tables(mm, runs_text(runs), served))
            served = 0, 0
        fault = self._fault
        if fault is not None and (served != (0, 0) or (fault.is_late and not changes)):
            self._insert(self._tables(fault.task.mm, "", served))
            if fault.refused is not None and served == (0, 0):
                self._append(fault.refused)
        self._fault = self._since = None
        for ident in watch.gone():
            self._append(Free(task=0, space=ident))

    def _tables(self, mm: "MmStruct", entries: str, served: tuple[int, int]) -> Tables:
        owner = self._owner(mm)
        pid, cpu = (owner.pid, owner.cpu) if owner is not None else (0, 0)
        return Tables(
            task=pid, cpu=cpu, space=mm.ident, entries=entries, minor=served[0], major=served[1], ahead=self._ahead
        )

    def _newly_served(self, task: "Task") -> tuple[int, int]:
        """Faults (minor, major) of a task since they were told last."""
        minor, major = self._served.get(task.pid, (0, 0))
        self._served[task.pid] = now = int(task.min_flt), int(task.maj_flt)
        return now[0] - minor, now[1] - major

    def _tell_faults(self, task: "Task") -> None:
        """Those that the kernel has taken itself."""
        served = self._newly_served(task)
        if served != (0, 0):
            self._append(self._tables(task.mm, "", served))

    def _position(self) -> int:
        return self._tap.position if self._tap is not None else 0


def told(batch: Batch, page_shift: int) -> list[tuple[int, Event]]:
    """The events of a batch without the faults that the accesses behind them tell by themselves: where a fault stands
    alone, and the next access is of its task, kind and page."""
    faults = Counter(at for at, event in batch.events if isinstance(event, Fault))
    kept = []
    for at, event in batch.events:
        if isinstance(event, Fault) and faults[at] == 1 and at < len(batch):
            access = (int(batch.task[at]), int(batch.kind[at]), int(batch.addr[at]) >> page_shift)
            if access == (event.task, event.access, event.addr >> page_shift):
                continue
        kept.append((at, event))
    return kept
