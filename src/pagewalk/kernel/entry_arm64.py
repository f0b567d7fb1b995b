"""What arm64 programs enter the kernel by beside system calls: exceptions, and what a signal is told of them.

Sources: Arm Architecture Reference Manual, D19.2.37 (ESR_EL1); sigaction(2), si_code; Documentation/arch/arm64.

Mirrors: arch/arm64/mm/fault.c, arch/arm64/kernel/traps.c, debug-monitors.c (6.18)
Differs: no deprecated instructions are emulated, which are those of 32-bit programs.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.kernel.cpu import ACCESS_FETCH, ACCESS_WRITE
from pagewalk.kernel.cpufeature_arm64 import emulate_mrs
from pagewalk.kernel.ptrace_arm64 import INSN_SIZE, arm64_regs
from pagewalk.kernel.signal_send import force_sig_fault
from pagewalk.kernel.signal_types import (
    BUS_ADRALN,
    ILL_ILLOPC,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SIGBUS,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
)
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.uaccess import copy_from_user

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

# Exceptions, as cpu/unicorn_arm64.py numbers them; the address of a misaligned access is the error code.
EXC_UNDEFINED: Final = 1
EXC_ALIGNMENT: Final = 4
EXC_BREAKPOINT: Final = 7
EXC_PC_ALIGNMENT: Final = 34

ESR_IABT_LOW: Final = 0x20 << 26
ESR_PC_ALIGN: Final = 0x22 << 26
ESR_DABT_LOW: Final = 0x24 << 26
ESR_IL: Final = 1 << 25
ESR_WNR: Final = 1 << 6
FSC_TRANSLATION: Final = 0x04  # + the level
FSC_PERMISSION: Final = 0x0C
FSC_ALIGNMENT: Final = 0x21

_WORD: Final = (1 << 64) - 1


def bad_area_signal(task: "Task", addr: int, access: int) -> None:
    """The signal for a page fault that could not be served, and what the frame tells of it."""
    esr = (ESR_IABT_LOW if access == ACCESS_FETCH else ESR_DABT_LOW) | ESR_IL
    if access == ACCESS_WRITE:
        esr |= ESR_WNR
    if 0 <= addr < int(task.mm.task_size):
        esr |= fault_status(task, addr)
    else:
        esr |= FSC_TRANSLATION  # where the kernel has something is not told
    set_thread_esr(task, addr, esr)
    force_sig_fault(task, task.fault_sig, task.fault_code, addr)


def set_thread_esr(task: "Task", addr: int, esr: int) -> None:
    """thread.fault_address and thread.fault_code, for the signal's frame."""
    task.cr2 = addr & _WORD
    task.error_code = esr
    task.trap_nr = 0


def fault_status(task: "Task", addr: int) -> int:
    """How the walk for ``addr`` ended: the status and the level, in ESR's low bits. The last level is 3."""
    mm = task.mm
    fmt = mm.system.format
    index = int(pte_lookup(mm, addr))
    if index < 0:  # a table is missing
        shifts = [level.shift for level in reversed(fmt.levels)]
        return FSC_TRANSLATION | 3 - shifts.index(-index)
    return (FSC_PERMISSION if fmt.present.test(mm.system.ram.words[index]) else FSC_TRANSLATION) | 3


def trap_signal(task: "Task", vector: int, error_code: int) -> None:
    """The signal for an exception other than a page fault; or the instruction is emulated."""
    regs = arm64_regs(task)
    if vector == EXC_BREAKPOINT:
        force_sig_fault(task, SIGTRAP, TRAP_BRKPT, regs.pc)
        return
    if vector == EXC_ALIGNMENT:
        set_thread_esr(task, error_code, ESR_DABT_LOW | ESR_IL | FSC_ALIGNMENT)
        force_sig_fault(task, SIGBUS, BUS_ADRALN, error_code)
        return
    if vector == EXC_PC_ALIGNMENT:
        set_thread_esr(task, 0, ESR_PC_ALIGN | ESR_IL)
        force_sig_fault(task, SIGBUS, BUS_ADRALN, regs.pc)
        return
    if undefined_instruction(task) < 0:
        set_thread_esr(task, 0, 0)
        force_sig_fault(task, SIGILL, ILL_ILLOPC, regs.pc)


def undefined_instruction(task: "Task") -> int:
    """Emulates a read of an ID register; -EINVAL for anything else, -EFAULT where the instruction is gone."""
    regs = arm64_regs(task)
    code = copy_from_user(task.mm, regs.pc, INSN_SIZE)
    if code is None:
        return -errno.EFAULT
    found = emulate_mrs(int.from_bytes(code, "little"))
    if found is None:
        return -errno.EINVAL
    number, value = found
    if number < 31:
        regs.regs[number] = value
    regs.pc += INSN_SIZE
    return 0


def notify_segfault(task: "Task", addr: int) -> None:
    """arm64_notify_segfault: a SIGSEGV for an address that the kernel could not use for the program."""
    vma = task.mm.find_vma(addr)
    set_thread_esr(task, 0, 0)
    code = SEGV_MAPERR if vma is None or vma.vm_start > addr else SEGV_ACCERR
    force_sig_fault(task, SIGSEGV, code, addr)
