"""execve: opens a program, collects its strings, and hands it to the loader that knows its format.

Sources: execve(2), execveat(2).

Mirrors: fs/exec.c (6.18)
Differs: no set-user-ID programs, no ETXTBSY, no binfmt_misc.
"""

import errno
import os
from typing import TYPE_CHECKING

from pagewalk.fs.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from pagewalk.fs.open import open_exec
from pagewalk.kernel.binfmt_elf import load_elf_binary
from pagewalk.kernel.binfmt_script import describe_open_error, load_script
from pagewalk.kernel.binprm import LinuxBinprm
from pagewalk.mm.current import RLIMIT_NPROC

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task

MAX_DEPTH = 5


def do_execve(task: "Task", path: str, argv: list[bytes], envp: list[bytes]) -> LinuxBinprm:
    """execve(2) with everything in the kernel's hands; ``error`` of the answer is 0 or a negative errno."""
    return do_execveat(task, AT_FDCWD, path, argv, envp, 0)


def do_execveat(task: "Task", dfd: int, path: str, argv: list[bytes], envp: list[bytes], flags: int) -> LinuxBinprm:
    """execveat(2). ``path`` is relative to ``dfd`` unless absolute; AT_EMPTY_PATH runs ``dfd`` itself."""
    filename = os.fsencode(path)
    if task.nproc_exceeded and task.kernel.nr_tasks_of(task.uid) > task.rlimit(RLIMIT_NPROC):
        bprm = LinuxBinprm(filename, task.kernel.layout)
        bprm.error = bprm.fail(errno.EAGAIN, "its user has too many processes")
        return bprm
    task.nproc_exceeded = False
    if dfd != AT_FDCWD and not path.startswith("/"):
        filename = b"/dev/fd/%d/%s" % (dfd, filename) if path else b"/dev/fd/%d" % dfd
    bprm = LinuxBinprm(filename, task.kernel.layout)
    if flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
        bprm.error = bprm.fail(errno.EINVAL, f"flags {flags:#x}")
        return bprm
    opened = open_exec(task.fs, task.files, dfd, path, flags)
    if isinstance(opened, int):
        bprm.error = bprm.fail(-opened, describe_program_error(task, path, -opened))
        return bprm
    bprm.file = opened
    if filename.startswith(b"/dev/fd/") and dfd != AT_FDCWD:
        bprm.path_inaccessible = task.files.cloexec(dfd)
    bprm.error = load(task, bprm, argv, envp)
    if bprm.file is not None:
        bprm.file.put()
    return bprm


def describe_program_error(task: "Task", path: str, code: int) -> str:
    """Why a program could not be opened, in a few words."""
    from pagewalk.fs.stat_at import vfs_statat

    if code == errno.ENOENT:
        return "no such program"
    if code == errno.EACCES:
        stat = vfs_statat(task.fs, task.files, AT_FDCWD, path, 0)
        if not isinstance(stat, int) and stat.is_dir():
            return "is a directory"
    return describe_open_error(code)


def load(task: "Task", bprm: LinuxBinprm, argv: list[bytes], envp: list[bytes]) -> int:
    """From the open file to registers: strings, then format after format. 0 or a negative errno."""
    if not argv:
        argv = [b""]  # since 5.18 no program starts without argv[0]
    error = bprm.set_stack_limits(task, len(argv), len(envp))
    if error < 0:
        return error
    bprm.argc = len(argv)
    bprm.envc = len(envp)
    error = bprm.copy_string(bprm.filename)
    if error < 0:
        return error
    bprm.exec = bprm.p
    error = bprm.copy_strings(envp)
    if error == 0:
        error = bprm.copy_strings(argv)
    if error < 0:
        return error
    for _ in range(MAX_DEPTH + 1):
        error = bprm.read_buf()
        if error < 0:
            return error
        error = load_script(task, bprm)
        if error == -errno.ENOEXEC:
            error = load_elf_binary(task, bprm)
            if error == -errno.ENOEXEC and not bprm.buf.startswith(b"\x7fELF"):
                bprm.reason = "not a program: neither ELF nor a script that starts with #!"
            return error
        if error < 0:
            return error
        assert bprm.file is not None
        bprm.file.put()
        bprm.file = bprm.interpreter
        bprm.interpreter = None
    return bprm.fail(errno.ELOOP, f"interpreters of interpreters, more than {MAX_DEPTH}")
