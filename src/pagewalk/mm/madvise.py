"""madvise(2): what a program says of its memory.

``madvise`` checks and walks the VMAs of the range; each advice is a function of one VMA and a part of it.

Mirrors: mm/madvise.c, mm/ksm.c (ksm_madvise), mm/huge_memory.c (hugepage_madvise) (6.18)
Differs: MADV_COLLAPSE finds nothing that can be a huge page (EINVAL); KSM never merges.
"""

import errno
from typing import Final

from mypy_extensions import i64

from pagewalk.mm.file import FMODE_WRITE
from pagewalk.mm.gup import faultin_range
from pagewalk.mm.madvise_flags import (
    MADV_COLD,
    MADV_COLLAPSE,
    MADV_DODUMP,
    MADV_DOFORK,
    MADV_DONTDUMP,
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_DONTNEED_LOCKED,
    MADV_FREE,
    MADV_GUARD_INSTALL,
    MADV_GUARD_REMOVE,
    MADV_HUGEPAGE,
    MADV_KEEPONFORK,
    MADV_MERGEABLE,
    MADV_NOHUGEPAGE,
    MADV_NORMAL,
    MADV_PAGEOUT,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MADV_RANDOM,
    MADV_REMOVE,
    MADV_SEQUENTIAL,
    MADV_UNMERGEABLE,
    MADV_WILLNEED,
    MADV_WIPEONFORK,
)
from pagewalk.mm.madvise_pages import (
    cold_or_pageout,
    guard_install,
    guard_remove,
    madvise_free,
    shmem_swapin_range,
    swapin_walk,
)
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.mmu_gather import zap_page_range
from pagewalk.mm.pkeys import arch_vma_access_permitted
from pagewalk.mm.readahead import force_page_cache_ra
from pagewalk.mm.shmem import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
from pagewalk.mm.vma import (
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DROPPABLE,
    VM_HUGEPAGE,
    VM_HUGETLB,
    VM_IO,
    VM_LOCKED,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MERGEABLE,
    VM_NOHUGEPAGE,
    VM_PFNMAP,
    VM_RAND_READ,
    VM_SEALED,
    VM_SEQ_READ,
    VM_SHARED,
    VM_SPECIAL,
    VM_STICKY,
    VM_WIPEONFORK,
    VM_WRITE,
    Vma,
)
from pagewalk.mm.vma_merge import vma_modify_flags

_VALID: Final = frozenset(
    (*range(5), *range(8, 26), MADV_GUARD_INSTALL, MADV_GUARD_REMOVE)
)  # HWPOISON and SOFT_OFFLINE need CONFIG_MEMORY_FAILURE

_DISCARDS: Final = (MADV_FREE, MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_REMOVE, MADV_DONTFORK, MADV_WIPEONFORK,
                    MADV_GUARD_INSTALL)  # fmt: skip


def madvise(mm: MmStruct, start: i64, length: i64, behavior: i64) -> int:
    """madvise(2). A hole does not stop the advice for what lies behind it: -ENOMEM comes at the end.

    0, -EINVAL (unaligned, unknown, not for this mapping), -ENOMEM, -EBADF, -EACCES, -EPERM (sealed), -EFAULT
    (populate).
    """
    if (
        behavior not in _VALID
        or (behavior >= MADV_GUARD_INSTALL and mm.system.linux < 613)
        or start & ~mm.system.page_mask
    ):
        return -errno.EINVAL
    first = int(start) & 0xFFFF_FFFF_FFFF_FFFF
    wanted = int(length) & 0xFFFF_FFFF_FFFF_FFFF
    rounded = mm.system.page_align_size_t(length)
    if wanted and not rounded:
        return -errno.EINVAL
    if first + rounded >= 1 << 64 and (first + rounded) & 0xFFFF_FFFF_FFFF_FFFF < first:
        return -errno.EINVAL
    if rounded == 0:
        return 0
    if start < 0 or start >= mm.task_size:
        return -errno.ENOMEM
    beyond = first + rounded > int(mm.task_size)
    end: i64 = mm.task_size if beyond else start + rounded
    if behavior == MADV_POPULATE_READ or behavior == MADV_POPULATE_WRITE:
        return madvise_populate(mm, start, end, beyond, behavior == MADV_POPULATE_WRITE)
    hole = beyond
    at = start
    while at < end:
        vma = mm.find_vma(at)
        if vma is None:
            return -errno.ENOMEM
        if at < vma.vm_start:
            hole = True
            at = vma.vm_start
            if at >= end:
                break
        upto: i64 = min(vma.vm_end, end)
        failed = madvise_vma(vma, at, upto, behavior)
        if failed:
            return failed
        at = upto
    return -errno.ENOMEM if hole else 0


def madvise_populate(mm: MmStruct, start: i64, end: i64, beyond: bool, write: bool) -> int:
    """MADV_POPULATE_READ and WRITE: page faults now, the first error ends it."""
    at = start
    while at < end:
        vma = mm.vma_lookup(at)
        if vma is None:
            return -errno.ENOMEM
        upto: i64 = min(vma.vm_end, end)
        if vma.vm_flags & (VM_IO | VM_PFNMAP) or (write and not vma.vm_flags & VM_WRITE):
            return -errno.EINVAL
        if not write and not vma.vm_flags & 1:
            return -errno.EINVAL
        if mm.system.pku and not arch_vma_access_permitted(vma, write):
            return -errno.EINVAL
        failed = faultin_range(vma, at, upto, write, force=False)
        if failed:
            return failed
        at = upto
    return -errno.ENOMEM if beyond else 0


def madvise_vma(vma: Vma, start: i64, end: i64, behavior: i64) -> int:
    """One advice for [start, end) of one VMA (madvise_vma_behavior)."""
    if vma.vm_flags & VM_SEALED and behavior in _DISCARDS and vma.is_anonymous() and not vma.vm_flags & VM_WRITE:
        return -errno.EPERM
    if behavior == MADV_DONTNEED or behavior == MADV_DONTNEED_LOCKED or behavior == MADV_FREE:
        return dontneed_or_free(vma, start, end, behavior)
    if behavior == MADV_WILLNEED:
        return willneed(vma, start, end)
    if behavior == MADV_REMOVE:
        return remove(vma, start, end)
    if behavior == MADV_COLD or behavior == MADV_PAGEOUT:
        if vma.vm_flags & (VM_LOCKED | VM_PFNMAP | VM_HUGETLB):
            return -errno.EINVAL
        cold_or_pageout(vma, start, end, pageout=behavior == MADV_PAGEOUT)
        return 0
    if behavior == MADV_GUARD_INSTALL or behavior == MADV_GUARD_REMOVE:
        install = behavior == MADV_GUARD_INSTALL
        if vma.vm_flags & (VM_SPECIAL | VM_HUGETLB) or (install and vma.vm_flags & VM_LOCKED):
            return -errno.EINVAL
        return guard_install(vma, start, end) if install else guard_remove(vma, start, end)
    if behavior == MADV_COLLAPSE:
        return -errno.EINVAL
    new_flags = advised_flags(vma, behavior)
    if new_flags < 0:
        return int(new_flags)
    if new_flags == vma.vm_flags:
        return 0
    target = vma_modify_flags(vma, start, end, new_flags)
    if isinstance(target, int):
        return target
    target.vm_flags = new_flags | (target.vm_flags & VM_STICKY)
    return 0


def advised_flags(vma: Vma, behavior: i64) -> i64:
    """The VMA's flags after an advice that only sets flags; or -EINVAL."""
    flags = vma.vm_flags
    if behavior == MADV_NORMAL:
        return flags & ~(VM_RAND_READ | VM_SEQ_READ)
    if behavior == MADV_SEQUENTIAL:
        return (flags & ~VM_RAND_READ) | VM_SEQ_READ
    if behavior == MADV_RANDOM:
        return (flags & ~VM_SEQ_READ) | VM_RAND_READ
    if behavior == MADV_DONTFORK:
        return flags | VM_DONTCOPY
    if behavior == MADV_DOFORK:
        return -errno.EINVAL if flags & VM_IO else flags & ~VM_DONTCOPY
    if behavior == MADV_WIPEONFORK:
        return -errno.EINVAL if vma.vm_file is not None or flags & VM_SHARED else flags | VM_WIPEONFORK
    if behavior == MADV_KEEPONFORK:
        return -errno.EINVAL if flags & VM_DROPPABLE else flags & ~VM_WIPEONFORK
    if behavior == MADV_DONTDUMP:
        return flags | VM_DONTDUMP
    if behavior == MADV_DODUMP:
        return -errno.EINVAL if flags & (VM_SPECIAL | VM_DROPPABLE) else flags & ~VM_DONTDUMP
    if behavior == MADV_MERGEABLE:
        incompatible: i64 = VM_SHARED | VM_MAYSHARE | VM_SPECIAL | VM_HUGETLB | VM_DROPPABLE
        return flags if flags & incompatible else flags | VM_MERGEABLE
    if behavior == MADV_UNMERGEABLE:
        return flags & ~VM_MERGEABLE
    if behavior == MADV_HUGEPAGE:
        return (flags & ~VM_NOHUGEPAGE) | VM_HUGEPAGE
    if behavior == MADV_NOHUGEPAGE:
        return (flags & ~VM_HUGEPAGE) | VM_NOHUGEPAGE
    return -errno.EINVAL


def dontneed_or_free(vma: Vma, start: i64, end: i64, behavior: i64) -> int:
    """MADV_DONTNEED: the pages go now; MADV_FREE: anonymous pages may go."""
    forbidden: i64 = VM_PFNMAP if behavior == MADV_DONTNEED_LOCKED else VM_PFNMAP | VM_LOCKED
    if vma.vm_flags & forbidden:
        return -errno.EINVAL
    if behavior != MADV_FREE:
        zap_page_range(vma, start, end)
        return 0
    if not vma.is_anonymous():
        return -errno.EINVAL
    madvise_free(vma, start, end)
    return 0


def willneed(vma: Vma, start: i64, end: i64) -> int:
    """Reads ahead: the file's pages, or what is in swap."""
    swapin_walk(vma, start, end)
    if vma.vm_file is None or vma.vm_file.mapping is None:
        return 0
    mapping = vma.vm_file.mapping
    if mapping.is_shmem:
        shmem_swapin_range(vma, start, end)
    else:
        system = vma.vm_mm.system
        force_page_cache_ra(system, mapping, vma.vm_file.f_ra, vma.pgoff_of(start), (end - start) >> system.page_shift)
    return 0


def remove(vma: Vma, start: i64, end: i64) -> int:
    """Punches a hole into the file behind a shared mapping."""
    if vma.vm_flags & VM_LOCKED:
        return -errno.EINVAL
    if vma.vm_file is None:
        return -errno.EINVAL
    if vma.vm_flags & (VM_SHARED | VM_MAYWRITE) != VM_SHARED | VM_MAYWRITE:
        return -errno.EACCES
    if not vma.vm_file.f_mode & FMODE_WRITE:
        return -errno.EBADF
    return vma.vm_file.fallocate(
        FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
        int(vma.pgoff_of(start) << vma.vm_mm.system.page_shift),
        int(end - start),
    )
