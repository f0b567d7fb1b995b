"""NUMA policies on machines with several nodes: where pages come from, how they move, what is told of it."""

import struct
from collections.abc import Iterator

import pytest
from mm_rig import MB, PAGE, RW

from pagewalk import Config, Machine, Process
from pagewalk.check import check_machine
from pagewalk.fs.procfs.numa_maps import numa_maps_text
from pagewalk.kernel.syscall import mempolicy as calls
from pagewalk.mm.migrate import page_to_nid

pytestmark = pytest.mark.quick

PREFERRED, BIND, INTERLEAVE, LOCAL, MANY, WEIGHTED = range(1, 7)


@pytest.fixture
def two() -> Iterator[Process]:
    """A process on a machine of two nodes of 64 MiB, the CPU on node 0; every invariant holds in the end."""
    with Machine(nodes=["64M", "64M"], aslr=False) as machine:
        process = machine.spawn()
        yield process
        check_machine(machine)


def mask(process: Process, nodes: int) -> int:
    """A node mask in user memory."""
    at = process.mmap(PAGE, RW)
    process.write(at, struct.pack("<Q", nodes))
    return at


def mbind(process: Process, at: int, length: int, mode: int, nodes: int, flags: int = 0) -> int:
    return calls.sys_mbind(process._task, at, length, mode, mask(process, nodes), 64, flags)


def nodes_of(process: Process, at: int, count: int) -> list[int]:
    """The node of each page; -1 where there is none."""
    system = process.machine.system
    found = []
    for page in range(count):
        mapped = calls.page_at(process._task.mm, at + page * PAGE)
        found.append(-1 if mapped is None else page_to_nid(system, mapped))
    return found


def test_pages_come_from_the_node_of_the_cpu_and_then_from_the_next(two: Process) -> None:
    at = two.mmap(40 * MB, RW)
    two.touch(at, 40 * MB)
    places = nodes_of(two, at, 40 * 256)
    assert places[0] == 0
    assert places[-1] == 1
    assert places == sorted(places)
    zones = [zone for zone in two.machine.system.zones if zone.managed_pages]
    missed = sum(zone.numa_miss for zone in zones if zone.node_id == 1)
    assert places.count(1) <= missed <= places.count(1) + 20  # page tables are among them
    assert sum(zone.numa_foreign for zone in zones if zone.node_id == 0) == missed


def test_bind_takes_from_its_nodes_alone(two: Process) -> None:
    at = two.mmap(PAGE * 8, RW)
    assert mbind(two, at, PAGE * 8, BIND, 2) == 0
    two.touch(at, PAGE * 8)
    assert nodes_of(two, at, 8) == [1] * 8
    assert f"{at:08x} bind:1 anon=8 dirty=8 active=0 N1=8 kernelpagesize_kB=4\n" in numa_maps_text(two._task.mm)


def test_interleave_goes_round_by_the_page_of_the_mapping(two: Process) -> None:
    at = two.mmap(PAGE * 8, RW)
    assert mbind(two, at, PAGE * 8, INTERLEAVE, 3) == 0
    for page in (7, 0, 3, 1):
        two.write(at + page * PAGE, b"x")
    places = nodes_of(two, at, 8)
    first = places[0]
    assert [places[page] for page in (0, 1, 3, 7)] == [first, 1 - first, 1 - first, 1 - first]


def test_weighted_interleave_gives_nodes_their_turns(two: Process) -> None:
    two.machine.system.node_weights = [3, 1]
    at = two.mmap(PAGE * 16, RW)
    assert mbind(two, at, PAGE * 16, WEIGHTED, 3) == 0
    two.touch(at, PAGE * 16)
    assert nodes_of(two, at, 16).count(0) == 12


def test_a_preferred_node_is_where_one_begins_not_where_one_stays(two: Process) -> None:
    at = two.mmap(80 * MB, RW)
    assert mbind(two, at, 80 * MB, PREFERRED, 2) == 0
    two.touch(at, 80 * MB)
    places = nodes_of(two, at, 80 * 256)
    assert places[0] == 1
    assert places[-1] == 0


def test_the_policy_of_the_task_is_inherited_and_used_where_a_mapping_has_none(two: Process) -> None:
    assert calls.sys_set_mempolicy(two._task, BIND, mask(two, 2), 64) == 0
    child = two.fork()
    at = child.mmap(PAGE, RW)
    child.write(at, b"x")
    assert nodes_of(child, at, 1) == [1]
    assert calls.sys_set_mempolicy(child._task, 0, 0, 0) == 0
    child.exit()
    assert two._task.mempolicy is not None


def test_mbind_moves_pages_that_are_elsewhere_with_their_bytes(two: Process) -> None:
    at = two.mmap(PAGE * 4, RW)
    for page in range(4):
        two.write(at + page * PAGE, b"page %d" % page)
    assert mbind(two, at, PAGE * 4, BIND, 2, 2) == 0
    assert nodes_of(two, at, 4) == [1] * 4
    assert [two.read(at + page * PAGE, 6) for page in range(4)] == [b"page %d" % page for page in range(4)]
    assert two.machine.system.vmstat.pgmigrate_success == 4


def test_a_shared_page_moves_for_those_who_may_move_all(two: Process) -> None:
    at = two.mmap(PAGE, RW)
    two.write(at, b"shared")
    child = two.fork()
    assert mbind(two, at, PAGE, BIND, 2, 2 | 1) == -5
    assert nodes_of(two, at, 1) == [0]
    assert mbind(two, at, PAGE, BIND, 2, 4) == 0
    assert nodes_of(two, at, 1) == nodes_of(child, at, 1) == [1]
    assert child.read(at, 6) == b"shared"
    child.exit()


def test_move_pages_and_migrate_pages_say_where_pages_are(two: Process) -> None:
    at = two.mmap(PAGE * 2, RW)
    two.write(at, b"x")
    task = two._task
    area = two.mmap(PAGE, RW)
    two.write(area, struct.pack("<QQiiii", at, at + PAGE, 1, 1, 9, 9))
    assert calls.sys_move_pages(task, 0, 2, area, area + 16, area + 24, 2) == 0
    assert struct.unpack("<ii", two.read(area + 24, 8)) == (1, -2)
    assert calls.sys_migrate_pages(task, 0, 64, mask(two, 2), mask(two, 1)) == 0
    assert nodes_of(two, at, 1) == [0]


def test_neighbours_merge_only_with_equal_policies(two: Process) -> None:
    at = two.mmap(PAGE * 6, RW)
    masks = [mask(two, 1), mask(two, 1), mask(two, 2)]
    for part, nodes in enumerate(masks):
        assert calls.sys_mbind(two._task, at + part * 2 * PAGE, 2 * PAGE, BIND, nodes, 64, 0) == 0
    parts = [(vma.vm_start, vma.vm_end) for vma in two._task.mm.vmas if at <= vma.vm_start < at + 6 * PAGE]
    assert parts == [(at, at + 4 * PAGE), (at + 4 * PAGE, at + 6 * PAGE)]


def test_a_home_node_is_where_bind_begins(two: Process) -> None:
    at = two.mmap(PAGE, RW)
    assert mbind(two, at, PAGE, BIND, 3) == 0
    assert calls.sys_set_mempolicy_home_node(two._task, at, PAGE, 1, 0) == 0
    two.write(at, b"x")
    assert nodes_of(two, at, 1) == [1]


def test_distances_order_the_zonelists_of_a_machine() -> None:
    rows = [[10, 40, 20], [40, 10, 30], [20, 30, 10]]
    with Machine(nodes=["32M"] * 3, distances=rows) as machine:
        orders = [list(dict.fromkeys(int(zone.node_id) for zone in node.zonelist)) for node in machine.system.nodes]
    assert orders == [[0, 2, 1], [1, 2, 0], [2, 0, 1]]


def test_sysfs_has_a_directory_for_each_node() -> None:
    from pagewalk.mm import node_texts as texts

    with Machine(nodes=["64M", "64M"], cpus=2, distances=[[10, 21], [21, 10]]) as machine:
        system = machine.system
        process = machine.spawn()
        process.touch(process.mmap("2M", RW), 2 << 20)
        total = sum(int(texts.node_meminfo(system, nid).split()[3]) for nid in (0, 1))
        assert f"MemTotal:{total:15d} kB\n" in machine.meminfo()
        assert [texts.node_distance(system, nid) for nid in (0, 1)] == ["10 21\n", "21 10\n"]
        assert [texts.node_cpulist(system, nid) for nid in (0, 1)] == ["0\n", "1\n"]
        assert texts.nodes_online(system) == texts.nodes_with_cpu(system) == "0-1\n"
        hits = [int(texts.node_numastat(system, nid).split()[1]) for nid in (0, 1)]
        assert hits[0] > 512 > hits[1]
        assert texts.node_vmstat(system, 1).splitlines()[0].startswith("nr_free_pages ")


def test_the_policy_of_shared_memory_is_the_objects(two: Process) -> None:
    from pagewalk import Map

    at = two.mmap(PAGE * 4, RW, flags=Map.SHARED | Map.ANONYMOUS)
    assert mbind(two, at + PAGE, PAGE * 2, BIND, 2) == 0
    child = two.fork()
    child.touch(at, PAGE * 4)
    assert nodes_of(child, at, 4) == [0, 1, 1, 0]
    child.exit()


def test_a_task_takes_pages_from_the_node_of_its_cpu() -> None:
    from pagewalk.mm.mm_init import node_of_cpu

    two = Config(nodes=["64M", "64M"], cpus=4)
    assert [node_of_cpu(cpu, two) for cpu in range(4)] == [0, 0, 1, 1]
    placed = Config(nodes=["64M", "64M"], cpus=3, cpu_nodes=[1, 0, 1])
    assert [node_of_cpu(cpu, placed) for cpu in range(3)] == [1, 0, 1]
    with Machine(nodes=["256M", "256M"], cpus=2, aslr=False) as machine:
        machine.run(["/bin/sh", "-c", "for i in 1 2 3 4; do ls / | wc -l & done; wait"])
        hits = [sum(int(z.numa_hit) for z in machine.system.zones if z.node_id == nid) for nid in (0, 1)]
        assert min(hits) > 50
