"""Slabs against what 20 kernels show in /proc/slabinfo: Debian's, booted with 1, 2, 4 and 16 CPUs, and with boot
parameters that ask for other slabs."""

import re
from pathlib import Path

import pytest

from pagewalk import Machine
from pagewalk.config import Config
from pagewalk.errors import ConfigError
from pagewalk.mm.slab import SlabRule, calculate_order
from pagewalk.mm.slab_sizes import CACHES, object_sizes

pytestmark = pytest.mark.quick

FILES = sorted((Path(__file__).parent.parent / "golden" / "slab").glob("*.txt"))
KERNELS = [path for path in FILES if re.fullmatch(r"(amd64|arm64|i386)-6\.\d+(-two-levels|-16k)?", path.stem)]
# What holds the registers of the CPU: a CPU without XSAVE is the modelled one.
PLAIN = [path for path in FILES if path.stem.endswith("-without-xsave") or path.stem.startswith("arm64")]


class Booted:
    """One file: the kernel's release and page size, its boot parameters, a row for each cache."""

    def __init__(self, path: Path) -> None:
        first, second, *lines = path.read_text().splitlines()
        self.release = re.search(r"Linux (6\.\d+)\.", first)[1]  # type: ignore[index]
        self.page_size = int(re.search(r"pages of (\d+)", first)[1])  # type: ignore[index]
        self.parameters = {name: int(value) for name, value in re.findall(r"sl[au]b_(\w+)=(\d+)", first)}
        self.cpus = [int(word) for word in re.findall(r"\d+", second.partition("with")[2])]
        arch = "x86_32" if "two-levels" in path.stem else {"amd64": "x86_64", "i386": "x86_pae"}.get(path.stem[:5])
        arch = arch or ("x86_pae" if path.stem.startswith("i386") else "arm64")
        self.arch = arch
        self.sizes = {line.split()[0]: int(line.split()[1]) for line in lines}
        self.slabs = {line.split()[0]: line.split()[2:] for line in lines}  # "objects/pages" for each count of CPUs


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_slab_of_every_cache_has_the_order_that_the_kernel_chose(path: Path) -> None:
    booted = Booted(path)
    wrong = []
    for column, cpus in enumerate(booted.cpus):
        rule = SlabRule(cpus, booted.release, booted.page_size)
        for name, value in booted.parameters.items():
            setattr(rule, "wanted" if name == "min_objects" else name, value)
        rule.min_order = min(rule.min_order, rule.max_order)
        for name, size in booted.sizes.items():
            order = rule.calculate_order(size)
            ours = f"{(booted.page_size << order) // size}/{1 << order}"
            if ours != booted.slabs[name][column]:
                wrong.append((cpus, name, size, ours, booted.slabs[name][column]))
    assert len(booted.sizes) > 120
    assert wrong == []


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_objects_are_as_large_as_that_kernel_has_them(path: Path) -> None:
    booted = Booted(path)
    ours = object_sizes(booted.arch, booted.release)
    assert [name for name in booted.sizes if name in CACHES] == list(CACHES)  # in the same order
    assert {name: booted.sizes[name] for name in CACHES if name != "task_struct"} == {
        name: size for name, size in ours.items() if name != "task_struct"
    }


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.stem)
def test_a_task_is_as_large_as_on_a_cpu_without_xsave(path: Path) -> None:
    booted = Booted(path)
    assert booted.sizes["task_struct"] == object_sizes(booted.arch, booted.release)["task_struct"]


@pytest.mark.parametrize("path", [path for path in KERNELS if "16k" not in path.stem], ids=lambda path: path.stem)
def test_slabinfo_prints_what_the_kernel_prints(path: Path) -> None:
    booted = Booted(path)
    for column, cpus in enumerate(booted.cpus):
        with Machine(ram="64M", arch=booted.arch, linux=booted.release, cpus=cpus) as machine:
            for line in machine.system.slab.slabinfo().splitlines()[2:]:
                name, _, _, size, objects, pages = line.split()[:6]
                if name == "task_struct" and booted.arch != "arm64":
                    continue  # the booted CPU had XSAVE
                assert (name, int(size), f"{objects}/{pages}") == (
                    name, booted.sizes[name], booted.slabs[name][column]
                )  # fmt: skip


def test_boot_parameters_choose_other_slabs() -> None:
    with Machine(ram="64M", slab_max_order=0) as machine:
        assert {cache.order for cache in machine.system.slab.all() if cache.size <= 4096} == {0}
        assert machine.system.slab.task_struct.order == 1  # an object needs that much
    with Machine(ram="64M", slab_min_objects=40, slab_max_order=4) as machine:
        assert machine.system.slab.mm_struct.objects == 42
    with Machine(ram="64M", slab_min_order=4) as machine:
        assert {cache.order for cache in machine.system.slab.all()} == {4}
    with pytest.raises(ConfigError, match="slab_max_order: expected 0 to 10, got 11"):
        Config(slab_max_order=11)


def test_6_1_has_fewer_objects_in_a_slab_where_more_would_waste_more_than_a_quarter() -> None:
    assert SlabRule(1, "6.1").calculate_order(12000) == 2  # one of 16 KiB; two of 32 KiB waste 8768 bytes
    assert calculate_order(12000, 1) == 3
    assert calculate_order(40000, 1) == SlabRule(1, "6.1").calculate_order(40000) == 4
