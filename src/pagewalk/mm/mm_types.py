"""struct mm_struct: one address space, its VMAs and its counts.

Mirrors: include/linux/mm_types.h, kernel/fork.c (mm_init, mmput) (6.18)
Differs: VMAs in sorted lists rather than a maple tree; counts are exact (no per-CPU batches).
"""

from bisect import bisect_right
from typing import Final, final

from mypy_extensions import i64

from pagewalk.arch.format import Layout
from pagewalk.mm.file import File
from pagewalk.mm.pgtable import NO_TAG, PTE_TABLES, PteTable, pgd_alloc
from pagewalk.mm.system import System
from pagewalk.mm.vma import VM_GROWSDOWN, Vma

MM_FILEPAGES: Final = 0
MM_ANONPAGES: Final = 1
MM_SWAPENTS: Final = 2
MM_SHMEMPAGES: Final = 3

# Private and shared anonymous memory, the headers of ELF files, private huge pages.
MMF_DUMP_FILTER_DEFAULT: Final = 0x33


@final
class FaultStats:
    """Faults served, by what they turned out to be; for the report.

    zero_page     first read of anonymous memory: the shared zero page
    anonymous     first write to anonymous memory: a new page
    cow           write to a page that others use too: copied
    reuse         write to a read-only page that nobody else uses: made writable
    file_read     page of a file (or shared memory) mapped for reading
    file_cow      first write to a private file page: copied from the page cache
    shared_write  write to a shared file page or shared memory
    fault_around  neighbours mapped by file_read faults (not faults themselves)
    stack_growth  faults that made a stack grow (also counted as what they then were)
    spurious      the page table already granted the access
    swap_in       pages that came back from swap, or were found in the swap cache
    major         of all these, faults that had to read from a file or from swap
    """

    def __init__(self) -> None:
        self.zero_page: i64 = 0
        self.anonymous: i64 = 0
        self.cow: i64 = 0
        self.reuse: i64 = 0
        self.file_read: i64 = 0
        self.file_cow: i64 = 0
        self.shared_write: i64 = 0
        self.fault_around: i64 = 0
        self.stack_growth: i64 = 0
        self.spurious: i64 = 0
        self.swap_in: i64 = 0
        self.major: i64 = 0

    def as_dict(self) -> dict[str, int]:
        """Counts by name, in the order above."""
        return {
            "zero_page": self.zero_page,
            "anonymous": self.anonymous,
            "cow": self.cow,
            "reuse": self.reuse,
            "file_read": self.file_read,
            "file_cow": self.file_cow,
            "shared_write": self.shared_write,
            "fault_around": self.fault_around,
            "stack_growth": self.stack_growth,
            "spurious": self.spurious,
            "swap_in": self.swap_in,
            "major": self.major,
        }


@final
class MmStruct:
    """An address space.

    vmas, starts      its VMAs by address, disjoint; ``starts`` caches their vm_start for the search
    pgd_pfn           frame of the root table, -1 once freed
    pte_cache_tag, pte_cache_base  the last-level table that was looked up last (mm/pgtable.py, PteTable)
    pte_tables        last-level tables that were looked up before; those of ``table_gen`` are still there
    nr_tables         page-table frames by level, 0 = root (VmPTE counts pud, pmd and pte tables)
    tlb_gen           grows when translations lose rights: a CPU that has seen a smaller one flushes its TLB
    tlb_flush_batched  reclaim has taken pages out of its tables and flushes the TLBs when it has been through its list
    context_gen       as ``tlb_gen``, and grows when one page's translation changes without losing rights, or tables go
                      (mm->context.tlb_gen)
    memcg             id of the memory cgroup that its objects are charged to, 0 for the root
    on_mmlist         it may have swap entries: ``System.mmlist`` knows it
    rss_stat          resident pages by kind, indexed by MM_*; rss_unsynced: what threads have not told of them (6.1)
    total_vm, data_vm, exec_vm, stack_vm, locked_vm  mapped pages by kind
    hiwater_rss, hiwater_vm  peaks in pages (VmHWM, VmPeak); ``update_hiwater`` brings them up to date
    def_flags         flags of new mappings (mlockall)
    layout, task_size  where things go in it, and its end: the machine's, but for a 32-bit program of a 64-bit machine
    mmap_base, mmap_legacy_base, topdown  where the search for free space starts, and whether it goes down
    coredump_filter   which mappings a core dump would hold, as /proc/PID/coredump_filter has it
    pkey_map          protection keys that are given out, a bit each; execute_only_pkey: the one of execute-only memory,
                      -1 for none yet; both 0 where the CPU has no keys (mm/pkeys.py)
    randomized        its layout was randomised (PF_RANDOMIZE)
    oom_victim        the OOM killer has chosen its process; oom_skip: its memory is reaped (MMF_OOM_SKIP)
    """

    def __init__(self, system: System) -> None:
        self.system = system
        system.nr_mms += 1
        self.ident = system.nr_mms
        self.mm_users = 1
        self.memcg: i64 = 0
        self.vmas: list[Vma] = []
        self.starts: list[int] = []
        self.cached_vma: Vma | None = None
        self.pgd_pfn: i64 = -1
        levels = system.format.levels
        self.upper_shifts: list[int] = [level.shift for level in levels[:-1]]
        self.nr_tables: list[int] = [1] + [0] * (len(levels) - 1)
        self.pte_cache_tag: i64 = -1
        self.pte_cache_base: i64 = -1
        self.pte_tables: list[PteTable | None] = [None] * PTE_TABLES
        self.table_gen: i64 = 0
        self.pmd_cache_tag: i64 = NO_TAG
        self.pmd_cache_base: i64 = -1
        self.tlb_flush_batched = False
        self.on_mmlist = False
        self.tlb_gen: i64 = 0
        self.context_gen: i64 = 0
        self.rss_stat: list[int] = [0, 0, 0, 0]
        self.rss_unsynced: list[int] = [0, 0, 0, 0]
        self.total_vm: i64 = 0
        self.data_vm: i64 = 0
        self.exec_vm: i64 = 0
        self.stack_vm: i64 = 0
        self.locked_vm: i64 = 0
        self.pinned_vm: i64 = 0
        self.hiwater_rss: i64 = 0
        self.hiwater_vm: i64 = 0
        self.def_flags: i64 = 0
        self.layout: Layout = system.layout
        self.task_size: i64 = system.layout.task_size
        self.mmap_base: i64 = 0
        self.mmap_legacy_base: i64 = 0
        self.topdown = True
        self.randomized = False
        self.start_code: i64 = 0
        self.end_code: i64 = 0
        self.start_data: i64 = 0
        self.end_data: i64 = 0
        self.start_brk: i64 = 0
        self.brk: i64 = 0
        self.start_stack: i64 = 0
        self.arg_start: i64 = 0
        self.arg_end: i64 = 0
        self.env_start: i64 = 0
        self.env_end: i64 = 0
        self.saved_auxv: bytes = b""
        self.coredump_filter = MMF_DUMP_FILTER_DEFAULT
        self.oom_victim = False
        self.pkey_map = 1 if system.pku else 0
        self.execute_only_pkey = -1 if system.pku else 0
        self.oom_skip = False
        self.exe_file: File | None = None
        self.faults = FaultStats()
        self.mapping_faults: dict[str, int] = {}

    def find_vma(self, addr: i64) -> Vma | None:
        """The first VMA that ends above ``addr`` (it may start above it too), or None."""
        cached = self.cached_vma
        if cached is not None and cached.vm_start <= addr and addr < cached.vm_end:
            return cached
        at = bisect_right(self.starts, addr)
        if at > 0:
            before = self.vmas[at - 1]
            if addr < before.vm_end:
                self.cached_vma = before
                return before
        return self.vmas[at] if at < len(self.vmas) else None

    def vma_lookup(self, addr: i64) -> Vma | None:
        """The VMA that contains ``addr``, or None."""
        vma = self.find_vma(addr)
        return vma if vma is not None and vma.vm_start <= addr else None

    def find_vma_prev(self, addr: i64) -> Vma | None:
        """The last VMA that starts below ``addr``, or None."""
        at = bisect_right(self.starts, addr - 1)
        return self.vmas[at - 1] if at > 0 else None

    def find_vma_intersection(self, start: i64, end: i64) -> Vma | None:
        """The first VMA that overlaps [start, end), or None."""
        vma = self.find_vma(start)
        return vma if vma is not None and vma.vm_start < end else None

    def vmas_in(self, start: i64, end: i64) -> list[Vma]:
        """The VMAs that overlap [start, end), by address."""
        at = self.index_of_first(start)
        found = []
        while at < len(self.vmas) and self.vmas[at].vm_start < end:
            found.append(self.vmas[at])
            at += 1
        return found

    def index_of_first(self, addr: i64) -> int:
        """Index of the first VMA that ends above ``addr``; len(vmas) where there is none."""
        at = bisect_right(self.starts, addr)
        return at - 1 if at > 0 and addr < self.vmas[at - 1].vm_end else at

    def insert(self, vma: Vma) -> None:
        """Links a VMA in; its range is free."""
        at = bisect_right(self.starts, vma.vm_start)
        self.vmas.insert(at, vma)
        self.starts.insert(at, vma.vm_start)
        memcg = self.system.memcg
        vma.memcg = memcg.kmem_group() if memcg.enabled else 0
        self.system.slab.vm_area_struct.alloc(vma.memcg)

    def remove(self, vma: Vma) -> None:
        """Unlinks a VMA."""
        at = bisect_right(self.starts, vma.vm_start) - 1
        assert self.vmas[at] is vma
        del self.vmas[at]
        del self.starts[at]
        if self.cached_vma is vma:
            self.cached_vma = None
        self.system.slab.vm_area_struct.free(vma.memcg)

    def set_range(self, vma: Vma, start: i64, end: i64, pgoff: i64) -> None:
        """Moves the bounds of a linked VMA; its place in the order does not change."""
        if start != vma.vm_start:
            self.starts[bisect_right(self.starts, vma.vm_start) - 1] = start
        vma.vm_start = start
        vma.vm_end = end
        vma.vm_pgoff = pgoff
        self.cached_vma = None

    def map_count(self) -> int:
        """mm->map_count."""
        return len(self.vmas)

    def get_mm_rss(self) -> int:
        """Resident pages, as far as they are told: file, anonymous and shared memory."""
        return (
            self.get_mm_counter(MM_FILEPAGES) + self.get_mm_counter(MM_ANONPAGES) + self.get_mm_counter(MM_SHMEMPAGES)
        )

    def get_mm_counter(self, member: int) -> int:
        """Pages of one kind, MM_*, as far as they are told."""
        return max(self.rss_stat[member] - self.rss_unsynced[member], 0)

    def update_hiwater(self) -> None:
        """Called before resident or mapped pages shrink, and before the peaks are read."""
        rss = self.get_mm_rss()
        if rss > self.hiwater_rss:
            self.hiwater_rss = rss
        if self.total_vm > self.hiwater_vm:
            self.hiwater_vm = self.total_vm

    def forget_pte_tables(self) -> None:
        """Last-level tables have gone, or moved."""
        self.pte_cache_tag = -1
        self.table_gen += 1

    def pgtables_bytes(self) -> int:
        """mm_pgtables_bytes: the pud, pmd and pte tables."""
        return sum(self.nr_tables[max(1, len(self.nr_tables) - 3) :]) * int(self.system.page_size)

    def flush_tlb_range(self, start: i64, end: i64) -> None:
        """Translations of [start, end) have lost rights."""
        self.tlb_gen += 1
        self.note_flush(start, end)

    def note_flush(self, start: i64, end: i64) -> None:
        """What TLBs and walk caches know of [start, end) is no longer so. The emulated CPU, which asks the page table
        on each fault, needs no flush for this alone."""
        self.context_gen += 1
        flusher = self.system.tlb_flusher
        if flusher is not None:
            flusher.flush_tlb_mm_range(self, start, end)
        on_flush = self.system.on_flush
        if on_flush is not None:
            on_flush(self, int(start), int(end))


def vm_start_gap(vma: Vma) -> i64:
    """Where a VMA begins, the guard gap below a stack included."""
    if not vma.vm_flags & VM_GROWSDOWN:
        return vma.vm_start
    gap: i64 = vma.vm_mm.system.config.stack_guard_gap << vma.vm_mm.system.page_shift
    return vma.vm_start - gap if vma.vm_start > gap else 0


def mm_alloc(system: System) -> MmStruct | None:
    """A new, empty address space; None where there is no frame for its root table."""
    mm = MmStruct(system)
    if not pgd_alloc(mm):
        return None
    mm.memcg = system.memcg.kmem_group() if system.memcg.enabled else 0
    system.slab.mm_struct.alloc(mm.memcg)
    return mm
