"""One CPU's MMU as Python drives it: load an address space, replay accesses, invalidate, look at entries and counters.

    mmu = Mmu(preset("zen4"), machine.system.format, machine.system.ram)
    mmu.load(root_pfn, asid=1)
    at = mmu.replay(addrs, kinds)        # len(addrs), or the access that faulted: mmu.status says why

It knows nothing of a kernel: on a fault the caller serves it and goes on from there.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pagewalk.hw import short, tlb, translate
from pagewalk.hw.tlb_build import build_state
from pagewalk.hw.tlb_config import Policy, TlbConfig, WalkCache
from pagewalk.hw.tlb_counters import TlbCounters, read_counters
from pagewalk.hw.tlb_policy import interpreted_addresses
from pagewalk.hw.tlb_state import (
    ASID_MASK,
    C_FLUSH_ALL,
    C_FLUSH_ASID,
    C_FLUSH_PAGE,
    C_HIT,
    COUNTERS_END,
    EMPTY,
    FRAME,
    HINT_WORDS,
    IDENT,
    NOWHERE,
    S_ASID,
    S_CLASS_SHIFT,
    S_COLUMN,
    S_HINTS,
    S_LEVEL_SHIFT,
    S_ROOT,
    S_SLOTS,
    TAG_CLASS,
    TAG_NUMBER,
    stride,
)
from pagewalk.hw.walker import FORMAT_SOFT_ACCESSED, FORMAT_SOFT_DIRTY, pack_format

if TYPE_CHECKING:
    from pagewalk.arch.format import PageFormat
    from pagewalk.mm.ram import Ram

__all__ = ["Entry", "Mmu"]

# When the code for one geometry pays: asked every LOOK accesses, by the accesses that the first level did not answer.
LOOK: Final = 1 << 20
LOAD_AT: Final = 1 << 20
COMPILE_AT: Final = 1 << 23
NEVER: Final = 1 << 62


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


class Mmu:
    """The translation caches of one CPU above one RAM.

    status  how the last ``replay`` or ``translate`` ended: a status of hw/walker.py
    """

    def __init__(self, config: TlbConfig, fmt: "PageFormat", ram: "Ram", *, interpreted: bool | None = None) -> None:
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
            functions: tuple[Any, ...] = (tlb.invalidate, translate.translate, short.replay_batch)
        else:
            from pagewalk.hw.jit import entry
            from pagewalk.hw.tlb_native import machine_code, policy_addresses

            addresses = {policy.name: policy_addresses(policy) for policy in policies}
            code = machine_code()
            functions = tuple(entry(code[name]) for name in ("_invalidate", "_translate", "_replay"))
        self._invalidate, self._translate, self._replay = functions
        self.state = np.array(build_state(config, fmt, addresses), dtype=np.int64)
        self._ram, self._format = ram, packed  # kept: compiled code knows their addresses only
        self._state: Any = memoryview(self.state.data) if interpreted else self.state.ctypes.data
        self._words: Any = ram.quads if interpreted else ram.address
        self._packed: Any = memoryview(packed.data) if interpreted else packed.ctypes.data
        self._interpreted = interpreted
        self._look_at = NEVER if interpreted else LOOK  # accesses until ``_consider``
        self._accesses = 0

    @property
    def asid(self) -> int:
        """The tag of the address space that is loaded."""
        return int(self.state[S_ASID])

    @property
    def status(self) -> int:
        """How the last replay ended."""
        return int(self.state[0])

    def load(self, root_pfn: int, asid: int) -> None:
        """Another address space: its root table's frame and its tag, 1 <= asid < 2**16. Invalidates nothing."""
        if not 1 <= asid <= ASID_MASK:
            raise ValueError(f"asid: expected 1 to {ASID_MASK}, got {asid}")
        self.state[S_ROOT] = root_pfn
        self.state[S_ASID] = asid
        self.state[S_HINTS : S_HINTS + 3 * HINT_WORDS : 2] = NOWHERE

    def replay(
        self, addrs: npt.NDArray[np.int64], kinds: npt.NDArray[np.uint8], start: int = 0, end: int | None = None
    ) -> int:
        """Accesses ``start`` to ``end``; the index of the one that faulted, or ``end``. Kinds: READ, WRITE, FETCH."""
        stop = len(addrs) if end is None else end
        if not 0 <= start <= stop <= len(addrs):
            raise ValueError(f"expected 0 <= start <= end <= {len(addrs)}, got {start}, {stop}")
        return self.run(self.batch(addrs, kinds), start, stop)

    def batch(self, addrs: npt.NDArray[np.int64], kinds: npt.NDArray[np.uint8]) -> tuple[Any, ...]:
        """The two arrays as ``run`` takes them, with all that stays the same; they must live as long."""
        if addrs.dtype != np.int64 or kinds.dtype != np.uint8 or len(addrs) != len(kinds):
            raise ValueError(f"expected int64 and uint8 of one length, got {addrs.dtype} and {kinds.dtype}")
        if not (addrs.flags.c_contiguous and kinds.flags.c_contiguous):
            raise ValueError("expected contiguous arrays")
        chosen: tuple[Any, Any] = (addrs.ctypes.data, kinds.ctypes.data)
        if self._interpreted:
            chosen = (memoryview(addrs.data), memoryview(kinds.data))
        return (self._state, self._words, self._nr_words, self._packed, *chosen)

    def run(self, batch: tuple[Any, ...], start: int, end: int) -> int:
        """``replay`` of what ``batch`` made, without checks: 0 <= start <= end <= its length."""
        at: int = self._replay(*batch, start, end)
        self._accesses += at - start
        if self._accesses >= self._look_at:
            self._consider()
        return at

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

    def _consider(self) -> None:
        """Whether ``specialise`` would pay."""
        from pagewalk.hw.tlb_native import Specialised

        self._look_at = self._accesses + LOOK
        counters = self.counters()
        missed = counters.data.first_level_misses + counters.fetch.first_level_misses
        if missed >= COMPILE_AT or (missed >= LOAD_AT and Specialised(self.state).kept):
            self.specialise()

    def translate(self, addr: int, access: int) -> int:
        """One access, without the short cuts of ``replay``; its status."""
        status: int = self._translate(self._state, self._words, self._nr_words, self._packed, addr, access)
        self.state[0] = status
        return status

    # Invalidations: how many entries went.

    def invalidate_pages(self, first: int, last: int, asid: int, count: int = 1) -> int:
        """The pages that [first, last] touches, as ``count`` instructions such as INVLPG would."""
        self.state[C_FLUSH_PAGE] += count
        return int(self._invalidate(self._state, tlb.PAGES, first, last, asid))

    def invalidate_asid(self, asid: int) -> int:
        """All entries of one address space; global ones stay."""
        self.state[C_FLUSH_ASID] += 1
        return int(self._invalidate(self._state, tlb.ASID, 0, 0, asid))

    def invalidate_all(self, *, globals_too: bool) -> int:
        """All entries of all address spaces."""
        self.state[C_FLUSH_ALL] += 1
        return int(self._invalidate(self._state, tlb.EVERYTHING if globals_too else tlb.ALL, 0, 0, 0))

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
