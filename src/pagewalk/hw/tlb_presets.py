"""Translation caches of processors that there are, by name.

What the makers publish is taken as it is; what they do not (replacement, the walk caches' organisation of most) is
filled in with the common assumption, and each preset says so. Sizes of walk caches marked (measured) are what published
measurements infer, not what a maker says. "Checked" names where else the figures were found; what follows "from the
first source alone" was found nowhere else.
"""

from typing import Final

from pagewalk.errors import ConfigError
from pagewalk.hw.tlb_config import ANY, TlbArray, TlbConfig, WalkCache

__all__ = ["PRESETS", "preset"]

_4K: Final = 4 << 10
_2M: Final = 2 << 20
_1G: Final = 1 << 30
_UP_TO_512M: Final = (4 << 10, 16 << 10, 64 << 10, 2 << 20, 32 << 20, 512 << 20)


def none() -> TlbConfig:
    """No translation caches at all: every access walks."""
    return TlbConfig("none")


def skylake_sp() -> TlbConfig:
    """Skylake-SP: Intel 64 and IA-32 Architectures Optimization Reference Manual (248966), table "TLB parameters of the
        Skylake microarchitecture": ITLB 4K 128x8, 2M/4M 8 full (per thread); DTLB 4K 64x4, 2M/4M 32x4, 1G 4 full; STLB
    4K+2M 1536x12, 1G 16x4. Checked: J. McCalpin's account of that table for the Xeons, with the CPUID of one
    (community.intel.com, "TLB information provided by cpuid"); WikiChip, "Skylake (client)". The ways of the ITLB for
    2M are not published: full, as CPUID says. Replacement is not published: LRU. Walk caches (measured): 4 pgd, 4 pud,
    32 pmd entries."""
    return TlbConfig(
        "skylake-sp",
        (
            TlbArray("l1i", 1, "i", 16, 8, (_4K,)),
            TlbArray("l1i.2m", 1, "i", 1, 8, (_2M,)),
            TlbArray("l1d", 1, "d", 16, 4, (_4K,)),
            TlbArray("l1d.2m", 1, "d", 8, 4, (_2M,)),
            TlbArray("l1d.1g", 1, "d", 1, 4, (_1G,)),
            TlbArray("l2", 2, "id", 128, 12, (_4K, _2M)),
            TlbArray("l2.1g", 2, "id", 4, 4, (_1G,)),
        ),
        _intel_walk_caches(),
    )


def _intel_walk_caches() -> tuple[WalkCache, ...]:
    return (
        WalkCache("pmd-cache", ("pmd",), 8, 4),
        WalkCache("pud-cache", ("pud",), 1, 4),
        WalkCache("pgd-cache", ("p4d", "pgd"), 1, 4),
    )


def icelake_sp() -> TlbConfig:
    """Ice Lake-SP: Intel Optimization Reference Manual, table "TLB parameters of the Ice Lake Client
    microarchitecture" (Sunny Cove): ITLB 4K 128x8, 2M 16 entries;
    DTLB loads 4K 64x4, 2M 32x4, 1G 8 full; DTLB stores 16 full, any size; STLB 2048: 4K+2M 1024x8 shared with another
    1024x8 of 4K+1G. Checked: WikiChip, "Sunny Cove" (ITLB of 16 entries for 2M, twice Skylake's); the STLB's halves and
    the DTLB from the first source alone. The ways of the 2M ITLB: as Golden Cove's.

    The store DTLB is left out: loads and stores share the load one. Replacement is not published: LRU. Walk caches
    (measured on Skylake): 4 pgd, 4 pud, 32 pmd entries.
    """
    return _sunny_cove("icelake-sp", instruction_sets=16, instruction_2m=(2, 8))


def sapphire_rapids() -> TlbConfig:
    """Sapphire Rapids: Intel Optimization Reference Manual, Golden Cove section: as Sunny Cove, with an ITLB of 256
    entries for 4K (8 ways), 32 for 2M (8 ways), and DTLB loads of 96 entries (6 ways) for 4K. Checked: reviews of
    Golden Cove (ITLB 256 and 32, DTLB 96 entries); the ways from the first source alone. What is left out: as for
    ``icelake_sp``."""
    return _sunny_cove("sapphire-rapids", instruction_sets=32, data_ways=6, instruction_2m=(4, 8))


def _sunny_cove(name: str, instruction_sets: int, instruction_2m: tuple[int, int], data_ways: int = 4) -> TlbConfig:
    return TlbConfig(
        name,
        (
            TlbArray("l1i", 1, "i", instruction_sets, 8, (_4K,)),
            TlbArray("l1i.2m", 1, "i", *instruction_2m, (_2M,)),
            TlbArray("l1d", 1, "d", 16, data_ways, (_4K,)),
            TlbArray("l1d.2m", 1, "d", 8, 4, (_2M,)),
            TlbArray("l1d.1g", 1, "d", 1, 8, (_1G,)),
            TlbArray("l2", 2, "id", 128, 8, (_4K, _2M)),
            TlbArray("l2.1g", 2, "id", 128, 8, (_4K, _1G)),
        ),
        _intel_walk_caches(),
    )


def zen3() -> TlbConfig:
    """Zen 3: AMD Software Optimization Guide for the 19h family (56665), section 2.7 "Memory address translation": L1
    ITLB 64 full, L1 DTLB 64 full, both any size; L2 ITLB 512x8 of 4K+2M, L2 DTLB 2048x16 of 4K+2M (1G smashed to 2M);
    page directory cache of 64 entries. Aligned runs of four 4K pages are coalesced into one entry (16K). Checked: the
    shape (64 full, 512x8, 1G smashed into 2M, entries of page directories in the L2) as 7-cpu.com and WikiChip have it
    for Zen 2; the 2048x16 and the page directory cache from the first source alone. L2 walk caches for the two upper
    levels and replacement are not published: 64 entries in all, LRU."""
    return _zen("zen3", data=64, second=(128, 16))


def zen4() -> TlbConfig:
    """Zen 4: AMD Software Optimization Guide for the Zen 4 Microarchitecture (57647), section 2.7: as Zen 3 with an L1
    DTLB of 72 entries and an L2 DTLB of 3072 entries (24 ways). Checked: Chips and Cheese, "AMD's Zen 4, Part 2" (72
    and 3072 entries, coalescing); the ways from the first source alone."""
    return _zen("zen4", data=72, second=(128, 24))


def _zen(name: str, data: int, second: tuple[int, int]) -> TlbConfig:
    return TlbConfig(
        name,
        (
            TlbArray("l1i", 1, "i", 1, 64, ANY),
            TlbArray("l1d", 1, "d", 1, data, ANY),
            TlbArray("l2i", 2, "i", 64, 8, (_4K, _2M), fragments=True),
            TlbArray("l2d", 2, "d", *second, (_4K, _2M), fragments=True),
        ),
        (WalkCache("page-directory-cache", ("pgd", "p4d", "pud", "pmd"), 1, 64),),
        coalesce=4,
    )


def cortex_a53() -> TlbConfig:
    """Cortex-A53: Arm Cortex-A53 MPCore Processor Technical Reference Manual (DDI 0500), "TLB organization":
    instruction and data micro TLBs of 10 entries, full; main TLB of 512 entries, 4 ways, all sizes up to 512M (a block
    of 1G by pieces); walk cache of 64 entries, 4 ways; ASIDs of 16 bits. Checked: Intel's Stratix 10 HPS Technical
    Reference Manual (683222), "Translation Lookaside Buffers". Access flags by software (no HAFDBS in ARMv8.0). What
    sizes the micro TLBs hold and all replacement are not published: any, LRU."""
    return TlbConfig(
        "cortex-a53",
        (
            TlbArray("l1i", 1, "i", 1, 10, ANY),
            TlbArray("l1d", 1, "d", 1, 10, ANY),
            TlbArray("l2", 2, "id", 128, 4, _UP_TO_512M, fragments=True),
        ),
        (WalkCache("walk-cache", ("pgd", "p4d", "pud", "pmd"), 16, 4),),
        asid_bits=16,
        marks="fault",
        fault_drops=False,
        flush_walks=False,
    )


def cortex_a76() -> TlbConfig:
    """Cortex-A76 and Neoverse N1: Arm Cortex-A76 Core Technical Reference Manual (100798), section A5.2 "TLB
    organization": L1 TLBs of 48 entries, full, for instructions 4K to 32M, for data 4K, 16K, 64K, 2M and 512M; larger
    pages by pieces; L2 TLB of 1280 entries, 5 ways, 4K to 1G. Checked: Intel's Agilex 5 HPS Technical Reference Manual
    (814346), "Translation Lookaside Buffer". The L2 TLB also holds what walks have found of the upper levels; that is
    modelled as a cache of 64 beside it. Access flags as the page-table format has them: the core can set
    them (ARMv8.1), the Linux of an arm64 machine keeps them by fault, as without FEAT_HAFDBS. Replacement is not
    published: LRU."""
    return TlbConfig(
        "cortex-a76",
        (
            TlbArray("l1i", 1, "i", 1, 48, _UP_TO_512M[:-1], fragments=True),
            TlbArray("l1d", 1, "d", 1, 48, (*_UP_TO_512M[:4], _UP_TO_512M[-1]), fragments=True),
            TlbArray("l2", 2, "id", 256, 5, ANY),
        ),
        (WalkCache("walk-cache", ("pgd", "p4d", "pud", "pmd"), 16, 4),),
        asid_bits=16,
        fault_drops=False,
        flush_walks=False,
    )


def u74() -> TlbConfig:
    """SiFive U74: SiFive U74-MC Core Complex Manual (21G1), section "Virtual memory": instruction and data TLBs of 40
    entries, full; L2 TLB of 512 entries, direct mapped, 4K pages (larger ones by pieces). Marks by page fault. No
    walk cache is documented: a small one for the two upper levels is left out. ASIDs are not implemented. Checked: the
    device tree of the FU740 (40 and 40 entries, one set each, split); the L2 TLB from the first source alone.
    Replacement is not published: tree-PLRU."""
    return TlbConfig(
        "u74",
        (
            TlbArray("l1i", 1, "i", 1, 40, ANY, policy="plru"),
            TlbArray("l1d", 1, "d", 1, 40, ANY, policy="plru"),
            TlbArray("l2", 2, "id", 512, 1, (_4K,), fragments=True),
        ),
        tagged=False,
        asid_bits=1,
        marks="fault",
        fault_drops=False,
        flush_walks=False,
    )


PRESETS: Final = {
    "none": none,
    "skylake-sp": skylake_sp,
    "icelake-sp": icelake_sp,
    "sapphire-rapids": sapphire_rapids,
    "zen3": zen3,
    "zen4": zen4,
    "cortex-a53": cortex_a53,
    "cortex-a76": cortex_a76,
    "neoverse-n1": cortex_a76,
    "u74": u74,
}


def preset(name: str) -> TlbConfig:
    """The configuration of that name; ConfigError lists them where there is none."""
    maker = PRESETS.get(name)
    if maker is None:
        raise ConfigError(f"TLB: expected one of {', '.join(PRESETS)}, got {name!r}")
    return maker()
