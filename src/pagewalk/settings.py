"""Fields of ``Config`` as the command line has them: ``--set NAME=VALUE``, and ``--config FILE`` in TOML or JSON.

What is not in the file and not set by an option is Config's own default. What the values may be in all is looked at
when the Config is made; here each has to be of its field's kind.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from pagewalk.config import Config, parse_size
from pagewalk.errors import ConfigError
from pagewalk.memory import parse_ranges, read_map

__all__ = ["chosen_fields", "parse_settings", "read_config"]

_KINDS: Final = {each.name: each for each in fields(Config)}
_WHOLE: Final = re.compile(r"-?[0-9]{1,19}")
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def chosen_fields(
    options: Mapping[str, object], given: Iterable[str], file: str | None, settings: Iterable[str]
) -> dict[str, Any]:
    """Fields for Config from a command line, each from who comes first: ``settings`` (--set), those of ``options`` (by
    field) that the user has ``given``, the ``file`` of --config, the other options' defaults."""
    named = set(given)
    typed = {name: value for name, value in options.items() if name in named}
    read = {} if file is None else read_config(Path(file))
    last = parse_settings(settings)
    if "rlimits" in read and "rlimits" in last:
        last["rlimits"] = {**read["rlimits"], **last["rlimits"]}
    return {**options, **read, **typed, **last}


def parse_settings(items: Iterable[str]) -> dict[str, Any]:
    """Fields of ``Config`` from text: ``NAME=VALUE``, and ``rlimits.NAME=SOFT[:HARD]`` with sizes or "unlimited".

    Lists have commas, matrices semicolons between their rows: ``nodes=1G,512M``, ``distances=10,20;20,10``,
    ``memory_map=0-9ffff,100000-3fffffff@1`` (both ends included, as in /proc/iomem; ``@1``: of node 1) or
    ``memory_map=@FILE``, what `zones --memory-map` reads.

    Raises ConfigError for a name that ``Config`` does not have and a value that is not of its kind.
    """
    found: dict[str, Any] = {}
    for item in items:
        name, equals, text = item.partition("=")
        front, _, resource = name.partition(".")
        if not equals or front not in _KINDS or (front == "rlimits") != bool(resource):
            raise ConfigError(f"--set: expected NAME=VALUE with one of {_names()}, rlimits.NAME, got {item!r}")
        if resource:
            soft, _, hard = text.partition(":")
            limits = found.setdefault("rlimits", {})
            limits[resource] = (_limit(soft, f"--set {item}"), _limit(hard or soft, f"--set {item}"))
        else:
            found[name] = _value(name, text, item)
    return found


def read_config(path: Path) -> dict[str, Any]:
    """Fields of ``Config`` from a file: JSON where its name ends in .json, else TOML.

    Names and values are those of Config; ``memory_map`` is a list of [start, end] or [start, end, node] (end exclusive)
    or text as --set has it; ``rlimits`` a table of limits, each one limit or [soft, hard]: a size, -1 or "unlimited".
    ConfigError, naming the file, where it cannot be read or says what Config does not have.
    """
    option = f"--config {path}"
    try:
        raw = path.read_bytes().decode("utf-8")
        table = json.loads(raw) if path.suffix == ".json" else tomllib.loads(raw)
    except OSError as error:
        raise ConfigError(f"{option}: cannot read it: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ConfigError(f"{option}: expected {kind}: {str(error).splitlines()[0]}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{option}: expected a table of Config's fields, got {_kind(table)}")
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name not in _KINDS:
            raise ConfigError(f"{option}: expected fields of Config ({_names()}, rlimits), got {name!r}")
        found[name] = _checked(name, value, f"{option}: {name}")
    return found


def _names() -> str:
    return ", ".join([name for name in _KINDS if name != "rlimits"])


def _limit(value: object, what: str) -> int:
    """A resource limit: -1 for "unlimited"."""
    return -1 if value in ("unlimited", "-1") or value == -1 else parse_size(value, what)  # type: ignore[arg-type]


def _value(name: str, text: str, item: str) -> object:
    """``text`` as something of the kind of a field; sizes stay text."""
    default = _KINDS[name].default
    if name == "memory_map":
        return _memory_map(text, f"--set {item}")
    if name == "nodes":
        return tuple([parse_size(part, f"--set {item}") for part in text.split(",")]) if text else ()
    if name == "distances":
        return tuple([_numbers(row, "rows of whole numbers, a semicolon between two", item) for row in _rows(text)])
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() not in ("0", "1", "true", "false"):
            raise ConfigError(f"--set: expected 0 or 1, got {item!r}")
        return text.lower() in ("1", "true")
    if isinstance(default, float):
        if not _NUMBER.fullmatch(text):
            raise ConfigError(f"--set: expected a number, got {item!r}")
        return float(text)
    if isinstance(default, tuple):
        return _numbers(text, f"{len(default) or ''} whole numbers with commas".strip(), item) if text else ()
    return _numbers(text, "a whole number", item)[0] if "," not in text else _numbers("", "a whole number", item)


def _rows(text: str) -> list[str]:
    return [row for row in text.split(";") if row.strip()]


def _numbers(text: str, expected: str, item: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    parts = [part.strip() for part in text.split(",")]
    if not all(_WHOLE.fullmatch(part) for part in parts):
        raise ConfigError(f"--set: expected {expected}, got {item!r}")
    return tuple([int(part) for part in parts])


def _memory_map(text: str, what: str) -> tuple[tuple[int, int, int], ...]:
    """Ranges, or those of the file behind an @."""
    if text.startswith("@"):
        return tuple(read_map(Path(text[1:]), what))
    return parse_ranges(text, what) if text else ()


def _checked(name: str, value: object, what: str) -> object:
    """A value of a file, which has to be of the kind of its field."""
    default = _KINDS[name].default
    if name == "memory_map":
        return _memory_map(value, what) if isinstance(value, str) else _list(value, what, "ranges")
    if name == "rlimits":
        if not isinstance(value, dict):
            raise ConfigError(f"{what}: expected a table of limits, got {_kind(value)}")
        return {each: _limits(limit, f"{what}.{each}") for each, limit in value.items()}
    if name in ("nodes", "distances"):
        rows = _list(value, what, "sizes" if name == "nodes" else "rows of whole numbers")
        return rows if name == "nodes" else [_list(row, what, "rows of whole numbers") for row in rows]
    if isinstance(default, tuple):
        numbers = _list(value, what, "whole numbers")
        if not all(type(each) is int for each in numbers):
            raise ConfigError(f"{what}: expected a list of whole numbers, got {value!r}")
        return tuple(numbers)
    expected = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[type(default)]
    size = isinstance(default, str) and "int" in str(_KINDS[name].type)
    fits = type(value) is type(default) or (isinstance(default, float) and type(value) is int)
    if name == "ram" or name == "granule" or size:
        fits, expected = type(value) in (int, str), "bytes or text like '64M'"
    if not fits:
        raise ConfigError(f"{what}: expected {expected}, got {_kind(value)} {value!r}")
    return value


def _limits(value: object, what: str) -> tuple[int, int]:
    """Soft and hard."""
    both = value if isinstance(value, list) else [value, value]
    if len(both) != 2:
        raise ConfigError(f"{what}: expected a limit or [soft, hard], got {value!r}")
    return (_limit(both[0], what), _limit(both[1], what))


def _list(value: object, what: str, of: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{what}: expected a list of {of}, got {_kind(value)} {value!r}")
    return value


def _kind(value: object) -> str:
    names = {dict: "a table", list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), "a value")
