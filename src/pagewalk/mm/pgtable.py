"""Page tables: finding, making and freeing them, in RAM, in the architecture's own bits.

An entry is addressed by its index in ``ram.words`` (physical address / size of an entry). Levels are data
(``system.format.levels``); the code below knows only "a level above the last" and "the last".

Mirrors: mm/memory.c (__pte_alloc, free_pgd_range), mm/pt_reclaim.c, arch/x86/mm/pgtable.c (6.18)
Differs: the kernel's half of a process's root table is there on x86 only (mm/init_mm.py); one page-table lock, none
    needed; under PAE the tables below the root are made when they are needed (Linux makes all at once).
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from pagewalk.arch.format import bit
from pagewalk.mm.gfp import GFP_PGTABLE
from pagewalk.mm.page import PG_table

if TYPE_CHECKING:
    from pagewalk.mm.mm_types import MmStruct
    from pagewalk.mm.vma import Vma


NO_TAG: Final = 1 << 62  # of no address
PTE_TABLES: Final = 256  # last-level tables that an address space remembers, by the low bits of their tags


@final
@mypyc_attr(acyclic=True)
class PteTable:
    """A last-level table that a look-up has found.

    tag   of the addresses that it serves: ``addr >> pmd_shift``
    base  index of its first entry
    gen   ``MmStruct.table_gen`` when it was found: where that has changed, it may be gone
    """

    def __init__(self, tag: i64, base: i64, gen: i64) -> None:
        self.tag: i64 = tag
        self.base: i64 = base
        self.gen: i64 = gen


def pgd_alloc(mm: "MmStruct") -> bool:
    """Gives ``mm`` its root table; False where there is no frame for it."""
    page = mm.system.node.alloc_page(GFP_PGTABLE)
    if page is None:
        return False
    page.flags |= PG_table
    mm.system.vmstat.nr_page_table_pages += 1
    mm.pgd_pfn = page.pfn
    init_mm = mm.system.init_mm
    if init_mm is not None:
        init_mm.pgd_ctor(page.pfn)
    return True


def pgd_free(mm: "MmStruct") -> None:
    """Frees the root table."""
    if mm.pgd_pfn >= 0:
        _free_table(mm, mm.pgd_pfn)
        mm.pgd_pfn = -1


def _free_table(mm: "MmStruct", pfn: i64) -> None:
    page = mm.system.page(pfn)
    page.flags &= ~PG_table
    mm.system.vmstat.nr_page_table_pages -= 1
    mm.system.node.put_page(page)


def pte_lookup(mm: "MmStruct", addr: i64) -> i64:
    """Index of the last-level entry for ``addr``; where a table is missing, minus the shift of the level it is
    missing from (nothing is mapped up to the next multiple of ``1 << shift``)."""
    fmt = mm.system.format
    mask = fmt.table_mask
    tag = addr >> fmt.pmd_shift
    if tag == mm.pte_cache_tag or known_pte_table(mm, tag):
        return mm.pte_cache_base + ((addr >> fmt.page_shift) & mask)
    words = mm.system.ram.words
    table: i64 = mm.pgd_pfn << fmt.table_shift
    entry: i64 = 0
    if addr >> (fmt.pmd_shift + fmt.table_shift) == mm.pmd_cache_tag:
        entry = words[mm.pmd_cache_base + ((addr >> fmt.pmd_shift) & mask)]
        if entry & fmt.present.mask != fmt.present.value:
            return -fmt.pmd_shift
        table = fmt.table_index(entry)
    else:
        for shift in mm.upper_shifts:
            if shift == fmt.pmd_shift:
                remember_pmd_table(mm, addr, table)
            entry = words[table + ((addr >> shift) & mask)]
            if entry & fmt.present.mask != fmt.present.value:
                return -shift
            table = fmt.table_index(entry)
    remember_pte_table(mm, tag, table)
    return table + ((addr >> fmt.page_shift) & mask)


def known_pte_table(mm: "MmStruct", tag: i64) -> bool:
    """Whether the table of the addresses of ``tag`` is remembered; it is the one at hand then."""
    known = mm.pte_tables[tag & (PTE_TABLES - 1)]
    if known is None or known.tag != tag or known.gen != mm.table_gen:
        return False
    mm.pte_cache_tag = tag
    mm.pte_cache_base = known.base
    return True


def remember_pte_table(mm: "MmStruct", tag: i64, base: i64) -> None:
    """A walk has found the table of the addresses of ``tag``. Of the kernel's half only the last one is remembered."""
    mm.pte_cache_tag = tag
    mm.pte_cache_base = base
    if tag >= 0:
        known = mm.pte_tables[tag & (PTE_TABLES - 1)]
        if known is None:
            mm.pte_tables[tag & (PTE_TABLES - 1)] = PteTable(tag, base, mm.table_gen)
        else:
            known.tag = tag
            known.base = base
            known.gen = mm.table_gen


def remember_pmd_table(mm: "MmStruct", addr: i64, table: i64) -> None:
    """The table above the last level that serves ``addr``: the next look-up near by begins there. Of the kernel's
    half nothing is remembered."""
    if addr >= 0 and addr < mm.task_size:
        fmt = mm.system.format
        mm.pmd_cache_tag = addr >> (fmt.pmd_shift + fmt.table_shift)
        mm.pmd_cache_base = table


def pte_alloc(mm: "MmStruct", addr: i64) -> i64:
    """Index of the last-level entry for ``addr``, tables made as needed; -1 where there is no frame for one."""
    system = mm.system
    fmt = system.format
    mask = fmt.table_mask
    tag = addr >> fmt.pmd_shift
    if tag == mm.pte_cache_tag or known_pte_table(mm, tag):
        return mm.pte_cache_base + ((addr >> fmt.page_shift) & mask)
    words = system.ram.words
    entry: i64 = 0
    if addr >> (fmt.pmd_shift + fmt.table_shift) == mm.pmd_cache_tag:
        entry = words[mm.pmd_cache_base + ((addr >> fmt.pmd_shift) & mask)]
        if entry & fmt.present.mask == fmt.present.value:
            remember_pte_table(mm, tag, fmt.table_index(entry))
            return mm.pte_cache_base + ((addr >> fmt.page_shift) & mask)
    table: i64 = mm.pgd_pfn << fmt.table_shift
    level = 0
    for shift in mm.upper_shifts:
        if shift == fmt.pmd_shift:
            remember_pmd_table(mm, addr, table)
        index: i64 = table + ((addr >> shift) & mask)
        entry = words[index]
        level += 1
        if entry & fmt.present.mask != fmt.present.value:
            page = system.node.alloc_page(GFP_PGTABLE)
            if page is None:
                return -1
            page.flags |= PG_table
            system.vmstat.nr_page_table_pages += 1
            mm.nr_tables[level] += 1
            entry = (page.pfn << fmt.pfn_shift) | (fmt.root_table if level == 1 else fmt.table)
            words[index] = entry
        table = fmt.table_index(entry)
    remember_pte_table(mm, tag, table)
    return table + ((addr >> fmt.page_shift) & mask)


def pmd_slot(mm: "MmStruct", addr: i64, create: bool) -> i64:
    """Index of the entry that points to the last-level table of ``addr``; -1 where a table above it is missing (with
    ``create``: where there is no frame for one)."""
    system = mm.system
    fmt = system.format
    mask = fmt.table_mask
    words = system.ram.words
    table: i64 = mm.pgd_pfn << fmt.table_shift
    level = 0
    for shift in mm.upper_shifts:
        index: i64 = table + ((addr >> shift) & mask)
        level += 1
        if shift == fmt.pmd_shift:
            return index
        entry: i64 = words[index]
        if entry & fmt.present.mask != fmt.present.value:
            page = system.node.alloc_page(GFP_PGTABLE) if create else None
            if page is None:
                return -1
            page.flags |= PG_table
            system.vmstat.nr_page_table_pages += 1
            mm.nr_tables[level] += 1
            entry = (page.pfn << fmt.pfn_shift) | (fmt.root_table if level == 1 else fmt.table)
            words[index] = entry
        table = fmt.table_index(entry)
    return -1


def move_normal_pmd(mm: "MmStruct", old_addr: i64, new_addr: i64) -> bool:
    """Gives ``new_addr`` the whole last-level table of ``old_addr``, both at the start of what a table serves; False
    where the new place has one already, or there is no frame for a table above it."""
    source = pmd_slot(mm, old_addr, create=False)
    target = pmd_slot(mm, new_addr, create=True) if source >= 0 else -1
    words = mm.system.ram.words
    if target < 0 or words[target] != 0:
        return False
    words[target] = words[source]
    words[source] = 0
    mm.forget_pte_tables()
    return True


def next_table(addr: i64, missing: i64) -> i64:
    """First address behind the hole that ``pte_lookup`` reported for ``addr``."""
    size = bit(-missing)
    return (addr & -size) + size


def present_ptes(vma: "Vma", start: i64, end: i64) -> list[int]:
    """Addresses in [start, end) whose entries are present, also where all access is forbidden."""
    return _ptes(vma, start, end, False)


def swap_ptes(vma: "Vma", start: i64, end: i64) -> list[int]:
    """Addresses in [start, end) whose pages are in swap."""
    return _ptes(vma, start, end, True)


def _ptes(vma: "Vma", start: i64, end: i64, swapped: bool) -> list[int]:
    mm = vma.vm_mm
    fmt = mm.system.format
    found: list[int] = []
    addr = start
    while addr < end:
        index = pte_lookup(mm, addr)
        if index < 0:
            addr = next_table(addr, index)
            continue
        pte: i64 = mm.system.ram.words[index]
        if swapped:
            wanted = pte != fmt.guard and fmt.is_swap_pte(pte)
        else:
            wanted = fmt.present.test(pte) or fmt.protnone.test(pte)
        if wanted:
            found.append(int(addr))
        addr += fmt.page_size
    return found


def free_pgtables(mm: "MmStruct", start: i64, end: i64, floor: i64, ceiling: i64) -> None:
    """Frees the tables that served [start, end) and nothing else: those that lie wholly between ``floor`` (end of the
    mapping below) and ``ceiling`` (start of the mapping above)."""
    mm.forget_pte_tables()
    mm.pmd_cache_tag = NO_TAG
    before: i64 = mm.system.vmstat.nr_page_table_pages
    _free_range(mm, mm.pgd_pfn << mm.system.format.table_shift, 0, start, end, floor, ceiling)
    if mm.system.vmstat.nr_page_table_pages != before:
        mm.note_flush(floor, ceiling)


def _free_range(mm: "MmStruct", table: i64, level: i64, start: i64, end: i64, floor: i64, ceiling: i64) -> None:
    """One table of ``level``: frees the tables below it that cover [start, end) and lie within [floor, ceiling)."""
    fmt = mm.system.format
    mask = fmt.table_mask
    words = mm.system.ram.words
    shift: i64 = fmt.levels[level].shift
    size = bit(shift)
    addr: i64 = start & -size
    while addr < end:
        index: i64 = table + ((addr >> shift) & mask)
        entry: i64 = words[index]
        following: i64 = addr + size
        if fmt.present.test(entry):
            child: i64 = fmt.table_index(entry)
            if level + 2 < len(fmt.levels):
                _free_range(mm, child, level + 1, max(addr, start), min(following, end), floor, ceiling)
            if addr >= floor and following <= ceiling:
                words[index] = 0
                mm.nr_tables[level + 1] -= 1
                _free_table(mm, child >> fmt.table_shift)
        addr = following


def try_to_free_pte(mm: "MmStruct", addr: i64) -> None:
    """Frees the last-level table of ``addr`` where it has become empty (CONFIG_PT_RECLAIM)."""
    index = pte_lookup(mm, addr)
    if index < 0:
        return
    fmt = mm.system.format
    mask = fmt.table_mask
    words = mm.system.ram.words
    base: i64 = index & ~mask
    offset: i64 = 0
    while offset <= mask:
        if words[base + offset] != 0:
            return
        offset += 1
    table: i64 = mm.pgd_pfn << fmt.table_shift
    slot: i64 = -1
    for shift in mm.upper_shifts:
        slot = table + ((addr >> shift) & mask)
        table = fmt.table_index(mm.system.ram.words[slot])
    words[slot] = 0
    mm.forget_pte_tables()
    mm.nr_tables[len(fmt.levels) - 1] -= 1
    _free_table(mm, base >> fmt.table_shift)
    start: i64 = addr & -fmt.pmd_size
    mm.note_flush(start, start + fmt.pmd_size)
