"""Reports of real kernels: the same victim follows from the table, and the same text from the figures."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pagewalk.errors import ConfigError
from pagewalk.mm.gfp_names import format_gfp
from pagewalk.mm.oom_report import node_list
from pagewalk.oom.parse import parse_log, parse_nodes, strip_stamp
from pagewalk.oom.rank import rank_report
from pagewalk.oom.rebuild import rebuild

GOLDEN = Path(__file__).parent.parent / "golden/oom"
REPORTS = sorted(GOLDEN.glob("*-256M-*.txt"))
CALL_TRACE = re.compile(
    r"^( \?| [\w.]+\+0x|CPU: |Hardware name: |Call Trace|EIP: |Code: |E[AS][XI]: |DS: | <|RIP: |R[A-D0-9S])"
)
STAMPS = (
    "[   12.345678] ",
    "<4>[   12.345678][  T103] ",
    "Nov  3 10:20:30 box kernel: [ 1.5] ",
    "[Tue Nov  3 10:20:30 2026] ",
    "2026-11-03T10:20:30+0000 box kernel: ",
    "2026-11-03T10:20:30.123456+01:00 box kernel: [    1.500000] ",
    "2026-11-03T10:20:30,123456+00:00 ",
    "Nov 03 10:20:30.123456 box.example.org kernel: ",
    "Tue 2026-11-03 10:20:30 UTC box kernel: ",
    "1793701230.123456 box kernel: ",
    "[   12.345678] box kernel: ",
    "[   12.345678 <    0.000010>] ",
    "[Nov 3 10:20] ",
    "kern  :warn  : [   12.345678] ",
    "<4>1 2026-11-03T10:20:30.1Z box kernel - - - ",
    "\ufeff",
)
TABLE = """\
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[    100]     0   100       49        1    24576        0             0 init script
[    101]  1000   101    20000    10000    90112     5000             0 first
[    102]     0   102    20000    15000    90112        0             0 second
"""
SUMMARY = (
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask={},cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=first,pid=101,"
    "uid=0\n"
)


def spoken(text: str) -> list[str]:
    """A report without its call trace."""
    return [line for line in text.splitlines() if not CALL_TRACE.match(line)]


def test_there_are_eight_reports() -> None:
    assert len(REPORTS) == 8


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_the_victim_follows_from_the_table(path: Path) -> None:
    for report in parse_log(path.read_text()):
        found = rank_report(report)
        assert found.agrees()
        assert found.victim is not None
        assert found.victim.pid == report.killed[0].pid


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_every_line_of_the_report_is_printed_again(path: Path) -> None:
    lines: list[str] = []
    for report in parse_log(path.read_text()):
        lines += rebuild(report)
    assert lines == spoken(path.read_text())


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("stamp", STAMPS)
def test_a_logger_s_stamps_change_nothing(path: Path, stamp: str) -> None:
    text = "".join(f"{stamp}{line}\n" for line in path.read_text().splitlines())
    assert [rebuild(report) for report in parse_log(text)] == [
        rebuild(report) for report in parse_log(path.read_text())
    ]


def test_a_report_of_6_18_has_the_parts_of_rss() -> None:
    text = (GOLDEN / "memcg-v1-6.18.txt").read_text()
    (report,) = parse_log(text)
    found = rank_report(report)
    assert (report.linux, found.totalpages, found.agrees()) == ("6.18", 4096, True)
    printed = rebuild(report)
    assert printed[0] == text.splitlines()[0]
    assert printed[-5:] == text.splitlines()[-5:]
    assert found.candidates[0].oom_score is None


def test_all_reports_of_one_log_are_told_apart() -> None:
    text = "".join(f"[ 1.0] something else\n{path.read_text()}" for path in REPORTS)
    reports = parse_log(text)
    assert len(reports) == 9
    assert all(rank_report(report).agrees() for report in reports)


def test_swap_and_page_tables_count() -> None:
    (report,) = parse_log(TABLE)
    found = rank_report(report)
    assert [each.badness for each in found.candidates] == [15022, 15022, 7]
    assert found.victim is not None
    assert found.victim.comm == "second", "of two that are equal the later one dies"
    assert found.candidates[2].task.comm == "init script"


def test_a_bare_table_is_ranked_with_the_ram_that_is_given() -> None:
    rows = "".join(line + "\n" for line in TABLE.splitlines()[1:]).replace("     0 second", "  -200 second")
    (report,) = parse_log(rows)
    small = rank_report(report, ram_pages=10_000)
    large = rank_report(report, ram_pages=10_000_000)
    assert small.candidates[0].task.comm == "first"
    assert small.candidates[1].badness == 15022 - 200 * 10
    assert large.candidates[-1].task.comm == "second"


def test_an_older_kernel_s_table_counts_tables() -> None:
    text = (
        "[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name\n"
        "[ 2592]    27  2592   657543   238411     664       6        0             0 mysqld\n"
        "Out of memory: Kill process 2592 (mysqld) score 930 or sacrifice child\n"
        "Killed process 2592 (mysqld), UID 27, total-vm:2630172kB, anon-rss:953644kB, file-rss:0kB, shmem-rss:0kB\n"
    )
    (report,) = parse_log(text)
    found = rank_report(report)
    assert found.candidates[0].badness == 238411 + 670
    assert found.agrees()


def test_who_asked_is_killed_without_a_search() -> None:
    text = TABLE + (
        "Out of memory (oom_kill_allocating_task): Killed process 101 (first) total-vm:80000kB, anon-rss:40000kB, "
        "file-rss:0kB, shmem-rss:0kB, UID:1000 pgtables:88kB oom_score_adj:0\n"
    )
    (report,) = parse_log(text)
    found = rank_report(report)
    assert (found.kernel_chose, found.agrees()) == (101, None)


def test_who_was_reaped_before_is_not_chosen_again() -> None:
    text = f"{TABLE}oom_reaper: reaped process 102 (second), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB\n{TABLE}"
    first, second = [rank_report(report).victim for report in parse_log(text)]
    assert first is not None
    assert second is not None
    assert (first.pid, second.pid) == (102, 101)


@pytest.mark.parametrize(("text", "complaint"), [
    ("", "expected an OOM report of a kernel, got no table of tasks"),
    ("hello\n[ 5.0] world\n", "got no table of tasks"),
    ("a invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n", "a report without its table"),
    (TABLE.splitlines()[0], "got the heading of a table of tasks and no row below it"),
    (TABLE.replace(" rss ", " all "), "FILE:1: expected a table with a column rss, got uid tgid total_vm all pgtables"),
    (TABLE.replace("    49        1", "    49       -1"), "FILE:2: expected rss of 0 to 9223372036854775807, got -1"),
    (TABLE.replace("     0 first", "  1001 first"), "FILE:3: expected oom_score_adj of -1000 to 1000, got 1001"),
    (TABLE.replace("[    101]", "[9999999]"), "FILE:3: expected pid of 0 to 4194304, got 9999999"),
    (TABLE + SUMMARY.format("0-99999999999"), "FILE:5: expected a list of memory nodes .*, got '0-99999999999'"),
    (TABLE + SUMMARY.format("1--3"), "FILE:5: expected a list of memory nodes such as 0-2,5, got '1--3'"),
    (TABLE.replace("24576", "many"), r"FILE:2: expected \[pid\] and 7 numbers \(uid .*\), then a name, got '\[ .*many"),
])  # fmt: skip
def test_what_is_no_report_is_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse_log(text, "FILE")
    assert "\n" not in str(caught.value)


def run_cli(*words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "pagewalk", "oom", *words], input=data, capture_output=True, check=False
    )


def test_the_command_says_who_dies() -> None:
    done = run_cli("--table", str(GOLDEN / "amd64-256M-oom2.txt"), "--json")
    (report,) = json.loads(done.stdout)["reports"]
    assert report["victim"] == {"pid": 102, "name": "medium"}
    assert report["agrees"] is True
    assert report["totalpages"] == 65406 - 13220
    assert [each["name"] for each in report["candidates"]] == ["medium", "oom2", "grower", "protected"]
    told = run_cli("--table", "-", data=TABLE.encode()).stdout.decode()
    assert told.splitlines()[-1] == "dies: second (102)"


def test_a_log_in_utf_16_is_read() -> None:
    done = run_cli("--table", "-", data=TABLE.encode("utf-16"))
    assert done.stdout.decode().splitlines()[-1] == "dies: second (102)"


@pytest.mark.parametrize(("words", "complaint"), [
    ([], "expected either --table FILE or --live"),
    (["--table", "x", "--live"], "expected either --table FILE or --live"),
    (["--table", "/nowhere"], "cannot read '/nowhere': No such file or directory"),
    (["--table", "-"], "got no table of tasks"),
    (["--live", "--ram", "1G"], "neither --ram nor --swap with --live"),
    (["--table", "-", "--ram", "much"], "--ram: expected bytes or text like '64M', got 'much'"),
])  # fmt: skip
def test_the_command_refuses_in_one_line(words: list[str], complaint: str) -> None:
    done = run_cli(*words, data=b"\xff nothing")
    assert done.returncode == 125
    assert len(done.stderr.decode().splitlines()) == 1
    assert complaint in done.stderr.decode()


def test_names_of_allocation_flags() -> None:
    assert format_gfp(0x140DCA) == "GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP"
    assert format_gfp(0x140DCA, "6.1") == "GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO"
    assert format_gfp(0xCC0) == "GFP_KERNEL"
    assert format_gfp(0x820) == "GFP_ATOMIC"
    assert format_gfp(0xA20, "6.1") == "GFP_ATOMIC"
    assert format_gfp(0x2800) == "GFP_NOWAIT"
    assert format_gfp(0) == "none"
    assert format_gfp(1 << 40) == "0x10000000000"


def test_lists_of_nodes_go_both_ways() -> None:
    for mask, text in ((1, "0"), (0b1011, "0-1,3"), (0b111, "0-2"), (0, "")):
        assert node_list(mask) == text
        assert parse_nodes(text) == mask


def test_a_row_of_the_table_is_no_time_stamp() -> None:
    assert strip_stamp("[    100]     0   100") == "[    100]     0   100"
