"""Memory cgroups: what protects, what slows down, what is counted, and who pays for the kernel's memory."""

from collections.abc import Iterator

import pytest
from mm_rig import PAGE

from pagewalk import ConfigError, Machine, OutOfMemory, Process, Prot
from pagewalk.cgroup import Cgroup
from pagewalk.check import check_machine
from pagewalk.errors import OomKilled
from pagewalk.kernel.cpu import ACCESS_WRITE
from pagewalk.kernel.entry import do_page_fault
from pagewalk.mm.memcg_high import high_delay, overage
from pagewalk.mm.memcg_protection import effective_protection
from pagewalk.mm.vmscan import try_to_free_memory

MB = 1 << 20
STOCK = 64 * PAGE


@pytest.fixture(params=["lru", "mglru"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with Machine(ram="96M", swap="128M", overcommit_memory=1, aslr=False, reclaim_policy=request.param) as machine:
        yield machine
        check_machine(machine)


def member(group: Cgroup, size: int = 0) -> Process:
    """A process of the group that has touched so much."""
    process = group.machine.spawn()
    group.add(process)
    if size:
        area = process.mmap(size)
        for at in range(area, area + size, PAGE):
            process.write(at, at.to_bytes(8, "little"))
    return process


def squeeze(machine: Machine, pages: int) -> None:
    for _ in range(pages // 256):
        try_to_free_memory(machine.system, 256)


def test_what_is_below_its_minimum_gives_nothing(machine: Machine) -> None:
    kept, given = machine.cgroup("kept", memory_min="12M"), machine.cgroup("given")
    member(kept, 8 * MB)
    member(given, 8 * MB)
    squeeze(machine, 4096)
    assert kept.swap_current == 0
    assert given.swap_current > 6 * MB
    assert kept.stat["pgscan"] == 0 < given.stat["pgscan"]


def test_low_yields_where_there_is_nothing_else_and_is_counted(machine: Machine) -> None:
    kept, given = machine.cgroup("kept", memory_low="12M"), machine.cgroup("given")
    member(kept, 8 * MB)
    member(given, 8 * MB)
    squeeze(machine, 1536)
    assert kept.swap_current == 0
    assert kept.events["low"] == 0
    squeeze(machine, 8192)
    assert kept.swap_current > 0
    assert kept.events["low"] > 0


def test_protection_is_in_proportion_above_the_minimum(machine: Machine) -> None:
    half, none = machine.cgroup("half", memory_min="8M"), machine.cgroup("none")
    member(half, 16 * MB)
    member(none, 16 * MB)
    squeeze(machine, 2048)
    assert 0 < half.swap_current <= none.swap_current  # generations give by batches of 64 pages
    squeeze(machine, 16384)
    assert half.current >= 8 * MB - 2 * STOCK  # never below
    assert none.current < 2 * MB


def test_children_share_what_their_parent_is_granted(machine: Machine) -> None:
    top = machine.cgroup("top", memory_min="8M")
    one, two = top.cgroup("one", memory_min="8M"), top.cgroup("two", memory_min="8M")
    member(one, 10 * MB)
    member(two, 10 * MB)
    squeeze(machine, 16384)
    for group in (one, two):
        assert 2 * MB < group.current < 7 * MB  # its share, as far as it uses it
    assert top.current >= 4 * MB


@pytest.mark.parametrize(("usage", "parent_usage", "setting", "parent", "claimed", "recursive", "granted"), [
    (100, 200, 50, 1000, 50, False, 50),
    (30, 200, 50, 1000, 30, False, 30),  # what it does not use is not protected
    (100, 200, 100, 100, 200, False, 50),  # siblings claim twice what there is
    (100, 200, 0, 100, 0, False, 0),
    (100, 200, 0, 100, 0, True, 50),  # what nobody claims is shared by use
    (100, 200, 40, 100, 40, True, 40 + 60 * 60 // 160),
    (0, 200, 40, 100, 0, True, 0),
])  # fmt: skip
def test_effective_protection(
    usage: int, parent_usage: int, setting: int, parent: int, claimed: int, recursive: bool, granted: int
) -> None:
    assert effective_protection(usage, parent_usage, setting, parent, claimed, recursive) == granted


def test_reclaim_for_a_group_s_own_limit_protects_nothing_of_it(machine: Machine) -> None:
    group = machine.cgroup("g", memory_min="16M", memory_max="6M")
    member(group, 10 * MB)
    assert group.swap_current > 3 * MB
    assert group.current <= 6 * MB


@pytest.mark.parametrize(("used", "high", "pages", "jiffies"), [
    (100, 100, 64, 0), (200, 100, 64, 16000), (110, 100, 64, 159), (101, 100, 64, 1), (110, 100, 32, 79),
    (5, 0, 1, 4000),
])  # fmt: skip
def test_the_penalty_grows_with_the_square_of_the_excess(used: int, high: int, pages: int, jiffies: int) -> None:
    assert high_delay(pages, overage(used, high)) == jiffies


def test_without_swap_who_is_above_high_waits(machine: Machine) -> None:
    del machine
    with Machine(ram="96M", overcommit_memory=1, aslr=False) as bare:
        group = bare.cgroup("g", memory_high="4M")
        process = member(group, 8 * MB)
        assert process.alive
        assert group.current >= 8 * MB
        assert group.throttled_us > 2_000_000
        assert group.events["high"] > 10
        assert group.events["oom"] == group.events["max"] == 0
        assert "some avg10=" in group.pressure
        assert int(group.pressure.split("total=")[1].split()[0]) >= group.throttled_us
        check_machine(bare)


def test_with_swap_high_is_held_without_waiting(machine: Machine) -> None:
    group = machine.cgroup("g", memory_high="4M")
    member(group, 12 * MB)
    assert group.current <= 4 * MB + 2 * STOCK
    assert group.throttled_us == 0
    assert group.swap_current > 7 * MB


def test_a_fault_pays_for_high_before_the_program_goes_on(machine: Machine) -> None:
    """As the CPU takes it, not a system call: what was charged above high does not wait for the next one."""
    group = machine.cgroup("g", memory_high="4M")
    process = machine.spawn()
    group.add(process)
    task = process._task
    at = process.mmap(12 * MB)
    for addr in range(at, at + 12 * MB, PAGE):
        assert do_page_fault(task, addr, ACCESS_WRITE)
        assert task.memcg_over_high == 0
        assert group.current <= 4 * MB + STOCK
    assert group.events["high"] >= 8 * MB // (4 * STOCK)


@pytest.mark.parametrize(("limit", "kept"), [("swap_max", False), ("swap_high", False), ("", True)])
def test_slots_of_pages_in_memory_are_given_up_where_half_of_a_groups_swap_is_used(
    machine: Machine, limit: str, kept: bool
) -> None:
    above = machine.cgroup("above")
    group = above.cgroup("g")
    process = machine.spawn()
    group.add(process)
    at = process.mmap(4 * MB)
    for page in range(1024):
        process.write(at + page * PAGE, bytes([page % 255 + 1]))
    process.madvise(at, 4 * MB, 21)  # MADV_PAGEOUT
    assert group.swap_current == 4 * MB
    if limit:
        setattr(above._group, limit, 1024)
    for page in range(1024):
        assert process.read(at + page * PAGE, 1) == bytes([page % 255 + 1])
    if kept:
        assert group.swap_current == 4 * MB
    else:  # up to half
        assert 2 * MB - 8 * PAGE <= group.swap_current <= 2 * MB


def test_swap_events(machine: Machine) -> None:
    group = machine.cgroup("g", memory_max="4M", swap_max="2M")
    machine.spawn()
    with pytest.raises(OomKilled):
        member(group, 12 * MB)
    assert group._group.swap_watermark * PAGE == 2 * MB
    assert group.swap_events["max"] == group.swap_events["fail"] >= 0
    assert group.events["oom_kill"] == 1


def test_above_swap_high_there_is_a_penalty_too(machine: Machine) -> None:
    group = machine.cgroup("g", memory_max="4M", swap_high="1M")
    member(group, 10 * MB)
    assert group.swap_events["high"] > 0
    assert group.throttled_us > 0


def test_memory_reclaim_takes_what_is_asked_for(machine: Machine) -> None:
    group = machine.cgroup("g")
    process = member(group, 8 * MB)
    before = group.stat
    assert group.reclaim("2M")
    stat = group.stat
    assert group.swap_current >= 2 * MB - 4 * PAGE
    assert stat["pgsteal_proactive"] >= 512 and stat["pgscan_proactive"] >= stat["pgsteal_proactive"]
    assert stat["pgscan"] - before["pgscan"] == stat["pgscan_proactive"]
    assert machine.system.vmstat.pgscan_proactive == 0  # of a group it is not the machine's
    assert not group.reclaim("64M")
    assert not group.reclaim("1M", swappiness=0)  # nothing but anonymous memory is left
    with pytest.raises(ConfigError, match="swappiness: expected 0 to 201, got 300"):
        group.reclaim("1M", swappiness=300)
    process.exit()


def test_charges_in_advance_are_bounded_and_given_back(machine: Machine) -> None:
    groups = [machine.cgroup(f"g{number}") for number in range(12)]
    processes = [member(group, 16 * PAGE) for group in groups]
    for process, group in zip(processes, groups, strict=True):
        process.touch(process.mmap(PAGE), PAGE)
        exact = group.stat["anon"] + group.stat["kernel"]
        assert exact <= group.current <= exact + STOCK
    assert sum(len(stock.held()) for stock in machine.system.memcg.stock) <= 8
    tight = machine.cgroup("tight", memory_max=64 * PAGE)
    process = machine.spawn()
    tight.add(process)
    process.touch(process.mmap(40 * PAGE), 40 * PAGE)
    assert tight.events["max"] == 0
    assert tight.current <= 64 * PAGE


def test_removed_groups_go_when_nothing_is_left_of_them(machine: Machine) -> None:
    tree = machine.system.memcg
    top = machine.cgroup("top")
    seen = top._group.vm_events[:]
    for _ in range(40):
        inner = top.cgroup("inner")._group
        process = machine.spawn()
        process._task.memcg = inner.ident
        process.touch(process.mmap(8 * PAGE), 8 * PAGE)
        machine.kernel.memcg_attach(process._task, tree.root)
        tree.remove(inner)
        assert tree.groups[inner.ident] is inner  # it still has the pages
        process.exit()
    assert len(tree.groups) < 12
    assert top._group.dying == []
    assert sum(top._group.vm_events) > sum(seen)  # what they have counted goes on above
    assert top.stat["pgfault"] >= 40 * 8


def test_processes_that_are_forked_without_end_run_into_the_limit(machine: Machine) -> None:
    outsider = machine.spawn()
    group = machine.cgroup("g", memory_max="1M")
    parent = member(group)
    children = []
    with pytest.raises((OomKilled, OutOfMemory, OSError)):
        for _ in range(200):
            children.append(parent.fork())
    assert outsider.alive
    assert 5 < len(children) < 200  # 4 pages of stack, tables, and the kernel's objects for each
    assert group._group.watermark * PAGE <= MB + 8 * PAGE
    assert group.events["max"] > 0
    assert group.events["oom_kill"] >= 1


def test_mappings_without_end_run_into_the_limit(machine: Machine) -> None:
    machine.spawn()
    group = machine.cgroup("g", memory_max="256K")
    process = member(group)
    with pytest.raises((OomKilled, OutOfMemory)):
        for number in range(2_000):
            process.mmap(PAGE, Prot.READ if number % 2 else Prot.READ | Prot.WRITE)
    assert group._group.watermark <= 64 + 2


def test_swapped_pages_come_back_for_the_group_that_they_left(machine: Machine) -> None:
    one, two = machine.cgroup("one"), machine.cgroup("two")
    process = member(one)
    area = process.mmap(MB)
    process.touch(area, MB)
    for page in range(256):
        process.write(area + page * PAGE, b"x")
    process.madvise(area, MB, 21)  # MADV_PAGEOUT
    assert one.swap_current == MB
    two.add(process)
    process.touch(area, MB, write=False)
    assert one.stat["anon"] == MB
    assert two.stat["anon"] == 0
