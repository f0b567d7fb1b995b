"""The same file calls on the host and in the model: what each answers, and the tree that is left.

A call is a tuple: its name and its arguments. The host runs them in a child process with the tree as its root (chroot);
the model has the tree as its root too, as a writable hostfs or as a tmpfs.
"""

import ctypes
import errno
import os
import pickle
import stat
from pathlib import Path
from typing import Any

from pagewalk.config import Config
from pagewalk.fs import dir_ops, fcntl, stat_at
from pagewalk.fs import open as fsopen
from pagewalk.fs.fdtable import FilesStruct
from pagewalk.fs.fs_struct import FsStruct
from pagewalk.fs.host_cache import HostCache
from pagewalk.fs.hostfs import HostSuper
from pagewalk.fs.namespace import Namespace
from pagewalk.fs.tmpfs import TmpSuper
from pagewalk.mm.current import RLIMIT_NOFILE
from pagewalk.mm.system import System

Call = tuple[Any, ...]
Answer = Any

libc = ctypes.CDLL(None, use_errno=True)


def _raw(function: str, *arguments: Any) -> int:
    converted = [os.fsencode(a) if isinstance(a, str) else a for a in arguments]
    value: int = getattr(libc, function)(*converted)
    return value if value >= 0 else -ctypes.get_errno()


class Host:
    """The host's answers. Descriptors are numbered from 0 in the order of opening; closed ones leave a gap."""

    def __init__(self) -> None:
        self.fds: dict[int, int] = {}

    def run(self, call: Call) -> Answer:
        name, arguments = call[0], call[1:]
        return getattr(self, name)(*arguments)

    def fd(self, number: int) -> int:
        return fcntl.AT_FDCWD if number == fcntl.AT_FDCWD else self.fds.get(number, 1 << 30)

    def open(self, path: str, flags: int, mode: int = 0o666, dfd: int = fcntl.AT_FDCWD) -> int:
        fd = _raw("openat", self.fd(dfd), path, flags, mode)
        if fd < 0:
            return fd
        number = 0
        while number in self.fds:
            number += 1
        self.fds[number] = fd
        return number

    def close(self, number: int) -> int:
        fd = self.fds.pop(number, 1 << 30)
        return _raw("close", fd)

    def read(self, number: int, count: int) -> Answer:
        return _python(os.read, self.fd(number), count)

    def pread(self, number: int, count: int, offset: int) -> Answer:
        return _python(os.pread, self.fd(number), count, offset)

    def write(self, number: int, data: bytes) -> Answer:
        return _python(os.write, self.fd(number), data)

    def pwrite(self, number: int, data: bytes, offset: int) -> Answer:
        return _python(os.pwrite, self.fd(number), data, offset)

    def lseek(self, number: int, offset: int, whence: int) -> Answer:
        return _python(os.lseek, self.fd(number), offset, whence)

    def ftruncate(self, number: int, length: int) -> Answer:
        return _raw("ftruncate64", self.fd(number), ctypes.c_long(length))

    def fallocate(self, number: int, mode: int, offset: int, length: int) -> Answer:
        return _raw("fallocate64", self.fd(number), mode, ctypes.c_long(offset), ctypes.c_long(length))

    def fstat(self, number: int) -> Answer:
        return _python(lambda fd: _shape(os.fstat(fd)), self.fd(number))

    def mkdir(self, path: str, mode: int = 0o777) -> int:
        return _raw("mkdir", path, mode)

    def mknod(self, path: str, mode: int) -> int:
        return _raw("mknod", path, mode, 0)

    def rmdir(self, path: str) -> int:
        return _raw("rmdir", path)

    def unlink(self, path: str) -> int:
        return _raw("unlink", path)

    def rename(self, old: str, new: str, flags: int = 0) -> int:
        return _raw("renameat2", fcntl.AT_FDCWD, old, fcntl.AT_FDCWD, new, flags)

    def link(self, old: str, new: str, flags: int = 0) -> int:
        return _raw("linkat", fcntl.AT_FDCWD, old, fcntl.AT_FDCWD, new, flags)

    def symlink(self, target: str, path: str) -> int:
        return _raw("symlink", target, path)

    def readlink(self, path: str) -> Answer:
        return _python(os.readlink, path)

    def stat(self, path: str) -> Answer:
        return _python(lambda p: _shape(os.stat(p)), path)

    def lstat(self, path: str) -> Answer:
        return _python(lambda p: _shape(os.lstat(p)), path)

    def access(self, path: str, mode: int) -> int:
        return _raw("access", path, mode)

    def chmod(self, path: str, mode: int) -> int:
        return _raw("chmod", path, mode)

    def chown(self, path: str, uid: int, gid: int) -> int:
        return _raw("chown", path, uid, gid)

    def truncate(self, path: str, length: int) -> int:
        return _raw("truncate64", path, ctypes.c_long(length))

    def chdir(self, path: str) -> int:
        return _raw("chdir", path)

    def fchdir(self, number: int) -> int:
        return _raw("fchdir", self.fd(number))

    def getcwd(self) -> Answer:
        return _python(os.getcwd)

    def utimens(self, path: str, atime: int, mtime: int) -> Answer:
        return _python(lambda: os.utime(path, ns=(atime, mtime)))

    def mtime(self, path: str) -> Answer:
        return _python(lambda: os.stat(path).st_mtime_ns)

    def listdir(self, path: str) -> Answer:
        return _python(lambda p: sorted(os.listdir(p)), path)


def _python(function: Any, *arguments: Any) -> Answer:
    try:
        value = function(*arguments)
    except OSError as err:
        return -(err.errno or 0)
    return 0 if value is None else value


def _shape(st: os.stat_result) -> tuple[int, ...]:
    """What both must agree on: mode, links, owner, and the size of what has one of its own."""
    size = st.st_size if stat.S_ISREG(st.st_mode) or stat.S_ISLNK(st.st_mode) else 0
    return (st.st_mode, st.st_nlink if not stat.S_ISDIR(st.st_mode) else 0, st.st_uid, st.st_gid, size)


class Model:
    """The model's answers, for a tree on the host (``tree``) or in memory (None)."""

    def __init__(self, tree: Path | None, system: System | None = None) -> None:
        self.system = system if system is not None else System(Config(ram="64M"))
        self.cache = HostCache(self.system, warm=True)
        if tree is None:
            tmp = TmpSuper(self.system, (0, 50), 0o755)
            self.ns = Namespace(self.system, tmp, tmp.root, self.cache, "tmpfs")
        else:
            host = HostSuper(self.system, self.cache, str(tree), writable=True)
            self.ns = Namespace(self.system, host, host.root, self.cache, "host")
        self.fs = FsStruct(self.ns)
        self.fs.umask = 0o022
        self.system.current.rlim_cur[RLIMIT_NOFILE] = 100
        self.files = FilesStruct(self.system.current)

    def finish(self) -> None:
        self.files.exit()
        self.fs.exit()
        self.ns.close()

    def run(self, call: Call) -> Answer:
        name, arguments = call[0], call[1:]
        return getattr(self, name)(*arguments)

    def open(self, path: str, flags: int, mode: int = 0o666, dfd: int = fcntl.AT_FDCWD) -> int:
        return fsopen.do_sys_open(self.fs, self.files, dfd, path, flags, mode)

    def close(self, number: int) -> int:
        return self.files.close(number)

    def read(self, number: int, count: int) -> Answer:
        file = self.files.get(number)
        return -errno.EBADF if file is None else file.read(count)

    def pread(self, number: int, count: int, offset: int) -> Answer:
        file = self.files.get(number)
        return -errno.EBADF if file is None else file.read(count, offset)

    def write(self, number: int, data: bytes) -> Answer:
        file = self.files.get(number)
        return -errno.EBADF if file is None else file.write(data)

    def pwrite(self, number: int, data: bytes, offset: int) -> Answer:
        file = self.files.get(number)
        return -errno.EBADF if file is None else file.write(data, offset)

    def lseek(self, number: int, offset: int, whence: int) -> Answer:
        file = self.files.get(number)
        return -errno.EBADF if file is None else file.lseek(offset, whence)

    def ftruncate(self, number: int, length: int) -> Answer:
        file = self.files.get(number)
        return -errno.EBADF if file is None else file.ftruncate(length)

    def fallocate(self, number: int, mode: int, offset: int, length: int) -> Answer:
        file = self.files.get(number)
        return -errno.EBADF if file is None else file.fallocate(mode, offset, length)

    def fstat(self, number: int) -> Answer:
        file = self.files.get_raw(number)
        return -errno.EBADF if file is None else self._shape(stat_at.vfs_fstat(file))

    def mkdir(self, path: str, mode: int = 0o777) -> int:
        return dir_ops.do_mkdirat(self.fs, self.files, fcntl.AT_FDCWD, path, mode)

    def mknod(self, path: str, mode: int) -> int:
        return dir_ops.do_mknodat(self.fs, self.files, fcntl.AT_FDCWD, path, mode, (0, 0))

    def rmdir(self, path: str) -> int:
        return dir_ops.do_rmdirat(self.fs, self.files, fcntl.AT_FDCWD, path)

    def unlink(self, path: str) -> int:
        return dir_ops.do_unlinkat(self.fs, self.files, fcntl.AT_FDCWD, path)

    def rename(self, old: str, new: str, flags: int = 0) -> int:
        cwd = fcntl.AT_FDCWD
        return dir_ops.do_renameat2(self.fs, self.files, cwd, old, cwd, new, flags)

    def link(self, old: str, new: str, flags: int = 0) -> int:
        cwd = fcntl.AT_FDCWD
        return dir_ops.do_linkat(self.fs, self.files, cwd, old, cwd, new, flags)

    def symlink(self, target: str, path: str) -> int:
        return dir_ops.do_symlinkat(self.fs, self.files, target, fcntl.AT_FDCWD, path)

    def readlink(self, path: str) -> Answer:
        return stat_at.do_readlinkat(self.fs, self.files, fcntl.AT_FDCWD, path)

    def stat(self, path: str) -> Answer:
        return self._shape(stat_at.vfs_statat(self.fs, self.files, fcntl.AT_FDCWD, path, 0))

    def lstat(self, path: str) -> Answer:
        how = fcntl.AT_SYMLINK_NOFOLLOW
        return self._shape(stat_at.vfs_statat(self.fs, self.files, fcntl.AT_FDCWD, path, how))

    def _shape(self, st: Any) -> Answer:
        if isinstance(st, int):
            return st
        size = st.st_size if st.is_reg() or st.is_lnk() else 0
        return (st.st_mode, 0 if st.is_dir() else st.st_nlink, st.st_uid, st.st_gid, size)

    def access(self, path: str, mode: int) -> int:
        return fsopen.do_faccessat(self.fs, self.files, fcntl.AT_FDCWD, path, mode, 0)

    def chmod(self, path: str, mode: int) -> int:
        return fsopen.do_fchmodat(self.fs, self.files, fcntl.AT_FDCWD, path, mode, 0)

    def chown(self, path: str, uid: int, gid: int) -> int:
        return fsopen.do_fchownat(self.fs, self.files, fcntl.AT_FDCWD, path, uid, gid, 0)

    def truncate(self, path: str, length: int) -> int:
        return fsopen.do_truncate(self.fs, self.files, fcntl.AT_FDCWD, path, length)

    def chdir(self, path: str) -> int:
        return fsopen.do_chdir(self.fs, self.files, path)

    def fchdir(self, number: int) -> int:
        file = self.files.get_raw(number)
        return -errno.EBADF if file is None else fsopen.do_fchdir(self.fs, file)

    def getcwd(self) -> Answer:
        return fsopen.getcwd(self.fs)

    def utimens(self, path: str, atime: int, mtime: int) -> Answer:
        return fsopen.do_utimensat(self.fs, self.files, fcntl.AT_FDCWD, path, atime, mtime, 0)

    def mtime(self, path: str) -> Answer:
        st = stat_at.vfs_statat(self.fs, self.files, fcntl.AT_FDCWD, path, 0)
        return st if isinstance(st, int) else st.st_mtime_ns

    def listdir(self, path: str) -> Answer:
        file = fsopen.do_openat(self.fs, self.files, fcntl.AT_FDCWD, path, fcntl.O_RDONLY | fcntl.O_DIRECTORY, 0)
        if isinstance(file, int):
            return file
        names: list[str] = []
        while True:
            chunk = file.getdents64(300)
            if isinstance(chunk, int) or not chunk:
                break
            at = 0
            while at < len(chunk):
                reclen = int.from_bytes(chunk[at + 16 : at + 18], "little")
                names.append(os.fsdecode(chunk[at + 19 : at + reclen].rstrip(b"\0")))
                at += reclen
        file.put()
        return sorted(name for name in names if name not in (".", ".."))

    def tree(self, path: str = "/") -> list[tuple[Any, ...]]:
        """Every file below ``path``: name, shape, contents."""
        found: list[tuple[Any, ...]] = []
        for name in self.listdir(path):
            here = path.rstrip("/") + "/" + name
            shape = self.lstat(here)
            kind = stat.S_IFMT(shape[0])
            what: Answer = None
            if kind == stat.S_IFLNK:
                what = self.readlink(here)
            elif kind == stat.S_IFREG:
                file = fsopen.do_openat(self.fs, self.files, fcntl.AT_FDCWD, here, 0, 0)
                assert not isinstance(file, int), (here, file)
                what = file.read(1 << 20)
                file.put()
            found.append((here, shape, what))
            if kind == stat.S_IFDIR:
                found += self.tree(here)
        return found


def host_tree(root: Path, path: str = "/") -> list[tuple[Any, ...]]:
    """As ``Model.tree``, read by the host."""
    found: list[tuple[Any, ...]] = []
    for name in sorted(os.listdir(str(root) + path)):
        here = path.rstrip("/") + "/" + name
        real = str(root) + here
        st = os.lstat(real)
        what: Answer = None
        if stat.S_ISLNK(st.st_mode):
            what = os.readlink(real)
        elif stat.S_ISREG(st.st_mode):
            what = Path(real).read_bytes()
        found.append((here, _shape(st), what))
        if stat.S_ISDIR(st.st_mode):
            found += host_tree(root, here)
    return found


def on_host(groups: list[tuple[Path, list[Call]]]) -> list[list[Answer]]:
    """The host's answers to each group of calls, from a child whose root is the group's tree."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            os.umask(0o022)
            outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
            collected = []
            for tree, calls in groups:
                os.chroot(tree)
                os.chdir("/")
                host = Host()
                collected.append([host.run(call) for call in calls])
                for fd in host.fds.values():
                    os.close(fd)
                os.fchdir(outside)
                os.chroot(".")
            answers = pickle.dumps(collected)
            while answers:
                answers = answers[os.write(writer, answers) :]
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    assert data, "the child has failed"
    answers: list[list[Answer]] = pickle.loads(data)
    return answers
