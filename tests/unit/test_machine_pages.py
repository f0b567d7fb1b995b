"""Machines whose pages are not of 4 KiB: what counts in pages counts in the machine's own, and bytes stay bytes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pagewalk import LinuxError, Machine, Map, Process, Prot, SegmentationFault
from pagewalk.check import check_machine
from pagewalk.fs.procfs.task_mmu import pagemap_words, statm_text, task_mem
from pagewalk.hw.walker import PEEK, walk

SIZES = {"4K": 4 << 10, "16K": 16 << 10, "64K": 64 << 10}
MADV_DONTNEED = 4


@pytest.fixture(params=list(SIZES))
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with Machine(arch="arm64", granule=request.param, ram="256M", aslr=False) as made:
        yield made
        check_machine(made)


@pytest.fixture
def process(machine: Machine) -> Process:
    return machine.spawn()


def page_of(machine: Machine) -> int:
    return SIZES[f"{int(machine.config.granule) >> 10}K"]


def kb(text: str, label: str) -> int:
    """The number behind a label of a text of /proc."""
    return next(int(line.split()[1]) for line in text.splitlines() if line.split()[0] == label)


def test_lengths_are_rounded_up_to_pages_and_addresses_must_be_whole_ones(machine: Machine, process: Process) -> None:
    page = page_of(machine)
    addr = process.mmap(page + 1)
    assert addr % page == 0
    first = process.maps().splitlines()[0].split()[0]
    assert first == f"{addr:08x}-{addr + 2 * page:08x}"
    for call in (
        lambda: process.munmap(addr + page // 2, page),
        lambda: process.mprotect(addr + page // 2, page, Prot.READ),
        lambda: process.mremap(addr + page // 2, page, 2 * page),
        lambda: process.madvise(addr + page // 2, page, MADV_DONTNEED),
        lambda: process.mincore(addr + page // 2, page),
        lambda: process.mmap(page, addr=addr + page // 2, flags=Map.PRIVATE | Map.ANONYMOUS | Map.FIXED),
    ):
        with pytest.raises(LinuxError, match="EINVAL"):
            call()
    process.munmap(addr, 1)
    with pytest.raises(SegmentationFault):
        process.read(addr + page - 1, 1)
    assert process.read(addr + page, 1) == b"\0"


def test_one_touch_makes_one_page_resident(machine: Machine, process: Process) -> None:
    page = page_of(machine)
    addr = process.mmap(64 * page)
    process.touch(addr, 64 * page)
    assert process.minor_faults == 64
    assert process.rss == {"anon": 64 * page, "file": 0, "shmem": 0}
    assert process.mincore(addr, 64 * page) == [True] * 64
    ram, fmt = machine.system.ram, machine.system.format
    frames = {walk(ram, fmt, int(process._task.mm.pgd_pfn), addr + at * page, PEEK).pfn for at in range(64)}
    assert len(frames) == 64


def test_the_texts_of_proc_are_in_the_machines_pages(machine: Machine, process: Process) -> None:
    page = page_of(machine)
    addr = process.mmap(8 * page)
    process.touch(addr, 3 * page)
    smaps = process.smaps()
    assert kb(smaps, "KernelPageSize:") == kb(smaps, "MMUPageSize:") == page >> 10
    assert kb(smaps, "Size:") == 8 * page >> 10
    assert (
        kb(smaps, "Rss:")
        == kb(smaps, "Pss:")
        == kb(smaps, "Anonymous:")
        == kb(smaps, "Private_Dirty:")
        == 3 * page >> 10
    )
    status = task_mem(process._task.mm)
    assert kb(status, "VmRSS:") == 3 * page >> 10
    assert kb(status, "VmSize:") == 8 * page >> 10
    assert statm_text(process._task.mm).split()[:2] == ["8", "3"]
    words = pagemap_words(process._task.mm, addr // page, 8, True)
    present = [word[7] >> 7 for word in (words[at : at + 8] for at in range(0, 64, 8))]
    assert present == [1, 1, 1, 0, 0, 0, 0, 0]
    meminfo = machine.meminfo()
    free = machine.system.node.nr_free_pages() * page >> 10
    assert kb(meminfo, "MemFree:") == free
    assert (200 << 10) < kb(meminfo, "MemTotal:") < 256 << 10
    assert kb(meminfo, "AnonPages:") == 3 * page >> 10
    blocks = [[int(word) for word in line.split()[4:]] for line in machine.buddyinfo().splitlines()]
    listed = sum(count << order for counts in blocks for order, count in enumerate(counts))
    assert listed * page >> 10 == free


def test_a_shared_page_counts_for_its_part(machine: Machine, process: Process) -> None:
    page = page_of(machine)
    addr = process.mmap(4 * page)
    process.touch(addr, 4 * page)
    child = process.fork()
    assert kb(child.smaps(), "Pss:") == 2 * page >> 10
    child.write(addr + page, b"mine")
    assert kb(child.smaps(), "Pss:") == (3 * page // 2 + page) >> 10
    assert process.read(addr + page, 4) == bytes(4)
    explained = str(child.explain(addr + page + 5))
    assert "anonymous" in explained and "mapcount 1" in explained
    frame = child.explain(addr + page).frame
    assert frame is not None and f"at {frame.pfn * page:#x}" in explained


def test_a_file_is_read_in_pages_and_ends_in_zeros(machine: Machine, process: Process, tmp_path: Path) -> None:
    page = page_of(machine)
    data = bytes(at % 251 for at in range(200_000))
    file = tmp_path / "data"
    file.write_bytes(data)
    machine.namespace.show(str(file))
    addr = process.mmap(len(data), Prot.READ, Map.PRIVATE, path=str(file))
    pages = -(-len(data) // page)
    assert process.read(addr, len(data)) == data
    assert process.read(addr + len(data), pages * page - len(data)) == bytes(pages * page - len(data))
    assert process.rss["file"] == pages * page
    around = max(65536 // page, 1)  # fault_around_bytes
    assert process.minor_faults + process.major_faults == -(-pages // around)
    assert process.mmap(page, Prot.READ, Map.PRIVATE, path=str(file), offset=page) % page == 0
    with pytest.raises(LinuxError, match="EINVAL"):
        process.mmap(page, Prot.READ, Map.PRIVATE, path=str(file), offset=page // 2)


def test_a_written_file_comes_back_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"." * 100_000)
    for text, page in SIZES.items():
        with Machine(arch="arm64", granule=text, ram="64M", rw=[str(tmp_path)]) as machine:
            process = machine.spawn()
            addr = process.mmap(100_000, Prot.READ | Prot.WRITE, Map.SHARED, path=str(file))
            process.write(addr + page - 2, text.encode())
            process.write(addr + 99_990, text.encode())
            process.munmap(addr, 100_000)
            process.exit()
        data = file.read_bytes()
        assert len(data) == 100_000
        assert data[page - 2 : page - 2 + len(text)] == text.encode()
        assert data[99_990 : 99_990 + len(text)] == text.encode()


def test_the_heap_grows_by_pages(machine: Machine, process: Process) -> None:
    page = page_of(machine)
    start = process.brk()
    assert process.brk(start + 1) == start + 1
    process.write(start, b"heap")
    assert process.rss["anon"] == page
    process.touch(start, 1)
    assert process.brk(start + 3 * page) == start + 3 * page
    process.touch(start, 3 * page)
    assert process.rss["anon"] == 3 * page
    assert process.brk(start) == start
    assert process.rss["anon"] == 0


def test_a_stack_keeps_256_pages_below_it_free(machine: Machine, process: Process) -> None:
    page = page_of(machine)
    flags = Map.PRIVATE | Map.ANONYMOUS | Map.FIXED
    stack = 0x4000_0000
    process.mmap(page, addr=stack, flags=flags | Map.GROWSDOWN)
    process.mmap(page, addr=stack - 259 * page, flags=flags)
    process.write(stack - page, b"x")  # grows: 257 pages are left
    process.write(stack - 2 * page, b"x")
    with pytest.raises(SegmentationFault):
        process.write(stack - 3 * page, b"x")


def test_huge_mappings_lie_on_what_a_last_level_table_maps(machine: Machine, process: Process) -> None:
    huge = int(machine.system.format.pmd_size)
    assert huge == {4096: 2 << 20, 16384: 32 << 20, 65536: 512 << 20}[page_of(machine)]
    process.mmap(page_of(machine))
    reserve_nothing = Map.PRIVATE | Map.ANONYMOUS | Map.NORESERVE
    assert process.mmap(huge, flags=reserve_nothing) % huge == 0


def test_page_tables_are_as_large_as_pages(machine: Machine, process: Process) -> None:
    page = page_of(machine)
    addr = process.mmap(page)
    process.touch(addr)
    levels = len(machine.system.format.levels)
    assert kb(task_mem(process._task.mm), "VmPTE:") == (levels - 1) * page >> 10


def test_locked_memory_is_counted_in_pages() -> None:
    with Machine(arch="arm64", granule="64K", ram="64M", rlimits={"MEMLOCK": (256 << 10, 256 << 10)}) as machine:
        process = machine.spawn()
        addr = process.mmap(1 << 20)
        process.mlock(addr + 5, 1)
        assert process.rss["anon"] == 64 << 10
        assert kb(task_mem(process._task.mm), "VmLck:") == 64
        process.mlock(addr, 256 << 10)
        if not machine.system.current.capable:
            with pytest.raises(LinuxError, match="ENOMEM"):
                process.mlock(addr, 257 << 10)


@pytest.mark.parametrize(("granule", "largest", "block"), [("4K", 10, 9), ("16K", 11, 11), ("64K", 13, 13)])
def test_free_blocks_of_arm64_reach_the_order_of_its_page_size(granule: str, largest: int, block: int) -> None:
    with Machine(arch="arm64", granule=granule, ram="4G") as machine:
        zones = [line.split()[4:] for line in machine.buddyinfo().splitlines()]
        assert {len(counts) for counts in zones} == {largest + 1}
        assert sum(int(counts[-1]) for counts in zones) > 0
        assert int(machine.system.mem_map.block_order) == block
        p = machine.spawn()
        addr = p.mmap("8M")
        p.touch(addr, "8M")
        check_machine(machine)
        p.exit()
        check_machine(machine)
        node = machine.system.node
        page = node.alloc_pages(0, largest)
        assert page is not None and page.pfn % (1 << largest) == 0
