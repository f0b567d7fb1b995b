"""Lists of reclaim per node and per memory cgroup: whose pages go, who reclaims, what is told of each node."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from mm_rig import MB, PAGE, RW

from pagewalk import Machine, Process
from pagewalk.check import check_machine
from pagewalk.kernel.syscall import mempolicy as calls
from pagewalk.mm.gfp import GFP_HIGHUSER_MOVABLE
from pagewalk.mm.lru_names import LRU_INACTIVE_ANON, NR_LRU_LISTS
from pagewalk.mm.node_texts import node_meminfo, node_vmstat
from pagewalk.mm.reclaim_seam import DEFAULT_SWAPPINESS
from pagewalk.mm.rmap import folio_referenced
from pagewalk.mm.scan_control import ScanControl
from pagewalk.mm.vmscan import lru_pages_of_zone, try_to_free_memory

pytestmark = pytest.mark.quick

BIND = 2


@pytest.fixture
def uneven() -> Iterator[Machine]:
    """Nodes of 64 and 32 MiB with swap; every invariant holds in the end."""
    with Machine(nodes=["64M", "32M"], swap="128M", aslr=False, overcommit_memory=1) as machine:
        yield machine
        check_machine(machine)


def bound(process: Process, length: int, nodes: int) -> int:
    """Untouched memory of the process that comes from ``nodes`` alone."""
    at = process.mmap(length, RW)
    words = process.mmap(PAGE, RW)
    process.write(words, struct.pack("<Q", nodes))
    assert calls.sys_mbind(process._task, at, length, BIND, words, 64, 0) == 0
    return at


def fields(text: str) -> dict[str, int]:
    """Numbers by name of a node's meminfo or vmstat."""
    found = {}
    for line in text.splitlines():
        words = line.replace(":", " ").split()
        name, value = (words[2], words[3]) if words[0] == "Node" else (words[0], words[1])
        found[name] = int(value)
    return found


def test_a_page_stands_on_the_lists_of_its_node(uneven: Machine) -> None:
    process = uneven.spawn()
    before = [fields(node_meminfo(uneven.system, nid)) for nid in (0, 1)]
    process.touch(bound(process, 6 * MB, 2), 6 * MB)
    after = [fields(node_meminfo(uneven.system, nid)) for nid in (0, 1)]
    assert after[1]["Inactive(anon)"] - before[1]["Inactive(anon)"] + after[1]["Active(anon)"] == 6 * 1024
    assert after[1]["AnonPages"] - before[1]["AnonPages"] == 6 * 1024
    assert after[0]["AnonPages"] - before[0]["AnonPages"] == 4  # the node mask
    total = fields(uneven.vmstat())
    each = [fields(node_vmstat(uneven.system, nid)) for nid in (0, 1)]
    for name in ("nr_inactive_anon", "nr_anon_pages", "nr_page_table_pages", "nr_slab_unreclaimable", "nr_free_pages"):
        assert sum([node[name] for node in each]) == total[name], name


def test_a_node_that_is_full_swaps_its_own_pages_and_no_others(uneven: Machine) -> None:
    process = uneven.spawn()
    at_home = bound(process, 8 * MB, 1)
    process.touch(at_home, 8 * MB)
    system = uneven.system
    away = bound(process, 40 * MB, 2)
    for page in range(40 * 256):
        process.write(away + page * PAGE, b"%08d" % page)
    assert system.vmstat.pswpout > 10 * 256
    assert process.mincore(at_home, 8 * MB) == [True] * (8 * 256)
    assert sum(process.mincore(away, 40 * MB)) < 32 * 256
    assert all(process.read(away + page * PAGE, 8) == b"%08d" % page for page in range(0, 40 * 256, 7))
    refaults = fields(node_vmstat(system, 1))["workingset_refault_anon"]
    assert refaults == system.vmstat.workingset_refault[0] > 0
    assert fields(node_vmstat(system, 0))["workingset_refault_anon"] == 0


def test_each_node_has_a_kswapd_that_gives_up_alone(uneven: Machine) -> None:
    process = uneven.spawn()
    area = bound(process, 26 * MB, 2)
    process.touch(area, 26 * MB)
    states = uneven.system.node.reclaim.kswapd  # type: ignore[attr-defined]
    states[1].failures = 16
    stalls = sum(uneven.system.vmstat.allocstall)
    process.touch(bound(process, 12 * MB, 2), 12 * MB)
    assert sum(uneven.system.vmstat.allocstall) > stalls  # nobody but the task itself makes room there
    assert states[0].failures == 0


def test_zoneinfo_counts_the_pages_of_each_zone() -> None:
    with Machine(ram="5G", aslr=False) as machine:
        process = machine.spawn()
        process.touch(process.mmap(8 * MB, RW), 8 * MB)
        system = machine.system
        text = machine.zoneinfo()
        counted = {}
        for part in text.split("Node 0, zone ")[1:]:
            rows = [line.split() for line in part.splitlines()]
            numbers = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
            counted[part.split()[0]] = numbers["nr_zone_inactive_anon"] + numbers["nr_zone_active_anon"]
            if len(counted) == 3:
                break
        assert counted["Normal"] == 8 * 256
        assert counted["DMA"] == counted["DMA32"] == 0
        dma32 = bound_to_zone(machine, 4)
        assert system.node.zone_of(dma32).name == "DMA32"


def bound_to_zone(machine: Machine, gfp_zone: int) -> int:
    """The frame of an allocation of the zone that the flag asks for."""
    page = machine.system.node.alloc_page(gfp_zone)
    assert page is not None
    pfn = int(page.pfn)
    machine.system.node.put_page(page)
    return pfn


@pytest.mark.parametrize("policy", ["lru", "mglru"])
def test_reclaim_of_the_machine_takes_from_every_group(policy: str) -> None:
    with Machine(ram="64M", swap="64M", aslr=False, reclaim_policy=policy) as machine:
        groups = [machine.cgroup("a"), machine.cgroup("b")]
        areas = []
        for group in groups:
            process = machine.spawn()
            group.add(process)
            area = process.mmap(6 * MB, RW)
            process.touch(area, 6 * MB)
            areas.append((process, area))
        lruvecs = machine.system.node.lruvecs
        assert [int(each.nr_evictable(True)) >= 6 * 256 for each in lruvecs[1:]] == [True, True]
        assert try_to_free_memory(machine.system, 1024) >= 256
        check_machine(machine)
        kept = [sum(process.mincore(area, 6 * MB)) for process, area in areas]
        assert all(0 < pages < 6 * 256 for pages in kept), kept
        for process, area in areas:
            process.touch(area, 6 * MB, write=False)
        assert sum(each.refaulted_pages[0] for each in lruvecs[1:]) == machine.system.vmstat.workingset_refault[0] > 0


def test_a_group_gives_its_own_pages_and_those_of_the_groups_below() -> None:
    with Machine(ram="64M", swap="64M", aslr=False) as machine:
        outer = machine.cgroup("outer")
        inner = machine.system.memcg.create(machine.system.memcg.groups[outer.ident], "inner")
        machine.system.memcg.groups[outer.ident].subtree_control = True
        other = machine.spawn()
        kept = other.mmap(4 * MB, RW)
        other.touch(kept, 4 * MB)
        process = machine.spawn()
        process._task.memcg = inner.ident
        area = process.mmap(4 * MB, RW)
        process.touch(area, 4 * MB)
        group = machine.system.memcg.groups[outer.ident]
        freed = machine.system.node.reclaim.try_to_free_mem_cgroup_pages(group, 100, DEFAULT_SWAPPINESS)
        assert freed >= 100
        assert sum(other.mincore(kept, 4 * MB)) == 1024
        assert sum(process.mincore(area, 4 * MB)) == 1024 - freed
        assert machine.system.node.lruvecs[inner.ident].nr(LRU_INACTIVE_ANON) > 0
        check_machine(machine)


def test_groups_give_in_proportion_and_no_more_than_is_wanted() -> None:
    with Machine(ram="64M", swap="64M", aslr=False) as machine:
        areas = []
        for name in "abc":
            group = machine.cgroup(name)
            process = machine.spawn()
            group.add(process)
            area = process.mmap(5 * MB, RW)
            process.touch(area, 5 * MB)
            areas.append((process, area))
        for lruvec in machine.system.node.lruvecs:
            for page in lruvec.all_pages(LRU_INACTIVE_ANON):
                folio_referenced(page)
        missing = []
        for _ in range(8):
            try_to_free_memory(machine.system, 32)
            missing.append([5 * 256 - sum(process.mincore(area, 5 * MB)) for process, area in areas])
        assert sum(missing[0]) < 64  # nobody gives more than is wanted
        assert 0 < max(missing[-1]) < 3 * min(missing[-1]), missing


@pytest.mark.parametrize("policy", ["lru", "mglru"])
@pytest.mark.parametrize(
    "settings",
    [{"memory_map": [(0, 24 * MB), ((4 << 30) - 8 * MB, (4 << 30) + 4 * MB)]}, {"ram": "900M", "arch": "x86_pae"}],
)
def test_pages_of_a_zone_are_counted_without_looking_at_each(policy: str, settings: dict[str, Any]) -> None:
    with Machine(aslr=False, swap="64M", reclaim_policy=policy, overcommit_memory=1, **settings) as machine:
        system = machine.system
        node = system.node
        held = []
        while node.zonelist_here[0].free_pages > 600:  # user space begins in the lower zones, too
            page = node.alloc_pages(GFP_HIGHUSER_MOVABLE, 9 if settings.get("arch") else 0)
            assert page is not None
            held.append(page)
        process = machine.spawn()
        area = process.mmap(10 * MB, RW)
        process.touch(area, 10 * MB)
        sc = ScanControl(system, node, 32)
        counted = 0
        for lru in range(NR_LRU_LISTS):
            pages = node.lruvec.all_pages(lru)
            for zone in node.zonelist_here:
                expected = len([page for page in pages if node.zone_of(page.pfn) is zone])
                assert lru_pages_of_zone(node, node.lruvec, lru, zone) == expected
                sc.set_reclaim_idx(zone.index)
                fitting = [page for page in pages if node.zone_of(page.pfn).index <= zone.index]
                assert sc.lru_size(node.lruvec, lru) == len(fitting)
                counted += expected > 0
        assert counted >= 2  # of two zones at least
        for page in held:
            node.put_page(page)
        check_machine(machine)
