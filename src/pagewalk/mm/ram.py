"""RAM: one sparse anonymous mapping that the kernel, the walker and the CPU share.

Untouched frames cost nothing. Kernel code sees page-table entries (``words``, indexed by physical address / the size of
an entry, 8 or 4 bytes) and bytes (``bytes``, indexed by physical address); the walker sees 64-bit words (``quads``);
``address`` is where the host has it, for the walker and the emulator.

Mirrors: arch/x86/mm/init_64.c (the direct map) (6.18)
Differs: indexed by physical address; a hole is address space that nobody touches.
"""

import ctypes
import mmap

from mypy_extensions import i64

from pagewalk.arch.format import bit

_MAP_NORESERVE = 0x4000  # mmap has no name for it before Python 3.13


class Ram:
    """``size`` bytes of physical address space, holes included (a hole is never touched).

    entry_shift  log2 of the size of a page-table entry: signed words of 8 bytes, or unsigned ones of 4
    page_shift   log2 of the size of a frame
    code_frames  one byte a frame, non-zero where the CPU has translated code from it
    stale_code   frames whose translated code the CPU must forget before it runs again
    unread       nobody looks at what files hold: a trace makes the accesses, so pages of files are not read
    nobody_stores  no program has stored anything, and none will: the accesses come from a trace, which does not say
                 what was stored (``replayed``)
    """

    def __init__(self, size: int, entry_shift: int = 3, page_shift: int = 12) -> None:
        self.size = size
        self.page_shift: i64 = page_shift
        self.page_size: i64 = bit(page_shift)
        self.zero_page = bytes(1 << page_shift)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._map = mmap.mmap(-1, size, flags=flags)
        try:
            self._map.madvise(mmap.MADV_HUGEPAGE)  # frames in use lie together: fewer faults and TLB misses of the host
        except (AttributeError, OSError):
            pass
        self.bytes = memoryview(self._map)
        self.quads = self.bytes.cast("q")
        self.words = self.quads if entry_shift == 3 else self.bytes.cast("I")
        self._code_map = mmap.mmap(-1, max(size >> page_shift, 4096), flags=flags)
        self.code_frames = memoryview(self._code_map)
        self.stale_code: list[int] = []
        self.unread = False
        self.nobody_stores = False
        self._stored = False
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.code_address = ctypes.addressof(ctypes.c_char.from_buffer(self._code_map))

    def clear_page(self, pfn: i64) -> None:
        """Zeroes a frame."""
        start: i64 = pfn << self.page_shift
        self.bytes[start : start + self.page_size] = self.zero_page

    def copy_page(self, to_pfn: i64, from_pfn: i64) -> None:
        """Copies a frame."""
        to: i64 = to_pfn << self.page_shift
        start: i64 = from_pfn << self.page_shift
        self.bytes[to : to + self.page_size] = self.bytes[start : start + self.page_size]

    def page(self, pfn: i64) -> memoryview:
        """The bytes of a frame, writable."""
        start: i64 = pfn << self.page_shift
        return self.bytes[start : start + self.page_size]

    def replayed(self) -> None:
        """From here on a trace makes the accesses: what was mapped as zeros stays so, unless somebody has stored, or
        will store, all the same (``stored_to``, ``programs_run``)."""
        self.nobody_stores = not self._stored

    def programs_run(self) -> None:
        """A CPU executes programs, and these store behind the model's back."""
        self._stored = True
        self.nobody_stores = False

    def stored_to(self, pfn: i64) -> None:
        """The frame, which may be a program's, is stored to for it (``frame_changed``)."""
        self._stored = True
        self.nobody_stores = False
        self.frame_changed(pfn)

    def frame_changed(self, pfn: i64) -> None:
        """The frame is about to be reused or rewritten behind the CPU's back: code translated from it is stale."""
        if self.code_frames[pfn]:
            self.code_frames[pfn] = 0
            self.stale_code.append(pfn)
