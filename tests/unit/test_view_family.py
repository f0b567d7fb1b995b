"""The report about several processes: what is kept of each, the tree, who shares what with whom."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pagewalk import Machine, Process
from pagewalk.fs.procfs.mem import cmdline
from pagewalk.fs.procfs.task_mmu import smaps_rollup_text
from pagewalk.view.collect_family import FamilyRecorder, frames_in_common, mapped_frames, proportional_size
from pagewalk.view.family import ROWS, family, in_family_order
from pagewalk.view.report import ProcessRecord, Report, Rss
from pagewalk.view.text import render
from pagewalk.view.units import plain

MB = 1 << 20


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(ram="64M", aslr=False) as made:
        yield made


def sharers(machine: Machine, path: Path, number: int) -> list[Process]:
    """Processes that map the same MiB of a file; process i has i times 64 KiB of its own."""
    path.write_bytes(b"x" * MB)
    machine.namespace.show(str(path))
    processes = []
    for at in range(number):
        process = machine.spawn()
        process._task.comm = f"p{at}"
        process.touch(process.mmap(MB, prot=1, path=str(path)), MB, write=False)
        if at:
            process.touch(process.mmap(at << 16), at << 16)
        processes.append(process)
    return processes


def test_pss_is_what_smaps_rollup_says(machine: Machine, tmp_path: Path) -> None:
    for process in sharers(machine, tmp_path / "shared", 3):
        mm = process._task.mm
        frames = mapped_frames(mm)
        assert len(frames) == mm.get_mm_rss()
        pss, uss = proportional_size(mm, frames)
        text = smaps_rollup_text(mm)
        assert pss >> 10 == int(re.findall(r"Pss: +(\d+)", text)[0])
        assert uss >> 10 == sum(int(size) for size in re.findall(r"Private_\w+: +(\d+) kB", text))


def test_a_read_of_untouched_memory_is_not_resident(machine: Machine) -> None:
    process = machine.spawn()
    process.touch(process.mmap("64K"), "64K", write=False)
    assert len(mapped_frames(process._task.mm)) == 0 == process._task.mm.get_mm_rss()


def test_frames_in_common_are_counted_for_each_pair() -> None:
    sets = [np.array(each, dtype=np.int64) for each in ([1, 2, 3, 50000], [2, 3, 3], [], [50000])]
    expected = [[4, 2, 0, 1], [2, 2, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]]
    assert frames_in_common(sets).tolist() == expected
    assert frames_in_common([]).tolist() == []


def recorder(machine: Machine) -> FamilyRecorder:
    made = FamilyRecorder(machine.kernel, cmdline)
    machine.kernel.on_exit = made.before_exit
    machine.kernel.on_exec = made.before_exec
    return made


def test_what_processes_share_is_told_from_the_moment_with_most_of_them(machine: Machine, tmp_path: Path) -> None:
    watched = recorder(machine)
    processes = sharers(machine, tmp_path / "shared", 3)
    for process in processes:
        process.exit()
    records = watched.finish()
    assert [record.pid for record in records] == [process.pid for process in processes]
    for at, record in enumerate(records):
        assert record.name == f"p{at}" and record.ended and record.status == 0
        assert (record.rss.anon, record.rss.file) == (at << 16, MB)
        assert record.shared == {other.pid: MB for other in processes if other.pid != record.pid}
        assert record.uss == (at << 16) + (MB if at == 2 else 0)  # the last one has the file to itself
        assert record.minor == record.faults["anonymous"] + record.faults["file_read"] > 0


def test_who_lives_at_another_time_tells_of_its_own_end(machine: Machine, tmp_path: Path) -> None:
    watched = recorder(machine)
    first, second, third = sharers(machine, tmp_path / "shared", 3)
    second.exit()
    third.exit()
    (late,) = sharers(machine, tmp_path / "other", 1)
    late.exit()
    records = {record.pid: record for record in watched.finish()}
    assert records[late.pid].shared == {}
    assert records[second.pid].shared == {first.pid: MB, third.pid: MB}
    assert not records[first.pid].ended and records[first.pid].pss == MB


def test_every_address_space_of_a_process_counts() -> None:
    """execve replaces one: /bin/sh becomes /bin/true."""
    with Machine(ram="64M", aslr=False) as machine:
        report = machine.run(["/bin/sh", "-c", "exec /bin/true x"]).report
    (record,) = report.processes
    assert [Path(name).name for name in record.programs][-1] == "true" and len(record.programs) == 2
    assert record.command == ["/bin/true", "x"]
    assert sum(record.faults[kind] for kind in report.faults if kind in KINDS) == report.minor + report.major
    assert sum(record.faults.values()) > sum(report.faults.values())
    assert record.rss.total == report.rss.total and record.ppid == 1


KINDS = ("zero_page", "anonymous", "cow", "reuse", "file_read", "file_cow", "shared_write", "spurious")


# --- as text --------------------------------------------------------------------------------------------------------


@pytest.fixture
def report() -> Report:
    return Report(
        command=["sh", "-c", "ls | sort"],
        pid=1000,
        processes=[
            ProcessRecord(
                1000, 1, "sh", ["sh", "-c", "ls | sort"], ["/bin/sh"], ended=True, minor=120, faults={"cow": 21},
                rss=Rss(200 << 10, 1 << 20, 0, 2 << 20), pss=700 << 10, shared={1001: MB, 1002: 900 << 10},
            ),
            ProcessRecord(
                1001, 1000, "ls", ["ls"], ended=True, status=2, minor=80, major=3, shared={1000: MB, 1002: MB // 2}
            ),
            ProcessRecord(1002, 1000, "sort", ["sort"], ended=True, status=143, signal=15, threads=3),
            ProcessRecord(1003, 1002, "sort", ["sort"], memory_of=1002),
        ],
    )  # fmt: skip


def lines(report: Report) -> list[str]:
    return [plain(line) for line in family(report, 140)]


def test_children_stand_below_their_parents() -> None:
    records = [ProcessRecord(pid, ppid) for pid, ppid in ((5, 1), (6, 5), (7, 5), (8, 6), (9, 4), (10, 10))]
    order = [(depth, record.pid) for depth, record in in_family_order(records)]
    assert order == [(0, 5), (1, 6), (2, 8), (1, 7), (0, 9), (0, 10)]


def test_each_process_is_a_row(report: Report) -> None:
    text = lines(report)
    assert text[0] == "Processes  4, each as it was before it ended"
    assert text[2].split() == "1000 1.2M 200K 1M 0 700K 2M 120 21 0 sh -c ls | sort".split()
    assert text[3].endswith("    ls  (exit status 2)")
    assert text[4].endswith("    sort  (3 threads, killed by signal 15)")
    assert text[5].endswith("      sort  (in the memory of 1002, still there)")


def test_each_pair_that_shares_is_named_once(report: Report) -> None:
    text = lines(report)
    assert text[6].strip() == "in common"
    assert [line.split() for line in text[7:]] == [
        "1000 sh 1M with 1001 ls, 900K with 1002 sort".split(),
        "1001 ls 512K with 1002 sort".split(),
    ]


def test_the_other_sections_say_whose_they_are(report: Report) -> None:
    text = render(report)
    assert re.search(r"Page faults .*of process 1000", text) and re.search(r"Address space .*of process 1000", text)


def test_a_single_process_looks_as_if_there_were_no_others(report: Report) -> None:
    report.processes = report.processes[:1]
    text = render(report)
    assert "Processes" not in text and "of process" not in text


def test_json_has_the_processes_and_reads_back(report: Report) -> None:
    data = json.loads(report.as_json())
    assert data["processes"][0]["shared"] == {"1001": MB, "1002": 900 << 10}
    assert data["processes"][0]["rss"]["total"] == (200 << 10) + MB
    assert Report.from_json(report.as_json()) == report


def test_hundreds_of_processes_stay_readable() -> None:
    many = [ProcessRecord(pid, 1, "x", ["x"], minor=2, shared=dict.fromkeys(range(1000, 1300), 4096)) for pid in
            range(1000, 1300)]  # fmt: skip
    text = lines(Report(command=["x"], processes=many))
    assert len(text) < 2 * ROWS + 10
    assert f"  and {300 - ROWS} more, with {(300 - ROWS) * 2} faults together" in text
