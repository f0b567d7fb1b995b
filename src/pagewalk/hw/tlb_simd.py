"""``tlb.scan`` and ``tlb.oldest`` over several ways at once.

Vectors of LLVM's, so that each processor gets its own instructions. Of a loop in plain Python LLVM makes them only
where the number of ways is a constant, and then worse ones.
"""

from typing import Any, Final

import numba as _numba
from llvmlite import ir
from numba import extending

from pagewalk.hw.tlb_state import STAMP_WAY

numba: Any = _numba  # its types say too little
types: Any = numba.types

_LANES: Final = 4
_WAY: Final = (1 << STAMP_WAY) - 1
_word = types.int64
_words = types.CPointer(_word)
_i64: Final = ir.IntType(64)
_vector: Final = ir.VectorType(_i64, _LANES)


def _constant(values: list[int]) -> Any:
    return ir.Constant(_vector, [ir.Constant(_i64, value) for value in values])


def _all_lanes(builder: Any, value: Any) -> Any:
    """A vector of one value."""
    undefined = ir.Constant(_vector, ir.Undefined)
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, lanes)


def _load(builder: Any, pointer: Any, at: Any, offset: int) -> Any:
    """The words at ``at + offset``."""
    place = builder.gep(pointer, [builder.add(at, ir.Constant(_i64, offset))])
    vector = builder.load(builder.bitcast(place, _vector.as_pointer()))
    vector.align = 8
    return vector


def _equal(count: int) -> Any:
    """A function of compiled code: bits, which of ``count`` words from ``at`` on are ``word``."""

    def equal(typing_context: Any, s: Any, at: Any, word: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            bits = ir.Constant(_i64, 0)
            for way in range(0, count, _LANES):
                same = builder.icmp_signed("==", _load(builder, args[0], args[1], way), _all_lanes(builder, args[2]))
                lanes = builder.zext(builder.bitcast(same, ir.IntType(_LANES)), _i64)
                bits = builder.or_(bits, builder.shl(lanes, ir.Constant(_i64, way)))
            return bits

        return _word(_words, _word, _word), generate

    return extending.intrinsic(equal)


def _least(count: int) -> Any:
    """A function of compiled code: the least of ``count`` words from ``at`` on, with its index: (word << STAMP_WAY) |
    index. The words are not negative and below 2**(63 - STAMP_WAY)."""

    def least(typing_context: Any, s: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            found = None
            for way in range(0, count, _LANES):
                stamps = builder.shl(_load(builder, args[0], args[1], way), _constant([STAMP_WAY] * _LANES))
                both = builder.or_(stamps, _constant(list(range(way, way + _LANES))))
                less = builder.icmp_signed("<", both, found) if found is not None else None
                found = both if less is None else builder.select(less, both, found)
            name = f"llvm.vector.reduce.smin.v{_LANES}i64"
            reduce = builder.module.globals.get(name)
            if reduce is None:
                reduce = ir.Function(builder.module, ir.FunctionType(_i64, [_vector]), name)
            return builder.call(reduce, [found])

        return _word(_words, _word), generate

    return extending.intrinsic(least)


def _lowest_bit() -> Any:
    """A function of compiled code: the number of the lowest bit that is set; one is."""

    def lowest_bit(typing_context: Any, bits: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

        return _word(_word), generate

    return extending.intrinsic(lowest_bit)


equal4, equal8, equal12, equal16 = (_equal(count) for count in (4, 8, 12, 16))
least4, least8, least12, least16 = (_least(count) for count in (4, 8, 12, 16))
lowest_bit = _lowest_bit()


def scan(s: Any, at: int, count: int, tag: int) -> Any:
    """``tlb.scan``, compiled."""
    if count == 4:
        bits = equal4(s, at, tag)
    elif count == 8:
        bits = equal8(s, at, tag)
    elif count == 12:
        bits = equal12(s, at, tag)
    else:
        return scan_many(s, at, count, tag)
    if bits == 0:
        return -1
    return at + lowest_bit(bits)


def scan_many(s: Any, at: int, count: int, tag: int) -> Any:
    """``scan`` of any number."""
    for first in range(0, count & -16, 16):
        bits = equal16(s, at + first, tag)
        if bits != 0:
            return at + first + lowest_bit(bits)
    for first in range(count & -16, count, 4):
        bits = equal4(s, at + first, tag)
        if bits != 0:
            return at + first + lowest_bit(bits)
    return -1


def oldest(s: Any, at: int, count: int) -> Any:
    """``tlb.oldest``, compiled."""
    if count == 4:
        return least4(s, at) & _WAY
    if count == 8:
        return least8(s, at) & _WAY
    if count == 12:
        return least12(s, at) & _WAY
    return oldest_of_many(s, at, count)


def oldest_of_many(s: Any, at: int, count: int) -> Any:
    """``oldest`` of any number."""
    best = least4(s, at)
    for first in range(4, count & 15, 4):
        best = min(best, least4(s, at + first) + first)
    for first in range(count & 15, count, 16):
        best = min(best, least16(s, at + first) + first)
    return best & _WAY
