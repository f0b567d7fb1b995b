"""The path walk and the calls around it answer as the host does: same results, same errno, same tree afterwards."""

import os
from pathlib import Path

import pytest
from fs_twin import Call, Model, host_tree, on_host

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
    O_TMPFILE,
    O_TRUNC,
    O_WRONLY,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    SEEK_CUR,
    SEEK_END,
    SEEK_SET,
)
from pagewalk.mm.system import System

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the host's side runs in a chroot"),
]

# The tree that every case starts with.
SETUP: list[Call] = [
    ("mkdir", "/d"),
    ("mkdir", "/d/e"),
    ("mkdir", "/d/e/deep"),
    ("mkdir", "/empty"),
    ("mkdir", "/sticky", 0o777),
    ("open", "/f", O_CREAT | O_WRONLY, 0o644),
    ("write", 0, b"contents of f"),
    ("close", 0),
    ("open", "/d/g", O_CREAT | O_WRONLY, 0o600),
    ("close", 0),
    ("open", "/run", O_CREAT | O_WRONLY, 0o755),
    ("close", 0),
    ("symlink", "f", "/to_f"),
    ("symlink", "/d", "/to_d"),
    ("symlink", "d/", "/to_d_slash"),
    ("symlink", "nothing", "/dangling"),
    ("symlink", "nodir/x", "/dangling_deep"),
    ("symlink", "loop2", "/loop1"),
    ("symlink", "loop1", "/loop2"),
    ("symlink", "self", "/self"),
    ("symlink", "../../../../../f", "/d/up"),
    ("symlink", "..", "/d/parent"),
    ("symlink", "/", "/d/root"),
    ("symlink", "to_f", "/to_to_f"),
    ("symlink", "d/e/../g", "/to_g"),
    ("link", "/f", "/hard"),
    ("mknod", "/fifo", 0o010644),
]
CHAINS: list[Call] = []
for step in range(45):
    CHAINS.append(("symlink", "f" if step == 0 else f"chain{step - 1}", f"/chain{step}"))

PATHS = [
    "", "/", "//", "/.", "/..", "/../..", ".", "..", "/f", "f", "/f/", "/f/.", "/f/..", "/f/x", "//f", "/./f",
    "/d/../f",
    "/d", "/d/", "/d/.", "/d/..", "/d/e/..", "/d//e///deep", "/missing", "/missing/", "/missing/x", "/missing/.",
    "/to_f", "/to_f/", "/to_d", "/to_d/", "/to_d/g", "/to_d/../f", "/to_d_slash", "/to_d_slash/g", "/dangling",
    "/dangling/", "/dangling/x", "/dangling_deep", "/loop1", "/loop1/", "/loop1/x", "/self", "/d/up", "/d/parent/f",
    "/d/parent/d/parent/d/g", "/d/root/f", "/d/root/d/root/f", "/to_to_f", "/to_g", "/chain38", "/chain39", "/chain40",
    "/chain44", "/fifo", "/fifo/x", "/empty", "/empty/", "/empty/x", "/empty/x/", "/hard", "/" + "n" * 255,
    "/" + "n" * 256, "/d/" + "n" * 256 + "/x", "/f/" + "n" * 256, "/" + "x/" * 2047, "/" + "x/" * 2048,
    "/" + "./" * 2040 + "f", "/" + "./" * 2050 + "f", "/d/e/deep/../../../../../f", "/n\u00e9", "/" + "\u00e9" * 127,
    "/" + "\u00e9" * 128, "/\udcff",
]  # fmt: skip

OPEN_FLAGS = [
    O_RDONLY, O_WRONLY, O_RDWR, O_DIRECTORY, O_NOFOLLOW, O_NOFOLLOW | O_DIRECTORY, O_CREAT | O_WRONLY,
    O_CREAT | O_EXCL | O_RDWR, O_CREAT | O_DIRECTORY, O_CREAT | O_NOFOLLOW | O_WRONLY, O_TRUNC | O_WRONLY,
    O_TRUNC | O_RDONLY, O_CREAT | O_TRUNC | O_RDWR, O_PATH, O_PATH | O_NOFOLLOW, O_PATH | O_DIRECTORY,
    O_DIRECTORY | O_WRONLY, O_APPEND | O_WRONLY, O_TMPFILE | O_RDONLY, O_CREAT | O_RDONLY | O_EXCL | O_NOFOLLOW,
]  # fmt: skip

BACKINGS = ["hostfs", "tmpfs"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("paths")


def check(base: Path, backing: str, groups: list[list[Call]], setup: list[Call] = SETUP) -> None:
    """Each group of calls starts with a fresh tree."""
    natives = [base / f"native-{number}" for number in range(len(groups))]
    for native in natives:
        native.mkdir(mode=0o755)
    answers = on_host([(native, setup + calls) for native, calls in zip(natives, groups, strict=True)])
    system = System(Config(ram="64M"))
    wrong = []
    for number, calls in enumerate(groups):
        modelled = None
        if backing == "hostfs":
            modelled = base / f"model-{number}"
            modelled.mkdir(mode=0o755)
        model = Model(modelled, system)
        for call in setup:
            answer = model.run(call)
            assert not isinstance(answer, int) or answer >= 0, (call, answer)
        for call, expected in zip(calls, answers[number][len(setup) :], strict=True):
            got = model.run(call)
            if got != expected:
                wrong.append((calls, call, f"host {name(expected)}, model {name(got)}"))
                break
        else:
            ours, theirs = model.tree(), host_tree(natives[number])
            if ours != theirs:
                differences = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
                wrong.append((calls, "tree", str(differences[:2])))
        model.finish()
        if modelled is not None and not wrong:
            assert host_tree(modelled) == host_tree(natives[number]), calls
    assert not wrong, "\n".join(map(str, wrong[:20])) + f"\n{len(wrong)} in all"


def name(answer: object) -> str:
    return f"-{os.strerror(-answer)}" if isinstance(answer, int) and answer < 0 else repr(answer)


@pytest.mark.parametrize("backing", BACKINGS)
def test_looking(base: Path, backing: str) -> None:
    """Calls that change nothing, all in one tree."""
    calls: list[Call] = []
    for path in PATHS:
        calls += [("stat", path), ("lstat", path), ("readlink", path), ("access", path, 0), ("access", path, 1)]
        calls += [("chdir", path), ("getcwd",), ("stat", "d"), ("chdir", "/")]
    (base / f"looking-{backing}").mkdir()
    check(base / f"looking-{backing}", backing, [calls], SETUP + CHAINS)


@pytest.mark.parametrize("backing", BACKINGS)
@pytest.mark.parametrize("flags", OPEN_FLAGS, ids=oct)
def test_opening(base: Path, backing: str, flags: int) -> None:
    groups: list[list[Call]] = []
    for path in PATHS:
        if path.startswith("/fifo") and not flags & O_PATH:
            continue  # waits for the other end
        groups.append([("open", path, flags, 0o640), ("fstat", 0)])
    if not flags & (O_CREAT | O_TRUNC):
        groups = [[call for group in groups for call in [*group, ("close", 0)]]]
    (base / f"{flags:o}-{backing}").mkdir()
    check(base / f"{flags:o}-{backing}", backing, groups, SETUP + CHAINS if len(groups) == 1 else SETUP)


MAKERS = ["mkdir", "rmdir", "unlink"]


@pytest.mark.parametrize("backing", BACKINGS)
@pytest.mark.parametrize("maker", [*MAKERS, "mknod", "symlink", "truncate", "chmod"])
def test_changing_one_name(base: Path, backing: str, maker: str) -> None:
    more: dict[str, tuple[object, ...]] = {"mknod": (0o100644,), "truncate": (5,), "chmod": (0o4711,)}
    groups: list[list[Call]] = []
    for path in PATHS:
        if maker == "symlink":
            groups.append([("symlink", "target", path)])
        else:
            groups.append([(maker, path, *more.get(maker, ()))])
    (base / f"{maker}-{backing}").mkdir()
    check(base / f"{maker}-{backing}", backing, groups)


PAIRS = [
    "/", "/f", "/f/", "/hard", "/d", "/d/", "/d/.", "/d/..", "/d/e", "/d/e/deep/new", "/empty", "/empty/", "/empty/new",
    "/new", "/new/", "/missing/x", "/to_d", "/to_d/", "/dangling", "/f/x", "/" + "n" * 256,
]  # fmt: skip


@pytest.mark.parametrize("backing", BACKINGS)
@pytest.mark.parametrize("flags", [0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_NOREPLACE | RENAME_EXCHANGE, 16])
def test_renaming(base: Path, backing: str, flags: int) -> None:
    (base / f"rename-{backing}-{flags}").mkdir()
    sources = PAIRS if flags in (0, RENAME_EXCHANGE) else PAIRS[1:9]
    groups: list[list[Call]] = [[("rename", old, new, flags)] for old in sources for new in PAIRS]
    check(base / f"rename-{backing}-{flags}", backing, groups)


def test_whiteouts_are_refused() -> None:
    model = Model(None)
    for call in SETUP:
        model.run(call)
    assert model.run(("rename", "/f", "/new", RENAME_WHITEOUT)) == -22
    model.finish()


@pytest.mark.parametrize("backing", BACKINGS)
@pytest.mark.parametrize("flags", [0, 0x400])
def test_linking(base: Path, backing: str, flags: int) -> None:
    (base / f"link-{backing}-{flags}").mkdir()
    groups: list[list[Call]] = [[("link", old, new, flags)] for old in PAIRS for new in PAIRS[::2]]
    check(base / f"link-{backing}-{flags}", backing, groups)


STORIES: dict[str, list[Call]] = {
    "a removed working directory": [
        ("chdir", "/empty"), ("rmdir", "/empty"), ("getcwd",), ("stat", "."),
        ("mkdir", "x"), ("stat", ".."),
        ("listdir", "."), ("open", "new", O_CREAT | O_WRONLY), ("chdir", ".."), ("getcwd",),
    ],
    "a renamed working directory": [
        ("chdir", "/d/e"), ("rename", "/d", "/empty"), ("getcwd",), ("stat", "../g"), ("open", "new", O_CREAT | O_RDWR),
        ("rename", "/empty/e", "/e2"), ("getcwd",), ("stat", "../f"), ("listdir", "/e2"),
    ],
    "a file without a name": [
        ("open", "/f", O_RDWR), ("unlink", "/f"), ("unlink", "/hard"), ("fstat", 0), ("read", 0, 100), ("write", 0,
        b"!"),
        ("lseek", 0, 0, SEEK_SET), ("read", 0, 100), ("ftruncate", 0, 3), ("fstat", 0), ("close", 0), ("stat", "/f"),
    ],
    "two descriptors of one file": [
        ("open", "/f", O_RDWR), ("open", "/hard", O_RDONLY), ("write", 0, b"NEW"), ("read", 1, 5),
        ("pwrite", 0, b"zz", 20), ("read", 1, 100), ("fstat", 1), ("ftruncate", 0, 4), ("read", 1, 10),
        ("lseek", 1, 0, SEEK_SET), ("read", 1, 10), ("stat", "/hard"), ("ftruncate", 1, 4),
    ],
    "appending": [
        ("open", "/f", O_WRONLY | O_APPEND), ("write", 0, b"one"), ("lseek", 0, 0, SEEK_SET), ("write", 0, b"two"),
        ("lseek", 0, 0, SEEK_CUR), ("pwrite", 0, b"three", 0), ("read", 0, 3), ("stat", "/f"),
    ],
    "seeking": [
        ("open", "/f", O_RDWR), ("lseek", 0, -1, SEEK_SET), ("lseek", 0, 3, SEEK_SET), ("lseek", 0, -4, SEEK_CUR),
        ("lseek", 0, 100, SEEK_END), ("read", 0, 3), ("write", 0, b"far"), ("stat", "/f"), ("pread", 0, 10, 10),
        ("lseek", 0, 0, 9), ("ftruncate", 0, 0), ("read", 0, 1), ("ftruncate", 0, 9000),
        ("pread", 0, 9000, 8990),
    ],
    "a large file": [
        ("open", "/big", O_CREAT | O_RDWR, 0o600), ("write", 0, b"abc" * 5000), ("pwrite", 0, b"X" * 10000, 4090),
        ("pread", 0, 30, 4080), ("pread", 0, 30, 14080), ("ftruncate", 0, 5000), ("ftruncate", 0, 12000),
        ("pread", 0, 20, 4990), ("fstat", 0), ("truncate", "/big", 4096), ("fstat", 0), ("pread", 0, 10, 4090),
        ("fallocate", 0, 0, 0, 10000), ("fstat", 0), ("pread", 0, 10, 4090),
    ],
    "descriptors of directories": [
        ("open", "/d", O_DIRECTORY), ("read", 0, 10), ("write", 0, b"x"), ("open", "g", O_RDONLY, 0, 0),
        ("open", "e/../g", O_RDONLY, 0, 0), ("open", "", O_RDONLY, 0, 0), ("open", "..", O_RDONLY, 0, 0),
        ("open", "x", O_RDONLY, 0, 77), ("open", "/f", O_RDONLY), ("open", "x", O_RDONLY, 0, 4), ("fchdir", 0),
        ("getcwd",), ("fchdir", 4), ("ftruncate", 0, 0), ("lseek", 0, 0, SEEK_SET), ("fallocate", 0, 0, 0, 10),
    ],
    "places": [
        ("open", "/f", O_PATH), ("read", 0, 1), ("write", 0, b"x"), ("lseek", 0, 0, SEEK_SET), ("fstat", 0),
        ("ftruncate", 0, 0), ("open", "/d", O_PATH), ("open", "g", O_RDONLY, 0, 1), ("fchdir", 1), ("getcwd",),
        ("open", "/to_f", O_PATH | O_NOFOLLOW), ("fstat", 3),
    ],
    "times": [
        ("utimens", "/f", 1_000_000_007, 2_000_000_000_000_000_009), ("mtime", "/f"), ("utimens", "/missing", 1, 1),
        ("open", "/f", O_RDONLY), ("mtime", "/hard"), ("utimens", "/d", 5, 6), ("mtime", "/d"),
    ],
    "owners and modes": [
        ("chown", "/f", 12, 34), ("stat", "/f"), ("chmod", "/f", 0o6755), ("chown", "/f", -1, 35), ("stat", "/f"),
        ("chmod", "/d", 0o2775), ("mkdir", "/d/sub"), ("lstat", "/d/sub"), ("chown", "/d", 5, 6), ("mkdir", "/d/sub2"),
        ("lstat", "/d/sub2"), ("open", "/d/file", O_CREAT | O_WRONLY, 0o2755), ("lstat", "/d/file"),
        ("chmod", "/to_f", 0o600), ("stat", "/f"),
    ],
    "listing": [("listdir", "/"), ("listdir", "/d"), ("listdir", "/empty"), ("listdir", "/f"), ("listdir", "/none")],
}  # fmt: skip


@pytest.mark.parametrize("backing", BACKINGS)
@pytest.mark.parametrize("story", STORIES)
def test_stories(base: Path, backing: str, story: str) -> None:
    (base / f"{story}-{backing}").mkdir()
    check(base / f"{story}-{backing}", backing, [STORIES[story]])
