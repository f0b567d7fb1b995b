"""``#!`` scripts: the first line names an interpreter and at most one argument for it.

Sources: execve(2), "Interpreter scripts".

Mirrors: fs/binfmt_script.c (6.18)
Differs: nothing.
"""

import errno
from os import fsdecode
from typing import TYPE_CHECKING

from pagewalk.fs.fcntl import AT_FDCWD
from pagewalk.fs.open import open_exec
from pagewalk.kernel.binprm import LinuxBinprm

if TYPE_CHECKING:
    from pagewalk.kernel.task import Task


def parse_interpreter(buf: bytes) -> tuple[bytes, bytes | None] | None:
    """(interpreter, argument or None) of a script's first 256 bytes; None where it is no script that can be run.

    A line that does not end within the buffer counts when the interpreter's name does.
    """
    if buf[:2] != b"#!":
        return None
    end = buf.find(b"\n")
    if end < 0:
        rest = buf[2 : len(buf) - 1].lstrip(b" \t")
        if not rest or not any(terminator in rest for terminator in (b" ", b"\t", b"\0")):
            return None  # the name may have been cut
        end = len(buf) - 1
    line = buf[2:end].strip(b" \t")
    name_end = len(line)
    for terminator in (b" ", b"\t", b"\0"):
        at = line.find(terminator)
        if at >= 0:
            name_end = min(name_end, at)
    if not line:
        return None
    name = line[:name_end]
    argument = None
    if name_end < len(line) and line[name_end] != 0:
        argument = line[name_end:].lstrip(b" \t").split(b"\0")[0]
    return name, argument


def load_script(task: "Task", bprm: LinuxBinprm) -> int:
    """Puts the interpreter in the script's place: sets ``bprm.interpreter``. 0 or a negative errno."""
    found = parse_interpreter(bprm.buf)
    if found is None:
        return -errno.ENOEXEC
    if bprm.path_inaccessible:
        return bprm.fail(errno.ENOENT, "a script cannot be read from a descriptor that execve closes")
    name, argument = found
    bprm.remove_arg_zero()
    arguments = [name, bprm.interp] if argument is None else [name, argument, bprm.interp]
    error = bprm.copy_strings(arguments)
    if error < 0:
        return error
    bprm.argc += len(arguments)
    bprm.interp = name
    if not name:  # the kernel's own empty names are the working directory
        return bprm.fail(errno.EACCES, "its interpreter's name is empty")
    opened = open_exec(task.fs, task.files, AT_FDCWD, fsdecode(name), 0)
    if isinstance(opened, int):
        return bprm.fail(-opened, f"its interpreter {fsdecode(name)} {describe_open_error(-opened)}")
    bprm.interpreter = opened
    return 0


def describe_open_error(code: int) -> str:
    """What an errno of open_exec means, for a sentence about the file."""
    if code == errno.ENOENT:
        return "does not exist"
    if code == errno.EACCES:
        return "is not executable"
    if code == errno.ENOTDIR:
        return "lies below something that is no directory"
    if code == errno.ELOOP:
        return "is a symbolic link that leads nowhere"
    return f"cannot be opened ({errno.errorcode.get(code, str(code))})"
