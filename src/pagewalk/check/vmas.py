"""Invariants of VMAs: order, neighbours, and what they are linked to."""

from pagewalk.check.census import Census, require
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.vma import VM_MAYSHARE, VM_MAYWRITE, VM_SHARED, VM_SPECIAL, VM_STICKY, Vma
from pagewalk.mm.vma_merge import vm_get_page_prot, vma_wants_writenotify

__all__ = [
    "anon_vmas_are_linked_both_ways",
    "files_know_the_vmas_that_map_them",
    "mergeable_neighbours",
    "page_prot_follows_the_flags",
    "vmas_are_sorted_disjoint_and_aligned",
]


def vmas_are_sorted_disjoint_and_aligned(census: Census) -> None:
    """VMAs are sorted, disjoint, page-aligned, not empty, within the address space; ``starts`` is in step."""
    for mm in census.mms:
        require([vma.vm_start for vma in mm.vmas] == list(mm.starts), "starts is in step with vmas", f"{mm.starts}")
        end = 0
        for vma in mm.vmas:
            require(vma.vm_mm is mm, "a VMA belongs to its address space", repr(vma))
            require(end <= vma.vm_start < vma.vm_end <= mm.task_size, "VMAs are sorted and disjoint", repr(vma))
            aligned = (vma.vm_start | vma.vm_end) & ~mm.system.page_mask == 0
            require(aligned, "VMAs are page-aligned", repr(vma))
            require(not vma.vm_flags & VM_SHARED or bool(vma.vm_flags & VM_MAYSHARE), "shared may share", repr(vma))
            end = int(vma.vm_end)
        cached = mm.cached_vma
        require(cached is None or cached in mm.vmas, "the cached VMA is linked in", repr(cached))


def mergeable_neighbours(mm: MmStruct) -> list[int]:
    """Addresses at which two VMAs meet that vma_merge's rules would make one. Few: what Linux leaves is left by calls
    that change a VMA without looking at its neighbours (MREMAP_DONTUNMAP, a failed call), and where the heap begins."""
    return [
        int(high.vm_start)
        for low, high in zip(mm.vmas, mm.vmas[1:], strict=False)
        if low.vm_end == high.vm_start and _could_merge(low, high)
    ]


def _could_merge(low: Vma, high: Vma) -> bool:
    if (low.vm_flags ^ high.vm_flags) & ~VM_STICKY or low.vm_flags & VM_SPECIAL or low.vm_file is not high.vm_file:
        return False
    if low.vm_pgoff + low.nr_pages() != high.vm_pgoff or (high.vm_ops is not None and high.vm_ops.has_close):
        return False
    if low.anon_vma is None or high.anon_vma is None:
        return len((low if low.anon_vma is not None else high).anon_vma_chain) <= 1
    return low.anon_vma is high.anon_vma


def page_prot_follows_the_flags(census: Census) -> None:
    """vm_page_prot is what vm_flags gives, read-only where the file wants to notice the first write."""
    for vma in census.all_vmas():
        flags = vma.vm_flags & ~VM_SHARED if vma_wants_writenotify(vma, vma.vm_flags) else vma.vm_flags
        expected = vm_get_page_prot(vma.vm_mm, flags)
        require(
            vma.vm_page_prot == expected,
            "vm_page_prot follows vm_flags",
            f"{vma!r} has {vma.vm_page_prot:#x}, flags {vma.vm_flags:#x} give {expected:#x}",
        )


def anon_vmas_are_linked_both_ways(census: Census) -> None:
    """A VMA's AnonVma is in its chain, each link leads back once, and no AnonVma knows a VMA that is gone."""
    linked = {id(vma) for vma in census.all_vmas()}
    for vma in census.all_vmas():
        chain = vma.anon_vma_chain
        require(vma.anon_vma is None or vma.anon_vma in chain, "a VMA's AnonVma is in its chain", repr(vma))
        require(bool(chain) == (vma.anon_vma is not None), "a chain belongs to an AnonVma", repr(vma))
        for anon_vma in chain:
            count = sum(1 for other in anon_vma.vmas if other is vma)
            require(count == 1, "an AnonVma knows its VMA once", f"{vma!r}: {count} times")
            require(all(id(other) in linked for other in anon_vma.vmas), "no AnonVma knows a lost VMA", repr(vma))


def files_know_the_vmas_that_map_them(census: Census) -> None:
    """A page cache's i_mmap holds the VMAs that map it, once each; i_mmap_writable counts the shared ones that may
    write; a mapped file has references."""
    for vma in census.all_vmas():
        require(vma.vm_file is None or vma.vm_file.f_count > 0, "a mapped file is alive", repr(vma))
    for space in census.spaces:
        expected = [v for v in census.all_vmas() if v.vm_file is not None and v.vm_file.mapping is space]
        same = sorted(map(id, expected)) == sorted(map(id, space.i_mmap))
        require(same, "i_mmap holds the VMAs of the file", f"{space.i_mmap}, mapped by {expected}")
        writable = sum(1 for vma in expected if vma.vm_flags & VM_SHARED and vma.vm_flags & VM_MAYWRITE)
        require(
            space.i_mmap_writable == writable, "i_mmap_writable is a recount", f"{space.i_mmap_writable}, {writable}"
        )
