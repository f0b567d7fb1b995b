"""Reverse map: from a page to the page-table entries that map it.

An anonymous page belongs to an AnonVma, whose ``vmas`` are all VMAs that may map it; a page-cache page belongs to an
AddressSpace, whose ``i_mmap`` are all VMAs of the file.

Mirrors: mm/rmap.c (6.18)
Differs: lists instead of interval trees and anon_vma_chain objects.
"""

from typing import TYPE_CHECKING, final

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.mempolicy import mpol_equal
from pagewalk.mm.page import Page, PG_anon, PG_anon_exclusive, PG_swapbacked
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.swap import mlock_folio
from pagewalk.mm.vma import VM_ACCESS_FLAGS, VM_LOCKED, VM_SPECIAL, VM_STICKY, Vma

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct


@final
class AnonVma:
    """struct anon_vma: the owner of anonymous pages.

    vmas             VMAs whose pages may belong to it (fork adds the child's)
    parent           the AnonVma of the forking VMA, None for the first of a family
    num_children     AnonVmas whose parent it is (itself too, where it has none)
    num_active_vmas  VMAs whose own AnonVma it is: new pages go there
    memcg            id of the memory cgroup that it is charged to, 0 for the root
    """

    def __init__(self, parent: "AnonVma | None") -> None:
        self.parent = parent
        self.vmas: list[Vma] = []
        self.num_children = 1 if parent is None else 0
        self.num_active_vmas = 0
        self.memcg: i64 = 0
        if parent is not None:
            parent.num_children += 1


def anon_vma_prepare(vma: Vma) -> None:
    """Gives a VMA its AnonVma before the first anonymous page: a neighbour's where the two may merge later, or a new
    one."""
    if vma.anon_vma is not None:
        return
    anon_vma = find_mergeable_anon_vma(vma)
    if anon_vma is None:
        anon_vma = AnonVma(None)
        anon_vma.memcg = vma.vm_mm.memcg
        vma.vm_mm.system.slab.anon_vma.alloc(anon_vma.memcg)
    vma.anon_vma = anon_vma
    anon_vma.num_active_vmas += 1
    anon_vma_chain_link(vma, anon_vma)


def anon_vma_chain_link(vma: Vma, anon_vma: AnonVma) -> None:
    """Pages of ``vma`` may belong to ``anon_vma``."""
    vma.anon_vma_chain.append(anon_vma)
    anon_vma.vmas.append(vma)
    vma.vm_mm.system.slab.anon_vma_chain.alloc(vma.vm_mm.memcg)


def anon_vma_clone(to: Vma, source: Vma) -> None:
    """Whatever ``source``'s pages may belong to, ``to``'s may now as well (split, merge, mremap)."""
    for anon_vma in source.anon_vma_chain:
        if anon_vma not in to.anon_vma_chain:
            anon_vma_chain_link(to, anon_vma)
    if to.anon_vma is None and source.anon_vma is not None:
        to.anon_vma = source.anon_vma
        to.anon_vma.num_active_vmas += 1


def anon_vma_fork(to: Vma, source: Vma) -> None:
    """A child's VMA: its pages may belong to all that the parent's may, and new ones to an AnonVma of its own.

    One of the parent's chain is taken for that where no VMA uses it any more and it has at most one child: a process
    that forks and forks on does not make the chain longer without end.
    """
    if source.anon_vma is None:
        return
    for anon_vma in source.anon_vma_chain:
        anon_vma_chain_link(to, anon_vma)
        if to.anon_vma is None and anon_vma.num_children < 2 and anon_vma.num_active_vmas == 0:
            to.anon_vma = anon_vma
    if to.anon_vma is None:
        to.anon_vma = AnonVma(source.anon_vma)
        to.anon_vma.memcg = to.vm_mm.memcg
        to.vm_mm.system.slab.anon_vma.alloc(to.vm_mm.memcg)
        anon_vma_chain_link(to, to.anon_vma)
    to.anon_vma.num_active_vmas += 1


def unlink_anon_vmas(vma: Vma) -> None:
    """The VMA goes."""
    slab = vma.vm_mm.system.slab
    for anon_vma in vma.anon_vma_chain:
        anon_vma.vmas.remove(vma)
        slab.anon_vma_chain.free(vma.vm_mm.memcg)
        if not anon_vma.vmas:
            slab.anon_vma.free(anon_vma.memcg)
            if anon_vma.parent is not None:
                anon_vma.parent.num_children -= 1
    vma.anon_vma_chain = []
    if vma.anon_vma is not None:
        vma.anon_vma.num_active_vmas -= 1
    vma.anon_vma = None


def is_fork_child(vma: Vma) -> bool:
    """The VMA shares pages with a parent: its chain has more than its own AnonVma."""
    return len(vma.anon_vma_chain) > 1


def find_mergeable_anon_vma(vma: Vma) -> AnonVma | None:
    """A neighbour's AnonVma that this VMA can use, so that the two can merge once their rights agree."""
    following = vma.vm_mm.find_vma(vma.vm_end)
    if following is not None and following.vm_start == vma.vm_end:
        found = _reusable_anon_vma(following, vma, following)
        if found is not None:
            return found
    preceding = vma.vm_mm.find_vma_prev(vma.vm_start)
    if preceding is not None and preceding.vm_end == vma.vm_start:
        return _reusable_anon_vma(preceding, preceding, vma)
    return None


def _reusable_anon_vma(old: Vma, low: Vma, high: Vma) -> AnonVma | None:
    compatible = (
        low.vm_file is high.vm_file
        and mpol_equal(low.vm_policy, high.vm_policy)
        and (low.vm_flags ^ high.vm_flags) & ~(VM_ACCESS_FLAGS | VM_STICKY) == 0
        and high.vm_pgoff == low.vm_pgoff + low.nr_pages()
    )
    return old.anon_vma if compatible and not is_fork_child(old) else None


def add_new_anon_rmap(page: Page, vma: Vma, address: i64) -> None:
    """A new anonymous page gets its owner, its first mapping and its place on a list; it is exclusively its
    process's."""
    page.mapcount = 1
    page.flags |= PG_anon | PG_anon_exclusive | PG_swapbacked
    page.mapping = vma.anon_vma
    page.index = vma.pgoff_of(address)
    vma.vm_mm.system.node.folio_lruvec(page).add(page)
    if vma.vm_flags & (VM_LOCKED | VM_SPECIAL) == VM_LOCKED:
        mlock_folio(vma.vm_mm.system, page)


def rmap_vmas(page: Page) -> list[Vma]:
    """The VMAs that may map the page."""
    mapping = page.mapping
    if isinstance(mapping, AnonVma):
        return mapping.vmas
    return mapping.i_mmap if isinstance(mapping, AddressSpace) else []


@final
class RmapHit:
    """The only entry that maps a page, where ``folio_referenced`` has met it unused: who goes on to unmap the page need
    not seek it again.

    pfn    the page's frame, -1 where there is no such entry
    vma    the VMA that maps it
    index  where the entry is in RAM's words; ``pte``: the entry
    """

    def __init__(self) -> None:
        self.pfn: i64 = -1
        self.vma: Vma | None = None
        self.index: i64 = -1
        self.pte: i64 = 0


def folio_referenced(page: Page, hit: RmapHit | None = None) -> tuple[i64, i64]:
    """How many entries that map the page have been used since they were last looked at, and the flags of their VMAs;
    their accessed bits are cleared. With VM_LOCKED in the flags the page is locked by one of them.

    Nobody flushes a TLB for that: what it holds counts as unused until it has to be fetched again.

    hit  is told where the page is mapped once only, and not used
    """
    if hit is not None:
        hit.pfn = -1
    referenced: i64 = 0
    vm_flags: i64 = 0
    left = page.mapcount
    if left == 0:
        return 0, 0
    for vma in rmap_vmas(page):
        address = vma.address_of(page.index)
        if address < 0:
            continue
        mm = vma.vm_mm
        index = pte_lookup(mm, address)
        if index < 0:
            continue
        fmt = mm.system.format
        pte: i64 = mm.system.ram.words[index]
        if (pte & fmt.pfn_mask) >> fmt.pfn_shift != page.pfn or not (fmt.present.test(pte) or fmt.protnone.test(pte)):
            continue
        if vma.vm_flags & VM_LOCKED:
            return referenced, vm_flags | VM_LOCKED
        if fmt.accessed.test(pte) and vma.has_recency():
            mm.system.ram.words[index] = fmt.accessed.clear(pte)
            referenced += 1
            vm_flags |= vma.vm_flags
        elif hit is not None and page.mapcount == 1:
            hit.pfn = page.pfn
            hit.vma = vma
            hit.index = index
            hit.pte = pte
        left -= 1
        if left == 0:
            break
    return referenced, vm_flags


def locked_elsewhere(page: Page, vma: Vma) -> bool:
    """Whether another locked mapping than ``vma`` maps the page."""
    others = [other for _, other, _ in page_mappers(page) if other is not vma]
    return any(other.vm_flags & VM_LOCKED for other in others)


def page_mappers(page: Page) -> list[tuple["MmStruct", Vma, int]]:
    """Every (mm, VMA, address) whose page table maps the page: rmap_walk, confirmed in the page tables."""
    mapping = page.mapping
    candidates: list[Vma] = []
    if isinstance(mapping, AnonVma):
        candidates = mapping.vmas
    elif isinstance(mapping, AddressSpace):
        candidates = mapping.i_mmap
    found: list[tuple[MmStruct, Vma, int]] = []
    for vma in candidates:
        address = vma.address_of(page.index)
        if address >= 0 and pte_maps(vma.vm_mm, address, page.pfn):
            found.append((vma.vm_mm, vma, int(address)))
    return found


def pte_maps(mm: "MmStruct", address: i64, pfn: i64) -> bool:
    """Whether the page-table entry of ``address`` maps frame ``pfn``."""
    index = pte_lookup(mm, address)
    if index < 0:
        return False
    pte: i64 = mm.system.ram.words[index]
    fmt = mm.system.format
    return (fmt.present.test(pte) or fmt.protnone.test(pte)) and (pte & fmt.pfn_mask) >> fmt.pfn_shift == pfn
