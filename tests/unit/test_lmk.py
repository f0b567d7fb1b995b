"""Android's low memory killers: the driver's levels, lmkd's reasons, and both on a machine."""

import pytest

from pagewalk import Machine, Process
from pagewalk.check import check_machine
from pagewalk.errors import ConfigError, OomKilled
from pagewalk.fs.procfs.lmk_params import parse_numbers
from pagewalk.mm.lmk import NO_KILL, Figures, Lmkd, LowMemoryKiller, PsiTrigger
from pagewalk.mm.oom_kill import OomTask

MB = 1 << 20
SECOND = 1_000_000_000


def entry(pid: int, adj: int, rss: int) -> OomTask:
    task = OomTask(pid, f"p{pid}")
    task.oom_score_adj = adj
    task.rss = rss
    return task


def device() -> LowMemoryKiller:
    driver = LowMemoryKiller()
    driver.adj = [0, 100, 200, 300, 900, 906]
    driver.minfree = [18432, 23040, 27648, 32256, 55296, 80640]
    return driver


@pytest.mark.parametrize(("free", "file", "adj"), [
    (80641, 80641, NO_KILL), (80639, 80640, NO_KILL), (80640, 80639, NO_KILL), (80639, 80639, 906), (55295, 60000, 906),
    (55295, 55295, 900), (20000, 32255, 300), (0, 18431, 0), (18431, 100_000, NO_KILL), (-5, 10, 0),
])  # fmt: skip
def test_both_free_pages_and_files_must_be_below_a_level(free: int, file: int, adj: int) -> None:
    assert device().min_score_adj(free, file)[0] == adj


def test_the_driver_begins_with_four_levels() -> None:
    driver = LowMemoryKiller()
    assert driver.min_score_adj(6 * 256 - 1, 0) == (0, 1536)
    assert driver.min_score_adj(2047, 2047) == (1, 2048)
    assert driver.min_score_adj(16383, 16383) == (12, 16384)
    assert driver.min_score_adj(16384, 0) == (NO_KILL, 0)


def test_levels_without_a_partner_do_not_count() -> None:
    driver = LowMemoryKiller()
    driver.adj = [0]
    assert driver.min_score_adj(10_000, 10_000) == (NO_KILL, 0)


def test_the_driver_takes_the_least_important_then_the_largest() -> None:
    driver = LowMemoryKiller()
    tasks = [entry(1, 900, 10), entry(2, 906, 20), entry(3, 906, 30), entry(4, 906, 30), entry(5, 0, 999)]
    assert driver.select(tasks, 900) is tasks[2]
    assert driver.select(tasks[:1], 901) is None
    tasks[2].victim = True
    assert driver.select(tasks, 900) is tasks[3]


def test_a_trigger_fires_once_a_window() -> None:
    trigger = PsiTrigger(70_000_000)
    assert not trigger.update(0, 0)
    assert not trigger.update(SECOND // 2, 60_000_000)
    assert trigger.update(SECOND // 2 + 1, 70_000_000)
    assert not trigger.update(SECOND // 2 + 2, 700_000_000)
    assert not trigger.update(4 * SECOND, 700_000_000) or trigger.last_event_ns == 4 * SECOND


def test_stalls_of_the_last_window_fade() -> None:
    trigger = PsiTrigger(70_000_000)
    trigger.update(0, 0)
    trigger.update(SECOND + 1, 69_000_000)  # the window is over, 69 ms are carried on
    assert trigger.update(SECOND + 2, 75_000_000)
    slow = PsiTrigger(70_000_000)
    slow.update(0, 0)
    slow.update(SECOND + 1, 69_000_000)
    assert not slow.update(2 * SECOND, 75_000_000), "a second later the old stalls count no more"


def seen(**figures: int) -> Figures:
    found = Figures()
    found.min_mark, found.low_mark, found.high_mark = 100, 125, 150
    found.free = 1000
    for name, value in figures.items():
        setattr(found, name, value)
    return found


def test_lmkd_s_reasons() -> None:
    assert Lmkd().decide(0, seen(), critical=False) == (NO_KILL, "")
    assert Lmkd().decide(0, seen(), critical=True) == (0, "device is not responding")
    low_swap = {"swap_total": 1000, "swap_free": 99}
    assert Lmkd().decide(0, seen(free=140, **low_swap), critical=False) == (201, "low memory and low swap")
    assert Lmkd().decide(0, seen(free=90, **low_swap), critical=False) == (0, "low memory and low swap")
    assert Lmkd().decide(0, seen(free=140, swap_total=1000, swap_free=100), critical=False) == (NO_KILL, "")
    assert Lmkd().decide(0, seen(free=140), critical=False) == (NO_KILL, ""), "without swap it is not low"


def test_lmkd_sees_thrashing_within_a_second() -> None:
    daemon = Lmkd()
    assert daemon.decide(0, seen(free=140, file_lru=999), critical=False)[0] == NO_KILL
    thrash = seen(free=140, file_lru=10, refaults=1010)
    assert daemon.decide(SECOND // 2, thrash, critical=False) == (201, "low memory and thrashing")
    assert daemon.limit == 90
    assert daemon.decide(SECOND, seen(free=120, file_lru=10, refaults=1010), critical=False) == (
        0,
        "pressure after kill",
    )
    quiet = daemon.decide(3 * SECOND, seen(file_lru=10, refaults=1010), critical=False)
    assert quiet == (NO_KILL, "")
    assert daemon.limit == 100


def test_lmkd_takes_the_oldest_but_the_largest_of_those_in_use() -> None:
    daemon = Lmkd()
    tasks = [entry(1, 900, 10), entry(2, 900, 20), entry(3, 100, 5), entry(4, 100, 50)]
    assert daemon.select(tasks, 201) is tasks[0]
    daemon.kill_heaviest_task = True
    assert daemon.select(tasks, 201) is tasks[1]
    assert Lmkd().select(tasks[2:], 0) is tasks[3]
    assert Lmkd().select(tasks[2:], 201) is None


def family(machine: Machine) -> dict[str, Process]:
    made = {}
    for name, adj, megabytes in (("cached", 906, 10), ("older", 900, 12), ("service", 500, 8), ("front", 0, 4)):
        process = machine.spawn()
        process._task.comm = name
        process.oom_score_adj = adj
        process.touch(process.mmap(megabytes * MB), megabytes * MB)
        made[name] = process
    return made


def grow_until(process: Process, others: list[Process], megabytes: int) -> int:
    for done in range(megabytes):
        if not all(each.alive for each in others):
            return done
        process.touch(process.mmap(MB), MB)
    return megabytes


def test_the_driver_kills_before_linux_would() -> None:
    killed = {}
    for lmk in ("", "driver"):
        with Machine(ram="128M", overcommit_memory=1, lmk=lmk, aslr=False) as machine:
            family(machine)
            grower = machine.spawn()
            done = 0
            try:
                while not machine.kernel.oom.kills:
                    grower.touch(grower.mmap(MB), MB)
                    done += 1
            except OomKilled:
                pass
            killed[lmk] = (done, machine.kernel.oom.kills[0].victim.comm)
            check_machine(machine)
    assert killed["driver"][1] == "cached"
    assert killed[""][0] >= killed["driver"][0]


def test_the_driver_s_levels_are_files(capfd: pytest.CaptureFixture[str]) -> None:
    script = """
    cd /sys/module/lowmemorykiller/parameters
    cat adj minfree cost
    echo 0,100,200,300,900,906 > adj && cat adj
    echo 1024,2048 > minfree && cat minfree
    echo 1,2,3,4,5,6,7 > adj; cat adj
    echo many > minfree; cat minfree
    """
    with Machine(lmk="driver") as machine:
        machine.run(["/bin/sh", "-c", script])
        driver = machine.kernel.low_memory_driver()
        assert driver is not None
        assert driver.minfree == [1024, 2048]
    assert capfd.readouterr().out.split() == [
        "0,1,6,12", "1536,2048,4096,16384", "32", "0,100,200,300,900,906", "1024,2048", "0,100,200,300,900,906",
        "1024,2048",
    ]  # fmt: skip
    with Machine() as machine:
        machine.run(["/bin/ls", "/sys/module"])
        assert machine.kernel.low_memory_driver() is None


def test_lmkd_kills_where_memory_and_swap_are_low() -> None:
    with Machine(ram="128M", swap="48M", overcommit_memory=1, lmk="lmkd", aslr=False) as machine:
        members = family(machine)
        machine.kernel.clock.count()
        grower = machine.spawn()
        at = grower.mmap(300 * MB)
        for done in range(300):
            if machine.kernel.oom.kills:
                break
            machine.kernel.clock.advance(1_000_000)
            grower.touch(at + done * MB, MB)
            grower.touch(at, (done + 1) * MB)  # all of it, again and again: more than there is
        kill = machine.kernel.oom.kills[0]
        assert kill.victim.comm == "cached"
        assert kill.report[0].startswith("lmkd: Kill 'cached'")
        assert not members["cached"].alive
        assert members["front"].alive
        check_machine(machine)


def test_numbers_of_parameters() -> None:
    assert parse_numbers(b"1,-2,3\n", (-5, 5)) == [1, -2, 3]
    assert parse_numbers(b"", (0, 5)) == []
    assert parse_numbers(b"1,,2", (0, 5)) == []
    assert parse_numbers(b"6", (0, 5)) == []


def test_another_killer_is_refused() -> None:
    with pytest.raises(ConfigError, match="lmk: expected driver, lmkd or nothing, got 'yes'"):
        Machine(lmk="yes")
