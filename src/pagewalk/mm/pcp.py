"""Per-CPU lists: small stocks of free pages in front of the buddy lists.

Their size follows the load: a run of allocations doubles the next refill, a run of frees lengthens the next return, and
``high`` moves between high_min and high_max.

Mirrors: mm/page_alloc.c (nr_pcp_alloc, nr_pcp_free, nr_pcp_high, rmqueue_bulk, free_pcppages_bulk) (6.18)
Differs: one CPU's lists for each zone; no list for huge pages; ``high`` does not shrink with time.
"""

from typing import Final

from mypy_extensions import i64

from pagewalk.mm.buddy import free_one_page, rmqueue_buddy
from pagewalk.mm.gfp import MIGRATE_PCPTYPES
from pagewalk.mm.page import Page, PG_pcp
from pagewalk.mm.zone import PAGE_ALLOC_COSTLY_ORDER, PerCpuPages, Zone

_BATCH_SCALE_MAX: Final = 5  # CONFIG_PCP_BATCH_SCALE_MAX


def refill(zone: Zone, order: i64, migratetype: i64, alloc_flags: i64) -> bool:
    """Refills an empty per-CPU list; False where the zone has nothing for it."""
    pcp = zone.pcp
    count = nr_pcp_alloc(pcp, order)
    taken: list[Page] = []
    while len(taken) < count:
        page = rmqueue_buddy(zone, order, migratetype, alloc_flags)
        if page is None:
            break
        page.flags = PG_pcp
        page.order = order
        taken.append(page)
    taken.reverse()  # the first taken is the first to be given out
    pcp.lists[order * MIGRATE_PCPTYPES + migratetype].extend(taken)
    pcp.count += len(taken) << order
    return len(taken) > 0


def nr_pcp_alloc(pcp: PerCpuPages, order: i64) -> i64:
    """How many blocks a refill takes."""
    batch: i64 = pcp.batch
    if batch == 1:
        return 1
    if order == 0:
        most: i64 = max(pcp.high - pcp.count - batch, batch)
        batch <<= pcp.alloc_factor
        if batch <= most and pcp.alloc_factor < _BATCH_SCALE_MAX:
            pcp.alloc_factor += 1
        return min(batch, most)
    return max(batch >> order, 2)


def trim(zone: Zone) -> None:
    """The lists are longer than ``high``, or kswapd waits for free pages: gives pages back."""
    pcp = zone.pcp
    if zone.reclaim_active:
        trim_for_reclaim(zone)
        return
    if pcp.high_min < pcp.high_max and not zone.below_high:
        pcp.high = max(min(pcp.high + (pcp.batch << _BATCH_SCALE_MAX), pcp.high_max), pcp.high_min)
        if pcp.count <= pcp.high:
            return
    most: i64 = max(pcp.high - pcp.batch, pcp.batch)
    count: i64 = min(max(pcp.free_count, pcp.batch), most)
    free_pcppages_bulk(zone, count)


def trim_for_reclaim(zone: Zone) -> None:
    """kswapd works on the zone: four batches stay at most."""
    pcp = zone.pcp
    batch: i64 = pcp.batch
    pcp.high = max(pcp.high - max(pcp.free_count, batch), pcp.high_min)
    high: i64 = min(batch << 2, pcp.high)
    if pcp.count < high:
        return
    free_pcppages_bulk(zone, 1 if high < batch else min(max(pcp.free_count, batch), max(high - batch, batch)))


def free_pcppages_bulk(zone: Zone, count: i64) -> None:
    """Gives ``count`` pages of the per-CPU lists back to the buddy lists, the coldest first, one list after another."""
    pcp = zone.pcp
    left: i64 = min(count, pcp.count)
    which: i64 = 0
    while left > 0 and which < (PAGE_ALLOC_COSTLY_ORDER + 1) * MIGRATE_PCPTYPES:
        cold = pcp.lists[which]
        order: i64 = which // MIGRATE_PCPTYPES
        nr: i64 = min(len(cold), (left + (1 << order) - 1) >> order)
        if nr > 0:
            for page in cold[:nr]:
                page.flags = 0
                free_one_page(zone, page, order)
            del cold[:nr]
            pcp.count -= nr << order
            left -= nr << order
        which += 1
