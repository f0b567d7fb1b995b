"""A machine with modelled TLBs, driven from Python: what is looked up, flushed and held, counted by hand."""

import json
from dataclasses import replace

import pytest

from pagewalk import Machine, SegmentationFault
from pagewalk.check import Broken, check_machine
from pagewalk.cpu.tlb_model import TlbModel
from pagewalk.errors import ConfigError
from pagewalk.hw.tlb_config import TlbArray, TlbConfig
from pagewalk.hw.tlb_presets import preset

PAGE = 4096
SMALL = "l1d=2,l1i=2,l2=4,pmd=2"


def made(tlb: str = SMALL, cpus: int = 1) -> tuple[Machine, TlbModel]:
    machine = Machine(ram="32M", aslr=False, cpus=cpus, tlb=tlb)
    assert machine.tlb is not None
    return machine, machine.tlb


def test_a_first_touch_is_looked_up_twice_and_faults_once() -> None:
    machine, tlb = made()
    process = machine.spawn()
    area = process.mmap(8 * PAGE)
    process.write(area, b"x")
    counters = tlb.counters()
    assert (counters.data.lookups, counters.misses, counters.walks, counters.faults) == (2, 2, 2, 1)
    process.write(area + 5, b"x")
    process.read(area + 9, 100)
    assert tlb.counters().data.hits == [2, 0]
    assert tlb.counters().walks == 2


def test_an_access_to_two_pages_is_two_look_ups() -> None:
    machine, tlb = made()
    process = machine.spawn()
    area = process.mmap(8 * PAGE)
    process.touch(area, 8 * PAGE)
    before = tlb.counters().lookups
    process.read(area + PAGE - 4, 8)
    assert tlb.counters().lookups - before == 2


def test_the_second_level_has_what_the_first_has_lost() -> None:
    machine, tlb = made()
    process = machine.spawn()
    area = process.mmap(8 * PAGE)
    process.touch(area, 4 * PAGE)
    walks = tlb.counters().walks
    process.touch(area, PAGE)
    assert tlb.counters().data.hits == [0, 1]
    assert tlb.counters().walks == walks
    assert tlb.counters().evictions["l1d"] == 3  # two of four pages, and one more when the first came back


def test_a_store_to_a_clean_page_walks_again_to_mark_it() -> None:
    machine, tlb = made()
    process = machine.spawn()
    area = process.mmap(PAGE, 3, 0x21)  # shared: a read maps it writable and clean
    process.read(area, 1)
    assert tlb.counters().refused == 0
    process.write(area, b"x")
    assert tlb.counters().refused == 1
    assert tlb.counters().faults == 1


def test_a_refused_access_is_looked_up_and_walked_for() -> None:
    machine, tlb = made()
    process = machine.spawn()
    area = process.mmap(PAGE, 1)
    with pytest.raises(SegmentationFault, match="SEGV_ACCERR"):
        process.write(area, b"x")
    assert (tlb.counters().lookups, tlb.counters().faults) == (1, 1)


def test_unmapping_flushes_and_another_cpu_is_shot_down() -> None:
    machine, tlb = made(cpus=2)
    process = machine.spawn()
    area = process.mmap(8 * PAGE)
    process.touch(area, 2 * PAGE)
    process.cpu = 1
    process.touch(area, 2 * PAGE)
    process.munmap(area, PAGE)
    counters = tlb.counters()
    assert (counters.shootdowns, counters.shootdown_targets) == (1, 1)
    assert counters.page_flushes == 2  # a page on each of two CPUs
    check_machine(machine)
    tlb.idle(0)
    process.munmap(area + PAGE, PAGE)
    counters = tlb.counters()
    assert (counters.shootdowns, counters.shootdown_targets) == (1, 1), "CPU 0 runs nothing and is spared"
    assert counters.lazy_skips >= 1
    check_machine(machine)


def test_processes_keep_their_entries_side_by_side_where_there_are_tags() -> None:
    for tlb_text, walks in ((SMALL, 0), (SMALL + ",asid=off", 2)):
        machine, tlb = made(tlb_text)
        first, second = machine.spawn(), machine.spawn()
        areas = [process.mmap(PAGE) for process in (first, second)]
        for process, area in zip((first, second), areas, strict=True):
            process.write(area, b"x")
        before = tlb.counters().walks
        first.read(areas[0], 1)
        second.read(areas[1], 1)
        assert tlb.counters().walks - before == walks
        assert tlb.by_process()[first.pid].lookups == 3
        machine.close()


def test_explain_tells_what_the_tlbs_hold() -> None:
    machine, _ = made(cpus=2)
    process = machine.spawn()
    area = process.mmap(PAGE)
    assert str(process.explain(area)).splitlines()[-2] == "tlb      nothing"
    process.read(area, 1)
    found = process.explain(area).tlb
    assert found is not None
    assert [(each.cpu, each.array, each.size, each.rights, each.level) for each in found] == [
        (0, "l1d", PAGE, "r--", ""),
        (0, "l2", PAGE, "r--", ""),
        (0, "pmd", 2 << 20, "r--", "pmd"),
    ]
    process.write(area, b"x")
    text = str(process.explain(area))
    frame = process.explain(area).frame
    assert frame is not None
    assert f"tlb      CPU 0 l1d: 4K at {area:#x}, ASID 1: rw-, frame {frame.pfn:#x}" in text
    row = json.loads(process.explain(area).as_json())["tlb"][0]
    assert (row["addr"], row["array"], row["asid"]) == (f"{area:#x}", "l1d", 1)
    child = process.fork()
    assert child.explain(area).tlb == []
    assert process.explain(area).tlb == [], "fork has taken the right to write away"


def test_without_tlbs_explain_says_nothing_of_them() -> None:
    with Machine(ram="32M") as machine:
        process = machine.spawn()
        found = process.explain(process.mmap(PAGE))
        assert found.tlb is None
        assert "tlb" not in str(found)
        assert machine.tlb is None


def test_a_configuration_of_ones_own_is_taken() -> None:
    config = TlbConfig("mine", (TlbArray("only", 1, "id", 4, 3),))
    with Machine(ram="32M", tlb=config) as machine:
        process = machine.spawn()
        process.touch(process.mmap(20 * PAGE), 20 * PAGE)
        assert machine.tlb is not None
        assert machine.tlb.counters().evictions == {"only": 8}
        assert machine.tlb.as_dict()["name"] == "mine"


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(ConfigError, match="--tlb: expected a preset"):
        Machine(ram="32M", tlb="zen9")
    machine, _ = made(cpus=2)
    with pytest.raises(ConfigError, match="cpu: expected 0 to 1, got 2"):
        machine.spawn().cpu = 2


def test_a_flush_that_is_forgotten_is_found() -> None:
    machine, tlb = made()
    process = machine.spawn()
    area = process.mmap(8 * PAGE)
    process.touch(area, 8 * PAGE)
    check_machine(machine)
    for cpu in tlb.cpus.flusher.cpus:
        cpu.invalidate_page = lambda of, addr, tag: 0
        cpu.invalidate_pages = lambda first, last, tag, times: 0
    process.munmap(area + 7 * PAGE, PAGE)
    with pytest.raises(Broken, match="a page that a TLB holds is mapped"):
        check_machine(machine)


def test_counting_can_begin_again() -> None:
    machine, tlb = made()
    process = machine.spawn()
    area = process.mmap(PAGE)
    process.write(area, b"x")
    tlb.reset()
    assert tlb.counters().lookups == 0 and tlb.by_process() == {}
    process.read(area, 1)
    assert tlb.counters().data.hits == [1, 0]


@pytest.mark.parametrize(("marks", "faults"), [("hardware", 0), ("fault", 1), ("format", 1)])
def test_marks_are_set_by_the_walk_or_by_a_fault(marks: str, faults: int) -> None:
    """MADV_COLD takes Accessed away."""
    with Machine(arch="arm64", ram="64M", tlb=replace(preset("cortex-a76"), marks=marks)) as machine:
        process = machine.spawn()
        addr = process.mmap("64K")
        process.write(addr, b"x")
        before = process.minor_faults
        process.madvise(addr, 4096, 20)
        found = process.explain(addr)
        assert "AF" not in found.steps[-1].bits
        assert ("marked Accessed (a fault)" in found.reason) == bool(faults)
        assert process.read(addr, 1) == b"x"
        assert process.minor_faults == before + faults
        assert "AF" in process.explain(addr).steps[-1].bits
        check_machine(machine)
