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

from pagewalk.arch.bits import ALWAYS, NEVER, Bits
from pagewalk.arch.kernel_rights import KernelRights
from pagewalk.arch.memory_types import NONE, MemoryTypes
from pagewalk.arch.swap_format import SwapFormat

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

    name              Linux's: pgd, p4d, pud, pmd, pte
    shift             lowest bit of the virtual address that indexes this level
    nr_bits           bits of the index: a table has 2**nr_bits entries
    can_leaf          whether an entry of this level may map a page
    rights            whether an entry of this level that points to a table takes part in the rights, and is marked
                      accessed (a PAE root's entries do neither)
    contiguous_shift  log2 of the entries that the contiguous mark joins at this level, 0 for none
    table_reserved    bits that must be clear in an entry that points to a table
    leaf_reserved     bits that must be clear in an entry that maps a page
    table_high, leaf_high  bits of such an entry that hold the highest bits of the physical address
    """

    name: str
    shift: int
    nr_bits: int
    can_leaf: bool
    rights: bool = True
    contiguous_shift: int = 0
    table_reserved: int = 0
    leaf_reserved: int = 0
    table_high: int = 0
    leaf_high: int = 0

    @property
    def size(self) -> int:
        """Bytes of virtual address space that one entry covers."""
        return 1 << self.shift


class PageFormat:
    """The entry format of one kind of page table.

    name         for people, e.g. "x86_64, 4 levels"
    levels       from the root down to the last
    page_shift   log2 of the smallest page, and of a table: 12, 14 or 16 (``page_size``, ``page_mask``: the same as
                 bytes and as the mask that clears an offset within a page)
    entry_shift  log2 of an entry's bytes: 2 or 3
    pfn_mask     bits of an entry that hold the frame number of the next table or the page
    pfn_shift    the lowest of them
    high_shift   how far left of their place in an entry the bits of ``Level.table_high`` and ``leaf_high`` lie in the
                 physical address
    top_shift    an address is one where ``addr >> top_shift`` is 0, or (with ``halves``) -1
    halves       addresses are signed: there is an upper half
    two_roots    the upper half has a root table of its own
    present      the hardware uses the entry
    pointer      at a level above the last: the entry points to a table rather than mapping a page
    no_page      at the last level: an entry that maps nothing although it is present
    illegal      a leaf that the hardware refuses
    write, user, execute, accessed, dirty   rights and marks of a leaf as the kernel sets them
    global_      a leaf that lives on in the TLB when the address space is switched
    hw_dirty_bits  the mark that the hardware itself sets, where it is not the kernel's ``dirty``
    hw_read, hw_write, hw_execute   what grants a user access in a leaf, ``user`` included
    table_read, table_write, table_execute   what an entry that points to a table must say for it
    modifier     a leaf that the hardware makes writable, and dirty, with the first store (ARM's DBM)
    table_accessed  bit that the hardware sets in an entry that points to a table
    hw_accessed, hw_dirty  the hardware sets the marks; otherwise their absence is a fault
    contiguous   the leaf is one of several that form one larger page; with ``napot``, all of these are alike
    rdonly       software keeps this bit: set unless the leaf has both ``write`` and ``dirty``; 0 for none
    protnone     software: a page that is there while nobody may access it (PROT_NONE); not present for the hardware
    special      software: the frame has no struct page to account (the zero page, device memory)
    guard        software: the entry of a guard region (MADV_GUARD_INSTALL), not present
    swap         software: where in swap the page is
    pkey_shift   lowest of the four bits of a leaf that are its protection key, 0 for none
    table        all the bits of an entry that points to a table of user memory
    root_table   the same in the root table
    protection_map  the bits of a leaf by (vm_flags & (READ|WRITE|EXEC|SHARED)): Linux's array of 16
    has_nx       a right to execute exists: without it whatever can be read can be executed
    execute_only  a mapping of PROT_EXEC alone cannot be read
    bit_names    (mask, name) pairs, low bits first, for showing a last-level entry to a person
    large_names, table_names   the same for an entry of a higher level that maps a page, and for one that points to a
                 table, where they differ
    memory_types what a leaf says of caching
    kernel       what grants an access to the kernel
    """

    def __init__(
        self,
        name: str,
        levels: tuple[Level, ...],
        pfn_mask: i64,
        present: Bits,
        pointer: Bits,
        write: Bits,
        user: Bits,
        execute: Bits,
        accessed: Bits,
        dirty: Bits,
        global_: Bits,
        hw_read: Bits,
        hw_write: Bits,
        hw_execute: Bits,
        protnone: Bits,
        special: Bits,
        guard: i64,
        swap: SwapFormat,
        table: i64,
        protection_map: tuple[int, ...],
        bit_names: tuple[tuple[int, str], ...],
        kernel: KernelRights,
        page_shift: int = 12,
        entry_shift: int = 3,
        pfn_shift: int = 12,
        high_shift: int = 0,
        top_shift: int = 32,
        halves: bool = False,
        two_roots: bool = False,
        no_page: Bits = NEVER,
        illegal: Bits = NEVER,
        table_read: Bits = ALWAYS,
        table_write: Bits = ALWAYS,
        table_execute: Bits = ALWAYS,
        modifier: Bits = NEVER,
        table_accessed: i64 = 0,
        hw_accessed: bool = True,
        hw_dirty: bool = True,
        contiguous: Bits = NEVER,
        napot: bool = False,
        rdonly: i64 = 0,
        hw_dirty_bits: Bits | None = None,
        root_table: i64 = 0,
        large_names: tuple[tuple[int, str], ...] = (),
        table_names: tuple[tuple[int, str], ...] = (),
        memory_types: MemoryTypes = NONE,
        pkey_shift: int = 0,
    ) -> None:
        self.name = name
        self.levels = levels
        self.page_shift: i64 = page_shift
        self.page_size: i64 = bit(page_shift)
        self.page_mask: i64 = -bit(page_shift)  # Linux's PAGE_MASK: clears the offset within a page
        self.entry_shift: i64 = entry_shift
        self.table_shift: i64 = page_shift - entry_shift  # log2 of the entries of a table
        self.table_mask: i64 = (1 << (page_shift - entry_shift)) - 1
        self.pmd_shift: i64 = 2 * page_shift - entry_shift  # log2 of the bytes that a last-level table serves
        self.pmd_size: i64 = bit(self.pmd_shift)
        self.pfn_mask = pfn_mask
        self.pfn_shift: i64 = pfn_shift
        self.pfn_left: i64 = page_shift - pfn_shift  # from its place in an entry to its place in a physical address
        self.high_shift = high_shift
        self.top_shift = top_shift
        self.halves = halves
        self.two_roots = two_roots
        self.present = present
        self.pointer = pointer
        self.no_page = no_page
        self.illegal = illegal
        self.write = write
        self.user = user
        self.execute = execute
        self.accessed = accessed
        self.dirty = dirty
        self.global_ = global_
        self.hw_read = hw_read
        self.hw_write = hw_write
        self.hw_execute = hw_execute
        self.table_read = table_read
        self.table_write = table_write
        self.table_execute = table_execute
        self.modifier = modifier
        self.table_accessed = table_accessed
        self.hw_accessed = hw_accessed
        self.hw_dirty = hw_dirty
        self.hw_dirty_bits = dirty if hw_dirty_bits is None else hw_dirty_bits
        self.contiguous = contiguous
        self.napot = napot
        self.rdonly = rdonly
        self.protnone = protnone
        self.special = special
        self.guard = guard
        self.swap = swap
        self.table = table
        self.root_table: i64 = root_table if root_table else table
        self.protection_map = protection_map
        self.has_nx: bool = execute.mask != 0
        self.execute_only: bool = not hw_read.test(protection_map[4])
        self.bit_names = bit_names
        self.kernel = kernel
        self.large_names = large_names if large_names else bit_names
        self.table_names = table_names if table_names else bit_names
        self.memory_types = memory_types
        self.pkey_shift: i64 = pkey_shift

    def pfn(self, entry: i64) -> i64:
        """The frame that an entry names: a page's, or the next table's."""
        return (entry & self.pfn_mask) >> self.pfn_shift

    def table_index(self, entry: i64) -> i64:
        """Where the table that an entry points to begins, as an index of entries (``Ram.words``)."""
        return (entry & self.pfn_mask) >> self.pfn_shift << self.table_shift

    def sync_rdonly(self, pte: i64) -> i64:
        """``pte`` with the bit ``rdonly`` as its ``write`` and ``dirty`` ask (formats that have it)."""
        if self.write.test(pte) and self.dirty.test(pte):
            return pte & ~self.rdonly
        return pte | self.rdonly

    def is_swap_pte(self, pte: i64) -> bool:
        """Whether an entry is neither empty nor of a page in memory: a swap entry or a marker (a guard region)."""
        return (
            pte != 0
            and pte & self.present.mask != self.present.value
            and pte & self.protnone.mask != self.protnone.value
        )

    def swp_pte(self, kind: i64, offset: i64) -> i64:
        """The entry of page ``offset`` of swap area ``kind``; up to ``swap.max_type`` and ``swap.max_offset``."""
        return self.swap.swp_pte(kind, offset)

    def pte_swp_type(self, pte: i64) -> i64:
        """The swap area of a swap entry."""
        return self.swap.pte_swp_type(pte)

    def pte_swp_offset(self, pte: i64) -> i64:
        """The page in its area of a swap entry."""
        return self.swap.pte_swp_offset(pte)

    def pte_swp_exclusive(self, pte: i64) -> bool:
        """Whether the page was this mapping's alone (PG_anon_exclusive) when it went out."""
        return pte & self.swap.exclusive != 0

    def pte_swp_mkexclusive(self, pte: i64) -> i64:
        """A swap entry that remembers that."""
        return pte | self.swap.exclusive

    def pte_swp_clear_exclusive(self, pte: i64) -> i64:
        """A swap entry that does not."""
        return pte & ~self.swap.exclusive

    def is_leaf(self, entry: i64, level: int) -> bool:
        """Whether a present entry of ``levels[level]`` maps a page rather than pointing to a table."""
        return level == len(self.levels) - 1 or not self.pointer.test(entry)

    def decode(self, entry: i64, level: int = -1) -> list[str]:
        """The names of the bits that are set in a present entry of ``levels[level]``, low bits first."""
        last = level in (-1, len(self.levels) - 1)
        names = self.bit_names if last else self.large_names if self.is_leaf(entry, level) else self.table_names
        return [name for mask, name in names if entry & mask]

    def memory_type(self, entry: i64, level: int = -1) -> str:
        """What a leaf of ``levels[level]`` says of caching; "" where it says nothing."""
        return self.memory_types.name(entry, last=level in (-1, len(self.levels) - 1))

    def folded(self, name: str) -> tuple[str, ...]:
        """The levels of Linux's five that this format does not have and that Linux folds into the one named: a table
        without a pud has the pud's one entry in the entry above it."""
        have = [level.name for level in self.levels]
        at = LEVEL_NAMES.index(name)
        missing = []
        for lower in LEVEL_NAMES[at + 1 :]:
            if lower in have:
                break
            missing.append(lower)
        return tuple(missing)


LEVEL_NAMES: Final = ("pgd", "p4d", "pud", "pmd", "pte")


def level_names(count: int) -> tuple[str, ...]:
    """Linux's names of the levels of a table of 2 to 5 levels: what is missing is folded into the level above."""
    return {2: ("pgd", "pte"), 3: ("pgd", "pmd", "pte"), 4: ("pgd", "pud", "pmd", "pte"), 5: LEVEL_NAMES}[count]


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
    mmap_legacy      TASK_UNMAPPED_BASE: where a search from below begins, without randomisation
    text_base        where linkers put a program that is not position independent
    page_size        PAGE_SIZE
    bits             of a program's words: 64 or 32
    """

    task_size: int
    mmap_top: int
    stack_top: int
    et_dyn_base: int
    mmap_rnd_bits: int
    stack_rnd_mask: int
    brk_rnd_bytes: int
    mmap_legacy: int
    text_base: int
    page_size: int = 4096
    bits: int = 64
