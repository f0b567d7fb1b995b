"""/sys/module/lowmemorykiller/parameters: the driver's levels, as its users write them.

Mirrors: drivers/staging/android/lowmemorykiller.c (module_param_array) (4.4), kernel/params.c
Differs: nothing.
"""

import errno
from typing import Final

from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.fs.procfs.tree import TextSpec, Tree
from pagewalk.mm.lmk import LEVELS

_SHORT: Final = (-32768, 32767)
_INT: Final = (-(1 << 31), (1 << 31) - 1)


class _Array:
    """adj or minfree: numbers with commas between them, up to six."""

    def __init__(self, name: str, bounds: tuple[int, int]) -> None:
        self.name = name
        self.bounds = bounds

    def make(self, sb: ProcSuper) -> str:
        """The numbers."""
        driver = sb.kernel.low_memory_driver()
        assert driver is not None
        values = driver.adj if self.name == "adj" else driver.minfree
        return ",".join([str(value) for value in values]) + "\n"

    def store(self, sb: ProcSuper, data: bytes) -> int:
        """Other numbers; -EINVAL for what is none, or too many."""
        values = parse_numbers(data, self.bounds)
        driver = sb.kernel.low_memory_driver()
        if driver is None or not values or len(values) > LEVELS:
            return -errno.EINVAL
        if self.name == "adj":
            driver.adj = values
        else:
            driver.minfree = values
        return len(data)


class _Number:
    """cost or debug_level."""

    def __init__(self, name: str) -> None:
        self.name = name

    def make(self, sb: ProcSuper) -> str:
        """The number."""
        driver = sb.kernel.low_memory_driver()
        assert driver is not None
        return f"{driver.cost if self.name == 'cost' else driver.debug_level}\n"

    def store(self, sb: ProcSuper, data: bytes) -> int:
        """Another one."""
        values = parse_numbers(data, _INT)
        driver = sb.kernel.low_memory_driver()
        if driver is None or len(values) != 1:
            return -errno.EINVAL
        if self.name == "cost":
            driver.cost = values[0]
        else:
            driver.debug_level = values[0]
        return len(data)


def parse_numbers(data: bytes, bounds: tuple[int, int]) -> list[int]:
    """Numbers with commas; empty where one is none or out of bounds."""
    values: list[int] = []
    for word in data.decode("ascii", "replace").strip().split(","):
        digits = word[1:] if word.startswith("-") else word
        if not digits.isascii() or not digits.isdigit() or len(digits) > 10:
            return []
        if not bounds[0] <= int(word) <= bounds[1]:
            return []
        values.append(int(word))
    return values


def add_parameters(tree: Tree) -> None:
    """Adds the files to /sys."""
    for name, bounds in (("adj", _SHORT), ("minfree", _INT)):
        array = _Array(name, bounds)
        tree.add(f"module/lowmemorykiller/parameters/{name}", TextSpec(0o644, array.make, array.store))
    for name, mode in (("cost", 0o444), ("debug_level", 0o644)):
        number = _Number(name)
        tree.add(f"module/lowmemorykiller/parameters/{name}", TextSpec(mode, number.make, number.store))
