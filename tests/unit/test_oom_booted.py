"""OOM reports that kernels of 6.1, 6.12 and 6.18 printed on machines booted for it (tests/golden/oom/booted): with
swap, cgroups, policies, high memory, pages of 16 KiB, and where nobody or somebody else was killed."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pagewalk import Machine
from pagewalk.cli import cli
from pagewalk.mm.gfp import GFP_KERNEL
from pagewalk.mm.oom_report import show_mem
from pagewalk.mm.oom_state import mem_info
from pagewalk.oom.parse import OomReport, parse_log
from pagewalk.oom.rank import rank_report
from pagewalk.oom.rebuild import rebuild

pytestmark = pytest.mark.quick

BOOTED = sorted((Path(__file__).parent.parent / "golden" / "oom" / "booted").glob("*.txt"))
# What is not the killer's: call traces, the driver's messages, and the cgroup's statistics.
OTHERS = re.compile(
    r"^( \?| [\w.]+\+0x|CPU: |Hardware name: |Call |EIP: |Code: |E[AS][XI]: |DS: | <|RIP: |R[A-D0-9S]|hrtimer: "
    r"|oom_reaper|clocksource|(memory|swap): usage|Memory cgroup stats|[a-z_]+ \d+$|Tasks in|Kernel Offset)"
)


def of(path: Path) -> list[OomReport]:
    return parse_log(path.read_text())


def test_there_are_reports_of_every_kind() -> None:
    reports = [report for path in BOOTED for report in of(path)]
    assert {report.linux for report in reports} == {"6.1", "6.12", "6.18"}
    assert {report.page_kb for report in reports} == {4, 16}
    assert len({report.constraint for report in reports}) >= 3
    assert any(report.mem and report.mem.total_swap_kb for report in reports)
    assert any(report.panic for report in reports)


@pytest.mark.parametrize("path", BOOTED, ids=lambda path: path.stem)
def test_the_kernel_s_victim_follows_from_the_table(path: Path) -> None:
    for report in of(path):
        found = rank_report(report)
        if report.panic:
            assert found.kernel_chose == -1
            assert found.notes == ["the kernel killed nobody: Out of memory: compulsory panic_on_oom is enabled"]
        elif found.any_process:
            assert report.killed[0].comm == report.comm
        else:
            assert found.agrees()


@pytest.mark.parametrize("path", BOOTED, ids=lambda path: path.stem)
def test_the_same_lines_are_printed(path: Path) -> None:
    mine = [line for report in of(path) for line in rebuild(report)]
    text = path.read_text().partition("grower: page allocation failure")[0]  # a request that failed after the kill
    theirs = [line for line in text.splitlines() if not OTHERS.match(line)]
    if "Tasks in" in text:  # those who go with the victim are no choice
        first = next(number for number, line in enumerate(theirs) if "Killed process" in line)
        theirs = theirs[: first + 1]
    assert mine == theirs


def test_the_memory_of_a_request_that_failed_later_is_not_the_report_s() -> None:
    text = next(path for path in BOOTED if path.stem == "amd64-6.18").read_text()
    failure = "grower: page allocation failure: order:0\nMem-Info:\nactive_anon:1 inactive_anon:0 isolated_anon:0\n"
    (report,) = of(next(path for path in BOOTED if path.stem == "amd64-6.18"))
    (with_failure,) = parse_log(text + failure)
    assert rebuild(with_failure) == rebuild(report)


@pytest.mark.parametrize("path", BOOTED, ids=lambda path: path.stem)
def test_the_command_ranks_them(path: Path) -> None:
    result = CliRunner().invoke(cli, ["oom", "--table", str(path)])
    assert result.exit_code == 0, result.output
    assert "dies: " in result.output or "panic" in result.output


def test_a_report_shows_what_the_request_may_use_and_counts_all() -> None:
    with Machine(arch="x86_pae", ram="2G", linux="6.1") as machine:
        whole, low = mem_info(machine.system), mem_info(machine.system, GFP_KERNEL)
        every = mem_info(machine.system, 0x100CCA)
        assert [zone.name for zone in low.zones if zone.shown] == ["DMA", "Normal"]
        assert [zone.name for zone in every.zones if zone.shown] == ["DMA", "Normal", "HighMem"]
        assert any("HighMem free:" in line for line in show_mem(every, "6.1"))
        lines = show_mem(low, "6.1")
        assert not any(line.startswith("HighMem") for line in lines)
        assert [line for line in lines if line.endswith(" pages RAM")] == [
            line for line in show_mem(whole, "6.1") if line.endswith(" pages RAM")
        ]
        assert f"{whole.high_pages()} pages HighMem/MovableOnly" in lines


def test_a_policy_s_report_shows_its_nodes_alone() -> None:
    with Machine(nodes=["256M", "256M"]) as machine:
        info = mem_info(machine.system, 0x100CCA, 0b10)
        lines = show_mem(info, "6.18")
        assert next(line for line in lines if line.startswith("Node")).startswith("Node 1 active_anon:")
        assert not any(line.startswith("Node 0") for line in lines)
        assert f"{sum(zone.present_pages for zone in machine.system.zones)} pages RAM" in lines


def test_ram_is_given_in_bytes_whatever_the_pages() -> None:
    for name, pages in (("arm64-16k", 8192), ("amd64-6.18", 32768)):
        path = next(path for path in BOOTED if path.stem == name)
        result = CliRunner().invoke(cli, ["oom", "--table", str(path), "--ram", "128M", "--json"])
        assert json.loads(result.output)["reports"][0]["totalpages"] == pages
