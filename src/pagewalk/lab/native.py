"""What compiled code of this room needs beyond Python: pointers, and counting and finding bits in a 64-bit word.

words_at(address), places_at(address)   an address as a pointer to 64-bit or 32-bit words
part(pointer, n)                        the words from the n-th on
popcount(word)                          how many bits are set
lowest(word), highest(word)             the number of the lowest or highest one, 0 to 63; the word is not 0
"""

from collections.abc import Callable
from typing import Any

import numba as _numba
from llvmlite import ir
from numba import extending

from pagewalk.hw import jit

__all__ = [
    "Functions",
    "bytes_at",
    "halves_at",
    "highest",
    "lowest",
    "part",
    "places_at",
    "popcount",
    "word",
    "words",
    "words_at",
]

types: Any = _numba.types  # its types say too little
word: Any = types.int64
words: Any = types.CPointer(word)


class Functions:
    """Compiled functions by name; one that is made later may call those that were made before."""

    def __init__(self) -> None:
        self.made: dict[str, Callable[..., Any]] = {}

    def make(self, function: Any, result: Any, *args: Any, inline: bool = False) -> Callable[..., Any]:
        """Compiles ``function`` for arguments of these types; ``inline``: copied into those that call it."""
        uses: dict[str, Any] = {name: self.made[name] for name in function.__code__.co_names if name in self.made}
        made = self.made[function.__name__] = jit.compiled(function, result(*args), inline=inline, **uses)
        return made


def _instruction(name: str) -> Any:
    def typed(typing_context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            never_zero = ir.Constant(ir.IntType(1), 1)
            if name == "popcount":
                return builder.ctpop(args[0])
            if name == "lowest":
                return builder.cttz(args[0], never_zero)
            return builder.sub(ir.Constant(ir.IntType(64), 63), builder.ctlz(args[0], never_zero))

        return word(word), generate

    return extending.intrinsic(typed)


def _pointer(item: Any) -> Any:
    def typed(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(item)(word), generate

    return extending.intrinsic(typed)


def _part() -> Any:
    def typed(typing_context: Any, pointer: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.gep(args[0], [args[1]])

        return words(words, word), generate

    return extending.intrinsic(typed)


popcount: Any = _instruction("popcount")
lowest: Any = _instruction("lowest")
highest: Any = _instruction("highest")
words_at: Any = _pointer(word)
places_at: Any = _pointer(types.int32)
halves_at: Any = _pointer(types.uint16)
bytes_at: Any = _pointer(types.uint8)
part: Any = _part()
