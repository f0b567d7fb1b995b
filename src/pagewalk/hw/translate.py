"""The MMU at work: an access through the TLBs, and the walk below them.

Plain Python that Numba compiles (``hw/mmu.py``) and tests also run as it is. ``translate`` is right for every
configuration; hw/short.py has short ways for what most accesses are.
"""

from typing import Final

from pagewalk.hw.leaf import LEAF_DIRTY, LEAF_FRAME, last_level, leaf, table_at
from pagewalk.hw.tlb import drop, find, geometry, insert, probe, use
from pagewalk.hw.tlb_config import MAX_LEVELS
from pagewalk.hw.tlb_state import (
    ARRAY_WORDS,
    ASID_MASK,
    C_COALESCED,
    C_FAULTS,
    C_HIT,
    C_MISS,
    C_PREFETCH,
    C_PREFETCH_REFERENCE,
    C_REFERENCE,
    C_REFUSED,
    C_WALK_HIT,
    C_WALKS,
    D_CLASSES,
    D_NR_GLOBAL,
    D_USED,
    FILL_WORDS,
    FRAME,
    HINT_WORDS,
    HINTS,
    IDENT,
    NOWHERE,
    PATH_LEVEL,
    PATH_WORDS,
    S_ACCESSED_MASK,
    S_ACCESSED_VALUE,
    S_ARRAYS,
    S_ASID,
    S_CLASS_SHIFT,
    S_CLOCK,
    S_COALESCE,
    S_COALESCED_CLASS,
    S_COLUMN,
    S_DOUBT,
    S_ENTRY_SHIFT,
    S_FAULT_DROPS,
    S_FILL,
    S_FRAMES,
    S_GLOBALS,
    S_HINTS,
    S_LEAF_ENTRY,
    S_LEAF_LEVEL,
    S_LEAF_WORD,
    S_LEVEL_SHIFT,
    S_NR_ARRAYS,
    S_NR_CLASSES,
    S_NR_FRAMES,
    S_NR_LEVELS,
    S_NR_TLBS,
    S_OUT,
    S_OWN,
    S_PAGE_SHIFT,
    S_PATH,
    S_PFN_MASK,
    S_PFN_SHIFT,
    S_PREFETCH,
    S_QUICK,
    S_ROOT,
    TAG_CLASS,
)
from pagewalk.hw.walker import (
    FORMAT_PRESENT,
    NON_CANONICAL,
    NOT_PRESENT,
    OK,
    OUT_DIRTY,
    OUT_ENTRIES,
    OUT_GLOBAL,
    OUT_LEVEL,
    OUT_PFN,
    OUT_RIGHTS,
    OUT_SHIFT,
    PEEK,
    RIGHT_WRITE,
    Words,
    walk_table,
)

UNKNOWN_FRAMES: Final = 1 << 44  # more frames than any machine has


def quick(s: Words, words: Words, nr_words: int, addr: int, access: int, slot: int) -> int:
    """``leaf`` as a walk leaves it behind: 1, or 0 where the whole walk has to say."""
    last = last_level(s)
    table = s[slot + FRAME * s[S_COLUMN]]
    found = leaf(s, words, nr_words, last, addr, access, table, s[slot + IDENT * s[S_COLUMN]])
    if found < 0:
        return 0
    shift = last[1]
    s[S_LEAF_ENTRY] = (table << (shift - 3)) + ((addr >> shift) & last[2])
    s[S_LEAF_LEVEL] = last[0]
    s[S_OUT + OUT_SHIFT] = shift
    s[S_OUT + OUT_PFN] = found >> LEAF_FRAME
    s[S_OUT + OUT_RIGHTS] = found & 7
    s[S_OUT + OUT_DIRTY] = (found & LEAF_DIRTY) >> 3
    s[S_OUT + OUT_GLOBAL] = 0
    return 1


def absent(s: Words, words: Words, nr_words: int, fmt: Words, addr: int, slot: int, start: int) -> int:
    """Whether the leaf is not present below the table of level ``start`` that walk-cache entry ``slot`` points to: 1,
    or 0 where the whole walk has to say."""
    last = last_level(s)
    table = s[slot + FRAME * s[S_COLUMN]]
    for level in range(start, last[0]):
        table = table_at(s, words, nr_words, table, addr, level)
        if table < 0:
            return 0
    index = (table << (last[1] - 3)) + ((addr >> last[1]) & last[2])
    if index >= 0 and index < nr_words and words[index] & fmt[FORMAT_PRESENT] != fmt[FORMAT_PRESENT + 1]:
        return 1
    return 0


def part(s: Words, at: int) -> Words:
    """The words from ``at`` on: the same memory."""
    return s[at:]  # type: ignore[index, return-value]


def full_walk(s: Words, words: Words, nr_words: int, fmt: Words, addr: int, access: int) -> int:
    """A walk from the root; its status."""
    status = walk_table(words, nr_words, fmt, s[S_ROOT], addr, access, part(s, S_OUT))
    level = s[S_OUT + OUT_LEVEL]
    if level >= 0:
        s[S_LEAF_ENTRY] = s[S_OUT + OUT_ENTRIES + 2 * level] >> s[S_ENTRY_SHIFT]
        s[S_LEAF_WORD] = s[S_OUT + OUT_ENTRIES + 2 * level + 1]
    s[S_LEAF_LEVEL] = level
    return status


def walk(s: Words, words: Words, nr_words: int, fmt: Words, addr: int, access: int) -> int:
    """A walk that begins below the deepest walk-cache entry on its way, counted; fills the walk caches where it is
    granted. The walk's status."""
    asid = s[S_ASID]
    nr_levels = s[S_NR_LEVELS]
    nr_arrays = s[S_NR_ARRAYS]
    s[C_WALKS] += 1
    start = 0
    slot = -1
    for above in range(nr_levels - 1):
        level = nr_levels - 2 - above
        for array in range(s[S_NR_TLBS], nr_arrays):
            slot = probe(s, array, level, addr, asid)
            if slot >= 0:
                s[S_CLOCK] += 1
                use(s, geometry(s, array), slot, s[S_CLOCK])
                break
        if slot >= 0:
            start = level + 1
            s[C_WALK_HIT + level] += 1
            break
    if slot >= 0 and s[S_QUICK] != 0:
        if start == nr_levels - 1 and quick(s, words, nr_words, addr, access, slot) != 0:
            s[C_REFERENCE + start] += 1
            return OK
        if absent(s, words, nr_words, fmt, addr, slot, start) != 0:
            for level in range(start, nr_levels):
                s[C_REFERENCE + level] += 1
            return NOT_PRESENT
    status = full_walk(s, words, nr_words, fmt, addr, access)
    end = s[S_LEAF_LEVEL]
    for level in range(start, end + 1):
        s[C_REFERENCE + level] += 1
    if status != OK:
        return status
    rights = s[S_OUT + OUT_RIGHTS]
    if slot >= 0:
        s[slot + IDENT * s[S_COLUMN]] |= rights  # the upper levels are known to grant these
    for level in range(start, end):
        table = (s[S_OUT + OUT_ENTRIES + 2 * level + 1] & s[S_PFN_MASK]) >> s[S_PFN_SHIFT]
        for array in range(s[S_NR_TLBS], nr_arrays):
            if (s[S_ARRAYS + array * ARRAY_WORDS + D_CLASSES] >> level) & 1 != 0:
                insert(s, array, level, addr, asid, table, rights)
                break
    return status


def fill_level(s: Words, side: int, level: int, addr: int, asid: int, reach: int, pfn: int, rights: int) -> int:
    """Puts a translation into the array of one level that takes the largest part of it; the slot, -1 where none does.

    reach  class of the page, or of the run of pages that it is part of
    pfn    the frame behind ``addr``
    """
    takers = s[S_FILL + (side * MAX_LEVELS + level) * FILL_WORDS + reach]
    if takers < 0:
        return -1
    cls = takers & 15
    shift = s[S_CLASS_SHIFT + cls]
    count = (takers >> 4) & 15
    array = takers >> 8
    if count > 1:
        array >>= (addr >> shift) % count * 5
    shift -= s[S_PAGE_SHIFT]
    frame = (pfn >> shift) << shift
    return insert(s, array & 31, cls, addr, asid, frame, rights)


def drop_page(s: Words, first: int, end: int, addr: int, without: int) -> None:
    """Empties every slot of arrays ``first`` to ``end - 1`` that translates ``addr`` for the present address space.

    without  arrays, as bits, that are known not to
    """
    for array in range(first, end):
        d = S_ARRAYS + array * ARRAY_WORDS
        if s[d + D_USED] == 0 or (without >> array) & 1 != 0:
            continue
        classes = s[d + D_CLASSES]
        cls = 0
        while classes >> cls != 0:
            for owner in range(1 if s[d + D_NR_GLOBAL] == 0 else 2):
                slot = probe(s, array, cls, addr, s[S_ASID] * (1 - owner))
                if slot >= 0:
                    drop(s, array, slot)
            cls += 1


def reach_of(s: Words) -> int:
    """The class of what the page table lets one entry cover of what was just walked to."""
    reach = s[S_OUT + OUT_SHIFT]
    cls = 0
    while s[S_CLASS_SHIFT + cls] != reach:
        cls += 1
    return cls


def entry_at(s: Words, words: Words, index: int) -> int:
    """The entry of that index, counted in entries: signed, or unsigned where it has 4 bytes."""
    if s[S_ENTRY_SHIFT] == 3:
        return words[index]
    return (words[index >> 1] >> ((index & 1) << 5)) & 0xFFFF_FFFF


def known_frame(s: Words, entry: int) -> int:
    """The number that a leaf's frame counts as: what was learned of it, else one far from all of those."""
    pfn = (entry & s[S_PFN_MASK]) >> s[S_PFN_SHIFT]
    if pfn < s[S_NR_FRAMES] and s[s[S_FRAMES] + pfn] > 0:
        return s[s[S_FRAMES] + pfn] - 1
    return pfn + UNKNOWN_FRAMES


def reach_class(s: Words, words: Words) -> int:
    """The class of what one entry may cover of what was just walked to: the page, the pages that its entry says are
    contiguous, or a run of pages that is aligned, contiguous and alike. (What says so itself is not compared.)"""
    count = s[S_COALESCE]
    if count > 1 and s[S_LEAF_LEVEL] == s[S_NR_LEVELS] - 1 and s[S_OUT + OUT_SHIFT] == s[S_PAGE_SHIFT]:
        shift = s[S_PFN_SHIFT]
        at = s[S_LEAF_ENTRY] & -count
        entry = entry_at(s, words, at)
        if s[S_FRAMES] == 0:
            alike = (entry & s[S_PFN_MASK]) & ((count << shift) - 1) == 0
            for k in range(1, count):
                alike = alike and entry_at(s, words, at + k) == entry + (k << shift)
        else:
            first = known_frame(s, entry)
            alike = first & (count - 1) == 0
            for k in range(1, count):
                other = entry_at(s, words, at + k)
                alike = alike and (other ^ entry) & ~s[S_PFN_MASK] == 0 and known_frame(s, other) == first + k
        if alike:
            s[C_COALESCED] += 1
            return s[S_COALESCED_CLASS]
    return reach_of(s)


def owner_of(s: Words, asid: int) -> int:
    """``asid``, or 0 where what was just walked to belongs to every address space."""
    if s[S_OUT + OUT_GLOBAL] != 0 and s[S_GLOBALS] != 0:
        return 0
    return asid


def granted(s: Words) -> int:
    """What an entry of the page just walked to grants: a store only where Dirty is set."""
    rights = s[S_OUT + OUT_RIGHTS]
    if s[S_OUT + OUT_DIRTY] == 0:
        rights &= ~RIGHT_WRITE
    return rights


def prefetch(s: Words, words: Words, nr_words: int, fmt: Words, side: int, addr: int) -> None:
    """Puts the translation of the page behind the one just walked to into the last level, where it is marked Accessed
    and not there already."""
    shift = s[S_LEVEL_SHIFT + s[S_LEAF_LEVEL]]
    following = ((addr >> shift) + 1) << shift
    high = following >> 56
    if high != 0 and high != -1:
        return
    asid = s[S_ASID]
    path = S_PATH + side * PATH_WORDS
    level = s[path] - 1
    if level < 0:
        return
    at = path + 1 + level * PATH_LEVEL
    for k in range(s[at]):
        if find(s, s[at + 1 + k], s[S_NR_CLASSES], following, asid) >= 0:
            return
    status = full_walk(s, words, nr_words, fmt, following, PEEK)
    s[C_PREFETCH_REFERENCE] += s[S_LEAF_LEVEL] + 1
    if status != OK or s[S_LEAF_WORD] & s[S_ACCESSED_MASK] != s[S_ACCESSED_VALUE]:
        return
    rights = granted(s)
    if rights != 0:
        pfn = s[S_OUT + OUT_PFN]
        if fill_level(s, side, level, following, owner_of(s, asid), reach_of(s), pfn, rights) >= 0:
            s[C_PREFETCH] += 1


def hint(s: Words, addr: int, access: int, slot: int) -> None:
    """Remembers that ``slot`` of the first level grants such an access to the page of ``addr``; -1: none does."""
    vpn = addr >> 12
    at = S_HINTS + access * HINT_WORDS + 2 * (vpn & (HINTS - 1))
    s[at] = NOWHERE
    if slot >= 0 and s[S_DOUBT + (access >> 1)] == 0:
        s[at] = vpn
        s[at + 1] = s[slot + IDENT * s[S_COLUMN]]


def translate(s: Words, words: Words, nr_words: int, fmt: Words, addr: int, access: int) -> int:
    """One access: look-ups level by level, else a walk and the fills. OK, or how the walk failed."""
    side = access >> 1
    high = addr >> 56
    if high != 0 and high != -1:
        s[C_MISS + side] += 1
        s[C_FAULTS] += 1
        return NON_CANONICAL
    asid = s[S_ASID]
    nr_classes = s[S_NR_CLASSES]
    path = S_PATH + side * PATH_WORDS
    nr_levels = s[path]
    refused = False
    for level in range(nr_levels):
        at = path + 1 + level * PATH_LEVEL
        for k in range(s[at]):
            array = s[at + 1 + k]
            slot = find(s, array, nr_classes, addr, asid)
            if slot < 0:
                continue
            ident = s[slot + IDENT * s[S_COLUMN]]
            if (ident >> access) & 1 == 0:
                refused = True
                break
            s[C_HIT + side * 4 + level] += 1
            s[S_CLOCK] += 1
            use(s, geometry(s, array), slot, s[S_CLOCK])
            if level > 0:
                tag = s[slot]
                reach = (tag >> TAG_CLASS) & 7
                inside = (1 << (s[S_CLASS_SHIFT + reach] - s[S_PAGE_SHIFT])) - 1
                pfn = s[slot + FRAME * s[S_COLUMN]] + ((addr >> s[S_PAGE_SHIFT]) & inside)
                for before in range(level):
                    filled = fill_level(s, side, before, addr, tag & ASID_MASK, reach, pfn, ident & 7)
                    if before == 0:
                        slot = filled
            hint(s, addr, access, slot)
            return OK
        if refused:
            s[C_REFUSED] += 1
            drop_page(s, 0, s[S_NR_TLBS], addr, 0)
            break
    return miss(s, words, nr_words, fmt, addr, access)


def miss(s: Words, words: Words, nr_words: int, fmt: Words, addr: int, access: int) -> int:
    """``translate`` where no TLB on the way has the page: the walk and the fills."""
    side = access >> 1
    path = S_PATH + side * PATH_WORDS
    nr_levels = s[path]
    s[C_MISS + side] += 1
    status = walk(s, words, nr_words, fmt, addr, access)
    if status != OK:
        s[C_FAULTS] += 1
        if s[S_FAULT_DROPS] != 0:
            drop_page(s, 0, s[S_NR_ARRAYS], addr, s[S_OWN + side])
        return status
    reach = reach_class(s, words)
    owner = owner_of(s, s[S_ASID])
    first = -1
    for level in range(nr_levels):
        filled = fill_level(s, side, level, addr, owner, reach, s[S_OUT + OUT_PFN], granted(s))
        if level == 0:
            first = filled
    hint(s, addr, access, first)
    if s[S_PREFETCH] != 0:
        prefetch(s, words, nr_words, fmt, side, addr)
    return OK
