"""The address map of arm64: computed from the release, the page size and the bits of address, as its header does.

The map above the linear map changed twice: in 6.5 modules grew from 128 MiB to 2 GiB; in 6.9 vmemmap, PCI I/O and the
fixmap moved to the top. A kernel that is built for 52 bits (VA_BITS) falls back to 48, with 16 KiB pages to 47, where
the CPU has no more (VA_BITS_MIN, vabits_actual); since 6.9 vmalloc gets what vmemmap then leaves.

Sources: Documentation/arch/arm64/memory.rst until 6.8, whose two tables (4 KiB and 48 bits, 64 KiB and 52 bits) the
tests compare; later releases have no table: the header, and what Debian's kernels (6.1, 6.12, 6.18; 4 and 16 KiB) say
in /proc/kcore and have in their page tables (tests/golden/kcore).

Mirrors: arch/arm64/include/asm/memory.h, pgtable.h (VMALLOC_END), fixmap.h (6.18)
Differs: the fixmap has all the room that there is below its top; its size depends on the configuration.
"""

from typing import Final

from pagewalk.arch import arm64
from pagewalk.arch.address_map import HOLE, KERNEL, UNUSED, USER, AddressMap, Region, tile, user_marks

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_TOP: Final = 1 << 64
_STRUCT_PAGE: Final = 6  # log2 of its bytes
_BIG_MODULES: Final = (6, 5)
_VMEMMAP_ON_TOP: Final = (6, 9)


def release_number(release: str) -> tuple[int, int]:
    """(6, 18) of "6.18". ValueError where the text is no release."""
    major, dot, minor = release.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal()):
        raise ValueError(f"linux: expected a release as 6.18, got {release!r}")
    return int(major), int(minor)


def vmalloc_size(granule: int, va_bits: int, release: str) -> int:
    """Bytes of the vmalloc area. ``va_bits`` is CONFIG_ARM64_VA_BITS, and what the CPU has."""
    found = address_map(granule, va_bits, release).regions
    return next(region.size for region in found if region.name == "vmalloc")


def address_map(granule: int = 4096, va_bits: int = 48, release: str = "6.18", actual: int = 0) -> AddressMap:
    """The map of one granule (bytes) and size of address; ``arm64.page_format`` says which there are.

    va_bits  CONFIG_ARM64_VA_BITS, what the kernel was built for
    release  "6.1", "6.18", ...
    actual   bits that the CPU offers such a kernel: ``va_bits`` or what it falls back to; 0 is ``va_bits``

    ValueError for a release that is none, and other bits.
    """
    number = release_number(release)
    page_shift = arm64.GRANULES[granule]
    least = arm64.va_bits_min(granule, va_bits)
    if actual not in (0, va_bits, least):
        choice = f"{va_bits} or {least}" if least < va_bits else f"{va_bits}"
        raise ValueError(f"arm64: expected a CPU with {choice} bits of address, got {actual}")
    bits = actual or va_bits
    offset = _TOP - (1 << bits)
    page_end = _TOP - (1 << least - 1)
    modules_end = page_end + (2 * _GIB if number >= _BIG_MODULES else 128 * _MIB)
    whole = page_end - (_TOP - (1 << va_bits)) >> page_shift - _STRUCT_PAGE  # VMEMMAP_SIZE
    needed = page_end - offset >> page_shift - _STRUCT_PAGE
    if number >= _VMEMMAP_ON_TOP:
        above = _top_regions(modules_end, needed)
    else:
        above = _old_regions(modules_end, _TOP - (1 << va_bits - page_shift + _STRUCT_PAGE), whole, needed)
    regions = [
        Region(0, 1 << bits, "user", USER),
        Region(1 << bits, offset, "... hole: neither TTBR0's nor TTBR1's", HOLE),
        Region(offset, page_end, "kernel logical memory map", KERNEL),
        Region(page_end, modules_end, "modules", KERNEL),
        *above,
    ]
    shadow = Region(page_end - (1 << bits - 3), page_end, "[kasan shadow region]", KERNEL)
    cpu = "" if bits == va_bits else f" on a CPU with {bits}"
    name = f"arm64, {granule >> 10}K pages, {va_bits} bits{cpu}, Linux {release}"
    return AddressMap(name, 64, tile(64, regions), (shadow,), user_marks(arm64.layout(granule, bits)))


def _top_regions(modules_end: int, vmemmap_size: int) -> list[Region]:
    """What is above the modules since 6.9."""
    vmemmap_end = _TOP - _GIB
    vmemmap = vmemmap_end - vmemmap_size
    pci = vmemmap_end + 8 * _MIB
    return [
        Region(modules_end, vmemmap - 8 * _MIB, "vmalloc", KERNEL),
        Region(vmemmap - 8 * _MIB, vmemmap, "[guard region]", UNUSED),
        Region(vmemmap, vmemmap_end, "vmemmap", KERNEL),
        Region(vmemmap_end, pci, "[guard region]", UNUSED),
        Region(pci, pci + 16 * _MIB, "PCI I/O space", KERNEL),
        Region(pci + 16 * _MIB, pci + 24 * _MIB, "[guard region]", UNUSED),
        Region(pci + 24 * _MIB, _TOP - 8 * _MIB, "fixed mappings (top down)", KERNEL),
        Region(_TOP - 8 * _MIB, _TOP, "[guard region]", UNUSED),
    ]


def _old_regions(modules_end: int, vmemmap: int, whole: int, needed: int) -> list[Region]:
    """What was above the modules until 6.8: ``whole`` bytes of vmemmap have room, the last ``needed`` are used."""
    used = vmemmap + whole - needed
    return [
        Region(modules_end, vmemmap - 256 * _MIB, "vmalloc", KERNEL),
        Region(vmemmap - 256 * _MIB, vmemmap - 32 * _MIB, "fixed mappings (top down)", KERNEL),
        Region(vmemmap - 32 * _MIB, vmemmap - 24 * _MIB, "[guard region]", UNUSED),
        Region(vmemmap - 24 * _MIB, vmemmap - 8 * _MIB, "PCI I/O space", KERNEL),
        Region(vmemmap - 8 * _MIB, vmemmap, "[guard region]", UNUSED),
        Region(used, vmemmap + whole, "vmemmap", KERNEL),
        Region(vmemmap + whole, _TOP, "[guard region]", UNUSED),
    ]
