"""What the README shows is what happens: its code blocks run, and print what stands there.

A ```python block runs as a script; the ```text block behind it is its output, exactly. In a ```console block the lines
after "$ " are commands; those of pagewalk run, and print what follows up to the next command, exactly where the block
says ``exact``, otherwise in the same words (numbers and sizes differ from machine to machine).
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


@dataclass
class Block:
    """A fenced block: the words behind the fence, its text, its line in the README."""

    kind: list[str]
    text: str
    line: int


def blocks() -> list[Block]:
    found = []
    for match in re.finditer(r"^```([^\n]*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        found.append(Block(match[1].split(), match[2], README[: match.start()].count("\n") + 1))
    return found


def scripts() -> list[tuple[Block, str]]:
    """Python blocks, with the output that the README shows for each."""
    every = blocks()
    pairs = []
    for block, following in pairwise([*every, Block([], "", 0)]):
        if block.kind[:1] == ["python"]:
            pairs.append((block, following.text if following.kind[:1] == ["text"] else ""))
    return pairs


def commands() -> list[tuple[str, str, bool]]:
    """(command, output shown, exact) of the console blocks."""
    found = []
    for block in blocks():
        if block.kind[:1] == ["console"]:
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                found.append((command, output, "exact" in block.kind))
    return found


def stripped(text: str) -> list[str]:
    """The lines without the blanks at their ends, which maps has and a README should not."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def run(command: list[str] | str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "COLUMNS": "100"}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=300, **options
    )


@pytest.mark.parametrize(("block", "shown"), scripts(), ids=[f"line{block.line}" for block, _ in scripts()])
def test_python_blocks_print_what_is_shown(block: Block, shown: str) -> None:
    done = run([sys.executable, "-c", block.text])
    assert done.returncode == 0, done.stderr
    assert stripped(done.stdout) == stripped(shown)


PAGEWALK = [entry for entry in commands() if "pagewalk " in entry[0] and not entry[0].startswith("make")]


def words(text: str) -> list[str]:
    """The words of a text without its numbers, sizes, addresses and bars."""
    kept = re.sub(r"[░▒▓█▏▎▍▌▋▊▉┊]+", " ", text)
    kept = re.sub(r"\b[0-9a-f]{7,}\b|\b\d[\d .]*[BKMGTPE]?(/s|s)?\b", " ", kept)
    return re.findall(r"[A-Za-z][A-Za-z_-]{2,}", kept)


@pytest.mark.linux
@pytest.mark.parametrize(("command", "shown", "exact"), PAGEWALK, ids=[command for command, _, _ in PAGEWALK])
def test_pagewalk_commands_print_what_is_shown(command: str, shown: str, exact: bool) -> None:
    shell = f'pagewalk() {{ "{sys.executable}" -m pagewalk "$@"; }}; {{ {command}; }} 2>&1'
    done = run(shell, shell=True, executable="/bin/bash")
    if exact:
        assert stripped(done.stdout) == stripped(shown)
        return
    assert done.returncode == 0, done.stdout
    missing = set(words(shown)) - set(words(done.stdout))
    assert len(missing) <= len(set(words(shown))) // 5, f"{sorted(missing)} are not in:\n{done.stdout}"


def test_the_commands_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z]+(?: [a-z]+)*):", MAKEFILE, re.MULTILINE))
    names = {name for line in targets for name in line.split()}
    shown = {command.split()[-1] for command, _, _ in commands() if command.startswith("make ")}
    assert {"demo", "test"} <= shown
    assert shown <= names


def test_the_readme_opens_with_what_it_is_and_its_two_commands() -> None:
    opening = README[:2500]
    assert opening.startswith("# pagewalk\n")
    assert "make demo" in opening and "make test" in opening


def test_files_that_the_readme_links_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / target).exists(), target


def test_the_version_is_the_packages() -> None:
    import pagewalk

    assert pagewalk.__version__ == "0.1.0"
    assert f"pagewalk, version {pagewalk.__version__}" in run([sys.executable, "-m", "pagewalk", "--version"]).stdout
