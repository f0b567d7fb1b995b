"""struct page: what is known of one frame of RAM.

A ``Page`` exists from the first use of its frame (``MemMap.page``) and lives as long as the machine. It refers to other
pages by frame number, never by object, so that a machine's pages form no reference cycles.

Mirrors: include/linux/mm_types.h, include/linux/page-flags.h, mm/sparse.c (6.18)
Differs: one object per frame; the fields that Linux overlays in unions stand side by side; _mapcount starts at 0.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

# page->flags. Bit numbers are ours; the names are Linux's.
PG_reserved: Final = 1 << 0
PG_buddy: Final = 1 << 1
PG_pcp: Final = 1 << 2  # on a per-CPU list (Linux keeps no flag for it)
PG_table: Final = 1 << 3
PG_anon: Final = 1 << 4  # page->mapping is an AnonVma (Linux: low bit of the pointer)
PG_anon_exclusive: Final = 1 << 5
PG_swapbacked: Final = 1 << 6
PG_uptodate: Final = 1 << 7
PG_dirty: Final = 1 << 8
PG_referenced: Final = 1 << 9
PG_active: Final = 1 << 10
PG_lru: Final = 1 << 11
PG_mlocked: Final = 1 << 12
PG_readahead: Final = 1 << 13
PG_writeback: Final = 1 << 14
PG_head: Final = 1 << 15
PG_special: Final = 1 << 16  # owned by a special mapping (vdso, vvar)
PG_swapcache: Final = 1 << 17  # in the swap cache as ``page.swap``
PG_unevictable: Final = 1 << 18
PG_workingset: Final = 1 << 19  # was active when it was last taken out, or taken off the active list
PG_reclaim: Final = 1 << 20  # to be taken as soon as it is written back
PG_slab: Final = 1 << 21  # heads a slab
PG_zeros: Final = 1 << 22  # anonymous memory that was zeros when it was mapped, where nobody stores (mm/ram.py)

PAGE_FLAG_NAMES: Final = (
    "reserved", "buddy", "pcp", "table", "anon", "anon_exclusive", "swapbacked", "uptodate", "dirty",
    "referenced", "active", "lru", "mlocked", "readahead", "writeback", "head", "special",
    "swapcache", "unevictable", "workingset", "reclaim", "slab", "zeros",
)  # fmt: skip

SECTION_PAGES_SHIFT: Final = 15  # 128 MiB: SECTION_SIZE_BITS 27
SECTION_PAGES: Final = 1 << SECTION_PAGES_SHIFT
_MIGRATE_MOVABLE: Final = 1


@final
@mypyc_attr(acyclic=True)
class Page:
    """One frame.

    pfn        frame number (physical address / page size)
    flags      PG_* bits
    refcount   references: 0 = free; page tables, page cache and each mapping hold one
    mapcount   user page-table entries that map the frame
    mapping    the AnonVma (PG_anon) or AddressSpace that the page belongs to, else None
    index      page offset within ``mapping`` (for anonymous pages the VMA's pgoff)
    order      of the free block that it heads (PG_buddy) or of the allocation it heads
    memcg      id of the memory cgroup that it is charged to, 0 for none
    pristine   the frame holds zeros: it has never been given out, or was all zeros when it was last freed
    lru_at     its place on a list of reclaim (PG_lru; mm/lruvec.py)
    lru_prev, lru_next  frame numbers of the neighbours of a free block (PG_buddy) on its list, -1 at the ends
    swap       the swap entry that it is in the swap cache as (PG_swapcache)
    """

    def __init__(self, pfn: i64) -> None:
        # What a page that is looked at is asked for comes first: the host fetches it together.
        self.pfn: i64 = pfn
        self.flags: i64 = 0
        self.lru_at: i64 = 0
        self.refcount: i64 = 0
        self.mapcount: i64 = 0
        self.index: i64 = 0
        self.mapping: object = None
        self.swap: i64 = 0
        self.order: i64 = 0
        self.lru_prev: i64 = -1
        self.lru_next: i64 = -1
        self.memcg: i64 = 0
        self.pristine = True

    def flag_names(self) -> list[str]:
        """The names of the flags that are set."""
        return [name for bit, name in enumerate(PAGE_FLAG_NAMES) if self.flags >> bit & 1]


@final
class MemMap:
    """The memory map: ``Page`` objects by frame number, in SPARSEMEM sections that are created on first use.

    FLATMEM is the same with one array for everything: ``flatmem`` makes it so, holes included.

    block_order  log2 of the frames of a page block, the unit whose free pages have one migrate type
    max_order    log2 of the frames of the largest free block (MAX_PAGE_ORDER)
    block_types  migrate types of page blocks, by section and block; sections in which none was changed share one list
    """

    def __init__(self, max_pfn: int, block_order: int = 9, *, max_order: int = 10, flatmem: bool = False) -> None:
        self.max_pfn = max_pfn
        nr_sections = (max_pfn >> SECTION_PAGES_SHIFT) + 1
        self.sections: list[list[Page | None] | None] = [None] * nr_sections
        self.flatmem = flatmem
        if flatmem:
            self.sections = [[None] * SECTION_PAGES for _ in range(nr_sections)]
        self.nr_pages_created: i64 = 0
        self.block_order: i64 = block_order
        self.max_order: i64 = max_order
        self.all_movable: list[int] = [_MIGRATE_MOVABLE] * (SECTION_PAGES >> block_order)
        self.block_types: list[list[int]] = [self.all_movable] * nr_sections

    def block_type(self, pfn: i64) -> i64:
        """The migrate type of a frame's page block (get_pageblock_migratetype)."""
        return self.block_types[pfn >> SECTION_PAGES_SHIFT][(pfn & (SECTION_PAGES - 1)) >> self.block_order]

    def set_block_type(self, pfn: i64, migratetype: i64) -> None:
        """Changes the migrate type of a frame's page block; its free pages are for the caller to move."""
        types = self.block_types[pfn >> SECTION_PAGES_SHIFT]
        if types is self.all_movable:
            types = types.copy()
            self.block_types[pfn >> SECTION_PAGES_SHIFT] = types
        types[(pfn & (SECTION_PAGES - 1)) >> self.block_order] = int(migratetype)

    def page(self, pfn: i64) -> Page:
        """pfn_to_page: the page of a frame, made on first use. 0 <= pfn < max_pfn."""
        section = self.sections[pfn >> SECTION_PAGES_SHIFT]
        if section is None:
            section = [None] * SECTION_PAGES
            self.sections[pfn >> SECTION_PAGES_SHIFT] = section
        page = section[pfn & (SECTION_PAGES - 1)]
        if page is None:
            page = Page(pfn)
            section[pfn & (SECTION_PAGES - 1)] = page
            self.nr_pages_created += 1
        return page

    def lookup(self, pfn: i64) -> Page | None:
        """The page of a frame where it has been used, else None."""
        section = self.sections[pfn >> SECTION_PAGES_SHIFT]
        return None if section is None else section[pfn & (SECTION_PAGES - 1)]

    def forget(self) -> None:
        """Lets go of every page (the machine is closed): breaks the cycles through ``Page.mapping``."""
        for section in self.sections:
            if section is not None:
                for page in section:
                    if page is not None:
                        page.mapping = None
        self.sections = [None] * len(self.sections)
