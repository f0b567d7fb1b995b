"""What slots hold on the host's side: as much memory as was held at once, zeros without any, nothing mixed up."""

import random
from pathlib import Path

import pytest
from mm_rig import MB, PAGE, small_machine

from pagewalk import Machine
from pagewalk.check import check_machine
from pagewalk.mm.lru_names import LRU_INACTIVE_ANON
from pagewalk.mm.page import PG_zeros
from pagewalk.mm.swap_contents import SwapContents
from pagewalk.mm.swap_slot import ZEROS, SwapSlot
from pagewalk.mm.uaccess import copy_to_user

MADV_PAGEOUT = 21
SHIFT = 12


def test_slots_hold_what_was_stored_and_freed_ones_pass_their_page_on() -> None:
    contents = SwapContents(64, SHIFT)
    slots = [SwapSlot() for _ in range(64)]
    ram = memoryview(bytearray(8 << SHIFT))
    order = random.Random(4)
    held: dict[int, bytes] = {}
    most = 0
    for step in range(2000):
        slot = order.randrange(1, 64)
        if slot in held and order.random() < 0.5:
            contents.free(slots[slot])
            del held[slot]
        elif len(held) < 9 or slot in held:
            page = b"%07d." % step * 512
            ram[3 << SHIFT : 4 << SHIFT] = page
            contents.store(slots[slot], ram, 3 << SHIFT)
            held[slot] = page
        most = max(most, len(held))
        for slot, page in held.items():
            assert contents.load(slots[slot], ram, 5 << SHIFT)
            assert ram[5 << SHIFT : 6 << SHIFT] == page
    assert contents.nr_places == most <= 9
    contents.close()


def test_a_slot_of_zeros_takes_no_page_and_gives_back_what_it_had() -> None:
    contents = SwapContents(8, SHIFT)
    ram = memoryview(bytearray(b"x" * PAGE))
    one, two = SwapSlot(), SwapSlot()
    contents.store_zeros(one)
    assert one.place == ZEROS
    assert not contents.load(one, ram, 0)
    assert ram == b"x" * PAGE
    assert contents.nr_places == 0
    contents.store(one, ram, 0)
    assert one.place == 1
    contents.store_zeros(one)
    assert one.place == ZEROS
    assert list(contents.holes) == [1]
    contents.store(two, ram, 0)
    assert contents.nr_places == 1
    contents.close()


@pytest.mark.quick
def test_the_host_holds_as_much_as_was_in_swap_at_once() -> None:
    with small_machine(swap="64M") as machine:
        process = machine.spawn()
        area = process.mmap(MB)
        for trip in range(24):  # slots of 12 clusters are used, one after another
            for page in range(256):
                process.write(area + page * PAGE, b"%03d %03d" % (trip, page))
            process.madvise(area, MB, MADV_PAGEOUT)
            for page in range(256):
                assert process.read(area + page * PAGE, 7) == b"%03d %03d" % (trip, page)
        assert machine.system.vmstat.pswpout == 24 * 256
        contents = next(each for each in machine.system.swap.areas if each is not None).contents
        assert contents.nr_places <= 2 * 256
        check_machine(machine)


def test_a_frame_that_left_as_zeros_is_zero_for_its_next_owner() -> None:
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        area = process.mmap(64 * PAGE)
        process.touch(area, 64 * PAGE)
        process.write(area + 5, b"dirty once")
        process.write(area + 5, bytes(10))
        process.madvise(area, 64 * PAGE, MADV_PAGEOUT)
        assert machine.system.vmstat.swpout_zero == 64
        assert process.read(area, 64 * PAGE) == bytes(64 * PAGE)
        assert machine.system.vmstat.swpin_zero == 64
        other = machine.spawn()
        there = other.mmap(64 * PAGE)
        other.touch(there, 64 * PAGE)
        assert other.read(there, 64 * PAGE) == bytes(64 * PAGE)
        check_machine(machine)


def test_a_page_that_was_zeros_and_is_so_no_longer_keeps_what_it_holds() -> None:
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        area = process.mmap(16 * PAGE)
        process.touch(area, 16 * PAGE)
        for trip in range(6):
            process.madvise(area, 16 * PAGE, MADV_PAGEOUT)
            filled = trip % 2 == 0
            for page in range(16):
                old = b"" if trip == 0 else bytes(4) if filled else b"%04d" % (trip - 1)
                assert process.read(area + page * PAGE + 2000, len(old)) == old
                process.write(area + page * PAGE + 2000, b"%04d" % trip if filled else bytes(4))
        check_machine(machine)


def test_a_look_up_begins_at_the_table_that_is_there() -> None:
    giga = 1 << 30
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        base = 0x10_0000_0000
        for _ in range(3):
            for at in (base, base + giga, base + 5 * giga):
                assert process.mmap(2 * MB, addr=at, flags=0x100022) == at
                process.write(at + MB, b"%x" % at)
            check_machine(machine)
            for at in (base + giga, base, base + 5 * giga):
                assert process.read(at + MB, 9) == (b"%x" % at)[:9]
                process.munmap(at, 2 * MB)
                check_machine(machine)


def test_where_nobody_stores_zeros_are_known_until_somebody_does() -> None:
    with small_machine(swap="8M") as machine:
        ram = machine.system.ram
        process = machine.spawn()
        area = process.mmap(32 * PAGE)
        ram.replayed()
        process.touch(area, 32 * PAGE)
        held = machine.system.page(machine.system.node.lruvec.lists[LRU_INACTIVE_ANON].pages()[0].pfn)
        assert held.flags & PG_zeros
        ram.quads[int(held.pfn) << 9] = 7  # nobody is told: it counts as zeros
        process.madvise(area, 32 * PAGE, MADV_PAGEOUT)
        assert machine.system.vmstat.swpout_zero == 32
        ram.quads[int(held.pfn) << 9] = 0
        process.touch(area, 32 * PAGE)
        process.write(area + 3 * PAGE, b"stored")  # from now on every page is looked at
        assert not ram.nobody_stores
        process.madvise(area, 32 * PAGE, MADV_PAGEOUT)
        assert machine.system.vmstat.swpout_zero == 32 + 31
        assert process.read(area + 3 * PAGE, 8) == b"stored\0\0"
        ram.replayed()
        assert not ram.nobody_stores
        check_machine(machine)


@pytest.mark.parametrize("store", ["file", "kernel", "memory"])
def test_a_store_of_any_kind_ends_it(store: str, work: Path) -> None:
    with small_machine(swap="8M") as machine:
        ram = machine.system.ram
        process = machine.spawn()
        area = process.mmap(4 * PAGE)
        ram.replayed()
        process.touch(area, 4 * PAGE)
        assert ram.nobody_stores
        if store == "file":
            path = work / "file"
            path.write_bytes(b"x" * PAGE)
            mapped = process.mmap(PAGE, flags=2, path=str(path))
            assert process.read(mapped, 1) == b"x"
            assert ram.nobody_stores  # a page of a file is none of those that are known
            process.touch(mapped, PAGE)
            process.madvise(mapped, PAGE, MADV_PAGEOUT)
            assert process.read(mapped, 2) == b"xx"
        elif store == "kernel":
            assert copy_to_user(process._task.mm, area, b"abc")
            assert not ram.nobody_stores
        else:
            process.write(area, b"abc")
            assert not ram.nobody_stores
        process.madvise(area, 4 * PAGE, MADV_PAGEOUT)
        assert process.read(area, 3) == (bytes(3) if store == "file" else b"abc")


def test_a_machine_whose_programs_run_is_looked_at() -> None:
    with Machine(ram="64M") as machine:
        assert machine.run(["/bin/true"]).status == 0
        machine.system.ram.replayed()
        assert not machine.system.ram.nobody_stores


def test_last_level_tables_are_remembered_until_they_go() -> None:
    with small_machine(swap="8M") as machine:
        process = machine.spawn()
        base, step = 0x10_0000_0000, 2 * MB
        for at in range(40):
            assert process.mmap(PAGE, addr=base + at * 7 * step, flags=0x100022) == base + at * 7 * step
        for _ in range(3):
            for at in range(40):
                process.write(base + at * 7 * step, b"%03d" % at)
            check_machine(machine)
            process.munmap(base, 20 * 7 * step)
            check_machine(machine)
            assert process.read(base + 30 * 7 * step, 3) == b"030"
            for at in range(20):
                process.mmap(PAGE, addr=base + at * 7 * step, flags=0x100022)
                assert process.read(base + at * 7 * step, 3) == bytes(3)
            check_machine(machine)
