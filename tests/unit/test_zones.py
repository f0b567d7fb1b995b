"""Zones as real machines computed them (tests/golden/zones), and the command that prints them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pagewalk import Config, ConfigError, Machine
from pagewalk.arch.zone_limits import lowmem_end
from pagewalk.cli import cli
from pagewalk.mm.zone_figures import ZoneFigures
from pagewalk.view.zones import as_dict
from pagewalk.view.zones_recorded import differences, figures_of

pytestmark = pytest.mark.quick

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "zones").glob("*.json"))
FIGURES = (
    "boost", "min", "low", "high", "spanned", "present", "managed", "start_pfn", "protection", "pageset_high",
    "pageset_batch",
)  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def every_figure() -> list[Any]:
    """(machine, node, zone, figure, value) of everything that was recorded."""
    rows = []
    for path in GOLDEN:
        for zone in load(path)["zones"]:
            for name in FIGURES:
                if name in zone:
                    where = (zone["node"], zone["zone"])
                    rows.append(
                        pytest.param(path, where, name, zone[name], id=f"{path.stem}-{where[0]}{where[1]}-{name}")
                    )
    return rows


@pytest.mark.parametrize(("path", "where", "name", "value"), every_figure())
def test_a_zone_figure_is_that_of_the_real_machine(
    path: Path, where: tuple[int, str], name: str, value: object
) -> None:
    zones = as_dict(figures_of(load(path)))["zones"]
    mine = next(zone for zone in zones if (zone["node"], zone["zone"]) == where)
    assert mine[name] == value


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_sysctls_and_the_split_of_memory_are_those_of_the_real_machine(path: Path) -> None:
    data = load(path)
    ours = as_dict(figures_of(data))
    assert ours["sysctl"]["min_free_kbytes"] == int(data["sysctl"]["min_free_kbytes"])
    assert ours["sysctl"]["lowmem_reserve_ratio"] == [int(ratio) for ratio in data["sysctl"]["lowmem_reserve_ratio"]]
    for name in ("MemTotal", "HighTotal", "LowTotal", "CommitLimit"):
        assert ours["meminfo_kb"].get(name) == data["meminfo_kb"].get(name), name
    if data["arch"] != "amd64":  # there it goes by the levels of the page table
        assert ours["meminfo_kb"]["VmallocTotal"] == data["meminfo_kb"]["VmallocTotal"]
    assert differences(figures_of(data), data) == []


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_node_order_of_the_boot_log_is_computed(path: Path) -> None:
    data = load(path)
    figures = figures_of(data)
    for line in data["boot_log"]:
        if "Fallback order" in line:
            node, _, order = line.partition("for Node ")[2].partition(":")
            assert figures.orders[int(node)] == [int(each) for each in order.split()]


def test_a_changed_figure_is_told() -> None:
    data = load(GOLDEN[0])
    data["zones"][0]["low"] += 1
    told = differences(figures_of(data), data)
    assert told == [f"node 0 zone DMA: low: computed {data['zones'][0]['low'] - 1}, recorded {data['zones'][0]['low']}"]


def test_huge_pages_raise_min_free_kbytes_from_512_mib_on() -> None:
    def min_free(**settings: Any) -> int:
        return ZoneFigures(Config(**settings), "6.18", None, None).min_free_kbytes

    assert min_free(ram="4G") == 67584
    assert min_free(ram="4G", thp="never") < 10000
    assert min_free(ram="256M") == min_free(ram="256M", thp="never")
    assert min_free(ram="4G", min_free_kbytes=1000) == 1000


def test_lowmem_is_896_mib_less_what_vmalloc_and_fixmap_take() -> None:
    assert lowmem_end("x86_pae") == 0x36FFE
    assert lowmem_end("x86_pae", vmalloc=256 << 20) == 0x36FFE - (136 << 8)  # and a guard hole
    assert lowmem_end("x86_32", "2G") > lowmem_end("x86_32", "3G")


def test_arm64_with_30_bits_of_dma_has_a_zone_of_one_gigabyte() -> None:
    config = Config(arch="arm64", memory_map=[(0, 4 << 30), (4 << 30, 8 << 30)], zone_dma_bits=30)
    zones = {zone.name: zone.spanned_pages for zone in ZoneFigures(config, "6.18", None, None).zones}
    assert zones == {"DMA": 1 << 18, "DMA32": 3 << 18, "Normal": 1 << 20, "Movable": 0, "Device": 0}


def test_movablecore_is_cut_off_the_top_of_each_node() -> None:
    config = Config(nodes=("8G", "8G"), movablecore="8G")
    zones = ZoneFigures(config, "6.18", None, None).zones
    movable = [zone for zone in zones if zone.name == "Movable"]
    assert sum(zone.present_pages for zone in movable) == pytest.approx(8 << 18, abs=2048)
    assert all(zone.zone_start_pfn % 1024 == 0 for zone in movable)
    assert sum(zone.present_pages for zone in zones) == (16 << 18) - 0x100 + 158


def test_the_nearest_node_comes_first_and_load_is_spread() -> None:
    config = Config(
        nodes=("1G",) * 4, cpus=4, distances=[[10, 20, 30, 30], [20, 10, 30, 30], [30, 30, 10, 20], [30, 30, 20, 10]]
    )
    assert ZoneFigures(config, "6.18", None, None).orders == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]


def test_a_memory_map_may_have_holes_and_name_nodes() -> None:
    rows = [(0x1000, 0x9F000, 0), (0x100000, 0x8000000, 0), (0x10000000, 0x18000000, 1), (0x20000000, 0x28000000, 0)]
    with Machine(memory_map=rows) as machine:
        zones = [zone for zone in machine.system.zones if zone.present_pages]
        assert [(int(zone.node_id), zone.name) for zone in zones] == [(0, "DMA"), (0, "DMA32"), (1, "DMA32")]
        assert zones[1].spanned_pages == 0x28000 - 0x1000
        assert zones[1].present_pages == (0x8000 - 0x1000) + 0x8000
        process = machine.spawn()
        process.touch(process.mmap("300M"), 300 << 20, write=True)
        from pagewalk.check import check_machine

        check_machine(machine)
        assert zones[2].free_pages < zones[2].managed_pages


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory_map": [(0, 1 << 30), (1 << 29, 1 << 31)]}, "memory_map: 0x20000000-0x7fffffff overlaps"),
        ({"memory_map": [(5, 5)]}, "memory_map: expected 0 <= start < end"),
        ({"memory_map": ["x"]}, "memory_map: expected (start, end)"),
        ({"nodes": ["1M"]}, "nodes: expected 0 or 4M and more"),
        ({"nodes": ["1G", "1G"], "distances": [[10, 20]]}, "distances: expected 2 rows of 2"),
        ({"nodes": ["1G", "1G"], "distances": [[10, 5], [20, 10]]}, "distances: expected 10 to 254 from node 0 to 1"),
        ({"kernelcore": "101%"}, "kernelcore: expected at most 100%"),
        ({"thp": "maybe"}, "thp: expected always, madvise or never"),
        ({"memory_model": "round"}, "memory_model: expected sparse or flat"),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**settings)
    assert message in str(caught.value)


def test_the_command_reads_a_memory_map_and_prints_json(tmp_path: Path) -> None:
    file = tmp_path / "iomem"
    file.write_text(
        "00000000-00000fff : Reserved\n00001000-0009fbff : System RAM\n00100000-3ffdffff : System RAM\n"
        "  01000000-01e01c30 : Kernel code\nfd000000-fdffffff : PCI Bus 0000:00\n"
    )
    result = CliRunner().invoke(cli, ["zones", "--memory-map", str(file), "--json"])
    assert result.exit_code == 0
    zones = {zone["zone"]: zone for zone in json.loads(result.output)["zones"]}
    assert (zones["DMA"]["present"], zones["DMA32"]["spanned"]) == (3998, 258016)


def test_flatmem_is_the_same_machine() -> None:
    texts = []
    for model in ("sparse", "flat"):
        with Machine(ram="64M", memory_model=model, aslr=False) as machine:
            process = machine.spawn()
            process.touch(process.mmap("8M"), 8 << 20, write=True)
            texts.append(machine.zoneinfo() + machine.buddyinfo())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_nodes_are_found_where_only_the_zones_tell_them(path: Path) -> None:
    data = load(path)
    whole = as_dict(figures_of(data))
    data["qemu_args"] = []
    assert as_dict(figures_of(data)) == whole


def test_a_recording_without_a_boot_log_is_computed_with_the_usual_late_frames() -> None:
    for path in GOLDEN:
        data = load(path)
        total = next(line for line in data["boot_log"] if "Memory:" in line)
        data["boot_log"] = []
        figures = figures_of(data)
        if "1024M" in path.stem:  # whose initrd was larger than the usual one
            assert total
            continue
        assert differences(figures, data) == []


def test_what_is_no_recording_is_said(tmp_path: Path) -> None:
    for text in (
        "",
        "[]",
        "{}",
        '{"arch": "vax", "ram": [], "zones": []}',
        '{"arch": "amd64", "ram": [[0, 1]], "zones": 5}',
    ):
        file = tmp_path / "bad.json"
        file.write_text(text)
        result = CliRunner().invoke(cli, ["zones", "--machine", str(file)])
        assert result.exit_code != 0
        assert isinstance(result.exception, (ConfigError, SystemExit)), (text, result.exception)


def test_a_sysctl_that_is_written_moves_the_marks() -> None:
    from pagewalk.fs.procfs import sysctl_zones as sysctls
    from pagewalk.fs.procfs.inodes import ProcSuper

    with Machine(ram="4G") as machine:
        sb = ProcSuper((0, 99), "proc", 0, machine.kernel, machine.namespace)
        normal = next(zone for zone in machine.system.zones if zone.name == "Normal")
        low = machine.system.zones[0]
        before = normal.marks()
        assert sysctls.set_min_free_kbytes(sb, b"200000\n") == 7
        assert sum(zone.watermark_min for zone in machine.system.zones if zone.managed_pages) in (49998, 49999, 50000)
        assert sysctls.set_watermark_scale_factor(sb, b"3000") == 4
        assert normal.marks()[1] - normal.marks()[0] == normal.managed_pages * 3000 // 10000
        assert sysctls.set_lowmem_reserve_ratio(sb, b"0 64") == 4
        assert low.lowmem_reserve == [0] * 5
        assert sysctls.lowmem_reserve_ratio(sb) == "0\t64\t32\t0\t0\n"
        for store, bad in (
            (sysctls.set_min_free_kbytes, b"-1"),
            (sysctls.set_watermark_scale_factor, b"0"),
            (sysctls.set_watermark_scale_factor, b"x"),
            (sysctls.set_percpu_pagelist_high_fraction, b"7"),
            (sysctls.set_lowmem_reserve_ratio, b"a b"),
        ):
            assert store(sb, bad) == -22
        assert sysctls.set_percpu_pagelist_high_fraction(sb, b"100") == 3
        assert normal.pcp.high_min == normal.pcp.high_max == normal.managed_pages // 100
        assert normal.marks() != before
