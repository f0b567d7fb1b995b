"""A process as Python drives it."""

from pathlib import Path

import pytest
from mm_rig import PAGE, error_of, small_machine

from pagewalk import BusError, LinuxError, Machine, Map, Process, Prot, SegmentationFault

pytestmark = pytest.mark.quick


def test_sizes_are_bytes_or_text(process: Process) -> None:
    at = process.mmap("64K")
    process.munmap(at, "16K")
    assert process._task.mm.total_vm == 12


def test_what_is_written_is_read_across_pages(process: Process) -> None:
    at = process.mmap(3 * PAGE)
    data = bytes(range(256)) * 17
    process.write(at + PAGE - 100, data)
    assert process.read(at + PAGE - 100, len(data)) == data
    assert process.minor_faults == 3
    assert process.major_faults == 0


def test_a_failed_call_raises_its_errno_and_name(process: Process) -> None:
    with pytest.raises(LinuxError, match=r"munmap: EINVAL") as caught:
        process.munmap(1, PAGE)
    assert caught.value.errno == 22
    assert error_of(process.mmap, 0) == 22
    assert error_of(process.mmap, PAGE, offset=1) == 22


def test_a_file_of_the_host_is_mapped_by_its_path(process: Process) -> None:
    path = Path("/bin/true").resolve()
    at = process.mmap(PAGE, Prot.READ, Map.PRIVATE, path=str(path))
    assert process.read(at, 16) == path.read_bytes()[:16]
    assert process.rss["file"] >= PAGE
    assert str(path) in process.maps()
    assert error_of(process.mmap, PAGE, Prot.READ, Map.PRIVATE, path="/no/such/file") == 2


def test_a_read_only_file_is_not_mapped_for_shared_writing(process: Process) -> None:
    assert error_of(process.mmap, PAGE, 3, Map.SHARED, path="/bin/true") in (13, 30)


def test_what_lies_before_the_failing_page_is_written(process: Process) -> None:
    at = process.mmap(2 * PAGE)
    process.mprotect(at + PAGE, PAGE, Prot.READ)
    with pytest.raises(SegmentationFault) as caught:
        process.write(at + PAGE - 2, b"abcd")
    assert caught.value.addr == at + PAGE
    assert caught.value.access == "write"
    assert caught.value.code == 2
    assert process.read(at + PAGE - 2, 2) == b"ab"


def test_touch_names_the_page_that_failed(process: Process) -> None:
    at = process.mmap(3 * PAGE)
    process.munmap(at + 2 * PAGE, PAGE)
    with pytest.raises(SegmentationFault, match=f"read of {at + 2 * PAGE:#x}"):
        process.touch(at, 3 * PAGE, write=False)
    assert process.mincore(at, 2 * PAGE) == [True, True]


def test_two_processes_of_a_machine_have_memory_of_their_own(machine: Machine) -> None:
    one, two = machine.spawn(), machine.spawn()
    assert one.mmap(PAGE) == two.mmap(PAGE)
    at = one._task.mm.vmas[0].vm_start
    one.write(at, b"one")
    two.write(at, b"two")
    assert one.read(at, 3) == b"one"
    assert one.minor_faults == two.minor_faults == 1


def test_an_exit_gives_every_frame_back() -> None:
    with small_machine() as machine:

        def free() -> int:
            waiting = sum(int(zone.pcp.count) for zone in machine.system.zones)
            return machine.system.node.nr_free_pages() + waiting + machine.system.slab.nr_pages()

        before = free()
        process = machine.spawn()
        at = process.mmap("1M")
        process.touch(at, "1M")
        process.mmap("1M", flags=Map.SHARED | Map.ANONYMOUS | Map.POPULATE)
        assert free() < before - 512
        process.exit()
        assert free() == before
        assert machine.system.vm_committed_as == 0


def test_a_wild_address_is_refused_and_not_an_error_of_python(process: Process) -> None:
    for addr in (0, 1 << 47, (1 << 63) + 5, (1 << 64) - 1):
        with pytest.raises((SegmentationFault, BusError)):
            process.read(addr, 1)
