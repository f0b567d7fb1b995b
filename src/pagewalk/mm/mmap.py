"""mmap(2): from arguments to a VMA.

Mirrors: mm/mmap.c (do_mmap), mm/vma.c (mmap_region) (6.18)
Differs: no hugetlb (no pool: MAP_HUGETLB answers ENOMEM as an empty pool does).
"""

import errno

from mypy_extensions import i64

from pagewalk.arch.format import bit
from pagewalk.mm.file import F_SEAL_FUTURE_WRITE, F_SEAL_WRITE, FMODE_READ, FMODE_WRITE, File
from pagewalk.mm.filemap import link_file
from pagewalk.mm.gup import mm_populate
from pagewalk.mm.limits import can_do_mlock, may_expand_vm, mlock_future_ok
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.mmap_flags import (
    LEGACY_MAP_MASK,
    MAP_DROPPABLE,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_NONBLOCK,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_STACK,
    MAP_SYNC,
    MAP_TYPE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    READ_IMPLIES_EXEC,
)
from pagewalk.mm.munmap import complete_munmap, gather_munmap, vm_stat_account
from pagewalk.mm.pkeys import execute_only_pkey
from pagewalk.mm.shmem import shmem_zero_setup
from pagewalk.mm.system import System
from pagewalk.mm.unmapped_area import get_unmapped_area, mmap_min_addr
from pagewalk.mm.util import OVERCOMMIT_NEVER, vm_acct_memory, vm_enough_memory
from pagewalk.mm.vma import (
    VM_ACCOUNT,
    VM_DONTDUMP,
    VM_DROPPABLE,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_HUGETLB,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NOHUGEPAGE,
    VM_NORESERVE,
    VM_PKEY_SHIFT,
    VM_SHARED,
    VM_SPECIAL,
    VM_SYNC,
    VM_WIPEONFORK,
    VM_WRITE,
    Vma,
)
from pagewalk.mm.vma_merge import vma_merge_new_range, vma_set_page_prot


def vm_mmap(mm: MmStruct, file: File | None, addr: i64, length: i64, prot: i64, flags: i64, offset: i64) -> i64:
    """mmap(2) with an open file instead of a descriptor; ``offset`` in bytes, page aligned.

    Returns the address, or a negative errno. A MAP_POPULATE or locked mapping is populated before it returns.
    """
    shift: i64 = mm.system.page_shift
    found = do_mmap(mm, file, addr, length, prot, flags, (offset >> shift) & (bit(64 - shift) - 1))
    if found >= 0:
        vma = mm.find_vma(found)
        locked = vma is not None and vma.vm_flags & VM_LOCKED != 0
        if locked or flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE:
            mm_populate(mm, found, found + mm.system.page_align(length))
    return found


def do_mmap(mm: MmStruct, file: File | None, addr: i64, length: i64, prot: i64, flags: i64, pgoff: i64) -> i64:
    """Checks the arguments in Linux's order, picks the address, maps. The address or a negative errno."""
    system = mm.system
    if length == 0:
        return -errno.EINVAL
    if prot & PROT_READ and system.current.personality & READ_IMPLIES_EXEC and not (file is not None and file.noexec):
        prot |= 4
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    if not flags & MAP_FIXED:
        addr &= system.page_mask
        if 0 < addr < mmap_min_addr(mm):
            addr = system.page_align(mmap_min_addr(mm))
    if length < 0 or length > mm.task_size:
        return -errno.ENOMEM
    length = system.page_align(length)
    if mm.map_count() > system.config.max_map_count:
        return -errno.ENOMEM
    vm_flags: i64 = (prot & 7) | calc_vm_flag_bits(flags) | mm.def_flags | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    if system.pku and prot == PROT_EXEC:
        key: i64 = execute_only_pkey(mm)
        vm_flags |= max(key, 0) << VM_PKEY_SHIFT
    addr = get_unmapped_area(mm, file, addr, length, pgoff, flags)
    if addr < 0:
        return addr
    if flags & MAP_FIXED_NOREPLACE and mm.find_vma_intersection(addr, addr + length) is not None:
        return -errno.EEXIST
    if flags & MAP_LOCKED and not can_do_mlock(mm):
        return -errno.EPERM
    if not mlock_future_ok(mm, vm_flags, length):
        return -errno.EAGAIN
    if file is not None:
        vm_flags = file_vm_flags(system, file, vm_flags, prot, flags, pgoff, length)
        if vm_flags < 0:
            return vm_flags
    else:
        kind = flags & MAP_TYPE
        if kind == MAP_SHARED:
            if vm_flags & VM_GROWSDOWN:
                return -errno.EINVAL
            pgoff = 0
            vm_flags |= VM_SHARED | VM_MAYSHARE
        elif kind == MAP_DROPPABLE and not system.linux_6_1:
            if flags & (MAP_LOCKED | MAP_HUGETLB) or vm_flags & VM_GROWSDOWN:
                return -errno.EINVAL
            vm_flags |= VM_DROPPABLE | VM_NORESERVE | VM_WIPEONFORK | VM_DONTDUMP
            pgoff = addr >> system.page_shift
        elif kind == MAP_PRIVATE:
            pgoff = addr >> system.page_shift
        else:
            return -errno.EINVAL
    if flags & MAP_NORESERVE and system.config.overcommit_memory != OVERCOMMIT_NEVER:
        vm_flags |= VM_NORESERVE
    return mmap_region(mm, file, addr, length, vm_flags, pgoff)


def calc_vm_flag_bits(flags: i64) -> i64:
    """VM_* bits that MAP_* bits give directly."""
    bits: i64 = 0
    if flags & MAP_GROWSDOWN:
        bits |= VM_GROWSDOWN
    if flags & MAP_LOCKED:
        bits |= VM_LOCKED
    if flags & MAP_SYNC:
        bits |= VM_SYNC
    if flags & MAP_STACK:
        bits |= VM_NOHUGEPAGE
    return bits


def file_vm_flags(system: System, file: File, vm_flags: i64, prot: i64, flags: i64, pgoff: i64, length: i64) -> i64:
    """The flags of a file mapping, or a negative errno where the file, its mode or its type forbid it."""
    if file.s_maxbytes:
        if length > file.s_maxbytes or pgoff > (file.s_maxbytes - length) >> system.page_shift:
            return -errno.EOVERFLOW
    elif pgoff > bit(64 - system.page_shift) - 1 - (length >> system.page_shift):
        return -errno.EOVERFLOW
    kind = flags & MAP_TYPE
    if kind == MAP_SHARED or kind == MAP_SHARED_VALIDATE:
        if kind == MAP_SHARED:
            flags &= LEGACY_MAP_MASK
        if flags & ~LEGACY_MAP_MASK:
            return -errno.EOPNOTSUPP
        if prot & PROT_WRITE and not file.f_mode & FMODE_WRITE:
            return -errno.EACCES
        vm_flags |= VM_SHARED | VM_MAYSHARE
        if not file.f_mode & FMODE_WRITE:
            vm_flags &= ~(VM_MAYWRITE | VM_SHARED)
    elif kind != MAP_PRIVATE:
        return -errno.EINVAL
    if not file.f_mode & FMODE_READ:
        return -errno.EACCES
    if file.noexec:
        if vm_flags & VM_EXEC:
            return -errno.EPERM
        vm_flags &= ~VM_MAYEXEC
    if not file.can_mmap():
        return -errno.ENODEV
    if vm_flags & VM_GROWSDOWN:
        return -errno.EINVAL
    if vm_flags & VM_SYNC and file.mapping is not None and not file.mapping.is_shmem:
        return -errno.EOPNOTSUPP  # not persistent memory
    return vm_flags


def accountable_mapping(file: File | None, vm_flags: i64) -> bool:
    """Private writable memory counts as committed."""
    return vm_flags & (VM_NORESERVE | VM_SHARED | VM_WRITE) == VM_WRITE


def mmap_region(mm: MmStruct, file: File | None, addr: i64, length: i64, vm_flags: i64, pgoff: i64) -> i64:
    """Maps [addr, addr + length) over whatever is there: makes room, checks limits, merges or makes a VMA."""
    system = mm.system
    end: i64 = addr + length
    if file is not None and file.mapping is not None and vm_flags & VM_SHARED and vm_flags & VM_MAYWRITE:
        seals = file.mapping.seals
        if seals & F_SEAL_WRITE or (seals & F_SEAL_FUTURE_WRITE and vm_flags & VM_WRITE):
            if vm_flags & VM_WRITE:
                return -errno.EPERM
            vm_flags &= ~VM_MAYWRITE
    failed = gather_munmap(mm, addr, end)
    if failed:
        return failed
    replaced: i64 = 0
    released: i64 = 0
    for vma in mm.vmas_in(addr, end):
        replaced += vma.nr_pages()
        if vma.vm_flags & VM_ACCOUNT:
            released += vma.nr_pages()
    nr_pages: i64 = length >> system.page_shift
    if not may_expand_vm(mm, vm_flags, nr_pages - replaced):
        return -errno.ENOMEM
    if accountable_mapping(file, vm_flags):
        charged = nr_pages - released
        if charged > 0 and not vm_enough_memory(system, charged):
            return -errno.ENOMEM
        vm_flags |= VM_ACCOUNT
        vm_acct_memory(system, nr_pages)
    complete_munmap(mm, addr, end)
    vma_or_none = None
    if file is not None or not vm_flags & VM_SHARED:
        vma_or_none = vma_merge_new_range(mm, addr, end, vm_flags, pgoff, file)
    if vma_or_none is None:
        made = new_vma(mm, file, addr, end, vm_flags, pgoff)
        if isinstance(made, int):
            if vm_flags & VM_ACCOUNT:
                vm_acct_memory(system, -nr_pages)
            return made
        vma_or_none = made
    vma = vma_or_none
    vm_stat_account(mm, vm_flags, nr_pages)
    if vm_flags & VM_LOCKED:
        if vma.vm_flags & (VM_SPECIAL | VM_HUGETLB):
            vma.vm_flags &= ~VM_LOCKED_MASK
        else:
            mm.locked_vm += nr_pages
    vma_set_page_prot(vma)
    return addr


def new_vma(mm: MmStruct, file: File | None, addr: i64, end: i64, vm_flags: i64, pgoff: i64) -> Vma | int:
    """Makes and links a VMA; the file's mmap method, or shared memory, gives it its operations."""
    vma = Vma(mm, addr, end, vm_flags, pgoff)
    if file is not None:
        vma.vm_file = file.get()
        failed = file.mmap(vma)
    elif vm_flags & VM_SHARED:
        failed = shmem_zero_setup(vma)
    else:
        failed = 0
    if failed:
        if vma.vm_file is not None:
            vma.vm_file.put()
        return failed
    mm.insert(vma)
    link_file(vma)
    return vma
