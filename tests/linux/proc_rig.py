"""A task of a small machine that has just executed /bin/true, and what it reads and writes in its /proc."""

import errno
import os

from pagewalk.config import Config
from pagewalk.fs import procfs
from pagewalk.fs.fcntl import AT_FDCWD, O_DIRECTORY, O_RDONLY, O_WRONLY
from pagewalk.fs.namespace import Namespace, host_namespace
from pagewalk.fs.open import do_openat
from pagewalk.fs.stat import Stat
from pagewalk.fs.stat_at import do_readlinkat, vfs_statat
from pagewalk.kernel.kernel import Kernel
from pagewalk.kernel.task import Task
from pagewalk.mm.system import System


class Proc:
    """The machine; ``task`` is the one that reads."""

    def __init__(self) -> None:
        self.system = System(Config(ram="64M"))
        self.ns: Namespace = host_namespace(self.system, [], warm=True)
        self.kernel = Kernel(self.system, self.ns)
        procfs.attach(self.ns, self.kernel)
        self.task: Task = self.spawn()

    def spawn(self) -> Task:
        """One more process, which is the running one from now on."""
        return self.kernel.spawn("/bin/true", [b"true", b"", b"two words"], [b"A=b"])

    def close(self) -> None:
        for task in self.kernel.tasks():
            self.kernel.release_task(task)
        self.kernel.close()
        self.ns.close()

    def try_read(self, path: str, count: int = 1 << 20, pos: int = -1) -> bytes | str:
        """The contents, or the name of the errno that opening or reading ends in."""
        file = do_openat(self.task.fs, self.task.files, AT_FDCWD, path, O_RDONLY, 0)
        if isinstance(file, int):
            return f"open:{errno.errorcode[-file]}"
        data = file.read(count, pos)
        file.put()
        return f"read:{errno.errorcode[-data]}" if isinstance(data, int) else data

    def read(self, path: str, count: int = 1 << 20, pos: int = -1) -> bytes:
        data = self.try_read(path, count, pos)
        assert isinstance(data, bytes), (path, data)
        return data

    def text(self, name: str) -> str:
        return self.read(f"/proc/self/{name}").decode()

    def write(self, path: str, data: bytes) -> int | str:
        """Bytes taken, or the name of the errno."""
        file = do_openat(self.task.fs, self.task.files, AT_FDCWD, path, O_WRONLY, 0)
        assert not isinstance(file, int), (path, os.strerror(-file))
        done = file.write(data)
        file.put()
        return errno.errorcode[-done] if done < 0 else done

    def readlink(self, path: str) -> str:
        """The target, or the name of the errno."""
        target = do_readlinkat(self.task.fs, self.task.files, AT_FDCWD, path)
        return f"open:{errno.errorcode[-target]}" if isinstance(target, int) else target

    def stat(self, path: str, flags: int = 0x100) -> Stat:
        """lstat(2)."""
        st = vfs_statat(self.task.fs, self.task.files, AT_FDCWD, path, flags)
        assert not isinstance(st, int), (path, os.strerror(-st))
        return st

    def names(self, path: str) -> list[str]:
        """What getdents64(2) lists."""
        file = do_openat(self.task.fs, self.task.files, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0)
        assert not isinstance(file, int), (path, os.strerror(-file))
        found = []
        while True:
            data = file.getdents64(65536)
            assert isinstance(data, bytes)
            if not data:
                break
            while data:
                length = int.from_bytes(data[16:18], "little")
                found.append(os.fsdecode(data[19:length].split(b"\0")[0]))
                data = data[length:]
        file.put()
        return [name for name in found if name not in (".", "..")]
