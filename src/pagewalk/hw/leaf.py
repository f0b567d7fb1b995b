"""Entries on a walk where they are plain: read directly, with the format's masks at hand.

Plain Python that Numba compiles (``hw/mmu.py``) and tests also run as it is. Where it is not plain, or is to be marked,
``walker.walk_table`` has to say.
"""

from typing import Final, TypeAlias

from pagewalk.hw.tlb_state import (
    S_DIRTY_MASK,
    S_DIRTY_VALUE,
    S_EXECUTE_MASK,
    S_EXECUTE_VALUE,
    S_GLOBAL_MASK,
    S_GLOBAL_VALUE,
    S_GLOBALS,
    S_LEVEL_SHIFT,
    S_NR_LEVELS,
    S_PAGE_SHIFT,
    S_PFN_MASK,
    S_PFN_SHIFT,
    S_QUICK,
    S_QUICK_MASK,
    S_QUICK_VALUE,
    S_TABLES,
    S_WRITE_MASK,
    S_WRITE_VALUE,
    TABLE_INDEX,
    TABLE_MASK,
    TABLE_VALUE,
    TABLE_WORDS,
)
from pagewalk.hw.walker import RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE, Words

# What ``leaf`` answers, beside RIGHT_* in the lowest three bits.
LEAF_DIRTY: Final = 8
LEAF_FRAME: Final = 4

# What ``leaf`` needs to know of the last level: its number and shift, index mask, the frame's mask, then masks and
# values of what grants writing and execution, and of the marks Dirty and Global.
LastLevel: TypeAlias = tuple[int, int, int, int, int, int, int, int, int, int, int, int]
LAST_LEVEL_WORDS: Final = 12


def last_level(s: Words) -> LastLevel:
    """The last level of the state's format."""
    level = s[S_NR_LEVELS] - 1
    return (
        level, s[S_LEVEL_SHIFT + level], s[S_QUICK], s[S_PFN_MASK], s[S_WRITE_MASK], s[S_WRITE_VALUE],
        s[S_EXECUTE_MASK], s[S_EXECUTE_VALUE], s[S_DIRTY_MASK], s[S_DIRTY_VALUE], s[S_GLOBAL_MASK], s[S_GLOBAL_VALUE],
    )  # fmt: skip


def leaf(s: Words, words: Words, nr_words: int, last: LastLevel, addr: int, access: int, table: int, known: int) -> int:
    """The last entry of a walk, in the table in frame ``table``, which the upper levels grant the rights ``known`` to,
    where nothing is to be marked; -1 where the whole walk has to say.
    (frame << 4) | (1 << 3 where it is dirty) | rights."""
    (_, shift, index_mask, pfn_mask, write_mask, write, execute_mask, execute, dirty_mask, dirty, global_mask,
     global_) = last  # fmt: skip
    index = (table << (shift - 3)) + ((addr >> shift) & index_mask)
    if index < 0 or index >= nr_words:
        return -1
    entry = words[index]
    pfn = (entry & pfn_mask) >> shift
    if entry & s[S_QUICK_MASK + access] != s[S_QUICK_VALUE + access] or pfn << (shift - 3) >= nr_words:
        return -1
    rights = RIGHT_READ
    if entry & write_mask == write:
        rights |= RIGHT_WRITE
    if entry & execute_mask == execute:
        rights |= RIGHT_EXECUTE
    if rights & ~known != 0:
        return -1
    found = (pfn << LEAF_FRAME) | rights
    if entry & dirty_mask == dirty:
        found |= LEAF_DIRTY
    if entry & global_mask == global_ and s[S_GLOBALS] != 0:
        return -1
    return found


def table_at(s: Words, words: Words, nr_words: int, table: int, addr: int, level: int) -> int:
    """Where the entry for ``addr`` of a table of that level leads; -1 where it is not plain."""
    about = S_TABLES + TABLE_WORDS * level
    index = (table << (s[S_PAGE_SHIFT] - 3)) + (addr >> s[S_LEVEL_SHIFT + level] & s[about + TABLE_INDEX])
    if index < 0 or index >= nr_words:
        return -1
    entry = words[index]
    if entry & s[about + TABLE_MASK] != s[about + TABLE_VALUE]:
        return -1
    return (entry & s[S_PFN_MASK]) >> s[S_PFN_SHIFT]
