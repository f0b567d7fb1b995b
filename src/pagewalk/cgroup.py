"""A memory cgroup as Python sees it.

group = machine.cgroup("web", memory_max="64M")
group.add(process)
machine.run(["/bin/app"], cgroup=group)
print(group.current, group.events["oom_kill"])
"""

from typing import TYPE_CHECKING

from pagewalk.config import parse_size
from pagewalk.errors import ConfigError
from pagewalk.mm.cpuset import all_cpus, parse_list
from pagewalk.mm.lru import SWAPPINESS_ANON_ONLY
from pagewalk.mm.mem_cgroup import PAGE_COUNTER_MAX, MemCgroup
from pagewalk.mm.memcg_names import EVENT_NAMES, MEMCG_SWAP_HIGH, SWAP_EVENT_NAMES
from pagewalk.mm.memcg_stat import memory_stat
from pagewalk.mm.memcontrol import MEM_CGROUP_ID_MAX
from pagewalk.mm.mempolicy import node_list, nodes_with_memory

if TYPE_CHECKING:
    from pagewalk.machine import Machine
    from pagewalk.process import Process

__all__ = ["Cgroup"]

Limit = int | str | None


def limit_pages(value: Limit, what: str, page_size: int) -> int:
    """A limit in pages of ``page_size`` bytes; None and "max" are none."""
    if value is None or value == "max":
        return PAGE_COUNTER_MAX
    return min(parse_size(value, what) // page_size, PAGE_COUNTER_MAX)


class Cgroup:
    """One group of a machine; ``machine.cgroup(name)`` makes it. Sizes are bytes or text; None is no limit.

    path   within the hierarchy, such as "/web/php"
    ident  its number
    """

    def __init__(self, machine: "Machine", group: MemCgroup) -> None:
        self.machine = machine
        self._group = group
        self._page_size = int(machine.system.page_size)
        self.path = group.path()
        self.ident = group.ident

    def __repr__(self) -> str:
        return f"<Cgroup {self.path}: {self.current} bytes>"

    def cgroup(self, name: str, **settings: Limit) -> "Cgroup":
        """A group below this one; settings as those of ``Machine.cgroup``."""
        return make_cgroup(self.machine, self._group, name, settings)

    def add(self, process: "Process") -> None:
        """Moves a process here. What it has touched before stays charged where it was."""
        self.machine.kernel.memcg_attach(process._task, self._group)

    def set(self, **settings: Limit | bool) -> None:
        """Changes ``memory_max``, ``memory_high``, ``memory_low``, ``memory_min``, ``swap_max``, ``swap_high``,
        ``zswap_max``, ``zswap_writeback`` or ``oom_group``; ``cpuset_cpus`` and ``cpuset_mems``: lists such as "0-1,3",
        None for all that the group above has.
        ConfigError for another name, or a value that is no size. A limit below the usage reclaims, and kills."""
        tree = self.machine.system.memcg
        for name, value in settings.items():
            if name == "oom_group":
                self._group.oom_group = bool(value)
                continue
            if name == "zswap_writeback":
                self._group.zswap_writeback = bool(value)
                continue
            if name in ("cpuset_cpus", "cpuset_mems"):
                self._set_cpuset(name, value)
                continue
            if isinstance(value, bool):
                raise ConfigError(f"{name}: expected bytes, text like '64M' or None, got {value!r}")
            pages = limit_pages(value, name, self._page_size)
            if name == "memory_max":
                tree.set_max(self._group, pages)
            elif name == "memory_high":
                tree.set_high(self._group, pages)
            elif name in ("memory_low", "memory_min"):
                setattr(self._group, name[7:], 0 if value is None else pages)
            elif name == "swap_max":
                self._group.swap_max = pages
            elif name == "swap_high":
                self._group.swap_high = pages
            elif name == "zswap_max":
                self._group.zswap_max = pages
            else:
                known = (
                    "memory_max, memory_high, memory_low, memory_min, swap_max, swap_high, zswap_max, zswap_writeback, "
                    "oom_group, cpuset_cpus, cpuset_mems"
                )
                raise ConfigError(f"a cgroup has no setting {name!r}; expected one of {known}")

    def _set_cpuset(self, name: str, value: object) -> None:
        """Gives the group CPUs or nodes; those above it share theirs out from now on."""
        kernel, system, group = self.machine.kernel, self.machine.system, self._group
        there = all_cpus(system) if name == "cpuset_cpus" else nodes_with_memory(system)
        mask = parse_list(str(value), 1024) if value is not None else 0
        if isinstance(value, bool) or mask < 0 or mask & ~there:
            raise ConfigError(f"{name}: expected a list of {node_list(there)}, got {value!r}")
        above: list[MemCgroup] = []
        at = group.parent
        while at is not None:
            above.insert(0, at)
            at = at.parent
        for each in above:
            if not each.subtree_cpuset:
                kernel.update_cpuset(each, each.cpus, each.mems, True)
        cpus, mems = (mask, group.mems) if name == "cpuset_cpus" else (group.cpus, mask)
        kernel.update_cpuset(group, cpus, mems)

    @property
    def current(self) -> int:
        """memory.current: bytes that the group and those below it use."""
        return int(self._group.usage) * self._page_size

    @property
    def peak(self) -> int:
        """memory.peak: the most it has used."""
        return int(self._group.watermark) * self._page_size

    @property
    def swap_current(self) -> int:
        """memory.swap.current: bytes in swap."""
        return int(self._group.swap_usage) * self._page_size

    @property
    def events(self) -> dict[str, int]:
        """memory.events: low, high, max, oom, oom_kill, oom_group_kill."""
        return dict(zip(EVENT_NAMES, self._group.events, strict=False))

    @property
    def swap_events(self) -> dict[str, int]:
        """memory.swap.events: high, max, fail."""
        return dict(zip(SWAP_EVENT_NAMES, self._group.events[MEMCG_SWAP_HIGH:], strict=True))

    @property
    def throttled_us(self) -> int:
        """Microseconds that its tasks were made to wait for being above memory.high."""
        return int(self._group.throttled_ns) // 1000

    @property
    def pressure(self) -> str:
        """memory.pressure."""
        return self._group.psi.text(self.machine.kernel.monotonic_ns())

    def reclaim(self, size: int | str, swappiness: int | None = None) -> bool:
        """memory.reclaim: gives ``size`` bytes back, if it has so many that can go; whether it had. ``swappiness``: 0
        to 200, or 201 for anonymous pages alone. ConfigError for another one."""
        if swappiness is not None and not 0 <= swappiness <= SWAPPINESS_ANON_ONLY:
            raise ConfigError(f"swappiness: expected 0 to {SWAPPINESS_ANON_ONLY}, got {swappiness}")
        pages = limit_pages(size, "reclaim", self._page_size)
        tree = self.machine.system.memcg
        return tree.proactive_reclaim(self._group, pages, -1 if swappiness is None else swappiness) == 0

    @property
    def stat(self) -> dict[str, int]:
        """memory.stat: bytes by use, then events."""
        kernel = self.machine.kernel
        return memory_stat(self.machine.system, self._group, kernel.memcg_faults(self._group))

    @property
    def pids(self) -> list[int]:
        """cgroup.procs: the processes of this group itself."""
        return [
            task.pid
            for task in self.machine.kernel.tasks()
            if task.memcg == self._group.ident and task.is_leader() and task.signal.live > 0
        ]


def make_cgroup(machine: "Machine", parent: MemCgroup, name: str, settings: dict[str, Limit]) -> Cgroup:
    """A new group below ``parent``. ConfigError where its name or a setting cannot be."""
    if not name or "/" in name or "\n" in name or name in (".", "..") or len(name) > 255:
        raise ConfigError(f"cgroup: expected a name without a slash, got {name!r}")
    if name in parent.children:
        raise ConfigError(f"cgroup: {parent.children[name].path()} exists already")
    parent.subtree_control = True
    group = machine.system.memcg.create(parent, name)
    if group is None:
        raise ConfigError(f"cgroup: no room for {name!r}: there are {MEM_CGROUP_ID_MAX} groups")
    made = Cgroup(machine, group)
    made.set(**settings)
    return made
