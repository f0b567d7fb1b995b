"""Sizes and machine configurations: what is taken, and what is said where it cannot be."""

from pathlib import Path

import pytest

from pagewalk import Machine
from pagewalk.config import Config, parse_size
from pagewalk.errors import ConfigError, NotModelled
from pagewalk.settings import chosen_fields, parse_settings, read_config


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


def test_every_architecture_has_a_default_machine() -> None:
    sizes = {arch: int(Config(arch=arch).ram) >> 30 for arch in ("x86_64", "x86_32", "x86_pae", "arm64", "riscv32")}
    assert sizes == {"x86_64": 4, "x86_32": 3, "x86_pae": 4, "arm64": 4, "riscv32": 4}
    with Machine(arch="x86_32") as machine:
        assert machine.spawn().mmap("1M") < 0xC0000000


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


def test_a_machine_with_nodes_can_be_set_in_text() -> None:
    items = ["nodes=64M,0,1G", "cpus=4", "cpu_nodes=0,0,1,2", "distances=10,20,30; 20,10,15; 30,15,10"]
    config = Config(**parse_settings(items))
    assert config.nodes == (64 << 20, 0, 1 << 30)
    assert config.cpu_nodes == (0, 0, 1, 2)
    assert config.distances == ((10, 20, 30), (20, 10, 15), (30, 15, 10))
    assert config.ram == (64 << 20) + (1 << 30)
    text = "memory_map=1000-9ffff,0x100000-0x3fffffff@1"
    assert parse_settings([text])["memory_map"] == ((0x1000, 0xA0000, 0), (0x100000, 0x40000000, 1))
    assert parse_settings(["nodes=", "memory_map="]) == {"nodes": (), "memory_map": ()}


def test_a_memory_map_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "iomem"
    path.write_text("00000000-00000fff : Reserved\n00001000-3fffffff : System RAM\n")
    assert parse_settings([f"memory_map=@{path}"]) == {"memory_map": ((0x1000, 0x40000000, 0),)}
    with pytest.raises(ConfigError, match=r"--set memory_map=@/nowhere: cannot read '/nowhere': No such file"):
        parse_settings(["memory_map=@/nowhere"])


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("nodes=1G,much", "nodes=1G,much: expected bytes or text like '64M', got 'much'"),
        ("distances=10,20;20,x", "expected rows of whole numbers, a semicolon between two, got 'distances=10,20;20,x'"),
        ("cpu_nodes=0,a", "expected whole numbers with commas"),
        ("memory_map=1G", "expected ranges such as 100000-3fffffff or 100000-3fffffff@1, got '1G'"),
        ("cpus=1,2", "expected a whole number, got 'cpus=1,2'"),
        ("cpus=", "expected a whole number, got 'cpus='"),
    ],
)
def test_a_list_that_is_none_is_one_line(item: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse_settings([item])


TOML = """
nodes = ["64M", 67108864]
distances = [[10, 31], [31, 10]]
cpus = 2
cpu_nodes = [0, 1]
thp = "never"
warm = false
zram_ratio = 2
lowmem_reserve_ratio = [256, 256, 32]
[rlimits]
AS = "1G"
STACK = ["64M", "unlimited"]
NOFILE = -1
"""


def test_a_machine_can_be_described_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "machine.toml"
    path.write_text(TOML)
    config = Config(**read_config(path))
    assert (config.nodes, config.distances, config.cpu_nodes) == ((64 << 20,) * 2, ((10, 31), (31, 10)), (0, 1))
    assert (config.thp, config.warm, config.zram_ratio) == ("never", False, 2)
    assert config.rlimits == {"AS": (1 << 30, 1 << 30), "STACK": (64 << 20, -1), "NOFILE": (-1, -1)}
    other = tmp_path / "machine.json"
    other.write_text('{"memory_map": [[4096, 655360], [1048576, 1073741824, 1]], "linux": "6.12"}')
    assert Config(**read_config(other)).memory_map == ((4096, 655360, 0), (1048576, 1073741824, 1))
    other.write_text('{"memory_map": "1000-9ffff,100000-3fffffff@1"}')
    assert Config(**read_config(other)).nr_nodes == 2


def test_set_comes_before_options_and_options_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "machine.toml"
    path.write_text('ram = "1G"\ncpus = 2\nseed = 7\n[rlimits]\nAS = 5\nDATA = 6\n')
    options = {"ram": "4G", "cpus": 8, "seed": 0, "aslr": True}
    found = chosen_fields(options, ["cpus", "seed"], str(path), ["seed=3", "rlimits.AS=9"])
    assert found == {
        "ram": "1G", "cpus": 8, "seed": 3, "aslr": True, "rlimits": {"AS": (9, 9), "DATA": (6, 6)},
    }  # fmt: skip
    assert chosen_fields(options, [], None, []) == options


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.toml", "ram = ", "expected TOML: "),
        ("m.json", "{", "expected JSON: "),
        ("m.json", "[1]", "expected a table of Config's fields, got a list"),
        ("m.toml", "rma = 1", "expected fields of Config .*, got 'rma'"),
        ("m.toml", "cpus = true", "cpus: expected a whole number, got a truth value True"),
        ("m.toml", "warm = 1", "warm: expected true or false, got a number 1"),
        ("m.toml", "thp = 1", "thp: expected text, got a number 1"),
        ("m.toml", "ram = 1.5", "ram: expected bytes or text like '64M', got a number 1.5"),
        ("m.toml", "nodes = 2", "nodes: expected a list of sizes, got a number 2"),
        ("m.toml", "distances = [10, 20]", "distances: expected a list of rows of whole numbers, got a number 10"),
        ("m.toml", 'cpu_nodes = ["0"]', r"cpu_nodes: expected a list of whole numbers, got \['0'\]"),
        ("m.toml", 'rlimits = "1G"', "rlimits: expected a table of limits, got text"),
        ("m.toml", "[rlimits]\nAS = [1]", r"rlimits.AS: expected a limit or \[soft, hard\], got \[1\]"),
        ("m.toml", "[rlimits]\nAS = 1.5", "rlimits.AS: expected bytes or text like '64M', got 1.5"),
        ("m.toml", 'memory_map = "1G"', "memory_map: expected ranges such as"),
        ("m.toml", "zram_ratio = true", "zram_ratio: expected a number, got a truth value True"),
    ],
)
def test_a_file_that_is_no_machine_is_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"--config {path}: ") and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot read it: No such file or directory"):
        read_config(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="expected TOML"):
        read_config(tmp_path / "binary.toml")
