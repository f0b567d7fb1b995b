"""The same script on every architecture: the answers are the same, the bits in RAM are each one's own."""

from typing import Any

import pytest

from pagewalk import Machine, Map, Prot
from pagewalk.check import check_machine
from pagewalk.errors import ConfigError, NotModelled, SegmentationFault
from pagewalk.hw.walker import (
    FETCH,
    NO_RIGHT,
    NOT_ACCESSED,
    NOT_DIRTY,
    NOT_PRESENT,
    OK,
    PEEK,
    READ,
    RIGHT_WRITE,
    WRITE,
    walk,
)
from pagewalk.mm.fault import FAULT_ACCERR, FAULT_SERVED, do_user_addr_fault

MACHINES: list[dict[str, Any]] = [
    {"arch": "x86_64"},
    {"arch": "x86_64", "levels": 5},
    {"arch": "x86_pae"},
    {"arch": "x86_pae", "vmsplit": "1G/3G"},
    {"arch": "x86_32"},
    {"arch": "x86_32", "vmsplit": "2G/2G"},
    {"arch": "arm64"},
    {"arch": "arm64", "va_bits": 39},
    {"arch": "arm64", "va_bits": 52},
    {"arch": "arm64", "granule": "16K"},
    {"arch": "arm64", "granule": "16K", "va_bits": 36},
    {"arch": "arm64", "granule": "16K", "va_bits": 47},
    {"arch": "arm64", "granule": "16K", "va_bits": 52},
    {"arch": "arm64", "granule": "64K"},
    {"arch": "arm64", "granule": "64K", "va_bits": 42},
    {"arch": "arm64", "granule": "64K", "va_bits": 52},
    {"arch": "riscv64", "levels": 3},
    {"arch": "riscv64"},
    {"arch": "riscv64", "levels": 5},
    {"arch": "riscv32"},
]
every_machine = pytest.mark.parametrize(
    "settings", MACHINES, ids=lambda settings: "-".join(str(value).replace("/", "_") for value in settings.values())
)


def mm_of(process: Any) -> Any:
    return process._task.mm


def hardware(process: Any, addr: int, access: int) -> int:
    """How the hardware's walk for an access ends; the tables are left as they were."""
    mm = mm_of(process)
    ram = mm.system.ram
    looked = walk(ram, mm.system.format, int(mm.pgd_pfn), addr, PEEK)
    ended = walk(ram, mm.system.format, int(mm.pgd_pfn), addr, access).status
    size = 1 << int(mm.system.format.entry_shift)
    for step in looked.steps:
        ram.bytes[step.paddr : step.paddr + size] = (step.entry & (1 << 8 * size) - 1).to_bytes(size, "little")
    return ended


@every_machine
def test_one_script_has_the_same_answers_on_every_architecture(settings: dict[str, Any]) -> None:
    with Machine(ram="256M", aslr=False, **settings) as machine:
        parent = machine.spawn()
        mm = mm_of(parent)
        page = int(machine.system.page_size)
        area = parent.mmap("64M")
        assert area + (64 << 20) <= machine.system.layout.mmap_top
        parent.write(area + 5 * page - 3, b"across pages")
        parent.touch(area + (40 << 20), 64 * page)
        assert parent.read(area + 5 * page - 3, 12) == b"across pages"
        assert parent.read(area + 9 * page, 4) == bytes(4)
        assert mm.get_mm_rss() == 2 + 64
        check_machine(machine)

        child = parent.fork()
        assert child.read(area + 5 * page - 3, 12) == b"across pages"
        child.write(area + 5 * page, b"CHILD")
        assert parent.read(area + 5 * page, 4) == b"oss "
        assert child.read(area + 5 * page, 5) == b"CHILD"
        assert [mm_of(child).faults.cow, mm.faults.cow] == [1, 0]
        parent.write(area + 5 * page, b"PARENT")
        assert mm.faults.reuse == 1
        check_machine(machine)

        parent.mprotect(area, 256 * page, Prot.READ)
        with pytest.raises(SegmentationFault, match="SEGV_ACCERR"):
            parent.write(area + 5 * page, b"x")
        assert parent.read(area + 5 * page, 6) == b"PARENT"
        parent.mprotect(area, 256 * page, Prot.NONE)
        with pytest.raises(SegmentationFault, match="SEGV_ACCERR"):
            parent.read(area + 5 * page, 1)
        assert "keeps frame" in str(parent.explain(area + 5 * page))
        parent.mprotect(area, 256 * page, Prot.READ | Prot.WRITE)
        assert parent.read(area + 5 * page, 6) == b"PARENT"
        check_machine(machine)

        moved = parent.mremap(area + (40 << 20), 64 * page, 128 * page)
        parent.touch(moved, 128 * page)
        assert mm.get_mm_rss() == 2 + 128
        parent.madvise(area, 256 * page, 4)  # MADV_DONTNEED
        assert parent.read(area + 5 * page, 4) == bytes(4)
        check_machine(machine)

        parent.munmap(area, "64M")
        with pytest.raises(SegmentationFault, match="SEGV_MAPERR"):
            parent.read(area, 1)
        shared = parent.mmap("1M", Prot.READ | Prot.WRITE, Map.SHARED | Map.ANONYMOUS)
        parent.write(shared, b"seen by both")
        other = parent.fork()
        other.write(shared + 4, b" BY ")
        assert parent.read(shared, 12) == b"seen BY both"
        check_machine(machine)


@every_machine
def test_the_hardware_grants_what_the_kernel_meant(settings: dict[str, Any]) -> None:
    marks = (OK, NOT_ACCESSED, NOT_DIRTY)  # what an access may need beyond the rights
    with Machine(ram="64M", **settings) as machine:
        process = machine.spawn()
        area = process.mmap("1M")
        assert hardware(process, area, READ) == NOT_PRESENT
        process.read(area, 1)
        assert hardware(process, area, READ) in marks
        assert hardware(process, area, WRITE) == NO_RIGHT  # the zero page
        process.write(area, b"x")
        for access in (READ, WRITE):
            assert hardware(process, area, access) == OK
        executable = settings["arch"] == "x86_32"  # no NX
        assert (hardware(process, area, FETCH) == OK) == executable
        child = process.fork()
        for each in (process, child):
            assert hardware(each, area, WRITE) == NO_RIGHT
        child.write(area, b"y")
        assert hardware(child, area, WRITE) == OK
        process.mprotect(area, "1M", Prot.READ | Prot.EXEC)
        assert hardware(process, area, FETCH) in marks
        assert hardware(process, area, WRITE) == NO_RIGHT


@every_machine
def test_explain_shows_the_levels_that_there_are_and_what_is_folded(settings: dict[str, Any]) -> None:
    with Machine(ram="64M", **settings) as machine:
        process = machine.spawn()
        addr = process.mmap("1M")
        process.write(addr, b"x")
        found = process.explain(addr)
        fmt = machine.system.format
        assert [step.level for step in found.steps] == [level.name for level in fmt.levels]
        every = [name for step in found.steps for name in (step.level, *step.folded)]
        assert every == ["pgd", "p4d", "pud", "pmd", "pte"]
        for step in found.steps:
            size = 1 << int(fmt.entry_shift)
            raw = machine.system.ram.bytes[step.entry_addr : step.entry_addr + size]
            assert int.from_bytes(raw, "little") == step.entry & (1 << 8 * size) - 1
        assert found.frame is not None
        assert "a read goes ahead; a write goes ahead" in str(found)
        walked = walk(machine.system.ram, fmt, int(mm_of(process).pgd_pfn), addr, PEEK)
        assert (walked.pfn, bool(walked.rights & RIGHT_WRITE)) == (found.frame.pfn, True)


@every_machine
def test_explain_tells_swap_and_guards_from_pages_that_nobody_touched(settings: dict[str, Any]) -> None:
    with Machine(ram="64M", swap="16M", **settings) as machine:
        process = machine.spawn()
        page = int(machine.system.page_size)
        addr = process.mmap(4 * page)
        assert "mapped, not touched yet" in process.explain(addr).reason
        process.write(addr, b"x")
        process.madvise(addr, page, 21)  # MADV_PAGEOUT
        found = process.explain(addr)
        assert found.steps[-1].then.startswith("not present, swap area 0, slot 0x")
        assert found.steps[-1].then.endswith(", exclusive") and found.steps[-1].bits == []
        assert found.reason == "the page is in swap: an access reads it back (a major fault)"
        faults = process.major_faults
        assert process.read(addr, 1) == b"x" and process.major_faults == faults + 1
        process.madvise(addr + page, page, 102)  # MADV_GUARD_INSTALL
        found = process.explain(addr + page)
        assert found.steps[-1].then == "not present, a guard marker"
        assert found.reason == "a guard page (MADV_GUARD_INSTALL): an access raises SIGSEGV (SEGV_MAPERR)"
        with pytest.raises(SegmentationFault, match="SEGV_MAPERR"):
            process.read(addr + page, 1)


@every_machine
def test_a_mapping_to_execute_alone_is_read_where_the_entry_grants_it(settings: dict[str, Any]) -> None:
    """RISC-V has pages of X without R; on the others execution implies reading (arm64: without FEAT_PAN3)."""
    with Machine(ram="64M", **settings) as machine:
        process = machine.spawn()
        page = int(machine.system.page_size)
        addr = process.mmap(2 * page)
        process.touch(addr)
        process.mprotect(addr, 2 * page, Prot.EXEC)
        for at in (addr, addr + page):
            if settings["arch"].startswith("riscv"):
                with pytest.raises(SegmentationFault, match="SEGV_ACCERR"):
                    process.read(at, 1)
            else:
                assert process.read(at, 1) == b"\0"
        found = process.explain(addr).reason
        read = "raises SIGSEGV (SEGV_ACCERR)" if settings["arch"].startswith("riscv") else "goes ahead"
        assert found.startswith(f"a read {read}") and found.endswith("execution: allowed")
        check_machine(machine)


def test_without_nx_the_first_fetch_is_served_as_a_read() -> None:
    for arch, served in (("x86_32", FAULT_SERVED), ("x86_pae", FAULT_ACCERR)):
        with Machine(arch=arch, ram="64M") as machine:
            process = machine.spawn()
            addr = process.mmap("4K", Prot.READ)
            assert do_user_addr_fault(mm_of(process), addr, FETCH) == served


@pytest.mark.parametrize(
    ("arch", "top", "base"),
    [
        ("x86_pae", 0xC000_0000, 0xB800_0000),
        ("arm64", 1 << 48, 0xFFFF_F800_0000),
        ("riscv64", 1 << 47, (1 << 47) - (128 << 20)),
    ],
)
def test_mmap_goes_down_from_where_that_kernel_has_it(arch: str, top: int, base: int) -> None:
    with Machine(arch=arch, ram="64M", aslr=False) as machine:
        process = machine.spawn()
        assert machine.system.layout.task_size == top
        assert process.mmap("4K") == base - 4096


@pytest.mark.parametrize(
    ("settings", "top"),
    [
        ({"arch": "x86_64", "levels": 5}, (1 << 56) - 4096),
        ({"arch": "arm64", "va_bits": 52}, 1 << 52),
        ({"arch": "arm64", "granule": "64K", "va_bits": 52}, 1 << 52),
        ({"arch": "riscv64", "levels": 5}, 1 << 56),
        ({"arch": "x86_64"}, (1 << 47) - 4096),
        ({"arch": "arm64"}, 1 << 48),
    ],
)
def test_a_hint_of_all_ones_asks_for_the_whole_address_space(settings: dict[str, Any], top: int) -> None:
    """Documentation/arch/arm64/memory.rst (mmap(~0UL, ...)), Documentation/arch/x86/x86_64/5level-paging.rst."""
    with Machine(ram="64M", aslr=False, **settings) as machine:
        process = machine.spawn()
        window = int(machine.system.layout.mmap_top)
        below = process.mmap("64K")
        assert below + (64 << 10) <= window
        for hint in ((1 << 64) - 1, 1 << 63, (1 << 64) - (64 << 10)):
            found = process.mmap("64K", addr=hint)
            assert top - (129 << 20) < found < top
            process.write(found, b"high")
            assert process.read(found, 4) == b"high"
        assert process.mmap("64K") < window
        check_machine(machine)


def test_page_tables_are_counted_by_their_levels() -> None:
    """VmPTE: what lies below the root, at most three levels."""
    for arch, tables in (("x86_32", 1), ("x86_pae", 2), ("riscv64", 3), ("arm64", 3)):
        with Machine(arch=arch, ram="64M") as machine:
            process = machine.spawn()
            process.touch(process.mmap("4K"))
            assert mm_of(process).pgtables_bytes() == tables * 4096


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"arch": "vax"}, ConfigError, "expected one of x86_64, x86_32"),
        ({"granule": "64K"}, ConfigError, "x86_64 has pages of 4096 bytes, got 65536"),
        ({"arch": "arm64", "granule": "64K", "ram": (64 << 20) + 4096}, ConfigError, "a multiple of 65536 bytes"),
        ({"arch": "arm64", "granule": "8K"}, ConfigError, "a granule of 4096"),
        ({"arch": "arm64", "va_bits": 50}, ConfigError, "36 to 48"),
        ({"arch": "riscv64", "levels": 2}, ConfigError, "3 .Sv39., 4"),
        ({"arch": "x86_pae", "vmsplit": "2G_OPT"}, ConfigError, "multiple of 0x40000000"),
        ({"arch": "x86_32", "ram": "4G"}, ConfigError, "without PAE reaches 3G"),
        ({"arch": "riscv32", "ram": "16G"}, ConfigError, "at most 15G"),
    ],
)
def test_what_is_not_there_is_said(settings: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Machine(**{"ram": "64M", **settings})


def test_programs_do_not_run_on_riscv() -> None:
    with (
        Machine(arch="riscv64", ram="64M", levels=3) as machine,
        pytest.raises(NotModelled, match="programs on riscv64"),
    ):
        machine.run(["/bin/true"])


@every_machine
def test_a_modelled_tlb_serves_every_architecture(settings: dict[str, Any]) -> None:
    """Entries stay true to the page tables (check_machine) while rights go and come, and a repeat is a hit."""
    arm = settings["arch"] == "arm64"
    with Machine(ram="64M", tlb="cortex-a76" if arm else "zen4", cpus=2, **settings) as machine:
        process = machine.spawn()
        page = int(machine.system.page_size)
        area = process.mmap(32 * page)
        process.touch(area, 32 * page)
        assert machine.tlb is not None
        machine.tlb.reset()
        for _ in range(2):
            for at in range(32):
                assert process.read(area + at * page, 1) == b"\0"
        found = machine.tlb.counters()
        assert found.data.lookups == 64 and sum(found.data.hits) >= 32  # the second round at least
        check_machine(machine)
        child = process.fork()
        child.write(area, b"child")
        process.mprotect(area, 8 * page, Prot.READ)
        check_machine(machine)
        assert (process.read(area, 1), child.read(area, 1)) == (b"\0", b"c")
        process.munmap(area + 4 * page, 4 * page)
        with pytest.raises(SegmentationFault):
            process.read(area + 4 * page, 1)
        check_machine(machine)
        child.exit()
        check_machine(machine)
