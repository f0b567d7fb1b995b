"""Recording with Valgrind, and reading lackey's lines: the counts are those that valgrind gives itself."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pagewalk.cli import run_command
from pagewalk.trace.events import Brk, Exit, Fork, Mmap
from pagewalk.trace.format import WRITE
from pagewalk.trace.infer import infer_mappings
from pagewalk.trace.open import open_trace
from pagewalk.trace.replay import replay
from pagewalk.trace.summary import summarise

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
]


def test_what_is_read_of_lackey_is_what_valgrind_has_counted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ["--tool=lackey", "--trace-mem=yes", "--basic-counts=yes", "--detailed-counts=yes", f"--log-file={log}"]
    environment = {**os.environ, "LD_BIND_NOW": "1"}  # else XSAVE, which is traced and not counted
    subprocess.run(["valgrind", *options, "/bin/true"], check=True, timeout=100, env=environment)
    text = log.read_text()
    executed = int(re.findall(r"guest instrs: +([\d,]+)", text)[0].replace(",", ""))
    table = re.findall(r"^==\d+==\s+[IFV]\d+ +([\d,]+) +([\d,]+)", text, re.MULTILINE)
    loads, stores = (sum(int(row[at].replace(",", "")) for row in table) for at in (0, 1))
    found = summarise(open_trace(log), "lackey")
    assert found.instructions == found.by_kind["fetch"] == executed
    assert (found.by_kind["read"], found.by_kind["write"]) == (loads, stores)


def test_a_program_is_recorded_with_its_mappings(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "trace.pwt"
    assert run_command(["record", "-o", str(out), "--", "sh", "-c", "echo heard; exit 3"]) == 3
    heard = capfd.readouterr()
    assert heard.out == "heard\n"
    assert re.match(rf"pagewalk: {out}: [\d,]+ accesses, \d+ events, \d+ mappings inferred", heard.err)
    trace = open_trace(out)
    assert trace.info.program.endswith("sh -c echo heard; exit 3")
    assert trace.info.has_mappings
    assert infer_mappings(trace).nr_pages == 0, "every page that is touched is mapped by an event"
    events = [event for batch in trace for _, event in batch.events]
    assert any(isinstance(event, Mmap) and "libc" in event.name for event in events)
    assert any(isinstance(event, Brk) and event.addr > event.start for event in events)
    assert [path.name for path in tmp_path.iterdir()] == ["trace.pwt"]


THREADS = """
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static long cells[3][4096];
static pthread_barrier_t both;
static void *fill(void *row) {
    if (row != cells[2])
        pthread_barrier_wait(&both); /* neither ends before the other has begun */
    for (int i = 0; i < 4096; i++)
        ((volatile long *)row)[i] = i;
    return 0;
}
int main(int argc, char **argv) {
    pthread_t threads[2];
    pthread_barrier_init(&both, 0, 2);
    for (int i = 0; i < 2; i++)
        pthread_create(threads + i, 0, fill, cells[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], 0);
    pthread_create(threads, 0, fill, cells[2]);
    pthread_join(threads[0], 0);
    for (int i = 1; i < argc; i++) {
        if (fork() == 0)
            _exit(0);
        wait(0);
    }
    return 0;
}
"""


def test_threads_are_told_apart_and_children_are_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    (tmp_path / "threads.c").write_text(THREADS)
    program = tmp_path / "threads"
    subprocess.run(["gcc", "-O1", "-pthread", "-o", program, tmp_path / "threads.c"], check=True, timeout=60)
    out = tmp_path / "trace.pwt"
    assert run_command(["record", "-o", str(out), "--", str(program), "x", "y"]) == 0
    assert "; 4 threads; not recorded: 2 child processes\n" in capfd.readouterr().err
    writers: dict[int, set[int]] = {}
    events = []
    for batch in open_trace(out):
        events += [event for _, event in batch.events]
        for task in set(batch.task.tolist()):
            pages = batch.addr[(batch.task == task) & (batch.kind == WRITE)] >> 12
            writers.setdefault(task, set()).update(pages.tolist())
    assert set(writers) == {0, 1, 2}, "the third thread has the number of one that has ended"
    assert len(writers[1] & writers[2]) < 8 <= min(len(writers[1]), len(writers[2]))
    forks = [event for event in events if isinstance(event, Fork)]
    assert [(event.task, event.child, event.shares_mm) for event in forks[:2]] == [(0, 1, True), (0, 2, True)]
    assert (len(forks), sum(isinstance(event, Exit) for event in events)) == (3, 3)
    assert replay(open_trace(out)).refused == 0
    assert infer_mappings(open_trace(out)).nr_pages == 0, "all tasks have the mappings of the one address space"


def test_a_program_of_one_thread_and_no_children_says_nothing_of_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["record", "-o", str(tmp_path / "t"), "--", "/bin/true"]) == 0
    said = capfd.readouterr().err.split(": ")[-1]
    assert "accesses" in said
    assert "thread" not in said
    assert "child" not in said


def test_a_trace_is_described_and_converted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, text, back = (tmp_path / name for name in ("a.pwt", "b.csv", "c.pwt"))
    assert run_command(["record", "-q", "-o", str(out), "--", "/bin/true"]) == 0
    assert run_command(["trace", "convert", str(out), str(text)]) == 0
    assert run_command(["trace", "convert", str(text), str(back)]) == 0
    capfd.readouterr()
    assert run_command(["trace", "info", str(back)]) == 0
    lines = capfd.readouterr().out
    count = summarise(open_trace(out), "native").nr_accesses
    assert f"accesses     {count:,} (reads " in lines
    assert "mappings inferred from" in lines


def test_a_program_that_is_not_there_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["record", "-o", str(tmp_path / "t"), "--", "no-such-program"]) == 127
    assert run_command(["record", "-o", str(tmp_path / "t"), "--", "./no-such-program"]) == 127
    assert run_command(["record", "-o", str(tmp_path / "no" / "t"), "--", "true"]) == 125
    assert "cannot be written: No such file or directory" in capfd.readouterr().err


def test_what_cannot_be_recorded_is_one_line_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no program")
    (tmp_path / "kept").write_text("as it was")

    def told(status: int, *words: str) -> str:
        assert run_command(["record", *words]) == status
        return capfd.readouterr().err

    assert told(126, "--", "./text") == "pagewalk: ./text: is not executable\n"
    assert told(126, "-o", "kept", "--", str(tmp_path)) == f"pagewalk: {tmp_path}: is a directory\n"
    assert told(125, "-o", ".", "--", "true") == "pagewalk: .: cannot be written: Is a directory\n"
    assert "(pagewalk record --help lists the options)" in told(125, "--wrong", "--", "true")
    (tmp_path / "broken").write_bytes(Path("/bin/true").read_bytes()[:200])
    (tmp_path / "broken").chmod(0o755)
    assert "pagewalk: ./broken was not recorded: the recorder ended with status " in told(125, "--", "./broken")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert told(125, "--", "/bin/true") == (
        "pagewalk: record: expected valgrind to be installed (apt install valgrind), found none\n"
    )
    assert (tmp_path / "kept").read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "kept", "text"]
