"""Machines of a few hundred frames for random programs: which there are, and how they are made so small."""

import re
from pathlib import Path
from typing import Any

from pagewalk import Machine
from pagewalk.mm.buddy import rmqueue_buddy
from pagewalk.mm.gfp import MIGRATE_MOVABLE
from pagewalk.mm.lruvec import ReclaimPolicy
from pagewalk.mm.zone import Zone

# What a run's machine has: fields of Config, frames by zone ("" stands for the highest of the node), and what else
# belongs to the programs ("groups": memory cgroups; "nodes": policies).
KINDS: tuple[tuple[str, dict[str, Any], dict[str, int], frozenset[str]], ...] = (
    ("plain", {}, {"": 84}, frozenset()),
    ("a rotating disk", {"swap_rotational": True}, {"": 84}, frozenset()),
    ("groups", {}, {"": 90}, frozenset({"groups"})),
    ("short of swap", {"swap": "200K", "swap_rotational": True}, {"": 84}, frozenset()),
    ("nodes", {"nodes": ("32M", "32M", "32M")}, {"": 34}, frozenset({"nodes"})),
    ("high memory", {"arch": "x86_pae", "ram": "1G"}, {"Normal": 52, "HighMem": 40}, frozenset()),
    ("generations", {"reclaim_policy": "mglru"}, {"": 84}, frozenset()),
    ("generations, short of swap", {"reclaim_policy": "mglru", "swap": "200K"}, {"": 84}, frozenset()),
    ("generations, groups, nodes", {"reclaim_policy": "mglru", "nodes": ("32M", "32M")}, {"": 56},
     frozenset({"groups", "nodes"})),
    ("a user's policy", {"reclaim_policy": "Clock"}, {"": 84}, frozenset()),
    ("a compressed device, groups, short of swap", {"swap": "120K", "zram": "80K"}, {"": 90}, frozenset({"groups"})),
)  # fmt: skip
MIN, LOW, HIGH = 6, 10, 16  # the marks of every zone


def make_machine(kind: int, rw: list[str], swappiness: int) -> Machine:
    """The machine of a kind."""
    _, fields, frames, _ = KINDS[kind]
    settings = {"ram": "64M", "swap": "480K,480K:3", **fields}
    if "nodes" in settings:
        del settings["ram"]
    if settings.get("reclaim_policy") == "Clock":
        settings["reclaim_policy"] = documented("Clock")
    machine = Machine(aslr=False, rw=rw, warm=False, swappiness=swappiness, **settings)
    make_small(machine, frames)
    return machine


def documented(name: str) -> type[ReclaimPolicy]:
    """A policy as docs/reclaim.md has it."""
    text = (Path(__file__).parents[2] / "docs/reclaim.md").read_text()
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if f"class {name}(" in block]
    found: dict[str, Any] = {}
    shared = "from itertools import islice\nfrom pagewalk.mm.lruvec import ReclaimPolicy\n"
    exec(shared + block.partition("\nmachine = ")[0], found)
    policy = found[name]
    assert issubclass(policy, ReclaimPolicy)
    return policy


def make_small(machine: Machine, frames: dict[str, int]) -> None:
    """Leaves each node ``frames`` free frames by zone ("" stands for its highest); their marks are made to measure."""
    for node in machine.system.nodes:
        node.drain_all_pages()
        populated = [zone for zone in node.zones if zone.managed_pages]
        for zone in populated:
            take_away(zone, frames.get(zone.name, frames.get("", 0) if zone is populated[-1] else 0))
            zone.watermark_min, zone.watermark_low, zone.watermark_high = MIN, LOW, HIGH
            zone.lowmem_reserve = [0] * len(zone.lowmem_reserve)
            zone.pcp.high = zone.pcp.high_min = zone.pcp.high_max = 4
            zone.pcp.batch = 1
    for node in machine.system.nodes:
        node.zonelist = [zone for zone in node.zonelist if zone.managed_pages]
        node.zonelist_here = [zone for zone in node.zonelist_here if zone.managed_pages]


def take_away(zone: Zone, frames: int) -> None:
    """Takes free frames from a zone until ``frames`` of them are left: those that no list has seen yet, if the others
    will do, and whole blocks."""
    unseen = sum(end - start for start, end in zone.deferred)
    if zone.free_pages - unseen >= frames:
        zone.free_pages -= unseen
        zone.managed_pages -= unseen
        zone.deferred = []
    for order in range(int(zone.mem_map.max_order), -1, -1):
        while zone.free_pages - (1 << order) >= frames:
            page = rmqueue_buddy(zone, order, MIGRATE_MOVABLE, 0)
            if page is None:
                break
            page.flags = 0
            zone.managed_pages -= 1 << order


class Watermarks:
    """Watches the marks: a zone that nobody was entitled to go below stays above them."""

    def __init__(self, machine: Machine) -> None:
        self.system = machine.system
        self.seen = self.entitled()
        self.low = {zone for zone in self.system.zones if zone.free_pages <= zone.watermark_min}

    def entitled(self) -> int:
        """Requests so far that might go below min: reclaim's own, and those of victims of the OOM killer."""
        return sum(node.reserve_allocs for node in self.system.nodes)

    def check(self) -> None:
        """After a step. A page is taken where one more is above the mark, and a refill of a per-CPU list takes
        ``batch`` at once."""
        now = self.entitled()
        for zone in self.system.zones:
            if zone.free_pages + zone.pcp.batch > zone.watermark_min or not zone.managed_pages:
                self.low.discard(zone)
            elif now != self.seen:
                self.low.add(zone)
            else:
                text = f"{zone.name} of node {zone.node_id}: {zone.free_pages} free, min {zone.watermark_min}"
                assert zone in self.low, f"below the mark, and nobody was entitled to it: {text}"
        self.seen = now
