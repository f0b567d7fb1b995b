"""Frames, zones, and the texts that count them."""

import pytest
from mm_rig import PAGE

from pagewalk import Config, Machine, Process
from pagewalk.check import Broken, check_all, check_machine
from pagewalk.mm.gfp import GFP_DMA, GFP_DMA32
from pagewalk.mm.system import System

pytestmark = pytest.mark.quick


def test_freeing_the_last_page_of_a_block_merges_it() -> None:
    system = System(Config(ram="16M"))
    block = system.node.alloc_pages(0, 10)
    assert block is not None
    zone = system.node.zone_of(block.pfn)
    before = zone.nr_free(10)
    system.node.put_page(block)
    assert zone.nr_free(10) == before + 1
    check_all(system, [])


def test_an_impossible_request_is_none_and_is_remembered() -> None:
    system = System(Config(ram="16M"))
    held = []
    while (page := system.node.alloc_pages(0, 10)) is not None:
        held.append((page, 10))
    assert system.node.last_failure.startswith("4096 KiB (order 10) of the zones")
    check_all(system, [], held=held)


def test_requests_come_from_the_highest_zone_that_may_serve_them() -> None:
    system = System(Config(ram="8G"))
    names = []
    for gfp in (0, GFP_DMA32, GFP_DMA):
        page = system.node.alloc_page(gfp)
        assert page is not None
        names.append(system.node.zone_of(page.pfn).name)
    assert names == ["Normal", "DMA32", "DMA"]


def test_a_machine_of_a_terabyte_makes_no_pages_that_nobody_uses() -> None:
    system = System(Config(ram="1T"))
    assert system.mem_map.nr_pages_created < 1 << 15
    assert system.totalram_pages > 250 << 20 >> 2


def test_meminfo_counts_what_processes_use(machine: Machine, process: Process) -> None:
    def row(name: str) -> int:
        return next(int(line.split()[1]) for line in machine.meminfo().splitlines() if line.startswith(name + ":"))

    before = row("AnonPages"), row("PageTables")
    at = process.mmap(8 * PAGE)
    process.touch(at, 8 * PAGE)
    assert row("AnonPages") - before[0] == 32
    assert row("PageTables") - before[1] == 12
    assert row("Committed_AS") == 32


def test_buddyinfo_adds_up_to_the_free_pages(machine: Machine) -> None:
    for line in machine.buddyinfo().splitlines():
        name = line.split()[3]
        counts = [int(word) for word in line.split()[4:]]
        zone = next(zone for zone in machine.system.zones if zone.name == name)
        assert sum(count << order for order, count in enumerate(counts)) == zone.free_pages


def test_zoneinfo_and_vmstat_agree_on_free_pages(machine: Machine) -> None:
    told = sum(int(line.split()[1]) for line in machine.zoneinfo().splitlines() if "nr_free_pages " in line)
    assert f"nr_free_pages {told}\n" in machine.vmstat()


def break_refcount(machine: Machine, process: Process) -> None:
    machine.system.page(machine.system.zero_pfn).refcount += 1


def break_rss(machine: Machine, process: Process) -> None:
    process._task.mm.rss_stat[1] += 1


def break_entry(machine: Machine, process: Process) -> None:
    mm = process._task.mm
    machine.system.ram.words[(mm.pte_cache_base) + 511] = 0x67


def break_starts(machine: Machine, process: Process) -> None:
    process._task.mm.starts[0] += PAGE


def break_commitment(machine: Machine, process: Process) -> None:
    machine.system.vm_committed_as += 1


def break_free_list(machine: Machine, process: Process) -> None:
    next(zone for zone in machine.system.zones if zone.managed_pages).free_pages += 1


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (break_refcount, "refcount equals the users"),
        (break_rss, "rss_stat equals a recount"),
        (break_entry, "an entry lies within a VMA"),
        (break_starts, "starts is in step with vmas"),
        (break_commitment, "vm_committed_as equals the promises"),
        (break_free_list, "free_pages equals a recount"),
    ],
)
def test_a_broken_invariant_is_named(harm: object, name: str) -> None:
    made = Machine(ram="32M", aslr=False)
    process = made.spawn()
    process.write(process.mmap(PAGE, addr=0x1_0000_0000), b"x")
    check_machine(made)
    assert callable(harm)
    harm(made, process)
    with pytest.raises(Broken, match=name):
        check_machine(made)
    made.close()
