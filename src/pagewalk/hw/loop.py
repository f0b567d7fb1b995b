"""The loop over a batch of accesses.

Plain Python that Numba compiles (``hw/mmu.py``) and tests also run as it is. Which way answers an access shows in no
count:

- A hint names the first-level slot that granted such an access to the page before. It is believed where the slot still
  holds the same fill. A block of accesses to the data of one page asks once; where few accesses have one, nobody asks.
- ``short`` (hw/short.py), then ``translate`` (hw/translate.py). Where it cannot be foreseen which caches answer,
  ``looking_ahead`` (hw/ahead.py) asks them before.

An access that reaches into the next page is two: to where it begins, and to where it ends. Batches are looked through
for such ones, and for where another task or CPU goes on, BLOCK accesses at a time, just before these go through the
loop, so that they come through the caches once.
"""

from typing import Final

from pagewalk.hw.ahead import answered, can_look_ahead, looking_ahead
from pagewalk.hw.short import BY_FIRST, BY_SECOND, BY_WALK, NOT_DONE, short_data, short_fetch
from pagewalk.hw.survey import (
    ALIKE,
    FETCHES,
    ODD,
    TALLY_MASK,
    BatchArrays,
    crosses,
    first_odd,
    of_another,
    survey,
    tally,
)
from pagewalk.hw.tlb import touch
from pagewalk.hw.tlb_state import (
    ARRAY_WORDS,
    C_HIT,
    C_MISS,
    C_REFERENCE,
    C_WALK_HIT,
    C_WALKS,
    HINT_WORDS,
    HINTS,
    IDENT,
    IDENT_SLOT,
    IDENT_STAMPED,
    IDENT_TOUCHED,
    PATH_WORDS,
    S_ANSWERS,
    S_ARRAYS,
    S_ATTEMPTS,
    S_CLOCK,
    S_COLUMN,
    S_FAULT_ADDR,
    S_FAULT_AT,
    S_FAULT_KIND,
    S_HALF,
    S_HINTS,
    S_NR_LEVELS,
    S_PAGE_SHIFT,
    S_PATH,
    S_REST_ABOUT,
    S_REST_AT,
    S_REST_STOP,
    S_TALLY,
    S_UNHINTED,
    SLOT_MASK,
    STAMP,
)
from pagewalk.hw.walker import FETCH, OK, READ, WRITE, Words

# All that ``replay_batch`` gets, as one block of words for its compiled twin: addresses and numbers.
B_STATE: Final = 0
B_WORDS: Final = 1
B_NR_WORDS: Final = 2
B_FORMAT: Final = 3
B_ARRAYS: Final = 4  # 5 words
B_AT: Final = 9  # where it goes on
B_END: Final = 10
BLOCK_WORDS: Final = 11

BLOCK: Final = 128
BAD_KIND: Final = 64  # a status beside the walk's: the access is of no kind

# What the first level does not answer of a block, in PARTS, says how the next one is best served. From MANY on nobody
# asks hints: they would be one more branch that the processor cannot foresee. Up to NEARLY_ALL, where the caches answer
# is not foreseen either: it is looked up an access ahead.
PARTS: Final = 16
MANY: Final = 8
NEARLY_ALL: Final = 15

# What ``refused`` answers: (address << 2) | kind of an access that was not granted, or ASK in the two lowest bits.
ASK: Final = 3
ATTEMPTS: Final = 16  # times that a fault may be served before the access is given up


def replay_batch(s: Words, words: Words, nr_words: int, fmt: Words, batch: BatchArrays, start: int, end: int) -> int:
    """Accesses from ``start`` on up to ``end``, or to where another task or CPU makes them; the index of the first that
    was not served. Word 0 of ``s`` is OK, or the status of that access; S_FAULT_ADDR and S_FAULT_KIND tell of it.

    S_HALF says what is left of access ``start``: 0 all, 1 the part in the next page (if there is one), 2 nothing; on
    return, whether it was that part. S_TALLY counts writes, fetches and those that reached into the next page, among
    the accesses passed.
    """
    at = start
    addrs, kinds, sizes, _, _ = batch
    page = 1 << s[S_PAGE_SHIFT]
    more_data = 0  # look-ups beside one for each access
    more_fetches = 0
    writes = 0
    fetches = 0
    status = OK
    if s[S_HALF] != 0:
        kind = kinds[at] + 0
        two = crosses(addrs[at], sizes[at], page)
        if s[S_HALF] == 1 and two != 0:
            status = second_half(s, words, nr_words, fmt, addrs[at], kind, sizes[at])
            if status != OK:
                s[0] = status
                return at
        elif kind == FETCH:
            more_fetches -= 1
        else:
            more_data -= 1
        s[S_HALF] = 0
        s[S_TALLY + 2] += two
        writes += kind & 1
        fetches += kind >> 1
        at += 1
    while at < end:
        if s[S_REST_AT] == at:
            stop = s[S_REST_STOP]
            about = s[S_REST_ABOUT]
        else:
            stop = min((at | (BLOCK - 1)) + 1, end)
            about = survey(batch, start, at, stop, page)
            if about >= ODD:
                stop = first_odd(batch, start, at, stop, page)
                if of_another(batch, start, stop) != 0:
                    end = stop
                elif kinds[stop] <= FETCH:
                    stop += 1
                elif stop == at:
                    status = BAD_KIND
                    break
                about = survey(batch, start, at, stop, page)
        begin = at
        missed = first_level_misses(s)
        if s[S_UNHINTED] < MANY or about & ALIKE != 0:
            at = by_hints(s, words, nr_words, fmt, addrs, kinds, at, stop, about)
        elif s[S_UNHINTED] < NEARLY_ALL and (about >> FETCHES) & TALLY_MASK == 0 and can_look_ahead(s) != 0:
            at = looking_ahead(s, words, nr_words, fmt, addrs, kinds, at, stop)
        else:
            at = without_hints(s, words, nr_words, fmt, addrs, kinds, at, stop)
        if at < stop:
            status = s[0]
            passed = tally(kinds, begin, at)
            s[S_REST_AT] = at
            s[S_REST_STOP] = stop
            s[S_REST_ABOUT] = about - passed
            if about >= ODD:
                s[S_REST_AT] = -1
            about = passed
        else:
            missed = first_level_misses(s) - missed
            s[S_UNHINTED] = (missed * PARTS) // (at - begin)
        writes += about & TALLY_MASK
        fetches += (about >> FETCHES) & TALLY_MASK
        if status == OK and about >= ODD:  # the last one reaches into the next page
            kind = kinds[at - 1] + 0
            more_data += 1 - (kind >> 1)
            more_fetches += kind >> 1
            status = second_half(s, words, nr_words, fmt, addrs[at - 1], kind, sizes[at - 1])
            if status == OK:
                s[S_TALLY + 2] += 1
            else:
                at -= 1
                s[S_HALF] = 1
                writes -= kind & 1
                fetches -= kind >> 1
        if status != OK:
            break
    s[0] = status
    s[S_TALLY] += writes
    s[S_TALLY + 1] += fetches
    count(s, 0, at - start - fetches + more_data)
    count(s, 1, fetches + more_fetches)
    return at


def refused(s: Words, at: int) -> int:
    """What stopped ``replay_batch`` at access ``at``, in one word: the access, if its fault may be served and the
    access tried again; ASK where word 0 of ``s`` has to be asked, which may be OK."""
    status = s[0]
    addr = s[S_FAULT_ADDR]
    if status == OK or status == BAD_KIND:
        s[S_FAULT_AT] = -1
        return ASK
    where = 2 * at + s[S_HALF]
    if s[S_FAULT_AT] == where:
        s[S_ATTEMPTS] += 1
    else:
        s[S_FAULT_AT] = where
        s[S_ATTEMPTS] = 1
    if s[S_ATTEMPTS] > ATTEMPTS or (addr >> 60 != 0 and addr >> 60 != -1):
        return ASK
    return (addr << 2) | s[S_FAULT_KIND]


def by_hints(
    s: Words, words: Words, nr_words: int, fmt: Words, addrs: Words, kinds: Words, start: int, stop: int, about: int
) -> int:
    """Accesses ``start`` to ``stop - 1``, of which ``survey`` says ``about``: the first that was not served, whose
    status is word 0 of ``s``; or ``stop``."""
    at = start
    while at < stop:
        if about & ALIKE != 0:
            stores = about & TALLY_MASK
            if alike(s, addrs[at], stop - at, stop - start - stores, stores) != 0:
                return stop
        clock = s[S_CLOCK]
        first = at
        at = hinted(s, addrs, kinds, at, stop, clock - at + 1)
        if at == stop:
            s[S_CLOCK] = clock + at - first
            return at
        s[S_CLOCK] = clock + at - first + 1
        status = unhinted(s, words, nr_words, fmt, addrs[at], kinds[at] + 0)
        if status != OK:
            s[0] = status
            return at
        at += 1
    return at


def without_hints(
    s: Words, words: Words, nr_words: int, fmt: Words, addrs: Words, kinds: Words, start: int, stop: int
) -> int:
    """``by_hints``, but asks for none."""
    for at in range(start, stop):
        s[S_CLOCK] += 1
        status = unhinted(s, words, nr_words, fmt, addrs[at], kinds[at] + 0)
        if status != OK:
            s[0] = status
            return at
    return stop


def first_level_misses(s: Words) -> int:
    """Accesses of this batch that the first level has not answered."""
    missed = 0
    for answer in range(4):
        if answer != BY_FIRST:
            missed += s[S_ANSWERS + answer] + s[S_ANSWERS + 4 + answer]
    return missed


def hinted(s: Words, addrs: Words, kinds: Words, start: int, end: int, clock: int) -> int:
    """Accesses ``start`` to ``end - 1``; the first that no hint answers, ``end`` where hints answer all.

    clock  of an access, less its index
    """
    column = s[S_COLUMN]
    for at in range(start, end):
        kind = kinds[at]
        vpn = addrs[at] >> 12
        hint = S_HINTS + kind * HINT_WORDS + 2 * (vpn & (HINTS - 1))
        ident = s[hint + 1]
        slot = (ident >> IDENT_SLOT) & SLOT_MASK
        if s[hint] != vpn or s[slot + IDENT * column] != ident:
            return at
        if ident & IDENT_STAMPED != 0:
            s[slot + STAMP * column] = clock + at
        elif ident & IDENT_TOUCHED != 0:
            touch(s, array_of(s, kind >> 1, slot), slot, 0)
    return end


def alike(s: Words, addr: int, accesses: int, reads: int, writes: int) -> int:
    """1 where hints answer so many accesses in a row to the data of the 4 KiB around ``addr``; 0 where nothing was
    done.

    reads, writes  0 where none of them is one
    """
    vpn = addr >> 12
    column = s[S_COLUMN]
    slot = 0
    other = -1
    ident = 0
    for kind in range(2):
        if (kind == READ and reads == 0) or (kind == WRITE and writes == 0):
            continue
        hint = S_HINTS + kind * HINT_WORDS + 2 * (vpn & (HINTS - 1))
        ident = s[hint + 1]
        slot = (ident >> IDENT_SLOT) & SLOT_MASK
        if s[hint] != vpn or s[slot + IDENT * column] != ident or ident & IDENT_TOUCHED != 0:
            return 0
        if other >= 0 and other != slot:
            return 0
        other = slot
    s[S_CLOCK] += accesses
    if ident & IDENT_STAMPED != 0:
        s[slot + STAMP * column] = s[S_CLOCK]
    return 1


def second_half(s: Words, words: Words, nr_words: int, fmt: Words, addr: int, access: int, size: int) -> int:
    """The part of an access that lies in the next page; its status."""
    s[S_CLOCK] += 1
    return unhinted(s, words, nr_words, fmt, (addr + size - 1) & -(1 << s[S_PAGE_SHIFT]), access)


def unhinted(s: Words, words: Words, nr_words: int, fmt: Words, addr: int, access: int) -> int:
    """One access that no hint answers; its status."""
    clock = s[S_CLOCK]
    if access == FETCH:
        answer = short_fetch(s, words, nr_words, addr, access, clock)
    else:
        answer = short_data(s, words, nr_words, addr, access, clock)
    return answered(s, words, nr_words, fmt, addr, access, answer)


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
