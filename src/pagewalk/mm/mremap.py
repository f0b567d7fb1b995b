"""mremap(2): growing, shrinking and moving mappings.

Mirrors: mm/mremap.c (6.18)
Differs: last-level tables move as a whole, higher ones never; KSM pages do not exist.
"""

import errno
from typing import Final, final

from mypy_extensions import i64

from pagewalk.mm.filemap import link_file
from pagewalk.mm.gup import mm_populate
from pagewalk.mm.limits import may_expand_vm, mlock_future_ok
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.mmap_flags import MAP_FIXED, MAP_SHARED, MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE
from pagewalk.mm.munmap import do_munmap, vm_stat_account
from pagewalk.mm.pgtable import move_normal_pmd, next_table, pte_alloc, pte_lookup
from pagewalk.mm.rmap import anon_vma_clone, unlink_anon_vmas
from pagewalk.mm.system import System
from pagewalk.mm.unmapped_area import get_unmapped_area
from pagewalk.mm.util import vm_acct_memory, vm_enough_memory
from pagewalk.mm.vma import (
    VM_ACCOUNT,
    VM_DONTEXPAND,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_MAYSHARE,
    VM_PFNMAP,
    VM_SEALED,
    VM_SHARED,
    Vma,
)
from pagewalk.mm.vma_merge import vma_merge_extend, vma_merge_new_range

_I64_MAX: Final = 0x7FFF_FFFF_FFFF_FFFF


@final
class Remap:
    """struct vma_remap_struct: one request, lengths rounded up to pages."""

    def __init__(self, mm: MmStruct, addr: i64, old_len: i64, new_len: i64, flags: i64, new_addr: i64) -> None:
        self.mm = mm
        self.addr: i64 = addr
        self.old_len: i64 = old_len
        self.new_len: i64 = new_len
        self.flags: i64 = flags
        self.new_addr: i64 = new_addr

    def implies_new_addr(self) -> bool:
        """The mapping moves in any case."""
        return self.flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) != 0


def mremap(mm: MmStruct, addr: i64, old_len: i64, new_len: i64, flags: i64, new_addr: i64) -> i64:
    """mremap(2): the mapping's address, or -EINVAL, -EFAULT (no such mapping), -EAGAIN (locked memory), -ENOMEM,
    -EPERM."""
    if flags & ~(MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP) or addr & ~mm.system.page_mask:
        return -errno.EINVAL
    old_len = page_align_u64(mm.system, old_len)
    new_len = page_align_u64(mm.system, new_len)
    if new_len <= 0 or new_len > mm.task_size:
        return -errno.EINVAL
    vrm = Remap(mm, addr, old_len, new_len, flags, new_addr)
    if vrm.implies_new_addr():
        failed = check_new_addr(vrm)
        if failed:
            return failed
        if old_len == new_len and flags & MREMAP_FIXED:
            return remap_move(vrm)
    vma = mm.vma_lookup(addr) if addr >= 0 else None
    if vma is None:
        return -errno.EFAULT
    failed = check_prep_vma(vrm, vma)
    if failed:
        return failed
    result = mremap_to(vrm, vma) if vrm.implies_new_addr() else mremap_at(vrm, vma)
    if result >= 0 and new_len > old_len:
        moved = mm.find_vma(result)
        if moved is not None and moved.vm_flags & VM_LOCKED:
            mm_populate(mm, result + old_len, result + new_len)
    return result


def page_align_u64(system: System, length: i64) -> i64:
    """PAGE_ALIGN of an unsigned 64-bit word, as a signed one (2**64 - 1 becomes 0)."""
    if length > _I64_MAX & system.page_mask:
        return -_I64_MAX - 1  # 2**63
    return system.page_align(length)


def check_new_addr(vrm: Remap) -> int:
    """What a request that names a new address must fulfil."""
    if vrm.new_addr < 0 or vrm.new_addr > vrm.mm.task_size - vrm.new_len or vrm.new_addr & ~vrm.mm.system.page_mask:
        return -errno.EINVAL
    if not vrm.flags & MREMAP_MAYMOVE:
        return -errno.EINVAL
    if vrm.flags & MREMAP_DONTUNMAP and vrm.old_len != vrm.new_len:
        return -errno.EINVAL
    old_end = (int(vrm.addr) + int(vrm.old_len)) & 0xFFFF_FFFF_FFFF_FFFF
    if old_end > int(vrm.new_addr) and int(vrm.new_addr + vrm.new_len) > int(vrm.addr) & 0xFFFF_FFFF_FFFF_FFFF:
        return -errno.EINVAL
    if vrm.mm.map_count() + 2 >= vrm.mm.system.config.max_map_count - 3:
        return -errno.ENOMEM
    return 0


def check_prep_vma(vrm: Remap, vma: Vma) -> int:
    """What the mapping itself must fulfil."""
    if vma.vm_flags & VM_SEALED:
        return -errno.EPERM
    unsigned_old = int(vrm.old_len) & 0xFFFF_FFFF_FFFF_FFFF
    if unsigned_old >= int(vrm.new_len) and not vrm.implies_new_addr():
        return 0
    unsigned_old = min(unsigned_old, int(vrm.new_len))  # what is more is unmapped before the rest moves
    if vrm.old_len == 0 and not vma.vm_flags & (VM_SHARED | VM_MAYSHARE):
        return -errno.EINVAL
    if vrm.flags & MREMAP_DONTUNMAP and vma.vm_flags & (VM_DONTEXPAND | VM_PFNMAP):
        return -errno.EINVAL
    if unsigned_old > int(vma.vm_end - vrm.addr):
        return -errno.EFAULT
    if unsigned_old == int(vrm.new_len):
        return 0
    if vma.vm_flags & (VM_DONTEXPAND | VM_PFNMAP):
        return -errno.EFAULT
    delta: i64 = vrm.new_len - vrm.old_len
    if delta > 0:
        if not mlock_future_ok(vrm.mm, vma.vm_flags, delta):
            return -errno.EAGAIN
        if not may_expand_vm(vrm.mm, vma.vm_flags, delta >> vrm.mm.system.page_shift):
            return -errno.ENOMEM
    return 0


def remap_move(vrm: Remap) -> i64:
    """Moves every mapping of the range, the gaps between them kept; the first one must begin at its start."""
    mm = vrm.mm
    start = vrm.addr
    if start < 0 or vrm.old_len > mm.task_size:
        return -errno.EFAULT
    end: i64 = start + vrm.old_len
    first_result: i64 = -errno.EFAULT
    target: i64 = vrm.new_addr
    last_end: i64 = -1
    at = start
    while True:
        vma = mm.find_vma_intersection(at, end)
        if vma is None:
            return first_result
        if last_end < 0 and start < vma.vm_start:
            return -errno.EFAULT
        offset: i64 = vma.vm_start - last_end if last_end >= 0 else 0
        last_end = vma.vm_end
        addr: i64 = max(vma.vm_start, start)
        length: i64 = min(end, vma.vm_end) - addr
        part = Remap(mm, addr, length, length, vrm.flags, target + offset)
        failed = check_prep_vma(part, vma)
        result: i64 = failed if failed else mremap_to(part, vma)
        if result < 0:
            return result
        if first_result < 0:
            first_result = result
        target = result + length
        at = last_end
        if at >= end:
            return first_result


def mremap_at(vrm: Remap, vma: Vma) -> i64:
    """A request that may stay where it is: shrinks, grows in place, or moves where that is allowed."""
    unsigned_old = int(vrm.old_len) & 0xFFFF_FFFF_FFFF_FFFF
    if unsigned_old == int(vrm.new_len):
        return vrm.addr
    if unsigned_old > int(vrm.new_len):
        failed = shrink_vma(vrm)
        return failed if failed else vrm.addr
    if can_expand_in_place(vrm, vma):
        return expand_in_place(vrm, vma)
    if not vrm.flags & MREMAP_MAYMOVE:
        return -errno.ENOMEM
    return move_vma(vrm, vma, find_new_addr(vrm, vma, 0, 0))


def shrink_vma(vrm: Remap) -> int:
    """Unmaps the tail."""
    if vrm.old_len < 0 or vrm.addr + vrm.old_len > vrm.mm.task_size:
        return -errno.EINVAL
    return do_munmap(vrm.mm, vrm.addr + vrm.new_len, vrm.addr + vrm.old_len)


def mremap_to(vrm: Remap, vma: Vma) -> i64:
    """A request that moves: makes room (MREMAP_FIXED), shrinks first, then moves."""
    mm = vrm.mm
    if vrm.flags & MREMAP_FIXED:
        failed = do_munmap(mm, vrm.new_addr, vrm.new_addr + vrm.new_len)
        if failed:
            return failed
        found = mm.vma_lookup(vrm.addr)
        if found is None:
            return -errno.EFAULT
        vma = found
    if vrm.old_len < 0 or vrm.old_len > vrm.new_len:  # as unsigned words
        failed = shrink_vma(vrm)
        if failed:
            return failed
        vrm.old_len = vrm.new_len
        found = mm.vma_lookup(vrm.addr)
        if found is None:
            return -errno.EFAULT
        vma = found
    if vrm.flags & MREMAP_DONTUNMAP and not may_expand_vm(mm, vma.vm_flags, vrm.old_len >> mm.system.page_shift):
        return -errno.ENOMEM
    map_flags: i64 = MAP_FIXED if vrm.flags & MREMAP_FIXED else 0
    return move_vma(vrm, vma, find_new_addr(vrm, vma, vrm.new_addr, map_flags))


def find_new_addr(vrm: Remap, vma: Vma, hint: i64, map_flags: i64) -> i64:
    """Where the mapping goes; or a negative errno."""
    if vma.vm_flags & VM_MAYSHARE:
        map_flags |= MAP_SHARED
    return get_unmapped_area(vrm.mm, vma.vm_file, hint, vrm.new_len, vma.pgoff_of(vrm.addr), map_flags)


def can_expand_in_place(vrm: Remap, vma: Vma) -> bool:
    """The range reaches the mapping's end and what follows is free."""
    if vrm.old_len != vma.vm_end - vrm.addr:
        return False
    mm = vrm.mm
    end: i64 = vma.vm_end + vrm.new_len - vrm.old_len
    if mm.find_vma_intersection(vma.vm_end, end) is not None:
        return False
    return get_unmapped_area(mm, None, vma.vm_start, end - vma.vm_start, 0, MAP_FIXED) >= 0


def charge(vrm: Remap, vma: Vma) -> bool:
    """Promises the pages that the operation adds; False where that is too much."""
    if not vma.vm_flags & VM_ACCOUNT:
        return True
    added: i64 = vrm.new_len if vrm.flags & MREMAP_DONTUNMAP else vrm.new_len - vrm.old_len
    if not vm_enough_memory(vrm.mm.system, added >> vrm.mm.system.page_shift):
        return False
    vm_acct_memory(vrm.mm.system, added >> vrm.mm.system.page_shift)
    return True


def expand_in_place(vrm: Remap, vma: Vma) -> i64:
    """Lets the mapping grow at its end, merging with what it then touches."""
    delta: i64 = vrm.new_len - vrm.old_len
    if not charge(vrm, vma):
        return -errno.ENOMEM
    vma_merge_extend(vma, delta)
    account(vrm.mm, vma, delta >> vrm.mm.system.page_shift)
    return vrm.addr


def account(mm: MmStruct, vma: Vma, nr_pages: i64) -> None:
    """Counts pages that the address space has more of this kind."""
    vm_stat_account(mm, vma.vm_flags, nr_pages)
    if vma.vm_flags & VM_LOCKED:
        mm.locked_vm += nr_pages


def move_vma(vrm: Remap, vma: Vma, new_addr: i64) -> i64:
    """Makes the mapping anew at ``new_addr``, moves its page-table entries, and unmaps the old range (or keeps it,
    empty, with MREMAP_DONTUNMAP). ``new_addr`` may be a negative errno: that is the answer then."""
    if new_addr < 0:
        return new_addr
    mm = vrm.mm
    if mm.map_count() >= mm.system.config.max_map_count - 3:
        return -errno.ENOMEM
    old_end: i64 = vrm.addr + vrm.old_len
    if vma.vm_ops is not None and not vma.vm_ops.may_split and (vma.vm_start != vrm.addr or vma.vm_end != old_end):
        return -errno.EINVAL
    if not charge(vrm, vma):
        return -errno.ENOMEM
    hiwater_vm = mm.hiwater_vm  # that both exist for a moment is no peak
    copy = copy_vma(vma, new_addr, vrm.new_len, vma.pgoff_of(vrm.addr))
    account(mm, copy, vrm.new_len >> mm.system.page_shift)
    moved = move_page_tables(mm, vrm.addr, new_addr, vrm.old_len)
    if moved < vrm.old_len:  # no frame for a page table: back with what has moved, and away with the copy
        move_page_tables(mm, new_addr, vrm.addr, moved)
        if copy.vm_flags & VM_ACCOUNT and not vrm.flags & MREMAP_DONTUNMAP:
            # Of all that the copy gives back only the growth was promised.
            vm_acct_memory(mm.system, vrm.old_len >> mm.system.page_shift)
        do_munmap(mm, new_addr, new_addr + vrm.new_len)
        return -errno.ENOMEM
    source = mm.vma_lookup(vrm.addr)
    assert source is not None
    if vrm.flags & MREMAP_DONTUNMAP:
        whole = source is not copy and source.vm_start == vrm.addr and source.vm_end == old_end
        source.vm_flags &= ~VM_LOCKED_MASK  # and yet locked_vm keeps counting both, as Linux's does
        if whole:
            unlink_anon_vmas(source)
    elif vrm.old_len:
        if source.vm_flags & VM_ACCOUNT:  # the promise moved along with the pages
            vm_acct_memory(mm.system, vrm.old_len >> mm.system.page_shift)
        do_munmap(mm, vrm.addr, old_end)
    mm.hiwater_vm = hiwater_vm
    return new_addr


def copy_vma(vma: Vma, addr: i64, length: i64, pgoff: i64) -> Vma:
    """A mapping like ``vma`` at [addr, addr + length), which is free: a neighbour that grew, or a new one."""
    mm = vma.vm_mm
    if vma.is_anonymous() and vma.anon_vma is None:
        pgoff = addr >> mm.system.page_shift  # nothing refers to the old offset: better chances to merge
    merged = vma_merge_new_range(mm, addr, addr + length, vma.vm_flags, pgoff, vma.vm_file, source=vma)
    if merged is not None:
        return merged
    new = Vma(mm, addr, addr + length, vma.vm_flags, pgoff)
    new.vm_page_prot = vma.vm_page_prot
    new.vm_file = vma.vm_file
    new.vm_ops = vma.vm_ops
    new.vm_policy = vma.vm_policy
    if new.vm_file is not None:
        new.vm_file.get()
    anon_vma_clone(new, vma)
    mm.insert(new)
    link_file(new)
    if new.vm_ops is not None:
        new.vm_ops.open(new)
    return new


def whole_first_table(mm: MmStruct, old_addr: i64, new_addr: i64, length: i64) -> bool:
    """Whether the last-level table that the range begins within may move as a whole: both places lie alike within
    theirs, the range reaches the table's end, and nothing else is mapped by the part of it below (try_realign_addr)."""
    size = mm.system.format.pmd_size
    offset: i64 = old_addr & (size - 1)
    if offset == 0 or offset != new_addr & (size - 1) or length < size - offset:
        return False
    for start in (old_addr, new_addr):
        first = mm.find_vma(start & -size)
        if first is None or first.vm_start != start:
            return False
    return True


def move_page_tables(mm: MmStruct, old_addr: i64, new_addr: i64, length: i64) -> i64:
    """Moves the entries of [old_addr, old_addr + length) to ``new_addr``; the bytes done, fewer where no frame is
    left for a page table."""
    words = mm.system.ram.words
    size = mm.system.format.pmd_size
    page_size: i64 = mm.system.page_size
    addr = old_addr
    end: i64 = old_addr + length
    if whole_first_table(mm, old_addr, new_addr, length):
        addr &= -size
    moved = False
    while addr < end:
        index = pte_lookup(mm, addr)
        if index < 0:
            addr = next_table(addr, index)
            continue
        target_addr: i64 = new_addr + addr - old_addr
        whole = addr & (size - 1) == 0 and target_addr & (size - 1) == 0 and end - addr >= size
        if whole and move_normal_pmd(mm, addr, target_addr):
            moved = True
            addr += size
            continue
        # What one table of either place serves, at a time; the new place gets its table also for nothing but holes.
        table_end: i64 = min(end, (addr & -size) + size)
        table_end = min(table_end, addr + size - (target_addr & (size - 1)))
        target = pte_alloc(mm, target_addr)
        if target < 0:
            mm.flush_tlb_range(old_addr, end)
            return max(addr - old_addr, 0)
        while addr < table_end:
            pte: i64 = words[index]
            if pte != 0:
                words[target] = pte
                words[index] = 0
                moved = True
            addr += page_size
            index += 1
            target += 1
    if moved:
        mm.flush_tlb_range(old_addr, end)
    return length
