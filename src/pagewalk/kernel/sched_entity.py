"""What a task is scheduled by: its class, priority and slice.

Sources: sched(7), sched_setattr(2).

Mirrors: include/linux/sched.h, include/uapi/linux/sched.h, kernel/sched/core.c (sched_fork) (6.18)
Differs: the classes are remembered and told of, and the scheduler takes turns whatever they are.
"""

from typing import Final, final

SCHED_NORMAL: Final = 0
SCHED_FIFO: Final = 1
SCHED_RR: Final = 2
SCHED_BATCH: Final = 3
SCHED_IDLE: Final = 5
SCHED_DEADLINE: Final = 6
SCHED_EXT: Final = 7
SCHED_RESET_ON_FORK: Final = 0x40000000

PRIORITIES: Final = {
    SCHED_NORMAL: (0, 0), SCHED_FIFO: (1, 99), SCHED_RR: (1, 99), SCHED_BATCH: (0, 0), SCHED_IDLE: (0, 0),
    SCHED_DEADLINE: (0, 0),
}  # fmt: skip
BASE_SLICE_NS: Final = 700_000  # of one CPU; more for each doubling of CPUs, up to 8


def fair_policy(policy: int) -> bool:
    """SCHED_NORMAL and SCHED_BATCH."""
    return policy in (SCHED_NORMAL, SCHED_BATCH)


def rt_policy(policy: int) -> bool:
    """SCHED_FIFO and SCHED_RR."""
    return policy in (SCHED_FIFO, SCHED_RR)


def base_slice_ns(cpus: int) -> int:
    """sysctl_sched_base_slice of a machine with so many CPUs."""
    return BASE_SLICE_NS * min(cpus, 8).bit_length()


@final
class SchedEntity:
    """How one task is scheduled.

    policy         SCHED_*
    rt_priority    1 to 99 of a real-time class, else 0
    reset_on_fork  children begin as ordinary tasks
    slice_ns       a slice that the task has asked for, 0 for the machine's
    runtime, deadline, period  of SCHED_DEADLINE, in nanoseconds
    """

    def __init__(self) -> None:
        self.policy = SCHED_NORMAL
        self.rt_priority = 0
        self.reset_on_fork = False
        self.slice_ns = 0
        self.runtime = 0
        self.deadline = 0
        self.period = 0

    def forked(self) -> "SchedEntity":
        """A child's: the same, or an ordinary one where the parent has asked for that."""
        child = SchedEntity()
        if self.reset_on_fork:
            child.policy = self.policy if fair_policy(self.policy) or self.policy == SCHED_IDLE else SCHED_NORMAL
            return child
        child.policy = self.policy
        child.rt_priority = self.rt_priority
        child.slice_ns = self.slice_ns
        return child

    def forked_nice(self, nice: int) -> int:
        """A child's nice value, where ``nice`` is the parent's."""
        if not self.reset_on_fork:
            return nice
        return 0 if rt_policy(self.policy) else max(nice, 0)

    def prio(self, nice: int) -> int:
        """The priority as stat has it: below 0 for the real-time classes, 20 and the nice value for others."""
        if self.policy == SCHED_DEADLINE:
            return -101
        return -1 - self.rt_priority if self.rt_priority else 20 + nice
