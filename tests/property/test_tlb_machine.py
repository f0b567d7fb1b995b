"""Modelled TLBs on a machine that runs: processes on several CPUs change their memory, and after every step each entry
equals the page table or a flush is pending."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pagewalk import BusError, LinuxError, Machine, Process, SegmentationFault
from pagewalk.check import check_machine
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.kernel.syscall.clone import sys_clone, sys_clone3
from pagewalk.kernel.syscall.mm import sys_madvise, sys_mmap, sys_mprotect, sys_munmap
from pagewalk.kernel.task import Task

TLBS = (
    "l1d=8x2,l1i=4,l2=32x4,pmd=4,pud=2,pgd=2",
    "l1=16x4:plru,pmd=8,asid=off,prefetch=on",
    "l1d=4:fifo,l2=16x2:random,pwc=8x2,coalesce=4",
    "l1d=8,l2=64x8,pmd=4,marks=fault",
)
AREA = 24  # pages
PAGE = 4096
page = st.integers(0, AREA - 1)
length = st.integers(1, 8)
who = st.integers(0, 5)


class Machines(RuleBasedStateMachine):
    """Up to six processes on three CPUs; each has the same area, with holes."""

    @initialize(tlb=st.sampled_from(TLBS))
    def boot(self, tlb: str) -> None:
        self.machine = Machine(ram="32M", cpus=3, aslr=False, tlb=tlb)
        first = self.machine.spawn()
        self.area = first.mmap(AREA * PAGE)
        self.processes: list[Process] = [first]
        self.lookups = 0

    def teardown(self) -> None:
        if hasattr(self, "machine"):
            self.machine.close()

    def chosen(self, number: int) -> Process:
        return self.processes[number % len(self.processes)]

    @invariant()
    def every_entry_is_true(self) -> None:
        if hasattr(self, "machine"):
            check_machine(self.machine)
            assert self.machine.tlb is not None
            counters = self.machine.tlb.counters()
            assert counters.walks == counters.misses
            assert counters.lookups >= self.lookups
            self.lookups = counters.lookups

    @rule(who=who, at=page, write=st.booleans(), nr=length)
    def touches(self, who: int, at: int, write: bool, nr: int) -> None:
        process = self.chosen(who)
        try:
            process.touch(self.area + at * PAGE, min(nr, AREA - at) * PAGE, write=write)
        except (SegmentationFault, BusError):  # nothing there; beyond the end of shared memory that has grown
            return

    @rule(who=who, cpu=st.integers(0, 2))
    def moves_to_another_cpu(self, who: int, cpu: int) -> None:
        self.chosen(who).cpu = cpu

    @rule(cpu=st.integers(0, 2))
    def idles(self, cpu: int) -> None:
        assert self.machine.tlb is not None
        self.machine.tlb.idle(cpu)

    @rule(who=who, at=page, nr=length)
    def unmaps(self, who: int, at: int, nr: int) -> None:
        self.chosen(who).munmap(self.area + at * PAGE, nr * PAGE)

    @rule(who=who, at=page, nr=length, shared=st.booleans())
    def maps_over(self, who: int, at: int, nr: int, shared: bool) -> None:
        flags = 0x30 | (1 if shared else 2)  # MAP_FIXED, MAP_ANONYMOUS
        self.chosen(who).mmap(nr * PAGE, 3, flags, addr=self.area + at * PAGE)

    @rule(who=who, at=page, nr=length, prot=st.sampled_from([0, 1, 3]))
    def protects(self, who: int, at: int, nr: int, prot: int) -> None:
        try:
            self.chosen(who).mprotect(self.area + at * PAGE, nr * PAGE, prot)
        except LinuxError as error:
            assert error.errno == 12

    @rule(who=who, at=page, nr=length, advice=st.sampled_from([4, 8, 20]))
    def advises(self, who: int, at: int, nr: int, advice: int) -> None:
        try:
            self.chosen(who).madvise(self.area + at * PAGE, nr * PAGE, advice)
        except LinuxError as error:
            assert error.errno in (12, 22)

    @rule(who=who, at=page, to=page, nr=length)
    def moves_memory(self, who: int, at: int, to: int, nr: int) -> None:
        try:
            self.chosen(who).mremap(self.area + at * PAGE, PAGE, nr * PAGE, 3, self.area + to * PAGE)
        except LinuxError as error:
            assert error.errno in (12, 14, 22)

    @precondition(lambda self: len(self.processes) < 6)
    @rule(who=who, cpu=st.integers(0, 2))
    def forks(self, who: int, cpu: int) -> None:
        child = self.chosen(who).fork()
        child.cpu = cpu
        self.processes.append(child)

    @precondition(lambda self: len(self.processes) > 1)
    @rule(who=who)
    def exits(self, who: int) -> None:
        process = self.chosen(who)
        self.processes.remove(process)
        process.exit()


class TestMachines(Machines.TestCase):  # type: ignore[misc,name-defined]
    settings = settings(
        max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )


# Threads and children that do what comes; the number of the run is the seed.
RANDOM = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#define PAGES 32
static char *area;
static void step(unsigned *seed) {
    int page = rand_r(seed) % PAGES, pages = 1 + rand_r(seed) % 6, what = rand_r(seed) % 12;
    char *at = area + page * 4096;
    if (page + pages > PAGES) pages = PAGES - page;
    switch (what) {
    case 0: mmap(at, pages * 4096, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); break;
    case 1: madvise(at, pages * 4096, MADV_DONTNEED); break;
    case 2: mprotect(at, pages * 4096, PROT_READ); mprotect(at, pages * 4096, PROT_READ | PROT_WRITE); break;
    case 3: madvise(at, pages * 4096, MADV_FREE); break;
    case 4: { char *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              memset(p, 1, 40000); munmap(p, 65536); break; }
    default: for (int i = 0; i < pages; i++)
        if (what & 1) at[i * 4096 + what]++; else *(volatile char *)(at + i * 4096);
    }
}
static void *work(void *argument) {
    unsigned seed = (long)argument;
    for (int i = 0; i < 60; i++) step(&seed);
    return 0;
}
int main(int argc, char **argv) {
    unsigned seed = atoi(argv[1]);
    area = mmap(0, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int round = 0; round < 2; round++) {
        pthread_t threads[3];
        for (long i = 0; i < 3; i++) pthread_create(&threads[i], 0, work, (void *)(i + 7 * seed));
        pid_t child = fork();
        work((void *)(long)(seed + round));
        if (child == 0) _exit(0);
        for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);
        waitpid(child, 0, 0);
    }
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("tlb", TLBS)
def test_entries_are_true_while_threads_and_children_run(tmp_path: Path, tlb: str) -> None:
    folder = Path("/var/tmp") / tmp_path.name  # /tmp is the program's own in a machine
    folder.mkdir(exist_ok=True)
    program = folder / "program"
    try:
        (folder / "program.c").write_text(RANDOM)
        subprocess.run(
            ["gcc", "-O1", "-w", "-static", "-pthread", "-o", program, folder / "program.c"], check=True, timeout=100
        )
        checked = 0
        for seed in range(2):
            with Machine(ram="64M", cpus=3, aslr=False, tlb=parse_tlb(tlb)) as machine:

                def check(
                    task: Task,
                    function: Callable[..., int],
                    words: tuple[int, ...],
                    result: int,
                    machine: Machine = machine,
                ) -> None:
                    nonlocal checked
                    checked += 1
                    changing = (sys_mmap, sys_mprotect, sys_munmap, sys_madvise, sys_clone, sys_clone3)
                    if function in changing and checked % 5 == 0:
                        check_machine(machine)

                machine.kernel.on_syscall = check
                result = machine.run([str(program), str(seed)])
                assert result.status == 0
                assert machine.tlb is not None and machine.tlb.counters().shootdowns > 0
        assert checked > 300
    finally:
        shutil.rmtree(folder)
