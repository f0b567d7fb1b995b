"""Who listens while programs run: the modelled TLBs get every access, a recorder everything that a trace tells.

The CPU's hooks collect accesses in arrays (``unicorn_record``). With TLBs the arrays are emptied whenever the kernel is
about to act, so that accesses, faults and flushes come to the TLBs in the order in which they happen.
"""

from typing import TYPE_CHECKING

import numpy as np

from pagewalk.cpu.listener import Listener
from pagewalk.cpu.tlb_model import Addrs, TlbModel
from pagewalk.cpu.unicorn_cpu import UnicornCpu
from pagewalk.cpu.unicorn_record import AccessHooks
from pagewalk.errors import NotModelled
from pagewalk.hw.walker import FETCH, PEEK, walk

if TYPE_CHECKING:
    import numpy.typing as npt

    from pagewalk.kernel.cpu import Cpu
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task

__all__ = ["Tap"]


class Tap:
    """Between one CPU and those who listen, from when it is made until ``close``."""

    def __init__(self, kernel: "Kernel", cpu: "Cpu", tlb: TlbModel | None, listener: Listener | None) -> None:
        if not isinstance(cpu, UnicornCpu):
            raise NotModelled(f"recording accesses of a {type(cpu).__name__}")
        self._kernel = kernel
        self._cpu = cpu
        self._tlb = tlb
        self._listener = listener
        self._last = (0, 0)
        self._task: Task | None = None
        if tlb is not None and listener is not None:
            tlb.on_late_fault = listener.on_late_fault
        self._hooks: AccessHooks = cpu.record(self)

    def close(self) -> None:
        """The rest is given on; the CPU runs as before."""
        self._cpu.stop_recording()
        if self._tlb is not None:
            self._tlb.on_late_fault = None

    @property
    def position(self) -> int:
        """How many accesses have happened since the last that were given on."""
        return self._hooks.count

    @property
    def sets_marks(self) -> bool:
        """See AccessSink."""
        return self._tlb is not None

    def enter(self) -> None:
        """See AccessSink."""
        task = self._kernel.current_task()
        assert task is not None
        if (task.pid, task.cpu) != self._last or task is not self._task:
            self._last = (task.pid, task.cpu)
            self._task = task
            if self._listener is not None:
                self._listener.on_turn(self.position, task)

    def leave(self) -> None:
        """See AccessSink."""
        if self._tlb is not None:
            self._hooks.flush()
            self._tlb.in_kernel(self._last[1])

    def before_fault(self, addr: int, access: int) -> bool:
        """See AccessSink."""
        task = self._task
        assert task is not None
        if task.mm.system.pku and self._is_granted(task, addr, access):
            self._hooks.add_refused(addr)
            return False
        if self._tlb is not None:
            if self._listener is not None:
                self._listener.on_resumed()
            served = self._tlb.served
            self._hooks.flush()
            if self._tlb.served != served:
                return True
            self._tlb.before_fault(task, addr, access)
        if self._listener is not None:
            if self._tlb is None and self._hooks.last_reaches(addr, access):
                self._listener.on_late_fault(self.position - 1, task, addr, access, is_alone=True)
            else:
                self._listener.on_fault(self.position, task, addr, access)
        return False

    def _is_granted(self, task: "Task", addr: int, access: int) -> bool:
        """Whether the page table itself grants a load or store, so that a protection key must have refused it."""
        if access == FETCH:
            return False
        system = task.mm.system
        pkru = self._cpu.read_pkru()
        root = int(task.mm.pgd_pfn)
        granted = walk(system.ram, system.format, root, addr, PEEK).rights >> access & 1
        return bool(granted and not walk(system.ram, system.format, root, addr, PEEK, pkru=pkru).rights >> access & 1)

    def after_fault(self) -> None:
        """See AccessSink."""
        if self._listener is not None:
            self._listener.on_resumed()

    def take(self, addr: Addrs, meta: "npt.NDArray[np.int64]", instructions: int) -> None:
        """See AccessSink."""
        kinds = meta.astype(np.uint8)
        sizes = (meta >> 8).astype(np.uint16)
        if self._tlb is not None:
            if self._listener is not None:
                self._listener.on_resumed()
            assert self._task is not None  # leave() has emptied the arrays of whoever ran before
            self._tlb.instructions += instructions
            self._tlb.feed(self._task, addr, kinds, sizes)
        if self._listener is not None:
            self._listener.on_accesses(addr.copy(), kinds, sizes, instructions)
