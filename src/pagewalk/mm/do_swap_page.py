"""A fault on a swap entry: the page comes back.

It is a major fault where the page had to be read, a minor one where it was still, or by read-ahead already, in the swap
cache. The page keeps its slot, for the case that it has to go again unchanged, unless it is about to be written by the
only one who has it, or slots are short.

Mirrors: mm/memory.c (do_swap_page, should_try_to_free_swap) (6.18)
Differs: no migration and device entries, no KSM copies; pages of synchronous areas go through the swap cache, too.
"""

from mypy_extensions import i64

from pagewalk.mm.fault_types import FAULT_FLAG_WRITE, VM_FAULT_MAJOR, VM_FAULT_OOM
from pagewalk.mm.mm_types import MM_ANONPAGES, MM_SWAPENTS
from pagewalk.mm.page import Page, PG_anon, PG_anon_exclusive, PG_mlocked, PG_swapbacked, PG_swapcache
from pagewalk.mm.rmap import AnonVma, anon_vma_prepare
from pagewalk.mm.swap import mem_cgroup_swap_full, mlock_folio
from pagewalk.mm.swap_state import swap_update_readahead, swapin_readahead
from pagewalk.mm.swapfile import pte_to_swp_entry
from pagewalk.mm.vma import VM_LOCKED, VM_SPECIAL, VM_WRITE, VmFault


def do_swap_page(vmf: VmFault, pte: i64) -> i64:
    """Maps the page of the swap entry ``pte``. Where it became writable for a write, FAULT_FLAG_WRITE is taken off
    ``vmf.flags``; else the caller goes on with copy-on-write."""
    vma = vmf.vma
    mm = vma.vm_mm
    system = mm.system
    fmt = system.format
    swap = system.swap
    words = system.ram.words
    entry = pte_to_swp_entry(fmt, pte)
    ret: i64 = 0
    slot = swap.slot(entry)
    page = slot.page
    if page is not None:
        swap_update_readahead(system, page, vma, vmf.address)
    else:
        page = swapin_readahead(vmf, entry)
        if page is None:
            return VM_FAULT_OOM
        ret = VM_FAULT_MAJOR
        system.memstall(system.swap_latency_ns)
        system.vmstat.pgmajfault += 1
    page.refcount += 1
    if vma.anon_vma is None:  # moved here by mremap, say
        anon_vma_prepare(vma)
    exclusive = fmt.pte_swp_exclusive(pte)
    slot.drop_use()
    if should_try_to_free_swap(vmf, page):
        swap.try_to_free_swap(page)
    rss = mm.rss_stat
    anon: i64 = rss[MM_ANONPAGES]
    swapents: i64 = rss[MM_SWAPENTS]
    rss[MM_ANONPAGES] = anon + 1
    rss[MM_SWAPENTS] = swapents - 1
    new: i64 = (page.pfn << fmt.pfn_shift) | vma.vm_page_prot
    exclusive = exclusive or page.refcount == 1
    if exclusive:
        if vma.vm_flags & VM_WRITE:
            new = fmt.write.set(new)
            if vmf.flags & FAULT_FLAG_WRITE:
                new = fmt.dirty.set(new)
                vmf.flags &= ~FAULT_FLAG_WRITE
        page.flags |= PG_anon_exclusive
    if fmt.rdonly:
        new = fmt.sync_rdonly(new)
    if not page.flags & PG_anon:
        assert vma.anon_vma is not None
        page.flags |= PG_anon | PG_swapbacked
        page.mapping = vma.anon_vma if exclusive else root_of(vma.anon_vma)
        page.index = vma.pgoff_of(vmf.address)
    page.mapcount += 1
    if page.mapcount == 1:
        system.vmstat.nr_anon_mapped += 1
    if vma.vm_flags & (VM_LOCKED | VM_SPECIAL) == VM_LOCKED:
        mlock_folio(system, page)
    words[vmf.pte_index] = new
    mm.faults.swap_in += 1
    return ret


def should_try_to_free_swap(vmf: VmFault, page: Page) -> bool:
    """The page's slot is given up: it is in RAM itself, slots are short, the page is locked, or it is about to be
    written and nobody but this fault and the cache has it."""
    system = vmf.vma.vm_mm.system
    area_kept = page.flags & PG_swapcache and not system.swap.area_of(page.swap).synchronous
    if not area_kept or vmf.vma.vm_flags & VM_LOCKED or page.flags & PG_mlocked:
        return True
    if mem_cgroup_swap_full(system, page):
        return True
    return vmf.flags & FAULT_FLAG_WRITE != 0 and page.refcount == 2


def root_of(anon_vma: AnonVma) -> AnonVma:
    """The AnonVma that all who may share the page have in their chains."""
    while anon_vma.parent is not None:
        anon_vma = anon_vma.parent
    return anon_vma
