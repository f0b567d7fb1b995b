"""The address map of RISC-V: Sv32, Sv39, Sv48 and Sv57, computed as its header does.

Sources: Documentation/arch/riscv/vm-layout.rst, whose three tables (Sv39, Sv48, Sv57) the tests compare; /proc/kcore of
a Debian kernel (6.12) in each of these modes (tests/golden/kcore).

Mirrors: Documentation/arch/riscv/vm-layout.rst, arch/riscv/include/asm/pgtable.h (6.18)
Differs: Sv32, which the document leaves out, follows the header alone.
"""

from typing import Final

from pagewalk.arch import riscv64
from pagewalk.arch.address_map import HOLE, KERNEL, USER, AddressMap, Region, tile, user_marks

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_TOP: Final = 1 << 64

# PAGE_OFFSET, the end of the direct map, and where KASAN's shadow begins.
_PAGE_OFFSETS: Final = {
    "sv39": (0xFFFF_FFD6_0000_0000, 0xFFFF_FFF6_0000_0000, 0xFFFF_FFF7_0000_0000),
    "sv48": (0xFFFF_AF80_0000_0000, 0xFFFF_EF80_0000_0000, 0xFFFF_EF80_0000_0000),
    "sv57": (0xFF60_0000_0000_0000, 0xFFDF_0000_0000_0000, 0xFFDF_0000_0000_0000),
}
_PAGE_OFFSET_32: Final = 0xC000_0000


def _below(offset: int, vmalloc: int, va_bits: int, fixmap: int) -> list[Region]:
    """What lies below PAGE_OFFSET, from the top down: vmalloc, vmemmap, PCI, fixmap (sizes in bytes)."""
    vmemmap = 1 << va_bits - 12 - 1 + 6  # a struct page of 64 bytes for half of all pages
    found = []
    at = offset
    for name, size in (
        ("vmalloc/ioremap space", vmalloc), ("vmemmap", vmemmap), ("PCI io", 16 * _MIB), ("fixmap", fixmap),
    ):  # fmt: skip
        found.append(Region(at - size, at, name, KERNEL))
        at -= size
    return found


def address_map(mode: str = "sv39") -> AddressMap:
    """The map of a mode: "sv32", "sv39", "sv48" or "sv57"."""
    layout = riscv64.layout(mode)
    name = f"riscv, {mode.capitalize()}"
    if mode == "sv32":
        regions = [
            Region(0, layout.task_size, "user-space virtual memory, different per mm", USER),
            *_below(_PAGE_OFFSET_32, 512 * _MIB, 32, 8 * _MIB),
            Region(_PAGE_OFFSET_32, 1 << 32, "direct mapping of all physical memory, and the kernel", KERNEL),
        ]
        return AddressMap(name, 32, tile(32, regions), (), user_marks(layout))
    va_bits = 12 + 9 * riscv64.MODES[mode]
    offset, end, shadow = _PAGE_OFFSETS[mode]
    regions = [
        Region(0, 1 << va_bits - 1, "user-space virtual memory, different per mm", USER),
        Region(1 << va_bits - 1, _TOP - (1 << va_bits - 1), "... huge, non-canonical hole", HOLE),
        *_below(offset, 1 << va_bits - 3, va_bits, 6 * _MIB),
        Region(offset, end, "direct mapping of all physical memory", KERNEL),
        Region(shadow, _TOP - 4 * _GIB, "kasan", KERNEL),
        Region(_TOP - 4 * _GIB, _TOP - 2 * _GIB, "modules, BPF", KERNEL),
        Region(_TOP - 2 * _GIB, _TOP, "kernel", KERNEL),
    ]
    return AddressMap(name, 64, tile(64, regions), (), user_marks(layout))
