"""The comparison under memory pressure: its figures, its bounds."""

from bench.uml.kernel import figures
from bench.uml.table import markdown, rows

KERNEL = {
    "pgmajfault": 1000, "pswpin": 4000, "pswpout": 3000, "workingset_refault_anon": 4000,
    "workingset_refault_file": 0, "anon_kb": 9000, "file_kb": 1000,
}  # fmt: skip


def test_figures_are_the_lines_of_a_name_and_a_number() -> None:
    assert figures("begin\r\npswpin 12\r\nEXT4-fs (ubdb): mounted\npswpout 7\nend 0\n") == {
        "pswpin": 12,
        "pswpout": 7,
        "end": 0,
    }


def test_a_ratio_is_judged_by_fifteen_percent_either_way() -> None:
    model = {**KERNEL, "pgmajfault": 1151, "pswpin": 3401, "pswpout": 3449}
    found = {row.figure: row for row in rows("p", KERNEL, model)}
    assert not found["major faults"].within
    assert found["pages swapped in"].within and found["pages swapped out"].within
    assert "| p | major faults | 1,000 | 1,151 | 1.15 | **out** |" in markdown(list(found.values()))


def test_counts_of_a_few_pages_are_shown_and_not_judged() -> None:
    small = {**KERNEL, "pgmajfault": 3}
    row = rows("p", small, {**small, "pgmajfault": 40})[0]
    assert not row.judged and row.ratio == 40 / 3
    assert not rows("p", {**small, "pgmajfault": 0}, small)[0].within
