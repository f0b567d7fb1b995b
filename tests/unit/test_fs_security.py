"""Nothing outside a writable directory can be changed, whatever a program does with links, ".." and /proc."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagewalk.config import Config
from pagewalk.errors import ConfigError
from pagewalk.fs import procfs
from pagewalk.fs.dir_ops import (
    do_linkat,
    do_mkdirat,
    do_mknodat,
    do_renameat2,
    do_rmdirat,
    do_symlinkat,
    do_unlinkat,
)
from pagewalk.fs.fcntl import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_FOLLOW,
    O_CREAT,
    O_DIRECTORY,
    O_PATH,
    O_RDONLY,
    O_RDWR,
    O_TMPFILE,
    O_TRUNC,
    O_WRONLY,
)
from pagewalk.fs.namei import LOOKUP_FOLLOW, filename_lookup
from pagewalk.fs.namespace import host_namespace
from pagewalk.fs.open import (
    do_fchmod,
    do_fchmodat,
    do_fchown,
    do_fchownat,
    do_futimens,
    do_openat,
    do_sys_open,
    do_truncate,
    do_utimensat,
)
from pagewalk.fs.stream import host_stream
from pagewalk.kernel.kernel import Kernel
from pagewalk.kernel.task import Task
from pagewalk.mm.current import RLIMIT_NOFILE
from pagewalk.mm.system import System

Snapshot = dict[str, tuple[int, ...]]


class World:
    """A directory that may be changed (``rw``) beside one that may not (``ro``), and a task."""

    def __init__(self, base: Path) -> None:
        self.ro, self.rw = base / "ro", base / "rw"
        (self.ro / "dir").mkdir(parents=True)
        self.rw.mkdir()
        (self.ro / "file").write_bytes(b"precious" * 1000)
        (self.ro / "dir" / "inner").write_bytes(b"inner")
        self.system = System(Config(ram="64M"))
        self.ns = host_namespace(self.system, [str(self.rw)], warm=True)
        self.kernel = Kernel(self.system, self.ns)
        procfs.attach(self.ns, self.kernel)
        self.task: Task = self.kernel.new_task()
        self.task.rlim_cur[RLIMIT_NOFILE] = 256
        self.fs, self.files = self.task.fs, self.task.files
        self.before = self.snapshot()

    def snapshot(self) -> Snapshot:
        found: Snapshot = {}
        for path in [self.ro, *sorted(self.ro.rglob("*"))]:
            st = path.lstat()
            found[str(path)] = (
                st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino,
            )  # fmt: skip
        return found

    def open(self, path: str | Path, flags: int, mode: int = 0o666, dfd: int = AT_FDCWD) -> int:
        return do_sys_open(self.fs, self.files, dfd, str(path), flags, mode)

    def symlink(self, target: str | Path, name: str) -> str:
        assert do_symlinkat(self.fs, self.files, str(target), AT_FDCWD, str(self.rw / name)) == 0
        return str(self.rw / name)


@pytest.fixture
def world(work: Path) -> Iterator[World]:
    world = World(work)
    yield world
    world.files.exit()
    world.ns.close()
    assert world.snapshot() == world.before


def routes(world: World) -> list[str]:
    """Ways to the file that must not be changed, all of them readable."""
    fd = world.open(world.ro / "file", O_RDONLY)
    place = world.open(world.ro / "file", O_PATH)
    where = world.open(world.ro, O_PATH | O_DIRECTORY)
    up = os.path.relpath(world.ro / "file", world.rw)
    return [
        str(world.ro / "file"),
        str(world.rw / ".." / "ro" / "file"),
        world.symlink(world.ro / "file", "absolute"),
        world.symlink(up, "relative"),
        world.symlink(world.ro, "to_dir") + "/file",
        world.symlink("absolute", "twice"),
        f"/proc/self/fd/{fd}",
        f"/dev/fd/{fd}",
        f"/proc/self/fd/{place}",
        f"/proc/self/fd/{where}/file",
        f"/proc/{world.task.pid}/task/{world.task.pid}/fd/{fd}",
        f"/proc/self/root{world.ro}/file",
        f"/proc/self/cwd{world.ro}/file",
        f"/proc/thread-self/root{world.ro}/file",
        world.symlink("/proc/self/root" + str(world.ro), "root") + "/file",
    ]


def test_every_route_reads_and_none_writes(world: World) -> None:
    for path in routes(world):
        fd = world.open(path, O_RDONLY)
        assert fd >= 0, (path, os.strerror(-fd))
        file = world.files.get(fd)
        assert file is not None
        assert file.read(8) == b"precious"
        assert file.write(b"x") == -errno.EBADF
        assert file.ftruncate(0) == -errno.EINVAL
        assert file.fallocate(0, 0, 1 << 20) == -errno.EBADF
        for flags in (O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_WRONLY | O_TRUNC, O_CREAT | O_RDWR):
            assert world.open(path, flags) == -errno.EROFS, (path, flags)
        assert do_truncate(world.fs, world.files, AT_FDCWD, path, 1) == -errno.EROFS
        assert do_fchmodat(world.fs, world.files, AT_FDCWD, path, 0o777, 0) == -errno.EROFS
        assert do_fchownat(world.fs, world.files, AT_FDCWD, path, 1, 1, 0) == -errno.EROFS
        assert do_utimensat(world.fs, world.files, AT_FDCWD, path, 1, 1, 0) == -errno.EROFS
        assert do_fchmod(world.fs, file, 0o777) == -errno.EROFS
        assert do_fchown(world.fs, file, 1, 1) == -errno.EROFS
        assert do_futimens(world.fs, file, 1, 1) == -errno.EROFS


def test_names_outside_are_neither_made_nor_removed(world: World) -> None:
    out = world.symlink(world.ro, "out")
    for where in (str(world.ro), out, f"/proc/self/root{world.ro}", str(world.rw / ".." / "ro")):
        new, old = where + "/new", where + "/file"
        assert world.open(new, O_CREAT | O_WRONLY) == -errno.EROFS
        assert world.open(where, O_TMPFILE | O_RDWR) == -errno.EROFS
        assert do_mkdirat(world.fs, world.files, AT_FDCWD, new, 0o777) == -errno.EROFS
        assert do_mknodat(world.fs, world.files, AT_FDCWD, new, 0o010666, (0, 0)) == -errno.EROFS
        assert do_symlinkat(world.fs, world.files, "x", AT_FDCWD, new) == -errno.EROFS
        assert do_unlinkat(world.fs, world.files, AT_FDCWD, old) == -errno.EROFS
        assert do_rmdirat(world.fs, world.files, AT_FDCWD, where + "/dir") == -errno.EROFS
        inside = str(world.rw / "mine")
        assert do_linkat(world.fs, world.files, AT_FDCWD, old, AT_FDCWD, new, 0) == -errno.EROFS
        assert do_linkat(world.fs, world.files, AT_FDCWD, old, AT_FDCWD, inside, 0) == -errno.EXDEV
        assert do_renameat2(world.fs, world.files, AT_FDCWD, old, AT_FDCWD, new, 0) == -errno.EROFS
        assert do_renameat2(world.fs, world.files, AT_FDCWD, old, AT_FDCWD, inside, 0) == -errno.EXDEV
        for flags in (0, 1, 2):
            assert do_renameat2(world.fs, world.files, AT_FDCWD, out, AT_FDCWD, old, flags) == -errno.EXDEV
    assert not (world.rw / "mine").exists()


def test_a_link_to_an_open_descriptor_does_not_leave_its_mount(world: World) -> None:
    fd = world.open(world.ro / "file", O_RDONLY)
    inside = str(world.rw / "mine")
    follow = AT_SYMLINK_FOLLOW
    assert do_linkat(world.fs, world.files, AT_FDCWD, f"/proc/self/fd/{fd}", AT_FDCWD, inside, follow) == -errno.EXDEV
    assert do_linkat(world.fs, world.files, fd, "", AT_FDCWD, inside, AT_EMPTY_PATH) == -errno.EXDEV


def test_a_dangling_link_creates_nothing_outside(world: World) -> None:
    link = world.symlink(world.ro / "new", "dangling")
    assert world.open(link, O_CREAT | O_WRONLY) == -errno.EROFS
    tmp = world.symlink("/tmp/new", "to_tmp")
    fd = world.open(tmp, O_CREAT | O_WRONLY)
    assert fd >= 0  # in the model's own /tmp
    assert not os.path.lexists("/tmp/new")


def test_a_directory_that_is_moved_and_replaced_by_a_link_is_still_itself(world: World) -> None:
    """A descriptor of rw/a/b; a moves away, and a link to a directory outside takes its place."""
    assert do_mkdirat(world.fs, world.files, AT_FDCWD, str(world.rw / "a"), 0o777) == 0
    assert do_mkdirat(world.fs, world.files, AT_FDCWD, str(world.rw / "a" / "dir"), 0o777) == 0
    fd = world.open(world.rw / "a" / "dir", O_DIRECTORY)
    a, moved = str(world.rw / "a"), str(world.rw / "moved")
    assert do_renameat2(world.fs, world.files, AT_FDCWD, a, AT_FDCWD, moved, 0) == 0
    world.symlink(world.ro, "a")
    made = world.open("made", O_CREAT | O_WRONLY, dfd=fd)
    assert made >= 0
    assert (world.rw / "moved" / "dir" / "made").exists()
    assert do_unlinkat(world.fs, world.files, fd, "inner") == -errno.ENOENT


def test_the_host_swaps_a_directory_for_a_link_behind_our_back(world: World) -> None:
    """Somebody else on the host plays the same trick: what was looked up before leads nowhere, not outside."""
    (world.rw / "a" / "dir").mkdir(parents=True)
    fd = world.open(world.rw / "a" / "dir", O_DIRECTORY)
    assert fd >= 0
    for mnt in world.ns.mounts:  # no directory is open on the host any more: each must be reached again
        close = getattr(mnt.sb, "recent", None)
        if close is not None:
            for inode in close.values():
                inode.close_fd()
            close.clear()
    os.rename(world.rw / "a", world.rw / "moved")
    os.symlink(world.ro, world.rw / "a")
    assert world.open("made", O_CREAT | O_WRONLY, dfd=fd) < 0
    assert do_unlinkat(world.fs, world.files, fd, "inner") < 0
    assert world.open(world.rw / "a" / "dir" / "made", O_CREAT | O_WRONLY) == -errno.EROFS


def test_a_file_swapped_for_a_link_between_look_up_and_opening(world: World) -> None:
    (world.rw / "f").write_bytes(b"mine")
    found = filename_lookup(world.fs, world.files, AT_FDCWD, str(world.rw / "f"), LOOKUP_FOLLOW)
    assert not isinstance(found, int)
    os.unlink(world.rw / "f")
    os.symlink(world.ro / "file", world.rw / "f")
    opened = found.inode.open(found, O_RDWR)
    assert isinstance(opened, int)
    assert found.inode.setattr_mode(0o777) < 0
    os.unlink(world.rw / "f")
    os.mkfifo(world.rw / "f")
    opened = found.inode.open(found, O_RDWR)  # and does not wait for a writer
    assert isinstance(opened, int)


def test_dot_dot_from_a_writable_directory_leads_to_the_read_only_side(world: World) -> None:
    fd = world.open(world.rw, O_DIRECTORY)
    assert world.open("../ro/file", O_WRONLY, dfd=fd) == -errno.EROFS
    assert world.open("..", O_TMPFILE | O_RDWR, dfd=fd) == -errno.EROFS
    assert do_mkdirat(world.fs, world.files, fd, "../new", 0o777) == -errno.EROFS
    assert do_renameat2(world.fs, world.files, fd, "../ro", fd, "mine", 0) == -errno.EXDEV


def test_the_mount_point_itself_stays(world: World) -> None:
    rw = str(world.rw)
    assert do_rmdirat(world.fs, world.files, AT_FDCWD, rw) == -errno.EROFS
    assert do_renameat2(world.fs, world.files, AT_FDCWD, rw, AT_FDCWD, rw + "2", 0) == -errno.EROFS
    assert world.rw.is_dir()


def test_devices_of_the_host_are_not_opened_and_none_is_made(world: World) -> None:
    assert do_mknodat(world.fs, world.files, AT_FDCWD, str(world.rw / "sda"), 0o060666, (8, 0)) == -errno.EPERM
    assert do_mknodat(world.fs, world.files, AT_FDCWD, str(world.rw / "null"), 0o020666, (1, 3)) == -errno.EPERM
    assert world.open("/dev/kmsg", O_RDONLY) == -errno.ENOENT
    if os.geteuid() == 0:
        os.mknod(world.rw / "null", 0o020666, os.makedev(1, 3))
        assert world.open(world.rw / "null", O_RDWR) == -errno.EACCES


def test_what_goes_through_a_fifo_does_not_reach_the_host(world: World) -> None:
    os.mkfifo(world.rw / "fifo")
    outside = os.open(world.rw / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    fd = world.open(world.rw / "fifo", O_RDWR)
    file = world.files.get(fd)
    assert file is not None
    assert file.write(b"secret") == 6
    assert os.read(outside, 10) == b""
    assert file.read(10) == b"secret"
    os.close(outside)


def test_a_program_cannot_make_dev_proc_or_sys_its_own(world: World) -> None:
    for path in ("/dev/new", "/proc/new", "/sys/new", "/proc/sys/vm/new"):
        assert world.open(path, O_CREAT | O_WRONLY) in (-errno.EROFS, -errno.EACCES), path
    assert do_unlinkat(world.fs, world.files, AT_FDCWD, "/dev/null") == -errno.EROFS
    assert do_unlinkat(world.fs, world.files, AT_FDCWD, "/proc/self/maps") == -errno.EPERM


def test_the_hosts_proc_and_dev_are_not_reachable(world: World) -> None:
    for path in ("/proc/1/environ", "/proc/kcore", "/sys/kernel/security", "/dev/mem", "/dev/vda"):
        assert world.open(path, O_RDONLY) == -errno.ENOENT, path
    link = world.symlink("/proc/1/root/etc/passwd", "proc1")
    assert world.open(link, O_RDONLY) == -errno.ENOENT


@pytest.mark.parametrize("place", ["/proc", "/sys", "/dev", "/dev/shm", "/nonexistent-directory", "/etc/passwd"])
def test_rw_refuses_what_is_no_directory_of_the_host(place: str) -> None:
    with pytest.raises(ConfigError, match=f"--rw {place}: "):
        host_namespace(System(Config(ram="64M")), [place], warm=True)


def test_a_standard_stream_is_opened_again_with_its_own_rights_only(work: Path) -> None:
    (work / "input").write_bytes(b"input")
    world = World(work)
    fd = os.open(work / "input", os.O_RDONLY)
    stream = host_stream(world.system, world.ns.cache, fd)
    assert stream is not None
    number = world.files.install(stream, cloexec=False)
    again = world.open(f"/proc/self/fd/{number}", O_RDONLY)
    file = world.files.get(again)
    assert file is not None
    assert file.read(10) == b"input"
    for flags in (O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC):
        assert isinstance(do_openat(world.fs, world.files, AT_FDCWD, f"/proc/self/fd/{number}", flags, 0), int)
    assert do_truncate(world.fs, world.files, AT_FDCWD, f"/proc/self/fd/{number}", 0) < 0
    assert do_fchmod(world.fs, stream, 0) == -errno.EROFS
    world.files.exit()
    os.close(fd)
    world.ns.close()
    assert (work / "input").read_bytes() == b"input"
