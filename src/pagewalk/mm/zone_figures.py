"""The zones of a machine without the machine: what its kernel computes from its memory map at boot.

Mirrors: mm/mm_init.c, mm/page_alloc.c (init_per_zone_wmark_min) (6.18, 6.1)
Differs: nothing is allocated; frames that the kernel keeps are estimated unless the managed ones are given.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.arch.zone_limits import HIGHMEM, KIND_NAMES, pageblock_order, vmalloc_total, zone_kinds
from pagewalk.errors import ConfigError
from pagewalk.mm.boot_reserve import LateFrames, image_pfn, usual_late_frames
from pagewalk.mm.memblock import page_shift_of, regions_of
from pagewalk.mm.mm_init import all_ranges, build_zones, zone_of_frame
from pagewalk.mm.numa import distance_matrix, node_orders
from pagewalk.mm.page import MemMap
from pagewalk.mm.watermarks import (
    init_per_zone_wmark_min,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
    start_stop_khugepaged,
)
from pagewalk.mm.zone import Zone
from pagewalk.mm.zoneinfo import sections_of, stat_threshold

if TYPE_CHECKING:
    from pagewalk.config import Config

_FOUR_GIB: Final = 4 << 30


class ZoneFigures:
    """What came out.

    zones            of every node, by node and index
    min_free_kbytes  vm.min_free_kbytes
    distances        of the nodes; orders: for each node the nodes in the order in which its requests try them
    sections         frames that have a struct page, None for all
    total_pages      managed frames (MemTotal), high_pages: those of them in high memory (HighTotal)
    stat_thresholds  of each zone: how far a CPU's counters may drift, by what was managed early
    vmalloc_kbytes   VmallocTotal, 0 where the address map does not tell
    """

    def __init__(
        self, config: "Config", release: str, managed: dict[tuple[int, str], int] | None, late: LateFrames | None
    ) -> None:
        regions = regions_of(config)
        end = max([region.end for region in regions])
        self.config = config
        self.release = release
        self.zones = build_zones(
            config, regions, MemMap(end, pageblock_order(config.arch, page_shift_of(config))), release
        )
        if managed is not None:
            late = usual_late_frames(config.arch, release, page_shift_of(config)) if late is None else late
            for zone in self.zones:
                zone.managed_pages = managed.get((int(zone.node_id), zone.name), 0)
        shares = self.late_shares(late or LateFrames(0, 0))
        shift = page_shift_of(config)
        for zone, frames in shares:
            zone.managed_pages -= frames
        self.min_free_kbytes = init_per_zone_wmark_min(self.zones, config, release)
        self.stat_thresholds = [stat_threshold(zone, config.cpus, shift) for zone in self.zones]
        for zone, frames in shares:
            zone.managed_pages += frames
        if release not in ("6.1", "6.12"):  # every frame that comes late has the reserves computed again
            setup_per_zone_lowmem_reserve(self.zones, config.lowmem_reserve_ratio)
        self.user_min_free_kbytes = config.min_free_kbytes
        for zone in self.zones:
            zone.free_pages = zone.managed_pages
        self.distances = distance_matrix(config.nr_nodes, [list(row) for row in config.distances] or None)
        by_node = [[zone for zone in self.zones if zone.node_id == nid] for nid in range(config.nr_nodes)]
        self.orders = node_orders(
            self.distances,
            [any(zone.managed_pages for zone in own) for own in by_node],
        )
        if release == "6.1":  # later a node without memory is not in its own list
            self.orders = [order if nid in order else [nid, *order] for nid, order in enumerate(self.orders)]
        self.sections = sections_of(config, all_ranges(regions))
        self.total_pages = sum([zone.managed_pages for zone in self.zones])
        self.high_pages = sum([zone.managed_pages for zone in self.zones if zone.is_highmem])
        self.vmalloc_kbytes = vmalloc_total(config, end, release)

    def late_shares(self, late: LateFrames) -> list[tuple[Zone, int]]:
        """Which zone gets the late frames: of the kernel's image the zone that holds it; of the initrd the one at the
        top of lowmem below 4 GiB, where boot loaders put it (arm64: next to the kernel)."""
        regions = regions_of(self.config)
        first = all_ranges(regions)[0][0]
        image = image_pfn(self.config.arch, first)
        four_gib = _FOUR_GIB >> page_shift_of(self.config)
        high = min(
            [zone.zone_start_pfn for zone in self.zones if zone.kind == HIGHMEM and zone.spanned_pages] or [1 << 52]
        )
        ends = [min(region.end, four_gib, high) for region in regions if region.start < min(four_gib, high)]
        top = max(ends) - 1 if ends and self.config.arch != "arm64" else image
        shares: list[tuple[Zone, int]] = []
        for pfn, frames in ((image, late.kernel), (top, late.initrd)):
            zone = zone_of_frame(self.zones, regions, pfn)
            while zone is not None and frames > 0:  # what a zone cannot hold lies in the next
                taken = sum([part for other, part in shares if other is zone])
                shares.append((zone, min(frames, zone.managed_pages - taken)))
                frames -= shares[-1][1]
                zone = zone_of_frame(self.zones, regions, zone.end_pfn)
        return shares

    def write(self, name: str, value: str) -> None:
        """Somebody writes a setting: a name below /proc/sys/vm, or ``transparent_hugepage``. ConfigError where it is
        none of those that the zones follow, or cannot be that."""
        config = self.config
        if name == "lowmem_reserve_ratio":
            ratios = [*config.lowmem_reserve_ratio, 0, 0, 0][: len(KIND_NAMES)]
            kinds = zone_kinds(config.arch, self.release)
            for kind, word in zip(kinds, value.split(), strict=False):
                ratios[kind] = max(self.number(name, word), 0)
            config.lowmem_reserve_ratio = tuple(ratios)
            setup_per_zone_lowmem_reserve(self.zones, config.lowmem_reserve_ratio)
            return
        if name == "transparent_hugepage":
            if value not in ("always", "madvise", "never"):
                raise ConfigError(f"transparent_hugepage: expected always, madvise or never, got {value!r}")
            config.thp = value
            self.min_free_kbytes = start_stop_khugepaged(
                self.zones, self.min_free_kbytes, self.user_min_free_kbytes, config, self.release
            )
            return
        number = self.number(name, value)
        if name == "min_free_kbytes":
            self.min_free_kbytes = self.user_min_free_kbytes = number
        elif name == "watermark_scale_factor":
            config.watermark_scale_factor = number
        elif name == "percpu_pagelist_high_fraction":
            config.percpu_pagelist_high_fraction = number
        else:
            raise ConfigError(f"expected a setting that zones follow, got {name!r}")
        setup_per_zone_wmarks(self.zones, self.min_free_kbytes, config, self.release)

    @staticmethod
    def number(name: str, text: str) -> int:
        """A whole number."""
        try:
            return int(text)
        except ValueError:
            raise ConfigError(f"{name}: expected a whole number, got {text!r}") from None

    def zonelist(self, nid: int) -> list[tuple[int, str]]:
        """(node, zone) in the order in which a request at node ``nid`` tries them."""
        found = []
        for node in self.orders[nid]:
            for zone in reversed(self.zones):
                if zone.node_id == node and zone.managed_pages:
                    found.append((node, zone.name))
        return found
