"""What x86 programs enter the kernel by beside system calls: exceptions, and the vsyscall page.

Sources: AMD64 manual volume 2, section 8.2 (vectors, error codes); sigaction(2), si_code.

Mirrors: arch/x86/mm/fault.c, arch/x86/kernel/traps.c, arch/x86/entry/vsyscall/vsyscall_64.c (6.18)
Differs: nothing.
"""

import errno
import struct
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.cpu import ACCESS_FETCH, ACCESS_WRITE, DR6_STEP
from pagewalk.kernel.entry import call, page_present
from pagewalk.kernel.ptrace import x86_regs
from pagewalk.kernel.signal_send import force_sig, force_sig_fault, force_sig_info
from pagewalk.kernel.signal_types import (
    FPE_FLTDIV,
    FPE_FLTINV,
    FPE_FLTOVF,
    FPE_FLTRES,
    FPE_FLTUND,
    FPE_INTDIV,
    ILL_ILLOPN,
    SEGV_PKUERR,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    TRAP_TRACE,
    kernel_info,
    pkuerr_info,
)
from pagewalk.kernel.word import signed
from pagewalk.mm.uaccess import get_user_u64

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

# The page fault's error code.
X86_PF_PROT: Final = 1
X86_PF_WRITE: Final = 2
X86_PF_USER: Final = 4
X86_PF_INSTR: Final = 16
X86_PF_PK: Final = 32

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


def bad_area_signal(task: "Task", addr: int, access: int) -> None:
    """The signal for a page fault that could not be served, and what the frame tells of it."""
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
    if task.fault_code == SEGV_PKUERR and task.fault_sig == SIGSEGV:
        if error_code & X86_PF_PROT:
            task.error_code |= X86_PF_PK
        force_sig_info(task, pkuerr_info(addr, task.fault_pkey))
        return
    force_sig_fault(task, task.fault_sig, task.fault_code, addr)


def emulate_vsyscall(task: "Task", addr: int) -> None:
    """A call into the vsyscall page: does what the function there would do, or raises SIGSEGV where there is none."""
    which = addr >> 10 & 3
    regs = x86_regs(task)
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
    rip = x86_regs(task).rip
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
