"""The MMU's functions as machine code: ``machine_code()`` compiles them, or loads them from the cache, on first use.

Nothing in them depends on a configuration, so one compilation serves all; a user's policy is compiled by itself and
called through its address.
"""

import functools
from typing import Any, Final

import numba as _numba
import numpy as np
from llvmlite import ir
from numba import extending

from pagewalk.hw import jit, short, tlb, walker
from pagewalk.hw import translate as translating
from pagewalk.hw.short import replay_batch
from pagewalk.hw.tlb import invalidate
from pagewalk.hw.tlb_config import Policy
from pagewalk.hw.tlb_simd import oldest, oldest_of_many, scan, scan_many
from pagewalk.hw.tlb_state import S_SHORT, S_SHORT_SECOND, S_SHORT_TURNS, S_SHORT_WALK, S_SLOTS
from pagewalk.hw.translate import translate

numba: Any = _numba  # its types say too little
carray: Any = numba.carray
types: Any = numba.types

_word = types.int64
_words = types.CPointer(_word)
_bytes = types.CPointer(types.uint8)


class MachineCode:
    """The compiled functions, by the names of those that they were made from."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}

    def make(self, function: Any, result: Any, *args: Any, inline: bool = False) -> None:
        """Compiles ``function``; what was made before may be called by it."""
        names = function.__code__.co_names
        uses = {name: self.made[name] for name in names if name in self.made}
        self.made[function.__name__] = jit.compiled(function, result(*args), inline=inline, **uses)

    def __getitem__(self, name: str) -> Any:
        return self.made[name]


def _call_policy(nr_args: int, result: Any) -> Any:
    """A function of compiled code: calls the C function at an address with a pointer into ``words`` and words."""

    def call(typing_context: Any, address: Any, pointer: Any, args: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            word = ir.IntType(64)
            back = ir.VoidType() if result is types.void else word
            function = ir.FunctionType(back, [word] * (1 + nr_args)).as_pointer()
            words = [builder.extract_value(values[2], number) for number in range(nr_args)]
            answer = builder.call(builder.inttoptr(values[0], function), [values[1], *words])
            return context.get_dummy_value() if result is types.void else answer

        return result(_word, _word, types.UniTuple(_word, nr_args)), generate

    return extending.intrinsic(call)


def _pointer(item: Any) -> Any:
    """A function of compiled code: an address as a pointer to ``item``."""

    def to_pointer(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(item)(_word), generate

    return extending.intrinsic(to_pointer)


def _address() -> Any:
    """A function of compiled code: the address that a pointer to words holds."""

    def to_address(typing_context: Any, pointer: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.ptrtoint(args[0], ir.IntType(64))

        return _word(_words), generate

    return extending.intrinsic(to_address)


touch_at = _call_policy(4, types.void)
victim_at = _call_policy(2, _word)
words_at = _pointer(_word)
halves_at = _pointer(types.uint16)
bytes_at = _pointer(types.uint8)
address_of = _address()


def call_touch(address: int, s: Any, meta: int, length: int, ways: int, way: int, fill: int) -> None:
    """``tlb_policy.call_touch``, compiled."""
    touch_at(address, address_of(s) + 8 * meta, (length, ways, way, fill))


def call_victim(address: int, s: Any, meta: int, length: int, ways: int) -> int:
    """``tlb_policy.call_victim``, compiled."""
    return int(victim_at(address, address_of(s) + 8 * meta, (length, ways))) % ways


def part(s: Any, at: int) -> Any:
    """``translate.part``, compiled."""
    return words_at(address_of(s) + 8 * at)


# What Python calls: arrays come as addresses, since taking one as an array costs more than a look-up.


def _replay(s: int, words: int, nr_words: int, fmt: int, addrs: int, kinds: int, start: int, end: int) -> int:
    return replay_batch(words_at(s), words_at(words), nr_words, words_at(fmt), words_at(addrs), bytes_at(kinds), start,
                        end)  # fmt: skip


def _translate(s: int, words: int, nr_words: int, fmt: int, addr: int, access: int) -> int:
    return translate(words_at(s), words_at(words), nr_words, words_at(fmt), addr, access)


def _invalidate(s: int, what: int, first: int, last: int, asid: int) -> int:
    return invalidate(words_at(s), what, first, last, asid)


def _crossings(addrs: int, sizes: int, count: int, page: int, found: int) -> int:
    addr, size, out = words_at(addrs), halves_at(sizes), words_at(found)
    n = 0
    for first in range(0, count, 64):
        end = min(first + 64, count)
        beyond = 0
        for at in range(first, end):  # a loop without branches: vectors
            beyond |= page - size[at] - (addr[at] & (page - 1))
        if beyond < 0:
            for at in range(first, end):
                out[n] = at
                n += (addr[at] & (page - 1)) + size[at] > page
    return n


def _spread(addrs: int, kinds: int, count: int, at: int, seconds: int, n: int, new_addrs: int, new_kinds: int) -> int:
    addr, kind, where, second = words_at(addrs), bytes_at(kinds), words_at(at), words_at(seconds)
    new_addr, new_kind = words_at(new_addrs), bytes_at(new_kinds)
    start = 0
    for number in range(n + 1):
        end = count
        if number < n:
            end = where[number] + 1
        for k in range(start, end):
            new_addr[k + number] = addr[k]
        for k in range(start, end):
            new_kind[k + number] = kind[k]
        if number < n:
            new_addr[end + number] = second[number]
            new_kind[end + number] = kind[end - 1]
        start = end
    return count + n


@functools.cache
def machine_code() -> MachineCode:
    """All of it: seconds the first time ever, then a fraction of one."""
    w, a = _word, _words
    g = types.UniTuple(w, tlb.GEOMETRY_WORDS)
    last = types.UniTuple(w, translating.LAST_LEVEL_WORDS)
    code = MachineCode()
    code.make(walker.walk_table, w, a, w, a, w, w, w, a)
    code.make(call_touch, types.void, w, a, w, w, w, w, w)
    code.make(call_victim, w, w, a, w, w, w)
    code.make(part, a, a, w, inline=True)
    code.make(scan_many, w, a, w, w, w)
    code.make(oldest_of_many, w, a, w, w)
    code.make(scan, w, a, w, w, w, inline=True)
    code.make(oldest, w, a, w, w, inline=True)
    code.make(tlb.geometry, g, a, w, inline=True)
    code.make(tlb.set_of, w, g, w, inline=True)
    code.make(tlb.probe, w, a, w, w, w, w)
    code.make(tlb.find, w, a, w, w, w, w)
    code.make(tlb.touch, types.void, a, w, w, w)
    code.make(tlb.use, types.void, a, g, w, w, inline=True)
    code.make(tlb.choose, w, a, w, w)
    code.make(tlb.count_entry, types.void, a, w, w, w)
    code.make(tlb.drop, types.void, a, w, w)
    code.make(tlb.put, w, a, g, w, w, w, w, w, w, inline=True)
    code.make(tlb.insert, w, a, w, w, w, w, w, w)
    code.make(tlb.drop_range, w, a, w, w, w, w)
    code.make(tlb.invalidate, w, a, w, w, w, w)
    code.make(translating.last_level, last, a, inline=True)
    code.make(translating.leaf, w, a, a, w, last, w, w, w, inline=True)
    code.make(translating.quick, w, a, a, w, w, w, w, inline=True)
    code.make(translating.full_walk, w, a, a, w, a, w, w)
    code.make(translating.walk, w, a, a, w, a, w, w)
    code.make(translating.fill_level, w, a, w, w, w, w, w, w, w)
    code.make(translating.drop_page, types.void, a, w, w, w)
    code.make(translating.reach_of, w, a, inline=True)
    code.make(translating.entry_at, w, a, a, w, inline=True)
    code.make(translating.reach_class, w, a, a)
    code.make(translating.owner_of, w, a, w, inline=True)
    code.make(translating.granted, w, a, inline=True)
    code.make(translating.prefetch, types.void, a, a, w, a, w, w)
    code.make(translating.hint, types.void, a, w, w, w, inline=True)
    code.make(translating.translate, w, a, a, w, a, w, w)
    code.make(short.short_walk, w, a, a, w, w, w, w, g, last, inline=True)
    code.make(short.short, w, a, a, w, w, w, w, g, g, g, last, inline=True)
    code.make(short.geometry_or_none, g, a, w, inline=True)
    code.make(short.short_any, w, a, a, w, w, w, w)
    code.made["short_data"] = code.made["short_fetch"] = code["short_any"]
    code.make(short.array_of, w, a, w, w)
    code.make(short.count, types.void, a, w, w)
    code.make(short.unhinted, w, a, a, w, a, w, w)
    code.make(short.replay_batch, w, a, a, w, a, a, _bytes, w, w)
    code.make(_replay, w, w, w, w, w, w, w, w, w)
    code.make(_translate, w, w, w, w, w, w, w)
    code.make(_invalidate, w, w, w, w, w, w)
    code.make(_crossings, w, w, w, w, w, w)
    code.make(_spread, w, w, w, w, w, w, w, w, w)
    return code


class Specialised:
    """``_replay`` for one geometry and one page-table format, whose numbers are constants in its code.

    possible  the short way is for this geometry, and no arrays take turns in it
    """

    def __init__(self, s: Any) -> None:
        words = [int(word) for word in s[:S_SLOTS]]
        last = translating.last_level(words)
        walk_cache = short.geometry_or_none(words, words[S_SHORT_WALK])
        self._sides = [
            {
                "FIRST": short.geometry_or_none(words, words[S_SHORT + side]),
                "SECOND": short.geometry_or_none(words, words[S_SHORT_SECOND + side]),
                "WALK_CACHE": walk_cache,
                "LAST": last,
            }
            for side in (0, 1)
        ]
        turns = max(words[S_SHORT_TURNS : S_SHORT_TURNS + 2])
        self.possible = turns <= 1 and min(words[S_SHORT : S_SHORT + 2]) >= 0
        self._variant = jit.variant_name(self._sides)

    @property
    def kept(self) -> bool:
        """Whether it has been compiled before, so that ``replay`` only loads it."""
        return jit.is_kept(self._variant)

    def replay(self) -> Any:
        """The function: compiled in a second or two, or loaded."""
        if self._variant not in _specialised:
            _specialised[self._variant] = self._make()
        return _specialised[self._variant]

    def _make(self) -> Any:
        w, a = _word, _words
        code = machine_code()

        def make(function: Any, result: Any, *args: Any, variant: str = self._variant, **uses: Any) -> Any:
            made = {name: code[name] for name in function.__code__.co_names if name in code.made}
            return jit.compiled(function, result(*args), variant=variant, **{**made, **uses})

        data, fetch = (
            make(short.short_plain, w, a, a, w, w, w, w, variant=jit.variant_name(side), inline=True, **side)
            for side in self._sides
        )
        unhinted = make(short.unhinted, w, a, a, w, a, w, w, short_data=data, short_fetch=fetch)
        replay = make(short.replay_batch, w, a, a, w, a, a, _bytes, w, w, unhinted=unhinted)
        return make(_replay, w, w, w, w, w, w, w, w, w, replay_batch=replay)


_specialised: Final[dict[str, Any]] = {}


def crossings(addrs: Any, sizes: Any, page: int) -> Any:
    """The accesses that reach beyond their page, as positions: of int64 addresses and uint16 sizes in bytes."""
    found = np.empty(len(addrs) + 1, dtype=np.int64)
    count = machine_code()["_crossings"](addrs.ctypes.data, sizes.ctypes.data, len(addrs), page, found.ctypes.data)
    return found[:count].copy()


def spread(addrs: Any, kinds: Any, at: Any, seconds: Any) -> tuple[Any, Any]:
    """Copies of int64 addresses and uint8 kinds in which one more access follows each of those at the (ascending)
    positions ``at``: to ``seconds``, of the same kind."""
    new_addrs = np.empty(len(addrs) + len(at), dtype=np.int64)
    new_kinds = np.empty(len(new_addrs), dtype=np.uint8)
    machine_code()["_spread"](
        addrs.ctypes.data, kinds.ctypes.data, len(addrs), at.ctypes.data, seconds.ctypes.data, len(at),
        new_addrs.ctypes.data, new_kinds.ctypes.data,
    )  # fmt: skip
    return new_addrs, new_kinds


_kept: Final[dict[Policy, tuple[Any, Any]]] = {}


def policy_addresses(policy: Policy) -> tuple[int, int]:
    """A user's policy as C functions: their addresses, good as long as the process lives."""
    if policy not in _kept:
        touch, victim = numba.njit(policy.touch), numba.njit(policy.victim)

        @numba.cfunc(types.void(_words, _word, _word, _word, _word))  # type: ignore[untyped-decorator]
        def touch_c(pointer: Any, length: int, ways: int, way: int, fill: int) -> None:
            touch(carray(pointer, length), ways, way, fill)

        @numba.cfunc(_word(_words, _word, _word))  # type: ignore[untyped-decorator]
        def victim_c(pointer: Any, length: int, ways: int) -> int:
            return int(victim(carray(pointer, length), ways))

        _kept[policy] = (touch_c, victim_c)
    touch_c, victim_c = _kept[policy]
    return touch_c.address, victim_c.address
