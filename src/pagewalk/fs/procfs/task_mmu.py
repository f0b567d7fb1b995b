"""What /proc/PID says of an address space: maps, smaps, smaps_rollup, pagemap, statm, and the Vm lines of status.

Everything is read off the VMAs and the page tables at the time of asking.

Sources: Documentation/filesystems/proc.rst, Documentation/admin-guide/mm/pagemap.rst.

Mirrors: fs/proc/task_mmu.c (6.18)
Differs: no huge pages and KSM yet, so their lines are 0; no PAGEMAP_SCAN and PROCMAP_QUERY.
"""

import struct
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.memory import vm_normal_page
from pagewalk.mm.mm_types import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS, MmStruct
from pagewalk.mm.page import Page, PG_anon, PG_dirty, PG_referenced, PG_swapbacked
from pagewalk.mm.pgtable import next_table, pte_lookup
from pagewalk.mm.pkeys import vma_pkey
from pagewalk.mm.swapfile import pte_to_swp_entry
from pagewalk.mm.vma import VM_EXEC, VM_FLAG_LETTERS, VM_HUGEPAGE, VM_LOCKED, VM_MAYSHARE, VM_READ, VM_WRITE, Vma

if TYPE_CHECKING:
    from pagewalk.mm.system import System

_PSS_SHIFT: Final = 12  # of the shares in a page that several processes map
_NAME_COLUMN: Final = 72

PM_PRESENT: Final = 1 << 63
PM_FILE: Final = 1 << 61
PM_MMAP_EXCLUSIVE: Final = 1 << 56
PM_SWAP: Final = 1 << 62
PM_GUARD_REGION: Final = 1 << 58
# A marker entry: swap type 31, and in the offset what it marks.
GUARD_MARKER: Final = 31 | 4 << 5

GATE_VMA: Final = "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"


def vma_name(vma: Vma) -> str:
    """What maps calls the mapping: the file's path, a bracketed name, or ""."""
    if vma.vm_file is not None:
        return vma.vm_file.path.replace("\n", "\\012")
    if vma.vm_ops is not None:
        name = vma.vm_ops.name(vma)
        if name:
            return name
    mm = vma.vm_mm
    if vma.vm_start < mm.brk and vma.vm_end > mm.start_brk:
        return "[heap]"
    if vma.vm_start <= mm.start_stack and vma.vm_end >= mm.start_stack:
        return "[stack]"
    return ""


def map_line(vma: Vma) -> str:
    """One line of maps (show_map_vma)."""
    flags = vma.vm_flags
    rights = (
        ("r" if flags & VM_READ else "-")
        + ("w" if flags & VM_WRITE else "-")
        + ("x" if flags & VM_EXEC else "-")
        + ("s" if flags & VM_MAYSHARE else "p")
    )
    offset = 0
    major = minor = ino = 0
    file = vma.vm_file
    if file is not None:
        offset = int(vma.vm_pgoff) << vma.vm_mm.system.page_shift
        major, minor = file.st_dev
        ino = file.st_ino
    line = f"{vma.vm_start:08x}-{vma.vm_end:08x} {rights} {offset:08x} {major:02x}:{minor:02x} {ino} "
    name = vma_name(vma)
    return f"{line:<{_NAME_COLUMN}} {name}\n" if name else line + "\n"


def maps_text(mm: MmStruct) -> str:
    """/proc/PID/maps."""
    return "".join([map_line(vma) for vma in mm.vmas]) + (GATE_VMA if has_gate_vma(mm) else "")


def has_gate_vma(mm: MmStruct) -> bool:
    """Whether the program can see a [vsyscall] page: a 64-bit one."""
    return mm.system.config.arch == "x86_64" and mm.layout.bits == 64


class MemSizeStats:
    """struct mem_size_stats: bytes by kind; pss values are bytes << 12."""

    def __init__(self) -> None:
        self.resident: i64 = 0
        self.shared_clean: i64 = 0
        self.shared_dirty: i64 = 0
        self.private_clean: i64 = 0
        self.private_dirty: i64 = 0
        self.referenced: i64 = 0
        self.anonymous: i64 = 0
        self.lazyfree: i64 = 0
        self.pss: i64 = 0
        self.pss_anon: i64 = 0
        self.pss_file: i64 = 0
        self.pss_shmem: i64 = 0
        self.pss_locked: i64 = 0
        self.pss_dirty: i64 = 0
        self.swap: i64 = 0
        self.swap_pss: i64 = 0

    def gather(self, vma: Vma) -> None:
        """Adds what the page table maps in ``vma`` (smap_gather_stats)."""
        mm = vma.vm_mm
        system = mm.system
        words = system.ram.words
        fmt = system.format
        locked = vma.vm_flags & VM_LOCKED != 0
        page_size: i64 = fmt.page_size
        self.swap += shmem_swap_usage(vma)
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
                    if page is not None:
                        self.account(page, page_size, fmt.accessed.test(pte), fmt.dirty.test(pte), locked)
                elif pte != 0 and pte != fmt.guard:
                    self.account_swap(system.swap.swap_count(pte_to_swp_entry(fmt, pte)), page_size)
                index += 1
                addr += page_size

    def account_swap(self, users: i64, page_size: i64) -> None:
        """Adds one page in swap that ``users`` page-table entries refer to."""
        self.swap += page_size
        pss: i64 = page_size << _PSS_SHIFT
        self.swap_pss += pss if users < 2 else pss // users

    def account(self, page: Page, page_size: i64, young: bool, dirty: bool, locked: bool) -> None:
        """Adds one mapped page (smaps_account)."""
        anon = page.flags & PG_anon != 0
        page_dirty = dirty or page_is_dirty(page)
        if anon:
            self.anonymous += page_size
            if page.flags & PG_swapbacked == 0 and not page_dirty:
                self.lazyfree += page_size
        self.resident += page_size
        if young or page.flags & PG_referenced:
            self.referenced += page_size
        pss: i64 = page_size << _PSS_SHIFT
        private = page.mapcount < 2
        if not private:
            pss = pss // page.mapcount
        self.pss += pss
        if anon:
            self.pss_anon += pss
        elif page.flags & PG_swapbacked:
            self.pss_shmem += pss
        else:
            self.pss_file += pss
        if locked:
            self.pss_locked += pss
        if page_dirty:
            self.pss_dirty += pss
            if private:
                self.private_dirty += page_size
            else:
                self.shared_dirty += page_size
        elif private:
            self.private_clean += page_size
        else:
            self.shared_clean += page_size

    def lines(self, rollup: bool, linux_6_1: bool) -> str:
        """From Rss to Locked (__show_smap)."""
        text = _kb("Rss:", self.resident) + _kb("Pss:", self.pss >> _PSS_SHIFT)
        text += _kb("Pss_Dirty:", self.pss_dirty >> _PSS_SHIFT)
        if rollup:
            text += _kb("Pss_Anon:", self.pss_anon >> _PSS_SHIFT)
            text += _kb("Pss_File:", self.pss_file >> _PSS_SHIFT)
            text += _kb("Pss_Shmem:", self.pss_shmem >> _PSS_SHIFT)
        for label, value in (
            ("Shared_Clean:", self.shared_clean),
            ("Shared_Dirty:", self.shared_dirty),
            ("Private_Clean:", self.private_clean),
            ("Private_Dirty:", self.private_dirty),
            ("Referenced:", self.referenced),
            ("Anonymous:", self.anonymous),
            ("KSM:", 0),
            ("LazyFree:", self.lazyfree),
            ("AnonHugePages:", 0),
            ("ShmemPmdMapped:", 0),
            ("FilePmdMapped:", 0),
            ("Shared_Hugetlb:", 0),
            ("Private_Hugetlb:", 0),
            ("Swap:", self.swap),
            ("SwapPss:", self.swap_pss >> _PSS_SHIFT),
            ("Locked:", self.pss_locked >> _PSS_SHIFT),
        ):
            if label != "KSM:" or not linux_6_1:
                text += _kb(label, value)
        return text


def shmem_swap_usage(vma: Vma) -> i64:
    """Bytes of the shared memory that the mapping shows which are in swap; pages that it has private copies of
    included."""
    mapping = None if vma.vm_file is None else vma.vm_file.mapping
    if mapping is None or not mapping.swapped:
        return 0
    first, last = int(vma.vm_pgoff), int(vma.vm_pgoff + vma.nr_pages())
    size = int(vma.vm_mm.system.page_size)
    return sum([size for index in mapping.swapped if first <= index < last])


def page_is_dirty(page: Page) -> bool:
    """PageDirty: it differs from its file, or holds what nothing else does."""
    if page.flags & PG_dirty:
        return True
    mapping = page.mapping
    return isinstance(mapping, AddressSpace) and int(page.index) in mapping.dirty


def _kb(label: str, size: i64) -> str:
    return f"{label:<15} {size >> 10:8} kB\n" if len(label) < 16 else f"{label} {size >> 10:7} kB\n"


def vm_flag_letters(vma: Vma) -> str:
    """The letters of smaps' VmFlags, each followed by a space."""
    return "".join([letters + " " for bit, letters in VM_FLAG_LETTERS if vma.vm_flags & bit])


def thp_eligible(vma: Vma) -> bool:
    """thp_vma_allowable_orders: whether a huge page could be put into the mapping, as far as its flags and its place
    go. With huge pages on ``madvise``: anonymous memory for which they were asked for."""
    if vma.vm_ops is not None or not vma.vm_flags & VM_HUGEPAGE:
        return False
    size: i64 = vma.vm_mm.system.format.pmd_size
    first: i64 = (vma.vm_start + size - 1) & -size
    return first + size <= vma.vm_end


def _smap_head(size: i64, page_size: i64) -> str:
    return _kb("Size:", size) + _kb("KernelPageSize:", page_size) + _kb("MMUPageSize:", page_size)


def smaps_text(mm: MmStruct) -> str:
    """/proc/PID/smaps."""
    parts: list[str] = []
    width = 1 if mm.system.linux_6_1 else 8
    for vma in mm.vmas:
        stats = MemSizeStats()
        stats.gather(vma)
        parts.append(map_line(vma))
        parts.append(_smap_head(vma.vm_end - vma.vm_start, mm.system.page_size))
        parts.append(stats.lines(False, mm.system.linux_6_1))
        parts.append(f"THPeligible:    {int(thp_eligible(vma)):{width}}\n")
        if mm.system.pku:
            parts.append(f"ProtectionKey:  {vma_pkey(vma):8}\n")
        parts.append(f"VmFlags: {vm_flag_letters(vma)}\n")
    if not has_gate_vma(mm):
        return "".join(parts)
    parts.append(GATE_VMA)
    parts.append(_smap_head(mm.system.page_size, mm.system.page_size))
    parts.append(MemSizeStats().lines(False, mm.system.linux_6_1))
    key = f"ProtectionKey:  {0:8}\n" if mm.system.pku else ""
    parts.append(f"THPeligible:    {0:{width}}\n{key}VmFlags: ex \n")
    return "".join(parts)


def smaps_rollup_text(mm: MmStruct) -> str:
    """/proc/PID/smaps_rollup: all mappings as one."""
    stats = MemSizeStats()
    start: i64 = 0
    end: i64 = 0
    for vma in mm.vmas:
        stats.gather(vma)
        end = vma.vm_end
    if mm.vmas:
        start = mm.vmas[0].vm_start
    line = f"{start:08x}-{end:08x} ---p 00000000 00:00 0 "
    return f"{line:<{_NAME_COLUMN}} [rollup]\n" + stats.lines(True, mm.system.linux_6_1)


def pagemap_words(mm: MmStruct, first: i64, count: i64, show_pfn: bool) -> bytes:
    """/proc/PID/pagemap: one 64-bit word for each of ``count`` pages from page number ``first`` on.

    ``show_pfn``: frame numbers are told (only to a capable reader).
    """
    system = mm.system
    words = system.ram.words
    last: i64 = min(first + count, mm.task_size >> system.page_shift)
    out = bytearray()
    vpn = first
    while vpn < last:
        addr: i64 = vpn << system.page_shift
        index = pte_lookup(mm, addr)
        if index < 0:
            until: i64 = min(last, next_table(addr, index) >> system.page_shift)
            out += bytes(8 * (until - vpn))
            vpn = until
            continue
        out += struct.pack("<Q", _pagemap_entry(system, words[index], show_pfn))
        vpn += 1
    return bytes(out)


def _pagemap_entry(system: "System", pte: i64, show_pfn: bool) -> int:
    fmt = system.format
    if pte == fmt.guard:
        return PM_SWAP | PM_GUARD_REGION | (GUARD_MARKER if show_pfn else 0)
    if fmt.is_swap_pte(pte):
        return PM_SWAP | (int(fmt.pte_swp_type(pte)) | int(fmt.pte_swp_offset(pte)) << 5 if show_pfn else 0)
    if pte == 0:
        return 0
    entry = PM_PRESENT
    if show_pfn:
        entry |= int(fmt.pfn(pte))
    page = vm_normal_page(system, pte)
    if page is not None:
        if page.flags & PG_anon == 0:
            entry |= PM_FILE
        if page.mapcount == 1:
            entry |= PM_MMAP_EXCLUSIVE
    return entry


def statm_text(mm: MmStruct) -> str:
    """/proc/PID/statm, in pages: size, resident, shared, text, 0, data and stack, 0."""
    shared = mm.get_mm_counter(MM_FILEPAGES) + mm.get_mm_counter(MM_SHMEMPAGES)
    text = (mm.system.page_align(mm.end_code) - (mm.start_code & mm.system.page_mask)) >> mm.system.page_shift
    return f"{mm.total_vm} {mm.get_mm_rss()} {shared} {text} 0 {mm.data_vm + mm.stack_vm} 0\n"


def task_mem(mm: MmStruct) -> str:
    """The Vm lines of /proc/PID/status."""
    shift = int(mm.system.page_shift)
    rss = mm.get_mm_rss()
    hiwater_rss = max(int(mm.hiwater_rss), rss)
    hiwater_vm = max(int(mm.hiwater_vm), int(mm.total_vm))
    text = min(int(mm.system.page_align(mm.end_code) - (mm.start_code & mm.system.page_mask)), int(mm.exec_vm) << shift)
    lib = (int(mm.exec_vm) << shift) - text
    out = ""
    for label, size in (
        ("VmPeak", hiwater_vm << shift),
        ("VmSize", int(mm.total_vm) << shift),
        ("VmLck", int(mm.locked_vm) << shift),
        ("VmPin", int(mm.pinned_vm) << shift),
        ("VmHWM", hiwater_rss << shift),
        ("VmRSS", rss << shift),
        ("RssAnon", mm.get_mm_counter(MM_ANONPAGES) << shift),
        ("RssFile", mm.get_mm_counter(MM_FILEPAGES) << shift),
        ("RssShmem", mm.get_mm_counter(MM_SHMEMPAGES) << shift),
        ("VmData", int(mm.data_vm) << shift),
        ("VmStk", int(mm.stack_vm) << shift),
        ("VmExe", text),
        ("VmLib", lib),
        ("VmPTE", mm.pgtables_bytes()),
        ("VmSwap", mm.get_mm_counter(MM_SWAPENTS) << shift),
        ("HugetlbPages", 0),
    ):
        out += f"{label}:\t{size >> 10:8} kB\n"
    return out
