"""/proc/PID/map_files: a magic link for each mapping of a file, named by its range.

Sources: proc_pid_map_files(5).

Mirrors: fs/proc/base.c (proc_map_files_lookup, map_files_get_link) (6.18)
Differs: nothing.
"""

import errno
from typing import TYPE_CHECKING

from pagewalk.fs.dcache import Dentry
from pagewalk.fs.fcntl import S_IFLNK
from pagewalk.fs.file import VfsFile
from pagewalk.fs.inode import Inode
from pagewalk.fs.procfs.inodes import ProcDir, ProcInode, ProcSuper
from pagewalk.fs.procfs.tasks import is_there, ptrace_may_access, task_mm
from pagewalk.mm.file import FMODE_READ, FMODE_WRITE
from pagewalk.mm.vma import Vma

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


def parse_range(name: str) -> tuple[int, int] | None:
    """The two addresses of ``start-end``, in lower-case hexadecimal without leading zeros; None where it is none."""
    words = name.split("-")
    if len(words) != 2:
        return None
    for word in words:
        if not word or len(word) > 16 or any(digit not in "0123456789abcdef" for digit in word):
            return None
        if word[0] == "0" and word != "0":
            return None
    return int(words[0], 16), int(words[1], 16)


class MapFileLink(ProcInode):
    """One mapping's file. Its r and w bits tell how that is open."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task", file: VfsFile) -> None:
        mode = S_IFLNK
        if file.f_mode & FMODE_READ:
            mode |= 0o400
        if file.f_mode & FMODE_WRITE:
            mode |= 0o200
        super().__init__(sb, key, mode)
        self.task = task
        self.file = file

    def size(self) -> int:
        """64, as Linux shows it."""
        return 64

    def readlink(self) -> str | int:
        """The file's path."""
        return self.file.path

    def get_link(self) -> Dentry | int | None:
        """The file itself, which only a capable task may open this way."""
        return self.file.dentry if self.proc.system.current.capable else -errno.EPERM


class MapFilesDir(ProcDir):
    """/proc/PID/map_files."""

    def __init__(self, sb: ProcSuper, key: str, task: "Task") -> None:
        super().__init__(sb, key, 0o500)
        self.task = task

    def _vmas(self) -> list[Vma]:
        mm = task_mm(self.task)
        return [] if mm is None else [vma for vma in mm.vmas if isinstance(vma.vm_file, VfsFile)]

    def names(self) -> list[tuple[str, int]]:
        """The ranges of the mappings of files."""
        if not is_there(self.task) or not ptrace_may_access(self.task):
            return []
        return [(f"{int(vma.vm_start):x}-{int(vma.vm_end):x}", S_IFLNK) for vma in self._vmas()]

    def child(self, name: str) -> Inode | int:
        """The mapping with exactly that range."""
        if not is_there(self.task):
            return -errno.ENOENT
        if not ptrace_may_access(self.task):
            return -errno.EACCES
        found = parse_range(name)
        if found is not None:
            for vma in self._vmas():
                file = vma.vm_file
                if int(vma.vm_start) == found[0] and int(vma.vm_end) == found[1] and isinstance(file, VfsFile):
                    return MapFileLink(self.proc, f"{self.key}/{name}", self.task, file)
        return -errno.ENOENT
