"""Page tables of any format, built by hand in RAM: entries are placed, tables made as the way down needs them."""

from pagewalk.arch.format import Level, PageFormat
from pagewalk.mm.ram import Ram


class Tables:
    """A table whose root is in frame ``root``; further tables take the frames after ``first_free``."""

    def __init__(self, ram: Ram, fmt: PageFormat, root: int = 1, first_free: int = 2) -> None:
        self.ram = ram
        self.fmt = fmt
        self.root = root
        self.next_frame = first_free

    def get(self, paddr: int) -> int:
        """The entry at a physical address, unsigned where it has 4 bytes, else signed."""
        size = 1 << int(self.fmt.entry_shift)
        return int.from_bytes(self.ram.bytes[paddr : paddr + size], "little", signed=size == 8)

    def put(self, paddr: int, entry: int) -> None:
        """Stores an entry."""
        size = 1 << int(self.fmt.entry_shift)
        self.ram.bytes[paddr : paddr + size] = (entry & (1 << 8 * size) - 1).to_bytes(size, "little")

    def pointer(self, level: Level, frame: int) -> int:
        """An entry of ``level`` that points to the table in ``frame``."""
        bits = self.fmt.root_table if level is self.fmt.levels[0] else self.fmt.table
        return int(bits) | frame << int(self.fmt.pfn_shift)

    def target(self, entry: int) -> int:
        """Physical address of the table that an entry points to."""
        return (entry & int(self.fmt.pfn_mask)) >> int(self.fmt.pfn_shift) << int(self.fmt.page_shift)

    def place(self, addr: int, depth: int, table_bits: list[int] | None = None) -> int | None:
        """Physical address of the entry for ``addr`` at level ``depth`` (0 = root), tables made on the way, with the
        bits ``table_bits[depth]`` where they are given; None where a page is mapped above it."""
        fmt = self.fmt
        table = self.root << int(fmt.page_shift)
        for at, level in enumerate(fmt.levels):
            index = addr >> level.shift & (1 << level.nr_bits) - 1
            paddr = table + (index << int(fmt.entry_shift))
            if at == depth:
                return paddr
            entry = self.get(paddr)
            if entry == 0:
                entry = self.pointer(level, self.next_frame)
                if table_bits is not None:
                    entry = table_bits[at] | self.next_frame << int(fmt.pfn_shift)
                self.put(paddr, entry)
                self.next_frame += 1
            elif not fmt.pointer.test(entry):
                return None
            table = self.target(entry)
        raise AssertionError(depth)

    def map(self, addr: int, entry: int, depth: int, table_bits: list[int] | None = None) -> bool:
        """Puts ``entry`` (whole) at ``addr``; False where something is there already."""
        paddr = self.place(addr, depth, table_bits)
        if paddr is None or self.get(paddr):
            return False
        self.put(paddr, entry)
        return True

    def leaf(self, frame: int, bits: int) -> int:
        """A whole entry."""
        return bits | frame << int(self.fmt.pfn_shift)
