"""The names of allocation flags, as the kernel's own messages print a mask.

Sources: Documentation/core-api/memory-allocation.rst; include/linux/gfp_types.h for the numbers.

Mirrors: include/trace/events/mmflags.h, lib/vsprintf.c (%pGg) (6.18)
Differs: flags of sanitizers and of lock checking have no name here: such bits are printed as a number.
"""

from typing import Final

# In the order in which they are looked for; the first ones are made of later ones.
_NAMES: Final = (
    ("GFP_TRANSHUGE", 0x1C24CA), ("GFP_TRANSHUGE_LIGHT", 0x1C20CA), ("GFP_HIGHUSER_MOVABLE", 0x100CCA),
    ("GFP_HIGHUSER", 0x100CC2), ("GFP_USER", 0x100CC0), ("GFP_KERNEL_ACCOUNT", 0x400CC0), ("GFP_KERNEL", 0xCC0),
    ("GFP_NOFS", 0xC40), ("GFP_ATOMIC", 0x820), ("GFP_NOIO", 0xC00), ("GFP_NOWAIT", 0x2800), ("GFP_DMA", 0x1),
    ("__GFP_HIGHMEM", 0x2), ("GFP_DMA32", 0x4), ("__GFP_HIGH", 0x20), ("__GFP_IO", 0x40), ("__GFP_FS", 0x80),
    ("__GFP_NOWARN", 0x2000), ("__GFP_RETRY_MAYFAIL", 0x4000), ("__GFP_NOFAIL", 0x8000), ("__GFP_NORETRY", 0x10000),
    ("__GFP_COMP", 0x40000), ("__GFP_ZERO", 0x100), ("__GFP_NOMEMALLOC", 0x80000), ("__GFP_MEMALLOC", 0x20000),
    ("__GFP_HARDWALL", 0x100000), ("__GFP_THISNODE", 0x200000), ("__GFP_RECLAIMABLE", 0x10), ("__GFP_MOVABLE", 0x8),
    ("__GFP_ACCOUNT", 0x400000), ("__GFP_WRITE", 0x1000), ("__GFP_RECLAIM", 0xC00), ("__GFP_DIRECT_RECLAIM", 0x400),
    ("__GFP_KSWAPD_RECLAIM", 0x800), ("__GFP_ZEROTAGS", 0x800000),
)  # fmt: skip
# Later kernels have those of many bits first, then the single bits in their order.
_ONE_BIT: Final = [each for each in _NAMES if each[0].startswith("__") and each[1].bit_count() == 1]
_NAMES_6_18: Final = (
    *[each for each in _NAMES if each not in _ONE_BIT],
    *sorted(_ONE_BIT, key=lambda each: each[1]),
)
# What 6.1 has otherwise: a bit of its own for GFP_ATOMIC, GFP_NOWAIT without __GFP_NOWARN.
_NAMES_6_1: Final = {"GFP_ATOMIC": 0xA20, "GFP_NOWAIT": 0x800}


def format_gfp(mask: int, linux: str = "6.18") -> str:
    """``mask``, an allocation mask as Linux numbers the bits, in words: "GFP_KERNEL|__GFP_ZERO"; "none" for 0."""
    if mask == 0:
        return "none"
    words: list[str] = []
    left = mask
    for name, bits in _NAMES_6_18 if linux == "6.18" else _NAMES:
        if linux == "6.1":
            bits = _NAMES_6_1.get(name, bits)
        if left & bits == bits:
            words.append(name)
            left &= ~bits
    if left:
        words.append(f"{left:#x}")
    return "|".join(words)
