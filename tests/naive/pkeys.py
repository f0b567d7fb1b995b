"""Protection keys, slow and obvious: a process has a set of keys, a dict from page to (rights, key), and a PKRU.

Nothing here knows of VMAs, entries or TLBs. Errors are errno numbers, accesses answer si_code (0: it went ahead).
"""

from dataclasses import dataclass, field

EINVAL, ENOMEM, ENOSPC = 22, 12, 28
READ, WRITE, EXEC = 1, 2, 4
ACCERR, MAPERR, PKUERR = 2, 1, 4


@dataclass
class Keys:
    """One process.

    given      keys that were given out, key 0 at first
    kept       the one of execute-only memory, None for none yet
    closed     keys that may not be read, and keys that may not be written, as PKRU has them
    pages      page number: [rights, key, byte]
    """

    given: set[int] = field(default_factory=lambda: {0})
    kept: int | None = None
    no_access: set[int] = field(default_factory=lambda: set(range(1, 16)))
    no_write: set[int] = field(default_factory=set)
    pages: dict[int, list[int]] = field(default_factory=dict)

    def child(self) -> "Keys":
        """What fork makes."""
        pages = {page: list(known) for page, known in self.pages.items()}
        return Keys(set(self.given), self.kept, set(self.no_access), set(self.no_write), pages)

    def pkru(self) -> int:
        """The register."""
        return sum(1 << 2 * key for key in self.no_access) + sum(2 << 2 * key for key in self.no_write)

    def set(self, key: int, rights: int) -> None:
        """Writes a key's two bits."""
        self.no_access.discard(key)
        self.no_write.discard(key)
        if rights & 1:
            self.no_access.add(key)
        if rights & 2:
            self.no_write.add(key)

    def _take(self) -> int | None:
        free = [key for key in range(16) if key not in self.given]
        if not free:
            return None
        self.given.add(free[0])
        return free[0]

    def alloc(self, rights: int) -> int:
        """The key, or minus an error."""
        if rights not in (0, 1, 2, 3):
            return -EINVAL
        key = self._take()
        if key is None:
            return -ENOSPC
        self.set(key, rights)
        return key

    def may_name(self, key: int) -> bool:
        """Whether a program may use that key in a call."""
        return key in self.given and key != self.kept

    def free(self, key: int) -> int:
        """0 or an error."""
        if not self.may_name(key):
            return EINVAL
        self.given.remove(key)
        return 0

    def execute_only(self) -> int:
        """The key of memory that is only to be executed; 0 where none is left."""
        if self.kept is None:
            self.kept = self._take()
            if self.kept is None:
                return 0
            self.set(self.kept, 1)
        elif self.kept not in self.no_access:
            self.set(self.kept, 1)
        return self.kept

    def map(self, first: int, count: int, rights: int) -> None:
        """New memory."""
        key = self.execute_only() if rights == EXEC else 0
        for page in range(first, first + count):
            self.pages[page] = [rights, key, 0]

    def protect(self, first: int, count: int, rights: int, key: int | None) -> int:
        """0 or an error; what lies before a hole is changed."""
        if key is not None and not self.may_name(key):
            return EINVAL
        for page in range(first, first + count):
            known = self.pages.get(page)
            if known is None:
                return ENOMEM
            if key is not None:
                known[1] = key
            elif rights == EXEC:
                known[1] = self.execute_only() or known[1]
            elif known[0] == EXEC and known[1] == self.kept:
                known[1] = 0
            known[0] = rights
        return 0

    def access(self, page: int, write: bool) -> int:
        """si_code of an access."""
        known = self.pages.get(page)
        if known is None:
            return MAPERR
        rights, key, _ = known
        if key in self.no_access or (write and key in self.no_write):
            return PKUERR
        if not (rights & WRITE if write else rights):
            return ACCERR
        return 0
