"""A naive twin of vmalloc, vmap and kmap: dictionaries of what each page holds, and rules stated one by one."""

from dataclasses import dataclass, field


@dataclass
class Twin:
    """What the kernel's memory is to hold.

    areas     first page number of each area, and the contents of its pages, in order
    contents  of each page of its own, by frame
    users     of each page's persistent mapping, by frame
    local     each CPU's stack of kmap_local: frames
    """

    areas: dict[int, list[bytes]] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    users: dict[int, int] = field(default_factory=dict)
    local: dict[int, list[int]] = field(default_factory=dict)

    def add_area(self, addr: int, nr_pages: int) -> None:
        """A new area must touch no other, and no other's guard page."""
        first = addr >> 12
        assert addr % 4096 == 0
        for other, pages in self.areas.items():
            assert first > other + len(pages) or other > first + nr_pages, "areas and their guard pages are disjoint"
        self.areas[first] = [b""] * nr_pages

    def remove_area(self, addr: int) -> None:
        """It is gone."""
        del self.areas[addr >> 12]

    def kmap(self, pfn: int, slots: int) -> bool:
        """One user more; False where all slots have users."""
        if pfn not in self.users and len(self.users) == slots:
            return False
        self.users[pfn] = self.users.get(pfn, 0) + 1
        return True

    def kunmap(self, pfn: int) -> None:
        """One user less."""
        self.users[pfn] -= 1
        if not self.users[pfn]:
            del self.users[pfn]
