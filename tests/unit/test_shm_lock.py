"""SHM_LOCK: the pages of a locked segment stay in memory, and go again when it is unlocked."""

from collections.abc import Iterator

import pytest
from mm_rig import PAGE

from pagewalk import Machine, Process
from pagewalk.check import check_machine
from pagewalk.kernel.shm import IPC_CREAT, Segment
from pagewalk.kernel.shm_lock import shm_lock, shm_unlock
from pagewalk.kernel.syscall.shm import sys_shmat, sys_shmctl, sys_shmget
from pagewalk.mm.lru_names import LRU_UNEVICTABLE
from pagewalk.mm.vmscan import try_to_free_memory

IPC_RMID = 0


@pytest.fixture(params=["lru", "mglru"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with Machine(ram="64M", swap="64M", aslr=False, reclaim_policy=request.param) as machine:
        yield machine
        check_machine(machine)


def attached(machine: Machine, pages: int) -> tuple[Process, Segment, int]:
    process = machine.spawn()
    ident = sys_shmget(process._task, 0, pages * PAGE, IPC_CREAT | 0o600)
    at = sys_shmat(process._task, ident, 0, 0)
    assert at > 0
    segment = machine.kernel.shm.find(ident)
    assert segment is not None
    return process, segment, at


def shorten(machine: Machine) -> None:
    """Takes all that reclaim can take."""
    for _ in range(40):
        if try_to_free_memory(machine.system, 256) == 0:
            return


def unevictable(machine: Machine) -> int:
    return machine.system.page_state(LRU_UNEVICTABLE)


def test_pages_that_come_after_the_lock_are_unevictable_at_once(machine: Machine) -> None:
    process, segment, at = attached(machine, 40)
    assert shm_lock(process._task, segment) == 0
    process.touch(at, 40 * PAGE)
    assert unevictable(machine) == 40
    assert machine.system.vmstat.unevictable_pgs_culled == 40
    shorten(machine)
    assert sum(process.mincore(at, 40 * PAGE)) == 40
    check_machine(machine)
    assert shm_unlock(process._task, segment) == 0
    assert unevictable(machine) == 0
    assert machine.system.vmstat.unevictable_pgs_rescued == 40


def test_pages_that_were_there_are_found_by_reclaim(machine: Machine) -> None:
    process, segment, at = attached(machine, 40)
    for page in range(40):
        process.write(at + page * PAGE, b"%05d" % page)
    assert shm_lock(process._task, segment) == 0
    assert unevictable(machine) == 0
    shorten(machine)
    assert unevictable(machine) == sum(process.mincore(at, 40 * PAGE)) == 40
    assert machine.system.vmstat.pswpout == 0
    check_machine(machine)
    assert shm_unlock(process._task, segment) == 0
    shorten(machine)
    assert machine.system.vmstat.pswpout > 30
    assert all(process.read(at + page * PAGE, 5) == b"%05d" % page for page in range(40))


def test_a_page_that_a_mapping_locks_too_stays_until_both_are_gone(machine: Machine) -> None:
    process, segment, at = attached(machine, 8)
    process.touch(at, 8 * PAGE)
    assert process.mlock(at, 8 * PAGE) is None
    assert shm_lock(process._task, segment) == 0
    process.munlock(at, 8 * PAGE)
    assert unevictable(machine) == 8
    check_machine(machine)
    process.mlock(at, 8 * PAGE)
    assert shm_unlock(process._task, segment) == 0
    assert unevictable(machine) == 8
    process.munlock(at, 8 * PAGE)
    assert unevictable(machine) == 0


def test_a_locked_segment_that_goes_counts_no_more(machine: Machine) -> None:
    process, segment, at = attached(machine, 8)
    process.touch(at, 8 * PAGE)
    assert shm_lock(process._task, segment) == 0
    assert machine.kernel.shm.locked == {0: 8}
    assert sys_shmctl(process._task, segment.ident, IPC_RMID, 0) == 0
    process.exit()
    assert machine.kernel.shm.locked == {0: 0}
    assert unevictable(machine) == 0
