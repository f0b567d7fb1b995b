"""Machines that nobody sells: a few megabytes, nodes without memory, high memory without end; and sysctls as one
writes them."""

from typing import Any

import pytest
from mm_rig import MB, RW

from pagewalk import Config, ConfigError, Machine
from pagewalk.check import check_machine
from pagewalk.fs.procfs.sysctl_numbers import proc_get_long
from pagewalk.mm.node_texts import node_meminfo
from pagewalk.mm.watermarks import init_per_zone_wmark_min

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    "settings",
    [
        {"ram": "4M"}, {"ram": "8M"}, {"ram": "47M"}, {"ram": "8M", "arch": "x86_pae"},
        {"ram": "16M", "arch": "arm64"}, {"ram": "16M", "arch": "arm64", "granule": "64K"},
        {"ram": "6T"}, {"ram": "64G", "arch": "x86_pae"}, {"ram": "24M", "arch": "x86_32"},
    ],
)  # fmt: skip
def test_small_and_large_machines_run(settings: dict[str, Any]) -> None:
    with Machine(aslr=False, **settings) as machine:
        process = machine.spawn()
        at = process.mmap(MB, RW)
        process.write(at + MB - 4, b"here")
        assert process.read(at + MB - 4, 4) == b"here"
        check_machine(machine)
        for zone in machine.system.zones:
            assert zone.managed_pages == 0 or zone.watermark_min <= zone.managed_pages


@pytest.mark.parametrize("sizes", [[0, "64M"], ["64M", 0], ["48M", 0, 0, "64M"], [0, "48M", 0, "48M", 0]])
def test_nodes_without_memory_take_their_pages_from_the_nearest(sizes: list[Any]) -> None:
    with Machine(nodes=sizes, cpus=len(sizes), aslr=False, swap="64M") as machine:
        system = machine.system
        with_memory = [nid for nid, size in enumerate(sizes) if size]
        for node in system.nodes:
            order = list(dict.fromkeys(int(zone.node_id) for zone in node.zonelist))
            assert sorted(order) == with_memory
            if node.node_id in with_memory:
                assert order[0] == node.node_id
        process = machine.spawn()
        pages = system.totalram_pages * 5 // 4
        at = process.mmap(pages << 12, RW)
        for page in range(pages):
            process.write(at + (page << 12), b"%08d" % page)
        assert all(process.read(at + (page << 12), 8) == b"%08d" % page for page in range(0, pages, 5))
        assert system.vmstat.pswpout > 0
        check_machine(machine)
        for nid, size in enumerate(sizes):
            total = int(node_meminfo(system, nid).split()[3])
            assert (total > 0) == bool(size)
        assert machine.zoneinfo().count("per-node stats") == len(with_memory)


def test_a_machine_without_memory_is_none() -> None:
    with pytest.raises(ConfigError, match="ram: expected 4M to 64T, got 0 bytes"):
        Config(nodes=[0, 0])
    with pytest.raises(ConfigError, match="percpu_pagelist_high_fraction: expected 0, or 8 and more, got 7"):
        Config(percpu_pagelist_high_fraction=7)


@pytest.mark.parametrize("settings", [{"ram": "8M"}, {"nodes": [0, "1G"]}, {"ram": "64G", "arch": "x86_pae"}])
def test_watermarks_can_be_computed_again(settings: dict[str, Any]) -> None:
    system = Machine(aslr=False, **settings).system
    before = [zone.marks() for zone in system.zones]
    assert init_per_zone_wmark_min(system.zones, system.config) == system.min_free_kbytes
    assert [zone.marks() for zone in system.zones] == before


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"12", 12), (b" 7 \n", 7), (b"7 8", 7), (b"0x1000\n", 4096), (b"010", 8), (b"-0", 0), (b"-5", -5), (b"0", 0),
        (b"1_000", None), (b"12abc", None), (b"+5", None), (b"", None), (b" ", None), (b"7,8", None), (b"08", None),
        (b"0x", None), (b"-", None), (b"9" * 40, None),
    ],
)  # fmt: skip
def test_numbers_of_sysctls_read_as_the_kernel_reads_them(text: bytes, value: int | None) -> None:
    assert proc_get_long(text) == value


def test_meminfo_of_a_kernel_with_high_memory_tells_both_parts() -> None:
    for arch, large in (("x86_pae", 2), ("x86_32", 4)):
        with Machine(ram="2G", arch=arch, aslr=False) as machine:
            told = {line.split(":")[0]: int(line.split()[1]) for line in machine.meminfo().splitlines()}
            names = list(told)
            place = names.index("Mlocked") + 1
            assert names[place : place + 4] == ["HighTotal", "HighFree", "LowTotal", "LowFree"]
            assert told["HighTotal"] + told["LowTotal"] == told["MemTotal"]
            assert told["HighFree"] + told["LowFree"] == told["MemFree"]
            assert told["HighTotal"] > told["LowTotal"] > 700 << 10
            assert told["VmallocTotal"] < 256 << 10
            assert 800 << 10 < told["DirectMap4k"] + told[f"DirectMap{large}M"] < 900 << 10
            assert "DirectMap1G" not in told
    with Machine(ram="2G") as machine:
        assert "HighTotal" not in machine.meminfo()
