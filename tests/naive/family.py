"""A family of processes that fork, slow and obvious: every process has a dict from page to entry, every frame a count.

An entry is ``[frame, writable]``; the zero page is the frame ``ZERO``. Nothing here knows of page tables, VMAs or
maps of owners: what a fork shares, a write copies and an exit leaves follows from the counts alone.
"""

from dataclasses import dataclass, field


@dataclass
class Frame:
    """A private page: its first byte, and how many entries map it."""

    byte: int
    count: int = 1


ZERO = Frame(0)


@dataclass
class Area:
    """Private anonymous memory of one process.

    fork     what a fork makes of it: "copy", "wipe" (MADV_WIPEONFORK), "skip" (MADV_DONTFORK)
    written  somebody once wrote here, this process or one that it descends from: a fork must copy the entries
    entries  what is mapped, by page
    """

    fork: str = "copy"
    written: bool = False
    entries: dict[int, list[Frame | bool]] = field(default_factory=dict)

    def frame(self, page: int) -> Frame:
        """The frame that is mapped at ``page``."""
        found = self.entries[page][0]
        assert isinstance(found, Frame)
        return found

    def read(self, page: int) -> tuple[int, int]:
        """(the byte, how many faults it took)."""
        if page in self.entries:
            return self.frame(page).byte, 0
        self.entries[page] = [ZERO, False]
        return 0, 1

    def write(self, page: int, byte: int) -> str:
        """What the write needed: "" (no fault), "new", "reuse" or "copy"."""
        self.written = True
        if page not in self.entries or self.frame(page) is ZERO:
            kind = "copy" if page in self.entries else "new"
            self.entries[page] = [Frame(byte), True]
            return kind
        frame, writable = self.frame(page), self.entries[page][1]
        if writable or frame.count == 1:
            frame.byte = byte
            self.entries[page][1] = True
            return "" if writable else "reuse"
        frame.count -= 1
        self.entries[page] = [Frame(byte), True]
        return "copy"

    def drop(self, page: int) -> None:
        """MADV_DONTNEED, or the end of the process."""
        if page in self.entries and self.frame(page) is not ZERO:
            self.frame(page).count -= 1
        self.entries.pop(page, None)

    def child(self) -> "Area | None":
        """What a fork makes of it."""
        if self.fork == "skip":
            return None
        made = Area(self.fork)
        if self.fork == "wipe" or not self.written:
            return made
        made.written = True
        for page, entry in self.entries.items():
            entry[1] = False
            made.entries[page] = list(entry)
            if self.frame(page) is not ZERO:
                self.frame(page).count += 1
        return made
