"""Which zones an architecture has, and up to which frame each reaches: data for mm/mm_init.py.

Mirrors: arch/x86/mm/init.c (zone_sizes_init), arch/x86/mm/init_32.c (find_low_pfn_range), arch/arm64/mm/init.c
    (max_zone_phys), arch/riscv/mm/init.c (zone_sizes_init) (6.18)
Differs: the configuration is a distribution's: ZONE_DMA and ZONE_DMA32 where the architecture has them, ZONE_DEVICE on
    x86-64 and arm64, 32-bit x86 with CONFIG_HIGHMEM.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.arch.address_map import AddressMap
from pagewalk.arch.map_arm64 import vmalloc_size
from pagewalk.arch.map_riscv import address_map as riscv_map
from pagewalk.arch.map_x86 import map_32, page_offset, vmalloc_reserve

if TYPE_CHECKING:
    from pagewalk.config import Config

DMA: Final = 0
DMA32: Final = 1
NORMAL: Final = 2
HIGHMEM: Final = 3
MOVABLE: Final = 4
DEVICE: Final = 5
KIND_NAMES: Final = ("DMA", "DMA32", "Normal", "HighMem", "Movable", "Device")

# Kinds of zone in the order of their index (enum zone_type, as configured).
_ZONE_KINDS: Final = {
    "x86_64": (DMA, DMA32, NORMAL, MOVABLE, DEVICE),
    "x86_32": (DMA, NORMAL, HIGHMEM, MOVABLE),
    "x86_pae": (DMA, NORMAL, HIGHMEM, MOVABLE),
    "arm64": (DMA, DMA32, NORMAL, MOVABLE, DEVICE),
    "riscv64": (DMA32, NORMAL, MOVABLE),
    "riscv32": (NORMAL, MOVABLE),
}

_ARM64_6_1: Final = (DMA, DMA32, NORMAL, MOVABLE)

# Frames of a page block where huge pages are: log2, at most MAX_PAGE_ORDER (10).
PAGEBLOCK_ORDER: Final = {"x86_32": 10}

_LEAST_LOWMEM: Final = 16384  # 64 MiB
MAX_DMA_PFN: Final = 4096  # 16 MiB, what ISA devices reach
MAX_DMA32_PFN: Final = 1 << 20  # 4 GiB


def zone_kinds(arch: str, release: str = "6.18") -> tuple[int, ...]:
    """Kinds of zone in the order of their index (enum zone_type, as a distribution configures it: arm64 has ZONE_DEVICE
    in releases after 6.1)."""
    return _ARM64_6_1 if arch == "arm64" and release == "6.1" else _ZONE_KINDS[arch]


def huge_order(arch: str, page_shift: int = 12) -> int:
    """Log2 of the frames of a huge page: what a last-level table maps."""
    return PAGEBLOCK_ORDER.get(arch, page_shift - 3)


def pageblock_order(arch: str, page_shift: int = 12) -> int:
    """Log2 of the frames of a page block: a huge page, at most the largest free block."""
    return min(huge_order(arch, page_shift), max_page_order(arch, page_shift))


def max_page_order(arch: str, page_shift: int = 12) -> int:
    """Log2 of the frames of the largest free block (MAX_PAGE_ORDER): 10, but 11 and 13 with arm64's pages of 16 and 64
    KiB (arch/arm64/Kconfig, ARCH_FORCE_MAX_ORDER)."""
    return {14: 11, 16: 13}.get(page_shift, 10) if arch == "arm64" else 10


def zone_limits(
    arch: str,
    first_pfn: int,
    end_pfn: int,
    *,
    zone_dma_bits: int = 32,
    low_pfn: int = 0,
    page_shift: int = 12,
) -> list[int]:
    """The frame behind the last one of each zone, by zone index (max_zone_pfns), without MOVABLE and DEVICE.

    first_pfn, end_pfn  where RAM begins and ends
    zone_dma_bits       arm64: what firmware says devices reach, log2 of bytes (30 on a Raspberry Pi 4, else 32)
    low_pfn             32-bit x86: where lowmem ends
    """
    if arch == "x86_64":
        return [min(MAX_DMA_PFN, end_pfn), min(MAX_DMA32_PFN, end_pfn), end_pfn]
    if arch in ("x86_32", "x86_pae"):
        return [min(MAX_DMA_PFN, low_pfn), low_pfn, end_pfn]
    if arch == "arm64":
        return [
            _arm64_limit(first_pfn, end_pfn, bits - page_shift, 32 - page_shift) for bits in (zone_dma_bits, 32)
        ] + [end_pfn]
    if arch == "riscv64":
        return [min(MAX_DMA32_PFN, end_pfn), end_pfn]
    return [end_pfn]


def _arm64_limit(first_pfn: int, end_pfn: int, bits: int, bits32: int) -> int:
    """max_zone_phys: what ``bits`` of frame number reach; 4 GiB where RAM begins above that, all where above."""
    limit = 1 << bits
    if first_pfn >= 1 << bits32:
        return end_pfn
    if first_pfn >= limit:
        limit = 1 << bits32
    return min(limit, end_pfn)


def lowmem_pfns(config: "Config", end_pfn: int) -> tuple[int, int]:
    """32-bit x86 with RAM to ``end_pfn``: where lowmem ends, and where what is used of RAM ends (max_low_pfn, max_pfn,
    find_low_pfn_range). At least 64 MiB of lowmem are left."""
    most = lowmem_end(config.arch, config.vmsplit, int(config.vmalloc))
    high = int(config.highmem) >> 12 if int(config.highmem) >= 0 else -1
    if end_pfn > most:
        return most, min(end_pfn, most + high) if high >= 0 else end_pfn
    if high > 0 and end_pfn - high >= _LEAST_LOWMEM:
        return end_pfn - high, end_pfn
    return end_pfn, end_pfn


def lowmem_end(arch: str, vmsplit: str = "3G", vmalloc: int = 0) -> int:
    """32-bit x86: MAXMEM_PFN, the first frame that the direct map cannot hold."""
    pae = arch == "x86_pae"
    offset = page_offset(vmsplit, pae)
    for region in map_32(offset, 64 << 30, pae, vmalloc_reserve(vmalloc)).regions:
        if region.name.startswith("lowmem"):
            return region.size >> 12
    raise AssertionError("the map has no lowmem")


def lowmem_map(config: "Config", end_pfn: int) -> AddressMap:
    """32-bit x86: the address map of a machine whose RAM ends at ``end_pfn``."""
    pae = config.arch == "x86_pae"
    low = lowmem_pfns(config, end_pfn)[0]
    return map_32(page_offset(config.vmsplit, pae), low << 12, pae, vmalloc_reserve(int(config.vmalloc)))


def vmalloc_total(config: "Config", end_pfn: int, release: str) -> int:
    """VmallocTotal of /proc/meminfo, in KiB: VMALLOC_END - VMALLOC_START."""
    arch = config.arch
    if arch == "x86_64":
        return (1 << 35) - 1 if config.levels == 4 else (12800 << 30) - 1
    if arch in ("x86_32", "x86_pae"):
        found = lowmem_map(config, end_pfn)
        return next(region.size >> 10 for region in found.regions if region.name.startswith("vmalloc"))
    if arch == "arm64":
        return vmalloc_size(int(config.granule), config.va_bits, release) >> 10
    mode = "sv32" if arch == "riscv32" else {3: "sv39", 4: "sv48", 5: "sv57"}[config.levels]
    return next(region.size >> 10 for region in riscv_map(mode).regions if region.name.startswith("vmalloc"))
