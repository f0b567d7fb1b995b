"""Programs that nobody here wrote read the /proc that pagewalk writes: psutil, smem, procps; their numbers are the
model's."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest

from pagewalk import ConfigError, Machine, Process
from pagewalk.fs.procfs import ProcfsRecorder
from pagewalk.kernel.exit import do_exit

pytestmark = [pytest.mark.linux]


@pytest.fixture
def machine() -> Iterator[Machine]:
    harness.need_x86_64_linux()
    with Machine(ram="256M", aslr=False) as made:
        yield made


@pytest.fixture
def psutil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = pytest.importorskip("psutil", reason="psutil is not installed")
    monkeypatch.setattr(module, "PROCFS_PATH", str(tmp_path / "proc"))
    return module


SHARED = 4 << 20


@pytest.fixture
def two(machine: Machine, tmp_path: Path) -> tuple[Process, Process]:
    """Two processes that map the same file, of which the second has twice as much private memory."""
    file = tmp_path / "shared"
    file.write_bytes(b"x" * SHARED)
    machine.namespace.show(str(file))
    processes = []
    for number in (1, 2):
        process = machine.spawn()
        process._task.comm = f"worker-{number}"
        process.touch(process.mmap(SHARED, prot=1, path=str(file)), SHARED, write=False)
        process.touch(process.mmap(f"{number}M"), f"{number}M")
        processes.append(process)
    machine.write_procfs(tmp_path / "proc")
    return processes[0], processes[1]


def test_psutil_lists_the_models_processes(two: tuple[Process, Process], psutil: Any) -> None:
    assert psutil.pids() == [process.pid for process in two]
    for process in two:
        seen = psutil.Process(process.pid)
        assert (seen.name(), seen.ppid(), seen.num_threads()) == (process._task.comm, process._task.ppid, 1)
        assert seen.uids().real == 0
        assert seen.status() == psutil.STATUS_RUNNING


def test_psutils_memory_is_the_models(two: tuple[Process, Process], psutil: Any) -> None:
    for process in two:
        seen = psutil.Process(process.pid)
        info = seen.memory_full_info()
        private = process.rss["anon"]
        assert info.rss == sum(process.rss.values()) == private + SHARED
        assert info.vms == process._task.mm.total_vm << 12
        assert info.uss == private
        assert info.pss == private + SHARED // 2
        maps = seen.memory_maps()
        assert sum(row.rss for row in maps) == info.rss
        file = next(row for row in maps if row.path.endswith("/shared"))
        assert (file.rss, file.pss, file.shared_clean + file.shared_dirty) == (SHARED, SHARED // 2, SHARED)


def test_psutil_reads_the_machine(machine: Machine, two: tuple[Process, Process], psutil: Any) -> None:
    memory = psutil.virtual_memory()
    assert memory.total == machine.system.totalram_pages << 12
    assert memory.free == machine.system.node.nr_free_pages() << 12
    assert psutil.swap_memory().total == 0


def test_psutil_sees_a_program_at_its_end(machine: Machine, tmp_path: Path, psutil: Any) -> None:
    report = machine.run(["/bin/true", "two words"], procfs=str(tmp_path / "proc")).report
    (seen,) = psutil.process_iter()
    assert seen.cmdline() == ["/bin/true", "two words"]
    assert (seen.name(), seen.exe(), seen.cwd()) == ("true", os.path.realpath("/bin/true"), os.getcwd())
    assert seen.memory_info().rss == report.rss.total
    assert seen.memory_info().vms == report.virtual
    assert {row.path for row in seen.memory_maps()} >= {"[heap]", "[stack]", "[vdso]"}
    assert seen.num_fds() == len(os.listdir(tmp_path / "proc" / str(seen.pid) / "fd")) > 0
    assert seen.io_counters().read_count > 0


def test_psutil_sees_a_pipeline(machine: Machine, tmp_path: Path, psutil: Any) -> None:
    """A shell and its children; each one's PSS adds up to what smaps says."""
    shell = harness.need("dash")
    script = "/bin/ls / | /usr/bin/sort | /usr/bin/wc -l > /dev/null; exec /bin/true"
    report = machine.run([shell, "-c", script], procfs=str(tmp_path / "proc")).report
    assert psutil.pids() == [process.pid for process in report.processes] == [1000, 1001, 1002, 1003]
    first = psutil.Process(1000)
    assert first.name() == "dash" and first.status() == psutil.STATUS_SLEEPING
    assert sorted(child.pid for child in first.children()) == [1001, 1002, 1003]
    for process in psutil.process_iter():
        info = process.memory_full_info()
        maps = process.memory_maps()
        assert info.rss == sum(row.rss for row in maps)
        assert abs(info.pss - sum(row.pss for row in maps)) <= 1024 * len(maps)
        assert info.uss <= info.pss <= info.rss
    assert [record.name for record in report.processes][1:] == ["ls", "sort", "wc"]
    assert report.processes[0].programs == [os.path.realpath(shell), os.path.realpath("/bin/true")]
    assert all(record.faults["cow"] > 0 for record in report.processes[1:])


def test_psutil_sees_threads(machine: Machine, tmp_path: Path, psutil: Any) -> None:
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        pytest.skip(f"{python} is not installed")
    script = (
        "import os, threading, time\n"
        "for _ in range(3): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        "os._exit(7)\n"
    )
    report = machine.run([python, "-I", "-S", "-c", script], procfs=str(tmp_path / "proc"), timeout=120).report
    assert report.status == 7
    seen = psutil.Process(report.pid)
    assert seen.num_threads() == 4 == report.processes[0].threads
    assert [thread.id for thread in seen.threads()] == [1000, 1001, 1002, 1003]


def test_smem_prints_its_table(two: tuple[Process, Process], tmp_path: Path) -> None:
    command = [harness.need("smem"), "--source", str(tmp_path), "-H", "-c", "pid uss pss rss"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    rows = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    assert rows == [], done.stderr  # no command line: smem takes them for kernel threads
    for process in two:
        (tmp_path / "proc" / str(process.pid) / "cmdline").write_bytes(process._task.comm.encode() + b"\0")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    rows = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    expected = []
    for process in two:
        private = process.rss["anon"]
        expected.append([process.pid, *(size >> 10 for size in (private, private + SHARED // 2, private + SHARED))])
    assert sorted(rows) == expected, done.stderr


def test_smem_sees_a_program(machine: Machine, tmp_path: Path) -> None:
    tool = harness.need("smem")
    report = machine.run(["/bin/true"], procfs=str(tmp_path / "proc")).report
    done = subprocess.run([tool, "--source", str(tmp_path), "-H"], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(report.pid), "root", "/bin/true", "0", *[str(report.rss.total >> 10)] * 3]


def below_our_proc(tree: Path, command: str) -> str:
    """What ``command`` prints where the tree is mounted at /proc; ``ps`` looks for itself there, too."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount")
    unshare = harness.need("unshare")
    script = f"mount --bind {tree} /proc && ln -s 1000 /proc/$$ && exec {command}"
    done = subprocess.run([unshare, "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    for link in tree.iterdir():
        if link.is_symlink() and link.name.isdigit():
            link.unlink()
    if "unshare failed" in done.stderr or "permission denied" in done.stderr:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_procps_reads_the_tree_as_its_proc(machine: Machine, tmp_path: Path) -> None:
    for tool in ("free", "ps", "pmap", "vmstat"):
        harness.need(tool)
    tree = tmp_path / "proc"
    report = machine.run(["/bin/true"], procfs=str(tree)).report
    free = below_our_proc(tree, "free -k").splitlines()[1].split()
    assert int(free[1]) == machine.system.totalram_pages * 4
    row = below_our_proc(tree, f"ps -o pid,ppid,rss,vsz,stat,min_flt,nlwp,args -p {report.pid}").splitlines()[1]
    fields = row.split()
    assert [int(field) for field in fields[:4]] == [report.pid, 1, report.rss.total >> 10, report.virtual >> 10]
    nice = os.nice(0)  # inherited, and shown: < above the others, N below
    state = "R" + ("<" if nice < 0 else "N" if nice > 0 else "") + "s"
    assert fields[4:] == [state, str(report.minor), "1", "/bin/true"]
    assert re.search(rf"(?m)^ *{report.pid} ", below_our_proc(tree, "ps -e"))
    total = below_our_proc(tree, f"pmap -x {report.pid}").splitlines()[-1].split()
    assert [int(word) for word in total[2:4]] == [(report.virtual >> 10) + 4, report.rss.total >> 10]  # vsyscall
    extended = below_our_proc(tree, f"pmap -X {report.pid}").splitlines()[-1].split()
    assert [int(word) for word in extended[:2]] == [(report.virtual >> 10) + 4, report.rss.total >> 10]  # vsyscall
    assert f"{machine.system.totalram_pages * 4} K total memory" in below_our_proc(tree, "vmstat -s")


# --- the tree -------------------------------------------------------------------------------------------------------


def test_links_are_links(machine: Machine, tmp_path: Path) -> None:
    tree = tmp_path / "proc"
    machine.run(["/bin/true"], procfs=str(tree))
    assert os.readlink(tree / "self") == "1000"
    assert os.readlink(tree / "1000/exe") == os.path.realpath("/bin/true")
    assert os.readlink(tree / "1000/root") == "/"
    assert os.readlink(tree / "1000/ns/pid") == "pid:[4026531836]"
    assert {link.name for link in (tree / "1000/fd").iterdir()} == {"0", "1", "2"}
    assert (tree / "1000/task/1000/stat").read_text() == (tree / "1000/stat").read_text()
    assert not (tree / "1000/mem").exists() and not (tree / "kpageflags").exists()
    assert (tree / "sys/vm/swappiness").read_text() == "60\n"


def test_a_later_call_replaces_what_an_earlier_one_wrote(machine: Machine, tmp_path: Path) -> None:
    first = machine.spawn()
    machine.write_procfs(tmp_path / "proc")
    second = machine.spawn()
    first.exit()
    machine.write_procfs(tmp_path / "proc")
    assert [name for name in os.listdir(tmp_path / "proc") if name.isdigit()] == [str(second.pid)]


def test_nothing_of_somebody_elses_is_replaced(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(ConfigError, match="expected an empty directory or an earlier /proc"):
        machine.write_procfs(tmp_path)
    with pytest.raises(ConfigError, match="not a directory"):
        machine.write_procfs(tmp_path / "precious")
    with pytest.raises(ConfigError, match="is no directory"):
        machine.write_procfs(tmp_path / "no" / "such")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_the_command_line_writes_it_too(tmp_path: Path) -> None:
    harness.need_x86_64_linux()
    out = tmp_path / "report.json"
    done = harness.modelled(["/bin/true"], options=["--procfs", str(tmp_path / "proc"), "--json", str(out)])
    assert done.status == 0, done.stderr
    rss = json.loads(out.read_text())["rss"]["total"]
    assert f"VmRSS:\t{rss >> 10:8} kB\n" in (tmp_path / "proc/1000/status").read_text()
    refused = harness.modelled(["/bin/true"], options=["--procfs", str(tmp_path)])
    assert refused.status == 125 and b"--procfs: expected an empty directory" in refused.stderr


def test_the_moment_with_most_processes_is_kept_and_the_others_stand_beside_it(
    machine: Machine, tmp_path: Path
) -> None:
    """One process ends alone; then three live, and end one after the other, each with more memory than at the moment
    when most were there."""
    tree = tmp_path / "proc"
    recorder = ProcfsRecorder(machine._proc, str(tree))
    machine.kernel.on_exit = recorder.before_exit

    def resident(pid: int) -> int:
        return int(re.findall(r"VmRSS:\s+(\d+)", (tree / str(pid) / "status").read_text())[0])

    def end(process: Process) -> None:
        do_exit(process._task, 0)
        machine.kernel.release_task(process._task)

    alone = machine.spawn()
    alone.touch(alone.mmap("64K"), "64K")
    end(alone)
    three = [machine.spawn() for _ in range(3)]
    end(three[0])
    for process in three[1:]:
        process.touch(process.mmap("128K"), "128K")
        end(process)
    late = machine.spawn()
    late.touch(late.mmap("32K"), "32K")
    end(late)
    assert resident(alone.pid) == 64
    assert [resident(process.pid) for process in three] == [0, 0, 0]
    assert resident(late.pid) == 32
    assert not os.path.exists(f"{tree}.ended")
