"""Stack distances by bits: the functions that Numba compiles.

An LRU stack (Mattson 1970) is a list of pages, the last used one on top. A page's distance is how many pages lie above
it: a cache of C entries holds it where C is larger. Here the ``FRONT_PAGES`` on top are a short list that is searched;
pages that fall out of it get the next of a row of slots, one bit each. The pages above a slot are the bits above it,
counted with a Fenwick tree over words of bits (Olken 1981 has a tree over single pages). Where the slots are used up,
those in use move together, so memory follows the pages and not the accesses.

A page that is dropped (unmapped) leaves a hole, which is a free entry in every cache that held it. The next page to
come in takes the highest hole; where that page lay deeper and is taken from there, it leaves a hole in its turn: the
caches between the two have one free entry less, those below as many as before.

One family of stacks, such as the sets of a TLB, is a few arrays, whose addresses are among the scalars ``v`` (V_*):

  stacks  S_WORDS for each stack
  front   for each stack FRONT_PAGES pages, the top first, then as many rows of the table (a hole: -1)
  table   rows of (page, owner << 32 | place), open addressing, a power of two of them: EMPTY, or GONE, IN_FRONT or
          SLOT + slot as the place
  pool    for each 64 slots: bits in use, bits that are holes, a sum of the Fenwick tree
  where   row of the table for each slot (a hole: -1)
  hist    how often each distance was seen; room for all that the slots allow
"""

from typing import Any, Final

from pagewalk.lab.native import (
    Functions,
    highest,
    lowest,
    part,
    places_at,
    popcount,
    types,
    word,
    words,
    words_at,
)

FRONT_PAGES: Final = 12
FRONT_WORDS: Final = 2 * FRONT_PAGES

# Scalars.
V_AT: Final = 0  # page to go on with
V_LAST: Final = 1  # page that was used last, of V_OWNER
V_OWNER: Final = 2  # -1: none was
V_USED: Final = 3  # rows of the table that are not EMPTY
V_GIVEN: Final = 4  # slots given to stacks
V_COLD: Final = 5  # pages that came in from nowhere
V_WANT: Final = 6  # slots that are missing
V_PAGES: Final = 7  # pages in the stacks
V_ROWS: Final = 8  # rows of the table
V_SLOTS: Final = 9  # slots that there are
V_MOST: Final = 10  # pages that there may be in the stacks, and one more
V_STACKS: Final = 11  # addresses from here on
V_FRONT: Final = 12
V_TABLE: Final = 13
V_POOL: Final = 14
V_WHERE: Final = 15
V_HIST: Final = 16
V_WORDS: Final = 17

# A stack's words.
S_FIRST: Final = 0  # its first slot
S_CAPACITY: Final = 1  # its slots; a power of two, or 0
S_NEXT: Final = 2  # the next slot to be given, counted from the first one
S_LIVE: Final = 3  # slots in use, holes too
S_HOLES: Final = 4  # holes in slots and in front
S_FRONT: Final = 5  # pages in front, holes too
S_HINT: Final = 6  # no hole lies in a word of slots beyond this one
S_WORDS: Final = 8

# A word of the pool.
P_BITS: Final = 0
P_HOLES: Final = 1
P_SUM: Final = 2
P_WORDS: Final = 3

EMPTY: Final = -1
GONE: Final = 0
IN_FRONT: Final = 1
SLOT: Final = 2
PLACE: Final = (1 << 32) - 1

# How feed ends.
DONE: Final = 0
GROW_TABLE: Final = 1
GROW_POOL: Final = 2
TOO_MANY: Final = 3  # pages

MIX: Final = -7046029254386353131
MIX_OWNER: Final = -4417276706812531889


def find(table: Any, rows: int, page: int, owner: int) -> int:
    """The row of a page, or the EMPTY one where it would be."""
    row = ((page * MIX + owner * MIX_OWNER) >> 24) & (rows - 1)
    while table[2 * row + 1] != EMPTY and (table[2 * row] != page or table[2 * row + 1] >> 32 != owner):
        row = (row + 1) & (rows - 1)
    return row


def set_place(table: Any, row: int, place: int) -> None:
    """Where the page of a row is."""
    table[2 * row + 1] = (table[2 * row + 1] & ~PLACE) | place


def pool_of(v: Any, stack: Any) -> Any:
    """The stack's own part of the pool."""
    return words_at(v[V_POOL] + (stack[S_FIRST] >> 6) * P_WORDS * 8)


def fenwick_add(pool: Any, length: int, at: int, value: int) -> None:
    """Adds to the sum of the word ``at`` of ``length``."""
    at += 1
    while at <= length:
        pool[P_WORDS * (at - 1) + P_SUM] += value
        at += at & -at


def above(v: Any, stack: Any, slot: int) -> int:
    """How many slots in use lie above ``slot``."""
    pool = pool_of(v, stack)
    at = slot >> 6
    count: int = popcount(pool[P_WORDS * at + P_BITS] & (-2 << (slot & 63)))
    current = stack[S_NEXT] >> 6
    if current - at <= 8:
        for later in range(at + 1, current + 1):
            count += popcount(pool[P_WORDS * later + P_BITS])
        return count
    below = 0
    at += 1
    while at > 0:
        below += pool[P_WORDS * (at - 1) + P_SUM]
        at &= at - 1
    count += stack[S_LIVE] - below
    return count


def leave(v: Any, stack: Any, slot: int) -> None:
    """A slot is not in use any more. The word that slots are given from has no sum yet."""
    pool = pool_of(v, stack)
    at = slot >> 6
    pool[P_WORDS * at + P_BITS] &= ~(1 << (slot & 63))
    stack[S_LIVE] -= 1
    if at < stack[S_NEXT] >> 6:
        fenwick_add(pool, stack[S_CAPACITY] >> 6, at, -1)


def make_hole(v: Any, stack: Any, slot: int) -> None:
    """The page of a slot goes, and its place stays."""
    places_at(v[V_WHERE])[stack[S_FIRST] + slot] = -1
    pool_of(v, stack)[P_WORDS * (slot >> 6) + P_HOLES] |= 1 << (slot & 63)
    if stack[S_HINT] < slot >> 6:
        stack[S_HINT] = slot >> 6


def fill_hole(v: Any, stack: Any, slot: int) -> None:
    """A slot that is a hole is not in use any more."""
    pool_of(v, stack)[P_WORDS * (slot >> 6) + P_HOLES] &= ~(1 << (slot & 63))
    leave(v, stack, slot)


def top_hole(v: Any, stack: Any) -> int:
    """The highest slot that is a hole, or -1."""
    pool = pool_of(v, stack)
    at = stack[S_HINT]
    while at >= 0 and pool[P_WORDS * at + P_HOLES] == 0:
        at -= 1
    stack[S_HINT] = at
    return at * 64 + highest(pool[P_WORDS * at + P_HOLES]) if at >= 0 else -1


def push(v: Any, stack: Any, row: int) -> None:
    """A page (-1: a hole) falls out of the front, into the next slot; there is one."""
    slot = stack[S_NEXT]
    pool = pool_of(v, stack)
    at = P_WORDS * (slot >> 6)
    pool[at + P_BITS] |= 1 << (slot & 63)
    stack[S_LIVE] += 1
    if row >= 0:
        places_at(v[V_WHERE])[stack[S_FIRST] + slot] = row
        set_place(words_at(v[V_TABLE]), row, SLOT + slot)
    else:
        make_hole(v, stack, slot)
    stack[S_NEXT] = slot + 1
    if slot & 63 == 63:
        fenwick_add(pool, stack[S_CAPACITY] >> 6, slot >> 6, popcount(pool[at + P_BITS]))


def compact(v: Any, stack: Any) -> bool:
    """Moves the slots in use together, into more slots where they are many; False where the pool has not as many."""
    live = stack[S_LIVE]
    first = stack[S_FIRST]
    capacity = stack[S_CAPACITY]
    if 2 * live >= capacity:
        capacity = max(64, 2 * capacity)
        while capacity < 4 * live:
            capacity *= 2
        first = v[V_GIVEN]
        if first + capacity > v[V_SLOTS]:
            v[V_WANT] = capacity
            return False
        v[V_GIVEN] += capacity
    table = words_at(v[V_TABLE])
    where = places_at(v[V_WHERE])
    pool = words_at(v[V_POOL])
    new = 0
    hint = -1
    for at in range(stack[S_FIRST] >> 6, (stack[S_FIRST] + stack[S_CAPACITY]) >> 6):
        bits = pool[P_WORDS * at + P_BITS]
        holes = pool[P_WORDS * at + P_HOLES]
        pool[P_WORDS * at + P_BITS] = 0
        pool[P_WORDS * at + P_HOLES] = 0
        while bits != 0:
            bit = lowest(bits)
            bits &= bits - 1
            row = where[at * 64 + bit]
            where[first + new] = row
            to = P_WORDS * ((first + new) >> 6)
            pool[to + P_BITS] |= 1 << (new & 63)
            if holes >> bit & 1 != 0:
                pool[to + P_HOLES] |= 1 << (new & 63)
                hint = new >> 6
            else:
                set_place(table, row, SLOT + new)
            new += 1
    for at in range(1, (capacity >> 6) + 1):
        pool[P_WORDS * ((first >> 6) + at - 1) + P_SUM] = 64 * max(0, min(at, new >> 6) - (at & (at - 1)))
    stack[S_FIRST] = first
    stack[S_CAPACITY] = capacity
    stack[S_NEXT] = new
    stack[S_HINT] = hint
    return True


def settle(v: Any, stack: Any, front: Any, page: int, row: int, old: int) -> None:
    """Puts a page that is not in front on top; ``old`` is the slot that it lay in, -1 where it comes in.

    It takes the highest hole above its old place; where there is none the bottom page of the front falls out.
    """
    count = stack[S_FRONT]
    hole = count
    if stack[S_HOLES] > 0:
        hole = 0
        while hole < count and front[FRONT_PAGES + hole] >= 0:
            hole += 1
    if hole < count:  # the hole is in front
        if old >= 0:
            make_hole(v, stack, old)
        else:
            stack[S_HOLES] -= 1
    else:
        slot = -1
        if stack[S_HOLES] > 0:
            slot = top_hole(v, stack)
        if slot > old:
            fill_hole(v, stack, slot)
            if old >= 0:
                make_hole(v, stack, old)
            else:
                stack[S_HOLES] -= 1
        elif old >= 0:
            leave(v, stack, old)
        if count == FRONT_PAGES:
            hole = count - 1
            push(v, stack, front[FRONT_PAGES + hole])
        else:
            stack[S_FRONT] = count + 1
    for at in range(hole, 0, -1):
        front[at] = front[at - 1]
        front[FRONT_PAGES + at] = front[FRONT_PAGES + at - 1]
    front[0] = page
    front[FRONT_PAGES] = row


def bring(v: Any, stack: Any, front: Any, page: int, owner: int) -> int:
    """Puts a page that is not in front there; DONE, or why it cannot yet."""
    if v[V_PAGES] > v[V_MOST]:
        return TOO_MANY
    if 2 * v[V_USED] >= v[V_ROWS]:
        return GROW_TABLE
    if stack[S_FRONT] == FRONT_PAGES and stack[S_NEXT] == stack[S_CAPACITY] and not compact(v, stack):
        return GROW_POOL
    table = words_at(v[V_TABLE])
    row = find(table, v[V_ROWS], page, owner)
    entry = table[2 * row + 1]
    old = -1
    if entry == EMPTY or entry & PLACE == GONE:
        v[V_COLD] += 1
        v[V_PAGES] += 1
        v[V_USED] += entry == EMPTY
        table[2 * row] = page
    else:
        old = (entry & PLACE) - SLOT
        words_at(v[V_HIST])[stack[S_FRONT] + above(v, stack, old)] += 1
    table[2 * row + 1] = owner << 32 | IN_FRONT
    settle(v, stack, front, page, row, old)
    return DONE


def run(v: Any, stream: Any, count: int, shift: int, owner: int, base: int, sets: int) -> int:
    """Pages ``stream[v[V_AT]:count] >> shift``, of one owner, whose sets are the stacks from ``base`` on.

    DONE, or what is in the way of going on.
    """
    mask = sets - 1 if sets & (sets - 1) == 0 else -1
    table = words_at(v[V_TABLE])
    hist = words_at(v[V_HIST])
    last = v[V_LAST]
    fresh = v[V_OWNER] != owner
    for number in range(v[V_AT], count):
        page = stream[number] >> shift
        if page == last and not fresh:
            continue
        which = base + (page & mask if mask >= 0 else page % sets)
        stack = part(words_at(v[V_STACKS]), which * S_WORDS)
        front = part(words_at(v[V_FRONT]), which * FRONT_WORDS)
        count_in_front = stack[S_FRONT]
        at = 0
        while at < count_in_front and (
            front[at] != page or front[FRONT_PAGES + at] < 0 or table[2 * front[FRONT_PAGES + at] + 1] >> 32 != owner
        ):
            at += 1
        if at < count_in_front:
            hist[at] += 1
            row = front[FRONT_PAGES + at]
            if stack[S_HOLES] > 0:
                hole = 0
                while hole < at and front[FRONT_PAGES + hole] >= 0:
                    hole += 1
                if hole < at:
                    front[FRONT_PAGES + at] = -1
                    at = hole
            while at > 0:
                front[at] = front[at - 1]
                front[FRONT_PAGES + at] = front[FRONT_PAGES + at - 1]
                at -= 1
            front[0] = page
            front[FRONT_PAGES] = row
        else:
            status = bring(v, stack, front, page, owner)
            if status != DONE:
                v[V_AT] = number
                v[V_LAST] = last
                v[V_OWNER] = -1 if fresh else owner
                return status
        last = page
        fresh = False
    v[V_AT] = count
    v[V_LAST] = last
    v[V_OWNER] = -1 if fresh else owner
    return DONE


def feed(v: int, stream: int, count: int, shift: int, owner: int, base: int, sets: int) -> int:
    """``run``, of addresses."""
    return run(words_at(v), words_at(stream), count, shift, owner, base, sets)


def compile_feed(functions: Functions) -> None:
    """Makes all of them."""
    w, a, nothing, make = word, words, types.void, functions.make
    make(find, w, a, w, w, w, inline=True)
    make(set_place, nothing, a, w, w, inline=True)
    make(pool_of, a, a, a, inline=True)
    make(fenwick_add, nothing, a, w, w, w, inline=True)
    make(above, w, a, a, w, inline=True)
    make(leave, nothing, a, a, w, inline=True)
    make(make_hole, nothing, a, a, w, inline=True)
    make(fill_hole, nothing, a, a, w)
    make(top_hole, w, a, a)
    make(push, nothing, a, a, w, inline=True)
    make(compact, types.boolean, a, a)
    make(settle, nothing, a, a, a, w, w, w, inline=True)
    make(bring, w, a, a, a, w, w)
    make(run, w, a, a, w, w, w, w, w, inline=True)
    make(feed, w, w, w, w, w, w, w, w)
