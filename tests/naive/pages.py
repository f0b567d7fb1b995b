"""What the naive twin is made of: pages, the objects behind them, and the numbers of madvise."""

from dataclasses import dataclass, field

EPERM, ENOMEM, EACCES, EFAULT, EEXIST, EINVAL = 1, 12, 13, 14, 17, 22
R, W, X = 1, 2, 4
MADV = {
    "normal": 0, "random": 1, "sequential": 2, "willneed": 3, "dontneed": 4, "free": 8, "remove": 9, "dontfork": 10,
    "dofork": 11, "mergeable": 12, "unmergeable": 13, "hugepage": 14, "nohugepage": 15, "dontdump": 16, "dodump": 17,
    "wipeonfork": 18, "keeponfork": 19, "cold": 20, "populate_read": 22, "populate_write": 23, "dontneed_locked": 24,
    "guard_install": 102, "guard_remove": 103,
}  # fmt: skip
# advice that only sets and clears marks: (set, cleared)
MARKS = {
    "normal": ("", "seq rand"), "random": ("rand", "seq"), "sequential": ("seq", "rand"), "dontfork": ("dc", ""),
    "dofork": ("", "dc"), "mergeable": ("mg", ""), "unmergeable": ("", "mg"), "hugepage": ("hg", "nh"),
    "nohugepage": ("nh", "hg"), "dontdump": ("dd", ""), "dodump": ("", "dd"), "wipeonfork": ("wf", ""),
    "keeponfork": ("", "wf"),
}  # fmt: skip
HUGE = 512
GAP = 256


@dataclass(eq=False)
class Object:
    """A file or a piece of shared memory: its bytes (the first of each page), and its length in pages."""

    name: str
    size: int
    shmem: bool = True
    data: dict[int, int] = field(default_factory=dict)


@dataclass(eq=False)
class Page:
    """One mapped page. entry: "" nothing, "zero", "anon", "cache", or "guard"; writable: a store needs no fault."""

    prot: int
    shared: bool = False
    obj: Object | None = None
    off: int = 0
    marks: frozenset[str] = frozenset()
    entry: str = ""
    writable: bool = False
    dirty: bool = False
    byte: int = 0

    def kind(self) -> tuple[object, ...]:
        """What neighbours in one VMA have in common."""
        return self.prot, self.shared, self.obj, self.marks

    @property
    def notify(self) -> bool:
        """The file wants a fault at the first store to each shared page."""
        return self.shared and self.obj is not None and not self.obj.shmem


def writable_after_mprotect(page: Page) -> bool:
    """Whether the entry is writable once its rights have changed, without another fault."""
    if not page.prot & W or page.entry in ("", "zero", "guard"):
        return False
    if not page.shared:
        return page.entry == "anon"
    return page.dirty if page.notify else True
