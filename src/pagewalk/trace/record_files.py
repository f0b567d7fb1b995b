"""Files that a recorded machine may change, as events: what each mmap finds, and what calls do to it afterwards.

Those are files that only the machine's memory has (memfd, its /tmp and /dev/shm, System V segments) and files of the
host below a directory that programs may write to. All others a replay finds under their names.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pagewalk.fs.host_inode import HostNode
from pagewalk.fs.regular import RegularFile
from pagewalk.mm.file import AddressSpace, File
from pagewalk.mm.page import PG_uptodate
from pagewalk.mm.vma import VM_HUGETLB, Vma

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FileWatch", "page_text"]


@dataclass
class _Known:
    """What the trace says of a file so far: ``pages`` within its size, ``raw`` those that fallocate has made and nobody
    has asked for."""

    number: int
    mapping: AddressSpace  # keeps the object, so that its id stays its own
    backed: bool
    size: int = 0
    warm: int = 0
    pages: set[int] = field(default_factory=set)
    raw: set[int] = field(default_factory=set)


class FileWatch:
    """The files that were mapped, by their pages of ``page_size`` bytes."""

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._known: dict[int, _Known] = {}
        self._held: tuple[int, set[int], set[int]] = (0, set(), set())

    def hold(self, mapping: AddressSpace | None) -> None:
        """A call is about to fill pages of this file, as its replay will: what ``about`` tells is what there is now."""
        self._held = (id(mapping), *self._pages_of(mapping)) if mapping is not None else (0, set(), set())

    def about(self, vma: Vma) -> dict[str, Any]:
        """The fields of ``Mmap`` that tell of the file behind a mapping; {} where there is none to tell of."""
        file = vma.vm_file
        mapping = file.mapping if file is not None else None
        if file is None or mapping is None or vma.vm_flags & VM_HUGETLB:
            return {}
        backed = not mapping.is_shmem
        if backed and not _may_change(file):
            return {}
        known = self._known.get(id(mapping))
        if known is None:
            known = self._known[id(mapping)] = _Known(len(self._known) + 1, mapping, backed)
        known.size, known.warm = int(mapping.i_size), int(mapping.warm_end)
        known.pages, known.raw = self._held[1:] if self._held[0] == id(mapping) else self._pages_of(mapping)
        text = page_text(known.pages, known.raw, mapping)
        return {"file": known.number, "size": known.size, "pages": text, "backed": backed, "warm": known.warm,
                "large": mapping.large_folios}  # fmt: skip

    def changes(
        self, mapping: AddressSpace | None, *, synced: bool = False, hole: int = 0, hole_length: int = 0
    ) -> "Iterator[dict[str, Any]]":
        """The fields of a ``File`` event for what is different now of a file, or of all of them (None)."""
        for known in list(self._known.values()) if mapping is None else [self._known.get(id(mapping))]:
            if known is None or not known.mapping.i_mmap:
                continue  # the next mmap tells all
            now = known.mapping
            pages, raw = self._pages_of(now)
            synced = synced and known.backed
            same = (int(now.i_size), int(now.warm_end), raw) == (known.size, known.warm, known.raw)
            if same and pages == known.pages and not synced and not hole_length:
                continue
            new = (pages - known.pages) | (known.raw - raw) & pages | raw - known.raw
            known.size, known.warm = int(now.i_size), int(now.warm_end)
            yield {"file": known.number, "size": known.size, "pages": page_text(new, raw, now),
                   "gone": page_text(known.pages - pages), "warm": known.warm, "synced": synced, "hole": hole,
                   "hole_length": hole_length}  # fmt: skip
            known.pages, known.raw = pages, raw

    def written(self, mapping: AddressSpace, start: int, end: int) -> "Iterator[dict[str, Any]]":
        """As ``changes`` where only bytes [start, end) of the file can be others."""
        known = self._known.get(id(mapping))
        if known is None or not mapping.i_mmap:
            return
        touched = set(range(start // self._page_size, (end - 1) // self._page_size + 1))
        pages = touched & mapping.i_pages.keys()
        raw = {index for index in pages if not mapping.i_pages[index].flags & PG_uptodate}
        new = (pages - known.pages) | known.raw & pages - raw
        if not new and int(mapping.i_size) == known.size:
            return
        known.size, known.warm = int(mapping.i_size), int(mapping.warm_end)
        known.pages |= new
        known.raw -= pages - raw
        yield {"file": known.number, "size": known.size, "pages": page_text(new, raw, mapping), "warm": known.warm}

    def _pages_of(self, mapping: AddressSpace) -> tuple[set[int], set[int]]:
        """The pages within a file's size, and those of them that nobody has asked for since fallocate."""
        found = mapping.i_pages
        end = -(-int(mapping.i_size) // self._page_size)
        pages = {index for index in found if index < end}
        return pages, {index for index in pages if not found[index].flags & PG_uptodate}


def _may_change(file: File) -> bool:
    """Whether a program of the machine may write to this file of the host."""
    inode = file.paged if isinstance(file, RegularFile) else None
    return isinstance(inode, HostNode) and not inode.host_sb.read_only


def page_text(pages: set[int], raw: set[int] | None = None, mapping: AddressSpace | None = None) -> str:
    """Page numbers as runs: "0-3,7"; "8=11" is a run that is one folio of the file, "12~15" one that nobody has asked
    for since fallocate made it."""
    runs: list[tuple[int, int, str]] = []
    before = -1
    for index in sorted(pages):
        head = mapping.folio_heads.get(index, -1) if mapping is not None else -1
        kind = "~" if raw and index in raw else "=" if head >= 0 else "-"
        if runs and runs[-1][1] == index - 1 and runs[-1][2] == kind and head == before:
            runs[-1] = (runs[-1][0], index, kind)
        else:
            runs.append((index, index, kind))
        before = head
    return ",".join(str(first) if first == last and kind == "-" else f"{first}{kind}{last}"
                    for first, last, kind in runs)  # fmt: skip
