"""Memory cgroups against the running kernel's: the same program under the same limit, the same victim and figures."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest

from pagewalk import Machine
from pagewalk.fs.procfs.memcg_files import parse_limit
from pagewalk.mm.mem_cgroup import PAGE_COUNTER_MAX

pytestmark = pytest.mark.linux

SOURCE = Path(__file__).parent.parent / "golden/oom/scenario.c"
MB = 1 << 20
LIMIT = 24
V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    built = tmp_path_factory.mktemp("memcg") / "scenario"
    subprocess.run(["cc", "-O1", "-static", "-o", built, SOURCE], check=True)
    return str(built)


@pytest.fixture
def group() -> Iterator[tuple[Path, str]]:
    """A new group of the host and the name of its limit's file; skips where none can be made."""
    if (V1 / "memory.limit_in_bytes").exists():
        parent, limit = V1, "memory.limit_in_bytes"
    elif (V2 / "cgroup.controllers").exists() and "memory" in (V2 / "cgroup.subtree_control").read_text():
        parent, limit = V2, "memory.max"
    else:
        pytest.skip("no memory cgroup hierarchy at /sys/fs/cgroup")
    made = parent / f"pagewalk-test-{os.getpid()}"
    try:
        made.mkdir()
        (made / limit).write_text(f"{LIMIT * MB}")
        swap = made / ("memory.memsw.limit_in_bytes" if parent is V1 else "memory.swap.max")
        if swap.exists():
            swap.write_text(f"{LIMIT * MB}" if parent is V1 else "0")
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield made, limit
    made.rmdir()


def native(scenario: str, group: Path, members: list[str]) -> list[str]:
    """What the program says on the host, in the group; it and all its children are gone afterwards."""
    join = "import os, sys; open(sys.argv[1], 'w').write('0'); os.execv(sys.argv[2], sys.argv[2:])"
    command = [sys.executable, "-c", join, str(group / "cgroup.procs"), scenario, *members]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            return process.communicate(timeout=30)[0].splitlines()
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


@pytest.mark.parametrize("members", [
    ["small:2:0", "big:6:0", "grower:0:0"],
    ["small:2:600", "big:13:0", "grower:0:0"],
    ["volunteer:2:1000", "big:9:0", "grower:0:0"],
    ["a:5:300", "b:6:200", "c:7:100", "grower:0:0"],
    ["a:2:300", "b:6:200", "grower:0:900"],
], ids=lambda members: members[0])  # fmt: skip
def test_the_same_process_dies_in_a_group(
    scenario: str, group: tuple[Path, str], members: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    argv = ["100", "1", *members]
    told = native(scenario, group[0], argv)
    with Machine(ram="256M", overcommit_memory=1) as machine:
        made = machine.cgroup("g", memory_max=LIMIT * MB)
        done = machine.run([scenario, *argv], cgroup=made)
    assert done.status == 0
    ours = capfd.readouterr().out.splitlines()
    assert ours[0] == told[0]
    assert ours[0].startswith("died ")
    assert (
        [line for line in ours if line.endswith("broken")] == [line for line in told if line.endswith("broken")] == []
    )


def test_the_peak_is_the_limit_and_a_kill_is_counted(scenario: str, group: tuple[Path, str]) -> None:
    folder, limit = group
    native(scenario, folder, ["100", "1", "small:2:0", "big:10:0", "grower:0:0"])
    peak = folder / ("memory.max_usage_in_bytes" if limit.endswith("bytes") else "memory.peak")
    events = folder / ("memory.oom_control" if limit.endswith("bytes") else "memory.events")
    counts = dict(line.split() for line in events.read_text().splitlines())
    with Machine(ram="256M", overcommit_memory=1) as machine:
        made = machine.cgroup("g", memory_max=LIMIT * MB)
        machine.run([scenario, "100", "1", "small:2:0", "big:10:0", "grower:0:0"], cgroup=made)
        assert made.peak == LIMIT * MB
        assert made.events["oom_kill"] >= 1
    assert int(counts["oom_kill"]) >= 1
    if peak.exists():
        assert int(peak.read_text()) == LIMIT * MB


def numbers(lines: list[str]) -> dict[str, int]:
    return {words[0]: int(words[1]) for words in map(str.split, lines) if len(words) == 2}


def kills_of(folder: Path) -> int:
    name = "memory.oom_control" if (folder / "memory.oom_control").exists() else "memory.events"
    return numbers((folder / name).read_text().splitlines())["oom_kill"]


def test_a_file_larger_than_the_group_is_read_again_as_often(group: tuple[Path, str], work: Path) -> None:
    """Page cache is reclaimed within the group: pages that come back are counted as refaults, nobody dies."""
    program = str(harness.compile_c("memcg_load"))
    harness.need_disk_file_system(work)
    folder, limit = group
    (folder / limit).write_text(f"{8 * MB}")
    pages, rounds = 4096, 3
    path = work / "streamed"
    with open(path, "wb") as out:
        out.write(os.urandom(pages * 4096))
        out.flush()
        os.fsync(out.fileno())
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert native(program, folder, [str(path), str(pages), str(rounds)]) == [f"read {pages * rounds}"]
    theirs = numbers((folder / "memory.stat").read_text().splitlines())
    with Machine(ram="256M", warm=False) as machine:
        made = machine.cgroup("g", memory_max=8 * MB)
        done = machine.run([program, str(path), str(pages), str(rounds)], cgroup=made)
        assert done.status == 0
        ours = made.stat
        assert made.events["oom_kill"] == kills_of(folder) == 0
        assert made.events["max"] > 0
    assert ours["workingset_refault_file"] > pages
    ratio = ours["workingset_refault_file"] / theirs["workingset_refault_file"]
    assert 0.85 < ratio < 1.15, (ours["workingset_refault_file"], theirs["workingset_refault_file"])
    cached = "cache" if "cache" in theirs else "file"
    assert 0.7 < ours["file"] / theirs[cached] < 1.3, (ours["file"], theirs[cached])


LIMITS = [
    "", "K", "1", "0x", "08", "010", "0x1000", "0xe", "0x10e", "1e", "5000", "99999999999999999999", "16E", "17E", "1P",
    "1 M", "1m", "18446744073709551615", "-2", "1x", "0xfffffffffffff000", "07777", "1KK", "+1",
]  # fmt: skip


def test_limits_are_read_as_the_kernel_reads_them(group: tuple[Path, str]) -> None:
    made, _ = group
    file = made / ("memory.soft_limit_in_bytes" if (made / "memory.soft_limit_in_bytes").exists() else "memory.low")
    for text in LIMITS:
        try:
            file.write_text(text + "\n")
            told = file.read_text().strip()
            pages = PAGE_COUNTER_MAX if told == "max" else int(told) // 4096
        except OSError as error:
            pages = -int(error.errno or 0)
        assert parse_limit(text, 4096) == pages, text
