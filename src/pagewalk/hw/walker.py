"""The walk: what the MMU does with an address and the bits in RAM.

``walk_table`` is the algorithm, once, for every format and both speeds: plain Python over a memoryview of RAM (for
``explain`` and tests), and compiled by Numba over the same RAM as an array (hw/fill.py, what the CPU calls on a TLB
miss). The format comes in as numbers (``pack_format``): sizes, for each property of an entry a mask and a value, and
the levels.

An access is one of user mode. What a leaf grants is AND-ed with what the entries on the way to it grant; where the
hardware keeps the marks, Accessed is set on the way in entries that have it, and in the leaf Accessed and (for a write)
Dirty once the access is granted. Where software keeps them, a clear mark ends the walk.

A page's protection key takes away what PKRU closes of it; execution never asks (FORMAT_PKRU).

Sources: AMD64 Architecture Programmer's Manual volume 2, section 5.3 to 5.6; Intel SDM volume 3, sections 4.3 to 4.8;
Arm Architecture Reference Manual, D8 (VMSAv8-64); RISC-V Privileged Architecture, "Virtual Address Translation
Process".
Differs: Arm's top-byte-ignore is off; what a page grants to the kernel is said by
hw/supervisor.py.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pagewalk.arch.format import Level, PageFormat

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
NOT_ACCESSED: Final = 5  # granted, but for an Accessed mark that software is to set
NOT_DIRTY: Final = 6  # a write that is granted, but for a Dirty mark that software is to set
NO_KEY: Final = 7  # a load or store of a page whose protection key PKRU closes

STATUS_NAMES: Final = (
    "ok", "not present", "no right", "non-canonical", "reserved bits", "accessed clear", "dirty clear",
    "protection key",
)  # fmt: skip

# The packed format: single words, a mask and a value for each property, then _LEVEL_WORDS for each level.
FORMAT_NR_LEVELS: Final = 0
FORMAT_PAGE_SHIFT: Final = 1
FORMAT_ENTRY_SHIFT: Final = 2
FORMAT_TOP: Final = 3
FORMAT_HALVES: Final = 4  # 0 addresses are not signed, 1 both halves below one root, 2 each below its own
FORMAT_HIGH_ROOT: Final = 5  # frame of the root of the upper half (HALVES 2), -1 for none
FORMAT_PFN_LEFT: Final = 6  # how far left of its place in an entry the frame number lies in the physical address
FORMAT_HIGH_LEFT: Final = 7
FORMAT_SOFT_ACCESSED: Final = 8  # 1 where a clear Accessed is a fault
FORMAT_SOFT_DIRTY: Final = 9
FORMAT_NAPOT: Final = 10
FORMAT_TABLE_ACCESSED: Final = 11
FORMAT_PRESENT: Final = 12
FORMAT_POINTER: Final = 14
FORMAT_NO_PAGE: Final = 16
FORMAT_ILLEGAL: Final = 18
FORMAT_TABLE_READ: Final = 20
FORMAT_TABLE_WRITE: Final = 22
FORMAT_TABLE_EXECUTE: Final = 24
FORMAT_READ: Final = 26
FORMAT_WRITE: Final = 28
FORMAT_EXECUTE: Final = 30
FORMAT_MODIFIER: Final = 32
FORMAT_ACCESSED: Final = 34
FORMAT_DIRTY: Final = 36
FORMAT_GLOBAL: Final = 38
FORMAT_CONTIGUOUS: Final = 40
FORMAT_PKEY_SHIFT: Final = 42  # lowest bit of a leaf's protection key
FORMAT_PKRU: Final = 43  # what the keys let the program do, two bits each (no access, no write); 0: they do not count
FORMAT_LEVELS: Final = 44

# Words of a level.
LEVEL_SHIFT: Final = 0
LEVEL_INDEX_MASK: Final = 1
LEVEL_FLAGS: Final = 2  # LEAF | RIGHTS
LEVEL_TABLE_MASK: Final = 3
LEVEL_TABLE_HIGH: Final = 4
LEVEL_TABLE_RESERVED: Final = 5
LEVEL_LEAF_MASK: Final = 6
LEVEL_LEAF_HIGH: Final = 7
LEVEL_LEAF_RESERVED: Final = 8
LEVEL_CONTIGUOUS: Final = 9
LEVEL_WORDS: Final = 10
LEAF: Final = 1
RIGHTS: Final = 2
_MAX_LEVELS = 5
FORMAT_WORDS: Final = FORMAT_LEVELS + LEVEL_WORDS * _MAX_LEVELS

# What a walk leaves behind: where it came to, then (physical address, entry) for each level that it read.
OUT_PFN: Final = 0  # the frame (of the format's smallest pages) that the address lies in, also within a huge page
OUT_RIGHTS: Final = 1  # RIGHT_* of the page, all levels taken together
OUT_DIRTY: Final = 2  # 1 where a store needs no walk to mark the leaf
OUT_LEVEL: Final = 3  # index of the last level that was read, -1 for none
OUT_SHIFT: Final = 4  # log2 of the size that one TLB entry may cover: the leaf's, or that of its contiguous group
OUT_GLOBAL: Final = 5  # 1 where the leaf belongs to every address space
OUT_ENTRIES: Final = 6
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
    root_pfn         frame of the root table (of the lower half, where each half has its own)
    access           READ, WRITE or FETCH, in user mode; or PEEK
    out              OUT_WORDS words, see OUT_*
    """
    out[OUT_PFN] = -1
    out[OUT_RIGHTS] = 0
    out[OUT_DIRTY] = 0
    out[OUT_LEVEL] = -1
    out[OUT_SHIFT] = 0
    out[OUT_GLOBAL] = 0
    root = root_pfn
    high = addr >> fmt[FORMAT_TOP]
    if high != 0:
        if high != -1 or fmt[FORMAT_HALVES] == 0:
            return NON_CANONICAL
        if fmt[FORMAT_HALVES] == 2:
            root = fmt[FORMAT_HIGH_ROOT]
            if root < 0:
                return NOT_PRESENT
    page_shift = fmt[FORMAT_PAGE_SHIFT]
    entry_shift = fmt[FORMAT_ENTRY_SHIFT]
    nr_levels = fmt[FORMAT_NR_LEVELS]
    table = root << page_shift
    readable = True
    writable = True
    executable = True
    for level in range(nr_levels):
        at = FORMAT_LEVELS + LEVEL_WORDS * level
        shift = fmt[at]
        place = table + (((addr >> shift) & fmt[at + LEVEL_INDEX_MASK]) << entry_shift)
        index = place >> 3
        if index < 0 or index >= nr_words:
            return RESERVED
        entry = words[index]
        if entry_shift == 2:
            entry = (entry >> ((place & 4) << 3)) & 0xFFFF_FFFF
        out[OUT_LEVEL] = level
        out[OUT_ENTRIES + 2 * level] = place
        out[OUT_ENTRIES + 2 * level + 1] = entry
        if entry & fmt[FORMAT_PRESENT] != fmt[FORMAT_PRESENT + 1]:
            return NOT_PRESENT
        flags = fmt[at + LEVEL_FLAGS]
        marked = entry
        last = level == nr_levels - 1
        to_table = not last and entry & fmt[FORMAT_POINTER] == fmt[FORMAT_POINTER + 1]
        if to_table:
            if entry & fmt[at + LEVEL_TABLE_RESERVED] != 0:
                return RESERVED
            if flags & RIGHTS != 0:
                readable = readable and entry & fmt[FORMAT_TABLE_READ] == fmt[FORMAT_TABLE_READ + 1]
                writable = writable and entry & fmt[FORMAT_TABLE_WRITE] == fmt[FORMAT_TABLE_WRITE + 1]
                executable = executable and entry & fmt[FORMAT_TABLE_EXECUTE] == fmt[FORMAT_TABLE_EXECUTE + 1]
                if access != PEEK:
                    marked = entry | fmt[FORMAT_TABLE_ACCESSED]
            table = (entry & fmt[at + LEVEL_TABLE_MASK]) << fmt[FORMAT_PFN_LEFT]
            if fmt[at + LEVEL_TABLE_HIGH] != 0:
                table |= (entry & fmt[at + LEVEL_TABLE_HIGH]) << fmt[FORMAT_HIGH_LEFT]
        else:
            if flags & LEAF == 0 or entry & fmt[at + LEVEL_LEAF_RESERVED] != 0:
                return RESERVED
            if last and entry & fmt[FORMAT_NO_PAGE] == fmt[FORMAT_NO_PAGE + 1]:
                return RESERVED
            if entry & fmt[FORMAT_ILLEGAL] == fmt[FORMAT_ILLEGAL + 1]:
                return RESERVED
            base = (entry & fmt[at + LEVEL_LEAF_MASK]) << fmt[FORMAT_PFN_LEFT]
            if fmt[at + LEVEL_LEAF_HIGH] != 0:
                base |= (entry & fmt[at + LEVEL_LEAF_HIGH]) << fmt[FORMAT_HIGH_LEFT]
            span = shift
            size = shift
            if fmt[at + LEVEL_CONTIGUOUS] != 0 and entry & fmt[FORMAT_CONTIGUOUS] == fmt[FORMAT_CONTIGUOUS + 1]:
                size = shift + fmt[at + LEVEL_CONTIGUOUS]
                if fmt[FORMAT_NAPOT] != 0:  # the low bits of the frame number only say the size
                    if (base >> shift) & ((1 << (size - shift)) - 1) != 1 << (size - shift - 1):
                        return RESERVED
                    base = (base >> size) << size
                    span = size
            paddr = base | (addr & ((1 << span) - 1))
            if paddr >> 3 >= nr_words:
                return RESERVED
            rights = 0
            if readable and entry & fmt[FORMAT_READ] == fmt[FORMAT_READ + 1]:
                rights = RIGHT_READ
            if writable and (
                entry & fmt[FORMAT_WRITE] == fmt[FORMAT_WRITE + 1]
                or entry & fmt[FORMAT_MODIFIER] == fmt[FORMAT_MODIFIER + 1]
            ):
                rights |= RIGHT_WRITE
            if executable and entry & fmt[FORMAT_EXECUTE] == fmt[FORMAT_EXECUTE + 1]:
                rights |= RIGHT_EXECUTE
            closed = 0
            if fmt[FORMAT_PKRU] != 0 and rights != 0:
                closed = (fmt[FORMAT_PKRU] >> (2 * ((entry >> fmt[FORMAT_PKEY_SHIFT]) & 15))) & 3
                if closed & 1 != 0:  # no access; 2 is RIGHT_WRITE: no write
                    closed = RIGHT_READ | RIGHT_WRITE
                rights &= ~closed
            out[OUT_PFN] = paddr >> page_shift
            out[OUT_RIGHTS] = rights
            out[OUT_SHIFT] = size
            if entry & fmt[FORMAT_GLOBAL] == fmt[FORMAT_GLOBAL + 1]:
                out[OUT_GLOBAL] = 1
            dirty = entry & fmt[FORMAT_DIRTY] == fmt[FORMAT_DIRTY + 1]
            if dirty:
                out[OUT_DIRTY] = 1
            if access != PEEK:
                if rights & (1 << access) == 0:
                    return NO_RIGHT if closed & (1 << access) == 0 else NO_KEY
                if entry & fmt[FORMAT_ACCESSED] != fmt[FORMAT_ACCESSED + 1]:
                    if fmt[FORMAT_SOFT_ACCESSED] != 0:
                        return NOT_ACCESSED
                    marked = (marked & ~fmt[FORMAT_ACCESSED]) | fmt[FORMAT_ACCESSED + 1]
                if access == WRITE and not dirty:
                    if fmt[FORMAT_SOFT_DIRTY] != 0:
                        return NOT_DIRTY
                    marked = (marked & ~fmt[FORMAT_DIRTY]) | fmt[FORMAT_DIRTY + 1]
                    out[OUT_DIRTY] = 1
        if marked != entry:
            out[OUT_ENTRIES + 2 * level + 1] = marked
            if entry_shift == 3:
                words[index] = marked
            elif place & 4 == 0:
                words[index] = (words[index] & -0x1_0000_0000) | marked
            else:  # bit 31 of the entry is the sign of the word
                words[index] = (((marked ^ 0x8000_0000) - 0x8000_0000) << 32) | (words[index] & 0xFFFF_FFFF)
        if not to_table:
            return OK
    return RESERVED


def pack_format(fmt: PageFormat, high_root: int = -1, pkru: int = 0) -> list[int]:
    """A format as the FORMAT_WORDS signed words that ``walk_table`` reads.

    high_root  frame of the root table of the upper half, for formats with two roots (TTBR1); -1: it has none
    pkru       what the protection keys let the program do, two bits each; 0: all
    """
    halves = 0 if not fmt.halves else 2 if fmt.two_roots else 1
    packed = [
        len(fmt.levels), int(fmt.page_shift), int(fmt.entry_shift), fmt.top_shift, halves, high_root,
        int(fmt.page_shift - fmt.pfn_shift), fmt.high_shift, int(not fmt.hw_accessed), int(not fmt.hw_dirty),
        int(fmt.napot), int(fmt.table_accessed),
    ]  # fmt: skip
    for bits in (
        fmt.present, fmt.pointer, fmt.no_page, fmt.illegal, fmt.table_read, fmt.table_write, fmt.table_execute,
        fmt.hw_read, fmt.hw_write, fmt.hw_execute, fmt.modifier, fmt.accessed, fmt.hw_dirty_bits, fmt.global_,
        fmt.contiguous,
    ):  # fmt: skip
        packed += [int(bits.mask), int(bits.value)]
    packed += [int(fmt.pkey_shift), pkru if fmt.pkey_shift else 0]
    for level in fmt.levels:
        low = (1 << level.shift - int(fmt.page_shift - fmt.pfn_shift)) - 1
        packed += [
            level.shift, (1 << level.nr_bits) - 1, LEAF * level.can_leaf | RIGHTS * level.rights,
            int(fmt.pfn_mask), level.table_high, level.table_reserved,
            int(fmt.pfn_mask) & ~low, level.leaf_high, level.leaf_reserved, level.contiguous_shift,
        ]  # fmt: skip
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

    status   OK or how it failed, see STATUS_NAMES
    steps    the entries that were read, from the root down
    pfn      the frame that the address lies in; -1 where the walk found no page
    rights   RIGHT_* bits that all levels together grant to user mode; 0 where there is no page
    shift    log2 of the size of the page that the last entry maps; 0 where there is no page
    reach    log2 of the size that one TLB entry may cover: more than ``shift`` where entries are contiguous
    global_  the page belongs to every address space
    """

    status: int
    steps: tuple[Step, ...]
    pfn: int
    rights: int
    shift: int
    reach: int
    global_: bool

    @property
    def granted(self) -> bool:
        """Whether the access goes ahead."""
        return self.status == OK


def walk(
    ram: "Ram", fmt: PageFormat, root_pfn: int, addr: int, access: int, high_root: int = -1, pkru: int = 0
) -> Walk:
    """Walks for one user access to ``addr`` (signed), setting Accessed and Dirty in RAM as the hardware does.

    root_pfn   frame of the root table (what CR3, TTBR0 or satp holds)
    access     READ, WRITE or FETCH; PEEK to look without leaving a mark
    high_root  frame of the root table of the upper half where that has its own (TTBR1); -1 for none
    pkru       what the protection keys let the program do, two bits each; 0: all
    """
    out = [0] * OUT_WORDS
    status = walk_table(ram.quads, ram.size >> 3, pack_format(fmt, high_root, pkru), root_pfn, addr, access, out)
    steps = tuple(
        Step(fmt.levels[at], out[OUT_ENTRIES + 2 * at], out[OUT_ENTRIES + 2 * at + 1])
        for at in range(out[OUT_LEVEL] + 1)
    )
    pfn = out[OUT_PFN]
    shift = steps[-1].level.shift if pfn >= 0 else 0
    return Walk(status, steps, pfn, out[OUT_RIGHTS], shift, out[OUT_SHIFT], out[OUT_GLOBAL] != 0)
