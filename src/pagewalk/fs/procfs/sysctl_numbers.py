"""Numbers as one writes them into /proc/sys.

Mirrors: kernel/sysctl.c (proc_get_long, strtoul_lenient) (6.18)
Differs: nothing.
"""


def proc_get_long(data: bytes) -> int | None:
    """The first number: decimal, octal after 0, hexadecimal after 0x, with or without a minus; None where there is
    none, or something else than white space follows it. What comes behind white space is not looked at."""
    words = data.replace(b"\0", b" ").split()
    if not words:
        return None
    text = words[0].lower()
    negative = text.startswith(b"-")
    digits = text[1:] if negative else text
    base, known = 10, b"0123456789"
    if digits.startswith(b"0x") and len(digits) > 2:
        base, known, digits = 16, b"0123456789abcdef", digits[2:]
    elif digits.startswith(b"0"):
        base, known = 8, b"01234567"
    if not digits or len(digits) > 22 or digits.strip(known):
        return None
    return -int(digits, base) if negative else int(digits, base)
