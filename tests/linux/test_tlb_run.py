"""``pagewalk run --tlb``: what the TLBs count in a run is what a replay of the run's trace counts, to the last one."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pagewalk import Machine
from pagewalk.cli import run_command
from pagewalk.config import Config
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.trace.events import Fault
from pagewalk.trace.open import open_trace
from pagewalk.trace.replay import ReplayReport, replay

pytestmark = [pytest.mark.linux, pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")]

# A handler that makes memory accessible: faults that are refused, and served later; and faults two at a time.
SIGNALS = r"""
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
static char *area;
static void handler(int sig, siginfo_t *info, void *context) {
    mprotect((void *)((long)info->si_addr & -4096), 4096, PROT_READ | PROT_WRITE);
}
int main(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, 0);
    area = mmap(0, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 1 << 20; i += 4096 * 8) {
        area[i + 1] = 1;                      /* refused, then made writable */
        *(int *)(area + i + 4094) = 7;        /* crosses into a page that is refused */
        area[i + 4096 * 3 + 5] += 2;          /* a read-modify-write */
    }
    char *fresh = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (long i = 4090; i + 8 < 1 << 20; i += 8192)
        *(long *)(fresh + i) = i;             /* two fresh pages at once */
    for (long i = 0; i < 1 << 20; i += 4096) fresh[i]++;
    return memchr(fresh, 9, 1 << 20) != 0 ? 3 : 4;
}
"""

THREADS = r"""
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long total;
static void *work(void *argument) {
    for (int k = 0; k < 3; k++) {
        long sum = 0;
        char *p = mmap(0, 1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int i = 0; i < 1 << 18; i += 512) p[i] = i + (long)argument;
        mprotect(p, 1 << 17, PROT_READ);
        for (int j = 0; j < 20; j++) for (int i = 0; i < 1 << 18; i += 64) sum += p[i];
        madvise(p, 1 << 16, MADV_DONTNEED);
        for (int i = 0; i < 1 << 16; i += 4096) sum += p[i];
        pthread_mutex_lock(&lock);
        total += sum;
        pthread_mutex_unlock(&lock);
        munmap(p, 1 << 18);
        free(memset(malloc(100000), k, 100000));
    }
    return 0;
}
int main(void) {
    pthread_t threads[4];
    for (long i = 0; i < 4; i++) pthread_create(&threads[i], 0, work, (void *)i);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    return 0;
}
"""

# Children that share and copy, memory that grows, moves and goes, and a new program at the end.
FAMILY = r"""
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc > 1) return 7;
    char *a = mmap(0, 40960, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *s = mmap(0, 40960, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(a, 1, 40960);
    madvise(a + 8192, 4096, MADV_DONTNEED);
    munmap(a + 36864, 4000);
    char *b = mremap(a + 16384, 8192, 65536, MREMAP_MAYMOVE);
    b[60000] = 1;
    sbrk(50000);
    char *grown = __builtin_alloca(300000);
    for (int i = 0; i < 300000; i += 1000) grown[i] = 1;
    int ends[2];
    pipe(ends);
    if (fork() == 0) {
        for (int i = 0; i < 40960; i += 4096) s[i] = 2;
        a[4096] = 2;
        write(ends[1], s, 5000);
        execl(argv[0], argv[0], "child", (char *)0);
    }
    read(ends[0], b + 8000, 5000);
    int status;
    wait(&status);
    if (vfork() == 0) _exit(s[8192]);
    for (int i = 0; i < 40960; i += 4096) s[i]++;
    wait(&status);
    return WEXITSTATUS(status);
}
"""


# Files that only the machine's memory has, System V segments, locked memory.
FILES = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>
static char block[20480];
int main(void) {
    int fd = memfd_create("m", 0);
    memset(block, 1, sizeof block);
    ftruncate(fd, 400000);
    pwrite(fd, block, sizeof block, 8192);
    char *a = mmap(0, 400000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *b = mmap(0, 400000, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    long sum = 0;
    for (int i = 0; i < 400000; i += 4096) sum += a[i];
    if (fork() == 0) { for (int i = 0; i < 400000; i += 8192) a[i] = 3, b[i]++; _exit(0); }
    wait(0);
    for (int i = 0; i < 400000; i += 4096) sum += b[i];
    pwrite(fd, block, sizeof block, 100000);
    char *c = mmap(0, 400000, PROT_READ, MAP_SHARED, fd, 0);
    for (int i = 0; i < 400000; i += 4096) sum += c[i];
    int t = open("/tmp/file", O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 10; i++) write(t, block, sizeof block);
    char *d = mmap(0, 204800, PROT_READ | PROT_WRITE, MAP_SHARED, t, 0);
    for (int i = 0; i < 204800; i += 4096) sum += d[i];
    d[5000] = 1;
    int id = shmget(IPC_PRIVATE, 65536, 0600);
    char *s = shmat(id, 0, 0);
    memset(s, 1, 65536);
    char *s2 = shmat(id, 0, SHM_RDONLY);
    for (int i = 0; i < 65536; i += 4096) sum += s2[i];
    shmdt(s);
    mlockall(MCL_CURRENT | MCL_FUTURE);
    char *e = mmap(0, 100000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    e[5] = 1;
    char *big = sbrk(100000);
    big[50] = 1;
    munlockall();
    return sum & 63;
}
"""


def compiled(folder: Path, text: str, *options: str) -> str:
    source, program = folder / "program.c", folder / "program"
    source.write_text(text)
    subprocess.run(["gcc", "-O1", "-w", *options, "-o", program, source], check=True, timeout=100)
    return str(program)


def run_and_replay(work: Path, command: list[str], *options: str, tlb: str = "skylake-sp") -> dict[str, Any]:
    """The report of a run with TLBs, after a replay of its trace was found to count the same."""
    trace, report = work / "trace.pwt", work / "report.json"
    arguments = ["run", "-q", "--tlb", tlb, *options, "--record", str(trace), "--json", str(report), "--", *command]
    run_command(arguments)
    run: dict[str, Any] = json.loads(report.read_text())
    found = replay(open_trace(trace), parse_tlb(tlb), Config(aslr=False))
    assert counted_by_run(run) == counted_by_replay(found)
    assert found.notes[1:] == []
    return run


def counted_by_run(run: dict[str, Any]) -> dict[str, Any]:
    counters = {
        key: run["tlb"][key] for key in (*ReplayReport("").counters.as_dict(), "instructions", "mpki", "cycles")
    }
    faults = {name: sum(process[name] for process in run["processes"]) for name in ("minor", "major")}
    by_cpu = {cpu: own for cpu, own in run["tlb"]["by_cpu"].items() if own["lookups"]}
    return {**counters, **faults, "by_cpu": by_cpu}


def counted_by_replay(found: ReplayReport) -> dict[str, Any]:
    whole = found.as_dict()
    by_cpu = {cpu: own for cpu, own in whole["by_cpu"].items() if own["lookups"]}
    others = {key: whole[key] for key in ("instructions", "mpki", "cycles", "minor", "major")}
    return {**found.counters.as_dict(), **others, "by_cpu": by_cpu}


@pytest.mark.parametrize(
    "command",
    [
        ["/bin/echo", "hello"],
        ["/bin/ls", "-l", "/"],
        ["/bin/sh", "-c", "echo c b a | tr ' ' '\\n' | sort | cat; for i in 1 2; do /bin/true; done; exit 5"],
    ],
    ids=["echo", "ls", "sh"],
)
@pytest.mark.parametrize("cpus", ["1", "2"])
def test_programs_of_the_host_count_alike(work: Path, command: list[str], cpus: str) -> None:
    run = run_and_replay(work, command, "--cpus", cpus)
    assert run["status"] == (5 if "sort" in command[-1] else 0)
    assert run["tlb"]["lookups"] > run["tlb"]["misses"] > 100


@pytest.mark.parametrize("tlb", ["none", "l1d=8x2:plru,l1i=4,l2=48x3:random,asid=off", "cortex-a53", "u74,prefetch=on"])
def test_forks_and_new_programs_count_alike_on_other_tlbs(work: Path, tlb: str) -> None:
    run = run_and_replay(work, [compiled(work, FAMILY, "-static")], tlb=tlb)
    assert run["status"] == 2
    assert run["tlb"]["switches"] >= 4


@pytest.mark.parametrize("cpus", ["1", "2", "4"])
def test_threads_count_alike_and_shoot_each_other_down(work: Path, cpus: str) -> None:
    run = run_and_replay(work, [compiled(work, THREADS, "-static", "-pthread")], "--cpus", cpus)
    assert (run["tlb"]["shootdowns"] > 0) == (cpus != "1")
    assert run["tlb"]["shootdown_targets"] >= run["tlb"]["shootdowns"]
    assert len(run["tlb"]["by_cpu"]) == int(cpus)


def test_refused_and_repeated_faults_count_alike(work: Path) -> None:
    program = compiled(work, SIGNALS, "-static")
    run = run_and_replay(work, [program])
    assert run["status"] == subprocess.run([program], timeout=100).returncode
    events = [event for batch in open_trace(work / "trace.pwt") for _, event in batch.events]
    assert sum(isinstance(event, Fault) for event in events) >= 96, "each signal is a fault that no access tells of"


@pytest.mark.parametrize("tlb", ["zen3", "u74"])
def test_a_trace_of_a_run_without_tlbs_counts_as_a_run_with_them(work: Path, tlb: str) -> None:
    program = compiled(work, SIGNALS, "-static")
    trace, report = work / "trace.pwt", work / "report.json"
    run_command(["run", "-q", "--no-aslr", "--record", str(trace), "--", program])
    run_command(["run", "-q", "--no-aslr", "--tlb", tlb, "--json", str(report), "--", program])
    found = replay(open_trace(trace), parse_tlb(tlb))
    assert found.follows
    assert counted_by_replay(found) == counted_by_run(json.loads(report.read_text()))


def test_files_in_memory_and_locked_memory_count_alike(work: Path) -> None:
    run = run_and_replay(work, [compiled(work, FILES, "-static")])
    assert run["status"] == 48
    assert run["tlb"]["faults"] > 200


def test_the_tlbs_change_nothing_that_a_program_sees(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = compiled(work, FAMILY, "-static")
    reports = []
    for options in ([], ["--tlb", "zen4"]):
        report = work / "report.json"
        assert run_command(["run", "-q", *options, "--json", str(report), "--", program]) == 2
        whole = json.loads(report.read_text())
        for process in whole["processes"]:
            del process["pss"], process["uss"], process["shared"]
        reports.append((whole["processes"], whole["faults"], whole["mappings"], whole["tables"], whole["syscalls"]))
    assert reports[0] == reports[1]


def test_the_report_tells_of_the_tlbs(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--tlb", "skylake-sp", "--cpus", "2", "--", "/bin/sh", "-c", "ls / | cat; true"]) == 0
    text = capfd.readouterr().err
    section = text[text.index("\nTLB  skylake-sp, 2 CPUs\n") :]
    for word in ("look-ups: level 1", "misses", "walks", "entries read", "flushes", "MPKI", "an estimate", "process 1"):
        assert word in section, word


def test_no_tlb_is_no_section(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--", "/bin/true"]) == 0
    assert "TLB" not in capfd.readouterr().err


def test_a_tlb_that_is_none_is_told_before_the_program_runs(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--tlb", "zen9", "--", "/bin/echo", "heard"]) == 125
    heard = capfd.readouterr()
    assert heard.out == ""
    assert "--tlb: expected a preset" in heard.err and "'zen9'" in heard.err
    assert len(heard.err.splitlines()) == 1


def test_each_run_of_a_machine_counts_from_zero(work: Path) -> None:
    program = compiled(work, FAMILY, "-static")
    with Machine(ram="256M", tlb="skylake-sp", aslr=False) as machine:
        assert machine.tlb is not None
        first = machine.run([program]).report.tlb
        again = machine.run([program]).report.tlb
        assert machine.tlb.as_dict() == again
    assert first["lookups"] == pytest.approx(again["lookups"], rel=0.01)
    assert [sum(own["lookups"] for own in each["by_process"].values()) for each in (first, again)] == [
        first["lookups"],
        again["lookups"],
    ]
