"""The scheduler: which task runs on which CPU, for how long, and what happens when none can.

Every task has a C stack of its own (a greenlet), as it has a kernel stack in Linux: a system call that must wait calls
``schedule`` from where it is, and goes on there once somebody has woken it. Nothing runs at the same time as anything
else: the CPUs are executed in turn, each for a slice of its current task.

With one task time is the host's. From the first fork on it is counted instead: so many nanoseconds for a basic block,
a system call, a fault. A slice is a number of blocks, timers go by the counted time, and what runs when depends on
nothing but the programs: the same program gives the same interleaving. Only when everybody sleeps does the machine wait
for the host.

Mirrors: kernel/sched/core.c, kernel/sched/fair.c (6.18)
Differs: round robin with equal slices, whatever the nice value; a woken task waits for its turn.
"""

import select
import time
from typing import TYPE_CHECKING, Any, Final

from greenlet import getcurrent, greenlet

from pagewalk.fs.wait import WaitEntry, WaitQueueHead
from pagewalk.kernel.rq import Rq
from pagewalk.kernel.runner import task_entry
from pagewalk.kernel.signal_send import fatal_signal_pending
from pagewalk.kernel.task import (
    TASK_INTERRUPTIBLE,
    TASK_KILLABLE,
    TASK_RUNNING,
    TASK_STOPPED,
    TASK_UNINTERRUPTIBLE,
    Task,
)
from pagewalk.kernel.timer import TimerQueue
from pagewalk.mm.mm_init import node_of_cpu

if TYPE_CHECKING:
    from pagewalk.kernel.cpu import Cpu
    from pagewalk.kernel.kernel import Kernel

SLICE_BLOCKS: Final = 200_000  # basic blocks of a time slice: some milliseconds of the host's
BLOCK_NS: Final = 2  # what the counted clock gives a block, a system call, a fault
SYSCALL_NS: Final = 250
SLICE_NS: Final = 5_000_000  # a slice in host time
LONGEST_POLL_MS: Final = 1 << 30  # of the host's poll(2), which is then made again

_ASLEEP: Final = (TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE, TASK_KILLABLE, TASK_STOPPED)


class TaskWait(WaitEntry):
    """A sleeping task in the queues of what it waits for; woken by events that share a bit with ``mask``."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def wake(self, key: int) -> bool:
        """The task becomes runnable."""
        return self.task.kernel.sched.wake_up_process(self.task)


class Scheduler:
    """One machine's.

    rqs            its CPUs
    timers         what is to happen at a time of the monotonic clock
    counting       time is counted, slices end: there has been more than one task
    expects_stops  the CPU was told that a timer may stop it
    host_waits     host descriptors that sleeping tasks wait for: (number, poll bits)
    """

    def __init__(self, kernel: "Kernel", nr_cpus: int) -> None:
        self.kernel = kernel
        self.rqs = [Rq(number, pcid=kernel.config.pcid) for number in range(nr_cpus)]
        self.timers = TimerQueue()
        self.counting = False
        self.expects_stops = False
        self.host_waits: dict[Task, list[tuple[int, int]]] = {}
        self.main: Any = None

    # Called by whoever runs.

    def wake_up_process(self, task: Task) -> bool:
        """Makes a sleeping or stopped task runnable; False where it is not asleep."""
        if task.state not in _ASLEEP:
            return False
        task.state = TASK_RUNNING
        if not task.on_rq:
            self.enqueue(task)
        return True

    def wake_up_new_task(self, task: Task) -> None:
        """A task that fork made is runnable for the first time."""
        self.start_counting()
        task.stack = greenlet(task_entry, self.main)
        task.rseq_preempted = True
        self.enqueue(task)

    def enqueue(self, task: Task) -> None:
        """Chooses a CPU: the one where the task was, if that is idle, else the least loaded."""
        best: Rq | None = None
        for rq in self.rqs:
            if not task.cpus_allowed >> rq.number & 1:
                continue
            load = rq.load()
            if best is None or load < best.load() or (load == best.load() and rq.number == task.cpu):
                best = rq
        chosen = best if best is not None else self.rqs[0]
        task.on_rq = True
        task.cpu = chosen.number
        chosen.queue.append(task)

    def schedule(self, task: Task) -> None:
        """The running task gives its CPU away; comes back when it is its turn again."""
        task.rseq_preempted = True
        if task.stack is None:
            self.wait_alone(task)
        elif task.stack is getcurrent():
            self.main.switch()
        else:
            raise RuntimeError(f"task {task.pid} is asked to sleep while another one runs")

    def sleep(self, task: Task, state: int, what: str) -> None:
        """Sleeps in ``state`` until somebody wakes the task."""
        task.state = state
        task.wchan = what
        task.nvcsw += 1
        self.schedule(task)
        task.wchan = ""
        task.state = TASK_RUNNING

    def sleep_on(self, task: Task, queue: WaitQueueHead, what: str) -> None:
        """Sleeps, whatever signal comes, until ``queue`` is woken."""
        entry = TaskWait(task)
        queue.add(entry)
        self.sleep(task, TASK_UNINTERRUPTIBLE, what)
        queue.remove(entry)

    def wait_killable(self, task: Task, what: str) -> bool:
        """Sleeps until woken; False where the task is to be killed."""
        if fatal_signal_pending(task):
            return False
        self.sleep(task, TASK_KILLABLE, what)
        return not fatal_signal_pending(task)

    def cond_resched(self, task: Task) -> None:
        """sched_yield(2): lets the others of the CPU go first."""
        if task.stack is not None:
            self.schedule(task)

    def activate_mm(self, task: Task) -> None:
        """The running task has another address space (execve)."""
        if task.stack is not None and task.stack is getcurrent():
            self.rqs[task.cpu].tlb.switch_mm(task.mm)

    def migrate(self, task: Task) -> None:
        """The running task may not stay on its CPU: it goes to the end of another one's queue."""
        if task.stack is not None and task.stack is getcurrent():
            task.moving = True
            self.schedule(task)

    def move_queued(self, task: Task) -> None:
        """A task that waits for a CPU where it may not run any more waits for another one."""
        for rq in self.rqs:
            if task in rq.queue:
                rq.queue.remove(task)
                self.enqueue(task)
                return

    # The machine.

    def run(self, cpu: "Cpu", task: Task) -> int:
        """Runs until ``task`` has ended and nobody else is left, or until it has stopped and nobody can make it go on;
        its wait status."""
        self.main = getcurrent()
        self.rqs[0].cpu = cpu
        task.stack = greenlet(task_entry, self.main)
        self.enqueue(task)
        turns = 0
        while True:
            ran = False
            for rq in self.rqs:
                ran = self.run_cpu(rq) or ran
            self.after_slice()
            turns += 1
            if ran and self.host_waits and turns & 63 == 0:
                self.wait_for_host(0)
            if not ran and not self.idle(task):
                break
        return task.wait_status()

    def run_cpu(self, rq: Rq) -> bool:
        """One slice of the next task of a CPU; False where there is none."""
        if not rq.queue:
            self.balance(rq)
            if not rq.queue:
                if rq.enter_idle() and self.kernel.on_idle is not None:
                    self.kernel.on_idle(rq.number)
                return False
        rq.idle = False
        task = rq.queue.pop(0)
        rq.curr = task
        task.cpu = rq.number
        if rq.last is not task:
            rq.nr_switches += 1
            rq.last = task
        kernel = self.kernel
        if rq.cpu is None:
            rq.cpu = self.rqs[0].cpu  # there is one emulator, and it is each CPU's in turn
        assert rq.cpu is not None
        rq.tlb.switch_mm(task.mm)
        if self.counting:
            self.start_slice(rq.cpu)
        kernel.cpu = rq.cpu
        system = kernel.system
        system.current = task
        if len(system.nodes) > 1:
            system.node = system.nodes[node_of_cpu(rq.number, system.config)]
        task.stack.switch(task)
        rq.curr = None
        if task.state == TASK_RUNNING and not task.is_ended():
            if task.moving:
                task.moving = False
                self.enqueue(task)
            else:
                rq.queue.append(task)
        else:
            task.on_rq = False
        return True

    def balance(self, rq: Rq) -> None:
        """An idle CPU takes a task from the longest queue."""
        longest: Rq | None = None
        for other in self.rqs:
            if len(other.queue) > (1 if other.curr is None else 0) and (
                longest is None or len(other.queue) > len(longest.queue)
            ):
                longest = other
        if longest is None or longest is rq:
            return
        for task in longest.queue:
            if task.cpus_allowed >> rq.number & 1:
                longest.queue.remove(task)
                rq.queue.append(task)
                return

    def start_counting(self) -> None:
        """There is more than one task from now on: time is counted."""
        if self.counting:
            return
        self.counting = True
        self.kernel.clock.count()
        self.kernel.alarm_clock.set(0)
        cpu = self.kernel.cpu
        if cpu is not None:
            self.start_slice(cpu)

    def start_slice(self, cpu: "Cpu") -> None:
        """A task has ``cpu`` for so many blocks, or, where the CPU does not count them, as much of the host's time."""
        counts = cpu.count_blocks()
        cpu.start_slice(SLICE_BLOCKS)
        if not counts:
            self.kernel.alarm_clock.set(time.monotonic_ns() + SLICE_NS)

    def renew_slice(self, cpu: "Cpu") -> None:
        """While there is one task alone: a slice that is used up means nothing."""
        if cpu.slice_left() <= 0:
            cpu.start_slice(SLICE_BLOCKS)

    def account(self, task: Task, cpu: "Cpu", before: int) -> None:
        """The counted clock goes on by what the task has run."""
        if self.counting:
            used = before - cpu.slice_left()
            self.kernel.clock.advance((used * BLOCK_NS + SYSCALL_NS) // len(self.rqs) or 1)

    def after_slice(self) -> None:
        """Timers that are due, and whoever stops the machine."""
        kernel = self.kernel
        if kernel.poked:
            kernel.check_poke()
        if self.timers.heap:
            self.timers.run_expired(kernel.monotonic_ns())

    def idle(self, task: Task) -> bool:
        """Nobody could run: waits for a timer or for the host, unless one has just woken somebody. False where the run
        is over."""
        if any(rq.queue for rq in self.rqs):
            return True
        deadline = self.timers.next_deadline()
        if deadline < 0 and not self.host_waits:
            return self.nothing_left(task)
        if self.kernel.config.skip_sleep and not self.host_waits:
            self.start_counting()
            self.kernel.clock.advance(max(0, deadline - self.kernel.monotonic_ns()))
            self.after_slice()
            return True
        self.wait_for_host(deadline)
        return True

    def nothing_left(self, task: Task) -> bool:
        """No task is runnable and none can become so: the end, or a deadlock, of which the report tells."""
        alive = [other for other in self.kernel.tasks() if not other.is_ended() and other.stack is not None]
        if not alive or task.state == TASK_STOPPED:
            return False
        if not self.kernel.stop_reason:
            waits = ", ".join([f"{other.comm} ({other.pid}) in {other.wchan or 'stopped'}" for other in alive])
            self.kernel.stop_reason = f"deadlock: every task waits: {waits}"
        self.kernel.kill_all()
        return any(other.state == TASK_RUNNING for other in alive)

    def wait_for_host(self, deadline: int) -> None:
        """Sleeps until the deadline (-1: none), a host descriptor, or a poke; wakes who waits for the descriptor."""
        kernel = self.kernel
        start = time.monotonic_ns()
        now = kernel.monotonic_ns()
        timeout = None if deadline < 0 else min(max(0, deadline - now) / 1_000_000, LONGEST_POLL_MS)
        poller = select.poll()
        wake_fd = kernel.wake_pipe()
        poller.register(wake_fd, select.POLLIN)
        wanted: dict[int, int] = {}
        for fds in self.host_waits.values():
            for fd, events in fds:
                wanted[fd] = wanted.get(fd, 0) | events
        for fd, events in wanted.items():
            poller.register(fd, events)
        if kernel.poked:
            timeout = 0
        ready = {fd for fd, _ in poller.poll(timeout)}
        if wake_fd in ready:
            kernel.drain_wake_pipe()
        kernel.clock.slept(time.monotonic_ns() - start, deadline)
        for task in list(self.host_waits):
            if any(fd in ready for fd, _ in self.host_waits[task]):
                self.wake_up_process(task)
        self.after_slice()

    def wait_alone(self, task: Task) -> None:
        """A process that Python drives sleeps: nothing else runs until its time is up."""
        while task.state != TASK_RUNNING:
            deadline = self.timers.next_deadline()
            if deadline < 0 and not self.host_waits:
                task.state = TASK_RUNNING
                raise RuntimeError(f"process {task.pid} would wait for ever in {task.wchan}")
            self.wait_for_host(deadline)


def run(kernel: "Kernel", cpu: "Cpu", task: Task) -> int:
    """Runs ``task`` and what it forks until all have ended, or it stops; its wait status (WIFEXITED, WIFSIGNALED or
    WIFSTOPPED of wait(2))."""
    kernel.cpu = cpu
    return kernel.sched.run(cpu, task)
