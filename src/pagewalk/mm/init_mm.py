"""init_mm: the kernel's own page table, in RAM, and how each process comes to share it (x86).

Below the root table lie the direct map of RAM, with the largest pages that fit (1 GiB, 2 or 4 MiB), the kernel's image,
on 64 bits the map of struct pages and the tables of the whole vmalloc area, on 32 bits those of the fixmap and of
persistent kmaps. A process's root table gets a copy of the kernel's entries. On 64 bits they never change, for all
tables below them exist from the start. On 32 bits without PAE a new table of the vmalloc area is an entry of the root:
it is entered into init_mm, and copied to a process's root when an access there faults (vmalloc_fault).

The tables that exist at boot lie in the memory that the kernel's image keeps, as they do in Linux; later ones are
allocated. Everything is made when the first process gets its page table.

Sources: Documentation/arch/x86/x86_64/mm.rst; Intel SDM volume 3, chapter 4.

Mirrors: arch/x86/mm/init.c (init_memory_mapping), init_64.c, init_32.c, pgtable.c (pgd_ctor), fault.c (vmalloc_fault),
    kaslr.c (kernel_randomize_memory) (6.18)
Differs: x86 only; with PAE the kernel's middle tables are shared by all processes (Linux up to 6.15); no page-table
    isolation; struct pages are objects, and the frames behind their map hold nothing.
"""

from array import array
from typing import TYPE_CHECKING, Final, final

from pagewalk.arch.kernel_areas import KernelAreas, kernel_areas
from pagewalk.arch.x86_64 import ACCESSED, DIRTY, GLOBAL, PCD, PRESENT, PSE, RW
from pagewalk.mm.boot_reserve import IMAGE, free_at_boot, image_pfn
from pagewalk.mm.gfp import GFP_PGTABLE
from pagewalk.mm.memblock import PfnRange, frames_of, without
from pagewalk.mm.page import PG_special

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.system import System

_PAGE: Final = 4096
_WORD: Final = 1 << 64
_SECTION_PAGES: Final = 1 << 15  # frames whose struct pages fill 2 MiB
_HUGE_PAGES: Final = 512
_STRUCT_PAGE: Final = 64

PAGE_KERNEL: Final = PRESENT | RW | ACCESSED | DIRTY | GLOBAL  # without NX, which not every format has
PAGE_KERNEL_RO: Final = PAGE_KERNEL & ~(RW | DIRTY)
PAGE_KERNEL_IO: Final = PAGE_KERNEL | PCD  # uncached


@final
class InitMm:
    """The kernel's page table.

    areas       where things are in the kernel's half
    pgd_pfn     frame of the root table
    boot_pfns   frames of the image that are tables
    nr_tables   tables that were allocated after boot
    nr_synced   times that vmalloc_fault copied an entry
    nr_flushes  times that all CPUs were to forget kernel addresses (flush_tlb_kernel_range): no CPU that runs programs
                knows any
    """

    def __init__(self, system: "System") -> None:
        self.system = system
        config = system.config
        fmt = system.format
        self.fmt = fmt
        self.wide = config.arch == "x86_64"
        self.areas: KernelAreas = kernel_areas(config, system.ranges(), system.random if config.kaslr else None)
        self.nx: int = int(fmt.execute.mask)
        self.table_bits: int = int(fmt.user.clear(fmt.table))
        start = image_pfn(config.arch, system.ranges()[0][0])
        end = min(start + (IMAGE >> 12), int(system.ram.size) >> 12)
        self.reserve_start = start
        self.reserve_end = end  # tables are taken from the end of the image, which begins with the text
        self.boot_pfns: list[int] = []
        self.nr_tables = 0
        self.nr_synced = 0
        self.nr_flushes = 0
        self.booting = True
        self.pgd_pfn = self.new_table()
        # The kernel's entries in the root: the upper half, or those from PAGE_OFFSET on.
        self.first_index = 256 if self.wide else self.areas.page_offset >> fmt.levels[0].shift
        self.build()
        self.booting = False
        kernel_start = (self.pgd_pfn << int(fmt.table_shift)) + self.first_index
        self.nr_entries = self.root_entries() - self.first_index
        self.image = system.ram.words[kernel_start : kernel_start + self.nr_entries]

    def root_entries(self) -> int:
        """Entries of a root table."""
        return 1 << int(self.fmt.levels[0].nr_bits)

    # Building.

    def new_table(self) -> int:
        """A zeroed frame for a table: of the image while there is room, else of the allocator; -1 where there is
        none."""
        if self.booting and self.reserve_end > self.reserve_start + 1:
            self.reserve_end -= 1
            self.boot_pfns.append(self.reserve_end)
            return self.reserve_end
        page = self.system.node.alloc_page(GFP_PGTABLE)
        if page is None:
            return -1
        page.flags |= PG_special
        self.nr_tables += 1
        return int(page.pfn)

    def slot(self, addr: int, level: int, create: bool) -> int:
        """Index (``ram.words``) of the entry of ``level`` for ``addr`` (unsigned); -1 where a table above is missing,
        or a large page is in the way."""
        fmt = self.fmt
        words = self.system.ram.words
        table = self.pgd_pfn << int(fmt.table_shift)
        for at in range(level):
            step = fmt.levels[at]
            index = table + (addr >> step.shift & (1 << step.nr_bits) - 1)
            entry: int = words[index]
            if not entry & PRESENT:
                pfn = self.new_table() if create else -1
                if pfn < 0:
                    return -1
                root = at == 0 and fmt.root_table != fmt.table
                entry = pfn << int(fmt.pfn_shift) | (int(fmt.root_table) if root else self.table_bits)
                words[index] = entry
            elif entry & PSE and fmt.levels[at].can_leaf:
                return -1
            table = int(fmt.table_index(entry))
        step = fmt.levels[level]
        return table + (addr >> step.shift & (1 << step.nr_bits) - 1)

    def map_range(self, addr: int, pfn: int, nr_pages: int, bits: int) -> bool:
        """Maps frames at ``addr`` with the largest pages that are aligned on both sides; False where there is no frame
        for a table."""
        fmt = self.fmt
        words = self.system.ram.words
        code = "q" if fmt.entry_shift == 3 else "I"
        last = len(fmt.levels) - 1
        while nr_pages:
            level = last
            while level > 0 and fmt.levels[level - 1].can_leaf:
                each = 1 << (fmt.levels[level - 1].shift - 12)
                if nr_pages < each or pfn & (each - 1) or addr >> 12 & (each - 1):
                    break
                level -= 1
            each = 1 << (fmt.levels[level].shift - 12)
            index = self.slot(addr, level, create=True)
            if index < 0:
                return False
            in_table = 1 << fmt.levels[level].nr_bits
            count = min(nr_pages // each, in_table - (addr >> fmt.levels[level].shift & in_table - 1))
            if level > 0 and fmt.levels[level - 1].can_leaf:
                larger = 1 << (fmt.levels[level - 1].shift - 12)
                into = pfn & (larger - 1)
                if into and into == addr >> 12 & (larger - 1):
                    count = min(count, (larger - into) // each)  # a larger page may begin there
            entry = pfn << int(fmt.pfn_shift) | bits | (PSE if level < last else 0)
            step = each << int(fmt.pfn_shift)
            entries = [value - _WORD if value >> 63 else value for value in range(entry, entry + count * step, step)]
            words[index : index + count] = memoryview(array(code, entries))
            addr += count * each << 12
            pfn += count * each
            nr_pages -= count * each
        return True

    def build(self) -> None:
        """Everything that is there at boot."""
        system = self.system
        areas = self.areas
        kernel = PAGE_KERNEL | self.nx & _WORD - 1
        for start, end in system.ranges():
            end = min(end, areas.max_low_pfn)
            if start < end:
                self.map_range(areas.page_offset + (start << 12), start, end - start, kernel)
        if self.wide:
            base = image_pfn("x86_64", 0)
            size = min(IMAGE >> 12, (int(system.ram.size) >> 12) - base)
            if size > 0:
                self.map_range(areas.kernel_text, base, size, PAGE_KERNEL)
            self.map_vmemmap(kernel)
            for addr in range(areas.vmalloc_start, areas.vmalloc_end, 1 << self.fmt.levels[0].shift):
                self.slot(addr, 1, create=True)  # preallocate_vmalloc_pages
            for addr in (areas.modules_start, areas.cpu_entry_area, areas.fixaddr_top - _PAGE):
                self.slot(addr, 1, create=True)
        else:
            last = len(self.fmt.levels) - 1
            for addr in (areas.pkmap_base, areas.fixaddr_top - _PAGE, areas.cpu_entry_area):
                self.slot(addr, last, create=True)
            for addr in range(areas.fixaddr_start, areas.fixaddr_top, 1 << self.fmt.levels[last - 1].shift):
                self.slot(addr, last, create=True)

    def map_vmemmap(self, bits: int) -> None:
        """The struct pages of each section that has RAM, 2 MiB, on the frames that boot kept for them."""
        large, rest = self.struct_page_frames()
        section = 0
        for start, end in self.system.ranges():
            section = max(section, start // _SECTION_PAGES)
            stop = (end - 1) // _SECTION_PAGES + 1
            while section < stop:
                addr = self.areas.vmemmap + section * _SECTION_PAGES * _STRUCT_PAGE
                if large:
                    first, last = large.pop()
                    count = min(stop - section, (last - first) // _HUGE_PAGES)
                    self.map_range(addr, first, count * _HUGE_PAGES, bits)
                    if first + count * _HUGE_PAGES < last:
                        large.append((first + count * _HUGE_PAGES, last))
                    section += count
                    continue
                left = _HUGE_PAGES
                while left and rest:
                    first, last = rest.pop()
                    count = min(left, last - first)
                    self.map_range(addr, first, count, bits)
                    if first + count < last:
                        rest.append((first + count, last))
                    addr += count << 12
                    left -= count
                section += 1

    def struct_page_frames(self) -> tuple[list[PfnRange], list[PfnRange]]:
        """The frames that boot kept for struct pages: ranges of aligned 2 MiB, and the others; the last ones first."""
        config = self.system.config
        ranges = self.system.ranges()
        kept: list[PfnRange] = ranges
        for part in free_at_boot(config.arch, ranges, 1 << 62, 12):
            kept = without(kept, part)
        large: list[PfnRange] = []
        rest: list[PfnRange] = []
        wanted = frames_of(ranges) * _STRUCT_PAGE >> 12
        for start, end in reversed(kept):
            start = max(start, end - wanted)
            wanted -= end - start
            first = (start + _HUGE_PAGES - 1) // _HUGE_PAGES * _HUGE_PAGES
            last = max(end // _HUGE_PAGES * _HUGE_PAGES, first)
            if first < last:
                large.append((first, last))
            for part in ((start, min(first, end)), (last, end)):
                if part[0] < part[1]:
                    rest.append(part)
            if wanted <= 0:
                break
        return sorted(large, reverse=True), sorted(rest, reverse=True)

    # What it says.

    def pte_of(self, addr: int) -> int:
        """Index of the last-level entry for ``addr``, its tables made; -1 where there is no frame for one."""
        return self.slot(addr, len(self.fmt.levels) - 1, create=True)

    def walk(self, addr: int, pgd_pfn: int = -1) -> list[tuple[str, int, int]]:
        """(level's name, index in ``ram.words``, entry) from a root (the kernel's own where none is given) down to the
        first entry that is not present or maps a page."""
        fmt = self.fmt
        table = (self.pgd_pfn if pgd_pfn < 0 else pgd_pfn) << int(fmt.table_shift)
        found: list[tuple[str, int, int]] = []
        last = len(fmt.levels) - 1
        for at, level in enumerate(fmt.levels):
            index = table + (addr >> level.shift & (1 << level.nr_bits) - 1)
            entry: int = self.system.ram.words[index]
            found.append((level.name, index, entry & _WORD - 1))
            if not entry & PRESENT or at == last or (entry & PSE and level.can_leaf):
                break
            table = int(fmt.table_index(entry))
        return found

    def translate(self, addr: int, pgd_pfn: int = -1) -> int:
        """The physical address behind a kernel address, -1 where nothing is mapped."""
        steps = self.walk(addr, pgd_pfn)
        entry = steps[-1][2]
        level = self.fmt.levels[len(steps) - 1]
        if not entry & PRESENT:
            return -1
        size = 1 << level.shift
        frame = (entry & int(self.fmt.pfn_mask)) >> int(self.fmt.pfn_shift) << 12
        return (frame & -size) | (addr & (size - 1))

    # Processes.

    def pgd_ctor(self, pgd_pfn: int) -> None:
        """Enters the kernel's half into a new root table."""
        start = (pgd_pfn << int(self.fmt.table_shift)) + self.first_index
        self.system.ram.words[start : start + self.nr_entries] = self.image

    def vmalloc_fault(self, mm: "MmStruct", addr: int) -> bool:
        """The kernel, with the page table of ``mm``, has found nothing at ``addr``: whether init_mm has an entry for it
        that the root of ``mm`` lacks, and now has."""
        shift = self.fmt.levels[0].shift
        at = addr >> shift & self.root_entries() - 1
        words = self.system.ram.words
        own = (int(mm.pgd_pfn) << int(self.fmt.table_shift)) + at
        reference: int = words[(self.pgd_pfn << int(self.fmt.table_shift)) + at]
        if at < self.first_index or not reference & PRESENT or words[own] == reference:
            return False
        words[own] = reference
        self.nr_synced += 1
        return True


def has_kernel_map(arch: str) -> bool:
    """Whether the kernel's page table of an architecture is modelled."""
    return arch in ("x86_64", "x86_32", "x86_pae")
