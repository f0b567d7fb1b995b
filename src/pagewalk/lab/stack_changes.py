"""What happens to LRU stacks besides accesses: pages that go, samples that get smaller, tables that grow (compiled)."""

import functools
from typing import Any, Final

from pagewalk.lab.native import Functions, lowest, part, places_at, types, word, words, words_at
from pagewalk.lab.stack_code import (
    EMPTY,
    FRONT_PAGES,
    FRONT_WORDS,
    GONE,
    MIX,
    MIX_OWNER,
    P_BITS,
    P_HOLES,
    P_SUM,
    P_WORDS,
    PLACE,
    S_CAPACITY,
    S_FIRST,
    S_FRONT,
    S_HINT,
    S_HOLES,
    S_LIVE,
    S_NEXT,
    S_WORDS,
    SLOT,
    V_FRONT,
    V_OWNER,
    V_PAGES,
    V_POOL,
    V_ROWS,
    V_STACKS,
    V_TABLE,
    V_USED,
    V_WHERE,
    compile_feed,
    find,
    leave,
    make_hole,
    pool_of,
    set_place,
)

__all__ = ["CLASSES", "CLASS_BITS", "HASH_BITS", "LIMIT", "stack_functions"]

HASH_BITS: Final = 40
CLASS_BITS: Final = 3
CLASSES: Final = 1 << CLASS_BITS
LIMIT: Final = 1 << HASH_BITS - CLASS_BITS  # every page's hash, without its class, is below

_SPREAD: Final = -4658895280553007687


def take_out(v: Any, which: int, row: int, hole: int) -> None:
    """The page of a row of the table leaves its stack; where it was is a hole (1), or nothing (0)."""
    stack = part(words_at(v[V_STACKS]), which * S_WORDS)
    table = words_at(v[V_TABLE])
    place = table[2 * row + 1] & PLACE
    set_place(table, row, GONE)
    v[V_PAGES] -= 1
    v[V_OWNER] = -1
    stack[S_HOLES] += hole
    if place >= SLOT:
        if hole == 1:
            make_hole(v, stack, place - SLOT)
        else:
            leave(v, stack, place - SLOT)
        return
    front = part(words_at(v[V_FRONT]), which * FRONT_WORDS)
    at = 0
    while front[FRONT_PAGES + at] != row:
        at += 1
    front[FRONT_PAGES + at] = -1
    if hole == 0:
        stack[S_FRONT] -= 1
        for later in range(at, stack[S_FRONT]):
            front[later] = front[later + 1]
            front[FRONT_PAGES + later] = front[FRONT_PAGES + later + 1]


def move(v_at: int, owner: int, first: int, last: int, distance: int, which: int) -> None:
    """Pages ``first`` to ``last`` of an owner have numbers that are higher by ``distance``, and keep their places.

    The table has room for twice as many; none of the new numbers is among the old ones or has a page. Of a stack of its
    own alone.
    """
    v = words_at(v_at)
    table = words_at(v[V_TABLE])
    stack = part(words_at(v[V_STACKS]), which * S_WORDS)
    front = part(words_at(v[V_FRONT]), which * FRONT_WORDS)
    few = last - first < v[V_ROWS]
    for number in range(last - first + 1 if few else v[V_ROWS]):
        row = find(table, v[V_ROWS], first + number, owner) if few else number
        page, entry = table[2 * row], table[2 * row + 1]
        if not is_in(entry) or entry >> 32 != owner or page < first or page > last:
            continue
        v[V_OWNER] = -1
        set_place(table, row, GONE)
        to = find(table, v[V_ROWS], page + distance, owner)
        v[V_USED] += table[2 * to + 1] == EMPTY
        table[2 * to] = page + distance
        table[2 * to + 1] = entry
        if entry & PLACE >= SLOT:
            places_at(v[V_WHERE])[stack[S_FIRST] + (entry & PLACE) - SLOT] = to
            continue
        at = 0
        while front[FRONT_PAGES + at] != row:
            at += 1
        front[at] = page + distance
        front[FRONT_PAGES + at] = to


def is_in(entry: int) -> bool:
    """Whether a row's second word is that of a page in a stack."""
    return entry != EMPTY and entry & PLACE != GONE


def drop(v_at: int, owner: int, first: int, last: int, base: int, sets: int) -> None:
    """Pages ``first`` to ``last`` of an owner go, and leave holes."""
    v = words_at(v_at)
    table = words_at(v[V_TABLE])
    if last - first < v[V_ROWS]:
        for page in range(first, last + 1):
            row = find(table, v[V_ROWS], page, owner)
            if is_in(table[2 * row + 1]):
                take_out(v, base + page % sets, row, 1)
        return
    for row in range(v[V_ROWS]):
        page, entry = table[2 * row], table[2 * row + 1]
        if is_in(entry) and entry >> 32 == owner and first <= page and page <= last:
            take_out(v, base + page % sets, row, 1)


def hash_of(page: int, owner: int) -> int:
    """HASH_BITS bits that look random: the lowest CLASS_BITS of them are the page's class."""
    mixed = page * MIX + owner * MIX_OWNER
    mixed = (mixed ^ (mixed >> 29)) * _SPREAD
    mixed = (mixed ^ (mixed >> 32)) * MIX
    return (mixed >> 24) & ((1 << HASH_BITS) - 1)


def sift(v_at: int, limit: int, bases_at: int) -> None:
    """Pages whose hash is ``limit`` or more go as if they had never been; ``bases`` has each owner's first stack. Of
    stacks of one set alone."""
    v, bases = words_at(v_at), words_at(bases_at)
    table = words_at(v[V_TABLE])
    for row in range(v[V_ROWS]):
        entry = table[2 * row + 1]
        if is_in(entry) and hash_of(table[2 * row], entry >> 32) >> CLASS_BITS >= limit:
            take_out(v, bases[entry >> 32], row, 0)


def hashes(v_at: int, out_at: int) -> int:
    """The hashes of all pages, without their classes, in no order; how many there are."""
    v, out = words_at(v_at), words_at(out_at)
    table = words_at(v[V_TABLE])
    found = 0
    for row in range(v[V_ROWS]):
        entry = table[2 * row + 1]
        if is_in(entry):
            out[found] = hash_of(table[2 * row], entry >> 32) >> CLASS_BITS
            found += 1
    return found


def sample(
    stream_at: int, count: int, shift: int, owner: int, limit: int, which: int, last_at: int, out_at: int
) -> int:
    """The pages ``stream[:count] >> shift`` of a sample, into ``out``; how many there are.

    limit  of the hashes, exclusive; ``which`` is the class, -1 for all
    last   [page that was seen last, its owner]; a page is not told twice in a row
    """
    stream, last, out = words_at(stream_at), words_at(last_at), words_at(out_at)
    before = last[0]
    fresh = last[1] != owner
    found = 0
    for number in range(count):
        page = stream[number] >> shift
        if page == before and not fresh:
            continue
        before = page
        fresh = False
        mixed = hash_of(page, owner)
        out[found] = page
        if mixed >> CLASS_BITS < limit and (which < 0 or mixed & (CLASSES - 1) == which):
            found += 1
    last[0] = before
    if not fresh:
        last[1] = owner
    return found


def clear(v_at: int, base: int, sets: int) -> None:
    """Stacks from ``base`` on have nothing in them any more, as at the beginning."""
    v = words_at(v_at)
    v[V_OWNER] = -1
    table, where = words_at(v[V_TABLE]), places_at(v[V_WHERE])
    for which in range(base, base + sets):
        stack = part(words_at(v[V_STACKS]), which * S_WORDS)
        front = part(words_at(v[V_FRONT]), which * FRONT_WORDS + FRONT_PAGES)
        for at in range(stack[S_FRONT]):
            if front[at] >= 0:
                set_place(table, front[at], GONE)
                v[V_PAGES] -= 1
        pool = pool_of(v, stack)
        for at in range((stack[S_NEXT] + 63) >> 6):
            bits = pool[P_WORDS * at + P_BITS] & ~pool[P_WORDS * at + P_HOLES]
            while bits != 0:
                set_place(table, where[stack[S_FIRST] + at * 64 + lowest(bits)], GONE)
                v[V_PAGES] -= 1
                bits &= bits - 1
            pool[P_WORDS * at + P_BITS] = 0
            pool[P_WORDS * at + P_HOLES] = 0
        if stack[S_NEXT] >= 64:
            for at in range(stack[S_CAPACITY] >> 6):
                pool[P_WORDS * at + P_SUM] = 0
        stack[S_NEXT] = 0
        stack[S_LIVE] = 0
        stack[S_HOLES] = 0
        stack[S_FRONT] = 0
        stack[S_HINT] = -1


def moved(v: Any, new: Any, rows: int, row: int) -> int:
    """A row's new place."""
    table = words_at(v[V_TABLE])
    at = find(new, rows, table[2 * row], table[2 * row + 1] >> 32)
    new[2 * at] = table[2 * row]
    new[2 * at + 1] = table[2 * row + 1]
    v[V_USED] += 1
    return at


def rehash(v_at: int, new_at: int, rows: int, nr_stacks: int) -> None:
    """Moves the pages that are in stacks to an empty table."""
    v, new = words_at(v_at), words_at(new_at)
    where, pool = places_at(v[V_WHERE]), words_at(v[V_POOL])
    v[V_USED] = 0
    for which in range(nr_stacks):
        stack = part(words_at(v[V_STACKS]), which * S_WORDS)
        front = part(words_at(v[V_FRONT]), which * FRONT_WORDS + FRONT_PAGES)
        for at in range(stack[S_FRONT]):
            if front[at] >= 0:
                front[at] = moved(v, new, rows, front[at])
        for at in range(stack[S_FIRST] >> 6, (stack[S_FIRST] + stack[S_CAPACITY]) >> 6):
            bits = pool[P_WORDS * at + P_BITS] & ~pool[P_WORDS * at + P_HOLES]
            while bits != 0:
                slot = at * 64 + lowest(bits)
                where[slot] = moved(v, new, rows, where[slot])
                bits &= bits - 1
    v[V_TABLE] = new_at
    v[V_ROWS] = rows


@functools.cache
def stack_functions() -> Functions:
    """All of them, compiled: seconds the first time ever, then a fraction of one."""
    functions = Functions()
    compile_feed(functions)
    w, a, nothing, make = word, words, types.void, functions.make
    make(is_in, types.boolean, w, inline=True)
    make(take_out, nothing, a, w, w, w)
    make(drop, nothing, w, w, w, w, w, w)
    make(move, nothing, w, w, w, w, w, w)
    make(hash_of, w, w, w, inline=True)
    make(sift, nothing, w, w, w)
    make(hashes, w, w, w)
    make(sample, w, w, w, w, w, w, w, w, w)
    make(clear, nothing, w, w, w)
    make(moved, w, a, a, w, w)
    make(rehash, nothing, w, w, w, w)
    return functions
