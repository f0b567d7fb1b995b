"""Descriptors, names in use, pipes, memory files and devices, one small machine at a time."""

import errno
import os
import struct
from collections.abc import Iterator

import pytest

from pagewalk.config import Config
from pagewalk.fs import procfs
from pagewalk.fs.dir_ops import do_linkat, do_mkdirat, do_mknodat, do_renameat2, do_unlinkat
from pagewalk.fs.eventfd import EFD_SEMAPHORE, make_eventfd
from pagewalk.fs.fcntl import (
    AT_FDCWD,
    AT_SYMLINK_FOLLOW,
    CLOSE_RANGE_CLOEXEC,
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    MFD_ALLOW_SEALING,
    MFD_EXEC,
    MFD_NOEXEC_SEAL,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_NONBLOCK,
    O_RDONLY,
    O_RDWR,
    O_TMPFILE,
    O_WRONLY,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    SEEK_DATA,
    SEEK_HOLE,
    SEEK_SET,
)
from pagewalk.fs.fdtable import FilesStruct
from pagewalk.fs.file import WOULD_BLOCK, VfsFile
from pagewalk.fs.memfd import memfd_create
from pagewalk.fs.namespace import host_namespace
from pagewalk.fs.open import do_openat, do_sys_open
from pagewalk.fs.pipe import make_pipe
from pagewalk.fs.stat import Stat, new_decode_dev, new_encode_dev, struct_stat, struct_statfs, struct_statx
from pagewalk.fs.stat_at import do_readlinkat, vfs_statat, vfs_statfs
from pagewalk.kernel.kernel import Kernel
from pagewalk.mm.current import RLIMIT_FSIZE, RLIMIT_NOFILE
from pagewalk.mm.file import (
    F_SEAL_EXEC,
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
)
from pagewalk.mm.system import System


class Box:
    """A machine's files and a task that has none open."""

    def __init__(self) -> None:
        self.system = System(Config(ram="64M"))
        self.ns = host_namespace(self.system, [], warm=True)
        self.kernel = Kernel(self.system, self.ns)
        procfs.attach(self.ns, self.kernel)
        self.task = self.kernel.new_task()
        self.task.rlim_cur[RLIMIT_NOFILE] = 64
        self.fs = self.task.fs
        self.files: FilesStruct = self.task.files

    def open(self, path: str, flags: int = O_RDONLY, mode: int = 0o666) -> int:
        return do_sys_open(self.fs, self.files, AT_FDCWD, path, flags, mode)

    def file(self, path: str, flags: int = O_RDONLY, mode: int = 0o666) -> VfsFile:
        file = self.files.get_raw(self.open(path, flags, mode))
        assert file is not None, path
        return file


@pytest.fixture
def box() -> Iterator[Box]:
    box = Box()
    yield box
    box.files.exit()
    box.ns.close()


def read(file: VfsFile, count: int = 1 << 20, pos: int = -1) -> bytes:
    data = file.read(count, pos)
    assert isinstance(data, bytes), os.strerror(-data)
    return data


# Descriptors.


def test_the_lowest_free_number_is_given(box: Box) -> None:
    assert [box.open("/dev/null") for _ in range(4)] == [0, 1, 2, 3]
    box.files.close(1)
    box.files.close(2)
    assert [box.open("/dev/null") for _ in range(3)] == [1, 2, 4]


def test_a_higher_minimum_does_not_hide_lower_holes(box: Box) -> None:
    box.open("/dev/null")
    assert box.files.dupfd(0, 10, cloexec=False) == 10
    assert box.files.dupfd(0, 10, cloexec=True) == 11
    assert box.files.cloexec(11)
    assert box.open("/dev/null") == 1


def test_the_limit_is_emfile_and_keeps_nothing(box: Box) -> None:
    box.task.rlim_cur[RLIMIT_NOFILE] = 2
    file = box.file("/tmp/f", O_CREAT | O_RDWR)
    assert box.open("/dev/null") == 1
    before = file.f_count
    assert box.files.dup(0) == -errno.EMFILE
    assert file.f_count == before
    assert box.files.dupfd(0, 2, cloexec=False) == -errno.EINVAL
    assert box.files.dup2(0, 2) == -errno.EBADF


def test_dup_shares_the_position_and_not_the_cloexec_flag(box: Box) -> None:
    fd = box.open("/tmp/f", O_CREAT | O_RDWR | O_CLOEXEC)
    other = box.files.dup(fd)
    assert (box.files.cloexec(fd), box.files.cloexec(other)) == (True, False)
    file = box.files.get(other)
    assert file is box.files.get(fd)
    assert box.files.dup3(fd, fd, 0) == -errno.EINVAL
    assert box.files.dup2(fd, fd) == fd
    assert box.files.dup2(99, 99) == -errno.EBADF


def test_dup2_closes_what_was_there(box: Box) -> None:
    reader, writer = make_pipe(box.system, 0)
    box.files.install(reader, cloexec=False)
    box.files.install(writer, cloexec=False)
    box.open("/dev/null")
    assert box.files.dup2(2, 1) == 1
    assert read(reader) == b""  # the only writer is gone


def test_close_range_closes_or_marks(box: Box) -> None:
    for _ in range(6):
        box.open("/dev/null")
    assert box.files.close_range(4, 0xFFFF_FFFF, 0) == 0
    assert box.files.fds() == [0, 1, 2, 3]
    assert box.files.close_range(2, 3, CLOSE_RANGE_CLOEXEC) == 0
    box.files.close_on_exec()
    assert box.files.fds() == [0, 1]
    assert box.files.close_range(3, 2, 0) == -errno.EINVAL


def test_a_copy_of_the_table_holds_the_files_once_more(box: Box) -> None:
    file = box.file("/tmp/f", O_CREAT | O_RDWR)
    copy = box.files.copy(box.task)
    box.files.close(0)
    assert copy.get(0) is file
    assert file.f_count == 1
    copy.exit()
    assert file.f_count == 0


def test_the_table_grows_in_powers_of_two(box: Box) -> None:
    box.task.rlim_cur[RLIMIT_NOFILE] = 4096
    box.open("/dev/null")
    assert box.files.nr_open == 64
    box.files.dupfd(0, 64, cloexec=False)
    assert box.files.nr_open == 256
    box.files.dupfd(0, 1000, cloexec=False)
    assert box.files.nr_open == 1024


# Names in use.


def test_an_open_file_follows_its_name(box: Box) -> None:
    file = box.file("/tmp/old", O_CREAT | O_RDWR)
    assert do_renameat2(box.fs, box.files, AT_FDCWD, "/tmp/old", AT_FDCWD, "/tmp/new", 0) == 0
    assert file.path == "/tmp/new"
    assert do_readlinkat(box.fs, box.files, AT_FDCWD, "/proc/self/fd/0") == "/tmp/new"
    assert do_unlinkat(box.fs, box.files, AT_FDCWD, "/tmp/new") == 0
    assert file.path == "/tmp/new (deleted)"
    box.open("/tmp/new", O_CREAT | O_RDWR)
    assert file.path == "/tmp/new (deleted)"


def test_a_renamed_directory_takes_its_open_files_along(box: Box) -> None:
    do_mkdirat(box.fs, box.files, AT_FDCWD, "/tmp/a", 0o777)
    file = box.file("/tmp/a/f", O_CREAT | O_RDWR)
    do_mkdirat(box.fs, box.files, AT_FDCWD, "/tmp/b", 0o777)
    assert do_renameat2(box.fs, box.files, AT_FDCWD, "/tmp/a", AT_FDCWD, "/tmp/b/c", 0) == 0
    assert file.path == "/tmp/b/c/f"


def test_a_file_that_is_replaced_is_deleted(box: Box) -> None:
    victim = box.file("/tmp/victim", O_CREAT | O_RDWR)
    box.file("/tmp/new", O_CREAT | O_RDWR)
    assert do_renameat2(box.fs, box.files, AT_FDCWD, "/tmp/new", AT_FDCWD, "/tmp/victim", 0) == 0
    assert victim.path == "/tmp/victim (deleted)"
    assert victim.write(b"still there") == 11


def test_closing_lets_go_of_every_name(box: Box) -> None:
    do_mkdirat(box.fs, box.files, AT_FDCWD, "/tmp/a", 0o777)
    fd = box.open("/tmp/a/f", O_CREAT | O_RDWR)
    tmp = next(mnt for mnt in box.ns.mounts if mnt.mnt_root is not None and mnt.sb.fstype == "tmpfs"
               and mnt.mnt_mountpoint is not None and mnt.mnt_mountpoint.name == "tmp")  # fmt: skip
    assert tmp.mnt_root is not None
    assert set(tmp.mnt_root.d_children or {}) == {"a"}
    box.files.close(fd)
    assert not tmp.mnt_root.d_children
    assert tmp.mnt_root.d_count == 1


# tmpfs.


def test_pages_of_a_file_without_name_and_users_are_freed(box: Box) -> None:
    fd = box.open("/tmp/f", O_CREAT | O_RDWR)
    file = box.files.get(fd)
    assert file is not None
    assert file.write(b"x" * 100_000) == 100_000
    assert box.system.vmstat.nr_shmem == 25
    do_unlinkat(box.fs, box.files, AT_FDCWD, "/tmp/f")
    assert box.system.vmstat.nr_shmem == 25
    assert read(file, 10, 99_995) == b"xxxxx"
    box.files.close(fd)
    assert box.system.vmstat.nr_shmem == 0


def test_a_file_made_by_o_tmpfile_can_be_given_a_name_once(box: Box) -> None:
    fd = box.open("/tmp", O_TMPFILE | O_RDWR, 0o600)
    file = box.files.get(fd)
    assert file is not None
    file.write(b"data")
    st = file.getattr()
    assert isinstance(st, Stat)
    assert st.st_nlink == 0
    assert file.path.startswith("/tmp/#")
    assert file.path.endswith(" (deleted)")
    follow = AT_SYMLINK_FOLLOW
    assert do_linkat(box.fs, box.files, AT_FDCWD, f"/proc/self/fd/{fd}", AT_FDCWD, "/tmp/named", follow) == 0
    assert read(box.file("/tmp/named")) == b"data"


def test_a_deleted_file_is_not_given_a_name_again(box: Box) -> None:
    fd = box.open("/tmp/f", O_CREAT | O_RDWR)
    do_unlinkat(box.fs, box.files, AT_FDCWD, "/tmp/f")
    follow = AT_SYMLINK_FOLLOW
    assert do_linkat(box.fs, box.files, AT_FDCWD, f"/proc/self/fd/{fd}", AT_FDCWD, "/tmp/g", follow) == -errno.ENOENT


def test_holes_read_as_zeros_and_are_found(box: Box) -> None:
    file = box.file("/tmp/f", O_CREAT | O_RDWR)
    file.write(b"a", 0)
    file.write(b"b", 5 * 4096)
    assert read(file, 4097, 4095) == bytes(4097)
    assert file.lseek(0, SEEK_HOLE) == 4096
    assert file.lseek(4096, SEEK_DATA) == 5 * 4096
    assert file.lseek(5 * 4096, SEEK_HOLE) == 5 * 4096 + 1
    assert file.lseek(5 * 4096 + 1, SEEK_DATA) == -errno.ENXIO
    assert file.fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * 4096, 4096) == 0
    assert file.lseek(4096, SEEK_DATA) == -errno.ENXIO
    assert file.fallocate(FALLOC_FL_PUNCH_HOLE, 0, 4096) == -errno.EOPNOTSUPP
    st = file.getattr()
    assert isinstance(st, Stat)
    assert (st.st_size, st.st_blocks) == (5 * 4096 + 1, 8)


def test_rlimit_fsize_ends_a_file(box: Box) -> None:
    file = box.file("/tmp/f", O_CREAT | O_RDWR)
    box.task.rlim_cur[RLIMIT_FSIZE] = 10
    assert file.write(b"x" * 20) == 10
    assert file.write(b"x") == -errno.EFBIG
    assert file.ftruncate(11) == -errno.EFBIG


def test_directories_list_the_newest_name_first(box: Box) -> None:
    for name in "abc":
        box.open(f"/tmp/{name}", O_CREAT | O_WRONLY)
    listing = box.file("/tmp", O_DIRECTORY)
    data = listing.getdents64(4096)
    assert isinstance(data, bytes)
    names, at, seen_at_b = [], 0, 0
    while at < len(data):
        _, off, reclen, _ = struct.unpack_from("<QqHB", data, at)
        names.append(data[at + 19 : at + reclen].rstrip(b"\0"))
        if names[-1] == b"b":
            seen_at_b = off
        at += reclen
    assert names == [b".", b"..", b"c", b"b", b"a"]
    assert listing.getdents64(4096) == b""
    assert listing.lseek(seen_at_b, SEEK_SET) == seen_at_b
    rest = listing.getdents64(4096)
    assert isinstance(rest, bytes)
    assert rest[19:20] == b"a"
    assert listing.lseek(0, SEEK_SET) == 0
    assert listing.getdents64(4096) == data
    listing.lseek(0, SEEK_SET)
    assert listing.getdents64(23) == -errno.EINVAL


# memfd.


def memfd(box: Box, name: str, flags: int) -> VfsFile:
    file = memfd_create(box.system, name, flags)
    assert not isinstance(file, int)
    box.files.install(file, cloexec=False)
    return file


def test_a_memfd_has_a_name_that_no_directory_lists(box: Box) -> None:
    file = memfd(box, "cache", 0)
    assert file.path == "/memfd:cache (deleted)"
    assert do_readlinkat(box.fs, box.files, AT_FDCWD, "/proc/self/fd/0") == "/memfd:cache (deleted)"
    assert file.get_seals() == F_SEAL_SEAL
    assert file.add_seals(F_SEAL_GROW) == -errno.EPERM
    st = file.getattr()
    assert isinstance(st, Stat)
    assert (st.st_mode, st.st_nlink, st.st_dev) == (0o100777, 0, (0, 1))


def test_a_memfd_is_opened_again_through_proc(box: Box) -> None:
    file = memfd(box, "x", 0)
    file.write(b"shared")
    again = box.file("/proc/self/fd/0", O_RDONLY)
    assert read(again) == b"shared"
    assert again.add_seals(F_SEAL_GROW) == -errno.EPERM


def test_seals_forbid_what_they_say(box: Box) -> None:
    file = memfd(box, "x", MFD_ALLOW_SEALING)
    assert file.get_seals() == 0
    file.write(bytes(8192))
    assert file.add_seals(F_SEAL_SHRINK | F_SEAL_GROW) == 0
    assert file.ftruncate(8191) == -errno.EPERM
    assert file.ftruncate(8193) == -errno.EPERM
    assert file.ftruncate(8192) == 0
    assert file.write(b"x", 8192) == -errno.EPERM
    assert file.write(b"x", 8191) == 1
    assert file.add_seals(F_SEAL_WRITE) == 0
    assert file.write(b"x", 0) == -errno.EPERM
    assert file.fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == -errno.EPERM
    assert file.add_seals(0x40) == -errno.EINVAL
    assert file.add_seals(F_SEAL_SEAL) == 0
    assert file.add_seals(F_SEAL_FUTURE_WRITE) == -errno.EPERM


def test_an_unexecutable_memfd_stays_so(box: Box) -> None:
    file = memfd(box, "x", MFD_NOEXEC_SEAL)
    assert file.get_seals() == F_SEAL_EXEC
    assert file.inode.setattr_mode(0o777) == -errno.EPERM
    assert file.inode.setattr_mode(0o600) == 0
    assert memfd_create(box.system, "x", MFD_EXEC | MFD_NOEXEC_SEAL) == -errno.EINVAL
    assert memfd_create(box.system, "n" * 250, 0) == -errno.EINVAL


def test_f_seal_exec_on_an_executable_file_seals_its_contents(box: Box) -> None:
    file = memfd(box, "x", MFD_ALLOW_SEALING)
    assert file.add_seals(F_SEAL_EXEC) == 0
    assert file.get_seals() == F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE


# Pipes.


def test_a_pipe_carries_bytes_in_order(box: Box) -> None:
    reader, writer = make_pipe(box.system, 0)
    assert reader.read(10) == WOULD_BLOCK
    assert writer.write(b"hello") == 5
    assert read(reader, 2) == b"he"
    assert reader.ioctl_bytes(0x541B, b"") == struct.pack("<i", 3)
    assert read(reader) == b"llo"
    writer.put()
    assert read(reader) == b""
    assert reader.poll() == POLLHUP


def test_a_pipe_without_readers_is_epipe(box: Box) -> None:
    reader, writer = make_pipe(box.system, 0)
    reader.put()
    assert writer.write(b"x") == -errno.EPIPE
    assert writer.poll() & POLLERR


def test_a_full_pipe_waits_and_small_writes_are_whole(box: Box) -> None:
    reader, writer = make_pipe(box.system, O_NONBLOCK)
    assert reader.read(1) == -errno.EAGAIN
    assert writer.write(bytes(100_000)) == 65536
    assert writer.write(b"x") == -errno.EAGAIN
    assert not writer.poll() & POLLOUT
    assert len(read(reader, 4095)) == 4095
    assert writer.write(bytes(4096)) == -errno.EAGAIN
    assert writer.write(bytes(4097)) == -errno.EAGAIN  # 15 slots are full, and the first is not empty
    assert len(read(reader, 1)) == 1
    assert writer.write(bytes(4097)) == 4096
    assert read(reader, 1 << 20) == bytes(65536)
    assert writer.pipe_size() == 65536
    assert writer.set_pipe_size(5000) == 8192
    assert reader.pipe_size() == 8192
    assert reader.lseek(0, SEEK_SET) == -errno.ESPIPE


def test_fifos_wait_for_the_other_end(box: Box) -> None:
    assert do_mknodat(box.fs, box.files, AT_FDCWD, "/tmp/fifo", 0o010600, (0, 0)) == 0
    assert box.open("/tmp/fifo", O_RDONLY) == WOULD_BLOCK
    assert box.open("/tmp/fifo", O_WRONLY | O_NONBLOCK) == -errno.ENXIO
    both = box.file("/tmp/fifo", O_RDWR)
    writer = box.file("/tmp/fifo", O_WRONLY)
    writer.write(b"through")
    assert read(box.file("/tmp/fifo", O_RDONLY)) == b"through"
    assert both.poll() & POLLOUT


# Devices and others.


def test_devices(box: Box) -> None:
    assert read(box.file("/dev/null")) == b""
    assert read(box.file("/dev/zero"), 5) == bytes(5)
    assert box.file("/dev/full", O_WRONLY).write(b"x") == -errno.ENOSPC
    assert box.file("/dev/null", O_WRONLY).write(b"xyz") == 3
    assert len(read(box.file("/dev/urandom"), 33)) == 33
    st = vfs_statat(box.fs, box.files, AT_FDCWD, "/dev/zero", 0)
    assert isinstance(st, Stat)
    assert (st.st_mode, st.st_rdev) == (0o020666, (1, 5))
    assert do_readlinkat(box.fs, box.files, AT_FDCWD, "/dev/stdin") == "/proc/self/fd/0"
    assert box.open("/dev/ptmx") == -errno.ENOENT


def test_random_numbers_are_the_seeds(box: Box) -> None:
    other = Box()
    assert read(box.file("/dev/urandom"), 16) == read(other.file("/dev/urandom"), 16)
    other.ns.close()


def test_eventfd_counts(box: Box) -> None:
    file = make_eventfd(box.system, 3, O_NONBLOCK)
    assert file.poll() & POLLIN
    assert file.read(8) == struct.pack("<Q", 3)
    assert file.read(8) == -errno.EAGAIN
    assert file.write(struct.pack("<Q", (1 << 64) - 1)) == -errno.EINVAL
    assert file.write(struct.pack("<Q", (1 << 64) - 2)) == 8
    assert file.write(struct.pack("<Q", 1)) == -errno.EAGAIN
    assert file.read(7) == -errno.EINVAL
    semaphore = make_eventfd(box.system, 2, EFD_SEMAPHORE)
    assert [semaphore.read(8) for _ in range(3)] == [struct.pack("<Q", 1), struct.pack("<Q", 1), WOULD_BLOCK]


def test_structs_are_linuxs_bytes(box: Box) -> None:
    """The host's stat of a file and the model's, in the layout of struct stat."""
    st = vfs_statat(box.fs, box.files, AT_FDCWD, "/etc/passwd", 0)
    assert isinstance(st, Stat)
    data = struct_stat(st)
    host = os.stat("/etc/passwd")
    assert len(data) == 144
    assert struct.unpack_from("<QQQIII", data) == (
        host.st_dev, host.st_ino, host.st_nlink, host.st_mode, host.st_uid, host.st_gid,
    )  # fmt: skip
    assert struct.unpack_from("<QQQ", data, 48) == (host.st_size, host.st_blksize, host.st_blocks)
    assert struct.unpack_from("<QQ", data, 88) == (host.st_mtime_ns // 10**9, host.st_mtime_ns % 10**9)
    assert len(struct_statx(st)) == 256
    sf = vfs_statfs(box.fs, box.files, "/etc")
    assert not isinstance(sf, int)
    assert len(struct_statfs(sf)) == 120
    assert sf.f_blocks == os.statvfs("/etc").f_blocks


@pytest.mark.parametrize("dev", [(0, 0), (8, 1), (254, 0), (136, 300), (4095, 0xFFFFF)])
def test_device_numbers_survive_encoding(dev: tuple[int, int]) -> None:
    assert new_encode_dev(dev) == os.makedev(*dev)
    assert new_decode_dev(new_encode_dev(dev)) == dev


def test_a_large_file_of_the_host_is_read_through_the_page_cache(box: Box) -> None:
    path = os.__file__
    with open(path, "rb") as stream:
        expected = stream.read()
    file = box.file(path)
    assert read(file) == expected
    pages = (len(expected) + 4095) // 4096
    assert box.system.vmstat.nr_file_pages == pages
    assert read(box.file(path)) == expected
    assert box.system.vmstat.nr_file_pages == pages


def test_dropping_caches_forgets_clean_pages(box: Box) -> None:
    read(box.file("/etc/passwd"))
    drop = box.file("/proc/sys/vm/drop_caches", O_WRONLY)
    assert drop.write(b"3\n") == 2
    assert box.system.vmstat.nr_file_pages == 0
    assert drop.write(b"7\n") == -errno.EINVAL


def test_sysctls_show_and_change_the_configuration(box: Box) -> None:
    file = box.file("/proc/sys/vm/max_map_count", O_RDWR)
    assert read(file) == b"65530\n"
    assert file.write(b"100\n") == 4
    assert box.system.config.max_map_count == 100
    assert box.file("/proc/sys/vm/overcommit_memory", O_RDWR).write(b"3") == -errno.EINVAL
    assert do_openat(box.fs, box.files, AT_FDCWD, "/proc/sys/vm/nothing", O_RDONLY, 0) == -errno.ENOENT


@pytest.mark.parametrize("ram", ["64M", "4G"])
def test_min_free_kbytes_is_the_sum_of_the_zones_watermarks(ram: str) -> None:
    system = System(Config(ram=ram))
    ns = host_namespace(system, [], warm=True)
    kernel = Kernel(system, ns)
    procfs.attach(ns, kernel)
    task = kernel.new_task()
    file = do_openat(task.fs, task.files, AT_FDCWD, "/proc/sys/vm/min_free_kbytes", O_RDONLY, 0)
    assert not isinstance(file, int)
    shown = int(read(file))
    file.put()
    ns.close()
    marks = 4 * sum(
        int(zone.watermark_min) for zone in system.node.zones if zone.name != "Movable"
    )  # which has its own
    assert shown - 4 * len(system.node.zones) <= marks <= shown  # each zone rounds down to a page
