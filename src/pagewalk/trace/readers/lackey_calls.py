"""System calls that change the address space, as valgrind's ``--trace-syscalls=yes`` prints them.

``SYSCALL[17,1](9) sys_mmap ( 0x0, 8192, 3, 34, 4294967295, 0 ) --> [pre-success] Success(0x4835000)``; a call that may
wait has its answer in a second line. Calls that fail change nothing.
"""

import re
from typing import Final

from pagewalk.trace.events import Brk, Event, Madvise, Mmap, Mprotect, Mremap, Munmap

__all__ = ["Calls"]

_CALL: Final = re.compile(rb"SYSCALL\[\d+,\d+\]\( *\d+\) sys_(\w+) \( (.*) \)(.*)")
_ANSWER: Final = re.compile(rb"--> (?:\[[\w-]+\] )?Success\(0x([0-9a-f]{1,16})\)")
_LATER: Final = re.compile(rb"SYSCALL\[\d+,\d+\]\( *257\) \.\.\. \[async\] --> Success\(0x([0-9a-f]{1,8})\)")
_OPENED: Final = re.compile(rb"0x[0-9a-f]+\((.*)\),")
_PAGE: Final = 4096
_MAP_ANONYMOUS: Final = 0x20
_FIXED: Final = {"brk": 1, "mmap": 6, "munmap": 2, "mprotect": 3, "mremap": 5, "madvise": 3}  # arguments that are shown


class Calls:
    """Turns lines into events; remembers which file a descriptor is, and where the heap begins."""

    def __init__(self) -> None:
        self._files: dict[int, str] = {}
        self._opening = ""
        self._heap = 0

    def event(self, line: bytes) -> Event | None:
        """The event that a line tells of, if it does."""
        later = _LATER.match(line)
        if later is not None:
            self._files[int(later[1], 16)] = self._opening
            return None
        call = _CALL.match(line)
        if call is None:
            return None
        name = call[1].decode()
        if name == "openat":
            opened = _OPENED.search(call[2] + b",")
            self._opening = opened[1].decode("utf-8", "replace") if opened else ""
            return None
        answer = _ANSWER.search(call[3])
        if answer is None or name not in _FIXED:
            return None
        try:
            arguments = [_word(int(word, 0)) for word in call[2].split(b",")[: _FIXED[name]]]
        except ValueError:
            return None
        if len(arguments) < min(_FIXED[name], 4):
            return None
        file = self._files.get(arguments[4], "") if name == "mmap" and len(arguments) > 4 else ""
        return self.made(name, arguments, _word(int(answer[1], 16)), file)

    def made(self, name: str, words: list[int], result: int, path: str) -> Event | None:
        """The event of a call that succeeded: its arguments and its result, signed; the path of the file that it maps,
        "" where it is not known."""
        if name == "brk":
            self._heap = self._heap or result
            return Brk(task=0, addr=result, start=self._heap)
        length = -(-words[1] // _PAGE) * _PAGE
        if name == "mmap":
            if len(words) < 6:
                return None
            file = "" if words[3] & _MAP_ANONYMOUS else path
            return Mmap(task=0, addr=result, length=length, prot=words[2], flags=words[3], name=file, offset=words[5])
        if name == "munmap":
            return Munmap(task=0, addr=words[0], length=length)
        if name == "mprotect":
            return Mprotect(task=0, addr=words[0], length=length, prot=words[2])
        if name == "madvise":
            return Madvise(task=0, addr=words[0], length=length, advice=words[2])
        new_length = -(-words[2] // _PAGE) * _PAGE
        return Mremap(task=0, addr=words[0], length=length, new_addr=result, new_length=new_length, flags=words[3])


def _word(value: int) -> int:
    """A signed 64-bit word."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
