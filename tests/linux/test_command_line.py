"""The command line: exit statuses, one line for each mistake and never a traceback, options that do what they say."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import harness
import pytest
from harness import compile_c, modelled

pytestmark = [pytest.mark.linux]


def complaint(run: harness.Outcome, status: int) -> str:
    """The one line of standard error of a run that failed with ``status``."""
    text = run.stderr.decode()
    assert run.status == status, text
    assert "Traceback" not in text
    assert run.stdout == b""
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    return lines[0]


@pytest.mark.parametrize("name", ["/no/such/program", "no-such-program-anywhere", "./missing", "/etc/passwd/x"])
def test_no_such_program(name: str) -> None:
    run = modelled([name])
    assert run.status in (126, 127)
    assert complaint(run, 126 if "passwd" in name else 127)


def test_not_a_program(work: Path) -> None:
    data, text, empty = work / "data", work / "text", work / "empty"
    data.write_bytes(b"\x00\x01\x02" * 100)
    text.write_text("echo no interpreter line\n")
    empty.write_bytes(b"")
    complaint(modelled(["/etc"]), 126)
    complaint(modelled([str(work)]), 126)
    complaint(modelled([str(data)]), 126)
    for path in (data, text, empty):
        path.chmod(0o755)
        complaint(modelled([str(path)]), 126)
    complaint(modelled(["/etc/passwd"]), 126)
    complaint(modelled(["/dev/null"]), 126)


def test_scripts_that_cannot_run(work: Path) -> None:
    for number, (text, status) in enumerate(
        [("#!/no/such/interpreter\n", (126, 127)), ("#!\n", (126,)), ("#! \t\n", (126,)), ("#!/etc\n", (126,))]
    ):
        script = work / f"script{number}"
        script.write_text(text)
        script.chmod(0o755)
        run = modelled([str(script)])
        assert run.status in status, (text, run.stderr)
        complaint(run, run.status)


def elf(work: Path, name: str, image: bytes) -> str:
    path = work / name
    path.write_bytes(image)
    path.chmod(0o755)
    return str(path)


HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")


def image(
    machine: int = 62,
    bits: int = 2,
    order: int = 1,
    kind: int = 2,
    entry: int = 0x400078,
    segments: list[bytes] | None = None,
) -> bytes:
    """A small ELF file; by default a program that leaves with status 0."""
    code = bytes.fromhex("31ffb83c0000000f05")
    if segments is None:
        segments = [SEGMENT.pack(1, 5, 0, 0x400000, 0x400000, 0x1000, 0x1000, 0x1000)]
    ident = b"\x7fELF" + bytes([bits, order, 1, 0]) + bytes(8)
    header = HEADER.pack(ident, kind, machine, 1, entry, 64, 0, 0, 64, 56, len(segments), 0, 0, 0)
    whole = header + b"".join(segments)
    return whole[:64] + whole[64:].ljust(56, b"\0") + code if len(segments) == 1 else whole + code.rjust(4096, b"\x90")


def test_the_small_elf_file_itself_runs(work: Path) -> None:
    run = modelled([elf(work, "small", image())])
    assert (run.status, run.stderr) == (0, b"")


@pytest.mark.parametrize("machine", [3, 40, 183, 243, 8, 0, 0xFFFF])
def test_programs_of_other_architectures(machine: int, work: Path) -> None:
    """None fits an x86-64 machine; without --arch the machine is the program's (test_arm64.py)."""
    complaint(modelled([elf(work, "foreign", image(machine=machine))], options=["--arch", "x86_64"]), 126)
    complaint(modelled([elf(work, "foreign32", image(machine=machine, bits=1))], options=["--arch", "x86_64"]), 126)


def test_a_32_bit_program(work: Path) -> None:
    tool = harness.need("gcc")
    source = work / "small.s"
    source.write_text(".globl _start\n_start: mov $1, %eax\n mov $0, %ebx\n int $0x80\n")
    done = subprocess.run(
        [tool, "-m32", "-nostdlib", "-static", "-o", str(work / "small"), str(source)], capture_output=True
    )
    if done.returncode != 0:
        pytest.skip("gcc cannot link 32-bit programs here")
    outcome = modelled([str(work / "small")])
    assert (outcome.status, outcome.stderr) == (0, b"")


@pytest.mark.parametrize("length", [0, 1, 4, 16, 52, 63, 64, 65, 100, 119])
def test_truncated_elf_files(length: int, work: Path) -> None:
    complaint(modelled([elf(work, "short", image()[:length])]), 126)


def test_a_truncated_program(work: Path) -> None:
    whole = Path(compile_c("sorting")).read_bytes()
    for length in (120, 600, 4096, 9000):
        run = modelled([elf(work, f"cut{length}", whole[:length])])
        assert run.status == 126 or run.status > 128, run.stderr
        assert b"Traceback" not in run.stderr


TOP = (1 << 64) - 1
HOSTILE = {
    "no segments": [],
    "size near 2^64": [SEGMENT.pack(1, 7, 0, 0x400000, 0, 0x1000, TOP - 0x1000, 0x1000)],
    "both sizes near 2^64": [SEGMENT.pack(1, 7, 0, 0x400000, 0, TOP, TOP, 0x1000)],
    "file size above memory size": [SEGMENT.pack(1, 7, 0, 0x400000, 0, 0x2000, 0x1000, 0x1000)],
    "address in the kernel half": [SEGMENT.pack(1, 7, 0, 0xFFFF800000000000, 0, 0x1000, 0x1000, 0x1000)],
    "address that wraps": [SEGMENT.pack(1, 7, 0, TOP - 0xFFF, 0, 0x1000, 0x3000, 0x1000)],
    "at the end of user space": [SEGMENT.pack(1, 7, 0, 0x7FFFFFFFF000, 0, 0x1000, 0x1000, 0x1000)],
    "offset near 2^64": [SEGMENT.pack(1, 7, TOP - 0xFFF, 0x400000, 0, 0x1000, 0x1000, 0x1000)],
    "offset not congruent": [SEGMENT.pack(1, 7, 0x10, 0x400000, 0, 0x1000, 0x1000, 0x1000)],
    "interpreter missing": [
        SEGMENT.pack(3, 4, 8192, 0, 0, 30, 30, 1),
        SEGMENT.pack(1, 7, 0, 0x400000, 0, 0x1000, 0x1000, 0x1000),
    ],
    "interpreter name too long": [
        SEGMENT.pack(3, 4, 0, 0, 0, 5000, 5000, 1),
        SEGMENT.pack(1, 7, 0, 0x400000, 0, 0x1000, 0x1000, 0x1000),
    ],
    "interpreter name not ended": [
        SEGMENT.pack(3, 4, 0, 0, 0, 10, 10, 1),
        SEGMENT.pack(1, 7, 0, 0x400000, 0, 0x1000, 0x1000, 0x1000),
    ],
    "huge and not there": [SEGMENT.pack(1, 7, 0, 0x400000, 0, 1 << 45, 1 << 46, 0x1000)],
    "alignment not a power of two": [SEGMENT.pack(1, 7, 0, 0x400000, 0, 0x1000, 0x1000, 0x1003)],
    "overlapping": [
        SEGMENT.pack(1, 7, 0, 0x400000, 0, 0x1000, 0x8000, 0x1000),
        SEGMENT.pack(1, 7, 0, 0x402000, 0, 0x1000, 0x1000, 0x1000),
    ],
    "descending": [
        SEGMENT.pack(1, 7, 0, 0x500000, 0, 0x1000, 0x1000, 0x1000),
        SEGMENT.pack(1, 7, 0, 0x400000, 0, 0x1000, 0x1000, 0x1000),
    ],
    "entry in the kernel half": [SEGMENT.pack(1, 7, 0, 0x400000, 0, 0x1000, 0x1000, 0x1000)],
    "65535 segments": [SEGMENT.pack(0, 0, 0, 0, 0, 0, 0, 0)] * 1200,
}


@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_elf_files_end_as_they_do_natively(name: str, kind: int, work: Path) -> None:
    harness.need_x86_64_linux()
    entry = 0xFFFF800000000000 if name.startswith("entry") else 0x400078
    path = elf(work, "hostile", image(kind=kind, entry=entry, segments=HOSTILE[name]))
    try:
        native = harness.native([path]).status
    except OSError:
        native = 126
    run = modelled([path])
    assert b"Traceback" not in run.stderr
    assert b"internal error" not in run.stderr
    # Where the kernel has given up the old program by then it can only kill it, which tells nobody why.
    expected = {126: (126, 127), 139: (139, 126)}.get(native, (native,))
    assert run.status in expected, (native, run.status, run.stderr)
    if run.status == 126:
        complaint(run, 126)


@pytest.mark.parametrize(
    "options",
    [
        ["--ram", "lots"],
        ["--ram", "-5M"],
        ["--ram", "1"],
        ["--ram", "4097K"],
        ["--ram", "99999999T"],
        ["--seed", "x"],
        ["--rw", "/no/such/directory"],
        ["--rw", "/etc/passwd"],
        ["--env", "NOEQUALS"],
        ["--env", "=x"],
        ["--timeout", "never"],
        ["--timeout", "-1"],
        ["--timeout", "0"],
        ["--json", "/no/such/directory/file"],
        ["--no-such-option"],
        ["--ram"],
    ],
)
def test_bad_options(options: list[str]) -> None:
    line = complaint(modelled(["/bin/true"], env=None, options=options), 125)
    assert len(line) < 300


def test_no_program_at_all() -> None:
    run = modelled([])
    assert run.status == 125
    assert b"Traceback" not in run.stderr


@pytest.mark.parametrize(("command", "status"), [("/bin/true", 0), ("/bin/false", 1)])
def test_the_exit_status_is_the_programs(command: str, status: int) -> None:
    assert modelled([command]).status == status


def test_a_time_limit_ends_a_program_that_does_not_end() -> None:
    run = modelled([compile_c("endless")], options=["--timeout", "2"], timeout=60)
    assert run.status == 124
    assert b"Traceback" not in run.stderr
    run = modelled(["/bin/sleep", "1000"], options=["--timeout", "2"], timeout=60)
    assert run.status == 124


def test_a_time_limit_that_is_not_reached_changes_nothing() -> None:
    assert modelled(["/bin/echo", "x"], options=["--timeout", "100"]).stdout == b"x\n"


def test_the_report_is_on_standard_error_and_quiet_drops_it() -> None:
    command = [sys.executable, "-m", "pagewalk", "run"]
    outer = {**os.environ, "PYTHONPATH": str(harness.SOURCES)}
    loud = subprocess.run([*command, "--", "/bin/echo", "x"], capture_output=True, env=outer, timeout=100)
    quiet = subprocess.run([*command, "--quiet", "--", "/bin/echo", "x"], capture_output=True, env=outer, timeout=100)
    assert (loud.stdout, quiet.stdout, quiet.stderr) == (b"x\n", b"x\n", b"")
    for word in ("fault", "[stack]", "[heap]", "resident", "page table"):
        assert word.lower() in loud.stderr.decode().lower()


def test_json_is_valid_and_says_what_the_report_says(work: Path) -> None:
    target = work / "out.json"
    run = modelled(["/bin/echo", "x"], options=["--json", str(target)])
    assert (run.status, run.stdout) == (0, b"x\n")
    report = json.loads(target.read_text())
    assert isinstance(report, dict)
    assert report


def test_json_of_a_program_that_fails(work: Path) -> None:
    target = work / "out.json"
    assert modelled([compile_c("overflow")], options=["--json", str(target)]).status == 139
    assert json.loads(target.read_text())


def test_maps_and_smaps_at_the_end_are_printed_on_standard_error() -> None:
    run = modelled(["/bin/true"], options=["--maps", "--no-aslr"])
    assert run.stdout == b""
    assert b"[stack]" in run.stderr
    assert b"/true" in run.stderr
    run = modelled(["/bin/true"], options=["--smaps"])
    assert b"Rss:" in run.stderr


def test_environment_options() -> None:
    run = modelled(["/usr/bin/env"], env=None, options=["--clear-env"])
    assert run.stdout == b""
    run = modelled(
        ["/usr/bin/env"], env=None, options=["--clear-env", "--env", "A=1", "--env", "B=x=y", "--env", "A=2"]
    )
    assert sorted(run.stdout.split()) == [b"A=2", b"B=x=y"]
    run = modelled(["/usr/bin/env"], env=None, options=["--env", "PAGEWALK_ADDED=1"])
    assert b"PAGEWALK_ADDED=1" in run.stdout.split()
    assert b"PATH=" in run.stdout


def test_a_program_is_found_in_the_path() -> None:
    assert modelled(["echo", "found"]).stdout == b"found\n"


def test_options_after_the_program_are_the_programs() -> None:
    assert modelled(["/bin/echo", "--quiet", "--ram", "--", "-n"]).stdout == b"--quiet --ram -- -n\n"


def test_the_working_directory_is_the_callers(work: Path) -> None:
    assert modelled(["/bin/pwd", "-P"], cwd=str(work)).stdout == f"{work}\n".encode()


def test_a_small_machine_runs_a_small_program_and_runs_out_of_memory_cleanly() -> None:
    assert modelled(["/bin/echo", "small"], options=["--ram", "64M"]).stdout == b"small\n"
    run = modelled([compile_c("malloc_stress", flags=["-lm"])], options=["--ram", "16M"])
    assert b"Traceback" not in run.stderr
    assert run.status in (0, 125, 137)


def test_closed_output_ends_a_program_as_a_broken_pipe_does() -> None:
    command = (
        f"{sys.executable} -m pagewalk run --quiet -- /usr/bin/seq 1 10000000 | head -n 1; echo ${{PIPESTATUS[0]}}"
    )
    outer = {**os.environ, "PYTHONPATH": str(harness.SOURCES)}
    done = subprocess.run([harness.need("bash"), "-c", command], capture_output=True, env=outer, timeout=200)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert done.stdout.split() == [b"1", b"141"]
