"""The MMU's functions as machine code: ``machine_code()`` compiles them, or loads them from the cache, on first use.

Nothing in them depends on a configuration, so one compilation serves all; a user's policy is compiled by itself and
called through its address.
"""

import functools
from typing import Any, Final

import numba as _numba
from llvmlite import ir
from numba import extending

from pagewalk.hw import ahead, jit, loop, short, survey, tlb, walker
from pagewalk.hw import leaf as leaves
from pagewalk.hw import translate as translating
from pagewalk.hw.loop import B_ARRAYS, B_AT, B_END, B_FORMAT, B_NR_WORDS, B_STATE, B_WORDS, refused, replay_batch
from pagewalk.hw.tlb import invalidate, invalidate_page
from pagewalk.hw.tlb_config import Policy
from pagewalk.hw.tlb_simd import oldest, oldest_of_many, scan, scan_many
from pagewalk.hw.tlb_state import S_SHORT, S_SHORT_SECOND, S_SHORT_TURNS, S_SHORT_UPPER, S_SHORT_WALK, S_SLOTS
from pagewalk.hw.translate import translate

numba: Any = _numba  # its types say too little
carray: Any = numba.carray
types: Any = numba.types

_word = types.int64
_words = types.CPointer(_word)
_bytes = types.CPointer(types.uint8)
_batch = types.Tuple((_words, _bytes, types.CPointer(types.uint16), types.CPointer(types.int32), _bytes))


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


def _load_eight() -> Any:
    """A function of compiled code: ``survey.eight``."""

    def load_eight(typing_context: Any, pointer: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(64).as_pointer())
            loaded = builder.load(place)
            loaded.align = 1
            return loaded

        return _word(_bytes, _word), generate

    return extending.intrinsic(load_eight)


def _prefetch() -> Any:
    """A function of compiled code: ``survey.prefetch``."""

    def prefetch(typing_context: Any, pointer: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            flag = ir.IntType(32)
            place = builder.gep(args[0], [args[1]])
            function = builder.module.globals.get("llvm.prefetch.p0")
            if function is None:
                kind = ir.FunctionType(ir.VoidType(), [place.type, flag, flag, flag])
                function = ir.Function(builder.module, kind, "llvm.prefetch.p0")
            pointers = builder.bitcast(place, function.function_type.args[0])
            builder.call(function, [pointers, flag(0), flag(3), flag(1)])  # to read, into all caches, data
            return context.get_dummy_value()

        return types.void(pointer, _word), generate

    return extending.intrinsic(prefetch)


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
ints_at = _pointer(types.int32)
bytes_at = _pointer(types.uint8)
address_of = _address()
eight = _load_eight()
prefetch = _prefetch()


def call_touch(address: int, s: Any, meta: int, length: int, ways: int, way: int, fill: int) -> None:
    """``tlb_policy.call_touch``, compiled."""
    touch_at(address, address_of(s) + 8 * meta, (length, ways, way, fill))


def call_victim(address: int, s: Any, meta: int, length: int, ways: int) -> int:
    """``tlb_policy.call_victim``, compiled."""
    return int(victim_at(address, address_of(s) + 8 * meta, (length, ways))) % ways


def part(s: Any, at: int) -> Any:
    """``translate.part``, compiled."""
    return words_at(address_of(s) + 8 * at)


# What Python calls: arrays come as addresses, since taking one as an array costs more than a look-up; and what the loop
# needs in one block of words, since each argument costs some 30 ns.


def _replay(block: int) -> int:
    b = words_at(block)
    arrays = (words_at(b[B_ARRAYS]), bytes_at(b[B_ARRAYS + 1]), halves_at(b[B_ARRAYS + 2]), ints_at(b[B_ARRAYS + 3]),
              bytes_at(b[B_ARRAYS + 4]))  # fmt: skip
    at = replay_batch(words_at(b[B_STATE]), words_at(b[B_WORDS]), b[B_NR_WORDS], words_at(b[B_FORMAT]), arrays, b[B_AT],
                      b[B_END])  # fmt: skip
    b[B_AT] = at
    return refused(words_at(b[B_STATE]), at)


def _translate(s: int, words: int, nr_words: int, fmt: int, addr: int, access: int) -> int:
    return translate(words_at(s), words_at(words), nr_words, words_at(fmt), addr, access)


def _invalidate(s: int, what: int, first: int, last: int, asid: int, times: int) -> int:
    return invalidate(words_at(s), what, first, last, asid, times)


def _invalidate_page(s: int, addr: int, asid: int) -> int:
    return invalidate_page(words_at(s), addr, asid)


@functools.cache
def machine_code() -> MachineCode:
    """All of it: seconds the first time ever, then a fraction of one."""
    w, a = _word, _words
    g = types.UniTuple(w, tlb.GEOMETRY_WORDS)
    last = types.UniTuple(w, leaves.LAST_LEVEL_WORDS)
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
    code.make(tlb.invalidate, w, a, w, w, w, w, w)
    code.make(tlb.invalidate_page, w, a, w, w)
    code.make(leaves.last_level, last, a, inline=True)
    code.make(leaves.leaf, w, a, a, w, last, w, w, w, w, inline=True)
    code.make(leaves.table_at, w, a, a, w, w, w, w, inline=True)
    code.make(translating.quick, w, a, a, w, w, w, w, inline=True)
    code.make(translating.absent, w, a, a, w, a, w, w, w)
    code.make(translating.full_walk, w, a, a, w, a, w, w)
    code.make(translating.walk, w, a, a, w, a, w, w)
    code.make(translating.fill_level, w, a, w, w, w, w, w, w, w)
    code.make(translating.drop_page, types.void, a, w, w, w, w)
    code.make(translating.reach_of, w, a, inline=True)
    code.make(translating.entry_at, w, a, a, w, inline=True)
    code.make(translating.known_frame, w, a, w, inline=True)
    code.make(translating.reach_class, w, a, a)
    code.make(translating.owner_of, w, a, w, inline=True)
    code.make(translating.granted, w, a, inline=True)
    code.make(translating.prefetch, types.void, a, a, w, a, w, w)
    code.make(translating.hint, types.void, a, w, w, w, inline=True)
    code.make(translating.miss, w, a, a, w, a, w, w)
    code.make(translating.translate, w, a, a, w, a, w, w)
    code.make(short.geometry_or_none, g, a, w, inline=True)
    code.make(short.first_of, g, a, w, inline=True)
    code.make(short.second_of, g, a, w, w, inline=True)
    code.make(short.tables_of, g, a, inline=True)
    code.make(short.upper_tables_of, g, a, inline=True)
    code.make(short.number_at, w, a, w, w, inline=True)
    code.make(short.tag_at, w, a, w, w, inline=True)
    code.make(short.root_walk, w, a, a, w, w, w, w)
    code.make(short.upper_walk, w, a, a, w, w, w, w, w, w)
    code.make(short.short_walk, w, a, a, w, w, w, w, inline=True)
    code.make(short.short_from, w, a, a, w, w, w, w, w, w, inline=True)
    code.make(short.short, w, a, a, w, w, w, w)
    code.made["short_data"] = code.made["short_fetch"] = code["short"]
    code.made["short_ahead"] = code["short_from"]
    code.make(ahead.can_look_ahead, w, a, inline=True)
    code.make(ahead.answered, w, a, a, w, a, w, w, w, inline=True)
    code.make(ahead.looking_ahead, w, a, a, w, a, a, _bytes, w, w)
    code.make(loop.array_of, w, a, w, w)
    code.make(loop.count, types.void, a, w, w)
    code.made.update(eight=eight, prefetch=prefetch)
    code.make(survey.bytes_sum, w, w, inline=True)
    code.make(survey.tally, w, _bytes, w, w, inline=True)
    code.make(survey.survey, w, _batch, w, w, w, w)
    code.make(survey.crosses, w, w, w, w, inline=True)
    code.make(survey.of_another, w, _batch, w, w, inline=True)
    code.make(survey.first_odd, w, _batch, w, w, w, w)
    code.make(loop.alike, w, a, w, w, w, w)
    code.make(loop.hinted, w, a, a, _bytes, w, w, w)
    code.make(loop.unhinted, w, a, a, w, a, w, w)
    code.make(loop.first_level_misses, w, a, inline=True)
    code.make(loop.by_hints, w, a, a, w, a, a, _bytes, w, w, w)
    code.make(loop.without_hints, w, a, a, w, a, a, _bytes, w, w)
    code.make(loop.second_half, w, a, a, w, a, w, w, w)
    code.make(loop.replay_batch, w, a, a, w, a, _batch, w, w)
    code.make(loop.refused, w, a, w)
    code.make(_replay, w, w)
    code.make(_translate, w, w, w, w, w, w, w)
    code.make(_invalidate, w, w, w, w, w, w, w)
    code.make(_invalidate_page, w, w, w, w)
    return code


class Specialised:
    """``_replay`` for one geometry and one page-table format, whose numbers are constants in its code.

    possible  the short way is for this geometry, and no arrays take turns in it
    """

    def __init__(self, s: Any) -> None:
        words = [int(word) for word in s[:S_SLOTS]]
        self._last = leaves.last_level(words)
        self._arrays = {
            name: short.geometry_or_none(words, words[at])
            for name, at in (
                ("first0", S_SHORT), ("first1", S_SHORT + 1), ("second0", S_SHORT_SECOND),
                ("second1", S_SHORT_SECOND + 1), ("tables", S_SHORT_WALK), ("upper", S_SHORT_UPPER),
            )
        }  # fmt: skip
        turns = max(words[S_SHORT_TURNS : S_SHORT_TURNS + 2])
        self.possible = turns <= 1 and min(words[S_SHORT : S_SHORT + 2]) >= 0
        self._variant = jit.variant_name((self._last, self._arrays))

    @property
    def loaded(self) -> bool:
        """Whether this process has it already."""
        return self._variant in _specialised

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
        g = types.UniTuple(w, tlb.GEOMETRY_WORDS)
        code = machine_code()

        def make(function: Any, result: Any, *args: Any, inline: bool = False, variant: Any = "", **uses: Any) -> Any:
            made = {name: code[name] for name in function.__code__.co_names if name in code.made}
            chosen = jit.variant_name(variant) if variant else self._variant
            return jit.compiled(function, result(*args), inline=inline, variant=chosen, **{**made, **uses})

        def constant(function: Any, *args: Any, array: str) -> Any:
            return make(function, g, a, *args, inline=True, variant=self._arrays[array], ARRAY=self._arrays[array])

        same = {
            "tables_of": constant(short.constant_array, array="tables"),
            "upper_tables_of": constant(short.constant_array, array="upper"),
            "last_level": make(short.constant_last_level, types.UniTuple(w, leaves.LAST_LEVEL_WORDS), a,
                               inline=True, LAST=self._last),
        }  # fmt: skip
        same["upper_walk"] = make(short.upper_walk, w, a, a, w, w, w, w, w, w, **same)
        same["short_walk"] = make(short.short_walk, w, a, a, w, w, w, w, inline=True, **same)
        sides = [
            {"first_of": constant(short.constant_first, w, array=f"first{side}"),
             "second_of": constant(short.constant_second, w, w, array=f"second{side}"), **same}
            for side in (0, 1)
        ]  # fmt: skip

        def shorts(*, hinted: bool) -> list[dict[str, Any]]:
            """``short_from`` and ``short`` for data and for instructions."""
            found = []
            for side, uses in enumerate(sides):
                more = {"variant": (self._variant, side, hinted), "inline": True, "HINTED": hinted, **uses}
                more["short_from"] = make(short.short_from, w, a, a, w, w, w, w, w, w, **more)
                found.append({"from": more["short_from"], "short": make(short.short, w, a, a, w, w, w, w, **more)})
            return found

        def whole_short() -> Any:
            """``short_from`` for data that nobody leaves hints of, with the walk from above the last table in it."""
            more = {"variant": (self._variant, "whole"), "inline": True, **sides[0]}
            more["upper_walk"] = make(short.upper_walk, w, a, a, w, w, w, w, w, w, **more)
            more["short_walk"] = make(short.short_walk, w, a, a, w, w, w, w, **more)
            return make(short.short_from, w, a, a, w, w, w, w, w, w, HINTED=False, **more)

        unhinted, inlined = (
            make(loop.unhinted, w, a, a, w, a, w, w, inline=not hinted, variant=(self._variant, hinted),
                 short_data=data["short"], short_fetch=fetch["short"])
            for hinted in (True, False) for data, fetch in [shorts(hinted=hinted)]
        )  # fmt: skip
        by_hints = make(loop.by_hints, w, a, a, w, a, a, _bytes, w, w, w, unhinted=unhinted)
        without_hints = make(loop.without_hints, w, a, a, w, a, a, _bytes, w, w, unhinted=inlined)
        looking_ahead = make(ahead.looking_ahead, w, a, a, w, a, a, _bytes, w, w, **sides[0],
                             short_ahead=whole_short())  # fmt: skip
        second_half = make(loop.second_half, w, a, a, w, a, w, w, w, unhinted=unhinted)
        replay = make(
            loop.replay_batch,
            w,
            a,
            a,
            w,
            a,
            _batch,
            w,
            w,
            second_half=second_half,
            by_hints=by_hints,
            without_hints=without_hints,
            looking_ahead=looking_ahead,
        )
        return make(_replay, w, w, replay_batch=replay)


_specialised: Final[dict[str, Any]] = {}


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
