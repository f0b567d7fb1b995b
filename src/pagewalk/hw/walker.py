"""The walk: what the MMU does with an address and the bits in RAM.

``walk_table`` is the algorithm, once, for every format and both speeds: plain Python over a memoryview of RAM (for
``explain`` and tests), and compiled by Numba over the same RAM as an array (hw/fill.py, what the CPU calls on a TLB
miss). The format comes in as numbers (``pack_format``): levels, and for each property of an entry a mask and a value.

An access is one of user mode. Rights are AND-ed over the levels. On the way down, Accessed is set in every entry that
points to a table; in the entry that maps the page, Accessed and (for a write) Dirty are set once the access is granted.

Sources: AMD64 Architecture Programmer's Manual volume 2, section 5.3 to 5.6; Intel SDM volume 3, sections 4.5 to 4.8.
Differs: the PAT bit of a huge leaf and protection keys are not read; supervisor accesses are not walked here.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pagewalk.arch.format import Bits, Level, PageFormat

if TYPE_CHECKING:
    from pagewalk.mm.ram import Ram

# Kinds of access (the kernel's ACCESS_*).
READ: Final = 0
WRITE: Final = 1
FETCH: Final = 2
PEEK: Final = 3  # no access: reads the entries, checks no rights and sets no marks

# How a walk ends.
OK: Final = 0
NOT_PRESENT: Final = 1  # an entry is not present
NO_RIGHT: Final = 2  # every entry is present, but some level does not grant the access
NON_CANONICAL: Final = 3  # the address is not one: its high bits are not copies of its sign bit
RESERVED: Final = 4  # an entry that the hardware refuses: a leaf where none may be, misaligned, or a frame beyond RAM

STATUS_NAMES: Final = ("ok", "not present", "no right", "non-canonical", "reserved bits")

# The packed format: single words, a mask and a value for each property, then (shift, bits, may be a leaf) for each
# level.
_NR_LEVELS = 0
_PFN_MASK = 1
_PRESENT = 2
_LEAF = 4
_WRITE = 6
_USER = 8
_EXECUTE = 10
_ACCESSED = 12
_DIRTY = 14
_LEVELS = 16
_MAX_LEVELS = 5
FORMAT_WORDS: Final = _LEVELS + 3 * _MAX_LEVELS

# What a walk leaves behind: where it came to, then (physical address, entry) for each level that it read.
OUT_PFN: Final = 0  # the 4 KiB frame that the address lies in, also within a huge page
OUT_RIGHTS: Final = 1  # RIGHT_* of the page, all levels taken together
OUT_DIRTY: Final = 2  # 1 where Dirty is set in the leaf: stores need no walk
OUT_LEVEL: Final = 3  # index of the last level that was read, -1 for none
OUT_ENTRIES: Final = 4
OUT_WORDS: Final = OUT_ENTRIES + 2 * _MAX_LEVELS

RIGHT_READ: Final = 1
RIGHT_WRITE: Final = 2
RIGHT_EXECUTE: Final = 4


class Words(Protocol):
    """Integers in memory: a memoryview, an array, a list."""

    def __getitem__(self, at: int, /) -> int: ...
    def __setitem__(self, at: int, value: int, /) -> None: ...


def walk_table(
    words: Words,
    nr_words: int,
    fmt: Words,
    root_pfn: int,
    addr: int,
    access: int,
    out: Words,
) -> int:
    """Walks for one access to ``addr`` (signed) and sets Accessed and Dirty; how it ends, and ``out``.

    words, nr_words  RAM as signed 64-bit words, and how many there are
    fmt              a format as ``pack_format`` packs it
    root_pfn         frame of the root table
    access           READ, WRITE or FETCH, in user mode; or PEEK
    out              OUT_WORDS words, see OUT_*
    """
    nr_levels = fmt[_NR_LEVELS]
    top_bit = fmt[_LEVELS] + fmt[_LEVELS + 1] - 1
    out[OUT_PFN] = -1
    out[OUT_RIGHTS] = 0
    out[OUT_DIRTY] = 0
    out[OUT_LEVEL] = -1
    high = addr >> top_bit
    if high != 0 and high != -1:
        return NON_CANONICAL
    table = root_pfn << 9
    writable = True
    executable = True
    user = True
    for level in range(nr_levels):
        shift = fmt[_LEVELS + 3 * level]
        index = table + ((addr >> shift) & ((1 << fmt[_LEVELS + 3 * level + 1]) - 1))
        if index < 0 or index >= nr_words:
            return RESERVED
        entry = words[index]
        out[OUT_LEVEL] = level
        out[OUT_ENTRIES + 2 * level] = index << 3
        out[OUT_ENTRIES + 2 * level + 1] = entry
        if entry & fmt[_PRESENT] != fmt[_PRESENT + 1]:
            return NOT_PRESENT
        writable = writable and entry & fmt[_WRITE] == fmt[_WRITE + 1]
        executable = executable and entry & fmt[_EXECUTE] == fmt[_EXECUTE + 1]
        user = user and entry & fmt[_USER] == fmt[_USER + 1]
        marked = entry
        if access != PEEK:
            marked = (entry & ~fmt[_ACCESSED]) | fmt[_ACCESSED + 1]
        last = level == nr_levels - 1
        if not last and entry & fmt[_LEAF] != fmt[_LEAF + 1]:
            if marked != entry:
                words[index] = marked
                out[OUT_ENTRIES + 2 * level + 1] = marked
            table = (entry & fmt[_PFN_MASK]) >> 3
            continue
        base = entry & fmt[_PFN_MASK]
        if base & ((1 << shift) - 1) != 0 or (not last and fmt[_LEVELS + 3 * level + 2] == 0):
            return RESERVED
        pfn = (base | (addr & ((1 << shift) - 1))) >> 12
        if pfn << 9 >= nr_words:
            return RESERVED
        rights = 0
        if user:
            rights = RIGHT_READ
            if writable:
                rights |= RIGHT_WRITE
            if executable:
                rights |= RIGHT_EXECUTE
        out[OUT_PFN] = pfn
        out[OUT_RIGHTS] = rights
        out[OUT_DIRTY] = 1 if entry & fmt[_DIRTY] == fmt[_DIRTY + 1] else 0
        if access != PEEK and rights & (1 << access) == 0:
            return NO_RIGHT
        if access == WRITE:
            marked = (marked & ~fmt[_DIRTY]) | fmt[_DIRTY + 1]
            out[OUT_DIRTY] = 1
        if marked != entry:
            words[index] = marked
            out[OUT_ENTRIES + 2 * level + 1] = marked
        return OK
    return RESERVED


def pack_format(fmt: PageFormat) -> list[int]:
    """A format as the FORMAT_WORDS signed words that ``walk_table`` reads."""

    def pair(bits: Bits) -> list[int]:
        return [int(bits.mask), int(bits.value)]

    packed = [len(fmt.levels), int(fmt.pfn_mask)]
    for bits in (fmt.present, fmt.leaf, fmt.write, fmt.user, fmt.execute, fmt.accessed, fmt.dirty):
        packed += pair(bits)
    for level in fmt.levels:
        packed += [level.shift, level.nr_bits, int(level.can_leaf)]
    return packed + [0] * (FORMAT_WORDS - len(packed))


@dataclass(frozen=True)
class Step:
    """One entry that a walk read: its level, its physical address in bytes, its (signed) bits as the walk left them."""

    level: Level
    paddr: int
    entry: int


@dataclass(frozen=True)
class Walk:
    """How a walk ended.

    status  OK, NOT_PRESENT, NO_RIGHT, NON_CANONICAL or RESERVED
    steps   the entries that were read, from the root down
    pfn     the 4 KiB frame that the address lies in; -1 where the walk found no page
    rights  RIGHT_* bits that all levels together grant to user mode; 0 where there is no page
    shift   log2 of the size of the page that the last entry maps; 0 where there is no page
    """

    status: int
    steps: tuple[Step, ...]
    pfn: int
    rights: int
    shift: int

    @property
    def granted(self) -> bool:
        """Whether the access goes ahead."""
        return self.status == OK


def walk(ram: "Ram", fmt: PageFormat, root_pfn: int, addr: int, access: int) -> Walk:
    """Walks for one user access to ``addr`` (signed), setting Accessed and Dirty in RAM as the hardware does.

    root_pfn  frame of the root table (what CR3 holds)
    access    READ, WRITE or FETCH; PEEK to look without leaving a mark
    """
    out = [0] * OUT_WORDS
    status = walk_table(ram.words, ram.size >> 3, pack_format(fmt), root_pfn, addr, access, out)
    steps = tuple(
        Step(fmt.levels[at], out[OUT_ENTRIES + 2 * at], out[OUT_ENTRIES + 2 * at + 1])
        for at in range(out[OUT_LEVEL] + 1)
    )
    pfn = out[OUT_PFN]
    return Walk(status, steps, pfn, out[OUT_RIGHTS], steps[-1].level.shift if pfn >= 0 else 0)
