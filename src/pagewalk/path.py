"""Which file a command names: the search of a shell and of execvp(3)."""

import errno
import os
import stat

from pagewalk.errors import ExecError

__all__ = ["find_program", "machine_for"]

DEFAULT_PATH = "/bin:/usr/bin"
_ELF_MACHINES = {183: "arm64"}  # e_machine of programs that x86_64 does not run


def find_program(name: str, search: str | None) -> str:
    """The path of the program ``name``: itself where it has a slash, else the first executable file of ``search``.

    ``search`` is $PATH (None where it is not set; an empty entry is the current directory). Raises ExecError with
    ENOENT where there is none, EACCES where what there is may not be executed. A path with a slash is left to execve.
    """
    if "/" in name:
        return name
    denied = ""
    for folder in (DEFAULT_PATH if search is None else search).split(":") if name else []:
        path = os.path.join(folder or ".", name)
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            denied = denied or (path if error.errno == errno.EACCES else "")
            continue
        if stat.S_ISREG(mode) and os.access(path, os.X_OK):
            return path
        denied = denied or path
    if denied:
        what = "it is a directory" if os.path.isdir(denied) else "it is not an executable file"
        raise ExecError(denied, errno.EACCES, f"permission denied: {what}")
    raise ExecError(name, errno.ENOENT, "no such program in PATH")


def machine_for(name: str, search: str | None) -> str:
    """The architecture of a machine that runs the program ``name``: what its ELF header asks for, else x86_64 (scripts,
    and whatever cannot be read: execve will say why)."""
    try:
        with open(find_program(name, search), "rb") as file:
            header = file.read(20)
    except (OSError, ExecError):
        return "x86_64"
    if header[:4] != b"\x7fELF":
        return "x86_64"
    return _ELF_MACHINES.get(int.from_bytes(header[18:20], "little"), "x86_64")
