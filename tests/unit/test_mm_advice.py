"""madvise, mremap, stacks: the corners."""

from pathlib import Path

import pytest
from mm_rig import MB, NONE, PAGE, RO, RW, error_of, faults_of, ranges, small_machine

from pagewalk import Machine, Map, Process, SegmentationFault
from pagewalk.fs.memfd import memfd_create
from pagewalk.mm.file import File
from pagewalk.mm.mmap import vm_mmap
from pagewalk.mm.mseal import mseal
from pagewalk.mm.msync import msync

pytestmark = pytest.mark.quick

DONTNEED, FREE, SEQUENTIAL, DONTDUMP, GUARD_INSTALL, GUARD_REMOVE = 4, 8, 2, 16, 102, 103
MAYMOVE, FIXED, DONTUNMAP = 1, 2, 4
EPERM, ENOMEM, EFAULT, EINVAL = 1, 12, 14, 22


def tables(process: Process) -> int:
    return process._task.mm.pgtables_bytes() // PAGE


def test_dontneed_of_a_whole_table_frees_it_and_of_its_halves_does_not(process: Process) -> None:
    # Linux 6.18: "pt reclaim -4, by halves 0" (KiB)
    at = process.mmap(4 * MB, addr=0x3300_0000_0000)
    process.touch(at, 4 * MB)
    before = tables(process)
    process.madvise(at, 2 * MB, DONTNEED)
    assert tables(process) == before - 1
    process.madvise(at + 2 * MB, MB, DONTNEED)
    process.madvise(at + 3 * MB, MB, DONTNEED)
    assert tables(process) == before - 1


def test_a_guard_refuses_every_access_until_it_is_removed(process: Process) -> None:
    at = process.mmap(2 * PAGE)
    process.write(at, b"lost")
    process.madvise(at, PAGE, GUARD_INSTALL)
    with pytest.raises(SegmentationFault, match="SEGV_MAPERR"):
        process.write(at, b"x")
    assert process.minor_faults == 1  # Linux 6.18: "guard: 111 faults 0"
    process.madvise(at, PAGE, GUARD_REMOVE)
    assert process.read(at, 4) == bytes(4)


def test_a_guard_survives_dontneed_and_moves_along(process: Process) -> None:
    at = process.mmap(2 * PAGE)
    process.madvise(at, PAGE, GUARD_INSTALL)
    process.madvise(at, 2 * PAGE, DONTNEED)
    to = process.mremap(at, 2 * PAGE, 2 * PAGE, MAYMOVE | FIXED, 0x2000_0000_0000)
    with pytest.raises(SegmentationFault):
        process.read(to, 1)


def test_guards_are_refused_in_locked_memory(process: Process) -> None:
    at = process.mmap(PAGE)
    process.mlock(at, PAGE)
    assert error_of(process.madvise, at, PAGE, GUARD_INSTALL) == EINVAL


def test_free_keeps_the_page_until_memory_is_short(process: Process) -> None:
    at = process.mmap(PAGE)
    process.write(at, b"lazy")
    process.madvise(at, PAGE, FREE)
    assert faults_of(process, process.write, at + 8, b"!") == 0
    assert process.read(at, 4) == b"lazy"


def test_advice_goes_on_behind_a_hole_and_then_says_enomem(process: Process) -> None:
    at = process.mmap(3 * PAGE)
    process.touch(at, 3 * PAGE)
    process.munmap(at + PAGE, PAGE)
    assert error_of(process.madvise, at, 3 * PAGE, DONTNEED) == ENOMEM
    assert process.rss["anon"] == 0


def test_a_split_mapping_is_one_again_when_its_parts_agree(process: Process) -> None:
    at = process.mmap(3 * PAGE)
    process.madvise(at + PAGE, PAGE, SEQUENTIAL)
    assert len(ranges(process)) == 3
    process.madvise(at + PAGE, PAGE, 0)
    assert ranges(process) == [f"{at:x}-{at + 3 * PAGE:x} rw-p"]


def test_dontunmap_leaves_the_old_range_empty(process: Process) -> None:
    at = process.mmap(2 * PAGE)
    process.write(at, b"moved")
    to = process.mremap(at, 2 * PAGE, 2 * PAGE, MAYMOVE | DONTUNMAP)
    assert process.read(to, 5) == b"moved"
    assert process.read(at, 5) == bytes(5)
    assert len(ranges(process)) == 2


def test_dontunmap_of_whole_tables_moves_them(process: Process) -> None:
    # Linux 6.18, 8 MiB touched and moved with MREMAP_DONTUNMAP: VmPTE 48 kB before and after; a part that lies alike
    # in its tables, "dontunmap mutual aligned: pte 16", one that begins within a table of others, "unaligned: pte 12"
    at = process.mmap(6 * MB, addr=0x3400_0000_0000)
    process.touch(at, 6 * MB)
    before = tables(process)
    process.mremap(at + PAGE, 4 * MB, 4 * MB, MAYMOVE | FIXED | DONTUNMAP, 0x3500_0000_1000)
    assert tables(process) - before == 4
    process.mremap(at + 4 * MB + 2 * PAGE, MB, MB, MAYMOVE | FIXED | DONTUNMAP, 0x3600_0000_1000)
    assert tables(process) - before == 7


def test_dontunmap_counts_locked_memory_twice_as_linux_does(process: Process) -> None:
    # Linux 6.18: VmLck 1024 kB, after MREMAP_DONTUNMAP 2048 kB, with both ranges unmapped 1024 kB
    at = process.mmap(MB)
    process.mlock(at, MB)
    to = process.mremap(at, MB, MB, MAYMOVE | DONTUNMAP)
    assert process._task.mm.locked_vm == 512
    process.munmap(at, MB)
    process.munmap(to, MB)
    assert process._task.mm.locked_vm == 256


def test_a_moved_mapping_is_no_new_peak(process: Process) -> None:
    at = process.mmap(2 * MB)
    process.mremap(at, 2 * MB, 2 * MB, MAYMOVE | FIXED, 0x2000_0000_0000)
    process._task.mm.update_hiwater()
    assert process._task.mm.hiwater_vm == 512


def test_old_size_zero_maps_shared_memory_a_second_time(process: Process) -> None:
    at = process.mmap(PAGE, flags=Map.SHARED | Map.ANONYMOUS)
    process.write(at, b"both")
    to = process.mremap(at, 0, PAGE)
    assert to != at
    assert process.read(to, 4) == b"both"
    assert error_of(process.mremap, process.mmap(PAGE), 0, PAGE) == EINVAL


def test_a_plain_move_takes_all_mappings_of_the_range_and_keeps_their_gaps(process: Process) -> None:
    at = process.mmap(4 * PAGE)
    process.mprotect(at, PAGE, RO)
    process.munmap(at + PAGE, PAGE)
    to = 0x2000_0000_0000
    assert process.mremap(at, 4 * PAGE, 4 * PAGE, MAYMOVE | FIXED, to) == to
    assert ranges(process) == [f"{to:x}-{to + PAGE:x} r--p", f"{to + 2 * PAGE:x}-{to + 4 * PAGE:x} rw-p"]
    assert error_of(process.mremap, to, 4 * PAGE, 5 * PAGE) == EFAULT


def test_a_sealed_mapping_stays_what_it_is(process: Process) -> None:
    at = process.mmap(2 * PAGE, RO)
    mm = process._task.mm
    assert mseal(mm, at, 2 * PAGE, 0) == 0
    assert error_of(process.munmap, at, PAGE) == EPERM
    assert error_of(process.mprotect, at, PAGE, RW) == EPERM
    assert error_of(process.mremap, at, 2 * PAGE, PAGE) == EPERM
    assert error_of(process.madvise, at, PAGE, DONTNEED) == EPERM
    assert error_of(process.mmap, PAGE, addr=at, flags=0x32) == EPERM
    process.madvise(at, 2 * PAGE, DONTDUMP)


def test_sealed_shared_memory_cannot_be_mapped_for_writing(machine: Machine, process: Process) -> None:
    file = memfd_create(machine.system, "m", 2)
    assert isinstance(file, File) and file.mapping is not None
    file.ftruncate(PAGE)
    file.mapping.seals |= 0x8
    mm = process._task.mm
    assert vm_mmap(mm, file, 0, PAGE, RW, 1, 0) == -EPERM
    at = int(vm_mmap(mm, file, 0, PAGE, RO, 1, 0))
    assert error_of(process.mprotect, at, PAGE, RW) == 13
    file.put()


def test_a_stack_grows_by_touch_and_stops_at_the_gap_below_it(process: Process) -> None:
    top = 0x3000_0010_0000
    stack = process.mmap(2 * PAGE, addr=top, flags=Map.PRIVATE | Map.ANONYMOUS | Map.FIXED | Map.GROWSDOWN)
    below = process.mmap(PAGE, addr=top - 300 * PAGE, flags=0x32)
    process.write(stack - 40 * PAGE, b"x")
    assert ranges(process)[-1] == f"{stack - 40 * PAGE:x}-{stack + 2 * PAGE:x} rw-p"
    with pytest.raises(SegmentationFault):
        process.write(below + 256 * PAGE, b"x")
    process.write(below + 257 * PAGE, b"x")


def test_a_locked_stack_grows_without_being_populated(process: Process) -> None:
    # Linux 6.18, a touch ten pages below: mincore 100000000011, 1 fault
    flags = Map.PRIVATE | Map.ANONYMOUS | Map.FIXED | Map.GROWSDOWN | Map.LOCKED
    stack = process.mmap(2 * PAGE, addr=0x3000_0010_0000, flags=flags)
    assert faults_of(process, process.write, stack - 10 * PAGE, b"x") == 1
    assert process.mincore(stack - 10 * PAGE, 12 * PAGE) == [True] + [False] * 9 + [True] * 2


def test_a_stack_does_not_exceed_its_limit() -> None:
    with small_machine() as machine:
        process = machine.spawn()
        process._task.rlim_cur[3] = 16 * PAGE
        stack = process.mmap(PAGE, addr=0x3000_0010_0000, flags=Map.PRIVATE | Map.ANONYMOUS | Map.FIXED | Map.GROWSDOWN)
        process.write(stack - 15 * PAGE, b"x")
        with pytest.raises(SegmentationFault):
            process.write(stack - 16 * PAGE, b"x")


def test_a_hidden_dirty_page_is_clean_after_write_back(work: Path) -> None:
    # Linux 6.18, a write after PROT_NONE, msync(MS_SYNC) and PROT_READ|PROT_WRITE: 1 fault
    file = work / "file"
    file.write_bytes(bytes(PAGE))
    with small_machine(rw=[str(work)]) as writable:
        process = writable.spawn()
        at = process.mmap(PAGE, flags=Map.SHARED, path=str(file))
        process.write(at, b"one")
        process.mprotect(at, PAGE, NONE)
        assert msync(process._task.mm, at, PAGE, 4) == 0
        assert file.read_bytes()[:3] == b"one"
        process.mprotect(at, PAGE, RW)
        assert faults_of(process, process.write, at, b"two") == 1
