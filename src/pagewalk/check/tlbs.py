"""The invariant of modelled TLBs."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from pagewalk.check.census import require
from pagewalk.hw.walker import OK, PEEK, RIGHT_WRITE, walk

if TYPE_CHECKING:
    from pagewalk.cpu.tlb_model import TlbModel
    from pagewalk.hw.mmu import Entry
    from pagewalk.mm.mm_types import MmStruct

__all__ = ["a_tlb_entry_equals_the_page_table_or_a_flush_is_pending"]

MANY: Final = 64  # pages of an entry that are all looked at; of larger ones the first and the last


def a_tlb_entry_equals_the_page_table_or_a_flush_is_pending(tlb: "TlbModel", mms: "Iterable[MmStruct]") -> None:
    """An entry that a CPU may use for an address space leads where that one's page table leads, grants no more, and a
    store only to a page that is marked Dirty. (Under a tag that must be flushed before it is used again, anything may
    stand.)"""
    spaces = list(mms)
    for cpu, mmu in tlb.cpus.mmus.items():
        tags = {tlb.cpus.flusher.tag(cpu, mm): mm for mm in spaces}
        tags.pop(0, None)
        for entry in mmu.entries():
            mm = tags.get(entry.asid)
            if mm is None:
                continue
            if entry.level >= 0:
                check_walk_entry(mm, cpu, entry)
            else:
                check_page_entry(mm, cpu, entry)


def check_walk_entry(mm: "MmStruct", cpu: int, entry: "Entry") -> None:
    """An entry of a walk cache points to the table that the page table points to."""
    fmt = mm.system.format
    found = walk(mm.system.ram, fmt, int(mm.pgd_pfn), entry.addr, PEEK)
    what = f"CPU {cpu}: {entry}"
    require(len(found.steps) > entry.level + 1, "a walk-cache entry's table is there", what)
    pointer = int(fmt.pfn(found.steps[entry.level].entry))
    require(pointer == entry.pfn, "a walk-cache entry leads to the table", f"{what}, the table is {pointer:#x}")


def check_page_entry(mm: "MmStruct", cpu: int, entry: "Entry") -> None:
    """Every page of an entry of a TLB is where the page table has it, and grants as much."""
    system = mm.system
    size = 1 << int(system.format.page_shift)
    count = entry.size // size
    pages = range(count) if count <= MANY else (0, count - 1)
    for number in pages:
        found = walk(system.ram, system.format, int(mm.pgd_pfn), entry.addr + number * size, PEEK)
        what = f"CPU {cpu}: {entry}, page {number}"
        require(found.status == OK, "a page that a TLB holds is mapped", what)
        require(found.pfn == entry.pfn + number, "a TLB entry leads to the frame", f"{what}, it is {found.pfn:#x}")
        require(not entry.rights & ~found.rights, "a TLB entry grants no more", f"{what}, rights {found.rights:#x}")
        pte = found.steps[-1].entry
        require(system.format.accessed.test(pte), "a page that a TLB holds is marked Accessed", what)
        written = system.format.hw_dirty_bits.test(pte) or not entry.rights & RIGHT_WRITE
        require(written, "a page that a TLB lets be written is marked Dirty", what)
