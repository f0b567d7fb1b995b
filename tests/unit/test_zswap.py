"""zswap: what is kept compressed, what comes back, what is written out when the pool is full, and who pays for it."""

from collections.abc import Iterator

import pytest
from mm_rig import PAGE

from pagewalk import ConfigError, Machine, Process
from pagewalk.check import check_machine
from pagewalk.mm.vmscan import reclaim_pages, try_to_free_memory

MB = 1 << 20


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(ram="64M", swap="64M", zswap=True, zswap_ratio=4.0, aslr=False, overcommit_memory=1) as machine:
        yield machine
        check_machine(machine)


def fill(process: Process, pages: int) -> int:
    """An area of so many pages, each with its number and something else in it."""
    at = process.mmap(pages * PAGE)
    for page in range(pages):
        process.write(at + page * PAGE, b"%07d." % page + bytes([page % 251 + 1]) * 64)
    return at


def holds(process: Process, at: int, pages: int) -> bool:
    return all(process.read(at + page * PAGE, 8) == b"%07d." % page for page in range(pages))


def out(machine: Machine, process: Process, at: int, pages: int) -> None:
    """Sends pages to swap."""
    process.madvise(at, pages * PAGE, 21)  # MADV_PAGEOUT


def figures(machine: Machine) -> dict[str, int]:
    vmstat = dict(line.split() for line in machine.vmstat().splitlines())
    return {
        name: int(vmstat[name]) for name in ("zswpin", "zswpout", "zswpwb", "pswpin", "pswpout", "pgpgin", "pgpgout")
    }


def kb(machine: Machine, field: str) -> int:
    return int(next(line for line in machine.meminfo().splitlines() if line.startswith(field + ":")).split()[1])


def test_pages_go_to_the_pool_and_come_back_without_io(machine: Machine) -> None:
    process = machine.spawn()
    at = fill(process, 400)
    before = figures(machine)
    out(machine, process, at, 400)
    now = figures(machine)
    assert now["zswpout"] - before["zswpout"] == 400
    assert now["pswpout"] == before["pswpout"] and now["pgpgout"] == before["pgpgout"]
    assert (kb(machine, "Zswap"), kb(machine, "Zswapped")) == (400, 1600)
    assert kb(machine, "SwapTotal") - kb(machine, "SwapFree") == 1600  # each has a slot as well
    check_machine(machine)
    assert holds(process, at, 400)
    now = figures(machine)
    assert now["zswpin"] == 400
    assert now["pswpin"] == 0
    assert (kb(machine, "Zswap"), kb(machine, "Zswapped")) == (0, 0)  # what comes back leaves the pool
    assert process._task.maj_flt > 0


def test_zeros_leave_a_mark_and_need_no_room(machine: Machine) -> None:
    process = machine.spawn()
    at = process.mmap(100 * PAGE)
    process.touch(at, 100 * PAGE)
    out(machine, process, at, 100)
    assert figures(machine)["zswpout"] == 0
    assert machine.system.vmstat.swpout_zero == 100
    assert process.read(at, 8) == bytes(8)


def test_a_page_that_goes_takes_its_room_with_it(machine: Machine) -> None:
    process = machine.spawn()
    at = fill(process, 64)
    out(machine, process, at, 64)
    process.munmap(at, 32 * PAGE)
    assert kb(machine, "Zswapped") == 128
    process.exit()
    assert kb(machine, "Zswapped") == kb(machine, "Zswap") == 0
    assert not machine.system.zswap.entries


def test_a_full_pool_writes_the_oldest_out_and_passes_pages_by_meanwhile(machine: Machine) -> None:
    zswap = machine.system.zswap
    zswap.max_pool_percent = 1  # of about 12,000 pages
    process = machine.spawn()
    room = zswap.max_pages() * 4
    at = fill(process, room + 600)
    out(machine, process, at, room + 600)
    told = figures(machine)
    assert told["pswpout"] > 0
    assert told["zswpwb"] == zswap.written_back_pages > 0
    assert told["pswpout"] >= told["zswpwb"]
    assert told["pgpgout"] >= 4 * told["pswpout"]
    assert zswap.pool.nr_pages <= zswap.max_pages()
    assert zswap.pool_limit_hit > 0
    oldest = next(iter(zswap.lru[0]))
    assert oldest > 1 + told["zswpwb"] // 2  # the first slots are on the device
    check_machine(machine)
    assert holds(process, at, room + 600)


def test_a_page_is_passed_over_once(machine: Machine) -> None:
    zswap = machine.system.zswap
    process = machine.spawn()
    out(machine, process, fill(process, 4), 4)
    root = machine.system.memcg.root
    assert [zswap.shrink_group(root) for _ in range(4)] == [1, 1, 1, 1]
    assert [zswap.shrink_group(root) for _ in range(5)] == [0, 0, 0, 0, -1]
    assert figures(machine)["zswpwb"] == 4
    assert zswap.pool.nr_pages == 0


def test_turned_off_it_takes_nothing_and_still_gives(machine: Machine) -> None:
    process = machine.spawn()
    at = fill(process, 50)
    out(machine, process, at, 50)
    machine.system.zswap.enabled = False
    other = fill(process, 50)
    out(machine, process, other, 50)
    assert figures(machine)["zswpout"] == 50
    assert figures(machine)["pswpout"] == 50
    assert holds(process, at, 50) and holds(process, other, 50)


def test_what_does_not_compress_is_kept_as_it_is() -> None:
    with Machine(ram="64M", swap="64M", zswap=True, zswap_ratio=1, aslr=False) as machine:
        process = machine.spawn()
        at = fill(process, 20)
        out(machine, process, at, 20)
        assert (kb(machine, "Zswap"), kb(machine, "Zswapped")) == (80, 80)
        assert holds(process, at, 20)


def test_groups_pay_for_what_they_have_in_the_pool(machine: Machine) -> None:
    top = machine.cgroup("top")
    group = top.cgroup("group", memory_max="2M")
    process = machine.spawn()
    group.add(process)
    at = fill(process, 1200)
    assert top.stat["zswap"] == group.stat["zswap"] > 0
    assert group.stat["zswapped"] == top.stat["zswapped"] == len(machine.system.zswap.entries) * PAGE
    assert group.stat["zswpout"] > 0
    assert group.stat["kernel"] >= group.stat["zswap"]
    assert group.current <= 2 * MB
    assert group.events["oom_kill"] == 0
    assert holds(process, at, 1200)
    check_machine(machine)
    process.exit()
    assert group.stat["zswap"] == group.stat["zswapped"] == 0


def test_zswap_max_sends_the_oldest_on(machine: Machine) -> None:
    group = machine.cgroup("g", zswap_max="64K")
    process = machine.spawn()
    group.add(process)
    at = fill(process, 200)
    out(machine, process, at, 200)
    assert group.stat["zswap"] <= 64 * 1024 + PAGE
    assert group.stat["zswpwb"] + group.stat["pswpout"] > 0
    other = machine.spawn()
    out(machine, other, fill(other, 200), 200)
    assert len(machine.system.zswap.lru[0]) == 200  # nobody else is held back
    assert holds(process, at, 200)


def test_zswap_max_of_nothing_goes_to_the_device(machine: Machine) -> None:
    group = machine.cgroup("g", zswap_max=0)
    process = machine.spawn()
    group.add(process)
    out(machine, process, fill(process, 40), 40)
    assert figures(machine)["zswpout"] == 0
    assert group.stat["pswpout"] == 40


def test_without_writeback_what_the_pool_refuses_stays_in_memory(machine: Machine) -> None:
    group = machine.cgroup("g", zswap_max=0)
    group.set(zswap_writeback=False)
    process = machine.spawn()
    group.add(process)
    at = fill(process, 40)
    out(machine, process, at, 40)
    assert sum(process.mincore(at, 40 * PAGE)) == 40
    assert figures(machine)["pswpout"] == 0


def test_a_removed_group_s_pages_stay_and_are_written_out_for_its_parent(machine: Machine) -> None:
    group = machine.cgroup("g")
    process = machine.spawn()
    group.add(process)
    at = fill(process, 30)
    out(machine, process, at, 30)
    root = machine.system.memcg.root
    process._task.memcg = 0
    machine.system.memcg.remove(group._group)
    zswap = machine.system.zswap
    assert [zswap.shrink_group(root) for _ in range(31)] == [1] * 30 + [0]
    assert holds(process, at, 30)
    check_machine(machine)
    process.exit()


def test_the_shrinker_writes_out_when_memory_is_short() -> None:
    written = []
    for shrinker in (False, True):
        with Machine(
            ram="64M", swap="128M", zswap=True, zswap_shrinker=shrinker, zswap_max_pool_percent=50, aslr=False
        ) as machine:
            process = machine.spawn()
            pages = int(machine.system.totalram_pages) * 13 // 10
            at = fill(process, pages)
            assert holds(process, at, pages)
            check_machine(machine)
            written.append(figures(machine)["zswpwb"])
    assert written[0] == 0 < written[1]


def test_it_stands_before_a_compressed_device_too() -> None:
    with Machine(ram="64M", zram="32M", zswap=True, zswap_max_pool_percent=1, aslr=False) as machine:
        process = machine.spawn()
        at = fill(process, 2000)
        out(machine, process, at, 2000)
        told = figures(machine)
        assert told["zswpout"] > 300 and told["pswpout"] > 300
        area = machine.system.swap.areas[0]
        assert area is not None
        assert len(area.stored_at) == told["pswpout"]
        assert holds(process, at, 2000)
        check_machine(machine)


def test_swapoff_brings_everything_back(machine: Machine) -> None:
    from pagewalk.mm.swapon import swapoff

    process = machine.spawn()
    at = fill(process, 300)
    out(machine, process, at, 300)
    assert swapoff(machine.system, "/dev/vda") == 0
    assert not machine.system.zswap.entries and machine.system.zswap.pool.nr_pages == 0
    assert holds(process, at, 300)


SHELL = """
cd /sys/module/zswap/parameters
ls; cat *
echo 1 > enabled; echo zstd > compressor; echo 7 > max_pool_percent; echo 0x10 > accept_threshold_percent
echo on > shrinker_enabled
cat *
for bad in maybe o 2; do printf $bad > enabled; done
echo nonesuch > compressor; echo x > max_pool_percent; printf 99999999999 > max_pool_percent
cat enabled
"""


def test_the_parameters_are_files(capfd: pytest.CaptureFixture[str]) -> None:
    with Machine(ram="256M") as machine:
        assert machine.run(["/bin/sh", "-c", SHELL]).status == 0
        assert (machine.system.zswap.enabled, machine.system.zswap.max_pool_percent) == (True, 7)
    told = capfd.readouterr()
    names = ["accept_threshold_percent", "compressor", "enabled", "max_pool_percent", "shrinker_enabled"]
    assert told.out.split() == [*names, "90", "lzo", "N", "20", "N", "16", "zstd", "Y", "7", "Y", "Y"]
    assert told.err.count("I/O error") == 6


def test_the_machine_s_settings_are_checked() -> None:
    for settings, complaint in (
        ({"zswap_ratio": 0.5}, "zswap_ratio: expected 1 to 1000, got 0.5"),
        ({"zswap_ratio": True}, "zswap_ratio: expected 1 to 1000, got True"),
        ({"zswap_compressor": "rar"}, "zswap_compressor: expected one of lzo, .*, got 'rar'"),
        ({"zswap_max_pool_percent": 101}, "zswap_max_pool_percent: expected 0 to 100, got 101"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            Machine(**settings)  # type: ignore[arg-type]


def test_reclaim_of_the_machine_fills_the_pool(machine: Machine) -> None:
    process = machine.spawn()
    fill(process, 2000)
    try_to_free_memory(machine.system, 500)
    assert try_to_free_memory(machine.system, 500) >= 500
    assert figures(machine)["zswpout"] >= 500
    assert reclaim_pages(machine.system, []) == 0
