"""Address maps: held against the tables of the kernel's documentation, and against what kernels said of themselves."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from pagewalk import LinuxError, Machine, Map
from pagewalk.arch import arm64, map_arm64, map_riscv, map_x86, riscv64, x86_32, x86_64
from pagewalk.arch.address_map import HOLE, KERNEL, USER, AddressMap, mmap_base
from pagewalk.cli import cli
from pagewalk.errors import ConfigError
from pagewalk.view.layout import ARCHITECTURES, CELLS, build_map, layout_text

# Documentation/arch: first and last address of each region, in the documents' own words or the start of them.
X86_64_4 = """
0000000000000000 00007fffffffffff user-space virtual memory
0000800000000000 ffff7fffffffffff ... huge
ffff800000000000 ffff87ffffffffff ... guard hole
ffff880000000000 ffff887fffffffff LDT remap for PTI
ffff888000000000 ffffc87fffffffff direct mapping of all physical memory
ffffc88000000000 ffffc8ffffffffff ... unused hole
ffffc90000000000 ffffe8ffffffffff vmalloc/ioremap space
ffffea0000000000 ffffeaffffffffff virtual memory map
ffffec0000000000 fffffbffffffffff KASAN shadow memory
fffffe0000000000 fffffe7fffffffff cpu_entry_area mapping
ffffff0000000000 ffffff7fffffffff %esp fixup stacks
ffffffef00000000 fffffffeffffffff EFI region mapping space
ffffffff80000000 ffffffff9fffffff kernel text mapping
ffffffffa0000000 fffffffffeffffff module mapping space
ffffffffff600000 ffffffffff600fff legacy vsyscall ABI
"""
X86_64_5 = """
0000000000000000 00ffffffffffffff user-space virtual memory
0100000000000000 feffffffffffffff ... huge
ff00000000000000 ff0fffffffffffff ... guard hole
ff10000000000000 ff10ffffffffffff LDT remap for PTI
ff11000000000000 ff90ffffffffffff direct mapping of all physical memory
ffa0000000000000 ffd1ffffffffffff vmalloc/ioremap space
ffd4000000000000 ffd5ffffffffffff virtual memory map
ffdf000000000000 fffffbffffffffff KASAN shadow memory
ffffffff80000000 ffffffff9fffffff kernel text mapping
"""
ARM64_4K_48 = """
0000000000000000 0000ffffffffffff user
ffff000000000000 ffff7fffffffffff kernel logical memory map
ffff800000000000 ffff80007fffffff modules
ffff800080000000 fffffbffefffffff vmalloc
fffffbfff0000000 fffffbfffdffffff fixed mappings
fffffbfffe000000 fffffbfffe7fffff [guard region]
fffffbfffe800000 fffffbffff7fffff PCI I/O space
fffffbffff800000 fffffbffffffffff [guard region]
fffffc0000000000 fffffdffffffffff vmemmap
fffffe0000000000 ffffffffffffffff [guard region]
"""
ARM64_6_1 = """
ffff800000000000 ffff800007ffffff modules
ffff800008000000 fffffbffefffffff vmalloc
fffffc0000000000 fffffdffffffffff vmemmap
"""
ARM64_64K_52 = """
0000000000000000 000fffffffffffff user
fff0000000000000 ffff7fffffffffff kernel logical memory map
ffff800000000000 ffff80007fffffff modules
ffff800080000000 fffffbffefffffff vmalloc
fffffbfffe800000 fffffbffff7fffff PCI I/O space
fffffc0000000000 ffffffdfffffffff vmemmap
ffffffe000000000 ffffffffffffffff [guard region]
"""
RISCV_SV39 = """
0000000000000000 0000003fffffffff user-space virtual memory
0000004000000000 ffffffbfffffffff ... huge
ffffffc4fea00000 ffffffc4feffffff fixmap
ffffffc4ff000000 ffffffc4ffffffff PCI io
ffffffc500000000 ffffffc5ffffffff vmemmap
ffffffc600000000 ffffffd5ffffffff vmalloc/ioremap space
ffffffd600000000 fffffff5ffffffff direct mapping of all physical memory
fffffff700000000 fffffffeffffffff kasan
ffffffff00000000 ffffffff7fffffff modules, BPF
ffffffff80000000 ffffffffffffffff kernel
"""
RISCV_SV48 = """
0000000000000000 00007fffffffffff user-space virtual memory
ffff8d7ffea00000 ffff8d7ffeffffff fixmap
ffff8d7fff000000 ffff8d7fffffffff PCI io
ffff8d8000000000 ffff8f7fffffffff vmemmap
ffff8f8000000000 ffffaf7fffffffff vmalloc/ioremap space
ffffaf8000000000 ffffef7fffffffff direct mapping of all physical memory
ffffef8000000000 fffffffeffffffff kasan
"""
RISCV_SV57 = """
0000000000000000 00ffffffffffffff user-space virtual memory
ff1bfffffea00000 ff1bfffffeffffff fixmap
ff1bffffff000000 ff1bffffffffffff PCI io
ff1c000000000000 ff1fffffffffffff vmemmap
ff20000000000000 ff5fffffffffffff vmalloc/ioremap space
ff60000000000000 ffdeffffffffffff direct mapping of all physical memory
ffdf000000000000 fffffffeffffffff kasan
"""

DOCUMENTS: list[tuple[AddressMap, str]] = [
    (map_x86.map_64(4), X86_64_4),
    (map_x86.map_64(5), X86_64_5),
    (map_arm64.address_map(4096, 48, "6.6"), ARM64_4K_48),
    (map_arm64.address_map(65536, 52, "6.6"), ARM64_64K_52),
    (map_arm64.address_map(4096, 48, "6.1"), ARM64_6_1),
    (map_riscv.address_map("sv39"), RISCV_SV39),
    (map_riscv.address_map("sv48"), RISCV_SV48),
    (map_riscv.address_map("sv57"), RISCV_SV57),
]

ALL = [
    *[found for found, _ in DOCUMENTS],
    map_riscv.address_map("sv32"),
    *[map_arm64.address_map(size, bits, release) for release in ("6.1", "6.6", "6.18")
      for size, bits in ((4096, 36), (4096, 39), (16384, 36), (16384, 47), (65536, 42), (65536, 52))],
    map_arm64.address_map(4096, 52),
    map_arm64.address_map(16384, 52),
    map_arm64.address_map(16384, 52, "6.18", 47),
    map_arm64.address_map(65536, 52, "6.6", 48),
    *[map_x86.map_32(offset, ram, pae) for pae in (False, True) for ram in (256 << 20, 1 << 30, 64 << 30)
      for offset in map_x86.SPLITS.values() if not pae or offset % (1 << 30) == 0],
]  # fmt: skip


@pytest.mark.parametrize(("found", "table"), DOCUMENTS, ids=[found.name for found, _ in DOCUMENTS])
def test_regions_are_those_of_the_kernels_documentation(found: AddressMap, table: str) -> None:
    ours = {region.start: region for region in found.regions}
    for line in table.strip().splitlines():
        start, last, name = line.split(" ", 2)
        region = ours[int(start, 16)]
        assert region.end - 1 == int(last, 16), line
        assert region.name.startswith(name)


def test_kasan_of_arm64_lies_within_the_linear_map() -> None:
    for size, start in (((4096, 48), 0xFFFF_6000_0000_0000), ((65536, 52), 0xFFFD_8000_0000_0000)):
        shadow = map_arm64.address_map(*size).within[0]
        assert (shadow.start, shadow.end) == (start, 0xFFFF_8000_0000_0000)


@pytest.mark.parametrize("found", ALL, ids=lambda found: found.name)
def test_regions_tile_the_address_space(found: AddressMap) -> None:
    assert found.regions[0].start == 0
    assert found.regions[0].kind == USER
    assert found.regions[-1].end == 1 << found.bits
    for before, after in zip(found.regions, found.regions[1:], strict=False):
        assert before.end == after.start
        assert before.size > 0
    assert [addr for addr, _ in found.marks] == sorted(addr for addr, _ in found.marks)
    assert any(region.kind == HOLE for region in found.regions) == (found.bits == 64)


def test_32_bit_x86_is_what_a_kernel_with_1_gib_said_at_boot() -> None:
    """Debian 6.1, 686-pae: HighMem from 36ffe000, "879MB LOWMEM available", VmallocTotal 122880 kB."""
    regions = {region.name.split(":")[0]: region for region in map_x86.map_32(ram=1 << 30, pae=True).regions}
    lowmem = regions["lowmem"]
    assert (lowmem.start, lowmem.end) == (0xC000_0000, 0xC000_0000 + 0x36FF_E000)
    assert lowmem.size >> 20 == 879
    assert regions["vmalloc/ioremap space, and modules"].size == 122880 << 10
    small = {region.name.split(":")[0]: region for region in map_x86.map_32(ram=256 << 20, pae=True).regions}
    assert small["lowmem"].size == 256 << 20


def test_another_split_gives_lowmem_what_it_takes_from_user_space() -> None:
    for offset in (0xC000_0000, 0x8000_0000, 0x4000_0000):
        found = map_x86.map_32(offset, 4 << 30)
        lowmem = next(region for region in found.regions if region.kind == KERNEL)
        assert (lowmem.start, found.regions[0].end) == (offset, offset)
        assert lowmem.size == 0xFEBF_E000 - offset - (128 << 20)


@pytest.mark.parametrize(
    ("layout", "base", "stack_top"),
    [
        (x86_32.layout(), 0xB800_0000, 0xC000_0000),
        (arm64.layout(), 0xFFFF_F800_0000, 1 << 48),
        (x86_64.layout(4), 0x7FFF_F7FF_F000, 0x7FFF_FFFF_F000),
    ],
)
def test_mmap_base_and_stack_top_are_what_kernels_without_randomisation_have(
    layout: object, base: int, stack_top: int
) -> None:
    """The maps of a static busybox under norandmaps on Debian 6.1: i386, arm64, amd64."""
    from pagewalk.arch.format import Layout

    assert isinstance(layout, Layout)
    assert (mmap_base(layout), layout.stack_top) == (base, stack_top)


def test_riscv_user_space_ends_at_half_of_the_addresses() -> None:
    """Documentation/arch/riscv/vm-layout.rst; addresses beyond 47 bits are for those who ask for them."""
    assert [riscv64.layout(mode).task_size for mode in ("sv39", "sv48", "sv57")] == [1 << 38, 1 << 47, 1 << 56]
    assert [riscv64.layout(mode).stack_top for mode in ("sv39", "sv48", "sv57")] == [1 << 38, 1 << 47, 1 << 47]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_prints_a_map_with_all_its_regions(arch: str) -> None:
    done = CliRunner().invoke(cli, ["layout", "--arch", arch])
    assert done.exit_code == 0
    found = build_map(arch)
    for region in found.regions:
        assert f"{region.start:0{found.bits // 4}x} {region.end - 1:0{found.bits // 4}x}" in done.output
    for name in ("mmap_base", "STACK_TOP", "TASK_SIZE"):
        assert name in done.output
    bars = [line for line in done.output.splitlines() if line.startswith("|")]
    assert len(bars) >= 3
    assert {len(line) for line in bars} == {CELLS + 2}


def test_a_bar_is_to_scale() -> None:
    bars = [line.strip("|") for line in layout_text(build_map("x86_32", vmsplit="3G/1G")).splitlines() if "|" in line]
    assert bars[0].count("U") == CELLS * 3 // 4
    assert bars[0] == "U" * bars[0].count("U") + bars[0].lstrip("U")


def test_json_has_the_same_regions() -> None:
    done = CliRunner().invoke(cli, ["layout", "--arch", "x86_pae", "--vmsplit", "2G/2G", "--ram", "1G", "--json"])
    data = json.loads(done.output)
    assert data["bits"] == 32
    assert data["regions"][0] == {
        "start": "0x0", "end": "0x80000000", "size": 2 << 30, "kind": "user",
        "name": "user-space virtual memory, different per mm",
    }  # fmt: skip
    assert {"addr": "0x80000000", "name": "STACK_TOP"} in data["marks"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"arch": "vax"}, "expected one of x86_64"),
        ({"arch": "x86_64", "levels": 3}, "expected 4 or 5, got 3"),
        ({"arch": "x86_64", "vmsplit": "3G"}, "x86_64 has no vmsplit"),
        ({"arch": "x86_32", "vmsplit": "4G"}, "expected 3G, 3G_OPT"),
        ({"arch": "x86_pae", "vmsplit": "3G_OPT"}, "multiple of 0x40000000"),
        ({"arch": "x86_32", "vmsplit": "0xFFC00000"}, "between 0x10000000 and"),
        ({"arch": "arm64", "granule": 8192}, "a granule of 4096"),
        ({"arch": "arm64", "granule": 0}, "a granule of 4096"),
        ({"arch": "arm64", "va_bits": 0}, "36 to 48 bits"),
        ({"arch": "arm64", "va_bits": 53}, "36 to 48 bits"),
        ({"arch": "riscv64", "va_bits": 40}, "expected 39, 48 or 57 bits"),
        ({"arch": "riscv64", "va_bits": 48, "levels": 3}, "got 48 bits and 3 levels"),
        ({"arch": "riscv64", "levels": 0}, "got 0 levels"),
        ({"arch": "x86_64", "levels": 0}, "expected 4 or 5, got 0"),
        ({"arch": "x86_32", "vmsplit": ""}, "expected 3G, 3G_OPT"),
        ({"arch": "x86_32", "ram": 0}, "ram: expected 16M or more, got 0 bytes"),
    ],
)
def test_what_an_architecture_does_not_have_is_said(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        build_map(**settings)  # type: ignore[arg-type]


def test_any_split_can_be_given_as_an_address() -> None:
    assert build_map("x86_32", vmsplit="0xA0000000").regions[0].end == 0xA000_0000
    assert build_map("x86_32", vmsplit="vmsplit_2g_opt").regions[0].end == 0x7800_0000


@pytest.mark.parametrize(
    "settings",
    [
        {"arch": "x86_64"}, {"arch": "x86_64", "levels": 5},
        *[{"arch": "x86_32", "vmsplit": split} for split in ("3G", "3G_OPT", "2G", "2G_OPT", "1G", "0xA0000000")],
        *[{"arch": "x86_pae", "vmsplit": split} for split in ("3G", "2G", "1G")],
        *[{"arch": "arm64", "granule": size} for size in ("4K", "16K", "64K")],
        {"arch": "arm64", "va_bits": 39}, {"arch": "arm64", "va_bits": 52},
        {"arch": "arm64", "granule": "16K", "va_bits": 36}, {"arch": "arm64", "granule": "64K", "va_bits": 42},
        *[{"arch": "riscv64", "levels": count} for count in (3, 4, 5)], {"arch": "riscv32"},
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values()),
)  # fmt: skip
def test_a_machine_maps_where_its_map_says(settings: dict[str, Any]) -> None:
    with Machine(ram="64M", aslr=False, **settings) as machine:
        layout = machine.system.layout
        shown = dict(settings)
        if "granule" in shown:
            shown["granule"] = int(machine.system.page_size)
        if shown["arch"] == "riscv64" or shown["arch"] == "x86_64":
            shown["levels"] = machine.config.levels
        found = build_map(**shown)
        names = {name.partition(":")[0]: addr for addr, name in found.marks}
        process = machine.spawn()
        page = int(machine.system.page_size)
        assert process.mmap(page) == names["mmap_base"] - page
        assert names["TASK_SIZE"] == layout.task_size <= found.regions[0].end
        assert found.regions[0].end - names["TASK_SIZE"] < 2 * page  # x86-64 leaves the last page out
        with pytest.raises(LinuxError):
            process.mmap(page, addr=names["TASK_SIZE"], flags=Map.PRIVATE | Map.ANONYMOUS | Map.FIXED)
        last = names["TASK_SIZE"] - page
        assert process.mmap(page, addr=last, flags=Map.PRIVATE | Map.ANONYMOUS | Map.FIXED) == last
        process.write(last, b"the last page")
        assert process.read(last, 8) == b"the last"
