"""The report: as data, as JSON and as text."""

import io
import json
import re

import pytest

from pagewalk.view.addrspace import address_space, shades
from pagewalk.view.report import FAULT_KINDS, FAULT_NOTES, Mapping, Report, Rss, Zone, resident_cells
from pagewalk.view.text import print_report, render
from pagewalk.view.units import bar, count, plain, plural, size


@pytest.fixture
def report() -> Report:
    return Report(
        command=["/bin/prog", "-x"],
        status=3,
        pid=1,
        machine={"ram": 4 << 30, "linux": "6.18", "levels": 4, "aslr": False, "seed": 0},
        task_size=0x7FFFFFFFF000,
        mappings=[
            Mapping(0x400000, 0x402000, "r-xp", "/bin/prog", 8192, 1, [1, 1]),
            Mapping(0x402000, 0x403000, "rw-p", "/bin/prog", 4096, 1, [1]),
            Mapping(0x403000, 0x443000, "rw-p", "[heap]", 4096, 1, resident_cells(64, [0])),
            Mapping(0x7FFFFFFDE000, 0x7FFFFFFFF000, "rw-p", "[stack]", 8192, 2, resident_cells(33, [31, 32])),
        ],
        faults={"anonymous": 4, "file_read": 1, "fault_around": 1, "major": 0},
        faults_by_mapping={"/bin/prog": 2, "[heap]": 1, "[stack]": 2},
        minor=5,
        rss=Rss(anon=16384, file=8192, peak=28672),
        virtual=0x443000,
        tables={"pgd": 1, "pud": 2, "pmd": 2, "pte": 2},
        vm_pte=6 * 4096,
        zones=[Zone("DMA", 3840, 3840), Zone("Normal", 1000, 900)],
        syscalls={"write": 2, "exit_group": 1},
        unknown_calls={"io_uring_setup": 2},
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (512, "512B"),
        (4096, "4K"),
        (1536, "1.5K"),
        (132 << 10, "132K"),
        (1 << 20, "1M"),
        (1023 << 10, "1M"),
        (999 << 10, "999K"),
        (10 << 30, "10G"),
        (1 << 47, "128T"),
        (1 << 63, "8E"),
        ((1 << 64) - 1, "16E"),
    ],
)
def test_sizes_are_short(number: int, text: str) -> None:
    assert size(number) == text


def test_counts_have_their_thousands_apart() -> None:
    assert (count(1234567), count(12), plural(1, "page"), plural(2, "page")) == ("1 234 567", "12", "1 page", "2 pages")


def test_a_bar_shows_what_is_not_nothing() -> None:
    assert bar(1, 10**9, 12).strip() == "▏"
    assert bar(0, 10, 12).strip() == ""
    assert bar(10, 10, 12) == "█" * 12
    assert len(bar(5, 10, 12)) == 12


def test_json_holds_everything_and_reads_back(report: Report) -> None:
    assert Report.from_json(report.as_json()) == report
    data = json.loads(report.as_json())
    assert data["mappings"][0]["start"] == "0x400000"
    assert data["rss"]["total"] == 24576


def test_the_text_says_how_it_ended(report: Report) -> None:
    assert "/bin/prog -x  exit status 3" in render(report)
    report.signal = 11
    assert "killed by signal 11 (SIGSEGV)" in render(report)
    report.stopped = "SIGINT"
    assert "stopped by pagewalk (SIGINT)" in render(report)


def test_the_text_names_unknown_calls_with_their_counts(report: Report) -> None:
    assert "unknown to pagewalk, answered ENOSYS: io_uring_setup 2" in render(report)


def test_the_text_says_that_it_ran_interpreted_and_why(report: Report) -> None:
    assert "interpreted" not in render(report)
    report.interpreted = "no C compiler"
    assert "interpreted, ten times slower than compiled: no C compiler" in render(report)


def test_kinds_of_fault_that_did_not_happen_are_left_out(report: Report) -> None:
    text = render(report)
    assert "new page" in text and "copy-on-write" not in text and "of these, major" not in text


def test_every_fault_counter_of_the_model_has_a_row() -> None:
    from pagewalk.mm.mm_types import FaultStats

    assert {kind.key for kind in (*FAULT_KINDS, *FAULT_NOTES)} == set(FaultStats().as_dict())


def rows(report: Report, width: int = 100) -> list[str]:
    return [plain(line) for line in address_space(report, width)]


def test_the_picture_has_a_row_for_each_mapping_high_addresses_first(report: Report) -> None:
    starts = [int(m[1], 16) for row in rows(report) if (m := re.match(r"  ([0-9a-f]+) +\S+ [r-][w-][x-]", row))]
    assert starts == sorted((mapping.start for mapping in report.mappings), reverse=True)


def test_gaps_are_one_row_each_with_their_size(report: Report) -> None:
    gaps = [row.split("┊")[1].strip() for row in rows(report) if "┊" in row]
    assert gaps == ["128T", "4M"]


def test_bars_are_to_scale(report: Report) -> None:
    lengths = {row.split()[-1].strip("[]"): len(re.findall("[░▒▓█]", row)) for row in rows(report)[2:] if "[" in row}
    assert lengths["heap"] == pytest.approx(64 / 33 * lengths["stack"], rel=0.1)


def test_a_bar_shows_where_the_resident_pages_are() -> None:
    mapping = Mapping(0, 64 << 12, "rw-p", cells=resident_cells(64, range(32, 64)))
    assert shades(mapping, 8) == "░░░░████"
    assert shades(Mapping(0, 4096, "r--p", cells=[1]), 3) == "███"
    assert shades(Mapping(0, 64 << 12, "rw-p", cells=resident_cells(64, range(0, 64, 4))), 2) == "▒▒"


def test_a_file_is_named_once_for_its_neighbouring_segments(report: Report) -> None:
    text = "\n".join(rows(report))
    assert text.count("prog") == 1
    assert "″ code" in text and "prog data" in text


def test_thousands_of_mappings_stay_readable() -> None:
    many = Report(command=["x"], mappings=[Mapping(i << 13, (i << 13) + 4096, "rw-p") for i in range(1, 5000)])
    picture = rows(many)
    assert len(picture) < 400
    assert any("more mappings" in row for row in picture)


def test_an_empty_report_is_no_trouble() -> None:
    assert "Address space" in render(Report(command=["x"]))


@pytest.mark.parametrize("width", [20, 80, 300])
def test_any_width_will_do(report: Report, width: int) -> None:
    assert "heap" in render(report, width)


def test_a_stream_that_knows_only_ascii_gets_ascii(report: Report) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_report(report, stream)
    stream.flush()
    assert b"#" in raw.getvalue()
    assert raw.getvalue().isascii()


def test_a_terminal_gets_colours(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    print_report(report, stream)
    assert "\x1b[" in stream.getvalue()
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert "[heap]" in text
