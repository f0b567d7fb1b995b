"""The kernel's half of the address space: direct map, vmalloc, ioremap, kmap, and how processes share it."""

import pytest
from greenlet import getcurrent, greenlet

from pagewalk import Machine
from pagewalk.errors import NotModelled, PagewalkError
from pagewalk.kernel.task import TASK_UNINTERRUPTIBLE, Task
from pagewalk.mm.highmem import KM_MAX_IDX

PAE = {"arch": "x86_pae", "ram": "2G"}
TWO_LEVELS = {"arch": "x86_32", "ram": "2G"}
ALL = [{}, {"levels": 5}, {"kaslr": True}, PAE, TWO_LEVELS, {**PAE, "vmsplit": "2G"}, {**TWO_LEVELS, "vmsplit": "1G"}]
NARROW = [PAE, TWO_LEVELS]

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("settings", ALL)
def test_the_direct_map_reaches_all_of_low_memory_and_nothing_else(settings: dict[str, object]) -> None:
    system = Machine(**settings).system
    init_mm = system.init_mm
    assert init_mm is not None
    low = init_mm.areas.max_low_pfn
    for start, end in system.ranges():
        for pfn in {start, (start + end) // 2, end - 1}:
            addr = init_mm.areas.page_offset + (pfn << 12) + 0x123
            if pfn < low:
                assert init_mm.translate(addr) == (pfn << 12) + 0x123
            else:
                assert init_mm.translate(addr & (1 << 64) - 1) != (pfn << 12) + 0x123


def test_lowmem_is_896_mb_less_what_vmalloc_reserves_and_mapped_with_large_pages() -> None:
    system = Machine(**PAE).system
    init_mm = system.init_mm
    assert init_mm is not None
    assert 870 < init_mm.areas.max_low_pfn >> 8 < 896
    assert [name for name, _, _ in init_mm.walk(0xC000_0000 + (512 << 20))] == ["pgd", "pmd"]
    assert [name for name, _, _ in init_mm.walk(0xC000_0000 + 0x1000)] == ["pgd", "pmd", "pte"]


def test_a_gigabyte_of_ram_is_one_entry_on_64_bits() -> None:
    init_mm = Machine(ram="8G").system.init_mm
    assert init_mm is not None
    steps = init_mm.walk(init_mm.areas.page_offset + (5 << 30))
    assert [name for name, _, _ in steps] == ["pgd", "pud"]


@pytest.mark.parametrize("settings", ALL)
def test_user_programs_may_use_no_kernel_page(settings: dict[str, object]) -> None:
    machine = Machine(**settings)
    init_mm = machine.system.init_mm
    assert init_mm is not None
    fmt = machine.system.format
    for addr in (init_mm.areas.page_offset + 0x2000, init_mm.areas.kernel_text, machine.kernel.vmalloc(4096)):
        entry = init_mm.walk(addr)[-1][2]
        assert not fmt.user.test(entry - (1 << 64) if entry >> 63 else entry)


def test_a_tebibyte_has_its_kernel_tables_in_a_few_frames() -> None:
    init_mm = Machine(ram="1T").system.init_mm
    assert init_mm is not None
    assert len(init_mm.boot_pfns) < 120
    assert init_mm.translate(init_mm.areas.page_offset + (1 << 39)) == 1 << 39
    last_section = init_mm.areas.vmemmap + ((1 << 39 >> 12) << 6)
    assert init_mm.translate(last_section) >= 0


def test_kaslr_moves_the_areas_by_gigabytes_and_keeps_their_order() -> None:
    plain, moved = (Machine(kaslr=kaslr, seed=7).system.init_mm for kaslr in (False, True))
    assert plain is not None and moved is not None
    a, b = plain.areas, moved.areas
    assert (a.page_offset, a.vmalloc_start, a.vmemmap) != (b.page_offset, b.vmalloc_start, b.vmemmap)
    assert b.page_offset + (1 << 32) <= b.vmalloc_start and b.vmalloc_end <= b.vmemmap
    assert b.vmemmap + (1 << 40) <= b.cpu_entry_area
    assert not (b.page_offset | b.vmalloc_start | b.vmemmap) % (1 << 30)
    assert b.kernel_text % (2 << 20) == 0
    assert moved.translate(b.kernel_text) == plain.translate(a.kernel_text) == 16 << 20


@pytest.mark.parametrize("settings", ALL)
def test_vmalloc_is_contiguous_memory_with_a_guard_page(settings: dict[str, object]) -> None:
    kernel = Machine(**settings).kernel
    addr = kernel.vmalloc(3 * 4096 + 1, caller="tester")
    kernel.write(addr + 4090, b"across the border of two pages")
    assert kernel.read(addr + 4090, 30) == b"across the border of two pages"
    assert kernel.vmalloc(4096) == addr + 5 * 4096
    with pytest.raises(PagewalkError, match=r"unable to handle kernel paging request at 0x[0-9a-f]+: not-present page"):
        kernel.read(addr + 4 * 4096, 1)
    assert "guard page of vmalloc" in kernel.explain(addr + 4 * 4096)
    assert f"vmalloc {addr:#x}, 4 pages by tester" in kernel.explain(addr)
    kernel.vfree(addr)
    with pytest.raises(PagewalkError, match="not-present page"):
        kernel.read(addr, 1)


def test_freed_addresses_are_used_again_after_a_purge() -> None:
    machine = Machine(ram="1G")
    kernel = machine.kernel
    first = kernel.vmalloc(4096)
    kernel.vfree(first)
    assert kernel.vmalloc(4096) == first + 2 * 4096
    assert "unpurged vm_area" in kernel.vmallocinfo()
    kernel.vfree(kernel.vmalloc(40 << 20))  # more than lazy_max_pages() of one CPU
    assert kernel.vmalloc(4096) == first
    assert machine.system.init_mm is not None and machine.system.init_mm.nr_flushes == 1


def free_frames(machine: Machine) -> int:
    """Of the zones, and of the CPUs' own lists."""
    return machine.system.node.nr_free_pages() + sum(int(zone.pcp.count) for zone in machine.system.zones)


def test_vmalloc_gives_every_frame_back() -> None:
    machine = Machine(**PAE)
    kernel = machine.kernel
    kernel.vfree(kernel.vmalloc(1 << 20))  # its tables stay
    free = free_frames(machine)
    addr = kernel.vmalloc(1 << 20)
    assert free_frames(machine) == free - 256
    kernel.vfree(addr)
    assert free_frames(machine) == free


def test_vmalloc_of_32_bits_takes_high_memory() -> None:
    machine = Machine(**PAE)
    kernel = machine.kernel
    addr = kernel.vmalloc(4096)
    assert kernel.highmem().is_highmem(kernel.translate(addr) >> 12)


def test_vmallocinfo_has_linuxs_lines() -> None:
    kernel = Machine().kernel
    addr = kernel.vmalloc(8192, caller="one+0x10/0x20")
    io = kernel.ioremap(0xFEC0_0000, 0x400, caller="two+0x1/0x2")
    lines = kernel.vmallocinfo().splitlines()
    assert lines == [
        f"0x{addr:016x}-0x{addr + 12288:016x}   12288 one+0x10/0x20 pages=2 vmalloc N0=2",
        f"0x{io:016x}-0x{io + 8192:016x}    8192 two+0x1/0x2 phys=0x00000000fec00000 ioremap",
    ]


@pytest.mark.parametrize("settings", ALL)
def test_ioremap_is_uncached_and_aligned_to_its_size(settings: dict[str, object]) -> None:
    machine = Machine(**settings)
    kernel = machine.kernel
    kernel.vmalloc(4096)
    addr = kernel.ioremap(0xF000_0040, 64 << 10)
    assert addr & 0xFFF == 0x40
    assert addr & 0xF000 == 0
    assert kernel.translate(addr) == 0xF000_0040
    assert "PCD" in kernel.explain(addr)
    with pytest.raises(PagewalkError, match="expected memory, got a device's register at 0xf0000040"):
        kernel.read(addr, 4)
    kernel.iounmap(addr)
    with pytest.raises(PagewalkError, match="RAM, or out of reach"):
        kernel.ioremap(20 << 20, 4096)


def test_modules_have_an_area_of_their_own_on_64_bits() -> None:
    kernel = Machine().kernel
    addr = kernel.module_alloc(8192)
    assert addr == 0xFFFF_FFFF_A000_0000
    kernel.write(addr, b"\xc3")
    assert kernel.read(addr, 1) == b"\xc3"


def test_vmap_shows_pages_next_to_each_other() -> None:
    kernel = Machine(**PAE).kernel
    pages = [kernel.alloc_page(highmem=index & 1 == 0) for index in range(3)]
    addr = kernel.vmap(pages[::-1])
    kernel.write(addr + 2 * 4096, b"the first page")
    first = kernel.kmap(pages[0])
    assert kernel.read(first, 14) == b"the first page"
    kernel.vunmap(addr)
    for page in pages[1:]:
        kernel.free_page(page)


@pytest.mark.parametrize("settings", NARROW)
def test_high_memory_is_reached_through_kmap_only(settings: dict[str, object]) -> None:
    machine = Machine(**settings)
    kernel = machine.kernel
    low, high = kernel.alloc_page(), kernel.alloc_page(highmem=True)
    init_mm = machine.system.init_mm
    assert init_mm is not None
    assert kernel.page_address(low) == kernel.kmap(low) == init_mm.areas.page_offset + (int(low.pfn) << 12)
    assert kernel.page_address(high) == 0
    addr = kernel.kmap(high)
    assert addr == kernel.kmap(high) == kernel.page_address(high)
    kernel.write(addr, b"far up")
    assert bytes(machine.system.ram.bytes[int(high.pfn) << 12 :][:6]) == b"far up"
    assert f"frame {int(high.pfn):#x}, users 2" in kernel.explain(addr)
    kernel.kunmap(high)
    kernel.kunmap(high)
    with pytest.raises(PagewalkError, match="kunmap: expected a page that is mapped"):
        kernel.kunmap(high)
    assert kernel.read(addr, 6) == b"far up"  # the slot is cleared only when the search comes round


@pytest.mark.parametrize(("settings", "slots"), [(PAE, 512), (TWO_LEVELS, 1024)])
def test_kmap_waits_when_all_slots_are_in_use(settings: dict[str, object], slots: int) -> None:
    machine = Machine(**settings)
    kernel = machine.kernel
    pages = [kernel.alloc_page(highmem=True) for _ in range(slots + 1)]
    addresses = {kernel.kmap(page) for page in pages[:slots]}
    assert len(addresses) == slots
    with pytest.raises(BlockingIOError, match=f"kmap: all {slots} slots are in use"):
        kernel.kmap(pages[slots])
    kernel.kunmap(pages[3])
    flushes = kernel.highmem().nr_flushes
    assert kernel.kmap(pages[slots]) in addresses
    assert kernel.highmem().nr_flushes == flushes + 1


@pytest.mark.parametrize("settings", NARROW)
def test_kmap_local_is_a_stack_in_the_fixmap(settings: dict[str, object]) -> None:
    machine = Machine(**settings, cpus=2)
    kernel = machine.kernel
    areas = kernel.highmem().areas
    pages = [kernel.alloc_page(highmem=True) for _ in range(KM_MAX_IDX + 1)]
    first, second = kernel.kmap_local(pages[0]), kernel.kmap_local(pages[1])
    other = kernel.kmap_local(pages[0], cpu=1)
    assert areas.fixaddr_start < other < second < first < areas.fixaddr_top
    kernel.write(first, b"same frame")
    assert kernel.read(other, 10) == b"same frame"
    with pytest.raises(PagewalkError, match="expected the address of CPU 0's last kmap_local"):
        kernel.kunmap_local(first)
    kernel.kunmap_local(second)
    with pytest.raises(PagewalkError, match="not-present page"):
        kernel.read(second, 1)
    for page in pages[1:KM_MAX_IDX]:
        kernel.kmap_local(page)
    with pytest.raises(PagewalkError, match="kmap_local: CPU 0 uses all of its slots"):
        kernel.kmap_local(pages[KM_MAX_IDX])


@pytest.mark.parametrize("settings", [{}, {"levels": 5}, PAE])
def test_processes_share_what_the_kernel_maps_later(settings: dict[str, object]) -> None:
    machine = Machine(**settings)
    process = machine.spawn()
    addr = machine.kernel.vmalloc(4096)
    machine.kernel.write(addr, b"shared")
    assert machine.kernel.read(addr, 6, mm=process._task.mm) == b"shared"
    assert machine.system.init_mm is not None and machine.system.init_mm.nr_synced == 0


def test_with_two_levels_a_new_table_reaches_a_process_when_it_faults() -> None:
    machine = Machine(**TWO_LEVELS)
    kernel, init_mm = machine.kernel, machine.system.init_mm
    assert init_mm is not None
    old = machine.spawn()
    addr = kernel.vmalloc(4096)
    assert init_mm.translate(addr, int(old._task.mm.pgd_pfn)) == -1
    assert kernel.translate(addr, mm=old._task.mm) == kernel.translate(addr)
    assert init_mm.nr_synced == 1
    young = machine.spawn()
    assert kernel.translate(addr, mm=young._task.mm) == kernel.translate(addr)
    assert init_mm.nr_synced == 1


def test_the_lower_half_of_a_new_root_table_is_empty() -> None:
    machine = Machine()
    mm = machine.spawn()._task.mm
    table = machine.system.ram.words[int(mm.pgd_pfn) << 9 : (int(mm.pgd_pfn) + 1) << 9].tolist()
    assert not any(table[:256])
    assert any(table[256:])


@pytest.mark.parametrize(
    ("addr", "expected"),
    [
        (0xFFFF_8880_0123_4567, "direct map of physical 0x1234567"),
        (0xFFFF_EA00_0000_0040, "struct page of frame 0x1 (vmemmap)"),
        (0xFFFF_FFFF_8100_0000, "the kernel's image"),
        (0xFFFF_C900_1234_0000, "vmalloc area, nothing there"),
        (0xFFFF_8000_0000_0000, "no area of the kernel's"),
        (0x40_0000, "no kernel address"),
    ],
)
def test_explain_says_which_area_an_address_is_of(addr: int, expected: str) -> None:
    text = Machine().kernel.explain(addr)
    assert text.splitlines()[0] == f"{addr:#x}: {expected}"
    assert Machine().kernel.explain(addr - (1 << 64) if addr >> 63 else addr) == text


def test_bad_requests_get_one_clear_line() -> None:
    kernel = Machine(ram="64M").kernel
    with pytest.raises(PagewalkError, match=r"^vmalloc of 0 bytes: no room$"):
        kernel.vmalloc(0)
    with pytest.raises(PagewalkError, match=r"^vmalloc of 1073741824 bytes: no room$"):
        kernel.vmalloc(1 << 30)
    with pytest.raises(PagewalkError, match=r"^vfree: expected an address that vmalloc gave, got 0x1234$"):
        kernel.vfree(0x1234)
    with pytest.raises(ValueError, match=r"^a page: expected a frame of RAM, got 0xfffff$"):
        kernel.kmap(0xFFFFF)
    with pytest.raises(PagewalkError, match="permissions violation"):
        machine = Machine()
        from pagewalk.kernel.segment import setup_gdt

        setup_gdt(machine.system)
        machine.kernel.write(0xFFFF_FE00_0000_1000, b"x")
    with pytest.raises(NotModelled, match="the kernel's page table on riscv64"):
        Machine(arch="riscv64").kernel.vmalloc(4096)


def test_tasks_sleep_in_kmap_until_a_slot_falls_free() -> None:
    kernel = Machine(**PAE).kernel
    slots = kernel.highmem().areas.last_pkmap
    pages = [kernel.alloc_page(highmem=True) for _ in range(slots + 2)]
    for page in pages[:slots]:
        kernel.kmap(page)
    got: list[tuple[int, int]] = []
    sched = kernel.sched
    sched.main = getcurrent()
    tasks = [kernel.new_task() for _ in range(3)]
    wanted = [pages[slots], pages[slots], pages[slots + 1]]  # two want the same page

    def body(task: Task) -> None:
        got.append((task.pid, kernel.kmap(wanted[tasks.index(task)], task)))

    for task in tasks:
        task.stack = greenlet(body, sched.main)
        task.stack.switch(task)
    assert got == []
    assert [task.wchan for task in tasks] == ["map_new_virtual"] * 3
    assert [task.state for task in tasks] == [TASK_UNINTERRUPTIBLE] * 3

    def run_those_woken() -> None:
        queue, sched.rqs[0].queue = sched.rqs[0].queue, []
        for task in queue:
            task.on_rq = False
            task.stack.switch(task)

    kernel.kunmap(pages[7])
    run_those_woken()
    assert [pid for pid, _ in got] == [tasks[0].pid, tasks[1].pid]
    assert got[0][1] == got[1][1] == kernel.page_address(pages[slots])
    assert kernel.highmem().pkmap_count[kernel.highmem().slot_of[int(pages[slots].pfn)]] == 3
    assert tasks[2].state == TASK_UNINTERRUPTIBLE
    kernel.kunmap(pages[slots])
    run_those_woken()
    assert len(got) == 2  # the slot has another user yet
    kernel.kunmap(pages[slots])
    run_those_woken()
    assert got[2] == (tasks[2].pid, kernel.page_address(pages[slots + 1]))
    assert kernel.page_address(pages[slots]) == 0  # flushed for the new one
    assert not kernel.pkmap_map_wait.active()
