"""Pages that may be in two arrays of one level, so that no short way may say which of them has it."""

from pagewalk.hw.tlb_config import MAX_LEVELS, TlbConfig
from pagewalk.hw.tlb_state import FILL_WORDS, PATH_LEVEL, PATH_WORDS, S_FILL, S_PATH

__all__ = ["arrays_of", "in_doubt", "level_of", "takers_of"]


def in_doubt(words: list[int], config: TlbConfig, side: int, nr_classes: int, coalesced: int) -> bool:
    """Whether a page may be in two arrays of a side's first level, so that a hint to one of them can be wrong later:
    the one that is asked before it may get the page, too.

    That happens where instructions fill an array that data ask as well, by rules of their own, and the other way round;
    and where the second level has only pieces of a page: a piece goes to one array, the page itself to another.
    """
    path = config.path("di"[side])
    if not path or len(path[0]) == 1:
        return False
    asked = arrays_of(words, level_of(side, 0))
    for reach in range(nr_classes):
        own = _fills(words, config, side, reach, coalesced)[0]
        others: set[int] = set().union(*_fills(words, config, 1 - side, reach, coalesced)) - own
        for held in own:
            for later in own | others:
                if later in own and later & 15 <= held & 15:
                    continue  # it would have been found
                first = [asked.index(array) for array in takers_of(later) if array in asked]
                if first and min(first) < max(asked.index(array) for array in takers_of(held)):
                    return True
    return False


def _fills(words: list[int], config: TlbConfig, side: int, reach: int, coalesced: int) -> list[set[int]]:
    """The ways in which a page, or a run of pages, of class ``reach`` may come to each level of a side: words of
    S_FILL. A second level may tell less than the page table does, and a run is one when all of its pages are alike."""
    reaches = {reach} | ({0} if reach == coalesced else set())
    starts = [S_FILL + (side * MAX_LEVELS + level) * FILL_WORDS for level in range(len(config.path("di"[side])))]
    known = 0
    while known != len(reaches):
        known = len(reaches)
        for at in starts[1:]:
            reaches |= {words[at + each] & 15 for each in reaches if words[at + each] >= 0}
    return [{words[at + each] for each in reaches} - {-1} for at in starts]


def takers_of(fill: int) -> list[int]:
    """The arrays of a word of S_FILL."""
    return [fill >> 8 + 5 * k & 31 for k in range(fill >> 4 & 15)]


def arrays_of(words: list[int], at: int) -> list[int]:
    """The arrays of one level of a path, in the order in which they are asked."""
    return words[at + 1 : at + 1 + words[at]]


def level_of(side: int, level: int) -> int:
    """Where a level of a path is described."""
    return S_PATH + side * PATH_WORDS + 1 + level * PATH_LEVEL
