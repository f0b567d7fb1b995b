"""How the TLB calls a user's replacement policy, compiled and interpreted.

Compiled, a policy is a pair of C functions at addresses that stand in the array's descriptor. Interpreted, the same
number is a key to the functions themselves.
"""

from collections.abc import Callable
from typing import Any, Final

from pagewalk.hw.tlb_config import Policy
from pagewalk.hw.walker import Words

_interpreted: Final[dict[int, Callable[..., Any]]] = {}


class SetWords:
    """A set's own words, as an interpreted policy sees them."""

    def __init__(self, words: Words, first: int, length: int) -> None:
        self._words = words
        self._first = first
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, at: int) -> int:
        return self._words[self._first + self._checked(at)]

    def __setitem__(self, at: int, value: int) -> None:
        self._words[self._first + self._checked(at)] = value

    def _checked(self, at: int) -> int:
        if not 0 <= at < self._length:
            raise IndexError(f"a policy's words: expected an index of 0 to {self._length - 1}, got {at}")
        return at


def call_touch(address: int, s: Words, meta: int, length: int, ways: int, way: int, fill: int) -> None:
    """Policy.touch."""
    _interpreted[address](SetWords(s, meta, length), ways, way, fill)


def call_victim(address: int, s: Words, meta: int, length: int, ways: int) -> int:
    """Policy.victim, brought into range."""
    return int(_interpreted[address](SetWords(s, meta, length), ways)) % ways


def interpreted_addresses(policy: Policy) -> tuple[int, int]:
    """The keys of a policy's two functions."""
    keys = []
    for function in (policy.touch, policy.victim):
        key = id(function)
        _interpreted[key] = function
        keys.append(key)
    return keys[0], keys[1]
