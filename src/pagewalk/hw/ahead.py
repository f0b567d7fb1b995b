"""The loop over data accesses of which it cannot be foreseen where they are answered: in the first level of the TLBs,
in the second one, or by a walk.

Behind a branch that the processor has not foreseen it begins anew. So the slots that have the page of the next access
are looked for before this one branches: then the next branches are decided as soon as they are reached.

Plain Python that Numba compiles (``hw/tlb_native.py``) and tests also run as it is. Which way answers an access shows
in no count.
"""

from pagewalk.hw.short import MISSED, NOT_DONE, first_of, second_of, short_ahead
from pagewalk.hw.tlb import scan, set_of
from pagewalk.hw.tlb_state import (
    S_ANSWERS,
    S_ASID,
    S_CLOCK,
    S_FAULT_ADDR,
    S_FAULT_KIND,
    S_PAGE_SHIFT,
    S_SHORT,
    S_SHORT_SECOND,
    S_SHORT_TURNS,
    TAG_NUMBER,
)
from pagewalk.hw.translate import miss, translate
from pagewalk.hw.walker import OK, READ, Words


def can_look_ahead(s: Words) -> int:
    """Whether one array at each of two levels takes base pages of data: 1 or 0."""
    if s[S_SHORT] >= 0 and s[S_SHORT_SECOND] >= 0 and s[S_SHORT_TURNS] == 1:
        return 1
    return 0


def looking_ahead(
    s: Words, words: Words, nr_words: int, fmt: Words, addrs: Words, kinds: Words, start: int, stop: int
) -> int:
    """``loop.without_hints`` for accesses to data, where ``can_look_ahead`` allows it."""
    first = first_of(s, READ)
    second = second_of(s, READ, 0)
    page = s[S_PAGE_SHIFT]
    asid = s[S_ASID]
    number = addrs[start] >> page
    tag = (number << TAG_NUMBER) | asid
    base = set_of(first, number)
    below = set_of(second, number)
    slot = scan(s, base, first[4], tag)
    found = scan(s, below, second[4], tag)
    for at in range(start, stop):
        addr = addrs[at]
        access = kinds[at] + 0
        number = addrs[min(at + 1, stop - 1)] >> page
        tag = (number << TAG_NUMBER) | asid
        next_base = set_of(first, number)
        next_below = set_of(second, number)
        next_slot = scan(s, next_base, first[4], tag)
        next_found = scan(s, next_below, second[4], tag)
        s[S_CLOCK] += 1
        answer = short_ahead(s, words, nr_words, addr, access, s[S_CLOCK], slot, found)
        status = answered(s, words, nr_words, fmt, addr, access, answer)
        if status != OK:
            s[0] = status
            return at
        # What this access has filled, or thrown out.
        if base == next_base or answer <= NOT_DONE:
            next_slot = scan(s, next_base, first[4], tag)
        if below == next_below or answer <= NOT_DONE:
            next_found = scan(s, next_below, second[4], tag)
        base = next_base
        below = next_below
        slot = next_slot
        found = next_found
    return stop


def answered(s: Words, words: Words, nr_words: int, fmt: Words, addr: int, access: int, answer: int) -> int:
    """Counts how ``short`` has answered an access, and goes the long way where it has not; the access's status."""
    at = S_ANSWERS + 4 * (access >> 1) + max(answer, NOT_DONE)
    s[at] += 1
    if answer > NOT_DONE:
        return OK
    if answer == MISSED:
        status = miss(s, words, nr_words, fmt, addr, access)
    else:
        status = translate(s, words, nr_words, fmt, addr, access)
    if status != OK:
        s[at] -= 1
        s[S_FAULT_ADDR] = addr
        s[S_FAULT_KIND] = access
    return status
