"""linux="6.1": what differs from 6.18. The names in tests/golden/linux-6.1 were read off a 6.1 kernel (Debian's
user-mode Linux 6.1.176, without NUMA, huge pages and zones for devices)."""

import errno
import re
from pathlib import Path

import pytest
from mm_rig import MB, PAGE, RW, error_of, small_machine

from pagewalk import Config, Machine, NotModelled, Process
from pagewalk.check import check_machine
from pagewalk.fs.procfs.array import status_text
from pagewalk.fs.procfs.cgroupfs import files_of
from pagewalk.fs.procfs.newer import as_of
from pagewalk.fs.procfs.sysctl import sysctl_tree
from pagewalk.fs.procfs.sysfs import add_pools, sysfs_tree
from pagewalk.fs.procfs.task_mmu import smaps_text, statm_text
from pagewalk.kernel.entry import call
from pagewalk.mm.hugetlb import huge_sizes_kb
from pagewalk.mm.memcg_stat import memory_stat_text, numa_stat_text
from pagewalk.mm.node_texts import node_meminfo, node_vmstat
from pagewalk.mm.vmstat_names import EVENTS, NODE_STATS, NUMA_STATS, ZONE_STATS, of_release

pytestmark = pytest.mark.quick

GOLDEN = Path(__file__).parent.parent / "golden" / "linux-6.1"


def golden(name: str) -> list[str]:
    """The first words of the lines of a file of the real kernel."""
    return (GOLDEN / f"{name}.txt").read_text().split("\n")[:-1]


def told(process: Process) -> list[int]:
    """The counts of statm."""
    return [int(word) for word in statm_text(process._task.mm).split()]


def test_there_are_three_releases() -> None:
    with pytest.raises(NotModelled, match=r"linux '5.10' \(6.18, 6.12 and 6.1 are what there is\)"):
        Config(linux="5.10")
    assert Machine(linux="6.1").kernel.uts.release == "6.1.0"


def test_large_anonymous_mappings_are_aligned_from_6_7_on() -> None:
    for linux, aligned in (("6.18", True), ("6.1", False)):
        with small_machine(ram="64M", linux=linux) as machine:
            process = machine.spawn()
            process.mmap(3 * PAGE, RW)
            places = [process.mmap(4 * MB, RW) for _ in range(3)]
            assert all(at % (2 * MB) == 0 for at in places) == aligned
            if not aligned:
                assert places[0] - places[1] == places[1] - places[2] == 4 * MB


def test_resident_pages_are_told_at_every_66th_fault_of_a_thread() -> None:
    with small_machine(ram="64M", linux="6.1") as machine:
        process = machine.spawn()
        at = process.mmap(400 * PAGE, RW)
        seen = []
        for page in range(200):
            process.touch(at + page * PAGE)
            seen.append(told(process)[1])
        assert seen[:65] == [0] * 65
        assert seen[65:131] == [65] * 66  # the 66th fault tells of those before it
        assert seen[131:197] == [131] * 66
        assert seen[197:] == [197] * 3
        assert process._task.mm.rss_stat[1] == 200
        check_machine(machine)
        child = process.fork()
        assert told(child)[1] == 200  # a copy is counted at once
        child.write(at, b"mine")
        process.munmap(at, 200 * PAGE)
        assert told(process)[1] == 0
        assert "VmRSS:\t       0 kB" in status_text(process._task)
    with small_machine(ram="64M") as machine:
        process = machine.spawn()
        process.touch(process.mmap(PAGE, RW))
        assert told(process)[1] == 1


def test_counters_have_the_names_of_the_release_in_its_order() -> None:
    ours = of_release(ZONE_STATS, "6.1") + NUMA_STATS + of_release(NODE_STATS, "6.1") + of_release(EVENTS, "6.1")
    real = golden("vmstat")
    assert [name for name in ours if name in real] == real
    assert len(ours) == len(set(ours))
    with Machine(ram="64M", linux="6.1") as machine:
        assert [line.split()[0] for line in machine.vmstat().splitlines()] == ours
        meminfo = [line.split(":")[0] for line in machine.meminfo().splitlines()]
        assert [name for name in meminfo if name in golden("meminfo")] == golden("meminfo")
        assert "Balloon" not in meminfo
        zoneinfo = machine.zoneinfo()
        assert "        promo " not in zoneinfo and "high_min" not in zoneinfo
        assert "\n              high:  " in zoneinfo
        process = machine.spawn()
        status = [line.split(":")[0] for line in status_text(process._task).splitlines()]
        configured = {"HugetlbPages", "Mems_allowed", "Mems_allowed_list"}  # which this one was built without
        assert [name for name in status if name not in configured] == golden("status")
        process.mmap(PAGE, RW)
        smaps = smaps_text(process._task.mm).splitlines()[1:]
        assert [line.split(":")[0] for line in smaps][: len(golden("smaps"))] == golden("smaps")
        assert "THPeligible:    0\n" in smaps_text(process._task.mm)


BOOTED = sorted(path.name for path in (GOLDEN.parent / "releases").iterdir())
# What Debian configures and the model has nothing to say of.
CONFIGURED = {
    "nr_unaccepted", "cma_alloc_success", "cma_alloc_fail", "HardwareCorrupted", "Unaccepted", "CmaTotal", "CmaFree",
    "x86_Thread_features", "x86_Thread_features_locked", "ProtectionKey",
}  # fmt: skip


def booted_machine(name: str) -> Machine:
    """A machine as the one that was booted: two nodes, where the architecture has them, and two CPUs."""
    arch, linux = name.split("-")
    arch = {"amd64": "x86_64", "i386": "x86_pae"}.get(arch, arch)
    nodes = () if arch == "x86_pae" else ("128M", "128M")
    return Machine(arch=arch, linux=linux, ram="1200M", nodes=nodes, cpus=2)


def real_names(machine: str, name: str) -> list[str]:
    """The lines that a booted machine has in a file, what the model does not have left out."""
    text = (GOLDEN.parent / "releases" / machine / f"{name}.txt").read_text()
    return [line for line in text.splitlines() if line not in CONFIGURED]


@pytest.mark.parametrize("name", BOOTED)
def test_texts_have_the_lines_of_the_booted_release_in_its_order(name: str) -> None:
    with booted_machine(name) as machine:
        process = machine.spawn()
        process.mmap(PAGE, RW)
        ours = {
            "vmstat": machine.vmstat(),
            "meminfo": machine.meminfo(),
            "status": status_text(process._task),
            "smaps": smaps_text(process._task.mm).partition("\n")[2].partition("VmFlags")[0] + "VmFlags:",
            "memory.stat": memory_stat_text(machine.cgroup("a").stat, machine.config.linux),
        }
        for file, text in ours.items():
            lines = [line.split(":")[0].split()[0] for line in text.splitlines()]
            assert lines == real_names(name, file), file
        if not name.startswith("i386"):
            text = numa_stat_text(machine.system, machine.system.memcg.root)
            assert [line.split()[0] for line in text.splitlines()] == real_names(name, "memory.numa_stat")
            node = node_vmstat(machine.system, 0)
            assert [line.split()[0] for line in node.splitlines()] == real_names(name, "node-vmstat")
            rows = [line.split(":")[0].split()[2] for line in node_meminfo(machine.system, 0).splitlines()]
            assert rows == real_names(name, "node-meminfo")


@pytest.mark.parametrize("name", BOOTED)
def test_zoneinfo_is_that_of_the_booted_release(name: str) -> None:
    with booted_machine(name) as machine:
        blocks = re.split(r"(?m)^Node \d+, zone.*\n", machine.zoneinfo())
        block = next(block for block in blocks if "per-node stats" in block)
        ours = [re.sub(r"[\d(].*", "", line).strip() for line in block.splitlines()]
        assert ours == real_names(name, "zoneinfo")


@pytest.mark.parametrize("name", [name for name in BOOTED if name.startswith("amd64")])
def test_no_file_is_there_that_the_booted_release_does_not_have(name: str) -> None:
    real = set(real_names(name, "files"))
    linux = name.split("-")[1]
    sysfs = add_pools(sysfs_tree("", 2), Config(nodes=("64M", "64M")), 2)
    trees = {"/proc/sys/": as_of(sysctl_tree(), linux), "/sys/": as_of(sysfs, linux)}
    shown = ("/proc/sys/vm/", "/proc/sys/kernel/", "/proc/sys/fs/", "/sys/kernel/mm/")
    ours = {root + path for root, tree in trees.items() for path in tree.files}
    of_the_host = {"/proc/sys/vm/shrink_inodes_with_pagecache"}  # later than 6.18.15
    found = {path for path in ours - of_the_host if path.startswith(shown)}
    assert len(found) > 100
    assert found - real == set()


@pytest.mark.parametrize("name", BOOTED)
def test_pools_of_huge_pages_are_those_of_the_booted_machine(name: str) -> None:
    real = {path for path in real_names(name, "files") if "/hugepages/" in path}
    with booted_machine(name) as machine:
        config = machine.config
        tree = add_pools(sysfs_tree("", config.nr_nodes), config, config.nr_nodes)
        ours = {f"/sys/{path}" for path in tree.files if "/hugepages/" in path}
        assert ours == real
        assert len(ours) >= 5
        sizes = {int(size) for size in re.findall(r"hugepages-(\d+)kB/nr_hugepages", " ".join(real))}
        assert huge_sizes_kb(config) == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", BOOTED)
def test_a_group_has_no_file_that_the_booted_release_does_not_have(name: str) -> None:
    with booted_machine(name) as machine:
        machine.cgroup("a", **({} if name.startswith("i386") else {"cpuset_mems": "0"}))
        group = machine.system.memcg.find("a")
        assert group is not None
        ours = set(files_of(group, machine.config))
        assert ours - set(real_names(name, "cgroup")) == set()
        assert ("memory.numa_stat" in ours) == ("memory.numa_stat" in real_names(name, "cgroup"))


def test_6_12_lies_between_6_1_and_6_18() -> None:
    with small_machine(ram="64M", linux="6.12") as machine:
        process = machine.spawn()
        at = process.mmap(4 * PAGE, RW)
        assert error_of(process.madvise, at, PAGE, 102) == errno.EINVAL  # MADV_GUARD_INSTALL, 6.13
        assert call(process._task, 462) != -errno.ENOSYS  # mseal, 6.10
        assert call(process._task, 463) == -errno.ENOSYS  # setxattrat, 6.13
        assert process.mmap(PAGE, RW, 0x28) > 0  # MAP_DROPPABLE | MAP_ANONYMOUS, 6.11
        process.mmap(3 * PAGE, RW)
        assert process.mmap(4 * MB, RW) % (2 * MB) == 0
        process.touch(at)
        assert told(process)[1] == 1
        assert machine.kernel.uts.release == "6.12.0"
        assert machine.system.zones[0].pcp.high_max > machine.system.zones[0].pcp.high_min


def test_what_came_later_is_unknown() -> None:
    with small_machine(ram="64M", linux="6.1") as machine:
        process = machine.spawn()
        at = process.mmap(4 * PAGE, RW)
        assert error_of(process.madvise, at, PAGE, 102) == errno.EINVAL  # MADV_GUARD_INSTALL, 6.13
        assert call(process._task, 451) == -errno.ENOSYS  # cachestat, 6.5
        assert call(process._task, 462) == -errno.ENOSYS  # mseal, 6.10
        assert process._task.unknown_calls == {451: 1, 462: 1}
        assert error_of(process.mmap, PAGE, RW, 0x28) == errno.EINVAL  # MAP_DROPPABLE | MAP_ANONYMOUS, 6.11
    with small_machine(ram="64M") as machine:
        process = machine.spawn()
        process.madvise(process.mmap(4 * PAGE, RW), PAGE, 102)


def test_watermarks_follow_the_release() -> None:
    old = Machine(ram="2G", linux="6.1", movablecore="512M").system
    new = Machine(ram="2G", movablecore="512M").system
    for one, other in zip(old.zones, new.zones, strict=True):
        if one.managed_pages:
            assert one.pcp.high_max == one.pcp.high_min
            assert other.pcp.high_max > other.pcp.high_min
            if one.name == "Movable":
                assert other.watermark_min <= 128 < one.watermark_min
