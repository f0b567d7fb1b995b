"""Limits and layout: what is refused, with which errno, and where mappings go."""

import pytest
from mm_rig import MB, NONE, PAGE, RO, RW, error_of, ranges, small_machine

from pagewalk import BusError, Machine, Map, Process
from pagewalk.fs.memfd import memfd_create
from pagewalk.mm.file import File
from pagewalk.mm.mmap import vm_mmap

pytestmark = pytest.mark.quick

EPERM, EAGAIN, ENOMEM, EEXIST, EINVAL = 1, 11, 12, 17, 22
ANON = Map.PRIVATE | Map.ANONYMOUS
STACK, MEMLOCK, DATA, AS = 3, 8, 2, 9


def limit(process: Process, which: int, size: int) -> None:
    process._task.rlim_cur[which] = process._task.rlim_max[which] = size


def unprivileged(process: Process) -> None:
    process._task.capable = False


def test_rlimit_as_bounds_all_mappings(process: Process) -> None:
    limit(process, AS, 4 * PAGE)
    at = process.mmap(3 * PAGE, NONE)
    assert error_of(process.mmap, 2 * PAGE, NONE) == ENOMEM
    process.mmap(PAGE, NONE)
    process.mmap(PAGE, addr=at, flags=ANON | Map.FIXED)  # what it replaces makes room for it


def test_rlimit_data_bounds_what_is_private_and_writable(process: Process) -> None:
    limit(process, DATA, 2 * PAGE)
    at = process.mmap(4 * PAGE, RO)
    process.mmap(2 * PAGE)
    assert error_of(process.mmap, PAGE) == ENOMEM
    assert error_of(process.mprotect, at, PAGE, RW) == ENOMEM
    process.mmap(PAGE, flags=Map.SHARED | Map.ANONYMOUS)


def test_rlimit_memlock_binds_those_without_the_right_to_lock(process: Process) -> None:
    limit(process, MEMLOCK, 2 * PAGE)
    at = process.mmap(3 * PAGE)
    process.mlock(at, 3 * PAGE)
    process.munlock(at, 3 * PAGE)
    unprivileged(process)
    assert error_of(process.mlock, at, 3 * PAGE) == ENOMEM
    process.mlock(at, 2 * PAGE)
    process.mlock(at, 2 * PAGE)  # what is locked already does not count twice
    assert error_of(process.mmap, PAGE, flags=ANON | Map.LOCKED) == EAGAIN
    limit(process, MEMLOCK, 0)
    assert error_of(process.mlock, at, PAGE) == EPERM
    assert error_of(process.mmap, PAGE, flags=ANON | Map.LOCKED) == EPERM


def test_mlock_rounds_to_the_pages_that_it_touches(process: Process) -> None:
    at = process.mmap(3 * PAGE)
    process.mlock(at + PAGE - 1, 2)
    assert process._task.mm.locked_vm == 2
    assert process.rss["anon"] == 2 * PAGE
    assert error_of(process.mlock, at, 4 * PAGE) == ENOMEM


def test_overcommit_by_guess_refuses_only_what_exceeds_the_machine(machine: Machine, process: Process) -> None:
    total = machine.system.totalram_pages * PAGE
    process.mmap(total)
    process.mmap(total)
    assert error_of(process.mmap, total + PAGE) == ENOMEM
    process.mmap(total + PAGE, flags=ANON | Map.NORESERVE)
    process.mmap(total + PAGE, RO)


def test_overcommit_always_refuses_nothing() -> None:
    with small_machine(overcommit_memory=1) as machine:
        machine.spawn().mmap("1T")


def test_overcommit_never_keeps_below_the_commit_limit() -> None:
    with small_machine(overcommit_memory=2, overcommit_kbytes=400) as machine:
        process = machine.spawn()
        assert "CommitLimit:         400 kB" in machine.meminfo()
        assert error_of(process.mmap, 100 * PAGE) == ENOMEM
        at = process.mmap(60 * PAGE, flags=ANON | Map.NORESERVE)  # the flag means nothing here
        assert machine.system.vm_committed_as == 60
        process.mmap(100 * PAGE, RO)
        process.munmap(at, 60 * PAGE)
        assert machine.system.vm_committed_as == 0


def test_shared_memory_that_may_not_be_promised_is_a_bus_error() -> None:
    with small_machine(overcommit_memory=2, overcommit_kbytes=40) as machine:
        process = machine.spawn()
        file = memfd_create(machine.system, "m", 2)
        assert isinstance(file, File)
        file.ftruncate(16 * PAGE)
        at = int(vm_mmap(process._task.mm, file, 0, 16 * PAGE, RW, 1, 0))
        file.put()
        process.touch(at, 9 * PAGE)
        with pytest.raises(BusError):
            process.write(at + 9 * PAGE, b"x")


def test_committed_memory_follows_the_right_to_write(machine: Machine, process: Process) -> None:
    at = process.mmap(4 * PAGE, RO)
    assert machine.system.vm_committed_as == 0
    process.mprotect(at, 4 * PAGE, RW)
    assert machine.system.vm_committed_as == 4
    process.mprotect(at, 4 * PAGE, RO)
    assert machine.system.vm_committed_as == 0, "no page was written: the promise is taken back"
    process.mprotect(at, 4 * PAGE, RW)
    process.write(at, b"x")
    process.mprotect(at, 4 * PAGE, RO)
    assert machine.system.vm_committed_as == 4


def test_max_map_count_bounds_mappings_and_splits() -> None:
    with small_machine(max_map_count=3) as machine:
        process = machine.spawn()
        at = process.mmap(8 * PAGE)
        process.mprotect(at, PAGE, RO)
        assert error_of(process.mprotect, at + 3 * PAGE, PAGE, NONE) == ENOMEM
        process.mmap(PAGE, NONE, addr=0x1_0000_0000)
        assert error_of(process.munmap, at + 4 * PAGE, PAGE) == ENOMEM, "a hole in the middle makes one more"
        process.munmap(at + 7 * PAGE, PAGE)


def test_low_addresses_need_a_privilege(process: Process) -> None:
    process.mmap(PAGE, addr=0, flags=ANON | Map.FIXED)
    unprivileged(process)
    assert error_of(process.mmap, PAGE, addr=0, flags=ANON | Map.FIXED) == EPERM
    assert process.mmap(PAGE, addr=1) >= 4096


def test_noreplace_refuses_what_is_taken(process: Process) -> None:
    at = process.mmap(2 * PAGE)
    assert error_of(process.mmap, PAGE, addr=at + PAGE, flags=ANON | Map.FIXED_NOREPLACE) == EEXIST
    process.munmap(at + PAGE, PAGE)
    assert process.mmap(PAGE, addr=at + PAGE, flags=ANON | Map.FIXED_NOREPLACE) == at + PAGE


def test_mappings_below_4g_are_searched_from_1g_up(process: Process) -> None:
    assert process.mmap(PAGE, flags=ANON | Map.LOW_32BIT) == 0x4000_0000
    assert process.mmap(PAGE, flags=ANON | Map.LOW_32BIT) == 0x4000_1000


def test_mappings_grow_down_from_the_base_and_merge(process: Process) -> None:
    first = process.mmap(PAGE)
    second = process.mmap(PAGE)
    assert second == first - PAGE
    assert ranges(process) == [f"{second:x}-{first + PAGE:x} rw-p"]


def test_the_legacy_layout_grows_up_from_a_third_of_the_address_space() -> None:
    with small_machine(legacy_va_layout=True) as machine:
        process = machine.spawn()
        first = process.mmap(PAGE)
        assert first == 0x2AAA_AAAA_A000 + PAGE
        assert process.mmap(PAGE) == first + PAGE


def test_large_anonymous_areas_start_at_2_mib(process: Process) -> None:
    process.mmap(PAGE)
    assert process.mmap(4 * MB) % (2 * MB) == 0
    assert process.mmap(2 * MB) % (2 * MB) == 0
    assert process.mmap(2 * MB + PAGE) % (2 * MB) != 0


def test_the_same_seed_gives_the_same_addresses_and_another_seed_others() -> None:
    def address(seed: int) -> int:
        with small_machine(aslr=True, seed=seed) as machine:
            return machine.spawn().mmap(PAGE)

    assert address(1) == address(1)
    assert address(1) != address(2)


def test_addresses_beyond_the_user_half_are_refused(process: Process) -> None:
    assert error_of(process.mmap, PAGE, addr=(1 << 47) - PAGE, flags=ANON | Map.FIXED) == ENOMEM
    assert error_of(process.mmap, PAGE, addr=0xFFFF_8000_0000_0000, flags=ANON | Map.FIXED) == ENOMEM
    assert error_of(process.munmap, (1 << 47) - PAGE, PAGE) == EINVAL
    assert error_of(process.mmap, 1 << 48) == ENOMEM


def test_the_heap_grows_shrinks_and_keeps_its_distance(process: Process) -> None:
    start = 0x5555_5560_0000
    mm = process._task.mm
    mm.start_brk = mm.brk = start
    assert process.brk(start + 5) == start + 5
    assert ranges(process) == [f"{start:x}-{start + PAGE:x} rw-p"]
    process.write(start, b"x")
    process.mmap(PAGE, addr=start + 4 * PAGE, flags=ANON | Map.FIXED)
    assert process.brk(start + 4 * PAGE) == start + 5, "a page stays free below the next mapping"
    assert process.brk(start + 3 * PAGE) == start + 3 * PAGE
    assert process.brk(start) == start
    assert process.rss["anon"] == 0
    assert process.brk(start - 1) == start
