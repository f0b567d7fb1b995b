"""The OOM killer in the model: the scenarios of the real reports, and what the killed and the others see."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagewalk import Machine, OutOfMemory, Process
from pagewalk.check import check_machine
from pagewalk.errors import ConfigError, OomKilled
from pagewalk.fs.procfs.pid_stores import store_text
from pagewalk.mm.mempolicy import MPOL_BIND, MemPolicy
from pagewalk.mm.oom_kill import (
    CONSTRAINT_MEMORY_POLICY,
    UNKILLABLE,
    OomControl,
    OomTask,
    oom_badness,
    proc_oom_score,
    select_bad_process,
)
from pagewalk.oom.parse import parse_log
from pagewalk.oom.rank import rank_report
from pagewalk.oom.rebuild import rebuild

GOLDEN = Path(__file__).parent.parent / "golden/oom"
MB = 1 << 20
# The sizes that the tables of the real reports show, and who died in which order.
SCENARIOS = {
    "oom1": (["small:8:0", "big:60:0", "grower:0:0"], ["grower"]),
    "oom2": (["protected:70:-1000", "medium:30:0", "grower:0:-500"], ["medium", "grower"]),
    "oom3": (["volunteer:5:1000", "big:80:0", "grower:0:0"], ["volunteer"]),
    "oom4": (["a:40:100", "b:50:0", "c:60:-100", "grower:0:-1000"], ["a"]),
}


def compiled(folder: Path, *flags: str) -> str:
    built = folder / "scenario"
    done = subprocess.run(["cc", *flags, "-O1", "-static", "-o", built, GOLDEN / "scenario.c"], capture_output=True)
    if done.returncode and flags:
        pytest.skip("gcc -m32 cannot link here: needs lib32gcc-dev and libc6-dev-i386")
    assert done.returncode == 0, done.stderr
    return str(built)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(tmp_path_factory.mktemp("oom"))


@pytest.fixture(scope="module")
def scenario_32(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(tmp_path_factory.mktemp("oom32"), "-m32", "-idirafter", "/usr/include/x86_64-linux-gnu")


@pytest.fixture
def small() -> Iterator[Machine]:
    with Machine(ram="64M", overcommit_memory=1, aslr=False) as machine:
        yield machine


def grown(machine: Machine, megabytes: int, adj: int = 0) -> Process:
    process = machine.spawn()
    process.oom_score_adj = adj
    at = process.mmap(megabytes * MB)
    process.touch(at, megabytes * MB)
    return process


def fill(process: Process) -> None:
    while True:
        process.touch(process.mmap(MB), MB)


@pytest.mark.slow
@pytest.mark.parametrize("machine_type", ["amd64", "i386"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_scenarios_of_the_real_machines_end_with_the_same_victims(
    name: str, machine_type: str, request: pytest.FixtureRequest, capfd: object
) -> None:
    members, victims = SCENARIOS[name]
    fixture, arch = {"amd64": ("scenario", "x86_64"), "i386": ("scenario_32", "x86_pae")}[machine_type]
    program = request.getfixturevalue(fixture)
    real = parse_log((GOLDEN / f"{machine_type}-256M-{name}.txt").read_text())
    assert [report.killed[0].comm for report in real] == victims[: len(real)]
    with Machine(arch=arch, ram="256M", overcommit_memory=1) as machine:
        checked: list[int] = []

        def check(*_: object) -> None:
            kills = len(machine.kernel.oom.kills)
            if kills > len(checked):
                checked.append(kills)
                check_machine(machine)

        if arch == "x86_64":  # the calls of 32-bit programs cannot be watched
            machine.kernel.on_syscall = check
        result = machine.run([program, "300", str(len(victims)), *members])
        assert result.status == 0
        assert [kill.name for kill in result.report.oom_kills] == victims
        assert checked == (list(range(1, len(victims) + 1)) if arch == "x86_64" else [])
        check_machine(machine)
        (report, *_) = parse_log(machine.dmesg())
        assert rank_report(report).agrees()
        assert rebuild(report) == result.report.oom_kills[0].report
        assert report.mem is not None
        assert real[0].mem is not None
        assert [(zone.nid, zone.name) for zone in report.mem.zones] == [(z.nid, z.name) for z in real[0].mem.zones]
        assert report.mem.numa == real[0].mem.numa
        assert [(huge.nid, huge.size_kb) for huge in report.mem.huge] == [(h.nid, h.size_kb) for h in real[0].mem.huge]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "members"),
    [
        ({"ram": "256M"}, ["small:8:0", "big:50:0", "grower:0:-300"]),
        ({"ram": "200M", "swap": "64M"}, ["a:30:200", "b:40:0", "c:40:-200", "grower:0:0"]),
        ({"ram": "200M", "oom_kill_allocating_task": 1}, ["small:8:0", "big:90:500", "grower:0:0"]),
        ({"ram": "256M"}, ["small:8:1000", "big:40:-100", "grower:0:0"]),
    ],
    ids=["amd64-6.18", "amd64-6.18-swap", "amd64-6.18-allocating", "arm64-6.1"],
)
def test_the_scenarios_of_the_booted_machines_end_with_the_same_victims(
    settings: dict[str, object], members: list[str], scenario: str, request: pytest.FixtureRequest, capfd: object
) -> None:
    name = request.node.callspec.id
    (real, *_) = parse_log((GOLDEN / "booted" / f"{name}.txt").read_text())
    with Machine(overcommit_memory=1, **settings) as machine:
        result = machine.run([scenario, "400", "1", *members])
        assert [kill.name for kill in result.report.oom_kills] == [real.killed[0].comm]
        check_machine(machine)


def test_the_others_go_on_with_their_memory(scenario: str, capfd: pytest.CaptureFixture[str]) -> None:
    with Machine(ram="64M", overcommit_memory=1) as machine:
        machine.run([scenario, "100", "2", "small:2:0", "big:10:0", "grower:0:-500"])
    assert capfd.readouterr().out.splitlines() == [
        "died big signal 9 status -1",
        "died grower signal 9 status -1",
        "small intact",
    ]
    with Machine(ram="96M", overcommit_memory=1) as machine:
        machine.run([scenario, "100", "1", "small:2:0", "big:10:0", "grower:0:0"])
    assert capfd.readouterr().out.splitlines() == ["died grower signal 9 status -1", "small intact", "big intact"]


def test_a_program_alone_on_its_machine_ends_with_137(scenario: str) -> None:
    with Machine(ram="64M", overcommit_memory=1) as machine:
        done = machine.run([scenario, "100", "1", "grower:0:1000"])
        assert done.status == 0, "the child died"
        alone = machine.run(["/usr/bin/env", "perl", "-e", "push @x, 'x' x 300000 while 1"])
        assert (alone.status, alone.signal) == (137, 9)
        (kill,) = alone.report.oom_kills
        assert kill.message.startswith(f"Out of memory: Killed process {kill.pid} (perl) total-vm:")
        assert alone.report.rss.peak > 10 * MB
        assert alone.report.mappings
        check_machine(machine)


@pytest.mark.parametrize(("setting", "complaint"), [
    ({"panic_on_oom": 1}, "system-wide panic_on_oom is enabled"),
    ({"panic_on_oom": 2}, "compulsory panic_on_oom is enabled"),
])  # fmt: skip
def test_panic_on_oom_ends_the_run(setting: dict[str, int], complaint: str, scenario: str) -> None:
    with Machine(ram="64M", overcommit_memory=1, **setting) as machine:
        with pytest.raises(OutOfMemory, match=complaint):
            machine.run([scenario, "100", "1", "big:10:0", "grower:0:0"])
        *_, table, last = machine.dmesg().splitlines()
        assert table.endswith("grower")
        assert last == f"Kernel panic - not syncing: Out of memory: {complaint}"
        check_machine(machine)


def test_nobody_left_to_kill_is_out_of_memory(scenario: str) -> None:
    with Machine(ram="64M", overcommit_memory=1) as machine:
        protect = "echo -1000 >/proc/self/oom_score_adj; exec ./scenario 100 1 grower:0:-1000"
        with pytest.raises(OutOfMemory, match="no killable processes"):
            machine.run(["/bin/sh", "-c", protect], cwd=str(Path(scenario).parent))
        check_machine(machine)


def test_who_asks_is_killed_where_the_administrator_wants_it(small: Machine) -> None:
    small.config.oom_kill_allocating_task = 1
    large, asks = grown(small, 12), grown(small, 1)
    with pytest.raises(OomKilled, match=r"Out of memory \(oom_kill_allocating_task\): Killed process"):
        fill(asks)
    assert large.alive
    assert not asks.alive
    check_machine(small)


def test_a_process_of_python_s_is_killed_for_another(small: Machine) -> None:
    large, asks = grown(small, 12), grown(small, 1, -500)
    free = small.system.node.nr_free_pages()
    at = asks.mmap(64 * MB)
    asks.touch(at, (free >> 8 << 20) + 4 * MB)
    assert not large.alive
    with pytest.raises(OomKilled, match=f"process {large.pid} was killed: Out of memory: Killed process {large.pid} "):
        large.mmap(MB)
    assert asks.alive
    asks.write(at, b"goes on")
    check_machine(small)


def test_the_largest_dies_even_where_it_asks_itself(small: Machine) -> None:
    other, asks = grown(small, 4), grown(small, 1)
    with pytest.raises(OomKilled):
        fill(asks)
    assert other.alive
    assert not asks.alive
    check_machine(small)
    grown(small, 8)


def test_a_process_alone_gets_out_of_memory_and_may_free_something(small: Machine) -> None:
    process = small.spawn()
    at = process.mmap(64 * MB)
    with pytest.raises(OutOfMemory) as caught:
        process.touch(at, 64 * MB)
    assert not isinstance(caught.value, OomKilled)
    process.munmap(at, 64 * MB)
    process.write(process.mmap(4096), b"again")


def test_those_who_share_the_victim_s_memory_die_too(scenario: str, tmp_path: Path) -> None:
    source = tmp_path / "share.c"
    source.write_text(
        """
        #define _GNU_SOURCE
        #include <sched.h>
        #include <signal.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/mman.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static int sleeper(void *unused) { pause(); return 0; }
        int main(void) {
            pid_t owner = fork();
            if (owner == 0) {
                clone(sleeper, (char *)malloc(65536) + 65536, CLONE_VM, NULL); /* nobody's child to wait for */
                for (;;) {
                    char *at = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                    for (int i = 0; i < 1 << 20; i += 4096)
                        at[i] = 1;
                }
            }
            int status;
            waitpid(owner, &status, 0);
            printf("%d\\n", WTERMSIG(status));
            return 0;
        }
        """
    )
    built = tmp_path / "share"
    subprocess.run(["cc", "-O1", "-static", "-o", built, source], check=True)
    with Machine(ram="64M", overcommit_memory=1) as machine:
        done = machine.run([str(built)])
        assert done.status == 0
        assert [record.signal for record in done.report.processes] == [0, 9, 9]
        check_machine(machine)


def test_shared_memory_is_freed_by_the_victim_s_end(tmp_path: Path) -> None:
    """Nothing of a victim with shared memory can be reaped: whoever faults waits for its end, and nobody else dies."""
    source = tmp_path / "shared.c"
    source.write_text(
        """
        #include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            pid_t holder = fork();
            if (holder == 0) {
                char *at = mmap(0, 20 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                memset(at, 1, 20 << 20);
                pause();
            }
            sleep(1);
            char *at = mmap(0, 18 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            memset(at, 2, 18 << 20);
            int status;
            waitpid(holder, &status, 0);
            printf("%d\\n", WTERMSIG(status));
            return at[5] == 2 ? 0 : 1;
        }
        """
    )
    built = tmp_path / "shared"
    subprocess.run(["cc", "-O1", "-static", "-o", built, source], check=True)
    with Machine(ram="72M", overcommit_memory=1, skip_sleep=True) as machine:
        done = machine.run([str(built)])
        assert done.status == 0
        assert len(done.report.oom_kills) == 1
        check_machine(machine)


def test_a_system_call_s_request_has_the_victim_reaped(tmp_path: Path) -> None:
    source = tmp_path / "writer.c"
    source.write_text(
        """
        #define _GNU_SOURCE
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <sys/prctl.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            static char block[1 << 20];
            pid_t holder = fork();
            if (holder == 0) {
                prctl(PR_SET_NAME, "holder");
                memset(malloc(20 << 20), 1, 20 << 20);
                pause();
            }
            sleep(1);
            int fd = memfd_create("m", 0), status;
            for (int i = 0; i < 16; i++)
                if (write(fd, block, sizeof block) != sizeof block)
                    return 2;
            waitpid(holder, &status, 0);
            return WTERMSIG(status);
        }
        """
    )
    built = tmp_path / "writer"
    subprocess.run(["cc", "-O1", "-static", "-o", built, source], check=True)
    with Machine(ram="72M", overcommit_memory=1, skip_sleep=True) as machine:
        done = machine.run([str(built)])
        assert done.status == 9
        (kill,) = done.report.oom_kills
        reaped = f"oom_reaper: reaped process {kill.pid} (holder), now anon-rss:0kB, file-rss:"
        assert [line for line in machine.dmesg().splitlines() if line.startswith(reaped)]
        check_machine(machine)


def test_oom_score_adj_is_checked(small: Machine) -> None:
    process = small.spawn()
    with pytest.raises(ConfigError, match="oom_score_adj: expected -1000 to 1000, got 1001"):
        process.oom_score_adj = 1001
    process.oom_score_adj = 500
    assert process.oom_score > 900


def entry(pid: int, rss: int, adj: int = 0) -> OomTask:
    task = OomTask(pid, f"p{pid}")
    task.rss = rss
    task.oom_score_adj = adj
    return task


def test_badness_is_a_sum_in_pages() -> None:
    task = entry(1, 100, 10)
    task.swapents = 7
    task.pgtables_bytes = 3 * 4096
    assert oom_badness(task, 5999) == 100 + 7 + 3 + 10 * 5
    assert proc_oom_score(oom_badness(task, 5999), 5999) == (1000 + 160 * 1000 // 5999) * 2 // 3
    assert oom_badness(entry(1, 100, -1000), 5999) == UNKILLABLE
    assert proc_oom_score(UNKILLABLE, 5999) == 0


def test_a_victim_that_has_not_ended_stops_the_search() -> None:
    oc = OomControl(10_000)
    dying, other = entry(1, 100), entry(2, 500)
    dying.victim = True
    assert select_bad_process(oc, [other, dying]) is None
    assert oc.waiting
    dying.oom_skip = True
    assert select_bad_process(oc, [other, dying]) is other


def test_who_asked_to_go_first_goes_first() -> None:
    origin = entry(1, 1)
    origin.origin = True
    assert select_bad_process(OomControl(10_000), [origin, entry(2, 500)]) is origin


def test_only_processes_that_use_the_nodes_are_of_help() -> None:
    oc = OomControl(10_000)
    oc.constraint = CONSTRAINT_MEMORY_POLICY
    oc.nodemask = 0b10
    here, elsewhere = entry(1, 10), entry(2, 500)
    here.nodes, elsewhere.nodes = 0b11, 0b01
    assert select_bad_process(oc, [here, elsewhere]) is here


def test_a_shortage_of_some_nodes_kills_who_may_use_them() -> None:
    with Machine(nodes=("96M", "24M"), overcommit_memory=1, aslr=False) as machine:
        everywhere, bound_elsewhere, asks = machine.spawn(), machine.spawn(), machine.spawn()
        nodes = machine.system.nodes
        machine.system.has_policies = True
        bound_elsewhere._task.mempolicy = MemPolicy(MPOL_BIND, 0, 0b01, 0b01)
        bound_elsewhere.touch(bound_elsewhere.mmap(20 * MB), 20 * MB)
        everywhere._task.mempolicy = MemPolicy(MPOL_BIND, 0, 0b10, 0b10)
        everywhere.touch(everywhere.mmap(8 * MB), 8 * MB)
        everywhere._task.mempolicy = None
        asks._task.mempolicy = MemPolicy(MPOL_BIND, 0, 0b10, 0b10)
        asks.oom_score_adj = -900
        while not machine.kernel.oom.kills:
            asks.touch(asks.mmap(16 << 12), 16 << 12)
        (kill,) = machine.kernel.oom.kills
        assert kill.victim.pid == everywhere.pid
        assert bound_elsewhere.alive
        rows = [task.pid for task in parse_log(machine.dmesg())[0].tasks]
        assert rows == [everywhere.pid, asks.pid], "who cannot use the node is not in the table"
        assert "constraint=CONSTRAINT_MEMORY_POLICY,nodemask=1,cpuset=/,mems_allowed=0-1,global_oom" in machine.dmesg()
        (report,) = parse_log(machine.dmesg())
        found = rank_report(report)
        assert found.totalpages == sum(zone.present_pages for zone in nodes[1].zones)
        check_machine(machine)


def test_what_a_capable_process_wrote_last_is_the_floor_for_the_others(small: Machine) -> None:
    process = small.spawn()
    task = process._task
    small.system.current = task
    assert store_text(task, "oom_score_adj", b"-300\n") == 5
    assert store_text(task, "oom_adj", b"15") == 2  # the old name moves no floor
    task.capable = False
    assert store_text(task, "oom_score_adj", b"-300") == 4
    assert store_text(task, "oom_score_adj", b"-301") == -errno.EACCES
    child = process.fork()
    child._task.capable = False
    small.system.current = child._task
    assert store_text(child._task, "oom_score_adj", b"-301") == -errno.EACCES
    assert store_text(child._task, "oom_score_adj", b"-299") == 4
    assert store_text(child._task, "oom_adj", b"-17") == -errno.EACCES
    assert (process.oom_score_adj, child.oom_score_adj) == (-300, -299)
