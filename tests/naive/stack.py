"""LRU stacks as Python lists, and caches as they would be: what the fast stacks are compared with."""

from collections.abc import Hashable

Page = tuple[int, int]  # (owner, page number)


class NaiveStack:
    """One stack; the top is at 0. A hole is None."""

    def __init__(self) -> None:
        self.pages: list[Page | None] = []

    def use(self, page: Page) -> int:
        """The page's distance, -1 where it came in."""
        depth = self.pages.index(page) if page in self.pages else -1
        above = self.pages if depth < 0 else self.pages[:depth]
        if None in above:
            hole = above.index(None)
            if depth >= 0:
                self.pages[depth] = None
            del self.pages[hole]
        elif depth >= 0:
            del self.pages[depth]
        self.pages.insert(0, page)
        return depth

    def drop(self, page: Page) -> None:
        if page in self.pages:
            self.pages[self.pages.index(page)] = None

    def remove(self, page: Page) -> None:
        if page in self.pages:
            self.pages.remove(page)


class NaiveCache:
    """A cache of ``entries`` that replaces what was used longest ago; the real thing, of one size."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self.held: dict[Hashable, None] = {}  # the last used one at the end
        self.misses = 0

    def use(self, page: Hashable) -> bool:
        """Whether it was there."""
        hit = page in self.held
        if hit:
            del self.held[page]
        else:
            self.misses += 1
            if len(self.held) == self.entries:
                del self.held[next(iter(self.held))]
        self.held[page] = None
        return hit

    def drop(self, page: Hashable) -> None:
        self.held.pop(page, None)
