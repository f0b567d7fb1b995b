"""Flushes brought to the TLBs of a machine that models them: which CPUs they concern, and how much each invalidates.

A flush of few pages invalidates them one by one, one of many (33 on x86, 512 on arm64) the whole address space. On x86
and RISC-V other CPUs that run the address space are interrupted: a shootdown; one that only has old entries of it
notices when it loads it again, and one in lazy TLB mode too. On arm64 the invalidation itself reaches every CPU.

Mirrors: include/asm-generic/tlb.h, arch/x86/mm/tlb.c (flush_tlb_mm_range), arch/arm64/include/asm/tlbflush.h (6.18)
Differs: clearing entries and freeing page tables are told of one after the other, not gathered into one flush.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from pagewalk.mm.asid import AsidAllocator
from pagewalk.mm.tlb import NOT_LOADED, TlbState

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.system import System

X86_CEILING: Final = 33  # tlb_single_page_flush_ceiling, pages
ARM64_CEILING: Final = 512  # MAX_DVM_OPS
UNTAGGED: Final = 1  # what entries are marked with where there are no ASIDs


@final
class FlushedCpu:
    """A CPU's TLBs as the kernel sees them.

    page              a function of what comes with it, of an address and of a tag: entries of one base page
    invalidate_pages  (first address, last address, tag, instructions): entries of a range
    invalidate_asid   (tag): all entries of an address space
    """

    def __init__(
        self,
        cpu: int,
        state: TlbState,
        page: tuple[Callable[[object, int, int], int], object],
        invalidate_pages: Callable[[int, int, int, int], int],
        invalidate_asid: Callable[[int], int],
    ) -> None:
        self.cpu = cpu
        self.state = state
        self.invalidate_page, self.page_of = page
        self.invalidate_pages = invalidate_pages
        self.invalidate_asid = invalidate_asid


@final
class TlbFlusher:
    """Told of each flush before anything runs in the address space again (``System.tlb_flusher``).

    cpus     those that have run something
    current  the CPU that executes the kernel; ``follows``: it is that of the kernel's current task, whatever this says
    asids    where ids are the same on all CPUs: who gives them out
    lazy_skips, shootdowns, targets  CPUs spared in lazy mode; flushes that interrupted others, and how many of those
    """

    def __init__(self, system: "System", *, tagged: bool, asids: AsidAllocator | None) -> None:
        self.system = system
        self.tagged = tagged
        self.asids = asids
        self.broadcast = system.config.arch == "arm64"
        self.ceiling: i64 = ARM64_CEILING if self.broadcast else X86_CEILING
        self.cpus: list[FlushedCpu] = []
        self.current = 0
        self.follows = False
        self.lazy_skips = 0
        self.shootdowns = 0
        self.targets = 0

    def flush_tlb_mm_range(self, mm: "MmStruct", start: i64, end: i64) -> None:
        """Nothing that a CPU keeps of [start, end) in ``mm`` may be used any more: translations and what led to
        them."""
        if self.broadcast:
            for each in self.cpus:
                self.flush(each, self.asid_of(mm, each.state), start, end)
                each.state.caught_up()
            return
        current = self.system.current.cpu if self.follows else self.current
        targets = 0
        for each in self.cpus:
            asid = each.state.asid_to_flush(mm)
            if asid >= 0:
                self.flush(each, asid + 1 if self.tagged else UNTAGGED, start, end)
                targets += each.cpu != current
            elif asid != NOT_LOADED:
                self.lazy_skips += each.cpu != current
        if targets:
            self.shootdowns += 1
            self.targets += targets

    def flush(self, cpu: FlushedCpu, tag: int, start: i64, end: i64) -> None:
        """[start, end) of the address space with that tag, 0 for none, on one CPU."""
        if tag == 0:
            return
        shift = self.system.page_shift
        pages = (end - start + (1 << shift) - 1) >> shift
        if pages == 1 and start & ((1 << shift) - 1) == 0:
            cpu.invalidate_page(cpu.page_of, int(start), tag)
        elif pages <= self.ceiling:
            cpu.invalidate_pages(int(start), int(end - 1), tag, int(pages))
        else:
            cpu.invalidate_asid(tag)

    def asid_of(self, mm: "MmStruct", state: TlbState) -> int:
        """The tag of ``mm``'s entries on a CPU; 0 where it has none."""
        if not self.tagged:
            return UNTAGGED if state.loaded_mm is mm else 0
        if self.asids is not None:
            generation, asid = self.asids.ids.get(mm.ident, (0, 0))
            return asid if generation == self.asids.generation else 0
        return state.loaded_asid + 1

    def tag(self, cpu: int, mm: "MmStruct") -> int:
        """The tag of entries that ``cpu`` may still use for ``mm``; 0 where it has none, or must flush them first."""
        for each in self.cpus:
            if each.cpu == cpu:
                state = each.state
                if self.asids is not None:
                    return 0 if cpu in self.asids.pending else self.asid_of(mm, state)
                for asid in range(len(state.ctxs)):
                    context = state.ctxs[asid]
                    if context.ctx_id == mm.ident and context.tlb_gen >= state.generation(mm):
                        return asid + 1
        return 0

    def reset(self) -> None:
        """Counts from 0 again."""
        self.lazy_skips = self.shootdowns = self.targets = 0
