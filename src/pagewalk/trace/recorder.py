"""``pagewalk run --record FILE``: everything that programs on a machine access, and what changes their address spaces.

Accesses come from the CPU's hooks (cpu/tap.py), events from the kernel's (``on_fork``, ``on_syscall`` and
their sisters); an event's position is the number of accesses before it. A system call that changes the address space is
an event once it has succeeded, so what a call changes before it fails is not seen.

Differs: the kernel's own accesses to user memory are no accesses of the trace; those that take a fault or mark a page
are ``Touch`` events.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pagewalk.fs.procfs.task_mmu import vma_name
from pagewalk.mm import mmap_flags as mf
from pagewalk.mm.fault import WRITE
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.vma import (
    VM_ACCESS_FLAGS,
    VM_GROWSDOWN,
    VM_HUGETLB,
    VM_IO,
    VM_LOCKED,
    VM_MAYSHARE,
    VM_PFNMAP,
    VM_WRITE,
    Vma,
)
from pagewalk.trace.events import (
    Brk,
    Event,
    Exec,
    Exit,
    Fault,
    Fork,
    Madvise,
    Mmap,
    Mprotect,
    Mremap,
    Munmap,
    Switch,
    Touch,
)
from pagewalk.trace.format import Batch, TraceInfo
from pagewalk.trace.memory_files import FileNumbers, cached_pages
from pagewalk.trace.native import NativeWriter

if TYPE_CHECKING:
    from pagewalk.config import Config
    from pagewalk.cpu.tap import Tap
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task
    from pagewalk.mm.mm_types import MmStruct

__all__ = ["Recorder"]

_PAGE: Final = 4096
_PROT: Final = mf.PROT_READ | mf.PROT_WRITE | mf.PROT_EXEC
_MADV_POPULATE_READ: Final = 22
_MADV_POPULATE_WRITE: Final = 23


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
        self._files = FileNumbers()
        self._breaks: dict[int, int] = {}  # where the heap ends, by address space
        self._attached: dict[tuple[int, int], int] = {}  # lengths of System V segments, by address space and address
        self._calls: dict[int, Callable[[Task, int], None]] = {}

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
        self._calls = _calls(self, kernel.abi.names)
        kernel.on_fork = self._on_fork
        kernel.on_syscall = self._on_syscall
        kernel.system.on_uaccess = self._on_uaccess
        self._executed(task)

    def end(self) -> None:
        """See Recording."""
        kernel = self._kernel
        if kernel is None:
            return
        kernel.on_fork = None
        kernel.on_syscall = None
        kernel.system.on_uaccess = None
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
        """See Listener: an event, until the access that follows turns out to tell the same (``_told``)."""
        self._events.append((position, Fault(task=task.pid, cpu=task.cpu, addr=addr, access=access)))

    def on_accesses(
        self,
        addrs: npt.NDArray[np.int64],
        kinds: npt.NDArray[np.uint8],
        sizes: npt.NDArray[np.uint16],
        instructions: int,
    ) -> None:
        """See Listener."""
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
            self._note(Touch(task=owner.pid, cpu=current.cpu, addr=addr & -_PAGE, write=access == WRITE))

    def _on_syscall(self, task: "Task", number: int, result: int) -> None:
        if number in self._calls and result >= 0:
            self._calls[number](task, result)

    def _mmap(self, task: "Task", result: int) -> None:
        regs = task.regs
        vma = task.mm.find_vma(result)
        unit = 2 << 20 if regs.argument(3) & mf.MAP_HUGETLB else _PAGE
        length = -(-regs.argument(1) // unit) * unit
        flags = regs.argument(3)
        name = ""
        memory: dict[str, Any] = {}
        if vma is not None and vma.vm_flags & VM_LOCKED:
            flags |= mf.MAP_LOCKED  # mlockall(2) with MCL_FUTURE
        if vma is not None and not flags & mf.MAP_ANONYMOUS:
            name = vma_name(vma)
            memory = self._memory_file(vma)
        event = Mmap(
            task=task.pid, cpu=task.cpu, addr=result, length=length, prot=regs.argument(2) & _PROT, flags=flags,
            name=name, offset=0 if flags & mf.MAP_ANONYMOUS else regs.argument(5), **memory,
        )  # fmt: skip
        self._note(event)

    def _memory_file(self, vma: Vma) -> dict[str, Any]:
        """What a mapping of a file that is in this machine's memory alone tells of it."""
        mapping = vma.vm_file.mapping if vma.vm_file is not None else None
        if mapping is None or not mapping.is_shmem or vma.vm_flags & VM_HUGETLB:
            return {}
        return {"file": self._files.of(mapping), "size": int(mapping.i_size), "pages": cached_pages(mapping)}

    def _munmap(self, task: "Task", result: int) -> None:
        self._note(
            Munmap(task=task.pid, cpu=task.cpu, addr=task.regs.argument(0), length=_pages(task.regs.argument(1)))
        )

    def _mprotect(self, task: "Task", result: int) -> None:
        regs = task.regs
        length = _pages(regs.argument(1))
        self._note(
            Mprotect(task=task.pid, cpu=task.cpu, addr=regs.argument(0), length=length, prot=regs.argument(2) & _PROT)
        )

    def _mremap(self, task: "Task", result: int) -> None:
        regs = task.regs
        if regs.argument(1) == 0:  # another mapping of the same shared pages
            self._mapped(task, result)
            return
        old, new = _pages(regs.argument(1)), _pages(regs.argument(2))
        self._note(
            Mremap(
                task=task.pid,
                cpu=task.cpu,
                addr=regs.argument(0),
                length=old,
                new_addr=result,
                new_length=new,
                flags=regs.argument(3),
            )
        )

    def _madvise(self, task: "Task", result: int) -> None:
        regs = task.regs
        length = _pages(regs.argument(1))
        self._note(Madvise(task=task.pid, cpu=task.cpu, addr=regs.argument(0), length=length, advice=regs.argument(2)))

    def _mlock(self, task: "Task", result: int) -> None:
        start = task.regs.argument(0) & -_PAGE
        self._populated(task, start, _pages(task.regs.argument(0) + task.regs.argument(1) - start))

    def _populated(self, task: "Task", start: int, length: int) -> None:
        """Every page of the range is there now."""
        vma = task.mm.find_vma(start)
        writable = vma is not None and vma.vm_flags & VM_WRITE
        advice = _MADV_POPULATE_WRITE if writable else _MADV_POPULATE_READ
        self._note(Madvise(task=task.pid, cpu=task.cpu, addr=start, length=length, advice=advice))

    def _mlockall(self, task: "Task", result: int) -> None:
        """With MCL_CURRENT: everything is populated."""
        if task.regs.argument(0) & 1:
            for vma in list(task.mm.vmas):
                if vma.vm_flags & VM_ACCESS_FLAGS and not vma.vm_flags & (VM_IO | VM_PFNMAP):
                    self._populated(task, vma.vm_start, vma.vm_end - vma.vm_start)

    def _brk(self, task: "Task", result: int) -> None:
        mm = task.mm
        self._note(Brk(task=task.pid, cpu=task.cpu, addr=result, start=mm.start_brk))
        before = _pages(self._breaks.get(mm.ident, mm.start_brk))
        self._breaks[mm.ident] = result
        vma = mm.vma_lookup(before)
        if result > before and vma is not None and vma.vm_flags & VM_LOCKED:
            self._populated(task, before, _pages(result) - before)

    def _shmat(self, task: "Task", result: int) -> None:
        vma = self._mapped(task, result)
        if vma is not None:
            self._attached[task.mm.ident, result] = vma.vm_end - vma.vm_start

    def _shmdt(self, task: "Task", result: int) -> None:
        addr = task.regs.argument(0)
        length = self._attached.pop((task.mm.ident, addr), 0)
        if length:
            self._note(Munmap(task=task.pid, cpu=task.cpu, addr=addr, length=length))

    def _exec(self, task: "Task", result: int) -> None:
        self._executed(task)

    # Events.

    def _executed(self, task: "Task") -> None:
        """The task has a new program: its mappings, and the pages that execve has already filled."""
        self._note(Exec(task=task.pid, cpu=task.cpu, name=task.exe))
        mm = task.mm
        self._new.discard(mm.ident)
        for vma in mm.vmas:
            self._note(_mapping(task, vma))
        self._brk(task, mm.brk)
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

    def _mapped(self, task: "Task", addr: int) -> Vma | None:
        """A mapping that came to be at ``addr``."""
        vma: Vma | None = task.mm.find_vma(addr)
        if vma is not None:
            self._note(replace(_mapping(task, vma), **self._memory_file(vma)))
        return vma

    def _note(self, event: Event) -> None:
        """The event happens now."""
        self._events.append((self._position(), event))

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


def _calls(recorder: Recorder, names: dict[int, str]) -> dict[int, Callable[["Task", int], None]]:
    """By number: who turns the system call into events. ``names`` are those of the machine's calls, by number."""
    by_name = {
        "mmap": recorder._mmap,
        "mprotect": recorder._mprotect,
        "munmap": recorder._munmap,
        "brk": recorder._brk,
        "mremap": recorder._mremap,
        "madvise": recorder._madvise,
        "shmat": recorder._shmat,
        "execve": recorder._exec,
        "shmdt": recorder._shmdt,
        "mlock": recorder._mlock,
        "mlockall": recorder._mlockall,
        "execveat": recorder._exec,
        "mlock2": recorder._mlock,
        "pkey_mprotect": recorder._mprotect,
    }
    return {number: by_name[name] for number, name in names.items() if name in by_name}


def _mapping(task: "Task", vma: Vma) -> Mmap:
    """A VMA as the mmap(2) that would make it."""
    flags = mf.MAP_SHARED if vma.vm_flags & VM_MAYSHARE else mf.MAP_PRIVATE
    for bit, flag in ((VM_GROWSDOWN, mf.MAP_GROWSDOWN), (VM_HUGETLB, mf.MAP_HUGETLB), (VM_LOCKED, mf.MAP_LOCKED)):
        if vma.vm_flags & bit:
            flags |= flag
    if vma.vm_file is None:
        flags |= mf.MAP_ANONYMOUS
    return Mmap(
        task=task.pid,
        cpu=task.cpu,
        addr=vma.vm_start,
        length=vma.vm_end - vma.vm_start,
        prot=vma.vm_flags & _PROT,
        flags=flags,
        name=vma_name(vma),
        offset=vma.vm_pgoff << 12 if vma.vm_file is not None else 0,
    )


def _pages(length: int) -> int:
    """Bytes of the pages that ``length`` bytes take."""
    return -(-length // _PAGE) * _PAGE
