"""The ways into the kernel: system calls, page faults, exceptions; and the vsyscall page, which is one of each.

Sources: AMD64 manual volume 2, section 8.2 (vectors, error codes); sigaction(2), si_code; syscall(2).

Mirrors: arch/x86/entry/common.c, arch/x86/mm/fault.c, arch/x86/kernel/traps.c, arch/x86/entry/vsyscall/vsyscall_64.c
(6.18)
Differs: no protection keys.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.errors import OutOfMemory
from pagewalk.kernel.cpu import ACCESS_FETCH, ACCESS_READ, ACCESS_WRITE, DR6_STEP
from pagewalk.kernel.signal_send import fatal_signal_pending, force_sig, force_sig_fault, force_sig_info
from pagewalk.kernel.signal_types import (
    BUS_ADRERR,
    FPE_FLTDIV,
    FPE_FLTINV,
    FPE_FLTOVF,
    FPE_FLTRES,
    FPE_FLTUND,
    FPE_INTDIV,
    ILL_ILLOPN,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    TRAP_TRACE,
    kernel_info,
)
from pagewalk.kernel.syscall.table import SYSCALLS
from pagewalk.kernel.word import signed, signed32
from pagewalk.mm.fault import FAULT_ACCERR, FAULT_BUS, FAULT_OOM, FAULT_SERVED, do_user_addr_fault
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.uaccess import get_user_u64

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

# The page fault's error code.
X86_PF_PROT: Final = 1
X86_PF_WRITE: Final = 2
X86_PF_USER: Final = 4
X86_PF_INSTR: Final = 16

X86_TRAP_DE: Final = 0
X86_TRAP_DB: Final = 1
X86_TRAP_BP: Final = 3
X86_TRAP_UD: Final = 6
X86_TRAP_NP: Final = 11
X86_TRAP_SS: Final = 12
X86_TRAP_GP: Final = 13
X86_TRAP_PF: Final = 14
X86_TRAP_MF: Final = 16
X86_TRAP_AC: Final = 17
X86_TRAP_XF: Final = 19

VSYSCALL_ADDR: Final = -(10 << 20)
_VSYSCALL_NUMBERS: Final = (96, 201, 309)  # gettimeofday, time, getcpu


def do_syscall(task: "Task") -> None:
    """Serves the system call in rax and leaves its answer there."""
    regs = task.regs
    number = signed32(regs.rax)
    regs.orig_rax = number if number >= 0 else -1
    task.nr_syscalls += 1
    result = call(task, number)
    task.regs.rax = result  # execve and sigreturn bring registers of their own
    task.kernel.oom.reserves = False
    on_syscall = task.kernel.on_syscall
    if on_syscall is not None:
        on_syscall(task, number, result)


def call(task: "Task", number: int) -> int:
    """One system call with the arguments in the registers; its answer."""
    regs = task.regs
    entry = SYSCALLS[number] if 0 <= number < len(SYSCALLS) and number < task.kernel.known_syscalls else None
    if entry is None:
        if number != -1:
            task.unknown_calls[number] = task.unknown_calls.get(number, 0) + 1
        return -errno.ENOSYS
    task.calls[number] += 1
    nargs = entry.nargs
    function = entry.function
    if nargs == 3:
        return function(task, regs.rdi, regs.rsi, regs.rdx)
    if nargs == 2:
        return function(task, regs.rdi, regs.rsi)
    if nargs == 1:
        return function(task, regs.rdi)
    if nargs == 0:
        return function(task)
    if nargs == 4:
        return function(task, regs.rdi, regs.rsi, regs.rdx, regs.r10)
    if nargs == 5:
        return function(task, regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8)
    return function(task, regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9)


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
        free = task.kernel.system.node.nr_free_pages() << 12
        why = f"; {oom.panic}" if oom.panic else ""
        raise OutOfMemory(
            f"no page frame for {task.comm} (pid {task.pid}) at {addr:#x}; {free} bytes of RAM are free{why}"
        )
    if outcome == FAULT_BUS:
        return bad_area(task, SIGBUS, BUS_ADRERR)
    return bad_area(task, SIGSEGV, SEGV_ACCERR if outcome == FAULT_ACCERR else SEGV_MAPERR)


def serve_fault(task: "Task", addr: int, access: int) -> int:
    """What becomes of a fault of the program: a FAULT_* value."""
    outcome = do_user_addr_fault(task.mm, addr, access)
    if outcome == FAULT_ACCERR and access == ACCESS_FETCH and not page_present(task, addr):
        # The hardware notices a missing right to execute only once the page is there.
        outcome = do_user_addr_fault(task.mm, addr, ACCESS_READ)
        if outcome == FAULT_SERVED:
            outcome = FAULT_ACCERR
    return outcome


def bad_area(task: "Task", sig: int, code: int) -> bool:
    """Notes what the fault is to become. Always False."""
    task.fault_sig = sig
    task.fault_code = code
    return False


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
    if access == ACCESS_FETCH and addr & ~0xFFF == VSYSCALL_ADDR:
        emulate_vsyscall(task, addr)
        return
    size = task.kernel.task_size
    if task.kernel.system.format.halves and not -size - 4096 <= addr < size + 4096:  # not canonical
        trap_signal(task, X86_TRAP_GP, 0)
        return
    error_code = X86_PF_USER
    if access == ACCESS_WRITE:
        error_code |= X86_PF_WRITE
    elif access == ACCESS_FETCH:
        error_code |= X86_PF_INSTR
    if addr < 0 or addr >= size or (task.fault_sig == SIGSEGV and page_present(task, addr)):
        error_code |= X86_PF_PROT
    task.error_code = error_code
    task.trap_nr = X86_TRAP_PF
    task.cr2 = addr
    force_sig_fault(task, task.fault_sig, task.fault_code, addr)


def emulate_vsyscall(task: "Task", addr: int) -> None:
    """A call into the vsyscall page: does what the function there would do, or raises SIGSEGV where there is none."""
    which = addr >> 10 & 3
    regs = task.regs
    caller = get_user_u64(task.mm, regs.rsp)
    if addr & ~0xC00 != VSYSCALL_ADDR or which >= len(_VSYSCALL_NUMBERS) or caller is None:
        force_sig(task, SIGSEGV)
        return
    result = call(task, _VSYSCALL_NUMBERS[which])
    if result == -errno.EFAULT:
        task.error_code = X86_PF_PROT | X86_PF_USER
        task.trap_nr = X86_TRAP_PF
        force_sig(task, SIGSEGV)
        return
    regs.rax = result
    regs.rip = signed(caller)
    regs.rsp += 8


def trap_signal(task: "Task", vector: int, error_code: int) -> None:
    """The signal for an exception other than a page fault."""
    task.trap_nr = vector
    task.error_code = error_code
    rip = task.regs.rip
    if vector == X86_TRAP_DE:
        force_sig_fault(task, SIGFPE, FPE_INTDIV, rip)
    elif vector == X86_TRAP_DB:
        task.error_code = 0
        force_sig_fault(task, SIGTRAP, TRAP_TRACE if error_code & DR6_STEP else TRAP_BRKPT, rip)
    elif vector == X86_TRAP_BP:
        force_sig(task, SIGTRAP)
    elif vector == X86_TRAP_UD:
        force_sig_fault(task, SIGILL, ILL_ILLOPN, rip)
    elif vector in (X86_TRAP_MF, X86_TRAP_XF):
        force_sig_fault(task, SIGFPE, fpu_exception(task, vector), rip)
    elif vector in (X86_TRAP_NP, X86_TRAP_SS):
        force_sig(task, SIGBUS)
    elif vector == X86_TRAP_AC:
        force_sig_fault(task, SIGBUS, 1, 0)
    else:
        task.trap_nr = vector if vector < 32 else X86_TRAP_GP
        if vector >= 32:
            task.error_code = vector * 8 + 2
        force_sig_info(task, kernel_info(SIGSEGV))


def fpu_exception(task: "Task", vector: int) -> int:
    """si_code of a floating-point exception: the first unmasked one of the status word or of MXCSR."""
    image = task.fpu.save()
    if vector == X86_TRAP_MF:
        control, status = struct.unpack_from("<HH", image, 0)
        pending = status & ~control
    else:
        mxcsr = struct.unpack_from("<I", image, 24)[0]
        pending = mxcsr & ~(mxcsr >> 7)
    for bit, code in ((1, FPE_FLTINV), (4, FPE_FLTDIV), (8, FPE_FLTOVF), (2 | 16, FPE_FLTUND), (32, FPE_FLTRES)):
        if pending & bit:
            return code
    return 0
