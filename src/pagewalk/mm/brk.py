"""brk(2): the end of the heap.

Mirrors: mm/mmap.c (brk, vm_brk_flags), mm/vma.c (do_brk_flags) (6.18)
Differs: nothing.
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.current import RLIMIT_DATA
from pagewalk.mm.gup import mm_populate
from pagewalk.mm.limits import may_expand_vm, mlock_future_ok
from pagewalk.mm.mm_types import MmStruct, vm_start_gap
from pagewalk.mm.mmap_flags import MAP_FIXED
from pagewalk.mm.munmap import complete_munmap, do_munmap, gather_munmap, vm_stat_account
from pagewalk.mm.unmapped_area import get_unmapped_area
from pagewalk.mm.util import vm_acct_memory, vm_enough_memory
from pagewalk.mm.vma import VM_ACCOUNT, VM_DATA_DEFAULT_FLAGS, VM_EXEC, VM_LOCKED, Vma
from pagewalk.mm.vma_merge import vma_merge_new_range, vma_set_page_prot


def brk(mm: MmStruct, new: i64) -> i64:
    """Sets the break to ``new`` and returns it; where that cannot be, returns the old one (as the kernel's brk
    does)."""
    if new < mm.start_brk:
        return mm.brk
    current = mm.system.current
    if new - mm.start_brk + mm.end_data - mm.start_data > current.rlimit(RLIMIT_DATA) or new > mm.task_size:
        return mm.brk
    new_end: i64 = mm.system.page_align(new)
    old_end: i64 = mm.system.page_align(mm.brk)
    if new_end == old_end:
        mm.brk = new
        return new
    if new <= mm.brk:
        old = mm.brk
        heap = mm.find_vma_intersection(new_end, old_end)
        if heap is None or heap.vm_start >= old_end:
            return old
        mm.brk = new
        if do_munmap(mm, new_end, old_end):
            mm.brk = old
            return old
        return new
    length: i64 = new_end - old_end
    if get_unmapped_area(mm, None, old_end, length, 0, MAP_FIXED) < 0 or not mlock_future_ok(mm, mm.def_flags, length):
        return mm.brk
    guard: i64 = mm.system.config.stack_guard_gap << mm.system.page_shift
    following = mm.find_vma_intersection(old_end, new_end + mm.system.page_size + guard)
    if following is not None and new_end + mm.system.page_size > vm_start_gap(following):
        return mm.brk
    if do_brk_flags(mm, old_end, length, 0, may_merge=old_end > mm.start_brk):
        return mm.brk
    mm.brk = new
    if mm.def_flags & VM_LOCKED:
        mm_populate(mm, old_end, new_end)
    return new


def vm_brk_flags(mm: MmStruct, addr: i64, length: i64, executable: bool) -> int:
    """Maps private anonymous memory at ``addr`` over whatever is there (the loader's bss); 0 or a negative errno."""
    length = mm.system.page_align(length)
    if length == 0:
        return 0
    if length < 0 or length > mm.task_size or addr < 0 or addr > mm.task_size - length:
        return -errno.ENOMEM
    if addr & ~mm.system.page_mask:
        return -errno.EINVAL
    if not mlock_future_ok(mm, mm.def_flags, length):
        return -errno.EAGAIN
    failed = gather_munmap(mm, addr, addr + length)
    if failed:
        return failed
    complete_munmap(mm, addr, addr + length)
    failed = do_brk_flags(mm, addr, length, VM_EXEC if executable else 0, may_merge=True)
    if failed == 0 and mm.def_flags & VM_LOCKED:
        mm_populate(mm, addr, addr + length)
    return failed


def do_brk_flags(mm: MmStruct, addr: i64, length: i64, flags: i64, may_merge: bool) -> int:
    """Adds [addr, addr + length), which is free, to the VMA before it or as a new one; 0 or -ENOMEM.

    The heap's first page never merges (``may_merge``): Linux looks for the VMA before it no further down than
    start_brk.
    """
    system = mm.system
    nr_pages: i64 = length >> system.page_shift
    flags |= VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT | mm.def_flags
    if not may_expand_vm(mm, flags, nr_pages) or mm.map_count() > system.config.max_map_count:
        return -errno.ENOMEM
    if not vm_enough_memory(system, nr_pages):
        return -errno.ENOMEM
    vm_acct_memory(system, nr_pages)
    grown: Vma | None = None
    if may_merge:
        grown = vma_merge_new_range(mm, addr, addr + length, flags, addr >> system.page_shift, None, just_expand=True)
    if grown is None:
        vma = Vma(mm, addr, addr + length, flags, addr >> system.page_shift)
        vma_set_page_prot(vma)
        mm.insert(vma)
    vm_stat_account(mm, flags, nr_pages)
    if flags & VM_LOCKED:
        mm.locked_vm += nr_pages
    return 0
