"""/proc/PID/numa_maps: pages of each mapping, by what they are and on which node.

Sources: numa(7); Documentation/filesystems/proc.rst.

Mirrors: fs/proc/task_mmu.c (show_numa_map, gather_stats) (6.18)
Differs: none known.
"""

from mypy_extensions import i64

from pagewalk.fs.procfs.task_mmu import page_is_dirty
from pagewalk.mm.memory import vm_normal_page
from pagewalk.mm.mempolicy import MemPolicy
from pagewalk.mm.migrate import page_to_nid
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.page import Page, PG_active, PG_anon, PG_reserved, PG_swapcache, PG_writeback
from pagewalk.mm.pgtable import next_table, pte_lookup
from pagewalk.mm.vma import Vma


class NumaMaps:
    """struct numa_maps: pages of one mapping. ``mapcount_max``: by how many entries the most shared one is mapped."""

    def __init__(self) -> None:
        self.pages: i64 = 0
        self.anon: i64 = 0
        self.active: i64 = 0
        self.writeback: i64 = 0
        self.dirty: i64 = 0
        self.swapcache: i64 = 0
        self.mapcount_max: i64 = 0
        self.nodes: dict[int, int] = {}

    def gather(self, vma: Vma) -> None:
        """Adds the pages that the page table maps in ``vma``."""
        mm = vma.vm_mm
        system = mm.system
        words = system.ram.words
        fmt = system.format
        addr = vma.vm_start
        while addr < vma.vm_end:
            index = pte_lookup(mm, addr)
            if index < 0:
                addr = next_table(addr, index)
                continue
            stop: i64 = min(vma.vm_end, (addr & -fmt.pmd_size) + fmt.pmd_size)
            while addr < stop:
                pte: i64 = words[index]
                if pte != 0 and (fmt.present.test(pte) or fmt.protnone.test(pte)):
                    page = vm_normal_page(system, pte)
                    if page is not None and not page.flags & PG_reserved:
                        self.account(page, fmt.dirty.test(pte))
                        nid = page_to_nid(system, page)
                        self.nodes[nid] = self.nodes.get(nid, 0) + 1
                index += 1
                addr += system.page_size

    def account(self, page: Page, pte_dirty: bool) -> None:
        """Adds one page."""
        self.pages += 1
        if pte_dirty or page_is_dirty(page):
            self.dirty += 1
        if page.flags & PG_swapcache:
            self.swapcache += 1
        if page.flags & PG_active:
            self.active += 1
        if page.flags & PG_writeback:
            self.writeback += 1
        if page.flags & PG_anon:
            self.anon += 1
        if page.mapcount > self.mapcount_max:
            self.mapcount_max = page.mapcount


def numa_map_line(vma: Vma, task_policy: MemPolicy | None) -> str:
    """One line."""
    mm = vma.vm_mm
    policy = task_policy if vma.vm_policy is None else vma.vm_policy
    line = f"{vma.vm_start:08x} {'default' if policy is None else policy.text()}"
    if vma.vm_file is not None:
        path = vma.vm_file.path
        for char in "\n\t= ":
            path = path.replace(char, f"\\{ord(char):03o}")
        line += f" file={path}"
    elif vma.vm_start < mm.brk and vma.vm_end > mm.start_brk:
        line += " heap"
    elif vma.vm_start <= mm.start_stack and vma.vm_end >= mm.start_stack:
        line += " stack"
    counts = NumaMaps()
    counts.gather(vma)
    if counts.pages == 0:
        return line + "\n"
    if counts.anon:
        line += f" anon={counts.anon}"
    if counts.dirty:
        line += f" dirty={counts.dirty}"
    if counts.pages != counts.anon and counts.pages != counts.dirty:
        line += f" mapped={counts.pages}"
    if counts.mapcount_max > 1:
        line += f" mapmax={counts.mapcount_max}"
    if counts.swapcache:
        line += f" swapcache={counts.swapcache}"
    if counts.active < counts.pages:
        line += f" active={counts.active}"
    if counts.writeback:
        line += f" writeback={counts.writeback}"
    where = "".join([f" N{nid}={counts.nodes[nid]}" for nid in sorted(counts.nodes)])
    return f"{line}{where} kernelpagesize_kB={int(mm.system.page_size) >> 10}\n"


def numa_maps_text(mm: MmStruct, policy: MemPolicy | None = None) -> str:
    """/proc/PID/numa_maps."""
    return "".join([numa_map_line(vma, policy) for vma in mm.vmas])
