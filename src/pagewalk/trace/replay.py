"""A trace replayed on a machine: every access through the TLBs, every fault through the kernel, every event as the
system call that it was.

    report = replay(open_trace("app.pwt"), tlb=parse_tlb("zen4"), config=Config(ram="8G"))
    print(report.counters.data.misses, report.mpki)

On the machine of the recorded run there is a shorter way: what its kernel did is in the trace (``follow``).

The accesses between two events that one task makes on one CPU go through compiled code in one call; it comes back where
the page table does not grant an access, and the kernel serves that fault as it does for a program. One batch is held at
a time. An access that reaches into the next page is two.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pagewalk.config import Config
from pagewalk.cpu.tlb_cpus import Cpus
from pagewalk.cpu.tlb_model import ESTIMATE, feed
from pagewalk.errors import ConfigError, OutOfMemory
from pagewalk.hw.loop import ASK
from pagewalk.hw.mmu import Accesses
from pagewalk.hw.tlb_config import TlbConfig
from pagewalk.hw.tlb_counters import TlbCounters
from pagewalk.hw.tlb_presets import preset
from pagewalk.hw.walker import FETCH, OK, PEEK, READ, walk
from pagewalk.kernel.entry import serve_fault, serve_faults
from pagewalk.machine import Machine
from pagewalk.mm.fault import FAULT_NONE, FAULT_OOM, FAULT_SERVED
from pagewalk.mm.pgtable import present_ptes, pte_lookup
from pagewalk.trace.events import Event, Fault, Flush, Frames, Free, Lazy, Tables
from pagewalk.trace.format import Batch, TraceInfo, page_size_of
from pagewalk.trace.spaces import Space, Spaces
from pagewalk.trace.table_text import SAME, UP, parse_runs

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

__all__ = ["Replay", "ReplayReport", "recorded_config", "replay"]

# What a replay's machine takes over from the recorded one: all that decides how a fault is served.
SAME_MACHINE = (
    "ram", "arch", "levels", "granule", "va_bits", "vmsplit", "cpus", "pcid", "linux", "thp", "warm", "max_map_count",
    "fault_around_bytes", "read_ahead_kb", "max_sectors_kb", "min_free_kbytes", "watermark_scale_factor", "swap",
    "zram", "swappiness", "page_cluster", "nodes", "distances", "memory_map", "kernelcore", "movablecore",
    "zone_dma_bits", "vmalloc", "memory_model", "mmap_min_addr", "lsm_mmap_min_addr", "stack_guard_gap",
)  # fmt: skip


@dataclass
class ReplayReport:
    """What a replay counted.

    accesses, reads, writes, fetches   of the trace
    crossing      accesses that reached into the next page, and were looked up for both
    instructions  0 where the trace does not say
    events        changes of address spaces, by kind
    minor, major  faults, as the kernel counts them
    refused       accesses that no mapping allowed; they were left out
    counters      the translation caches, all CPUs together; ``by_cpu`` each one
    cycles        an estimate (``notes`` says so)
    pages         resident pages at the most, of all address spaces together at the ends of batches
    seconds       that the replay took
    follows       page tables were what the recorded kernel made of them; else this machine's kernel served the faults
    notes         what the figures rest on
    """

    tlb: str
    accesses: int = 0
    reads: int = 0
    writes: int = 0
    fetches: int = 0
    crossing: int = 0
    instructions: int = 0
    events: dict[str, int] = field(default_factory=dict)
    minor: int = 0
    major: int = 0
    refused: int = 0
    counters: TlbCounters = field(default_factory=TlbCounters)
    by_cpu: dict[int, TlbCounters] = field(default_factory=dict)
    cycles: float = 0.0
    pages: int = 0
    seconds: float = 0.0
    follows: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def mpki(self) -> float | None:
        """Misses through all levels for 1000 instructions; None where the trace does not count those."""
        return self.counters.mpki(self.instructions)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = asdict(self)
        found["counters"] = self.counters.as_dict()
        found["by_cpu"] = {str(cpu): counters.as_dict() for cpu, counters in self.by_cpu.items()}
        return {**found, "mpki": self.mpki}


def recorded_config(info: TraceInfo | None, **settings: Any) -> Config:
    """The machine that a trace was recorded on, with some fields set; without ASLR, for the trace has addresses."""
    settings = {"aslr": False, **settings}
    try:
        recorded = json.loads(info.extra.get("config", "{}")) if info is not None else {}
        same = {key: value for key, value in recorded.items() if key in SAME_MACHINE and key not in settings}
        return Config(**{**same, **settings})
    except (ValueError, TypeError, AttributeError, ConfigError):
        return Config(**settings)


class Replay:
    """One replay: feed it batches, then ask for the report.

    page_size     of the trace, bytes
    map_on_fault  an access to memory that no event has mapped gets a mapping at once, instead of being refused
    """

    follows: ClassVar[bool] = False

    def __init__(self, machine: Machine, tlb: TlbConfig, *, map_on_fault: bool = False, page_size: int = 4096) -> None:
        self.machine = machine
        machine.kernel.oom.enabled = False  # the trace says who lives
        machine.system.ram.unread = True
        machine.system.ram.replayed()
        self.report = ReplayReport(tlb.name, follows=self.follows)
        self.spaces = Spaces(machine, page_size, map_on_fault=map_on_fault)
        self.cpus = Cpus(tlb, machine.system, machine.config.cpus, learns=True)
        self._coalesces = tlb.coalesce > 1
        self._ahead: list[Frames | Tables] = []
        neighbours = () if self._coalesces else (Frames, Tables)
        self._passed_over: tuple[type[Event], ...] = () if self.follows else (Flush, Lazy, Free, *neighbours)
        self._space: Space | None = None
        self._task: Task
        self._start = time.perf_counter()

    def close(self) -> None:
        """The machine is no longer watched."""
        self.cpus.close()

    def feed(self, batch: Batch) -> None:
        """The next accesses and events."""
        report = self.report
        report.accesses += len(batch)
        report.instructions += batch.instructions
        accesses = Accesses(*batch.columns)
        start = 0
        for position, event in batch.events:
            if isinstance(event, self._passed_over):
                self._count(event.kind, 1)
                continue
            self._run(accesses, start, position)
            self._apply(event)
            start = position
        self._run(accesses, start, len(batch))
        passed = [mmu.passed for mmu in self.cpus.mmus.values()]
        report.writes, report.fetches, report.crossing = (sum(each) for each in zip(*passed, strict=True))
        report.reads = report.accesses - report.writes - report.fetches
        report.pages = max(report.pages, self.spaces.resident_pages())

    def _apply(self, event: Any) -> None:
        self._count(event.kind, 1)
        self.cpus.flusher.current = event.cpu
        if isinstance(event, Frames | Tables):
            if event.ahead:
                self._ahead.append(event)
            else:
                self._learn(event)
            return
        if event.kind == "switch" and event.task == 0:
            self.cpus.idle(event.cpu)
        elif event.kind == "fault":
            self._fault(event)
        else:
            if event.kind in ("exec", "exit"):
                self.cpus.idle(event.cpu)
            self.spaces.apply(event)
        self._learn_ahead()

    def _count(self, kind: str, number: int) -> None:
        self.report.events[kind] = self.report.events.get(kind, 0) + number

    def _learn_ahead(self) -> None:
        """What was told ahead of a fault is true now."""
        for event in self._ahead:
            self._learn(event)
        self._ahead.clear()

    def _learn(self, event: Frames | Tables) -> None:
        """In which frames of the recorded machine some pages are."""
        mm = self.spaces.of(event.task).mm
        fmt, words = mm.system.format, mm.system.ram.words
        if isinstance(event, Tables):
            for run in parse_runs(event.entries):
                if run.kind in (SAME, UP) and run.level < 0 and fmt.present.test(run.word):
                    addr, pfn = run.page << int(fmt.page_shift), int(fmt.pfn(run.word))
                    count = run.count if run.kind == UP else 1
                    self._learn(Frames(task=event.task, addr=addr, pfn=pfn, count=count))
            return
        if not 0 < event.count < 1 << 40 or not 0 <= event.pfn < 1 << 43:
            raise ConfigError(f"replay: expected pages in frames from 0 on, got {event.count} in {event.pfn}")
        end = min(event.addr + event.count * int(fmt.page_size), int(mm.task_size))
        for vma in mm.vmas_in(event.addr, end) if 0 <= event.addr < end else []:
            for addr in present_ptes(vma, max(int(vma.vm_start), event.addr), min(int(vma.vm_end), end)):
                number = event.pfn + (addr - event.addr >> int(fmt.page_shift))
                self.cpus.learn_frame(int(fmt.pfn(words[pte_lookup(mm, addr)])), number)

    def _run(self, accesses: Accesses, start: int, end: int) -> None:
        """Accesses ``start`` to ``end``: what one task makes on one CPU, then another."""
        while start < end:
            self._space = space = self.spaces.of(int(accesses.tasks[start]))
            self.machine.system.current = self._task = space.task
            mmu = self.cpus.switch(int(accesses.cpus[start]), space.mm)
            serve = self._serve_and_learn if self._coalesces else partial(serve_faults, self._task)
            start = feed(mmu, accesses, start, end, serve, self._not_served)

    def _fault(self, event: Fault) -> None:
        """A fault that the accesses do not show, where this machine takes it too."""
        if not READ <= event.access <= FETCH:
            raise ConfigError(f"replay: expected a fault of kind 0 to {FETCH}, got {event.access}")
        self._space = space = self.spaces.of(event.task)
        system = self.machine.system
        system.current = self._task = space.task
        found = walk(system.ram, system.format, int(space.mm.pgd_pfn), event.addr, PEEK)
        if found.status != OK or not found.rights >> event.access & 1:
            self.cpus.switch(event.cpu, space.mm).translate(event.addr, event.access)
            outcome = serve_fault(self._task, event.addr, event.access)
            if outcome != FAULT_SERVED:
                self._not_served(event.addr, event.access, outcome)

    def _serve_and_learn(self, resume: Callable[[object], int], what: object) -> int:
        """``serve_faults``, where what was told ahead of a fault matters."""
        while (fault := resume(what)) & ASK != ASK:
            outcome = serve_fault(self._task, fault >> 2, fault & ASK)
            if outcome != FAULT_SERVED:
                return outcome
            self._learn_ahead()
        return FAULT_NONE

    def _not_served(self, addr: int, kind: int, outcome: int) -> bool:
        """Whether the access may be tried again all the same: there is a mapping now."""
        assert self._space is not None
        if outcome == FAULT_OOM:
            ram = self.machine.config.ram
            raise OutOfMemory(f"replay: access to {addr:#x}: the machine's RAM of {ram:,} bytes is full")
        if self.spaces.map_here(self._space, addr):
            return True
        self.report.refused += 1
        return False

    def finish(self) -> ReplayReport:
        """The report of what was fed so far."""
        report = self.report
        report.counters = self.cpus.counters()
        report.by_cpu = self.cpus.by_cpu()
        report.minor, report.major = self.spaces.faults()
        report.cycles = report.counters.estimate_cycles(self.cpus.config)
        report.seconds = time.perf_counter() - self._start
        report.notes = [ESTIMATE, *self.spaces.notes()]
        return report


def replay(
    batches: Iterable[Batch],
    tlb: TlbConfig | None = None,
    config: Config | None = None,
    *,
    map_on_fault: bool = False,
    simulate: bool = False,
    progress: Callable[[ReplayReport], None] | None = None,
) -> ReplayReport:
    """Replays a whole trace on a new machine.

    tlb           the translation caches, those of Skylake-SP where they are not given
    config        the machine; where it is not given, the one that the trace was recorded on, or 4 GiB of x86_64
    map_on_fault  for traces without events, in one pass: memory is mapped, readable, writable and executable, where it
                  is touched (``trace.infer.complete`` makes better mappings in two passes)
    simulate      the machine's kernel serves faults and calls again, also where the trace tells what the kernel of such
                  a machine did
    progress      called after each batch
    """
    from pagewalk.trace.follow import Following, can_follow

    info = getattr(batches, "info", None)
    if config is None:
        config = recorded_config(info)
    tlb = tlb if tlb is not None else preset("skylake-sp")
    follows = not simulate and not map_on_fault and can_follow(info, config)
    with Machine(config) as machine:
        if follows:
            run: Replay = Following(machine, tlb)
        else:
            run = Replay(machine, tlb, map_on_fault=map_on_fault, page_size=page_size_of(info))
        try:
            for batch in batches:
                run.feed(batch)
                if progress is not None:
                    progress(run.report)
            return run.finish()
        finally:
            run.close()
