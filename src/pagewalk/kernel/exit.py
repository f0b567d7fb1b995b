"""The end of a task.

Mirrors: kernel/exit.c (6.18)
Differs: memory stays until ``Kernel.release_task``, so that the report can look at it; nobody waits for the task.
"""

from typing import TYPE_CHECKING

from pagewalk.kernel.clock import IntervalTimer
from pagewalk.mm.munmap import exit_mmap

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

EXIT_ZOMBIE = 32


def do_exit(task: "Task", code: int) -> None:
    """Ends ``task`` with a wait status: its files are closed and dirty pages of host files are written back."""
    if task.exit_code is not None:
        return
    on_exit = task.kernel.on_exit
    if on_exit is not None:
        on_exit(task)
    task.exit_code = code
    task.state = EXIT_ZOMBIE
    task.timers = [IntervalTimer(), IntervalTimer(), IntervalTimer()]
    task.kernel.alarm_clock.set(0)
    task.files.exit()
    task.kernel.ns.sync()


def exit_mm(task: "Task") -> None:
    """Frees the address space of a task that has ended."""
    exit_mmap(task.mm)
    task.fs.exit()
