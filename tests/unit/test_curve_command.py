"""``pagewalk curve``: the table, the files that it writes, and what it says where it cannot."""

import gzip
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pagewalk.cli import run_command
from pagewalk.errors import ConfigError
from pagewalk.lab import Curves, miss_curves
from pagewalk.lab.curve_html import page
from pagewalk.lab.curve_text import lines
from pagewalk.trace.format import Batch, TraceInfo
from pagewalk.trace.native import NativeWriter

A = 0x10_0000_0000
MATPLOTLIB = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A hundred pages again and again, with instructions."""
    path = tmp_path / "app.pwt"
    with NativeWriter(path, TraceInfo(has_fetches=True)) as writer:
        for _ in range(4):
            writer.write(Batch.of(A + np.arange(1000) % 100 * 4096, np.arange(1000) % 3, instructions=500))
    return path


def curve(*arguments: object) -> int:
    return run_command(["curve", *map(str, arguments)])


def test_the_table_has_a_row_for_each_size_and_a_column_for_each_page_size(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert curve(trace, "--side", "both", "--sets", "4") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "misses against TLB entries, LRU, address spaces tagged: data and instructions of app.pwt"
    assert out[1].startswith("4,000 accesses in ")
    assert out[3].split() == ["entries", "4K", "16K", "64K", "2M"]
    end = out.index("", 4)
    rows = {line.split()[0]: line.split()[1:] for line in out[4:end]}
    assert rows["1"] == ["4,000", "100", "%", "1,000", "25", "%", "280", "7", "%", "1", "0.025", "%"]
    assert "4 sets; entries are 4 x ways" in out
    assert out[-1].split() == ["first", "use", "100", "25", "7", "1"]


def test_ram_is_told_in_bytes(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert curve(trace, "--what", "ram", "--page-sizes", "4K,64K") == 0
    out = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in out[3:]}
    assert rows["384K"] == ["4,000", "100", "%", "280", "7", "%"]
    assert rows["512K"] == ["100", "2.5", "%", "7", "0.175", "%"]
    assert rows["32K"][-1] == "-"


def test_json_has_every_step_and_standard_output_can_be_json_alone(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c.json"
    assert curve(trace, "--side", "both", "--json", out) == 0
    found = json.loads(out.read_text())
    assert (found["trace"], found["what"], found["side"], found["accesses"]) == ("app.pwt", "tlb", "both", 4000)
    assert found["instructions"] == 2000
    first = found["curves"][0]
    assert first == {
        "page_size": 4096, "sets": 1, "unit": "entries", "exact": True, "rate": 1.0, "least": 1, "lookups": 4000,
        "cold": 100, "complete": True, "sizes": [0, 1, 100], "misses": [4000, 4000, 100],
    }  # fmt: skip
    capsys.readouterr()
    assert curve(trace, "--side", "both", "--json", "-") == 0
    again = json.loads(capsys.readouterr().out)
    assert {**again, "seconds": 0} == {**found, "seconds": 0}


def test_a_sample_states_its_rate_and_its_error(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert curve(trace, "--sample", "0.5", "--json", "-") == 0
    first = json.loads(capsys.readouterr().out)["curves"][0]
    assert (first["exact"], first["rate"], first["least"]) == (False, 0.5, 16)
    assert len(first["errors"]) == len(first["sizes"]) > 1
    assert curve(trace, "--sample", "0.5") == 0
    out = capsys.readouterr().out
    assert re.search(r"\d ± [\d.]+ %", out)
    assert "note: a sample of 50 % of the pages: estimates, with their error in percent of look-ups" in out


@MATPLOTLIB
def test_pictures_are_what_they_are_called(trace: Path, tmp_path: Path) -> None:
    png, svg = tmp_path / "c.png", tmp_path / "c.svg"
    for options in ([], ["--what", "ram"], ["--sets", "4,8"], ["--sample", "0.5"]):
        assert curve(trace, *options, "--png", png, "--svg", svg) == 0
        assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert png.stat().st_size > 10_000
        root = xml.etree.ElementTree.fromstring(svg.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        png.unlink()
        svg.unlink()


@MATPLOTLIB
def test_a_picture_of_nothing_is_drawn_too(tmp_path: Path) -> None:
    from pagewalk.lab import curve_picture

    curve_picture.write(tmp_path / "none.svg", miss_curves([]), "nothing")
    xml.etree.ElementTree.fromstring((tmp_path / "none.svg").read_text())


def test_a_picture_needs_matplotlib(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pagewalk.lab.curve_picture.find_spec", lambda name: None)
    assert curve(trace, "--png", tmp_path / "c.png") == 125
    assert "--png: expected matplotlib, which is not installed" in capsys.readouterr().err
    assert not (tmp_path / "c.png").exists()


READ_PAGE = r"""
const fs = require("fs"), html = fs.readFileSync(process.argv[2], "utf8");
const elements = {};
const element = () => ({ innerHTML: "", textContent: "", value: "", checked: true, style: {}, append() {},
                         getBoundingClientRect: () => ({ left: 0, width: 960 }) });
const get = id => elements[id] ??= element();
get("data").textContent = html.match(/<script type="application\/json" id="data">(.*?)<\/script>/s)[1];
get("unit").value = "count";
get("sets").value = "1";
globalThis.document = { getElementById: get, createElement: element, title: "" };
eval(html.match(/<script>(.*)<\/script>/s)[1]);
const rows = () => [...get("table").innerHTML.matchAll(/<tr[^>]*>(.*?)<\/tr>/g)].map(
    row => [...row[1].matchAll(/<t[dh]>(.*?)<\/t[dh]>/g)].map(cell => cell[1]));
get("size").value = process.argv[3];
get("size").oninput();
const typed = rows();
get("chart").onpointermove({ clientX: 500 });
console.log(JSON.stringify({ title: get("title").textContent, rows: typed, read: get("size").value,
                             marks: (get("chart").innerHTML.match(/<circle/g) || []).length,
                             lines: (get("chart").innerHTML.match(/<polyline/g) || []).length,
                             bad: /NaN|Infinity|undefined/.test(get("chart").innerHTML + get("table").innerHTML) }));
"""


def read_page(path: Path, size: str, work: Path) -> Any:
    """What a browser would show of the page, where ``size`` is typed."""
    script = work / "read.js"
    script.write_text(READ_PAGE)
    done = subprocess.run(["node", str(script), str(path), size], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["bad"]
    return found


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_page_tells_the_value_of_a_size_that_is_typed(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.html"
    assert curve(trace, "--side", "both", "--html", out) == 0
    found = read_page(out, "99", tmp_path)
    assert found["title"].endswith("data and instructions of app.pwt")
    rows = {row[0]: row[1:] for row in found["rows"]}
    assert rows["entries"] == ["4K", "16K", "64K", "2M"]
    assert rows["99"] == ["4,000", "25", "7", "1"]
    assert rows["128"][0] == "100"
    assert (found["marks"], found["lines"]) == (4, 4)
    assert int(found["read"]) > 1
    assert curve(trace, "--what", "ram", "--sample", "0.5", "--html", out) == 0
    rows = {row[0]: row[1:] for row in read_page(out, "1M", tmp_path)["rows"]}
    assert rows["RAM"] == ["4K", "16K", "64K", "2M"]
    assert re.fullmatch(r"\d+ ± \d+", rows["1M"][0])
    out.write_text(page(miss_curves([]), "nothing"))
    assert read_page(out, "7", tmp_path)["lines"] == 4


def test_the_page_loads_nothing_and_a_name_cannot_end_its_script(tmp_path: Path) -> None:
    curves = miss_curves([Batch.of([A, A + 4096])])
    text = page(curves, "</script><script>alert(1)</script>\u2028<!--")
    assert text.count("</script>") == 2
    assert not re.search(r"(src|href)\s*=|https?://(?!www\.w3\.org)|@import|fetch\(", text)
    data = json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])
    assert "</script><script>alert(1)</script>\u2028<!--" in data["title"]


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--what", "disk"], "Invalid value for '--what'"),
        (["--sets", "4,x"], "--sets: expected numbers between commas, got '4,x'"),
        (["--page-sizes", "4K,5K"], "--page-sizes: expected powers of two from 4K to 1G, got '5K'"),
        (["--page-sizes", ""], "--page-sizes: expected bytes or text like '64M', got ''"),
        (["--sample", "2"], "--sample: expected a rate above 0 and below 1, got 2"),
        (["--what", "ram", "--no-asid"], "--no-asid: frames of RAM have no tags"),
        (["--format", "tarot"], "--format: expected one of native, lackey"),
        (["--json", "/nowhere/c.json"], "--json: cannot write '/nowhere/c.json': No such file or directory"),
        (["--html", "/"], "--html: cannot write '/': Is a directory"),
        (["--html", "-"], "--html: expected the name of a file, got '-'"),
        (["--points", "5"], "--points: expected --json FILE"),
    ],
)
def test_a_bad_option_is_one_line(
    trace: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert curve(trace, *arguments) == 125
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1, err


def test_the_trace_is_not_written_over(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = trace.read_bytes()
    assert curve(trace, "--json", trace) == 125
    assert "--json: expected another file than the trace" in capsys.readouterr().err
    assert trace.read_bytes() == before


def test_truncated_and_malformed_traces_are_one_line_and_a_status(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = trace.read_bytes()
    broken = tmp_path / "broken.pwt"
    json_file = tmp_path / "c.json"
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 3):
        broken.write_bytes(whole[:length])
        assert curve(broken, "--json", json_file) == 125
        err = capsys.readouterr().err
        assert err.startswith(f"pagewalk: {broken}: ") and err.count("\n") == 1, err
        assert not json_file.exists()
    text = tmp_path / "t.csv"
    text.write_text("addr,rw\n0x1000,R\nnonsense\n0x2000,W\n")
    assert curve(text) == 125
    assert "line 3: expected" in capsys.readouterr().err
    assert curve(text, "--lenient") == 0
    out = capsys.readouterr().out
    assert "2 accesses" in out and "note: 1 malformed records were left out" in out
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(b"addr,rw\n" + b"".join(b"0x%x,R\n" % (n << 12) for n in range(5000)))[:-40])
    assert curve(packed) == 125
    assert capsys.readouterr().err.count("\n") == 1
    assert curve(packed, "--lenient") == 0
    assert curve(tmp_path / "none.pwt") == 125
    assert curve(tmp_path) == 125


def test_progress_is_shown_on_a_terminal_alone(trace: Path) -> None:
    command = [sys.executable, "-m", "pagewalk", "curve", str(trace)]
    quiet = subprocess.run(command, capture_output=True, timeout=120)
    assert (quiet.returncode, quiet.stderr) == (0, b"")
    terminal, other = pty.openpty()
    shown = subprocess.run(command, stdout=subprocess.PIPE, stderr=other, timeout=120)
    os.close(other)
    told = os.read(terminal, 1 << 16)
    os.close(terminal)
    assert b"4,000 accesses" in told
    assert told.endswith(b"\r\x1b[K")
    assert b"\x1b" not in shown.stdout


def test_a_table_of_many_sizes_stays_a_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    curves: Curves = miss_curves([Batch.of(A + rng.integers(0, 1 << 18, 20_000) * 4096)])
    text = lines(curves, "random")
    assert len(text) < 50
    assert max(map(len, text)) < 110


def test_pictures_check_their_needs() -> None:
    from pagewalk.lab.curve_picture import check

    if find_spec("matplotlib") is not None:
        check("--png")
    else:
        with pytest.raises(ConfigError, match="pip install"):
            check("--png")
