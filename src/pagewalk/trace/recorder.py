"""``pagewalk run --record FILE``: everything that programs on a machine access, and what changes their address spaces.

Accesses come from the CPU's hooks (cpu/tap.py), events from the kernel's (``on_fork``, ``on_syscall`` and
their sisters); an event's position is the number of accesses before it. What a system call has changed
``record_calls`` says, in which frames the pages are ``record_frames``.

Differs: the kernel's own accesses to user memory are no accesses of the trace; those that take a fault or mark a page
are ``Touch`` events.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from pagewalk.mm.fault import WRITE
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.vma import VM_PFNMAP, VM_WRITE
from pagewalk.trace.events import Event, Exec, Exit, Fault, Fork, Switch, Touch
from pagewalk.trace.format import Batch, TraceInfo
from pagewalk.trace.native import NativeWriter
from pagewalk.trace.record_calls import CallRecorder
from pagewalk.trace.record_frames import FrameWatch, present_frames

if TYPE_CHECKING:
    from pagewalk.config import Config
    from pagewalk.cpu.tap import Tap
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task
    from pagewalk.mm.mm_types import MmStruct

__all__ = ["Recorder"]

_PAGE: Final = 4096


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
            has_events=True,
            has_mappings=True,
            has_fetches=True,
            extra={"config": settings},
        )
        self._writer = NativeWriter(path, info)
        self._kernel: Kernel | None = None
        self._tap: Tap | None = None
        self._events: list[tuple[int, Event]] = []
        self._turns: list[tuple[int, int, int]] = []  # (position, task, cpu): from there on it runs
        self._runs: dict[int, int] = {}  # which task a CPU runs
        self._new: set[int] = set()  # address spaces that execve is filling
        self._calls = CallRecorder(self._note, self._executed)
        self._frames = FrameWatch()

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
        kernel.before_syscall = self._calls.begins
        kernel.system.on_uaccess = self._on_uaccess
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
        if self._events:
            self._writer.write(Batch.of([], events=self._events))
        self._events = []
        self._turns = []
        self._kernel = None
        self._tap = None

    # What the CPU tells (Listener).

    def on_turn(self, position: int, task: "Task") -> None:
        """See Listener."""
        self._turns.append((position, task.pid, task.cpu))
        previous = self._runs.get(task.cpu, 0)
        if previous != task.pid:
            self._runs[task.cpu] = task.pid
            self._note(Switch(task=task.pid, cpu=task.cpu, previous=previous))

    def on_fault(self, position: int, task: "Task", addr: int, access: int) -> None:
        """See Listener: an event, until the access that follows turns out to tell the same (``told``)."""
        self._settle()
        self._frames.before(task.mm, task.pid, task.cpu, addr, len(self._events))
        self._events.append((position, Fault(task=task.pid, cpu=task.cpu, addr=addr, access=access)))

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
        self._writer.write(replace(batch, events=told(batch)))
        self._events = []
        self._turns = [(0, *self._turns[-1][1:])] if self._turns else []

    # What the kernel tells.

    def on_idle(self, cpu: int) -> None:
        """See Recording."""
        self._note(Switch(task=0, cpu=cpu, previous=self._runs.pop(cpu, 0)))

    def on_mm_release(self, task: "Task") -> None:
        """See Recording."""
        if task.is_ended():
            self._new.discard(task.mm.ident)
            self._note(Exit(task=task.pid, cpu=task.cpu))
        else:
            self._new.add(task.mm.ident)

    def _on_fork(self, parent: "Task", child: "Task") -> None:
        self._note(Fork(task=parent.pid, cpu=parent.cpu, child=child.pid, shares_mm=child.mm is parent.mm))

    def _on_uaccess(self, mm: "MmStruct", addr: int, access: int) -> None:
        """The kernel reaches into the memory of the current task, or of another one (process_vm_writev, /proc/PID/mem).
        What execve writes, ``_executed`` tells."""
        assert self._kernel is not None
        if mm.ident in self._new:
            return
        current = self._kernel.current_task()
        owner = current if current is not None and current.mm is mm else None
        if owner is None:
            owner = next((task for task in self._kernel.tasks() if task.mm is mm and not task.is_ended()), None)
        if owner is not None and current is not None:
            self._settle()
            self._frames.before(mm, owner.pid, current.cpu, addr, len(self._events))
            self._append(Touch(task=owner.pid, cpu=current.cpu, addr=addr & -_PAGE, write=access == WRITE))

    def _on_syscall(self, task: "Task", function: Callable[..., int], words: tuple[int, ...], result: int) -> None:
        self._calls.served(task, function, words, result)

    # Events.

    def _executed(self, task: "Task") -> None:
        """The task has a new program: its mappings, and the pages that execve has already filled."""
        self._note(Exec(task=task.pid, cpu=task.cpu, name=task.exe))
        mm = task.mm
        self._new.discard(mm.ident)
        for vma in mm.vmas:
            self._note(self._calls.mapping(task, vma))
        self._calls.break_is(task)
        fmt = mm.system.format
        words = mm.system.ram.words
        for vma in mm.vmas:
            if vma.vm_flags & VM_PFNMAP:
                continue
            for addr in range(vma.vm_start, vma.vm_end, _PAGE):
                index = pte_lookup(mm, addr)
                if index >= 0 and fmt.present.test(words[index]):
                    written = bool(vma.vm_flags & VM_WRITE) and fmt.dirty.test(words[index])
                    self._note(Touch(task=task.pid, cpu=task.cpu, addr=addr, write=written))

        for event in present_frames(mm, task.pid, task.cpu, 0, int(mm.task_size)):
            self._note(event)

    def _note(self, event: Event) -> None:
        """The event happens now."""
        self._settle()
        self._append(event)

    def _append(self, event: Event) -> None:
        self._events.append((self._position(), event))

    def _settle(self) -> None:
        """The fault before, if any, has been served."""
        self._frames.settle(self._events, self._position())

    def _position(self) -> int:
        return self._tap.position if self._tap is not None else 0


def told(batch: Batch) -> list[tuple[int, Event]]:
    """The events of a batch without the faults that the accesses behind them tell by themselves: where a fault stands
    alone, and the next access is of its task, kind and page."""
    faults = Counter(at for at, event in batch.events if isinstance(event, Fault))
    kept = []
    for at, event in batch.events:
        if isinstance(event, Fault) and faults[at] == 1 and at < len(batch):
            access = (int(batch.task[at]), int(batch.kind[at]), int(batch.addr[at]) >> 12)
            if access == (event.task, event.access, event.addr >> 12):
                continue
        kept.append((at, event))
    return kept
