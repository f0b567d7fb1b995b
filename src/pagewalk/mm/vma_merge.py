"""Splitting VMAs and merging them again, so that neighbours that agree are one.

Mirrors: mm/vma.c (6.18)
Differs: memory for a VMA never runs out.
"""

import errno

from mypy_extensions import i64

from pagewalk.mm.file import File
from pagewalk.mm.filemap import link_file, unlink_file
from pagewalk.mm.mempolicy import MemPolicy, mpol_equal
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.rmap import AnonVma, anon_vma_clone, is_fork_child, unlink_anon_vmas
from pagewalk.mm.vma import VM_PKEY_SHIFT, VM_SHARED, VM_SPECIAL, VM_STICKY, VM_WRITE, Vma


def vm_get_page_prot(mm: MmStruct, vm_flags: i64) -> i64:
    """Bits of a page-table entry for a mapping's rights, and its protection key."""
    fmt = mm.system.format
    prot: i64 = fmt.protection_map[vm_flags & 15]
    key: i64 = (vm_flags >> VM_PKEY_SHIFT) & 15
    return prot | (key << fmt.pkey_shift) if key else prot


def vma_wants_writenotify(vma: Vma, vm_flags: i64) -> bool:
    """The first write to each page must be a fault: shared, writable, and the file tracks dirty pages."""
    if vm_flags & (VM_WRITE | VM_SHARED) != VM_WRITE | VM_SHARED:
        return False
    return vma.vm_ops is not None and vma.vm_ops.has_page_mkwrite


def vma_set_page_prot(vma: Vma) -> None:
    """Brings ``vm_page_prot`` in line with ``vm_flags``."""
    flags = vma.vm_flags
    if vma_wants_writenotify(vma, flags):
        flags &= ~VM_SHARED
    vma.vm_page_prot = vm_get_page_prot(vma.vm_mm, flags)


def _can_remove(vma: Vma) -> bool:
    return vma.vm_ops is None or not vma.vm_ops.has_close


def _same_kind(vma: Vma, flags: i64, file: File | None, policy: MemPolicy | None) -> bool:
    same = (vma.vm_flags ^ flags) & ~VM_STICKY == 0 and vma.vm_file is file
    return same and (vma.vm_policy is policy or mpol_equal(vma.vm_policy, policy))


def _anon_vma_mergeable(target: Vma, source: Vma | None, source_anon: AnonVma | None) -> bool:
    """Whether the pages that ``source`` may have can live on under ``target``'s AnonVma."""
    if target.anon_vma is None and source_anon is not None:
        return source is None or not is_fork_child(source)
    if target.anon_vma is not None and source_anon is None:
        return not is_fork_child(target)
    return target.anon_vma is source_anon


def vma_merge_new_range(
    mm: MmStruct,
    start: i64,
    end: i64,
    flags: i64,
    pgoff: i64,
    file: File | None,
    source: Vma | None = None,
    just_expand: bool = False,
) -> Vma | None:
    """Lets a neighbour grow over the free range [start, end) that is to be mapped; the VMA that now covers it, or None.

    ``source``: the VMA whose pages will move into the range (mremap); None for a new mapping. ``just_expand``: only the
    VMA before the range may grow (brk).
    """
    if flags & VM_SPECIAL:
        return None
    anon_vma = None if source is None else source.anon_vma
    policy = None if source is None else source.vm_policy
    prev = mm.find_vma_prev(start)
    following = mm.find_vma(start)
    left = (
        prev is not None
        and prev.vm_end == start
        and _same_kind(prev, flags, file, policy)
        and prev.vm_pgoff + prev.nr_pages() == pgoff
        and _anon_vma_mergeable(prev, source, anon_vma)
    )
    right = (
        not just_expand
        and following is not None
        and following.vm_start == end
        and _same_kind(following, flags, file, policy)
        and following.vm_pgoff == pgoff + ((end - start) >> mm.system.page_shift)
        and _anon_vma_mergeable(following, source, anon_vma)
    )
    merged: Vma | None = None
    if left and right and prev is not None and following is not None:
        agree = prev.anon_vma is None or following.anon_vma is None or prev.anon_vma is following.anon_vma
        if agree and _can_remove(following):
            _absorb(prev, following)
            merged = prev
        else:
            right = False
    if merged is None and left and prev is not None:
        _resize(prev, prev.vm_start, end, prev.vm_pgoff)
        merged = prev
    elif merged is None and right and following is not None:
        _resize(following, start, following.vm_end, pgoff)
        merged = following
    if merged is not None:
        merged.vm_flags |= flags & VM_STICKY
        if source is not None:
            _dup_anon_vma(merged, source)
    return merged


def vma_merge_extend(vma: Vma, delta: i64) -> None:
    """Lets a VMA grow by ``delta`` bytes into the free range behind it, and swallow the neighbour that it then
    touches."""
    grown = vma_merge_new_range(
        vma.vm_mm, vma.vm_end, vma.vm_end + delta, vma.vm_flags, vma.pgoff_of(vma.vm_end), vma.vm_file, vma
    )
    if grown is None:
        _resize(vma, vma.vm_start, vma.vm_end + delta, vma.vm_pgoff)


def _resize(vma: Vma, start: i64, end: i64, pgoff: i64) -> None:
    vma.vm_mm.set_range(vma, start, end, pgoff)


def _absorb(prev: Vma, following: Vma) -> None:
    """``prev`` grows to the end of ``following``, which goes."""
    _dup_anon_vma(prev, following)
    prev.vm_flags |= following.vm_flags & VM_STICKY
    end = following.vm_end
    discard_vma(following)
    _resize(prev, prev.vm_start, end, prev.vm_pgoff)
    prev.nr_faults += following.nr_faults


def _dup_anon_vma(target: Vma, source: Vma) -> None:
    if source.anon_vma is not None and target.anon_vma is None:
        anon_vma_clone(target, source)


def discard_vma(vma: Vma) -> None:
    """Unlinks a VMA whose range another one takes over: nothing is unmapped."""
    vma.vm_mm.remove(vma)
    unlink_file(vma)
    unlink_anon_vmas(vma)
    if vma.vm_file is not None:
        vma.vm_file.put()


def _merge_existing(vma: Vma, start: i64, end: i64, flags: i64, policy: MemPolicy | None) -> Vma | None:
    """Lets a neighbour take [start, end) of ``vma``, whose flags become ``flags``; the VMA that then covers it, or
    None."""
    mm = vma.vm_mm
    if flags & VM_SPECIAL:
        return None
    at_start = start == vma.vm_start
    at_end = end == vma.vm_end
    if not (at_start or at_end) or (at_start and at_end and not _can_remove(vma)):
        return None
    prev = mm.find_vma_prev(vma.vm_start) if at_start else None
    following = mm.find_vma(vma.vm_end) if at_end else None
    pgoff = vma.pgoff_of(start)
    left = (
        prev is not None
        and prev.vm_end == start
        and _same_kind(prev, flags, vma.vm_file, policy)
        and prev.vm_pgoff + prev.nr_pages() == pgoff
        and _anon_vma_mergeable(prev, vma, vma.anon_vma)
    )
    right = (
        following is not None
        and following.vm_start == end
        and _same_kind(following, flags, vma.vm_file, policy)
        and following.vm_pgoff == pgoff + ((end - start) >> mm.system.page_shift)
        and _anon_vma_mergeable(following, vma, vma.anon_vma)
    )
    if left and right and prev is not None and following is not None:
        agree = prev.anon_vma is None or following.anon_vma is None or prev.anon_vma is following.anon_vma
        if agree and _can_remove(following):
            _absorb(prev, vma)
            _absorb(prev, following)
            return prev
        right = False
    if left and prev is not None:
        if at_end:
            _absorb(prev, vma)
            return prev
        _dup_anon_vma(prev, vma)
        prev.vm_flags |= flags & VM_STICKY
        _resize(vma, end, vma.vm_end, vma.pgoff_of(end))
        _resize(prev, prev.vm_start, end, prev.vm_pgoff)
        return prev
    if right and following is not None:
        _dup_anon_vma(following, vma)
        following.vm_flags |= flags & VM_STICKY
        if at_start:
            discard_vma(vma)
            following.nr_faults += vma.nr_faults
        else:
            _resize(vma, vma.vm_start, start, vma.vm_pgoff)
        _resize(following, start, following.vm_end, pgoff)
        return following
    return None


def vma_modify_flags(vma: Vma, start: i64, end: i64, flags: i64) -> Vma | int:
    """Makes [start, end) of ``vma`` a VMA that can have ``flags``: merged with a neighbour, or split off.

    Returns it (the caller sets the flags), or -ENOMEM (too many mappings), -EINVAL (cannot be split).
    """
    return _modify(vma, start, end, flags, vma.vm_policy)


def vma_modify_policy(vma: Vma, start: i64, end: i64, policy: MemPolicy | None) -> Vma | int:
    """As ``vma_modify_flags``, for a NUMA policy: the caller sets it."""
    return _modify(vma, start, end, vma.vm_flags, policy)


def _modify(vma: Vma, start: i64, end: i64, flags: i64, policy: MemPolicy | None) -> Vma | int:
    merged = _merge_existing(vma, start, end, flags, policy)
    if merged is not None:
        return merged
    if vma.vm_start < start:
        failed = split_vma(vma, start, new_below=True)
        if failed:
            return failed
    if vma.vm_end > end:
        failed = split_vma(vma, end, new_below=False)
        if failed:
            return failed
    return vma


def split_vma(vma: Vma, addr: i64, new_below: bool) -> int:
    """Splits at ``addr``, with the limit on the number of mappings; see ``split_vma_unlimited``."""
    if vma.vm_mm.map_count() >= vma.vm_mm.system.config.max_map_count:
        return -errno.ENOMEM
    return split_vma_unlimited(vma, addr, new_below)


def split_vma_unlimited(vma: Vma, addr: i64, new_below: bool) -> int:
    """Splits at ``addr``: a new VMA takes the part below, or the part from ``addr`` on. 0 or -EINVAL (__split_vma)."""
    if vma.vm_ops is not None and not vma.vm_ops.may_split:
        return -errno.EINVAL
    mm = vma.vm_mm
    pgoff = vma.pgoff_of(addr)
    if new_below:
        new = _copy_vma(vma, vma.vm_start, addr, vma.vm_pgoff)
        _resize(vma, addr, vma.vm_end, pgoff)
    else:
        new = _copy_vma(vma, addr, vma.vm_end, pgoff)
        _resize(vma, vma.vm_start, addr, vma.vm_pgoff)
    mm.insert(new)
    return 0


def _copy_vma(vma: Vma, start: i64, end: i64, pgoff: i64) -> Vma:
    """A VMA like ``vma`` with other bounds, sharing its file and its AnonVmas; not linked into the address space."""
    new = Vma(vma.vm_mm, start, end, vma.vm_flags, pgoff)
    new.vm_page_prot = vma.vm_page_prot
    new.vm_file = vma.vm_file
    new.vm_ops = vma.vm_ops
    new.vm_policy = vma.vm_policy
    if vma.vm_file is not None:
        vma.vm_file.get()
    link_file(new)
    anon_vma_clone(new, vma)
    if new.vm_ops is not None:
        new.vm_ops.open(new)
    return new
