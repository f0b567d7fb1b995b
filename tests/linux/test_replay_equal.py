"""What was counted in a run is what a replay of its trace counts, whatever calls of memory management a program makes:
random programs, 64-bit, 32-bit and of arm64, on each machine that runs programs, with coalescing TLBs, little memory
and several CPUs. Where it follows the recorded kernel, always; where it asks a kernel of its own, as long as memory is
no matter."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import PROGRAMS, compile_c

from pagewalk.cli import run_command
from pagewalk.config import Config
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.machine import Machine
from pagewalk.trace.events import EVENT_TYPES
from pagewalk.trace.open import open_trace
from pagewalk.trace.recorder import Recorder
from pagewalk.trace.replay import ReplayReport, replay

pytestmark = [pytest.mark.linux, pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")]


def compiled(folder: Path, name: str, *options: str, compiler: str = "gcc") -> str:
    program = folder / f"{name}-{len(options)}"
    command = [compiler, "-O1", "-w", "-static", *options, "-o", str(program), str(PROGRAMS / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    if done.returncode and "-m32" in options:
        pytest.skip("gcc -m32 has no C library")
    assert done.returncode == 0, done.stderr
    return str(program)


def differences(work: Path, tlb: str, command: list[str], *options: str, simulate: bool = False) -> dict[str, Any]:
    """What a run and the replay of its trace count differently; the program's output is checked against a native run
    by others."""
    trace, report = work / "trace.pwt", work / "report.json"
    arguments = ["run", "-q", "--tlb", tlb, *options, "--record", str(trace), "--json", str(report), "--", *command]
    assert run_command(arguments) in (0, 137)  # 137: the OOM killer
    run: dict[str, Any] = json.loads(report.read_text())
    found = replay(open_trace(trace), parse_tlb(tlb), simulate=simulate)
    assert found.notes[1:] == []
    assert found.follows is not simulate
    whole = found.as_dict()
    counted = {**found.counters.as_dict(), **{key: whole[key] for key in ("instructions", "minor", "major")}}
    expected = {key: run["tlb"][key] for key in (*ReplayReport("").counters.as_dict(), "instructions")}
    expected |= {name: sum(process[name] for process in run["processes"]) for name in ("minor", "major")}
    assert expected["faults"] > 300
    return {key: (value, counted[key]) for key, value in expected.items() if counted[key] != value}


@pytest.mark.parametrize("seed", range(1, 9))
def test_random_calls_count_alike(work: Path, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    program = compiled(work, "random_calls")
    tlb = ("zen3", "zen4,coalesce=8", "skylake-sp", "cortex-a76,coalesce=16")[seed % 4]
    assert differences(work, tlb, [program, str(seed), "250"]) == {}


@pytest.mark.parametrize("seed", range(1, 5))
def test_random_calls_count_alike_where_the_kernel_is_asked_again(
    work: Path, seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    program = compiled(work, "random_calls")
    tlb = ("zen3", "zen4,coalesce=8", "skylake-sp", "cortex-a76,coalesce=16")[seed % 4]
    assert differences(work, tlb, [program, str(seed), "250"], simulate=True) == {}


@pytest.mark.parametrize(
    ("seed", "tlb", "options"),
    [
        (1, "skylake-sp", ("--ram", "44M", "--swap", "64M", "--zswap")),
        (3, "cortex-a76,coalesce=16", ("--ram", "44M", "--swap", "64M", "--cpus", "4")),
        (4, "zen4,coalesce=8", ("--memory-max", "3M", "--swap", "64M", "--cold-cache")),
        (5, "u74,prefetch=on", ("--memory-max", "6M", "--cpus", "4", "--set", "linux=6.1")),
        (6, "zen3", ("--cpus", "2", "--set", "thp=always")),
        (7, "l1d=8x2:plru,l1i=4,l2=48x3:random,asid=off", ("--ram", "48M", "--swap", "256M", "--cpus", "3")),
        (8, "cortex-a53", ("--ram", "40M", "--set", "zram=64M", "--set", "reclaim_policy=mglru")),
    ],
)  # fmt: skip
def test_random_tasks_count_alike(
    work: Path, seed: int, tlb: str, options: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever takes pages away: reclaim, clear_refs, moves to other nodes, calls of others."""
    program = compiled(work, "random_tasks", "-pthread")
    file = work / "file"
    file.write_bytes(bytes(200_000))
    command = [program, str(seed), "12", *([str(file)] if seed % 2 else [])]
    assert differences(work, tlb, command, "--rw", str(work), *options) == {}


@pytest.mark.parametrize("seed", [102, 103])
def test_random_tasks_of_32_bits_count_alike(work: Path, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    """An instruction that the kernel carries out for the CPU touches the stack, and the next one writes there."""
    program = compiled(work, "random_tasks", "-pthread", "-m32", "-idirafter", "/usr/include/x86_64-linux-gnu")
    options = ("--ram", "48M", "--swap", "64M", "--set", "reclaim_policy=mglru", "--cpus", str(seed - 101))
    assert differences(work, "skylake-sp", [program, str(seed), "15"], *options) == {}


@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-gcc") is None, reason="aarch64-linux-gnu-gcc is not installed")
@pytest.mark.parametrize("seed", [1, 2])
def test_random_tasks_of_arm64_count_alike(work: Path, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    program = compiled(work, "random_tasks", "-pthread", compiler="aarch64-linux-gnu-gcc")
    tlb = "cortex-a53" if seed == 1 else "cortex-a76,coalesce=16"
    command = [program, str(seed), "10"]
    assert differences(work, tlb, command, "--ram", "64M", "--swap", "64M", "--cpus", "2") == {}


@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-gcc") is None, reason="aarch64-linux-gnu-gcc is not installed")
@pytest.mark.parametrize(
    ("size", "seed", "unit"),
    [("16K", 1, 16384), ("16K", 2, 4096), ("64K", 3, 4096), ("64K", 4, 65536)],
)
def test_random_calls_with_larger_pages_count_alike(
    work: Path, size: str, seed: int, unit: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Programs that know the size of pages, and programs that take them for 4 KiB: many calls are refused."""
    program = compiled(work, "random_calls", f"-DPAGE={unit}L", compiler="aarch64-linux-gnu-gcc")
    options = ("--arch", "arm64", "--set", f"granule={size}", "--ram", "1G")
    assert differences(work, "cortex-a76", [program, str(seed), "400"], *options) == {}
    assert open_trace(work / "trace.pwt").info.page_size == {"16K": 16384, "64K": 65536}[size]


@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-gcc") is None, reason="aarch64-linux-gnu-gcc is not installed")
@pytest.mark.parametrize(("size", "seed"), [("16K", 5), ("64K", 6)])
def test_random_tasks_with_larger_pages_count_alike(
    work: Path, size: str, seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    unit = {"16K": 16384, "64K": 65536}[size]
    program = compiled(work, "random_tasks", "-pthread", f"-DPAGE={unit}L", compiler="aarch64-linux-gnu-gcc")
    command = [program, str(seed), "10"]
    options = ("--set", f"granule={size}", "--arch", "arm64", "--ram", "256M", "--swap", "64M", "--cpus", "2")
    assert differences(work, "cortex-a76,coalesce=16", command, *options) == {}


@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-gcc") is None, reason="aarch64-linux-gnu-gcc is not installed")
@pytest.mark.parametrize("simulate", [False, True])
@pytest.mark.parametrize("tlb", ["cortex-a53", "cortex-a53,marks=hardware", "cortex-a76,coalesce=16,marks=hardware"])
def test_random_calls_of_arm64_count_alike(
    work: Path, tlb: str, simulate: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where marks are set by software and where not, and also by a kernel that is asked again: what arm64's calls do is
    told, though their functions are not x86's (they take addresses with a tag)."""
    program = compiled(work, "random_calls", compiler="aarch64-linux-gnu-gcc")
    assert differences(work, tlb, [program, "5", "250"], simulate=simulate) == {}
    kinds = {event.kind for batch in open_trace(work / "trace.pwt") for _, event in batch.events}
    assert {"munmap", "mprotect", "mremap", "madvise", "mlock", "msync"} <= kinds


@pytest.mark.parametrize("seed", range(1, 5))
def test_random_calls_on_a_file_of_the_host_count_alike(
    work: Path, seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    program = compiled(work, "random_calls")
    file = work / "file"
    file.write_bytes(bytes(50_000))
    found = differences(work, "zen3", [program, str(seed), "250", str(file)], "--rw", str(work))
    assert found == {}
    assert any(event.backed for batch in open_trace(work / "trace.pwt") for _, event in batch.events
               if event.kind == "mmap")  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--arch", "x86_pae"), ("--arch", "x86_32", "--ram", "1G")],
                         ids=["x86_64", "x86_pae", "x86_32"])  # fmt: skip
def test_random_calls_of_32_bit_programs_count_alike(
    work: Path, options: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    program = compiled(work, "random_calls", "-m32")
    assert differences(work, "zen3", [program, "5", "200"], *options) == {}


def test_the_random_programs_make_every_kind_of_event(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = compiled(work, "random_calls")
    file = work / "file"
    file.write_bytes(bytes(50_000))
    kinds = set()
    for seed in range(20, 24):
        assert differences(work, "zen3", [program, str(seed), "300", str(file)], "--rw", str(work)) == {}
        kinds |= {event.kind for batch in open_trace(work / "trace.pwt") for _, event in batch.events}
    assert kinds == set(EVENT_TYPES) - {"frames"}, "those were written by earlier versions"


def test_a_replay_is_on_the_recorded_machine_unless_told_otherwise(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = compiled(work, "random_calls")
    assert differences(work, "zen3", [program, "3", "100"], "--set", "fault_around_bytes=4096", "--ram", "200M") == {}
    trace = work / "trace.pwt"
    assert replay(open_trace(trace)).minor > 0
    assert run_command(["replay", str(trace), "--json"]) == 0
    same = json.loads(capfd.readouterr().out.split("\n", 1)[1])
    assert run_command(["replay", str(trace), "--json", "--set", "fault_around_bytes=65536"]) == 0
    other = json.loads(capfd.readouterr().out)
    assert other["minor"] < same["minor"]


@pytest.mark.slow
def test_interrupted_calls_count_alike_on_two_cpus(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Signals, stops and kills: tasks that are woken, run and ended on CPUs that others have just used."""
    program = compile_c("interrupted_calls", flags=["-pthread"])
    assert differences(work, "zen3", [program, str(work)], "--cpus", "2") == {}


@pytest.mark.parametrize("seed", [14, 23])
def test_pages_that_move_between_nodes_count_alike(work: Path, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    program = compiled(work, "random_tasks", "-pthread")
    trace, tlb = work / "trace.pwt", parse_tlb("zen3")
    config = Config(nodes=["64M", "64M"], ram="128M", cpus=2, swap="64M", seed=seed)
    with Machine(config, tlb=tlb) as machine, Recorder(trace, config, ["random_tasks"]) as recorder:
        run = machine.run([program, str(seed), "14"], record=recorder).report
        moved = machine.system.vmstat.pgmigrate_success
    found = replay(open_trace(trace), tlb)
    assert found.follows and moved > 0
    counted = found.counters.as_dict()
    assert {key: run.tlb[key] for key in counted} == counted
    minor = sum(process["minor"] for process in run.as_dict()["processes"])
    assert found.minor == minor
