"""Swap: pages go and come back with their contents; slots, counts and the swap cache agree."""

import random

import pytest
from mm_rig import MB, PAGE, RW, small_machine

from pagewalk import ConfigError, Machine, Process
from pagewalk.check import check_machine
from pagewalk.mm.swapon import swapoff
from pagewalk.mm.vmscan import try_to_free_memory

MADV_FREE, MADV_PAGEOUT, MADV_WILLNEED, MADV_DONTNEED = 8, 21, 3, 4


def fill(process: Process, area: int, pages: int, seed: int = 0) -> None:
    """Every page gets contents of its own."""
    for page in range(pages):
        process.write(area + page * PAGE, b"%08d" % (page + seed))


def verify(process: Process, area: int, pages: int, seed: int = 0) -> None:
    """Every page has its contents."""
    for page in range(pages):
        assert process.read(area + page * PAGE, 8) == b"%08d" % (page + seed)


def swap_of(process: Process) -> int:
    """VmSwap in pages."""
    return int(process._task.mm.rss_stat[2])


def test_pageout_moves_pages_to_swap_and_a_touch_brings_them_back() -> None:
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        area = process.mmap(16 * PAGE)
        fill(process, area, 16)
        process.madvise(area, 16 * PAGE, MADV_PAGEOUT)
        assert swap_of(process) == 16
        assert process.rss["anon"] == 0
        check_machine(machine)
        before = process.major_faults
        verify(process, area, 16)
        assert swap_of(process) == 0
        assert process.major_faults - before < 16  # read-ahead brings neighbours
        assert "pswpout 16\n" in machine.vmstat()


def test_a_page_that_comes_back_unchanged_goes_again_without_being_written() -> None:
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        area = process.mmap(PAGE)
        fill(process, area, 1)
        for _ in range(3):
            process.madvise(area, PAGE, MADV_PAGEOUT)
            verify(process, area, 1)
        assert machine.system.vmstat.pswpout == 1
        assert machine.system.vmstat.pswpin == 3
        process.write(area, b"changed!")
        process.madvise(area, PAGE, MADV_PAGEOUT)
        assert machine.system.vmstat.pswpout == 2
        assert process.read(area, 8) == b"changed!"


def test_a_page_of_zeros_needs_no_space() -> None:
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        area = process.mmap(4 * PAGE)
        process.touch(area, 4 * PAGE)
        process.madvise(area, 4 * PAGE, MADV_PAGEOUT)
        assert machine.system.vmstat.swpout_zero == 4
        assert machine.system.vmstat.pswpout == 0
        assert process.read(area, 4 * PAGE) == bytes(4 * PAGE)


def test_fork_shares_slots_and_each_side_gets_a_page_of_its_own() -> None:
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        area = process.mmap(8 * PAGE)
        fill(process, area, 8)
        process.madvise(area, 8 * PAGE, MADV_PAGEOUT)
        child = process.fork()
        assert swap_of(child) == 8
        check_machine(machine)
        child.write(area, b"childs")
        assert process.read(area, 8) == b"00000000"
        assert child.read(area, 6) == b"childs"
        verify(child, area + PAGE, 7, seed=1)
        check_machine(machine)
        process.exit()
        check_machine(machine)
        verify(child, area + PAGE, 7, seed=1)
        child.exit()
        assert machine.system.swap.nr_swap_pages == machine.system.swap.total_swap_pages


def test_a_shared_page_goes_once_and_comes_back_to_both() -> None:
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        area = process.mmap(4 * PAGE)
        fill(process, area, 4)
        child = process.fork()
        try_to_free_memory(machine.system, 8)
        try_to_free_memory(machine.system, 8)
        check_machine(machine)
        verify(process, area, 4)
        verify(child, area, 4)


def test_shared_memory_is_swapped_through_its_object() -> None:
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        area = process.mmap(8 * PAGE, RW, 0x21)
        fill(process, area, 8)
        process.madvise(area, 8 * PAGE, MADV_PAGEOUT)
        assert process.rss["shmem"] == 0
        assert swap_of(process) == 0  # no entries in the page table
        assert "Swap:                 32 kB\n" in process.smaps()
        assert process.mincore(area, 8 * PAGE) == [False] * 8
        check_machine(machine)
        child = process.fork()
        verify(child, area, 8)
        child.write(area, b"bothseen")
        assert process.read(area, 8) == b"bothseen"


def test_mprotect_mremap_and_munmap_of_what_is_in_swap() -> None:
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        area = process.mmap(8 * PAGE)
        fill(process, area, 8)
        process.madvise(area, 8 * PAGE, MADV_PAGEOUT)
        process.mprotect(area, 8 * PAGE, 1)
        moved = process.mremap(area, 8 * PAGE, 16 * PAGE)
        check_machine(machine)
        verify(process, moved, 8)
        process.mprotect(moved, 8 * PAGE, RW)
        process.madvise(moved, 8 * PAGE, MADV_PAGEOUT)
        process.munmap(moved, 4 * PAGE)
        assert swap_of(process) == 4
        process.madvise(moved + 4 * PAGE, 2 * PAGE, MADV_DONTNEED)
        assert swap_of(process) == 2
        process.madvise(moved + 6 * PAGE, PAGE, MADV_FREE)
        assert swap_of(process) == 1
        verify(process, moved + 7 * PAGE, 1, seed=7)
        check_machine(machine)


def test_willneed_reads_into_the_swap_cache_and_the_fault_is_minor_then() -> None:
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        area = process.mmap(8 * PAGE)
        fill(process, area, 8)
        process.madvise(area, 8 * PAGE, MADV_PAGEOUT)
        assert process.mincore(area, 8 * PAGE) == [False] * 8
        process.madvise(area, 8 * PAGE, MADV_WILLNEED)
        assert process.mincore(area, 8 * PAGE) == [True] * 8
        assert "SwapCached:           32 kB\n" in machine.meminfo()
        before = process.major_faults
        verify(process, area, 8)
        assert process.major_faults == before


@pytest.mark.parametrize("rotational", [False, True])
def test_a_stream_is_read_ahead_and_a_random_walk_is_not(rotational: bool) -> None:
    with small_machine(swap="16M", swap_rotational=rotational) as machine:
        process = machine.spawn()
        area = process.mmap(4 * MB)
        fill(process, area, 1024)
        process.madvise(area, 4 * MB, MADV_PAGEOUT)
        verify(process, area, 1024)
        stream = process.major_faults
        assert stream < 1024 // 6
        assert machine.system.vmstat.swap_ra_hit > 800
        process.madvise(area, 4 * MB, MADV_PAGEOUT)
        reads = machine.system.vmstat.pswpin
        pages = list(range(0, 1024, 7))
        random.Random(1).shuffle(pages)
        for page in pages:
            process.read(area + page * PAGE, 1)
        assert machine.system.vmstat.pswpin - reads < 2 * len(pages)


def test_what_swapoff_brings_back_into_a_locked_mapping_is_locked() -> None:
    with small_machine(swap="4M") as machine:
        process = machine.spawn()
        area = process.mmap(8 * PAGE)
        fill(process, area, 8)
        process.madvise(area, 8 * PAGE, MADV_PAGEOUT)
        process.mlock(area, 8 * PAGE, onfault=True)
        assert machine.system.vmstat.nr_mlock == 0
        assert swapoff(machine.system, "/dev/vda") == 0
        assert machine.system.vmstat.nr_mlock == 8
        check_machine(machine)
        verify(process, area, 8)


def test_swapoff_brings_everything_back() -> None:
    with small_machine(swap="4M:1,4M:2") as machine:
        process = machine.spawn()
        area = process.mmap(8 * PAGE)
        shared = process.mmap(8 * PAGE, RW, 0x21)
        fill(process, area, 8)
        fill(process, shared, 8, seed=100)
        child = process.fork()
        process.madvise(shared, 8 * PAGE, MADV_PAGEOUT)
        child.exit()
        process.madvise(area, 8 * PAGE, MADV_PAGEOUT)
        process.madvise(shared, 8 * PAGE, MADV_PAGEOUT)
        text = machine.system.swap.areas
        assert [area.prio for area in text if area] == [1, 2]
        assert swapoff(machine.system, "/dev/vdb") == 0
        assert swapoff(machine.system, "/dev/vdc") == -22
        assert swapoff(machine.system, "/dev/vda") == 0
        assert machine.system.swap.total_swap_pages == 0
        check_machine(machine)
        verify(process, area, 8)
        verify(process, shared, 8, seed=100)


def test_areas_of_higher_priority_are_filled_first_and_equal_ones_take_turns() -> None:
    with small_machine(swap="4M:1,8M:5,8M:5") as machine:
        process = machine.spawn()
        area = process.mmap(12 * MB)
        fill(process, area, 3072)
        process.madvise(area, 12 * MB, MADV_PAGEOUT)
        used = [int(each.inuse_pages) for each in machine.system.swap.areas if each]
        assert used == [0, 1536, 1536]  # clusters of 512 slots in turn; those with the headers come last


def test_the_last_slot_is_used_and_then_nothing_goes() -> None:
    with small_machine(swap="32K") as machine:
        process = machine.spawn()
        area = process.mmap(16 * PAGE)
        fill(process, area, 16)
        process.madvise(area, 16 * PAGE, MADV_PAGEOUT)
        assert swap_of(process) == 7
        assert machine.system.swap.nr_swap_pages == 0
        verify(process, area, 16)


def test_a_slot_counts_beyond_what_a_byte_holds() -> None:
    with small_machine(swap="1M", ram="256M") as machine:
        process = machine.spawn()
        area = process.mmap(PAGE)
        fill(process, area, 1)
        process.madvise(area, PAGE, MADV_PAGEOUT)
        children = [process.fork() for _ in range(300)]
        (entry,) = machine.system.swap.areas[0].used_slots()
        assert machine.system.swap.slot(entry).shadow
        assert machine.system.swap.swap_count(entry) == 301
        for child in children[:100]:
            verify(child, area, 1)
        for child in children:
            child.exit()
        check_machine(machine)
        verify(process, area, 1)


@pytest.mark.parametrize(
    ("text", "says"), [("4K", "8K to 16T"), ("1M:x", "priority"), ("1M:40000", "priority"), ("abc", "swap: expected")]
)
def test_a_wrong_swap_is_told(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Machine(ram="32M", swap=text)


def test_a_compressed_device_takes_a_part_of_the_ram_for_what_it_holds() -> None:
    with small_machine(ram="64M", zram="16M", zram_ratio=4.0) as machine:
        process = machine.spawn()
        area = process.mmap(4 * MB)
        fill(process, area, 1024)
        process.touch(process.mmap(64 * PAGE), 64 * PAGE)
        free = machine.system.node.nr_free_pages() + sum(zone.pcp.count for zone in machine.system.node.zones)
        process.madvise(area, 4 * MB, MADV_PAGEOUT)
        check_machine(machine)
        now = machine.system.node.nr_free_pages() + sum(zone.pcp.count for zone in machine.system.node.zones)
        assert now - free == 1024 - 1024 // 4
        verify(process, area, 1024)
        assert swap_of(process) == 0
        assert machine.system.swap.nr_swap_pages == machine.system.swap.total_swap_pages  # slots in RAM are given up
        process.madvise(area, 4 * MB, MADV_PAGEOUT)
        assert swapoff(machine.system, "/dev/zram0") == 0
        check_machine(machine)
        verify(process, area, 1024)


def test_more_memory_than_ram_fits_when_it_is_compressed() -> None:
    with small_machine(ram="64M", zram="64M", zram_ratio=3.0) as machine:
        process = machine.spawn()
        pages = machine.system.totalram_pages * 3 // 2
        area = process.mmap(pages * PAGE)
        fill(process, area, pages)
        check_machine(machine)
        verify(process, area, pages)
        assert machine.system.vmstat.swap_ra == 0  # no read-ahead from RAM
