"""A hostile program: every system call with wild arguments, in many processes at once.

The CPU is a stand-in that executes nothing: each time it runs it asks for another system call, or faults. All the rest
is the machine: tasks, the scheduler, signals, memory, files. Whatever comes, the program gets an errno or a signal; no
Python exception leaves the kernel, and every invariant of memory holds.
"""

import os
import random
from collections.abc import Callable

import pytest

from pagewalk import Machine
from pagewalk.check import check_machine
from pagewalk.kernel.cpu import EXIT_FAULT, EXIT_INT80, EXIT_SYSCALL, EXIT_SYSENTER, EXIT_TRAP, Cpu
from pagewalk.kernel.exec_setup import setup_new_exec, start_thread
from pagewalk.kernel.ptrace import PtRegs
from pagewalk.kernel.sched import run
from pagewalk.kernel.signal_types import SA_RESTORER, SA_SIGINFO, SIGKILL, SIGSTOP
from pagewalk.kernel.syscall.table import SYSCALLS
from pagewalk.kernel.syscall.table_ia32 import SYSCALLS_IA32
from pagewalk.kernel.task import Task
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.mmap import vm_mmap
from pagewalk.mm.uaccess import copy_to_user
from pagewalk.mm.unmapped_area import pick_mmap_layout

CALLS = 50_000
PER_MACHINE = 2_500
CHECK_EVERY = 250
CODE = 0x40_0000
AREA = 0x1000_0000
STACK = AREA + (1 << 19)

# What ends or stalls everything at once is made rarely: the others would hardly be tried.
ENDS = frozenset({15, 34, 60, 62, 129, 130, 200, 231, 234, 297, 59, 322})
KNOWN = [number for number, entry in enumerate(SYSCALLS) if entry is not None and number not in ENDS]
ENDS_IA32 = frozenset({1, 11, 29, 37, 72, 119, 173, 178, 179, 238, 252, 270, 335, 358, 424})
KNOWN_IA32 = [number for number, entry in enumerate(SYSCALLS_IA32) if entry is not None and number not in ENDS_IA32]


class HostileCpu(Cpu):
    """Asks for random system calls; ``left`` of them in all."""

    def __init__(self, seed: int, calls: int, check: Callable[[], None], narrow: bool) -> None:
        super().__init__()
        self.narrow = narrow
        self.random = random.Random(seed)
        self.left = calls
        self.check = check
        self.blocks = 0
        self.last: tuple[int, ...] = ()

    def save(self) -> bytes:
        return bytes(512)

    def count_blocks(self) -> bool:
        return True

    def start_slice(self, blocks: int) -> None:
        self.blocks = 20

    def slice_left(self) -> int:
        return self.blocks

    def stop(self) -> None:
        pass

    def run(self, mm: MmStruct, regs: PtRegs, on_fault: Callable[[int, int], bool]) -> int:
        rnd = self.random
        self.blocks -= 1
        self.left -= 1
        if self.left % CHECK_EVERY == 0:
            self.check()
        regs.rip = CODE
        regs.rsp = STACK
        if self.left <= 0:
            regs.rax = 252 if self.narrow else 231
            return EXIT_INT80 if self.narrow else EXIT_SYSCALL
        kind = rnd.random()
        if kind < 0.02:
            self.addr = self.word(mm)
            self.access = rnd.choice((0, 1, 2))
            if not on_fault(self.addr & -4096, self.access):
                return EXIT_FAULT
            regs.rax = 20 if self.narrow else 39  # served: getpid, so as to go on
            return EXIT_INT80 if self.narrow else EXIT_SYSCALL
        if kind < 0.022:
            self.vector = rnd.choice((0, 1, 3, 4, 6, 13, 16, 17, 19))
            return EXIT_TRAP
        if self.narrow:
            number = rnd.choice(KNOWN_IA32 if rnd.random() < 0.99 else (*ENDS_IA32, rnd.randrange(-5, 600)))
            args = [self.word(mm) & 0xFFFF_FFFF for _ in range(6)]
            self.last = (number, *args)
            regs.rax = number
            regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp = args
            return EXIT_INT80 if rnd.random() < 0.95 else EXIT_SYSENTER
        number = rnd.choice(KNOWN) if rnd.random() < 0.985 else rnd.choice((*ENDS, rnd.randrange(-5, 600)))
        args = [self.word(mm) for _ in range(6)]
        self.last = (number, *args)
        regs.rax = number
        regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9 = args
        return EXIT_SYSCALL

    def word(self, mm: MmStruct) -> int:
        """A number such as a hostile program would pass, as a signed word."""
        rnd = self.random
        kind = rnd.randrange(12)
        if kind < 3:
            value = rnd.randrange(-3, 40)
        elif kind < 6 and mm.vmas:
            vma = rnd.choice(mm.vmas)
            value = rnd.choice((int(vma.vm_start), int(vma.vm_end) - rnd.randrange(1, 64), int(vma.vm_end)))
            value += rnd.choice((0, 0, 0, 8, 4096, rnd.randrange(-9, 4200)))
        elif kind == 6:
            value = 1 << rnd.randrange(64)
        elif kind == 7:
            value = (1 << rnd.randrange(64)) - 1
        elif kind == 8:
            value = rnd.getrandbits(64)
        elif kind == 9:
            value = rnd.choice((0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, -1, -100, -4096, (1 << 63) - 1, -(1 << 63)))
        elif kind == 10:
            value = rnd.getrandbits(rnd.choice((8, 16, 24)))
        else:
            value = rnd.randrange(1, 64) << 12
        value &= (1 << 64) - 1
        return value - (1 << 64) if value >> 63 else value


def hostile_machine(seed: int, calls: int, arch: str = "x86_64", narrow: bool = False) -> int:
    """One machine with one hostile program, a 32-bit one where it is ``narrow``; how many calls were made before all
    its processes had ended."""
    machine = Machine(ram="256M", seed=seed, skip_sleep=True, cpus=1 + seed % 3, arch=arch)
    kernel = machine.kernel
    task: Task = kernel.new_task()
    for which in (1, 9):  # files and address spaces that the machine can hold
        task.rlim_cur[which] = task.rlim_max[which] = 64 << 20
    if narrow:
        setup_new_exec(task, narrow=True)
        start_thread(task, CODE, STACK)
    pick_mmap_layout(task.mm, 8 << 20, False)
    area = vm_mmap(task.mm, None, AREA, 1 << 20, 3, 0x32, 0)
    for sig, action in enumerate(task.sighand.action, 1):
        if sig in (SIGKILL, SIGSTOP):
            continue
        action.handler = action.restorer = CODE
        action.flags = SA_SIGINFO | SA_RESTORER
        action.compat = narrow
    rnd = random.Random(seed)
    names = b"/tmp/a\0/proc/self/maps\0/dev/zero\0/proc/self/mem\0/tmp\0/etc/passwd\0"
    for page in range(64):
        data = names if page % 3 == 0 else rnd.randbytes(256) if page % 3 == 1 else bytes(64) + b"\1" * 64
        copy_to_user(task.mm, int(area) + page * 4096, data)
    cpu = HostileCpu(seed, calls, lambda: check_machine(machine), narrow)
    try:
        run(kernel, cpu, task)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {calls - cpu.left} calls, then {cpu.last}: {error!r}") from error
    check_machine(machine)
    machine.close()
    return calls - max(cpu.left, 0)


@pytest.mark.parametrize("part", range(4))
def test_wild_arguments_get_an_errno_or_a_signal(part: int) -> None:
    done = 0
    seed = int(os.environ.get("PAGEWALK_HOSTILE_SEED", "0")) + part * 1_000_000
    while done < CALLS // 4:
        done += hostile_machine(seed, PER_MACHINE)
        seed += 1


@pytest.mark.parametrize("arch", ["x86_64", "x86_pae", "x86_32"])
def test_wild_arguments_of_32_bit_calls_get_an_errno_or_a_signal(arch: str) -> None:
    done = 0
    seed = int(os.environ.get("PAGEWALK_HOSTILE_SEED", "0"))
    while done < CALLS // 8:
        done += hostile_machine(seed, PER_MACHINE, arch, narrow=True)
        seed += 1
