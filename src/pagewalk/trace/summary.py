"""What is in a trace, in one pass: counts by kind, tasks, pages, events."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from pagewalk.trace.format import KINDS, TraceInfo, TraceSource
from pagewalk.trace.infer import Mapped, Touched

__all__ = ["Summary", "summarise"]


_PLURALS: Final = {"read": "reads", "write": "writes", "fetch": "fetches"}


@dataclass
class Summary:
    """Counts of one trace; ``as_dict`` is what --json shows."""

    format: str
    info: TraceInfo
    nr_accesses: int = 0
    by_kind: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    instructions: int = 0
    nr_bytes: int = 0
    nr_pages: int = 0
    lowest: int = 0
    highest: int = 0
    tasks: list[int] = field(default_factory=list)
    cpus: list[int] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)
    nr_unmapped_pages: int = 0
    skipped: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a person."""
        info = self.info
        told = [f"{_PLURALS[name]} {count:,}" for name, count in self.by_kind.items() if count]
        rows = [
            ("format", self.format + (f", recorded by {info.source}" if info.source not in ("", self.format) else "")),
            ("program", info.program),
            ("machine", ", ".join(filter(None, [info.arch, f"pages of {info.page_size} bytes"]))),
            ("seed", "" if info.seed is None else str(info.seed)),
            ("accesses", f"{self.nr_accesses:,}" + (f" ({', '.join(told)})" if told else "")),
            ("instructions", f"{self.instructions:,}" if self.instructions else ""),
            ("pages", f"{self.nr_pages:,} touched, from {_hex(self.lowest)} to {_hex(self.highest)}"),
            ("tasks", _some(self.tasks) if self.tasks != [0] else ""),
            ("CPUs", _some(self.cpus) if self.cpus != [0] else ""),
            ("events", ", ".join(f"{name} {count:,}" for name, count in sorted(self.events.items()))),
            ("mappings", self._mappings()),
            ("skipped", f"{self.skipped:,} malformed records" if self.skipped else ""),
        ]
        return [f"{name:13}{value}" for name, value in rows if value]

    def _mappings(self) -> str:
        """Where they come from."""
        if "inferred" in self.info.extra:
            return f"told by events; {self.info.extra['inferred']}"
        if self.info.has_mappings:
            return "told by events"
        return f"not told for {self.nr_unmapped_pages:,} pages: inferred when it is replayed"


def summarise(source: TraceSource, format: str) -> Summary:
    """One pass."""
    result = Summary(format, source.info)
    shift = source.info.page_size.bit_length() - 1
    touched = Touched(shift)
    mapped = Mapped()
    kinds = np.zeros(len(KINDS), np.int64)
    tasks: set[int] = set()
    cpus: set[int] = set()
    events: Counter[str] = Counter()
    low, high = (1 << 63) - 1, -(1 << 63)
    for batch in source:
        result.nr_accesses += len(batch)
        result.instructions += batch.instructions
        kinds += np.bincount(batch.kind, minlength=len(KINDS))
        pending = list(batch.events)
        for page, position in touched.add(batch).tolist():
            while pending and pending[0][0] <= position:
                mapped.apply(pending.pop(0)[1])
            result.nr_unmapped_pages += page << shift not in mapped
        for _, event in pending:
            mapped.apply(event)
        events.update(event.kind for _, event in batch.events)
        if len(batch):
            result.nr_bytes += int(np.add.reduce(batch.size, dtype=np.int64))
            low, high = min(low, int(batch.addr.min())), max(high, int(batch.addr.max()))
            tasks.update(np.unique(batch.task).tolist() if batch.task.min() != batch.task.max() else [batch.task[0]])
            cpus.update(np.unique(batch.cpu).tolist() if batch.cpu.min() != batch.cpu.max() else [batch.cpu[0]])
    if result.nr_accesses:
        result.lowest, result.highest = low, high
    result.by_kind = dict(zip(KINDS, kinds.tolist(), strict=True))
    result.nr_pages = touched.nr_pages
    result.tasks = sorted(int(task) for task in tasks)
    result.cpus = sorted(int(cpu) for cpu in cpus)
    result.events = dict(events)
    result.skipped = source.skipped
    return result


def _hex(addr: int) -> str:
    return f"{addr & (1 << 64) - 1:#x}"


def _some(numbers: list[int]) -> str:
    """Numbers, not too many of them."""
    shown = ", ".join(str(number) for number in numbers[:8])
    return shown if len(numbers) <= 8 else f"{len(numbers):,}: {shown}, ..."
