"""The short way of an access that no hint answers: base pages of the address space that is loaded, in one array of the
first level and in one of the second, and walks that begin at the last table.

Plain Python that Numba compiles (``hw/mmu.py``) and tests also run as it is. Whatever the short way does not answer,
``translate`` does; which of them did it shows in no count.
"""

from typing import Final

from pagewalk.hw.leaf import LEAF_DIRTY, LEAF_FRAME, LastLevel, last_level, leaf, table_at
from pagewalk.hw.tlb import NO_ARRAY, Geometry, geometry, put, scan, set_of, use
from pagewalk.hw.tlb_state import (
    C_REFERENCE,
    C_WALK_HIT,
    FRAME,
    HINT_WORDS,
    HINTS,
    IDENT,
    S_ASID,
    S_CLOCK,
    S_HINTS,
    S_LEVEL_SHIFT,
    S_ODD,
    S_PAGE_SHIFT,
    S_ROOT,
    S_SHORT,
    S_SHORT_SECOND,
    S_SHORT_TURNS,
    S_SHORT_UPPER,
    S_SHORT_WALK,
    S_TABLES,
    S_TOP,
    TABLE_CACHE,
    TABLE_WORDS,
    TAG_CLASS,
    TAG_NUMBER,
)
from pagewalk.hw.walker import RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE, Words

MISSED: Final = -1
NOT_DONE: Final = 0
BY_FIRST: Final = 1
BY_SECOND: Final = 2
BY_WALK: Final = 3

UNKNOWN: Final = -2  # which slot has a page

# What is built in where this is compiled for one geometry.
ARRAY: Final = NO_ARRAY
LAST: Final[LastLevel] = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
HINTED: Final = True  # whether hints are left behind; in code that is called where nobody asks them they are not


def first_of(s: Words, access: int) -> Geometry:
    """The array of the first level that takes base pages; NO_ARRAY where the short way cannot know it."""
    return geometry_or_none(s, s[S_SHORT + (access >> 1)])


def second_of(s: Words, access: int, number: int) -> Geometry:
    """That of the second level that takes the page of this number; NO_ARRAY where there is none."""
    side = access >> 1
    second = s[S_SHORT_SECOND + side]
    if s[S_SHORT_TURNS + side] > 1:
        second += number % s[S_SHORT_TURNS + side]
    return geometry_or_none(s, second)


def tables_of(s: Words) -> Geometry:
    """The walk cache that knows where last tables are; NO_ARRAY where there is none or walks are not plain."""
    return geometry_or_none(s, s[S_SHORT_WALK])


def upper_tables_of(s: Words) -> Geometry:
    """The walk cache that knows where the tables above them are; NO_ARRAY as above."""
    return geometry_or_none(s, s[S_SHORT_UPPER])


def geometry_or_none(s: Words, array: int) -> Geometry:
    """``geometry``; NO_ARRAY for a negative number."""
    if array < 0:
        return NO_ARRAY
    return geometry(s, array)


def constant_array(s: Words) -> Geometry:
    """Stands for ``tables_of`` and ``upper_tables_of`` in code for one geometry."""
    return ARRAY


def constant_first(s: Words, access: int) -> Geometry:
    """Stands for ``first_of``."""
    return ARRAY


def constant_second(s: Words, access: int, number: int) -> Geometry:
    """Stands for ``second_of``."""
    return ARRAY


def constant_last_level(s: Words) -> LastLevel:
    """Stands for ``last_level``."""
    return LAST


def short(s: Words, words: Words, nr_words: int, addr: int, access: int, clock: int) -> int:
    """``translate``, where all that is involved is plain, uncounted: BY_FIRST, BY_SECOND or BY_WALK says where the
    answer was found, NOT_DONE that nothing was done, MISSED that nothing was done and no array has it."""
    first = first_of(s, access)
    if first[0] < 0:
        return NOT_DONE
    number = addr >> s[S_PAGE_SHIFT]
    slot = scan(s, set_of(first, number), first[4], (number << TAG_NUMBER) | s[S_ASID])
    return short_from(s, words, nr_words, addr, access, clock, slot, UNKNOWN)


def short_from(s: Words, words: Words, nr_words: int, addr: int, access: int, clock: int, slot: int, found: int) -> int:
    """``short`` where somebody has looked for the page.

    slot   of the first level, which takes base pages in one array, that has it; -1 where none does
    found  the same of the second level; UNKNOWN where nobody has looked
    """
    high = addr >> 56
    if s[S_ODD] != 0 or (high != 0 and high != -1):
        return NOT_DONE
    first = first_of(s, access)
    column = first[6]
    answer = BY_FIRST
    number = addr >> s[S_PAGE_SHIFT]
    tag = (number << TAG_NUMBER) | s[S_ASID]
    base = set_of(first, number)
    if slot >= 0:
        ident = s[slot + IDENT * column]
        if (ident >> access) & 1 == 0:
            return NOT_DONE
        use(s, first, slot, clock)
    else:
        second = second_of(s, access, number)
        below = 0
        if second[0] >= 0:
            below = set_of(second, number)
            if found == UNKNOWN:
                found = scan(s, below, second[4], tag)
        if found >= 0:
            rights = s[found + IDENT * column] & 7
            if (rights >> access) & 1 == 0:
                return NOT_DONE
            answer = BY_SECOND
            use(s, second, found, clock)
            pfn = s[found + FRAME * column]
        else:
            walked = short_walk(s, words, nr_words, addr, access, clock)
            if walked < 0 and s[S_SHORT_TURNS + (access >> 1)] > 1:
                return NOT_DONE  # another array may have got it when it was fetched, or read
            if walked < 0:
                return MISSED
            answer = BY_WALK
            rights = walked & (RIGHT_READ | RIGHT_EXECUTE)
            if walked & LEAF_DIRTY != 0:
                rights = walked & 7
            pfn = walked >> LEAF_FRAME
            if second[0] >= 0:
                put(s, second, below, tag, pfn, rights, clock, 1)
        ident = put(s, first, base, tag, pfn, rights, clock, 1)
    if HINTED:
        at = S_HINTS + access * HINT_WORDS + 2 * ((addr >> 12) & (HINTS - 1))
        s[at] = addr >> 12
        s[at + 1] = ident
    return answer


def root_walk(s: Words, words: Words, nr_words: int, addr: int, access: int, clock: int) -> int:
    """``short_walk`` from the root, where no walk cache knows anything on the way; they learn all of it."""
    last = last_level(s)
    if addr >> s[S_TOP] != 0:
        return -1
    for level in range(last[0] - 2):
        if s[S_TABLES + TABLE_WORDS * level + TABLE_CACHE] >= 0:
            cache = geometry(s, s[S_TABLES + TABLE_WORDS * level + TABLE_CACHE])
            if scan(s, set_of(cache, number_at(s, addr, level)), cache[4], tag_at(s, addr, level)) >= 0:
                return -1
    table = s[S_ROOT]
    for level in range(last[0]):
        table = table_at(s, words, nr_words, table, addr, level)
        if table < 0:
            return -1
    found = leaf(s, words, nr_words, last, addr, access, table, RIGHT_READ | RIGHT_WRITE | RIGHT_EXECUTE)
    if found < 0:
        return -1
    table = s[S_ROOT]
    for level in range(last[0]):
        table = table_at(s, words, nr_words, table, addr, level)
        s[C_REFERENCE + level] += 1
        if s[S_TABLES + TABLE_WORDS * level + TABLE_CACHE] >= 0:
            cache = geometry(s, s[S_TABLES + TABLE_WORDS * level + TABLE_CACHE])
            s[S_CLOCK] += 1
            base = set_of(cache, number_at(s, addr, level))
            put(s, cache, base, tag_at(s, addr, level), table, found & 7, s[S_CLOCK], 0)
    s[C_WALK_HIT + last[0] - 1] -= 1  # ``count`` takes it for one that began at the last table
    return found


def number_at(s: Words, addr: int, level: int) -> int:
    """The number of what one entry of that level covers."""
    return addr >> s[S_LEVEL_SHIFT + level]


def tag_at(s: Words, addr: int, level: int) -> int:
    """As walk caches tag it."""
    return (number_at(s, addr, level) << TAG_NUMBER) | (level << TAG_CLASS) | s[S_ASID]


# What the loops call for data and for instructions: code for one geometry has its own of each.
short_data = short
short_fetch = short
short_ahead = short_from


def short_walk(s: Words, words: Words, nr_words: int, addr: int, access: int, clock: int) -> int:
    """A walk from the last table or from the one above, where a walk cache knows that: as ``leaf`` answers, -1 where
    nothing was done."""
    cache = tables_of(s)
    if cache[0] < 0:
        return -1
    last = last_level(s)
    level = last[0] - 1
    number = addr >> s[S_LEVEL_SHIFT + level]
    tag = (number << TAG_NUMBER) | (level << TAG_CLASS) | s[S_ASID]
    base = set_of(cache, number)
    slot = scan(s, base, cache[4], tag)
    if slot < 0:
        return upper_walk(s, words, nr_words, addr, access, clock, tag, base)
    column = cache[6]
    table = s[slot + FRAME * column]
    found = leaf(s, words, nr_words, last, addr, access, table, s[slot + IDENT * column])
    if found >= 0:
        use(s, cache, slot, clock)
    return found


def upper_walk(s: Words, words: Words, nr_words: int, addr: int, access: int, clock: int, tag: int, base: int) -> int:
    """``short_walk`` from the table above the last one; the walk cache learns where the last one is, as ``tag`` in its
    set at ``base``."""
    cache = upper_tables_of(s)
    if cache[0] < 0:
        return root_walk(s, words, nr_words, addr, access, clock)
    last = last_level(s)
    level = last[0] - 2
    column = cache[6]
    number = addr >> s[S_LEVEL_SHIFT + level]
    slot = scan(s, set_of(cache, number), cache[4], (number << TAG_NUMBER) | (level << TAG_CLASS) | s[S_ASID])
    if slot < 0:
        return root_walk(s, words, nr_words, addr, access, clock)
    table = table_at(s, words, nr_words, s[slot + FRAME * column], addr, level + 1)
    if table < 0:
        return -1
    found = leaf(s, words, nr_words, last, addr, access, table, s[slot + IDENT * column])
    if found < 0:
        return -1
    use(s, cache, slot, clock)
    s[S_CLOCK] = clock + 1
    put(s, tables_of(s), base, tag, table, found & 7, clock + 1, 0)
    s[C_WALK_HIT + level + 1] -= 1  # ``count`` takes it for one that began below
    s[C_WALK_HIT + level] += 1
    s[C_REFERENCE + level + 1] += 1
    return found
