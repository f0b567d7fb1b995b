"""What this copy of pagewalk is made of: compiled or interpreted, and whether the compiled files are still true.

A compiled module silently hides the ``.py`` beside it, so the build leaves a stamp, ``_compiled.txt``, with a line per
compiled source: size, CRC-32, modification time and name; ``source DIR`` names the checkout that it was built from, and
``why TEXT`` stands instead where nothing could be compiled. ``stale()`` compares them, in about a millisecond.
"""

import os
import sys
import zlib
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STAMP", "check", "fingerprint", "interpreted_because", "is_compiled", "prefer_sources", "stale"]

STAMP = "_compiled.txt"
PACKAGE = Path(__file__).parent
INTERPRETED = "PAGEWALK_INTERPRETED"


def fingerprint(package: Path, name: Path | str) -> str:
    """The stamp's line for the source ``name``, relative to ``package``."""
    data = (package / name).read_bytes()
    return f"file {len(data)} {zlib.crc32(data)} {os.stat(package / name).st_mtime_ns} {name}"


def read_stamp(package: Path = PACKAGE) -> list[list[str]]:
    """The stamp's lines as words (the last word of a line may hold spaces); [] where there was no build."""
    try:
        with open(package / STAMP, encoding="utf-8") as stamp:
            return [line.rstrip("\n").split(" ", 4 if line.startswith("file ") else 1) for line in stamp]
    except OSError:
        return []


def is_compiled(package: Path = PACKAGE) -> bool:
    """Whether the kernel rooms of this process are compiled code."""
    return not os.environ.get(INTERPRETED) and any(line[0] == "file" for line in read_stamp(package))


def interpreted_because(package: Path = PACKAGE) -> str:
    """Why the kernel rooms are interpreted, in a few words; "" where they are compiled."""
    if os.environ.get(INTERPRETED):
        return f"{INTERPRETED} is set"
    lines = read_stamp(package)
    if not lines:
        return "run from its sources"
    return next((line[1] for line in lines if line[0] == "why"), "")


def stale(package: Path = PACKAGE) -> list[str]:
    """Sources that changed since they were compiled, here or in the checkout that this was built from."""
    lines = read_stamp(package)
    folders = [str(package)] + [line[1] for line in lines if line[0] == "source" and line[1] != str(package)]
    changed: set[str] = set()
    for line in lines:
        if line[0] == "file":
            changed.update(line[4] for folder in folders if _differs(folder, *line[1:]))
    return sorted(changed)


def _differs(folder: str, size: str, crc: str, mtime: str, name: str) -> bool:
    """Whether ``folder``/``name`` is there and not what was compiled; an unchanged time and size spare the reading."""
    path = f"{folder}/{name}"
    try:
        now = os.stat(path)
        if now.st_size != int(size):
            return True
        if now.st_mtime_ns == int(mtime):
            return False
        with open(path, "rb", buffering=0) as source:
            return zlib.crc32(source.read()) != int(crc)
    except OSError:
        return False


class SourceFinder:
    """Finds pagewalk's modules as sources, whatever is compiled beside them."""

    @staticmethod
    def find_spec(
        name: str, path: "Sequence[str] | None" = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The ``.py`` that is ``name``, below pagewalk only."""
        if path is None or not name.startswith("pagewalk."):
            return None
        for folder in path:
            spec = FileFinder(folder, (SourceFileLoader, [".py"])).find_spec(name)
            if spec is not None:
                return spec
        return None


def prefer_sources() -> None:
    """From here on, modules of pagewalk are imported from their sources."""
    sys.meta_path.insert(0, SourceFinder)


def check() -> None:
    """At import: obeys PAGEWALK_INTERPRETED, or says on stderr which compiled files are out of date."""
    if os.environ.get(INTERPRETED):
        prefer_sources()
    elif names := stale():
        some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        print(
            f"pagewalk: compiled code is older than its source: {some}"
            f" (`make build` compiles it, {INTERPRETED}=1 runs the sources)",
            file=sys.stderr,
        )
