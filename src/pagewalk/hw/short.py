"""The loop over a batch of accesses, and the short ways that nearly all of them take.

Plain Python that Numba compiles (``hw/mmu.py``) and tests also run as it is. Whatever a short way does not answer,
``translate`` does; which of them did it shows in no count.

- A hint names the first-level slot that granted such an access to the page before. It is believed where the slot still
  holds the same fill.
- ``short`` knows base pages of the address space that is loaded, in one array of the first level and in one of the
  second, and walks that begin at the last table.
"""

from typing import Final

from pagewalk.hw.tlb import NO_ARRAY, Geometry, geometry, put, scan, set_of, touch, use
from pagewalk.hw.tlb_state import (
    ARRAY_WORDS,
    C_HIT,
    C_MISS,
    C_REFERENCE,
    C_WALK_HIT,
    C_WALKS,
    FRAME,
    HINT_WORDS,
    HINTS,
    IDENT,
    IDENT_SLOT,
    IDENT_STAMPED,
    IDENT_TOUCHED,
    PATH_WORDS,
    S_ANSWERS,
    S_ARRAYS,
    S_ASID,
    S_CLOCK,
    S_COLUMN,
    S_GLOBALS,
    S_HINTS,
    S_LEVEL_SHIFT,
    S_NR_LEVELS,
    S_ODD,
    S_PAGE_SHIFT,
    S_PATH,
    S_SHORT,
    S_SHORT_SECOND,
    S_SHORT_TURNS,
    S_SHORT_WALK,
    SLOT_MASK,
    STAMP,
    TAG_CLASS,
    TAG_NUMBER,
)
from pagewalk.hw.translate import LEAF_DIRTY, LEAF_FRAME, LEAF_GLOBAL, LastLevel, last_level, leaf, translate
from pagewalk.hw.walker import FETCH, OK, RIGHT_EXECUTE, RIGHT_READ, Words

NOT_DONE: Final = 0
BY_FIRST: Final = 1
BY_SECOND: Final = 2
BY_WALK: Final = 3

FIRST: Final = NO_ARRAY
SECOND: Final = NO_ARRAY
WALK_CACHE: Final = NO_ARRAY
LAST: Final[LastLevel] = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def short(
    s: Words,
    words: Words,
    nr_words: int,
    addr: int,
    access: int,
    clock: int,
    first: Geometry,
    second: Geometry,
    walk_cache: Geometry,
    last: LastLevel,
) -> int:
    """``translate``, where all that is involved is plain, uncounted: BY_FIRST, BY_SECOND or BY_WALK says where the
    answer was found, NOT_DONE that nothing was done.

    first, second  the arrays that take base pages at the first and the second level; NO_ARRAY where there is none
    walk_cache     what holds the addresses of last tables; NO_ARRAY where walks are not as plain as that
    """
    high = addr >> 56
    if s[S_ODD] != 0 or first[0] < 0 or (high != 0 and high != -1):
        return NOT_DONE
    column = first[6]
    answer = BY_FIRST
    number = addr >> s[S_PAGE_SHIFT]
    tag = (number << TAG_NUMBER) | s[S_ASID]
    base = set_of(first, number)
    slot = scan(s, base, first[4], tag)
    if slot >= 0:
        ident = s[slot + IDENT * column]
        if (ident >> access) & 1 == 0:
            return NOT_DONE
        use(s, first, slot, clock)
    else:
        found = -1
        below = 0
        if second[0] >= 0:
            below = set_of(second, number)
            found = scan(s, below, second[4], tag)
        if found >= 0:
            rights = s[found + IDENT * column] & 7
            if (rights >> access) & 1 == 0:
                return NOT_DONE
            answer = BY_SECOND
            use(s, second, found, clock)
            pfn = s[found + FRAME * column]
        else:
            walked = short_walk(s, words, nr_words, addr, access, clock, walk_cache, last)
            if walked < 0:
                return NOT_DONE
            answer = BY_WALK
            rights = walked & (RIGHT_READ | RIGHT_EXECUTE)
            if walked & LEAF_DIRTY != 0:
                rights = walked & 7
            pfn = walked >> LEAF_FRAME
            if second[0] >= 0:
                put(s, second, below, tag, pfn, rights, clock, 1)
        ident = put(s, first, base, tag, pfn, rights, clock, 1)
    at = S_HINTS + access * HINT_WORDS + 2 * ((addr >> 12) & (HINTS - 1))
    s[at] = addr >> 12
    s[at + 1] = ident
    return answer


def short_walk(
    s: Words, words: Words, nr_words: int, addr: int, access: int, clock: int, cache: Geometry, last: LastLevel
) -> int:
    """A walk from the last table, where a walk cache knows that: as ``leaf`` answers, -1 where nothing was done."""
    if cache[0] < 0:
        return -1
    level = last[0] - 1
    number = addr >> s[S_LEVEL_SHIFT + level]
    tag = (number << TAG_NUMBER) | (level << TAG_CLASS) | s[S_ASID]
    slot = scan(s, set_of(cache, number), cache[4], tag)
    if slot < 0:
        return -1
    found = leaf(s, words, nr_words, last, addr, access, slot)
    if found < 0 or (found & LEAF_GLOBAL != 0 and s[S_GLOBALS] != 0):
        return -1
    use(s, cache, slot, clock)
    return found


def geometry_or_none(s: Words, array: int) -> Geometry:
    """``geometry``; NO_ARRAY for a negative number."""
    if array < 0:
        return NO_ARRAY
    return geometry(s, array)


def short_any(s: Words, words: Words, nr_words: int, addr: int, access: int, clock: int) -> int:
    """``short`` for any geometry."""
    side = access >> 1
    second = s[S_SHORT_SECOND + side]
    if s[S_SHORT_TURNS + side] > 1:
        second += (addr >> s[S_PAGE_SHIFT]) % s[S_SHORT_TURNS + side]
    return short(s, words, nr_words, addr, access, clock, geometry_or_none(s, s[S_SHORT + side]),
                 geometry_or_none(s, second), geometry_or_none(s, s[S_SHORT_WALK]), last_level(s))  # fmt: skip


# What ``unhinted`` calls: where it is compiled for one geometry, ``short_plain`` for each.
short_data = short_any
short_fetch = short_any


def short_plain(s: Words, words: Words, nr_words: int, addr: int, access: int, clock: int) -> int:
    """``short`` for one geometry: FIRST, SECOND and WALK_CACHE are constants where this is compiled."""
    return short(s, words, nr_words, addr, access, clock, FIRST, SECOND, WALK_CACHE, LAST)


def replay_batch(
    s: Words, words: Words, nr_words: int, fmt: Words, addrs: Words, kinds: Words, start: int, end: int
) -> int:
    """Accesses ``start`` to ``end - 1`` of a batch; the index of the first that is not granted (its status stands in
    word 0 of ``s``), ``end`` where all are.

    addrs  signed addresses
    kinds  READ, WRITE or FETCH each
    """
    column = s[S_COLUMN]
    clock = s[S_CLOCK]
    status = OK
    at = start
    while at < end:
        addr = addrs[at]
        kind = kinds[at] + 0  # a word, whatever the array holds
        vpn = addr >> 12
        clock += 1
        hint = S_HINTS + kind * HINT_WORDS + 2 * (vpn & (HINTS - 1))
        ident = s[hint + 1]
        slot = (ident >> IDENT_SLOT) & SLOT_MASK
        if s[hint] != vpn or s[slot + IDENT * column] != ident:
            s[S_CLOCK] = clock
            status = unhinted(s, words, nr_words, fmt, addr, kind)
            clock = s[S_CLOCK]
            if status != OK:
                break
        elif ident & IDENT_STAMPED != 0:
            s[slot + STAMP * column] = clock
        elif ident & IDENT_TOUCHED != 0:
            touch(s, array_of(s, kind >> 1, slot), slot, 0)
        at += 1
    s[S_CLOCK] = clock
    s[0] = status
    fetches = 0
    for done in range(start, at):
        fetches += kinds[done] >> 1
    count(s, 0, at - start - fetches)
    count(s, 1, fetches)
    return at


def unhinted(s: Words, words: Words, nr_words: int, fmt: Words, addr: int, access: int) -> int:
    """One access that no hint answers; its status."""
    clock = s[S_CLOCK]
    if access == FETCH:
        answer = short_fetch(s, words, nr_words, addr, access, clock)
    else:
        answer = short_data(s, words, nr_words, addr, access, clock)
    at = S_ANSWERS + 4 * (access >> 1) + answer
    s[at] += 1
    if answer != NOT_DONE:
        return OK
    status = translate(s, words, nr_words, fmt, addr, access)
    if status != OK:
        s[at] -= 1
    return status


def count(s: Words, side: int, accesses: int) -> None:
    """What hints and short ways have answered of so many accesses goes to the counters."""
    answers = S_ANSWERS + 4 * side
    by_second, by_walk = s[answers + BY_SECOND], s[answers + BY_WALK]
    s[C_HIT + 4 * side] += accesses - s[answers + NOT_DONE] - by_second - by_walk
    s[C_HIT + 4 * side + 1] += by_second
    s[C_MISS + side] += by_walk
    s[C_WALKS] += by_walk
    s[C_WALK_HIT + s[S_NR_LEVELS] - 2] += by_walk
    s[C_REFERENCE + s[S_NR_LEVELS] - 1] += by_walk
    for answer in range(4):
        s[answers + answer] = 0


def array_of(s: Words, side: int, slot: int) -> int:
    """The first-level array that a slot is in."""
    path = S_PATH + side * PATH_WORDS + 1
    found = s[path + 1]
    for k in range(1, s[path]):
        if slot >= s[S_ARRAYS + s[path + 1 + k] * ARRAY_WORDS]:
            found = s[path + 1 + k]
    return found
