"""The areas of the kernel's half of the address space that mm/ works with, as numbers (x86).

Addresses are unsigned.

Sources: Documentation/arch/x86/x86_64/mm.rst; arch/map_x86.py for 32 bits.

Mirrors: arch/x86/include/asm/pgtable_64_types.h, pgtable_32_areas.h, arch/x86/mm/kaslr.c (kernel_randomize_memory),
    arch/x86/boot/compressed/kaslr.c (6.18)
Differs: randomness comes from the machine's seed; the kernel's image moves virtually only.
"""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pagewalk.arch.map_x86 import page_offset
from pagewalk.arch.zone_limits import lowmem_map, lowmem_pfns

if TYPE_CHECKING:
    from pagewalk.config import Config

_TB: Final = 1 << 40
_GB: Final = 1 << 30
_MB: Final = 1 << 20
_CPU_ENTRY_AREA: Final = 0xFFFF_FE00_0000_0000
_TEXT: Final = 0xFFFF_FFFF_8100_0000
_MODULES: Final = 0xFFFF_FFFF_A000_0000
_MODULES_KASLR: Final = 0xFFFF_FFFF_C000_0000
_MODULES_END: Final = 0xFFFF_FFFF_FF00_0000
_FIXADDR_TOP_64: Final = 0xFFFF_FFFF_FF7F_F000
_FIXADDR_START_64: Final = 0xFFFF_FFFF_FF57_C000
_FIXADDR_TOP_32: Final = 0xFFFF_F000
_FIX_KMAP_BEGIN: Final = 68  # behind a hole, two consoles, the local APIC and MAX_IO_APICS, which is 64
# Direct map, vmalloc, vmemmap; TiB of RAM that there can be (MAX_PHYSMEM_BITS), of vmalloc.
_FOUR: Final = (0xFFFF_8880_0000_0000, 0xFFFF_C900_0000_0000, 0xFFFF_EA00_0000_0000, 64, 32)
_FIVE: Final = (0xFF11_0000_0000_0000, 0xFFA0_0000_0000_0000, 0xFFD4_0000_0000_0000, 4096, 12800)


@dataclass(frozen=True)
class KernelAreas:
    """Where things are. Ends are exclusive; what an architecture does not have is 0.

    page_offset    PAGE_OFFSET: where the direct map begins; max_low_pfn: the first frame that it does not reach
    vmalloc_start, vmalloc_end
    vmemmap        the map of struct pages
    kernel_text    where the kernel's image is mapped
    modules_start, modules_end
    cpu_entry_area the first CPU's: its second page is the GDT
    fixaddr_start, fixaddr_top  the fixmap, which grows down; fix_kmap_begin: number of its first kmap_local slot
    pkmap_base, last_pkmap      persistent kmaps: first address, how many slots
    """

    page_offset: int
    max_low_pfn: int
    vmalloc_start: int
    vmalloc_end: int
    vmemmap: int
    kernel_text: int
    modules_start: int
    modules_end: int
    cpu_entry_area: int
    fixaddr_start: int
    fixaddr_top: int
    fix_kmap_begin: int
    pkmap_base: int
    last_pkmap: int


def kernel_areas(config: "Config", ranges: list[tuple[int, int]], rng: random.Random | None) -> KernelAreas:
    """Those of a machine whose RAM is ``ranges`` (frames); ``rng`` moves them (KASLR), None leaves them in place."""
    if config.arch == "x86_64":
        return _areas_64(config.levels, ranges[-1][1], rng)
    pae = config.arch == "x86_pae"
    offset = page_offset(config.vmsplit, pae)
    regions = {
        region.name.partition(":")[0].partition("/")[0].partition(",")[0]: region
        for region in lowmem_map(config, ranges[-1][1]).regions
    }
    fixmap = regions["fixmap"]
    return KernelAreas(
        page_offset=offset,
        max_low_pfn=lowmem_pfns(config, ranges[-1][1])[0],
        vmalloc_start=regions["vmalloc"].start,
        vmalloc_end=regions["vmalloc"].end,
        vmemmap=0,
        kernel_text=offset + 16 * _MB,
        modules_start=regions["vmalloc"].start,
        modules_end=regions["vmalloc"].end,
        cpu_entry_area=regions["cpu_entry_area"].start,
        fixaddr_start=fixmap.start,
        fixaddr_top=_FIXADDR_TOP_32,
        fix_kmap_begin=_FIX_KMAP_BEGIN,
        pkmap_base=regions["pkmap"].start,
        last_pkmap=512 if pae else 1024,
    )


def _areas_64(levels: int, end_pfn: int, rng: random.Random | None) -> KernelAreas:
    direct, vmalloc, vmemmap, _, vmalloc_tb = _FOUR if levels == 4 else _FIVE
    text, modules = _TEXT, _MODULES
    if rng is not None:
        direct, vmalloc, vmemmap = randomize_memory(levels, rng)
        text += rng.randrange(0, (_GB - 64 * _MB) // (2 * _MB)) * 2 * _MB
        modules = _MODULES_KASLR
    return KernelAreas(
        page_offset=direct,
        max_low_pfn=end_pfn,
        vmalloc_start=vmalloc,
        vmalloc_end=vmalloc + vmalloc_tb * _TB,
        vmemmap=vmemmap,
        kernel_text=text,
        modules_start=modules,
        modules_end=_MODULES_END,
        cpu_entry_area=_CPU_ENTRY_AREA,
        fixaddr_start=_FIXADDR_START_64,
        fixaddr_top=_FIXADDR_TOP_64,
        fix_kmap_begin=0,
        pkmap_base=0,
        last_pkmap=0,
    )


def randomize_memory(levels: int, rng: random.Random) -> tuple[int, int, int]:
    """page_offset_base, vmalloc_base and vmemmap_base, in this order and apart by random multiples of 1 GiB: what is
    left between the direct map's place and the CPU entry area when each has its size is shared out. The direct map has
    room for all RAM that there can be: devices may bring some (CONFIG_ZONE_DEVICE; without it, for the machine's own
    and 10 TiB)."""
    direct, _, _, direct_tb, vmalloc_tb = _FOUR if levels == 4 else _FIVE
    sizes = [direct_tb, vmalloc_tb, max(1, direct_tb // 64)]
    remaining = _CPU_ENTRY_AREA - direct - sum(sizes) * _TB
    at = direct
    bases: list[int] = []
    for index, size in enumerate(sizes):
        share = remaining // (len(sizes) - index)
        gap = rng.getrandbits(63) % (share + 1) & -_GB
        at += gap
        bases.append(at)
        at = (at + size * _TB + _GB) & -_GB
        remaining -= gap
    return bases[0], bases[1], bases[2]
