"""fork as Python drives it: memory is shared until one of the two writes, over any number of generations."""

import pytest
from mm_rig import small_machine

from pagewalk import LinuxError, Machine, Map, OutOfMemory, Process, Prot
from pagewalk.check import check_machine
from pagewalk.mm.page import Page, PG_anon_exclusive
from pagewalk.mm.pgtable import pte_lookup


def page_at(process: Process, addr: int) -> Page:
    """The page that maps ``addr``."""
    mm = process._task.mm
    pte = mm.system.ram.words[pte_lookup(mm, addr)]
    return mm.system.page((pte & mm.system.format.pfn_mask) >> 12)


def family(machine: Machine) -> tuple[Process, Process, int]:
    """A parent with one written page, and its child."""
    parent = machine.spawn()
    area = parent.mmap("1M")
    parent.write(area, b"old")
    return parent, parent.fork(), area


def test_a_child_sees_what_the_parent_wrote_before_and_not_after() -> None:
    with small_machine() as machine:
        parent, child, area = family(machine)
        parent.write(area, b"new")
        assert child.read(area, 3) == b"old"
        assert parent.read(area, 3) == b"new"
        check_machine(machine)


def test_a_page_belongs_to_nobody_alone_after_a_fork() -> None:
    with small_machine() as machine:
        parent, child, area = family(machine)
        page = page_at(parent, area)
        assert page_at(child, area) is page
        assert (page.mapcount, page.refcount) == (2, 2)
        assert not page.flags & PG_anon_exclusive
        check_machine(machine)


def test_the_last_one_who_has_a_page_writes_to_it_without_a_copy() -> None:
    with small_machine() as machine:
        parent, child, area = family(machine)
        page = page_at(parent, area)
        child.write(area, b"x")
        assert page_at(child, area) is not page
        parent.write(area, b"y")
        assert page_at(parent, area) is page
        assert page.flags & PG_anon_exclusive
        check_machine(machine)


def test_every_generation_shares_one_page_until_it_writes() -> None:
    with small_machine() as machine:
        parent = machine.spawn()
        area = parent.mmap("1M")
        parent.write(area, b"a")
        generations = [parent]
        for _ in range(6):
            generations.append(generations[-1].fork())
        page = page_at(parent, area)
        assert page.mapcount == 7
        for number, process in enumerate(generations[1:], 1):
            process.write(area, bytes([number]))
            check_machine(machine)
        assert page.mapcount == 1
        assert [process.read(area, 1)[0] for process in generations[1:]] == [1, 2, 3, 4, 5, 6]
        for process in generations[:-1]:
            process.exit()
            check_machine(machine)
        assert generations[-1].read(area, 1) == b"\x06"


def test_shared_memory_stays_shared() -> None:
    with small_machine() as machine:
        parent = machine.spawn()
        area = parent.mmap("64K", flags=Map.SHARED | Map.ANONYMOUS)
        child = parent.fork()
        child.write(area, b"from the child")
        assert parent.read(area, 14) == b"from the child"
        check_machine(machine)


@pytest.mark.parametrize(("advice", "there"), [(10, False), (18, True)], ids=["DONTFORK", "WIPEONFORK"])
def test_advice_decides_what_a_child_gets(advice: int, there: bool) -> None:
    with small_machine() as machine:
        parent = machine.spawn()
        area = parent.mmap("64K")
        parent.write(area, b"secret")
        parent.madvise(area, "64K", advice)
        child = parent.fork()
        if there:
            assert child.read(area, 6) == bytes(6)
        else:
            with pytest.raises(LinuxError):
                child.munmap(area, 0)
            assert f"{area:x}-" not in child.maps()
        check_machine(machine)


def test_a_child_has_page_tables_for_what_was_copied_only() -> None:
    with small_machine() as machine:
        parent = machine.spawn()
        touched = parent.mmap("4M", addr=0x1000_0000, flags=Map.PRIVATE | Map.ANONYMOUS | Map.FIXED)
        shared = parent.mmap("4M", flags=Map.SHARED | Map.ANONYMOUS)
        parent.touch(touched)
        parent.touch(shared)
        child = parent.fork()
        assert parent._task.mm.pgtables_bytes() == 6 * 4096
        assert child._task.mm.pgtables_bytes() == 3 * 4096


def test_a_fork_without_memory_for_it_leaves_nothing_behind() -> None:
    with small_machine(overcommit_memory=2, overcommit_kbytes=20 << 10) as machine:
        parent = machine.spawn()
        area = parent.mmap("12M", Prot.READ | Prot.WRITE)
        parent.write(area, b"x")
        committed = machine.system.vm_committed_as
        with pytest.raises(LinuxError):
            parent.fork()
        assert machine.system.vm_committed_as == committed
        parent.write(area, b"y")
        check_machine(machine)


def test_explain_names_everybody_who_shares_a_frame() -> None:
    with small_machine() as machine:
        parent, child, area = family(machine)
        text = str(child.explain(area))
        assert f"process {parent.pid} at" in text
        assert f"process {child.pid} at" in text


def test_a_fork_that_finds_no_frame_for_a_table_gives_everything_back() -> None:
    with small_machine() as machine:
        parent = machine.spawn()
        area = parent.mmap("16G", flags=Map.PRIVATE | Map.ANONYMOUS | Map.NORESERVE)
        with pytest.raises(OutOfMemory):
            for addr in range(area, area + (16 << 30), 2 << 20):  # a table for each page
                parent.write(addr, b"x")
        parent.munmap(area, "512M")
        machine.system.node.drain_all_pages()
        free = machine.system.node.nr_free_pages()
        with pytest.raises(LinuxError, match="ENOMEM"):
            parent.fork()
        machine.system.node.drain_all_pages()
        assert machine.system.node.nr_free_pages() == free
        check_machine(machine)
