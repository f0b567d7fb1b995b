"""The TLB fill: what an emulated CPU is told about a page when its TLB has no answer.

The page table alone decides what an access may do (``walker.walk_table``). Two more things are kept here for the sake
of the translator behind the emulated CPU, which caches translated code by frame:

- Execution is granted on a fetch only, so that every frame that code is translated from passes through here and is
  marked in ``code`` (the kernel asks there whether a frame that it rewrites holds translated code).
- The translator notices stores to code only through the address that the code was fetched from. A frame that is written
  through one address and executed through another therefore never has both kinds of entry in the TLB at once:
  ``owners`` remembers, for each frame, through which page it was filled, and for what.

A page whose Dirty bit is clear is filled read-only for a read, so that the first store comes here and sets the bit.
Where the machine has modelled TLBs (``peek``), their walks set Accessed and Dirty, and a fill only asks for the rights.
"""

from typing import Final

from pagewalk.hw.walker import (
    FETCH,
    FORMAT_PAGE_SHIFT,
    NO_RIGHT,
    OK,
    OUT_DIRTY,
    OUT_PFN,
    OUT_RIGHTS,
    PEEK,
    READ,
    RIGHT_EXECUTE,
    RIGHT_READ,
    RIGHT_WRITE,
    WRITE,
    Words,
    walk_table,
)

# What ``fill`` answers beside the walk's own ways to end.
FLUSH: Final = 16  # the access is granted once the TLB has been flushed: flush, then ``claim``
NEW_CODE: Final = 17  # as OK; and no code was fetched from this frame through this page before

# A frame's word in ``owners``: (page number << 2) | what the TLB may hold for it.
_EXECUTE = 1
_WRITE = 2
_SEVERAL = 1 << 60  # the "page number" of a frame that was filled through more than one page


def fill(
    words: Words,
    nr_words: int,
    fmt: Words,
    root_pfn: int,
    addr: int,
    access: int,
    out: Words,
    owners: Words,
    code: Words,
    peek: int,
) -> int:
    """Walks for an access and decides what its TLB entry grants: OK, NEW_CODE, FLUSH, or how the walk failed.

    On OK, NEW_CODE and FLUSH, ``out[OUT_RIGHTS]`` holds the RIGHT_* to grant and ``out[OUT_PFN]`` the frame.

    owners  one word a frame: through which page it was filled, and for what
    code    one byte a frame: non-zero where code may have been translated from it
    peek    not 0: leaves no marks, and does not wait for them
    The other arguments are those of ``walk_table``.
    """
    if peek == 0:
        status = walk_table(words, nr_words, fmt, root_pfn, addr, access, out)
    else:
        status = walk_table(words, nr_words, fmt, root_pfn, addr, PEEK, out)
        if status == OK and (out[OUT_RIGHTS] >> access) & 1 == 0:
            status = NO_RIGHT
    if status != OK:
        return status
    pfn = out[OUT_PFN]
    page = addr >> fmt[FORMAT_PAGE_SHIFT]
    owner = owners[pfn]
    held = owner & (_EXECUTE | _WRITE)
    may_write = out[OUT_RIGHTS] & RIGHT_WRITE != 0 and (out[OUT_DIRTY] != 0 or peek != 0)
    may_execute = out[OUT_RIGHTS] & RIGHT_EXECUTE != 0
    if held == 0 or owner >> 2 == page:
        may_execute = may_execute and (access == FETCH or held & _EXECUTE != 0)
    else:
        page = _SEVERAL
        may_execute = access == FETCH
        may_write = may_write and (access == WRITE or (access == READ and held & _EXECUTE == 0))
    grant = RIGHT_READ
    kinds = 0
    if may_write:
        grant |= RIGHT_WRITE
        kinds |= _WRITE
    if may_execute:
        grant |= RIGHT_EXECUTE
        kinds |= _EXECUTE
    out[OUT_RIGHTS] = grant
    if page == _SEVERAL and (
        (kinds & _WRITE != 0 and held & _EXECUTE != 0) or (kinds & _EXECUTE != 0 and held & _WRITE != 0)
    ):
        return FLUSH
    if kinds == 0:
        return OK
    owners[pfn] = (page << 2) | held | kinds
    if access != FETCH:
        return OK
    known = code[pfn] != 0 and owner == owners[pfn]
    code[pfn] = 1
    return OK if known else NEW_CODE


def claim(
    page: int,
    out: Words,
    owners: Words,
    code: Words,
) -> None:
    """After ``fill`` answered FLUSH and the TLB is empty: the frame belongs to that page (number) alone."""
    pfn = out[OUT_PFN]
    grant = out[OUT_RIGHTS]
    owners[pfn] = page << 2
    if grant & RIGHT_WRITE != 0:
        owners[pfn] |= _WRITE
    if grant & RIGHT_EXECUTE != 0:
        owners[pfn] |= _EXECUTE
        code[pfn] = 1
