"""Which file a command names: as execvp and shells search."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from pagewalk.errors import ExecError
from pagewalk.path import find_program


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_a_name_with_a_slash_is_taken_as_it_is() -> None:
    assert find_program("./nowhere", "/bin") == "./nowhere"
    assert find_program("/", None) == "/"


def test_the_first_executable_file_of_the_path_wins(tmp_path: Path) -> None:
    program(tmp_path / "b" / "x")
    program(tmp_path / "c" / "x")
    assert find_program("x", f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/c") == f"{tmp_path}/b/x"


def test_files_that_may_not_be_executed_and_directories_are_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "a" / "x", 0o644)
    (tmp_path / "b" / "x").mkdir(parents=True)
    wanted = program(tmp_path / "c" / "x")
    assert find_program("x", f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/c") == str(wanted)


def test_an_empty_entry_is_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "x")
    monkeypatch.chdir(tmp_path)
    assert find_program("x", "/nowhere:") == "./x"


def test_without_a_path_the_default_is_searched() -> None:
    assert find_program("sh", None) == "/bin/sh"


@pytest.mark.parametrize("name", ["nosuchprogram", ""])
def test_nothing_found_is_enoent(name: str) -> None:
    with pytest.raises(ExecError, match="no such program in PATH") as caught:
        find_program(name, "/bin:/usr/bin")
    assert caught.value.errno == errno.ENOENT


def test_only_what_cannot_be_executed_found_is_eacces(tmp_path: Path) -> None:
    program(tmp_path / "x", 0o644)
    with pytest.raises(ExecError, match="permission denied: it is not an executable file") as caught:
        find_program("x", f"{tmp_path}:/nowhere")
    assert caught.value.errno == errno.EACCES
    (tmp_path / "d").mkdir()
    with pytest.raises(ExecError, match="permission denied: it is a directory"):
        find_program("d", str(tmp_path))


@pytest.mark.linux
@pytest.mark.parametrize("name", ["found", "denied", "folder", "missing"])
def test_the_status_is_the_shells(tmp_path: Path, name: str) -> None:
    program(tmp_path / "found")
    program(tmp_path / "denied", 0o644)
    (tmp_path / "folder").mkdir()
    env = {**os.environ, "PATH": f"{tmp_path}:/nowhere"}
    shell = subprocess.run(["/usr/bin/env", name], env=env, capture_output=True).returncode
    try:
        find_program(name, env["PATH"])
        ours = 0
    except ExecError as error:
        ours = 127 if error.errno == errno.ENOENT else 126
    assert ours == shell
