"""Address maps held against kernels that were booted (tests/golden/kcore): what /proc/kcore says of direct map,
vmalloc, modules and vmemmap, which addresses their page tables map, and where a program without randomisation lies."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pagewalk import Machine, Map
from pagewalk.arch.address_map import KERNEL, AddressMap, Region
from pagewalk.arch.zone_limits import vmalloc_total
from pagewalk.errors import ConfigError
from pagewalk.view.layout import build_map

pytestmark = pytest.mark.quick

BOOTED = sorted((Path(__file__).parents[1] / "golden" / "kcore").glob("*.json"))
ARM64 = [path for path in BOOTED if path.stem.startswith("arm64")]
RISCV = [path for path in BOOTED if path.stem.startswith("riscv64")]
X86 = [path for path in BOOTED if path.stem.startswith("amd64")]


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def the_map(data: dict[str, Any]) -> AddressMap:
    if data["arch"] == "arm64":
        return build_map(
            "arm64", granule=data["page_size"], va_bits=data["va_bits"], linux=data["linux"],
            va_bits_actual=data["va_bits_actual"],
        )  # fmt: skip
    if data["arch"] == "riscv64":
        return build_map("riscv64", va_bits=data["va_bits"])
    return build_map("x86_64", levels=data["levels"])


def kcore(data: dict[str, Any]) -> list[tuple[int, int]]:
    """First address and end of each header, in their order."""
    return [(int(line.split("-")[0], 16), int(line.split()[0].split("-")[1], 16)) for line in data["kcore"]]


def region(found: AddressMap, name: str) -> Region:
    return next(each for each in found.regions if each.name.startswith(name))


@pytest.mark.parametrize("path", ARM64, ids=lambda path: path.stem)
def test_areas_of_arm64_are_those_of_the_booted_kernel(path: Path) -> None:
    data = load(path)
    found = the_map(data)
    image, vmalloc, modules, direct, vmemmap = kcore(data)
    assert (region(found, "vmalloc").start, region(found, "vmalloc").end) == vmalloc
    assert (region(found, "modules").start, region(found, "modules").end) == modules
    assert image[0] == vmalloc[0]  # without KASLR the image lies where vmalloc begins
    linear = region(found, "kernel logical memory map")
    assert linear.start == direct[0] < direct[1] <= linear.end
    assert vmemmap[0] == region(found, "vmemmap").start
    assert vmemmap[1] <= region(found, "vmemmap").end
    assert region(found, "vmalloc").size >> 10 == data["vmalloc_total_kb"]


@pytest.mark.parametrize("path", ARM64, ids=lambda path: path.stem)
def test_page_tables_of_arm64_map_nothing_outside_the_regions(path: Path) -> None:
    """PCI I/O and the fixmap, which /proc/kcore leaves out, are seen here."""
    data = load(path)
    kernel = [each for each in the_map(data).regions if each.kind == KERNEL]
    seen = set()
    for line in data.get("mapped", []):
        start, end = (int(word, 16) for word in line.split("-"))
        seen.update(each.name for each in kernel if each.start <= start and end <= each.end)
        assert any(each.start <= start and end <= each.end for each in kernel), line
    if "mapped" in data:
        assert {"PCI I/O space", "fixed mappings (top down)", "vmalloc", "vmemmap"} <= seen
    else:
        assert data["linux"] == "6.1"  # names no symbol of its page table


@pytest.mark.parametrize("path", X86, ids=lambda path: path.stem)
def test_areas_of_x86_64_are_those_of_the_booted_kernel(path: Path) -> None:
    data = load(path)
    found = the_map(data)
    headers = kcore(data)
    vmalloc = region(found, "vmalloc")
    assert (vmalloc.start, vmalloc.end - 1) in headers  # its size is given as the last address
    text, direct, vmemmap = (region(found, name) for name in ("kernel text", "direct mapping", "virtual memory map"))
    assert headers[0][0] == text.start + (16 << 20)
    assert min(start for start, _ in headers if direct.start <= start < direct.end) == direct.start + 4096
    assert min(start for start, _ in headers if vmemmap.start <= start < vmemmap.end) == vmemmap.start
    assert max(end for _, end in headers) == region(found, "module mapping").end
    for start, end in headers:
        assert any(each.start <= start and end <= each.end for each in found.regions if each.kind == KERNEL)
    assert vmalloc.size - 1 >> 10 == data["vmalloc_total_kb"]


@pytest.mark.parametrize("path", RISCV, ids=lambda path: path.stem)
def test_areas_of_riscv_are_those_of_the_booted_kernel(path: Path) -> None:
    data = load(path)
    found = the_map(data)
    image, vmalloc, modules, direct, vmemmap = kcore(data)
    kernel, outer = region(found, "kernel"), region(found, "modules")
    assert kernel.start < image[0] < image[1] < kernel.end  # behind the code that begins
    assert (region(found, "vmalloc").start, region(found, "vmalloc").end) == vmalloc
    assert outer.start < modules[0] == image[1] - (2 << 30)  # they reach the image
    assert modules[1] == outer.end == kernel.start
    assert direct[0] == region(found, "direct mapping").start
    assert direct[1] <= region(found, "direct mapping").end
    assert vmemmap[0] == region(found, "vmemmap").start


@pytest.mark.parametrize("path", BOOTED, ids=lambda path: path.stem)
def test_user_space_is_where_the_booted_kernel_has_it(path: Path) -> None:
    data = load(path)
    marks = {name.partition(":")[0]: addr for addr, name in the_map(data).marks}
    ends = {line.split()[-1]: int(re.split("[- ]", line)[1], 16) for line in data["maps"]}
    assert marks["STACK_TOP"] == ends["[stack]"]
    assert marks["mmap_base"] == ends["[vdso]"]


def a_machine(data: dict[str, Any]) -> Machine:
    """One of the nearest release that there is, with the bits that the CPU gave the kernel."""
    linux = "6.1" if data["linux"] == "6.1" else "6.18"
    if data["arch"] == "arm64":
        granule, bits = data["page_size"], data["va_bits_actual"]
        return Machine(arch="arm64", ram="64M", aslr=False, linux=linux, granule=granule, va_bits=bits)
    levels = data["levels"] if data["arch"] == "x86_64" else {39: 3, 48: 4, 57: 5}[data["va_bits"]]
    return Machine(arch=data["arch"], ram="64M", aslr=False, linux=linux, levels=levels)


@pytest.mark.parametrize("path", ARM64 + X86, ids=lambda path: path.stem)
def test_a_hint_beyond_the_window_gets_what_the_booted_kernel_gave(path: Path) -> None:
    """mmap with an address near the top: beyond 47 or 48 bits only where one asks for it, and where there is more."""
    data = load(path)
    page = data["page_size"]
    with a_machine(data) as machine:
        process = machine.spawn()
        base = process.mmap(page) + page
        high = process.mmap(page, addr=-65536, flags=Map.PRIVATE | Map.ANONYMOUS)
        there = int(data["high_mmap"], 16)
        assert high == (there if there > base else base - 2 * page)


@pytest.mark.parametrize("path", BOOTED, ids=lambda path: path.stem)
def test_vmalloc_total_of_a_machine_is_that_of_the_booted_kernel(path: Path) -> None:
    data = load(path)
    with a_machine(data) as machine:
        assert vmalloc_total(machine.config, 1 << 18, machine.config.linux) == data["vmalloc_total_kb"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"linux": "6"}, "expected a release as 6.18, got '6'"),
        ({"linux": "6.x"}, "expected a release as 6.18, got '6.x'"),
        ({"linux": "5.10"}, "expected 6.1 or later, got 5.10"),
        ({"linux": "6.6", "va_bits": 52}, "64K pages only"),
        ({"va_bits": 52, "va_bits_actual": 47}, "52 or 48 bits of address, got 47"),
        ({"va_bits": 52, "va_bits_actual": 48, "granule": 16384}, "52 or 47 bits"),
        ({"va_bits": 48, "va_bits_actual": 39}, "a CPU with 48 bits"),
    ],
)
def test_a_release_or_cpu_that_there_is_not_is_told(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        build_map("arm64", **settings)


def test_only_arm64_takes_a_release() -> None:
    with pytest.raises(ConfigError, match="x86_64 has no linux"):
        build_map("x86_64", linux="6.1")


def test_64k_pages_fall_back_to_48_bits_with_the_vmemmap_of_52_until_6_8() -> None:
    old = build_map("arm64", granule=65536, va_bits=52, linux="6.8", va_bits_actual=48)
    assert (region(old, "vmemmap").start, region(old, "vmemmap").end) == (0xFFFF_FFC0_0000_0000, 0xFFFF_FFE0_0000_0000)
    assert region(old, "vmalloc").end == 0xFFFF_FBFF_F000_0000
    new = build_map("arm64", granule=65536, va_bits=52, linux="6.9", va_bits_actual=48)
    assert region(new, "vmalloc").end == region(build_map("arm64", granule=65536), "vmalloc").end
