"""The rooms of the house import one way, and a file answers one question."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src" / "pagewalk"
MODULES = sorted(SRC.rglob("*.py"))

GROUND = {"errors", "config", "memory", "settings", "_build"}  # importable from everywhere
MAY_IMPORT = {
    "arch": set(),
    "hw": {"arch"},
    "mm": {"arch"},
    "fs": {"arch", "mm"},
    "kernel": {"arch", "mm", "fs"},
    "cpu": {"arch", "hw", "mm", "kernel"},
    "view": {"arch", "hw", "mm", "settings"},
    "check": {"arch", "hw", "mm"},
    "flags": {"mm"},
    "cgroup": {"mm"},
    "process": {"arch", "mm", "kernel", "fs", "view", "flags"},
    "inherited": {"kernel"},
    "machine": {"cgroup", "inherited", "arch", "hw", "mm", "kernel", "fs", "cpu", "view", "process"},
    "trace": {"arch", "hw", "mm", "kernel", "fs", "cpu", "machine", "process", "flags", "path", "settings", "view"},
    "oom": {"arch", "mm"},
    "lab": {"hw", "trace", "view"},
    "path": set(),
    "settings": set(),
    "session": {"view"},
    "conform": set(),
    "cli": {"view", "path", "settings", "session", "machine", "conform", "trace", "lab", "oom", ""},
    "__main__": {"cli"},
    "": {"machine", "process", "flags"},
}
LINES = 450


def room(module: str) -> str:
    """``pagewalk.mm.page`` is in ``mm``; ``pagewalk`` itself is ""."""
    return (module.split(".") + [""])[1]


def imports(path: Path) -> set[str]:
    """The pagewalk modules that ``path`` imports at run time (``if TYPE_CHECKING`` is for people and mypy)."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for branch in node.orelse:
                visit(branch)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.update([node.module] if node.module != "pagewalk" else [f"pagewalk.{a.name}" for a in node.names])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return {name for name in found if name.split(".")[0] == "pagewalk"}


def module_name(path: Path) -> str:
    parts = ["pagewalk", *path.relative_to(SRC).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    here = room(module_name(path))
    if here in GROUND:
        allowed = set(GROUND) | ({"arch"} if here == "config" else set())  # which says what there is
    else:
        allowed = MAY_IMPORT[here] | GROUND | {here}
    wrong = {name for name in imports(path) if room(name) not in allowed and (SRC / f"{room(name)}.py").exists()}
    wrong |= {
        name for name in imports(path) if room(name) not in allowed and (SRC / room(name)).is_dir() and room(name)
    }
    assert not wrong, f"{module_name(path)} is in {here or 'the top'!r}, which may not import {sorted(wrong)}"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_file_answers_one_question(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LINES, f"{lines} lines: split it (examples to follow have 100 to 300)"


@pytest.mark.parametrize("where", ["arch", "mm", "kernel", "fs"])
def test_kernel_modules_say_what_they_mirror_and_where_they_differ(where: str) -> None:
    silent = [
        str(path.relative_to(SRC))
        for path in sorted((SRC / where).rglob("*.py"))
        if path.name != "__init__.py"
        and not all(word in (ast.get_docstring(ast.parse(path.read_text())) or "") for word in ("Mirrors:", "Differs:"))
    ]
    assert not silent


def test_the_check_sees_a_wrong_import(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from pagewalk.kernel.task import Task\n"
        "def f():\n    from pagewalk.fs.pipe import Pipe\n"
    )
    assert imports(bad) == {"pagewalk.fs.pipe"}
