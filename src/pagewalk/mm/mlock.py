"""Keeping pages in memory: mlock, mlock2, munlock, mlockall, munlockall.

Mirrors: mm/mlock.c (6.18)
Differs: at once, not by batches on each CPU.
"""

import errno
from typing import Final

from mypy_extensions import i64

from pagewalk.arch.format import bit
from pagewalk.mm.current import RLIMIT_MEMLOCK
from pagewalk.mm.gup import mm_populate, populate_or_error
from pagewalk.mm.limits import can_do_mlock
from pagewalk.mm.memory import vm_normal_page
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.pgtable import present_ptes, pte_lookup
from pagewalk.mm.rmap import locked_elsewhere
from pagewalk.mm.swap import mlock_folio, munlock_folio
from pagewalk.mm.system import System
from pagewalk.mm.vma import (
    VM_DROPPABLE,
    VM_HUGETLB,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_LOCKONFAULT,
    VM_SPECIAL,
    VM_STICKY,
    Vma,
)
from pagewalk.mm.vma_merge import vma_modify_flags

MLOCK_ONFAULT: Final = 1

MCL_CURRENT: Final = 1
MCL_FUTURE: Final = 2
MCL_ONFAULT: Final = 4


def mlock(mm: MmStruct, start: i64, length: i64, vm_flags: i64) -> int:
    """mlock(2), mlock2(2): ``vm_flags`` is VM_LOCKED, with VM_LOCKONFAULT for MLOCK_ONFAULT.

    0, -EPERM (nothing may be locked), -ENOMEM (RLIMIT_MEMLOCK, hole), -EINVAL (wraps), -EAGAIN (could not be faulted
    in).
    """
    if not can_do_mlock(mm):
        return -errno.EPERM
    start, length = page_range(mm.system, start, length)
    nr_pages: i64 = (length >> mm.system.page_shift) & (bit(64 - mm.system.page_shift) - 1)
    current = mm.system.current
    limit: i64 = current.rlimit(RLIMIT_MEMLOCK) >> mm.system.page_shift
    locked: i64 = mm.locked_vm + nr_pages
    if locked > limit and not current.capable and length >= 0:
        locked -= count_locked_pages(mm, start, start + length) if start >= 0 else 0
    if locked > limit and not current.capable:
        return -errno.ENOMEM
    failed = apply_vma_lock_flags(mm, start, length, vm_flags)
    if failed:
        return failed
    return lock_posix_error(populate_or_error(mm, start, start + length)) if length else 0


def lock_posix_error(code: int) -> int:
    """What mlock answers for a failed fault (__mlock_posix_error_return)."""
    if code == -errno.EFAULT:
        return -errno.ENOMEM
    return -errno.EAGAIN if code == -errno.ENOMEM else code


def page_range(system: System, start: i64, length: i64) -> tuple[i64, i64]:
    """The pages that [start, start + length) touches, as (address, bytes), modulo 2**64 as signed words."""
    offset = int(start) & int(system.page_size - 1)
    unrounded = ((int(length) & 0xFFFF_FFFF_FFFF_FFFF) + offset + int(system.page_size - 1)) & 0xFFFF_FFFF_FFFF_FFFF
    size = unrounded & int(system.page_mask)
    return start & system.page_mask, size - (1 << 64) if size >> 63 else size


def munlock(mm: MmStruct, start: i64, length: i64) -> int:
    """munlock(2): 0, -EINVAL, or -ENOMEM (hole)."""
    start, length = page_range(mm.system, start, length)
    return apply_vma_lock_flags(mm, start, length, 0)


def apply_vma_lock_flags(mm: MmStruct, start: i64, length: i64, flags: i64) -> int:
    """Sets the lock flags of every VMA in the range; 0, -EINVAL, or -ENOMEM at the first hole."""
    first = int(start) & 0xFFFF_FFFF_FFFF_FFFF
    last = (first + (int(length) & 0xFFFF_FFFF_FFFF_FFFF)) & 0xFFFF_FFFF_FFFF_FFFF
    if last < first:
        return -errno.EINVAL
    if last == first:
        return 0
    if start < 0 or start >= mm.task_size:
        return -errno.ENOMEM
    end: i64 = min(last, int(mm.task_size))
    if mm.vma_lookup(start) is None:
        return -errno.ENOMEM
    at = start
    while at < end:
        vma = mm.vma_lookup(at)
        if vma is None:
            return -errno.ENOMEM
        upto: i64 = min(vma.vm_end, end)
        failed = mlock_fixup(vma, at, upto, (vma.vm_flags & ~VM_LOCKED_MASK) | flags)
        if failed:
            return failed
        at = upto
    return 0 if last == int(end) else -errno.ENOMEM


def mlock_fixup(vma: Vma, start: i64, end: i64, new_flags: i64) -> int:
    """Gives [start, end) of one VMA its lock flags; special mappings are passed over in silence. 0 or a negative
    errno."""
    old_flags = vma.vm_flags
    if new_flags == old_flags or old_flags & (VM_SPECIAL | VM_HUGETLB | VM_DROPPABLE):
        return 0
    mm = vma.vm_mm
    target = vma_modify_flags(vma, start, end, new_flags)
    if isinstance(target, int):
        return target
    nr_pages: i64 = (end - start) >> mm.system.page_shift
    if not new_flags & VM_LOCKED:
        mm.locked_vm -= nr_pages
    elif not old_flags & VM_LOCKED:
        mm.locked_vm += nr_pages
    target.vm_flags = new_flags | (target.vm_flags & VM_STICKY)
    if (old_flags ^ new_flags) & VM_LOCKED:
        mlock_vma_pages_range(target, start, end)
    return 0


def mlock_vma_pages_range(vma: Vma, start: i64, end: i64) -> None:
    """What is mapped in [start, end) becomes unevictable, or evictable again, as ``vma`` is locked now."""
    mm = vma.vm_mm
    system = mm.system
    locks = vma.vm_flags & VM_LOCKED != 0
    for addr in present_ptes(vma, start, end):
        page = vm_normal_page(system, system.ram.words[pte_lookup(mm, addr)])
        if page is None:
            continue
        if locks:
            mlock_folio(system, page)
        else:
            munlock_folio(system, page, locked_elsewhere(page, vma))


def count_locked_pages(mm: MmStruct, start: i64, end: i64) -> i64:
    """Pages of [start, end) that are locked already: they do not count against the limit twice."""
    count: i64 = 0
    for vma in mm.vmas_in(start, end):
        if vma.vm_flags & VM_LOCKED:
            count += (min(end, vma.vm_end) - max(start, vma.vm_start)) >> mm.system.page_shift
    return count


def mlockall(mm: MmStruct, flags: i64) -> int:
    """mlockall(2): 0, -EINVAL, -EPERM, -ENOMEM (RLIMIT_MEMLOCK)."""
    if flags == 0 or flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) or flags == MCL_ONFAULT:
        return -errno.EINVAL
    if not can_do_mlock(mm):
        return -errno.EPERM
    current = mm.system.current
    limit: i64 = current.rlimit(RLIMIT_MEMLOCK) >> mm.system.page_shift
    if flags & MCL_CURRENT and mm.total_vm > limit and not current.capable:
        return -errno.ENOMEM
    apply_mlockall_flags(mm, flags)
    if flags & MCL_CURRENT:
        mm_populate(mm, 0, mm.task_size)
    return 0


def munlockall(mm: MmStruct) -> int:
    """munlockall(2): 0."""
    apply_mlockall_flags(mm, 0)
    return 0


def apply_mlockall_flags(mm: MmStruct, flags: i64) -> None:
    """Flags for mappings to come and, with MCL_CURRENT or none, for those that are."""
    mm.def_flags &= ~VM_LOCKED_MASK
    lock: i64 = VM_LOCKED | (VM_LOCKONFAULT if flags & MCL_ONFAULT else 0)
    if flags & MCL_FUTURE:
        mm.def_flags |= lock
        if not flags & MCL_CURRENT:
            return
    to_add: i64 = lock if flags & MCL_CURRENT else 0
    for vma in list(mm.vmas):
        if mm.vma_lookup(vma.vm_start) is vma:  # not merged into its neighbour meanwhile
            mlock_fixup(vma, vma.vm_start, vma.vm_end, (vma.vm_flags & ~VM_LOCKED_MASK) | to_add)
