"""remap_file_pages(2): another part of the file behind a shared mapping, emulated by a new mapping since 4.0.

Mirrors: mm/mmap.c (remap_file_pages) (6.18)
Differs: nothing.
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.mmap import vm_mmap
from pagewalk.mm.mmap_flags import MAP_FIXED, MAP_LOCKED, MAP_NONBLOCK, MAP_POPULATE, MAP_SHARED
from pagewalk.mm.vma import VM_ACCESS_FLAGS, VM_LOCKED, VM_SHARED


def remap_file_pages(mm: MmStruct, start: i64, size: i64, prot: i64, pgoff: i64, flags: i64) -> int:
    """0, or -EINVAL where the range is not one shared mapping, or what mmap answers."""
    start &= mm.system.page_mask
    size &= mm.system.page_mask
    if prot or size <= 0 or start < 0 or start > mm.task_size - size:
        return -errno.EINVAL
    if pgoff < 0 and pgoff + (size >> mm.system.page_shift) >= 0:
        return -errno.EINVAL
    vma = mm.vma_lookup(start)
    if vma is None or not vma.vm_flags & VM_SHARED:
        return -errno.EINVAL
    file = vma.vm_file
    vm_flags = vma.vm_flags
    end: i64 = vma.vm_end
    while end < start + size:
        following = mm.vma_lookup(end)
        if following is None or following.vm_file is not file or following.vm_flags != vm_flags:
            return -errno.EINVAL
        end = following.vm_end
    if file is None:
        return -errno.EINVAL
    if pgoff < 0 or pgoff >= 1 << 51:
        return -errno.EOVERFLOW
    map_flags: i64 = (flags & MAP_NONBLOCK) | MAP_SHARED | MAP_FIXED | MAP_POPULATE
    if vm_flags & VM_LOCKED:
        map_flags |= MAP_LOCKED
    file.get()
    result = vm_mmap(mm, file, start, size, vm_flags & VM_ACCESS_FLAGS, map_flags, pgoff << mm.system.page_shift)
    file.put()
    return int(result) if result < 0 else 0
