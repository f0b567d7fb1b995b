"""The model's /proc as a tree of files on the host, for programs that read another machine's /proc.

One directory for each process; links are links, and what cannot be read (``mem``, ``clear_refs``) or is no text
(``pagemap``, ``kpagecount``) is left out. Everything is as the machine's owner sees it.

``write_procfs`` writes one moment. ``ProcfsRecorder`` watches a run: processes come and go, and what one wants to look
at is that moment at which most of them were there. So, whenever a process is about to end: are more processes alive
than at every such moment before, all of /proc is written anew, as it is then. A process that does not live at the
chosen moment is written as it was before it ended. A run of one process therefore shows that process at its end.

Mirrors: nothing of Linux's own; what it writes is that of fs/proc/root.c (6.18)
Differs: without the files named above.
"""

import os
import shutil
from typing import TYPE_CHECKING

from pagewalk.errors import ConfigError
from pagewalk.fs.fcntl import S_IFLNK
from pagewalk.fs.procfs.inodes import ProcDir, ProcInode, ProcSuper
from pagewalk.mm.current import Current

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

_MARK = "(pagewalk)"


def check_directory(name: str) -> str:
    """The absolute path of a directory that a /proc can be written to: one that does not exist yet, is empty, or holds
    an earlier /proc of ours. ConfigError where it is something else."""
    path = os.path.abspath(name)
    if not os.path.lexists(path):
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            raise ConfigError(f"--procfs: {name!r} cannot be made: {parent!r} is no directory")
        if not os.access(parent, os.W_OK):
            raise ConfigError(f"--procfs: {name!r} cannot be made: no permission to write to {parent!r}")
        return path
    if not os.path.isdir(path):
        raise ConfigError(f"--procfs: expected a directory, got {name!r} (not a directory)")
    if os.listdir(path) and not _is_ours(path):
        raise ConfigError(f"--procfs: expected an empty directory or an earlier /proc of pagewalk's, got {name!r}")
    return path


def _is_ours(path: str) -> bool:
    try:
        with open(os.path.join(path, "version"), encoding="utf-8") as version:
            return _MARK in version.read(200)
    except (OSError, UnicodeDecodeError):
        return False


class _Owner:
    """Makes the machine's owner the one who looks, for a while; puts the running task back."""

    def __init__(self, proc: ProcSuper) -> None:
        self.system = proc.system
        self.running = proc.system.current

    def __enter__(self) -> None:
        self.system.current = Current()

    def __exit__(self, kind: object, error: object, where: object) -> None:
        self.system.current = self.running


def write_procfs(proc: ProcSuper, directory: str, pids: list[int] | None = None) -> None:
    """Writes /proc as it is now to ``directory`` (see ``check_directory``), in place of what an earlier call wrote.

    pids  write only these processes' directories, and leave everything else as it is
    """
    path = check_directory(directory)
    os.makedirs(path, exist_ok=True)
    root = proc.root
    assert isinstance(root, ProcDir)
    current = proc.kernel.current_task()
    with _Owner(proc):
        if pids is not None:
            for pid in pids:
                _write_entry(root, str(pid), path)
            return
        for name in os.listdir(path):
            _remove(os.path.join(path, name))
        for name, _ in root.names():
            if name != "self" and name != "thread-self":
                _write_entry(root, name, path)
        processes = sorted([task.tgid for task in proc.kernel.tasks()])
        if processes:
            myself = current.tgid if current is not None and current.tgid in processes else processes[0]
            os.symlink(str(myself), os.path.join(path, "self"))
            os.symlink(f"{myself}/task/{myself}", os.path.join(path, "thread-self"))


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _write_entry(directory: ProcDir, name: str, path: str) -> None:
    """Writes one entry of a directory, and what is below it."""
    inode = directory.child(name)
    target = os.path.join(path, name)
    if isinstance(inode, ProcDir):
        _remove(target)
        os.mkdir(target, 0o755)
        for below, _ in inode.names():
            _write_entry(inode, below, target)
    elif isinstance(inode, ProcInode) and inode.i_mode & 0o170000 == S_IFLNK:
        text = inode.readlink()
        if isinstance(text, str) and text:
            os.symlink(text.encode("utf-8", "surrogateescape"), target.encode())
    elif isinstance(inode, ProcInode) and inode.i_mode & 0o444:
        contents = inode.text()
        if isinstance(contents, bytes):
            with open(target, "wb") as file:
                file.write(contents)
            os.chmod(target, inode.i_mode & 0o777)


class ProcfsRecorder:
    """Writes the /proc of a run to ``directory``; ``before_exit`` is to be called before each task ends.

    most      processes that were alive at the moment that the directory shows
    shown     their ids; before: those of processes that stand beside them; ending: of all that are through
    """

    def __init__(self, proc: ProcSuper, directory: str) -> None:
        self.proc = proc
        self.directory = check_directory(directory)
        self.most = 0
        self.shown: set[int] = set()
        self.before: list[int] = []
        self.ending: set[int] = set()

    def before_exit(self, task: "Task") -> None:
        """The task is about to end. A process is written before the first of its threads ends, where all are told to,
        else before the last one does."""
        if task.tgid in self.ending or not task.signal.is_ending(task):
            return
        self.ending.add(task.tgid)
        alive: set[int] = set()
        for other in self.proc.kernel.tasks():
            if other.exit_code is None:
                alive.add(other.tgid)
        if len(alive) > self.most:
            self.most = len(alive)
            kept = self._keep()
            write_procfs(self.proc, self.directory)
            self.shown = alive
            self._restore(kept)
        elif task.tgid not in self.shown:
            write_procfs(self.proc, self.directory, [task.tgid])
            self.before.append(task.tgid)

    def _keep(self) -> str:
        """Moves the directories of processes that have ended aside; where they are now, "" for none."""
        ended: list[int] = []
        for pid in [*self.before, *self.shown]:
            task = self.proc.kernel.find_task(pid)
            if task is None or task.exit_code is not None:
                ended.append(pid)
        self.before = ended
        if not ended:
            return ""
        aside = self.directory + ".ended"
        os.makedirs(aside, exist_ok=True)
        for pid in ended:
            os.rename(os.path.join(self.directory, str(pid)), os.path.join(aside, str(pid)))
        return aside

    def _restore(self, aside: str) -> None:
        if not aside:
            return
        for pid in os.listdir(aside):
            _remove(os.path.join(self.directory, pid))  # what a zombie shows
            os.rename(os.path.join(aside, pid), os.path.join(self.directory, pid))
        os.rmdir(aside)
