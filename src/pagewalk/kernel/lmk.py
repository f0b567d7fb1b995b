"""Android's low memory killers at work: what they read off the machine, and the kill.

``Config.lmk`` chooses one: "driver", "lmkd" or none. Both look when memory is reclaimed: the driver is a shrinker, and
only reclaim makes tasks stall, which is what lmkd is told of.

Mirrors: drivers/staging/android/lowmemorykiller.c (4.4), system/memory/lmkd/lmkd.cpp
Differs: lmkd is no process of the machine; it acts at once, without a delay of its own.
"""

from typing import TYPE_CHECKING, Final, final

from pagewalk.mm.lmk import NO_KILL, Figures, Lmkd, LowMemoryKiller
from pagewalk.mm.lru_names import LRU_ACTIVE_FILE, LRU_INACTIVE_FILE
from pagewalk.mm.oom_kill import OomTask

if TYPE_CHECKING:
    from pagewalk.kernel.kernel import Kernel

DEATH_PENDING_NS: Final = 1_000_000_000


@final
class LowMemory:
    """The killer of one machine; None of both where the configuration wants none."""

    def __init__(self, kernel: "Kernel") -> None:
        self.kernel = kernel
        mode = kernel.config.lmk
        self.driver: LowMemoryKiller | None = LowMemoryKiller() if mode == "driver" else None
        self.daemon: Lmkd | None = Lmkd() if mode == "lmkd" else None
        self.seen_stalls = 0

    def scan(self) -> None:
        """Memory is being reclaimed."""
        if self.driver is not None:
            self.scan_driver(self.driver)
        elif self.daemon is not None:
            self.scan_daemon(self.daemon)

    def scan_driver(self, driver: LowMemoryKiller) -> None:
        """lowmem_scan."""
        kernel = self.kernel
        system = kernel.system
        reserve = totalreserve_pages(kernel)
        other_free = system.node.nr_free_pages() - reserve
        vmstat = system.vmstat
        other_file = int(vmstat.nr_file_pages - vmstat.nr_shmem - vmstat.nr_swapcached)
        min_score_adj, limit = driver.min_score_adj(other_free, other_file)
        if min_score_adj == NO_KILL:
            return
        now = kernel.monotonic_ns()
        tasks = kernel.oom.candidates()
        if now <= driver.deathpending_ns and any(task.victim for task in tasks):
            return
        victim = driver.select(tasks, min_score_adj)
        if victim is None:
            return
        driver.deathpending_ns = now + DEATH_PENDING_NS
        asks = kernel.current_task()
        comm, pid = ("swapper", 0) if asks is None else (asks.comm, asks.pid)
        self.kill(
            victim,
            f"lowmemorykiller: Killing '{victim.comm}' ({victim.pid}), adj {victim.oom_score_adj}, to free "
            f"{victim.rss * 4}kB on behalf of '{comm}' ({pid}) because cache {other_file * 4}kB is below limit "
            f"{limit * 4}kB for oom_score_adj {min_score_adj}; free memory is {other_free * 4}kB above reserved",
        )

    def scan_daemon(self, daemon: Lmkd) -> None:
        """mp_event_psi."""
        kernel = self.kernel
        now = kernel.monotonic_ns()
        psi = kernel.system.psi
        critical = daemon.full.update(now, int(psi.full.total_ns))
        if not daemon.some.update(now, int(psi.some.total_ns)) and not critical:
            return
        seen = self.figures()
        min_score_adj, why = daemon.decide(now, seen, critical)
        if min_score_adj == NO_KILL:
            return
        victim = daemon.select(kernel.oom.candidates(), min_score_adj)
        if victim is not None:
            self.kill(
                victim,
                f"lmkd: Kill '{victim.comm}' ({victim.pid}), uid {victim.uid}, oom_score_adj {victim.oom_score_adj} "
                f"to free {victim.rss * 4}kB rss, {victim.swapents * 4}kB swap; reason: {why}",
            )

    def figures(self) -> Figures:
        """What lmkd reads in /proc/zoneinfo, meminfo and vmstat."""
        system = self.kernel.system
        seen = Figures()
        seen.free = system.node.nr_free_pages()
        for zone in system.zones:
            if zone.managed_pages:
                reserve = int(max(zone.lowmem_reserve))
                seen.min_mark += reserve + zone.watermark_min
                seen.low_mark += reserve + int(zone.watermark_low)
                seen.high_mark += reserve + zone.watermark_high
        seen.swap_total = int(system.swap.total_swap_pages)
        seen.swap_free = int(system.swap.nr_swap_pages)
        seen.file_lru = system.page_state(LRU_INACTIVE_FILE) + system.page_state(LRU_ACTIVE_FILE)
        seen.refaults = system.vmstat.workingset_refault[1]
        stalls = sum(system.vmstat.allocstall)
        seen.direct_reclaim = stalls > self.seen_stalls
        self.seen_stalls = stalls
        return seen

    def kill(self, victim: OomTask, message: str) -> None:
        """SIGKILL; it may use the reserves to end."""
        self.kernel.oom.low_memory_kill(victim, message)


def totalreserve_pages(kernel: "Kernel") -> int:
    """Pages that user space cannot have: of each zone the high mark and its largest reserve for others' requests."""
    total = 0
    for zone in kernel.system.zones:
        if zone.managed_pages:
            total += min(zone.max_reserve + zone.watermark_high, zone.managed_pages)
    return total
