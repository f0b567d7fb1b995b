"""One CPU's translation caches as one array of 64-bit words: what lies where, and how a configuration becomes words.

One array keeps compiled calls cheap. It holds registers and settings, counters, a descriptor for each array of entries,
the hints of the fast path, then the slots, of four words each. A slot is named by the index of its first word.

A slot's words
  tag    (page number << 19) | (size class << 16) | ASID; ASID 0 is a global entry; -1 is an empty slot
  ident  (serial number of the fill << 28) | (slot << 5) | IDENT_* | rights: no two fills have the same; 0 when empty
  stamp  when it was used (or filled), by the CPU's own clock of uses; 0 when empty
  frame  where the page begins (a frame of the format's smallest pages); of a walk-cache entry the frame of the table
         that it points to
and in a column of their own (S_PLACE) for policies that need it: (index of its set's policy words << 20) | way.

A hint is a page number and an ident: the page was found in that slot, and still is when the slot's ident is the same.
Size classes are numbers into S_CLASS_SHIFT, sizes ascending, class 0 the base page; those of a walk cache are levels.
"""

from typing import TYPE_CHECKING, Final

from pagewalk.errors import ConfigError
from pagewalk.hw.tlb_config import ANY, MAX_ARRAYS, MAX_LEVELS, MAX_PER_LEVEL, Policy, TlbArray, TlbConfig, WalkCache
from pagewalk.hw.walker import (
    FORMAT_ACCESSED,
    FORMAT_CONTIGUOUS,
    FORMAT_DIRTY,
    FORMAT_ENTRY_SHIFT,
    FORMAT_EXECUTE,
    FORMAT_GLOBAL,
    FORMAT_ILLEGAL,
    FORMAT_LEVELS,
    FORMAT_MODIFIER,
    FORMAT_NO_PAGE,
    FORMAT_PAGE_SHIFT,
    FORMAT_PFN_LEFT,
    FORMAT_PRESENT,
    FORMAT_READ,
    FORMAT_WRITE,
    LEVEL_INDEX_MASK,
    LEVEL_LEAF_HIGH,
    LEVEL_LEAF_MASK,
    LEVEL_LEAF_RESERVED,
    LEVEL_TABLE_HIGH,
    LEVEL_WORDS,
    OUT_WORDS,
    pack_format,
)

if TYPE_CHECKING:
    from pagewalk.arch.format import PageFormat

# Registers and settings.
S_CLOCK: Final = 1
S_SERIAL: Final = 2
S_RANDOM: Final = 3
S_ASID: Final = 4
S_ROOT: Final = 5  # frame of the root table
S_NR_TLBS: Final = 6  # the first arrays are TLBs, the others walk caches
S_NR_ARRAYS: Final = 7
S_PLACE: Final = 12  # where the column of places begins
S_PAGE_SHIFT: Final = 13
S_COALESCE: Final = 14  # pages
S_COALESCED_CLASS: Final = 15  # -1: off
S_PREFETCH: Final = 16
S_FAULT_DROPS: Final = 17
S_FLUSH_WALKS: Final = 18
S_GLOBAL_MASK: Final = 19  # of a leaf
S_GLOBAL_VALUE: Final = 20
S_NR_CLASSES: Final = 21
S_REPEAT: Final = 22  # 1: a second use of the page just used changes nothing
S_SPLIT: Final = 23  # 1: data and instructions share no first-level array
S_NR_LEVELS: Final = 24  # of the page table
S_PFN_MASK: Final = 25
S_ACCESSED_MASK: Final = 26
S_ACCESSED_VALUE: Final = 27
S_GLOBALS: Final = 44  # 1: global pages have entries that serve every address space
S_PFN_SHIFT: Final = 45  # the lowest bit of an entry's frame number
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
C_EVICT: Final = C_FILL + MAX_ARRAYS  # [array]
COUNTERS_END: Final = C_EVICT + MAX_ARRAYS

S_OUT: Final = 256  # what ``walk_table`` leaves behind
S_ARRAYS: Final = 320
ARRAY_WORDS: Final = 24
S_HINTS: Final = S_ARRAYS + ARRAY_WORDS * MAX_ARRAYS
HINTS: Final = 256  # for each side; two words each
# Who takes a translation [side, level, class of its reach]: -1 for nobody, or the class as
# which it is taken, how many arrays take turns (from bit 4), their numbers (from bit 8, 5 bits each).
S_FILL: Final = S_HINTS + 4 * HINTS
FILL_WORDS: Final = 8
S_SLOTS: Final = S_FILL + 2 * MAX_LEVELS * FILL_WORDS
assert COUNTERS_END <= S_OUT and S_OUT + OUT_WORDS <= S_ARRAYS

# An array's descriptor.
D_BASE: Final = 0  # its first slot
D_SETS: Final = 1
D_MASK: Final = 2  # sets - 1 where that is a power of two, else -1
D_WAYS: Final = 3
D_POLICY: Final = 4
D_CLASSES: Final = 5  # bits: the size classes (levels) it holds
D_STRIDE: Final = 6  # words of a set: its slots are its ways, up to a multiple of 4; those too many are never used
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
IDENT_SERIAL: Final = 28
SLOT_MASK: Final = (1 << 23) - 1

TAG_CLASS: Final = 16
TAG_NUMBER: Final = 19
ASID_MASK: Final = 0xFFFF
EMPTY: Final = -1
STAMP_WAY: Final = 23  # a stamp and a slot's place in its set in one word
PADDING: Final = 1 << 39  # the stamp of a slot that is never used
SLOT_WORDS: Final = 4
IDENT: Final = 1
STAMP: Final = 2
FRAME: Final = 3
NOWHERE: Final = 1 << 60  # no page has this number


def stride(ways: int) -> int:
    """Slots of a set."""
    return (ways + 3) & -4


def size_classes(config: TlbConfig, fmt: "PageFormat") -> tuple[list[int], list[int], int]:
    """What entries may cover: the shifts, ascending; for each the shift of the pages that it is made of (itself, or
    less for a run of pages); the class of coalesced runs (-1 for none)."""
    pages = {level.shift: level.shift for level in fmt.levels if level.can_leaf}
    base = fmt.levels[-1].shift
    runs = {level.shift + level.contiguous_shift: level.shift for level in fmt.levels if level.contiguous_shift}
    run = base + config.coalesce.bit_length() - 1
    if config.coalesce > 1:
        runs[run] = base
    found = {**runs, **pages}
    classes = sorted(found)
    if len(classes) > 8:
        raise ConfigError(f"TLB: expected up to 8 page sizes, {fmt.name} has {len(classes)}")
    return classes, [found[shift] for shift in classes], classes.index(run) if config.coalesce > 1 else -1


def held_classes(array: TlbArray, shifts: list[int], coalesced: int) -> int:
    """The size classes that an array holds, as bits."""
    held = 0
    for number, shift in enumerate(shifts):
        if number == coalesced:
            wanted = array.coalesced and (array.sizes == ANY or 1 << shifts[0] in array.sizes)
        else:
            wanted = array.sizes == ANY or 1 << shift in array.sizes
        held |= int(wanted) << number
    return held


def taken_as(array: TlbArray, shifts: list[int], pages: list[int], coalesced: int, reach: int) -> int:
    """The class as which an array takes what is of class ``reach``; -1 where it does not."""
    held = held_classes(array, shifts, coalesced)
    page = shifts.index(pages[reach])
    for cls in (reach, page):
        if held >> cls & 1:
            return cls
    smaller = [cls for cls in range(page) if held >> cls & 1 and cls != coalesced]
    return smaller[-1] if smaller and array.fragments else -1


def build_state(config: TlbConfig, fmt: "PageFormat", addresses: dict[str, tuple[int, int]]) -> list[int]:
    """The words of a CPU that has just been switched on.

    addresses  of the two functions of each user's policy, by its name
    """
    arrays = config.all_arrays()
    nr_slots = sum(each.sets * stride(each.ways) for each in arrays)
    shifts, pages, coalesced = size_classes(config, fmt)
    words = [0] * (S_SLOTS + (SLOT_WORDS + 1) * nr_slots)
    words[S_PLACE] = S_SLOTS + SLOT_WORDS * nr_slots
    words[S_SLOTS : words[S_PLACE] : SLOT_WORDS] = [EMPTY] * nr_slots
    words[S_RANDOM] = config.seed % 2147483646 + 1
    words[S_ASID] = 1
    words[S_NR_TLBS], words[S_NR_ARRAYS] = len(config.arrays), len(arrays)
    words[S_COALESCE], words[S_COALESCED_CLASS] = config.coalesce, coalesced
    words[S_GLOBALS] = int(config.globals_)
    words[S_PREFETCH], words[S_FAULT_DROPS] = int(config.prefetch), int(config.fault_drops)
    words[S_FLUSH_WALKS] = int(config.flush_walks)
    words[S_NR_CLASSES] = len(shifts)
    words[S_CLASS_SHIFT : S_CLASS_SHIFT + len(shifts)] = shifts
    _pack_format(words, fmt)
    for hint in range(2 * HINTS):
        words[S_HINTS + 2 * hint] = NOWHERE
    slot = 0
    for number, array in enumerate(arrays):
        meta_words = _describe(words, number, array, slot, addresses)
        at = S_ARRAYS + number * ARRAY_WORDS
        if isinstance(array, TlbArray):
            words[at + D_CLASSES] = held_classes(array, shifts, coalesced)
            words[at + D_SHIFTS] = S_CLASS_SHIFT
        else:
            names = [level.name for level in fmt.levels[:-1]]
            words[at + D_CLASSES] = sum(1 << names.index(name) for name in array.levels if name in names)
            words[at + D_SHIFTS] = S_LEVEL_SHIFT
        words[at + D_META], words[at + D_META_WORDS] = len(words), meta_words
        for offset in range(array.sets * stride(array.ways)):
            set_number, way = divmod(offset, stride(array.ways))
            words[words[S_PLACE] + slot + offset] = len(words) + set_number * meta_words << 20 | way
            words[S_SLOTS + SLOT_WORDS * (slot + offset) + STAMP] = PADDING if way >= array.ways else 0
        words += [0] * (array.sets * meta_words)
        slot += array.sets * stride(array.ways)
    _pack_paths(words, config)
    _pack_fills(words, config, shifts, pages, coalesced)
    return [int(word) for word in words]


def _describe(
    words: list[int], number: int, array: TlbArray | WalkCache, slot: int, addresses: dict[str, tuple[int, int]]
) -> int:
    """An array's geometry and policy; how many policy words a set has."""
    at = S_ARRAYS + number * ARRAY_WORDS
    sets, ways = array.sets, array.ways
    words[at + D_BASE], words[at + D_SETS], words[at + D_WAYS] = S_SLOTS + SLOT_WORDS * slot, sets, ways
    words[at + D_MASK] = sets - 1 if sets & (sets - 1) == 0 else -1
    words[at + D_STRIDE] = stride(ways) * SLOT_WORDS
    words[at + D_LEAVES] = 1 << (ways - 1).bit_length()
    if isinstance(array.policy, Policy):
        words[at + D_POLICY] = USER
        words[at + D_TOUCH], words[at + D_VICTIM] = addresses[array.policy.name]
        return array.policy.words
    words[at + D_POLICY] = {"lru": LRU, "plru": PLRU, "fifo": FIFO, "random": RANDOM}[array.policy]
    return int(array.policy == "plru")


def _pack_format(words: list[int], fmt: "PageFormat") -> None:
    """What is needed of the page-table format beside what ``walk_table`` reads."""
    packed = pack_format(fmt)

    def pair(to: int, at: int) -> None:
        words[to], words[to + 1] = packed[at], packed[at + 1]

    words[S_NR_LEVELS] = len(fmt.levels)
    words[S_PAGE_SHIFT] = packed[FORMAT_PAGE_SHIFT]
    words[S_PFN_SHIFT] = packed[FORMAT_PAGE_SHIFT] - packed[FORMAT_PFN_LEFT]
    words[S_ENTRY_SHIFT] = packed[FORMAT_ENTRY_SHIFT]
    for number, level in enumerate(fmt.levels):
        words[S_LEVEL_SHIFT + number] = level.shift
    last = FORMAT_LEVELS + LEVEL_WORDS * (len(fmt.levels) - 1)
    words[S_PFN_MASK] = packed[last + LEVEL_LEAF_MASK]
    pair(S_ACCESSED_MASK, FORMAT_ACCESSED)
    pair(S_WRITE_MASK, FORMAT_WRITE)
    pair(S_EXECUTE_MASK, FORMAT_EXECUTE)
    pair(S_DIRTY_MASK, FORMAT_DIRTY)
    pair(S_GLOBAL_MASK, FORMAT_GLOBAL)
    never = (FORMAT_NO_PAGE, FORMAT_ILLEGAL, FORMAT_MODIFIER, FORMAT_CONTIGUOUS)
    plain = all(packed[at + 1] & ~packed[at] for at in never) and not packed[FORMAT_PFN_LEFT]
    high = any(packed[FORMAT_LEVELS + LEVEL_WORDS * level + LEVEL_TABLE_HIGH] for level in range(len(fmt.levels)))
    if not plain or high or packed[last + LEVEL_LEAF_HIGH] or packed[FORMAT_ENTRY_SHIFT] != 3:
        return
    words[S_QUICK] = packed[last + LEVEL_INDEX_MASK]
    for access, more in enumerate(((), (FORMAT_WRITE, FORMAT_DIRTY), (FORMAT_EXECUTE,))):
        words[S_QUICK_MASK + access] = packed[last + LEVEL_LEAF_RESERVED]
        for at in (FORMAT_PRESENT, FORMAT_READ, FORMAT_ACCESSED, *more):
            words[S_QUICK_MASK + access] |= packed[at]
            words[S_QUICK_VALUE + access] |= packed[at + 1]


def _pack_fills(words: list[int], config: TlbConfig, shifts: list[int], pages: list[int], coalesced: int) -> None:
    """Who takes which translations."""
    numbers = {array.name: number for number, array in enumerate(config.arrays)}
    for side in (0, 1):
        for level, arrays in enumerate(config.path("di"[side])):
            at = S_FILL + (side * MAX_LEVELS + level) * FILL_WORDS
            for reach in range(len(shifts)):
                as_class = [taken_as(array, shifts, pages, coalesced, reach) for array in arrays]
                best = max(as_class)
                takers = [numbers[a.name] for a, cls in zip(arrays, as_class, strict=True) if cls == best]
                packed = best | len(takers) << 4 | sum(n << 8 + 5 * k for k, n in enumerate(takers))
                words[at + reach] = -1 if best < 0 else packed


def _pack_paths(words: list[int], config: TlbConfig) -> None:
    """The arrays that each kind of access asks."""
    numbers = {array.name: number for number, array in enumerate(config.arrays)}
    first = []
    for side in (0, 1):
        path = config.path("di"[side])
        at = S_PATH + side * PATH_WORDS
        words[at] = len(path)
        for level, arrays in enumerate(path):
            words[at + 1 + level * PATH_LEVEL] = len(arrays)
            for k, array in enumerate(arrays):
                words[at + 2 + level * PATH_LEVEL + k] = numbers[array.name]
        first.append(path[0] if path else [])
    split = not any(array in first[1] for array in first[0])
    words[S_SPLIT] = int(split)
    custom = any(isinstance(array.policy, Policy) for array in (*first[0], *first[1]))
    # A prefetch that fills the first level may take the slot of the page just used, or become younger than it.
    filled_after = config.prefetch and any(len(config.path(side)) == 1 for side in "di")
    words[S_REPEAT] = int(not custom and not filled_after and (split or first[0] == first[1]))
