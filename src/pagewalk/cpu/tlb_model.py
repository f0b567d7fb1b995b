"""The modelled TLBs of a machine: every access of its programs goes through those of the CPU that makes it.

    machine = Machine(tlb="zen4", cpus=2)
    machine.run(["/bin/ls"])
    print(machine.tlb.counters().misses, machine.tlb.mpki)

Accesses come in the order in which they were made, with the kernel's flushes in between (``tlb_cpus``). The walks of
these TLBs, and nothing else, set Accessed and Dirty in the page table.

Differs: the kernel's own accesses to user memory do not go through them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pagewalk.cpu.tlb_cpus import Cpus
from pagewalk.errors import OutOfMemory
from pagewalk.hw.loop import ASK, ATTEMPTS
from pagewalk.hw.mmu import Accesses, Entry, Mmu
from pagewalk.hw.tlb_config import TlbConfig
from pagewalk.hw.tlb_counters import TlbCounters, read_counters
from pagewalk.hw.tlb_state import C_HIT, COUNTERS_END
from pagewalk.hw.walker import OK
from pagewalk.mm.fault import FAULT_MAPERR, FAULT_NONE, FAULT_OOM, FAULT_SERVED

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.system import System

__all__ = ["ESTIMATE", "TlbModel", "feed"]

ESTIMATE = "cycles are an estimate: fixed costs for each look-up, reference, fault and flush, as if nothing overlapped"

Addrs = npt.NDArray[np.int64]
Kinds = npt.NDArray[np.uint8]
Sizes = npt.NDArray[np.uint16]


def feed(
    mmu: Mmu,
    accesses: Accesses,
    start: int,
    end: int,
    serve: Callable[[Callable[[object], int], object], int],
    failed: Callable[[int, int, int], bool],
) -> int:
    """Accesses from ``start`` on through one MMU, which has their address space loaded, up to ``end`` or to where
    another task or CPU goes on; where that is.

    serve   serves what the page table does not grant, one after the other, as the function that it gets tells of it (in
            one word, ``Mmu.resume``) when it is called with the argument that comes with it; what became of the first
            that is not to be tried again, a FAULT_* value: FAULT_NONE where the word is no access
    failed  is told address, kind and what ``serve`` answered; True where it may be tried again all the same
    """
    mmu.begin(accesses, start, end)
    resume, what = mmu.resume
    while True:
        outcome = serve(resume, what)
        at = mmu.stopped_at()
        if mmu.status == OK:
            break
        if outcome == FAULT_NONE:  # of no address that there can be, or served too often
            failed(*mmu.fault, FAULT_MAPERR)
            mmu.leave_out()
        elif not failed(*mmu.fault, outcome):
            mmu.leave_out()
    mmu.consider(at - start)
    return at


class TlbModel:
    """All CPUs' translation caches and what they have counted since the machine was made, or since its last program
    was started.

    cpus          the caches; ``system.tlb_flusher``
    instructions  that programs have begun, 0 where nobody counts them
    serve         (task, addr, access): the kernel's page fault; a FAULT_* value
    on_late_fault  told of faults that only these caches take: (place in the arrays of ``feed``, task, addr, access)
    """

    def __init__(
        self, config: TlbConfig, system: "System", nr_cpus: int, serve: Callable[["Task", int, int], int]
    ) -> None:
        self.config = config
        self.cpus = Cpus(config, system, nr_cpus)
        self.cpus.flusher.follows = True
        self.instructions = 0
        self.served = 0  # faults that only the modelled TLBs took
        self._system = system
        self._serve = serve
        self._levels = [level.name for level in system.format.levels]
        self._processes: dict[int, npt.NDArray[np.int64]] = {}
        self._task: Task | None = None
        self.on_late_fault: Callable[[int, Task, int, int], None] | None = None
        self._mmu: Mmu | None = None

    # Accesses.

    def feed(self, task: "Task", addrs: Addrs, kinds: Kinds, sizes: Sizes) -> None:
        """Accesses that ``task`` has made on its CPU, in order."""
        mmu = self.cpus.switch(task.cpu, task.mm)
        self._task = task
        self._mmu = mmu
        before = mmu.state[C_HIT:COUNTERS_END].copy()
        feed(mmu, Accesses(addrs, kinds, sizes), 0, len(addrs), self._late_faults, self._late_failure)
        self._count(task, mmu, before)

    def before_fault(self, task: "Task", addr: int, access: int) -> None:
        """``task`` makes an access that the page table does not grant: looked up, walked for, not granted."""
        mmu = self.cpus.switch(task.cpu, task.mm)
        before = mmu.state[C_HIT:COUNTERS_END].copy()
        mmu.translate(addr, access)
        self._count(task, mmu, before)

    def access(self, task: "Task", addr: int, access: int) -> int:
        """One access of a process that Python drives, its faults served; FAULT_SERVED, or what it ended in."""
        mmu = self.cpus.switch(task.cpu, task.mm)
        before = mmu.state[C_HIT:COUNTERS_END].copy()
        outcome = FAULT_SERVED
        for _ in range(ATTEMPTS):
            if mmu.translate(addr, access) == OK:
                break
            outcome = self._serve(task, addr, access)
            if outcome != FAULT_SERVED:
                break
        self._count(task, mmu, before)
        return outcome

    def _late_faults(self, resume: Callable[[object], int], what: object) -> int:
        """Serves them until one is not served: what became of it."""
        while (outcome := self._late_fault(resume(what))) == FAULT_SERVED:
            pass
        return outcome

    def _late_fault(self, refused: int) -> int:
        """The emulated CPU has made this access, and the model's walk needs the kernel for it: the second page of one
        that crosses a page, or marks that software sets."""
        assert self._task is not None and self._mmu is not None
        if refused & ASK == ASK:
            return FAULT_NONE
        if self.on_late_fault is not None:
            self.on_late_fault(self._mmu.at, self._task, refused >> 2, refused & ASK)
        outcome = self._serve(self._task, refused >> 2, refused & ASK)
        self.served += outcome == FAULT_SERVED
        return outcome

    def _late_failure(self, addr: int, access: int, outcome: int) -> bool:
        """It stays as it is."""
        if outcome == FAULT_OOM:
            raise OutOfMemory(f"access to {addr:#x}: no page frame is left to serve its fault")
        return False

    def _count(self, task: "Task", mmu: Mmu, before: npt.NDArray[np.int64]) -> None:
        """What the caches have counted since ``before`` was the task's doing."""
        total = self._processes.get(task.tgid)
        if total is None:
            total = self._processes[task.tgid] = np.zeros(COUNTERS_END - C_HIT, np.int64)
        total += mmu.state[C_HIT:COUNTERS_END]
        total -= before

    # What the kernel tells.

    def in_kernel(self, cpu: int) -> None:
        """``cpu`` executes the kernel: flushes start from there."""
        self.cpus.flusher.current = cpu

    def idle(self, cpu: int) -> None:
        """``cpu`` needs no user memory until its next access."""
        self.cpus.idle(cpu)

    # What was counted.

    def reset(self) -> None:
        """Counts from 0 again; the entries stay."""
        self.instructions = 0
        self._processes = {}
        self.cpus.reset()

    def counters(self) -> TlbCounters:
        """Of all CPUs together."""
        return self.cpus.counters()

    def by_process(self) -> dict[int, TlbCounters]:
        """By process id: what its accesses counted (invalidations and switches are nobody's)."""
        return {
            pid: read_counters([0] * C_HIT + counts.tolist(), self.config, self._levels)
            for pid, counts in self._processes.items()
        }

    @property
    def mpki(self) -> float | None:
        """Misses through all levels for 1000 instructions; None where nobody counted those."""
        return self.counters().mpki(self.instructions)

    @property
    def cycles(self) -> float:
        """What translation cost: an estimate, from ``config.costs``."""
        return self.counters().estimate_cycles(self.config)

    def entries(self, mm: "MmStruct", addr: int) -> list[tuple[int, Entry]]:
        """(CPU, entry) of all that translates ``addr`` in ``mm``, or that a walk for it would begin with."""
        found = []
        for cpu, mmu in sorted(self.cpus.mmus.items()):
            asid = self.cpus.flusher.tag(cpu, mm)
            found += [(cpu, each) for each in mmu.entries()
                      if each.asid in (0, asid) and asid and each.addr <= addr < each.addr + each.size]  # fmt: skip
        return found

    def as_dict(self) -> dict[str, Any]:
        """Everything, for reports and JSON."""
        total = self.counters()
        return {
            "name": self.config.name,
            **total.as_dict(),
            "instructions": self.instructions,
            "mpki": total.mpki(self.instructions),
            "cycles": total.estimate_cycles(self.config),
            "note": ESTIMATE,
            "by_cpu": {str(cpu): counters.as_dict() for cpu, counters in self.cpus.by_cpu().items()},
            "by_process": {str(pid): counters.as_dict() for pid, counters in sorted(self.by_process().items())},
        }
