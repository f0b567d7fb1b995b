"""Other layouts of ``perf script``: some of its columns (``-F tid,time,event,addr``), found out from the first sample.

What columns there are is asked of one line only, and all others have to have the same ones: otherwise much that is no
sample would look like one of some layout.
"""

import re
from typing import Final

__all__ = ["layout_of"]

# In perf's order. Each is followed by spaces, the address by the rest of the line.
_COLUMNS: Final = (
    ("comm", rb"(?P<comm>\S(?:.*?\S)??)"),
    ("tid", rb"(?:\d+/[ \t]*)?(?P<tid>\d+)"),
    ("misc", rb"(?P<misc>[A-Z]{1,3})"),
    ("cpu", rb"\[(?P<cpu>\d+)\]"),
    ("time", rb"(?P<time>\d+\.\d+:)"),
    ("period", rb"(?P<period>\d+)"),
    ("event", rb"(?P<event>[A-Za-z][^\s]*):"),
)
_REST: Final = rb"(?P<rest>(?:0x)?[0-9a-f]{1,16}(?:[ \t].*)?|.*\baddress=.*)\r?$"
_WIDTH: Final = 17  # at which an address ends, counted from the column before it


def _line(columns: "list[bytes]") -> "re.Pattern[bytes]":
    """A sample of these columns and an address."""
    return re.compile(rb"[ \t]*" + rb"".join(column + rb"[ \t]+" for column in columns) + rb"[ \t]*" + _REST)


def _first(needed: str) -> "re.Pattern[bytes]":
    """A sample of any columns, but ``needed`` among them; a command only where nothing else is possible."""
    columns = [rb"(?:" + column + rb"[ \t]+)" for _, column in _COLUMNS]
    times = [b"??" if name == "comm" else b"" if name == needed else b"?" for name, _ in _COLUMNS]
    return re.compile(rb"[ \t]*" + b"".join(map(bytes.__add__, columns, times)) + _REST)


_FIRST: Final = tuple(map(_first, ("event", "time", "tid")))


def layout_of(line: bytes) -> "re.Pattern[bytes] | None":
    """What matches all samples of a file whose first one is ``line``, with groups as above; None where that is none.

    A line is one if it has an event or a time; without them, if it has a thread and its address stands as far to the
    right as perf sets it.
    """
    match = next(filter(None, (pattern.match(line) for pattern in _FIRST)), None)
    if match is None:
        return None
    has = {name for name, _ in _COLUMNS if match[name] is not None}
    if not has & {"time", "event"}:
        before = line[: match.start("rest")]
        if len(before) - len(before.rstrip()) + len(match["rest"].split()[0]) < _WIDTH:
            return None
    return _line([column for name, column in _COLUMNS if name in has])
