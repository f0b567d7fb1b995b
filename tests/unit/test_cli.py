"""The command line: what it takes, what it answers, and that every failure is one clear line."""

import errno
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENV = {**os.environ, "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
if "PYTHONPATH" in ENV:  # the command is also run from other directories
    ENV["PYTHONPATH"] = os.pathsep.join([os.path.abspath(place) for place in ENV["PYTHONPATH"].split(os.pathsep)])


def pagewalk(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Runs the command; standard input is empty unless given."""
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("env", ENV)
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "pagewalk", *arguments], capture_output=True, timeout=120, **options
    )


def start(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    """Starts the command and leaves it running."""
    return subprocess.Popen([sys.executable, "-m", "pagewalk", *arguments], env=ENV, **options)  # type: ignore[call-overload,no-any-return]


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Missing argument"),
        (["run", "--"], "Missing argument"),
        (["run", "--nosuch", "true"], "No such option"),
        (["run", "--ram"], "Option '--ram' requires an argument"),
        (["run", "--ram", "lots", "true"], "ram: expected bytes or text like '64M', got 'lots'"),
        (["run", "--ram", "1M", "true"], "ram: expected 4M to 64T, got 1048576 bytes"),
        (["run", "--ram", "-1", "true"], "ram: expected"),
        (["run", "--ram", "9" * 5000, "true"], "ram: expected"),
        (["run", "--seed", "x", "true"], "Invalid value for '--seed'"),
        (["run", "--timeout", "0", "true"], "--timeout: expected a number of seconds above 0, got 0"),
        (["run", "--timeout", "-3", "true"], "--timeout: expected"),
        (["run", "--timeout", "nan", "true"], "--timeout: expected"),
        (["run", "--timeout", "soon", "true"], "Invalid value for '--timeout'"),
        (["run", "--env", "x", "true"], "--env: expected NAME=VALUE, got 'x'"),
        (["run", "--config", "/nowhere", "true"], "--config /nowhere: cannot read it: No such file or directory"),
        (["run", "--set", "linux=6.5", "true"], "linux '6.5' (6.18, 6.12 and 6.1 are what there is)"),
        (["run", "--set", "nodes=1G,x", "true"], "--set nodes=1G,x: expected bytes or text like '64M', got 'x'"),
        (["run", "--set", "cpu_nodes=0,1", "true"], "cpu_nodes: expected 1 numbers of 0 to 0, one for each CPU"),
        (["zones", "--config", "/nowhere"], "--config /nowhere: cannot read it: No such file or directory"),
        (["replay", "--config", "/nowhere", "x"], "--config /nowhere: cannot read it: No such file or directory"),
        (["run", "--env", "=x", "true"], "--env: expected NAME=VALUE, got '=x'"),
        (["run", "--rw", "/nonexistent", "true"], "--rw: expected a directory, got '/nonexistent' (no such directory)"),
        (["run", "--rw", "/etc/passwd", "true"], "--rw: expected a directory, got '/etc/passwd' (not a directory)"),
        (
            ["run", "--json", "/nonexistent/x", "true"],
            "--json: cannot write '/nonexistent/x': No such file or directory",
        ),
        (["run", "--json", "/", "true"], "--json: cannot write '/': Is a directory"),
        (["walk"], "No such command 'walk'"),
    ],
)
def test_a_bad_option_is_one_line_and_status_125(arguments: list[str], said: str) -> None:
    done = pagewalk(*arguments)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 125
    assert done.stdout == b""
    assert len(lines) == 1 and lines[0].startswith("pagewalk: ") and said in lines[0], lines


def test_help_and_version_answer_on_standard_output() -> None:
    assert pagewalk("--version").stdout == b"pagewalk, version 0.1.0\n"
    text = pagewalk("run", "--help").stdout.decode()
    for option in ("--no-aslr", "--seed", "--ram", "--rw", "--env", "--clear-env", "--timeout", "--json", "--maps",
                   "--smaps", "--quiet", "--cold-cache"):  # fmt: skip
        assert option in text


def test_asking_for_the_version_imports_nothing_heavy() -> None:
    code = "import sys, pagewalk.cli; print([m for m in ('numba', 'numpy', 'unicorn', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV).stdout == "[]\n"


# --- programs that cannot be run -------------------------------------------------------------------------------------


def test_no_such_program_is_127() -> None:
    for name in ("nosuchprogram", "/nonexistent/program"):
        done = pagewalk("run", "--", name)
        assert (done.returncode, done.stdout) == (127, b"")
        assert done.stderr.decode().splitlines() == [done.stderr.decode().strip()]
        assert name in done.stderr.decode() and "no such program" in done.stderr.decode()


def test_what_cannot_be_executed_is_126(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo no\n")
    text = tmp_path / "text"
    text.write_text("echo no\n")
    text.chmod(0o755)
    truncated = tmp_path / "truncated"
    truncated.write_bytes(Path("/bin/true").read_bytes()[:100])
    truncated.chmod(0o755)
    arm = tmp_path / "arm"
    image = bytearray(Path("/bin/true").read_bytes())
    image[18] = 183
    arm.write_bytes(image)
    arm.chmod(0o755)
    for path in (tmp_path, plain, text, truncated, arm):
        done = pagewalk("run", "--", str(path))
        assert done.returncode == 126, (path, done.stderr)
        assert len(done.stderr.decode().splitlines()) == 1, done.stderr.decode()
        assert done.stdout == b""


# --- programs that run -----------------------------------------------------------------------------------------------


def test_the_program_has_stdin_and_stdout_and_the_report_goes_to_stderr() -> None:
    done = pagewalk("run", "--", "cat", input=b"one\ntwo\n", stdin=None)
    assert (done.returncode, done.stdout) == (0, b"one\ntwo\n")
    assert "Address space" in done.stderr.decode()


def test_quiet_drops_the_report() -> None:
    done = pagewalk("run", "--quiet", "--", "echo", "hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")


def test_options_behind_the_program_are_its_own() -> None:
    assert pagewalk("run", "-q", "echo", "--quiet", "--json").stdout == b"--quiet --json\n"


@pytest.mark.parametrize("status", [0, 1, 42, 125, 255])
def test_the_exit_status_is_the_programs(status: int) -> None:
    assert pagewalk("run", "-q", "--", "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_a_signal_gives_128_and_its_number(number: signal.Signals) -> None:
    done = pagewalk("run", "--", "sh", "-c", f"kill -{int(number)} $$")
    assert done.returncode == 128 + number
    assert f"killed by signal {int(number)} ({number.name})" in done.stderr.decode()


def test_the_program_and_the_working_directory_are_visible_below_the_private_tmp(tmp_path: Path) -> None:
    shutil.copy("/bin/cat", tmp_path / "mycat")
    (tmp_path / "file").write_text("text\n")
    (tmp_path / "out").mkdir()
    assert pagewalk("run", "-q", "./mycat", "file", cwd=tmp_path).stdout == b"text\n"
    assert pagewalk("run", "-q", str(tmp_path / "mycat"), "/etc/hostname", cwd="/").returncode == 0
    script = "echo x > out/made; echo y > made"
    done = pagewalk("run", "-q", "--rw", "out", "sh", "-c", script, cwd=tmp_path)
    assert (tmp_path / "out" / "made").read_text() == "x\n"
    assert not (tmp_path / "made").exists()
    assert b"Read-only file system" in done.stderr


def test_what_the_caller_ignores_the_program_ignores() -> None:
    script = 'trap "" INT USR1; exec "$@" grep SigIgn /proc/self/status'
    pagewalk_run = [sys.executable, "-m", "pagewalk", "run", "-q", "--"]
    done = subprocess.run(["sh", "-c", script, "sh", *pagewalk_run], env=ENV, capture_output=True)
    native = subprocess.run(["sh", "-c", script, "sh", "env"], env=ENV, capture_output=True)
    mask = int(done.stdout.split()[1], 16)
    assert mask == int(native.stdout.split()[1], 16)  # with what the tests themselves were told to ignore
    assert mask >> (signal.SIGINT - 1) & 1 and mask >> (signal.SIGUSR1 - 1) & 1


def test_the_environment_is_inherited_extended_or_empty() -> None:
    env = {**ENV, "OUTER": "1"}
    assert b"OUTER=1\n" in pagewalk("run", "-q", "--", "env", env=env).stdout
    assert pagewalk("run", "-q", "--clear-env", "--env", "A=b=c", "--", "env", env=env).stdout == b"A=b=c\n"


def test_maps_and_smaps_are_those_of_the_end() -> None:
    done = pagewalk("run", "-q", "--maps", "--no-aslr", "--", "true")
    lines = done.stderr.decode().splitlines()
    assert any(line.endswith("[stack]") for line in lines)
    assert all("-" in line.split()[0] for line in lines)
    text = pagewalk("run", "-q", "--smaps", "--", "true").stderr.decode()
    assert "VmFlags: rd" in text and "Rss:" in text


def test_json_has_the_reports_facts(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = pagewalk("run", "--json", str(out), "--no-aslr", "--", "true")
    data = json.loads(out.read_text())
    assert data["status"] == 0 and data["signal"] == 0 and data["command"] == ["true"]
    assert sum(data["faults_by_mapping"].values()) == data["minor"] + data["major"]
    assert data["mappings"][-1]["name"] in ("[stack]", "[vdso]", "[vsyscall]")
    assert data["syscalls"]["execve"] if "execve" in data["syscalls"] else data["syscalls"]["exit_group"] == 1
    assert "Address space" in done.stderr.decode()
    only = pagewalk("run", "--json", "-", "--no-aslr", "--", "true")
    again = json.loads(only.stderr)
    assert {**again, "seconds": 0} == {**data, "seconds": 0}


def test_without_aslr_two_runs_are_the_same_and_a_seed_moves_them() -> None:
    def maps(*options: str) -> bytes:
        return pagewalk("run", "-q", "--maps", *options, "--", "true").stderr

    assert maps("--no-aslr") == maps("--no-aslr")
    assert maps("--seed", "1") == maps("--seed", "1")
    assert maps("--seed", "1") != maps("--seed", "2")


def test_a_cold_page_cache_makes_major_faults(tmp_path: Path) -> None:
    def faults(*options: str) -> tuple[int, int]:
        data = json.loads(pagewalk("run", "--json", "-", "--no-aslr", *options, "--", "true").stderr)
        return data["minor"], data["major"]

    warm, cold = faults(), faults("--cold-cache")
    assert warm[1] == 0 and cold[1] > 0


def test_too_little_ram_kills_the_program_and_the_report_says_so() -> None:
    done = pagewalk("run", "--ram", "64M", "--", "perl", "-e", "push @x, 'x' x 300000 while 1")
    assert done.returncode == 137
    assert "Out of memory: Killed process 1000 (perl) total-vm:" in done.stderr.decode()


def test_too_little_ram_with_nobody_to_kill_is_one_line_and_125() -> None:
    wants = "open F, '>/proc/self/oom_score_adj'; print F -1000; close F; push @x, 'x' x 300000 while 1"
    done = pagewalk("run", "--ram", "64M", "--", "perl", "-e", wants)
    assert done.returncode == 125
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1 and "no page frame" in lines[0], lines


def test_a_timeout_ends_the_program_with_124_and_a_report() -> None:
    begin = time.monotonic()
    done = pagewalk("run", "--timeout", "1.5", "--", "sh", "-c", "while :; do :; done")
    assert done.returncode == 124
    assert "stopped by pagewalk (--timeout 1.5)" in done.stderr.decode()
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize(
    "command", [["sh", "-c", "echo go; while :; do :; done"], ["sh", "-c", "echo go; read x; exit 3"]]
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_cleanly_with_a_report(command: list[str], number: signal.Signals) -> None:
    def not_ignored() -> None:
        """A shell starts what runs in the background with SIGINT ignored."""
        signal.signal(number, signal.SIG_DFL)

    process = start("run", "--", *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    preexec_fn=not_ignored)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"go\n"
    process.send_signal(number)
    process.wait(60)  # its standard input stays open until then: an end of file would end the program too
    _, text = process.communicate()
    assert process.returncode == 128 + number
    assert f"stopped by pagewalk ({number.name})" in text.decode()
    assert "Traceback" not in text.decode()


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f'"{sys.executable}" -m pagewalk run -- seq 100000 | head -1'
    done = subprocess.run(command, shell=True, capture_output=True, env=ENV, timeout=60)
    assert done.stdout == b"1\n"
    assert b"Traceback" not in done.stderr


def test_a_closed_standard_error_is_no_trouble() -> None:
    command = f'"{sys.executable}" -m pagewalk run -- echo hello 2>&-'
    done = subprocess.run(command, shell=True, capture_output=True, env=ENV, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"hello\n")


def test_a_long_run_shows_progress_on_a_terminal_and_clears_it() -> None:
    reader, writer = pty.openpty()
    process = start("run", "--", "sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done", stderr=writer,
                    stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)  # fmt: skip
    os.close(writer)
    text = b""
    while select.select([reader], [], [], 60)[0]:
        try:
            text += os.read(reader, 65536)
        except OSError as error:
            assert error.errno == errno.EIO
            break
    assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == 0
    if b"system calls\x1b" in text:  # it took longer than the delay
        assert b"\r\x1b[K" in text
    assert b"Address space" in text


def test_an_internal_error_is_one_line_and_a_traceback_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, pagewalk.path as p\n"
        "def broken(*a): raise RuntimeError('first line\\nsecond')\n"
        "p.find_program = broken\n"
        "from pagewalk.cli import run_command\n"
        "sys.exit(run_command(['run', 'true']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV)
    assert done.returncode == 125
    assert done.stderr == "pagewalk: internal error: RuntimeError: first line (PAGEWALK_DEBUG=1 shows where)\n"
    env = {**ENV, "PAGEWALK_DEBUG": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert "Traceback" in done.stderr


def test_settings_reach_the_machine() -> None:
    done = pagewalk("run", "-q", "--set", "overcommit_ratio=37", "--", "cat", "/proc/sys/vm/overcommit_ratio")
    assert (done.returncode, done.stdout) == (0, b"37\n")
    done = pagewalk("run", "-q", "--set", "rlimits.STACK=1M:2M", "--", "sh", "-c", "ulimit -s; ulimit -Hs")
    assert (done.returncode, done.stdout) == (0, b"1024\n2048\n")


@pytest.mark.parametrize(
    "setting", ["swap", "swap=1", "cpus=0", "pcid=perhaps", "rlimits.X=1", "fault_around_bytes=5000"]
)
def test_a_bad_setting_is_one_line_and_125(setting: str) -> None:
    done = pagewalk("run", "--set", setting, "--", "true")
    assert done.returncode == 125
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1 and "expected" in lines[0], lines


def test_a_file_describes_the_machine_and_options_come_before_it(tmp_path: Path) -> None:
    path = tmp_path / "machine.toml"
    path.write_text('nodes = ["64M", "96M"]\ndistances = [[10, 31], [31, 10]]\ncpus = 2\nlinux = "6.12"\n')
    command = "cat /sys/devices/system/node/node1/distance /proc/sys/kernel/osrelease; nproc"
    done = pagewalk("run", "-q", "--config", str(path), "--", "sh", "-c", command)
    assert done.stdout.split() == [b"31", b"10", b"6.12.0", b"2"] and done.returncode == 0
    done = pagewalk("run", "-q", "--config", str(path), "--cpus", "1", "--set", "linux=6.1", "--", "sh", "-c", command)
    assert done.stdout.split() == [b"31", b"10", b"6.1.0", b"1"]
    zones = pagewalk("zones", "--config", str(path), "--json")
    assert {zone["node"] for zone in json.loads(zones.stdout)["zones"]} == {0, 1}
