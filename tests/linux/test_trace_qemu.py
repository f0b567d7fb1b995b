"""Recording with QEMU's user-mode emulator: every access of a program whose accesses are known, and its mappings."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pagewalk.cli import run_command
from pagewalk.errors import ConfigError
from pagewalk.trace.events import Brk, Mmap, Munmap
from pagewalk.trace.format import FETCH, READ, WRITE
from pagewalk.trace.infer import infer_mappings
from pagewalk.trace.open import open_trace
from pagewalk.trace.record_qemu import build_plugin, qemu_capture

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(
        shutil.which("qemu-x86_64") is None or shutil.which("cc") is None, reason="qemu-user or cc is not installed"
    ),
]

LOOP = """
.intel_syntax noprefix
.globl _start
_start: mov ecx, 1000
next:   mov rax, [rip + cell]
        add dword ptr [rip + cell + 64], 1
        mov byte ptr [rip + cell + 128], 7
        dec ecx
        jnz next
        mov eax, 60
        mov edi, 5
        syscall
.bss
.balign 4096
cell:   .skip 4096
"""


def assembled(folder: Path, source: str) -> str:
    (folder / "program.s").write_text(source)
    program = folder / "program"
    subprocess.run(["cc", "-nostdlib", "-static", "-o", program, folder / "program.s"], check=True)
    return str(program)


def test_every_access_of_a_loop_is_there_in_its_order(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program, out = assembled(tmp_path, LOOP), tmp_path / "trace.pwt"
    assert run_command(["record", "--with", "qemu", "-o", str(out), "--", program]) == 5
    assert re.match(rf"pagewalk: {out}: 9,004 accesses, \d+ events, \d+ mappings inferred", capfd.readouterr().err)
    rows = [
        row for batch in open_trace(out) for row in zip(*(column.tolist() for column in batch.columns), strict=True)
    ]
    kinds = [row[1] for row in rows]
    assert (kinds.count(FETCH), kinds.count(READ), kinds.count(WRITE)) == (1 + 5 * 1000 + 3, 2000, 2000)
    word = next(row[0] for row in rows if row[1] == READ)
    turn = [(addr - word, kind, size) for addr, kind, size, _, _ in rows[1:10] if kind != FETCH]
    assert turn == [(0, READ, 8), (64, READ, 4), (64, WRITE, 4), (128, WRITE, 1)]
    assert [row[:3] for row in rows[1:10]] == [row[:3] for row in rows[10:19]]
    assert [kind for _, kind, *_ in rows[1:10]] == [FETCH, READ, FETCH, READ, WRITE, FETCH, WRITE, FETCH, FETCH]
    assert [row[2] for row in rows if row[1] == FETCH][:6] == [5, 7, 7, 7, 2, 2]


def test_a_program_is_recorded_with_its_mappings_and_replayed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trace.pwt"
    assert run_command(["record", "--with", "qemu", "-o", str(out), "--", "sh", "-c", "echo heard; exit 3"]) == 3
    assert capfd.readouterr().out == "heard\n"
    trace = open_trace(out)
    assert trace.info.source == "pagewalk record (qemu)" and trace.info.has_mappings and trace.info.has_fetches
    assert infer_mappings(trace).nr_pages == 0, "every page that is touched is mapped by an event"
    events = [event for batch in trace for _, event in batch.events]
    assert any(isinstance(event, Mmap) and "libc" in event.name and not event.inferred for event in events)
    assert any(isinstance(event, Brk) and event.addr > event.start for event in events)
    assert any(isinstance(event, Munmap) for event in events)
    assert run_command(["replay", str(out), "--tlb", "skylake-sp"]) == 0
    assert "walk" in capfd.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["trace.pwt"]


def test_children_that_outlive_the_program_are_not_waited_for_nor_recorded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trace.pwt"
    script = "(exec >&- 2>&-; sleep 30) & exec 900>&- 901>&-; echo done"
    assert run_command(["record", "-q", "--with", "qemu", "-o", str(out), "--", "sh", "-c", "echo a; /bin/true"]) == 0
    assert run_command(["record", "-q", "--with", "qemu", "-o", str(out), "--", "bash", "-c", script]) == 0
    assert capfd.readouterr().out == "a\ndone\n"


def test_a_killed_program_leaves_what_was_seen(tmp_path: Path) -> None:
    out = tmp_path / "trace.pwt"
    script = "for i in 1 2 3 4 5 6 7 8 9; do :; done; kill -9 $$"
    assert run_command(["record", "-q", "--with", "qemu", "-o", str(out), "--", "sh", "-c", script]) == 128 + 9
    events = [event for batch in open_trace(out) for _, event in batch.events]
    assert any(isinstance(event, Mmap) and "libc" in event.name for event in events)
    assert sum(len(batch) for batch in open_trace(out)) > 100_000


def test_what_is_missing_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"expected no-such-qemu to be installed \(apt install qemu-user\)"):
        qemu_capture("no-such-qemu")
    plain = tmp_path / "qemu"
    plain.write_text("#!/bin/sh\necho no options\n")
    plain.chmod(0o755)
    with pytest.raises(ConfigError, match="this one is built without"):
        build_plugin(str(plain))
    assert run_command(["record", "--with", "strace", "-o", str(tmp_path / "t"), "--", "true"]) == 125
    assert "--with: expected valgrind or qemu, got 'strace'" in capfd.readouterr().err
    assert not os.path.exists(tmp_path / "t")
