"""The address space of a child, and who uses an address space.

Mirrors: kernel/fork.c (dup_mm, dup_mmap, mmput), mm/mmap.c (dup_mmap) (6.18)
Differs: nothing.
"""

from mypy_extensions import i64

from pagewalk.mm.copy_page_range import copy_page_range
from pagewalk.mm.filemap import link_file
from pagewalk.mm.mm_types import MmStruct, mm_alloc
from pagewalk.mm.munmap import exit_mmap, vm_stat_account
from pagewalk.mm.rmap import anon_vma_fork
from pagewalk.mm.util import vm_acct_memory, vm_enough_memory
from pagewalk.mm.vma import (
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_LOCKED_MASK,
    VM_WIPEONFORK,
    Vma,
)


def mmget(mm: MmStruct) -> None:
    """One user more."""
    mm.mm_users += 1


def mmput(mm: MmStruct) -> None:
    """One user less; the last one frees it."""
    mm.mm_users -= 1
    if mm.mm_users == 0:
        exit_mmap(mm)


def dup_mm(oldmm: MmStruct) -> MmStruct | None:
    """The child's address space; None where it is refused or no frame is left."""
    system = oldmm.system
    mm = mm_alloc(system)
    if mm is None:
        return None
    copy_fields(mm, oldmm)
    oldmm.flush_tlb_range(0, oldmm.task_size)
    for source in oldmm.vmas:
        if source.vm_flags & VM_DONTCOPY:
            vm_stat_account(mm, source.vm_flags, -source.nr_pages())
            continue
        charge: i64 = source.nr_pages() if source.vm_flags & VM_ACCOUNT else 0
        if charge and not vm_enough_memory(system, charge):
            exit_mmap(mm)
            return None
        vm_acct_memory(system, charge)
        vma = copy_vma(mm, source)
        if not source.vm_flags & VM_WIPEONFORK and not copy_page_range(vma, source):
            exit_mmap(mm)
            return None
    mm.hiwater_rss = mm.get_mm_rss()
    mm.hiwater_vm = mm.total_vm
    return mm


def copy_fields(mm: MmStruct, oldmm: MmStruct) -> None:
    """What a child's mm_struct takes over."""
    mm.total_vm = oldmm.total_vm
    mm.data_vm = oldmm.data_vm
    mm.exec_vm = oldmm.exec_vm
    mm.stack_vm = oldmm.stack_vm
    mm.mmap_base = oldmm.mmap_base
    mm.mmap_legacy_base = oldmm.mmap_legacy_base
    mm.topdown = oldmm.topdown
    mm.randomized = oldmm.randomized
    mm.layout = oldmm.layout
    mm.task_size = oldmm.task_size
    mm.start_code = oldmm.start_code
    mm.end_code = oldmm.end_code
    mm.start_data = oldmm.start_data
    mm.end_data = oldmm.end_data
    mm.start_brk = oldmm.start_brk
    mm.pkey_map = oldmm.pkey_map
    mm.execute_only_pkey = oldmm.execute_only_pkey
    mm.brk = oldmm.brk
    mm.start_stack = oldmm.start_stack
    mm.coredump_filter = oldmm.coredump_filter
    mm.arg_start = oldmm.arg_start
    mm.arg_end = oldmm.arg_end
    mm.env_start = oldmm.env_start
    mm.env_end = oldmm.env_end
    mm.saved_auxv = oldmm.saved_auxv
    if oldmm.exe_file is not None:
        oldmm.exe_file.get()
        mm.exe_file = oldmm.exe_file


def copy_vma(mm: MmStruct, source: Vma) -> Vma:
    """A VMA of the child."""
    vma = Vma(mm, source.vm_start, source.vm_end, source.vm_flags & ~VM_LOCKED_MASK, source.vm_pgoff)
    vma.vm_page_prot = source.vm_page_prot
    vma.vm_file = source.vm_file
    vma.vm_ops = source.vm_ops
    vma.vm_policy = source.vm_policy
    if source.vm_file is not None:
        source.vm_file.get()
    if not source.vm_flags & VM_WIPEONFORK and source.anon_vma is not None:
        anon_vma_fork(vma, source)
    link_file(vma)
    mm.insert(vma)
    if vma.vm_ops is not None:
        vma.vm_ops.open(vma)
    return vma
