"""What a run did to memory, as plain data: filled in by the machine, drawn by ``view.text``, stored as JSON.

Sizes are bytes, counts are counts, addresses are unsigned integers; a field that ends in ``_pages`` counts 4 KiB pages.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

__all__ = [
    "FAULT_KINDS", "FAULT_NOTES", "CgroupRecord", "FaultKind", "Mapping", "OomRecord",
    "ProcessRecord", "Report", "Rss", "Zone",
    "resident_cells",
]  # fmt: skip

CELLS = 32


@dataclass(frozen=True)
class FaultKind:
    """A way in which a page fault ends: its name in JSON, for people, and what happened in a line."""

    key: str
    title: str
    meaning: str


FAULT_KINDS = (
    FaultKind("zero_page", "zero page", "read of untouched memory: the shared page of zeros"),
    FaultKind("anonymous", "new page", "first write to private memory: a zeroed frame"),
    FaultKind("cow", "copy-on-write", "write to a page that others use too: copied to a frame of its own"),
    FaultKind("reuse", "reuse", "write to a read-only page that nobody else has: made writable"),
    FaultKind("file_read", "file, read", "page of a file, from the page cache"),
    FaultKind("file_cow", "file, private write", "first write to a private page of a file: copied"),
    FaultKind("shared_write", "shared write", "first write to a shared page, of a file or of shared memory"),
    FaultKind("swap_in", "swap", "page in swap: read back, or still in the swap cache"),
    FaultKind("spurious", "spurious", "the page table granted it by then"),
)
# What the kinds above do not say: these are not faults of their own.
FAULT_NOTES = (
    FaultKind("major", "of these, major", "the file or swap had to be read first"),
    FaultKind("stack_growth", "of these, stack growth", "below the stack: its mapping grew first"),
    FaultKind("fault_around", "fault-around", "pages mapped beside the one asked for, without a fault"),
)


@dataclass
class Mapping:
    """One VMA: a line of /proc/PID/maps, what of it is there, and how it got there.

    rights    r, w, x and p (private) or s (shared), '-' where a right is missing
    name      the file's path, "[heap]", "[stack]", ... or ""
    resident  bytes with a page-table entry that is present
    cells     resident pages in each of up to CELLS equal parts of the mapping, from the lowest address up
    faults    page faults that this mapping took
    """

    start: int
    end: int
    rights: str
    name: str = ""
    resident: int = 0
    faults: int = 0
    cells: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


def resident_cells(nr_pages: int, resident: Iterable[int]) -> list[int]:
    """How many of the ``resident`` page numbers, 0 to ``nr_pages`` - 1, lie in each part of a mapping."""
    count = min(CELLS, nr_pages)
    cells = [0] * count
    for page in resident:
        cells[page * count // nr_pages] += 1
    return cells


@dataclass
class Rss:
    """Resident memory in bytes, by what it is, and the highest sum there was."""

    anon: int = 0
    file: int = 0
    shmem: int = 0
    peak: int = 0

    @property
    def total(self) -> int:
        """Bytes now."""
        return self.anon + self.file + self.shmem


@dataclass
class Zone:
    """A zone of physical memory: frames that the allocator manages, and how many of them are free."""

    name: str
    managed_pages: int
    free_pages: int


@dataclass
class ProcessRecord:
    """One process of a run, as it was just before it ended (or as it is, where it still lives).

    command   its arguments; programs: the files that it executed, one after the other
    threads   threads that lived at once, as far as an end of one told
    status    exit status as a shell shows it; signal: what ended it, 0 for nothing; ended: it has ended
    minor, major  faults of all its threads; faults: by kind, in all its address spaces (FAULT_KINDS, FAULT_NOTES)
    rss, virtual, virtual_peak, vm_pte   bytes, of its last address space
    pss       bytes; each page counted in equal parts for those who map it. uss: bytes that nobody else maps
    shared    bytes of pages that it has in common with another process, by process id; all those that lived at the
              moment with most processes tell of that moment, others of their own end
    memory_of the process whose address space it used (vfork), 0 where it had its own
    """

    pid: int
    ppid: int = 0
    name: str = ""
    command: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)
    threads: int = 1
    status: int = 0
    signal: int = 0
    ended: bool = False
    minor: int = 0
    major: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    rss: Rss = field(default_factory=Rss)
    pss: int = 0
    uss: int = 0
    virtual: int = 0
    virtual_peak: int = 0
    vm_pte: int = 0
    shared: dict[int, int] = field(default_factory=dict)
    memory_of: int = 0

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        data = asdict(self)
        data["rss"]["total"] = self.rss.total
        data["shared"] = {str(pid): size for pid, size in self.shared.items()}
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ProcessRecord":
        """What ``as_dict`` made."""
        known = {entry.name for entry in fields(cls)}
        row = {key: value for key, value in data.items() if key in known}
        row["rss"] = Rss(**{key: size for key, size in row["rss"].items() if key != "total"})
        row["shared"] = {int(pid): size for pid, size in row["shared"].items()}
        return cls(**row)


@dataclass
class OomRecord:
    """A process that the OOM killer has ended; sizes in bytes.

    invoked_by  pid of who asked for memory
    badness     the points that it was chosen for, in pages
    cgroup      path of the cgroup whose limit was hit, "" where the machine ran out
    message     the kernel's line; report: all of its report
    """

    pid: int
    name: str
    invoked_by: int
    badness: int
    rss: int
    swap: int
    page_tables: int
    oom_score_adj: int
    cgroup: str
    message: str
    report: list[str] = field(default_factory=list)


@dataclass
class CgroupRecord:
    """The memory cgroup that a run was in; sizes in bytes.

    limit   memory.max, None for none
    events  memory.events
    """

    path: str
    limit: int | None
    current: int
    peak: int
    swap: int
    events: dict[str, int]


@dataclass
class Report:
    """One run of one program.

    status      exit status as a shell shows it (128 + n for signal n)
    signal      its number, 0 where the program ended by itself
    stopped     why pagewalk ended the run ("timeout", "SIGINT", "SIGTERM"), "" where it did not
    machine     ram (bytes), linux, levels, aslr, seed
    mappings    the address space as it was at the end, ascending
    task_size   first address above user space
    page_size   of the machine, bytes
    faults      counts by key of FAULT_KINDS and FAULT_NOTES
    minor, major  as getrusage counts them
    tables      pages of page tables by level, root first
    vm_pte      bytes of those that VmPTE counts (not the root)
    faults_by_mapping  counts by name, those of mappings that are gone included
    swap        bytes of the machine's swap (total, used) and pages moved (swapped_out, swapped_in); empty without swap
    syscalls, unknown_calls  counts by name, of all processes
    processes   every process of the run, in the order in which they were made
    cgroup      the memory cgroup that it ran in, None for the root
    oom_kills   whom the OOM killer has ended, in order
    tlb         what the modelled TLBs counted (cpu/tlb_model.py), empty where there are none
    interpreted why the kernel rooms ran uncompiled, "" where they were compiled
    """

    command: list[str]
    status: int = 0
    signal: int = 0
    stopped: str = ""
    pid: int = 0
    machine: dict[str, Any] = field(default_factory=dict)
    task_size: int = 1 << 47
    page_size: int = 4096
    mappings: list[Mapping] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    faults_by_mapping: dict[str, int] = field(default_factory=dict)
    minor: int = 0
    major: int = 0
    rss: Rss = field(default_factory=Rss)
    virtual: int = 0
    virtual_peak: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    vm_pte: int = 0
    zones: list[Zone] = field(default_factory=list)
    page_cache_pages: int = 0
    swap: dict[str, int] = field(default_factory=dict)
    syscalls: dict[str, int] = field(default_factory=dict)
    unknown_calls: dict[str, int] = field(default_factory=dict)
    processes: list[ProcessRecord] = field(default_factory=list)
    cgroup: CgroupRecord | None = None
    oom_kills: list[OomRecord] = field(default_factory=list)
    tlb: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    interpreted: str = ""
    maps: str = ""
    smaps: str = ""

    def take_memory(self, other: "Report") -> None:
        """The address space as ``other`` has it."""
        for name in (
            "maps", "smaps", "task_size", "mappings", "rss", "virtual", "virtual_peak", "tables", "vm_pte", "faults",
            "faults_by_mapping",
        ):  # fmt: skip
            setattr(self, name, getattr(other, name))

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON has it; addresses are "0x..." text, because JSON readers round large numbers."""
        data = asdict(self)
        for mapping in data["mappings"]:
            for key in ("start", "end"):
                mapping[key] = hex(mapping[key])
        data["task_size"] = hex(self.task_size)
        data["rss"]["total"] = self.rss.total
        data["processes"] = [process.as_dict() for process in self.processes]
        return data

    def as_json(self) -> str:
        """``as_dict`` as text, ending in a newline."""
        return json.dumps(self.as_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report that ``as_json`` wrote."""
        data = json.loads(text)
        del data["rss"]["total"]
        data["task_size"] = int(data["task_size"], 16)
        data["rss"] = Rss(**data["rss"])
        data["zones"] = [Zone(**zone) for zone in data["zones"]]
        data["mappings"] = [
            Mapping(**{**row, "start": int(row["start"], 16), "end": int(row["end"], 16)}) for row in data["mappings"]
        ]
        if data.get("cgroup") is not None:
            data["cgroup"] = CgroupRecord(**data["cgroup"])
        data["oom_kills"] = [OomRecord(**row) for row in data.get("oom_kills", [])]
        data["processes"] = [ProcessRecord.from_dict(row) for row in data.get("processes", [])]
        known = {entry.name for entry in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})
