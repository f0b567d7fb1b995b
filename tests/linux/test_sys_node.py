"""/sys/devices/system/node and the tables of memory have the rows of the running kernel, in its order."""

import re
from pathlib import Path

import harness
import pytest

from pagewalk import Machine
from pagewalk.mm import node_texts

pytestmark = [pytest.mark.linux]

NODE = Path("/sys/devices/system/node/node0")


def shape(text: str) -> list[str]:
    """The text without its numbers (a count above 100000 is shown as >100000)."""
    return [re.sub(r" +", " ", re.sub(r">?\d+", "#", line)) for line in text.splitlines()]


@pytest.mark.parametrize("name", ["meminfo", "numastat", "vmstat", "distance"])
def test_a_node_says_what_the_kernels_does(name: str) -> None:
    harness.need_reference_kernel()
    if not NODE.exists():
        pytest.skip("a kernel without NUMA")
    texts = {
        "meminfo": node_texts.node_meminfo, "numastat": node_texts.node_numastat,
        "vmstat": node_texts.node_vmstat, "distance": node_texts.node_distance,
    }  # fmt: skip
    with Machine(ram="1G") as machine:
        ours = texts[name](machine.system, 0)
    assert shape(ours) == shape((NODE / name).read_text())


def test_meminfo_lines_are_formatted_as_the_kernels() -> None:
    harness.need_reference_kernel()
    theirs = (NODE / "meminfo").read_text().splitlines()
    with Machine(ram="1G") as machine:
        ours = node_texts.node_meminfo(machine.system, 0).splitlines()
    for mine, native in zip(ours, theirs, strict=True):
        assert mine.partition(":")[0] == native.partition(":")[0]
        assert len(mine) - len(mine.lstrip()) == len(native) - len(native.lstrip())
        if len(native.split()[-2]) <= 8:
            assert len(mine) == len(native), (mine, native)


@pytest.mark.parametrize("name", ["zoneinfo", "pagetypeinfo", "buddyinfo"])
def test_tables_of_zones_have_the_kernels_rows(name: str) -> None:
    harness.need_reference_kernel()
    theirs = Path("/proc", name).read_text()
    with Machine(ram="8G", cpus=1) as machine:
        from pagewalk.mm import show_mem

        ours = getattr(show_mem, f"{name}_text")(machine.system)
    if name == "zoneinfo":  # the running machine's CPUs are its own

        def cut(text: str) -> list[str]:
            return [
                line
                for line in shape(text)
                if not line.startswith((" cpu:", " count:", " high", " batch:", " vm stats"))
            ]

        assert cut(ours) == cut(theirs)
    else:
        assert shape(ours) == shape(theirs)


def test_a_watermark_follows_from_min_free_kbytes_as_on_this_machine() -> None:
    """Each zone's min is its share of vm.min_free_kbytes, low, high and promo are equally far apart, and protection is
    what lies above over the ratio."""
    harness.need_reference_kernel()
    zones = re.findall(r"zone +(\w+)(.*?)protection: \(([^)]*)\)", Path("/proc/zoneinfo").read_text(), re.DOTALL)
    marks = [{k: int(v) for k, v in re.findall(r"(min|low|high|promo|managed) +(\d+)", body)} for _, body, _ in zones]
    managed = [row["managed"] for row in marks]
    scale = int(Path("/proc/sys/vm/watermark_scale_factor").read_text())
    pages_min = int(Path("/proc/sys/vm/min_free_kbytes").read_text()) // 4
    ratios = [int(word) for word in Path("/proc/sys/vm/lowmem_reserve_ratio").read_text().split()]
    total = sum(size for (name, _, _), size in zip(zones, managed, strict=True) if name not in ("Movable", "Device"))
    for at, ((name, _, protection), row) in enumerate(zip(zones, marks, strict=True)):
        if name in ("Movable", "Device"):
            continue
        share = pages_min * row["managed"] // total
        assert abs(row["min"] - share) <= max(2, share // 50)  # frames that came after boot
        step = max(share >> 2, row["managed"] * scale // 10000)
        assert abs(row["low"] - row["min"] - step) <= max(2, step // 50)
        assert row["high"] - row["low"] == row["low"] - row["min"] == row["promo"] - row["high"]
        told = [int(word) for word in protection.split(",")]
        for higher in range(at + 1, len(managed)):
            expected = sum(managed[at + 1 : higher + 1]) // ratios[at] if row["managed"] else 0
            assert abs(told[higher] - expected) <= max(2, expected // 50)
