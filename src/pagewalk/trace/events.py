"""What changes an address space in the middle of a trace: one small class per kind of event.

An event stands before the access at its position in the batch (``Batch.events``). Addresses are signed 64-bit words, as
everywhere; lengths are bytes and multiples of the page size unless said otherwise. ``task`` is the thread's number
(Linux's TID) and ``cpu`` the one it happened on.

There are two kinds. What a program and its files did (``Mmap``, ``File``, ...) any machine can do again. What the
recorded kernel made of it (``Tables``, ``Flush``, ``Lazy``, ``Free``) is what its MMU got to see: with that, a replay
on the same machine counts the same, whatever the reason was. Their ``space`` is the number of an address space, from 1
on, which ``Exec`` and ``Fork`` give to tasks.
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
    "File",
    "Flush",
    "Fork",
    "Frames",
    "Free",
    "Lazy",
    "Madvise",
    "Mlock",
    "Mlockall",
    "Mmap",
    "Mprotect",
    "Mremap",
    "Msync",
    "Munmap",
    "Switch",
    "Tables",
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
    file: int = 0  # of a file that the recorded machine may change: its number, from 1 on,
    size: int = 0  # its size in bytes,
    pages: str = ""  # the pages that it has in memory ("0-3,7"; record_files.page_text),
    backed: bool = False  # whether it is on a disk (else it is in the machine's memory alone),
    warm: int = 0  # below which page number those that are not there count as being there,
    large: bool = False  # and whether its file system makes large folios
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
    """madvise(2) with ``advice`` (MADV_*) took effect on [addr, addr + length), or on what there is of it (``failed``
    is the errno then)."""

    kind = "madvise"
    addr: int
    length: int
    advice: int
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlock(Event):
    """mlock(2), mlock2(2) or munlock(2) took effect on [addr, addr + length), or on what there is of it."""

    kind = "mlock"
    addr: int
    length: int
    flags: int  # 0 munlock, 1 mlock, 3 mlock2 with MLOCK_ONFAULT
    failed: int = 0  # errno


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlockall(Event):
    """mlockall(2), or munlockall(2) with ``flags`` 0."""

    kind = "mlockall"
    flags: int  # MCL_*


@dataclass(frozen=True, slots=True, kw_only=True)
class Msync(Event):
    """msync(2) has written [addr, addr + length) back to files."""

    kind = "msync"
    addr: int
    length: int
    flags: int  # MS_*


@dataclass(frozen=True, slots=True, kw_only=True)
class File(Event):
    """A file that ``Mmap`` has told of is another one now: ftruncate, fallocate, write, or fsync, which makes its pages
    clean."""

    kind = "file"
    file: int
    size: int  # bytes
    pages: str = ""  # in memory now, and not before
    gone: str = ""  # not in memory any more
    hole: int = 0  # where fallocate has made a hole, bytes
    hole_length: int = 0
    warm: int = 0  # as in Mmap
    synced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames(Event):
    """``count`` pages from ``addr`` on are in frames ``pfn``, ``pfn`` + 1, ...

    ``ahead``: as soon as the next fault of the task has been served; else they are there now. (Frames are physical
    memory in pages; which of them are neighbours decides what one coalesced TLB entry may cover.)
    """

    kind = "frames"
    addr: int
    pfn: int
    count: int
    ahead: bool = False


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
    space: int = 0  # the child's; 0 where nobody tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec(Event):
    """``task`` has a new, empty address space; the mappings of the program ``name`` follow as events."""

    kind = "exec"
    name: str = ""
    space: int = 0  # the new one; 0 where nobody tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit(Event):
    """``task`` is gone; its address space too, where nobody else has it."""

    kind = "exit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Event):
    """From here on CPU ``cpu`` runs ``task``, and no longer ``previous`` (0: nobody)."""

    kind = "switch"
    previous: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables(Event):
    """The kernel has changed page tables of ``space``, and has served so many faults.

    ``ahead``: 0, they are so now; 1, as soon as the next fault has been served; 2, the one after that.
    """

    kind = "tables"
    space: int
    entries: str = ""  # trace.table_text
    minor: int = 0
    major: int = 0
    ahead: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush(Event):
    """The kernel, on ``cpu``, has flushed what TLBs know of [addr, addr + length) of ``space``.

    ``ahead``: 0, now; 1, while it serves the next fault; 2, the one after that.
    """

    kind = "flush"
    space: int
    addr: int
    length: int
    ahead: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lazy(Event):
    """``cpu`` needs the address space no longer that ``task`` had: lazy TLB mode."""

    kind = "lazy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Free(Event):
    """Address space ``space`` is gone, with its page tables."""

    kind = "free"
    space: int


EVENT_TYPES: Final[dict[str, type[Event]]] = {
    cls.kind: cls
    for cls in (
        Mmap,
        Munmap,
        Mprotect,
        Mremap,
        Madvise,
        Mlock,
        Mlockall,
        Msync,
        File,
        Brk,
        Fork,
        Exec,
        Exit,
        Switch,
        Touch,
        Fault,
        Frames,
        Tables,
        Flush,
        Lazy,
        Free,
    )
}


def as_fields(event: Event) -> dict[str, int | str | bool]:
    """Field names and values, in order; with ``kind`` first."""
    return {"kind": event.kind, **{field.name: getattr(event, field.name) for field in fields(event)}}
