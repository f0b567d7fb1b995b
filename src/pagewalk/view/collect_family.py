"""Watches the processes of a run and keeps of each what the report says of it, before its memory is given back."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pagewalk.view.collect import resident_of
from pagewalk.view.report import ProcessRecord

if TYPE_CHECKING:
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task
    from pagewalk.mm.mm_types import MmStruct

__all__ = ["FamilyRecorder", "frames_in_common", "mapped_frames", "proportional_size"]

FRAMES_AT_A_TIME = 1 << 14
PSS_SHIFT = 12

Frames = npt.NDArray[np.int64]


def mapped_frames(mm: "MmStruct") -> Frames:
    """The frames that the page table maps and that count as resident, once for each entry."""
    fmt = mm.system.format
    words = np.frombuffer(mm.system.ram.words, dtype=np.int64 if fmt.entry_shift == 3 else np.uint32)
    entries_each = 1 << int(fmt.table_shift)
    found: list[Frames] = []
    tables = np.array([mm.pgd_pfn] if mm.pgd_pfn >= 0 else [], dtype=np.int64)
    for level in range(len(fmt.levels)):
        if not len(tables):
            break
        rows = words.reshape(-1, entries_each)[tables]
        if level == 0:
            rows = rows[:, : user_entries(mm)]
        entries = rows.ravel().astype(np.int64)
        here = (entries & fmt.present.mask) == fmt.present.value
        if level + 1 == len(fmt.levels):
            here |= (entries & fmt.protnone.mask) == fmt.protnone.value
            here &= (entries & fmt.special.mask) != fmt.special.value
        tables = (entries[here] & fmt.pfn_mask) >> int(fmt.pfn_shift)
        if level + 1 == len(fmt.levels):
            found.append(tables)
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def user_entries(mm: "MmStruct") -> int:
    """Entries of the root table that can be the user's."""
    init_mm = mm.system.init_mm
    return init_mm.first_index if init_mm is not None else 1 << int(mm.system.format.table_shift)


def proportional_size(mm: "MmStruct", frames: Frames) -> tuple[int, int]:
    """(PSS, USS) in bytes, as smaps_rollup adds them up."""
    page_of = mm.system.mem_map.page
    page_size = int(mm.system.page_size)
    pss = uss = 0
    for pfn in frames.tolist():
        users = page_of(pfn).mapcount
        if users < 2:
            uss += page_size
        else:
            pss += (page_size << PSS_SHIFT) // users
    return uss + (pss >> PSS_SHIFT), uss


def frames_in_common(sets: list[Frames]) -> npt.NDArray[np.int64]:
    """A square table: how many frames each two of ``sets`` have in common."""
    nr = len(sets)
    owner = np.concatenate([np.full(len(np.unique(each)), at) for at, each in enumerate(sets)] or [np.zeros(0, int)])
    frames = np.concatenate([np.unique(each) for each in sets] or [np.zeros(0, int)])
    column = np.unique(frames, return_inverse=True)[1]
    table = np.zeros((nr, nr), dtype=np.int64)
    for first in range(0, int(column.max(initial=-1)) + 1, FRAMES_AT_A_TIME):
        part = (column >= first) & (column < first + FRAMES_AT_A_TIME)
        has = np.zeros((nr, FRAMES_AT_A_TIME), dtype=np.float32)
        has[owner[part], column[part] - first] = 1
        table += (has @ has.T).astype(np.int64)
    return table


class FamilyRecorder:
    """Keeps a record of every process of one machine from now on.

    ``before_exit`` and ``before_exec`` are the kernel's hooks. ``arguments`` reads the command line of an address
    space.
    """

    def __init__(self, kernel: "Kernel", arguments: Callable[["MmStruct"], bytes]) -> None:
        self.kernel = kernel
        self.arguments = arguments
        self.records: dict[int, ProcessRecord] = {}
        self.tasks: dict[int, Task] = {}
        self.calls: dict[str, int] = {}
        self.unknown_calls: dict[str, int] = {}
        self.most = 1
        self.told: set[int] = set()
        self.counted: set[int] = set()

    def before_exec(self, task: "Task") -> None:
        """The program of a task is about to be replaced: what happened in its address space is kept."""
        record = self._record(task)
        self._add_program(record, task)
        if not self._memory_of(task):
            self._add_faults(record, task.mm)

    def before_exit(self, task: "Task") -> None:
        """A task is about to end. Its process is looked at before the first thread ends, where all are told to, else
        before the last one does."""
        record = self._record(task)
        record.threads = max(record.threads, len(self._living_threads(task)))
        self._count_calls(task)
        if task.tgid in self.counted:
            record.minor, record.major = task.signal.faults()
            return
        if not task.signal.is_ending(task):
            return
        self._take(record, task)
        alive = [other for other in self._processes() if other.mm.pgd_pfn >= 0]
        if len(alive) > self.most:
            self.most = len(alive)
            self._compare(alive)
        elif task.tgid not in self.told and len(alive) > 1:
            self._compare_with(record, task, alive)

    def finish(self) -> list[ProcessRecord]:
        """The records, in the order of the processes' ids; those that still live are taken now."""
        for task in self._processes():
            record = self._record(task)
            if not record.ended and task.tgid not in self.counted:
                self._take(record, task)
                for thread in self._living_threads(task):
                    self._count_calls(thread)
        for pid, task in self.tasks.items():
            code = task.exit_code
            record = self.records[pid]
            if pid in self.counted:
                record.minor, record.major = task.signal.faults()  # ending took some more
            if code is not None:
                record.ended = True
                record.signal = code & 0x7F
                record.status = 128 + record.signal if record.signal else code >> 8 & 0xFF
        return [self.records[pid] for pid in sorted(self.records)]

    # Behind it.

    def _record(self, task: "Task") -> ProcessRecord:
        record = self.records.get(task.tgid)
        if record is None:
            record = ProcessRecord(pid=task.tgid, ppid=task.ppid)
            self.records[task.tgid] = record
        self.tasks[task.tgid] = task.signal.leader
        return record

    def _processes(self) -> "list[Task]":
        """One living thread of each process, by process id."""
        found: dict[int, Task] = {}
        for task in self.kernel.tasks():
            if task.exit_code is None:
                found.setdefault(task.tgid, task)
        return [found[pid] for pid in sorted(found)]

    def _living_threads(self, task: "Task") -> "list[Task]":
        return [other for other in self.kernel.tasks() if other.tgid == task.tgid and other.exit_code is None]

    def _memory_of(self, task: "Task") -> int:
        """The process that the task's address space belongs to, where that is another and older one; else 0."""
        for other in self._processes():
            if other.mm is task.mm and other.tgid < task.tgid:
                return other.tgid
        return 0

    @staticmethod
    def _add_program(record: ProcessRecord, task: "Task") -> None:
        if task.exe and (not record.programs or record.programs[-1] != task.exe):
            record.programs.append(task.exe)

    @staticmethod
    def _add_faults(record: ProcessRecord, mm: "MmStruct") -> None:
        for name, number in mm.faults.as_dict().items():
            record.faults[name] = record.faults.get(name, 0) + int(number)

    def _count_calls(self, task: "Task") -> None:
        for number, count in enumerate(task.calls):
            if count:
                add(self.calls, task.kernel.syscall_name(number), count)
        for number, count in task.calls_ia32.items():
            add(self.calls, task.kernel.syscall_name_ia32(number), count)
        for number, count in task.unknown_calls.items():
            add(self.unknown_calls, task.kernel.syscall_name(number), count)
        for number, count in task.unknown_calls_ia32.items():
            add(self.unknown_calls, task.kernel.syscall_name_ia32(number), count)

    def _take(self, record: ProcessRecord, task: "Task") -> None:
        """Everything that can be said of the process now."""
        self.counted.add(task.tgid)
        mm = task.mm
        record.ppid = task.ppid
        record.name = task.comm
        self._add_program(record, task)
        record.minor, record.major = task.signal.faults()
        record.memory_of = self._memory_of(task)
        page_size = int(mm.system.page_size)
        record.rss = resident_of(mm)
        record.virtual = int(mm.total_vm) * page_size
        record.virtual_peak = int(mm.hiwater_vm) * page_size
        record.vm_pte = mm.pgtables_bytes()
        record.pss, record.uss = proportional_size(mm, mapped_frames(mm))
        if not record.memory_of:
            self._add_faults(record, mm)
        words = self.arguments(mm).split(b"\0")
        record.command = [word.decode("utf-8", "replace") for word in words[: -1 if words[-1:] == [b""] else None]]

    def _compare(self, alive: "list[Task]") -> None:
        """Who has how much in common with whom, of all that live."""
        table = frames_in_common([mapped_frames(task.mm) for task in alive])
        self.told = {task.tgid for task in alive}
        for row, task in enumerate(alive):
            shared = {other.tgid: int(table[row, at]) * int(task.mm.system.page_size) for at, other in enumerate(alive)}
            self._record(task).shared = {pid: size for pid, size in shared.items() if size and pid != task.tgid}

    def _compare_with(self, record: ProcessRecord, task: "Task", alive: "list[Task]") -> None:
        """What one process has in common with those that live."""
        mine = np.unique(mapped_frames(task.mm))
        for other in alive:
            size = int(np.isin(np.unique(mapped_frames(other.mm)), mine, assume_unique=True).sum()) * int(
                task.mm.system.page_size
            )
            if size and other.tgid != task.tgid:
                record.shared[other.tgid] = size


def add(counts: dict[str, int], name: str, count: int) -> None:
    """``count`` more of ``name``."""
    counts[name] = counts.get(name, 0) + count
