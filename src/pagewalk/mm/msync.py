"""msync(2): dirty pages of shared file mappings to their files.

Mirrors: mm/msync.c (6.18)
Differs: nothing.
"""

import errno
from typing import Final

from mypy_extensions import i64

from pagewalk.mm.filemap import filemap_write_and_wait_range
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.vma import VM_LOCKED, VM_SHARED

MS_ASYNC: Final = 1
MS_INVALIDATE: Final = 2
MS_SYNC: Final = 4


def msync(mm: MmStruct, start: i64, length: i64, flags: i64) -> int:
    """msync(2): 0, -EINVAL (unaligned, bad flags), -ENOMEM (wraps, hole), -EBUSY (MS_INVALIDATE of locked memory),
    -EIO."""
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or start & ~mm.system.page_mask:
        return -errno.EINVAL
    if flags & MS_ASYNC and flags & MS_SYNC:
        return -errno.EINVAL
    first = int(start) & 0xFFFF_FFFF_FFFF_FFFF
    rounded = mm.system.page_align_size_t(length)
    last = (first + rounded) & 0xFFFF_FFFF_FFFF_FFFF
    if last < first:
        return -errno.ENOMEM
    if last == first:
        return 0
    if start < 0 or start >= mm.task_size:
        return -errno.ENOMEM
    end: i64 = min(last, int(mm.task_size))
    unmapped = last > int(end)
    at = start
    while at < end:
        vma = mm.find_vma(at)
        if vma is None or vma.vm_start >= end:
            return -errno.ENOMEM
        if at < vma.vm_start:
            if flags == MS_ASYNC:
                return -errno.ENOMEM
            at = vma.vm_start
            unmapped = True
        if flags & MS_INVALIDATE and vma.vm_flags & VM_LOCKED:
            return -errno.EBUSY
        upto: i64 = min(vma.vm_end, end)
        mapping = None if vma.vm_file is None else vma.vm_file.mapping
        if flags & MS_SYNC and vma.vm_flags & VM_SHARED and mapping is not None and not mapping.is_shmem:
            last_page: i64 = vma.pgoff_of(upto - 1)
            failed = filemap_write_and_wait_range(mm.system, mapping, vma.pgoff_of(at), last_page)
            if failed:
                return failed
        at = upto
    return -errno.ENOMEM if unmapped else 0
