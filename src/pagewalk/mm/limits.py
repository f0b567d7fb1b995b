"""The limits that every call of the family checks: RLIMIT_AS, DATA, STACK and MEMLOCK.

Mirrors: mm/vma.c (may_expand_vm), mm/mmap.c (mlock_future_ok), mm/mlock.c (can_do_mlock) (6.18)
Differs: nothing.
"""

from mypy_extensions import i64

from pagewalk.mm.current import RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.vma import VM_LOCKED, VM_SHARED, VM_STACK, VM_WRITE


def may_expand_vm(mm: MmStruct, flags: i64, nr_pages: i64) -> bool:
    """Whether ``nr_pages`` more of such a mapping stay within RLIMIT_AS and, for private writable data, RLIMIT_DATA."""
    current = mm.system.current
    page_shift: i64 = mm.system.page_shift
    if mm.total_vm + nr_pages > current.rlimit(RLIMIT_AS) >> page_shift:
        return False
    is_data = flags & (VM_WRITE | VM_SHARED | VM_STACK) == VM_WRITE
    if is_data and mm.data_vm + nr_pages > current.rlimit(RLIMIT_DATA) >> page_shift:
        hard: i64 = current.rlim_max[RLIMIT_DATA]
        return current.rlim_cur[RLIMIT_DATA] == 0 and (hard < 0 or mm.data_vm + nr_pages <= hard >> page_shift)
    return True


def mlock_future_ok(mm: MmStruct, flags: i64, length: i64) -> bool:
    """Whether ``length`` more bytes with these flags stay within RLIMIT_MEMLOCK."""
    current = mm.system.current
    if not flags & VM_LOCKED or current.capable:
        return True
    return (length >> mm.system.page_shift) + mm.locked_vm <= current.rlimit(RLIMIT_MEMLOCK) >> mm.system.page_shift


def can_do_mlock(mm: MmStruct) -> bool:
    """Whether the task may lock anything at all."""
    current = mm.system.current
    return current.capable or current.rlim_cur[RLIMIT_MEMLOCK] != 0
