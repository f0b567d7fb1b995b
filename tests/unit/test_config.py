"""Sizes and machine configurations: what is taken, and what is said where it cannot be."""

import pytest

from pagewalk.config import Config, parse_settings, parse_size
from pagewalk.errors import ConfigError, NotModelled


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (4096, 4096),
        ("4096", 4096),
        ("64K", 65536),
        ("64k", 65536),
        ("64M", 64 << 20),
        ("1.5G", 3 << 29),
        ("4 KiB", 4096),
        ("2GB", 2 << 30),
        (" 1T ", 1 << 40),
        ("16P", 16 << 50),
        ("0.5K", 512),
        ("100B", 100),
    ],
)
def test_a_size_is_bytes_or_text_with_a_unit(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "bad", ["", "M", "-1", "-1M", "1X", "1e3", "0x10", "1 2", "١", "1.2.3", "inf", "9" * 5000, -1, True, None, 1.5]
)
def test_what_is_no_size_is_refused_with_what_was_expected(bad: object) -> None:
    with pytest.raises(ConfigError, match=r"^ram: expected"):
        parse_size(bad, "ram")  # type: ignore[arg-type]


def test_a_fraction_of_a_byte_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected a whole number of bytes, got '0\.3K'"):
        parse_size("0.3K")


def test_large_whole_sizes_are_exact() -> None:
    assert parse_size(str((1 << 60) + 1)) == (1 << 60) + 1


def test_the_default_machine_is_linux_with_its_own_defaults() -> None:
    config = Config()
    assert (config.ram, config.linux, config.levels, config.aslr) == (4 << 30, "6.18", 4, True)
    assert (config.max_map_count, config.mmap_min_addr, config.overcommit_memory) == (65530, 4096, 0)


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"ram": "1M"}, "ram: expected 4M to 64T, got 1048576 bytes"),
        ({"ram": "65T"}, "ram: expected 4M to 64T"),
        ({"ram": (64 << 20) + 1}, "ram: expected a multiple of 4096 bytes, got 67108865"),
        ({"levels": 3}, "levels: expected 4 or 5, got 3"),
        ({"overcommit_memory": 3}, "overcommit_memory: expected 0 to 2, got 3"),
        ({"fault_around_bytes": 12288}, "fault_around_bytes: expected a power of two, got 12288"),
        ({"read_ahead_kb": -1}, "read_ahead_kb: expected 0 to 2147483647, got -1"),
        ({"lowmem_reserve_ratio": (1, 2)}, "lowmem_reserve_ratio: expected three to six numbers"),
        ({"rlimits": {"HEAP": (1, 1)}}, "rlimits: expected one of CPU, .*, got 'HEAP'"),
        ({"rlimits": {"AS": (-1, 5)}}, "rlimits: expected a soft limit of AS up to the hard one, got -1 and 5"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(kwargs: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Config(**kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kwargs", "text"), [({"linux": "5.10"}, "5.10")])
def test_what_is_not_modelled_yet_is_named(kwargs: dict[str, object], text: str) -> None:
    with pytest.raises(NotModelled, match=text):
        Config(**kwargs)  # type: ignore[arg-type]


def test_settings_are_fields_in_text() -> None:
    items = [
        "read_ahead_kb=8192",
        "pcid=0",
        "ram=64M",
        "lowmem_reserve_ratio=1,2,3",
        "rlimits.AS=1G",
        "rlimits.DATA=1K:unlimited",
    ]
    assert parse_settings(items) == {
        "read_ahead_kb": 8192,
        "pcid": False,
        "ram": "64M",
        "lowmem_reserve_ratio": (1, 2, 3),
        "rlimits": {"AS": (1 << 30, 1 << 30), "DATA": (1024, -1)},
    }
    assert Config(**parse_settings(items)).pcid is False


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("smoothness=60", "expected NAME=VALUE with one of ram, .*, got 'smoothness=60'"),
        ("pcid", "expected NAME=VALUE"),
        ("rlimits=4", "expected NAME=VALUE"),
        ("pcid=maybe", "expected 0 or 1, got 'pcid=maybe'"),
        ("cpus=many", "expected a whole number, got 'cpus=many'"),
        ("lowmem_reserve_ratio=1,x", "expected 3 whole numbers with commas"),
        ("rlimits.AS=much", "expected bytes or text like '64M', got 'much'"),
    ],
)
def test_a_setting_that_is_none_is_one_line(item: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse_settings([item])
