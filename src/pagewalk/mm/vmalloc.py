"""vmalloc, vmap and ioremap: ranges of kernel addresses that pages are mapped into, each with a guard page behind it.

Addresses are unsigned. An area goes to the lowest gap that fits. What is freed is unmapped at once, but its addresses
are given out again only after a purge, which flushes the TLBs: when more than lazy_max_pages() wait, or no gap is left.

Sources: Documentation/core-api/mm-api.rst, driver-api/device-io.rst; proc(5), /proc/vmallocinfo.

Mirrors: mm/vmalloc.c, mm/ioremap.c, arch/x86/mm/ioremap.c (6.18)
Differs: no huge mappings, no per-CPU blocks of small vm_map_ram areas; one list in place of a tree.
"""

from typing import TYPE_CHECKING, Final, final

from pagewalk.mm.gfp import GFP_HIGHMEM, GFP_KERNEL, GFP_ZERO
from pagewalk.mm.init_mm import PAGE_KERNEL, PAGE_KERNEL_IO, InitMm
from pagewalk.mm.page import PG_special

if TYPE_CHECKING:
    from pagewalk.mm.page import Page
    from pagewalk.mm.system import System

VM_IOREMAP: Final = 0x1
VM_ALLOC: Final = 0x2
VM_MAP: Final = 0x4

_PAGE: Final = 4096
_IOREMAP_MAX_ORDER: Final = 30  # log2 of the largest alignment of ioremap (PUD_SHIFT on 64 bits)
_IOREMAP_MAX_ORDER_32: Final = 21
_LAZY_UNIT: Final = 32 << 20


@final
class VmStruct:
    """struct vm_struct and its vmap_area: one area.

    addr, size  unsigned address; bytes with the guard page
    flags       VM_ALLOC, VM_MAP or VM_IOREMAP
    pages       its pages, none of an ioremap; phys_addr: what that maps
    caller      who asked for it
    """

    def __init__(self, addr: int, size: int, flags: int, caller: str) -> None:
        self.addr = addr
        self.size = size
        self.flags = flags
        self.pages: list[Page] = []
        self.phys_addr = 0
        self.caller = caller

    def __repr__(self) -> str:
        return f"<VmStruct {self.addr:#x}-{self.addr + self.size:#x} {self.kind()} {self.caller}>"

    def nr_mapped(self) -> int:
        """Pages without the guard."""
        return (self.size >> 12) - 1

    def kind(self) -> str:
        """As /proc/vmallocinfo has it."""
        return {VM_IOREMAP: "ioremap", VM_ALLOC: "vmalloc", VM_MAP: "vmap"}[self.flags]


@final
class Vmalloc:
    """The areas of one machine, by address; ``lazy``: those that wait for a purge, ``nr_lazy`` pages in all."""

    def __init__(self, system: "System", init_mm: InitMm) -> None:
        self.system = system
        self.init_mm = init_mm
        self.areas: list[VmStruct] = []
        self.lazy: list[VmStruct] = []
        self.nr_lazy = 0
        self.nr_purges = 0

    # Areas.

    def find(self, addr: int) -> VmStruct | None:
        """The area that ``addr`` lies in, its guard page included."""
        for area in self.areas:
            if area.addr <= addr < area.addr + area.size:
                return area
        return None

    def get_vm_area(self, size: int, align: int, flags: int, caller: str, modules: bool = False) -> VmStruct | None:
        """Reserves the lowest gap for ``size`` bytes and a guard page; None where there is none."""
        kernel = self.init_mm.areas
        start, end = kernel.vmalloc_start, kernel.vmalloc_end
        if modules:
            start, end = kernel.modules_start, kernel.modules_end
        size = ((size + _PAGE - 1) & -_PAGE) + _PAGE
        for _ in range(2):
            addr = (start + align - 1) & -align
            taken = sorted(self.areas + self.lazy, key=area_address)
            for area in taken:
                if area.addr + area.size <= addr:
                    continue
                if area.addr >= addr + size:
                    break
                addr = (area.addr + area.size + align - 1) & -align
            if addr + size <= end:
                found = VmStruct(addr, size, flags, caller)
                self.areas.append(found)
                self.areas.sort(key=area_address)
                return found
            if not self.lazy:
                return None
            self.purge()
        return None

    def lazy_max_pages(self) -> int:
        """How many pages may wait for a purge: 32 MiB for each doubling of the CPUs."""
        return self.system.config.cpus.bit_length() * (_LAZY_UNIT >> 12)

    def purge(self) -> None:
        """The addresses of what was freed can be used again, once no TLB knows them."""
        self.lazy = []
        self.nr_lazy = 0
        self.nr_purges += 1
        self.init_mm.nr_flushes += 1

    def remove(self, area: VmStruct) -> None:
        """Unmaps an area; its addresses wait for a purge."""
        words = self.system.ram.words
        for at in range(area.nr_mapped()):
            words[self.init_mm.pte_of(area.addr + (at << 12))] = 0
        self.areas.remove(area)
        self.lazy.append(area)
        self.nr_lazy += area.size >> 12
        if self.nr_lazy > self.lazy_max_pages():
            self.purge()

    def map_pages(self, area: VmStruct, pfns: list[int], bits: int) -> bool:
        """Enters a frame for each page of the area; False where there is no frame for a table."""
        init_mm = self.init_mm
        nx = init_mm.nx & (1 << 64) - 1
        words = self.system.ram.words
        for at, pfn in enumerate(pfns):
            index = init_mm.pte_of(area.addr + (at << 12))
            if index < 0:
                return False
            entry = pfn << int(init_mm.fmt.pfn_shift) | bits | nx
            words[index] = entry - (1 << 64) if entry >> 63 else entry
        return True

    # What the kernel calls.

    def vmalloc(self, size: int, caller: str, zero: bool = False, modules: bool = False) -> int:
        """Memory of ``size`` bytes that is contiguous in addresses only: its address, 0 where there is none (also for
        no bytes, and for more than there is RAM). Its pages come from high memory where there is some."""
        if size <= 0 or size + _PAGE - 1 >> 12 > self.system.totalram_pages:
            return 0
        area = self.get_vm_area(size, _PAGE, VM_ALLOC, caller, modules)
        if area is None:
            return 0
        node = self.system.node
        for _ in range(area.nr_mapped()):
            page = node.alloc_page(GFP_KERNEL | GFP_HIGHMEM | (GFP_ZERO if zero else 0))
            if page is None:
                break
            page.flags |= PG_special
            area.pages.append(page)
        pfns = [int(page.pfn) for page in area.pages]
        self.system.vmstat.nr_vmalloc_pages += len(pfns)
        if len(pfns) < area.nr_mapped() or not self.map_pages(area, pfns, PAGE_KERNEL):
            self.vfree(area.addr)
            return 0
        return area.addr

    def vfree(self, addr: int) -> bool:
        """Gives back what ``vmalloc`` gave; nothing for 0. False where ``addr`` is none of its addresses."""
        if addr == 0:
            return True
        area = self.find(addr)
        if area is None or area.addr != addr or area.flags != VM_ALLOC:
            return False
        self.remove(area)
        for page in area.pages:
            page.flags &= ~PG_special
            self.system.node.put_page(page)
        self.system.vmstat.nr_vmalloc_pages -= len(area.pages)
        area.pages = []
        return True

    def vmap(self, pages: "list[Page]", caller: str) -> int:
        """Maps pages next to each other, which stay their owner's: the address, or 0."""
        if not pages or len(pages) > self.system.totalram_pages:
            return 0
        area = self.get_vm_area(len(pages) << 12, _PAGE, VM_MAP, caller)
        if area is None:
            return 0
        area.pages = list(pages)
        if not self.map_pages(area, [int(page.pfn) for page in pages], PAGE_KERNEL):
            self.remove(area)
            return 0
        return area.addr

    def vunmap(self, addr: int) -> bool:
        """Undoes ``vmap``. False where ``addr`` is none of its addresses."""
        area = self.find(addr)
        if area is None or area.addr != addr or area.flags != VM_MAP:
            return False
        self.remove(area)
        return True

    def ioremap(self, phys_addr: int, size: int, caller: str) -> int:
        """Maps registers of a device, uncached: the address of ``phys_addr``, 0 where that is RAM, reaches beyond the
        physical address space, or has no bytes. The area is aligned to its size."""
        end = phys_addr + size
        bits = 52 if self.init_mm.fmt.entry_shift == 3 else 32
        if size <= 0 or phys_addr < 0 or end > 1 << bits:
            return 0
        first, last = phys_addr >> 12, end - 1 >> 12
        if any(start <= last and first < stop for start, stop in self.system.ranges()):
            return 0
        most = _IOREMAP_MAX_ORDER if self.init_mm.wide else _IOREMAP_MAX_ORDER_32
        length = (last - first + 1) << 12
        align = 1 << min(max(length.bit_length() - 1, 12), most)
        area = self.get_vm_area(length, align, VM_IOREMAP, caller)
        if area is None:
            return 0
        area.phys_addr = first << 12
        if not self.map_pages(area, list(range(first, last + 1)), PAGE_KERNEL_IO):
            self.remove(area)
            return 0
        return area.addr + (phys_addr & _PAGE - 1)

    def iounmap(self, addr: int) -> bool:
        """Undoes ``ioremap``. False where ``addr`` is none of its addresses."""
        area = self.find(addr)
        if area is None or area.flags != VM_IOREMAP or addr & -_PAGE != area.addr:
            return False
        self.remove(area)
        return True

    def proc_text(self) -> str:
        """/proc/vmallocinfo: range, bytes with the guard, caller, pages or physical address, kind, pages by node."""
        lines: list[str] = []
        for area in self.areas:
            line = f"0x{area.addr:016x}-0x{area.addr + area.size:016x} {area.size:7d} {area.caller}"
            if not self.init_mm.wide:
                line = f"0x{area.addr:08x}-0x{area.addr + area.size:08x} {area.size:7d} {area.caller}"
            own = area.pages if area.flags == VM_ALLOC else []  # those of vmap are somebody else's
            if own:
                line += f" pages={len(own)}"
            if area.phys_addr:
                line += f" phys=0x{area.phys_addr:0{16 if self.init_mm.fmt.entry_shift == 3 else 8}x}"
            line += f" {area.kind()}"
            for nid in sorted({self.node_of(page) for page in own}):
                line += f" N{nid}={len([page for page in own if self.node_of(page) == nid])}"
            lines.append(line + "\n")
        for area in self.lazy:
            width = 16 if self.init_mm.wide else 8
            lines.append(
                f"0x{area.addr:0{width}x}-0x{area.addr + area.size:0{width}x} {area.size:7d} unpurged vm_area\n"
            )
        return "".join(lines)

    def node_of(self, page: "Page") -> int:
        """The NUMA node of a page."""
        for region in self.system.regions:
            if region.start <= page.pfn < region.end:
                return region.nid
        return 0


def area_address(area: VmStruct) -> int:
    """For sorting."""
    return area.addr
