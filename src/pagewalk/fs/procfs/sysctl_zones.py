"""/proc/sys/vm files from which watermarks, reserves and per-CPU lists follow: a write computes them again.

Source: Documentation/admin-guide/sysctl/vm.rst.

Mirrors: mm/page_alloc.c (min_free_kbytes_sysctl_handler and its neighbours) (6.18)
Differs: none known.
"""

import errno
from typing import Final

from pagewalk.arch.zone_limits import KIND_NAMES, zone_kinds
from pagewalk.fs.procfs.inodes import ProcSuper
from pagewalk.fs.procfs.sysctl_numbers import proc_get_long
from pagewalk.fs.procfs.tree import TextSpec, Tree
from pagewalk.mm.system import System
from pagewalk.mm.watermarks import setup_per_zone_lowmem_reserve, setup_per_zone_wmarks

_INT_MAX: Final = (1 << 31) - 1
_LEAST_FRACTION: Final = 8


def recompute(system: System) -> None:
    """Watermarks and per-CPU lists follow from vm.min_free_kbytes and the settings anew."""
    setup_per_zone_wmarks(system.zones, system.min_free_kbytes, system.config, system.config.linux)


def parse(data: bytes, low: int, high: int) -> int:
    """A number of a write, -1 where it is none or out of range."""
    value = proc_get_long(data)
    return -1 if value is None or not low <= value <= high else value


def min_free_kbytes(sb: ProcSuper) -> str:
    """vm.min_free_kbytes."""
    return f"{sb.system.min_free_kbytes}\n"


def set_min_free_kbytes(sb: ProcSuper, data: bytes) -> int:
    """Sets it, whatever it is."""
    value = parse(data, 0, _INT_MAX)
    if value < 0:
        return -errno.EINVAL
    sb.system.min_free_kbytes = value
    sb.system.user_min_free_kbytes = value
    recompute(sb.system)
    return len(data)


def watermark_scale_factor(sb: ProcSuper) -> str:
    """vm.watermark_scale_factor, in 1/10000 of a zone."""
    return f"{sb.system.config.watermark_scale_factor}\n"


def set_watermark_scale_factor(sb: ProcSuper, data: bytes) -> int:
    """1 to 3000."""
    value = parse(data, 1, 3000)
    if value < 0:
        return -errno.EINVAL
    sb.system.config.watermark_scale_factor = value
    recompute(sb.system)
    return len(data)


def watermark_boost_factor(sb: ProcSuper) -> str:
    """vm.watermark_boost_factor, in 1/10000 of the high mark."""
    return f"{sb.system.config.watermark_boost_factor}\n"


def set_watermark_boost_factor(sb: ProcSuper, data: bytes) -> int:
    """0 or more; 0 turns it off."""
    value = parse(data, 0, _INT_MAX)
    if value < 0:
        return -errno.EINVAL
    sb.system.config.watermark_boost_factor = value
    for zone in sb.system.zones:
        zone.watermark_boost_factor = value
    return len(data)


def percpu_pagelist_high_fraction(sb: ProcSuper) -> str:
    """vm.percpu_pagelist_high_fraction."""
    return f"{sb.system.config.percpu_pagelist_high_fraction}\n"


def set_percpu_pagelist_high_fraction(sb: ProcSuper, data: bytes) -> int:
    """0 (the low mark decides), or 8 and more."""
    value = parse(data, 0, _INT_MAX)
    if value < 0 or 0 < value < _LEAST_FRACTION:
        return -errno.EINVAL
    sb.system.config.percpu_pagelist_high_fraction = value
    recompute(sb.system)
    return len(data)


def ratio_by_kind(ratio: tuple[int, ...]) -> list[int]:
    """A ratio for every kind of zone."""
    return [*ratio, *[0] * (len(KIND_NAMES) - len(ratio))]


def lowmem_reserve_ratio(sb: ProcSuper) -> str:
    """vm.lowmem_reserve_ratio, by zone index."""
    config = sb.system.config
    by_kind = ratio_by_kind(config.lowmem_reserve_ratio)
    return "\t".join([str(by_kind[kind]) for kind in zone_kinds(config.arch, config.linux)]) + "\n"


def set_lowmem_reserve_ratio(sb: ProcSuper, data: bytes) -> int:
    """Numbers for the first zones; what is below 1 counts as 0, and zones behind them stay."""
    config = sb.system.config
    ratios = ratio_by_kind(config.lowmem_reserve_ratio)
    kinds = zone_kinds(config.arch, config.linux)
    words = data.split()
    if not words:
        return -errno.EINVAL
    for kind, word in zip(kinds, words, strict=False):
        value = proc_get_long(word)
        if value is None or not -_INT_MAX - 1 <= value <= _INT_MAX:
            return -errno.EINVAL
        ratios[kind] = max(value, 0)
    config.lowmem_reserve_ratio = tuple(ratios)
    setup_per_zone_lowmem_reserve(sb.system.zones, config.lowmem_reserve_ratio)
    return len(data)


def add_zone_sysctls(tree: Tree) -> None:
    """The files below /proc/sys/vm."""
    for name, make, store in (
        ("min_free_kbytes", min_free_kbytes, set_min_free_kbytes),
        ("watermark_scale_factor", watermark_scale_factor, set_watermark_scale_factor),
        ("watermark_boost_factor", watermark_boost_factor, set_watermark_boost_factor),
        ("percpu_pagelist_high_fraction", percpu_pagelist_high_fraction, set_percpu_pagelist_high_fraction),
        ("lowmem_reserve_ratio", lowmem_reserve_ratio, set_lowmem_reserve_ratio),
    ):
        tree.add(f"vm/{name}", TextSpec(0o644, make, store))
