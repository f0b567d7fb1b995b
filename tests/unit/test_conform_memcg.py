"""Where a memory cgroup of the running kernel can be made."""

from pathlib import Path

import pytest

from pagewalk.conform.memcg import find_hierarchy, limited
from pagewalk.conform.operations import Batch, Script
from pagewalk.errors import ConfigError


def test_version_2_is_taken_where_it_has_the_controller(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    mounts = f"cgroup {one} cgroup rw,relatime,memory 0 0\ncgroup2 {two} cgroup2 rw,relatime 0 0\n"
    assert find_hierarchy(mounts).limit == "memory.limit_in_bytes"  # version 2 has not been given the controller
    (two / "cgroup.subtree_control").write_text("cpu memory\n")
    found = find_hierarchy("\n".join(reversed(mounts.splitlines())))
    assert (found.path, found.limit) == (two, "memory.max")


@pytest.mark.parametrize("mounts", ["", "cgroup /x cgroup rw,cpu 0 0\n", "tmpfs /tmp tmpfs rw 0 0\n"])
def test_none_is_said_in_a_line(mounts: str) -> None:
    with pytest.raises(ConfigError, match="memory cgroup is needed: no cgroup file system"):
        find_hierarchy(mounts)


def test_without_a_limit_the_command_is_itself() -> None:
    with limited(["true"], 0) as command:
        assert command == ["true"]


def test_a_script_remembers_its_limit(tmp_path: Path) -> None:
    Script(Batch(7, 100, False, memory_max=1 << 21), [(0, 3)], ["brk(0)"]).write(tmp_path / "s")
    assert Script.read(tmp_path / "s").batch == Batch(7, 100, False, memory_max=1 << 21)
