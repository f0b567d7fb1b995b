"""Pages that go out to swap and come back, on every architecture: the entry in the table is that format's own."""

from typing import Any

import pytest

from pagewalk import Machine
from pagewalk.check import check_machine
from pagewalk.hw.walker import NOT_PRESENT, PEEK, walk
from pagewalk.mm.pgtable import pte_lookup

MADV_PAGEOUT = 21
MACHINES: list[dict[str, Any]] = [
    {"arch": "x86_64"},
    {"arch": "x86_64", "levels": 5},
    {"arch": "x86_pae"},
    {"arch": "x86_32"},
    {"arch": "arm64"},
    {"arch": "arm64", "va_bits": 52},
    {"arch": "arm64", "granule": "16K"},
    {"arch": "arm64", "granule": "64K"},
    {"arch": "riscv64", "levels": 3},
    {"arch": "riscv64", "levels": 5},
    {"arch": "riscv32"},
]
every_machine = pytest.mark.parametrize(
    "settings", MACHINES, ids=lambda settings: "-".join(str(value) for value in settings.values())
)


@every_machine
def test_pages_that_were_asked_out_come_back_whole(settings: dict[str, Any]) -> None:
    with Machine(ram="256M", swap="64M", aslr=False, **settings) as machine:
        process = machine.spawn()
        mm, fmt, ram = process._task.mm, machine.system.format, machine.system.ram
        page = int(machine.system.page_size)
        addr = process.mmap(32 * page)
        for at in range(32):
            process.write(addr + at * page + at, bytes([at + 1, 255 - at]))
        process.madvise(addr, 32 * page, MADV_PAGEOUT)
        assert process.rss["anon"] == 0
        places = set()
        for at in range(32):
            pte = ram.words[pte_lookup(mm, addr + at * page)]
            assert fmt.is_swap_pte(pte) and fmt.pte_swp_exclusive(pte)
            assert fmt.pte_swp_type(pte) == 0
            places.add(int(fmt.pte_swp_offset(pte)))
            assert walk(ram, fmt, int(mm.pgd_pfn), addr + at * page, PEEK).status == NOT_PRESENT
        assert len(places) == 32 and min(places) >= 1
        check_machine(machine)
        child = process.fork()  # the entries are copied, and belong to nobody alone any more
        assert not fmt.pte_swp_exclusive(ram.words[pte_lookup(child._task.mm, addr)])
        check_machine(machine)
        for who in (process, child):
            for at in range(32):
                assert who.read(addr + at * page + at, 2) == bytes([at + 1, 255 - at])
        child.write(addr, b"child")
        assert process.read(addr, 1) == b"\x01"
        check_machine(machine)
        child.exit()
        process.munmap(addr, 32 * page)
        check_machine(machine)


@every_machine
def test_more_memory_than_there_is_ram_can_be_used(settings: dict[str, Any]) -> None:
    with Machine(ram="96M", swap="96M", aslr=False, overcommit_memory=1, **settings) as machine:
        process = machine.spawn()
        page = int(machine.system.page_size)
        nr = (100 << 20) // page
        addr = process.mmap(nr * page)
        for at in range(nr):
            process.write(addr + at * page, at.to_bytes(4, "little"))
        assert machine.system.vmstat.pswpout > 0
        assert process.rss["anon"] < nr * page
        for at in range(0, nr, 7):
            assert process.read(addr + at * page, 4) == at.to_bytes(4, "little")
        assert machine.system.vmstat.pswpin > 0
        check_machine(machine)


@pytest.mark.parametrize("granule", ["4K", "16K", "64K"])
def test_a_memory_limit_is_in_bytes_whatever_the_page(granule: str) -> None:
    with Machine(arch="arm64", granule=granule, ram="128M", swap="64M", overcommit_memory=1) as machine:
        page = int(machine.system.page_size)
        group = machine.cgroup("small", memory_max="8M")
        process = machine.spawn()
        group.add(process)
        addr = process.mmap("16M")
        process.touch(addr, "16M")
        assert 4 << 20 < group.current <= 8 << 20 and group.current % page == 0
        assert group.peak <= 8 << 20
        assert group.swap_current >= 8 << 20
        assert process.rss["anon"] <= group.current
        check_machine(machine)
