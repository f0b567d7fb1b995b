"""High memory: frames that the direct map does not reach, and the ways to get an address for them for a while.

``kmap`` gives one of a few hundred slots of the persistent area, and its caller must wait while none is free. A slot
that nobody uses any more keeps its mapping until the search comes round to the first slot; then all such slots are
cleared at once, and the TLBs flushed. ``kmap_local`` (and kmap_atomic) gives a slot of the CPU's own in the fixmap, to
be given back in reverse order. Frames of low memory have their address in the direct map, always.

Sources: Documentation/mm/highmem.rst.

Mirrors: mm/highmem.c (map_new_virtual, kunmap_high, __kmap_local_pfn_prot), arch/x86/mm/highmem_32.c,
    arch/x86/include/asm/kmap_size.h (6.18)
Differs: who would sleep is told so (-EAGAIN), and ``on_unused`` says when to try again (kernel/kernel_memory.py
    sleeps); one colour.
"""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from pagewalk.mm.init_mm import PAGE_KERNEL, InitMm

if TYPE_CHECKING:
    from pagewalk.mm.page import Page
    from pagewalk.mm.system import System

KM_MAX_IDX: Final = 16  # kmap_local slots of each CPU


@final
class Highmem:
    """The slots of one machine. Addresses are unsigned.

    pkmap_count  of each persistent slot: 0 free, 1 unused but perhaps in a TLB, n + 1 used n times
    pkmap_pages  the page in each slot, None where there is none
    last_pkmap_nr  where the search was; nr_flushes: times that all unused slots were cleared
    kmap_ctrl    of each CPU: the pages in its kmap_local slots
    on_unused    called when a slot falls free while somebody may be waiting for one
    """

    def __init__(self, system: "System", init_mm: InitMm) -> None:
        self.system = system
        self.init_mm = init_mm
        self.areas = init_mm.areas
        self.pkmap_count: list[int] = [0] * self.areas.last_pkmap
        self.pkmap_pages: list[Page | None] = [None] * self.areas.last_pkmap
        self.slot_of: dict[int, int] = {}
        self.last_pkmap_nr = 0
        self.nr_flushes = 0
        self.kmap_ctrl: list[list[Page]] = [[] for _ in range(system.config.cpus)]
        self.on_unused: Callable[[], None] | None = None

    def is_highmem(self, pfn: int) -> bool:
        """Whether the direct map does not reach a frame."""
        return pfn >= self.areas.max_low_pfn

    def page_address(self, page: "Page") -> int:
        """The address of a page: in the direct map, or in its persistent slot; 0 where it has none."""
        pfn = int(page.pfn)
        if not self.is_highmem(pfn):
            return self.areas.page_offset + (pfn << 12)
        slot = self.slot_of.get(pfn, -1)
        return self.areas.pkmap_base + (slot << 12) if slot >= 0 else 0

    def set_pte(self, addr: int, pfn: int) -> None:
        """Enters a frame at ``addr``, -1 for none."""
        index = self.init_mm.pte_of(addr)
        entry = 0
        if pfn >= 0:
            entry = pfn << int(self.init_mm.fmt.pfn_shift) | PAGE_KERNEL | self.init_mm.nx & (1 << 64) - 1
        self.system.ram.words[index] = entry - (1 << 64) if entry >> 63 else entry

    # Persistent.

    def kmap(self, page: "Page") -> int:
        """An address for the page, which others may use at the same time; -EAGAIN: all slots are in use."""
        pfn = int(page.pfn)
        if not self.is_highmem(pfn):
            return self.page_address(page)
        slot = self.slot_of.get(pfn, -1)
        if slot < 0:
            slot = self.map_new_virtual(page)
            if slot < 0:
                return slot
        self.pkmap_count[slot] += 1
        return self.areas.pkmap_base + (slot << 12)

    def map_new_virtual(self, page: "Page") -> int:
        """Finds a free slot behind the last one and maps the page there; -EAGAIN where there is none."""
        nr_slots = self.areas.last_pkmap
        left = nr_slots
        while left:
            left -= 1
            self.last_pkmap_nr = (self.last_pkmap_nr + 1) % nr_slots
            slot = self.last_pkmap_nr
            if slot == 0:
                self.flush_all_zero_pkmaps()
                left = nr_slots - 1  # once round from here
            if self.pkmap_count[slot] == 0:
                self.set_pte(self.areas.pkmap_base + (slot << 12), int(page.pfn))
                self.pkmap_count[slot] = 1
                self.pkmap_pages[slot] = page
                self.slot_of[int(page.pfn)] = slot
                return slot
        return -errno.EAGAIN

    def flush_all_zero_pkmaps(self) -> None:
        """Clears the slots that nobody uses, and then the TLBs."""
        need_flush = False
        for slot in range(self.areas.last_pkmap):
            page = self.pkmap_pages[slot]
            if self.pkmap_count[slot] == 1 and page is not None:
                self.pkmap_count[slot] = 0
                self.set_pte(self.areas.pkmap_base + (slot << 12), -1)
                self.pkmap_pages[slot] = None
                del self.slot_of[int(page.pfn)]
                need_flush = True
        if need_flush:
            self.nr_flushes += 1
            self.init_mm.nr_flushes += 1

    def kunmap(self, page: "Page") -> bool:
        """One user less; False where the page is high and not mapped."""
        pfn = int(page.pfn)
        if not self.is_highmem(pfn):
            return True
        slot = self.slot_of.get(pfn, -1)
        if slot < 0 or self.pkmap_count[slot] < 2:
            return False
        self.pkmap_count[slot] -= 1
        if self.pkmap_count[slot] == 1 and self.on_unused is not None:
            self.on_unused()
        return True

    # For the CPU that asks.

    def local_address(self, cpu: int, index: int) -> int:
        """Where a CPU's kmap_local slot is in the fixmap."""
        number = self.areas.fix_kmap_begin + cpu * KM_MAX_IDX + index
        return self.areas.fixaddr_top - (number << 12)

    def kmap_local(self, page: "Page", cpu: int) -> int:
        """An address for the page on this CPU until ``kunmap_local``; -EBUSY where the CPU's slots are used up, which
        the kernel takes for a bug."""
        pfn = int(page.pfn)
        if not self.is_highmem(pfn):
            return self.page_address(page)
        slots = self.kmap_ctrl[cpu]
        if len(slots) >= KM_MAX_IDX:
            return -errno.EBUSY
        addr = self.local_address(cpu, len(slots))
        self.set_pte(addr, pfn)
        slots.append(page)
        return addr

    def kunmap_local(self, addr: int, cpu: int) -> bool:
        """Gives the slot back; False where it is not the CPU's last one."""
        if addr < self.local_address(cpu, KM_MAX_IDX - 1) & -4096:
            return True  # the direct map
        slots = self.kmap_ctrl[cpu]
        if not slots or addr & -4096 != self.local_address(cpu, len(slots) - 1):
            return False
        self.set_pte(addr & -4096, -1)
        slots.pop()
        return True
