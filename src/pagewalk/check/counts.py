"""Invariants of counters: each equals a recount of what it counts."""

from pagewalk.check.census import Census, require
from pagewalk.check.tables import leaf_page
from pagewalk.mm.memory import mm_counter
from pagewalk.mm.mm_types import MM_SWAPENTS
from pagewalk.mm.page import PG_anon, PG_lru
from pagewalk.mm.shmem import ShmemSpace
from pagewalk.mm.vma import VM_ACCOUNT, VM_EXEC, VM_LOCKED, VM_SHARED, VM_STACK, VM_WRITE, Vma

__all__ = [
    "cgroup_usage_equals_the_charged_frames",
    "committed_memory_equals_the_promises",
    "dirty_sets_hold_cached_pages",
    "mapped_counts_equal_the_vmas",
    "rss_equals_the_entries",
    "slab_objects_equal_a_recount",
    "vmstat_equals_a_recount",
]


def rss_equals_the_entries(census: Census) -> None:
    """rss_stat equals the entries that map pages, by kind."""
    for mm in census.mms:
        counted = [0, 0, 0, 0]
        for leaf in census.leaves[mm.ident]:
            page = leaf_page(census, leaf)
            if page is not None:
                counted[mm_counter(page)] += 1
            if leaf.is_swap:
                counted[MM_SWAPENTS] += 1
        require(counted == list(mm.rss_stat), "rss_stat equals a recount", f"{mm.rss_stat}, found {counted}")


def slab_objects_equal_a_recount(census: Census) -> None:
    """The caches of the kernel's own objects count the address spaces, mappings and AnonVmas that there are, and their
    slabs hold them."""
    vmas = census.all_vmas()
    anon_vmas = {id(anon_vma) for vma in vmas for anon_vma in vma.anon_vma_chain}
    found = {
        "mm_struct": len(census.mms),
        "vm_area_struct": len(vmas),
        "anon_vma_chain": sum(len(vma.anon_vma_chain) for vma in vmas),
        "anon_vma": len(anon_vmas),
    }
    for cache in census.system.slab.all():
        if cache.name in found:
            recount = found[cache.name]
            require(cache.active == recount, "slab objects equal a recount", f"{cache!r}, found {recount}")
        held = len(cache.slabs) * cache.objects
        require(cache.total == held, "slabs hold the objects that they are counted for", f"{cache!r}: {held}")


def mapped_counts_equal_the_vmas(census: Census) -> None:
    """total_vm, data_vm, exec_vm and stack_vm equal the pages of the VMAs of their kind. locked_vm is not less than its
    own: MREMAP_DONTUNMAP of locked memory leaves it too large, as the kernel's (VmLck of 6.18 says so)."""
    for mm in census.mms:
        kinds = {"total_vm": 0, "data_vm": 0, "exec_vm": 0, "stack_vm": 0, "locked_vm": 0}
        for vma in mm.vmas:
            nr_pages = int(vma.nr_pages())
            kinds["total_vm"] += nr_pages
            kind = _kind(vma)
            if kind:
                kinds[kind] += nr_pages
            if vma.vm_flags & VM_LOCKED:
                kinds["locked_vm"] += nr_pages
        told = {
            "total_vm": int(mm.total_vm),
            "data_vm": int(mm.data_vm),
            "exec_vm": int(mm.exec_vm),
            "stack_vm": int(mm.stack_vm),
            "locked_vm": int(mm.locked_vm),
        }
        require(told["locked_vm"] >= kinds["locked_vm"], "locked pages are counted", f"{told}, found {kinds}")
        told["locked_vm"] = kinds["locked_vm"]
        require(told == kinds, "pages by kind equal a recount", f"{told}, found {kinds}")


def _kind(vma: Vma) -> str:
    flags = vma.vm_flags
    if flags & VM_EXEC and not flags & (VM_WRITE | VM_STACK):
        return "exec_vm"
    if flags & VM_STACK:
        return "stack_vm"
    return "data_vm" if flags & VM_WRITE and not flags & VM_SHARED else ""


def committed_memory_equals_the_promises(census: Census) -> None:
    """vm_committed_as = pages of VM_ACCOUNT VMAs + sizes of shared objects + pages of those that promise one by one."""
    promised = sum(int(vma.nr_pages()) for vma in census.all_vmas() if vma.vm_flags & VM_ACCOUNT)
    for space in census.spaces:
        if isinstance(space, ShmemSpace):
            promised += len(space.i_pages) + len(space.swapped) if space.noreserve else int(space.accounted)
    committed = int(census.system.vm_committed_as)
    require(committed == promised, "vm_committed_as equals the promises", f"{committed}, found {promised}")


def vmstat_equals_a_recount(census: Census) -> None:
    """The machine's nr_* equal a recount over pages, page caches and page tables."""
    vmstat = census.system.vmstat
    mapped = [census.system.page(pfn) for pfn in census.mappers]
    caches = [len(space.i_pages) for space in census.spaces] + [len(census.system.swap.cached_pages())]
    shmem = [len(space.i_pages) for space in census.spaces if space.is_shmem]
    for name, told, found in (
        ("nr_anon_mapped", vmstat.nr_anon_mapped, sum(1 for page in mapped if page.flags & PG_anon)),
        ("nr_file_mapped", vmstat.nr_file_mapped, sum(1 for page in mapped if not page.flags & PG_anon)),
        ("nr_file_pages", vmstat.nr_file_pages, sum(caches)),
        ("nr_shmem", vmstat.nr_shmem, sum(shmem)),
        ("nr_dirty", vmstat.nr_dirty, sum(len(space.dirty) for space in census.spaces)),
        ("nr_page_table_pages", vmstat.nr_page_table_pages, sum(len(tables) for tables in census.tables.values())),
    ):
        require(told == found, f"{name} equals a recount", f"{told}, found {found}")


def dirty_sets_hold_cached_pages(census: Census) -> None:
    """A dirty page is in the cache; shared memory has no store to differ from."""
    for space in census.spaces:
        lost = space.dirty - space.i_pages.keys()
        require(not lost, "a dirty page is cached", f"indices {sorted(lost)}")
        require(not (space.is_shmem and space.dirty), "shared memory is never dirty", f"{space.dirty}")
        end = int(census.system.nr_pages(space.i_size))
        beyond = [index for index, page in space.i_pages.items() if index >= end and page.mapcount]
        require(not beyond, "no page is mapped beyond the end", f"{beyond}, end {end}")


def folios_are_whole(census: Census) -> None:
    """The pages of a folio are cached, follow each other, and are dirty all or none; what is to be written is dirty."""
    for space in census.spaces:
        lost = space.dirty_blocks - space.dirty
        require(not lost, "a page that is to be written is dirty", f"indices {sorted(lost)}")
        for index, head in space.folio_heads.items():
            require(index in space.i_pages, "a page of a folio is cached", f"index {index} of the folio at {head}")
            joined = index == head or space.folio_heads.get(index - 1) == head
            require(joined, "the pages of a folio follow each other", f"index {index} of the folio at {head}")
            same = (index in space.dirty) == (head in space.dirty)
            require(same, "a folio is dirty as a whole", f"index {index} of the folio at {head}")


def cgroup_usage_equals_the_charged_frames(census: Census) -> None:
    """What a memory cgroup uses is what its frames and those of the groups below it make, and its swap likewise."""
    tree = census.system.memcg
    charged = [0] * len(tree.groups)
    for stock in tree.stock:
        for ident, pages in stock.held().items():
            charged[ident] += pages
    for group in tree.all_groups():
        charged[group.ident] += int(group.kmem_paid + group.stack_pages) if group.ident else 0
    for section in census.system.mem_map.sections:
        for page in section or []:
            if page is not None and page.memcg:
                require(page.refcount > 0, "a free frame is charged to nobody", f"pfn {page.pfn}: group {page.memcg}")
                charged[page.memcg] += 1 << page.order if not page.flags & PG_lru else 1
    slots = [0] * len(tree.groups)
    for ident in tree.swap_owner.values():
        slots[ident] += 1
    for group in tree.all_groups()[1:]:
        below = [other.ident for other in group.subtree_with_dying()]
        frames = sum(charged[ident] for ident in below)
        require(group.usage == frames, "a cgroup's usage equals its frames", f"{group}: found {frames}")
        swapped = sum(slots[ident] for ident in below)
        require(group.swap_usage == swapped, "a cgroup's swap equals its slots", f"{group}: found {swapped}")
        paid = -(-int(group.kmem_bytes) // int(census.system.page_size))
        require(group.kmem_paid == paid, "objects are paid for by the page", f"{group}: {group.kmem_paid}, {paid}")
        needed = group.online or int(group.usage + group.swap_usage) + len(group.dying) > 0
        require(needed, "an empty group is gone", f"{group}")
        require(group.usage <= group.watermark, "a peak is not below the usage", f"{group}: peak {group.watermark}")
