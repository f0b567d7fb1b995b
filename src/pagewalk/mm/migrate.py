"""Moving pages between nodes: a new frame takes the old one's place in page tables, page cache and lists.

Mirrors: mm/migrate.c (6.18)
Differs: at once and one page at a time; pages in the swap cache and pages that somebody else holds stay where they are.
"""

import errno
from typing import TYPE_CHECKING

from mypy_extensions import i64

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.gfp import GFP_HIGHUSER_MOVABLE, GFP_NORETRY, GFP_NOWARN, GFP_THISNODE
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.page import Page, PG_anon, PG_lru, PG_reserved, PG_special, PG_swapcache, PG_writeback
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.rmap import page_mappers

if TYPE_CHECKING:
    from pagewalk.mm.system import System


def page_to_nid(system: "System", page: Page) -> int:
    """The node of a page's frame."""
    return int(system.node.zone_of(page.pfn).node_id)


def migrate_page(system: "System", page: Page, nid: int) -> int:
    """Moves a page that is mapped or cached to a frame of node ``nid``; 0, -EBUSY where somebody else uses it, -ENOMEM
    where the node has no frame."""
    cache = page.mapping if isinstance(page.mapping, AddressSpace) else None
    held: i64 = page.mapcount + (1 if cache is not None else 0)
    if page.flags & (PG_reserved | PG_special | PG_swapcache | PG_writeback) or page.refcount != held:
        return -errno.EBUSY
    if page.order != 0 or (cache is not None and cache.folio_heads):
        return -errno.EBUSY
    gfp = (GFP_HIGHUSER_MOVABLE | GFP_THISNODE | GFP_NOWARN | GFP_NORETRY) & ~0x400
    new = system.nodes[nid].alloc_pages_of_nodes(gfp, 0, -1)  # the charge moves with the page
    if new is None:
        system.vmstat.pgmigrate_fail += 1
        return -errno.ENOMEM
    mappers = page_mappers(page)
    if len(mappers) != page.mapcount:
        system.node.put_page(new)
        return -errno.EBUSY
    system.ram.copy_page(new.pfn, page.pfn)
    listed = page.flags & PG_lru != 0
    if listed:
        system.node.folio_lruvec(page).remove(page)
    flags = page.flags
    new.flags = flags & ~PG_lru
    new.mapping = page.mapping
    new.index = page.index
    new.memcg = page.memcg
    new.refcount = page.refcount
    new.mapcount = page.mapcount
    for mm, _, address in mappers:
        replace_frame(mm, address, new.pfn)
    if cache is not None:
        cache.i_pages[page.index] = new
    if listed:
        system.node.folio_lruvec(new).add(new)
    page.flags = 0
    page.memcg = 0
    page.mapcount = 0
    page.refcount = 0
    page.mapping = None
    system.node.free_pages(page, 0)
    system.vmstat.pgmigrate_success += 1
    return 0


def replace_frame(mm: MmStruct, address: i64, pfn: i64) -> None:
    """The entry of ``address`` maps another frame, with the same rights."""
    fmt = mm.system.format
    words = mm.system.ram.words
    index = pte_lookup(mm, address)
    words[index] = (words[index] & ~fmt.pfn_mask) | (pfn << fmt.pfn_shift)
    mm.flush_tlb_range(address, address + fmt.page_size)


def is_shared(page: Page) -> bool:
    """Several mappings use the page: only MPOL_MF_MOVE_ALL moves it."""
    return page.mapcount > 1


def migratable(page: Page) -> bool:
    """User space's page: anonymous, or of a file."""
    return page.flags & PG_anon != 0 or isinstance(page.mapping, AddressSpace)
