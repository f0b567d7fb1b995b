"""Reclaim under pressure: who runs, what goes, what comes back, and what is counted."""

import random
from pathlib import Path

import pytest
from mm_rig import MB, PAGE, small_machine

from pagewalk import Machine, OutOfMemory
from pagewalk.check import check_machine
from pagewalk.mm.lru_names import LRU_INACTIVE_ANON, LRU_INACTIVE_FILE
from pagewalk.mm.page import Page, PG_active, PG_mlocked
from pagewalk.mm.pgtable import pte_lookup
from pagewalk.mm.rmap import folio_referenced
from pagewalk.mm.scan_control import ScanControl
from pagewalk.mm.vmscan import shrink_node, try_to_free_memory

MADV_FREE, MADV_PAGEOUT = 8, 21


def vmstat(machine: Machine, name: str) -> int:
    """A counter of /proc/vmstat."""
    return int(dict(line.split() for line in machine.vmstat().splitlines())[name])


def too_much(machine: Machine) -> int:
    """Pages: one and a half times what the machine has."""
    return machine.system.totalram_pages * 3 // 2


@pytest.mark.quick
def test_more_memory_than_ram_survives_in_swap() -> None:
    with small_machine(ram="64M", swap="64M") as machine:
        process = machine.spawn()
        pages = too_much(machine)
        area = process.mmap(pages * PAGE)
        for page in range(pages):
            process.write(area + page * PAGE, b"%010d" % page)
        check_machine(machine)
        for page in range(pages):
            assert process.read(area + page * PAGE, 10) == b"%010d" % page
        assert vmstat(machine, "pswpout") > pages // 3
        assert vmstat(machine, "pgsteal_kswapd") + vmstat(machine, "pgsteal_direct") > pages // 3
        assert vmstat(machine, "workingset_refault_anon") > 0
        text = machine.system.psi.text(0)
        assert text.startswith("some avg10=0.00") and "total=0\n" not in text


def test_without_swap_the_page_cache_goes_and_anonymous_memory_stays(work: object) -> None:
    path = str(work) + "/file"
    with open(path, "wb") as file:
        file.write(bytes(4 * MB))
    with small_machine(ram="64M", rw=[str(work)]) as machine:
        process = machine.spawn()
        binary = process.mmap("4M", 1, 2, path=path)
        process.touch(binary, "4M", write=False)
        cached = int(machine.system.vmstat.nr_file_pages)
        pages = machine.system.totalram_pages - cached // 2
        area = process.mmap(pages * PAGE)
        with pytest.raises(OutOfMemory):
            process.touch(area, pages * PAGE)
            process.touch(process.mmap(pages // 2 * PAGE), pages // 2 * PAGE)
        assert vmstat(machine, "pgsteal_file") > cached // 2
        assert vmstat(machine, "pgsteal_anon") == 0
        check_machine(machine)


def test_memory_given_up_is_dropped_before_anything_is_swapped() -> None:
    with small_machine(ram="64M", swap="64M") as machine:
        process = machine.spawn()
        area = process.mmap(4 * MB)
        for page in range(1024):
            process.write(area + page * PAGE, b"full")
        process.madvise(area, 4 * MB, MADV_FREE)
        process.write(area, b"kept")
        assert try_to_free_memory(machine.system, 900) >= 900
        assert vmstat(machine, "pglazyfreed") >= 900
        assert vmstat(machine, "pswpout") == 0
        assert process.read(area, 4) == b"kept"
        assert process.read(area + 100 * PAGE, 4) in (b"\0\0\0\0", b"full")


def test_locked_memory_stays() -> None:
    with small_machine(ram="64M", swap="64M") as machine:
        process = machine.spawn()
        locked = process.mmap(2 * MB)
        process.mlock(locked, 2 * MB)
        pages = too_much(machine)
        process.touch(process.mmap(pages * PAGE), pages * PAGE)
        faults = process.major_faults + process.minor_faults
        process.touch(locked, 2 * MB)
        assert process.major_faults + process.minor_faults == faults


def test_pages_that_are_used_outlive_pages_that_are_not() -> None:
    with small_machine(ram="64M", swap="128M") as machine:
        process = machine.spawn()
        hot = process.mmap(MB)
        process.touch(hot, MB)
        pages = too_much(machine) * 2
        cold = process.mmap(pages * PAGE)
        for start in range(0, pages, 128):
            process.touch(cold + start * PAGE, 128 * PAGE)
            process.touch(hot, MB)
        resident = sum(process.mincore(hot, MB))
        assert resident == 256


def test_a_stream_of_a_file_leaves_anonymous_memory_alone(work: object) -> None:
    path = str(work) + "/stream"
    with open(path, "wb") as file:
        file.write(bytes(range(256)) * (48 * MB // 256))
    with small_machine(ram="64M", swap="64M", rw=[str(work)]) as machine:
        process = machine.spawn()
        anon = process.mmap(8 * MB)
        process.touch(anon, 8 * MB)
        stream = process.mmap(48 * MB, 1, 1, path=path)
        process.touch(stream, 48 * MB, write=False)
        assert sum(process.mincore(anon, 8 * MB)) > 2048 * 9 // 10
        assert vmstat(machine, "pgsteal_file") > 48 * 256 // 2
        assert process.read(stream + 47 * MB, 256) == bytes(range(256))


def test_dirty_pages_of_a_file_are_written_before_they_go(work: object) -> None:
    path = str(work) + "/data"
    with open(path, "wb") as file:
        file.truncate(32 * MB)
    with small_machine(ram="64M", rw=[str(work)]) as machine:
        process = machine.spawn()
        area = process.mmap(32 * MB, 3, 1, path=path)
        for page in range(32 * 256):
            process.write(area + page * PAGE, b"%010d" % page)
        assert vmstat(machine, "nr_written") > 0
        check_machine(machine)
        for page in range(32 * 256):
            assert process.read(area + page * PAGE, 10) == b"%010d" % page
    with open(path, "rb") as file:
        for page in (0, 1, 4000, 32 * 256 - 1):
            file.seek(page * PAGE)
            assert file.read(10) == b"%010d" % page


def test_two_runs_count_the_same() -> None:
    def run() -> str:
        with small_machine(ram="64M", swap="64M") as machine:
            process = machine.spawn()
            pages = too_much(machine)
            area = process.mmap(pages * PAGE)
            order = random.Random(7)
            for _ in range(2 * pages):
                page = order.randrange(pages)
                process.write(area + page * PAGE, b"%010d" % page)
            return machine.vmstat()

    assert run() == run()


def test_swappiness_says_which_kind_goes(work: object) -> None:
    path = str(work) + "/file"
    with open(path, "wb") as file:
        file.write(bytes(8 * MB))
    taken = {}
    for swappiness in (0, 200):
        with small_machine(ram="64M", swap="64M", swappiness=swappiness, rw=[str(work)]) as machine:
            process = machine.spawn()
            anon = process.mmap(6 * MB)
            for page in range(6 * 256):
                process.write(anon + page * PAGE, b"x")
            file_area = process.mmap(8 * MB, 1, 1, path=path)
            process.touch(file_area, 8 * MB, write=False)
            for lru in machine.system.node.lruvec.lists:
                for page in lru.pages():
                    page.flags &= ~(1 << 9)
            machine.system.node.lruvec.refaults = [-1, -1]  # no trimming of the cache alone
            try_to_free_memory(machine.system, 512)
            taken[swappiness] = (vmstat(machine, "pswpout"), vmstat(machine, "pgsteal_file"))
            assert machine.system.node.lruvec.nr(LRU_INACTIVE_FILE) >= 0
    assert taken[0][0] == 0
    assert taken[200][0] > taken[200][1]


def test_a_page_that_a_fault_holds_stays_mapped(work: Path) -> None:
    """Else the fault, which needs a frame, and reclaim, which takes the page that it copies, could go on for ever."""
    path = work / "file"
    path.write_bytes(bytes(PAGE))
    with small_machine(swap="8M", rw=[str(work)]) as machine:
        process = machine.spawn()
        anon, cached, file = process.mmap(PAGE), process.mmap(PAGE), process.mmap(PAGE, 1, 2, path=str(path))
        for area in (anon, cached):
            process.write(area, b"contents")
        process.madvise(cached, PAGE, MADV_PAGEOUT)
        process.read(cached, 8)  # it keeps its slot
        process.read(file, 8)
        words, fmt = machine.system.ram.words, machine.system.format
        entries = [words[pte_lookup(process._task.mm, area)] for area in (anon, cached, file)]
        pages = [machine.system.page(fmt.pfn(entry)) for entry in entries]
        for page in pages:
            page.refcount += 1
        try_to_free_memory(machine.system, 10_000)
        assert [page.mapcount for page in pages] == [1, 1, 1]
        for page in pages:
            page.refcount -= 1
        try_to_free_memory(machine.system, 10_000)
        assert [page.mapcount for page in pages] == [0, 0, 0]
        check_machine(machine)
        assert process.read(anon, 8) == process.read(cached, 8) == b"contents"


def used_pages(machine: Machine, count: int) -> list[Page]:
    """Anonymous pages with contents that nobody has used since they were last looked at, the oldest first."""
    process = machine.spawn()
    area = process.mmap(count * PAGE)
    for page in range(count):
        process.write(area + page * PAGE, b"x")
    pages = machine.system.node.lruvec.lists[LRU_INACTIVE_ANON].pages()[::-1]
    for page in pages:
        folio_referenced(page)
    return pages


def one_pass(machine: Machine) -> ScanControl:
    """A pass over all inactive pages (priority 0)."""
    sc = ScanControl(machine.system, machine.system.node, 10_000)
    sc.priority = 0
    shrink_node(sc)
    return sc


def test_a_page_that_a_disk_has_to_write_is_freed_by_the_pass_after() -> None:
    with small_machine(swap="8M") as machine:
        used_pages(machine, 40)
        first = one_pass(machine)
        assert (first.nr_reclaimed, vmstat(machine, "pswpout"), vmstat(machine, "pgrotated")) == (0, 40, 40)
        assert vmstat(machine, "nr_swapcached") == 40
        check_machine(machine)
        assert one_pass(machine).nr_reclaimed == 40
        assert (vmstat(machine, "pswpout"), vmstat(machine, "nr_swapcached")) == (40, 0)
        check_machine(machine)


def test_a_page_for_a_device_in_ram_is_freed_at_once() -> None:
    with small_machine(zram="8M") as machine:
        used_pages(machine, 40)
        assert one_pass(machine).nr_reclaimed == 40


def test_a_page_that_becomes_active_while_it_is_looked_at_makes_refault_distances_grow() -> None:
    with small_machine(swap="8M") as machine:
        pages = used_pages(machine, 3)
        pages[0].flags |= PG_mlocked  # stays, on the list of those that cannot go
        pages[1].flags |= PG_active  # as shrink_folio_list returns it
        lruvec = machine.system.node.lruvec
        before = lruvec.nonresident_age
        for page in pages:
            lruvec.lists[LRU_INACTIVE_ANON].delete(page)
        lruvec.put_back(pages)
        assert lruvec.nonresident_age == before + 1
        pages[0].flags &= ~PG_mlocked


@pytest.mark.parametrize(("linux", "written"), [("6.18", 0), ("6.1", 20)])
def test_pages_of_zeros_are_written_by_old_kernels_alone(linux: str, written: int) -> None:
    with small_machine(swap="8M", linux=linux) as machine:
        process = machine.spawn()
        area = process.mmap(20 * PAGE)
        process.touch(area, 20 * PAGE)
        process.madvise(area, 20 * PAGE, MADV_PAGEOUT)
        assert vmstat(machine, "pswpout") == written
        assert process.read(area, 8) == bytes(8)
        assert (vmstat(machine, "pswpin") > 0) == (written > 0)
        check_machine(machine)
