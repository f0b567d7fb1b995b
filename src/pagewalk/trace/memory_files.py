"""The files of a replay that the trace tells of: those that the recorded machine could change.

A trace has no contents. What page faults depend on it tells at each mmap, and where a call changes it: which file it
is, how long, which of its pages are there. A replay makes a file like it, of shared memory or with pages of zeros "on
disk".
"""

import errno
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pagewalk.errors import ConfigError
from pagewalk.fs.memfd import memfd_create
from pagewalk.fs.zerofile import ZeroFile
from pagewalk.kernel.shm import do_shmat
from pagewalk.mm.file import AddressSpace, File
from pagewalk.mm.filemap import filemap_fsync
from pagewalk.mm.mmap import vm_mmap
from pagewalk.mm.mmap_flags import MAP_FIXED
from pagewalk.mm.page import PG_uptodate
from pagewalk.mm.page_cache import read_cache_page
from pagewalk.mm.shmem import shmem_get_page, shmem_punch_hole
from pagewalk.mm.truncate import truncate_pagecache, truncate_pagecache_range
from pagewalk.trace import events as ev

if TYPE_CHECKING:
    from pagewalk.machine import Machine
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.page import Page

__all__ = ["MemoryFiles", "page_runs"]

_RUN: Final = re.compile(r"([0-9]{1,12})(?:([-=~])([0-9]{1,12}))?")
_SHM_RDONLY: Final = 0o10000
_SHM_REMAP: Final = 0o40000
_LARGEST: Final = 1 << 46  # bytes


@dataclass(frozen=True)
class Run:
    """Pages ``first`` to ``last`` of a file: one folio (``kind`` "="), not asked for since fallocate made them ("~"),
    or neither ("-")."""

    first: int
    last: int
    kind: str


class MemoryFiles:
    """The files of a replay, by the numbers that the trace gives them; ``page_size``: of the trace, bytes."""

    def __init__(self, machine: "Machine", page_size: int) -> None:
        self._larger = page_size.bit_length() - 1 - int(machine.system.page_shift)
        self._machine = machine
        self._files: dict[int, File] = {}
        self._segments: dict[int, int] = {}

    def get(self, event: ev.Mmap) -> File:
        """The file of a mapping, as long and with the pages that the event tells. ConfigError for what is none."""
        check_size(event.size)
        file = self._files.get(event.file)
        if file is None:
            made = ZeroFile(f"/trace-{event.file}") if event.backed else self._memfd(event.file)
            file = self._files[event.file] = made
        mapping = file.mapping
        assert mapping is not None
        mapping.large_folios = event.large
        self._resize(mapping, event.size)
        mapping.warm_end = event.warm
        self._only(mapping, event.pages)
        self._fill(mapping, event.size, event.pages)
        return file

    def change(self, event: ev.File) -> None:
        """A file has become another one."""
        check_size(event.size)
        mapping = self._mapping(event.file)
        if mapping is None:
            return
        self._resize(mapping, event.size)
        if event.hole_length > 0 and 0 <= event.hole <= _LARGEST and event.hole_length <= _LARGEST:
            self._punch(mapping, event.hole, event.hole + event.hole_length)
        for run in self._runs(event.gone):
            end = min(run.last, mapping.i_size >> self._shift)
            if any(index in mapping.i_pages for index in range(run.first, end + 1)):
                self._punch(mapping, run.first << self._shift, end + 1 << self._shift)
        mapping.warm_end = event.warm
        self._fill(mapping, event.size, event.pages)
        if event.synced and not mapping.is_shmem:
            filemap_fsync(self._machine.system, mapping)

    def attach(self, mm: "MmStruct", event: ev.Mmap, *, writable: bool) -> int:
        """Attaches a System V segment: its address, or a negative errno."""
        check_size(event.size)
        shm = self._machine.kernel.shm
        ident = self._segments.get(event.file)
        segment = shm.find(ident) if ident is not None else None
        if segment is None or ident is None:
            ident = shm.get(0, event.size, 0o600, 0, 0)
            segment = shm.find(ident)
            if segment is None:
                return ident
            self._segments[event.file] = ident
        self._fill(segment.mapping(), event.size, event.pages)
        there = mm.vma_lookup(event.addr)
        if event.offset or event.length != self._machine.system.page_align(
            event.size
        ):  # remap_file_pages(2) of what is attached
            file = there.vm_file if there is not None else None
            if file is None or file.mapping is not segment.mapping():
                return -errno.EINVAL
            return int(vm_mmap(mm, file, event.addr, event.length, event.prot, event.flags | MAP_FIXED, event.offset))
        return do_shmat(shm, mm, ident, event.addr, _SHM_REMAP | (0 if writable else _SHM_RDONLY), 0, 0)

    @property
    def _shift(self) -> int:
        return int(self._machine.system.page_shift)

    def _runs(self, text: str) -> list[Run]:
        """Pages of a file, in pages of this machine: those of the trace may be larger or smaller."""
        found = page_runs(text)
        if self._larger > 0:
            more = self._larger
            return [Run(run.first << more, (run.last + 1 << more) - 1, run.kind) for run in found]
        if self._larger < 0:
            return [Run(run.first >> -self._larger, run.last >> -self._larger, run.kind) for run in found]
        return found

    def _memfd(self, number: int) -> File:
        made = memfd_create(self._machine.system, f"trace-{number}", 0)
        assert isinstance(made, File)
        return made

    def _mapping(self, number: int) -> AddressSpace | None:
        """The pages of a file that is known."""
        if number in self._segments:
            segment = self._machine.kernel.shm.find(self._segments[number])
            return segment.mapping() if segment is not None else None
        file = self._files.get(number)
        return file.mapping if file is not None else None

    def _resize(self, mapping: AddressSpace, size: int) -> None:
        """Another length."""
        if size == mapping.i_size:
            return
        if not mapping.is_shmem:
            truncate_pagecache(self._machine.system, mapping, size)
            return
        file = next((each for each in self._files.values() if each.mapping is mapping), None)
        if file is not None:
            file.ftruncate(size)

    def _only(self, mapping: AddressSpace, pages: str) -> None:
        """Pages that the file had, and has no longer, are gone; nothing maps them."""
        runs = self._runs(pages)
        starts = [run.first for run in runs]
        for index in list(mapping.i_pages):
            at = bisect_right(starts, index)
            if at and index <= runs[at - 1].last:
                continue
            self._punch(mapping, index << self._shift, index + 1 << self._shift)

    def _punch(self, mapping: AddressSpace, start: int, end: int) -> None:
        """A hole of bytes [start, end)."""
        if mapping.is_shmem:
            shmem_punch_hole(self._machine.system, mapping, start, end)
        else:
            truncate_pagecache_range(self._machine.system, mapping, start, end)

    def _fill(self, mapping: AddressSpace, size: int, pages: str) -> None:
        """The file has these pages."""
        system = self._machine.system
        for run in self._runs(pages):
            last = min(run.last, size >> self._shift)
            for index in range(run.first, last + 1):
                new = index not in mapping.i_pages
                if mapping.is_shmem:
                    page: Page | int | None = shmem_get_page(system, mapping, index)
                else:
                    page = read_cache_page(system, mapping, index)
                if page is None or isinstance(page, int):
                    return  # the machine is smaller than the recorded one
                if run.kind == "~":
                    page.flags &= ~PG_uptodate
                elif run.kind == "=" and new and last == run.last:
                    mapping.folio_heads[index] = run.first


def check_size(size: int) -> None:
    """Raises ConfigError for a size that no file has."""
    if not 0 <= size <= _LARGEST:
        raise ConfigError(f"replay: expected a file of up to {_LARGEST} bytes, got {size}")


def page_runs(text: str) -> list[Run]:
    """``record_files.page_text`` read back."""
    found = []
    for run in text.split(",") if text else ():
        match = _RUN.fullmatch(run)
        if match is None:
            raise ConfigError(f"replay: expected pages such as 0-3,7, got {text[:40]!r}")
        found.append(Run(int(match[1]), int(match[3] or match[1]), match[2] or "-"))
    return found
