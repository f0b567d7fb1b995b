"""A census: everything that RAM, the page tables and the lists say, gathered once, for the invariants to compare.

The walk here is its own: it reads the tables in RAM from the root, and asks no function of ``mm/``.
"""

from collections.abc import Iterable

from pagewalk.mm.file import AddressSpace
from pagewalk.mm.mm_types import MmStruct
from pagewalk.mm.page import Page
from pagewalk.mm.swapfile import pte_to_swp_entry
from pagewalk.mm.system import System
from pagewalk.mm.vma import Vma

__all__ = ["Broken", "Census", "Leaf", "Table"]


class Broken(AssertionError):
    """An invariant does not hold; the message names it, and what was found."""


class Table:
    """A page table in use: the level (0 is the root) and the addresses [start, end) that it serves."""

    def __init__(self, pfn: int, level: int, start: int, end: int) -> None:
        self.pfn = pfn
        self.level = level
        self.start = start
        self.end = end


class Leaf:
    """A last-level entry that is not 0."""

    def __init__(self, mm: MmStruct, addr: int, pte: int, word: int) -> None:
        self.mm = mm
        self.addr = addr
        self.pte = pte
        self.word = word  # index of the entry in RAM's words
        fmt = mm.system.format
        self.is_guard = pte == fmt.guard
        self.present = fmt.present.test(pte)
        self.protnone = not self.present and fmt.protnone.test(pte)
        self.pfn = int(fmt.pfn(pte))
        self.special = fmt.special.test(pte)
        self.swap_entry = -1
        if not self.is_guard and fmt.is_swap_pte(pte):
            self.swap_entry = int(pte_to_swp_entry(fmt, pte))
        self.vma: Vma | None = next((vma for vma in mm.vmas if vma.vm_start <= addr < vma.vm_end), None)

    def __repr__(self) -> str:
        return f"<Leaf {self.addr:#x}: {self.pte & (1 << 64) - 1:#x}>"

    @property
    def maps_page(self) -> bool:
        """The entry refers to a frame whose mappings are counted."""
        return (self.present or self.protnone) and not self.special

    @property
    def is_swap(self) -> bool:
        """The entry refers to a slot of a swap area."""
        return self.swap_entry >= 0


class Census:
    """What is there.

    mms      the address spaces that exist
    spaces   page caches that no mapping and no page leads to (System V segments, say)
    held     blocks that the caller took from the allocator himself, as head page and order
    """

    def __init__(
        self,
        system: System,
        mms: Iterable[MmStruct],
        spaces: Iterable[AddressSpace] = (),
        held: Iterable[tuple[Page, int]] = (),
    ) -> None:
        self.system = system
        self.mms = list(mms)
        self.held = list(held)
        self.pages = [page for section in system.mem_map.sections if section for page in section if page is not None]
        init_mm = system.init_mm
        self._user_entries = 1 << 16 if init_mm is None else init_mm.first_index  # of a root table
        self.tables: dict[int, list[Table]] = {}
        self.leaves: dict[int, list[Leaf]] = {}
        self.mappers: dict[int, list[Leaf]] = {}
        for mm in self.mms:
            self.tables[mm.ident] = []
            self.leaves[mm.ident] = []
            if mm.pgd_pfn >= 0:
                self._walk(mm, int(mm.pgd_pfn), 0, 0)
        for leaves in self.leaves.values():
            for leaf in leaves:
                if leaf.maps_page:
                    self.mappers.setdefault(leaf.pfn, []).append(leaf)
        found: dict[int, AddressSpace] = {id(space): space for space in spaces}
        for page in self.pages:
            if isinstance(page.mapping, AddressSpace):
                found[id(page.mapping)] = page.mapping
        for mm in self.mms:
            for vma in mm.vmas:
                if vma.vm_file is not None and vma.vm_file.mapping is not None:
                    found[id(vma.vm_file.mapping)] = vma.vm_file.mapping
        for space in self.system.shmem_swaplist.values():
            found[id(space)] = space
        self.spaces = list(found.values())

    def _walk(self, mm: MmStruct, pfn: int, level: int, start: int) -> None:
        """Visits a table and what is below it."""
        fmt = self.system.format
        shift = fmt.levels[level].shift
        count = 1 << int(fmt.table_shift)
        first = pfn << int(fmt.table_shift)
        self.tables[mm.ident].append(Table(pfn, level, start, start + (count << shift)))
        entries = self.system.ram.words[first : first + count].tolist()
        last = level == len(fmt.levels) - 1
        for index, entry in enumerate(entries):
            if not entry or (level == 0 and index >= self._user_entries):
                continue
            addr = start + (index << shift)
            if last:
                self.leaves[mm.ident].append(Leaf(mm, addr, entry, first + index))
            elif fmt.present.test(entry):
                self._walk(mm, int(fmt.pfn(entry)), level + 1, addr)
            else:
                raise Broken(f"an upper entry is 0 or points to a table: {addr:#x} level {level} holds {entry:#x}")

    def all_leaves(self) -> list[Leaf]:
        """The entries of every address space."""
        return [leaf for leaves in self.leaves.values() for leaf in leaves]

    def all_vmas(self) -> list[Vma]:
        """The VMAs of every address space."""
        return [vma for mm in self.mms for vma in mm.vmas]


def require(holds: bool, invariant: str, found: str | tuple[object, ...]) -> None:
    """Raises ``Broken`` where an invariant does not hold. ``found`` may be a tuple: it becomes text only then."""
    if not holds:
        told = found if isinstance(found, str) else " ".join([str(part) for part in found])
        raise Broken(f"{invariant}: {told}")
