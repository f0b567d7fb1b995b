"""What changes an address space in the middle of a trace: one small class per kind of event.

An event stands before the access at its position in the batch (``Batch.events``). Addresses are signed 64-bit words, as
everywhere; lengths are bytes and multiples of the page size unless said otherwise. ``task`` is the thread's number
(Linux's TID) and ``cpu`` the one it happened on.
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Final

__all__ = [
    "EVENT_TYPES",
    "Brk",
    "Event",
    "Exec",
    "Exit",
    "Fault",
    "Fork",
    "Madvise",
    "Mmap",
    "Mprotect",
    "Mremap",
    "Munmap",
    "Switch",
    "Touch",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event has: who did it, and where."""

    kind: ClassVar[str] = ""  # its name in files and reports
    task: int
    cpu: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mmap(Event):
    """A mapping came to be at [addr, addr + length), in place of whatever was there.

    ``addr`` is where it is, not what was asked for. Also what exec, the vDSO and a growing stack set up by themselves.
    """

    kind = "mmap"
    addr: int
    length: int
    prot: int  # PROT_*
    flags: int  # MAP_*: SHARED or PRIVATE, ANONYMOUS, GROWSDOWN, HUGETLB, POPULATE, LOCKED
    name: str = ""  # path of the file, or Linux's name: "[heap]", "[stack]", "[vdso]"
    offset: int = 0  # in the file, bytes
    file: int = (
        0  # of a file that is only in the recorded machine's memory: its number, size in bytes, pages that it has
    )
    size: int = 0
    pages: str = ""
    inferred: bool = False  # nobody recorded it: it was made up from the accesses


@dataclass(frozen=True, slots=True, kw_only=True)
class Munmap(Event):
    """Nothing is mapped in [addr, addr + length) any more."""

    kind = "munmap"
    addr: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mprotect(Event):
    """The mappings in [addr, addr + length) have the rights ``prot`` (PROT_*)."""

    kind = "mprotect"
    addr: int
    length: int
    prot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mremap(Event):
    """What was mapped at [addr, addr + length), with its pages, is at [new_addr, new_addr + new_length)."""

    kind = "mremap"
    addr: int
    length: int
    new_addr: int
    new_length: int
    flags: int = 0  # MREMAP_*


@dataclass(frozen=True, slots=True, kw_only=True)
class Madvise(Event):
    """madvise(2) with ``advice`` (MADV_*) took effect on [addr, addr + length)."""

    kind = "madvise"
    addr: int
    length: int
    advice: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch(Event):
    """The kernel has read (or written) the page at ``addr`` of ``task`` and taken a fault there, or marked the page.

    Also each page that exec leaves in a new address space.
    """

    kind = "touch"
    addr: int
    write: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Event):
    """The page table did not grant ``task`` an access to ``addr``, and the kernel got to know.

    Only where the accesses of the trace do not show it: the access was refused for good, an instruction that reads and
    writes took the fault as a write, or one instruction took several.
    """

    kind = "fault"
    addr: int
    access: int  # READ, WRITE or FETCH


@dataclass(frozen=True, slots=True, kw_only=True)
class Brk(Event):
    """The heap ends at ``addr`` (any byte); ``start`` is where it begins."""

    kind = "brk"
    addr: int
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork(Event):
    """``task`` made ``child``: with a copy of its address space, or sharing it (``shares_mm``: threads and vfork)."""

    kind = "fork"
    child: int
    shares_mm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec(Event):
    """``task`` has a new, empty address space; the mappings of the program ``name`` follow as events."""

    kind = "exec"
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit(Event):
    """``task`` is gone; its address space too, where nobody else has it."""

    kind = "exit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Event):
    """From here on CPU ``cpu`` runs ``task``, and no longer ``previous`` (0: nobody)."""

    kind = "switch"
    previous: int = 0


EVENT_TYPES: Final[dict[str, type[Event]]] = {
    cls.kind: cls for cls in (Mmap, Munmap, Mprotect, Mremap, Madvise, Brk, Fork, Exec, Exit, Switch, Touch, Fault)
}


def as_fields(event: Event) -> dict[str, int | str | bool]:
    """Field names and values, in order; with ``kind`` first."""
    return {"kind": event.kind, **{field.name: getattr(event, field.name) for field in fields(event)}}
