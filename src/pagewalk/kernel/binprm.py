"""What execve collects about a program before it runs: its file, its strings, and where they go on the new stack.

The strings are laid out from the top of the stack down, as in Linux: the file name, the environment, the arguments;
they
are kept as bytes until the new address space has a stack to write them to.

Sources: execve(2), "Limits on size of arguments and environment".

Mirrors: struct linux_binprm of include/linux/binfmts.h, fs/exec.c (6.18)
Differs: the strings wait in a list of the kernel's rather than in pages of the new stack.
"""

import errno
from typing import TYPE_CHECKING, Final

from pagewalk.arch.format import Layout

if TYPE_CHECKING:
    from pagewalk.fs.file import VfsFile
    from pagewalk.mm.current import Current

MAX_ARG_STRLEN_PAGES: Final = 32  # of one string, with its NUL
MAX_ARG_STRINGS: Final = 0x7FFFFFFF
ARG_MAX: Final = 131072
STK_LIM: Final = 8 << 20  # _STK_LIM
BINPRM_BUF_SIZE: Final = 256


def kernel_read(file: "VfsFile", count: int, pos: int) -> bytes | int:
    """Up to ``count`` bytes at ``pos`` for the kernel itself, on the running task's account; or a negative errno."""
    data = file.read(count, pos)
    file.system.current.ioac.count_read(data if isinstance(data, int) else len(data))
    return data


class LinuxBinprm:
    """struct linux_binprm.

    filename   as execve was told (AT_EXECFN); interp: the file that ``#!`` led to
    file       the file being loaded; interpreter: what a script asks to be loaded instead
    buf        its first 256 bytes, NUL-filled
    p          lowest address used by strings, as if the stack ended where the kernel's own layout has it; exec: of the
               file name; word: bytes of the kernel's pointers
    max_arg_strlen       bytes that one string may have, with its NUL
    argmin     ``p`` may not fall below it
    argc, envc number of strings
    point_of_no_return   the old program is gone: an error now kills
    path_inaccessible  ``filename`` names a descriptor that execve closes: no script can be read from there
    error      0 or a negative errno
    reason     one line for a person on why it failed
    """

    def __init__(self, filename: bytes, layout: Layout) -> None:
        self.filename = filename
        self.interp = filename
        self.file: VfsFile | None = None
        self.interpreter: VfsFile | None = None
        self.buf = b""
        self.vma_end = layout.stack_top
        self.word = layout.bits // 8
        self.p: int = layout.stack_top - self.word
        self.exec: int = self.p
        self.max_arg_strlen = MAX_ARG_STRLEN_PAGES * layout.page_size
        self.argmin: int = 0
        self.argc = 0
        self.envc = 0
        self.strings: list[bytes] = []  # in the order of pushing: highest address first
        self.point_of_no_return = False
        self.path_inaccessible = False
        self.error = 0
        self.reason = ""

    def fail(self, code: int, reason: str) -> int:
        """Notes ``reason`` (the first one stays) and answers -``code``."""
        if not self.reason:
            self.reason = reason
        return -code

    def set_stack_limits(self, current: "Current", argc: int, envc: int) -> int:
        """How far the strings may reach: a quarter of the stack limit, between 128 KiB and 6 MiB. 0 or -E2BIG."""
        limit = min(STK_LIM // 4 * 3, current.rlimit(3) // 4)
        limit = max(limit, ARG_MAX)
        ptr_size = (max(argc, 1) + envc) * self.word
        if limit <= ptr_size:
            return self.fail(errno.E2BIG, "too many arguments")
        self.argmin = self.p - (limit - ptr_size)
        return 0

    def copy_string(self, string: bytes) -> int:
        """Puts ``string`` and its NUL below what is there. 0 or -E2BIG."""
        length = len(string) + 1
        if length > self.max_arg_strlen:
            return self.fail(errno.E2BIG, f"an argument of {length} bytes is too long (at most {self.max_arg_strlen})")
        if self.p - length < self.argmin:
            return self.fail(errno.E2BIG, "the arguments and the environment are too long")
        self.p -= length
        self.strings.append(string)
        return 0

    def copy_strings(self, strings: list[bytes]) -> int:
        """Puts all of them, the first lowest. 0 or -E2BIG."""
        for string in reversed(strings):
            error = self.copy_string(string)
            if error < 0:
                return error
        return 0

    def remove_arg_zero(self) -> None:
        """Takes argv[0] off: a script's interpreter gets names of its own."""
        if self.argc > 0:
            self.p += len(self.strings.pop()) + 1
            self.argc -= 1

    def image(self) -> bytes:
        """The bytes from ``p`` up to the last string's NUL."""
        return b"".join([string + b"\0" for string in reversed(self.strings)])

    def read_buf(self) -> int:
        """Reads the first 256 bytes of ``file`` (prepare_binprm). 0 or a negative errno."""
        assert self.file is not None
        data = kernel_read(self.file, BINPRM_BUF_SIZE, 0)
        if isinstance(data, int):
            return self.fail(-data, "cannot be read")
        self.buf = data.ljust(BINPRM_BUF_SIZE, b"\0")
        return 0
