"""Which frames are RAM, and on which node: what firmware tells the kernel, as ranges of frame numbers.

Mirrors: mm/memblock.c, arch/x86/kernel/e820.c, arch/x86/mm/numa.c (6.18)
Differs: ranges are given or made from a size; what the kernel reserves of them is in mm/boot_reserve.py.
"""

from typing import TYPE_CHECKING, Final, final

from pagewalk.arch.zone_limits import lowmem_pfns

if TYPE_CHECKING:
    from pagewalk.config import Config

PfnRange = tuple[int, int]

_LOW_END: Final = 0x9F  # of a PC, whose pages have 4 KiB
_HIGH_START: Final = 0x100
_HOLE_START: Final = 0xC0000
_FOUR_GIB: Final = 1 << 20
_ARM64_START: Final = 1 << 30  # as QEMU's virt machine has it


@final
class MemRegion:
    """A range of RAM: frames start to end (exclusive) of node ``nid``."""

    def __init__(self, start: int, end: int, nid: int = 0) -> None:
        self.start = start
        self.end = end
        self.nid = nid

    def __repr__(self) -> str:
        return f"<MemRegion {self.start:#x}-{self.end:#x} node {self.nid}>"


def firmware_map(arch: str, ram: int, page_shift: int = 12) -> list[PfnRange]:
    """The usual map of a machine with ``ram`` bytes, as (first, end) numbers of frames of ``1 << page_shift`` bytes.

    A PC has RAM below 640 KiB, from 1 MiB to at most 3 GiB, and the rest from 4 GiB on; arm64 in one piece from 1 GiB.
    The machines of other architectures have a PC's map.
    """
    frames = ram >> page_shift
    if arch == "arm64":
        start = _ARM64_START >> page_shift
        return [(start, start + frames)]
    below = min(frames, _HOLE_START)
    ranges = [(1, _LOW_END), (_HIGH_START, below)]
    if frames > below:
        ranges.append((_FOUR_GIB, _FOUR_GIB + frames - below))
    return ranges


def usable_frames(ranges: list[tuple[int, int]], page_shift: int = 12) -> list[PfnRange]:
    """Whole frames within byte ranges (start, end exclusive), sorted, neighbours joined. ValueError on an overlap."""
    found: list[PfnRange] = []
    last = -1
    for start, end in sorted(ranges):
        if start < last:
            raise ValueError(f"memory map: {start:#x}-{end - 1:#x} overlaps what ends at {last - 1:#x}")
        last = end
        first, behind = -(-start >> page_shift), end >> page_shift
        if first >= behind:
            continue
        if found and found[-1][1] == first:
            found[-1] = (found[-1][0], behind)
        else:
            found.append((first, behind))
    return found


def split_by_size(ranges: list[PfnRange], frames: list[int], first: int) -> list[MemRegion]:
    """Deals RAM out to nodes in ascending order: node n gets the next ``frames[n]`` frames, the last node that has any
    the rest.

    Where the nodes' sizes add up to more than ``ranges``, firmware keeps the difference: it counts as RAM where the
    map has holes, the lowest first, from frame ``first`` on (a PC's first MiB, what lies below the hole for devices).
    """
    regions: list[MemRegion] = []
    with_memory = [nid for nid in range(len(frames)) if frames[nid]] or [0]
    nid, last = with_memory[0], with_memory[-1]
    kept = max(sum(frames) - frames_of(ranges), 0)
    counted = 0
    limit = frames[nid]
    before = first
    for start, end in ranges:
        hole = min(max(start - before, 0), kept)
        kept -= hole
        counted += hole
        before = end
        at = start
        while at < end:
            if nid < last and counted >= limit:
                nid += 1
                limit += frames[nid]
                continue
            stop = end if nid == last else min(end, at + limit - counted)
            regions.append(MemRegion(at, stop, nid))
            counted += stop - at
            at = stop
    return regions


def page_shift_of(config: "Config") -> int:
    """Log2 of the configured machine's page size."""
    return int(config.granule).bit_length() - 1


def regions_of(config: "Config") -> list[MemRegion]:
    """The machine's RAM, as far as its kernel uses it, as frames of nodes."""
    regions = given_regions(config)
    if config.arch not in ("x86_32", "x86_pae"):
        return regions
    _, limit = lowmem_pfns(config, max([region.end for region in regions]))
    return [MemRegion(each.start, min(each.end, limit), each.nid) for each in regions if each.start < limit]


def given_regions(config: "Config") -> list[MemRegion]:
    """The machine's RAM as the memory map has it."""
    shift = page_shift_of(config)
    sizes = [int(size) >> shift for size in config.nodes]
    if config.memory_map:
        if sizes:
            frames = usable_frames([(row[0], row[1]) for row in config.memory_map], shift)
            return split_by_size(frames, sizes, first_frame(config.arch, frames))
        regions = []
        for nid in range(config.nr_nodes):
            own = usable_frames([(row[0], row[1]) for row in config.memory_map if row[2] == nid], shift)
            regions += [MemRegion(start, end, nid) for start, end in own]
        return regions
    frames = firmware_map(config.arch, int(config.ram), shift)
    return split_by_size(frames, sizes or [1 << 62], first_frame(config.arch, frames))


def first_frame(arch: str, ranges: list[PfnRange]) -> int:
    """Where a machine's RAM begins, kept or not: at 0 but for arm64."""
    return ranges[0][0] if arch == "arm64" else 0


def overlap(ranges: list[PfnRange], start: int, end: int) -> list[PfnRange]:
    """The parts of ``ranges`` within [start, end)."""
    return [(max(a, start), min(b, end)) for a, b in ranges if max(a, start) < min(b, end)]


def without(ranges: list[PfnRange], hole: PfnRange) -> list[PfnRange]:
    """``ranges`` less ``hole``."""
    left = []
    for start, end in ranges:
        left += [(a, b) for a, b in ((start, min(end, hole[0])), (max(start, hole[1]), end)) if a < b]
    return left


def frames_of(ranges: list[PfnRange]) -> int:
    """How many frames."""
    return sum([end - start for start, end in ranges])


def take_from_top(ranges: list[PfnRange], count: int) -> list[PfnRange]:
    """``ranges`` less their ``count`` highest frames."""
    left = list(ranges)
    while count > 0 and left:
        start, end = left.pop()
        if end - start > count:
            left.append((start, end - count))
        count -= end - start
    return left
