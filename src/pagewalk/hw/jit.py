"""Numba, in one place: how the functions of hw/ become machine code, and where that code is kept.

Numba's own cache does not notice an edit in a module that a function calls into, and would then run stale code. So the
cache folder is named by a hash of all sources of hw/, of those beside the function, and of Numba's version: an edit
makes a new folder.

The sources stay plain Python. A function is compiled by name (``compiled``, ``callback``); where it calls another, the
caller says which compiled function that name stands for. Importing this module imports Numba (0.3 s): only what needs
machine code does so, and ``wanted`` says whether it should (PAGEWALK_INTERPRETED is not set, and Numba is installed).
"""

import functools
import hashlib
import os
import stat
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba

__all__ = ["cache_folder", "callback", "compiled", "entry", "is_kept", "variant_name"]

_numba: Any = numba  # its types say too little


_HERE = Path(__file__).parent


@functools.cache
def cache_folder(room: Path = _HERE) -> Path:
    """Where compiled code is kept: below XDG_CACHE_HOME (~/.cache), or else in the temporary folder.

    room  the folder whose functions they are; they may call those of hw/ too

    Never in a folder that somebody else could write to.
    """
    digest = hashlib.sha256(f"{version('numba')} {version('llvmlite')} {version('numpy')}".encode())
    for folder in (_HERE,) if room == _HERE else (_HERE, room):
        for source in sorted(folder.glob("*.py")):
            digest.update(source.read_bytes())
    name = f"numba-{digest.hexdigest()[:16]}"
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for parent in (Path(base, "pagewalk"), Path(tempfile.gettempdir(), f"pagewalk-{os.getuid()}")):
        try:
            folder = parent / name
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if _ours(parent) and os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="pagewalk-"))


def _ours(folder: Path) -> bool:
    """Machine code is loaded only from where nobody else could have put it."""
    info = folder.stat()
    return info.st_uid == os.getuid() and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def variant_name(constants: object) -> str:
    """A folder for code that has these constants built in: Numba's cache sees sources and types alone."""
    return "for-" + hashlib.sha256(repr(constants).encode()).hexdigest()[:16]


def is_kept(variant: str) -> bool:
    """Whether code of this variant has been compiled before."""
    return any((cache_folder() / variant).glob("*/*.nbi"))


@contextmanager
def _our_cache(function: Callable[..., Any], variant: str = "") -> Iterator[None]:
    """Numba takes its cache folder from a global setting when a function is decorated: ours, then what it was."""
    before = _numba.config.CACHE_DIR
    _numba.config.CACHE_DIR = str(cache_folder(Path(function.__code__.co_filename).parent) / variant)
    try:
        yield
    finally:
        _numba.config.CACHE_DIR = before


def _with_names(function: Callable[..., Any], uses: dict[str, Any]) -> Callable[..., Any]:
    """``function`` with the global names ``uses`` meaning something else."""
    assert isinstance(function, types.FunctionType)
    twin = types.FunctionType(function.__code__, {**function.__globals__, **uses}, function.__name__)
    twin.__qualname__ = function.__qualname__
    twin.__module__ = function.__module__
    return twin


def compiled(
    function: Callable[..., Any], signature: object, *, inline: bool = False, variant: str = "", **uses: Any
) -> Callable[..., Any]:
    """``function`` as machine code for ``signature``; ``uses`` gives the compiled functions that it calls, by name.

    inline   copied into those that call it
    variant  what ``variant_name`` says of the constants among ``uses`` and of those in the functions that it calls
    Divisors are not checked.
    """
    options = {"cache": True, "error_model": "numpy", "forceinline": inline}
    with _our_cache(function, variant):
        result: Callable[..., Any] = _numba.njit(signature, **options)(_with_names(function, uses))
    return result


def entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """What ``compiled`` has made, as Python calls it fastest: without a search, at every call, for the code that fits
    the arguments' types; there is one. Arguments must be of the signature's types."""
    codes = list(getattr(function, "overloads", {}).values())
    return codes[0].entry_point if len(codes) == 1 else function


def callback(function: Callable[..., Any], signature: object, **uses: Any) -> Any:
    """``function`` as a C function (at ``.address``) for ``signature``, to be called by other machine code."""
    with _our_cache(function):
        return _numba.cfunc(signature, cache=True)(_with_names(function, uses))
