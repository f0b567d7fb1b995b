"""Bringing pages back from swap, and their neighbours along with them.

Neighbours are those in the address space, or those in the swap area where that is a rotating disk, and for shared
memory. How many depends on how many of the last ones were of use.

Mirrors: mm/swap_state.c (6.18)
Differs: what is read is there at once.
"""

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from pagewalk.arch.format import bit
from pagewalk.mm.gfp import GFP_HIGHUSER_MOVABLE, GFP_ZERO
from pagewalk.mm.mempolicy import alloc_page_current, vma_alloc_page
from pagewalk.mm.page import Page, PG_readahead, PG_swapbacked
from pagewalk.mm.page_io import swap_read_folio
from pagewalk.mm.swap_slot import ZEROS
from pagewalk.mm.swapfile import SWP_OFFSET_BITS, SWP_OFFSET_MASK, pte_to_swp_entry, swp_entry
from pagewalk.mm.vma import Vma, VmFault
from pagewalk.mm.workingset import page_refaulted

if TYPE_CHECKING:
    from pagewalk.mm.system import System

SWAP_CLUSTER_ORDER_MAX: Final = 20  # of read-ahead by slots, so that a wild vm.page-cluster does not read for ever
SWAP_RA_ORDER_CEILING: Final = 5
SWAP_RA_HITS_MAX: Final = 63


def swap_cache_get_folio(system: "System", entry: i64) -> Page | None:
    """The page that is cached for a slot."""
    return system.swap.slot(entry).page


def swap_use_vma_readahead(system: "System") -> bool:
    """Neighbours are sought in the address space: no area is a rotating disk."""
    return system.swap.nr_rotational == 0


def swap_update_readahead(system: "System", page: Page, vma: Vma | None, addr: i64) -> None:
    """A fault finds the page in the cache: where read-ahead had brought it, that was a hit."""
    hit = page.flags & PG_readahead != 0
    page.flags &= ~PG_readahead
    by_vma = vma is not None and swap_use_vma_readahead(system)
    if vma is not None and by_vma:
        vma.swap_ra_addr = addr
        if hit and vma.swap_ra_hits < SWAP_RA_HITS_MAX:
            vma.swap_ra_hits += 1
    if hit:
        system.vmstat.swap_ra_hit += 1
        if not by_vma:
            system.swap.hits += 1


def read_swap_cache(system: "System", entry: i64, ahead: bool, vma: Vma | None = None, addr: i64 = 0) -> Page | None:
    """The page of a slot, in the cache, read where it was not there; None where there is no frame, or (``ahead``:
    for read-ahead) the slot is empty or the page is there already. The frame comes from where the policy of ``vma`` for
    ``addr`` says, or the running task's."""
    swap = system.swap
    if ahead and not swap.is_used(entry):
        return None
    slot = swap.slot(entry)
    if slot.page is not None:
        return None if ahead else slot.page
    zeros = slot.place == ZEROS
    page = alloc_swapin_page(system, entry, vma, addr, GFP_HIGHUSER_MOVABLE | (GFP_ZERO if zeros else 0))
    if page is None:
        return None
    if slot.page is not None or slot.count == 0:  # reclaim for the frame changes nothing here, but a victim may have
        system.node.put_page(page)
        return slot.page
    page.flags |= PG_swapbacked
    swap.add_to_swap_cache(page, entry)
    swap_read_folio(system, page, slot, zeros and slot.place == ZEROS)
    if slot.shadow:
        page_refaulted(system, page, slot.shadow - 1)
        slot.shadow = 0
    system.node.folio_lruvec(page).add(page)
    system.node.put_page(page)  # the cache holds it
    if ahead:
        page.flags |= PG_readahead
        system.vmstat.swap_ra += 1
    return page


def alloc_swapin_page(system: "System", entry: i64, vma: Vma | None, addr: i64, gfp: i64) -> Page | None:
    """A frame for the page of a slot, charged to the group that has the slot (mem_cgroup_swapin_charge_folio)."""
    memcg = system.memcg
    if memcg.enabled:
        owner = memcg.groups[memcg.swap_owner.get(entry, 0)]
        if owner.parent is not None and owner.online:
            memcg.active = owner.ident
    if vma is None:
        page = alloc_page_current(system, gfp)
    else:
        page = vma_alloc_page(vma, addr, gfp)
    memcg.active = -1
    return page


def swapin_window(prev_offset: i64, offset: i64, hits: i64, max_pages: i64, prev_win: i64) -> i64:
    """__swapin_nr_pages: how many pages to read, from how useful the last ones were."""
    pages: i64 = hits + 2
    if pages == 2:
        if offset != prev_offset + 1 and offset != prev_offset - 1:
            pages = 1
    else:
        rounded: i64 = 4
        while rounded < pages:
            rounded <<= 1
        pages = rounded
    return max(min(pages, max_pages), prev_win // 2)


def swap_cluster_readahead(system: "System", entry: i64, vma: Vma | None = None, addr: i64 = 0) -> Page | None:
    """Reads the slot with the aligned block of slots around it."""
    swap = system.swap
    offset: i64 = entry & SWP_OFFSET_MASK
    kind: i64 = entry >> SWP_OFFSET_BITS
    max_pages = bit(min(system.page_cluster, SWAP_CLUSTER_ORDER_MAX))
    if max_pages > 1:
        hits = swap.hits
        swap.hits = 0
        pages = swapin_window(swap.prev_offset, offset, hits, max_pages, swap.last_ra_pages)
        if hits == 0:
            swap.prev_offset = offset
        swap.last_ra_pages = pages
        if pages > 1:
            first: i64 = max(offset & -pages, 1)
            last: i64 = min(offset | (pages - 1), swap.area_of(entry).max - 1)
            while first <= last:
                if first != offset:
                    read_swap_cache(system, swp_entry(kind, first), True, vma, addr)
                first += 1
    return read_swap_cache(system, entry, False, vma, addr)


def swap_vma_readahead(vmf: VmFault, entry: i64) -> Page | None:
    """Reads the slot, and those of the pages next to it in the address space."""
    vma = vmf.vma
    system = vma.vm_mm.system
    max_win = bit(min(system.page_cluster, SWAP_RA_ORDER_CEILING))
    if max_win > 1:
        fault: i64 = vmf.address >> system.page_shift
        prev: i64 = vma.swap_ra_addr >> system.page_shift
        win = swapin_window(prev, fault, vma.swap_ra_hits, max_win, vma.swap_ra_win)
        vma.swap_ra_addr = vmf.address
        vma.swap_ra_win = win
        vma.swap_ra_hits = 0
        if win > 1:
            read_neighbours(vmf, fault, prev, win)
    return read_swap_cache(system, entry, False, vma, vmf.address)


def read_neighbours(vmf: VmFault, fault: i64, prev: i64, win: i64) -> None:
    """Pages of the window, which goes the way that the last two faults went, within the VMA and the page table."""
    vma = vmf.vma
    system = vma.vm_mm.system
    fmt = system.format
    if fault == prev + 1:
        first = fault
    elif prev == fault + 1:
        first = fault - win + 1
    else:
        first = fault - (win - 1) // 2
    last: i64 = first + win
    table: i64 = fault & ~fmt.table_mask
    first = max(max(first, vma.vm_start >> system.page_shift), table)
    last = min(min(last, vma.vm_end >> system.page_shift), table + fmt.table_mask + 1)
    while first < last:
        if first != fault:
            pte: i64 = system.ram.words[vmf.pte_index + first - fault]
            if fmt.is_swap_pte(pte) and pte != fmt.guard:
                read_swap_cache(system, pte_to_swp_entry(fmt, pte), True, vma, vmf.address)
        first += 1


def swapin_readahead(vmf: VmFault, entry: i64) -> Page | None:
    """The page of a slot that is not cached, read with its neighbours; None where there is no frame."""
    system = vmf.vma.vm_mm.system
    if system.swap.area_of(entry).synchronous:
        return read_swap_cache(system, entry, False, vmf.vma, vmf.address)
    if swap_use_vma_readahead(system):
        return swap_vma_readahead(vmf, entry)
    return swap_cluster_readahead(system, entry, vmf.vma, vmf.address)
