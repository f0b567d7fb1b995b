"""What a request for frames says: from which zones, how hard to try, what to do with the frame; and how low it may go.

Mirrors: include/linux/gfp_types.h, mm/internal.h (6.18)
Differs: only the flags that the model's own requests use have names.
"""

from typing import Final

from mypy_extensions import i64

# Which zones.
GFP_DMA: Final = 0x01
GFP_HIGHMEM: Final = 0x02
GFP_DMA32: Final = 0x04
GFP_MOVABLE: Final = 0x08  # may be migrated: MIGRATE_MOVABLE, and with GFP_HIGHMEM the zone MOVABLE
GFP_RECLAIMABLE: Final = 0x10
GFP_ZONEMASK: Final = 0x0F
# How hard.
GFP_HIGH: Final = 0x20  # may use half of the reserve below min
GFP_IO: Final = 0x40
GFP_FS: Final = 0x80
GFP_ZERO: Final = 0x100
GFP_DIRECT_RECLAIM: Final = 0x400
GFP_KSWAPD_RECLAIM: Final = 0x800
GFP_NOWARN: Final = 0x2000
GFP_RETRY_MAYFAIL: Final = 0x4000
GFP_NOFAIL: Final = 0x8000
GFP_NORETRY: Final = 0x10000
GFP_MEMALLOC: Final = 0x20000
GFP_COMP: Final = 0x40000
GFP_NOMEMALLOC: Final = 0x80000
GFP_HARDWALL: Final = 0x100000
GFP_THISNODE: Final = 0x200000
GFP_ACCOUNT: Final = 0x400000

GFP_ATOMIC: Final = 0x820  # HIGH | KSWAPD_RECLAIM
GFP_KERNEL: Final = 0xCC0  # DIRECT_RECLAIM | KSWAPD_RECLAIM | IO | FS
GFP_NOIO: Final = 0xC00
GFP_NOFS: Final = 0xC40
GFP_NOWAIT: Final = 0x2800
GFP_USER: Final = 0x100CC0  # KERNEL | HARDWALL
GFP_HIGHUSER: Final = 0x100CC2
GFP_HIGHUSER_MOVABLE: Final = 0x100CCA
GFP_PGTABLE: Final = 0x400DC0  # KERNEL | ZERO | ACCOUNT

# alloc_flags: the watermark to stay above (the low two bits), and what else is allowed.
ALLOC_WMARK_MIN: Final = 0x00
ALLOC_WMARK_LOW: Final = 0x01
ALLOC_WMARK_HIGH: Final = 0x02
ALLOC_WMARK_MASK: Final = 0x03
ALLOC_NO_WATERMARKS: Final = 0x04
ALLOC_OOM: Final = 0x08
ALLOC_NON_BLOCK: Final = 0x10
ALLOC_MIN_RESERVE: Final = 0x20  # the bit of GFP_HIGH
ALLOC_CPUSET: Final = 0x40
ALLOC_NOFRAGMENT: Final = 0x100
ALLOC_HIGHATOMIC: Final = 0x200
ALLOC_KSWAPD: Final = 0x800  # the bit of GFP_KSWAPD_RECLAIM
ALLOC_RESERVES: Final = 0x238

MIGRATE_UNMOVABLE: Final = 0
MIGRATE_MOVABLE: Final = 1
MIGRATE_RECLAIMABLE: Final = 2
MIGRATE_PCPTYPES: Final = 3  # the types that per-CPU lists have
MIGRATE_HIGHATOMIC: Final = 3
MIGRATE_ISOLATE: Final = 4
MIGRATE_TYPES: Final = 5
MIGRATE_NAMES: Final = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate")


def gfp_to_alloc_flags(gfp: i64, order: i64) -> i64:
    """What a request may do once kswapd is awake: go down to min, and below it where it is urgent (GFP_HIGH) or cannot
    wait for reclaim."""
    alloc_flags: i64 = ALLOC_CPUSET | (gfp & (GFP_HIGH | GFP_KSWAPD_RECLAIM))
    if not gfp & GFP_DIRECT_RECLAIM:
        if not gfp & GFP_NOMEMALLOC:
            alloc_flags |= ALLOC_NON_BLOCK
            if order > 0 and alloc_flags & ALLOC_MIN_RESERVE:
                alloc_flags |= ALLOC_HIGHATOMIC
        if alloc_flags & ALLOC_MIN_RESERVE:
            alloc_flags &= ~ALLOC_CPUSET
    return alloc_flags
