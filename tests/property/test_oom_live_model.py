"""`pagewalk oom --live` over the model's /proc names the process that the model's OOM killer then chooses."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagewalk import Machine, Process
from pagewalk.check import check_machine
from pagewalk.errors import PagewalkError
from pagewalk.oom.live import kernel_scores, live_ranking

RW = 3
PROCESSES = st.lists(
    st.tuples(st.integers(0, 300), st.integers(-1000, 1000), st.booleans()), min_size=2, max_size=6
)  # units of 4 KiB of its own, oom_score_adj, whether it has a child that shares a copy


def touch_all(process: Process, at: int, pages: int, page: int) -> None:
    """Writes to every page."""
    for number in range(pages):
        process.write(at + number * page, b"x")


@pytest.mark.parametrize(("arch", "granule"), [("x86_64", "4K"), ("arm64", "16K"), ("x86_pae", "4K")])
@settings(max_examples=6, deadline=None)
@given(processes=PROCESSES, swapped=st.booleans())
def test_the_first_of_the_ranking_is_the_victim(
    arch: str, granule: str, processes: list[tuple[int, int, bool]], swapped: bool
) -> None:
    fields = {"ram": "32M", "overcommit_memory": 1, "swap": "8M" if swapped else "0", "aslr": False}
    with Machine(arch=arch, granule=granule, **fields) as machine:  # type: ignore[arg-type]
        page = int(machine.system.page_size)
        made: list[tuple[Process, int]] = []
        for units, adj, forks in processes:
            pages = units * 4096 // page
            process = machine.spawn()
            process._task.oom_score_adj = adj
            at = process.mmap(max(pages, 1) * page, RW)
            touch_all(process, at, pages, page)
            made.append((process, at))
            if forks:
                made.append((process.fork(), at))
        if swapped:  # a page of the first one is in swap: it counts as well
            process, at = made[0]
            process.madvise(at, page, 21)  # MADV_PAGEOUT
        grower = machine.spawn()
        grower._task.oom_score_adj = -1000
        with tempfile.TemporaryDirectory() as folder:
            machine.write_procfs(folder)
            found = live_ranking(Path(folder))
            scores = kernel_scores([each.task for each in found.candidates], Path(folder))
        for each in found.candidates:
            assert abs((each.oom_score or 0) - scores[each.task.pid]) <= 1, each
        first = found.candidates[0].task
        try:
            area = grower.mmap(1 << 30, RW)
            for number in range((1 << 30) // page):
                grower.write(area + number * page, b"y")
                if machine.kernel.oom.kills:
                    break
        except PagewalkError:
            pass  # nobody can be killed
        killed = [kill.victim.pid for kill in machine.kernel.oom.kills]
        if first.oom_score_adj == -1000:
            assert killed == []
        else:
            assert killed[:1] == [first.pid]
        check_machine(machine)
