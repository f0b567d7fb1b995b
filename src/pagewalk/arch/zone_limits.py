"""Which zones an architecture has, and up to which frame each reaches: data for mm/mm_init.py.

Mirrors: arch/x86/mm/init.c (zone_sizes_init), arch/x86/mm/init_32.c (find_low_pfn_range), arch/arm64/mm/init.c
    (max_zone_phys), arch/riscv/mm/init.c (zone_sizes_init) (6.18)
Differs: the configuration is a distribution's: ZONE_DMA and ZONE_DMA32 where the architecture has them, ZONE_DEVICE on
    x86-64, 32-bit x86 with CONFIG_HIGHMEM.
"""

from typing import Final

from pagewalk.arch.map_arm64 import address_map as arm64_map
from pagewalk.arch.map_x86 import map_32, page_offset

DMA: Final = 0
DMA32: Final = 1
NORMAL: Final = 2
HIGHMEM: Final = 3
MOVABLE: Final = 4
DEVICE: Final = 5
KIND_NAMES: Final = ("DMA", "DMA32", "Normal", "HighMem", "Movable", "Device")

# Kinds of zone in the order of their index (enum zone_type, as configured).
ZONE_KINDS: Final = {
    "x86_64": (DMA, DMA32, NORMAL, MOVABLE, DEVICE),
    "x86_32": (DMA, NORMAL, HIGHMEM, MOVABLE),
    "x86_pae": (DMA, NORMAL, HIGHMEM, MOVABLE),
    "arm64": (DMA, DMA32, NORMAL, MOVABLE),
    "riscv64": (DMA32, NORMAL, MOVABLE),
    "riscv32": (NORMAL, MOVABLE),
}

# Frames of a page block where huge pages are: log2, at most MAX_PAGE_ORDER (10).
PAGEBLOCK_ORDER: Final = {"x86_32": 10}

_ARM64_MODULES_GREW: Final = 1920 << 10  # KiB: modules have 2 GiB since 6.5, 128 MiB before
MAX_DMA_PFN: Final = 4096  # 16 MiB, what ISA devices reach
MAX_DMA32_PFN: Final = 1 << 20  # 4 GiB


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
    vmsplit: str = "3G",
    vmalloc: int = 128 << 20,
    page_shift: int = 12,
) -> list[int]:
    """The frame behind the last one of each zone, by zone index (max_zone_pfns), 0 for MOVABLE and DEVICE.

    first_pfn, end_pfn  where RAM begins and ends
    zone_dma_bits       arm64: what firmware says devices reach, log2 of bytes (30 on a Raspberry Pi 4, else 32)
    vmsplit, vmalloc    32-bit x86: which bound lowmem (``vmalloc``: bytes, the boot parameter of that name)
    """
    if arch == "x86_64":
        return [min(MAX_DMA_PFN, end_pfn), min(MAX_DMA32_PFN, end_pfn), end_pfn, 0, 0]
    if arch in ("x86_32", "x86_pae"):
        low = min(end_pfn, lowmem_end(arch, vmsplit, vmalloc))
        return [min(MAX_DMA_PFN, low), low, end_pfn, 0]
    if arch == "arm64":
        return [
            _arm64_limit(first_pfn, end_pfn, bits - page_shift, 32 - page_shift) for bits in (zone_dma_bits, 32)
        ] + [end_pfn, 0]
    if arch == "riscv64":
        return [min(MAX_DMA32_PFN, end_pfn), end_pfn, 0]
    return [end_pfn, 0]


def _arm64_limit(first_pfn: int, end_pfn: int, bits: int, bits32: int) -> int:
    """max_zone_phys: what ``bits`` of frame number reach; 4 GiB where RAM begins above that, all where above."""
    limit = 1 << bits
    if first_pfn >= 1 << bits32:
        return end_pfn
    if first_pfn >= limit:
        limit = 1 << bits32
    return min(limit, end_pfn)


def lowmem_end(arch: str, vmsplit: str = "3G", vmalloc: int = 128 << 20) -> int:
    """32-bit x86: MAXMEM_PFN, the first frame that the direct map cannot hold."""
    pae = arch == "x86_pae"
    offset = page_offset(vmsplit, pae)
    for region in map_32(offset, 64 << 30, pae, vmalloc).regions:
        if region.name.startswith("lowmem"):
            return region.size >> 12
    raise AssertionError("the map has no lowmem")


def vmalloc_total(
    arch: str, levels: int, end_pfn: int, vmsplit: str = "3G", vmalloc: int = 128 << 20, release: str = "6.18"
) -> int:
    """VmallocTotal of /proc/meminfo, in KiB: VMALLOC_END - VMALLOC_START; 0 where the map is not known."""
    if arch == "x86_64":
        return (1 << 35) - 1 if levels == 4 else (12800 << 30) - 1
    if arch in ("x86_32", "x86_pae"):
        low = min(end_pfn, lowmem_end(arch, vmsplit, vmalloc))
        found = map_32(page_offset(vmsplit, arch == "x86_pae"), low << 12, arch == "x86_pae", vmalloc)
        return next(region.size >> 10 for region in found.regions if region.name.startswith("vmalloc"))
    if arch == "arm64":
        size = next(region.size >> 10 for region in arm64_map().regions if region.name == "vmalloc")
        return size + (_ARM64_MODULES_GREW if release == "6.1" else 0)
    return 0
