"""The page-fault entry of the architecture: which mapping, may the access be, and what to tell the program if not.

Mirrors: arch/x86/mm/fault.c (do_user_addr_fault), arch/arm64/mm/fault.c, arch/riscv/mm/fault.c (access_error) (6.18)
Differs: nothing.
"""

from typing import Final

from mypy_extensions import i64

from pagewalk.mm.expand_stack import expand_stack
from pagewalk.mm.fault_types import (
    FAULT_FLAG_INSTRUCTION,
    FAULT_FLAG_USER,
    FAULT_FLAG_WRITE,
    VM_FAULT_ERROR,
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
)
from pagewalk.mm.memory import handle_mm_fault
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.pkeys import arch_vma_access_permitted
from pagewalk.mm.vma import VM_ACCESS_FLAGS, VM_EXEC, VM_GROWSDOWN, VM_READ, VM_WRITE, Vma

# Kinds of access.
READ: Final = 0
WRITE: Final = 1
FETCH: Final = 2
TOUCH: Final = 3  # a fetch of a page that is not there yet: the hardware notices only then that it may not be executed

# What became of a fault.
FAULT_SERVED: Final = 0
FAULT_MAPERR: Final = 1  # SIGSEGV, SEGV_MAPERR: no mapping
FAULT_ACCERR: Final = 2  # SIGSEGV, SEGV_ACCERR: a mapping without that right
FAULT_BUS: Final = 3  # SIGBUS, BUS_ADRERR: beyond the end of the file
FAULT_OOM: Final = 4  # no frame to serve it
FAULT_NONE: Final = 5  # there was none to serve
FAULT_PKUERR: Final = 6  # SIGSEGV, SEGV_PKUERR: the thread's PKRU closes the mapping's protection key


def do_user_addr_fault(mm: MmStruct, addr: i64, access: i64) -> int:
    """Serves an access of the program that the page table did not grant; a FAULT_* value.

    ``addr``: any 64-bit address; ``access``: READ, WRITE, FETCH or TOUCH.
    """
    if addr < 0 or addr >= mm.task_size:
        return FAULT_MAPERR
    vma = mm.find_vma(addr)
    if vma is None:
        return FAULT_MAPERR
    if addr < vma.vm_start and (not vma.vm_flags & VM_GROWSDOWN or expand_stack(vma, addr) != 0):
        return FAULT_MAPERR
    if mm.system.pku and access <= WRITE and not arch_vma_access_permitted(vma, access == WRITE):
        return FAULT_PKUERR
    if access_error(vma, access):
        return FAULT_ACCERR
    flags: i64 = FAULT_FLAG_USER
    if access == WRITE:
        flags |= FAULT_FLAG_WRITE
    elif access == FETCH:
        flags |= FAULT_FLAG_INSTRUCTION
    ret = handle_mm_fault(vma, addr, flags)
    if not ret & VM_FAULT_ERROR:
        return FAULT_SERVED
    if ret & VM_FAULT_OOM:
        return FAULT_OOM
    return FAULT_BUS if ret & VM_FAULT_SIGBUS else FAULT_MAPERR


def access_error(vma: Vma, access: i64) -> bool:
    """The VMA's rights forbid the access."""
    if access == WRITE:
        return not vma.vm_flags & VM_WRITE
    fmt = vma.vm_mm.system.format
    if access == FETCH and fmt.has_nx:
        return not vma.vm_flags & VM_EXEC
    if fmt.execute_only and access == READ:
        return not vma.vm_flags & (VM_READ | VM_WRITE)
    return not vma.vm_flags & VM_ACCESS_FLAGS
