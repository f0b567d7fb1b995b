"""Letting go of pages: each is unmapped, written where it has to be, and freed; or it is kept, and it is said where.

Mirrors: mm/vmscan.c (shrink_folio_list, folio_check_references, __remove_mapping) (6.18)
Differs: file systems are never written to from here: the flusher does that; a page that somebody holds stays mapped.
"""

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.folio import folio_range
from pagewalk.mm.lruvec import folio_is_file_lru
from pagewalk.mm.memcg_names import PGACTIVATE, PGLAZYFREED
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.page import (
    Page,
    PG_active,
    PG_anon,
    PG_dirty,
    PG_lru,
    PG_mlocked,
    PG_reclaim,
    PG_referenced,
    PG_swapbacked,
    PG_swapcache,
    PG_unevictable,
    PG_writeback,
)
from pagewalk.mm.page_cache import delete_from_page_cache
from pagewalk.mm.page_io import NOT_WRITTEN, WRITING, start_writeback, swap_writeout
from pagewalk.mm.rmap import RmapHit, folio_referenced
from pagewalk.mm.shmem_swap import shmem_writeout
from pagewalk.mm.swap import mapping_unevictable, mem_cgroup_swap_full
from pagewalk.mm.try_to_unmap import try_to_unmap, unmap_hit
from pagewalk.mm.util import vm_unacct_memory
from pagewalk.mm.vma import VM_EXEC, VM_LOCKED
from pagewalk.mm.workingset import pack_shadow

if TYPE_CHECKING:
    from pagewalk.mm.scan_control import ScanControl

# What becomes of a page.
FREED: Final = 0
KEEP: Final = 1
ACTIVATE: Final = 2

# What the marks of accesses say.
FOLIOREF_RECLAIM: Final = 0
FOLIOREF_RECLAIM_CLEAN: Final = 1
FOLIOREF_KEEP: Final = 2
FOLIOREF_ACTIVATE: Final = 3


def shrink_folio_list(sc: "ScanControl", pages: list[Page], ignore_references: bool) -> list[Page]:
    """Tries to free pages that have been taken off their lists; those that stay, in order, with PG_active where they
    are to be active. ``ignore_references``: a program has said that they may go."""
    kept: list[Page] = []
    unflushed: dict[int, MmStruct] = {}
    handled: set[int] = set()
    sc.nr_pageout = 0
    for page in pages:
        if handled and page.pfn in handled:
            continue
        if not page.flags & PG_anon:
            mapping = page.mapping
            if isinstance(mapping, AddressSpace) and page.index in mapping.folio_heads:
                group = large_folio(sc, page, mapping)
                handled.update([int(each.pfn) for each in group])
                shrink_large_folio(sc, group, mapping, ignore_references, kept, unflushed)
                continue
        outcome = shrink_folio(sc, page, ignore_references, unflushed)
        if outcome == FREED:
            continue
        if outcome == ACTIVATE:
            activate(sc, page)
        kept.append(page)
    for mm in unflushed.values():
        mm.tlb_flush_batched = False
        mm.flush_tlb_range(0, mm.task_size)
    return kept


def activate(sc: "ScanControl", page: Page) -> None:
    """The page becomes active; it gives its slot up where slots are short."""
    if page.flags & PG_swapcache and (page.flags & PG_mlocked or mem_cgroup_swap_full(sc.system, page)):
        sc.system.swap.try_to_free_swap(page)
    if not page.flags & (PG_mlocked | PG_unevictable):
        page.flags |= PG_active
        sc.system.vmstat.pgactivate += 1
        sc.count_event(PGACTIVATE, 1)


def folio_check_references(page: Page, hit: RmapHit | None) -> int:
    """What the accessed bits and PG_referenced say: a FOLIOREF_* value; ``hit`` as for ``folio_referenced``."""
    referenced, vm_flags = folio_referenced(page, hit)
    marked = page.flags & PG_referenced != 0
    page.flags &= ~PG_referenced
    if vm_flags & VM_LOCKED:
        return FOLIOREF_ACTIVATE
    if referenced:
        page.flags |= PG_referenced
        if marked or referenced > 1 or (vm_flags & VM_EXEC and folio_is_file_lru(page)):
            return FOLIOREF_ACTIVATE
        return FOLIOREF_KEEP
    if marked and folio_is_file_lru(page):
        return FOLIOREF_RECLAIM_CLEAN
    return FOLIOREF_RECLAIM


def shrink_folio(sc: "ScanControl", page: Page, ignore_references: bool, unflushed: dict[int, MmStruct]) -> int:
    """One page; FREED, KEEP or ACTIVATE."""
    if page.flags & (PG_unevictable | PG_mlocked | PG_writeback):
        return ACTIVATE
    if not page.flags & PG_anon and mapping_unevictable(page):
        page.flags = (page.flags | PG_unevictable) & ~PG_active
        sc.system.vmstat.unevictable_pgs_culled += 1
        return ACTIVATE
    sc.hit.pfn = -1
    references = FOLIOREF_RECLAIM if ignore_references else folio_check_references(page, sc.hit)
    if references == FOLIOREF_ACTIVATE:
        return ACTIVATE
    if references == FOLIOREF_KEEP or is_held(page):
        return KEEP
    if page.flags & PG_anon:
        if page.flags & PG_swapbacked:
            return shrink_anon_folio(sc, page, unflushed)
        return shrink_lazyfree_folio(sc, page, unflushed)
    if page.flags & PG_swapcache:
        return free_swapcache_folio(sc, page)
    return shrink_file_folio(sc, page, references, unflushed)


def is_held(page: Page) -> bool:
    """Somebody works on the page: a fault that copies it, say, and needs a frame. Linux unmaps it in vain; where hardly
    any page can go, the fault would then begin anew for ever."""
    held: i64 = page.refcount - page.mapcount
    if page.flags & PG_swapcache or (not page.flags & PG_anon and isinstance(page.mapping, AddressSpace)):
        held -= 1
    return held > 0


def unmap(sc: "ScanControl", page: Page, unflushed: dict[int, MmStruct]) -> bool:
    """``try_to_unmap``, which need not seek where the look at the accessed bits has found the only mapping."""
    if sc.hit.pfn == page.pfn and page.mapcount == 1:
        return unmap_hit(sc.system, page, sc.hit, unflushed)
    return try_to_unmap(sc.system, page, unflushed)


def shrink_anon_folio(sc: "ScanControl", page: Page, unflushed: dict[int, MmStruct]) -> int:
    """Anonymous memory: it gets a slot, is unmapped, written and freed."""
    system = sc.system
    if not page.flags & PG_swapcache:
        if page.refcount != page.mapcount or not sc.may_swap or not system.swap.folio_alloc_swap(page):
            return ACTIVATE if page.refcount == page.mapcount else KEEP
        page.flags |= PG_dirty
    if page.mapcount and not unmap(sc, page, unflushed):
        return ACTIVATE
    return free_swapcache_folio(sc, page)


def free_swapcache_folio(sc: "ScanControl", page: Page) -> int:
    """A page of the swap cache that nobody maps: written where its slot does not hold it, and freed."""
    system = sc.system
    if page.refcount != 1:
        return KEEP
    if page.flags & PG_dirty:
        sc.nr_pageout += 1
        outcome = swap_writeout(system, page)
        if outcome == NOT_WRITTEN:
            return ACTIVATE
        if outcome == WRITING and not sc.waits_for_io:
            start_writeback(system, page)
            return KEEP
    entry = page.swap
    shadow = pack_shadow(sc, page)
    slot = system.swap.remove_from_cache(page)
    slot.shadow = shadow + 1
    if slot.count == 0:
        system.swap.free_entry(entry)
    system.node.put_page(page)
    sc.nr_reclaimed += 1
    return FREED


def shrink_lazyfree_folio(sc: "ScanControl", page: Page, unflushed: dict[int, MmStruct]) -> int:
    """Memory that the program has given up with MADV_FREE: dropped, unless it was written again."""
    if page.mapcount and not unmap(sc, page, unflushed):
        return ACTIVATE
    if page.refcount != 0:
        return KEEP
    sc.system.vmstat.pglazyfreed += 1
    sc.count_event(PGLAZYFREED, 1)
    sc.system.node.free_pages(page, 0)
    sc.nr_reclaimed += 1
    return FREED


def shrink_file_folio(sc: "ScanControl", page: Page, references: int, unflushed: dict[int, MmStruct]) -> int:
    """A page of a file or of shared memory."""
    system = sc.system
    mapping = page.mapping
    if not isinstance(mapping, AddressSpace):
        return KEEP  # truncated, but somebody still has it
    if page.mapcount and not unmap(sc, page, unflushed):
        return ACTIVATE
    if page.refcount != 1:
        return KEEP
    if mapping.is_shmem:
        if page.flags & PG_dirty:
            if not sc.may_swap or not shmem_writeout(system, page):
                return ACTIVATE
            sc.nr_pageout += 1
            return free_swapcache_folio(sc, page)
        return remove_clean_shmem(sc, page, mapping)
    if page.index in mapping.dirty:
        return dirty_file_folio(sc, page)
    remove_mapping(sc, page, mapping)
    return FREED


def dirty_file_folio(sc: "ScanControl", page: Page) -> int:
    """Somebody else has to write it; then it is the first to go."""
    sc.nr_unqueued_dirty += 1
    sc.system.vmstat.nr_vmscan_immediate_reclaim += 1
    page.flags |= PG_reclaim
    return ACTIVATE


def remove_mapping(sc: "ScanControl", page: Page, mapping: AddressSpace) -> None:
    """A clean page leaves the cache, its shadow stays."""
    index = page.index
    mapping.shadows[index] = pack_shadow(sc, page)
    delete_from_page_cache(sc.system, mapping, index)
    mapping.evict(index, index + 1)
    sc.nr_reclaimed += 1


def remove_clean_shmem(sc: "ScanControl", page: Page, mapping: AddressSpace) -> int:
    """Shared memory that was never written is a hole again."""
    system = sc.system
    del mapping.i_pages[page.index]
    page.mapping = None
    system.vmstat.nr_file_pages -= 1
    system.vmstat.nr_shmem -= 1
    if mapping.noreserve:
        vm_unacct_memory(system, 1)
    system.node.put_page(page)
    sc.nr_reclaimed += 1
    return FREED


def large_folio(sc: "ScanControl", page: Page, mapping: AddressSpace) -> list[Page]:
    """The pages of a folio of several, taken off their lists when the first of them is met."""
    first, end = folio_range(mapping, page.index)
    group = [mapping.i_pages[at] for at in range(first, end)]
    for other in group:
        if other.flags & PG_lru:
            sc.node.folio_lruvec(other).remove(other)
    return group


def shrink_large_folio(
    sc: "ScanControl",
    group: list[Page],
    mapping: AddressSpace,
    ignore_references: bool,
    kept: list[Page],
    unflushed: dict[int, MmStruct],
) -> None:
    """A folio of several pages goes as a whole, or stays."""
    outcome = FREED
    references = FOLIOREF_RECLAIM
    for other in group:
        if other.flags & (PG_unevictable | PG_mlocked):
            outcome = ACTIVATE
        elif not ignore_references:
            references = max(references, folio_check_references(other, None))
    if references == FOLIOREF_ACTIVATE:
        outcome = ACTIVATE
    elif references == FOLIOREF_KEEP and outcome == FREED:
        outcome = KEEP
    held: i64 = sum([is_held(other) for other in group])
    if outcome == FREED and held:
        outcome = KEEP
    if outcome == FREED:
        for other in group:
            if other.mapcount and not try_to_unmap(sc.system, other, unflushed):
                outcome = ACTIVATE
        busy: i64 = sum([other.refcount != 1 for other in group])
        if outcome == FREED and busy:
            outcome = KEEP
        if outcome == FREED and group[0].index in mapping.dirty:
            outcome = ACTIVATE
            for other in group:
                dirty_file_folio(sc, other)
    if outcome == FREED:
        for other in group:
            remove_mapping(sc, other, mapping)
        return
    here = sc.node.lruvecs[sc.memcg.ident]
    for other in group:
        if outcome == ACTIVATE:
            activate(sc, other)
        lruvec = sc.node.folio_lruvec(other)
        if lruvec is here:
            kept.append(other)
        else:  # a page of another node: it returns to the lists there
            if other.flags & PG_mlocked:
                other.flags = (other.flags | PG_unevictable) & ~PG_active
            lruvec.add(other)
