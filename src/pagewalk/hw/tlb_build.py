"""How a configuration becomes the words of hw/tlb_state.py: geometry and policies of the arrays, who takes which
translations, and what the walk needs to know of the page-table format."""

from typing import TYPE_CHECKING

from pagewalk.errors import ConfigError
from pagewalk.hw.tlb_config import ANY, MAX_LEVELS, Policy, TlbArray, TlbConfig, WalkCache
from pagewalk.hw.tlb_doubt import arrays_of, in_doubt, level_of, takers_of
from pagewalk.hw.tlb_state import (
    ARRAY_WORDS,
    COLUMNS,
    D_BASE,
    D_CLASSES,
    D_LEAVES,
    D_MASK,
    D_META,
    D_META_WORDS,
    D_POLICY,
    D_SETS,
    D_SHIFTS,
    D_STRIDE,
    D_TOUCH,
    D_VICTIM,
    D_WAYS,
    EMPTY,
    FIFO,
    FILL_WORDS,
    HINT_WORDS,
    HINTS,
    LRU,
    NOWHERE,
    PADDING,
    PATH_LEVEL,
    PATH_WORDS,
    PLACE,
    PLRU,
    RANDOM,
    S_ACCESSED_MASK,
    S_ARRAYS,
    S_ASID,
    S_CLASS_SHIFT,
    S_COALESCE,
    S_COALESCED_CLASS,
    S_COLUMN,
    S_DIRTY_MASK,
    S_DOUBT,
    S_ENTRY_SHIFT,
    S_EXECUTE_MASK,
    S_FAULT_DROPS,
    S_FILL,
    S_FLUSH_WALKS,
    S_GLOBAL_MASK,
    S_GLOBALS,
    S_HINTS,
    S_LEVEL_SHIFT,
    S_NR_ARRAYS,
    S_NR_CLASSES,
    S_NR_LEVELS,
    S_NR_TLBS,
    S_OWN,
    S_PAGE_SHIFT,
    S_PATH,
    S_PFN_MASK,
    S_PFN_SHIFT,
    S_PREFETCH,
    S_QUICK,
    S_QUICK_MASK,
    S_QUICK_VALUE,
    S_RANDOM,
    S_SHORT,
    S_SHORT_SECOND,
    S_SHORT_TURNS,
    S_SHORT_UPPER,
    S_SHORT_WALK,
    S_SLOTS,
    S_TABLES,
    S_TOP,
    S_WRITE_MASK,
    STAMP,
    TABLE_CACHE,
    TABLE_INDEX,
    TABLE_MASK,
    TABLE_VALUE,
    TABLE_WORDS,
    USER,
    stride,
)
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
    FORMAT_POINTER,
    FORMAT_PRESENT,
    FORMAT_READ,
    FORMAT_TABLE_ACCESSED,
    FORMAT_TABLE_EXECUTE,
    FORMAT_TABLE_READ,
    FORMAT_TABLE_WRITE,
    FORMAT_TOP,
    FORMAT_WRITE,
    LEVEL_FLAGS,
    LEVEL_INDEX_MASK,
    LEVEL_LEAF_HIGH,
    LEVEL_LEAF_MASK,
    LEVEL_LEAF_RESERVED,
    LEVEL_TABLE_HIGH,
    LEVEL_TABLE_RESERVED,
    LEVEL_WORDS,
    RIGHTS,
    pack_format,
)

if TYPE_CHECKING:
    from pagewalk.arch.format import PageFormat


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
    words = [0] * (S_SLOTS + COLUMNS * nr_slots)
    words[S_COLUMN] = nr_slots
    words[S_SLOTS : S_SLOTS + nr_slots] = [EMPTY] * nr_slots
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
    words[S_HINTS : S_HINTS + 3 * HINT_WORDS : 2] = [NOWHERE] * (3 * HINTS)
    slot = S_SLOTS
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
            words[slot + offset + PLACE * nr_slots] = len(words) + set_number * meta_words << 20 | way
            words[slot + offset + STAMP * nr_slots] = PADDING if way >= array.ways else 0
        words += [0] * (array.sets * meta_words)
        slot += array.sets * stride(array.ways)
    _pack_paths(words, config)
    _pack_fills(words, config, shifts, pages, coalesced)
    for side in (0, 1):
        words[S_DOUBT + side] = int(in_doubt(words, config, side, len(shifts), coalesced))
    _pack_short(words, config, len(shifts))
    return [int(word) for word in words]


def _describe(
    words: list[int], number: int, array: TlbArray | WalkCache, slot: int, addresses: dict[str, tuple[int, int]]
) -> int:
    """An array's geometry and policy; how many policy words a set has."""
    at = S_ARRAYS + number * ARRAY_WORDS
    sets, ways = array.sets, array.ways
    words[at + D_BASE], words[at + D_SETS], words[at + D_WAYS] = slot, sets, ways
    words[at + D_MASK] = sets - 1 if sets & (sets - 1) == 0 else -1
    words[at + D_STRIDE] = stride(ways)
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
    words[S_TOP] = packed[FORMAT_TOP]
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
    for number in range(len(fmt.levels) - 1):
        about, table = FORMAT_LEVELS + LEVEL_WORDS * number, S_TABLES + TABLE_WORDS * number
        words[table + TABLE_INDEX] = packed[about + LEVEL_INDEX_MASK]
        mask, value = packed[about + LEVEL_TABLE_RESERVED], 0
        whole = (FORMAT_TABLE_READ, FORMAT_TABLE_WRITE, FORMAT_TABLE_EXECUTE)
        for at in (FORMAT_PRESENT, FORMAT_POINTER, *(whole if packed[about + LEVEL_FLAGS] & RIGHTS else ())):
            mask |= packed[at]
            value |= packed[at + 1]
        if packed[about + LEVEL_FLAGS] & RIGHTS:
            mask |= packed[FORMAT_TABLE_ACCESSED]
            value |= packed[FORMAT_TABLE_ACCESSED]
        words[table + TABLE_MASK], words[table + TABLE_VALUE] = mask, value
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
    for side in (0, 1):
        path = config.path("di"[side])
        at = S_PATH + side * PATH_WORDS
        words[at] = len(path)
        words[S_OWN + side] = sum(1 << numbers[array.name] for arrays in path for array in arrays)
        for level, arrays in enumerate(path):
            words[at + 1 + level * PATH_LEVEL] = len(arrays)
            for k, array in enumerate(arrays):
                words[at + 2 + level * PATH_LEVEL + k] = numbers[array.name]


def _pack_short(words: list[int], config: TlbConfig, nr_classes: int) -> None:
    """What the short way needs to know, see ``translate.short``."""
    for side in (0, 1):
        words[S_SHORT + side] = words[S_SHORT_SECOND + side] = -1
        path = config.path("di"[side])
        takers = [_base_takers(words, side, level, nr_classes) for level in range(len(path))]
        if not 1 <= len(path) <= 2 or not all(takers) or len(takers[0]) > 1 or words[S_DOUBT + side]:
            continue
        if len(path) == 2 and len(takers[1]) > 1 and not _take_turns_alike(words, config, side, takers[1], nr_classes):
            continue
        policies = [[words[S_ARRAYS + array * ARRAY_WORDS + D_POLICY] for array in level] for level in takers]
        if all(RANDOM in level for level in policies[:2]) and len(path) == 2:
            continue  # they draw from one generator, and the short way fills the second level first
        words[S_SHORT + side] = takers[0][0]
        if len(path) == 2:
            words[S_SHORT_SECOND + side], words[S_SHORT_TURNS + side] = takers[1][0], len(takers[1])
    last = words[S_NR_LEVELS] - 2
    caches = range(words[S_NR_TLBS], words[S_NR_ARRAYS])
    for level in range(last + 1):
        holders = [array for array in caches if words[S_ARRAYS + array * ARRAY_WORDS + D_CLASSES] >> level & 1]
        words[S_TABLES + TABLE_WORDS * level + TABLE_CACHE] = holders[0] if holders else -1
    tables = [words[S_TABLES + TABLE_WORDS * level + TABLE_CACHE] for level in range(last + 1)]
    plain = words[S_QUICK] and not config.prefetch and config.coalesce == 1
    words[S_SHORT_WALK] = tables[-1] if tables and plain else -1
    words[S_SHORT_UPPER] = tables[-2] if len(tables) > 1 and words[S_SHORT_WALK] >= 0 else -1


def _take_turns_alike(words: list[int], config: TlbConfig, side: int, takers: list[int], nr_classes: int) -> bool:
    """Whether nobody but these arrays, taking turns, gets a page that they may have: what the other side put into one
    of them would be in another one than its number says."""
    for level in range(len(config.path("di"[1 - side]))):
        others = _base_takers(words, 1 - side, level, nr_classes)
        if others != takers and set(arrays_of(words, level_of(1 - side, level))) & set(takers):
            return False
    return True


def _base_takers(words: list[int], side: int, level: int, nr_classes: int) -> list[int]:
    """The arrays of a level that take turns with base pages, numbers in a row; none where others may hold some too."""
    at = S_FILL + (side * MAX_LEVELS + level) * FILL_WORDS
    takers = {word for word in words[at : at + nr_classes] if word >= 0 and word & 15 == 0}
    if takers != {words[at]}:
        return []
    numbers = takers_of(words[at])
    return numbers if numbers == list(range(numbers[0], numbers[0] + len(numbers))) else []
