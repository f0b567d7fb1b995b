"""``pagewalk run --record``: what is recorded of an emulated program is what Valgrind records of the same program."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pagewalk.cli import run_command
from pagewalk.config import Config
from pagewalk.hw.tlb_presets import preset
from pagewalk.machine import Machine
from pagewalk.trace.events import Brk, Event, Exec, Exit, Fork, Madvise, Mmap, Mprotect, Mremap, Munmap, Switch, Touch
from pagewalk.trace.format import FETCH
from pagewalk.trace.infer import infer_mappings
from pagewalk.trace.open import open_trace
from pagewalk.trace.readers.base import FileTrace
from pagewalk.trace.recorder import Recorder
from pagewalk.trace.replay import replay

pytestmark = [pytest.mark.linux, pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")]

# No libc: what it accesses does not depend on what the CPU can do.
LOOPS = r"""
static long buf[4096] __attribute__((aligned(4096))), untouched[8192] __attribute__((aligned(4096)));
static long sys(long n, long a) {
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a) : "rcx", "r11", "memory");
    return r;
}
void _start(void) {
    volatile long *p = buf, *q = untouched;
    long sum = 0;
    for (int k = 0; k < 20; k++) {
        for (int i = 0; i < 4096; i += 8) p[i] += i;
        for (int i = 0; i < 8192; i += 512) sum += q[i];
    }
    q[512] = sum;
    for (int k = 0; k < 3; k++) for (int i = 0; i < 8192; i += 512) sum += q[i];
    *(volatile int *)((char *)buf + 4094) += 1;
    long c = 600;
    void *d = buf, *s = buf + 2048;
    __asm__ volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(c) : : "memory");
    sys(231, 0);
}
"""

CALLS = r"""
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc > 1) return 7;
    char *a = mmap(0, 40960, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(a, 1, 40960);
    mprotect(a, 4096, PROT_READ);
    madvise(a + 8192, 4096, MADV_DONTNEED);
    munmap(a + 36864, 4000);
    char *b = mremap(a + 16384, 8192, 65536, MREMAP_MAYMOVE);
    b[60000] = 1;
    sbrk(5000);
    char *grown = alloca(300000);
    for (int i = 0; i < 300000; i += 1000) grown[i] = 1;
    if (fork() == 0) {
        a[4096] = 2;
        execl(argv[0], argv[0], "child", (char *)0);
    }
    int status;
    wait(&status);
    return WEXITSTATUS(status);
}
"""


def compiled(folder: Path, text: str, *options: str) -> Path:
    source, program = folder / "program.c", folder / "program"
    source.write_text(text)
    subprocess.run(["gcc", "-O1", "-static", "-w", *options, "-o", program, source], check=True, timeout=100)
    return program


def data_accesses(trace: FileTrace) -> list[tuple[int, int, int]]:
    """(address, kind, size) of reads and writes outside the stack."""
    found: list[tuple[int, int, int]] = []
    for batch in trace:
        wanted = (batch.kind != FETCH) & (batch.addr < 1 << 24)
        found += zip(batch.addr[wanted].tolist(), batch.kind[wanted].tolist(), batch.size[wanted].tolist(), strict=True)
    return found


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_accesses_are_those_that_valgrind_records(work: Path) -> None:
    program = compiled(work, LOOPS, "-nostdlib")
    ours, theirs = work / "ours.pwt", work / "theirs"
    options = ["--tool=lackey", "--trace-mem=yes", "--basic-counts=no", f"--log-file={theirs}"]
    subprocess.run(["valgrind", *options, program], check=True, timeout=100)
    assert run_command(["run", "-q", "--record", str(ours), "--", str(program)]) == 0
    mine, valgrinds = open_trace(ours), open_trace(theirs)
    assert data_accesses(mine) == data_accesses(valgrinds)
    assert sum(batch.instructions for batch in mine) == sum(batch.instructions for batch in valgrinds)


def test_events_tell_what_the_program_did(work: Path) -> None:
    program = compiled(work, CALLS)
    out = work / "trace.pwt"
    assert run_command(["run", "-q", "--no-aslr", "--seed", "5", "--record", str(out), "--", str(program)]) == 7
    trace = open_trace(out)
    assert (trace.info.source, trace.info.arch, trace.info.seed) == ("pagewalk run", "x86_64", 5)
    assert trace.info.has_mappings
    events = [event for batch in trace for _, event in batch.events]

    def of(kind: type[Event]) -> list[Event]:
        return [event for event in events if isinstance(event, kind)]

    big = next(event for event in events if isinstance(event, Mmap) and event.length == 40960)
    here = {"task": big.task, "cpu": big.cpu}
    assert Mprotect(**here, addr=big.addr, length=4096, prot=1) in events
    assert Madvise(**here, addr=big.addr + 8192, length=4096, advice=4) in events
    assert Munmap(**here, addr=big.addr + 36864, length=4096) in events
    moved = next(event for event in events if isinstance(event, Mremap))
    assert (moved.addr, moved.length, moved.new_length) == (big.addr + 16384, 8192, 65536)
    assert any(event.addr - event.start >= 5000 for event in of(Brk))  # type: ignore[attr-defined]
    (forked,) = of(Fork)
    assert isinstance(forked, Fork)
    assert forked == Fork(**here, child=big.task + 1, shares_mm=False, space=forked.space)
    assert [event.task for event in of(Exec)] == [big.task, big.task + 1]
    assert [event.task for event in of(Exit)] == [big.task + 1, big.task]
    assert len(of(Switch)) >= 3
    assert of(Touch)
    tasks = np.unique(np.concatenate([batch.task for batch in trace]))
    assert tasks.tolist() == [big.task, big.task + 1]
    left = infer_mappings(trace).mappings
    assert all(event.addr > 0x7FFF_0000_0000 for event in left), "only the stack grows without an event"


def test_a_machine_records_one_run_and_not_the_next(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = compiled(work, LOOPS, "-nostdlib")
    out = work / "trace.pwt"
    with Machine(ram="256M", cpus=2) as machine:
        with Recorder(out, machine.config, ["x"]) as recorder:
            assert machine.run([str(program)], record=recorder).status == 0
        size = out.stat().st_size
        first = [batch.addr.tolist() for batch in open_trace(out)]
        assert machine.run([str(program)]).status == 0
        assert out.stat().st_size == size
        with Recorder(work / "again.pwt", machine.config, ["x"]) as recorder:
            assert machine.run([str(program)], record=recorder).status == 0
    again = [batch.addr.tolist() for batch in open_trace(work / "again.pwt")]
    assert [len(addrs) for addrs in again] == [len(addrs) for addrs in first]


def test_a_file_that_cannot_be_written_is_told_before_the_program_runs(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--record", "/nonexistent/trace", "--", "echo", "heard"]) == 125
    heard = capfd.readouterr()
    assert heard.out == ""
    assert "/nonexistent/trace: cannot be written: No such file or directory" in heard.err


def test_a_replay_counts_the_faults_of_the_run(work: Path) -> None:
    program = compiled(work, CALLS)
    out, report = work / "trace.pwt", work / "report.json"
    arguments = ["run", "-q", "--no-aslr", "--record", str(out), "--json", str(report), "--", str(program)]
    assert run_command(arguments) == 7
    run = json.loads(report.read_text())
    replayed = replay(open_trace(out), tlb=preset("none"), config=Config(aslr=False))
    assert replayed.minor == sum(process["minor"] for process in run["processes"])
    assert replayed.major == 0
    assert replayed.refused == 0


def test_processes_that_share_two_cpus_are_told_apart(work: Path) -> None:
    program = compiled(work, LOOPS, "-nostdlib")
    out = work / "trace.pwt"
    script = f"{program} & {program} & {program}; wait"
    assert run_command(["run", "-q", "--cpus", "2", "--record", str(out), "--", "/bin/sh", "-c", script]) == 0
    counts: dict[int, list[int]] = {}
    for batch in open_trace(out):
        mine = (batch.addr >= 0x401000) & (batch.addr < 1 << 24)
        for task in np.unique(batch.task[mine]).tolist():
            kinds = np.bincount(batch.kind[mine & (batch.task == task)], minlength=3)
            counts[task] = (np.array(counts.get(task, [0, 0, 0])) + kinds).tolist()
    first, second, third = counts.values()
    assert first == second == third
    assert min(first) > 10_000
