"""Events of a trace on a machine whose pages are larger than the recorded one's: in whole pages of that machine.

A mapping grows to the pages that it touches. A page that another mapping has already stays what it is, with the rights
of both. What takes pages away, moves or advises them concerns those that lie in its range as a whole; a change of
rights gives a page that it only touches the new rights beside those that it has. A file is mapped where its offset
allows it, else anonymous memory stands in for it.
"""

from dataclasses import replace
from typing import Final

from pagewalk.flags import Map
from pagewalk.mm.mm_types import MmStruct
from pagewalk.trace import events as ev

__all__ = ["widened"]

_RIGHTS: Final = 7  # PROT_READ, PROT_WRITE and PROT_EXEC have the numbers of VM_READ, VM_WRITE and VM_EXEC


def widened(event: ev.Event, mm: MmStruct) -> list[ev.Event]:
    """The event, or those that stand for it, in pages of ``mm``; none where no whole page is concerned."""
    page = int(mm.system.page_size)
    if _is_beyond(event, mm):
        return [event]  # the machine refuses it
    if isinstance(event, ev.Mmap):
        return _mapped(event, mm, page)
    if isinstance(event, ev.Mprotect):
        first, start, end, last = _whole(event.addr, event.length, page)
        found: list[ev.Event] = [replace(event, addr=start, length=end - start)] if start < end else []
        return found + _shared(event, mm, dict.fromkeys(_edges(first, start, end, last, page), event.prot), page)
    if isinstance(event, ev.Mremap):
        return _moved(event, mm, page)
    if isinstance(event, ev.Munmap | ev.Madvise | ev.Mlock | ev.Msync):
        _, start, end, _ = _whole(event.addr, event.length, page)
        return [replace(event, addr=start, length=end - start)] if start < end else []
    return [event]


def _is_beyond(event: ev.Event, mm: MmStruct) -> bool:
    """Whether an address of it is none of this machine's programs'."""
    ranges: list[tuple[int, int]] = []
    if isinstance(event, ev.Mmap | ev.Mprotect | ev.Mremap | ev.Munmap | ev.Madvise | ev.Mlock | ev.Msync):
        ranges.append((event.addr, event.length))
    if isinstance(event, ev.Mremap):
        ranges.append((event.new_addr, event.new_length))
    return any(not 0 <= addr <= addr + length <= int(mm.task_size) for addr, length in ranges)


def _whole(addr: int, length: int, page: int) -> tuple[int, int, int, int]:
    """Where the pages begin that [addr, addr + length) touches, those that lie in it, and the ends of both."""
    end = addr + length
    return addr & -page, -(-addr // page) * page, end & -page, -(-end // page) * page


def _edges(first: int, start: int, end: int, last: int, page: int) -> list[int]:
    """The pages that a range touches and that do not lie in it."""
    if start > end:  # within one page
        return [first]
    return [at for at in dict.fromkeys((first, last - page)) if not start <= at < end and first < last]


def _shared(event: ev.Event, mm: MmStruct, wanted: dict[int, int], page: int) -> list[ev.Event]:
    """More rights for pages that are mapped: by address."""
    found: list[ev.Event] = []
    for at, prot in wanted.items():
        vma = mm.find_vma_intersection(at, at + page)
        if vma is not None and prot & ~int(vma.vm_flags) & _RIGHTS:
            rights = (prot | int(vma.vm_flags)) & _RIGHTS
            found.append(ev.Mprotect(task=event.task, cpu=event.cpu, addr=at, length=page, prot=rights))
    return found


def _mapped(event: ev.Mmap, mm: MmStruct, page: int) -> list[ev.Event]:
    """Pages at the ends that others have keep what they hold."""
    first, start, end, last = _whole(event.addr, event.length, page)
    shared = {}
    for at in _edges(first, start, end, last, page):
        if mm.find_vma_intersection(at, at + page) is not None:
            shared[at] = event.prot
    low = first + page if first in shared else first
    high = last - page if last - page in shared else last
    found: list[ev.Event] = []
    if low < high:
        offset = event.offset - (event.addr - low)
        mapping = replace(event, addr=low, length=high - low, offset=offset)
        if not event.flags & Map.ANONYMOUS and (offset < 0 or offset % page):
            flags = event.flags & ~Map.SHARED | Map.PRIVATE | Map.ANONYMOUS
            mapping = replace(mapping, offset=0, file=0, flags=flags)
        found.append(mapping)
    return found + _shared(event, mm, shared, page)


def _moved(event: ev.Mremap, mm: MmStruct, page: int) -> list[ev.Event]:
    """The pages are used anew where they come to be."""
    vma = mm.find_vma_intersection(event.addr, event.addr + 1)
    prot = int(vma.vm_flags) & _RIGHTS if vma is not None else 3
    found: list[ev.Event] = []
    if event.new_addr != event.addr:
        found += widened(ev.Munmap(task=event.task, cpu=event.cpu, addr=event.addr, length=event.length), mm)
        grown, length = event.new_addr, event.new_length
    elif event.new_length <= event.length:
        gone = event.length - event.new_length
        return (
            widened(ev.Munmap(task=event.task, cpu=event.cpu, addr=event.addr + event.new_length, length=gone), mm)
            if gone
            else []
        )
    else:
        grown, length = event.addr + event.length, event.new_length - event.length
    flags = Map.PRIVATE | Map.ANONYMOUS
    return found + _mapped(
        ev.Mmap(task=event.task, cpu=event.cpu, addr=grown, length=length, prot=prot, flags=flags), mm, page
    )
