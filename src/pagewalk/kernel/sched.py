"""The loop that runs a task: the CPU until the kernel is needed, the kernel, signals, and round again.

``Runner.step`` is one turn: a scheduler of several tasks is a loop over runners.

Mirrors: kernel/entry/common.c (exit_to_user_mode_loop), arch/x86/entry/entry_64.S (6.18)
Differs: one task, no time slices.
"""

import time
from typing import TYPE_CHECKING

from pagewalk.kernel.cpu import EXIT_FAULT, EXIT_SYSCALL, EXIT_TRAP
from pagewalk.kernel.entry import do_page_fault, do_syscall, fault_signal, trap_signal
from pagewalk.kernel.signal import do_signal
from pagewalk.kernel.task import TASK_STOPPED

if TYPE_CHECKING:
    from pagewalk.kernel.cpu import Cpu
    from pagewalk.kernel.kernel import Kernel
    from pagewalk.kernel.task import Task


class Runner:
    """Runs one task on one CPU."""

    def __init__(self, kernel: "Kernel", cpu: "Cpu", task: "Task") -> None:
        self.kernel = kernel
        self.cpu = cpu
        self.task = task

    def on_fault(self, addr: int, access: int) -> bool:
        """The CPU's page fault; True where the page table grants the access now."""
        return do_page_fault(self.task, addr, access)

    def step(self) -> None:
        """Runs the program until it needs the kernel, and serves it."""
        task = self.task
        before = time.thread_time_ns()
        reason = self.cpu.run(task.mm, task.regs, self.on_fault)
        entered = time.thread_time_ns()
        task.utime_ns += entered - before
        if reason == EXIT_SYSCALL:
            do_syscall(task)
        elif reason == EXIT_FAULT:
            fault_signal(task, self.cpu.addr, self.cpu.access)
        elif reason == EXIT_TRAP:
            trap_signal(task, self.cpu.vector, self.cpu.error_code)
        self.exit_to_user_mode()
        task.stime_ns += time.thread_time_ns() - entered

    def exit_to_user_mode(self) -> None:
        """What is due before the program goes on: timers, then signals."""
        task = self.task
        if self.kernel.poked:
            self.kernel.check_timers(task)
        while task.exit_code is None and task.state != TASK_STOPPED:
            if not task.pending.signal & ~task.blocked and task.regs.orig_rax < 0 and task.saved_sigmask < 0:
                return
            do_signal(task)


def run(kernel: "Kernel", cpu: "Cpu", task: "Task") -> int:
    """Runs ``task`` until it ends or stops; its wait status (WIFEXITED, WIFSIGNALED or WIFSTOPPED of wait(2))."""
    kernel.cpu = cpu
    kernel.system.current = task
    if task.fpu is not cpu:
        task.fpu = cpu
        cpu.reset()
    runner = Runner(kernel, cpu, task)
    runner.exit_to_user_mode()
    while task.exit_code is None and task.state != TASK_STOPPED:
        runner.step()
    return task.wait_status()
