"""The kernel's own memory as its code asks for it: vmalloc, ioremap, kmap, and what an address of its half means.

Addresses are unsigned here. A page is given as ``Page`` or as the number of its frame.

Mirrors: include/linux/vmalloc.h, include/linux/highmem.h, include/linux/io.h, arch/x86/mm/fault.c (6.18)
Differs: x86 only; a caller is a name.
"""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pagewalk.errors import NotModelled, PagewalkError
from pagewalk.fs.procfs.registry import TaskRegistry
from pagewalk.fs.wait import WaitQueueHead
from pagewalk.mm.gfp import GFP_HIGHMEM, GFP_KERNEL, GFP_ZERO
from pagewalk.mm.highmem import Highmem
from pagewalk.mm.init_mm import InitMm
from pagewalk.mm.page import Page, PG_special
from pagewalk.mm.vmalloc import Vmalloc

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.system import System

_WORD: Final = (1 << 64) - 1
_PAGE: Final = 4096


class KernelMemory(TaskRegistry):
    """What a kernel does with its half of the address space; ``Kernel`` is one.

    pkmap_map_wait  tasks that sleep until a persistent kmap slot falls free
    sleep_on        how: Scheduler.sleep_on, None where there is no scheduler
    """

    def __init__(self, system: "System") -> None:
        super().__init__()
        self.system = system
        self.vmalloc_areas: Vmalloc | None = None
        self.highmem_slots: Highmem | None = None
        self.pkmap_map_wait = WaitQueueHead()
        self.sleep_on: Callable[[Task, WaitQueueHead, str], None] | None = None

    def init_mm(self) -> InitMm:
        """The kernel's page table. NotModelled where there is none."""
        found = self.system.init_mm
        if found is None:
            raise NotModelled(f"the kernel's page table on {self.system.config.arch} (on x86 it is modelled)")
        return found

    def vmalloc_space(self) -> Vmalloc:
        """The vmalloc area's bookkeeping."""
        if self.vmalloc_areas is None:
            self.vmalloc_areas = Vmalloc(self.system, self.init_mm())
        return self.vmalloc_areas

    def highmem(self) -> Highmem:
        """The kmap slots."""
        if self.highmem_slots is None:
            self.highmem_slots = Highmem(self.system, self.init_mm())
            self.highmem_slots.on_unused = self.pkmap_unused
        return self.highmem_slots

    def page_of(self, page: Page | int) -> Page:
        """The page itself. ValueError where the number is no frame's."""
        if isinstance(page, Page):
            return page
        if not any(start <= page < end for start, end in self.system.ranges()):
            raise ValueError(f"a page: expected a frame of RAM, got {page:#x}")
        return self.system.page(page)

    # Pages.

    def alloc_page(self, highmem: bool = False) -> Page:
        """alloc_page(GFP_KERNEL), or GFP_HIGHUSER's zones with ``highmem``. PagewalkError where there is none."""
        page = self.system.node.alloc_page(GFP_KERNEL | GFP_ZERO | (GFP_HIGHMEM if highmem else 0))
        if page is None:
            raise PagewalkError("alloc_page: no free page frame")
        page.flags |= PG_special
        return page

    def free_page(self, page: Page | int) -> None:
        """Gives a page of ``alloc_page`` back."""
        found = self.page_of(page)
        found.flags &= ~PG_special
        self.system.node.put_page(found)

    # vmalloc.

    def vmalloc(self, size: int, caller: str = "python") -> int:
        """Memory that is contiguous in kernel addresses: its address. PagewalkError where there is none."""
        return self._got(self.vmalloc_space().vmalloc(size, caller), f"vmalloc of {size} bytes")

    def vzalloc(self, size: int, caller: str = "python") -> int:
        """As ``vmalloc``, zeroed."""
        return self._got(self.vmalloc_space().vmalloc(size, caller, zero=True), f"vzalloc of {size} bytes")

    def module_alloc(self, size: int, caller: str = "load_module") -> int:
        """As ``vmalloc``, in the area of modules."""
        return self._got(self.vmalloc_space().vmalloc(size, caller, modules=True), f"module of {size} bytes")

    def vfree(self, addr: int) -> None:
        """Gives back what those three gave. PagewalkError for another address."""
        self._known(self.vmalloc_space().vfree(addr & _WORD), addr, "vfree", "an address that vmalloc gave")

    def vmap(self, pages: list[Page] | list[int], caller: str = "python") -> int:
        """Pages next to each other in kernel addresses."""
        found = [self.page_of(page) for page in pages]
        return self._got(self.vmalloc_space().vmap(found, caller), f"vmap of {len(found)} pages")

    def vunmap(self, addr: int) -> None:
        """Undoes ``vmap``."""
        self._known(self.vmalloc_space().vunmap(addr & _WORD), addr, "vunmap", "an address that vmap gave")

    def ioremap(self, phys_addr: int, size: int, caller: str = "python") -> int:
        """Registers of a device at a physical address that is not RAM."""
        found = self.vmalloc_space().ioremap(phys_addr, size, caller)
        return self._got(found, f"ioremap of {size} bytes at {phys_addr:#x} (RAM, or out of reach)")

    def iounmap(self, addr: int) -> None:
        """Undoes ``ioremap``."""
        self._known(self.vmalloc_space().iounmap(addr & _WORD), addr, "iounmap", "an address that ioremap gave")

    def vmallocinfo(self) -> str:
        """/proc/vmallocinfo."""
        return self.vmalloc_space().proc_text() if self.system.init_mm is not None else ""

    @staticmethod
    def _got(addr: int, what: str) -> int:
        if addr <= 0:
            raise PagewalkError(f"{what}: no room")
        return addr

    @staticmethod
    def _known(done: bool, addr: int, call: str, expected: str) -> None:
        if not done:
            raise PagewalkError(f"{call}: expected {expected}, got {addr & _WORD:#x}")

    # High memory.

    def page_address(self, page: Page | int) -> int:
        """The kernel's address of a page, 0 where it has none."""
        return self.highmem().page_address(self.page_of(page))

    def kmap(self, page: Page | int, task: "Task | None" = None) -> int:
        """An address for a page until ``kunmap``.

        Where every slot is in use, ``task``, which runs in the scheduler, sleeps until one falls free
        (TASK_UNINTERRUPTIBLE); who is no task gets BlockingIOError."""
        found = self.page_of(page)
        while True:
            addr = self.highmem().kmap(found)
            if addr != -errno.EAGAIN:
                return addr
            if task is None or self.sleep_on is None:
                raise BlockingIOError(errno.EAGAIN, f"kmap: all {self.highmem().areas.last_pkmap} slots are in use")
            self.sleep_on(task, self.pkmap_map_wait, "map_new_virtual")

    def pkmap_unused(self) -> None:
        """A persistent slot has fallen free."""
        self.pkmap_map_wait.wake_up()

    def kunmap(self, page: Page | int) -> None:
        """One user of the mapping less. PagewalkError where it has none."""
        found = self.page_of(page)
        if not self.highmem().kunmap(found):
            raise PagewalkError(f"kunmap: expected a page that is mapped, got frame {int(found.pfn):#x}")

    def kmap_local(self, page: Page | int, cpu: int = 0) -> int:
        """An address for a page on one CPU until ``kunmap_local``; the last one is given back first."""
        addr = self.highmem().kmap_local(self.page_of(page), cpu)
        if addr < 0:
            raise PagewalkError(f"kmap_local: CPU {cpu} uses all of its slots")
        return addr

    def kunmap_local(self, addr: int, cpu: int = 0) -> None:
        """Gives the CPU's last kmap_local back. PagewalkError for another address."""
        done = self.highmem().kunmap_local(addr & _WORD, cpu)
        self._known(done, addr, "kunmap_local", f"the address of CPU {cpu}'s last kmap_local")

    # Access and explanation.

    def translate(self, addr: int, mm: "MmStruct | None" = None) -> int:
        """The physical address behind a kernel address as the kernel finds it with the page table of ``mm`` (its own
        where none is given): what only init_mm has is copied on the fault. PagewalkError where nothing is there."""
        addr &= _WORD
        init_mm = self.init_mm()
        root = -1 if mm is None else int(mm.pgd_pfn)
        found = init_mm.translate(addr, root)
        if found < 0 and mm is not None and init_mm.vmalloc_fault(mm, addr):
            found = init_mm.translate(addr, root)
        if found < 0:
            raise PagewalkError(f"unable to handle kernel paging request at {addr:#x}: not-present page")
        return found

    def read(self, addr: int, length: int, mm: "MmStruct | None" = None) -> bytes:
        """Bytes of kernel memory, page by page through the page table. PagewalkError: a page is not there, or is no
        RAM."""
        out = b""
        while len(out) < length:
            at = addr + len(out)
            part = min(length - len(out), _PAGE - (at & _PAGE - 1))
            paddr = self._ram(self.translate(at, mm), at)
            out += bytes(self.system.ram.bytes[paddr : paddr + part])
        return out

    def write(self, addr: int, data: bytes, mm: "MmStruct | None" = None) -> None:
        """Stores into kernel memory. Errors as ``read``, and where a page may not be written."""
        done = 0
        while done < len(data):
            at = addr + done
            part = min(len(data) - done, _PAGE - (at & _PAGE - 1))
            paddr = self._ram(self.translate(at, mm), at)
            entry = self.init_mm().walk(at & _WORD)[-1][2]
            if not self.system.format.write.test(entry - (1 << 64) if entry >> 63 else entry):
                raise PagewalkError(f"unable to handle kernel paging request at {at & _WORD:#x}: permissions violation")
            self.system.ram.stored_to(paddr >> 12)
            self.system.ram.bytes[paddr : paddr + part] = data[done : done + part]
            done += part

    def _ram(self, paddr: int, addr: int) -> int:
        if not any(start <= paddr >> 12 < end for start, end in self.system.ranges()):
            raise PagewalkError(f"{addr & _WORD:#x}: expected memory, got a device's register at {paddr:#x}")
        return paddr

    def explain(self, addr: int) -> str:
        """What a kernel address is: its area, what lies there, each level of the walk with its bits, the frame."""
        addr &= _WORD
        init_mm = self.init_mm()
        fmt = self.system.format
        lines = [f"{addr:#x}: {self.describe(addr)}"]
        steps = init_mm.walk(addr)
        for level, (name, index, entry) in enumerate(steps):
            where = index << int(fmt.entry_shift)
            if not entry & 1:
                lines.append(f"  {name} at {where:#x}: {entry:#x} not present")
                return "\n".join(lines) + "\n"
            word = entry - (1 << 64) if entry >> 63 else entry
            bits = " ".join(fmt.decode(word, level))
            pfn = (entry & int(fmt.pfn_mask)) >> int(fmt.pfn_shift)
            memory = f" ({fmt.memory_type(word, level)})" if fmt.is_leaf(word, level) else ""
            lines.append(f"  {name} at {where:#x}: {entry:#x} pfn {pfn:#x} {bits}{memory}")
        size = fmt.levels[len(steps) - 1].size
        lines.append(f"  physical {init_mm.translate(addr):#x}, in a page of {size >> 10} KiB")
        return "\n".join(lines) + "\n"

    def describe(self, addr: int) -> str:
        """The area of a kernel address, and what is in it, in a few words."""
        areas = self.init_mm().areas
        kmaps = self.highmem()
        if areas.page_offset <= addr < areas.page_offset + (areas.max_low_pfn << 12):
            return f"direct map of physical {addr - areas.page_offset:#x}"
        area = self.vmalloc_space().find(addr)
        if area is not None:
            if addr >= area.addr + (area.nr_mapped() << 12):
                return f"guard page of {area.kind()} {area.addr:#x} by {area.caller}"
            return f"{area.kind()} {area.addr:#x}, {area.nr_mapped()} pages by {area.caller}"
        if areas.vmalloc_start <= addr < areas.vmalloc_end:
            return "vmalloc area, nothing there"
        if areas.vmemmap and areas.vmemmap <= addr < areas.vmemmap + (areas.max_low_pfn << 6):
            return f"struct page of frame {addr - areas.vmemmap >> 6:#x} (vmemmap)"
        if areas.modules_start <= addr < areas.modules_end:
            return "area of modules, nothing there"
        if areas.last_pkmap and areas.pkmap_base <= addr < areas.pkmap_base + (areas.last_pkmap << 12):
            slot = addr - areas.pkmap_base >> 12
            page = kmaps.pkmap_pages[slot]
            if page is None:
                return f"persistent kmap slot {slot}, free"
            return f"persistent kmap slot {slot}: frame {int(page.pfn):#x}, users {kmaps.pkmap_count[slot] - 1}"
        for cpu, slots in enumerate(kmaps.kmap_ctrl):
            for index, page in enumerate(slots):
                if addr & -_PAGE == kmaps.local_address(cpu, index):
                    return f"kmap_local slot {index} of CPU {cpu}: frame {int(page.pfn):#x}"
        if areas.kernel_text <= addr < areas.kernel_text + (40 << 20):
            return "the kernel's image"
        if areas.cpu_entry_area <= addr < areas.cpu_entry_area + (1 << 20):
            return "CPU entry area"
        if areas.fixaddr_start <= addr <= areas.fixaddr_top:
            return f"fixmap slot {areas.fixaddr_top - addr >> 12}"
        return "no area of the kernel's" if addr >= areas.page_offset or addr >> 63 else "no kernel address"
