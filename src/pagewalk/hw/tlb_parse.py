"""Translation caches from text, as ``--tlb`` takes it: a preset's name, parts of its own, or both.

    zen4
    l1d=64x4,l2=1536x12
    skylake-sp,l2=2048x16:plru,asid=off
    l1d=64x4:4K,l1d.2m=32x4:2M,l1i=128x8,l2=1536x12:4K+2M,pmd=32x4,pud=4,coalesce=4

Parts stand between commas. ``NAME=ENTRIESxWAYS[:OPTION...]`` is an array, fully associative where ``xWAYS`` is not
there. NAME begins with ``l`` and its level; then ``d`` or ``i`` for data or instructions alone; a dot and more tell
arrays of one level apart. ``pgd``, ``p4d``, ``pud``, ``pmd`` are walk caches of that level, ``pwc`` one of all. Options
are a policy, page sizes (``4K+2M``), ``fragments``, ``single`` (no coalesced entries). A preset's part of the same name
is replaced; ``NAME=none`` takes it away.

Switches: asid=on|off, global=on|off, marks=format|hardware|fault, coalesce=1|2|4|8|16, prefetch=on|off, seed=N.
"""

import re
from dataclasses import replace
from typing import Any, Final

from pagewalk.config import parse_size
from pagewalk.errors import ConfigError
from pagewalk.hw.tlb_config import POLICIES, TlbArray, TlbConfig, WalkCache
from pagewalk.hw.tlb_presets import PRESETS, preset

__all__ = ["parse_tlb"]

_ARRAY: Final = re.compile(r"l([1-4])(d|i)?(\.[a-z0-9]+)?")
_LEVELS: Final = ("pgd", "p4d", "pud", "pmd")
_WALKS: Final = re.compile(r"(pgd|p4d|pud|pmd|pwc)(\.[a-z0-9]+)?")
_SHAPE: Final = re.compile(r"([0-9]{1,7})(?:x([0-9]{1,7}))?")
_SWITCHES: Final = ("asid", "global", "marks", "coalesce", "prefetch", "seed")


def parse_tlb(text: str) -> TlbConfig:
    """The configuration that ``text`` describes. Raises ConfigError that names the part."""
    parts = [part.strip() for part in text.strip().lower().split(",")]
    config = TlbConfig(text.strip())
    if parts[0] in PRESETS:
        config = replace(preset(parts[0]), name=text.strip())
        parts = parts[1:]
    elif "=" not in parts[0]:
        raise ConfigError(f"--tlb: expected a preset ({', '.join(PRESETS)}) or NAME=ENTRIESxWAYS, got {parts[0]!r}")
    settings: dict[str, Any] = {}
    arrays = {each.name: each for each in config.arrays}
    walks = {each.name: each for each in config.walk_caches}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"--tlb: expected NAME=VALUE, got {part!r}")
        if name in _SWITCHES:
            settings |= _switch(name, value)
        elif value == "none" and (name in arrays or name in walks):
            arrays.pop(name, None)
            walks.pop(name, None)
        elif match := _ARRAY.fullmatch(name):
            arrays[name] = _array(name, int(match[1]), match[2] or "id", value)
        elif match := _WALKS.fullmatch(name):
            entries, ways, options = _shape(name, value)
            levels = _LEVELS if match[1] == "pwc" else (match[1],)
            walks[name] = WalkCache(name, levels, entries // ways, ways, _policy(name, options))
            _nothing_left(name, options)
        else:
            raise ConfigError(f"--tlb: expected l1d, l1i, l2, ..., pgd, pud, pmd, pwc, a preset's part or one of "
                              f"{', '.join(_SWITCHES)}, got {name!r}")  # fmt: skip
    return replace(config, arrays=tuple(arrays.values()), walk_caches=tuple(walks.values()), **settings)


def _shape(name: str, value: str) -> tuple[int, int, list[str]]:
    """Entries, ways and the options behind them."""
    shape, *options = value.split(":")
    match = _SHAPE.fullmatch(shape)
    if match is None:
        raise ConfigError(f"--tlb: {name}: expected ENTRIES or ENTRIESxWAYS, got {shape!r}")
    entries = int(match[1])
    ways = int(match[2] or entries)
    if entries < 1 or ways < 1 or entries % ways:
        raise ConfigError(f"--tlb: {name}: expected entries that are a multiple of the ways, got {shape!r}")
    return entries, ways, options


def _array(name: str, level: int, serves: str, value: str) -> TlbArray:
    entries, ways, options = _shape(name, value)
    policy = _policy(name, options)
    flags = {option for option in options if option in ("fragments", "single")}
    sizes: tuple[int, ...] = ()
    for option in [option for option in options if option not in flags]:
        sizes += tuple(parse_size(size, f"--tlb: {name}") for size in option.split("+")) if option != "any" else ()
    return TlbArray(
        name, level, serves, entries // ways, ways, sizes, policy,
        fragments="fragments" in flags, coalesced="single" not in flags,
    )  # fmt: skip


def _policy(name: str, options: list[str]) -> str:
    """The policy among the options, which loses it."""
    found = [option for option in options if option in POLICIES]
    if len(found) > 1:
        raise ConfigError(f"--tlb: {name}: expected one policy, got {', '.join(found)}")
    for each in found:
        options.remove(each)
    return found[0] if found else "lru"


def _nothing_left(name: str, options: list[str]) -> None:
    if options:
        raise ConfigError(f"--tlb: {name}: expected a policy ({', '.join(POLICIES)}), got {options[0]!r}")


def _switch(name: str, value: str) -> dict[str, Any]:
    """A switch as a field of TlbConfig."""
    if name == "marks":
        return {"marks": value}
    if name in ("coalesce", "seed"):
        if not value.isdigit():
            raise ConfigError(f"--tlb: {name}: expected a number, got {value!r}")
        return {name: int(value)}
    if value not in ("on", "off"):
        raise ConfigError(f"--tlb: {name}: expected on or off, got {value!r}")
    return {{"asid": "tagged", "global": "globals_", "prefetch": "prefetch"}[name]: value == "on"}
