"""Which address space a CPU has loaded, and under which tag its TLB keeps the entries.

A processor with PCIDs tags TLB entries, so that those of several address spaces live side by side. Linux uses six tags
on each CPU, its address-space ids, and gives them to the address spaces that ran there last: who comes back and finds
his tag finds his entries, unless the page table has lost rights meanwhile (``tlb_gen``). Without PCIDs every change of
address space empties the TLB.

Sources: Intel SDM volume 3, section 5.10.1; AMD64 manual volume 2, section 5.5.1.

Mirrors: arch/x86/mm/tlb.c (choose_new_asid, switch_mm_irqs_off) (6.18)
Differs: no global ASIDs; no second ASID for page-table isolation.
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct

TLB_NR_DYN_ASIDS: Final = 6
NOT_LOADED: Final = -1  # answers of ``asid_to_flush``
LAZY: Final = -2
CR3_NOFLUSH: Final = -(1 << 63)  # bit 63 of the value written to CR3: keep the entries of this PCID


@final
class TlbContext:
    """struct tlb_context: whose entries a tag marks (``MmStruct.ident``, 0 for nobody's), and how new they are."""

    def __init__(self) -> None:
        self.ctx_id = 0
        self.tlb_gen: i64 = 0


@final
class TlbState:
    """struct tlb_state of one CPU.

    loaded_mm, loaded_asid  what CR3 holds
    ctxs          the tags
    exact         changes of single pages count too (``MmStruct.context_gen``): for TLBs that keep every entry
    is_lazy       a kernel thread runs; ``loaded_mm`` is still loaded, and nobody tells this CPU of changes to it
    nr_switches   address spaces loaded in place of another
    nr_kept       of those, how many found their entries still valid
    nr_flushes    of those, how many had to start without: a tag of another, or rights lost since
    """

    def __init__(self, *, pcid: bool, exact: bool = False) -> None:
        self.pcid = pcid
        self.exact = exact
        self.is_lazy = False
        self.loaded_mm: "MmStruct | None" = None
        self.loaded_asid = 0
        self.next_asid = 0
        self.ctxs: list[TlbContext] = [TlbContext() for _ in range(TLB_NR_DYN_ASIDS)]
        self.nr_switches = 0
        self.nr_kept = 0
        self.nr_flushes = 0

    def generation(self, mm: "MmStruct") -> i64:
        """How new the translations of ``mm`` are."""
        return mm.context_gen if self.exact else mm.tlb_gen

    def enter_lazy_tlb(self) -> None:
        """A kernel thread runs from here on."""
        self.is_lazy = True

    def caught_up(self) -> None:
        """The loaded tag's entries have been brought up to date."""
        if self.loaded_mm is not None:
            self.ctxs[self.loaded_asid].tlb_gen = self.generation(self.loaded_mm)

    def asid_to_flush(self, mm: "MmStruct") -> int:
        """The loaded ASID where entries of ``mm`` are to be flushed on this CPU, which is up to date then. NOT_LOADED,
        or LAZY: it will see for itself."""
        if self.loaded_mm is not mm:
            return NOT_LOADED
        if self.is_lazy:
            return LAZY
        self.ctxs[self.loaded_asid].tlb_gen = self.generation(mm)
        return self.loaded_asid

    def switch_mm(self, mm: "MmStruct") -> bool:
        """Loads ``mm``; whether its tag's entries must be flushed first."""
        self.is_lazy = False
        if self.loaded_mm is mm:
            context = self.ctxs[self.loaded_asid]
            behind = context.tlb_gen < self.generation(mm)
            context.tlb_gen = self.generation(mm)
            return behind
        self.nr_switches += 1
        flush = self.choose_new_asid(mm)
        if flush:
            self.nr_flushes += 1
        else:
            self.nr_kept += 1
        context = self.ctxs[self.loaded_asid]
        context.ctx_id = mm.ident
        context.tlb_gen = self.generation(mm)
        self.loaded_mm = mm
        return flush

    def choose_new_asid(self, mm: "MmStruct") -> bool:
        """Finds the tag that ``mm`` had here, or takes the next one in turn; whether its entries are of no use."""
        if not self.pcid:
            self.loaded_asid = 0
            return True
        for asid in range(TLB_NR_DYN_ASIDS):
            context = self.ctxs[asid]
            if context.ctx_id == mm.ident:
                self.loaded_asid = asid
                return context.tlb_gen < self.generation(mm)
        self.loaded_asid = self.next_asid
        self.next_asid = (self.next_asid + 1) % TLB_NR_DYN_ASIDS
        return True

    def cr3(self, *, noflush: bool) -> i64:
        """What is written to CR3: the root table, the PCID (ASID + 1) in the low 12 bits, bit 63 to keep entries."""
        assert self.loaded_mm is not None
        value: i64 = self.loaded_mm.pgd_pfn << 12
        if self.pcid:
            value |= self.loaded_asid + 1
            if noflush:
                value |= CR3_NOFLUSH
        return value
