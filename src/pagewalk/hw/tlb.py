"""TLBs and walk caches: look-up, use, replacement, fill, invalidation, over the words of ``hw/tlb_state.py``.

Plain Python that Numba compiles (``hw/mmu.py``) and tests also run as it is. ``words`` and ``s`` are arrays of signed
64-bit words. What the policies do is said in ``hw/tlb_config.py``.
"""

from typing import Final

from pagewalk.hw.tlb_policy import call_touch, call_victim
from pagewalk.hw.tlb_state import (
    ARRAY_WORDS,
    ASID_MASK,
    C_EVICT,
    C_FILL,
    C_FLUSHED,
    D_BASE,
    D_COUNT,
    D_LEAVES,
    D_MASK,
    D_META,
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
    IDENT_SERIAL,
    IDENT_SLOT,
    IDENT_STAMPED,
    IDENT_TOUCHED,
    LRU,
    PADDING,
    PLRU,
    RANDOM,
    S_ARRAYS,
    S_CLOCK,
    S_FLUSH_WALKS,
    S_NR_ARRAYS,
    S_NR_CLASSES,
    S_NR_TLBS,
    S_PLACE,
    S_RANDOM,
    S_SERIAL,
    S_SLOTS,
    SLOT_WORDS,
    STAMP,
    STAMP_WAY,
    TAG_CLASS,
    TAG_NUMBER,
    USER,
)
from pagewalk.hw.walker import Words

# What ``invalidate`` takes away.
PAGES: Final = 0  # entries of [first, last] of one ASID, and global ones there
ASID: Final = 1  # entries of one ASID
ALL: Final = 2  # all but global entries
EVERYTHING: Final = 3

FEW_BYTES: Final = 64 * 4096  # ranges below this are looked up page by page, others by going through all slots


def probe(s: Words, array: int, cls: int, addr: int, asid: int) -> int:
    """The slot that holds ``addr`` as a page of class ``cls`` under ``asid``; -1 where none does."""
    d = S_ARRAYS + array * ARRAY_WORDS
    if s[d + D_COUNT + cls] == 0:
        return -1
    number = addr >> s[s[d + D_SHIFTS] + cls]
    stride = s[d + D_STRIDE]
    mask = s[d + D_MASK]
    base = s[d + D_BASE]
    if mask >= 0:
        base += (number & mask) * stride
    else:
        base += number % s[d + D_SETS] * stride
    tag = (number << TAG_NUMBER) | (cls << TAG_CLASS) | asid
    found = -1
    for at in range(base, base + stride, 4 * SLOT_WORDS):  # no branch on what is found
        found = at if s[at] == tag else found
        found = at + SLOT_WORDS if s[at + SLOT_WORDS] == tag else found
        found = at + 2 * SLOT_WORDS if s[at + 2 * SLOT_WORDS] == tag else found
        found = at + 3 * SLOT_WORDS if s[at + 3 * SLOT_WORDS] == tag else found
    return found


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


def touch(s: Words, array: int, slot: int, fill: int) -> None:
    """The slot was used; ``fill``: it has just been filled."""
    d = S_ARRAYS + array * ARRAY_WORDS
    policy = s[d + D_POLICY]
    if policy == LRU or (policy == FIFO and fill != 0):
        s[S_CLOCK] += 1
        s[slot + STAMP] = s[S_CLOCK]
    elif policy == PLRU:
        place = s[s[S_PLACE] + ((slot - S_SLOTS) >> 2)]
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
        place = s[s[S_PLACE] + ((slot - S_SLOTS) >> 2)]
        call_touch(s[d + D_TOUCH], s, place >> 20, s[d + D_META_WORDS], s[d + D_WAYS], place & 0xFFFFF, fill)


def oldest(s: Words, base: int, stride: int) -> int:
    """The slot of the set at ``base`` that was used (filled) longest ago; an empty one has stamp 0."""
    best = PADDING << STAMP_WAY
    for at in range(0, stride, 4 * SLOT_WORDS):
        slot = base + at + STAMP
        one = min((s[slot] << STAMP_WAY) | at, (s[slot + SLOT_WORDS] << STAMP_WAY) | (at + SLOT_WORDS))
        slot += 2 * SLOT_WORDS
        two = min(
            (s[slot] << STAMP_WAY) | (at + 2 * SLOT_WORDS), (s[slot + SLOT_WORDS] << STAMP_WAY) | (at + 3 * SLOT_WORDS)
        )
        best = min(best, min(one, two))
    return base + (best & ((1 << STAMP_WAY) - 1))


def choose(s: Words, array: int, set_number: int) -> int:
    """The way to fill by plru, random or a user's policy: an empty one, or whom the policy gives up."""
    d = S_ARRAYS + array * ARRAY_WORDS
    ways = s[d + D_WAYS]
    base = s[d + D_BASE] + set_number * s[d + D_STRIDE]
    policy = s[d + D_POLICY]
    best = 0
    for way in range(ways):
        if s[base + way * SLOT_WORDS] == EMPTY:
            return way
    meta = s[d + D_META] + set_number * s[d + D_META_WORDS]
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


def drop(s: Words, array: int, slot: int) -> None:
    """Empties a slot that is in use."""
    d = S_ARRAYS + array * ARRAY_WORDS
    tag = s[slot]
    s[d + D_USED] -= 1
    s[d + D_COUNT + ((tag >> TAG_CLASS) & 7)] -= 1
    if tag & ASID_MASK == 0:
        s[d + D_NR_GLOBAL] -= 1
    s[slot] = EMPTY
    s[slot + IDENT] = 0
    s[slot + STAMP] = 0


def insert(s: Words, array: int, cls: int, addr: int, asid: int, frame: int, rights: int) -> int:
    """Fills a slot with a translation that the array does not hold; the slot."""
    d = S_ARRAYS + array * ARRAY_WORDS
    number = addr >> s[s[d + D_SHIFTS] + cls]
    mask = s[d + D_MASK]
    if mask >= 0:
        set_number = number & mask
    else:
        set_number = number % s[d + D_SETS]
    policy = s[d + D_POLICY]
    by_stamp = policy == LRU or policy == FIFO
    slot = s[d + D_BASE] + set_number * s[d + D_STRIDE]
    if by_stamp:
        slot = oldest(s, slot, s[d + D_STRIDE])
    else:
        slot += choose(s, array, set_number) * SLOT_WORDS
    tag = (number << TAG_NUMBER) | (cls << TAG_CLASS) | asid
    old = s[slot]
    if old == EMPTY:
        s[d + D_USED] += 1
        s[d + D_COUNT + cls] += 1
        s[d + D_NR_GLOBAL] += asid == 0
    else:
        s[C_EVICT + array] += 1
        if (old ^ tag) & (7 << TAG_CLASS) != 0 or (old & ASID_MASK == 0) != (asid == 0):
            s[d + D_COUNT + ((old >> TAG_CLASS) & 7)] -= 1
            s[d + D_COUNT + cls] += 1
            s[d + D_NR_GLOBAL] += (asid == 0) - (old & ASID_MASK == 0)
    s[C_FILL + array] += 1
    s[S_SERIAL] += 1
    ident = (s[S_SERIAL] << IDENT_SERIAL) | (slot << IDENT_SLOT) | rights
    s[slot] = tag
    s[slot + FRAME] = frame
    if by_stamp:
        if policy == LRU:
            ident |= IDENT_STAMPED
        s[S_CLOCK] += 1
        s[slot + STAMP] = s[S_CLOCK]
    else:
        if policy != RANDOM:
            ident |= IDENT_TOUCHED
        touch(s, array, slot, 1)
    s[slot + IDENT] = ident
    return slot


def drop_range(s: Words, array: int, first: int, last: int, asid: int) -> int:
    """Empties the slots that translate something of a small range for an ASID or for all; how many."""
    d = S_ARRAYS + array * ARRAY_WORDS
    dropped = 0
    for cls in range(s[S_NR_CLASSES]):
        if s[d + D_COUNT + cls] == 0:
            continue
        shift = s[s[d + D_SHIFTS] + cls]
        for number in range(first >> shift, (last >> shift) + 1):
            for owner in range(2):
                slot = probe(s, array, cls, number << shift, asid * owner)
                if slot >= 0:
                    drop(s, array, slot)
                    dropped += 1
    return dropped


def invalidate(s: Words, what: int, first: int, last: int, asid: int) -> int:
    """Empties slots, see PAGES, ASID, ALL and EVERYTHING; how many.

    first, last  addresses, both included
    """
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
        for slot in range(base, base + s[d + D_SETS] * s[d + D_STRIDE], SLOT_WORDS):
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
