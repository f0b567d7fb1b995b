"""Translation caches as data: presets, text, what cannot be."""

import pytest

from pagewalk.arch.x86_64 import page_format
from pagewalk.errors import ConfigError
from pagewalk.hw.tlb_build import build_state
from pagewalk.hw.tlb_config import Policy, TlbArray, TlbConfig, WalkCache
from pagewalk.hw.tlb_parse import parse_tlb
from pagewalk.hw.tlb_presets import PRESETS, preset

pytestmark = pytest.mark.quick


def test_two_parts_make_a_data_tlb_and_a_unified_second_level() -> None:
    config = parse_tlb("l1d=64x4,l2=1536x12")
    assert [(a.name, a.level, a.serves, a.sets, a.ways) for a in config.arrays] == [
        ("l1d", 1, "d", 16, 4), ("l2", 2, "id", 128, 12),
    ]  # fmt: skip
    assert [[a.name for a in level] for level in config.path("i")] == [["l2"]]


def test_options_switches_and_walk_caches_are_read() -> None:
    config = parse_tlb(
        "l1d=30:plru:4K+2M:fragments,pmd=32x4,pwc.all=16:fifo,asid=off,coalesce=4,prefetch=on,marks=fault"
    )
    assert config.arrays[0] == TlbArray("l1d", 1, "d", 1, 30, (4096, 2 << 20), "plru", fragments=True)
    assert config.walk_caches[0] == WalkCache("pmd", ("pmd",), 8, 4)
    assert config.walk_caches[1].levels == ("pgd", "p4d", "pud", "pmd") and config.walk_caches[1].policy == "fifo"
    assert (config.tagged, config.coalesce, config.prefetch, config.marks) == (False, 4, True, "fault")


def test_a_preset_can_be_changed_in_parts() -> None:
    config = parse_tlb("zen4,l2d=2048x16,l2i=none")
    assert [a.name for a in config.arrays] == ["l1i", "l1d", "l2d"]
    assert config.arrays[2].entries == 2048


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zen9", "--tlb: expected a preset (none, skylake-sp, icelake-sp, sapphire-rapids, zen3, zen4, cortex-a53, "
                 "cortex-a76, neoverse-n1, u74) or NAME=ENTRIESxWAYS, got 'zen9'"),
        ("l1d=64x5", "--tlb: l1d: expected entries that are a multiple of the ways, got '64x5'"),
        ("l1d=x4", "--tlb: l1d: expected ENTRIES or ENTRIESxWAYS, got 'x4'"),
        ("l1d=0", "--tlb: l1d: expected entries that are a multiple of the ways, got '0'"),
        ("l1d=64x4:9Q", "--tlb: l1d: expected bytes or text like '64M', got '9q'"),
        ("l1d=64x4:3K", "TLB l1d: expected page sizes that are powers of two from 4096, got 3072"),
        ("l1d=64:lru:fifo", "--tlb: l1d: expected one policy, got lru, fifo"),
        ("l1d=128:plru", "TLB l1d: expected up to 64 ways for plru, got 128"),
        ("pmd=4:2M", "--tlb: pmd: expected a policy (lru, plru, fifo, random), got '2m'"),
        ("l1d=64x4,asid=maybe", "--tlb: asid: expected on or off, got 'maybe'"),
        ("l1d=64x4,coalesce=3", "coalesce: expected 1, 2, 4, 8 or 16 pages, got 3"),
        ("l1d=64x4,l1q", "--tlb: expected NAME=VALUE, got 'l1q'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_tlb(text)
    assert str(error.value) == message


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_has_a_state_and_a_description(name: str) -> None:
    config = preset(name)
    assert parse_tlb(name).arrays == config.arrays
    assert len(build_state(config, page_format(4), {})) > 0
    assert len(config.describe().splitlines()) == len(config.all_arrays())
    assert "Manual" in (PRESETS[name].__doc__ or "") or "Guide" in (PRESETS[name].__doc__ or "") or name == "none"


def test_a_policy_of_ones_own_says_how_many_words_it_needs() -> None:
    with pytest.raises(ConfigError, match="expected 1 to 4096 words, got 0"):
        TlbArray("l1", 1, "id", 1, 4, policy=Policy("mine", print, max, 0))


def test_two_arrays_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected different names"):
        TlbConfig("x", (TlbArray("l1", 1, "id", 1, 4), TlbArray("l1", 2, "id", 1, 4)))


K4, K16, K64, M2, M32, M512, G1 = 4 << 10, 16 << 10, 64 << 10, 2 << 20, 32 << 20, 512 << 20, 1 << 30
# Entries, ways (0: fully associative) and page sizes (none: any) of each array, typed from the sources that the presets
# name.
FIGURES: dict[str, dict[str, tuple[int, int, tuple[int, ...]]]] = {
    "skylake-sp": {
        "l1i": (128, 8, (K4,)), "l1i.2m": (8, 0, (M2,)), "l1d": (64, 4, (K4,)), "l1d.2m": (32, 4, (M2,)),
        "l1d.1g": (4, 0, (G1,)), "l2": (1536, 12, (K4, M2)), "l2.1g": (16, 4, (G1,)),
    },
    "icelake-sp": {
        "l1i": (128, 8, (K4,)), "l1i.2m": (16, 8, (M2,)), "l1d": (64, 4, (K4,)), "l1d.2m": (32, 4, (M2,)),
        "l1d.1g": (8, 0, (G1,)), "l2": (1024, 8, (K4, M2)), "l2.1g": (1024, 8, (K4, G1)),
    },
    "sapphire-rapids": {
        "l1i": (256, 8, (K4,)), "l1i.2m": (32, 8, (M2,)), "l1d": (96, 6, (K4,)), "l1d.2m": (32, 4, (M2,)),
        "l1d.1g": (8, 0, (G1,)), "l2": (1024, 8, (K4, M2)), "l2.1g": (1024, 8, (K4, G1)),
    },
    "zen3": {"l1i": (64, 0, ()), "l1d": (64, 0, ()), "l2i": (512, 8, (K4, M2)), "l2d": (2048, 16, (K4, M2))},
    "zen4": {"l1i": (64, 0, ()), "l1d": (72, 0, ()), "l2i": (512, 8, (K4, M2)), "l2d": (3072, 24, (K4, M2))},
    "cortex-a53": {"l1i": (10, 0, ()), "l1d": (10, 0, ()), "l2": (512, 4, (K4, K16, K64, M2, M32, M512))},
    "cortex-a76": {
        "l1i": (48, 0, (K4, K16, K64, M2, M32)), "l1d": (48, 0, (K4, K16, K64, M2, M512)), "l2": (1280, 5, ()),
    },
    "u74": {"l1i": (40, 0, ()), "l1d": (40, 0, ()), "l2": (512, 1, (K4,))},
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_a_preset_has_the_figures_of_its_sources(name: str) -> None:
    config = preset(name)
    found = {
        array.name: (array.sets * array.ways, 0 if array.sets == 1 else array.ways, array.sizes)
        for array in config.arrays
    }
    assert found == FIGURES[name]
