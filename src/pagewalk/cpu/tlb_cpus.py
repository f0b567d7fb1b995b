"""The modelled CPUs of a machine: an MMU for each, and what runs there.

Which tags the address spaces get is Linux's choice by architecture: six for each CPU on x86 (mm/tlb.py), one for all
CPUs with roll-over on arm64 (mm/asid.py); a RISC-V machine gives them out as x86 does. Whom the kernel's flushes reach
is its choice too (mm/tlb_flush.py).

An address space is loaded by the first access that a program makes in it, so what the kernel alone does is no switch.
"""

from pagewalk.hw.mmu import Mmu
from pagewalk.hw.tlb_config import TlbConfig
from pagewalk.hw.tlb_counters import TlbCounters
from pagewalk.mm.asid import AsidAllocator
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.system import System
from pagewalk.mm.tlb import TlbState
from pagewalk.mm.tlb_flush import UNTAGGED, FlushedCpu, TlbFlusher

__all__ = ["Cpus"]


class Cpus:
    """Up to 256 CPUs, made when they first run something.

    Counts what the MMUs cannot see: switches, shootdowns and their targets, CPUs spared in lazy mode, roll-overs.

    flusher  brings them the kernel's flushes
    learns   of which frames are neighbours, the MMUs are told (``learn_frame``)
    """

    def __init__(self, config: TlbConfig, system: System, nr_cpus: int = 1, *, learns: bool = False) -> None:
        self.config = config
        self._learns = learns and config.coalesce > 1
        self.mmus: dict[int, Mmu] = {}
        self.states: dict[int, TlbState] = {}
        self._system = system
        shared = config.tagged and system.config.arch == "arm64"
        self._asids = AsidAllocator(config.asid_bits, system.config.cpus) if shared else None
        self._switches = 0
        self.flusher = TlbFlusher(system, tagged=config.tagged, asids=self._asids)
        for cpu in range(nr_cpus):
            self._cpu(cpu)
        system.tlb_flusher = self.flusher

    def close(self) -> None:
        """The kernel tells nobody any more."""
        self._system.tlb_flusher = None

    def _cpu(self, cpu: int) -> Mmu:
        mmu = self.mmus.get(cpu)
        if mmu is None:
            mmu = Mmu(self.config, self._system.format, self._system.ram, learns=self._learns)
            if self._learns and self.mmus:
                mmu.learn_from(next(iter(self.mmus.values())))
            self.mmus[cpu] = mmu
            state = self.states[cpu] = TlbState(pcid=self.config.tagged, exact=True)
            self.flusher.cpus.append(
                FlushedCpu(cpu, state, mmu.page_invalidation, mmu.invalidate_pages, mmu.invalidate_asid)
            )
        return mmu

    def learn_frame(self, pfn: int, number: int) -> None:
        """For coalescing, frame ``pfn`` counts as frame ``number``."""
        for mmu in self.mmus.values():
            mmu.learn_frame(pfn, number)

    def switch(self, cpu: int, mm: MmStruct) -> Mmu:
        """``cpu`` runs ``mm`` from here on, and executes; its MMU."""
        self.flusher.current = cpu
        mmu = self._cpu(cpu)
        state = self.states[cpu]
        if state.loaded_mm is mm and not state.is_lazy:
            return mmu
        before = state.loaded_mm
        behind = state.switch_mm(mm)
        self._switches += before is not mm
        if self._asids is not None:
            asid, everything = self._asids.check_and_switch(cpu, mm.ident)
            if everything:
                mmu.invalidate_all(globals_too=False)
        elif not self.config.tagged:
            asid = UNTAGGED
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

    def reset(self) -> None:
        """Counts from 0 again; the entries stay."""
        self._switches = 0
        self.flusher.reset()
        if self._asids is not None:
            self._asids.rollovers = 0
        for mmu in self.mmus.values():
            mmu.reset()

    def counters(self) -> TlbCounters:
        """The sum of all CPUs."""
        flusher = self.flusher
        total = TlbCounters(
            switches=self._switches, shootdowns=flusher.shootdowns, shootdown_targets=flusher.targets,
            lazy_skips=flusher.lazy_skips, rollovers=self._asids.rollovers if self._asids is not None else 0,
        )  # fmt: skip
        for mmu in self.mmus.values():
            total = total + mmu.counters()
        return total

    def by_cpu(self) -> dict[int, TlbCounters]:
        """Each CPU's own."""
        return {cpu: mmu.counters() for cpu, mmu in sorted(self.mmus.items())}
