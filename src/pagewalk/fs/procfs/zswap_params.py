"""/sys/module/zswap/parameters.

Sources: Documentation/admin-guide/mm/zswap.rst; Documentation/admin-guide/kernel-parameters.rst.

Mirrors: mm/zswap.c (module parameters), kernel/params.c (6.18)
Differs: which compressor it is changes nothing but its name.
"""

import errno
from typing import Final

from pagewalk.config import COMPRESSORS
from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.fs.procfs.tree import TextSpec, Tree

_UINT_MAX: Final = (1 << 32) - 1
_TRUE: Final = ("y", "t", "1", "on")
_FALSE: Final = ("n", "f", "0", "of")


class _Switch:
    """enabled and shrinker_enabled."""

    def __init__(self, name: str) -> None:
        self.name = name

    def make(self, sb: ProcSuper) -> str:
        """Y or N."""
        zswap = sb.system.zswap
        return "Y\n" if (zswap.enabled if self.name == "enabled" else zswap.shrinker_enabled) else "N\n"

    def store(self, sb: ProcSuper, data: bytes) -> int:
        """kstrtobool: one letter or digit, or on and off; -EINVAL for anything else."""
        text = data.decode("ascii", "replace").lower()
        word = text[:2] if text.startswith("o") else text[:1]
        if word not in _TRUE and word not in _FALSE:
            return -errno.EINVAL
        if self.name == "enabled":
            sb.system.zswap.enabled = word in _TRUE
        else:
            sb.system.zswap.shrinker_enabled = word in _TRUE
        return len(data)


class _Percent:
    """max_pool_percent and accept_threshold_percent."""

    def __init__(self, name: str) -> None:
        self.name = name

    def make(self, sb: ProcSuper) -> str:
        """The number."""
        zswap = sb.system.zswap
        value = zswap.max_pool_percent if self.name == "max_pool_percent" else zswap.accept_threshold_percent
        return f"{value}\n"

    def store(self, sb: ProcSuper, data: bytes) -> int:
        """Any number that an unsigned int holds; nobody says that it has to be a percentage."""
        text = data.decode("ascii", "replace").removesuffix("\n").removeprefix("+")
        value = parse_uint(text)
        if value < 0:
            return value
        if self.name == "max_pool_percent":
            sb.system.zswap.max_pool_percent = value
        else:
            sb.system.zswap.accept_threshold_percent = value
        return len(data)


class _Compressor:
    """compressor."""

    def make(self, sb: ProcSuper) -> str:
        """Its name."""
        return f"{sb.system.zswap.compressor}\n"

    def store(self, sb: ProcSuper, data: bytes) -> int:
        """Another one; -ENOENT for one that there is not."""
        name = data.decode("ascii", "replace").strip()
        if name not in COMPRESSORS:
            return -errno.ENOENT
        sb.system.zswap.compressor = name
        return len(data)


def parse_uint(text: str) -> int:
    """kstrtouint: a number in base 10, 8 (0...) or 16 (0x...); -EINVAL, or -ERANGE where it is too large."""
    base = 16 if text.lower().startswith("0x") else 8 if len(text) > 1 and text.startswith("0") else 10
    digits = text[2:].lower() if base == 16 else text
    if not digits or any(digit not in "0123456789abcdef"[:base] for digit in digits):
        return -errno.EINVAL
    value = int(digits, base)
    return value if value <= _UINT_MAX else -errno.ERANGE


def add_zswap(tree: Tree) -> None:
    """Adds the files to /sys."""
    folder = "module/zswap/parameters"
    for name in ("accept_threshold_percent", "max_pool_percent"):
        percent = _Percent(name)
        tree.add(f"{folder}/{name}", TextSpec(0o644, percent.make, percent.store))
    for name in ("enabled", "shrinker_enabled"):
        switch = _Switch(name)
        tree.add(f"{folder}/{name}", TextSpec(0o644, switch.make, switch.store))
    compressor = _Compressor()
    tree.add(f"{folder}/compressor", TextSpec(0o644, compressor.make, compressor.store))
