"""A program in pagewalk cannot change the host outside of what --rw allows; symbolic links and ``..`` included."""

import os
from pathlib import Path

import harness
import pytest
from harness import compile_c, modelled

pytestmark = [pytest.mark.linux]


@pytest.fixture
def world(work: Path) -> Path:
    """``work`` with a directory that is not to be changed and one that may be."""
    forbidden, allowed = work / "forbidden", work / "allowed"
    (forbidden / "dir").mkdir(parents=True)
    allowed.mkdir()
    (forbidden / "file").write_text("untouched\n" * 1000)
    (forbidden / "dir" / "inner").write_text("inner\n")
    (forbidden / "link").symlink_to("file")
    return work


def snapshot(directory: Path) -> dict[str, tuple[int, int, int, int, int, bytes]]:
    """Everything below ``directory`` that a program could have changed."""
    found = {}
    for path in sorted([directory, *directory.rglob("*")]):
        st = path.lstat()
        contents = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path)] = (st.st_mode, st.st_uid, st.st_nlink, st.st_mtime_ns, st.st_ctime_ns, contents)
    return found


def test_no_call_changes_what_is_outside(world: Path) -> None:
    harness.need_x86_64_linux()
    program = compile_c("intruder")
    before, beside = snapshot(world / "forbidden"), sorted(os.listdir(world))
    run = modelled([program, str(world / "forbidden"), str(world / "allowed")], rw=[str(world / "allowed")])
    assert run.status == 0, run.stderr.decode()
    assert b"BREACH" not in run.stdout, run.stdout.decode()
    assert snapshot(world / "forbidden") == before
    assert sorted(os.listdir(world)) == beside
    assert not Path("/etc/pagewalk-intruder").exists()
    assert not Path("/tmp/pagewalk-intruder-file").exists()
    assert (world / "allowed" / "dir" / "deeper").read_bytes() == b"mine\n"
    assert sorted(os.listdir(world / "allowed")) == ["dir", "to_dir", "to_new"]


def test_without_rw_nothing_can_be_written(world: Path) -> None:
    program = compile_c("intruder")
    before = snapshot(world)
    run = modelled([program, str(world / "forbidden"), str(world / "allowed")])
    assert b"BREACH" not in run.stdout, run.stdout.decode()
    assert snapshot(world) == before


@pytest.mark.parametrize(
    "argv",
    [
        ["/bin/touch", "{work}/forbidden/file"],
        ["/bin/touch", "{work}/forbidden/new"],
        ["/bin/rm", "-rf", "{work}/forbidden"],
        ["/bin/rm", "-f", "{work}/allowed/../forbidden/file"],
        ["/bin/mv", "{work}/forbidden/file", "{work}/forbidden/other"],
        ["/bin/mv", "{work}/forbidden/file", "{work}/allowed/file"],
        ["/bin/ln", "-f", "{work}/forbidden/file", "{work}/forbidden/hard"],
        ["/bin/ln", "-sf", "x", "{work}/forbidden/link"],
        ["/bin/cp", "/etc/passwd", "{work}/forbidden/file"],
        ["/bin/mkdir", "{work}/forbidden/newdir"],
        ["/bin/rmdir", "{work}/forbidden/dir"],
        ["/bin/chmod", "777", "{work}/forbidden/file"],
        ["/bin/chown", "1:1", "{work}/forbidden/file"],
        ["/bin/dd", "if=/dev/zero", "of={work}/forbidden/file", "count=1", "status=none"],
        ["/bin/sed", "-i", "s/u/U/", "{work}/forbidden/file"],
        ["/usr/bin/truncate", "-s", "0", "{work}/forbidden/file"],
        ["/usr/bin/tee", "{work}/forbidden/file"],
        ["/usr/bin/sort", "-o", "{work}/forbidden/file", "{work}/forbidden/file"],
    ],
)
def test_tools_are_refused(argv: list[str], world: Path) -> None:
    harness.need_x86_64_linux()
    if not Path(argv[0]).exists():
        pytest.skip(f"{argv[0]} is not installed")
    before = snapshot(world / "forbidden")
    run = modelled(
        [argument.replace("{work}", str(world)) for argument in argv], rw=[str(world / "allowed")], stdin=b"breach\n"
    )
    assert snapshot(world / "forbidden") == before
    assert run.status not in (0, 125), run.stderr.decode()
    assert any(word in run.stderr for word in (b"Read-only", b"Permission denied", b"not permitted", b"cross-device"))


def test_a_copy_leaves_the_original_where_mv_cannot_remove_it(world: Path) -> None:
    run = modelled(["/bin/mv", str(world / "forbidden" / "file"), str(world / "allowed")], rw=[str(world / "allowed")])
    assert run.status == 1
    assert (world / "forbidden" / "file").exists()


def test_a_writable_directory_below_tmp_is_the_hosts(tmp_path: Path) -> None:
    """/tmp is private, but a directory in it that --rw names is the host's."""
    (tmp_path / "old").write_text("old\n")
    run = modelled(["/bin/cp", str(tmp_path / "old"), str(tmp_path / "new")], rw=[str(tmp_path)])
    assert run.status == 0, run.stderr.decode()
    assert (tmp_path / "new").read_text() == "old\n"


def test_tmp_is_empty_private_and_writable(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    assert modelled(["/bin/ls", "-A", "/tmp"]).stdout == b""
    assert modelled(["/bin/cat", str(tmp_path / "secret")]).status == 1
    before = sorted(os.listdir("/tmp"))
    run = modelled(["/bin/cp", "/etc/hostname", "/tmp/copy-of-hostname"])
    assert run.status == 0, run.stderr.decode()
    assert "copy-of-hostname" not in sorted(os.listdir("/tmp")), before


def test_rw_through_a_symbolic_link_means_its_target(world: Path) -> None:
    (world / "way").symlink_to("allowed")
    run = modelled(["/usr/bin/touch", str(world / "way" / "made")], rw=[str(world / "way")])
    assert run.status == 0, run.stderr.decode()
    assert (world / "allowed" / "made").exists()


def test_two_writable_directories(world: Path) -> None:
    other = world / "other"
    other.mkdir()
    (world / "allowed" / "a").write_text("a\n")
    argv = ["/bin/mv", str(world / "allowed" / "a"), str(other / "b")]
    run = modelled(argv, rw=[str(world / "allowed"), str(other)])
    assert run.status == 0, run.stderr.decode()
    assert (other / "b").read_text() == "a\n"
    assert not (world / "allowed" / "a").exists()


def test_shared_mappings_of_writable_files_reach_the_host_and_private_ones_do_not(world: Path) -> None:
    (world / "allowed" / "from").write_bytes(b"x" * 10000)
    program = compile_c("mmapcopy")
    run = modelled(
        [program, str(world / "allowed" / "from"), str(world / "allowed" / "to")], rw=[str(world / "allowed")]
    )
    assert run.status == 0, run.stderr.decode()
    copied = (world / "allowed" / "to").read_bytes()
    assert (copied[0], copied[1], copied[5000], copied[5001]) == (ord("X"), ord("Z"), ord("X"), ord("x"))
    assert b"Y" not in copied
