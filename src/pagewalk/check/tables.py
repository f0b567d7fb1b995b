"""Invariants of page tables: entries within their VMAs and rights, the reverse map, and tables that are needed."""

from pagewalk.check.census import Census, Leaf, require
from pagewalk.mm.file import AddressSpace
from pagewalk.mm.page import Page, PG_anon, PG_anon_exclusive
from pagewalk.mm.pgtable import NO_TAG
from pagewalk.mm.rmap import AnonVma, page_mappers
from pagewalk.mm.vma import VM_EXEC, VM_SHARED, VM_WRITE
from pagewalk.mm.vma_merge import vma_wants_writenotify

__all__ = [
    "a_writable_entry_may_be_written",
    "entries_lie_within_vmas",
    "guard_entries_are_of_anonymous_or_file_memory",
    "mapped_pages_belong_to_the_object_of_their_vma",
    "rights_do_not_exceed_the_vmas",
    "rmap_and_page_tables_agree",
    "tables_are_counted_and_needed",
]


def entries_lie_within_vmas(census: Census) -> None:
    """Whatever is in a last-level table lies within a VMA, and is a page, a hidden page (PROT_NONE), a page in swap or
    a guard."""
    for leaf in census.all_leaves():
        require(leaf.vma is not None, "an entry lies within a VMA", (leaf,))
        known = leaf.present or leaf.protnone or leaf.is_guard or leaf.is_swap
        require(known, "an entry is a page, hidden, in swap or a guard", (leaf,))


def rights_do_not_exceed_the_vmas(census: Census) -> None:
    """An entry grants what its VMA's vm_page_prot grants; only the right to write may come on top, where the VMA has
    it. The zero page is never writable."""
    fmt = census.system.format
    marks = fmt.pfn_mask | fmt.accessed.mask | fmt.dirty.mask | fmt.special.mask | fmt.write.mask | fmt.rdonly
    for leaf in census.all_leaves():
        vma = leaf.vma
        if vma is None or leaf.is_guard or leaf.is_swap:
            continue
        require(leaf.present == vma.is_accessible(), "present where the VMA is accessible", (leaf, "in", vma))
        require(leaf.pte & ~marks == vma.vm_page_prot & ~marks, "an entry has its VMA's rights", (leaf, "in", vma))
        if leaf.present:
            writable, executable = fmt.write.test(leaf.pte), fmt.execute.test(leaf.pte)
            require(not writable or bool(vma.vm_flags & VM_WRITE), "writable within rights", (leaf, "in", vma))
            executable = executable and fmt.execute.mask != 0  # without such a bit all pages are
            require(not executable or bool(vma.vm_flags & VM_EXEC), "executable within rights", (leaf, "in", vma))
            zero = leaf.pfn == census.system.zero_pfn
            require(not (zero and writable), "the zero page is never writable", (leaf,))
            require(not zero or leaf.special, "the zero page is not counted", (leaf,))


def a_writable_entry_may_be_written(census: Census) -> None:
    """A private writable entry maps an exclusive anonymous page; a shared one of a file that tracks its dirty pages
    maps a page that is known to be dirty."""
    fmt = census.system.format
    for leaf in census.all_leaves():
        vma = leaf.vma
        if vma is None or not leaf.present or leaf.special or not fmt.write.test(leaf.pte):
            continue
        page = census.system.page(leaf.pfn)
        if not vma.vm_flags & VM_SHARED:
            exclusive = bool(page.flags & PG_anon) and bool(page.flags & PG_anon_exclusive)
            require(exclusive, "a private writable page is exclusive", (leaf, page))
        elif vma_wants_writenotify(vma, vma.vm_flags):
            known = isinstance(page.mapping, AddressSpace) and page.index in page.mapping.dirty
            require(known, "a writable page of a file is dirty", f"{leaf} index {page.index}")


def an_exclusive_page_is_mapped_once(census: Census) -> None:
    """An exclusive anonymous page has one entry that maps it, of one process."""
    for leaf in census.all_leaves():
        if leaf.maps_page:
            page = census.system.page(leaf.pfn)
            alone = not page.flags & PG_anon_exclusive or page.mapcount == 1
            require(alone, "an exclusive page is mapped once", f"{leaf} mapped {int(page.mapcount)} times")


def mapped_pages_belong_to_the_object_of_their_vma(census: Census) -> None:
    """An anonymous page belongs to an AnonVma of its VMA's chain, a cached one to the VMA's file, at the offset that
    the VMA gives its address."""
    for leaf in census.all_leaves():
        if not leaf.maps_page or leaf.vma is None:
            continue
        vma, page = leaf.vma, census.system.page(leaf.pfn)
        if page.flags & PG_anon:
            require(page.mapping in vma.anon_vma_chain, "a page belongs to its VMA's chain", (leaf, "in", vma))
            require(not vma.vm_flags & VM_SHARED, "shared mappings have no private pages", (leaf, "in", vma))
        elif isinstance(page.mapping, AddressSpace):
            file = vma.vm_file
            require(file is not None and file.mapping is page.mapping, "a page belongs to its VMA's file", f"{leaf}")
        else:
            continue
        offset = vma.pgoff_of(leaf.addr)
        require(page.index == offset, "a page lies at its offset", f"{leaf}: index {page.index:#x}, VMA {offset:#x}")


def rmap_and_page_tables_agree(census: Census) -> None:
    """The reverse map finds exactly the entries that map a page."""
    for pfn, leaves in census.mappers.items():
        page = census.system.page(pfn)
        if not isinstance(page.mapping, AnonVma | AddressSpace):
            continue
        told = sorted((mm.ident, addr) for mm, _, addr in page_mappers(page))
        found = sorted((leaf.mm.ident, leaf.addr) for leaf in leaves)
        require(told == found, "rmap and page tables agree", f"pfn {pfn}: rmap {told}, tables {found}")


def guard_entries_are_of_anonymous_or_file_memory(census: Census) -> None:
    """A guard entry lies in an ordinary VMA; an anonymous one has its AnonVma, so that fork copies the markers."""
    for leaf in census.all_leaves():
        if leaf.is_guard and leaf.vma is not None and leaf.vma.is_anonymous():
            require(leaf.vma.anon_vma is not None, "a guarded anonymous VMA has an AnonVma", (leaf, "in", leaf.vma))


def tables_are_counted_and_needed(census: Census) -> None:
    """nr_tables equals a recount by level, a table below the root serves some VMA, and the remembered last-level tables
    are those that the walk finds."""
    for mm in census.mms:
        tables = census.tables[mm.ident]
        counts = [sum(1 for table in tables if table.level == level) for level in range(len(mm.nr_tables))]
        require(mm.pgd_pfn < 0 or counts == list(mm.nr_tables), "nr_tables is a recount", f"{mm.nr_tables}, {counts}")
        for table in tables:
            if table.level:
                served = any(vma.vm_start < table.end and vma.vm_end > table.start for vma in mm.vmas)
                require(served, "a table serves a VMA", f"level {table.level} {table.start:#x}-{table.end:#x}")
        fmt = census.system.format
        last = {table.start: table.pfn << int(fmt.table_shift) for table in tables if table.level == len(counts) - 1}
        remembered = {int(known.tag): known.base for known in mm.pte_tables if known and known.gen == mm.table_gen}
        if mm.pte_cache_tag >= 0:
            remembered[int(mm.pte_cache_tag)] = mm.pte_cache_base
        for tag, base in remembered.items():
            start = tag << int(fmt.pmd_shift)
            used = last.get(start)
            require(used == base, "the remembered table is the one in use", f"{start:#x}: {used}, not {base}")
        if mm.pmd_cache_tag != NO_TAG and mm.pgd_pfn >= 0:
            shift = int(fmt.table_shift)
            start = int(mm.pmd_cache_tag) << int(fmt.pmd_shift) + shift
            walked = [table.pfn << shift for table in tables if table.level == len(counts) - 2 and table.start == start]
            require(walked == [mm.pmd_cache_base], "the remembered table above it is, too", f"{start:#x}: {walked}")


def leaf_page(census: Census, leaf: Leaf) -> Page | None:
    """The page whose mappings a leaf counts in, or None."""
    return census.system.page(leaf.pfn) if leaf.maps_page else None
