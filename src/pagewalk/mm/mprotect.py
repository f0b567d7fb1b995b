"""mprotect(2): other rights for a range.

Mirrors: mm/mprotect.c (6.18)
Differs: nothing.
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.gup import populate_vma_page_range
from pagewalk.mm.limits import may_expand_vm
from pagewalk.mm.memory import vm_normal_page
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.mmap_flags import (
    PROT_EXEC,
    PROT_GROWSDOWN,
    PROT_GROWSUP,
    PROT_READ,
    PROT_SEM,
    PROT_WRITE,
    READ_IMPLIES_EXEC,
)
from pagewalk.mm.munmap import vm_stat_account
from pagewalk.mm.page import PG_anon, PG_anon_exclusive
from pagewalk.mm.pgtable import next_table, pte_lookup
from pagewalk.mm.pkeys import arch_override_mprotect_pkey, mm_pkey_is_allocated
from pagewalk.mm.system import System
from pagewalk.mm.util import vm_acct_memory, vm_enough_memory
from pagewalk.mm.vma import (
    ARCH_VM_PKEY_FLAGS,
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_GROWSDOWN,
    VM_HUGETLB,
    VM_LOCKED,
    VM_MAYEXEC,
    VM_NORESERVE,
    VM_PKEY_SHIFT,
    VM_SEALED,
    VM_SHARED,
    VM_STICKY,
    VM_WRITE,
    Vma,
)
from pagewalk.mm.vma_merge import vma_modify_flags, vma_set_page_prot, vma_wants_writenotify


def mprotect(mm: MmStruct, start: i64, length: i64, prot: i64, pkey: i64 = -1) -> int:
    """mprotect(2), and pkey_mprotect(2) with a key other than -1. What lies before a hole or a refusal keeps its new
    rights and key.

    0, -EINVAL (unaligned, unknown bits or key, GROWSDOWN elsewhere than on a stack), -ENOMEM (hole, limits), -EACCES (a
    right that the mapping may never have), -EPERM (sealed).
    """
    read_implies_exec = mm.system.current.personality & READ_IMPLIES_EXEC != 0 and prot & PROT_READ != 0
    grows: i64 = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~(PROT_GROWSDOWN | PROT_GROWSUP)
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or start & ~mm.system.page_mask:
        return -errno.EINVAL
    if length == 0:
        return 0
    if -mm.system.page_size < length < 0:  # rounds up to 2**64
        return -errno.ENOMEM
    if prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM):
        return -errno.EINVAL if not range_wraps(mm.system, start, length) else -errno.ENOMEM
    if range_wraps(mm.system, start, length):
        return -errno.ENOMEM
    if pkey != -1 and not mm_pkey_is_allocated(mm, int(pkey)):
        return -errno.EINVAL
    if start < 0 or start >= mm.task_size:
        return -errno.ENOMEM
    end: i64 = mm.task_size if length < 0 or length > mm.task_size - start else start + mm.system.page_align(length)
    vma = mm.find_vma_intersection(start, end)
    if vma is None:
        return -errno.ENOMEM
    if grows & PROT_GROWSDOWN:
        if vma.vm_start >= end:
            return -errno.ENOMEM
        start = vma.vm_start
        if not vma.vm_flags & VM_GROWSDOWN:
            return -errno.EINVAL
    else:
        if vma.vm_start > start:
            return -errno.ENOMEM
        if grows & PROT_GROWSUP:
            return -errno.EINVAL
    at = start
    while at < end:
        vma = mm.vma_lookup(at)
        if vma is None:
            return -errno.ENOMEM
        if read_implies_exec and vma.vm_flags & VM_MAYEXEC:
            prot |= PROT_EXEC
        new_flags: i64 = prot & VM_ACCESS_FLAGS | (vma.vm_flags & ~(VM_ACCESS_FLAGS | ARCH_VM_PKEY_FLAGS))
        if mm.system.pku:
            key: i64 = arch_override_mprotect_pkey(vma, prot, int(pkey))
            new_flags |= key << VM_PKEY_SHIFT
        if new_flags & ~(new_flags >> 4) & VM_ACCESS_FLAGS:
            return -errno.EACCES
        upto: i64 = min(vma.vm_end, end)
        failed = mprotect_fixup(vma, at, upto, new_flags)
        if failed:
            return failed
        at = upto
    return 0


def range_wraps(system: System, start: i64, length: i64) -> bool:
    """start + length, as unsigned 64-bit words and rounded up to a page, exceeds 2**64."""
    first = int(start) & 0xFFFF_FFFF_FFFF_FFFF
    rounded = ((int(length) & 0xFFFF_FFFF_FFFF_FFFF) + int(system.page_size) - 1) & int(system.page_mask)
    return first + rounded >= 1 << 64


def mprotect_fixup(vma: Vma, start: i64, end: i64, new_flags: i64) -> int:
    """Gives [start, end) of one VMA its new flags, splitting and merging; 0 or a negative errno."""
    old_flags = vma.vm_flags
    if old_flags & VM_SEALED:
        return -errno.EPERM
    if new_flags == old_flags:
        return 0
    mm = vma.vm_mm
    nr_pages: i64 = (end - start) >> mm.system.page_shift
    charged: i64 = 0
    if new_flags & VM_WRITE:
        if not may_expand_vm(mm, new_flags, nr_pages) and may_expand_vm(mm, old_flags, nr_pages):
            return -errno.ENOMEM
        if not old_flags & (VM_ACCOUNT | VM_WRITE | VM_HUGETLB | VM_SHARED | VM_NORESERVE):
            charged = nr_pages
            if not vm_enough_memory(mm.system, charged):
                return -errno.ENOMEM
            vm_acct_memory(mm.system, charged)
            new_flags |= VM_ACCOUNT
    elif old_flags & VM_ACCOUNT and vma.is_anonymous() and vma.anon_vma is None:
        new_flags &= ~VM_ACCOUNT
    target = vma_modify_flags(vma, start, end, new_flags)
    if isinstance(target, int):
        vm_acct_memory(mm.system, -charged)
        return target
    target.vm_flags = new_flags | (target.vm_flags & VM_STICKY)
    vma_set_page_prot(target)
    if old_flags & VM_ACCOUNT and not new_flags & VM_ACCOUNT:
        vm_acct_memory(mm.system, -nr_pages)
    change_protection(target, start, end)
    if old_flags & (VM_WRITE | VM_SHARED | VM_LOCKED) == VM_LOCKED and new_flags & VM_WRITE:
        populate_vma_page_range(target, start, end)
    vm_stat_account(mm, old_flags, -nr_pages)
    vm_stat_account(mm, new_flags, nr_pages)
    return 0


def change_protection(vma: Vma, start: i64, end: i64) -> None:
    """Rewrites the entries of [start, end) for the VMA's new ``vm_page_prot``. A page that a write fault would merely
    make writable becomes so now: private, anonymous and exclusive, or shared and already dirty."""
    mm = vma.vm_mm
    system = mm.system
    fmt = system.format
    words = system.ram.words
    size = fmt.pmd_size
    page_size: i64 = fmt.page_size
    keep: i64 = fmt.pfn_mask | fmt.dirty.mask | fmt.special.mask | fmt.accessed.mask
    shared = vma.vm_flags & VM_SHARED != 0
    upgrade = vma_wants_writenotify(vma, vma.vm_flags) if shared else vma.vm_flags & VM_WRITE != 0
    changed = False
    addr = start
    while addr < end:
        index = pte_lookup(mm, addr)
        if index < 0:
            addr = next_table(addr, index)
            continue
        table_end: i64 = min(end, (addr & -size) + size)
        while addr < table_end:
            old: i64 = words[index]
            if old != 0 and not fmt.is_swap_pte(old):
                new: i64 = (old & keep) | vma.vm_page_prot
                if upgrade and fmt.present.test(new) and not fmt.write.test(new):
                    if shared:
                        if fmt.dirty.test(new):
                            new = fmt.write.set(new)
                    else:
                        page = vm_normal_page(system, new)
                        if page is not None and page.flags & PG_anon and page.flags & PG_anon_exclusive:
                            new = fmt.write.set(new)
                if fmt.rdonly:
                    new = fmt.sync_rdonly(new)
                words[index] = new
                changed = True
            addr += page_size
            index += 1
    if changed:
        mm.flush_tlb_range(start, end)
