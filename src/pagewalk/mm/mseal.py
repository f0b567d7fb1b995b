"""mseal(2): mappings that can no longer be changed.

Mirrors: mm/mseal.c (6.18)
Differs: nothing.
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.vma import VM_SEALED
from pagewalk.mm.vma_merge import vma_modify_flags


def mseal(mm: MmStruct, start: i64, length: i64, flags: i64) -> int:
    """mseal(2): 0, -EINVAL (flags, unaligned, wraps), -ENOMEM (hole: then nothing is sealed)."""
    if flags or start & ~mm.system.page_mask:
        return -errno.EINVAL
    if length < 0 or start < 0 or start > mm.task_size or length > mm.task_size - start:
        rounded = mm.system.page_align_size_t(length)
        first = int(start) & 0xFFFF_FFFF_FFFF_FFFF
        wraps = (length != 0 and rounded == 0) or first + rounded >= 1 << 64
        return -errno.EINVAL if wraps else (0 if rounded == 0 else -errno.ENOMEM)
    end: i64 = start + mm.system.page_align(length)
    at = start
    while at < end:
        vma = mm.vma_lookup(at)
        if vma is None:
            return -errno.ENOMEM
        at = vma.vm_end
    at = start
    while at < end:
        vma = mm.vma_lookup(at)
        assert vma is not None
        upto: i64 = min(vma.vm_end, end)
        if not vma.vm_flags & VM_SEALED:
            target = vma_modify_flags(vma, at, upto, vma.vm_flags | VM_SEALED)
            if isinstance(target, int):
                return target
            target.vm_flags |= VM_SEALED
        at = upto
    return 0
