"""What is behind one address: the VMA, every level of the walk with its bits, the frame and who shares it.

``Explanation`` is plain data that the machine fills in; ``str()`` of it is what ``p.explain(addr)`` prints.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from pagewalk.view.units import size

__all__ = ["Explanation", "Frame", "ProtectionKey", "Sharer", "TlbHolding", "WalkStep"]

WORD = (1 << 64) - 1


@dataclass
class WalkStep:
    """One level of the walk: which entry of which table was read, and what it said.

    level   "pgd" ... "pte"
    index   of the entry in its table
    table   physical address of the table
    entry   the entry, as a signed or unsigned 64-bit word
    bits    names of the bits that are set in it
    then    what follows from it: "table at 0x...", "frame 0x...", "not present"
    size    bytes of an entry
    folded  levels that the format does not have, which Linux folds into this one
    """

    level: str
    index: int
    table: int
    entry: int
    bits: list[str] = field(default_factory=list)
    then: str = ""
    size: int = 8
    folded: list[str] = field(default_factory=list)

    @property
    def entry_addr(self) -> int:
        """Physical address of the entry."""
        return self.table + self.size * self.index


@dataclass
class Sharer:
    """A process that maps the frame, and where."""

    pid: int
    addr: int
    comm: str = ""


@dataclass
class Frame:
    """A page frame and its struct page."""

    pfn: int
    zone: str
    kind: str
    flags: list[str] = field(default_factory=list)
    refcount: int = 0
    mapcount: int = 0
    sharers: list[Sharer] = field(default_factory=list)


@dataclass
class ProtectionKey:
    """A mapping's protection key.

    number        0 to 15
    pkru          the register that says what the thread may do, two bits each
    may_read, may_write  whether it lets the thread load and store there
    execute_only  the process keeps the key for memory that is to be executed only
    """

    number: int
    pkru: int
    may_read: bool
    may_write: bool
    execute_only: bool = False

    def __str__(self) -> str:
        closed = "reads and writes" if not self.may_read else "writes"
        lets = "lets all accesses through" if self.may_write else f"closes it for {closed}"
        kept = ", kept for execute-only memory" if self.execute_only else ""
        return f"{self.number}{kept}; PKRU {self.pkru:#010x} {lets}"


@dataclass
class TlbHolding:
    """An entry of a CPU's translation caches that an access to the address would use.

    array   its array
    asid    its tag; 0: the page is global
    addr    first address that it covers (signed), ``size`` bytes
    pfn     frame of the page; of a walk cache, the table that it leads to
    rights  of "rwx", those that it grants; a store needs a page that is marked Dirty
    level   of a walk cache, the level whose entry it is; else ""
    """

    cpu: int
    array: str
    asid: int
    addr: int
    size: int
    pfn: int
    rights: str
    level: str = ""


@dataclass
class Explanation:
    """Everything about the address ``addr`` of process ``pid``.

    vma     its line of /proc/PID/maps, "" where nothing is mapped
    flags   the VMA's flags, as VmFlags in smaps names them
    steps   the levels of the walk that were read, the root first
    frame   the frame behind it, None where there is none
    page_size  bytes of a page of the machine
    reason  why there is none, or what an access would do next
    key     the VMA's protection key; None where the machine has none
    tlb     what the modelled TLBs hold of it; None where the machine has none
    """

    pid: int
    addr: int
    vma: str = ""
    flags: list[str] = field(default_factory=list)
    steps: list[WalkStep] = field(default_factory=list)
    frame: Frame | None = None
    reason: str = ""
    page_size: int = 4096
    tlb: list[TlbHolding] | None = None
    key: ProtectionKey | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON has it; addresses and entries are "0x..." text."""
        data = asdict(self)
        data["addr"] = f"{self.addr & WORD:#x}"
        for step, row in zip(self.steps, data["steps"], strict=True):
            row["table"] = f"{step.table:#x}"
            row["entry"] = f"{step.entry & WORD:#0{2 + 2 * step.size}x}"
            row["entry_addr"] = f"{step.entry_addr:#x}"
        if data["frame"]:
            for row in data["frame"]["sharers"]:
                row["addr"] = f"{row['addr'] & WORD:#x}"
        if data["key"]:
            data["key"]["pkru"] = f"{data['key']['pkru']:#010x}"
        for row in data["tlb"] or ():
            row["addr"] = f"{row['addr'] & WORD:#x}"
        return data

    def as_json(self) -> str:
        """``as_dict`` as text, ending in a newline."""
        return json.dumps(self.as_dict(), indent=2) + "\n"

    def __str__(self) -> str:
        lines = [f"address  {self.addr & WORD:#x} of process {self.pid}"]
        lines.append(f"vma      {self.vma or 'none: the address is not mapped'}")
        if self.flags:
            lines.append(f"         flags {' '.join(self.flags)}")
        if self.key is not None:
            lines.append(f"key      {self.key}")
        for step in self.steps:
            entry = f"{step.entry & WORD:#0{2 + 2 * step.size}x}"
            bits = " ".join(step.bits) or "-"
            lines.append(f"{step.level:<8} [{step.index:3}] at {step.entry_addr:#012x} = {entry}  {bits}")
            folded = f"{', '.join(step.folded)} folded into the {step.level}" if step.folded else ""
            if step.then or folded:
                lines.append(f"{'':15}{'; '.join(filter(None, (step.then, folded)))}")
        lines.extend(self._frame_lines())
        lines.extend(self._tlb_lines())
        if self.reason:
            lines.append(f"so       {self.reason}")
        return "\n".join(lines)

    def _tlb_lines(self) -> list[str]:
        """What the TLBs hold."""
        if self.tlb is None:
            return []
        lines = []
        for each in self.tlb:
            tag = f"ASID {each.asid}" if each.asid else "global"
            then = f"the {each.level} entry, table" if each.level else f"{each.rights}, frame"
            lines.append(f"CPU {each.cpu} {each.array}: {size(each.size)} at {each.addr & WORD:#x}, {tag}: "
                         f"{then} {each.pfn:#x}")  # fmt: skip
        return [f"{'tlb' if not at else '':<8} {line}" for at, line in enumerate(lines or ["nothing"])]

    def _frame_lines(self) -> list[str]:
        """The frame, and who maps it."""
        frame = self.frame
        if frame is None:
            return ["frame    none"]
        lines = [
            f"frame    pfn {frame.pfn:#x} at {frame.pfn * self.page_size:#x}, zone {frame.zone}: {frame.kind}",
            f"         refcount {frame.refcount}, mapcount {frame.mapcount}"
            + (f", flags {' '.join(frame.flags)}" if frame.flags else ""),
        ]
        for sharer in frame.sharers:
            me = (
                " (this one)" if (sharer.pid, sharer.addr) == (self.pid, self.addr - self.addr % self.page_size) else ""
            )
            name = f" {sharer.comm}" if sharer.comm else ""
            lines.append(f"         mapped by process {sharer.pid}{name} at {sharer.addr & WORD:#x}{me}")
        return lines
