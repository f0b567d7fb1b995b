"""The run queue of one CPU.

Mirrors: kernel/sched/sched.h (struct rq) (6.18)
Differs: a list in turn, no priorities.
"""

from typing import TYPE_CHECKING, final

from pagewalk.mm.tlb import TlbState

if TYPE_CHECKING:
    from pagewalk.kernel.cpu import Cpu
    from pagewalk.kernel.task import Task


@final
class Rq:
    """struct rq: one CPU with its current task and those that wait for it, in order; and what its MMU has loaded.

    idle  its idle thread runs
    """

    def __init__(self, number: int, *, pcid: bool) -> None:
        self.number = number
        self.tlb = TlbState(pcid=pcid)
        self.cpu: Cpu | None = None
        self.curr: Task | None = None
        self.queue: list[Task] = []
        self.nr_switches = 0
        self.last: Task | None = None
        self.idle = True

    def load(self) -> int:
        """Tasks that are runnable here."""
        return len(self.queue) + (self.curr is not None)

    def enter_idle(self) -> bool:
        """There is nothing to run: the idle thread needs no user memory. False where it runs already."""
        if self.idle:
            return False
        self.idle = True
        self.tlb.enter_lazy_tlb()
        return True
