"""One CPU's translation caches as one array of 64-bit words: what lies where.

One array keeps compiled calls cheap. It holds registers and settings, counters, a descriptor for each array of entries,
the hints of the fast path, then the slots in columns, so that what is asked of all ways of a set lies side by side. The
columns have S_COLUMN words each: a slot is named by the index of its tag, and its other words are at
``slot + IDENT * s[S_COLUMN]`` and so on.

A slot's words
  tag    (page number << 19) | (size class << 16) | ASID; ASID 0 is a global entry; -1 is an empty slot
  ident  (clock of the fill << 28) | (slot << 5) | IDENT_* | rights: no two fills have the same; 0 when empty
  stamp  when it was used (or filled), by the CPU's own clock of uses; 0 when empty
  frame  where the page begins (a frame of the format's smallest pages); of a walk-cache entry the frame of the table
         that it points to
  place  for policies that need it: (index of its set's policy words << 20) | way

A hint is a page number and an ident: the page was found in that slot, and still is when the slot's ident is the same.
There are hints for each kind of access, so that one that is found grants it.
Size classes are numbers into S_CLASS_SHIFT, sizes ascending, class 0 the base page; those of a walk cache are levels.
"""

from typing import Final

from pagewalk.hw.tlb_config import MAX_ARRAYS, MAX_LEVELS, MAX_PER_LEVEL
from pagewalk.hw.walker import OUT_WORDS

# Registers and settings.
S_CLOCK: Final = 1
S_RANDOM: Final = 3
S_ASID: Final = 4
S_ROOT: Final = 5  # frame of the root table
S_NR_TLBS: Final = 6  # the first arrays are TLBs, the others walk caches
S_NR_ARRAYS: Final = 7
S_COLUMN: Final = 12  # slots in all: what lies between two words of a slot
S_PAGE_SHIFT: Final = 13
S_COALESCE: Final = 14  # pages
S_COALESCED_CLASS: Final = 15  # -1: off
S_PREFETCH: Final = 16
S_FAULT_DROPS: Final = 17
S_FLUSH_WALKS: Final = 18
S_GLOBAL_MASK: Final = 19  # of a leaf
S_GLOBAL_VALUE: Final = 20
S_NR_CLASSES: Final = 21
S_ODD: Final = 22  # entries in TLBs that are global or larger than a base page
S_NR_LEVELS: Final = 24  # of the page table
S_PFN_MASK: Final = 25
S_ACCESSED_MASK: Final = 26
S_ACCESSED_VALUE: Final = 27
S_GLOBALS: Final = 44  # 1: global pages have entries that serve every address space
S_PFN_SHIFT: Final = 45  # the lowest bit of an entry's frame number
S_FRAMES: Final = 47  # where the frames' numbers begin, one word for each frame; 0: they have their own
S_NR_FRAMES: Final = 2
S_ENTRY_SHIFT: Final = 46  # log2 of an entry's bytes
# The last level read directly (``translate.quick``): its index mask (0: not allowed), and for each kind of access the
# mask and value to have.
S_QUICK: Final = 28
S_QUICK_MASK: Final = 29
S_QUICK_VALUE: Final = 32
S_WRITE_MASK: Final = 35
S_WRITE_VALUE: Final = 36
S_EXECUTE_MASK: Final = 37
S_EXECUTE_VALUE: Final = 38
S_DIRTY_MASK: Final = 39
S_DIRTY_VALUE: Final = 40
S_LEAF_ENTRY: Final = 41  # index of the leaf that the last walk read (in entries), and its bits
S_LEAF_WORD: Final = 42
S_LEAF_LEVEL: Final = 43
# The short way (``translate.short``): arrays that take base pages, for each side at the first level (-1: no short way)
# and at the second (-1: there is none); how many there take turns; the walk cache above the last level (-1: none).
S_SHORT: Final = 8  # 2 words
S_SHORT_SECOND: Final = 10  # 2 words
S_SHORT_TURNS: Final = 312  # 2 words
S_SHORT_WALK: Final = 23
S_SHORT_UPPER: Final = 288  # the walk cache that knows the tables above the last ones (-1: none)
# For each level above the last one: its index mask, mask and value of an entry that grants everything and needs no
# mark, and the walk cache that learns where such an entry leads (-1: none).
S_TABLES: Final = 272
TABLE_INDEX: Final = 0
TABLE_MASK: Final = 1
TABLE_VALUE: Final = 2
TABLE_CACHE: Final = 3
TABLE_WORDS: Final = 4
# The loop over a batch (``loop.replay_batch``): what is left of the next access; address and kind of what was not
# granted, where it was and how often in a row; writes, fetches and accesses to two pages that it has passed.
S_FAULT_AT: Final = 292  # twice the access, and 1 for its part in the next page; -1: none
S_ATTEMPTS: Final = 293
S_TOP: Final = 294  # addresses with bits from here on are not of the lower half
S_UNHINTED: Final = 295  # how many accesses of the last block the first level has not answered, in 16 parts
S_OWN: Final = 300  # 2 words: the arrays that a side asks, as bits
S_DOUBT: Final = 302  # 2 words: no hints for this side, see ``tlb_doubt.in_doubt``
# After a fault: where its block goes on, where it ends, and what ``survey`` says of what is left.
S_REST_AT: Final = 296  # -1: that is not known
S_REST_STOP: Final = 297
S_REST_ABOUT: Final = 298
S_HALF: Final = 314
S_FAULT_ADDR: Final = 315
S_FAULT_KIND: Final = 316
S_TALLY: Final = 317  # 3 words
S_CLASS_SHIFT: Final = 48  # 8 words
S_LEVEL_SHIFT: Final = 56  # 8 words

# The arrays that data (side 0) and instructions (side 1) ask: count of levels, then for each its count and arrays.
S_PATH: Final = 64
PATH_WORDS: Final = 32
PATH_LEVEL: Final = MAX_PER_LEVEL + 1

# Counters.
C_HIT: Final = 96 + 32  # [side * 4 + level]
C_MISS: Final = C_HIT + 8  # [side]
C_REFUSED: Final = C_MISS + 2  # accesses that an entry did not grant; misses too
C_WALKS: Final = C_REFUSED + 1
C_FAULTS: Final = C_WALKS + 1  # walks that ended in a fault
C_REFERENCE: Final = C_FAULTS + 1  # entries read [level of the page table]
C_WALK_HIT: Final = C_REFERENCE + 8  # walks that began below [level]
C_COALESCED: Final = C_WALK_HIT + 8
C_PREFETCH: Final = C_COALESCED + 1
C_PREFETCH_REFERENCE: Final = C_PREFETCH + 1
C_FLUSH_PAGE: Final = C_PREFETCH_REFERENCE + 1
C_FLUSH_ASID: Final = C_FLUSH_PAGE + 1
C_FLUSH_ALL: Final = C_FLUSH_ASID + 1
C_FLUSHED: Final = C_FLUSH_ALL + 1  # entries
C_FILL: Final = C_FLUSHED + 1  # [array]
C_FRESH: Final = C_FILL + MAX_ARRAYS  # [array]: fills of empty slots; all others evict
COUNTERS_END: Final = C_FRESH + MAX_ARRAYS

S_OUT: Final = 256  # what ``walk_table`` leaves behind
S_ANSWERS: Final = 304  # [side * 4 + how the short way answered]
S_ARRAYS: Final = 320
ARRAY_WORDS: Final = 24
S_HINTS: Final = S_ARRAYS + ARRAY_WORDS * MAX_ARRAYS
HINTS: Final = 512  # for each kind of access; two words each
HINT_WORDS: Final = 2 * HINTS
# Who takes a translation [side, level, class of its reach]: -1 for nobody, or the class as
# which it is taken, how many arrays take turns (from bit 4), their numbers (from bit 8, 5 bits each).
S_FILL: Final = S_HINTS + 3 * HINT_WORDS
FILL_WORDS: Final = 8
S_SLOTS: Final = S_FILL + 2 * MAX_LEVELS * FILL_WORDS
assert COUNTERS_END <= S_OUT and S_OUT + OUT_WORDS <= S_TABLES

# An array's descriptor.
D_BASE: Final = 0  # its first slot
D_SETS: Final = 1
D_MASK: Final = 2  # sets - 1 where that is a power of two, else -1
D_WAYS: Final = 3
D_POLICY: Final = 4
D_CLASSES: Final = 5  # bits: the size classes (levels) it holds
D_STRIDE: Final = 6  # slots of a set: its ways, up to a multiple of 4; those too many are never used
D_SHIFTS: Final = 7  # S_CLASS_SHIFT or S_LEVEL_SHIFT
D_TOUCH: Final = 8  # a user's policy: addresses of its functions
D_VICTIM: Final = 9
D_LEAVES: Final = 10  # plru: ways, up to the next power of two
D_NR_GLOBAL: Final = 11
D_META: Final = 12  # policy words of the first set, and how many a set has
D_META_WORDS: Final = 13
D_COUNT: Final = 14  # entries in use, by class (8 words), and all
D_USED: Final = 22

LRU: Final = 0
PLRU: Final = 1
FIFO: Final = 2
RANDOM: Final = 3
USER: Final = 4

IDENT_STAMPED: Final = 8  # a hit stamps the slot
IDENT_TOUCHED: Final = 16  # a hit calls ``touch``
IDENT_SLOT: Final = 5
IDENT_CLOCK: Final = 28
SLOT_MASK: Final = (1 << 23) - 1

TAG_CLASS: Final = 16
TAG_NUMBER: Final = 19
ASID_MASK: Final = 0xFFFF
EMPTY: Final = -1
STAMP_WAY: Final = 20  # a stamp and a slot's way in one word
PADDING: Final = 1 << 42  # the stamp of a slot that is never used
IDENT: Final = 1  # columns
STAMP: Final = 2
FRAME: Final = 3
PLACE: Final = 4
COLUMNS: Final = 5
NOWHERE: Final = 1 << 60  # no page has this number


def stride(ways: int) -> int:
    """Slots of a set."""
    return (ways + 3) & -4
