"""Running one command natively and in the model, in the same place, with the same arguments and environment."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pagewalk.conform.memcg import limited
from pagewalk.errors import ConfigError

__all__ = ["Outcome", "compile_program", "device_settings", "kernel_release", "run_kernel", "run_model", "work_folder"]

REFERENCE = "6.18"
_SOURCES = Path(str(resources.files("pagewalk.conform").joinpath("c")))


@dataclass(frozen=True)
class Outcome:
    """What a run showed. ``error`` is for people; it is not compared."""

    status: int
    stdout: bytes
    error: str = ""

    def same(self, other: "Outcome") -> bool:
        """Equal in output and status."""
        return self.status == other.status and self.stdout == other.stdout


def kernel_release() -> str:
    """The running kernel's, such as 6.18.44."""
    return os.uname().release


def base() -> Path:
    """A folder of the user's own that a program in the model can see (/tmp is private to it)."""
    folder = Path("/var/tmp") / f"pagewalk-conform-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ConfigError(f"conform: {folder} belongs to somebody else")
    return folder


def device_settings(folder: Path) -> list[str]:
    """How the block device below ``folder`` reads ahead, as settings of a machine; none where that cannot be known."""
    number = folder.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    queue = Path(f"/sys/dev/block/{device}").resolve()
    places = {
        "read_ahead_kb": [Path(f"/sys/class/bdi/{device}/read_ahead_kb")],
        "max_sectors_kb": [queue / "queue" / "max_sectors_kb", queue.parent / "queue" / "max_sectors_kb"],
    }
    found = {name: path for name, paths in places.items() for path in reversed(paths) if path.exists()}
    return [f"{name}={path.read_text().strip()}" for name, path in found.items()]


def work_folder() -> Path:
    """A new folder for files that a run makes."""
    return Path(tempfile.mkdtemp(prefix="work-", dir=base()))


def compile_program(name: str, *flags: str, source: Path | None = None) -> str:
    """The executable of c/NAME.c (or of ``source``), compiled once for each content. Raises ConfigError without a C
    compiler.

    It is written a page at a time, so that the page cache holds it in folios of one page, as a machine in use that has
    read it from the disk at random would: faults of a static program can be counted.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise ConfigError("conform: a C compiler is needed (gcc or cc), to make the programs that both sides run")
    path = _SOURCES / f"{name}.c" if source is None else source
    folders = [_SOURCES] if source is None else [_SOURCES, source.parent]
    parts = [each for folder in folders for each in sorted(folder.iterdir()) if each.suffix in (".c", ".h")]
    text = b"".join([each.read_bytes() for each in parts])
    digest = hashlib.sha256(text + " ".join(flags).encode()).hexdigest()[:16]
    target = base() / f"{name}-{digest}"
    if not target.exists():
        scratch = target.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        command = [compiler, "-O1", "-w", "-fno-stack-protector"]
        command += [word for folder in folders for word in ("-I", str(folder))]
        command += ["-o", str(scratch), str(path), *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ConfigError(f"conform: {compiler} could not compile {path}: {done.stderr.strip().splitlines()[-1]}")
        data = scratch.read_bytes()
        scratch.unlink()
        with open(scratch, "wb", buffering=0) as file:
            for at in range(0, len(data), 4096):
                file.write(data[at : at + 4096])
        scratch.chmod(0o755)
        scratch.replace(target)
    return str(target)


def _outcome(command: Sequence[str], cwd: str, env: dict[str, str], timeout: float) -> Outcome:
    try:
        done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return Outcome(-1, b"", f"not done after {timeout:g} s")
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode  # a signal, as a shell tells of it
    return Outcome(status, done.stdout, done.stderr.decode("utf-8", "replace"))


def run_kernel(
    argv: Sequence[str],
    *,
    cwd: str = "/",
    env: dict[str, str] | None = None,
    aslr: bool = False,
    memory_max: int = 0,
    timeout: float = 120,
) -> Outcome:
    """Natively, by default without address randomisation (setarch -R); in a memory cgroup of ``memory_max`` bytes where
    that is not 0."""
    front = [] if aslr else ["setarch", "-R"]
    with limited([*front, *argv], memory_max) as command:
        return _outcome(command, cwd, env or {}, timeout)


def run_model(
    argv: Sequence[str],
    *,
    cwd: str = "/",
    env: dict[str, str] | None = None,
    aslr: bool = False,
    seed: int = 0,
    rw: str = "",
    memory_max: int = 0,
    options: Sequence[str] = (),
    timeout: float = 600,
) -> Outcome:
    """In the model, in a process of its own, with ``options`` of ``pagewalk run`` besides those given here."""
    command = [sys.executable, "-m", "pagewalk", "run", "--quiet", "--clear-env", "--seed", str(seed)]
    command += options
    if not aslr:
        command.append("--no-aslr")
    if rw:
        command += ["--rw", rw]
    if memory_max:
        command += ["--memory-max", str(memory_max)]
    for setting in device_settings(base()):
        command += ["--set", setting]
    for name, value in (env or {}).items():
        command += ["--env", f"{name}={value}"]
    outer = dict(os.environ)
    places = [str(Path(__file__).resolve().parents[2]), outer.get("PYTHONPATH", "")]
    outer["PYTHONPATH"] = os.pathsep.join([place for place in places if place])
    return _outcome([*command, "--", *argv], cwd, outer, timeout)
