"""zswap of 6.1: two pages to a frame, what comes back stays, a full pool gives one frame back."""

import errno
from collections.abc import Iterator

import pytest
from mm_rig import PAGE
from test_zswap import fill, holds, kb, out

from pagewalk import Config, Machine
from pagewalk.check import check_machine
from pagewalk.mm.system import System
from pagewalk.mm.zbud import Zbud
from pagewalk.mm.zswap_6_1 import Zswap61


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(
        linux="6.1", ram="64M", swap="64M", zswap=True, zswap_ratio=4.0, aslr=False, overcommit_memory=1
    ) as machine:
        yield machine
        check_machine(machine)


@pytest.fixture
def zbud() -> Zbud:
    return Zbud(System(Config(linux="6.1", ram="64M")))


def zswap_of(machine: Machine) -> Zswap61:
    zswap = machine.system.zswap
    assert isinstance(zswap, Zswap61)
    return zswap


def counted(machine: Machine, name: str) -> int:
    return int(dict(line.split() for line in machine.vmstat().splitlines())[name])


def test_two_small_pages_share_a_frame_and_a_third_does_not(zbud: Zbud) -> None:
    assert [zbud.malloc(entry, 100) for entry in (1, 2, 3)] == [0, 0, 0]
    assert zbud.nr_pages == 2
    zbud.free(1, 100)
    assert zbud.nr_pages == 2
    zbud.free(2, 100)
    assert zbud.nr_pages == 1
    zbud.free(3, 100)
    assert zbud.nr_pages == 0


def test_a_page_goes_where_the_room_is_tightest(zbud: Zbud) -> None:
    for entry, chunks in ((1, 58), (2, 33), (3, 31)):  # 5, 30 and 32 are left
        assert zbud.malloc(entry, chunks * 64) == 0
        assert zbud.nr_pages == entry
    assert zbud.malloc(4, 30 * 64) == 0
    assert zbud.where[4] is zbud.where[2]
    assert zbud.malloc(5, 4 * 64 + 1) == 0
    assert zbud.where[5] is zbud.where[1]
    assert zbud.malloc(6, 1) == 0
    assert zbud.where[6] is zbud.where[3]
    assert zbud.nr_pages == 3


def test_what_hardly_became_smaller_is_not_taken(zbud: Zbud) -> None:
    assert zbud.malloc(1, PAGE - 127) == -errno.ENOSPC
    assert zbud.nr_pages == 0
    assert zbud.malloc(1, PAGE - 128) == 0


def test_the_frame_that_was_filled_longest_ago_is_written_out_first(zbud: Zbud) -> None:
    for entry in range(1, 6):
        zbud.malloc(entry, 100)
    zbud.free(1, 100)
    zbud.malloc(6, 3000)  # alone in the fourth frame
    zbud.malloc(7, 3000)  # no room beside 5 or 2 but that
    first = zbud.oldest()
    assert first is not None and (first.first, first.last) == (3, 4)
    zbud.free(3, 100)
    assert not zbud.reclaimed(first)  # one is left: it comes last now
    second = zbud.oldest()
    assert second is not None and 3 not in (second.first, second.last)
    for entry in (second.first, second.last):
        if entry >= 0:
            zbud.free(entry, 100)
    before = zbud.nr_pages
    assert zbud.reclaimed(second)
    assert zbud.nr_pages == before - 1


def test_a_frame_holds_two_however_small(machine: Machine) -> None:
    process = machine.spawn()
    out(machine, process, fill(process, 400), 400)
    assert (kb(machine, "Zswap"), kb(machine, "Zswapped")) == (800, 1600)
    assert machine.system.memcg.root.zswap_bytes == 400 * PAGE // 4


def test_what_comes_back_stays_as_long_as_its_slot(machine: Machine) -> None:
    process = machine.spawn()
    at = fill(process, 400)
    out(machine, process, at, 400)
    assert holds(process, at, 400)
    assert kb(machine, "Zswapped") == 1600
    before = counted(machine, "zswpout")
    out(machine, process, at, 400)  # unchanged: nothing has to be stored again
    assert counted(machine, "zswpout") == before
    assert holds(process, at, 400)
    process.exit()
    assert (kb(machine, "Zswap"), kb(machine, "Zswapped")) == (0, 0)


def test_a_page_of_one_word_repeated_takes_no_room(machine: Machine) -> None:
    process = machine.spawn()
    at = process.mmap(20 * PAGE)
    process.write(at, b"pagewalk" * (20 * PAGE // 8))
    process.write(at + 19 * PAGE + 8, b"other")
    out(machine, process, at, 20)
    assert (kb(machine, "Zswap"), kb(machine, "Zswapped")) == (4, 80)
    assert process.read(at + 5 * PAGE, 16) == b"pagewalkpagewalk"
    assert process.read(at + 19 * PAGE, 16) == b"pagewalkotheralk"


def test_a_full_pool_gives_one_frame_back_and_takes_nothing_up_to_the_mark(machine: Machine) -> None:
    zswap = zswap_of(machine)
    zswap.max_pool_percent = 1
    room = zswap.max_pages() * 2 + 1  # full is a frame more than it may have
    process = machine.spawn()
    at = fill(process, room + 600)
    out(machine, process, at, room + 600)
    assert counted(machine, "zswpout") == room
    assert zswap.pool_limit_hit == 1  # then the frame that was given back keeps the pool below it
    assert zswap.written_back_pages == 2
    assert counted(machine, "pswpout") == 600 + 2  # those that went past it, and a frame
    assert zswap.pool.nr_pages == zswap.max_pages()
    assert zswap.reached_full
    assert holds(process, at, room + 600)
    process.munmap(at, (room // 2) * PAGE)
    assert zswap.pool.nr_pages < zswap.accept_pages()
    more = fill(process, 10)
    out(machine, process, more, 10)
    assert counted(machine, "zswpout") == room + 10
    assert not zswap.reached_full


def test_entries_in_use_cannot_be_written_out(machine: Machine) -> None:
    zswap = zswap_of(machine)
    process = machine.spawn()
    at = fill(process, 40)
    out(machine, process, at, 40)
    assert holds(process, at, 40)  # all are in memory, and in the swap cache
    zswap.shrink_frame()
    assert (zswap.reject_reclaim_fail, zswap.written_back_pages) == (1, 0)
    out(machine, process, at, 40)
    zswap.shrink_frame()
    assert zswap.written_back_pages == 2
    assert kb(machine, "Zswap") == 76
    assert holds(process, at, 40)


def test_pages_that_do_not_compress_go_to_the_device() -> None:
    with Machine(linux="6.1", ram="64M", swap="64M", zswap=True, zswap_ratio=1.0, overcommit_memory=1) as machine:
        process = machine.spawn()
        at = fill(process, 30)
        out(machine, process, at, 30)
        assert counted(machine, "pswpout") == zswap_of(machine).reject_compress_poor == 30
        assert holds(process, at, 30)
        check_machine(machine)
