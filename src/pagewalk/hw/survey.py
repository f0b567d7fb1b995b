"""What a block of accesses is, found out with vector instructions before they go one by one through the loop.

Plain Python that Numba compiles (``hw/tlb_native.py``) and tests also run as it is.
"""

from typing import Final, TypeAlias

from pagewalk.hw.walker import FETCH, Words

# A batch as compiled code takes it: signed addresses; kinds (READ, WRITE or FETCH); sizes in bytes; tasks; CPUs.
BatchArrays: TypeAlias = tuple[Words, Words, Words, Words, Words]

AHEAD: Final = 256  # accesses: what is prefetched while a block goes through the loop

# What ``survey`` answers: writes, fetches from bit FETCHES on, whether all are ALIKE: data of one 4 KiB, and whether an
# access is ODD: it reaches into the next page, is of no kind, or is made by another task or on another CPU than the
# first.
FETCHES: Final = 16
ALIKE: Final = 1 << 39
ODD: Final = 1 << 40
TALLY_MASK: Final = (1 << FETCHES) - 1
ONES: Final = 0x0101_0101_0101_0101  # in each byte of a word


def survey(batch: BatchArrays, first: int, start: int, end: int, page: int) -> int:
    """What accesses ``start`` to ``end - 1`` are, see FETCHES and ODD. Access ``first`` has the task and CPU.
    Loops without branches: vectors. At most 2040 accesses."""
    addrs, kinds, sizes, tasks, cpus = batch
    for at in range(start + AHEAD, end + AHEAD, 8):
        prefetch(addrs, at)
    for at in range(start + AHEAD, end + AHEAD, 16):
        prefetch(tasks, at)
    for at in range(start + AHEAD, end + AHEAD, 32):
        prefetch(sizes, at)
    for at in range(start + AHEAD, end + AHEAD, 64):
        prefetch(kinds, at)
        prefetch(cpus, at)
    beyond = 0
    apart = 0
    for at in range(start, end):
        beyond |= page - sizes[at] - (addrs[at] & (page - 1))
        apart |= addrs[at] ^ addrs[start]
    other = 0
    for at in range(start, end):
        other |= tasks[at] ^ tasks[first]
    odd = 0
    rest = start + ((end - start) & -8)
    for at in range(start, rest, 8):
        kind = eight(kinds, at)
        odd |= (kind & ~(3 * ONES)) | (kind & (kind >> 1) & ONES)
    for at in range(start, rest, 8):
        where = eight(cpus, at)
        odd |= ((where & 0xFF) ^ cpus[first]) | ((where ^ (where >> 8)) & ((1 << 56) - 1))
    for at in range(rest, end):
        odd |= (kinds[at] + 1) >> 2 | (cpus[at] ^ cpus[first])
    found = tally(kinds, start, end)
    if beyond < 0 or other != 0 or odd != 0:
        found |= ODD
    elif apart >> 12 == 0 and found >> FETCHES == 0:
        found |= ALIKE
    return found


def tally(kinds: Words, start: int, end: int) -> int:
    """Writes and fetches of accesses ``start`` to ``end - 1``, see FETCHES; at most 2040 accesses."""
    writes = 0
    fetches = 0
    rest = start + ((end - start) & -8)
    for at in range(start, rest, 8):
        kind = eight(kinds, at)
        writes += kind & ONES
        fetches += (kind >> 1) & ONES
    found = bytes_sum(writes) + (bytes_sum(fetches) << FETCHES)
    for at in range(rest, end):
        kind = kinds[at] + 0
        found += (kind & 1) + ((kind >> 1 & 1) << FETCHES)
    return found


def eight(array: Words, at: int) -> int:
    """Eight bytes as one signed word."""
    return int.from_bytes(bytes(array[at : at + 8]), "little", signed=True)  # type: ignore[index]


def prefetch(array: Words, at: int) -> None:
    """The item is wanted soon: a hint to the processor, also behind the end."""


def bytes_sum(word: int) -> int:
    """Of the eight bytes of a word that is not negative."""
    pairs = (word & 0x00FF_00FF_00FF_00FF) + ((word >> 8) & 0x00FF_00FF_00FF_00FF)
    return ((pairs + (pairs >> 32)) + ((pairs + (pairs >> 32)) >> 16)) & 0xFFFF


def first_odd(batch: BatchArrays, first: int, start: int, end: int, page: int) -> int:
    """The first access that ``survey`` finds odd; ``end`` where none is."""
    addrs, kinds, sizes, _, _ = batch
    for at in range(start, end):
        if kinds[at] > FETCH or crosses(addrs[at], sizes[at], page) != 0 or of_another(batch, first, at) != 0:
            return at
    return end


def crosses(addr: int, size: int, page: int) -> int:
    """Whether an access reaches into the next page: 1 or 0."""
    if (addr & (page - 1)) + size > page:
        return 1
    return 0


def of_another(batch: BatchArrays, first: int, at: int) -> int:
    """Whether another task or CPU makes access ``at`` than makes ``first``: 1 or 0."""
    _, _, _, tasks, cpus = batch
    if tasks[at] != tasks[first] or cpus[at] != cpus[first]:
        return 1
    return 0
