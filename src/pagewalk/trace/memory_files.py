"""Files that were only in the memory of the recorded machine (memfd, its /tmp and /dev/shm, System V segments).

A trace has no contents. What page faults depend on it tells at each mmap: which file it is, how long, and which of its
pages are there. A replay makes a file of shared memory like it.

Differs: what write(2) and ftruncate(2) do between two mmaps is not told.
"""

import re
from typing import TYPE_CHECKING, Final

from pagewalk.errors import ConfigError
from pagewalk.fs.memfd import memfd_create
from pagewalk.kernel.shm import do_shmat
from pagewalk.mm.file import AddressSpace, File
from pagewalk.mm.shmem import shmem_get_page

if TYPE_CHECKING:
    from pagewalk.machine import Machine
    from pagewalk.mm.mm_types import MmStruct

__all__ = ["FileNumbers", "MemoryFiles", "cached_pages"]

_RUN: Final = re.compile(r"([0-9]{1,12})(?:-([0-9]{1,12}))?")
_SHM_RDONLY: Final = 0o10000
_SHM_REMAP: Final = 0o40000
_LARGEST: Final = 1 << 46  # bytes


def cached_pages(mapping: AddressSpace) -> str:
    """The pages of a file that are in memory, as runs: "0-3,7"."""
    runs: list[list[int]] = []
    for index in sorted(mapping.i_pages):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


class FileNumbers:
    """Gives each file a number, from 1 on."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, AddressSpace]] = {}  # by id, which is good as long as the object lives

    def of(self, mapping: AddressSpace) -> int:
        """The number of a file, by its pages."""
        return self._known.setdefault(id(mapping), (len(self._known) + 1, mapping))[0]


class MemoryFiles:
    """The files of a replay, by the numbers that the trace gives them."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self._files: dict[int, File] = {}
        self._segments: dict[int, int] = {}

    def get(self, number: int, size: int, pages: str) -> File:
        """The file with this number, as long and with the pages that the trace tells. ConfigError for what is none."""
        check_size(size)
        file = self._files.get(number)
        if file is None:
            made = memfd_create(self._machine.system, f"trace-{number}", 0)
            assert isinstance(made, File)
            file = self._files[number] = made
        mapping = file.mapping
        assert mapping is not None
        if size != mapping.i_size:
            file.ftruncate(size)
        self._fill(mapping, size, pages)
        return file

    def attach(self, mm: "MmStruct", number: int, size: int, pages: str, addr: int, *, writable: bool) -> int:
        """Attaches the System V segment with this number at ``addr``: that, or a negative errno."""
        check_size(size)
        shm = self._machine.kernel.shm
        ident = self._segments.get(number)
        segment = shm.find(ident) if ident is not None else None
        if segment is None or ident is None:
            ident = shm.get(0, size, 0o600, 0, 0)
            segment = shm.find(ident)
            if segment is None:
                return ident
            self._segments[number] = ident
        self._fill(segment.mapping(), size, pages)
        return do_shmat(shm, mm, ident, addr, _SHM_REMAP | (0 if writable else _SHM_RDONLY), 0, 0)

    def _fill(self, mapping: AddressSpace, size: int, pages: str) -> None:
        """The file has these pages."""
        for first, last in page_runs(pages):
            for index in range(first, min(last, size >> 12) + 1):
                if index not in mapping.i_pages and shmem_get_page(self._machine.system, mapping, index) is None:
                    return  # the machine is smaller than the recorded one


def check_size(size: int) -> None:
    """Raises ConfigError for a size that no file has."""
    if not 0 <= size <= _LARGEST:
        raise ConfigError(f"replay: expected a file of up to {_LARGEST} bytes, got {size}")


def page_runs(text: str) -> list[tuple[int, int]]:
    """``cached_pages`` read back."""
    found = []
    for run in text.split(",") if text else ():
        match = _RUN.fullmatch(run)
        if match is None:
            raise ConfigError(f"replay: expected pages such as 0-3,7, got {text[:40]!r}")
        found.append((int(match[1]), int(match[2] or match[1])))
    return found
