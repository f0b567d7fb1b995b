"""The lists of reclaim: which list a page is on, and what moves it."""

from mm_rig import MB, PAGE, RW, small_machine

from pagewalk import Machine
from pagewalk.mm.lru_names import (
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_NAMES,
    LRU_UNEVICTABLE,
)
from pagewalk.mm.lruvec import folio_lru_list
from pagewalk.mm.page import PG_lru
from pagewalk.mm.rmap import folio_referenced
from pagewalk.mm.swap import folio_mark_accessed

MADV_COLD, MADV_FREE = 20, 8


def counts(machine: Machine) -> dict[str, int]:
    """Pages of each list that are not none."""
    return {name: int(machine.system.node.lruvec.nr(lru)) for lru, name in enumerate(LRU_NAMES) if
            machine.system.node.lruvec.nr(lru)}  # fmt: skip


def test_touched_anonymous_memory_begins_on_the_inactive_list_and_leaves_it_when_it_is_freed() -> None:
    with small_machine() as machine:
        process = machine.spawn()
        area = process.mmap(16 * PAGE)
        process.touch(area, 16 * PAGE)
        assert counts(machine) == {"inactive_anon": 16}
        process.munmap(area, 16 * PAGE)
        assert counts(machine) == {}


def test_the_second_access_through_the_kernel_makes_a_page_active() -> None:
    with small_machine() as machine:
        process = machine.spawn()
        area = process.mmap(PAGE)
        process.touch(area)
        page = machine.system.node.lruvec.lists[LRU_INACTIVE_ANON].pages()[0]
        folio_mark_accessed(machine.system, page)
        assert counts(machine) == {"inactive_anon": 1}
        folio_mark_accessed(machine.system, page)
        assert counts(machine) == {"active_anon": 1}
        folio_mark_accessed(machine.system, page)
        assert machine.system.vmstat.pgactivate == 1
        process.madvise(area, PAGE, MADV_COLD)
        assert counts(machine) == {"inactive_anon": 1}


def test_locked_pages_are_unevictable_until_the_last_lock_is_gone() -> None:
    with small_machine() as machine:
        process = machine.spawn()
        area = process.mmap(4 * PAGE, RW, 0x21)
        process.touch(area, 4 * PAGE)
        child = process.fork()
        process.mlock(area, 4 * PAGE)
        child.mlock(area, 2 * PAGE)
        assert counts(machine) == {"unevictable": 4}
        assert "Mlocked:              16 kB" in machine.meminfo()
        process.munlock(area, 4 * PAGE)
        assert counts(machine) == {"inactive_anon": 2, "unevictable": 2}
        child.munmap(area, 4 * PAGE)
        assert counts(machine) == {"inactive_anon": 4}
        assert "unevictable_pgs_munlocked 4\n" in machine.vmstat()


def test_pages_that_come_into_a_locked_mapping_are_locked() -> None:
    with small_machine() as machine:
        process = machine.spawn()
        area = process.mmap(4 * PAGE, RW, 0x22)
        process.mlock(area, 4 * PAGE, onfault=True)
        process.touch(area, 2 * PAGE)
        assert counts(machine) == {"unevictable": 2}
        process.exit()
        assert counts(machine) == {}
        assert machine.system.vmstat.nr_mlock == 0


def test_memory_that_may_be_freed_waits_among_the_file_pages() -> None:
    with small_machine() as machine:
        process = machine.spawn()
        area = process.mmap(4 * PAGE)
        process.touch(area, 4 * PAGE)
        process.madvise(area, 2 * PAGE, MADV_FREE)
        assert counts(machine) == {"inactive_anon": 2, "inactive_file": 2}
        assert machine.system.vmstat.pglazyfree == 2


def test_the_reverse_map_tells_and_clears_what_was_used() -> None:
    with small_machine() as machine:
        process = machine.spawn()
        area = process.mmap(PAGE)
        process.touch(area)
        child = process.fork()
        child.touch(area, write=False)
        page = machine.system.node.lruvec.lists[LRU_INACTIVE_ANON].pages()[0]
        assert folio_referenced(page)[0] == 2
        assert folio_referenced(page)[0] == 0
        process.touch(area, write=False)
        assert folio_referenced(page)[0] == 1


def test_a_file_page_becomes_active_when_mappings_that_used_it_go() -> None:
    with small_machine() as machine:
        process = machine.spawn()
        for _ in range(2):
            area = process.mmap(PAGE, 1, 2, path="/bin/sh")
            process.touch(area, write=False)
            process.munmap(area, PAGE)
        assert counts(machine)["active_file"] >= 1
        active = machine.system.node.lruvec.lists[LRU_ACTIVE_FILE].pages()
        assert all(page.flags & PG_lru and folio_lru_list(page) == LRU_ACTIVE_FILE for page in active)


def test_meminfo_and_vmstat_tell_the_lists() -> None:
    with small_machine() as machine:
        process = machine.spawn()
        area = process.mmap(MB)
        process.touch(area, MB)
        kilobytes = int(machine.system.node.lruvec.nr(LRU_INACTIVE_ANON)) * 4
        assert f"Inactive(anon):{kilobytes:9d} kB\n" in machine.meminfo()
        assert "nr_inactive_anon 256\n" in machine.vmstat()
        assert int(machine.system.node.lruvec.nr(LRU_INACTIVE_FILE)) == 0
        assert int(machine.system.node.lruvec.nr(LRU_UNEVICTABLE)) == 0
