"""The build: compiled where it can be, interpreted where not, and never stale in silence.

The builds below run setup.py on a copy of the project with one small kernel module, so that each takes seconds.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pagewalk import _build

ROOT = Path(__file__).resolve().parents[2]
SMALL = '''"""A small kernel module."""

from mypy_extensions import i64


def double(number: i64) -> i64:
    """Twice ``number``."""
    return number * 2
'''


# What the command line imports of the rooms.
COMMANDS = {
    "trace": ["commands.py", "replay_command.py"],
    "lab": ["curve_command.py"],
    "oom": ["commands.py"],
    "view": ["zones_command.py"],
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project with nothing but ``arch/small.py`` to compile."""
    pytest.importorskip("setuptools", reason="setuptools is not installed: `make test` installs it")
    pytest.importorskip("mypyc", reason="mypyc is not installed: `make test` installs it")
    copy = tmp_path / "project"
    package = copy / "src" / "pagewalk"
    package.mkdir(parents=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("__init__.py", "__main__.py", "_build.py", "errors.py", "cli.py", "path.py", "py.typed"):
        shutil.copy(ROOT / "src" / "pagewalk" / name, package)
    for room, names in COMMANDS.items():
        (package / room).mkdir()
        for name in ("__init__.py", *names):
            shutil.copy(ROOT / "src" / "pagewalk" / room / name, package / room)
    (package / "arch").mkdir()
    (package / "arch" / "__init__.py").write_text("")
    (package / "arch" / "small.py").write_text(SMALL)
    return copy


def build(project: Path, **env: str) -> str:
    """Builds into ``project``/out; what the build said on standard error."""
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", "out"]
    environment = {**os.environ, "PYTHONPATH": "", "PAGEWALK_OPT": "0", **env}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def python(code: str, path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` with the package of ``path``."""
    environment = {**os.environ, "PYTHONPATH": str(path), **env}
    return subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=True
    )


WHERE = "import pagewalk.arch.small as m; print(m.double(21), m.__file__.rpartition('.')[2])"


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_compiled_build_notices_an_edit_and_can_run_its_sources(project: Path) -> None:
    build(project, PAGEWALK_COMPILE="1")
    out = project / "out"
    fresh = python(WHERE, out)
    assert (fresh.stdout, fresh.stderr) == ("42 so\n", "")
    assert python(WHERE, out, PAGEWALK_INTERPRETED="1").stdout == "42 py\n"

    module = out / "pagewalk" / "arch" / "small.py"
    module.write_text(SMALL.replace("* 2", "* 3"))
    edited = python(WHERE, out)
    assert edited.stdout == "42 so\n"
    assert edited.stderr.startswith("pagewalk: compiled code is older than its source: arch/small.py (")
    assert python(WHERE, out, PAGEWALK_INTERPRETED="1").stdout == "63 py\n"

    assert not list((project / "src").rglob("*.so"))
    (project / "src" / "pagewalk" / "arch" / "more.py").write_text(SMALL)
    (project / "src" / "pagewalk" / "arch" / "small.py").unlink()
    build(project, PAGEWALK_COMPILE="1")
    assert sorted(path.name.split(".")[0] for path in out.rglob("arch/*.so")) == ["more"]
    assert not module.exists(), "a module that was deleted lives on in the build"


def test_without_a_c_compiler_the_package_works_interpreted_and_says_why(project: Path) -> None:
    said = build(project, CC="/bin/false")
    assert "building without compiled parts: the C compiler cannot build Python extensions (/bin/false" in said
    assert python(WHERE, project / "out").stdout == "42 py\n"
    code = "from pagewalk import _build; print(_build.is_compiled(), _build.interpreted_because())"
    assert python(code, project / "out").stdout.startswith("False the C compiler cannot build")


def test_a_missing_c_compiler_is_named(project: Path) -> None:
    assert "no C compiler (/nonexistent/cc: FileNotFoundError)" in build(project, CC="/nonexistent/cc")


def test_a_c_compiler_that_fails_half_way_leaves_a_working_package(project: Path) -> None:
    compiler = project / "cc"
    compiler.write_text('#!/bin/sh\ncase "$*" in *probe.c*) exit 0;; esac\nexit 1\n')
    compiler.chmod(0o755)
    assert "installing without compiled parts: the C compiler failed" in build(project, CC=str(compiler))
    assert python(WHERE, project / "out").stdout == "42 py\n"
    assert not list((project / "out").rglob("*.so"))


def test_sources_that_mypyc_refuses_leave_a_working_package(project: Path) -> None:
    (project / "src" / "pagewalk" / "arch" / "wrong.py").write_text('number: int = "text"\n')
    assert "building without compiled parts: mypyc failed" in build(project, CC="/bin/true")
    assert python(WHERE, project / "out").stdout == "42 py\n"


def test_the_first_run_says_once_that_it_is_interpreted(project: Path, tmp_path: Path) -> None:
    build(project, PAGEWALK_COMPILE="0")
    code = "from pagewalk.cli import say_interpreted_once; say_interpreted_once('no C compiler')"
    cache = str(tmp_path / "cache")
    first = python(code, project / "out", XDG_CACHE_HOME=cache)
    assert first.stderr.startswith("pagewalk: running without compiled parts, ten times slower or more: no C compiler;")
    assert python(code, project / "out", XDG_CACHE_HOME=cache).stderr == ""


def stamped(tmp_path: Path, names: list[str]) -> Path:
    """A package folder whose stamp fits its files."""
    for name in names:
        (tmp_path / name).write_text(f"# {name}\n")
    (tmp_path / _build.STAMP).write_text("".join(_build.fingerprint(tmp_path, name) + "\n" for name in names))
    return tmp_path


def test_a_touched_file_with_the_same_content_is_not_stale(tmp_path: Path) -> None:
    package = stamped(tmp_path, ["a.py", "b c.py"])
    os.utime(package / "a.py", (1, 1))
    assert _build.stale(package) == []


def test_an_edit_of_the_same_length_is_noticed(tmp_path: Path) -> None:
    package = stamped(tmp_path, ["a.py", "b c.py"])
    (package / "b c.py").write_text("# b d.py\n")
    assert _build.stale(package) == ["b c.py"]


def test_an_edit_in_the_checkout_it_was_built_from_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "installed").mkdir()
    checkout = stamped(tmp_path / "checkout", ["a.py"])
    installed = stamped(tmp_path / "installed", ["a.py"])
    with open(installed / _build.STAMP, "a") as stamp:
        stamp.write(f"source {checkout}\n")
    assert _build.stale(installed) == []
    (checkout / "a.py").write_text("# edited\n")
    assert _build.stale(installed) == ["a.py"]
    shutil.rmtree(checkout)
    assert _build.stale(installed) == []


def test_a_source_tree_without_a_build_is_interpreted(tmp_path: Path) -> None:
    assert not _build.is_compiled(tmp_path)
    assert _build.interpreted_because(tmp_path) == "run from its sources"
    assert _build.stale(tmp_path) == []


def test_nothing_compiled_lies_in_the_sources() -> None:
    assert not list((ROOT / "src").rglob("*.so"))
