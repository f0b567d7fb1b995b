"""Android's low memory killers: when each of the two fires, and whom it chooses; both long before Linux's own does.

The driver (kernels up to 4.4) looks whenever memory is reclaimed: with less than ``minfree[i]`` pages free and less
than that in files, processes with an oom_score_adj of ``adj[i]`` or more may die. The daemon, lmkd, is told by the
kernel that tasks have waited for memory for so long (PSI), and then looks at what is free, at swap and at refaults.

Sources: drivers/staging/android documentation (lowmemorykiller); Android's system/memory/lmkd/README.md
(properties and their defaults); Documentation/accounting/psi.rst (windows of triggers).

Mirrors: drivers/staging/android/lowmemorykiller.c (4.4), system/memory/lmkd/lmkd.cpp (Android 11 and later)
Differs: lmkd knows all processes, not only those that it was told of; where it chooses among equals by age it takes the
    oldest; no file-cache minimum and no critical upgrade of levels.
"""

from typing import Final, final

from pagewalk.mm.oom_kill import OomTask
from pagewalk.mm.psi import PsiTrigger

LEVELS: Final = 6
NO_KILL: Final = 1001  # OOM_SCORE_ADJ_MAX + 1: nobody
PERCEPTIBLE_APP_ADJ: Final = 200

# What /sys/module/lowmemorykiller/parameters begins with: four of six levels.
DEFAULT_ADJ: Final = (0, 1, 6, 12)
DEFAULT_MINFREE: Final = (3 * 512, 2 * 1024, 4 * 1024, 16 * 1024)


@final
class LowMemoryKiller:
    """The driver's settings and its rule.

    adj, minfree   up to six levels: oom_score_adj, and pages below which it holds; the first one that holds counts
    deathpending_ns  until when nobody else is killed, because a victim has not ended yet
    """

    def __init__(self) -> None:
        self.adj: list[int] = list(DEFAULT_ADJ)
        self.minfree: list[int] = list(DEFAULT_MINFREE)
        self.cost = 32
        self.debug_level = 1
        self.deathpending_ns = 0

    def min_score_adj(self, other_free: int, other_file: int) -> tuple[int, int]:
        """(oom_score_adj from which on processes may die, the limit in pages that was passed), or (NO_KILL, 0) where
        memory is not that low. ``other_free``: free pages above the reserves; ``other_file``: page cache without shared
        memory."""
        for level in range(min(len(self.adj), len(self.minfree))):
            if other_free < self.minfree[level] and other_file < self.minfree[level]:
                return self.adj[level], self.minfree[level]
        return NO_KILL, 0

    def select(self, tasks: list[OomTask], min_score_adj: int) -> OomTask | None:
        """The process with the largest oom_score_adj from ``min_score_adj`` on, the largest resident one of those; the
        first one found of equals."""
        selected: OomTask | None = None
        for task in tasks:
            if task.unkillable or task.victim or task.oom_score_adj < min_score_adj or task.rss <= 0:
                continue
            if selected is None or (task.oom_score_adj, task.rss) > (selected.oom_score_adj, selected.rss):
                selected = task
        return selected


@final
class Figures:
    """What lmkd reads at an event; pages.

    free, min_mark, low_mark, high_mark   free pages and the marks of all zones, their reserves added
    swap_total, swap_free
    file_lru    pages of files on the lists; refaults: pages that came back since boot
    direct_reclaim  a task reclaims itself since the last event
    """

    def __init__(self) -> None:
        self.free = 0
        self.min_mark = 0
        self.low_mark = 0
        self.high_mark = 0
        self.swap_total = 0
        self.swap_free = 0
        self.file_lru = 0
        self.refaults = 0
        self.direct_reclaim = False


@final
class Lmkd:
    """The daemon with the defaults of a device that is not low on RAM (ro.lmk.*).

    psi_partial_stall_ms, psi_complete_stall_ms  thresholds of "some" and "full" in a second
    thrashing_limit        refaults in percent of the file pages at the window's start
    swap_free_low_percentage  swap is low with less than that free
    kill_heaviest_task     the largest of the same oom_score_adj, rather than the oldest
    """

    def __init__(self, *, low_ram: bool = False) -> None:
        self.psi_partial_stall_ms = 200 if low_ram else 70
        self.psi_complete_stall_ms = 700
        self.thrashing_limit = 30 if low_ram else 100
        self.thrashing_limit_decay = 50 if low_ram else 10
        self.swap_free_low_percentage = 10
        self.kill_heaviest_task = False
        self.some = PsiTrigger(self.psi_partial_stall_ms * 1_000_000)
        self.full = PsiTrigger(self.psi_complete_stall_ms * 1_000_000)
        self.limit = self.thrashing_limit
        self.window_start_ns = -1
        self.base_refaults = 0
        self.base_file_lru = 0
        self.killed_before = False

    def thrashing(self, now_ns: int, seen: Figures) -> int:
        """Refaults of this second in percent of the file pages that there were at its start; the limit recovers with
        every second without a kill."""
        if self.window_start_ns < 0 or now_ns - self.window_start_ns > 1_000_000_000:
            self.window_start_ns = now_ns
            self.base_refaults = seen.refaults
            self.base_file_lru = seen.file_lru
            self.limit = self.thrashing_limit
        return (seen.refaults - self.base_refaults) * 100 // (self.base_file_lru + 1)

    def decide(self, now_ns: int, seen: Figures, critical: bool) -> tuple[int, str]:
        """(oom_score_adj from which on one process may die, why); (NO_KILL, "") where none needs to. ``critical``: the
        trigger was that of "full"."""
        thrashing = self.thrashing(now_ns, seen)
        swap_is_low = seen.swap_total > 0 and seen.swap_free * 100 < seen.swap_total * self.swap_free_low_percentage
        below_high = seen.free < seen.high_mark
        if self.killed_before and seen.free < seen.low_mark:
            return self.choose(0, "pressure after kill")
        if critical:
            return self.choose(0, "device is not responding")
        if swap_is_low and thrashing > self.limit:
            return self.choose(0, "low swap and thrashing", cut=True)
        if swap_is_low and below_high:
            spare = seen.free > seen.min_mark and thrashing < self.limit
            return self.choose(PERCEPTIBLE_APP_ADJ + 1 if spare else 0, "low memory and low swap")
        if below_high and thrashing > self.limit:
            return self.choose(PERCEPTIBLE_APP_ADJ + 1, "low memory and thrashing", cut=True)
        if seen.direct_reclaim and thrashing > self.limit:
            return self.choose(PERCEPTIBLE_APP_ADJ + 1, "direct reclaim and thrashing", cut=True)
        self.killed_before = False
        return NO_KILL, ""

    def choose(self, min_score_adj: int, why: str, *, cut: bool = False) -> tuple[int, str]:
        """A kill is due; the limit of thrashing is lowered where that was the reason."""
        if cut:
            self.limit = self.limit * (100 - self.thrashing_limit_decay) // 100
        self.killed_before = True
        return min_score_adj, why

    def select(self, tasks: list[OomTask], min_score_adj: int) -> OomTask | None:
        """A process with the largest oom_score_adj from ``min_score_adj`` on. Of several the oldest, or the largest:
        where that is set, and among those that the user would miss (200 and less)."""
        found: list[OomTask] = []
        for task in tasks:
            if task.unkillable or task.victim or task.oom_score_adj < min_score_adj:
                continue
            if not found or task.oom_score_adj > found[0].oom_score_adj:
                found = [task]
            elif task.oom_score_adj == found[0].oom_score_adj:
                found.append(task)
        if not found:
            return None
        if not self.kill_heaviest_task and found[0].oom_score_adj > PERCEPTIBLE_APP_ADJ:
            return found[0]
        best = found[0]
        for task in found:
            if task.rss + task.swapents > best.rss + best.swapents:
                best = task
        return best
