"""A page-table format and an address-space layout, as data.

One walker serves every architecture: what differs is a table of levels and the places of a few bits. An entry's
property is a ``Bits``: it holds where ``entry & mask == value``, so that bits of inverse sense (no-execute, read-only)
and fields of several bits (ARM's descriptor type) are the same kind of thing.

Sources: the manuals named in each format's own module.

Mirrors: include/linux/pgtable.h (6.18)
Differs: one description of data in place of each architecture's macros.
"""

from dataclasses import dataclass
from typing import Final

from mypy_extensions import i64

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 4096
PAGE_MASK: Final = -4096


def bit(n: i64) -> i64:
    """``1 << n`` for 0 <= n <= 62. Compiled code shifts a literal as a 32-bit C int, so the literal must be a wide
    one."""
    return 0x4000_0000_0000_0000 >> (62 - n)


@dataclass(frozen=True)
class Level:
    """One level of a table.

    name     Linux's: pgd, p4d, pud, pmd, pte
    shift    lowest bit of the virtual address that indexes this level
    nr_bits  bits of the index: a table has 2**nr_bits entries
    can_leaf whether an entry of this level may map a (huge) page
    """

    name: str
    shift: int
    nr_bits: int
    can_leaf: bool

    @property
    def size(self) -> int:
        """Bytes of virtual address space that one entry covers."""
        return 1 << self.shift


class Bits:
    """A property of an entry: ``entry & mask == value``. Masks and values are signed 64-bit words."""

    def __init__(self, mask: i64, value: i64) -> None:
        self.mask = mask
        self.value = value

    def test(self, entry: i64) -> bool:
        """Whether ``entry`` has the property."""
        return entry & self.mask == self.value

    def set(self, entry: i64) -> i64:
        """``entry`` with the property."""
        return (entry & ~self.mask) | self.value

    def clear(self, entry: i64) -> i64:
        """``entry`` without the property (single-bit fields only)."""
        return (entry & ~self.mask) | (self.mask & ~self.value)


class PageFormat:
    """The entry format of one kind of page table.

    name         for people, e.g. "x86_64, 4 levels"
    levels       from the root down to the last; the root's frame holds 2**nr_bits entries of 8 bytes
    pfn_mask     bits of an entry that hold the physical address of the next table or the page
    present      the hardware uses the entry
    leaf         at a level above the last: the entry maps a page rather than pointing to a table
    write, user, execute, accessed, dirty   rights and marks of a leaf (for a user access, all levels must grant)
    protnone     software: a page that is there while nobody may access it (PROT_NONE); not present for the hardware
    special      software: the frame has no struct page to account (the zero page, device memory)
    guard        software: the entry of a guard region (MADV_GUARD_INSTALL), not present
    table        all the bits of an entry that points to a table of user memory
    protection_map  the bits of a leaf by (vm_flags & (READ|WRITE|EXEC|SHARED)): Linux's array of 16
    bit_names    (mask, name) pairs, low bits first, for showing an entry to a person
    """

    def __init__(
        self,
        name: str,
        levels: tuple[Level, ...],
        pfn_mask: i64,
        present: Bits,
        leaf: Bits,
        write: Bits,
        user: Bits,
        execute: Bits,
        accessed: Bits,
        dirty: Bits,
        protnone: Bits,
        special: Bits,
        guard: i64,
        table: i64,
        protection_map: tuple[int, ...],
        bit_names: tuple[tuple[int, str], ...],
    ) -> None:
        self.name = name
        self.levels = levels
        self.pfn_mask = pfn_mask
        self.present = present
        self.leaf = leaf
        self.write = write
        self.user = user
        self.execute = execute
        self.accessed = accessed
        self.dirty = dirty
        self.protnone = protnone
        self.special = special
        self.guard = guard
        self.table = table
        self.protection_map = protection_map
        self.bit_names = bit_names

    def decode(self, entry: int) -> list[str]:
        """The names of the bits that are set in ``entry``, low bits first."""
        return [name for mask, name in self.bit_names if entry & mask]


@dataclass(frozen=True)
class Layout:
    """Where Linux puts things in a process's address space. Addresses in bytes, random widths in bits.

    task_size        first address that user mappings may not reach (TASK_SIZE_MAX)
    mmap_top         TASK_SIZE for mmap without a hint above it (DEFAULT_MAP_WINDOW)
    stack_top        STACK_TOP
    et_dyn_base      load address of a PIE without randomisation (ELF_ET_DYN_BASE)
    mmap_rnd_bits    of mmap_base and of a PIE's load address, in pages
    stack_rnd_mask   STACK_RND_MASK, in pages
    brk_rnd_bytes    range of the heap's random offset
    """

    task_size: int
    mmap_top: int
    stack_top: int
    et_dyn_base: int
    mmap_rnd_bits: int
    stack_rnd_mask: int
    brk_rnd_bytes: int
