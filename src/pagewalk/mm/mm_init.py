"""Boot: from a memory size to zones with free frames and watermarks.

The memory map is that of a PC: RAM below 640 KiB, from 1 MiB to at most 3 GiB, and the rest from 4 GiB on.

Mirrors: mm/mm_init.c, mm/page_alloc.c (setup_per_zone_wmarks), arch/x86/kernel/e820.c (6.18)
Differs: what the kernel image and early boot reserve is estimated: all below 1 MiB, 40 MiB at 16 MiB for the image,
    and 64 bytes of struct page a frame, taken from the top of the highest zone.
"""

from math import isqrt
from typing import Final

from pagewalk.config import Config
from pagewalk.mm.page import MemMap
from pagewalk.mm.zone import MAX_NR_ZONES, ZONE_NAMES, Zone

MAX_DMA32_PFN: Final = 1 << 20  # 4 GiB, on x86
_MAX_DMA: Final = 16 << 20  # bytes
_MAX_DMA32: Final = 4 << 30
_LOW_END: Final = 0x9F000
_HIGH_START: Final = 1 << 20
_HOLE_START: Final = 3 << 30
_IMAGE: Final = (16 << 20, (16 + 40) << 20)
_STRUCT_PAGE: Final = 64

PfnRange = tuple[int, int]


def page_shift_of(config: Config) -> int:
    """log2 of the configured machine's page size."""
    return int(config.granule).bit_length() - 1


def memory_map(ram: int, page_shift: int = 12) -> list[PfnRange]:
    """The usable RAM of a PC with ``ram`` bytes, as (first, end) numbers of frames of ``1 << page_shift`` bytes."""
    frames = ram >> page_shift
    below = min(frames, _HOLE_START >> page_shift)
    ranges = [(1, _LOW_END >> page_shift), (_HIGH_START >> page_shift, below)]
    if frames > below:
        start = _MAX_DMA32 >> page_shift
        ranges.append((start, start + frames - below))
    return ranges


def _overlap(ranges: list[PfnRange], start: int, end: int) -> list[PfnRange]:
    return [(max(a, start), min(b, end)) for a, b in ranges if max(a, start) < min(b, end)]


def _without(ranges: list[PfnRange], hole: PfnRange) -> list[PfnRange]:
    left = []
    for start, end in ranges:
        left += [(a, b) for a, b in ((start, min(end, hole[0])), (max(start, hole[1]), end)) if a < b]
    return left


def _pages(ranges: list[PfnRange]) -> int:
    return sum(end - start for start, end in ranges)


def _take_from_top(ranges: list[PfnRange], count: int) -> list[PfnRange]:
    left = list(ranges)
    while count > 0 and left:
        start, end = left.pop()
        if end - start > count:
            left.append((start, end - count))
        count -= end - start
    return left


def build_zones(config: Config, mem_map: MemMap) -> list[Zone]:
    """DMA, DMA32 and NORMAL for the machine's RAM, their free frames deferred, watermarks and reserves set."""
    page_shift = page_shift_of(config)
    usable = memory_map(int(config.ram), page_shift)
    dma, dma32 = _MAX_DMA >> page_shift, _MAX_DMA32 >> page_shift
    bounds = ((1, dma), (dma, dma32), (dma32, mem_map.max_pfn))
    free = _without(usable, (0, _HIGH_START >> page_shift))
    free = _without(free, (_IMAGE[0] >> page_shift, _IMAGE[1] >> page_shift))
    free = _take_from_top(free, _pages(usable) * _STRUCT_PAGE >> page_shift)
    zones = []
    for index, (start, end) in enumerate(bounds):
        present = _overlap(usable, start, end)
        first, last = (present[0][0], min(end, present[-1][1])) if present else (0, 0)
        zone = Zone(ZONE_NAMES[index], index, first, last, mem_map)
        zone.present_pages = _pages(present)
        ranges = _overlap(free, start, end)
        zone.managed_pages = _pages(ranges)
        zone.free_pages = zone.managed_pages
        zone.deferred = ranges[::-1]
        zones.append(zone)
    setup_watermarks(zones, config)
    return zones


def min_free_kbytes(zones: list[Zone], config: Config) -> int:
    """vm.min_free_kbytes: the configured one, or 4 * sqrt(lowmem in KiB), 128 to 262144; from 512 MiB on, where
    transparent huge pages are enabled, at least what they recommend: 11 page blocks a zone, at most 5 % of lowmem."""
    if config.min_free_kbytes >= 0:
        return config.min_free_kbytes
    lowmem = sum(zone.managed_pages for zone in zones)
    page_shift = page_shift_of(config)
    kb_shift = page_shift - 10
    kbytes = min(max(isqrt((lowmem << kb_shift) * 16), 128), 262144)
    if lowmem >= (512 << 20) >> page_shift:
        populated = sum(1 for zone in zones if zone.managed_pages)
        pageblock_pages = 1 << page_shift - 3  # what a last-level table maps
        recommended = min(pageblock_pages * populated * 11, lowmem // 20)
        kbytes = max(kbytes, recommended << kb_shift)
    return kbytes


def setup_watermarks(zones: list[Zone], config: Config) -> None:
    """Sets each zone's min, low, high and promo marks, its lowmem_reserve, and its per-CPU list's batch and high."""
    lowmem = sum(zone.managed_pages for zone in zones)
    page_shift = page_shift_of(config)
    pages_min = min_free_kbytes(zones, config) >> page_shift - 10
    for zone in zones:
        share = pages_min * zone.managed_pages // lowmem if lowmem else 0
        step = max(share >> 2, zone.managed_pages * config.watermark_scale_factor // 10000)
        zone.watermark_min = share
        zone.watermark_low = share + step
        zone.watermark_high = zone.watermark_low + step
        zone.watermark_promo = zone.watermark_high + step
        zone.pcp.batch = zone_batchsize(zone.managed_pages, page_shift)
        zone.pcp.high = max(zone.watermark_low // config.cpus, 4 * int(zone.pcp.batch)) if zone.managed_pages else 0
    for index, zone in enumerate(zones):
        above = 0
        for higher in range(index + 1, MAX_NR_ZONES):
            above += zones[higher].managed_pages if higher < len(zones) else 0
            ratio = config.lowmem_reserve_ratio[index]
            zone.lowmem_reserve[higher] = above // ratio if ratio and zone.managed_pages else 0


def zone_batchsize(managed_pages: int, page_shift: int) -> int:
    """Pages moved between a per-CPU list and the buddy lists at a time: a quarter of 1/1024 of the zone, of at most 1
    MiB, rounded to one less than a power of two."""
    batch = max(min(managed_pages >> 10, (1 << 20) >> page_shift) // 4, 1)
    power = 1 << ((batch + batch // 2).bit_length() - 1)
    return max(power - 1, 1)
