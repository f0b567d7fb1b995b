"""Taking ranges of an address space away: munmap(2), and the room that MAP_FIXED makes.

Mirrors: mm/vma.c (do_vmi_align_munmap, vms_gather_munmap_vmas), mm/mmap.c (exit_mmap) (6.18)
Differs: nothing that a program can see.
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.filemap import unlink_file
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.mmu_gather import unmap_vma
from pagewalk.mm.pgtable import free_pgtables, pgd_free
from pagewalk.mm.rmap import unlink_anon_vmas
from pagewalk.mm.util import vm_unacct_memory
from pagewalk.mm.vma import VM_ACCOUNT, VM_EXEC, VM_LOCKED, VM_SEALED, VM_SHARED, VM_STACK, VM_WRITE, Vma
from pagewalk.mm.vma_merge import split_vma_unlimited

USER_CEILING = 1 << 56  # above every user address: where no VMA lies above, tables may be freed


def vm_munmap(mm: MmStruct, start: i64, length: i64) -> int:
    """munmap(2): 0, or -EINVAL (unaligned, empty, out of range), -ENOMEM (too many mappings), -EPERM (sealed)."""
    if start & ~mm.system.page_mask or start < 0 or start > mm.task_size or length < 0 or length > mm.task_size - start:
        return -errno.EINVAL
    end: i64 = start + mm.system.page_align(length)
    if end == start:
        return -errno.EINVAL
    return do_munmap(mm, start, end)


def do_munmap(mm: MmStruct, start: i64, end: i64) -> int:
    """Unmaps [start, end), page aligned and within the address space; holes are fine. 0 or a negative errno."""
    failed = gather_munmap(mm, start, end)
    if failed:
        return failed
    complete_munmap(mm, start, end)
    return 0


def gather_munmap(mm: MmStruct, start: i64, end: i64) -> int:
    """Splits what sticks out of [start, end), so that whole VMAs can go; nothing is unmapped yet."""
    first = mm.find_vma_intersection(start, end)
    if first is None:
        return 0
    if first.vm_start < start:
        if end < first.vm_end and mm.map_count() >= mm.system.config.max_map_count:
            return -errno.ENOMEM
        if first.vm_flags & VM_SEALED:
            return -errno.EPERM
        failed = split_vma_unlimited(first, start, new_below=True)
        if failed:
            return failed
    for vma in mm.vmas_in(start, end):
        if vma.vm_flags & VM_SEALED:
            return -errno.EPERM
        if vma.vm_end > end:
            failed = split_vma_unlimited(vma, end, new_below=False)
            if failed:
                return failed
    return 0


def complete_munmap(mm: MmStruct, start: i64, end: i64) -> None:
    """Removes the VMAs of [start, end), none of which sticks out, with their pages and page tables."""
    going = mm.vmas_in(start, end)
    if not going:
        return
    mm.update_hiwater()
    for vma in going:
        unmap_vma(vma)
    before = mm.find_vma_prev(going[0].vm_start)
    after = mm.find_vma(going[-1].vm_end)
    floor: i64 = 0 if before is None else before.vm_end
    ceiling: i64 = USER_CEILING if after is None else after.vm_start
    free_pgtables(mm, going[0].vm_start, going[-1].vm_end, floor, ceiling)
    for vma in going:
        remove_vma(vma)


def remove_vma(vma: Vma) -> None:
    """Unlinks a VMA whose pages are gone, and takes back what was accounted for it."""
    mm = vma.vm_mm
    nr_pages = vma.nr_pages()
    if vma.vm_flags & VM_LOCKED:
        mm.locked_vm -= nr_pages
    if vma.vm_flags & VM_ACCOUNT:
        vm_unacct_memory(mm.system, nr_pages)
    vm_stat_account(mm, vma.vm_flags, -nr_pages)
    mm.remove(vma)
    note_faults(vma)
    if vma.vm_ops is not None:
        vma.vm_ops.close(vma)
    unlink_file(vma)
    unlink_anon_vmas(vma)
    if vma.vm_file is not None:
        vma.vm_file.put()


def note_faults(vma: Vma) -> None:
    """Keeps the VMA's faults for the report, by what it mapped."""
    if vma.nr_faults:
        name = vma_name(vma)
        counts = vma.vm_mm.mapping_faults
        counts[name] = counts.get(name, 0) + vma.nr_faults


def vma_name(vma: Vma) -> str:
    """What maps calls a mapping: the file's path, [heap], [stack], a special mapping's name, or ""."""
    mm = vma.vm_mm
    if vma.vm_file is not None:
        return vma.vm_file.path
    if vma.vm_ops is not None:
        name = vma.vm_ops.name(vma)
        if name:
            return name
    if vma.vm_start < mm.brk and vma.vm_end > mm.start_brk:
        return "[heap]"
    if vma.vm_start <= mm.start_stack <= vma.vm_end:
        return "[stack]"
    return ""


def vm_stat_account(mm: MmStruct, flags: i64, nr_pages: i64) -> None:
    """Counts mapped pages by kind: code, stack, or private writable data."""
    mm.total_vm += nr_pages
    if flags & (VM_EXEC | VM_WRITE | VM_STACK) == VM_EXEC:
        mm.exec_vm += nr_pages
    elif flags & VM_STACK:
        mm.stack_vm += nr_pages
    elif flags & (VM_WRITE | VM_SHARED | VM_STACK) == VM_WRITE:
        mm.data_vm += nr_pages


def exit_mmap(mm: MmStruct) -> None:
    """Unmaps everything and frees the page tables: the last user of the address space is gone."""
    mm.update_hiwater()
    for vma in mm.vmas:
        vma.vm_flags &= ~VM_SEALED
    complete_munmap(mm, 0, USER_CEILING)
    if mm.exe_file is not None:
        mm.exe_file.put()
        mm.exe_file = None
    mm.system.mmlist.pop(mm.ident, None)
    pgd_free(mm)
    mm.system.slab.mm_struct.free(mm.memcg)
