"""One CPU's MMU as Python drives it: load an address space, replay accesses, invalidate, look at entries and counters.

    mmu = Mmu(preset("zen4"), machine.system.format, machine.system.ram)
    mmu.load(root_pfn, asid=1)
    at = mmu.replay(Accesses(addrs, kinds))  # their number, or the one that faulted: mmu.status says why

It knows nothing of a kernel: on a fault the caller serves it and goes on from there.
"""

import functools
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pagewalk.errors import ConfigError
from pagewalk.hw import loop, tlb, translate
from pagewalk.hw.loop import B_ARRAYS, B_AT, BLOCK_WORDS
from pagewalk.hw.tlb_build import build_state
from pagewalk.hw.tlb_config import Policy, TlbConfig, WalkCache
from pagewalk.hw.tlb_counters import TlbCounters, read_counters
from pagewalk.hw.tlb_policy import interpreted_addresses
from pagewalk.hw.tlb_state import (
    ASID_MASK,
    C_HIT,
    C_MISS,
    COUNTERS_END,
    EMPTY,
    FRAME,
    HINT_WORDS,
    IDENT,
    NOWHERE,
    S_ASID,
    S_CLASS_SHIFT,
    S_COLUMN,
    S_FAULT_ADDR,
    S_FAULT_AT,
    S_FAULT_KIND,
    S_FRAMES,
    S_HALF,
    S_HINTS,
    S_LEVEL_SHIFT,
    S_NR_FRAMES,
    S_REST_AT,
    S_ROOT,
    S_SLOTS,
    S_TALLY,
    TAG_CLASS,
    TAG_NUMBER,
    stride,
)
from pagewalk.hw.walker import FETCH, FORMAT_SOFT_ACCESSED, FORMAT_SOFT_DIRTY, pack_format

if TYPE_CHECKING:
    from pagewalk.arch.format import PageFormat
    from pagewalk.mm.ram import Ram

__all__ = ["Accesses", "Entry", "Mmu"]

# When the code for one geometry pays: asked every LOOK accesses, by the accesses that the first level did not answer.
LOOK: Final = 1 << 18
LOAD_AT: Final = 1 << 20
COMPILE_AT: Final = 1 << 23
NEVER: Final = 1 << 62

_PAGE_WORDS: Final = 512
_HUGE_PAGE: Final = 1 << 21


@dataclass(frozen=True)
class Entry:
    """An entry of a TLB or walk cache.

    array   its array's name
    asid    0 for a global page
    addr    first address that it covers (signed); ``size`` bytes
    pfn     frame (of the format's smallest pages) where the page begins; of a walk-cache entry,
            the table that it points to
    rights  RIGHT_* that it grants; of a walk-cache entry those that are known to be granted on the way to it
    level   of a walk-cache entry: the level of the page table, else -1
    """

    array: str
    asid: int
    addr: int
    size: int
    pfn: int
    rights: int
    level: int


class Accesses:
    """Accesses in order, as compiled code takes them: contiguous arrays of one length.

    addrs  int64, of the first byte
    kinds  uint8: READ, WRITE or FETCH
    sizes  uint16: bytes; 1 each where they are not given
    tasks  int32, and cpus uint8: who makes them; 0 where they are not given
    """

    def __init__(self, addrs: Any, kinds: Any, sizes: Any = None, tasks: Any = None, cpus: Any = None) -> None:
        count = len(addrs)
        self.arrays = (
            addrs, kinds, np.ones(count, np.uint16) if sizes is None else sizes,
            np.zeros(count, np.int32) if tasks is None else tasks, np.zeros(count, np.uint8) if cpus is None else cpus,
        )  # fmt: skip
        for array, wanted in zip(self.arrays, (np.int64, np.uint8, np.uint16, np.int32, np.uint8), strict=True):
            if array.dtype != wanted or len(array) != count or not array.flags.c_contiguous:
                raise ValueError(f"expected {count} contiguous {wanted.__name__}, got {len(array)} {array.dtype}")
        self.addrs, self.kinds, self.sizes, self.tasks, self.cpus = self.arrays

    def __len__(self) -> int:
        return len(self.addrs)

    @functools.cached_property
    def addresses(self) -> tuple[int, ...]:
        """Where the arrays lie."""
        return tuple(array.ctypes.data for array in self.arrays)

    @functools.cached_property
    def views(self) -> tuple[Any, ...]:
        """The arrays for interpreted code: their items are ints."""
        return tuple(memoryview(array.data) for array in self.arrays)


class _Room:
    """Memory of the host for the words of MMUs, in its huge pages where it has any: so they lie in its caches alike
    each time, and take one entry of its TLB."""

    def __init__(self) -> None:
        self._rest: Any = np.empty(0, dtype=np.int64)

    def zeros(self, count: int) -> Any:
        """So many words, from the beginning of a page of the host on, so that a set of four ways is never in two lines
        of its caches. Memory that is not touched costs nothing, beside what is left of one huge page."""
        whole = count + -count % _PAGE_WORDS
        if whole > len(self._rest):
            size = 8 * whole + -8 * whole % _HUGE_PAGE
            memory = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            try:
                memory.madvise(mmap.MADV_HUGEPAGE)
            except (AttributeError, OSError):
                pass
            words = np.frombuffer(memory, dtype=np.int64)
            first = (-words.ctypes.data % _HUGE_PAGE) // 8
            self._rest = words[first : first + size // 8]
        found, self._rest = self._rest[:count], self._rest[whole:]
        return found


_room: Final = _Room()


class Mmu:
    """The translation caches of one CPU above one RAM.

    status  how the last ``replay`` or ``translate`` ended: a status of hw/walker.py
    words   the words of hw/tlb_state.py; ``state`` is the same memory as an array
    learns  which frames are neighbours (for coalesced entries) it is told by ``learn_frame``; those that it is not told
            of are as they lie in the RAM
    """

    def __init__(
        self, config: TlbConfig, fmt: "PageFormat", ram: "Ram", *, interpreted: bool | None = None, learns: bool = False
    ) -> None:
        self.config = config
        self._fmt = fmt
        self._nr_words = ram.size >> 3
        if interpreted is None:
            interpreted = bool(os.environ.get("PAGEWALK_INTERPRETED"))
        policies = {each.policy for each in config.all_arrays() if isinstance(each.policy, Policy)}
        words = pack_format(fmt)
        if config.marks != "format":
            words[FORMAT_SOFT_ACCESSED] = words[FORMAT_SOFT_DIRTY] = int(config.marks == "fault")
        packed = np.array(words, dtype=np.int64)
        if interpreted:
            addresses = {policy.name: interpreted_addresses(policy) for policy in policies}
            functions: tuple[Any, ...] = (
                tlb.invalidate, tlb.invalidate_page, translate.translate, loop.replay_batch,
            )  # fmt: skip
        else:
            from pagewalk.hw.jit import entry
            from pagewalk.hw.tlb_native import machine_code, policy_addresses

            addresses = {policy.name: policy_addresses(policy) for policy in policies}
            code = machine_code()
            functions = tuple(
                entry(code[name]) for name in ("_invalidate", "_invalidate_page", "_translate", "_replay")
            )
        self._invalidate, self._invalidate_page, self._translate = functions[:3]
        self._replay: Any = functions[3]
        words = build_state(config, fmt, addresses)
        frames = ram.size >> fmt.page_shift if learns else 0
        self.state = _room.zeros(len(words) + frames)
        self.state[: len(words)] = words
        self._learned = self.state[len(words) :]
        if learns:
            self.state[S_FRAMES], self.state[S_NR_FRAMES] = len(words), frames
        self._ram, self._format = ram, packed  # kept: compiled code knows their addresses only
        self.words = memoryview(self.state.data)
        self._state: Any = self.words if interpreted else self.state.ctypes.data
        self._words: Any = ram.quads if interpreted else ram.address
        self._packed: Any = memoryview(packed.data) if interpreted else packed.ctypes.data
        self._interpreted = interpreted
        self._block: Any = np.zeros(BLOCK_WORDS, dtype=np.int64)
        self._block_address: int = self._block.ctypes.data
        if not interpreted:
            self._block[:B_ARRAYS] = [self._state, self._words, self._nr_words, self._packed]
        self._now: Accesses
        self._look_at = NEVER if interpreted else 0  # accesses before ``consider`` looks
        self._accesses = 0

    @property
    def asid(self) -> int:
        """The tag of the address space that is loaded."""
        return int(self.state[S_ASID])

    @property
    def status(self) -> int:
        """How the last replay ended."""
        return int(self.words[0])

    def learn_frame(self, pfn: int, number: int) -> None:
        """For coalescing, frame ``pfn`` counts as frame ``number`` of some other machine from here on."""
        if pfn < len(self._learned):
            self._learned[pfn] = number + 1

    def learn_from(self, other: "Mmu") -> None:
        """All that another MMU was told."""
        known = np.flatnonzero(other._learned)
        self._learned[known] = other._learned[known]

    def load(self, root_pfn: int, asid: int) -> None:
        """Another address space: its root table's frame and its tag, 1 <= asid < 2**16. Invalidates nothing."""
        if not 1 <= asid <= ASID_MASK:
            raise ValueError(f"asid: expected 1 to {ASID_MASK}, got {asid}")
        self.state[S_ROOT] = root_pfn
        self.state[S_ASID] = asid
        self.state[S_HINTS : S_HINTS + 3 * HINT_WORDS : 2] = NOWHERE

    def replay(self, accesses: "Accesses", start: int = 0, end: int | None = None) -> int:
        """Accesses from ``start`` on, up to ``end`` or to where another task or CPU goes on; where it stopped. Where
        ``status`` is not OK, that is an access that faulted (``fault``): ``go_on`` once it is served or left out.

        Raises ConfigError at a kind that is not READ, WRITE or FETCH.
        """
        stop = len(accesses) if end is None else end
        if not 0 <= start <= stop <= len(accesses):
            raise ValueError(f"expected 0 <= start <= end <= {len(accesses)}, got {start}, {stop}")
        self.begin(accesses, start, stop)
        return self.go_on()

    def begin(self, accesses: "Accesses", start: int, end: int) -> None:
        """The accesses that ``go_on`` and ``resume`` are to serve."""
        self._now = accesses
        self._block[B_ARRAYS:] = [*accesses.addresses, start, end]
        self.words[S_HALF] = 0
        self.words[S_FAULT_AT] = self.words[S_REST_AT] = -1

    def go_on(self) -> int:
        """``replay`` from where it stopped."""
        resume, what = self.resume
        resume(what)
        return self.stopped_at()

    def stopped_at(self) -> int:
        """Where ``replay`` and ``resume`` have stopped."""
        at = int(self._block[B_AT])
        if self.words[0] == loop.BAD_KIND:
            raise ConfigError(f"expected accesses of kind 0 to {FETCH}, got {int(self._now.kinds[at])}")
        return at

    @property
    def resume(self) -> tuple[Callable[[object], int], object]:
        """``go_on`` for many faults: a function, which answers as ``loop.refused`` does, and its argument."""
        return (self._interpret, None) if self._interpreted else (self._replay, self._block_address)

    def _interpret(self, _what: object) -> int:
        """``resume``, interpreted."""
        start, end = self._block[B_AT:].tolist()
        at = int(self._replay(self._state, self._words, self._nr_words, self._packed, self._now.views, start, end))
        self._block[B_AT] = at
        return loop.refused(self._state, at)

    @property
    def at(self) -> int:
        """Where ``replay`` has stopped, or goes on."""
        return int(self._block[B_AT])

    @property
    def fault(self) -> tuple[int, int]:
        """Address and kind of the access that faulted, or of its part in the next page."""
        return self.words[S_FAULT_ADDR], self.words[S_FAULT_KIND]

    @property
    def in_second_page(self) -> bool:
        """Of the access that faulted, only the part in the next page is left."""
        return bool(self.words[S_HALF] == 1)

    def leave_out(self) -> None:
        """``go_on`` begins behind what has faulted: with the part in the next page of that access, or behind the
        access."""
        self.words[S_HALF] += 1

    @property
    def passed(self) -> tuple[int, int, int]:
        """Writes, fetches and accesses to two pages that ``replay`` has passed."""
        writes, fetches, crossing = self.words[S_TALLY : S_TALLY + 3].tolist()
        return writes, fetches, crossing

    def specialise(self) -> bool:
        """From here on ``replay`` is code that has the geometry built in; False where there is none for it.

        It counts the same and serves first-level misses 1.5 times as fast. Compiling it takes a second or two, loading
        it a tenth of one.
        """
        self._look_at = NEVER
        if self._interpreted:
            return False
        from pagewalk.hw.tlb_native import Specialised

        code = Specialised(self.state)
        if code.possible:
            from pagewalk.hw.jit import entry

            self._replay = entry(code.replay())
        return code.possible

    def consider(self, accesses: int) -> None:
        """``replay`` has served so many more: would ``specialise`` pay?"""
        self._accesses += accesses
        if self._accesses < self._look_at:
            return
        from pagewalk.hw.tlb_native import Specialised

        self._look_at = self._accesses + LOOK
        words = self.words[C_HIT : C_MISS + 2].tolist()  # hits by side and level, then misses
        missed = sum(words) - words[0] - words[4]
        if missed < self._accesses // 8:  # hints answer most: they are as fast without
            return
        code = Specialised(self.state)
        if code.loaded or missed >= COMPILE_AT or (missed >= LOAD_AT and code.kept):
            self.specialise()

    def translate(self, addr: int, access: int) -> int:
        """One access, without the short cuts of ``replay``; its status."""
        status: int = self._translate(self._state, self._words, self._nr_words, self._packed, addr, access)
        self.words[0] = status
        return status

    # Invalidations: how many entries went.

    def invalidate_pages(self, first: int, last: int, asid: int, count: int = 1) -> int:
        """The pages that [first, last] touches, as ``count`` instructions such as INVLPG would."""
        dropped: int = self._invalidate(self._state, tlb.PAGES, first, last, asid, count)
        return dropped

    @property
    def page_invalidation(self) -> tuple[Callable[[Any, int, int], int], Any]:
        """``invalidate_pages`` of one base page for many calls: a function of what comes with it, of the page's first
        address, and of the ASID."""
        return self._invalidate_page, self._state

    def invalidate_asid(self, asid: int) -> int:
        """All entries of one address space; global ones stay."""
        return int(self._invalidate(self._state, tlb.ASID, 0, 0, asid, 1))

    def invalidate_all(self, *, globals_too: bool) -> int:
        """All entries of all address spaces."""
        return int(self._invalidate(self._state, tlb.EVERYTHING if globals_too else tlb.ALL, 0, 0, 0, 1))

    # What is in it.

    def counters(self) -> TlbCounters:
        """A copy of the counters."""
        return read_counters(self.state[:512].tolist(), self.config, [level.name for level in self._fmt.levels])

    def reset(self) -> None:
        """All counters are 0 again."""
        self.state[C_HIT:COUNTERS_END] = 0

    def entries(self) -> Iterator[Entry]:
        """Every entry, array by array."""
        words = self.state
        column = int(words[S_COLUMN])
        slot = S_SLOTS
        for array in self.config.all_arrays():
            walks = isinstance(array, WalkCache)
            shifts = S_LEVEL_SHIFT if walks else S_CLASS_SHIFT
            end = slot + array.sets * stride(array.ways)
            for at in range(slot, end):
                tag = int(words[at])
                if tag == EMPTY:
                    continue
                cls = tag >> TAG_CLASS & 7
                shift = int(words[shifts + cls])
                yield Entry(
                    array.name, tag & ASID_MASK, (tag >> TAG_NUMBER) << shift, 1 << shift,
                    int(words[at + FRAME * column]), int(words[at + IDENT * column]) & 7, cls if walks else -1,
                )  # fmt: skip
            slot = end
