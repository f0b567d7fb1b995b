"""The life of a task between the CPU and the kernel: the program runs until it needs the kernel, the kernel serves it,
and what is due happens before it goes on.

Mirrors: kernel/entry/common.c (exit_to_user_mode_loop), ret_from_fork (6.18)
Differs: nothing.
"""

import time

from pagewalk.kernel.cpu import EXIT_FAULT, EXIT_INT80, EXIT_STOPPED, EXIT_SYSCALL, EXIT_SYSENTER, EXIT_TRAP
from pagewalk.kernel.entry import do_page_fault, do_syscall, fault_signal
from pagewalk.kernel.entry_ia32 import do_int80_syscall, do_sysenter
from pagewalk.kernel.itimer import arm_alarm, check_cpu_timers
from pagewalk.kernel.rseq import rseq_handle_notify_resume
from pagewalk.kernel.signal import do_signal
from pagewalk.kernel.task import Task
from pagewalk.mm.uaccess import put_user_u32


def task_entry(task: Task) -> None:
    """ret_from_fork, and the life of a task from there: the CPU until the kernel is needed, the kernel, and round
    again."""
    if task.set_child_tid:
        put_user_u32(task.mm, task.set_child_tid, task.pid)
    runner = Runner(task)
    runner.exit_to_user_mode()
    while task.exit_code is None:
        runner.step()


class Runner:
    """Runs one task, on whichever CPU the scheduler has given it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.kernel = task.kernel
        self.sched = task.kernel.sched
        self.pku = task.kernel.system.pku

    def on_fault(self, addr: int, access: int) -> bool:
        """The CPU's page fault; True where the page table grants the access now."""
        return do_page_fault(self.task, addr, access)

    def step(self) -> None:
        """Runs the program until it needs the kernel, and serves it."""
        task = self.task
        cpu = self.kernel.cpu
        assert cpu is not None
        if task.fpu.cpu is not cpu:
            task.fpu.enter(cpu)
        sched = self.sched
        if not sched.counting:
            if sched.timers.heap or task.signal.cpu_timers:
                sched.expects_stops = True
                cpu.expect_stops()
                arm_alarm(task)
            if sched.expects_stops:
                sched.renew_slice(cpu)
        before = time.thread_time_ns()
        left = cpu.slice_left()
        if self.pku:
            cpu.write_pkru(task.pkru)
        reason = cpu.run(task.mm, task.regs, self.on_fault)
        entered = time.thread_time_ns()
        if self.pku:
            task.pkru = cpu.read_pkru()
        task.utime_ns += entered - before
        sched.account(task, cpu, left)
        if reason == EXIT_SYSCALL:
            do_syscall(task)
        elif reason == EXIT_FAULT:
            fault_signal(task, cpu.addr, cpu.access)
        elif reason == EXIT_INT80:
            do_int80_syscall(task)
        elif reason == EXIT_SYSENTER:
            do_sysenter(task)
        elif reason == EXIT_TRAP:
            self.kernel.abi.trap_signal(task, cpu.vector, cpu.error_code)
        elif reason == EXIT_STOPPED and sched.counting and cpu.slice_left() <= 0:
            task.need_resched = True
        self.exit_to_user_mode()
        task.stime_ns += time.thread_time_ns() - entered

    def exit_to_user_mode(self) -> None:
        """What is due before the program goes on: timers, another task's turn, signals."""
        task = self.task
        kernel = self.kernel
        if task.memcg or task.throttle_ns:
            kernel.oom.settle(task)
        if kernel.poked:
            kernel.check_poke()
        if task.signal.cpu_timers:
            check_cpu_timers(task)
        if self.sched.counting and task.exit_code is None:
            self.resched(task)
        while task.exit_code is None:
            pending = task.pending.signal | task.signal.shared_pending.signal
            if (
                not pending & ~task.blocked
                and task.regs.syscallno < 0
                and task.saved_sigmask < 0
                and not task.jobctl_stop
                and not task.signal.group_exiting()
            ):
                break
            do_signal(task)
        if task.rseq and task.exit_code is None:
            rseq_handle_notify_resume(task)

    def resched(self, task: Task) -> None:
        """Where the slice is used up: the others' turn."""
        cpu = self.kernel.cpu
        assert cpu is not None
        timers = self.sched.timers
        if timers.heap:
            timers.run_expired(self.kernel.monotonic_ns())
        if cpu.slice_left() > 0:
            return
        rq = self.sched.rqs[task.cpu]
        if not rq.queue and len(self.sched.rqs) == 1:
            self.sched.start_slice(cpu)
            return
        task.nivcsw += 1
        self.sched.schedule(task)
