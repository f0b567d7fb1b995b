"""Stacks that grow: a touch below a VM_GROWSDOWN mapping extends it.

Mirrors: mm/vma.c (expand_downwards, acct_stack_growth) (6.18)
Differs: nothing.
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.current import RLIMIT_STACK
from pagewalk.mm.limits import may_expand_vm, mlock_future_ok
from pagewalk.mm.munmap import vm_stat_account
from pagewalk.mm.rmap import anon_vma_prepare
from pagewalk.mm.unmapped_area import mmap_min_addr
from pagewalk.mm.util import vm_acct_memory, vm_enough_memory
from pagewalk.mm.vma import VM_ACCOUNT, VM_GROWSDOWN, VM_LOCKED, Vma


def expand_stack(vma: Vma, address: i64) -> int:
    """Extends ``vma`` down to ``address``; 0, or -EFAULT (not a stack), -EPERM (mmap_min_addr), -ENOMEM (the guard
    gap to the mapping below, RLIMIT_STACK, AS, MEMLOCK, or no memory to promise)."""
    if not vma.vm_flags & VM_GROWSDOWN:
        return -errno.EFAULT
    mm = vma.vm_mm
    address &= mm.system.page_mask
    if address < mmap_min_addr(mm):
        return -errno.EPERM
    prev = mm.find_vma_prev(vma.vm_start)
    if (
        prev is not None
        and not prev.vm_flags & VM_GROWSDOWN
        and prev.is_accessible()
        and address - prev.vm_end < mm.system.config.stack_guard_gap << mm.system.page_shift
    ):
        return -errno.ENOMEM
    anon_vma_prepare(vma)  # stays, whatever comes: fork will copy its page tables
    grow: i64 = (vma.vm_start - address) >> mm.system.page_shift
    if grow <= 0:
        return 0
    size: i64 = vma.vm_end - address
    if grow > vma.vm_pgoff or not may_expand_vm(mm, vma.vm_flags, grow):
        return -errno.ENOMEM
    if size > mm.system.current.rlimit(RLIMIT_STACK) or not mlock_future_ok(mm, vma.vm_flags, vma.vm_start - address):
        return -errno.ENOMEM
    if not vm_enough_memory(mm.system, grow):
        return -errno.ENOMEM
    if vma.vm_flags & VM_ACCOUNT:
        vm_acct_memory(mm.system, grow)
    if vma.vm_flags & VM_LOCKED:
        mm.locked_vm += grow
    vm_stat_account(mm, vma.vm_flags, grow)
    mm.set_range(vma, address, vma.vm_end, vma.vm_pgoff - grow)
    mm.faults.stack_growth += 1
    return 0
