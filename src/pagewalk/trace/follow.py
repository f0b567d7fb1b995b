"""A replay that follows the recorded kernel: page tables become what they became in the run, when they did, and TLBs
are flushed when they were. So it counts what the run has counted, whatever the kernel's reasons were: reclaim, pages
around a fault, writeback, a call on another process.

The other way, for other machines, is that this machine's kernel serves the faults and calls again (``replay.Replay``).

Differs: with other TLBs than those of the run, accessed marks may be set at other times; what reclaim would have made
of that is not told.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from pagewalk.config import Config
from pagewalk.cpu.tlb_model import feed
from pagewalk.errors import ConfigError
from pagewalk.hw.loop import ASK
from pagewalk.hw.walker import FETCH, OK, PEEK, READ, walk
from pagewalk.mm.fault import FAULT_MAPERR, FAULT_NONE
from pagewalk.trace import events as ev
from pagewalk.trace.followed_spaces import FollowedSpaces
from pagewalk.trace.replay import SAME_MACHINE, Replay

if TYPE_CHECKING:
    from pagewalk.hw.tlb_config import TlbConfig
    from pagewalk.machine import Machine
    from pagewalk.trace.format import TraceInfo

__all__ = ["Following", "can_follow"]

# What decides nothing in a replay: it has the addresses, the order of tasks and the limits of the run.
_NOT_ASKED: Final = frozenset(("aslr", "seed", "kaslr", "skip_sleep", "rlimits"))


def can_follow(info: "TraceInfo | None", config: Config) -> bool:
    """Whether a trace tells what its kernel did, and that was a kernel on such a machine: each setting is that of the
    recorded one, or was not chosen."""
    if info is None or info.extra.get("tables") != "1":
        return False
    try:
        recorded = json.loads(info.extra.get("config", "{}"))
        given = json.loads(json.dumps(asdict(config), default=str))
        usual = json.loads(json.dumps(asdict(Config()), default=str))
        return all(
            value == recorded[name] or (name not in SAME_MACHINE and value == usual[name])
            for name, value in given.items()
            if name not in _NOT_ASKED
        )
    except (ValueError, TypeError, KeyError):
        return False


class Following(Replay):
    """One such replay."""

    follows = True

    def __init__(self, machine: "Machine", tlb: "TlbConfig") -> None:
        super().__init__(machine, tlb)
        self._followed = FollowedSpaces(machine)
        self.spaces: Any = self._followed
        self._coming: list[ev.Tables | ev.Flush] = []

    def _apply(self, event: Any) -> None:
        self._count(event.kind, 1)
        if isinstance(event, ev.Tables | ev.Flush) and event.ahead:
            self._coming.append(event)
            return
        self.cpus.flusher.current = event.cpu
        if isinstance(event, ev.Fault):
            self._fault(event)
        elif isinstance(event, ev.Lazy) or (isinstance(event, ev.Switch) and event.task == 0):
            self.cpus.idle(event.cpu)
        elif not isinstance(event, ev.Frames):
            self._followed.apply(event)
        self._come()

    def _come(self) -> None:
        """All that was told ahead of faults has happened."""
        while self._coming:
            self._come_next()

    def _come_next(self) -> bool:
        """What was told ahead of the next fault happens; False where that is nothing."""
        first = self._coming[0].ahead
        coming = [event for event in self._coming if event.ahead == first]
        self._coming = [event for event in self._coming if event.ahead != first]
        for event in coming:
            self.cpus.flusher.current = event.cpu
            self._followed.apply(event)
        return any(isinstance(event, ev.Tables) and (event.entries or event.minor or event.major) for event in coming)

    def _run(self, accesses: Any, start: int, end: int) -> None:
        while start < end:
            self._space = space = self.spaces.of(int(accesses.tasks[start]))
            mmu = self.cpus.switch(int(accesses.cpus[start]), space.mm)
            start = feed(mmu, accesses, start, end, self._serve_all, self._not_served)

    def _fault(self, event: ev.Fault) -> None:
        """A fault that the accesses do not show."""
        if not READ <= event.access <= FETCH:
            raise ConfigError(f"replay: expected a fault of kind 0 to {FETCH}, got {event.access}")
        self._space = space = self.spaces.of(event.task)
        system = self.machine.system
        found = walk(system.ram, system.format, int(space.mm.pgd_pfn), event.addr, PEEK)
        if found.status != OK or not found.rights >> event.access & 1:
            self.cpus.switch(event.cpu, space.mm).translate(event.addr, event.access)
            if not self._serve(event.addr, event.access):
                self.report.refused += 1

    def _serve(self, addr: int, kind: int) -> bool:
        """What the kernel did; without that, the mark that was missing. False where the access is refused."""
        if self._coming:
            return self._come_next()
        assert self._space is not None
        return self._followed.mark(self._space.mm, addr, kind)

    def _serve_all(self, resume: Callable[[object], int], what: object) -> int:
        """The same of one fault after the other, until one is refused; a FAULT_* value."""
        while (fault := resume(what)) & ASK != ASK:
            if not self._serve(fault >> 2, fault & ASK):
                return FAULT_MAPERR
        return FAULT_NONE

    def _not_served(self, addr: int, kind: int, outcome: int) -> bool:
        """The access is left out."""
        self.report.refused += 1
        return False
