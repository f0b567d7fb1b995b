"""What a program gets from the process that starts it: limits, the nice value, how signals are met."""

import os
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from pagewalk.config import RLIMIT_NAMES

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

__all__ = ["host_limits", "inherit"]


def inherit(task: "Task") -> None:
    """Gives ``task`` this process's nice value, and the signals that it ignores or has blocked.

    Signals that this process ignores (nohup) the program ignores too, and blocked ones stay blocked. Python itself
    ignores SIGPIPE and SIGXFSZ: the program does not.
    """
    task.nice = os.getpriority(os.PRIO_PROCESS, 0)
    for sig in host_ignored_signals():
        task.sighand.action[sig - 1].handler = 1
    blocked = 0
    for number in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        blocked |= 1 << (number - 1)
    task.set_blocked(blocked)


def host_ignored_signals() -> list[int]:
    """Signals that this process ignores, those of the C library's own (32, 33) included, but for Python's two."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return [int(sig) for sig in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(sig) is signal.SIG_IGN]
    mask = int(status.partition("SigIgn:")[2].split()[0], 16)
    return [sig for sig in range(1, 65) if mask >> (sig - 1) & 1 and sig not in (signal.SIGPIPE, signal.SIGXFSZ)]


def host_limits() -> dict[int, tuple[int, int]]:
    """This process's resource limits, which a program inherits; -1 is unlimited."""
    limits = {}
    for number, name in enumerate(RLIMIT_NAMES):
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is not None:
            limits[number] = resource.getrlimit(which)
    return limits
