"""vm.min_free_kbytes, the watermarks that follow from it, what is kept for whom, and the sizes of the per-CPU lists.

All sizes are in pages unless a name says otherwise. Everything follows from ``managed_pages`` of the zones and a few
settings, so it is computed again whenever one of those changes.

Sources: Documentation/admin-guide/sysctl/vm.rst (min_free_kbytes, watermark_scale_factor, lowmem_reserve_ratio,
percpu_pagelist_high_fraction), Documentation/admin-guide/mm/transhuge.rst.

Mirrors: mm/page_alloc.c (setup_per_zone_wmarks, setup_per_zone_lowmem_reserve, zone_batchsize, zone_highsize),
    mm/khugepaged.c (set_recommended_min_free_kbytes) (6.18)
Differs: no memory hotplug, so nothing is computed again but after a sysctl is written.
"""

from math import isqrt
from typing import TYPE_CHECKING, Final

from pagewalk.arch.zone_limits import MOVABLE, NORMAL, huge_order
from pagewalk.mm.memblock import page_shift_of
from pagewalk.mm.zone import Zone

if TYPE_CHECKING:
    from pagewalk.config import Config

_MIGRATE_PCPTYPES: Final = 3
_THP_LEAST: Final = 512 << 20  # machines with less do without transparent huge pages
_SWAP_CLUSTER_MAX: Final = 32
_MIN_PERCPU_PAGELIST_HIGH_FRACTION: Final = 8


def lowmem_zones(zones: list[Zone]) -> list[Zone]:
    """The zones that the kernel can use for itself (up to gfp_zone(GFP_USER))."""
    return [zone for zone in zones if zone.kind <= NORMAL]


def nr_free_buffer_pages(zones: list[Zone]) -> int:
    """Managed frames of lowmem above the high marks."""
    return sum([max(zone.managed_pages - zone.marks()[2], 0) for zone in lowmem_zones(zones)])


def init_per_zone_wmark_min(zones: list[Zone], config: "Config", release: str = "6.18") -> int:
    """Sets everything as it is after boot, and answers vm.min_free_kbytes.

    Two steps, as Linux takes them: what the size of lowmem says; then, on a machine with 512 MiB or more, what
    khugepaged makes of it. A configured vm.min_free_kbytes is written over both.
    """
    for zone in zones:
        zone.watermark_high = 0
        zone.watermark_boost = 0
    kbytes = calculate_min_free_kbytes(zones, config)
    setup_per_zone_wmarks(zones, kbytes, config, release)
    setup_per_zone_lowmem_reserve(zones, config.lowmem_reserve_ratio)
    if sum([zone.managed_pages for zone in zones]) << page_shift_of(config) >= _THP_LEAST:
        kbytes = start_stop_khugepaged(zones, kbytes, -1, config, release)
    if config.min_free_kbytes >= 0:
        kbytes = config.min_free_kbytes
        setup_per_zone_wmarks(zones, kbytes, config, release)
    return kbytes


def calculate_min_free_kbytes(zones: list[Zone], config: "Config") -> int:
    """4 * sqrt(lowmem in KiB), 128 to 262144; lowmem is what lies above the high marks that are in force."""
    lowmem_kbytes = nr_free_buffer_pages(zones) << page_shift_of(config) - 10
    return min(max(isqrt(lowmem_kbytes * 16), 128), 262144)


def start_stop_khugepaged(zones: list[Zone], kbytes: int, user: int, config: "Config", release: str) -> int:
    """Transparent huge pages have been turned on or off (``config.thp``): sets the marks and answers
    vm.min_free_kbytes, which was ``kbytes``.

    On, it is at least what huge pages recommend. Off, it is computed as at boot, from what lies above the high marks of
    now; ``user``, the value that somebody wrote (-1: nobody), stays where that is not more.
    """
    if config.thp != "never":
        kbytes = max(kbytes, recommended_min_free_kbytes(zones, config))
    else:
        found = calculate_min_free_kbytes(zones, config)
        kbytes = found if found > user else kbytes
    setup_per_zone_wmarks(zones, kbytes, config, release)
    return kbytes


def recommended_min_free_kbytes(zones: list[Zone], config: "Config") -> int:
    """What khugepaged asks for: for each zone of lowmem two page blocks to start with, and one for each migrate type to
    fall back to each, so that types need not mix."""
    populated = [zone for zone in lowmem_zones(zones) if zone.present_pages]
    shift = page_shift_of(config)
    block = 1 << huge_order(config.arch, shift)
    pages = block * len(populated) * (2 + _MIGRATE_PCPTYPES * _MIGRATE_PCPTYPES)
    return min(pages, nr_free_buffer_pages(zones) // 20) << shift - 10


def setup_per_zone_wmarks(zones: list[Zone], min_free_kbytes: int, config: "Config", release: str = "6.18") -> None:
    """Sets min, low, high and promo of each zone, and its per-CPU lists' sizes, which follow from the low mark.

    A zone's share of the minimum is by size. High memory is not what the kernel needs in need: it keeps 32 to 128
    pages, and so does MOVABLE where it lies in high memory; in releases after 6.1 everywhere.
    """
    pages_min = min_free_kbytes >> page_shift_of(config) - 10
    every_movable = release != "6.1"
    low = [zone for zone in zones if not kept_small(zone, every_movable)]
    lowmem = sum([zone.managed_pages for zone in low])
    for zone in zones:
        managed = zone.managed_pages
        share = pages_min * managed // lowmem if lowmem else 0
        if kept_small(zone, every_movable):
            zone.watermark_min = min(max(managed // 1024, _SWAP_CLUSTER_MAX), 128)
        else:
            zone.watermark_min = share
        step = max(share >> 2, managed * config.watermark_scale_factor // 10000)
        zone.watermark_boost = 0
        zone.watermark_low = zone.watermark_min + step
        zone.watermark_high = zone.watermark_low + step
        zone.watermark_promo = zone.watermark_high + step
        set_pageset_high_and_batch(zone, config, release)


def kept_small(zone: Zone, every_movable: bool) -> bool:
    """The zone has no share in the minimum."""
    return zone.is_highmem or (zone.kind == MOVABLE and every_movable)


def setup_per_zone_lowmem_reserve(zones: list[Zone], ratio: tuple[int, ...]) -> None:
    """Sets lowmem_reserve: what a zone keeps from requests that could be served by a higher zone of its node, the size
    of those over the zone's ratio (``ratio``, by kind of zone); nothing where the ratio is 0 or missing."""
    for zone in zones:
        above = 0
        divisor = ratio[zone.kind] if zone.kind < len(ratio) else 0
        reserve = [0] * len(zone.lowmem_reserve)
        for higher in zones:
            if higher.node_id == zone.node_id and higher.index > zone.index:
                above += higher.managed_pages
                if divisor and zone.managed_pages:
                    reserve[higher.index] = above // divisor
        zone.lowmem_reserve = reserve
        zone.max_reserve = max(reserve)


def set_pageset_high_and_batch(zone: Zone, config: "Config", release: str) -> None:
    """Sets batch, high_min and high_max of the zone's per-CPU lists; 6.1 has one ``high``, which is high_min here."""
    pcp = zone.pcp
    pcp.batch = zone_batchsize(zone.managed_pages, page_shift_of(config))
    cpus = max(zone.node_cpus or config.cpus, 1)
    fraction = config.percpu_pagelist_high_fraction
    low = zone.managed_pages // fraction if fraction else zone.watermark_low
    most = zone.managed_pages // (fraction or _MIN_PERCPU_PAGELIST_HIGH_FRACTION)
    pcp.high_min = max(low // cpus, 4 * int(pcp.batch))
    pcp.high_max = pcp.high_min if release == "6.1" else max(most // cpus, 4 * int(pcp.batch))
    pcp.high = min(max(pcp.high, pcp.high_min), pcp.high_max)  # high_max may be the smaller one, and wins


def zone_batchsize(managed_pages: int, page_shift: int) -> int:
    """Pages moved between a per-CPU list and the buddy lists at a time: a quarter of 1/1024 of the zone, of at most 1
    MiB, rounded to one less than a power of two."""
    batch = max(min(managed_pages >> 10, (1 << 20) >> page_shift) // 4, 1)
    power = 1 << ((batch + batch // 2).bit_length() - 1)
    return max(power - 1, 1)
