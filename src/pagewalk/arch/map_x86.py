"""The address map of x86: 64 bits with 4 and 5 levels, and 32 bits with any split.

Sources: Documentation/arch/x86/x86_64/mm.rst; for 32 bits arch/x86/include/asm/pgtable_32_areas.h and fixmap.h, and
what a Debian kernel (6.1, 686-pae) said at boot: lowmem to f6ffe000, vmalloc 120 MiB.

Mirrors: Documentation/arch/x86/x86_64/mm.rst, arch/x86/include/asm/pgtable_32_areas.h (6.18)
Differs: on 32 bits the fixmap and the CPU entry area have the places of that kernel; they depend on its configuration.
"""

from typing import Final

from pagewalk.arch import x86_32, x86_64
from pagewalk.arch.address_map import HOLE, KERNEL, UNUSED, USER, AddressMap, Region, tile, user_marks

# (first address, name) of the regions that 4 and 5 levels share, each up to the next.
_TOP: Final = (
    (0xFFFF_FC00_0000_0000, "... unused hole", UNUSED),
    (0xFFFF_FE00_0000_0000, "cpu_entry_area mapping", KERNEL),
    (0xFFFF_FE80_0000_0000, "... unused hole", UNUSED),
    (0xFFFF_FF00_0000_0000, "%esp fixup stacks", KERNEL),
    (0xFFFF_FF80_0000_0000, "... unused hole", UNUSED),
    (0xFFFF_FFEF_0000_0000, "EFI region mapping space", KERNEL),
    (0xFFFF_FFFF_0000_0000, "... unused hole", UNUSED),
    (0xFFFF_FFFF_8000_0000, "kernel text mapping, mapped to physical address 0", KERNEL),
    (0xFFFF_FFFF_A000_0000, "module mapping space", KERNEL),
    (0xFFFF_FFFF_FF00_0000, "kernel-internal fixmap range, top down, variable size", KERNEL),
    (0xFFFF_FFFF_FF60_0000, "legacy vsyscall ABI", KERNEL),
    (0xFFFF_FFFF_FF60_1000, "... unused hole", UNUSED),
)
_FOUR: Final = (
    (0xFFFF_8000_0000_0000, "... guard hole, also reserved for hypervisor", UNUSED),
    (0xFFFF_8800_0000_0000, "LDT remap for PTI", KERNEL),
    (0xFFFF_8880_0000_0000, "direct mapping of all physical memory (page_offset_base)", KERNEL),
    (0xFFFF_C880_0000_0000, "... unused hole", UNUSED),
    (0xFFFF_C900_0000_0000, "vmalloc/ioremap space (vmalloc_base)", KERNEL),
    (0xFFFF_E900_0000_0000, "... unused hole", UNUSED),
    (0xFFFF_EA00_0000_0000, "virtual memory map (vmemmap_base)", KERNEL),
    (0xFFFF_EB00_0000_0000, "... unused hole", UNUSED),
    (0xFFFF_EC00_0000_0000, "KASAN shadow memory", KERNEL),
)
_FIVE: Final = (
    (0xFF00_0000_0000_0000, "... guard hole, also reserved for hypervisor", UNUSED),
    (0xFF10_0000_0000_0000, "LDT remap for PTI", KERNEL),
    (0xFF11_0000_0000_0000, "direct mapping of all physical memory (page_offset_base)", KERNEL),
    (0xFF91_0000_0000_0000, "... unused hole", UNUSED),
    (0xFFA0_0000_0000_0000, "vmalloc/ioremap space (vmalloc_base)", KERNEL),
    (0xFFD2_0000_0000_0000, "... unused hole", UNUSED),
    (0xFFD4_0000_0000_0000, "virtual memory map (vmemmap_base)", KERNEL),
    (0xFFD6_0000_0000_0000, "... unused hole", UNUSED),
    (0xFFDF_0000_0000_0000, "KASAN shadow memory", KERNEL),
)


def map_64(levels: int) -> AddressMap:
    """x86-64 with 4 or 5 levels."""
    half = 1 << (47 if levels == 4 else 56)
    kernel = (*(_FOUR if levels == 4 else _FIVE), *_TOP)
    ends = [start for start, _, _ in kernel[1:]] + [1 << 64]
    regions = [
        Region(0, half, "user-space virtual memory, different per mm", USER),
        Region(half, (1 << 64) - half, "... huge, non-canonical hole", HOLE),
        *[Region(start, end, name, kind) for (start, name, kind), end in zip(kernel, ends, strict=True)],
    ]
    name = f"x86_64, {levels} levels"
    return AddressMap(name, 64, tile(64, regions), (), user_marks(x86_64.layout(levels)))


SPLITS: Final = {
    "3G": 0xC000_0000, "3G_OPT": 0xB000_0000, "2G": 0x8000_0000, "2G_OPT": 0x7800_0000, "1G": 0x4000_0000,
}  # fmt: skip

_FIXADDR_TOP: Final = 0xFFFF_F000
# Debian's kernels for 32 CPUs, read off their instructions: 1537 slots of the fixmap in all (68 before those of
# kmap_local, 16 for each CPU, early ioremap's 512 on a boundary of 512), 43 pages of CPU entry area for each CPU.
_FIXADDR_START: Final = _FIXADDR_TOP - 0x601 * 4096
_CPU_ENTRY_PAGES: Final = 1 + 32 * 43
_VMALLOC_OFFSET: Final = 8 << 20
_VMALLOC_RESERVE: Final = 128 << 20
_HIGHEST: Final = 0xE000_0000  # the kernel half needs room for vmalloc and something to map


def page_offset(split: str, pae: bool) -> int:
    """CONFIG_PAGE_OFFSET of a split: a name of ``SPLITS`` ("3G", CONFIG_VMSPLIT_3G), "3G/1G", or any address.

    ValueError where it is neither, or not at the beginning of a root entry (PAE: a multiple of 1 GiB).
    """
    name = split.upper().partition("/")[0].removeprefix("VMSPLIT_")
    if name in SPLITS:
        found = SPLITS[name]
    else:
        try:
            found = int(name, 0)
        except ValueError:
            raise ValueError(f"vmsplit: expected {', '.join(SPLITS)}, 3G/1G or an address, got {split!r}") from None
    unit = 1 << (30 if pae else 22)
    if found % unit or not 1 << 28 <= found <= _HIGHEST:
        most = f"{unit:#x} between 0x10000000 and {_HIGHEST:#x}{' (PAE)' if pae else ''}"
        raise ValueError(f"vmsplit: expected a multiple of {most}, got {found:#x}")
    return found


def vmalloc_reserve(parameter: int) -> int:
    """What lowmem leaves for vmalloc, guard hole included (__VMALLOC_RESERVE): the boot parameter ``vmalloc`` comes
    without it; 0 where it is not given."""
    return parameter + _VMALLOC_OFFSET if parameter else _VMALLOC_RESERVE


def map_32(
    offset: int = 0xC000_0000, ram: int = 4 << 30, pae: bool = False, vmalloc: int = _VMALLOC_RESERVE
) -> AddressMap:
    """32-bit x86: ``offset`` is CONFIG_PAGE_OFFSET, ``ram`` the end of RAM in bytes, ``vmalloc`` the bytes that lowmem
    leaves for vmalloc and its guard hole at least."""
    pmd = 1 << (21 if pae else 22)
    entry_area = (_FIXADDR_START - (_CPU_ENTRY_PAGES + 1) * 4096) & -pmd
    ldt = entry_area - pmd
    pkmap = ldt - pmd
    vmalloc_end = pkmap - 2 * 4096
    maxmem = vmalloc_end - offset - vmalloc
    lowmem = min(ram, maxmem)
    high_memory = offset + lowmem
    regions = [
        Region(0, offset, "user-space virtual memory, different per mm", USER),
        Region(offset, high_memory, f"lowmem: direct mapping of the first {lowmem >> 20} MiB", KERNEL),
        Region(high_memory, high_memory + _VMALLOC_OFFSET, "... guard hole (VMALLOC_OFFSET)", UNUSED),
        Region(high_memory + _VMALLOC_OFFSET, vmalloc_end, "vmalloc/ioremap space, and modules", KERNEL),
        Region(vmalloc_end, pkmap, "... guard hole", UNUSED),
        Region(pkmap, pkmap + (512 if pae else 1024) * 4096, "pkmap: persistent kmap of highmem", KERNEL),
        Region(ldt, ldt + pmd, "LDT remap for PTI", KERNEL),
        Region(entry_area, entry_area + _CPU_ENTRY_PAGES * 4096, "cpu_entry_area", KERNEL),
        Region(_FIXADDR_START, _FIXADDR_TOP, "fixmap, with atomic kmap (top down)", KERNEL),
    ]
    name = f"{'x86_pae' if pae else 'x86_32'}, PAGE_OFFSET {offset:#x}"
    return AddressMap(name, 32, tile(32, regions), (), user_marks(x86_32.layout(offset)))
