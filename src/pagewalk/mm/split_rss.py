"""Resident pages counted late, as kernels up to 6.1 do: each thread keeps what its faults change, and the address space
learns of it at every 66th fault of the thread, and when the thread ends or executes another program.

What the model itself counts (``mm.rss_stat``) is exact in every release; here is what of it /proc does not tell yet.

Mirrors: mm/memory.c (check_sync_rss_stat, sync_mm_rss), include/linux/mm_types_task.h (struct task_rss_stat) (6.1)
Differs: what reclaim takes from an address space during one of its faults may be counted late by a page.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.mm.mm_types import MM_SWAPENTS, MmStruct

if TYPE_CHECKING:
    from pagewalk.mm.current import Current
    from pagewalk.mm.system import System

TASK_RSS_EVENTS_THRESH: Final = 64


def begin_fault(system: "System", mm: MmStruct) -> list[int] | None:
    """A fault begins: the counters before it; None where it is not the running task's own."""
    current = system.current
    if not current.owns(mm):
        return None
    events = current.rss_events
    current.rss_events = events + 1
    if events > TASK_RSS_EVENTS_THRESH:
        sync_mm_rss(current, mm)
    return list(mm.rss_stat)


def end_fault(system: "System", mm: MmStruct, before: list[int]) -> None:
    """The fault is served: what it changed is the task's secret for now. A fault takes one page away at most, and puts
    none into swap: more than that is reclaim's, which counts at once."""
    pending = system.current.rss_pending
    for member, old in enumerate(before):
        change = max(mm.rss_stat[member] - old, -1)
        if member == MM_SWAPENTS:
            change = min(change, 0)
        pending[member] += change
        mm.rss_unsynced[member] += change


def sync_mm_rss(current: "Current", mm: MmStruct) -> None:
    """The address space learns what the task has kept."""
    for member, change in enumerate(current.rss_pending):
        mm.rss_unsynced[member] -= change
        current.rss_pending[member] = 0
    current.rss_events = 0
