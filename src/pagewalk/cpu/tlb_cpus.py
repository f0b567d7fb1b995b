"""The modelled CPUs of a machine: an MMU for each, what runs there, and the kernel's flushes brought to their caches.

Which tags the address spaces get is Linux's choice by architecture: six for each CPU on x86 (mm/tlb.py), one for all
CPUs with roll-over on arm64 (mm/asid.py). A flush of few pages invalidates them one by one, one of many (33 on x86, 512
on arm64) the whole address space. On x86 and RISC-V other CPUs that run the address space are interrupted: a shootdown;
one that only has old entries of it notices when it loads it again, and one in lazy TLB mode too. On arm64 the
invalidation itself reaches every CPU.

An address space is loaded by the first access that a program makes in it, so what the kernel alone does is no switch.
"""

from typing import Final

from pagewalk.hw.mmu import Mmu
from pagewalk.hw.tlb_config import TlbConfig
from pagewalk.hw.tlb_counters import TlbCounters
from pagewalk.mm.asid import AsidAllocator
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.system import System
from pagewalk.mm.tlb import TlbState
from pagewalk.mm.tlb_watch import TlbWatcher

__all__ = ["Cpus"]

X86_CEILING: Final = 33  # tlb_single_page_flush_ceiling, pages
ARM64_CEILING: Final = 512  # MAX_DVM_OPS
_UNTAGGED: Final = 1


class Cpus(TlbWatcher):
    """Up to 256 CPUs, made when they first run something. ``current`` is the one that executes the kernel.

    Counts what the MMUs cannot see: switches, shootdowns and their targets, CPUs spared in lazy mode, roll-overs.

    follows  it is the CPU of the kernel's current task, whatever ``current`` says
    learns  of which frames are neighbours, the MMUs are told (``learn_frame``)
    """

    def __init__(self, config: TlbConfig, system: System, nr_cpus: int = 1, *, learns: bool = False) -> None:
        self.config = config
        self._learns = learns and config.coalesce > 1
        self.current = 0
        self.follows = False
        self.mmus: dict[int, Mmu] = {}
        self.states: dict[int, TlbState] = {}
        self._system = system
        self._page = 1 << int(system.format.page_shift)
        self._broadcast = system.config.arch == "arm64"
        self._tagged = config.tagged
        self._ceiling = ARM64_CEILING if self._broadcast else X86_CEILING
        self._asids = AsidAllocator(config.asid_bits, 256) if self._broadcast and config.tagged else None
        self._counts = TlbCounters()
        for cpu in range(nr_cpus):
            self._cpu(cpu)
        system.tlb_watcher = self

    def close(self) -> None:
        """The kernel tells nobody any more."""
        self._system.tlb_watcher = None

    def _cpu(self, cpu: int) -> Mmu:
        mmu = self.mmus.get(cpu)
        if mmu is None:
            mmu = Mmu(self.config, self._system.format, self._system.ram, learns=self._learns)
            if self._learns and self.mmus:
                mmu.learn_from(next(iter(self.mmus.values())))
            self.mmus[cpu] = mmu
            self.states[cpu] = TlbState(pcid=self.config.tagged, exact=True)
        return mmu

    def learn_frame(self, pfn: int, number: int) -> None:
        """For coalescing, frame ``pfn`` counts as frame ``number``."""
        for mmu in self.mmus.values():
            mmu.learn_frame(pfn, number)

    def switch(self, cpu: int, mm: MmStruct) -> Mmu:
        """``cpu`` runs ``mm`` from here on, and executes; its MMU."""
        self.current = cpu
        mmu = self._cpu(cpu)
        state = self.states[cpu]
        if state.loaded_mm is mm and not state.is_lazy:
            return mmu
        before = state.loaded_mm
        behind = state.switch_mm(mm)
        self._counts.switches += before is not mm
        if self._asids is not None:
            asid, everything = self._asids.check_and_switch(cpu, mm.ident)
            if everything:
                mmu.invalidate_all(globals_too=False)
        elif not self.config.tagged:
            asid = _UNTAGGED
            if behind:
                mmu.invalidate_all(globals_too=False)
        else:
            asid = state.loaded_asid + 1
            if behind:
                mmu.invalidate_asid(asid)
        mmu.load(mm.pgd_pfn, asid)
        return mmu

    def idle(self, cpu: int) -> None:
        """``cpu`` runs nothing of a program, or its task has given its address space up: lazy TLB mode."""
        self._cpu(cpu)
        self.states[cpu].enter_lazy_tlb()

    def here(self) -> int:
        """The CPU that executes the kernel."""
        return int(self._system.current.cpu) if self.follows else self.current

    def flush_tlb_mm_range(self, mm: MmStruct, start: int, end: int) -> None:
        """TlbWatcher."""
        targets = 0
        current, broadcast = self.here(), self._broadcast
        for cpu, mmu in self.mmus.items():
            state = self.states[cpu]
            if broadcast:
                self._flush(mmu, self._asid_of(mm, state), start, end)
                state.caught_up()
            elif state.loaded_mm is not mm:
                continue
            elif state.is_lazy:
                self._counts.lazy_skips += cpu != current
            else:
                targets += cpu != current
                self._flush(mmu, state.loaded_asid + 1 if self._tagged else _UNTAGGED, start, end)
                state.caught_up()
        if targets:
            self._counts.shootdowns += 1
            self._counts.shootdown_targets += targets

    def _asid_of(self, mm: MmStruct, state: TlbState) -> int:
        """The tag of ``mm``'s entries on a CPU; 0 where it has none."""
        if not self.config.tagged:
            return _UNTAGGED if state.loaded_mm is mm else 0
        if self._asids is not None:
            generation, asid = self._asids.ids.get(mm.ident, (0, 0))
            return asid if generation == self._asids.generation else 0
        return state.loaded_asid + 1

    def tag(self, cpu: int, mm: MmStruct) -> int:
        """The tag of entries that ``cpu`` may still use for ``mm``; 0 where it has none, or must flush them first."""
        state = self.states[cpu]
        if self._asids is not None:
            return 0 if cpu in self._asids.pending else self._asid_of(mm, state)
        for asid, context in enumerate(state.ctxs):
            if context.ctx_id == mm.ident and context.tlb_gen >= state.generation(mm):
                return asid + 1
        return 0

    def _flush(self, mmu: Mmu, asid: int, start: int, end: int) -> None:
        """[start, end) of one address space on one CPU."""
        pages = -(-(end - start) // self._page)
        if asid == 0:
            return
        if pages <= self._ceiling:
            mmu.invalidate_pages(start, end - 1, asid, pages)
        else:
            mmu.invalidate_asid(asid)

    def reset(self) -> None:
        """Counts from 0 again; the entries stay."""
        self._counts = TlbCounters()
        for mmu in self.mmus.values():
            mmu.reset()

    def counters(self) -> TlbCounters:
        """The sum of all CPUs."""
        total = TlbCounters() + self._counts
        total.rollovers = self._asids.rollovers if self._asids is not None else 0
        for mmu in self.mmus.values():
            total = total + mmu.counters()
        return total

    def by_cpu(self) -> dict[int, TlbCounters]:
        """Each CPU's own."""
        return {cpu: mmu.counters() for cpu, mmu in sorted(self.mmus.items())}
