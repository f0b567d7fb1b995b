"""Slabs of the kernel's own objects: their geometry, and that no program leaves an object behind."""

import os
from pathlib import Path

import pytest
from mm_rig import PAGE, RW, small_machine

from pagewalk import Machine
from pagewalk.check import Broken, check_machine
from pagewalk.mm.slab import calculate_order

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("size", "objects", "pages"),
    [(5888, 5, 8), (2112, 15, 8), (1152, 14, 4), (1600, 20, 8), (704, 23, 4), (192, 21, 1), (64, 64, 1), (104, 39, 1),
     (4096, 8, 8), (584, 14, 2), (696, 23, 4), (8, 512, 1)],
)  # fmt: skip
def test_a_slab_has_the_order_that_two_cpus_give_it(size: int, objects: int, pages: int) -> None:
    order = calculate_order(size, 2)
    assert (1 << order, (4096 << order) // size) == (pages, objects)


def test_an_object_larger_than_eight_pages_has_a_slab_of_its_own() -> None:
    assert calculate_order(40000, 1) == 4


@pytest.mark.linux
def test_every_cache_of_this_kernel_has_the_order_that_the_rule_gives() -> None:
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()[2:]
    except OSError:
        pytest.skip("/proc/slabinfo cannot be read")
    wrong = []
    for line in lines:
        size, objects, pages = line.split()[3:6]
        order = calculate_order(int(size), os.cpu_count() or 1)
        if (1 << order, (4096 << order) // int(size)) != (int(pages), int(objects)):
            wrong.append(line)
    assert len(lines) > 50
    assert wrong == []


def test_mappings_take_slabs_and_give_them_back() -> None:
    with small_machine(ram="128M") as machine:
        process = machine.spawn()
        cache = machine.system.slab.vm_area_struct
        before = machine.system.slab.counts()
        places = [process.mmap(PAGE, RW, addr=0x1000_0000 + part * 2 * PAGE) for part in range(500)]
        assert cache.active == before["vm_area_struct"] + 500
        assert cache.nr_pages() >= 500 // 21
        slab = machine.system.slab
        assert f"SUnreclaim:     {(slab.nr_pages() - slab.nr_reclaimable()) * 4:8d} kB\n" in machine.meminfo()
        assert f"KReclaimable:   {slab.nr_reclaimable() * 4:8d} kB\n" in machine.meminfo()
        for place in places:
            process.munmap(place, PAGE)
        assert machine.system.slab.counts() == before
        assert cache.nr_pages() <= 6


def test_fork_and_exit_leave_no_object_behind() -> None:
    with small_machine(ram="64M") as machine:
        process = machine.spawn()
        at = process.mmap(PAGE * 64, RW)
        process.touch(at, PAGE * 64)
        before = machine.system.slab.counts()
        family = [process.fork() for _ in range(5)]
        grandchildren = [child.fork() for child in family]
        assert machine.system.slab.counts()["task_struct"] == before["task_struct"] + 10
        for child in family + grandchildren:
            child.write(at, b"mine")
        check_machine(machine)
        for child in family + grandchildren:
            child.exit()
        assert machine.system.slab.counts() == before


def test_a_program_leaves_no_object_behind() -> None:
    with Machine(ram="512M", aslr=False) as machine:
        before = machine.system.slab.counts()
        for script in ("true", "echo a | cat | wc -c; (exit 3) & wait", "for i in 1 2 3; do /bin/true; done"):
            machine.run(["/bin/sh", "-c", script])
            check_machine(machine)
            assert machine.system.slab.counts() == before
        mounted = {name: count for name, count in before.items() if count}
        assert set(mounted) <= {"dentry", "inode_cache", "ext4_inode_cache", "shmem_inode_cache", "proc_inode_cache"}


def test_open_files_have_objects_until_they_are_closed() -> None:
    with small_machine(ram="128M") as machine:
        process = machine.spawn()
        slab = machine.system.slab
        before = slab.counts()
        shared = process.mmap(PAGE, RW, 0x21)  # MAP_SHARED | MAP_ANONYMOUS
        after = slab.counts()
        assert [after[name] - before[name] for name in ("filp", "dentry", "shmem_inode_cache")] == [1, 1, 1]
        process.munmap(shared, PAGE)
        assert slab.counts() == before
        files = [process.mmap(PAGE, 1, 2, path=__file__) for _ in range(30)]
        after = slab.counts()
        assert after["filp"] == before["filp"] + 30
        assert after["ext4_inode_cache"] <= before["ext4_inode_cache"] + len(Path(__file__).parents)
        assert after["ext4_inode_cache"] > before["ext4_inode_cache"]
        assert after["dentry"] > before["dentry"]
        assert slab.filp.nr_pages() >= 2
        for at in files:
            process.munmap(at, PAGE)
        assert slab.counts() == before


@pytest.mark.parametrize(
    ("arch", "granule", "size"), [("x86_64", "4K", 16), ("x86_pae", "4K", 8), ("arm64", "64K", 64)]
)
def test_a_task_has_a_kernel_stack_in_frames(arch: str, granule: str, size: int) -> None:
    with small_machine(ram="512M", arch=arch, granule=granule) as machine:
        before = machine.system.node.nr_free_pages()
        first = machine.spawn()
        assert f"KernelStack:    {size:8d} kB\n" in machine.meminfo()
        second = first.fork()
        assert f"KernelStack:    {2 * size:8d} kB\n" in machine.meminfo()
        assert f"VmallocUsed:    {2 * size:8d} kB\n" in machine.meminfo()
        assert len(machine.system.stacks.frames) == 2 * size * 1024 // int(machine.system.page_size)
        second.exit()
        first.exit()
        assert machine.system.stacks.frames == []
        assert machine.system.node.nr_free_pages() <= before


def test_a_leaked_object_is_found() -> None:
    with Machine(ram="64M") as machine:
        machine.spawn()
        machine.system.slab.task_struct.alloc()
        with pytest.raises(Broken, match="task_struct: 2, found 1"):
            check_machine(machine)
        machine.system.slab.task_struct.free()
        machine.system.slab.anon_vma.alloc()
        with pytest.raises(Broken, match="slab objects equal a recount"):
            check_machine(machine)


def test_slabinfo_has_a_line_for_each_cache() -> None:
    with Machine(ram="64M", cpus=2) as machine:
        machine.spawn()
        lines = machine.system.slab.slabinfo().splitlines()
        row = next(line for line in lines if line.startswith("task_struct "))
        assert row.split()[1:6] == ["1", "5", "6528", "5", "8"]
