"""A slot of a swap area, and a cluster of 512 of them.

Linux keeps what it knows of a slot in several arrays: its count, whether its page is all zeros, and the page that is
cached for it or, once that has gone, its shadow. Here it lies in one object, so that the host fetches it at once.

Mirrors: include/linux/swap.h (struct swap_cluster_info), mm/swap_table.h, mm/swapfile.c (swap_map) (6.18)
Differs: objects rather than arrays; a cluster keeps them once it was used; a count has no limit and needs no
    continuation pages.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from pagewalk.mm.page import Page

SWAPFILE_CLUSTER_SHIFT: Final = 9
SWAPFILE_CLUSTER: Final = 1 << SWAPFILE_CLUSTER_SHIFT
SLOT_MASK: Final = SWAPFILE_CLUSTER - 1
NOTHING: Final = 0
ZEROS: Final = -1


@final
@mypyc_attr(acyclic=True)
class SwapSlot:
    """One slot.

    used    it is given out: something refers to it, or a page is cached for it
    count   page-table entries and objects of shared memory that refer to it
    page    the page that the swap cache has for it
    place   where its contents are: NOTHING is stored, its page is all ZEROS (or was, when the slot was last used), or
            the page of the area's contents that it has, plus 1 (mm/swap_contents.py)
    shadow  what is to be remembered of its page, which has left memory, plus 1; 0 for nothing. Of a slot that is free,
            or whose page has not gone yet, it is what it was before
    """

    def __init__(self) -> None:
        self.used = False
        self.count: i64 = 0
        self.page: Page | None = None
        self.place: i64 = NOTHING
        self.shadow: i64 = 0

    def drop_use(self) -> None:
        """One use less."""
        assert self.count > 0, "the slot is not in use"
        self.count -= 1


@final
class SwapCluster:
    """Up to 512 slots that follow each other.

    nr     how many it has; the last cluster of an area may be shorter
    count  used ones
    slots  what is known of them
    cached how many have a page in the swap cache
    """

    def __init__(self, nr: i64) -> None:
        self.nr: i64 = nr
        self.count: i64 = 0
        self.cached: i64 = 0
        self.slots: list[SwapSlot] = [SwapSlot() for _ in range(nr)]

    def next_free(self, at: i64) -> i64:
        """The first free slot from ``at`` on; ``nr`` where there is none."""
        slots = self.slots
        while at < self.nr and slots[at].used:
            at += 1
        return at

    def cached_pages(self) -> list[Page]:
        """The pages that the swap cache has for its slots, by slot."""
        found: list[Page] = []
        if self.cached:
            for slot in self.slots:
                if slot.page is not None:
                    found.append(slot.page)
        return found
