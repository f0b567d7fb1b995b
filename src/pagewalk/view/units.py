"""Numbers for people, and lines made of styled spans."""

__all__ = ["Line", "bar", "count", "plain", "plural", "size"]

Line = list[tuple[str, str]]
"""Spans of (text, rich style); "" is the terminal's own style."""

EIGHTHS = " ▏▎▍▌▋▊▉█"


def size(number: int) -> str:
    """``number`` bytes as Linux's tools write it: 4K, 1.5M, 128T; three digits at most."""
    if number < 1024:
        return f"{number}B" if number else "0"
    value = float(number)
    for unit in "KMGTPE":
        value /= 1024
        if value < 999.5 or unit == "E":
            text = f"{value:.1f}" if value < 9.95 and value != int(value) else f"{value:.0f}"
            return text.removesuffix(".0") + unit
    raise AssertionError("a size ends at E")


def count(number: int) -> str:
    """``number`` with thousands apart: 12 345."""
    return f"{number:,}".replace(",", " ")


def plural(number: int, what: str) -> str:
    """``1 page``, ``2 pages``."""
    return f"{count(number)} {what}" + ("" if number == 1 else "s")


def bar(number: int, largest: int, width: int) -> str:
    """A bar of ``width`` columns, ``number`` of ``largest`` long; what is not nothing shows."""
    eighths = max(1, number * width * 8 // largest) if number > 0 and largest > 0 else 0
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()).ljust(width)


def plain(line: Line) -> str:
    """The text of ``line`` alone."""
    return "".join(text for text, _ in line).rstrip()
