"""Page faults: from "nothing is mapped here, or not for this" to a page-table entry.

``handle_mm_fault`` is the entry; every handler below it reads find, allocate, map, account.

Mirrors: mm/memory.c (6.18)
Differs: no huge pages, no NUMA hinting, no userfaultfd yet; one fault at a time, so no locks and no retries.
"""

from mypy_extensions import i64

from pagewalk.mm.do_swap_page import do_swap_page
from pagewalk.mm.fault_types import (
    FAULT_FLAG_UNSHARE,
    FAULT_FLAG_WRITE,
    VM_FAULT_ERROR,
    VM_FAULT_MAJOR,
    VM_FAULT_NOPAGE,
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
)
from pagewalk.mm.file import AddressSpace
from pagewalk.mm.folio import folio_to_map
from pagewalk.mm.gfp import GFP_HIGHUSER_MOVABLE, GFP_ZERO
from pagewalk.mm.mempolicy import vma_alloc_page
from pagewalk.mm.mm_types import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MmStruct
from pagewalk.mm.page import Page, PG_anon, PG_anon_exclusive, PG_mlocked, PG_swapbacked, PG_swapcache, PG_zeros
from pagewalk.mm.page_writeback import folio_mark_dirty
from pagewalk.mm.pgtable import pte_alloc, try_to_free_pte
from pagewalk.mm.rmap import add_new_anon_rmap, anon_vma_prepare, locked_elsewhere
from pagewalk.mm.split_rss import begin_fault, end_fault
from pagewalk.mm.swap import mlock_folio, munlock_folio
from pagewalk.mm.system import System
from pagewalk.mm.vma import VM_LOCKED, VM_MAYSHARE, VM_SHARED, VM_SPECIAL, VM_WRITE, Vma, VmFault


def handle_mm_fault(vma: Vma, address: i64, flags: i64) -> i64:
    """Serves a fault at ``address`` in ``vma``, whose rights allow it. Counts it for the current task.

    Returns a VM_FAULT_* mask: 0 or VM_FAULT_MAJOR when served, one of VM_FAULT_ERROR otherwise.
    """
    system = vma.vm_mm.system
    before = begin_fault(system, vma.vm_mm) if system.split_rss else None
    vmf = VmFault(vma, address & system.page_mask, flags)
    vmf.nr_tables = system.vmstat.nr_page_table_pages
    ret = handle_pte_fault(vmf)
    if before is not None:
        end_fault(system, vma.vm_mm, before)
    vma.nr_faults += 1
    system.vmstat.pgfault += 1  # failed faults too; only the task's own counts leave them out
    if ret & VM_FAULT_ERROR:
        if vma.vm_ops is not None and system.vmstat.nr_page_table_pages > vmf.nr_tables:
            try_to_free_pte(vma.vm_mm, vmf.address)  # the last table was made for nothing
    elif ret & VM_FAULT_MAJOR:
        system.current.maj_flt += 1
        vma.vm_mm.faults.major += 1
    else:
        system.current.min_flt += 1
    return ret


def handle_pte_fault(vmf: VmFault) -> i64:
    """Tells the kinds of fault apart by the entry that is there."""
    vma = vmf.vma
    mm = vma.vm_mm
    index = pte_alloc(mm, vmf.address)
    if index < 0:
        return VM_FAULT_OOM
    vmf.pte_index = index
    words = mm.system.ram.words
    pte: i64 = words[index]
    if pte == 0:
        if vma.vm_ops is None:
            return do_anonymous_page(vmf)
        return do_fault(vmf)
    fmt = mm.system.format
    if pte == fmt.guard:
        return VM_FAULT_SIGSEGV
    if fmt.is_swap_pte(pte):
        ret = do_swap_page(vmf, pte)
        if ret & VM_FAULT_ERROR or not vmf.flags & FAULT_FLAG_WRITE:
            return ret
        return ret | do_wp_page(vmf, words[index])
    if vmf.flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE):
        if pte & fmt.write.mask != fmt.write.value:
            return do_wp_page(vmf, pte)
        pte = fmt.dirty.set(pte)
        if fmt.rdonly:
            pte = fmt.sync_rdonly(pte)
    mm.faults.spurious += 1
    words[index] = fmt.accessed.set(pte)
    return 0


def do_anonymous_page(vmf: VmFault) -> i64:
    """First touch of private anonymous memory: the zero page for a read, a new zeroed page for a write."""
    vma = vmf.vma
    mm = vma.vm_mm
    system = mm.system
    fmt = system.format
    if vma.vm_flags & VM_SHARED:
        return VM_FAULT_SIGBUS
    if not vmf.flags & FAULT_FLAG_WRITE:
        system.ram.words[vmf.pte_index] = fmt.special.set((system.zero_pfn << fmt.pfn_shift) | vma.vm_page_prot)
        mm.faults.zero_page += 1
        return 0
    if vma.anon_vma is None:
        anon_vma_prepare(vma)
    page = vma_alloc_page(vma, vmf.address, GFP_HIGHUSER_MOVABLE | GFP_ZERO)
    if page is None:
        return VM_FAULT_OOM
    add_new_anon_rmap(page, vma, vmf.address)
    if system.ram.nobody_stores:
        page.flags |= PG_zeros
    pte: i64 = (page.pfn << fmt.pfn_shift) | vma.vm_page_prot
    if vma.vm_flags & VM_WRITE:
        pte = (pte & ~(fmt.write.mask | fmt.dirty.mask | fmt.rdonly)) | fmt.write.value | fmt.dirty.value
    system.ram.words[vmf.pte_index] = pte
    mm.rss_stat[MM_ANONPAGES] += 1
    system.vmstat.nr_anon_mapped += 1
    mm.faults.anonymous += 1
    return 0


def do_fault(vmf: VmFault) -> i64:
    """First touch of a mapping that has operations: a file, shared memory, a special mapping."""
    if not vmf.flags & FAULT_FLAG_WRITE:
        return do_read_fault(vmf)
    if not vmf.vma.vm_flags & VM_SHARED:
        return do_cow_fault(vmf)
    return do_shared_fault(vmf)


def do_read_fault(vmf: VmFault) -> i64:
    """A read: maps the neighbours that are at hand too; where the page itself is not, asks for it."""
    ops = vmf.vma.vm_ops
    assert ops is not None
    mm = vmf.vma.vm_mm
    if ops.has_map_pages and mm.system.config.fault_around_bytes >> mm.system.page_shift > 1 and do_fault_around(vmf):
        mm.faults.file_read += 1
        return 0
    ret = ops.fault(vmf)
    if ret & VM_FAULT_ERROR or ret & VM_FAULT_NOPAGE:
        return ret
    if ret & (VM_FAULT_MAJOR | VM_FAULT_RETRY) and ops.has_map_pages:  # after starting the disk the fault starts anew
        do_fault_around(vmf)
    finish_fault(vmf)
    mm.faults.file_read += 1
    return ret


def do_fault_around(vmf: VmFault) -> bool:
    """Maps what is cached of the aligned window (64 KiB) around the address, cut at the VMA and at the page table."""
    vma = vmf.vma
    assert vma.vm_ops is not None
    fmt = vma.vm_mm.system.format
    nr_pages: i64 = vma.vm_mm.system.config.fault_around_bytes >> fmt.page_shift
    mask = fmt.table_mask
    pte_off: i64 = (vmf.address >> fmt.page_shift) & mask
    vma_off: i64 = vmf.pgoff - vma.vm_pgoff
    first: i64 = max(pte_off & -nr_pages, pte_off - min(pte_off, vma_off))
    last: i64 = min(first + nr_pages, min(mask + 1, pte_off + vma.nr_pages() - vma_off)) - 1
    return vma.vm_ops.map_pages(vmf, vmf.pgoff + first - pte_off, vmf.pgoff + last - pte_off)


def do_cow_fault(vmf: VmFault) -> i64:
    """First write to a private file page: a copy of the page-cache page."""
    vma = vmf.vma
    mm = vma.vm_mm
    system = mm.system
    assert vma.vm_ops is not None
    anon_vma_prepare(vma)
    ret = vma.vm_ops.fault(vmf)
    if ret & VM_FAULT_ERROR or ret & VM_FAULT_NOPAGE:
        return ret
    source = vmf.page
    assert source is not None
    copy = vma_alloc_page(vma, vmf.address, GFP_HIGHUSER_MOVABLE)
    if copy is None:
        system.node.put_page(source)
        return VM_FAULT_OOM
    system.ram.copy_page(copy.pfn, source.pfn)
    system.node.put_page(source)
    map_anon_copy(vmf, copy)
    mm.rss_stat[MM_ANONPAGES] += 1
    mm.faults.file_cow += 1
    return ret


def do_shared_fault(vmf: VmFault) -> i64:
    """First write to a shared page: the page-cache page itself, dirty."""
    vma = vmf.vma
    ops = vma.vm_ops
    assert ops is not None
    ret = ops.fault(vmf)
    if ret & VM_FAULT_ERROR or ret & VM_FAULT_NOPAGE:
        return ret
    if ops.has_page_mkwrite:
        asked = ops.page_mkwrite(vmf)
        if asked & VM_FAULT_ERROR:
            assert vmf.page is not None
            vma.vm_mm.system.node.put_page(vmf.page)
            return asked
    assert vmf.page is not None
    folio_mark_dirty(vma.vm_mm.system, vmf.page)
    finish_fault(vmf)
    vma.vm_mm.faults.shared_write += 1
    return ret


def finish_fault(vmf: VmFault) -> None:
    """Maps ``vmf.page``, with all of its folio where that fits and nothing of it is mapped; the reference that
    ``fault`` took becomes the page table's."""
    page = vmf.page
    assert page is not None
    system = vmf.vma.vm_mm.system
    if system.ram.words[vmf.pte_index] != 0:  # map_pages got there first
        system.node.put_page(page)
        return
    write = (vmf.flags & FAULT_FLAG_WRITE) != 0
    mapping = page.mapping
    if isinstance(mapping, AddressSpace) and vmf.pgoff in mapping.folio_heads:
        first, nr = folio_to_map(vmf, mapping, vmf.pgoff, system.nr_pages(mapping.i_size))
        start: i64 = vmf.pte_index + first - vmf.pgoff
        empty = 0
        while empty < nr and system.ram.words[start + empty] == 0:
            empty += 1
        if nr > 1 and empty == nr:
            for at in range(nr):
                if first + at != vmf.pgoff:
                    other = mapping.i_pages[first + at]
                    other.refcount += 1
                    if write:
                        folio_mark_dirty(system, other)
                    set_file_pte(vmf.vma, start + at, other, write)
    set_file_pte(vmf.vma, vmf.pte_index, page, write)


def set_file_pte(vma: Vma, pte_index: i64, page: Page, write: bool) -> None:
    """Maps a page of a file or of shared memory (set_pte_range); the caller's reference becomes the page table's."""
    mm = vma.vm_mm
    fmt = mm.system.format
    pte: i64 = (page.pfn << fmt.pfn_shift) | vma.vm_page_prot
    if write:
        pte = fmt.dirty.set(pte)
        if vma.vm_flags & VM_WRITE:
            pte = fmt.write.set(pte)
        if fmt.rdonly:
            pte = fmt.sync_rdonly(pte)
    mm.system.ram.words[pte_index] = pte
    page.mapcount += 1
    mm.rss_stat[mm_counter_file(page)] += 1
    if page.mapcount == 1:
        mm.system.vmstat.nr_file_mapped += 1
    if vma.vm_flags & (VM_LOCKED | VM_SPECIAL) == VM_LOCKED:
        mlock_folio(mm.system, page)


def mm_counter_file(page: Page) -> int:
    """Which RSS count a page of the page cache belongs to."""
    return MM_SHMEMPAGES if page.flags & PG_swapbacked else MM_FILEPAGES


def mm_counter(page: Page) -> int:
    """Which RSS count a page belongs to."""
    return MM_ANONPAGES if page.flags & PG_anon else mm_counter_file(page)


def vm_normal_page(system: System, pte: i64) -> Page | None:
    """The page behind a present entry, None for the zero page and other frames without accounting."""
    fmt = system.format
    if pte & fmt.special.mask == fmt.special.value:
        return None
    return system.page((pte & fmt.pfn_mask) >> fmt.pfn_shift)


def do_wp_page(vmf: VmFault, pte: i64) -> i64:
    """A write to a read-only entry of a mapping that may write: reuse, share, or copy."""
    vma = vmf.vma
    system = vma.vm_mm.system
    page = vm_normal_page(system, pte)
    if vma.vm_flags & (VM_SHARED | VM_MAYSHARE):
        return wp_page_shared(vmf, pte, page)
    if page is not None and page.flags & PG_anon and (page.flags & PG_anon_exclusive or can_reuse(system, page)):
        page.flags |= PG_anon_exclusive
        wp_page_reuse(vmf, pte)
        return 0
    return wp_page_copy(vmf, page, pte)


def can_reuse(system: System, page: Page) -> bool:
    """Nobody else has the anonymous page, but for the swap cache, which gives it up (wp_can_reuse_anon_folio)."""
    if page.flags & PG_swapcache and page.refcount == 2:
        system.swap.try_to_free_swap(page)
    return page.refcount == 1


def wp_page_reuse(vmf: VmFault, pte: i64) -> None:
    """Nobody else uses the page: makes the entry writable."""
    mm = vmf.vma.vm_mm
    fmt = mm.system.format
    pte = fmt.dirty.set(fmt.accessed.set(pte))
    if vmf.vma.vm_flags & VM_WRITE:
        pte = fmt.write.set(pte)
    if fmt.rdonly:
        pte = fmt.sync_rdonly(pte)
    mm.system.ram.words[vmf.pte_index] = pte
    mm.system.vmstat.pgreuse += 1
    mm.faults.reuse += 1


def wp_page_shared(vmf: VmFault, pte: i64, page: Page | None) -> i64:
    """A shared page whose first write the file wants to notice (dirty tracking)."""
    ops = vmf.vma.vm_ops
    if page is not None and ops is not None and ops.has_page_mkwrite:
        vmf.page = page
        ret = ops.page_mkwrite(vmf)
        if ret & VM_FAULT_ERROR:
            return ret
    wp_page_reuse(vmf, pte)
    if page is not None:
        folio_mark_dirty(vmf.vma.vm_mm.system, page)
    return 0


def wp_page_copy(vmf: VmFault, old: Page | None, pte: i64) -> i64:
    """Copies the page for this process (the zero page: a new zeroed one). Where reclaim has changed the entry ``pte``
    meanwhile, the fault is served when it comes again."""
    vma = vmf.vma
    mm = vma.vm_mm
    system = mm.system
    anon_vma_prepare(vma)
    fmt = system.format
    if old is not None:
        old.refcount += 1
    new = vma_alloc_page(vma, vmf.address, GFP_HIGHUSER_MOVABLE | (GFP_ZERO if old is None else 0))
    if old is not None:
        if new is None or (system.ram.words[vmf.pte_index] ^ pte) & ~(fmt.accessed.mask | fmt.dirty.mask):
            system.node.put_page(old)
            if new is not None:
                system.node.put_page(new)
                return 0
        else:
            old.refcount -= 1
    if new is None:
        return VM_FAULT_OOM
    if old is None:
        mm.rss_stat[MM_ANONPAGES] += 1
    else:
        system.ram.copy_page(new.pfn, old.pfn)
        if not old.flags & PG_anon:
            mm.rss_stat[mm_counter_file(old)] -= 1
            mm.rss_stat[MM_ANONPAGES] += 1
    map_anon_copy(vmf, new)
    mm.note_flush(vmf.address, vmf.address + system.page_size)
    if old is not None:
        page_remove_rmap(system, old)
        if old.flags & PG_mlocked and vma.vm_flags & VM_LOCKED:
            munlock_folio(system, old, locked_elsewhere(old, vma))
        free_swap_cache(system, old)
        system.node.put_page(old)
    mm.faults.cow += 1
    return 0


def map_anon_copy(vmf: VmFault, page: Page) -> None:
    """Maps a private copy, writable where the VMA is."""
    vma = vmf.vma
    system = vma.vm_mm.system
    fmt = system.format
    add_new_anon_rmap(page, vma, vmf.address)
    system.vmstat.nr_anon_mapped += 1
    pte = fmt.dirty.set((page.pfn << fmt.pfn_shift) | vma.vm_page_prot)
    if vma.vm_flags & VM_WRITE:
        pte = fmt.write.set(pte)
    if fmt.rdonly:
        pte = fmt.sync_rdonly(pte)
    system.ram.words[vmf.pte_index] = pte


def free_swap_cache(system: System, page: Page) -> None:
    """A page that nobody maps any more gives up a slot that nobody needs."""
    if page.flags & PG_swapcache and page.mapcount == 0:
        system.swap.try_to_free_swap(page)


def page_remove_rmap(system: System, page: Page) -> None:
    """One page-table entry less maps the page."""
    page.mapcount -= 1
    if page.mapcount == 0:
        if page.flags & PG_anon:
            system.vmstat.nr_anon_mapped -= 1
        else:
            system.vmstat.nr_file_mapped -= 1


def faultin_error(ret: i64, mm: MmStruct) -> int:
    """vm_fault_to_errno: what a system call answers for a failed fault."""
    return -12 if ret & VM_FAULT_OOM else -14
