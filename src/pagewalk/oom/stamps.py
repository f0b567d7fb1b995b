"""What a logger puts before the kernel's words: dmesg's time stamps, journald's, syslog's, those of a serial console.

Sources: dmesg(1) (--time-format, --decode, --raw), journalctl(1) (--output), RFC 3164, RFC 5424.
"""

import re
from typing import Final

__all__ = ["strip_stamp"]

_TIME: Final = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?"
_ZONE: Final = r"(?:Z|[+-]\d\d:?\d\d)"
_DATE: Final = "|".join((
    rf"(?:[A-Z][a-z]{{2}}\s+)?[A-Z][a-z]{{2}}\s+\d{{1,2}}\s+{_TIME}(?:\s+\d{{4}})?",  # [Tue] Mar  3 04:05:06 [2020]
    rf"(?:[A-Z][a-z]{{2}}\s+)?\d{{4}}-\d\d-\d\d[T ]{_TIME}\s?(?:{_ZONE}|[A-Z]{{2,5}}\b)?",  # 2020-03-03T04:05:06+00:00
    r"\d{9,10}\.\d+",  # seconds since 1970
))  # fmt: skip
# One after the other, any of them may stand before a line of the kernel.
_PIECE: Final = re.compile(
    rf"""\s*(?:
    <\d+>(?:\d+\s)?                                        # <4>, and the version of RFC 5424
    | (?:kern|user|daemon|auth|syslog|local\d)\s*:\s*[a-z]+\s*:   # dmesg --decode
    | \[\s*\d+\.\d+(?:\s*<\s*\+?\d+\.\d+>)?\s*\]           # [   12.345678], with the time since the last line
    | \[\s*<\s*\+?\d+\.\d+>\s*\]                           # dmesg --show-delta --notime
    | \[\s*(?:{_DATE}|[+]\d+\.\d+)\s*\]                    # dmesg --ctime, --reltime
    | \[\s*[TC]\d+\]                                       # CONFIG_PRINTK_CALLER
    | (?:{_DATE})(?=\s)
    )""",
    re.VERBOSE,
)
_KERNEL: Final = re.compile(r"^\s*(?:[\w.:@-]+\s+)?kernel(?:\[\d+\])?:\s?")  # [host] kernel:
_RFC_5424: Final = re.compile(r"^\s*\S+\s+kernel\s+\S+\s+\S+\s+(?:-|\[.*?\])\s")  # host kernel - - -


def strip_stamp(line: str) -> str:
    """A line of a log without what the logger has put before the kernel's words. Of the blanks after the last stamp one
    goes: some lines of a report begin with one."""
    rest = line.lstrip("\ufeff")
    while True:
        match = _PIECE.match(rest) or _KERNEL.match(rest) or _RFC_5424.match(rest)
        if match is None:
            return rest
        rest = rest[match.end() :].removeprefix(" ") if match.re is _PIECE else rest[match.end() :]
