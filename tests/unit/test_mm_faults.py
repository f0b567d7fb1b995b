"""What a first touch, a write and a refused access do."""

import pytest
from mm_rig import MB, NONE, PAGE, RO, RW, error_of, faults_of, small_machine

from pagewalk import BusError, Machine, OutOfMemory, Process, SegmentationFault
from pagewalk.check import check_machine
from pagewalk.fs.memfd import memfd_create
from pagewalk.mm.file import File
from pagewalk.mm.mmap import vm_mmap

pytestmark = pytest.mark.quick


def memory_file(machine: Machine, pages: int) -> File:
    file = memfd_create(machine.system, "m", 2)
    assert isinstance(file, File)
    assert file.ftruncate(pages * PAGE) == 0
    return file


def map_shared(process: Process, file: File, pages: int, prot: int = RW) -> int:
    return int(vm_mmap(process._task.mm, file, 0, pages * PAGE, prot, 1, 0))


def test_a_read_of_untouched_memory_maps_the_zero_page(machine: Machine, process: Process) -> None:
    at = process.mmap(4 * PAGE)
    assert faults_of(process, process.touch, at, 4 * PAGE, write=False) == 4
    assert process.rss["anon"] == 0
    assert process.read(at, 8) == bytes(8)
    check_machine(machine)


def test_a_write_after_a_read_faults_again_and_takes_a_page(process: Process) -> None:
    at = process.mmap(PAGE)
    process.read(at, 1)
    assert faults_of(process, process.write, at, b"x") == 1
    assert process.rss["anon"] == PAGE


def test_a_page_that_was_read_only_meanwhile_is_writable_at_once_when_it_is_exclusive(process: Process) -> None:
    at = process.mmap(PAGE)
    process.write(at, b"x")
    process.mprotect(at, PAGE, RO)
    process.mprotect(at, PAGE, RW)
    assert faults_of(process, process.write, at, b"y") == 0


def test_a_hidden_page_keeps_its_contents(process: Process) -> None:
    at = process.mmap(PAGE)
    process.write(at, b"kept")
    process.mprotect(at, PAGE, NONE)
    with pytest.raises(SegmentationFault, match=r"\(---p, vma .*\): SEGV_ACCERR"):
        process.read(at, 1)
    process.mprotect(at, PAGE, RO)
    assert faults_of(process, process.read, at, 4) == 0
    assert process.read(at, 4) == b"kept"


def test_sixteen_reads_of_present_shared_memory_cost_one_fault(machine: Machine, process: Process) -> None:
    # Linux 6.18, the same calls: "memfd read 16 holes: faults 16", "memfd read 16 present: faults 1"
    file = memory_file(machine, 16)
    first = map_shared(process, file, 16, RO)
    assert faults_of(process, process.touch, first, 16 * PAGE, write=False) == 16
    second = map_shared(process, file, 16, RO)
    assert faults_of(process, process.touch, second, 16 * PAGE, write=False) == 1
    file.put()


def test_beyond_the_end_of_a_file_is_a_bus_error_that_names_the_mapping(machine: Machine, process: Process) -> None:
    file = memory_file(machine, 1)
    at = map_shared(process, file, 2)
    file.put()
    process.write(at, b"x")
    with pytest.raises(BusError, match=r"bus error: write to 0x[0-9a-f]+ \(rw-s, vma .*\): BUS_ADRERR") as caught:
        process.write(at + PAGE, b"x")
    assert caught.value.addr == at + PAGE


def test_a_refused_write_leaves_no_page_table_behind(machine: Machine, process: Process) -> None:
    # Linux 6.18: "sigbus write: 72 pte 8": a pud and a pmd table, no last-level one
    file = memory_file(machine, 1)
    found = vm_mmap(process._task.mm, file, 0x3100_0000_0000, 2 * PAGE, RW, 0x11, 0)
    file.put()
    before = process._task.mm.pgtables_bytes()
    with pytest.raises(BusError):
        process.write(int(found) + PAGE, b"x")
    assert process._task.mm.pgtables_bytes() - before == 2 * PAGE


def test_failed_faults_count_for_the_machine_and_not_for_the_task(machine: Machine, process: Process) -> None:
    file = memory_file(machine, 1)
    at = map_shared(process, file, 2)
    file.put()
    before = machine.system.vmstat.pgfault
    with pytest.raises(BusError):
        process.read(at + PAGE, 1)
    assert process.minor_faults == 0
    assert machine.system.vmstat.pgfault == before + 1


def test_no_mapping_is_a_segmentation_fault_that_says_so(process: Process) -> None:
    with pytest.raises(SegmentationFault, match=r"segmentation fault: read of 0x1234000 \(no mapping\): SEGV_MAPERR"):
        process.read(0x1234000, 1)


def test_truncation_takes_private_copies_away_too(machine: Machine, process: Process) -> None:
    file = memory_file(machine, 2)
    at = int(vm_mmap(process._task.mm, file, 0, 2 * PAGE, RW, 2, 0))
    process.write(at + PAGE, b"copy")
    assert process.rss["anon"] == PAGE
    assert file.ftruncate(PAGE) == 0
    assert process.rss["anon"] == 0
    with pytest.raises(BusError):
        process.read(at + PAGE, 1)
    file.put()


def test_a_private_write_leaves_the_file_as_it_is(machine: Machine, process: Process) -> None:
    file = memory_file(machine, 1)
    shared = map_shared(process, file, 1)
    private = int(vm_mmap(process._task.mm, file, 0, PAGE, RW, 2, 0))
    file.put()
    process.write(shared, b"one")
    process.write(private, b"two")
    assert process.read(shared, 3) == b"one"
    process.write(shared, b"six")
    assert process.read(private, 3) == b"two"


def test_running_out_of_memory_names_the_request_and_breaks_nothing() -> None:
    with small_machine(ram="16M", overcommit_memory=1) as machine:
        process = machine.spawn()
        at = process.mmap(64 * MB)
        with pytest.raises(OutOfMemory, match=r"write to 0x[0-9a-f]+: no frame for 4 KiB \(order 0\) of the zones"):
            process.touch(at, 64 * MB)
        for zone in machine.system.zones:
            assert zone.free_pages <= zone.watermark_min  # what is left is not for it
            assert zone.pcp.count == 0
        check_machine(machine)
        process.munmap(at, 64 * MB)
        check_machine(machine)
        process.write(process.mmap(PAGE), b"there is room again")


def test_every_call_survives_a_machine_without_frames() -> None:
    with small_machine(ram="16M", overcommit_memory=1) as machine:
        process = machine.spawn()
        kept = process.mmap(2 * PAGE)
        process.write(kept, b"kept")
        filler = process.mmap(64 * MB, addr=0x1_0000_0000)
        with pytest.raises(OutOfMemory):
            process.touch(filler, 64 * MB)
        committed = machine.system.vm_committed_as
        assert error_of(process.mremap, kept, 2 * PAGE, 2 * PAGE, 3, 0x3000_0000_0000) == 12
        assert machine.system.vm_committed_as == committed
        assert process.read(kept, 4) == b"kept"
        assert error_of(process.mlock, process.mmap(PAGE, addr=0x4000_0000_0000), PAGE) == 11
        with pytest.raises(OutOfMemory):
            process.read(process.mmap(PAGE, addr=0x5000_0000_0000), 1)
        check_machine(machine)


def test_five_levels_serve_addresses_above_47_bits_on_request() -> None:
    with small_machine(levels=5) as machine:
        process = machine.spawn()
        high = process.mmap(PAGE, addr=1 << 50)
        low = process.mmap(PAGE)
        process.write(high, b"high")
        process.write(low, b"low")
        assert high == 1 << 50
        assert low < 1 << 47
        assert process.read(high, 4) == b"high"
        taken = process.mmap(PAGE, addr=1 << 50)
        assert taken >= 1 << 47, "a hint above the window searches all of the address space"
        assert process._task.mm.nr_tables[1] == 2
