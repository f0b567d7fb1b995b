"""The address map of arm64: computed from the page size and the bits of address, as its header does.

Source: Documentation/arch/arm64/memory.rst, whose two tables (4 KiB and 48 bits, 64 KiB and 52 bits) the tests compare.

Mirrors: Documentation/arch/arm64/memory.rst, arch/arm64/include/asm/memory.h (6.6)
Differs: since 6.9 the kernel moves vmemmap, PCI and fixmap to the top of the map; they are where the document has them.
"""

from typing import Final

from pagewalk.arch import arm64
from pagewalk.arch.address_map import HOLE, KERNEL, UNUSED, USER, AddressMap, Region, tile, user_marks

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_TOP: Final = 1 << 64
_MODULES_GREW: Final = 1920 << 20  # modules have 2 GiB since 6.5


def vmalloc_size(granule: int, va_bits: int, release: str) -> int:
    """Bytes of the vmalloc area. ``va_bits`` is CONFIG_ARM64_VA_BITS: a kernel for 52 bits reserves vmemmap for them
    where it runs with 48, too. In 6.1 modules had 128 MiB; since 6.9 vmemmap ends 1 GiB below the top, with 8 MiB
    between it and vmalloc."""
    regions = {region.name: region for region in address_map(granule, va_bits).regions}
    vmalloc = regions["vmalloc"]
    if release == "6.1":
        return vmalloc.size + _MODULES_GREW
    vmemmap = _TOP - _GIB - regions["vmemmap"].size
    return vmemmap - 8 * _MIB - vmalloc.start


def address_map(granule: int = 4096, va_bits: int = 48) -> AddressMap:
    """The map of one granule (bytes) and size of address; ``arm64.page_format`` says which there are."""
    page_shift = arm64.GRANULES[granule]
    offset = _TOP - (1 << va_bits)
    least = min(va_bits, 47 if page_shift == 14 and va_bits > 48 else 48)  # VA_BITS_MIN
    page_end = _TOP - (1 << least - 1)
    struct_page = page_shift - 6
    vmemmap = _TOP - (1 << va_bits - struct_page)
    vmemmap_end = vmemmap + (page_end - offset >> struct_page)
    modules_end = page_end + 2 * _GIB
    vmalloc_end = vmemmap - 256 * _MIB
    regions = [
        Region(0, 1 << va_bits, "user", USER),
        Region(1 << va_bits, offset, "... hole: neither TTBR0's nor TTBR1's", HOLE),
        Region(offset, page_end, "kernel logical memory map", KERNEL),
        Region(page_end, modules_end, "modules", KERNEL),
        Region(modules_end, vmalloc_end, "vmalloc", KERNEL),
        Region(vmalloc_end, vmemmap - 32 * _MIB, "fixed mappings (top down)", KERNEL),
        Region(vmemmap - 32 * _MIB, vmemmap - 24 * _MIB, "[guard region]", UNUSED),
        Region(vmemmap - 24 * _MIB, vmemmap - 8 * _MIB, "PCI I/O space", KERNEL),
        Region(vmemmap - 8 * _MIB, vmemmap, "[guard region]", UNUSED),
        Region(vmemmap, vmemmap_end, "vmemmap", KERNEL),
        Region(vmemmap_end, _TOP, "[guard region]", UNUSED),
    ]
    shadow = Region(page_end - (1 << va_bits - 3), page_end, "[kasan shadow region]", KERNEL)
    name = f"arm64, {granule >> 10}K pages, {va_bits} bits"
    return AddressMap(name, 64, tile(64, regions), (shadow,), user_marks(arm64.layout(granule, va_bits)))
