"""Who may take which page: watermarks, reserves, migrate types, per-CPU lists, the slow path."""

import pytest

from pagewalk import Config
from pagewalk.check import check_all
from pagewalk.mm.gfp import (
    ALLOC_HIGHATOMIC,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_WMARK_HIGH,
    ALLOC_WMARK_LOW,
    GFP_ATOMIC,
    GFP_DMA,
    GFP_HIGH,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_KSWAPD_RECLAIM,
    GFP_NOMEMALLOC,
    GFP_NOWAIT,
    GFP_RECLAIMABLE,
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    gfp_to_alloc_flags,
)
from pagewalk.mm.numa import set_reclaim
from pagewalk.mm.page import Page
from pagewalk.mm.reclaim_seam import ReclaimSeam
from pagewalk.mm.system import System
from pagewalk.mm.vmscan import pgdat_balanced
from pagewalk.mm.watermark_ok import zone_watermark_ok
from pagewalk.mm.zone import Zone

pytestmark = pytest.mark.quick


def highest(system: System) -> Zone:
    """The preferred zone."""
    return system.node.zonelist[0]


def take_all(system: System, gfp: int) -> list[Page]:
    """Everything that a request of that kind gets."""
    pages = []
    while (page := system.node.alloc_page(gfp)) is not None:
        pages.append(page)
    return pages


def ok(zone: Zone, free: int, flags: int, order: int = 0) -> bool:
    """zone_watermark_ok for the zone's own index."""
    return zone_watermark_ok(zone, order, zone.watermark_min, zone.index, flags, free)


@pytest.mark.parametrize(
    ("flags", "share"),
    [
        (0, 1.0),
        (ALLOC_MIN_RESERVE, 1 / 2),
        (ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK, 3 / 8),
        (ALLOC_OOM, 1 / 2),
        (ALLOC_NON_BLOCK, 1.0),
    ],
)
def test_the_entitled_go_below_min_by_their_share(flags: int, share: float) -> None:
    zone = highest(System(Config(ram="1G", min_free_kbytes=8192)))
    limit = next(free for free in range(3000) if ok(zone, free, flags))
    assert limit == pytest.approx(zone.watermark_min * share + 1, abs=2)


def test_gfp_flags_say_what_is_allowed() -> None:
    assert gfp_to_alloc_flags(GFP_KERNEL, 0) & ~0x840 == 0
    assert (
        gfp_to_alloc_flags(GFP_ATOMIC, 0) & (ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK) == ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK
    )
    assert gfp_to_alloc_flags(GFP_ATOMIC, 1) & ALLOC_HIGHATOMIC
    assert not gfp_to_alloc_flags(GFP_ATOMIC, 0) & ALLOC_HIGHATOMIC
    assert not gfp_to_alloc_flags(GFP_ATOMIC | GFP_NOMEMALLOC, 1) & (ALLOC_HIGHATOMIC | ALLOC_NON_BLOCK)
    assert gfp_to_alloc_flags(GFP_NOWAIT, 0) & ALLOC_NON_BLOCK


def test_ordinary_requests_stop_at_min_and_urgent_ones_go_on() -> None:
    system = System(Config(ram="64M"))
    marks = {zone.name: zone.watermark_min for zone in system.zones}
    held = take_all(system, GFP_KERNEL)
    left = {zone.name: int(zone.free_pages) for zone in system.zones if zone.managed_pages}
    assert all(left[name] <= marks[name] + 64 for name in ("DMA32",))
    urgent = take_all(system, GFP_ATOMIC)
    assert urgent
    check_all(system, [], held=[(page, 0) for page in held + urgent])


def test_a_low_zone_keeps_its_reserve_from_requests_that_could_go_higher() -> None:
    system = System(Config(ram="256M"))
    dma = system.zones[0]
    held = take_all(system, GFP_KERNEL)
    assert dma.free_pages >= dma.lowmem_reserve[2]
    before = dma.free_pages
    mine = take_all(system, GFP_DMA | GFP_KSWAPD_RECLAIM)
    assert len(mine) > before - dma.watermark_min - 64
    check_all(system, [], held=[(page, 0) for page in held + mine])


def test_an_unmovable_request_claims_a_whole_page_block() -> None:
    system = System(Config(ram="64M"))
    zone = highest(system)
    page = system.node.alloc_page(GFP_KERNEL)
    assert page is not None
    assert system.mem_map.block_type(page.pfn) == MIGRATE_UNMOVABLE
    movable = system.node.alloc_page(GFP_HIGHUSER_MOVABLE)
    assert movable is not None
    assert system.mem_map.block_type(movable.pfn) == MIGRATE_MOVABLE
    assert zone.watermark_boost == 0  # whole blocks were free: nothing mixed
    reclaimable = system.node.alloc_page(GFP_KERNEL | GFP_RECLAIMABLE)
    assert reclaimable is not None
    assert system.mem_map.block_type(reclaimable.pfn) == MIGRATE_RECLAIMABLE
    check_all(system, [], held=[(page, 0) for page in (page, movable, reclaimable)])


def test_mixing_types_raises_the_marks_until_reclaim_has_made_room() -> None:
    system = System(Config(ram="128M", min_free_kbytes=2048))
    zone = highest(system)
    pages = take_all(system, GFP_HIGHUSER_MOVABLE)
    for page in pages[::2]:
        system.node.put_page(page)
    system.node.drain_all_pages()
    zone.watermark_boost = 0
    kernel = [system.node.alloc_page(GFP_KERNEL) for _ in range(4)]
    assert all(page is not None for page in kernel)
    assert zone.watermark_boost == 512
    assert zone.marks()[0] == zone.watermark_min + 512
    held = pages[1::2] + [page for page in kernel if page is not None]
    check_all(system, [], held=[(page, 0) for page in held])


def test_an_urgent_request_of_two_pages_reserves_a_page_block() -> None:
    system = System(Config(ram="2G"))
    zone = highest(system)
    node = system.node
    page = node.get_page_from_freelist(node.zonelist, GFP_ATOMIC, 1, zone.index, gfp_to_alloc_flags(GFP_ATOMIC, 1))
    assert page is not None
    assert system.mem_map.block_type(page.pfn) == MIGRATE_HIGHATOMIC
    assert zone.nr_reserved_highatomic == 512
    assert zone.nr_free_highatomic == sum(
        int(area.lists[MIGRATE_HIGHATOMIC].nr_free) << order for order, area in enumerate(zone.free_area)
    )
    assert not zone_watermark_ok(zone, 0, 0, zone.index, 0, zone.nr_free_highatomic)
    assert zone_watermark_ok(zone, 0, 0, zone.index, ALLOC_OOM, zone.nr_free_highatomic)
    assert node.unreserve_highatomic(node.zonelist, GFP_HIGHUSER_MOVABLE, force=True)
    assert zone.nr_reserved_highatomic == zone.nr_free_highatomic == 0
    check_all(system, [], held=[(page, 1)])


def test_linux_6_1_reserves_blocks_of_small_zones_and_takes_all_of_them_off() -> None:
    """A zone of 64 MiB: two blocks (1 % and one more, not rounded), of which a used page is missing as well."""
    small = {"memory_map": [(4 << 30, (4 << 30) + (64 << 20))], "ram": "64M"}
    node = System(Config(**small)).node
    flags = gfp_to_alloc_flags(GFP_ATOMIC, 1)
    assert node.get_page_from_freelist(node.zonelist, GFP_ATOMIC, 1, node.zonelist[0].index, flags) is not None
    assert node.zonelist[0].nr_reserved_highatomic == 0  # 1 % is less than a block
    system = System(Config(linux="6.1", **small))
    zone, node = highest(system), system.node
    taken = [node.get_page_from_freelist(node.zonelist, GFP_ATOMIC, 1, zone.index, flags) for _ in range(300)]
    assert zone.nr_reserved_highatomic == 1024 > zone.nr_free_highatomic
    assert not zone_watermark_ok(zone, 0, 0, zone.index, 0, 1024)
    assert zone_watermark_ok(zone, 0, 0, zone.index, 0, 1025)
    check_all(system, [], held=[(page, 1) for page in taken if page is not None])


@pytest.mark.parametrize("linux", ["6.18", "6.1"])
def test_kswapd_does_not_count_pages_that_are_kept_for_urgent_requests(linux: str) -> None:
    system = System(Config(ram="2G", linux=linux))
    zone, node = highest(system), system.node
    node.get_page_from_freelist(node.zonelist, GFP_ATOMIC, 1, zone.index, gfp_to_alloc_flags(GFP_ATOMIC, 1))
    kept = 512 if linux == "6.1" else zone.nr_free_highatomic
    zone.watermark_high = int(zone.free_pages) - kept - 1
    zone.lowmem_reserve = [0] * len(zone.lowmem_reserve)
    for other in node.zones:
        if other is not zone:
            other.watermark_high = 1 << 30
    assert pgdat_balanced(node, zone.index)
    zone.watermark_high += 1
    assert not pgdat_balanced(node, zone.index)


class Witness(ReclaimSeam):
    """Notes what it is asked, and gives back what it was lent."""

    def __init__(self, system: System, lent: list[Page]) -> None:
        super().__init__()
        self.system = system
        self.lent = lent
        self.asked: list[str] = []

    def wake_kswapd(self, zone: Zone, gfp: int, order: int, highest_zoneidx: int) -> None:
        self.asked.append(f"kswapd {zone.name}")

    def memalloc(self, gfp: int) -> int:
        return 0

    def try_to_free_pages(self, node: object, gfp: int, order: int) -> int:
        self.asked.append("direct")
        freed = self.lent[:32]
        del self.lent[:32]
        for page in freed:
            self.system.node.put_page(page)
        return len(freed)

    def reclaimable_pages(self, zone: Zone) -> int:
        return len(self.lent)

    def out_of_memory(self, node: object, gfp: int, order: int) -> bool:
        self.asked.append("oom")
        return False


def test_the_slow_path_wakes_kswapd_then_reclaims_then_gives_up() -> None:
    system = System(Config(ram="32M"))
    held = take_all(system, GFP_KERNEL)
    witness = Witness(system, held[:])
    set_reclaim(system.nodes, witness)
    page = system.node.alloc_page(GFP_KERNEL)
    assert page is not None
    assert [word.split()[0] for word in witness.asked][:1] == ["kswapd"]
    assert "direct" in witness.asked
    assert "oom" not in witness.asked
    witness.lent = []
    witness.asked = []
    more = [page]
    while (page := system.node.alloc_page(GFP_KERNEL)) is not None:
        more.append(page)
    assert witness.asked[-1] == "oom"
    witness.asked = []
    assert system.node.alloc_page(GFP_NOWAIT) is None
    assert "direct" not in witness.asked  # it may not wait


def test_reclaim_itself_goes_below_every_mark() -> None:
    system = System(Config(ram="32M"))
    take_all(system, GFP_KERNEL)
    node = system.node
    last = 0
    while node.get_page_from_freelist(node.zonelist, GFP_KERNEL, 0, 3, ALLOC_NO_WATERMARKS) is not None:
        last += 1
    assert last > 0
    assert node.nr_free_pages() == 0


def test_the_refill_of_a_per_cpu_list_doubles_while_nothing_is_freed() -> None:
    system = System(Config(ram="4G"))
    zone = highest(system)
    pcp = zone.pcp
    node = system.node
    sizes = []
    pages = []
    for _ in range(6):
        while pcp.lists[MIGRATE_MOVABLE]:
            pages.append(node.alloc_page(GFP_HIGHUSER_MOVABLE))
        before = zone.free_pages
        pages.append(node.alloc_page(GFP_HIGHUSER_MOVABLE))
        sizes.append(int(before - zone.free_pages))
    assert sizes == sorted(sizes)
    assert sizes[-1] <= int(pcp.batch) << 5
    assert sizes[1] == 2 * sizes[0]
    for page in pages:
        assert page is not None
        node.put_page(page)
    assert pcp.count <= pcp.high_max
    assert pcp.alloc_factor == 0


def test_while_kswapd_works_freed_pages_do_not_stay_on_the_per_cpu_list() -> None:
    system = System(Config(ram="1G"))
    zone = highest(system)
    pages = [system.node.alloc_page(GFP_KERNEL) for _ in range(4 * int(zone.pcp.high))]
    system.node.drain_all_pages()
    zone.reclaim_active = True
    free = int(zone.free_pages)
    for count, page in enumerate(pages, 1):
        assert page is not None
        system.node.put_page(page)
        assert zone.pcp.count < 4 * zone.pcp.batch
        assert zone.free_pages + zone.pcp.count == free + count
    zone.reclaim_active = False
    check_all(system, [])


def test_marks_are_asked_for_by_name() -> None:
    system = System(Config(ram="64M"))
    zone = highest(system)
    low = take_until(system, ALLOC_WMARK_HIGH)
    assert zone.free_pages <= zone.watermark_high
    more = take_until(system, ALLOC_WMARK_LOW)
    assert more
    assert zone.free_pages <= zone.watermark_low
    check_all(system, [], held=[(page, 0) for page in low + more])


def take_until(system: System, mark: int) -> list[Page]:
    """Pages of the preferred zone, down to a mark."""
    node = system.node
    pages = []
    while True:
        page = node.get_page_from_freelist(node.zonelist[:1], GFP_HIGHUSER_MOVABLE | GFP_HIGH, 0, 3, mark)
        if page is None:
            return pages
        pages.append(page)
