"""Boot: from a memory map to nodes with zones, free frames, watermarks and zonelists.

Mirrors: mm/mm_init.c (free_area_init, find_zone_movable_pfns_for_nodes) (6.18)
Differs: what the kernel keeps of RAM is an estimate (mm/boot_reserve.py) unless the managed frames are given.
"""

from typing import TYPE_CHECKING

from pagewalk.arch.zone_limits import (
    DEVICE,
    DMA,
    DMA32,
    HIGHMEM,
    MOVABLE,
    NORMAL,
    lowmem_pfns,
    max_page_order,
    zone_kinds,
    zone_limits,
)
from pagewalk.mm.boot_reserve import free_at_boot
from pagewalk.mm.memblock import MemRegion, PfnRange, frames_of, overlap, page_shift_of
from pagewalk.mm.page import MemMap
from pagewalk.mm.zone import Zone

if TYPE_CHECKING:
    from pagewalk.config import Config


def all_ranges(regions: list[MemRegion]) -> list[PfnRange]:
    """The regions as (start, end), sorted."""
    return sorted([(region.start, region.end) for region in regions])


def node_ranges(regions: list[MemRegion], nid: int) -> list[PfnRange]:
    """The ranges of one node."""
    return sorted([(region.start, region.end) for region in regions if region.nid == nid])


def build_zones(config: "Config", regions: list[MemRegion], mem_map: MemMap, release: str) -> list[Zone]:
    """The zones of every node, by node and index, their free frames deferred; watermarks are not set yet.

    A zone spans from where the node or the zone begins to where either ends, holes included, and is present where there
    is RAM. MOVABLE is cut off the highest zone of each node (``kernelcore``, ``movablecore``).
    """
    kinds = zone_kinds(config.arch, release)
    shift = page_shift_of(config)
    ranges = all_ranges(regions)
    first, end = ranges[0][0], ranges[-1][1]
    limits = zone_limits(
        config.arch,
        first,
        end,
        zone_dma_bits=config.zone_dma_bits,
        low_pfn=lowmem_pfns(config, end)[0] if HIGHMEM in kinds else 0,
        page_shift=shift,
    )
    lowest: list[int] = []
    highest: list[int] = []
    at = first
    for index in range(len(kinds)):
        lowest.append(at)
        at = max(limits[index], at) if index < len(limits) else at
        highest.append(at)
    usable = max([i for i in range(len(kinds)) if kinds[i] not in (MOVABLE, DEVICE) and highest[i] > lowest[i]])
    high_start = lowest[kinds.index(HIGHMEM)] if HIGHMEM in kinds else end
    free = free_at_boot(config.arch, ranges, high_start, shift)
    nr_nodes = config.nr_nodes
    movable = movable_starts(config, regions, nr_nodes, lowest[usable])
    zones = []
    for nid in range(nr_nodes):
        own = node_ranges(regions, nid)
        node_free = [part for start, stop in own for part in overlap(free, start, stop)]
        for index, kind in enumerate(kinds):
            low, high = lowest[index], highest[index]
            if kind == MOVABLE:
                low, high = movable[nid], highest[usable] if movable[nid] else 0
            elif movable[nid] and kind != DEVICE:
                low, high = min(low, movable[nid]), min(high, movable[nid])
            zone = make_zone(kind, index, nid, own, (low, high), mem_map)
            zone.is_highmem = kind == HIGHMEM or (kind == MOVABLE and kinds[usable] == HIGHMEM)
            zone.watermark_boost_factor = config.watermark_boost_factor
            zone.linux_6_1 = config.linux == "6.1"
            zone.lowmem_reserve = [0] * len(kinds)
            zone.node_cpus = len([cpu for cpu in range(config.cpus) if node_of_cpu(cpu, config) == nid])
            if zone.present_pages:
                give_frames(zone, list(overlap(node_free, zone.zone_start_pfn, zone.end_pfn)))
            zones.append(zone)
    for zone in zones:
        if any(other is not zone and other.zone_start_pfn < zone.end_pfn and zone.zone_start_pfn < other.end_pfn
                for other in zones):  # fmt: skip
            zone.pieces = overlap(node_ranges(regions, int(zone.node_id)), zone.zone_start_pfn, zone.end_pfn)
    return zones


def make_zone(kind: int, index: int, nid: int, own: list[PfnRange], limits: PfnRange, mem_map: MemMap) -> Zone:
    """A zone of node ``nid``, whose RAM is ``own``, within ``limits``; it has no free frames yet."""
    start, stop = (max(own[0][0], limits[0]), min(own[-1][1], limits[1])) if own else (0, 0)
    if stop <= start:
        return Zone(kind, index, 0, 0, mem_map, nid)
    zone = Zone(kind, index, start, stop, mem_map, nid)
    zone.present_pages = frames_of(overlap(own, start, stop))
    return zone


def give_frames(zone: Zone, free: list[PfnRange]) -> None:
    """The allocator gets ``free`` (ascending), which wait on the zone's deferred list."""
    zone.managed_pages = frames_of(free)
    zone.free_pages = zone.managed_pages
    zone.deferred = free[::-1]


def node_of_cpu(cpu: int, config: "Config") -> int:
    """The configured node of a CPU; where nothing is said, CPUs are dealt out to nodes in equal, contiguous parts."""
    if config.cpu_nodes:
        return int(config.cpu_nodes[cpu])
    cpus, nr_nodes = config.cpus, config.nr_nodes
    return cpu * nr_nodes // cpus if cpus >= nr_nodes else cpu


def core_frames(text: str, total: int, what: str, page_shift: int) -> int:
    """``kernelcore`` or ``movablecore`` in frames: a size, or a percentage of all frames; 0 where it is not set."""
    from pagewalk.config import parse_size

    if text.endswith("%"):
        return total * int(text[:-1]) // 100
    return parse_size(text, what) >> page_shift if text else 0


def movable_starts(config: "Config", regions: list[MemRegion], nr_nodes: int, usable_start: int) -> list[int]:
    """Where ZONE_MOVABLE begins in each node, 0 where it has none.

    ``kernelcore`` frames are left for the kernel, spread evenly over the nodes; what lies below the zone that MOVABLE
    is cut from counts first. ``movablecore`` says how much is to be movable instead.
    """
    starts = [0] * nr_nodes
    total = frames_of(all_ranges(regions))
    required = core_frames(str(config.kernelcore), total, "kernelcore", page_shift_of(config))
    movable = core_frames(str(config.movablecore), total, "movablecore", page_shift_of(config))
    block = 1 << max_page_order(config.arch, page_shift_of(config))
    if movable:
        movable = min((movable + block - 1) // block * block, total)
        required = max(required, total - movable)
    if not required or required >= total:
        return starts
    nodes = [nid for nid in range(nr_nodes) if node_ranges(regions, nid)]
    usable_nodes = len(nodes)
    while True:
        share = required // usable_nodes
        for nid in nodes:
            if required < share:
                share = required // usable_nodes
            remaining = share
            for first, end in node_ranges(regions, nid):
                start = max(first, starts[nid])
                if start >= end:
                    continue
                if start < usable_start:
                    kernel_pages = min(end, usable_start) - start
                    remaining -= min(kernel_pages, remaining)
                    required -= min(kernel_pages, required)
                    if end <= usable_start:
                        starts[nid] = end
                        continue
                    start = usable_start
                size = min(end - start, remaining)
                starts[nid] = start + size
                required -= min(required, size)
                remaining -= size
                if not remaining:
                    break
        usable_nodes -= 1
        if not usable_nodes or required <= usable_nodes:
            break
    for nid in nodes:
        starts[nid] = (starts[nid] + block - 1) // block * block
        if starts[nid] >= node_ranges(regions, nid)[-1][1]:
            starts[nid] = 0
    return starts


def zone_of_frame(zones: list[Zone], regions: list[MemRegion], pfn: int) -> Zone | None:
    """The zone of a frame, None where it is in a hole."""
    for region in regions:
        if region.start <= pfn < region.end:
            for zone in zones:
                if zone.node_id == region.nid and zone.zone_start_pfn <= pfn < zone.end_pfn:
                    return zone
    return None


def gfp_zones(kinds: tuple[int, ...]) -> list[int]:
    """The highest zone index that a request may use, by the low four bits of its gfp flags (GFP_ZONE_TABLE).

    A flag of a zone that the architecture does not have stands for NORMAL.
    """
    normal = kinds.index(NORMAL)
    table = []
    for bits in range(16):
        dma, high, dma32, movable = [bits >> shift & 1 for shift in range(4)]
        if dma:
            table.append(0 if kinds[0] == DMA else normal)
        elif dma32:
            table.append(kinds.index(DMA32) if DMA32 in kinds else normal)
        elif high:
            table.append(kinds.index(MOVABLE) if movable else kinds.index(HIGHMEM) if HIGHMEM in kinds else normal)
        else:
            table.append(normal)
    return table
