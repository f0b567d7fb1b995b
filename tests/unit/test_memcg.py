"""Memory cgroups: charges, limits, reclaim and kills within a group, from Python, from programs, and as files."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagewalk import Machine, Map, OutOfMemory, Process
from pagewalk.cgroup import Cgroup
from pagewalk.check import check_machine
from pagewalk.errors import ConfigError, OomKilled
from pagewalk.fs.procfs.memcg_files import parse_limit
from pagewalk.mm.mbind import do_migrate_pages
from pagewalk.oom.parse import parse_log
from pagewalk.oom.rank import rank_report

GOLDEN = Path(__file__).parent.parent / "golden/oom"
MB = 1 << 20
PAGE = 4096


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(ram="128M", overcommit_memory=1, aslr=False) as machine:
        yield machine
        check_machine(machine)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    built = tmp_path_factory.mktemp("memcg") / "scenario"
    subprocess.run(["cc", "-O1", "-static", "-o", built, GOLDEN / "scenario.c"], check=True)
    return str(built)


def member(group: Cgroup) -> Process:
    process = group.machine.spawn()
    group.add(process)
    return process


def exact(group: Cgroup) -> int:
    """What a group uses, in bytes, without what CPUs have charged for it in advance (up to 64 pages each)."""
    tree = group.machine.system.memcg
    ahead = sum(pages for stock in tree.stock for pages in stock.held().values())
    assert group.current % PAGE == 0
    tree.drain_all_stock(tree.root)
    assert ahead <= 8 * 64 * len(tree.stock)
    return group.current


def test_pages_and_tables_are_charged_upwards_and_uncharged(machine: Machine) -> None:
    top = machine.cgroup("top")
    low = top.cgroup("low")
    process = member(low)
    at = process.mmap(MB, addr=0x10_0000_0000)
    process.touch(at, MB)
    tables = sum(process._task.mm.nr_tables[1:])
    assert exact(low) == exact(top) == (256 + tables) * PAGE + kmem(low)
    assert low.stat["anon"] == MB
    assert low.stat["pagetables"] == tables * PAGE
    assert low.stat["kernel"] == tables * PAGE + kmem(low)
    assert low.stat["inactive_anon"] + low.stat["active_anon"] == MB
    process.munmap(at, MB)
    assert exact(top) == kmem(low) == 0
    assert (256 + tables) * PAGE <= top.peak <= (256 + tables + 64) * PAGE


def kmem(group: Cgroup) -> int:
    """What the kernel's objects and stacks for a group itself take, in bytes."""
    return int(group._group.kmem_paid + group._group.stack_pages) * PAGE


def test_a_forked_child_is_in_its_parent_s_group(machine: Machine) -> None:
    group = machine.cgroup("g")
    parent = member(group)
    at = parent.mmap(MB)
    parent.touch(at, MB)
    before, slab = exact(group), group.stat["slab"]
    assert slab > 0, "the mapping's own object"
    child = parent.fork()
    assert group.pids == [parent.pid, child.pid]
    child.write(at, b"copied")
    assert exact(group) >= before + 6 * PAGE
    assert group.stat["kernel_stack"] == 4 * PAGE
    assert group.stat["slab_unreclaimable"] >= 6528 + 1536
    child.exit()
    assert group.pids == [parent.pid]
    assert exact(group) == before
    assert group.stat["kernel_stack"] == 0
    assert group.stat["slab"] == slab


def test_what_was_touched_before_a_move_stays_where_it_was_charged(machine: Machine) -> None:
    one, two = machine.cgroup("one"), machine.cgroup("two")
    process = member(one)
    at = process.mmap(2 * MB)
    process.touch(at, MB)
    charged = exact(one)
    two.add(process)
    process.touch(at + MB, MB)
    assert exact(one) == charged
    assert exact(two) >= MB
    process.exit()
    assert (exact(one), exact(two)) == (one._group.swap_usage, 0)


def test_shared_memory_belongs_to_who_touched_it_first(machine: Machine) -> None:
    one, two = machine.cgroup("one"), machine.cgroup("two")
    first = member(one)
    at = first.mmap(MB, flags=Map.SHARED | Map.ANONYMOUS)
    second = first.fork()
    two.add(second)
    first.touch(at, MB // 2)
    second.touch(at, MB)
    assert one.stat["shmem"] == MB // 2
    assert two.stat["shmem"] == MB // 2
    assert two.stat["file"] == MB // 2


def test_the_nearest_limit_above_kills(machine: Machine) -> None:
    top = machine.cgroup("top", memory_max="4M")
    inner, other = top.cgroup("inner", memory_max="100M"), top.cgroup("other")
    outsider = machine.spawn()
    outsider.touch(outsider.mmap(20 * MB), 20 * MB)
    small = member(other)
    small.touch(small.mmap(MB), MB)
    large = member(inner)
    with pytest.raises(OomKilled, match="Memory cgroup out of memory: Killed process"):
        large.touch(large.mmap(8 * MB), 8 * MB)
    assert (large.alive, small.alive, outsider.alive) == (False, True, True)
    assert top.events["oom"] == 1
    assert top.events["oom_kill"] == inner.events["oom_kill"] == 1
    assert other.events["oom_kill"] == 0
    assert top._group.events_local[4] == 0
    assert top.peak == 4 * MB
    (report,) = parse_log(machine.dmesg())
    assert (report.memcg, report.memcg_limit_kb) == ("/top", 4096)
    found = rank_report(report)
    assert found.agrees()
    assert found.totalpages == 1024
    assert [each.task.pid for each in found.candidates] == [large.pid, small.pid]
    assert "Memory cgroup stats for /top:" in machine.dmesg()


def test_a_group_dies_as_a_whole_where_it_wants_to(machine: Machine) -> None:
    top = machine.cgroup("top", memory_max="4M")
    job = top.cgroup("job")
    job.set(oom_group=True)
    kept, worker, protected = member(top), member(job), member(job)
    protected.oom_score_adj = -1000
    grower = member(job)
    with pytest.raises(OomKilled):
        grower.touch(grower.mmap(8 * MB), 8 * MB)
    assert [each.alive for each in (kept, worker, protected, grower)] == [True, False, True, False]
    assert job.events["oom_group_kill"] == 1
    assert "Tasks in /top/job are going to be killed due to memory.oom.group set" in machine.dmesg()


def test_nobody_to_kill_is_out_of_memory_within_the_group(machine: Machine) -> None:
    group = machine.cgroup("g", memory_max="2M")
    machine.spawn()
    process = member(group)
    process.oom_score_adj = -1000
    at = process.mmap(4 * MB)
    with pytest.raises(OutOfMemory, match="no frame for the cgroup /g, whose limit is 2048 KiB"):
        process.touch(at, 4 * MB)
    process.munmap(at, 4 * MB)
    process.touch(process.mmap(MB), MB)
    assert group.events["oom_kill"] == 0
    assert group.events["oom"] >= 1


def test_a_lower_limit_kills_at_once(machine: Machine) -> None:
    group = machine.cgroup("g")
    large, small = member(group), member(group)
    large.touch(large.mmap(4 * MB), 4 * MB)
    small.touch(small.mmap(MB), MB)
    machine.spawn()._enter()
    group.set(memory_max="2M")
    assert (large.alive, small.alive) == (False, True)
    assert group.current < 2 * MB


def test_a_group_over_its_limit_swaps_its_own_pages() -> None:
    with Machine(ram="128M", swap="64M", overcommit_memory=1) as machine:
        group = machine.cgroup("g", memory_max="4M")
        outsider = machine.spawn()
        there = outsider.mmap(8 * MB)
        outsider.touch(there, 8 * MB)
        process = member(group)
        at = process.mmap(12 * MB)
        for page in range(0, 12 * MB, PAGE):
            process.write(at + page, page.to_bytes(8, "little"))
        assert group.current <= 4 * MB
        assert group.swap_current >= 7 * MB
        assert group.events["oom_kill"] == 0
        assert group.events["max"] > 0
        assert outsider.rss["anon"] == 8 * MB
        for page in range(0, 12 * MB, 16 * PAGE):
            assert process.read(at + page, 8) == page.to_bytes(8, "little")
        check_machine(machine)
        process.exit()
        assert (exact(group), group.swap_current) == (0, 0)
        check_machine(machine)


def test_swap_max_ends_in_a_kill() -> None:
    with Machine(ram="128M", swap="64M", overcommit_memory=1) as machine:
        group = machine.cgroup("g", memory_max="4M", swap_max="2M")
        machine.spawn()
        process = member(group)
        with pytest.raises(OomKilled):
            process.touch(process.mmap(12 * MB), 12 * MB)
        assert group._group.swap_watermark * PAGE == 2 * MB
        check_machine(machine)


def test_high_reclaims_and_does_not_kill() -> None:
    with Machine(ram="128M", swap="64M", overcommit_memory=1) as machine:
        group = machine.cgroup("g", memory_high="4M")
        process = member(group)
        process.touch(process.mmap(12 * MB), 12 * MB)
        assert group.current < 5 * MB
        assert group.events["high"] > 0
        assert process.alive
        check_machine(machine)


def test_the_scenario_in_a_group_on_a_large_machine(scenario: str, capfd: pytest.CaptureFixture[str]) -> None:
    with Machine(ram="256M", overcommit_memory=1) as machine:
        group = machine.cgroup("g", memory_max="24M")
        done = machine.run([scenario, "100", "1", "volunteer:2:1000", "big:10:0", "grower:0:0"], cgroup=group)
        assert done.status == 0
        assert done.report.oom_kills[0].name == "volunteer"
        assert done.report.oom_kills[0].cgroup == "/g"
        assert done.report.cgroup is not None
        assert done.report.cgroup.peak == 24 * MB
        check_machine(machine)
    assert capfd.readouterr().out.splitlines()[:2] == ["died volunteer signal 9 status -1", "big intact"]


SHELL = """
cd /sys/fs/cgroup
cat cgroup.controllers cgroup.subtree_control /proc/self/cgroup
mkdir a a/b && cat a/memory.max a/cgroup.controllers
ls a/b | grep -c memory || true
echo 64m > a/memory.max; cat a/memory.max
echo 5000 > a/memory.low; cat a/memory.low
echo x > a/memory.max; echo $?
echo +memory > a/cgroup.subtree_control; cat a/cgroup.subtree_control
ls a/b | grep -c memory
echo 0 > a/cgroup.procs; echo $?
echo $$ > a/b/cgroup.procs; cat /proc/self/cgroup
cat a/cgroup.events; test "$(head -n 1 a/b/cgroup.procs)" = $$ && echo member
rmdir a/b; echo $?
test $(cat a/b/memory.current) -gt 0 && echo charged
echo 0 > cgroup.procs; rmdir a/b a; ls
"""


def test_the_groups_are_files(capfd: pytest.CaptureFixture[str]) -> None:
    with Machine(ram="256M") as machine:
        done = machine.run(["/bin/sh", "-c", SHELL])
        assert done.status == 0
        check_machine(machine)
    told = capfd.readouterr()
    assert told.out.split("\n")[:-1] == [
        "cpuset memory", "memory", "0::/", "max", "memory", "1", "67108864", "4096", "1", "memory", "21", "1",
        "0::/a/b", "populated 1", "frozen 0", "member", "1", "charged", "cgroup.controllers", "cgroup.procs",
        "cgroup.stat",
        "cgroup.subtree_control", "cgroup.threads", "cpuset.cpus.effective", "cpuset.mems.effective",
        "memory.numa_stat", "memory.pressure", "memory.reclaim", "memory.stat", "memory.zswap.writeback",
    ]  # fmt: skip
    assert "I/O error" in told.err
    assert "Device or resource busy" in told.err or "busy" in told.err


@pytest.mark.parametrize(("text", "pages"), [
    ("max", 0x7FFFFFFFFFFFF), ("4096", 1), ("8191", 1), ("64M", 16384), ("1g", 1 << 18), ("0x10000", 16), ("010000", 1),
    ("0", 0), ("", 0), ("-1", -22), ("1x", -22), ("M", 0), ("18446744073709551615", 0x7FFFFFFFFFFFF), ("16E", 0),
    ("99999999999999999999", 7766279631452237824 >> 12), ("0x10e", 0), ("0x", -22), ("08", -22),
])  # fmt: skip
def test_limits_are_read_as_linux_reads_them(text: str, pages: int) -> None:
    assert parse_limit(text, 4096) == pages


def test_requests_have_nothing_to_read(capfd: pytest.CaptureFixture[str]) -> None:
    with Machine(ram="256M") as machine:
        done = machine.run(["/bin/sh", "-c", "cd /sys/fs/cgroup; mkdir a; cat a/cgroup.kill a/memory.reclaim"])
        assert done.status != 0
    assert capfd.readouterr().err.count("Invalid argument") == 2


def test_what_cannot_be_is_one_line(machine: Machine) -> None:
    machine.cgroup("g")
    for name, settings, complaint in (
        ("g", {}, "cgroup: /g exists already"),
        ("a/b", {}, "expected a name without a slash, got 'a/b'"),
        ("", {}, "expected a name without a slash"),
        ("h", {"memory_max": "lots"}, "memory_max: expected bytes or text like '64M', got 'lots'"),
        ("i", {"memory": 1}, "a cgroup has no setting 'memory'"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            machine.cgroup(name, **settings)  # type: ignore[arg-type]


def test_a_page_that_moves_to_another_node_is_charged_once() -> None:
    with Machine(nodes=("64M", "64M"), aslr=False) as machine:
        group = machine.cgroup("g")
        process = machine.spawn()
        group.add(process)
        area = process.mmap(1 << 16)
        process.touch(area, 1 << 16)
        used = group.current
        moved = machine.system.vmstat.pgmigrate_success
        assert do_migrate_pages(process._task.mm, 0b01, 0b10, move_all=False) == 0
        assert machine.system.vmstat.pgmigrate_success == moved + 16
        assert group.current == used
        check_machine(machine)
