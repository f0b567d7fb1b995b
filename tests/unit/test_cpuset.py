"""Cpusets: which CPUs and nodes the tasks of a cgroup may use, as booted kernels answered; what follows a change."""

import errno
import re
from pathlib import Path

import pytest
from mm_rig import MB, PAGE, RW

from pagewalk import Machine, Process
from pagewalk.check import check_machine
from pagewalk.errors import ConfigError, PagewalkError
from pagewalk.fs.procfs.array import status_text
from pagewalk.fs.procfs.cgroupfs import read_file, write_file
from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.fs.procfs.numa_maps import numa_maps_text
from pagewalk.kernel.syscall.limits import sys_sched_setaffinity
from pagewalk.mm.cpuset import mask_text, parse_list
from pagewalk.mm.mbind import mbind, page_at
from pagewalk.mm.mempolicy import MPOL_BIND, MPOL_F_RELATIVE_NODES, MPOL_F_STATIC_NODES, MPOL_INTERLEAVE
from pagewalk.mm.migrate import page_to_nid

pytestmark = pytest.mark.quick

GOLDEN = sorted((Path(__file__).parent.parent / "golden" / "cpuset").glob("*.txt"))
STEP = re.compile(r"(\S+) <- '(.*?)' : (-?\d+);(.*)")


def two_nodes(**fields: object) -> Machine:
    """A machine of two nodes and two CPUs."""
    return Machine(**{"nodes": ("64M", "64M"), "cpus": 2, **fields})  # type: ignore[arg-type]


class Files:
    """The files of a machine's cgroups, by path."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.sb = cgroup_super(machine)

    def write(self, path: str, text: str) -> int:
        """0 or a negative errno."""
        folder, _, name = path.rpartition("/")
        group = self.machine.system.memcg.find(folder)
        assert group is not None, path
        return write_file(self.sb, group, name, text.strip())

    def read(self, path: str) -> str:
        """The text without its newline."""
        folder, _, name = path.rpartition("/")
        group = self.machine.system.memcg.find(folder)
        assert group is not None, path
        return read_file(self.sb, group, name).rstrip("\n")

    def mkdir(self, path: str) -> None:
        """A new group."""
        folder, _, name = path.rpartition("/")
        parent = self.machine.system.memcg.find(folder)
        assert parent is not None and self.machine.system.memcg.create(parent, name) is not None


def cgroup_super(machine: Machine) -> ProcSuper:
    """What the files belong to."""
    found = [mount.sb for mount in machine.kernel.ns.mounts if mount.sb.fstype == "cgroup2"]
    assert isinstance(found[0], ProcSuper)
    return found[0]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_writes_are_answered_as_the_booted_kernel_answered_them(path: Path) -> None:
    arch, linux = path.stem.split("-")
    arch = {"amd64": "x86_64", "i386": "x86_pae"}.get(arch, arch)
    with two_nodes(arch=arch, linux=linux, **({"nodes": (), "ram": "64M"} if arch == "x86_pae" else {})) as machine:
        files = Files(machine)
        assert files.write("cgroup.subtree_control", "+memory +cpuset") == 0
        files.mkdir("a")
        steps = path.read_text().splitlines()
        assert len(steps) == 26
        for step in steps:
            name, value, answer, shown = STEP.fullmatch(step).groups()  # type: ignore[union-attr]
            value = value.replace("\\n", "\n")
            if value == "mkdir":
                files.mkdir(name)
            elif value:  # nothing was written: a write of no bytes does not reach the file
                failed = files.write(name, value)
                assert failed == min(int(answer), 0), step
            ours = " ".join(
                f"{each}='{files.read(each)}'" for each in re.findall(r"(\S+)='", shown)
            )  # fmt: skip
            assert ours == shown.strip(), step


@pytest.mark.parametrize(
    ("text", "nbits", "mask"),
    [("", 4, 0), ("0-2,3", 4, 15), ("all", 3, 7), ("1-N", 4, 14), ("N", 4, 8), ("0-7:1/3", 8, 0b1001001),
     ("2-0", 4, -22), ("4", 4, -34), ("0-4", 4, -34), ("0-3:3/2", 4, -22), ("0-3:1/0", 4, -22), ("-1", 4, -22),
     ("1-", 4, -22),
     ("0x1", 4, -22), ("0,,1", 4, 3), ("all-2", 4, -22)],
)  # fmt: skip
def test_a_list_becomes_a_mask(text: str, nbits: int, mask: int) -> None:
    assert parse_list(text, nbits) == mask


def test_a_mask_is_padded_to_its_bits() -> None:
    assert [mask_text(2, 2), mask_text(1, 8), mask_text(-1, 33), mask_text(3, 16)] == [
        "2", "01", "1,ffffffff", "0003",
    ]  # fmt: skip


def node_counts(process: Process, at: int, pages: int) -> dict[int, int]:
    """How many of a range's pages are on which node."""
    mm = process._task.mm
    found: dict[int, int] = {}
    for page in range(pages):
        frame = page_at(mm, at + page * PAGE)
        if frame is not None:
            nid = page_to_nid(mm.system, frame)
            found[nid] = found.get(nid, 0) + 1
    return found


def test_pages_come_from_the_nodes_of_the_cpuset_and_follow_when_it_changes() -> None:
    with two_nodes() as machine:
        files = Files(machine)
        files.write("cgroup.subtree_control", "+cpuset")
        files.mkdir("a")
        assert files.write("a/cpuset.mems", "1") == 0
        process = machine.spawn()
        before = process.mmap(64 * PAGE, RW)
        for page in range(64):
            process.touch(before + page * PAGE)
        assert node_counts(process, before, 64) == {0: 64}
        assert files.write("a/cgroup.procs", str(process._task.pid)) == 0
        assert node_counts(process, before, 64) == {1: 64}  # they came along
        after = process.mmap(64 * PAGE, RW)
        for page in range(64):
            process.write(after + page * PAGE, bytes([page]))
        assert node_counts(process, after, 64) == {1: 64}
        assert "Mems_allowed_list:\t1\n" in status_text(process._task)
        assert ",00000002\n" in status_text(process._task)
        files.write("a/cpuset.mems", "0-1")
        assert node_counts(process, after, 64) == {1: 64}  # they may stay
        files.write("a/cpuset.mems", "0")
        assert node_counts(process, after, 64) == {0: 64}
        assert [process.read(after + page * PAGE, 1) for page in range(64)] == [bytes([page]) for page in range(64)]
        child = process.fork()
        assert "Mems_allowed_list:\t0\n" in status_text(child._task)
        check_machine(machine)


def test_the_kernels_own_pages_leave_the_cpuset_when_its_nodes_are_short() -> None:
    with two_nodes(nodes=("64M", "16M")) as machine:
        files = Files(machine)
        files.write("cgroup.subtree_control", "+cpuset")
        files.mkdir("a")
        files.write("a/cpuset.mems", "1")
        process = machine.spawn()
        files.write("a/cgroup.procs", str(process._task.pid))
        machine.system.current = process._task
        node = machine.system.nodes[0]
        taken = []
        while True:
            page = node.alloc_pages(0x100CC0, 0)  # GFP_USER
            if page is None or page_to_nid(machine.system, page) != 1:
                break
            taken.append(page)
            if len(taken) > 4200:
                break
        assert page is None and 1000 < len(taken) <= 4096  # the cpuset binds it
        kernels = node.alloc_pages(0xCC0, 0)  # GFP_KERNEL
        assert kernels is not None and page_to_nid(machine.system, kernels) == 0
        for each in [*taken, kernels]:
            node.put_page(each)


def policy(process: Process, at: int, mode: int, nodes: int) -> int:
    """mbind(2) of eight pages."""
    process.machine.system.current = process._task
    flags = mode & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES)
    return mbind(process._task.mm, at, 8 * PAGE, mode & ~flags, flags, nodes, 0)


def test_policies_keep_to_the_cpuset_and_are_fitted_when_it_changes() -> None:
    with two_nodes(nodes=("64M", "64M", "64M"), cpus=1) as machine:
        files = Files(machine)
        files.write("cgroup.subtree_control", "+cpuset")
        files.mkdir("a")
        files.write("a/cpuset.mems", "0-1")
        process = machine.spawn()
        files.write("a/cgroup.procs", str(process._task.pid))
        bound, static, relative, spread = [process.mmap(8 * PAGE, RW) for _ in range(4)]
        assert policy(process, bound, MPOL_BIND, 2) == 0
        assert policy(process, static, MPOL_BIND | MPOL_F_STATIC_NODES, 2) == 0
        assert policy(process, relative, MPOL_BIND | MPOL_F_RELATIVE_NODES, 2) == 0
        assert policy(process, spread, MPOL_INTERLEAVE, 7) == 0
        assert policy(process, bound, MPOL_BIND, 4) == -errno.EINVAL
        files.write("a/cpuset.mems", "1-2")
        text = numa_maps_text(process._task.mm, process._task.mempolicy)
        assert re.findall(r" ((?:bind|interleave)\S*)", text) == [
            "interleave:1-2",
            "bind=relative:2",
            "bind=static:1",
            "bind:2",
        ]


def setaffinity(process: Process, mask: int) -> int:
    """sched_setaffinity(2) for the process itself."""
    at = process.mmap(PAGE, RW)
    process.write(at, mask.to_bytes(8, "little"))
    return sys_sched_setaffinity(process._task, 0, 8, at)


def test_a_task_runs_on_the_cpus_of_its_cpuset() -> None:
    with two_nodes(cpus=4) as machine:
        files = Files(machine)
        files.write("cgroup.subtree_control", "+cpuset")
        files.mkdir("a")
        files.write("a/cpuset.cpus", "1-2")
        process = machine.spawn()
        task = process._task
        files.write("a/cgroup.procs", str(task.pid))
        assert "Cpus_allowed:\t6\nCpus_allowed_list:\t1-2\n" in status_text(task)
        assert setaffinity(process, 0b0001) == -errno.EINVAL  # the cpuset does not have it
        assert setaffinity(process, 0b1100) == 0
        assert task.cpus_allowed == 0b0100
        files.write("a/cpuset.cpus", "2-3")
        assert task.cpus_allowed == 0b1100
        files.write("a/cpuset.cpus", "0-1")
        assert task.cpus_allowed == 0b0011  # nothing is left of what it asked for
        files.write("a/cpuset.cpus", "\n")
        assert task.cpus_allowed == 0b1100
        files.write("cgroup.procs", str(task.pid))
        assert task.cpus_allowed == 0b1100


def test_controllers_are_told_and_switched() -> None:
    with two_nodes() as machine:
        files = Files(machine)
        files.mkdir("a")
        assert files.read("cgroup.controllers") == "cpuset memory"
        assert files.read("a/cgroup.controllers") == "memory"
        assert files.write("a/cgroup.subtree_control", "+cpuset") == -errno.ENOENT
        files.write("cgroup.subtree_control", "+cpuset")
        assert files.read("cgroup.subtree_control") == "cpuset memory"
        files.write("a/cpuset.mems", "1")
        files.mkdir("a/b")
        process = machine.spawn()
        files.write("a/cgroup.procs", str(process._task.pid))
        assert files.write("a/cgroup.subtree_control", "+memory") == -errno.EBUSY
        assert files.write("a/cgroup.subtree_control", "+cpuset") == 0
        assert files.write("cgroup.subtree_control", "-cpuset") == -errno.EBUSY
        assert files.write("a/cgroup.subtree_control", "-cpuset") == 0
        at = process.mmap(PAGE, RW)
        process.touch(at)
        assert node_counts(process, at, 1) == {1: 1}
        assert files.write("cgroup.subtree_control", "-cpuset") == 0
        other = process.mmap(PAGE, RW)
        process.touch(other)
        assert node_counts(process, other, 1) == {0: 1}
        assert not machine.system.memcg.cpusets


def test_a_cpuset_that_runs_out_kills_one_of_those_that_use_its_nodes() -> None:
    with two_nodes(nodes=("64M", "32M"), overcommit_memory=1) as machine:
        files = Files(machine)
        files.write("cgroup.subtree_control", "+cpuset")
        files.mkdir("s")
        files.write("s/cpuset.mems", "1")
        files.mkdir("t")
        files.write("t/cpuset.mems", "0")
        outside, inside, grower, elsewhere = [machine.spawn() for _ in range(4)]
        files.write("t/cgroup.procs", str(elsewhere._task.pid))
        for process in (inside, grower):
            files.write("s/cgroup.procs", str(process._task.pid))
        for process, size in ((outside, 20 * MB), (inside, 4 * MB)):
            at = process.mmap(size, RW)
            for page in range(size // PAGE):
                process.touch(at + page * PAGE)
        at = grower.mmap(64 * MB, RW)
        try:
            for page in range(64 * MB // PAGE):
                grower.touch(at + page * PAGE)
        except Exception as error:
            assert "kill" in str(error).lower() or "memory" in str(error).lower()
        log = "\n".join(machine.kernel.oom.log)
        assert (
            "constraint=CONSTRAINT_CPUSET,nodemask=(null),cpuset=s,mems_allowed=1,global_oom,task_memcg=/s,task=" in log
        )
        assert "Node 0 Normal" not in log and "Node 1 " in log
        victims = [int(pid) for pid in re.findall(r"Killed process (\d+)", log)]
        assert victims[0] == grower._task.pid
        table = re.findall(r"(?m)^\[ +(\d+)\]", log)
        assert str(outside._task.pid) in table  # it may use node 1, too
        assert str(elsewhere._task.pid) not in table
        assert outside._task.signal.live == 1 and inside._task.signal.live == 1
        check_machine(machine)


def test_the_scenario_of_the_booted_machine_ends_with_the_same_victim() -> None:
    """tests/golden/oom/booted/amd64-6.18-cpuset.txt: 30 MiB outside, in the cpuset 25 MiB and one that grows."""
    golden = GOLDEN[0].parent.parent / "oom" / "booted" / "amd64-6.18-cpuset.txt"
    real = re.search(r"oom-kill:(.*?),task_memcg=/s,task=(\w+),", golden.read_text())
    assert real is not None
    with two_nodes(nodes=("128M", "160M"), cpus=1, overcommit_memory=1) as machine:
        files = Files(machine)
        files.write("cgroup.subtree_control", "+memory +cpuset")
        files.mkdir("s")
        files.write("s/cpuset.mems", "1")
        processes = {}
        for name, size, adj, inside in (("free", 30, 0, False), ("in", 25, 100, True), ("grower", 256, -100, True)):
            process = processes[name] = machine.spawn()
            process._task.comm = name
            process._task.oom_score_adj = adj
            if inside:
                files.write("s/cgroup.procs", str(process._task.pid))
            at = process.mmap(size * MB, RW)
            for page in range(size * MB // PAGE):
                if machine.kernel.oom.kills:
                    break
                try:
                    process.touch(at + page * PAGE)
                except PagewalkError:
                    break
        report = "\n".join(machine.kernel.oom.kills[0].report)
        ours = re.search(r"oom-kill:(.*?),task_memcg=/s,task=(\w+),", report)
        assert ours is not None and ours.groups() == real.groups()
        check_machine(machine)


def test_a_cpuset_that_goes_binds_nobody() -> None:
    with two_nodes() as machine:
        files = Files(machine)
        files.write("cgroup.subtree_control", "+cpuset")
        files.mkdir("a")
        files.write("a/cpuset.mems", "1")
        assert machine.system.memcg.cpusets
        group = machine.system.memcg.find("a")
        assert group is not None
        machine.system.memcg.remove(group)
        assert not machine.system.memcg.cpusets


def test_python_gives_a_group_nodes_and_cpus() -> None:
    with two_nodes() as machine:
        web = machine.cgroup("web")
        php = web.cgroup("php", cpuset_mems="1", cpuset_cpus="0")
        process = machine.spawn()
        php.add(process)
        at = process.mmap(4 * PAGE, RW)
        process.touch(at)
        assert node_counts(process, at, 1) == {1: 1}
        assert process._task.cpus_allowed == 1
        php.set(cpuset_mems=None)
        process.touch(at + PAGE)
        assert node_counts(process, at + PAGE, 1) == {0: 1}
        for bad in ("2", "x", "1-0", True):
            with pytest.raises(ConfigError, match="cpuset_mems: expected a list of 0-1, got"):
                php.set(cpuset_mems=bad)
        check_machine(machine)


def test_a_program_is_bound_by_the_cpuset_that_it_makes(capfd: pytest.CaptureFixture[str]) -> None:
    script = """
cd /sys/fs/cgroup; echo +cpuset > cgroup.subtree_control; mkdir a; echo 1 > a/cpuset.mems; echo 0 > a/cpuset.cpus
echo $$ > a/cgroup.procs; grep -h _list /proc/self/status; cat a/cpuset.mems.effective a/cpuset.cpus.effective
awk '/heap/ { print $NF, $(NF-1) }' /proc/self/numa_maps
"""
    with two_nodes() as machine:
        assert machine.run(["/bin/sh", "-c", script]).status == 0
        check_machine(machine)
    lines = capfd.readouterr().out.splitlines()
    assert lines[:4] == ["Cpus_allowed_list:\t0", "Mems_allowed_list:\t1", "1", "0"]
    assert lines[4].startswith("kernelpagesize_kB=4 N1=")


def test_memory_numa_stat_tells_node_by_node_what_memory_stat_tells() -> None:
    with two_nodes() as machine:
        groups = [machine.cgroup("a", cpuset_mems="0"), machine.cgroup("b", cpuset_mems="1")]
        files = Files(machine)
        for group in groups:
            process = machine.spawn()
            group.add(process)
            at = process.mmap(20 * PAGE, RW)
            for page in range(20):
                process.touch(at + page * PAGE)
        assert "\nanon N0=81920 N1=0\n" in "\n" + files.read("a/memory.numa_stat")
        assert "\nanon N0=0 N1=81920\n" in "\n" + files.read("b/memory.numa_stat")
        for name in ("", "a", "b"):
            stat = dict(line.split() for line in files.read(f"{name}/memory.stat").splitlines())
            lines = files.read(f"{name}/memory.numa_stat").splitlines()
            assert len(lines) > 25
            for line in lines:
                kind, *counts = line.split()
                total = sum(int(count.partition("=")[2]) for count in counts)
                assert len(counts) == 2 and (kind == "hugetlb" or total == int(stat[kind])), line
