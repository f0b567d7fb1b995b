"""The ways into the kernel that are alike everywhere: system calls and page faults.

What an architecture has of its own (exceptions, the registers, what a signal is told of a fault) is behind
``kernel.abi``.

Sources: syscall(2); sigaction(2), si_code.

Mirrors: kernel/entry/common.c, arch/x86/mm/fault.c, arch/arm64/mm/fault.c (6.18)
Differs: nothing.
"""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.errors import OutOfMemory
from pagewalk.kernel.cpu import ACCESS_FETCH
from pagewalk.kernel.signal_send import fatal_signal_pending
from pagewalk.kernel.signal_types import BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, SEGV_PKUERR, SIGBUS, SIGSEGV
from pagewalk.mm.fault import (
    FAULT_ACCERR,
    FAULT_BUS,
    FAULT_NONE,
    FAULT_OOM,
    FAULT_PKUERR,
    FAULT_SERVED,
    TOUCH,
    do_user_addr_fault,
)
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.pkeys import vma_pkey

if TYPE_CHECKING:
    from pagewalk.kernel.syscall.table import Syscall
    from pagewalk.kernel.task import Task

NO_ACCESS: Final = 3  # in the low bits of what is no fault


def do_syscall(task: "Task") -> None:
    """Serves the system call that the registers ask for, and leaves its answer there."""
    regs = task.regs
    number = regs.syscall_number()
    regs.syscallno = number if number >= 0 else -1
    task.nr_syscalls += 1
    on_syscall = task.kernel.on_syscall
    before = task.kernel.before_syscall
    entry: Syscall | None = None
    words: tuple[int, ...] = ()
    if on_syscall is not None or before is not None:
        entry = known_call(task, number)
        if entry is not None:
            words = tuple([regs.argument(at) for at in range(entry.nargs)])
            if before is not None:
                before(task, entry.function, words)
    result = call(task, number)
    task.regs.set_return_value(result)  # execve and sigreturn bring registers of their own
    task.kernel.oom.reserves = False
    if on_syscall is not None and entry is not None:
        on_syscall(task, entry.function, words, result)


def known_call(task: "Task", number: int) -> "Syscall | None":
    """The system call of that number, where the machine's release has it."""
    table = task.kernel.abi.syscalls
    return table[number] if 0 <= number < len(table) and number < task.kernel.known_syscalls else None


def call(task: "Task", number: int) -> int:
    """One system call with the arguments in the registers; its answer."""
    regs = task.regs
    entry = known_call(task, number)
    if entry is None:
        if number != -1:
            task.unknown_calls[number] = task.unknown_calls.get(number, 0) + 1
        return -errno.ENOSYS
    task.calls[number] += 1
    nargs = entry.nargs
    function = entry.function
    if nargs == 0:
        return function(task)
    first = regs.argument(0)
    if nargs == 1:
        return function(task, first)
    second = regs.argument(1)
    if nargs == 2:
        return function(task, first, second)
    third = regs.argument(2)
    if nargs == 3:
        return function(task, first, second, third)
    fourth = regs.argument(3)
    if nargs == 4:
        return function(task, first, second, third, fourth)
    fifth = regs.argument(4)
    if nargs == 5:
        return function(task, first, second, third, fourth, fifth)
    return function(task, first, second, third, fourth, fifth, regs.argument(5))


def do_page_fault(task: "Task", addr: int, access: int) -> bool:
    """A page fault of the program: True where the page table grants the access now.

    False: it becomes a signal (``task.fault_sig``, ``fault_code``), which ``fault_signal`` raises once the registers
    are current; with ``fault_sig`` 0 it is taken again, unless the task is being killed. ``access`` is ACCESS_*.
    Raises OutOfMemory where there is no frame and nobody to be killed.
    """
    outcome = serve_fault(task, addr, access)
    if outcome == FAULT_SERVED:
        return True
    if outcome == FAULT_OOM:
        oom = task.kernel.oom
        if oom.take_retry(task):
            task.fault_sig = 0
            return False
        system = task.kernel.system
        free = system.node.nr_free_pages() << system.page_shift
        why = f"; {oom.panic}" if oom.panic else ""
        raise OutOfMemory(
            f"no page frame for {task.comm} (pid {task.pid}) at {addr:#x}; {free} bytes of RAM are free{why}"
        )
    if outcome == FAULT_BUS:
        return bad_area(task, SIGBUS, BUS_ADRERR)
    if outcome == FAULT_PKUERR:
        vma = task.mm.vma_lookup(addr)
        task.fault_pkey = 0 if vma is None else vma_pkey(vma)
        return bad_area(task, SIGSEGV, SEGV_PKUERR)
    return bad_area(task, SIGSEGV, SEGV_ACCERR if outcome == FAULT_ACCERR else SEGV_MAPERR)


def serve_fault(task: "Task", addr: i64, access: i64) -> int:
    """What becomes of a fault of the program: a FAULT_* value."""
    if task.kernel.system.pku:
        save_pkru(task)
    outcome = do_user_addr_fault(task.mm, addr, access)
    if outcome == FAULT_ACCERR and access == ACCESS_FETCH and not page_present(task, addr):
        # The hardware notices a missing right to execute only once the page is there.
        outcome = do_user_addr_fault(task.mm, addr, TOUCH)
        if outcome == FAULT_SERVED:
            outcome = FAULT_ACCERR
    if task.memcg_over_high:  # is paid for before the program goes on
        task.kernel.system.memcg.handle_over_high()
    return outcome


def save_pkru(task: "Task") -> None:
    """PKRU as the program has it at its fault, where one runs: it changes that without telling anybody."""
    cpu = task.kernel.cpu
    if cpu is not None and cpu.in_program():
        task.pkru = cpu.read_pkru()


def bad_area(task: "Task", sig: int, code: int) -> bool:
    """Notes what the fault is to become. Always False."""
    task.fault_sig = sig
    task.fault_code = code
    return False


def serve_faults(task: "Task", resume: Callable[[object], int], what: object) -> int:
    """``serve_fault`` of one fault after the other of those that ``resume(what)`` tells of, as (address << 2) | access,
    until one is not served: what became of it; FAULT_NONE where the low bits are no access."""
    while True:
        fault: i64 = resume(what)
        access = fault & 3
        if access == NO_ACCESS:
            return FAULT_NONE
        outcome = serve_fault(task, fault >> 2, access)
        if outcome != FAULT_SERVED:
            return outcome


def page_present(task: "Task", addr: int) -> bool:
    """Whether the page table has a page at ``addr`` that the hardware sees."""
    index = pte_lookup(task.mm, addr)
    if index < 0:
        return False
    return task.kernel.system.format.present.test(task.kernel.system.ram.words[index])


def fault_signal(task: "Task", addr: int, access: int) -> None:
    """The signal for a page fault that ``do_page_fault`` could not serve; none, after a pause, where it is to be taken
    again."""
    if task.fault_sig == 0:
        if not fatal_signal_pending(task):
            task.kernel.oom.pause(task)
        return
    task.kernel.abi.fault_signal(task, addr, access)
