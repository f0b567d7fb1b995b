"""TLBs and walk caches: look-up, use, replacement, fill, invalidation, over the words of ``hw/tlb_state.py``.

Plain Python that Numba compiles (``hw/mmu.py``) and tests also run as it is. ``words`` and ``s`` are arrays of signed
64-bit words. What the policies do is said in ``hw/tlb_config.py``.
"""

from typing import Final, TypeAlias

from pagewalk.hw.tlb_policy import call_touch, call_victim
from pagewalk.hw.tlb_state import (
    ARRAY_WORDS,
    ASID_MASK,
    C_FILL,
    C_FLUSH_PAGE,
    C_FLUSHED,
    C_FRESH,
    D_BASE,
    D_COUNT,
    D_LEAVES,
    D_MASK,
    D_META_WORDS,
    D_NR_GLOBAL,
    D_POLICY,
    D_SETS,
    D_SHIFTS,
    D_STRIDE,
    D_TOUCH,
    D_USED,
    D_VICTIM,
    D_WAYS,
    EMPTY,
    FIFO,
    FRAME,
    IDENT,
    IDENT_CLOCK,
    IDENT_SLOT,
    IDENT_STAMPED,
    IDENT_TOUCHED,
    LRU,
    PLACE,
    PLRU,
    RANDOM,
    S_ARRAYS,
    S_CLOCK,
    S_COLUMN,
    S_FLUSH_WALKS,
    S_NR_ARRAYS,
    S_NR_CLASSES,
    S_NR_TLBS,
    S_ODD,
    S_PAGE_SHIFT,
    S_RANDOM,
    SLOT_MASK,
    STAMP,
    TAG_CLASS,
    TAG_NUMBER,
    USER,
)
from pagewalk.hw.walker import Words

# An array's geometry: its number, first slot, sets - 1 (-1 where that is no mask), sets, slots of a set,
# policy, slots in a column.
Geometry: TypeAlias = tuple[int, int, int, int, int, int, int]
GEOMETRY_WORDS: Final = 7
NO_ARRAY: Final[Geometry] = (-1, 0, 0, 1, 4, 0, 0)

# What ``invalidate`` takes away.
PAGES: Final = 0  # entries of [first, last] of one ASID, and global ones there
ASID: Final = 1  # entries of one ASID
ALL: Final = 2  # all but global entries
EVERYTHING: Final = 3

FEW_BYTES: Final = 64 * 4096  # ranges below this are looked up page by page, others by going through all slots


def scan(s: Words, at: int, count: int, tag: int) -> int:
    """Where ``tag`` stands among ``count`` words (a multiple of 4, in which it is once at most) from ``at`` on; -1
    where it does not."""
    for slot in range(at, at + count):
        if s[slot] == tag:
            return slot
    return -1


def oldest(s: Words, at: int, count: int) -> int:
    """The way of the set whose stamps are the ``count`` words (a multiple of 4) from ``at`` on that was used (filled)
    longest ago; an empty one has stamp 0."""
    best = 0
    for way in range(count):
        if s[at + way] < s[at + best]:
            best = way
    return best


def geometry(s: Words, array: int) -> Geometry:
    """An array as GEOMETRY_WORDS words, see Geometry."""
    d = S_ARRAYS + array * ARRAY_WORDS
    return (array, s[d + D_BASE], s[d + D_MASK], s[d + D_SETS], s[d + D_STRIDE], s[d + D_POLICY], s[S_COLUMN])


def set_of(g: Geometry, number: int) -> int:
    """The first slot of the set that a page of this number belongs to."""
    _, base, mask, sets, stride, _, _ = g
    if mask >= 0:
        return base + (number & mask) * stride
    return base + number % sets * stride


def probe(s: Words, array: int, cls: int, addr: int, asid: int) -> int:
    """The slot that holds ``addr`` as a page of class ``cls`` under ``asid``; -1 where none does."""
    d = S_ARRAYS + array * ARRAY_WORDS
    if s[d + D_COUNT + cls] == 0:
        return -1
    number = addr >> s[s[d + D_SHIFTS] + cls]
    tag = (number << TAG_NUMBER) | (cls << TAG_CLASS) | asid
    return scan(s, set_of(geometry(s, array), number), s[d + D_STRIDE], tag)


def find(s: Words, array: int, nr_classes: int, addr: int, asid: int) -> int:
    """The slot that translates ``addr``, smaller pages first, the ASID's own before global ones; -1 where none does."""
    d = S_ARRAYS + array * ARRAY_WORDS
    used = s[d + D_USED]
    if used == 0:
        return -1
    if used == s[d + D_COUNT] and s[d + D_NR_GLOBAL] == 0:  # the usual case: base pages alone
        return probe(s, array, 0, addr, asid)
    for cls in range(nr_classes):
        if s[d + D_COUNT + cls] != 0:
            slot = probe(s, array, cls, addr, asid)
            if slot >= 0:
                return slot
            if s[d + D_NR_GLOBAL] != 0:
                slot = probe(s, array, cls, addr, 0)
                if slot >= 0:
                    return slot
    return -1


def use(s: Words, g: Geometry, slot: int, clock: int) -> None:
    """The slot was used."""
    policy = g[5]
    if policy == LRU:
        s[slot + STAMP * g[6]] = clock
    elif policy == PLRU or policy == USER:
        touch(s, g[0], slot, 0)


def touch(s: Words, array: int, slot: int, fill: int) -> None:
    """The slot was used, which policies without stamps want to know; ``fill``: it has just been filled."""
    d = S_ARRAYS + array * ARRAY_WORDS
    policy = s[d + D_POLICY]
    if policy == PLRU:
        place = s[slot + PLACE * s[S_COLUMN]]
        meta = place >> 20
        way = place & 0xFFFFF
        bits = s[meta]
        half = s[d + D_LEAVES] >> 1
        node = 1
        while half > 0:  # each node on the way points to the other half
            if way & half != 0:
                bits &= ~(1 << (node - 1))
                node = 2 * node + 1
            else:
                bits |= 1 << (node - 1)
                node = 2 * node
            half >>= 1
        s[meta] = bits
    elif policy == USER:
        place = s[slot + PLACE * s[S_COLUMN]]
        call_touch(s[d + D_TOUCH], s, place >> 20, s[d + D_META_WORDS], s[d + D_WAYS], place & 0xFFFFF, fill)


def choose(s: Words, d: int, base: int) -> int:
    """The way to fill by plru, random or a user's policy, of the set at ``base`` of the array with the descriptor
    ``d``: an empty one, or whom the policy gives up."""
    ways = s[d + D_WAYS]
    policy = s[d + D_POLICY]
    best = 0
    for way in range(ways):
        if s[base + way] == EMPTY:
            return way
    meta = s[base + PLACE * s[S_COLUMN]] >> 20
    if policy == RANDOM:
        s[S_RANDOM] = s[S_RANDOM] * 48271 % 2147483647  # the "minimal standard" generator of Park and Miller
        return s[S_RANDOM] % ways
    if policy == USER:
        return call_victim(s[d + D_VICTIM], s, meta, s[d + D_META_WORDS], ways)
    bits = s[meta]
    half = s[d + D_LEAVES] >> 1
    node = 1
    while half > 0:
        if (bits >> (node - 1)) & 1 != 0 and best + half < ways:
            best += half
            node = 2 * node + 1
        else:
            node = 2 * node
        half >>= 1
    return best


def count_entry(s: Words, array: int, tag: int, change: int) -> None:
    """An entry has come (``change`` 1) or gone (-1)."""
    d = S_ARRAYS + array * ARRAY_WORDS
    cls = (tag >> TAG_CLASS) & 7
    s[d + D_USED] += change
    s[d + D_COUNT + cls] += change
    if tag & ASID_MASK == 0:
        s[d + D_NR_GLOBAL] += change
    if array < s[S_NR_TLBS] and (cls != 0 or tag & ASID_MASK == 0):
        s[S_ODD] += change


def drop(s: Words, array: int, slot: int) -> None:
    """Empties a slot that is in use."""
    column = s[S_COLUMN]
    count_entry(s, array, s[slot], -1)
    s[slot] = EMPTY
    s[slot + IDENT * column] = 0
    s[slot + STAMP * column] = 0


def insert(s: Words, array: int, cls: int, addr: int, asid: int, frame: int, rights: int) -> int:
    """Fills a slot with a translation that the array does not hold; the slot."""
    d = S_ARRAYS + array * ARRAY_WORDS
    number = addr >> s[s[d + D_SHIFTS] + cls]
    tag = (number << TAG_NUMBER) | (cls << TAG_CLASS) | asid
    s[S_CLOCK] += 1
    g = geometry(s, array)
    return (put(s, g, set_of(g, number), tag, frame, rights, s[S_CLOCK], 0) >> IDENT_SLOT) & SLOT_MASK


def put(s: Words, g: Geometry, base: int, tag: int, frame: int, rights: int, clock: int, alike: int) -> int:
    """``insert`` into the set at ``base``; the slot's ident. No two fills of an array are at the same clock.

    alike  1 where all entries of the array are known to be of the same class, and none global
    """
    array, _, _, _, stride, policy, column = g
    by_stamp = policy == LRU or policy == FIFO
    if by_stamp:
        slot = base + oldest(s, base + STAMP * column, stride)
    else:
        slot = base + choose(s, S_ARRAYS + array * ARRAY_WORDS, base)
    old = s[slot]
    if old == EMPTY:
        count_entry(s, array, tag, 1)
        s[C_FRESH + array] += 1
    elif alike == 0 and ((old ^ tag) & (7 << TAG_CLASS) != 0 or (old & ASID_MASK == 0) != (tag & ASID_MASK == 0)):
        count_entry(s, array, old, -1)
        count_entry(s, array, tag, 1)
    s[C_FILL + array] += 1
    ident = (clock << IDENT_CLOCK) | (slot << IDENT_SLOT) | rights
    s[slot] = tag
    s[slot + FRAME * column] = frame
    if by_stamp:
        if policy == LRU:
            ident |= IDENT_STAMPED
        s[slot + STAMP * column] = clock
    else:
        if policy != RANDOM:
            ident |= IDENT_TOUCHED
        touch(s, array, slot, 1)
    s[slot + IDENT * column] = ident
    return ident


def drop_range(s: Words, array: int, first: int, last: int, asid: int) -> int:
    """Empties the slots that translate something of a small range for an ASID or for all; how many."""
    d = S_ARRAYS + array * ARRAY_WORDS
    dropped = 0
    for cls in range(s[S_NR_CLASSES]):
        if s[d + D_COUNT + cls] == 0:
            continue
        shift = s[s[d + D_SHIFTS] + cls]
        for number in range(first >> shift, (last >> shift) + 1):
            for owner in range(1 if s[d + D_NR_GLOBAL] == 0 else 2):
                slot = probe(s, array, cls, number << shift, asid * (1 - owner))
                if slot >= 0:
                    drop(s, array, slot)
                    dropped += 1
    return dropped


def invalidate(s: Words, what: int, first: int, last: int, asid: int, times: int) -> int:
    """Empties slots, see PAGES, ASID, ALL and EVERYTHING; how many.

    first, last  addresses, both included
    times        instructions that do it
    """
    s[C_FLUSH_PAGE + min(what, ALL)] += times
    dropped = 0
    for array in range(s[S_NR_ARRAYS]):
        d = S_ARRAYS + array * ARRAY_WORDS
        walks = array >= s[S_NR_TLBS]
        if s[d + D_USED] == 0:
            continue
        if what == PAGES and not walks and last - first < FEW_BYTES:
            dropped += drop_range(s, array, first, last, asid)
            continue
        base = s[d + D_BASE]
        for slot in range(base, base + s[d + D_SETS] * s[d + D_STRIDE]):
            tag = s[slot]
            if tag == EMPTY:
                continue
            owner = tag & ASID_MASK
            if what == PAGES:
                shift = s[s[d + D_SHIFTS] + ((tag >> TAG_CLASS) & 7)]
                start = (tag >> TAG_NUMBER) << shift
                gone = (owner == asid or owner == 0) and start <= last and start + ((1 << shift) - 1) >= first
                if walks and s[S_FLUSH_WALKS] != 0:
                    gone = owner == asid
            elif what == ASID:
                gone = owner == asid
            else:
                gone = what == EVERYTHING or owner != 0
            if gone:
                drop(s, array, slot)
                dropped += 1
    s[C_FLUSHED] += dropped
    return dropped


def invalidate_page(s: Words, addr: int, asid: int) -> int:
    """``invalidate`` of the base page that begins at ``addr``, by one instruction."""
    return invalidate(s, PAGES, addr, addr + (1 << s[S_PAGE_SHIFT]) - 1, asid, 1)
