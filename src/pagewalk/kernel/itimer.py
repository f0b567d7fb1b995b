"""The interval timers of a process: setitimer(2) and alarm(2).

ITIMER_REAL stands in the machine's timer queue. ITIMER_VIRTUAL and ITIMER_PROF count what the process uses of the CPU,
and are looked at whenever it enters the kernel.

Mirrors: kernel/time/itimer.c, kernel/time/posix-cpu-timers.c (6.18)
Differs: CPU timers have no tick: while time is the host's, a helper thread brings the process into the kernel.
"""

from typing import TYPE_CHECKING

from pagewalk.kernel.clock import ITIMER_PROF, ITIMER_REAL, ITIMER_VIRTUAL, monotonic_ns
from pagewalk.kernel.signal_send import send_signal
from pagewalk.kernel.signal_types import SIGALRM, SIGPROF, SIGVTALRM, kernel_info
from pagewalk.kernel.timer import Timer

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


class RealTimer(Timer):
    """ITIMER_REAL of a process in the machine's queue."""

    def __init__(self, task: "Task") -> None:
        super().__init__()
        self.task = task

    def fire(self, now_ns: int) -> None:
        """SIGALRM, and the next period."""
        signal = self.task.signal
        timer = signal.timers[ITIMER_REAL]
        if timer.due(now_ns):
            send_signal(signal.leader, kernel_info(SIGALRM))
        if timer.expires_ns:
            self.task.kernel.sched.timers.add(self, timer.expires_ns)


def task_timer_clock(task: "Task", which: int) -> int:
    """The clock of one interval timer: the monotonic one, or the process's time in the program, or all its time."""
    if which == ITIMER_REAL:
        return task.kernel.monotonic_ns()
    user, system = task.signal.cpu_time_ns()
    return user if which == ITIMER_VIRTUAL else user + system


def itimer_changed(task: "Task") -> None:
    """A timer of the process was armed or disarmed."""
    signal = task.signal
    timers = task.kernel.sched.timers
    timers.cancel(signal.real_timer)
    expires = signal.timers[ITIMER_REAL].expires_ns
    if expires:
        signal.real_timer = RealTimer(task)
        timers.add(signal.real_timer, expires)
    note_cpu_timers(task)


def note_cpu_timers(task: "Task") -> None:
    """Brings ``signal.cpu_timers`` up to date."""
    timers = task.signal.timers
    task.signal.cpu_timers = timers[ITIMER_VIRTUAL].expires_ns != 0 or timers[ITIMER_PROF].expires_ns != 0


def check_cpu_timers(task: "Task") -> None:
    """ITIMER_VIRTUAL and ITIMER_PROF of the running process."""
    for which, sig in ((ITIMER_VIRTUAL, SIGVTALRM), (ITIMER_PROF, SIGPROF)):
        if task.signal.timers[which].due(task_timer_clock(task, which)):
            send_signal(task, kernel_info(sig))
    note_cpu_timers(task)


def arm_alarm(task: "Task") -> None:
    """While time is the host's: has the helper thread poke when the next timer is due."""
    kernel = task.kernel
    deadline = kernel.sched.timers.next_deadline()
    signal = task.signal
    if signal.cpu_timers:
        now = monotonic_ns()
        for which in (ITIMER_VIRTUAL, ITIMER_PROF):
            timer = signal.timers[which]
            if timer.expires_ns:
                due = now + max(timer.expires_ns - task_timer_clock(task, which), 0)
                deadline = due if deadline < 0 else min(deadline, due)
    if deadline > 0 and deadline != kernel.alarm_clock.deadline_ns:
        kernel.alarm_clock.set(deadline)
