"""The machine's RAM as a file: an ELF core as QEMU's dump-guest-memory makes one, or a raw image.

The core has a PT_LOAD segment for each range of RAM, its place in physical memory in ``p_paddr``, and a note named
PAGEWALK whose text (JSON) says where the page tables of the processes and of the kernel begin. Frames that nobody has
used are holes of the file. Sources: elf(5); QEMU docs/interop (dump-guest-memory).
"""

import heapq
import json
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from pagewalk.errors import ConfigError

if TYPE_CHECKING:
    from pagewalk.mm.page import MemMap
    from pagewalk.mm.ram import Ram

__all__ = ["NOTE_NAME", "used_frames", "write_core", "write_raw"]

NOTE_NAME: Final = b"PAGEWALK"
NOTE_TYPE: Final = 1
ALIGN: Final = 4096  # of the first segment in the file, and of the holes
E_MACHINE: Final = {"x86_32": 3, "x86_pae": 3, "x86_64": 62, "arm64": 183, "riscv32": 243, "riscv64": 243}

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_ET_CORE = 4
_PT_LOAD = 1
_PT_NOTE = 4
_MAX_RUN = 256  # frames that are written at once

PfnRange = tuple[int, int]


def used_frames(mem_map: "MemMap", boot: Iterable[int]) -> Iterator[int]:
    """Frames that can hold something, ascending: those that have a struct page, and those of ``boot``, the kernel's
    page tables that were made before there were any."""
    return heapq.merge(_with_struct_page(mem_map), sorted(int(pfn) for pfn in boot))


def _with_struct_page(mem_map: "MemMap") -> Iterator[int]:
    for section in mem_map.sections:
        if section is not None:
            for page in section:
                if page is not None:
                    yield int(page.pfn)


def write_core(
    path: str, ram: "Ram", ranges: Sequence[PfnRange], frames: Iterable[int], arch: str, about: dict[str, Any]
) -> None:
    """Writes an ELF64 core file.

    ranges  the usable RAM as (first, end) frame numbers, ascending
    frames  frames that may hold something, ascending
    arch    as ``Config.arch`` names it: decides e_machine
    about   what the note says

    ConfigError where the file cannot be written.
    """
    text = json.dumps(about).encode()
    note = struct.pack("<III", len(NOTE_NAME) + 1, len(text), NOTE_TYPE) + _padded(NOTE_NAME + b"\0") + _padded(text)
    count = len(ranges) + 1
    note_at = _EHDR.size + count * _PHDR.size
    at = (note_at + len(note) + ALIGN - 1) & -ALIGN
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = _EHDR.pack(
        ident, _ET_CORE, E_MACHINE[arch], 1, 0, _EHDR.size, 0, 0, _EHDR.size, _PHDR.size, count, 0, 0, 0
    )
    segments = [_PHDR.pack(_PT_NOTE, 0, note_at, 0, 0, len(note), len(note), 0)]
    places: list[tuple[int, int, int]] = []
    page_size = int(ram.page_size)
    for first, end in ranges:
        size = (end - first) * page_size
        segments.append(_PHDR.pack(_PT_LOAD, 7, at, 0, first * page_size, size, size, 0))
        places.append((first, end, at))
        at += size
    _write(path, header + b"".join(segments) + note, at, ram, places, frames)


def write_raw(path: str, ram: "Ram", ranges: Sequence[PfnRange], frames: Iterable[int]) -> None:
    """Writes an image in which a byte's place is its physical address. Arguments and errors as ``write_core``."""
    page_size = int(ram.page_size)
    places = [(first, end, first * page_size) for first, end in ranges]
    _write(path, b"", ranges[-1][1] * page_size, ram, places, frames)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _write(
    path: str, head: bytes, size: int, ram: "Ram", places: list[tuple[int, int, int]], frames: Iterable[int]
) -> None:
    page_size = int(ram.page_size)
    try:
        with open(path, "wb") as file:
            file.write(head)
            file.truncate(size)
            for first, end in _runs(frames):
                for start, stop, at in places:
                    low, high = max(first, start), min(end, stop)
                    if low < high:
                        _write_run(file, at + (low - start) * page_size, ram.bytes[low * page_size : high * page_size])
    except OSError as error:
        raise ConfigError(f"dump_ram: cannot write {os.fspath(path)!r}: {error.strerror}") from None


def _runs(frames: Iterable[int]) -> Iterator[PfnRange]:
    """Ascending frame numbers as ranges of at most _MAX_RUN."""
    first = end = -1
    for frame in frames:
        if frame == end and end - first < _MAX_RUN:
            end += 1
            continue
        if end > first:
            yield first, end
        first, end = frame, frame + 1
    if end > first:
        yield first, end


def _write_run(file: BinaryIO, at: int, data: memoryview) -> None:
    """Writes what is not zero, 4 KiB at a time."""
    page = 0
    while page < data.nbytes:
        start = page
        while page < data.nbytes and not _empty(data, page):
            page += ALIGN
        if page > start:
            file.seek(at + start)
            file.write(data[start:page])
        page += ALIGN


_ZEROES: Final = bytes(ALIGN)


def _empty(data: memoryview, page: int) -> bool:
    return data[page : page + ALIGN] == _ZEROES
