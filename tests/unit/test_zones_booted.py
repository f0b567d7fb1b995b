"""Machines that were booted to see what real kernels of four releases make of odd memory maps, nodes, boot parameters
and settings (tests/golden/zones/booted): every figure after boot and after each write."""

import copy
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from pagewalk import Config, ConfigError, Machine
from pagewalk.arch.kernel_areas import kernel_areas, randomize_memory
from pagewalk.arch.zone_limits import lowmem_map, lowmem_pfns
from pagewalk.cli import cli
from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.fs.procfs.thp_switch import set_thp_enabled, thp_enabled
from pagewalk.mm.memblock import regions_of
from pagewalk.mm.mm_init import all_ranges
from pagewalk.mm.show_mem import pagetypeinfo_text
from pagewalk.mm.zone_figures import ZoneFigures
from pagewalk.view.zones_recorded import differences, figures_of

pytestmark = pytest.mark.quick

BOOTED = sorted((Path(__file__).parents[1] / "golden" / "zones" / "booted").glob("*.json"))
MARKS = (
    "min",
    "low",
    "high",
    "protection",
    "pageset_high_min",
    "pageset_high_max",
    "managed",
    "spanned",
    "present",
    "pageblocks",
)


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("path", BOOTED, ids=lambda path: path.stem)
def test_every_figure_is_that_of_the_booted_machine(path: Path) -> None:
    data = load(path)
    assert len(data["after"]) == 11
    assert differences(figures_of(data), data) == []
    missing = ["after"] if "numa=fake" in data["cmdline"] else ["after", "distances", "node_cpus"]
    bare = {name: value for name, value in data.items() if name not in missing}
    bare["boot_log"] = [line for line in data["boot_log"] if "Freeing" not in line]
    assert differences(figures_of(bare), bare) == []  # as others recorded theirs


@pytest.mark.parametrize("path", BOOTED, ids=lambda path: path.stem)
def test_nodes_and_their_order_are_those_of_the_booted_machine(path: Path) -> None:
    data = load(path)
    figures = figures_of(data)
    if "distances" in data:
        assert figures.distances == data["distances"]
    orders = [line.partition("for Node ")[2].partition(":") for line in data["boot_log"] if "Fallback order" in line]
    assert data["arch"] == "i386" or len(orders) == len(figures.orders)
    for node, _, order in orders:
        assert figures.orders[int(node)] == [int(each) for each in order.split()]


@pytest.mark.parametrize("path", BOOTED, ids=lambda path: path.stem)
def test_without_its_distances_a_machine_is_told_by_the_emulator_s_options(path: Path) -> None:
    data = load(path)
    with_them = figures_of(data).distances
    data.pop("distances", None)
    if "numa=fake" not in data["cmdline"]:
        assert figures_of(data).distances == with_them


WITH_KCORE = [path for path in BOOTED if "kcore" in load(path)]


@pytest.mark.parametrize("path", WITH_KCORE, ids=lambda path: path.stem)
def test_the_kernel_s_areas_are_those_of_the_booted_machine(path: Path) -> None:
    """/proc/kcore has them: the direct map, the vmalloc area, and on 64 bits the map of struct pages."""
    data = load(path)
    config = figures_of(data).config
    if config.arch == "x86_64":
        config.levels = 5  # its CPU had them
    ranges = all_ranges(regions_of(config))
    areas = kernel_areas(config, ranges, None)
    real = [[int(word, 16) for word in line.split()[0].split("-")] for line in data["kcore"]]
    vmalloc = [areas.vmalloc_start, areas.vmalloc_end - (1 if config.arch == "x86_64" else 0)]
    assert vmalloc in real
    if config.arch == "x86_64":
        for start, end in ranges:
            assert [areas.page_offset + (start << 12), areas.page_offset + (end << 12)] in real
        assert areas.vmemmap == min(start for start, _ in real if areas.vmemmap >> 48 == start >> 48)
    else:
        assert [areas.page_offset, areas.page_offset + (areas.max_low_pfn << 12)] in real
        assert len(real) == 2


@pytest.mark.parametrize(
    ("arch", "pkmap", "ldt"), [("x86_pae", 0xFF000000, 0xFF200000), ("x86_32", 0xFEC00000, 0xFF000000)]
)
def test_pkmap_entry_area_and_fixmap_are_where_a_distribution_s_kernel_has_them(
    arch: str, pkmap: int, ldt: int
) -> None:
    config = Config(arch=arch, ram="1G")
    areas = kernel_areas(config, all_ranges(regions_of(config)), None)
    assert (areas.pkmap_base, areas.cpu_entry_area) == (pkmap, 0xFF400000)
    assert (areas.fixaddr_start, areas.fixaddr_top) == (0xFF9FE000, 0xFFFFF000)
    assert areas.fix_kmap_begin == 68
    regions = {region.name.split(":")[0].split(",")[0]: region for region in lowmem_map(config, 1 << 18).regions}
    assert regions["LDT remap for PTI"].start == ldt
    assert regions["cpu_entry_area"].end == 0xFF961000


class Drawn(Random):
    """A source of randomness that gives what one wants."""

    def __init__(self, gaps: list[int]) -> None:
        super().__init__(0)
        self.gaps = gaps

    def getrandbits(self, _: int) -> int:
        return self.gaps.pop(0)


@pytest.mark.parametrize(
    ("levels", "bases"),
    [
        (4, (0xFFFF8D8E00000000, 0xFFFFCEDC00000000, 0xFFFFFB4A80000000)),  # 6.1, 512M
        (4, (0xFFFF8C1580000000, 0xFFFFCFD800000000, 0xFFFFFA6A40000000)),  # 6.18, 2G
        (5, (0xFF28AC5280000000, 0xFF7BF69700000000, 0xFFB001F3C0000000)),  # 6.18, 1G
    ],
)
def test_where_kernels_put_their_areas_at_random_is_where_they_may_lie(levels: int, bases: tuple[int, ...]) -> None:
    """page_offset_base, vmalloc_base and vmemmap_base as booted kernels drew them: each gap leads to the next base."""
    gaps: list[int] = []
    for number, base in enumerate(bases):
        least = randomize_memory(levels, Drawn([*gaps, 0, 0, 0]))
        gaps.append(base - least[number])
    assert all(gap >= 0 for gap in gaps)
    assert randomize_memory(levels, Drawn(gaps.copy())) == bases  # none is beyond its share


@pytest.mark.parametrize("name", MARKS)
def test_a_wrong_figure_is_told_whichever_it_is(name: str) -> None:
    for path in BOOTED:
        data = load(path)
        wrong = copy.deepcopy(data)
        zone = next((zone for zone in wrong["zones"] if zone["managed"] and name in zone), None)
        if zone is None:
            continue
        if name == "managed":
            zone[name] += 5000  # an input: what follows from it is wrong then
        elif name == "protection":
            zone[name][-1] += 1
        else:
            zone[name] += 1
        assert differences(figures_of(wrong), wrong)
        later = copy.deepcopy(data)
        for step in later["after"]:
            for each in step["zones"][:1]:
                if name in each and name != "protection":
                    each[name] += 1
                    lines = differences(figures_of(later), later)
                    assert lines and all(line.startswith("after ") for line in lines)


def test_the_command_compares_a_booted_machine() -> None:
    result = CliRunner().invoke(cli, ["zones", "--machine", str(BOOTED[0])])
    assert result.exit_code == 0
    assert "0 figures differ" in result.output


def test_huge_pages_are_turned_on_and_off_in_sys() -> None:
    with Machine(ram="2G", thp="always") as machine:
        system = machine.system
        sb = ProcSuper((0, 99), "sysfs", 0, machine.kernel, machine.namespace)
        assert thp_enabled(sb) == "[always] madvise never\n"
        high = system.min_free_kbytes
        assert set_thp_enabled(sb, b"never\n") == 6
        assert system.min_free_kbytes < high // 4
        assert thp_enabled(sb) == "always madvise [never]\n"
        assert set_thp_enabled(sb, b"madvise") == 7
        assert abs(system.min_free_kbytes - high) <= 4
        assert set_thp_enabled(sb, b"maybe") == -22
        assert set_thp_enabled(sb, b"") == -22


def test_a_written_minimum_outlives_huge_pages_that_are_turned_off() -> None:
    figures = ZoneFigures(Config(ram="2G", thp="always"), "6.18", None, None)
    figures.write("min_free_kbytes", "30000")
    figures.write("transparent_hugepage", "never")
    assert figures.min_free_kbytes == 30000
    figures.write("transparent_hugepage", "always")
    assert figures.min_free_kbytes == 45056
    figures.write("min_free_kbytes", "100")
    figures.write("transparent_hugepage", "never")
    assert 5000 < figures.min_free_kbytes < 6000


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("transparent_hugepage", "on", "expected always, madvise or never, got 'on'"),
        ("min_free_kbytes", "much", "min_free_kbytes: expected a whole number, got 'much'"),
        ("swappiness", "5", "expected a setting that zones follow, got 'swappiness'"),
    ],
)
def test_what_cannot_be_written_is_said(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ZoneFigures(Config(), "6.18", None, None).write(name, value)


@pytest.mark.parametrize(
    ("ram", "highmem", "low", "end"),
    [
        ("512M", "100M", (512 << 8) - (100 << 8), 512 << 8),
        ("512M", "500M", 512 << 8, 512 << 8),  # less than 64 MiB of lowmem would be left
        ("512M", "0", 512 << 8, 512 << 8),
        ("2G", "50M", 0x36FFE, 0x36FFE + (50 << 8)),
        ("2G", "0", 0x36FFE, 0x36FFE),
        ("2G", "8G", 0x36FFE, 2 << 18),
    ],
)
def test_highmem_takes_from_lowmem_or_leaves_ram_unused(ram: str, highmem: str, low: int, end: int) -> None:
    config = Config(arch="x86_pae", ram=ram, highmem=highmem)
    assert lowmem_pfns(config, int(config.ram) >> 12) == (low, end)
    figures = ZoneFigures(config, "6.1", None, None)
    assert max(zone.end_pfn for zone in figures.zones) == end
    with Machine(arch="x86_pae", ram=ram, highmem=highmem) as machine:
        process = machine.spawn()
        process.touch(process.mmap("1M"), 1 << 20, write=True)
        init_mm = machine.system.init_mm
        assert init_mm is not None
        assert init_mm.areas.max_low_pfn == low
        assert init_mm.areas.vmalloc_start == 0xC000_0000 + (low << 12) + (8 << 20)


def test_two_levels_reach_four_gigabytes_where_the_map_has_them() -> None:
    with Machine(arch="x86_32", memory_map=[(0x1000, 0x9F000), (0x100000, 0xFFFE0000)]) as machine:
        process = machine.spawn()
        process.touch(process.mmap("8M"), 8 << 20, write=True)
    with pytest.raises(ConfigError, match="memory_map: x86_32 without PAE reaches 4G, got 0x140000000"):
        Config(arch="x86_32", memory_map=[(0x1000, 0x9F000), (0x100000, 5 << 30)])


@pytest.mark.parametrize("placed", [[0], [0, 1, 2], [0, -1], ["a", "b"]])
def test_cpus_have_nodes_that_there_are(placed: list[Any]) -> None:
    with pytest.raises(ConfigError, match="cpu_nodes: expected 2 numbers of 0 to 1, one for each CPU"):
        Config(nodes=["1G", "1G"], cpus=2, cpu_nodes=placed)


def test_lists_of_a_node_s_cpus_share_its_zones() -> None:
    config = Config(nodes=["1G", "1G"], cpus=4, cpu_nodes=[0, 0, 0, 1], thp="never")
    one, other = (
        next(
            zone
            for zone in ZoneFigures(config, "6.18", None, None).zones
            if zone.name == "DMA32" and zone.node_id == nid
        )
        for nid in (0, 1)
    )
    assert int(one.pcp.high_max) == one.managed_pages // 8 // 3
    assert int(other.pcp.high_max) == other.managed_pages // 8


def test_pagetypeinfo_is_told_node_by_node_without_what_has_no_struct_page() -> None:
    rows = [(0x1000, 0x9F000, 0), (0x100000, 0x8000000, 0), (0x10000000, 0x18000000, 1)]
    with Machine(memory_map=rows) as machine:
        text = pagetypeinfo_text(machine.system)
    first, second = text.split("Page block order: 9\n")[1:]
    counts = {line.split()[3]: sum(int(word) for word in line.split()[4:]) for line in first.splitlines()[-2:]}
    assert counts == {"DMA": 8, "DMA32": 56}
    assert "Node    1, zone    DMA32, type      Movable" in second
    assert sum(int(word) for word in second.splitlines()[-1].split()[4:]) == 64
    assert "Node 0" not in second.replace("Node    0", "Node 0")
