"""Runs one program twice, on the running kernel and in pagewalk, and says where the two differ.

    prog = harness.compile_c("faults")                     # once, kept in a cache keyed by source and flags
    harness.check([prog, "1"], aslr=False)                 # asserts: same standard output, same exit status

A run has a work directory of its own (``{work}`` in the arguments stands for it). It is filled from ``work=``, is
writable in pagewalk (``--rw``), and is put back between the two runs; what the program left in it is compared too.

With PAGEWALK_TEST_NATIVE=1 in the environment both runs are native: what then differs is not stable, and no test.

Directories live below /var/tmp (or ``PAGEWALK_TEST_DIR``), because a program in pagewalk sees a private /tmp.
"""

import difflib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import pagewalk
from pagewalk.conform.both import device_settings

PROGRAMS = Path(__file__).parent / "programs"
CONFORM = Path(pagewalk.__file__).resolve().parent / "conform" / "c"
SOURCES = Path(pagewalk.__file__).resolve().parents[1]
ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/", "TZ": "UTC"}
LINKS = {
    "static": ["-static", "-no-pie"],
    "static-pie": ["-static-pie", "-fPIE"],
    "pie": ["-pie", "-fPIE"],
    "dynamic": ["-no-pie"],
}
TIMEOUT = 300.0


def base() -> Path:
    """Where programs and work directories live: not below /tmp, which is private to a program in pagewalk."""
    path = Path(os.environ.get("PAGEWALK_TEST_DIR", f"/var/tmp/pagewalk-tests-{os.getuid()}"))
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise RuntimeError(f"{path} belongs to somebody else; set PAGEWALK_TEST_DIR")
    return path


# --- what a test needs, and says when it is missing -----------------------------------------------------------------


def need(tool: str) -> str:
    """The path of ``tool``; skips the test where this machine has none."""
    path = shutil.which(tool, path=ENV["PATH"])
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


def need_x86_64_linux() -> None:
    """Skips where programs for pagewalk cannot run natively."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip(f"compares with Linux on x86-64; this is {sys.platform} on {platform.machine()}")


def need_reference_kernel() -> None:
    """Skips where the running kernel is not the one that is modelled (6.18, 4 levels, THP not always)."""
    need_x86_64_linux()
    release = platform.release()
    if not release.startswith("6.18"):
        pytest.skip(f"compares with Linux 6.18; the running kernel is {release}")
    thp = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if thp.exists() and "[always]" in thp.read_text():
        pytest.skip("transparent huge pages are set to always; the model runs without them")
    if " la57 " in Path("/proc/cpuinfo").read_text():
        pytest.skip("this machine has 5-level page tables; the default model has 4")


def need_disk_file_system(path: Path) -> None:
    """Skips where ``path`` lies on a file system whose page cache behaves differently (tmpfs, overlayfs, network)."""
    need_file_system(path, "ext2/ext3", "xfs", "btrfs")


def need_file_system(path: Path, *kinds: str) -> None:
    """Skips where ``path`` lies on a file system of another kind, as stat(1) names them."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(path)], capture_output=True, text=True).stdout.strip()
    if kind not in kinds:
        pytest.skip(f"{path} is on {kind}; page-cache behaviour is compared on {', '.join(kinds)}")


def setarch_works() -> bool:
    """Whether a program can be run without ASLR here (containers often forbid personality(2))."""
    tool = shutil.which("setarch")
    return tool is not None and subprocess.run([tool, "-R", "true"], capture_output=True).returncode == 0


# --- compiling ------------------------------------------------------------------------------------------------------


def compile_c(name: str, link: str = "static", flags: Sequence[str] = (), compiler: str = "gcc") -> str:
    """The executable of ``programs/NAME`` (``.c`` unless it has a suffix), linked as ``link`` says (see LINKS).

    Compiled once and kept; several pytest workers may ask for the same at once. Skips without the compiler.
    """
    need_x86_64_linux()
    tool = need(compiler)
    source = PROGRAMS / (name if "." in name else f"{name}.c")
    if not source.exists():
        source = CONFORM / source.name
    headers = b"".join(header.read_bytes() for folder in (PROGRAMS, CONFORM) for header in sorted(folder.glob("*.h")))
    command = [
        tool,
        "-O1",
        "-g0",
        "-w",
        "-fno-stack-protector",
        *LINKS[link],
        *flags,
        "-I",
        str(PROGRAMS),
        "-I",
        str(CONFORM),
    ]
    version = subprocess.run([tool, "--version"], capture_output=True).stdout
    key = hashlib.sha256(source.read_bytes() + headers + repr(command).encode() + version).hexdigest()[:16]
    target = base() / "build" / key / f"{source.stem}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.parent / f"{source.stem}.{os.getpid()}"
        libraries = [flag for flag in flags if flag.startswith("-l")]
        done = subprocess.run([*command, "-o", str(scratch), str(source), *libraries], capture_output=True, text=True)
        if done.returncode != 0 and "cannot find -l" in done.stderr:
            pytest.skip(f"cannot link {name} {link}: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, f"{compiler} could not compile {source.name}:\n{done.stderr}"
        scratch.replace(target)
    return str(target)


# --- running --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a run left: exit status as a shell counts it (128 + signal), output, and the work directory's contents."""

    status: int
    stdout: bytes
    stderr: bytes
    files: dict[str, bytes] = field(default_factory=dict)


def _outcome(done: "subprocess.CompletedProcess[bytes]") -> Outcome:
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return Outcome(status, done.stdout, done.stderr)


def native(
    argv: Sequence[str],
    *,
    aslr: bool = True,
    stdin: bytes = b"",
    env: Mapping[str, str] = ENV,
    cwd: str = "/",
    timeout: float = TIMEOUT,
) -> Outcome:
    """Run ``argv`` on the running kernel; without ASLR through ``setarch -R``."""
    command = list(argv)
    if not aslr:
        if not setarch_works():
            pytest.skip("setarch -R is not possible here")
        command = [need("setarch"), "-R", *command]
    return _outcome(
        subprocess.run(command, input=stdin, env=dict(env), cwd=cwd, capture_output=True, timeout=timeout, check=False)
    )


def modelled(
    argv: Sequence[str],
    *,
    aslr: bool = True,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = ENV,
    cwd: str = "/",
    rw: Sequence[str] = (),
    options: Sequence[str] = (),
    timeout: float = TIMEOUT,
    quiet: bool = True,
) -> Outcome:
    """Run ``argv`` in pagewalk with exactly ``env`` (None: the caller's); ``options`` are more of `pagewalk run`'s."""
    if os.environ.get("PAGEWALK_TEST_NATIVE"):
        return native(argv, aslr=aslr, stdin=stdin, env=os.environ if env is None else env, cwd=cwd, timeout=timeout)
    command = [sys.executable, "-m", "pagewalk", "run", *(["--quiet"] if quiet else []), *options]
    if not aslr:
        command.append("--no-aslr")
    for directory in rw:
        command += ["--rw", directory]
    if env is not None:
        command.append("--clear-env")
        for name, value in env.items():
            command += ["--env", f"{name}={value}"]
    outer = dict(os.environ)
    outer["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SOURCES), outer.get("PYTHONPATH", "")]))
    return _outcome(
        subprocess.run(
            [*command, "--", *argv], input=stdin, env=outer, cwd=cwd, capture_output=True, timeout=timeout, check=False
        )
    )


# --- work directories -----------------------------------------------------------------------------------------------


def new_work() -> Path:
    """A fresh work directory; the caller removes it (the ``work`` fixture does)."""
    return Path(tempfile.mkdtemp(prefix="work-", dir=base()))


def fill(directory: Path, files: Mapping[str, bytes]) -> None:
    """Make ``directory`` hold exactly ``files`` (name to contents; a name may contain directories)."""
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for name, contents in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
        path.chmod(0o644)


def tree(directory: Path) -> dict[str, bytes]:
    """What ``directory`` holds: contents of files, targets of links, nothing for directories."""
    found: dict[str, bytes] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = b"-> " + os.fsencode(os.readlink(path))
        elif path.is_dir():
            found[name + "/"] = b""
        else:
            found[name] = path.read_bytes()
    return found


# --- comparing ------------------------------------------------------------------------------------------------------


def differences(native_text: bytes, model_text: bytes, limit: int = 60) -> str:
    """A unified diff, at most ``limit`` lines, natively printed lines with ``-`` and pagewalk's with ``+``."""
    ours = model_text.decode("utf-8", "backslashreplace").splitlines()
    theirs = native_text.decode("utf-8", "backslashreplace").splitlines()
    if max(len(ours), len(theirs)) > 20000:
        for number, (a, b) in enumerate(zip(theirs, ours, strict=False), 1):
            if a != b:
                return f"line {number}: native {a[:200]!r}, pagewalk {b[:200]!r}"
        return f"native {len(theirs)} lines, pagewalk {len(ours)} lines, the shorter is the beginning of the longer"
    lines = list(difflib.unified_diff(theirs, ours, "native", "pagewalk", lineterm="", n=2))
    if len(lines) > limit:
        lines = [*lines[:limit], f"... and {len(lines) - limit} more lines of difference"]
    return "\n".join(line[:300] for line in lines)


def run_both(
    argv: Sequence[str],
    *,
    aslr: bool = True,
    stdin: bytes = b"",
    env: Mapping[str, str] = ENV,
    cwd: str = "/",
    work: Mapping[str, bytes] | None = None,
    prepare: Callable[[Path], None] | None = None,
    options: Sequence[str] = (),
    warm: int = 0,
    timeout: float = TIMEOUT,
) -> tuple[Outcome, Outcome]:
    """Run ``argv`` natively (after ``warm`` discarded runs), then in pagewalk; see the module's docstring."""
    if work is None:
        for _ in range(warm):
            native(argv, aslr=aslr, stdin=stdin, env=env, cwd=cwd, timeout=timeout)
        theirs = native(argv, aslr=aslr, stdin=stdin, env=env, cwd=cwd, timeout=timeout)
        ours = modelled(argv, aslr=aslr, stdin=stdin, env=env, cwd=cwd, options=options, timeout=timeout)
        return theirs, ours
    directory = new_work()
    try:
        there = [argument.replace("{work}", str(directory)) for argument in argv]
        place = cwd.replace("{work}", str(directory))
        outcomes = []
        for turn in range(warm + 2):
            fill(directory, work)
            if prepare is not None:
                prepare(directory)
            if turn <= warm:
                done = native(there, aslr=aslr, stdin=stdin, env=env, cwd=place, timeout=timeout)
            else:
                done = modelled(
                    there,
                    aslr=aslr,
                    stdin=stdin,
                    env=env,
                    cwd=place,
                    rw=[str(directory)],
                    options=options,
                    timeout=timeout,
                )
            outcomes.append(Outcome(done.status, done.stdout, done.stderr, tree(directory)))
        return outcomes[-2], outcomes[-1]
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def assert_same(argv: Sequence[str], theirs: Outcome, ours: Outcome, *, stderr: bool = False) -> None:
    """Fail, readably, where the two runs of ``argv`` differ in status, output or what they wrote."""
    what = " ".join(argument if len(argument) < 80 else argument[:77] + "..." for argument in argv)
    complaint = ours.stderr.decode("utf-8", "backslashreplace")[-3000:]
    if ours.stdout != theirs.stdout:
        pytest.fail(
            f"{what}: standard output differs\n{differences(theirs.stdout, ours.stdout)}\n"
            f"status: native {theirs.status}, pagewalk {ours.status}\nstderr in pagewalk: {complaint}",
            pytrace=False,
        )
    if ours.status != theirs.status:
        pytest.fail(
            f"{what}: exit status {theirs.status} natively, {ours.status} in pagewalk\nstderr in pagewalk: {complaint}",
            pytrace=False,
        )
    if stderr and ours.stderr != theirs.stderr:
        pytest.fail(f"{what}: standard error differs\n{differences(theirs.stderr, ours.stderr)}", pytrace=False)
    if ours.files != theirs.files:
        names = [
            name
            for name in sorted({*theirs.files, *ours.files})
            if theirs.files.get(name, None) != ours.files.get(name, None)
        ]
        shown = [
            f"{name}: native {_glimpse(theirs.files.get(name))}, pagewalk {_glimpse(ours.files.get(name))}"
            for name in names
        ]
        pytest.fail(f"{what}: the work directory differs\n" + "\n".join(shown), pytrace=False)


def _glimpse(contents: bytes | None) -> str:
    if contents is None:
        return "absent"
    return f"{len(contents)} bytes {contents[:60]!r}"


def check(argv: Sequence[str], *, stderr: bool = False, **how: object) -> Outcome:
    """Run both ways (``how``: run_both's arguments), assert that they agree, and give back the native outcome."""
    need_x86_64_linux()
    theirs, ours = run_both(argv, **how)  # type: ignore[arg-type]
    assert_same(argv, theirs, ours, stderr=stderr)
    return theirs


def device_options() -> list[str]:
    """Options that give the machine the read-ahead of the block device below the tests' folder."""
    return [word for setting in device_settings(base()) for word in ("--set", setting)]
