"""Protection keys in what a TLB fill grants.

The walk refuses what PKRU closes (hw/walker.py), but a fill grants more than was asked for: a fetch of a page that the
program may only execute must not leave a TLB entry that lets it be read.

Source: Intel SDM volume 3, section 4.6.2.
"""

from pagewalk.hw.walker import (
    FORMAT_PKEY_SHIFT,
    FORMAT_PKRU,
    OUT_ENTRIES,
    OUT_LEVEL,
    OUT_RIGHTS,
    RIGHT_EXECUTE,
    RIGHT_WRITE,
    Words,
)


def close(fmt: Words, out: Words) -> None:
    """Takes from OUT_RIGHTS, of a walk that came to a page, what FORMAT_PKRU closes of the page's key."""
    leaf = out[OUT_ENTRIES + 2 * out[OUT_LEVEL] + 1]
    bits = fmt[FORMAT_PKRU] >> (2 * ((leaf >> fmt[FORMAT_PKEY_SHIFT]) & 15))
    if bits & 1 != 0:
        out[OUT_RIGHTS] &= RIGHT_EXECUTE
    elif bits & 2 != 0:
        out[OUT_RIGHTS] &= ~RIGHT_WRITE
