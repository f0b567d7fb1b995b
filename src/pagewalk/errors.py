"""Everything that pagewalk raises, on one screen.

Kernel rooms (``mm/``, ``kernel/``, ``fs/``) answer as Linux does, with a negative errno; these
exceptions are what a person meets at the public face.
"""

import errno as _errno

__all__ = [
    "BusError",
    "ConfigError",
    "ExecError",
    "LinuxError",
    "MemoryFault",
    "NotModelled",
    "OomKilled",
    "OutOfMemory",
    "PagewalkError",
    "SegmentationFault",
    "TraceError",
]


class PagewalkError(Exception):
    """The root of the tree."""


class ConfigError(PagewalkError, ValueError):
    """A machine or a command was asked for something that cannot be: expected and got are named."""


class TraceError(PagewalkError, ValueError):
    """A recorded trace cannot be read; the message names the file, and the line or the offset in bytes."""


class NotModelled(PagewalkError, NotImplementedError):
    """A part of Linux that pagewalk does not model yet; the message names it."""


class OutOfMemory(PagewalkError):
    """The machine's RAM cannot serve a request; the message names the request and what was free."""


class OomKilled(OutOfMemory):
    """The OOM killer has ended the process that Python drives; the message is the kernel's."""


class LinuxError(PagewalkError, OSError):
    """A modelled system call failed; ``errno`` is Linux's number."""

    def __init__(self, call: str, code: int) -> None:
        self.call = call
        name = _errno.errorcode.get(code, str(code))
        super().__init__(code, f"{call}: {name}")


class ExecError(LinuxError):
    """A program cannot be executed; ``errno`` is execve's, ``reason`` one line for a person."""

    def __init__(self, path: str, code: int, reason: str) -> None:
        super().__init__("execve", code)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class MemoryFault(PagewalkError):
    """An access that the kernel answers with a signal; ``addr``, ``access`` and ``code`` (si_code)."""

    def __init__(self, message: str, addr: int, access: str, code: int) -> None:
        super().__init__(message)
        self.addr = addr
        self.access = access
        self.code = code


class SegmentationFault(MemoryFault):
    """SIGSEGV: no mapping (SEGV_MAPERR), no right (SEGV_ACCERR), a closed protection key (SEGV_PKUERR)."""


class BusError(MemoryFault):
    """SIGBUS: beyond the end of a mapped file (BUS_ADRERR)."""
