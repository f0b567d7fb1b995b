"""Who has the tasks: what /proc asks of the kernel.

Mirrors: kernel/pid.c (6.18), as far as /proc needs it
Differs: nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


class TaskRegistry:
    """The kernel object's side of /proc; ``kernel.kernel.Kernel`` fills it in."""

    def current_task(self) -> "Task | None":
        """The running task, for /proc/self."""
        return None

    def find_task(self, pid: int) -> "Task | None":
        """The task with this id."""
        return None

    def tasks(self) -> "list[Task]":
        """Every task, by id."""
        return []

    def sysvipc_shm_lines(self) -> str:
        """The lines of /proc/sysvipc/shm below its heading, one for each System V segment."""
        return ""
