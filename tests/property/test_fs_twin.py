"""Any sequence of file calls: the host and the model answer the same, and leave the same tree."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from fs_twin import Call, Model, host_tree, on_host
from hypothesis import given, settings
from hypothesis import strategies as st

from pagewalk.config import Config
from pagewalk.fs.fcntl import (
    O_APPEND,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOFOLLOW,
    O_PATH,
    O_RDONLY,
    O_RDWR,
    O_TRUNC,
    O_WRONLY,
    SEEK_CUR,
    SEEK_END,
    SEEK_SET,
)
from pagewalk.mm.system import System

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the host's side runs in a chroot"),
]

COMPONENTS = st.sampled_from(["a", "b", "c", "..", ".", "a", "b"])
PATHS = st.builds(
    lambda absolute, parts, slash: ("/" if absolute else "") + "/".join(parts) + slash,
    st.booleans(),
    st.lists(COMPONENTS, min_size=1, max_size=4),
    st.sampled_from(["", "", "", "/"]),
)
FDS = st.integers(0, 3)
ACCESS = st.sampled_from([O_RDONLY, O_WRONLY, O_RDWR])
EXTRA = st.sampled_from(
    [0, O_CREAT, O_CREAT, O_CREAT | O_EXCL, O_TRUNC, O_CREAT | O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW, O_PATH]
)
DATA = st.builds(
    lambda byte, count: bytes((byte,)) * count, st.integers(65, 70), st.sampled_from([0, 1, 7, 4096, 5000])
)
OFFSETS = st.sampled_from([0, 1, 100, 4095, 4096, 8192, 9999])
MODES = st.sampled_from([0o600, 0o644, 0o755, 0o2755, 0o4755, 0o1777])


def call(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    return st.tuples(st.just(name), *arguments)


CALLS = st.one_of(
    call("open", PATHS, st.builds(int.__or__, ACCESS, EXTRA), MODES),
    call("close", FDS),
    call("read", FDS, st.sampled_from([0, 1, 100, 10000])),
    call("pread", FDS, st.sampled_from([1, 100, 10000]), OFFSETS),
    call("write", FDS, DATA),
    call("pwrite", FDS, DATA, OFFSETS),
    call("lseek", FDS, st.sampled_from([0, 5, -5, 5000]), st.sampled_from([SEEK_SET, SEEK_CUR, SEEK_END])),
    call("ftruncate", FDS, OFFSETS),
    call("truncate", PATHS, OFFSETS),
    call("fstat", FDS),
    call("mkdir", PATHS, MODES),
    call("rmdir", PATHS),
    call("unlink", PATHS),
    call("rename", PATHS, PATHS, st.sampled_from([0, 0, 1, 2])),
    call("link", PATHS, PATHS),
    call("symlink", PATHS, PATHS),
    call("readlink", PATHS),
    call("stat", PATHS),
    call("lstat", PATHS),
    call("chmod", PATHS, MODES),
    call("chdir", PATHS),
    call("fchdir", FDS),
    call("getcwd"),
    call("listdir", PATHS),
)


@pytest.mark.parametrize("backing", ["hostfs", "tmpfs"])
def test_any_sequence_of_calls(tmp_path: Path, backing: str) -> None:
    system = System(Config(ram="64M"))

    @settings(max_examples=150, deadline=None)
    @given(st.lists(CALLS, min_size=1, max_size=40))
    def run(calls: list[Call]) -> None:
        native, modelled = tmp_path / "native", tmp_path / "model"
        for tree in (native, modelled):
            shutil.rmtree(tree, ignore_errors=True)
            tree.mkdir(mode=0o755)
        theirs = on_host([(native, calls)])[0]
        model = Model(modelled if backing == "hostfs" else None, system)
        ours = [model.run(each) for each in calls]
        script = "\n".join(
            f"{each}  host {a!r:.60}  model {b!r:.60}" for each, a, b in zip(calls, theirs, ours, strict=True)
        )
        assert ours == theirs, script
        left = host_tree(native)
        assert model.tree() == left, script
        model.finish()
        if backing == "hostfs":
            assert host_tree(modelled) == left, script
        assert system.vmstat.nr_shmem == 0 or backing == "tmpfs"

    run()
